"""What a pipeline shows of itself is measured: lag from the commit to the acknowledgement, what waits while a server is
away, counts that outlive a failure. Asked as a monitor would, by /status."""
import json
import re
import time
import urllib.error
import urllib.request

import films
import pytest
import tools
import wal
from proxy import Proxy

ROWS = 20
WAL = 'capture = "wal",'
MAX_LAG = 10  # longer than a server that is well is silent for
HOUR = 3600  # no change of a test is so old: a wrong clock or unit is


@pytest.fixture
def search(search_one):
    return search_one


class Follower:
    """An engine that follows table t, and its search server behind a proxy."""

    def __init__(self, engine, proxy):
        self.engine, self.proxy, self.running = engine, proxy, None
        self.port = tools.free_port()

    def start(self, path, *words):
        self.running = self.engine.start(path, "--follow", "--listen", f"127.0.0.1:{self.port}", *words,
                                         env={"ELASTICSEARCH_URL": self.proxy.url})
        tools.wait_until(lambda: f"{self.port}" in self.running.stderr or not self.running.alive(), what="listening")
        return self

    def status(self):
        assert self.running.alive(), self.running.stderr
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=60) as answer:
            return json.load(answer)["pipelines"]

    def show(self):
        return self.status()[0]

    def get(self, path):
        """The answer's status and text."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()

    def metric(self, name):
        lines = self.get("/metrics")[1].splitlines()
        return float(next(line for line in lines if line.startswith(name + "{")).split()[-1])

    def until(self, condition, what=None):
        """What it shows as soon as that meets the condition."""
        seen = {}

        def met():
            seen["last"] = self.show()
            return condition(seen["last"])

        try:
            tools.wait_until(met, 60, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{json.dumps(seen.get('last'))}\n{self.running.stderr[-3000:]}") from None
        return seen["last"]

    def phase(self, name):
        return self.until(lambda s: s["phase"] == name, name)


@pytest.fixture
def follower(engine, pg, search):
    with Proxy(search.port) as proxy:
        yield Follower(engine, proxy)
        engine.close()
        wal.forget_all(pg)


@pytest.fixture(params=["poll", "wal"])
def following(request, follower, pg, script):
    films.table(pg, rows=ROWS)
    path = script(films.plain(source=WAL if request.param == "wal" else ""))
    follower.start(path, "--max-lag", str(MAX_LAG))
    shown = follower.phase("following")
    assert shown["capture"] == request.param
    return follower


def touch(pg, value, key=3):
    films.touch(pg, f"v = '{value}'", f"id = {key}", "t")


def test_the_lag_of_a_change_is_from_its_commit_to_its_acknowledgement(following, pg, search):
    shown = following.show()
    assert shown["ready"] and shown["lag_seconds"] is None  # nothing has changed yet: a load has no lag
    assert shown["documents"]["indexed"] >= ROWS
    touch(pg, "w")
    shown = following.until(lambda s: s["lag_seconds"] is not None)
    assert 0 < shown["lag_seconds"] < HOUR
    assert search.get("t", "3") == {"v": "w"}
    assert sum(m["documents"] for m in shown["history"]) == shown["documents"]["indexed"]
    assert max(m["lag_seconds"] or 0 for m in shown["history"]) == shown["lag_seconds"]
    shown = following.until(lambda s: s["oldest_waiting_seconds"] == 0)
    assert shown["documents"]["indexed"] > ROWS
    assert shown["requests"]["200"] > 0 and shown["request_bytes"] > 0


def test_what_waits_for_the_search_server_grows_old_and_is_delivered(following, pg, search):
    following.proxy.refuse()
    touch(pg, "w")
    after = time.monotonic()
    shown = following.until(lambda s: s["phase"] == "waiting" and s["oldest_waiting_seconds"] > 1)
    assert "could not reach" in shown["reason"]
    assert shown["queued_batches"] >= 1
    following.until(lambda s: s["oldest_waiting_seconds"] > shown["oldest_waiting_seconds"] + 0.5)
    following.until(lambda s: s["retry_in_seconds"] is not None)
    assert [line for line in following.show()["errors"] if "could not reach" in line["message"]]
    away = time.monotonic() - after
    following.proxy.accept()
    shown = following.until(lambda s: s["phase"] == "following" and s["oldest_waiting_seconds"] == 0)
    assert away <= shown["lag_seconds"] < HOUR
    assert shown["reason"] is None and shown["retry_in_seconds"] is None
    assert search.get("t", "3") == {"v": "w"}
    late = shown["lag_seconds"]
    touch(pg, "x")
    following.until(lambda s: s["lag_seconds"] < late)


def test_a_database_that_hangs_is_not_ready(following, pg):
    """Its connections stay open, and nothing fails: nobody has anything to log."""
    following.until(lambda s: s["phase"] == "following" and s["ready"] and s["last_sweep"])
    pg.server.freeze()
    try:
        shown = following.until(lambda s: not s["ready"])
        assert shown["phase"] == "following" and "no answer from PostgreSQL" in shown["reason"]
        code, text = following.get("/readyz")
        assert code == 503 and re.match(r"films: not ready: no answer from PostgreSQL for \d+ s", text), text
        assert following.metric("etl_engine_pipeline_ready") == 0
        assert following.metric("etl_engine_silent_seconds") > MAX_LAG
    finally:
        pg.server.thaw()
    tools.wait_until(lambda: following.get("/readyz") == (200, "films: ready\n"), 60)
    touch(pg, "w")
    following.until(lambda s: s["lag_seconds"] is not None and s["reason"] is None)


def test_a_search_server_that_nobody_waits_for_is_missed(follower, pg, script):
    films.table(pg, rows=ROWS)
    follower.start(script(films.plain()))
    follower.phase("following")
    follower.proxy.refuse()
    shown = follower.phase("waiting")
    assert "could not reach" in shown["reason"]
    assert shown["requests"]["none"] > 0
    follower.proxy.accept()
    follower.phase("following")


def test_a_change_before_the_run_has_its_age(follower, pg, script):
    films.table(pg, rows=ROWS)
    path = script(films.plain())
    films.run(follower.engine, path)
    touch(pg, "late")
    films.settle(1.5)
    follower.start(path)
    shown = follower.until(lambda s: s["lag_seconds"] is not None)
    assert shown["lag_seconds"] > 1.5


def test_what_is_read_again_has_no_lag_of_its_cursor(follower, pg, script, search):
    """Cursors of long ago: of rows that are read again, and of changes that have not moved them."""
    films.table(pg, rows=ROWS)
    pg.execute("UPDATE t SET modified = '2020-01-01'")
    began = time.monotonic()
    path = script(films.plain())
    follower.start(path)
    before = follower.phase("following")["documents"]["indexed"]
    assert follower.engine("state", "set", path, "2019-01-01").returncode == 0
    follower.until(lambda s: s["documents"]["indexed"] >= before + ROWS and s["oldest_waiting_seconds"] == 0)
    follower.until(lambda s: s["lag_seconds"] is None)  # nothing has changed
    for value in ("w", "x"):
        pg.execute(f"UPDATE t SET v = '{value}' WHERE id = {ROWS}")
        tools.wait_until(lambda value=value: search.get("t", str(ROWS)) == {"v": value})
    shown = follower.until(lambda s: s["lag_seconds"] is not None)
    passed = time.monotonic() - began
    assert shown["lag_seconds"] < passed
    assert 0 < follower.metric("etl_engine_change_delay_seconds_sum") < 2 * passed
    assert max(m["lag_seconds"] or 0 for m in shown["history"]) < passed


def test_a_number_as_cursor_has_the_time_of_the_look(follower, pg, script):
    films.table(pg, cursor="bigint DEFAULT 1", rows=ROWS)
    follower.start(script(films.plain()))
    follower.phase("following")
    pg.execute("UPDATE t SET v = 'w', modified = 2 WHERE id = 3")
    shown = follower.until(lambda s: s["lag_seconds"] is not None)
    assert 0 < shown["lag_seconds"] < HOUR


def test_fan_outs_have_the_lag_of_their_rows(follower, pg, script, search):
    films.table(pg, rows=ROWS)
    pg.execute("CREATE TABLE kind (id int PRIMARY KEY, name text, modified timestamptz DEFAULT clock_timestamp())")
    pg.execute("INSERT INTO kind VALUES (1, 'one')")
    related = '{ table = "kind", key = "id", cursor = "modified", affects = "SELECT id FROM t WHERE $1 IS NOT NULL" }'
    text = films.lua(query="SELECT t.id, t.v, k.name FROM t, kind k", table="t", index="t", related=(related,),
                     document="return { v = row.v, name = row.name }")
    follower.start(script(text))
    follower.phase("following")
    films.touch(pg, "name = 'two'", "id = 1", "kind")
    shown = follower.until(lambda s: s["lag_seconds"] is not None)
    assert 0 < shown["lag_seconds"] < HOUR
    tools.wait_until(lambda: search.get("t", "3") == {"v": "v3", "name": "two"})


def test_a_load_shows_how_far_it_is(follower, pg, script):
    films.table(pg, rows=2000)
    pg.execute("ANALYZE t")
    follower.start(script(films.plain(sink="max_rate = 300,")))
    shown = follower.until(lambda s: s["load"] and s["load"]["seconds_left"])
    assert shown["phase"] == "loading" and not shown["ready"]
    assert shown["load"]["expected"] == 2000
    assert 0 < shown["load"]["documents"] < 2000
    assert shown["documents_per_second"] > 0
    shown = follower.phase("following")
    assert shown["load"] is None and shown["ready"]
    assert shown["documents"]["indexed"] >= 2000
    assert shown["lag_seconds"] is None


def test_dead_letters_are_shown_and_go(follower, pg, script):
    films.table(pg, rows=0)
    mapping = 'mappings = { properties = { v = { type = "integer" } } },'
    pg.execute("INSERT INTO t (id, v) SELECT i, CASE WHEN i > 10 THEN 'x' ELSE '7' END FROM generate_series(1, 20) i")
    follower.start(script(films.plain(sink=mapping)))
    shown = follower.until(lambda s: s["dead_letters"]["count"] == 10 and s["phase"] == "following")
    assert shown["documents"]["rejected"] == 10
    assert len(shown["dead_letters"]["latest"]) == 5
    assert "integer" in shown["dead_letters"]["latest"][0]["reason"]
    rejected = [line for line in shown["errors"] if "rejected" in line["message"]]
    assert len(rejected) == 1  # ten lines that are alike
    films.touch(pg, "v = '8'", "id > 11", "t")
    shown = follower.until(lambda s: s["dead_letters"]["count"] == 1)
    assert [letter["key"] for letter in shown["dead_letters"]["latest"]] == ["11"]


def test_a_horizon_names_who_holds_it(follower, pg, script):
    films.table(pg, rows=ROWS)
    follower.start(script(films.plain()))
    follower.phase("following")
    open_one = pg.connect()
    with open_one.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), pg_current_xact_id()")
        pid = cursor.fetchone()[0]
    shown = follower.until(lambda s: s["horizon"] and s["horizon"]["seconds"] > 0.5 and str(pid) in s["horizon"]["held_by"])
    follower.until(lambda s: s["horizon"]["seconds"] > shown["horizon"]["seconds"])
    open_one.close()
    follower.until(lambda s: not s["horizon"] or str(pid) not in s["horizon"]["held_by"])


def test_a_slot_shows_what_the_server_keeps_for_it(follower, pg, script):
    films.table(pg, rows=ROWS)
    follower.start(script(films.plain(source=WAL)))
    shown = follower.until(lambda s: s["phase"] == "following" and s["slot"] and s["journal"])
    assert shown["slot"]["name"] == "etl_films" and shown["slot"]["active"]
    follower.proxy.refuse()  # what waits is in the journal, and the slot goes on
    films.touch(pg, "v = 'w'", "true", "t")
    follower.until(lambda s: s["journal"]["bytes"] > shown["journal"]["bytes"])
    follower.proxy.accept()
    follower.phase("following")


def test_no_password_is_shown(follower, pg, script):
    films.table(pg, rows=ROWS)
    text = films.plain().replace('os.getenv "ELASTICSEARCH_URL"', f'"http://me:secret@127.0.0.1:{follower.proxy.port}"')
    follower.start(script(text))
    shown = follower.phase("following")
    assert shown["search"] == f"http://127.0.0.1:{follower.proxy.port}"
    assert re.fullmatch(r"127\.0\.0\.1:\d+/\w+", shown["database"])
    assert "secret" not in json.dumps(shown)


LIST = """
local list = {}
for _, name in ipairs { "away", "here" } do
  list[#list + 1] = {
    name = name,
    source = {
      url = os.getenv "DATABASE_URL", table = name, key = "id", cursor = "modified",
      query = "SELECT id, v FROM " .. name,
    },
    sink = { url = os.getenv "ELASTICSEARCH_URL", index = name },
    state = os.getenv "FILE_PATH_STATE" .. "." .. name,
    poll_interval = 0.1,
  }
