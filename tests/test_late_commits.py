"""Rows become visible when their transaction commits, but got their cursor before: none is lost, none is written twice."""
import os
import re

import films
import psycopg2
import pytest
from films import changed, run, state


def write(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def insert(pg, number):
    pg.execute("INSERT INTO t (id, v) VALUES (%s, 'v')", (number,))


@pytest.fixture
def search(search_one):
    """What is tested here is PostgreSQL's side, and the engine's: one search server will do."""
    return search_one


@pytest.fixture
def follower(engine, pg, search, script, wait_until):
    """start(source="", cursor=...): an engine that follows table t, of 20 rows."""

    def start(cursor="timestamptz DEFAULT clock_timestamp()", source="", rows=20, env=None):
        films.table(pg, cursor, rows)
        path = script(films.plain(source=source))
        return films.follow(engine, path, wait_until=wait_until, env=env)

    return start


def test_what_commits_late_within_a_run_arrives(follower, pg, search, wait_until):
    follower()
    late = pg.connect()
    write(late, "INSERT INTO t (id, v) VALUES (100, 'late')")
    insert(pg, 101)
    wait_until(lambda: search.get("t", "101"))
    films.settle()
    assert search.get("t", "100") is None
    late.commit()
    wait_until(lambda: search.get("t", "100"))


def test_what_commits_late_between_two_runs_arrives(engine, pg, search, script):
    films.table(pg)
    path = script(films.plain())
    run(engine, path)
    late = pg.connect()
    write(late, "INSERT INTO t (id, v) VALUES (100, 'late')")
    insert(pg, 101)
    films.settle()
    run(engine, path)
    assert search.get("t", "101") and not search.get("t", "100")
    run(engine, path)
    late.commit()
    run(engine, path)
    assert search.get("t", "100")


def test_what_was_open_while_everything_was_loaded_arrives(engine, pg, search, script):
    films.table(pg)
    path = script(films.plain())
    late = pg.connect()
    write(late, "INSERT INTO t (id, v) VALUES (100, 'late')")
    insert(pg, 101)
    run(engine, path)
    late.commit()
    run(engine, path)
    assert search.get("t", "100")


def test_waiting_costs_no_second_write(follower, pg, search, wait_until):
    follower()
    late = pg.connect()
    write(late, "SELECT 1")  # idle in transaction
    films.settle(0.3)
    insert(pg, 101)
    wait_until(lambda: search.get("t", "101"))
    before = search.versions("t")
    films.settle(2)  # twenty looks
    assert not changed(before, search.versions("t"))
    pg.execute("UPDATE t SET v = 'w', modified = clock_timestamp() WHERE id = 101")
    wait_until(lambda: search.get("t", "101")["v"] == "w")
    assert changed(before, search.versions("t")) == {"101"}


def window(engine, table="public.t"):
    return state(engine)["tables"][table]["window"]


def test_an_idle_transaction_holds_the_watermark_and_no_other_database_does(engine, follower, pg, search, wait_until):
    other = psycopg2.connect(pg.url.replace(pg.name, "postgres"))
    write(other, "SELECT 1")
    late = pg.connect()
    write(late, "SELECT 1")
    begun = pg.value("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    pg.execute("SELECT pg_sleep(1.1)")
    follower(rows=0)
    insert(pg, 101)
    wait_until(lambda: search.get("t", "101"))
    films.settle(1)
    assert state(engine)["tables"]["public.t"]["us"] < begun
    late.rollback()
    wait_until(lambda: state(engine)["tables"]["public.t"]["key"] == "101")
    other.close()


def test_past_horizon_limit_the_session_is_named_and_the_window_moves_on(engine, follower, pg, search, wait_until):
    late = pg.connect()
    write(late, "SET application_name = 'forgotten'; SELECT 1")
    pg.execute("SELECT pg_sleep(1.2)")
    running = follower(source="horizon_limit = 1, lookback = 1,")
    pid = late.get_backend_pid()
    wait_until(lambda: re.search(rf"transaction of process {pid} \(forgotten\) has been open for \d+ s", running.stderr))
    insert(pg, 101)
    wait_until(lambda: search.get("t", "101"))
    wait_until(lambda: window(engine)["key"] == "101", timeout=10)  # it passes, in spite of the session


def test_what_is_written_by_a_transaction_past_horizon_limit_arrives(engine, follower, pg, search, wait_until):
    """Also if it had written before it was given up, and if it writes only afterwards."""
    follower(source="horizon_limit = 1, lookback = 1,")
    writer, sleeper = pg.connect(), pg.connect()
    write(writer, "INSERT INTO t (id, v, modified) VALUES (100, 'late', now())")
    write(sleeper, "SELECT 1")
    insert(pg, 102)
    wait_until(lambda: window(engine)["key"] == "102", timeout=10)
    insert(pg, 103)
    wait_until(lambda: search.get("t", "103"))
    write(sleeper, "INSERT INTO t (id, v, modified) VALUES (101, 'later', now())")
    sleeper.commit()
    wait_until(lambda: search.get("t", "101"))
    writer.commit()
    wait_until(lambda: search.get("t", "100"))


@pytest.fixture
def modest(pg):
    """A role that may read the table, and see no other sessions."""
    pg.execute("DROP ROLE IF EXISTS modest")
    pg.execute("CREATE ROLE modest LOGIN PASSWORD 'modest'")
    pg.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO modest")
    yield {"DATABASE_URL": pg.url_at(pg.port, "modest", "modest")}
    pg.execute("DROP OWNED BY modest; DROP ROLE modest")


def test_sessions_that_hide_hold_the_window_all_the_same(engine, follower, modest, pg, search, wait_until):
    follower(source="lookback = 1,", env=modest)
    late = pg.connect()
    write(late, "SELECT 1")  # no id yet: only its lock shows that it is there
    insert(pg, 101)
    wait_until(lambda: search.get("t", "101"))
    films.settle(3.5)  # longer than the lookback, twice
    insert(pg, 102)
    wait_until(lambda: search.get("t", "102"))
    write(late, "INSERT INTO t (id, v, modified) VALUES (100, 'late', now())")
    late.commit()
    wait_until(lambda: search.get("t", "100"))


def test_a_prepared_transaction_holds_the_window(follower, pg, search, wait_until):
    if pg.value("SHOW max_prepared_transactions") == "0":
        pytest.skip("the server allows no prepared transactions (max_prepared_transactions)")
    follower(source="lookback = 1,")
    late = pg.connect()
    write(late, "INSERT INTO t (id, v) VALUES (100, 'late'); PREPARE TRANSACTION 'late'")
    for number in (101, 102):
        insert(pg, number)
        wait_until(lambda: search.get("t", str(number)))
        films.settle(2)
    pg.execute("COMMIT PREPARED 'late'")
    wait_until(lambda: search.get("t", "100"))


def test_a_server_that_stalled_does_not_delay_the_next_late_commit(follower, pg, search, wait_until):
    """The time of one look counts its stall, and must not make the next ones rare."""
    follower(source="lookback = 1,")
    idle = pg.connect()
    write(idle, "SELECT 1")  # holds the window open, so that whole looks have something to read
    insert(pg, 101)
    wait_until(lambda: search.get("t", "101"))
    pg.server.freeze()
    films.settle(4)
    pg.server.thaw()
    late = pg.connect()
    write(late, "INSERT INTO t (id, v) VALUES (100, 'late')")
    insert(pg, 102)
    wait_until(lambda: search.get("t", "102"), timeout=10)
    late.commit()
    wait_until(lambda: search.get("t", "100"), timeout=15)  # ten times the stall would be 40 s


# Whoever sets the cursor


def test_an_application_s_clock_may_be_behind(engine, follower, pg, search, wait_until):
    """One update that takes long, with the client's time in milliseconds, while others insert."""
    follower(source="lookback = 2,")
    late = pg.connect()
    write(late, "UPDATE t SET v = 'new', modified = date_trunc('milliseconds', now()) - interval '300 ms' WHERE id <= 10")
    for number in range(100, 104):
        insert(pg, number)
        wait_until(lambda: search.get("t", str(number)))
        films.settle(1)
    late.commit()
    wait_until(lambda: all(search.get("t", str(key))["v"] == "new" for key in range(1, 11)))
    pg.execute("UPDATE t SET v = 'newer', modified = clock_timestamp() - interval '1.5 s' WHERE id = 1")
    wait_until(lambda: search.get("t", "1")["v"] == "newer")


def test_an_application_s_clock_may_be_behind_in_one_shot_runs(engine, pg, search, script):
    films.table(pg, "timestamptz DEFAULT date_trunc('milliseconds', clock_timestamp()) - random() * interval '2 s'", 0)
    path = script(films.plain())
    run(engine, path)
    for number in range(1, 201):
        insert(pg, number)
        if number % 10 == 0:
            done = run(engine, path)
            assert "10 documents indexed" in done.stderr  # the window is read again, and nothing is sent again
    assert search.count("t") == 200


def test_savepoints_have_ids_of_their_own(follower, pg, search, wait_until):
    """A subtransaction's id is in no snapshot's list of what is in progress."""
    follower()
    late = pg.connect()
    write(late, "INSERT INTO t (id, v) VALUES (100, 'late')")
    write(late, "SAVEPOINT a; INSERT INTO t (id, v) VALUES (101, 'late'); RELEASE a; SAVEPOINT b")
    write(late, "INSERT INTO t (id, v) VALUES (102, 'late')")
    insert(pg, 103)
    wait_until(lambda: search.get("t", "103"))
    films.settle(0.5)
    late.commit()
    wait_until(lambda: all(search.get("t", str(key)) for key in (100, 101, 102)))


def test_a_sequence_with_a_cache_comes_out_of_order(engine, pg, search, script):
    pg.execute("CREATE SEQUENCE numbers CACHE 20")
    films.table(pg, "bigint DEFAULT nextval('numbers')", 0)
    path = script(films.plain())
    sessions = [pg.connect(autocommit=True) for _ in range(2)]
    run(engine, path)
    for number in range(1, 21):
        write(sessions[number % 2], f"INSERT INTO t (id, v) VALUES ({number}, 'v')")
        assert "1 document indexed" in run(engine, path).stderr
    assert search.count("t") == 20


def test_a_local_clock_is_set_back_by_an_hour_when_summer_ends(engine, follower, pg, search, wait_until):
    follower(cursor="timestamp DEFAULT now()", source="lookback = 1,", rows=0)
    pg.execute("INSERT INTO t SELECT i, 'v', now() FROM generate_series(1, 5) i")
    wait_until(lambda: search.get("t", "5"))
    wait_until(lambda: 0 < state(engine)["tables"]["public.t"].get("us", 0) <= window(engine).get("us", 0), timeout=10)
    pg.execute("UPDATE t SET v = 'w', modified = now() - interval '59 min' WHERE id = 2")
    wait_until(lambda: search.get("t", "2")["v"] == "w")


def test_rows_in_the_future_are_no_position(follower, pg, search, wait_until):
    """A time that no clock shows yet: what changes from now on lies below it, and is found."""
    follower(cursor="timestamp DEFAULT now()", source="lookback = 0,", rows=0)
    pg.execute("INSERT INTO t VALUES (1, 'v', now() + interval '10 years')")
    wait_until(lambda: search.get("t", "1"))
    for number in range(2, 5):
        insert(pg, number)
        wait_until(lambda: search.get("t", str(number)))
        films.settle(0.3)


def test_another_server_s_transaction_ids_mean_nothing(engine, pg, search, script):
    """The database was restored elsewhere: what the state knows of ids would hide rows."""
    films.table(pg)
    path = script(films.plain())
    run(engine, path)
    with open(engine.state, encoding="utf-8") as f:
        text = f.read()
    os_times = state(engine)["tables"]["public.t"]["us"]
    text = re.sub(r'"server":"[^"]*"', '"server":"1-00000001-5"', re.sub(r'"xid":\d+', '"xid":4000000000', text))
    with open(engine.state, "w", encoding="utf-8") as f:
        f.write(text)
    os.utime(engine.state, ns=(os_times * 1000, os_times * 1000))
    pg.execute("UPDATE t SET v = 'w', modified = modified - interval '1 ms' WHERE id = 20")
    assert "another PostgreSQL server" in run(engine, path).stderr
    assert search.get("t", "20")["v"] == "w"


def test_a_role_with_some_columns_is_enough(engine, pg, search, script):
    pg.execute("DROP ROLE IF EXISTS narrow; CREATE ROLE narrow LOGIN PASSWORD 'narrow'")
    films.table(pg)
    pg.execute("ALTER TABLE t ADD secret text; GRANT SELECT (id, v, modified) ON t TO narrow")
    env = {"DATABASE_URL": pg.url_at(pg.port, "narrow", "narrow")}
    path = script(films.plain())
    run(engine, path, env=env)
    pg.execute("UPDATE t SET v = 'w', modified = clock_timestamp() WHERE id = 3")
    run(engine, path, env=env)
    assert search.get("t", "3")["v"] == "w"
    pg.execute("DROP OWNED BY narrow; DROP ROLE narrow")


UNRULED = {  # rows that appear otherwise than by a transaction that changes them here
    "materialized view": ("CREATE MATERIALIZED VIEW t AS SELECT * FROM base", "REFRESH MATERIALIZED VIEW t"),
    "view": ("CREATE VIEW t AS SELECT * FROM base", "SELECT 1"),
    "foreign table": ("""CREATE EXTENSION postgres_fdw;
        CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '%(port)s', dbname '%(name)s');
        CREATE USER MAPPING FOR CURRENT_USER SERVER there OPTIONS (user 'etl', password 'etl');
        CREATE FOREIGN TABLE t (id int, v text, modified timestamptz) SERVER there OPTIONS (table_name 'base')""", "SELECT 1"),
}


@pytest.mark.parametrize("kind", UNRULED)
def test_rows_that_appear_late_by_other_means_arrive(engine, pg, search, script, wait_until, kind):
    create, refresh = UNRULED[kind]
    pg.execute("CREATE TABLE base (id int, v text, modified timestamptz)")
    pg.execute("INSERT INTO base SELECT i, 'v', clock_timestamp() FROM generate_series(1, 10) i")
    pg.execute(create % {"port": pg.port, "name": pg.name})
    path = script(films.plain())
    assert "are not written by transactions of this server" in run(engine, path).stderr
    late = pg.connect()
    write(late, "UPDATE base SET v = 'late', modified = now() WHERE id = 3")
    pg.execute("UPDATE base SET v = 'early', modified = clock_timestamp() WHERE id = 4")
    pg.execute(refresh)
    run(engine, path)
    assert search.get("t", "4")["v"] == "early"
    late.commit()
    pg.execute(refresh)
    run(engine, path)
    assert search.get("t", "3")["v"] == "late"
    before = search.versions("t")
    run(engine, path)
    assert not changed(before, search.versions("t"))


# Cursors of other types

LOWER = {  # a cursor's type, and how a late transaction writes a lower one than those that are committed
    "timestamp": "timestamp DEFAULT clock_timestamp()",
    "date": "date DEFAULT '2026-01-02'",  # the same one, and a lower key
    "sequence": "int DEFAULT nextval('numbers')",
    "bigint": "bigint DEFAULT nextval('numbers')",
    "numeric": "numeric(30, 3) DEFAULT nextval('numbers') + 0.125",
}


@pytest.mark.parametrize("kind", LOWER)
def test_a_late_commit_with_a_lower_cursor_arrives(follower, engine, pg, search, wait_until, kind):
    pg.execute("CREATE SEQUENCE numbers")
    running = follower(cursor=LOWER[kind])
    late = pg.connect()
    write(late, "INSERT INTO t (id, v) VALUES (100, 'late')")
    for number in (101, 102):
        insert(pg, number)
        wait_until(lambda: search.get("t", str(number)))
    films.settle(1.5)
    before = search.versions("t")
    films.settle(0.5)
    assert not changed(before, search.versions("t"))
    late.commit()
    wait_until(lambda: search.get("t", "100"))
    if kind != "date":
        assert state(engine)["tables"]["public.t"]["key"] == "102"
    assert running.stop().returncode == 143


@pytest.mark.parametrize("kind", ["timestamp", "sequence"])
def test_a_late_commit_with_a_lower_cursor_arrives_in_the_next_run(engine, pg, search, script, kind):
    pg.execute("CREATE SEQUENCE numbers")
    films.table(pg, LOWER[kind])
    path = script(films.plain())
    run(engine, path)
    late = pg.connect()
    write(late, "INSERT INTO t (id, v) VALUES (100, 'late')")
    insert(pg, 101)
    films.settle()
    run(engine, path)
    run(engine, path)
    late.commit()
    run(engine, path)
    assert search.get("t", "100")


@pytest.mark.parametrize("zone", ["Europe/Moscow", "America/New_York"])
def test_a_local_time_may_be_written_in_any_time_zone(follower, pg, search, wait_until, zone):
    pg.execute(f"ALTER DATABASE {pg.name} SET TimeZone = 'Asia/Tokyo'")
    follower(cursor="timestamp DEFAULT now()", rows=0)
    writer = pg.connect(autocommit=True)
    write(writer, f"SET TimeZone = '{zone}'")
    for number in range(1, 4):
        write(writer, f"INSERT INTO t (id, v) VALUES ({number}, 'v')")
        wait_until(lambda: search.get("t", str(number)))
        write(writer, f"UPDATE t SET v = 'w', modified = now() WHERE id = {number}")
        wait_until(lambda: search.get("t", str(number))["v"] == "w")


def test_microseconds_are_kept(engine, pg, search, script):
    films.table(pg, "timestamptz", 0)
    pg.execute("INSERT INTO t SELECT i, 'v', '2020-01-01 00:00:00.000001'::timestamptz + i * interval '1 us' FROM generate_series(1, 9) i")
    path = script(films.plain())
    run(engine, path)
    position = state(engine)["tables"]["public.t"]
    assert position["cursor"].endswith("00:00:00.00001+00") and position["us"] % 1000000 == 10
    before = search.versions("t")
    pg.execute("UPDATE t SET modified = '2020-01-01 00:00:00.000011+00' WHERE id = 3")
    run(engine, path)
    assert changed(before, search.versions("t")) == {"3"}


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_null_and_infinite_cursors_are_told_once_and_found_by_the_sweep(engine, pg, search, script, wait_until, kind):
    films.table(pg, kind, 0)
    pg.execute("INSERT INTO t VALUES (1, 'v', NULL), (2, 'v', 'infinity'), (3, 'v', '-infinity'), (4, 'v', '2020-01-01')")
    path = script(films.plain())
    assert run(engine, path).stderr.count("NULL or infinite") == 1
    before = search.versions("t")
    assert set(before) == {"1", "2", "3", "4"}
    pg.execute("UPDATE t SET v = 'w' WHERE id <= 3")
    done = run(engine, path)
    assert "NULL or infinite" not in done.stderr
    assert changed(before, search.versions("t")) == set()
    before = search.versions("t")
    run(engine, path, "--sweep")
    assert changed(before, search.versions("t")) == {"1", "2", "3"}
    pg.execute("UPDATE t SET v = 'x', modified = '2021-01-01' WHERE id = 4")
    run(engine, path)
    assert search.get("t", "4")["v"] == "x"


def test_equal_cursors_lose_nothing_at_a_page_boundary(engine, pg, search, script, wait_until):
    films.table(pg, "timestamptz", 0)
    pg.execute("INSERT INTO t SELECT i, 'v', '2020-01-01' FROM generate_series(1, 3500) i")
    path = script(films.plain())
    run(engine, path)
    before = search.versions("t")
    pg.execute("UPDATE t SET v = 'w', modified = '2020-01-02' WHERE id > 200")
    run(engine, path)
    assert changed(before, search.versions("t")) == {str(i) for i in range(201, 3501)}
    pg.execute("UPDATE t SET v = 'x', modified = '2020-01-02' WHERE id = 3500")  # behind the position: equal cursor, same key
    pg.execute("INSERT INTO t VALUES (3501, 'v', '2020-01-02')")
    run(engine, path)
    assert search.get("t", "3501")


# Cursors that give one value to changes that follow each other

COARSE = {  # a cursor's type, and what each change sets it to
    "timestamptz(0)": ("timestamptz(0)", "now()"),
    "timestamp(0)": ("timestamp(0)", "now()"),
    "date": ("date", "now()"),
    "hours": ("timestamptz", "date_trunc('hour', now())"),
    "local-hours": ("timestamp", "date_trunc('hour', now())"),
    "epoch-hours": ("bigint", "extract(epoch FROM now())::bigint / 3600"),
}


@pytest.fixture
def coarse(request, pg):
    """update(id, v) changes a row of table t, whose cursor is a coarse one; of its earlier values, too, some come twice."""
    kind, now = COARSE[request.param]
    films.table(pg, kind, 0)
    pg.execute(f"INSERT INTO t SELECT i, 'v', {now.replace('now()', 'now() - i / 2 * interval $$1 day$$')} FROM generate_series(1, 40) i")
    return lambda key, v: pg.execute(f"UPDATE t SET v = %s, modified = {now} WHERE id = %s", (v, key))


@pytest.mark.parametrize("coarse", COARSE, indirect=True)
def test_changes_with_the_same_cursor_all_arrive(engine, search, script, coarse, wait_until):
    films.follow(engine, script(films.plain()), wait_until=wait_until)
    for n in range(5):
        for key in ("30", "2"):
            coarse(key, f"w{n}")
            wait_until(lambda: search.get("t", key)["v"] == f"w{n}", timeout=10)
    films.settle(1.5)
    before = search.versions("t")
    films.settle(1)
    assert not changed(before, search.versions("t"))


@pytest.mark.parametrize("coarse", COARSE, indirect=True)
def test_changes_with_the_same_cursor_arrive_in_the_next_run(engine, search, script, coarse):
    path = script(films.plain())
    run(engine, path)
    for n in range(3):
        for key in ("30", "2"):
            coarse(key, f"w{n}")
            run(engine, path)
            assert search.get("t", key)["v"] == f"w{n}"


def test_a_view_with_a_coarse_cursor_delivers_every_change(engine, pg, search, script, wait_until):
    """It has no row versions: its rows' values tell them."""
    pg.execute("CREATE TABLE base (id int, v text, modified date); CREATE VIEW t AS SELECT * FROM base")
    pg.execute("INSERT INTO base SELECT i, 'v', now() FROM generate_series(1, 3) i")
    films.follow(engine, script(films.plain()), wait_until=wait_until)
    for n in range(3):
        pg.execute("UPDATE base SET v = %s WHERE id = 2", (f"w{n}",))
        wait_until(lambda: search.get("t", "2")["v"] == f"w{n}", timeout=10)
