"""Changes that the log does not tell of: of partitions by themselves, of the publication, of tables that are made again.
A sweep finds what they did."""
import os
import time

import pytest

SCRIPT = """
return {
  name = "unseen",
  source = {
    url = os.getenv "DATABASE_URL", table = "t", key = "id", capture = "wal",
    slot = "%(slot)s", publication = "%(slot)s", query = "SELECT id, v FROM t",
    related = { { table = "r", key = "id", affects = "t_id" } },
  },
  sink = { url = os.getenv "ELASTICSEARCH_URL", index = "t" },
  state = os.getenv "FILE_PATH_STATE",
}
"""

TABLES = """
    CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);
    CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (100) TO (200);
    INSERT INTO t SELECT i, 'x' FROM generate_series(1, 150) i;
    CREATE TABLE r (id int PRIMARY KEY, t_id int);
    ALTER TABLE r REPLICA IDENTITY FULL;
"""

# each leaves keys 1 to 99, or 51 to 150 changed, and is followed by a run that has to notice
CHANGES = {
    "a partition dropped": "DROP TABLE t2",
    "a partition emptied": "TRUNCATE t2",
    "a partition detached": "ALTER TABLE t DETACH PARTITION t2",
    "a partition attached": "CREATE TABLE t3 (LIKE t INCLUDING ALL); INSERT INTO t3 VALUES (250, 'new');"
                            " ALTER TABLE t ATTACH PARTITION t3 FOR VALUES FROM (200) TO (300)",
    "a publication altered and altered back": "ALTER PUBLICATION %(slot)s SET (publish = 'insert'); DELETE FROM t WHERE id < 20;"
                                              " ALTER PUBLICATION %(slot)s SET (publish = 'insert, update, delete, truncate')",
    "a root made again and published": "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v text);"
                                       " INSERT INTO t SELECT i, 'again' FROM generate_series(1, 140) i;"
                                       " ALTER PUBLICATION %(slot)s ADD TABLE t",
}


@pytest.fixture
def search(search_one):
    return search_one


@pytest.fixture
def path(pg, search, script):
    pg.needs(13, "partitioned tables in the log")
    pg.execute(TABLES)
    return script(SCRIPT % {"slot": pg.name})


def rows(pg):
    return {str(key): {"id": key, "v": v} for key, v in pg.query("SELECT id, v FROM t")}


def change(pg, name):
    for statement in (CHANGES[name] % {"slot": pg.name}).split(";"):
        pg.execute(statement)


@pytest.mark.parametrize("name", CHANGES)
def test_the_next_run_notices(pg, engine, search, path, name):
    assert engine("run", path).returncode == 0
    change(pg, name)
    done = engine("run", path)
    assert done.returncode == 0, done
    assert search.docs("t") == rows(pg), done
    again = engine("run", path)
    assert "sweep" not in again.stderr, again


@pytest.mark.parametrize("name", ["a partition dropped", "a partition emptied", "a root made again and published"])
def test_a_run_that_follows_notices(pg, engine, search, path, wait_until, name):
    running = engine.start("run", path, "--follow")
    wait_until(lambda: "following slot" in running.stderr, timeout=60)
    change(pg, name)
    wait_until(lambda: search.docs("t") == rows(pg), timeout=60)
    assert running.stop().returncode == 143


def test_what_was_lost_while_a_publication_was_refused(pg, engine, search, path):
    """As the hint says."""
    engine("run", path)
    pg.execute(f"ALTER PUBLICATION {pg.name} SET (publish = 'insert, update')")
    pg.execute("DELETE FROM t WHERE id BETWEEN 30 AND 40")
    refused = engine("run", path)
    assert refused.returncode == 2 and "does not publish all kinds of changes" in refused.stderr, refused
    pg.execute(f"ALTER PUBLICATION {pg.name} SET (publish = 'insert, update, delete, truncate')")
    done = engine("run", path)
    assert done.returncode == 0 and search.docs("t") == rows(pg), done


def test_a_journal_of_before_is_not_delivered(pg, engine, search, path):
    """Without a state everything is loaded: what the journal has of before is passed over."""
    engine("run", path)
    pg.execute("TRUNCATE t; INSERT INTO t SELECT i, 'y' FROM generate_series(1, 100) i")
    engine("run", path, "--allow-deletes")
    engine("run", path)
    os.remove(engine.state)
    search.request("DELETE", "t")  # what it has would be swept
    done = engine("run", path)
    assert done.returncode == 0 and "sweep" not in done.stderr, done
    assert search.docs("t") == rows(pg)


def test_a_state_touched_back_after_the_load_alone(pg, engine, search, path):
    engine("run", path)
    assert abs(os.stat(engine.state).st_mtime - time.time()) < 3600
    search.request("DELETE", "t/_doc/7?refresh=true")
    os.utime(engine.state, (1.6e9, 1.6e9))
    done = engine("run", path)
    assert "the state was set to an earlier time" in done.stderr, done
    assert search.docs("t") == rows(pg)
