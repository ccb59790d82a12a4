"""Whoever sets the cursor: writers with clocks and sequences of their own, on the real server; only looks count, no sweep.

tests/unit/test_watermark.c has the model of the same, with many more schedules."""
import random
import threading
import time

import films
import psycopg2
import pytest

from tools import SLOW, wait_until
from world import LONG

SKEW = 0.6  # seconds that a writer's clock may be behind; lookback is 2

KINDS = {  # a cursor's type, and what a writer sets it to: {t} is its own clock, as a timestamptz
    "server's now()": ("timestamptz", "now()"),
    "milliseconds": ("timestamptz", "date_trunc('milliseconds', {t})"),
    "own clocks": ("timestamptz", "{t}"),
    "whole seconds": ("timestamptz(0)", "date_trunc('second', {t})"),
    "days": ("date", "{t}::date"),
    "local time": ("timestamp", "{t} AT TIME ZONE 'Asia/Kolkata'"),
    "epoch milliseconds": ("bigint", "(extract(epoch FROM {t}) * 1000)::bigint"),
    "epoch hours": ("bigint", "(extract(epoch FROM {t}) / 3600)::bigint"),
    "cached sequence": ("bigint", "nextval('numbers')"),
}
WAYS = ("follow", "kill", "one-shot")


class Writer(threading.Thread):
    """Transactions of every length; some with savepoints, some rolled back, some long before their first write."""

    def __init__(self, pg, cursor, seed, until):
        super().__init__()
        self.pg, self.cursor, self.until = pg, cursor, until
        self.rng = random.Random(seed)
        self.skew = self.rng.random() * SKEW
        self.error = None

    def run(self):
        try:
            with psycopg2.connect(self.pg.url) as connection:
                while time.monotonic() < self.until:
                    self.transaction(connection)
            connection.close()
        except psycopg2.Error as error:
            self.error = error

    def pause(self, most):
        time.sleep(self.rng.random() * most)

    def transaction(self, connection):
        rng, now = self.rng, time.time() - self.skew  # before BEGIN reaches the server, as an application does
        cursor = self.cursor.format(t=f"to_timestamp({now:.6f})")
        long = rng.random() < 0.1
        with connection.cursor() as c:
            c.execute("SELECT 1")
            if long:
                self.pause(1)
            for _ in range(rng.randint(1, 4)):
                savepoint = rng.random() < 0.4
                c.execute("SAVEPOINT s" if savepoint else "SELECT 1")
                c.execute(f"INSERT INTO t (id, v, modified) VALUES (%s, %s, {cursor}) ON CONFLICT (id) DO UPDATE"
                          " SET v = excluded.v, modified = excluded.modified", (rng.randint(1, 300), str(rng.random())))  # fmt: skip
                if savepoint and rng.random() < 0.3:
                    c.execute("ROLLBACK TO s")
            self.pause(2 if long else 0.02)
        if rng.random() < 0.1:
            connection.rollback()
        else:
            try:
                connection.commit()
            except psycopg2.errors.DeadlockDetected:
                connection.rollback()


def truth(pg):
    return {str(key): {"v": v} for key, v in pg.query("SELECT id, v FROM t")}


@pytest.mark.parametrize("number, kind", list(enumerate(KINDS)), ids=KINDS)
def test_whoever_sets_the_cursor_nothing_is_lost(engine, pg, search_one, script, rng, number, kind):
    column, cursor = KINDS[kind]
    pg.execute("CREATE SEQUENCE numbers CACHE 20")
    films.table(pg, column, 0)
    pg.execute(f"INSERT INTO t SELECT i, 'v', {cursor.format(t='now()')} FROM generate_series(1, 50) i")
    path = script(films.plain(source="lookback = 2,", extra="poll_interval = 0.1, sweep = 0,"))
    films.run(engine, path)
    for way in WAYS if LONG else (WAYS[number % len(WAYS)],):
        end = time.monotonic() + (40 if LONG else 6)
        writers = [Writer(pg, cursor, rng.getrandbits(32), end) for _ in range(5)]
        for writer in writers:
            writer.start()
        running = engine.start(path, "--follow") if way != "one-shot" else None
        while time.monotonic() < end:
            if way == "one-shot":
                films.run(engine, path)
            else:
                time.sleep(rng.random())
            if way == "kill":
                running.kill()
                running = engine.start(path, "--follow")
        for writer in writers:
            writer.join()
            if writer.error and not isinstance(writer.error, psycopg2.errors.DeadlockDetected):
                raise writer.error
        if way == "one-shot":
            films.run(engine, path)
            assert search_one.docs("t") == truth(pg)
        else:
            wait_until(lambda: search_one.docs("t") == truth(pg), timeout=15 * SLOW, what="the index as the rows are")
            assert running.stop().returncode == 143
