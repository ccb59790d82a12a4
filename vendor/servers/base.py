"""What every private server has: ports, folders, a process that is found by its command line."""
import glob
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
SET = os.environ.get("ETL_SERVICES") or "services"
HOME = os.path.join(ROOT, "build", SET)
TAG = "etl-engine-" + hashlib.sha256(ROOT.encode()).hexdigest()[:8] + SET.removeprefix("services")
START_LIMIT = 120  # seconds; 10 are usual, a loaded CI machine takes its time
STOP_LIMIT = 20  # seconds from asking a server to stop until it is killed


class Failed(Exception):
    """What could not be done, for the user: one line, perhaps followed by lines from a log."""


def say(text):
    print(f"vendor/services: {text}", file=sys.stderr, flush=True)


def wait_for(condition, limit):
    """Whether the condition came true within so many seconds."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def port_is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Settings:
    """Ports and folders, in build/services/settings.json. A copied checkout gets its own."""

    def __init__(self):
        self.path = os.path.join(HOME, "settings.json")
        try:
            with open(self.path, encoding="utf-8") as f:
                self.values = json.load(f)
        except (OSError, ValueError):
            self.values = {}
        if self.values.get("root") != ROOT:
            self.values = {"root": ROOT}

    def get(self, key):
        return self.values.get(key)

    def set(self, key, value):
        self.values[key] = value
        with open(self.path + ".new", "w", encoding="utf-8") as f:
            json.dump(self.values, f, indent=1)
        os.replace(self.path + ".new", self.path)

    def new_port(self, key, low, high):
        """A port that is free now. Below the range that the kernel takes for outgoing connections, so that
        it is free the next time too."""
        taken = set(self.values.values())
        while True:
            port = random.randrange(low, high)
            if port not in taken and port_is_free(port):
                self.set(key, port)
                return port


class Service:
    low, high = 20000, 32000
    only_by_name = False
    variable = None  # that scripts read its address from

    def __init__(self, name, settings):
        self.name = name
        self.settings = settings
        self.tag = f"{TAG}-{name}"
        self.dir = os.path.join(HOME, name)
        self.log = os.path.join(self.dir, "log")
        self.marks = {self.tag, "cluster_name=" + self.tag}  # words of its command line
        self.child = None

    @property
    def port(self):
        return self.settings.get(self.name)

    def pids(self):
        """Our processes, found by their command line."""
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as f:
                    words = f.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if self.marks & set(words):
                found.append(int(path.split("/")[2]))
        return found

    def usable(self):
        """Why it cannot run on this machine, or None."""
        return None

    def running(self):
        return bool(self.port and self.pids() and self.answers())

    def start(self):
        """Start the process and return; ready() waits for it."""
        os.makedirs(self.dir, exist_ok=True)
        if self.pids():
            if self.stopped():  # by SIGSTOP: it goes on where it was
                self.signal(signal.SIGCONT, self.members())
            return
        if not self.port or not port_is_free(self.port):
            if self.port:
                say(f"port {self.port} of {self.name} is in use by another program: choosing another")
            self.settings.new_port(self.name, self.low, self.high)
        self.prepare()
        say(f"starting {self.name} at {self.shown_url()}")
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.cwd(),
                start_new_session=True,
                **self.who(),
            )

    def ready(self):
        def done():
            if self.child and self.child.poll() is not None:
                raise Failed(f"{self.name} ended while starting (status {self.child.returncode})" + self.log_tail())
            return self.answers()

        if not wait_for(done, START_LIMIT):
            raise Failed(f"{self.name} does not answer after {START_LIMIT} s" + self.log_tail())

    def log_tail(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                lines = f.read().splitlines()[-15:]
        except OSError:
            return ""
        return f"; the end of {self.log}:\n" + "\n".join("    " + line[:300] for line in lines)

    def stopped(self):
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                    if f.read().rpartition(")")[2].split()[0] == "T":
                        return True
            except OSError:
                pass
        return False

    def members(self):
        """All processes that make up the server."""
        return self.pids()

    def signal(self, number, pids):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def ask_to_stop(self):
        self.signal(signal.SIGCONT, self.members())
        self.signal(self.stop_signal, self.pids())

    def wait_for_stop(self):
        if not self.gone(STOP_LIMIT):
            say(f"{self.name} did not stop within {STOP_LIMIT} s: killing it")
            self.signal(signal.SIGKILL, self.members())
            self.gone(STOP_LIMIT)

    def gone(self, limit):
        def done():
            if self.child:
                self.child.poll()  # it may be our own child: a zombie is none of the living
            return not self.pids()

        return wait_for(done, limit)

    def remove_outside(self):
        """Removes what it has outside of build/."""

    def who(self):
        return {}

    def cwd(self):
        return self.dir
