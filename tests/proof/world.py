"""The world of the proof: films that writers change, the engine that follows, and what has to be true in the end."""
import json
import os
import time

from model import Model
from tools import ROOT, SLOW, wait_until

LONG = os.environ.get("ETL_FAULTS") == "long"
def rounds(short, long):
    """How often a fault strikes, in the short form and in the long one."""
    return long if LONG else short


INTERVAL = 0.2  # seconds: the script's poll_interval


def write_script(write, source="", more="", name="movies.lua"):
    """scripts/movies.lua with a short interval, and more fields."""
    with open(os.path.join(ROOT, "scripts", "movies.lua"), encoding="utf-8") as f:
        text = f.read()
    text = text.replace('name = "movies",', f'name = "movies", poll_interval = {INTERVAL}, {more}', 1)
    text = text.replace('cursor = "modified",', f'cursor = "modified", {source}', 1)
    return write(text, name)


class World:
    def __init__(self, movies, search, engine, write, rng, folder):
        self.movies = movies
        self.search = search
        self.engine = engine
        self.write = write
        self.rng = rng
        self.folder = folder
        self.script = write_script(write)
        self.model = Model(movies, rng.getrandbits(32))
        self.running = None
        self.starts = 0

    # The engine

    def start(self, *words):
        """Deletes are allowed: these writers delete more than the guard would ever take for sane."""
        self.starts += 1
        self.running = self.engine.start(self.script, "--follow", "--allow-deletes", *words)
        return self.running

    def follow(self, *words):
        """Start, and wait until it follows."""
        running = self.start(*words)
        wait_until(lambda: ": following" in running.stderr or not running.alive(), what="following")
        assert running.alive(), running.stderr
        return running

    def kill(self):
        """SIGKILL. That it still ran is asserted: --follow never ends by itself."""
        self.assert_alive()
        self.running.kill()

    def stop(self):
        self.assert_alive()
        done = self.running.stop()
        assert done.returncode in (143, 130), done
        return done

    def assert_alive(self):
        assert self.running.alive(), f"the engine ended by itself: {self.running.wait()}"

    def pause(self, least, most):
        """Some time passes, as the seed has it."""
        time.sleep(least + self.rng.random() * (most - least))

    # The truth

    def truth(self):
        """What the script gives now, past all proxies: {_id: document}."""
        done = self.engine(self.script, "--dry-run", "--format", "bulk", env={"DATABASE_URL": self.movies.url})
        assert done.returncode == 0, done
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return {action["index"]["_id"]: document for action, document in zip(lines[::2], lines[1::2])}

    def differences(self, truth, besides=()):
        found = self.search.docs("movies")
        wrong = {key for key in truth.keys() | found.keys() if truth.get(key) != found.get(key)}
        return {
            key: "missing" if key not in found else "left over" if key not in truth else (found[key], truth[key])
            for key in wrong - set(besides)
        }

    def wait_true(self, besides=(), timeout=30):
        """All documents, but for those of the films in `besides`, are right within so many seconds."""
        truth = self.truth()
        end = time.monotonic() + timeout * SLOW
        while True:
            wrong = self.differences(truth, besides)
            if not wrong:
                return
            if time.monotonic() > end:
                shown = "\n".join(f"{key}: {what}" for key, what in list(wrong.items())[:3])
                print(self.running.stderr[-6000:] if self.running else "")
                raise AssertionError(f"{len(wrong)} of {len(truth)} documents are wrong:\n{shown}")
            time.sleep(0.05)

    def no_open_transactions(self):
        return 0 == self.movies.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
            " AND application_name <> 'etl-engine' AND pid <> pg_backend_pid()"
        )

    def settle(self, timeout=10):
        """Nobody writes any more. First the poll alone has to be right about all that it can see; then, after one sweep,
        everything is."""
        if not (self.running and self.running.alive()):
            self.follow()
        wait_until(self.no_open_transactions, what="no open transactions")
        print(f"commits {self.model.commits}, rollbacks {self.model.rollbacks}, failures {self.model.failures}, "
              f"blind {len(self.model.blind())}, engine starts {self.starts}")  # fmt: skip
        self.wait_true(besides=self.model.blind(), timeout=timeout)
        self.stop()
        done = self.engine(self.script, "--sweep", "--allow-deletes")
        assert done.returncode == 0, done
        wrong = self.differences(self.truth())
        assert not wrong, wrong
