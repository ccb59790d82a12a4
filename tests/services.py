"""The private servers, from a test's point of view: where they are, and how to hurt them."""
import importlib.machinery
import importlib.util
import os
import signal
import subprocess
import sys

from tools import ROOT, wait_until

PROGRAM = os.path.join(ROOT, "vendor", "services")

# Servers of the tests' own: whoever tries the demo, or points ETL_SERVICES elsewhere, keeps what is in his. (Measurements:
# ETL_TEST_SERVICES.) Where several tests run at a time (pytest-xdist), each process has its own, too.
SET = os.environ.get("ETL_TEST_SERVICES", "services-tests")
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
os.environ["ETL_SERVICES"] = SET if WORKER == "gw0" else f"{SET}-{WORKER}"


def _load():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("vendor_services", PROGRAM)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


_vendor = _load()


def vendor(name):
    """What vendor/services itself knows of a server: where its programs are, and who runs them."""
    return known()[name]


def failure():
    """What vendor/services raises for what could not be done."""
    return _vendor.Failed


def known():
    """All servers that vendor/services knows, by their names."""
    return _vendor.services()


def run(*words, program=PROGRAM):
    """Run vendor/services, for example run("up", "postgres"); the completed process with its output as text."""
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


class Server:
    """One of the private servers. Whatever a test does to it, the next test finds it running."""

    def __init__(self, name):
        self.name = name

    @property
    def _service(self):
        return _vendor.services()[self.name]

    @property
    def port(self):
        return self._service.port

    @property
    def is_partial(self):
        """Maven lacks some modules of it: mapper-extras, ingest-common, painless, reindex."""
        return self.name.startswith(("elasticsearch8", "elasticsearch9"))

    @property
    def url(self):
        return self._service.url()

    @property
    def pid(self):
        return self._service.pids()[0]

    @property
    def log(self):
        return self._service.log

    def usable(self):
        return not self._service.usable()

    def running(self):
        return self._service.running()

    def up(self):
        done = run("up", self.name)
        assert done.returncode == 0, done.stderr

    def down(self):
        done = run("down", self.name)
        assert done.returncode == 0, done.stderr

    def restart(self):
        done = run("restart", self.name)
        assert done.returncode == 0, done.stderr

    def freeze(self):
        """SIGSTOP: connections stay open, nothing is answered. PostgreSQL's backends freeze too."""
        self._signal(signal.SIGSTOP)
        wait_until(self._service.stopped, what=f"{self.name} frozen")

    def thaw(self):
        self._signal(signal.SIGCONT)

    def kill(self):
        """SIGKILL, and wait until nothing is left of it. For PostgreSQL this is its crash: recovery follows."""
        self._signal(signal.SIGKILL)
        assert self._service.gone(20), f"{self.name} survived SIGKILL"

    def stop_immediately(self):
        """PostgreSQL's immediate shutdown: clients are cut off, and the next start recovers."""
        os.kill(self.pid, signal.SIGQUIT)
        assert self._service.gone(20), f"{self.name} survived SIGQUIT"

    def _signal(self, number):
        service = self._service
        service.signal(number, service.members())


POSTGRES = Server(os.environ.get("ETL_POSTGRES", "postgres"))  # of another version, say
NODES = [Server(name) for name in ("node1", "node2", "node3")]  # of one cluster
USUAL = ("opensearch", "elasticsearch", "opensearch3")  # those of ETL_SEARCH, if it names some: "elasticsearch9"
SEARCH = [Server(name) for name in filter(None, os.environ.get("ETL_SEARCH", "").split(","))] or [Server(name) for name in USUAL]
