"""A HAProxy of the test's own, in TCP mode: it leads to the first server that is alive.

    with HAProxy(tmp_path, ports) as proxy:
        engine(path, env={"DATABASE_URL": database.url_at(proxy.port)})

    HAProxy(tmp_path, ports, "option httpchk GET /primary", checks) asks for each server at another port whether it is to lead
"""
import os
import socket
import subprocess

import tools

CONFIG = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 10m
    timeout server 10m
    default-server check inter 200 fall 1 rise 1 on-marked-down shutdown-sessions
listen postgres
    bind 127.0.0.1:{port}
    {option}
{servers}
"""


class HAProxy:
    def __init__(self, folder, ports, option="", checks=None):
        self.port = tools.free_port()
        self._config = os.path.join(folder, "haproxy.cfg")
        more = [f"check port {port}" for port in checks] if checks else ["", *["backup"] * (len(ports) - 1)]
        lines = [f"    server s{n} 127.0.0.1:{port} {words}" for n, (port, words) in enumerate(zip(ports, more))]
        with open(self._config, "w", encoding="utf-8") as f:
            f.write(CONFIG.format(port=self.port, option=option, servers="\n".join(lines)))
        self._process = None

    def __enter__(self):
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        with open(self._config + ".log", "wb") as log:
            words = ["haproxy", "-db", "-f", self._config]
            self._process = subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, "PATH": path})
        tools.wait_until(self._listens, what="haproxy listens")
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def _listens(self):
        assert self._process.poll() is None, "haproxy ended"
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0
