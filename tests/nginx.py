"""nginx in front of a search server: TLS, passwords, and what a user may not do.

    with Nginx(folder, search.port, tls=authority.issue("node"), inside='if (...) { return 403; }') as front:
        engine.start(..., env={"ELASTICSEARCH_URL": front.url})
"""
import os
import subprocess

from tools import free_port, wait_until

CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log {folder}/access.log;
    client_max_body_size 100m;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    {outside}
    server {{
        listen 127.0.0.1:{port} {ssl};
        {tls}
        location / {{
            {inside}
            proxy_pass http://127.0.0.1:{target};
            proxy_set_header Authorization "";
            proxy_http_version 1.1;
        }}
    }}
}}
"""


class Nginx:
    def __init__(self, folder, target, tls=None, inside="", outside="", server=""):
        """tls: (certificate, key). inside, outside, server: more lines of configuration, in location, http and server."""
        self.port = free_port()
        self.folder = os.path.join(str(folder), f"nginx-{self.port}")
        self.scheme = "https" if tls else "http"
        os.mkdir(self.folder)
        lines = server + (f"ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]};" if tls else "")
        config = os.path.join(self.folder, "nginx.conf")
        with open(config, "w", encoding="utf-8") as f:
            f.write(CONFIG.format(
                folder=self.folder, port=self.port, target=target, tls=lines, ssl="ssl" if tls else "", inside=inside, outside=outside
            ))  # fmt: skip
        self._errors = os.path.join(self.folder, "errors")
        with open(self._errors, "wb") as errors:
            words = ["nginx", "-p", self.folder, "-c", config]
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=_env())
        wait_until(self._listens, what="nginx")

    def url(self, host="127.0.0.1", user=""):
        return f"{self.scheme}://{user}{host}:{self.port}"

    def requests(self):
        """The lines of its log: what it was asked for so far."""
        with open(os.path.join(self.folder, "access.log"), encoding="utf-8", errors="replace") as f:
            return f.read().splitlines()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(20)

    def _listens(self):
        if self._process.poll() is not None:
            with open(self._errors, encoding="utf-8", errors="replace") as f:
                raise AssertionError(f"nginx ended: {f.read()}")
        try:
            with open(f"/proc/{self._process.pid}/net/tcp", encoding="utf-8") as f:
                return any(line.split()[1].endswith(f":{self.port:04X}") and line.split()[3] == "0A" for line in f.readlines()[1:])
        except OSError:
            return False


def _env():
    return {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
