"""Many pipelines in one process share connections, workers and memory, and none keeps another from its work."""
import os

import pytest
import tools

from conftest import administrate

MANY = 50

LIST = """
local etl = require "etl"
local list = {}
for i = 1, %(n)d do
  local t = "t" .. i
  list[i] = {
    name = t,
    source = {
      url = os.getenv "DATABASE_URL", table = t, key = "id", cursor = "modified", query = %(query)s,
    },
    sink = { url = os.getenv "ELASTICSEARCH_URL", index = t, settings = { number_of_shards = 1 } },
    state = os.getenv "FILE_PATH_STATE" .. "." .. t,
    poll_interval = 0.2,%(fields)s
  }
end
return list
"""
PLAIN = '"SELECT id, v FROM " .. t'


def many(n, query=PLAIN, fields=""):
    return LIST % {"n": n, "query": query, "fields": fields}


@pytest.fixture
def search(search_one):
    return search_one


def make_tables(pg, n, rows=20):
    for i in range(1, n + 1):
        pg.execute(f"CREATE TABLE t{i} (id int PRIMARY KEY, v text, modified timestamptz DEFAULT clock_timestamp())")
        pg.execute(f"CREATE INDEX ON t{i} (modified, id)")
        pg.execute(f"INSERT INTO t{i} (id, v) SELECT n, 't{i} ' || n FROM generate_series(1, {rows}) n")


def touch(pg, table, value):
    pg.execute(f"UPDATE {table} SET v = %s, modified = clock_timestamp() WHERE id = 3", (value,))


def shown(search, table):
    found = search.get(table, "3")
    return found and found["v"]


@pytest.fixture
def limited_role(pg):
    """Makes a role that may have so many sessions, and its URL."""
    name = f"{pg.name}_few"

    def make(sessions):
        administrate(f"CREATE ROLE {name} LOGIN PASSWORD 'few' CONNECTION LIMIT {sessions}")
        pg.execute(f"GRANT pg_read_all_data TO {name}")
        return pg.url_at(pg.port, user=name, password="few")

    yield make
    administrate(f"DROP ROLE {name}")


class Process:
    def __init__(self, pid):
        self.pid = pid

    def status(self, field):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith(field + ":"))

    def files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def test_fifty_pipelines_cost_little(pg, engine, search, script, wait_until):
    make_tables(pg, MANY)
    running = engine.start("run", script(many(MANY)), "--follow")
    most = 0

    def all_follow():
        nonlocal most
        most = max(most, pg.sessions())
        return running.stderr.count("following, every") == MANY
    wait_until(all_follow, timeout=120)
    process = Process(running.pid)
    at_rest = 2 * MANY + 1  # threads: each pipeline's own, and its desk; workers have none while they have no work
    wait_until(lambda: process.status("Threads") <= at_rest, timeout=120)
    files = process.files()
    assert files <= 10 * MANY
    for i in range(1, MANY + 1):
        touch(pg, f"t{i}", "changed")
    wait_until(lambda: all(shown(search, f"t{i}") == "changed" for i in range(1, MANY + 1)), timeout=120)
    wait_until(lambda: process.status("Threads") <= at_rest, timeout=120)
    assert process.files() <= files + 8  # connections of the looks that happen to be under way
    assert most <= 32
    if tools.SLOW == 1:  # the sanitizers keep what was freed
        assert running.rss() < 64 << 20
    running.stop()


def test_twelve_loads_share_the_few_connections_that_a_role_may_have(pg, engine, search, script, wait_until, limited_role):
    make_tables(pg, 13, rows=500)
    engine.env["DATABASE_URL"] = limited_role(5)
    path = script(many(13, query="""
        i == 13 and "SELECT id, v FROM t13"
        or "SELECT id, v, pg_advisory_lock_shared(7)::text, pg_advisory_unlock_shared(7) FROM " .. t"""))
    assert engine("run", path + "#t13").returncode == 0
    pg.execute("SELECT pg_advisory_lock(7)")
    running = engine.start("run", path, "--follow")
    waits = "SELECT count(*) > 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
    wait_until(lambda: pg.value(waits), timeout=60)
    touch(pg, "t13", "meanwhile")  # all that the loads may have is taken, and held
    wait_until(lambda: shown(search, "t13") == "meanwhile", timeout=60)
    assert running.stderr.count("following, every") == 1
    pg.execute("SELECT pg_advisory_unlock(7)")
    wait_until(lambda: running.stderr.count("following, every") == 13, timeout=120)
    search.refresh()
    assert all(search.count(f"t{i}") == 500 for i in range(1, 14))
    assert running.stderr.count("accepts no more connections") == 1
    assert "too many connections" not in running.stderr
    running.stop()


def test_loads_of_scripts_that_query_share_few_connections(pg, engine, search, script, limited_role):
    make_tables(pg, 6, rows=300)
    engine.env["DATABASE_URL"] = limited_role(4)
    done = engine("run", script(many(6, fields="""
    document = function(row)
      return { v = etl.pg.query("SELECT upper($1::text) AS v", row.v)[1].v }
    end,""")), timeout=120)
    assert done.returncode == 0, done
    assert all(len(search.docs(f"t{i}")) == 300 for i in range(1, 7))
    assert search.docs("t6")["17"]["v"] == "T6 17"


def test_what_a_script_leaves_in_its_session_no_other_pipeline_finds(pg, engine, search, script):
    make_tables(pg, 4, rows=300)
    done = engine("run", script(many(4, fields="""
    document = function(row)
      local found = etl.pg.query("SELECT current_setting('app.name', true) AS name")[1].name
      etl.pg.query("SELECT set_config('app.name', $1, false)", t)
      return { found = found ~= t and found ~= "" and found or nil }
    end,""")))
    assert done.returncode == 0, done
    assert not [d for i in range(1, 5) for d in search.docs(f"t{i}").values() if d.get("found")]


def test_all_go_on_when_the_server_has_closed_the_connections(pg, engine, search, script, wait_until):
    make_tables(pg, 8)
    running = engine.start("run", script(many(8)), "--follow")
    wait_until(lambda: running.stderr.count("following, every") == 8, timeout=60)
    for value in ("once", "twice"):
        pg.terminate()
        for i in range(1, 9):
            touch(pg, f"t{i}", value)
        wait_until(lambda: all(shown(search, f"t{i}") == value for i in range(1, 9)), timeout=60)
    assert running.alive()
    running.stop()


def test_a_dry_run_prints_in_order_with_two_connections(pg, engine, search, script, limited_role):
    make_tables(pg, 1, rows=30000)
    engine.env["DATABASE_URL"] = limited_role(2)
    done = engine("run", script(many(1)) + "#t1", "--dry-run", "--workers", "4", timeout=120)
    assert done.returncode == 0, done
    assert [d["v"] for d in done.docs] == [f"t1 {n}" for n in range(1, 30001)]
