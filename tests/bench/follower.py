"""A process that keeps an index in sync with the films, and what is measured of it: the parts `latency` and `fanout`.

The engine, by polls and from the log, is one; so is the peer. Nothing differs but the command. A change has arrived when
the index answers with it.
"""
import os
import random
import signal
import subprocess
import threading
import time

import psycopg2

from basis import CHANGES, FILMS, OUT, POSTGRES, RUNS, SEARCH, make_copy, say
from index import Index, NotInTime
from used import server_cpu, session_cpu, session_mb

SIZES = sorted({min(10000, FILMS // 2), FILMS})  # of fan-outs
STREAM = 1000  # films a second, 10 in each commit

FAN_OUT = """
INSERT INTO content.genre (created, modified, id, name)
SELECT now(), now(), md5('fan-out {0}')::uuid, 'fan-out {0}';
INSERT INTO content.genre_film_work (id, created, modified, film_work_id, genre_id)
SELECT md5('fan-out {0} ' || id)::uuid, modified, modified, id, md5('fan-out {0}')::uuid
  FROM (SELECT id, modified FROM content.film_work ORDER BY id LIMIT {0}) f;
"""
RENAME = "UPDATE content.genre SET name = %s, modified = clock_timestamp() WHERE id = md5(%s)::uuid"
RETITLE = "UPDATE content.film_work SET title = %s, modified = clock_timestamp() WHERE id = %s"
RETITLE_MANY = """
UPDATE content.film_work SET title = %s, modified = clock_timestamp()
 WHERE id IN (SELECT id FROM content.film_work ORDER BY id LIMIT %s)"""
RERATE = "UPDATE content.film_work SET rating = %s, modified = clock_timestamp() WHERE id = ANY(%s::uuid[])"


def prepare():
    """A copy of the films, with genres that many films have. Its address."""
    url = make_copy()
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for size in SIZES:
            cursor.execute(FAN_OUT.format(size))
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
    connection.close()
    return url


class Ended(Exception):
    """The process ended by itself; the text says so."""


class Stream(threading.Thread):
    """Changes films all the time, for who follows to have something to do. `rate` is what it came to."""

    def __init__(self, url, keys):
        super().__init__(daemon=True)
        self.url, self.keys, self.rate = url, keys, 0.0
        self.ended = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()

    def run(self):
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        began, n = time.monotonic(), 0
        with connection.cursor() as cursor:
            while not self.ended.wait(max(0.0, began + (n + 1) * 10 / STREAM - time.monotonic())):
                first = n * 10 % len(self.keys)
                cursor.execute(RERATE, (n % 100 / 10, self.keys[first : first + 10]))
                n += 1
        self.rate = n * 10 / (time.monotonic() - began)
        connection.close()


class Follower:
    """pause: the seconds within which, at any moment, the next change comes; as long as the interval of who polls."""

    def __init__(self, name, command, index, pause=1.0, env=None, limit=3600):
        self.name, self.command, self.pause, self.env = name, command, pause, env or {}
        self.index = Index(index, limit, self.check)
        self.log = os.path.join(OUT, f"{index}.log")
        self.rng, self.marks = random.Random(1), 0
        self.process, self.session, self.has_ended = None, None, False

    # ---- its life ----

    def __enter__(self):
        self.url = prepare()
        self.index.delete()
        env = {**os.environ, "DATABASE_URL": self.url, "ELASTICSEARCH_URL": SEARCH.url, **self.env}
        self.began, self.before = time.monotonic(), (server_cpu(POSTGRES), server_cpu(SEARCH))
        with open(self.log, "wb") as log:
            # A session of its own: whatever it starts is found by that, and ends with it.
            self.process = subprocess.Popen(
                self.command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.session = psycopg2.connect(self.url)
        self.session.autocommit = True
        self.cursor = self.session.cursor()
        return self

    def __exit__(self, *_):
        self.session.close()
        end_session(self.process)

    def check(self):
        """Raises if it has ended, the second time: what it did last is looked at once more."""
        if self.process.poll() is not None and self.has_ended:
            raise Ended(f"it ended with status {self.process.returncode}")
        self.has_ended = self.process.returncode is not None

    # ---- what is measured ----

    def load(self):
        """From its start until the index has all documents."""
        ended = self.index.wait_for_count("*", FILMS, FILMS)
        return {
            "wall_s": ended - self.began,
            "own_us": session_cpu(self.process.pid) / FILMS * 1e6,
            "postgres_s": server_cpu(POSTGRES) - self.before[0],
            "search_s": server_cpu(SEARCH) - self.before[1],
            "mb": session_mb(self.process.pid),
        }

    def mark(self):
        """A word that no document has."""
        self.marks += 1
        return f"mark{self.rng.getrandbits(40):010x}x{self.marks}"

    def change(self, keys, pause=None):
        """Seconds from the commit of one film's change until the index has it."""
        key, mark = self.rng.choice(keys), self.mark()
        time.sleep(self.rng.random() * (self.pause if pause is None else pause))
        self.cursor.execute(RETITLE, (mark, key))
        committed = time.monotonic()
        return self.index.wait_for_text(key, mark) - committed

    def keys(self):
        self.cursor.execute("SELECT id::text FROM content.film_work ORDER BY id LIMIT 20000")
        return [key for (key,) in self.cursor.fetchall()]

    def latency(self):
        """Of single changes: with nothing else to do, and with a steady stream of others. And its CPU when idle."""
        keys = self.keys()
        half = len(keys) // 2
        self.change(keys[:half])  # the first one may find it still busy with what the load has left
        found = {"idle_s": [self.change(keys[:half]) for _ in range(CHANGES)], "idle_cpu": self.idle_cpu()}
        with Stream(self.url, keys[half:]) as stream:
            found["stream_s"] = [self.change(keys[:half]) for _ in range(CHANGES)]
        self.change(keys[:half])  # those before it have arrived
        return {**found, "rate": stream.rate}

    def idle_cpu(self):
        """Of a core, in percent."""
        seconds, before = 20 if FILMS >= 20000 else 1, session_cpu(self.process.pid)
        time.sleep(seconds)
        return (session_cpu(self.process.pid) - before) * 100 / seconds

    def seconds_until(self, statement, words, query, documents):
        written = self.index.written()
        self.cursor.execute(statement, words)
        committed = time.monotonic()
        return self.index.wait_for_count(query, documents, written + documents) - committed

    def fan_out(self, size):
        """One row that so many documents contain is changed: seconds until the index has all of them."""
        mark = self.mark()
        return self.seconds_until(RENAME, (mark, f"fan-out {size}"), f"genres:{mark}", size)

    def transaction(self, size):
        """So many rows are changed by one transaction."""
        mark = self.mark()
        return self.seconds_until(RETITLE_MANY, (mark, size), f"title:{mark}", size)

    def meanwhile(self, size):
        """Single changes, one after the other, while a row that so many documents contain makes its way."""
        keys, mark, delays = self.keys(), self.mark(), []
        self.cursor.execute(RENAME, (mark, f"fan-out {size}"))
        began = looked = time.monotonic()
        while True:
            delays.append(self.change(keys, 0))
            self.index.in_time(began, f"{size} documents with genres:{mark}")
            if time.monotonic() > looked + 1:  # a look refreshes the index, hence seldom
                if self.index.count(f"genres:{mark}") >= size:
                    return delays
                looked = time.monotonic()

    def fan_outs(self):
        return {
            "meanwhile_s": self.meanwhile(SIZES[-1]),
            "sizes": [{"documents": size, "runs": [self.fan_out(size) for _ in range(RUNS)]} for size in SIZES],
            "transaction": {"rows": SIZES[0], "runs": [self.transaction(SIZES[0]) for _ in range(RUNS)]},
        }

    def parts(self, chosen, found):
        """Those of "latency" and "fanout" that are chosen; in an index that has all documents."""
        for name, work in (("latency", self.latency), ("fanout", self.fan_outs)):
            if name in chosen:
                say(f"{self.name}: {name}")
                found[name] = work()
        found["mb"] = session_mb(self.process.pid)


def measure(begin, chosen, loads):
    """begin() gives a follower that is about to start; what it takes to load, so many times, and its parts. "stopped" says
    why there are not all of them."""
    runs, found = [], {}
    try:
        for n in range(loads):
            with begin() as follower:
                say(f"{follower.name}: load {n + 1} of {loads}")
                runs.append(follower.load())
                if n == loads - 1:
                    follower.parts(chosen, found)
            follower.index.delete()
    except (Ended, NotInTime) as why:
        found["stopped"] = str(why)
    return {**found, "loads": runs}


def end_session(process, patience=10):
    """SIGTERM to all of a session, then SIGKILL to what is left of it."""
    for sig, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, sig)
        except ProcessLookupError:
            break
        end = time.monotonic() + seconds
        while group_lives(process) and time.monotonic() < end:
            time.sleep(0.02)
    process.wait()


def group_lives(process):
    process.poll()  # one that has ended and that nobody has waited for is still of the group
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True
