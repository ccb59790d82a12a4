"""A PgBouncer of the test's own, in front of a database of the private PostgreSQL.

    with Bouncer(pg, tmp_path, pool_mode="transaction", default_pool_size=2) as bouncer:
        engine(path, env={"DATABASE_URL": bouncer.url})
"""
import os
import socket
import subprocess

import psycopg2

import tools


class Bouncer:
    def __init__(self, database, folder, **settings):
        self.database = database
        self.port = tools.free_port()
        self.url = database.url_at(self.port)
        self._config = os.path.join(folder, "pgbouncer.ini")
        self._settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "any",
            **({"user": "postgres"} if os.getuid() == 0 else {}),  # it refuses to run as root
            **settings,
        }
        self._process = None

    def __enter__(self):
        target = f"host=127.0.0.1 port={self.database.server.port} user=etl password=etl"
        with open(self._config, "w", encoding="utf-8") as f:
            f.write(f"[databases]\n{self.database.name} = {target}\n[pgbouncer]\n")
            f.writelines(f"{key} = {value}\n" for key, value in self._settings.items())
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        with open(self._config + ".log", "ab") as log:
            self._process = subprocess.Popen(["pgbouncer", self._config], stdout=log, stderr=log, cwd="/", env=self._env())
        tools.wait_until(self._listens, what="pgbouncer listens")

    def stop(self):
        """Its clients are cut off."""
        self._process.kill()
        self._process.wait()

    def connect(self):
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        return connection

    @staticmethod
    def _env():
        return {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}

    def _listens(self):
        assert self._process.poll() is None, "pgbouncer ended"
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0