end
return list
"""


def test_counts_outlive_a_failure(follower, pg, script):
    for name in ("away", "here"):
        pg.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, v text, modified timestamptz DEFAULT clock_timestamp())")
        pg.execute(f"INSERT INTO {name} SELECT i, 'v' FROM generate_series(1, {ROWS}) i")
    follower.start(script(LIST))
    follower.until(lambda s: all(p["phase"] == "following" for p in follower.status()))
    pg.execute("ALTER TABLE away RENAME TO elsewhere")
    shown = follower.phase("failing")
    assert not shown["ready"] and shown["failures"] >= 1
    assert "away" in shown["reason"] and shown["retry_in_seconds"] is not None
    indexed = shown["documents"]["indexed"]
    assert indexed >= ROWS
    assert any(line["level"] == "error" for line in shown["errors"])
    other = follower.status()[1]
    assert (other["phase"], other["failures"], other["errors"]) == ("following", 0, [])
    pg.execute("ALTER TABLE elsewhere RENAME TO away")
    shown = follower.phase("following")
    assert shown["ready"] and shown["failures"] >= 1 and shown["reason"] is None
    films.touch(pg, "v = 'w'", "id = 3", "away")
    follower.until(lambda s: s["documents"]["indexed"] > indexed and s["lag_seconds"] is not None)
