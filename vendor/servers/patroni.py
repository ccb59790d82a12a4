"""Patroni: nodes of one cluster, each with a PostgreSQL of the machine's own version, and the etcd that knows which of them
leads. The cluster begins anew with each start of its etcd; a node that was stopped meanwhile joins it again."""
import json
import os
import secrets
import shutil
import signal
import subprocess
import urllib.error
import urllib.request

from servers.base import Service
from servers.postgres import PASSWORD, USER, Postgres

HINT = "vendor/install patroni"


def lacking(program):
    return None if shutil.which(program) else f"no '{program}' on this machine (hint: {HINT})"


def get(url):
    """The status of the answer; None: there is none."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


class Etcd(Service):
    stop_signal = signal.SIGTERM

    def usable(self):
        return lacking("etcd")

    def prepare(self):
        shutil.rmtree(os.path.join(self.dir, "data"), ignore_errors=True)
        self.settings.new_port(self.name + "_peers", self.low, self.high)
        self.settings.set(self.name + "_life", secrets.token_hex(4))

    @property
    def life(self):
        """Another one with each start."""
        return self.settings.get(self.name + "_life")

    def command(self):
        peers = f"http://127.0.0.1:{self.settings.get(self.name + '_peers')}"
        words = ["etcd", "--name", self.tag, "--data-dir", os.path.join(self.dir, "data"), "--unsafe-no-fsync"]
        words += ["--listen-client-urls", self.url(), "--advertise-client-urls", self.url()]
        words += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
        return words + ["--initial-cluster", f"{self.tag}={peers}"]

    def answers(self):
        return bool(self.port) and get(self.url() + "/health") == 200

    def url(self):
        return f"http://127.0.0.1:{self.port}"

    shown_url = url


class Patroni(Postgres):
    variable = None  # it may be a replica
    stop_signal = signal.SIGTERM

    def __init__(self, name, settings, etcd):
        super().__init__(name, settings)
        self.etcd = etcd

    @property
    def rest(self):
        """The port at which Patroni itself answers."""
        return self.settings.get(self.name + "_rest")

    def config(self):
        return os.path.join(self.settings.get(self.name + "_base") or self.dir, "patroni.yml")

    def data(self):
        return os.path.join(self.base(), "data")

    def usable(self):
        return lacking("patroni") or self.etcd.usable()

    def pids(self):
        """Patroni's, if it is alive, and PostgreSQL's."""
        self.marks = {self.config(), f"--config-file={os.path.dirname(self.config())}/data/postgresql.conf"}
        return super().pids()

    def members(self):
        return sorted({*self.pids(), *super().members()})

    def prepare(self):
        if not self.etcd.running():
            self.etcd.start()
            self.etcd.ready()
        if self.settings.get(self.name + "_life") != self.etcd.life:
            subprocess.run(["rm", "-rf", self.data()], check=True)
            self.settings.set(self.name + "_life", self.etcd.life)
        if not self.rest:
            self.settings.new_port(self.name + "_rest", self.low, self.high)
        with open(self.config(), "w", encoding="utf-8") as f:
            json.dump(self.configuration(), f, indent=1)  # which is YAML, too

    def configuration(self):
        base = self.base()
        timing = {"ttl": 20, "loop_wait": 1, "retry_timeout": 3}  # seconds
        common = {"use_pg_rewind": True, "parameters": {"max_prepared_transactions": 10}}
        local = {"fsync": "off", "shared_buffers": "64MB", "unix_socket_directories": base}
        listen, rest = f"127.0.0.1:{self.port}", f"127.0.0.1:{self.rest}"
        return {
            "scope": self.etcd.tag,
            "name": self.name,
            "restapi": {"listen": rest, "connect_address": rest},
            "etcd3": {"host": f"127.0.0.1:{self.etcd.port}"},
            "bootstrap": {
                "dcs": {**timing, "postgresql": common},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "no-sync"],
                "post_bootstrap": f"{self.bin('psql')} -q -c 'CREATE DATABASE movies'",
            },
            "postgresql": {
                "listen": listen,
                "connect_address": listen,
                "data_dir": self.data(),
                "bin_dir": os.path.dirname(self.bin("postgres")),
                "pgpass": os.path.join(base, "pgpass"),
                "basebackup": [{"checkpoint": "fast"}],
                "authentication": {
                    "superuser": {"username": USER, "password": PASSWORD},
                    "replication": {"username": "replicator", "password": PASSWORD},
                },
                "parameters": local,
                "pg_hba": ["local all all trust", "host all all 127.0.0.1/32 md5", "host replication all 127.0.0.1/32 md5"],
            },
        }

    def command(self):
        return ["patroni", self.config()]

    def answers(self):
        """PostgreSQL runs, as the primary or as a replica that streams."""
        rest = f"http://127.0.0.1:{self.rest}"
        return bool(self.rest) and 200 in (get(rest + "/primary"), get(rest + "/replica"))
