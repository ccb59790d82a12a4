"""Pipelines of one process that capture from the log of one database share a slot."""
import os
import random
import re
import signal

import pytest

from tools import wait_until
from wal import LIMIT, forget_all

TABLES = ("person", "genre", "film")

ENTRY = """{
  name = "%(name)s",
  source = { url = os.getenv "DATABASE_URL", table = "%(name)s", key = "id", capture = "wal",
             query = "SELECT id, v FROM %(name)s", %(source)s },
  sink = { url = os.getenv "ELASTICSEARCH_URL", index = "%(name)s" },
  state = os.getenv "FILE_PATH_STATE" .. ".%(name)s",
}"""


def entry(name, source=""):
    return ENTRY % {"name": name, "source": source}


def listing(names, source=""):
    return "return {\n" + ",\n".join(entry(name, source) for name in names) + "\n}\n"


class Shared:
    """A database with three tables, and a pipeline for each."""

    def __init__(self, engine, pg, search, write):
        self.engine, self.pg, self.search, self.write = engine, pg, search, write
        self.path = write(listing(TABLES), "all.lua")
        for table in TABLES:
            self.make(table)

    def make(self, table):
        self.pg.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, v text)")
        self.pg.execute(f"INSERT INTO {table} SELECT i, '{table} ' || i FROM generate_series(1, 50) i")

    def slots(self):
        return [name for (name,) in self.pg.query(
            "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()")]

    def confirmed(self):
        return self.pg.value("SELECT pg_wal_lsn_diff(confirmed_flush_lsn, '0/0')::bigint FROM pg_replication_slots"
                             " WHERE database = current_database()")

    def truth(self, table):
        return {str(key): v for key, v in self.pg.query(f"SELECT id, v FROM {table}")}

    def found(self, table):
        docs = self.search.docs(table) if self.search.exists(table) else {}
        return {key: doc["v"] for key, doc in docs.items()}

    def settle(self, *tables, running=None):
        for table in tables or TABLES:
            wait_until(lambda: self.found(table) == self.truth(table) or (running and not running.alive()),
                       LIMIT, f"the truth about {table}")
            assert self.found(table) == self.truth(table), running and running.stderr

    def follow(self, *words, n=len(TABLES), path=None, env=None):
        running = self.engine.start("run", path or self.path, *words, "--follow", env=env)
        wait_until(lambda: running.stderr.count("following slot") >= n or not running.alive(), LIMIT, "following")
        assert running.alive(), running.stderr
        return running

    def change(self, table, key=3):
        self.pg.execute(f"UPDATE {table} SET v = v || '!' WHERE id = %s", (key,))


@pytest.fixture
def shared(engine, pg, search_one, script):
    yield Shared(engine, pg, search_one, script)
    engine.close()
    forget_all(pg)


def sweeps(text, table):
    """How often the log has said that a pipeline has to compare every row."""
    return len(re.findall(rf"{table}: .*a sweep finds what the log does not tell", text))


def test_a_list_has_one_slot_and_one_publication(shared):
    running = shared.follow()
    assert shared.slots() == [f"etl_all_{shared.pg.name}"[:63]]
    assert shared.pg.value("SELECT count(*) FROM pg_publication") == 1
    assert shared.pg.value("SELECT count(*) FROM pg_publication_tables") == len(TABLES)
    assert shared.pg.value("SELECT count(*) FROM pg_stat_replication s JOIN pg_replication_slots r"
                           " ON r.active_pid = s.pid WHERE r.database = current_database()") == 1
    for table in TABLES:
        shared.change(table)
    shared.pg.execute("TRUNCATE genre; INSERT INTO genre SELECT i, 'new ' || i FROM generate_series(1, 49) i")
    shared.settle(running=running)
    assert running.stop().returncode == 143
    # again, once: nothing was missed, and nobody has to compare
    for table in TABLES:
        shared.change(table, 4)
    for _ in range(2):
        done = shared.engine("run", shared.path)
        assert done.returncode == 0, done
        assert "a sweep finds" not in done.stderr, done
        shared.settle()


def test_scripts_that_name_a_slot_share_it(shared):
    paths = [shared.write("return " + entry(name, 'slot = "etl_ours"'), f"{name}.lua") for name in TABLES]
    running = shared.follow(*paths[1:], path=paths[0])
    assert shared.slots() == ["etl_ours"]
    for table in TABLES:
        shared.change(table)
    shared.settle(running=running)
    other = shared.write("return " + entry("film", 'slot = "etl_ours", publication = "other"'), "other.lua")
    wrong = shared.engine("run", paths[0], other)
    assert wrong.returncode == 2 and "but not the publication" in wrong.stderr, wrong


