"""PostgreSQL servers of a test's own, to be copied, restored, and promoted.

    own_servers.new("log_statement=all") a server, running, at a port of its own
    servers_of("postgres17").new()       the same of another version
    server.backup()                      another one, from a base backup, not running
    server.standby()                     another one that follows it, running; promote()
    server.standby("two")                the same by a slot, for which failover slots wait (17)
    server.save(), server.restore()      its whole folder, as a backup of the machine has it
"""
import os
import shutil
import signal
import subprocess
import tempfile

import psycopg2
import pytest

import services
import tools
from tools import wait_until

SETTINGS = ("wal_level=logical", "fsync=off", "shared_buffers=32MB", "max_connections=40", "max_prepared_transactions=10")


class Server:
    """One database. Looks like conftest.Database."""

    name = "postgres"

    def __init__(self, servers, port=None, settings=()):
        self.servers, self.settings = servers, (*SETTINGS, *settings)
        self.port = port or tools.free_port()
        self.folder = servers.folder()
        self.data = os.path.join(self.folder, "data")
        self.log = os.path.join(self.folder, "log")
        self.url = self.url_at(self.port)
        self.process = None
        servers.all.append(self)

    def url_at(self, port, **options):
        query = "?" + "&".join(f"{k}={v}" for k, v in options.items()) if options else ""
        return f"postgresql://etl@127.0.0.1:{port}/{self.name}{query}"

    # its life

    def make(self):
        self.servers.run(
            "initdb", "-D", self.data, "-U", "etl", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"
        )
        return self

    def start(self):
        words = [self.servers.vendor.bin("postgres"), "-D", self.data, "-p", str(self.port), "-h", "127.0.0.1", "-k", self.folder]
        for setting in self.settings:
            words += ["-c", setting]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(words, cwd="/", stdout=log, stderr=log, **self.servers.vendor.who())
        wait_until(self._answers, timeout=60, what="a PostgreSQL of the test's own")
        return self

    def stop(self, number=signal.SIGINT):
        if self.process:
            self.process.send_signal(number)
            self.process.wait(60)
        self.process = None

    def _answers(self):
        assert self.process.poll() is None, self.said()
        try:
            return self.value("SELECT true")
        except psycopg2.OperationalError:
            return False

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    # copies of it

    def version(self):
        return self.value("SELECT current_setting('server_version_num')::int / 10000")

    def backup(self):
        """A base backup; it starts as it was at the backup's end. (Not every version comes with pg_basebackup.)"""
        other = Server(self.servers, settings=self.settings)
        old = self.version() < 15
        session = psycopg2.connect(self.url)
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute("SELECT pg_start_backup('test', true, false)" if old else "SELECT pg_backup_start('test', true)")
            subprocess.run(["cp", "-a", self.data, other.data], check=False, stderr=subprocess.DEVNULL)  # some vanish
            cursor.execute(f"SELECT labelfile FROM {'pg_stop_backup(false, false)' if old else 'pg_backup_stop(false)'}")
            label = cursor.fetchone()[0]
            subprocess.run(["rm", "-rf", *(os.path.join(other.data, name) for name in ("pg_wal", "postmaster.pid"))], check=True)
            subprocess.run(["cp", "-a", os.path.join(self.data, "pg_wal"), other.data], check=True)
        session.close()
        shutil.rmtree(os.path.join(other.data, "pg_replslot"))
        os.mkdir(os.path.join(other.data, "pg_replslot"), 0o700)
        other.write("backup_label", label)
        shutil.copystat(other.data, os.path.join(other.data, "pg_replslot"))
        return other

    def write(self, name, text=""):
        """A file in its folder."""
        with open(os.path.join(self.data, name), "w", encoding="utf-8") as f:
            f.write(text)
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", "postgres:postgres", self.data], check=True)

    def standby(self, slot=None, settings=()):
        """slot: the name of the one by which it follows."""
        other = self.backup()
        other.write("standby.signal")
        other.follow(self, slot, settings)
        other.start()
        self.wait_replayed(other)
        return other

    def follow(self, primary, slot=None, settings=()):
        """From its next start on."""
        self.settings += (f"primary_conninfo=host=127.0.0.1 port={primary.port} user=etl dbname={self.name}", *settings)
        if slot:
            primary.query("SELECT pg_create_physical_replication_slot(%s, true)", (slot,))
            self.settings += (f"primary_slot_name={slot}", "hot_standby_feedback=on")
        if slot and primary.version() >= 17:  # slots are synchronised by pg_sync_replication_slots()
            primary.execute(f"ALTER SYSTEM SET synchronized_standby_slots = '{slot}'")
            primary.query("SELECT pg_reload_conf()")

    def copy_slot(self, primary, name):
        """The primary's slot, as its file has it, while this one does not run."""
        assert not self.process
        file = os.path.join("pg_replslot", name, "state")
        os.makedirs(os.path.join(self.data, os.path.dirname(file)), 0o700)
        shutil.copy(os.path.join(primary.data, file), os.path.join(self.data, file))
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", "postgres:postgres", self.data], check=True)

    def reset(self, name):
        self.execute(f"ALTER SYSTEM RESET {name}")
        self.query("SELECT pg_reload_conf()")

    def wait_replayed(self, standby):
        lsn = self.value("SELECT pg_current_wal_lsn()")
        wait_until(lambda: standby.value("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (lsn,)), timeout=60)

    def promote(self):
        self.execute("SELECT pg_promote()")
        wait_until(lambda: not self.value("SELECT pg_is_in_recovery()"), timeout=60)

    def save(self):
        """Its folder, while it does not run."""
        assert not self.process
        shutil.rmtree(self.data + ".saved", ignore_errors=True)
        subprocess.run(["cp", "-a", self.data, self.data + ".saved"], check=True)

    def restore(self):
        assert not self.process
        shutil.rmtree(self.data)
        subprocess.run(["cp", "-a", self.data + ".saved", self.data], check=True)

    # SQL

    def connect(self):
        return psycopg2.connect(self.url)

    def query(self, sql, params=None):
        return self._run(sql, params, lambda cursor: cursor.fetchall())

    def value(self, sql, params=None):
        return self.query(sql, params)[0][0]

    def execute(self, sql, params=None):
        return self._run(sql, params, lambda cursor: cursor.rowcount)

    def _run(self, sql, params, result):
        session = psycopg2.connect(self.url)
        try:
            session.autocommit = True
            with session.cursor() as cursor:
                cursor.execute(sql, params)
                return result(cursor)
        finally:
            session.close()


class Servers:
    def __init__(self, name=None):
        self.vendor = services.vendor(name or services.POSTGRES.name)
        os.makedirs(self.vendor.dir, exist_ok=True)
        self.vendor.unpack()
        self.all, self.folders = [], []

    def new(self, *settings):
        server = Server(self, settings=settings)
        return server.make().start()

    def folder(self):
        """Where PostgreSQL's user can get to, and not too long for a socket."""
        folder = tempfile.mkdtemp(prefix="etl-pg-", dir="/var/tmp")
        self.folders.append(folder)
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        os.chmod(folder, 0o755)
        return folder

    def run(self, program, *words):
        done = subprocess.run(
            [self.vendor.bin(program), *words], cwd="/", capture_output=True, text=True, check=False, **self.vendor.who()
        )
        assert done.returncode == 0, done.stderr

    def close(self):
        for server in self.all:
            server.stop(signal.SIGQUIT)
        for folder in self.folders:
            shutil.rmtree(folder)


@pytest.fixture
def own_servers():
    servers = Servers()
    yield servers
    servers.close()


@pytest.fixture
def servers_of():
    made = []

    def make(name):
        made.append(Servers(name))
        return made[-1]

    yield make
    for servers in made:
        servers.close()
