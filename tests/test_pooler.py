"""Behind a pooler that gives each transaction another session: nothing depends on a session's settings or statements, and
nothing of ours is left behind in it."""
import threading

import pytest

from bouncer import Bouncer
from conftest import administrate
from pipelines import lua, pipeline

# What other programs may do to the sessions that they share with us: none of these is taken back by the pooler.
SETTINGS = {
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Tokyo",
    "DateStyle": "SQL, DMY",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "default_transaction_isolation": "serializable",
    "jit": "on",
    "random_page_cost": "3",
    "max_parallel_workers_per_gather": "1",
}
TABLE = """CREATE TABLE things (id int PRIMARY KEY, v interval, at timestamptz, local timestamp, day date, raw bytea, x float8,
             modified timestamptz NOT NULL DEFAULT now() - interval '1 minute');
           INSERT INTO things SELECT n, interval '1 day 2:03:04', '2020-01-02 03:04:05.678+00', '2020-01-02 03:04:05', '2020-01-02',
             '\\x00ff', 0.1::float8 + 0.2 FROM generate_series(1, %d) n"""
DOCUMENT = {
    "v": "1 day 02:03:04",
    "at": "2020-01-02T03:04:05.678Z",
    "local": "2020-01-02T03:04:05",
    "day": "2020-01-02",
    "raw": "AP8=",
    "x": 0.30000000000000004,
}


class Meddler:
    """Another program in the same pool, which sets settings of the sessions that it happens to get."""

    def __init__(self, bouncer):
        self._bouncer = bouncer
        self._done = threading.Event()
        self._failed = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        assert not self._failed, self._failed

    def _run(self):
        try:
            connection = self._bouncer.connect()
            with connection.cursor() as cursor:
                while not self._done.is_set():
                    for name, value in SETTINGS.items():
                        cursor.execute(f"SET {name} = '{value}'")
                    self._done.wait(0.002)
            connection.close()
        except Exception as error:  # shown by __exit__
            self._failed.append(error)


def things(name, folder, **more):
    fields = "v = row.v, at = row.at, [\"local\"] = row[\"local\"], day = row.day, raw = etl.base64(row.raw), x = row.x"
    text = pipeline(document=f"return {{ {fields} }}", name=name, index=name, **more)
    return text.replace('os.getenv "FILE_PATH_STATE"', lua(str(folder / f"{name}.state")))


# The pool is smaller than what the engines ask for, so that each one's transactions wander from session to session.
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_several_engines_in_one_pool_read_what_is_there(engine, pg, search_one, script, tmp_path, mode):
    pg.execute(TABLE % 3000)
    with Bouncer(pg, tmp_path, pool_mode=mode, default_pool_size=2) as bouncer, Meddler(bouncer):
        env = {"DATABASE_URL": bouncer.url}
        names = ("one", "two", "three")
        started = [engine.start(script(things(name, tmp_path), name + ".lua"), env=env) for name in names]
        for running in started:
            done = running.wait()
            assert done.returncode == 0, done
        for name in names:
            docs = search_one.docs(name)
            assert len(docs) == 3000
            assert [doc for doc in docs.values() if doc != DOCUMENT] == []


def test_many_short_runs_in_one_pool_never_blame_the_script(engine, pg, script, tmp_path):
    pg.execute(TABLE % 10)
    with Bouncer(pg, tmp_path, pool_mode="transaction", default_pool_size=2) as bouncer, Meddler(bouncer):
        path = script(things("short", tmp_path))
        for _ in range(4):
            started = [engine.start(path, "--dry-run", env={"DATABASE_URL": bouncer.url}) for _ in range(5)]
            for done in [running.wait() for running in started]:
                assert done.returncode == 0, done
                assert done.docs == [DOCUMENT] * 10


def test_a_scripts_own_queries_are_right_behind_a_pooler(engine, pg, script, tmp_path):
    pg.execute(TABLE % 50)
    check = """
      before_run = function()
        for i = 1, 200 do
          local row = etl.pg.query("SELECT v, at, x, $1::int AS i FROM things LIMIT 1", i)[1]
          assert(row.v == "1 day 02:03:04" and row.at == "2020-01-02T03:04:05.678Z", row.v .. " " .. row.at)
          assert(row.x == 0.1 + 0.2 and row.i == i)
        end
        local n = 0
        for row in etl.pg.rows "SELECT v, id FROM things" do
          assert(row.v == "1 day 02:03:04", row.v)
          n = n + 1
        end
        assert(n == 50)
      end,"""
    with Bouncer(pg, tmp_path, pool_mode="transaction", default_pool_size=2) as bouncer, Meddler(bouncer):
        path = script(things("own", tmp_path, extra=check))
        started = [engine.start(path, "--dry-run", env={"DATABASE_URL": bouncer.url}) for _ in range(3)]
        for done in [running.wait() for running in started]:
            assert done.returncode == 0, done
            assert done.docs == [DOCUMENT] * 50


def test_nothing_of_ours_is_left_in_a_pools_sessions(engine, pg, script, tmp_path):
    """One session, which the engine uses as well as another program does."""
    pg.execute(TABLE % 100)
    with Bouncer(pg, tmp_path, pool_mode="transaction", default_pool_size=1) as bouncer:
        other = bouncer.connect()
        with other.cursor() as cursor:
            def settings():
                cursor.execute("SELECT name, setting FROM pg_settings WHERE name <> 'application_name' ORDER BY name")
                return cursor.fetchall()

            before = settings()
            done = engine(script(things("clean", tmp_path)), "--dry-run", env={"DATABASE_URL": bouncer.url})
            assert done.docs == [DOCUMENT] * 100, done
            assert settings() == before
        other.close()