def test_one_that_fails_holds_back_nobody(shared):
    running = shared.follow()
    shared.pg.execute("ALTER TABLE genre RENAME TO away")
    shared.pg.execute("INSERT INTO away VALUES (100, 'while it fails')")
    wait_until(lambda: "genre: starting again in" in running.stderr, LIMIT, "a failure")
    for table in ("person", "film"):
        shared.change(table)
    shared.settle("person", "film", running=running)
    here = shared.pg.value("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
    wait_until(lambda: shared.confirmed() >= here, LIMIT, "a slot that moves")
    shared.pg.execute("ALTER TABLE away RENAME TO genre")
    shared.settle(running=running)
    shared.search.request("DELETE", "/film")
    wait_until(lambda: "film: starting again in" in running.stderr, LIMIT, "another failure")
    shared.change("person", 5)
    shared.settle(running=running)


def test_one_that_cannot_start_gets_what_the_log_has_kept_for_it(shared):
    shared.follow().stop()
    shared.pg.execute("ALTER TABLE genre RENAME TO away")
    shared.change("away")
    running = shared.follow(n=2)
    shared.change("film")
    shared.settle("film", running=running)
    shared.pg.execute("ALTER TABLE away RENAME TO genre")
    shared.settle(running=running)
    assert sweeps(running.stderr, "genre") == 0, running.stderr


def test_who_was_not_there_compares_every_row(shared):
    first, second = (shared.write("return " + entry(name, 'slot = "etl_ours"'), f"{name}.lua") for name in ("person", "genre"))
    assert shared.engine("run", first).returncode == 0
    shared.follow(second, path=first, n=2).stop()
    shared.change("genre")
    shared.change("person")
    shared.pg.execute("DELETE FROM person WHERE id = 7")
    done = shared.engine("run", second)  # `person` is left behind
    assert done.returncode == 0 and sweeps(done.stderr, "genre") == 0, done
    shared.settle("genre")
    running = shared.follow(second, path=first, n=2)
    shared.settle("person", "genre", running=running)
    assert sweeps(running.stderr, "person") == 1 and sweeps(running.stderr, "genre") == 0, running.stderr


def test_a_slot_that_is_gone_is_made_once(shared):
    running = shared.follow()
    slot, = shared.slots()
    shared.pg.execute(f"""DO $$ BEGIN FOR i IN 1..1000 LOOP BEGIN
        PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}' AND active_pid IS NOT NULL;
        PERFORM pg_drop_replication_slot('{slot}');
        RETURN;
        EXCEPTION WHEN object_in_use THEN PERFORM pg_sleep(0.01); END; END LOOP; RAISE 'in use'; END $$""")
    for table in TABLES:
        shared.pg.execute(f"DELETE FROM {table} WHERE id = 9")
    shared.settle(running=running)
    assert shared.slots() == [slot]
    for table in TABLES:
        wait_until(lambda: sweeps(running.stderr, table) >= 1, LIMIT, "a sweep")
        shared.change(table, 10)
    shared.settle(running=running)
    assert running.stderr.count("created slot") == 2, running.stderr


def test_kill_9_at_random_moments(shared):
    rng = random.Random(int(os.environ.get("ETL_SEED", "14")))
    shared.follow().stop()
    for _ in range(6):
        names = rng.sample(TABLES, rng.choice((2, 3, 3)))
        # some start without one of them, and so some come back later
        path = shared.write(listing(names), "all.lua")
        running = shared.engine.start("run", path, "--follow")
        for _ in range(rng.randint(5, 40)):
            table = rng.choice(TABLES)
            key = rng.randint(1, 60)
            shared.pg.execute(rng.choice((
                f"INSERT INTO {table} VALUES ({key}, 'new') ON CONFLICT (id) DO UPDATE SET v = {table}.v || '+'",
                f"DELETE FROM {table} WHERE id = {key}",
                f"UPDATE {table} SET v = v || '.' WHERE id % 7 = {key % 7}")))
        if rng.random() < 0.5:
            wait_until(lambda: running.stderr.count("following slot") >= len(names) or not running.alive(), LIMIT)
        running.signal(signal.SIGKILL)
        wait_until(lambda: not running.alive(), LIMIT)
        # the server may not have noticed yet
        shared.pg.query("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                        " WHERE database = current_database() AND active_pid IS NOT NULL")
    shared.path = shared.write(listing(TABLES), "all.lua")
    running = shared.follow()
    shared.settle(running=running)
    assert len(shared.slots()) == 1


def test_a_slot_that_is_dropped_with_one_of_them(shared):
    assert shared.engine("run", shared.path).returncode == 0
    done = shared.engine("state", "reset", "--drop-slot", f"{shared.path}#genre")
    assert done.returncode == 0 and "if other pipelines share slot" in done.stderr, done
    for table in ("person", "film"):  # what is gone from genre, a new load does not see
        shared.pg.execute(f"DELETE FROM {table} WHERE id = 9")
    done = shared.engine("run", shared.path)
    assert done.returncode == 0 and sweeps(done.stderr, "film") == sweeps(done.stderr, "person") == 1, done
    shared.settle()
    assert len(shared.slots()) == 1


def test_a_reindex_of_one_beside_the_process(shared):
    running = shared.follow()
    done = shared.engine("reindex", "--replace-index", f"{shared.path}#genre")
    assert done.returncode == 0, done
    for table in TABLES:
        shared.change(table)
    shared.settle(running=running)
    assert len(shared.slots()) == 1