def test_a_late_commit_by_another_program_of_the_pool_arrives(engine, pg, search_one, script, tmp_path, wait_until):
    """It may be served by the very process that has served us."""
    pg.execute(TABLE % 100)
    with Bouncer(pg, tmp_path, pool_mode="transaction", default_pool_size=2) as bouncer:
        path = script(things("late", tmp_path, extra="poll_interval = 0.1, sweep = 0,"))
        running = engine.start(path, "--follow", env={"DATABASE_URL": bouncer.url})
        wait_until(lambda: search_one.count("late") == 100)
        other = bouncer.connect()
        with other.cursor() as cursor:
            cursor.execute("BEGIN; UPDATE things SET x = 7, modified = now() WHERE id <= 50")
            for i in range(101, 104):  # each shows that a look has been taken meanwhile
                pg.execute("INSERT INTO things SELECT %s, v, at, local, day, raw, x, now() FROM things WHERE id = 99", (i,))
                wait_until(lambda: search_one.get("late", str(i)))
            cursor.execute("COMMIT")
        other.close()
        wait_until(lambda: sum(doc.get("x") == 7 for doc in search_one.docs("late").values()) == 50)
        assert running.stop().returncode == 143


def test_a_parameter_that_the_pooler_refuses_ends_the_run_with_the_remedy(engine, pg, script, tmp_path):
    pg.execute(TABLE % 1)
    with Bouncer(pg, tmp_path, pool_mode="transaction") as bouncer:
        url = bouncer.url + "?options=-c%20statement_timeout%3D0"
        done = engine(script(things("refused", tmp_path)), "--dry-run", env={"DATABASE_URL": url})
        assert done.returncode == 1, done
        assert "unsupported startup parameter" in done.stderr
        assert "hint: " in done.stderr and "ignore_startup_parameters" in done.stderr and "ALTER ROLE" in done.stderr


def test_a_pooler_whose_server_is_away_is_waited_for(engine, pg, script, tmp_path, wait_until):
    """Its words have the same code as those above."""
    pg.execute(TABLE % 5)
    with Bouncer(pg, tmp_path, pool_mode="transaction", server_login_retry=1) as bouncer:
        administrate(f"ALTER DATABASE {pg.name} ALLOW_CONNECTIONS false")
        running = engine.start(script(things("away", tmp_path)), "--dry-run", env={"DATABASE_URL": bouncer.url})
        wait_until(lambda: "could not" in running.stderr or not running.alive())
        if not running.alive():  # a newer one (1.24) passes the server's own code on, which is final, as without a pooler
            assert "cannot connect" in running.stderr and "is not currently accepting connections" in running.stderr
            return
        administrate(f"ALTER DATABASE {pg.name} ALLOW_CONNECTIONS true")
        done = running.wait()
        assert done.returncode == 0 and len(done.docs) == 5, done


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pooler_that_is_restarted_under_follow_is_waited_for(engine, pg, search_one, script, tmp_path, wait_until, mode):
    """What was committed meanwhile arrives; a change before and one after show that polls go on."""
    pg.execute(TABLE % 300)
    insert = "INSERT INTO things SELECT %s, v, at, local, day, raw, x, now() FROM things WHERE id = 99"
    with Bouncer(pg, tmp_path, pool_mode=mode, default_pool_size=3) as bouncer:
        path = script(things("again", tmp_path, extra="poll_interval = 0.1, sweep = 0,"))
        running = engine.start(path, "--follow", env={"DATABASE_URL": bouncer.url})
        wait_until(lambda: search_one.count("again") == 300)
        pg.execute(insert, (301,))
        wait_until(lambda: search_one.get("again", "301"))
        bouncer.stop()
        pg.execute(insert, (302,))
        wait_until(lambda: "trying again" in running.stderr or not running.alive())
        bouncer.start()
        pg.execute(insert, (303,))
        for key in ("302", "303"):
            wait_until(lambda key=key: search_one.get("again", key) or not running.alive(), timeout=60)
        done = running.stop()
        assert done.returncode == 143, done
        assert search_one.count("again") == 303


def test_in_session_mode_several_engines_read_what_is_there(engine, pg, search_one, script, tmp_path):
    """A session that one has closed is the next one's, with what the pooler makes of its settings."""
    pg.execute(TABLE % 3000)
    names = ("first", "second")
    with Bouncer(pg, tmp_path, pool_mode="session", default_pool_size=8) as bouncer:
        started = [engine.start(script(things(name, tmp_path), name + ".lua"), "--workers", "1",
                                env={"DATABASE_URL": bouncer.url}) for name in names]  # fmt: skip
        for running in started:
            done = running.wait()
            assert done.returncode == 0, done
        for name in names:
            docs = search_one.docs(name)
            assert len(docs) == 3000 and all(doc == DOCUMENT for doc in docs.values())


def test_a_pooler_that_refuses_to_read_the_log_is_named_with_the_way_past_it(engine, pg, search_one, script, tmp_path):
    """PgBouncer before 1.23; a newer one passes replication connections on."""
    pg.execute(TABLE % 1)
    text = things("log", tmp_path).replace('cursor = "modified"', 'capture = "wal"')
    assert 'capture = "wal"' in text
    for pool_mode in ("session", "transaction"):
        with Bouncer(pg, tmp_path, pool_mode=pool_mode) as bouncer:
            done = engine(script(text), env={"DATABASE_URL": bouncer.url})
        if done.returncode != 0:
            assert done.returncode == 2, done
            refused = [line for line in done.stderr.splitlines() if "pooler" in line]
            assert len(refused) == 2 and "a pooler answers there, which refuses replication" in refused[0], done
            assert "hint: source.url has to lead past the pooler" in refused[1], done
