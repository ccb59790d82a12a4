"""PostgreSQL goes away, comes back, and says no, at any moment of a load or a poll."""
import os
import threading

import psycopg2
import pytest

import services
from faults import LONG, assert_true_to, pause
from tools import wait_until

pytest_plugins = ["fault_fixtures"]

ROUNDS = 30 if LONG else 3


def wait_for_rows(items, search):
    """Until the load is in its middle."""
    wait_until(lambda: search.exists("items"))
    wait_until(lambda: search.request("GET", "items/_stats/indexing")["_all"]["total"]["indexing"]["index_total"] > 0)


def ends_well(engine, items, search, seen=True):
    done = engine.wait()
    assert done.returncode == 0, done
    if seen:
        assert "trying again in" in done.stderr, done
    assert_true_to(items, search)
    wait_until(lambda: items.pg.sessions() == 0)
    return done


def test_absent_at_the_start(search_one, items):
    items.fill(1000)
    services.POSTGRES.down()
    engine = items.start()
    wait_until(lambda: "Connection refused" in engine.stderr)
    services.POSTGRES.up()
    done = ends_well(engine, items, search_one)
    assert "could not connect to PostgreSQL" in done.stderr


HARM = {
    "stopped fast": services.POSTGRES.down,
    "stopped immediately": services.POSTGRES.stop_immediately,
    "crashed": services.POSTGRES.kill,
}


@pytest.mark.parametrize("harm", HARM)
def test_lost_in_a_load(search_one, items, harm):
    items.fill(30000, width=600)
    engine = items.start()
    wait_for_rows(items, search_one)
    HARM[harm]()
    wait_until(lambda: "trying again in" in engine.stderr)
    services.POSTGRES.up()
    ends_well(engine, items, search_one)


def test_restarted_in_a_poll(search_one, items, rng):
    items.fill(60000)
    items.run()
    for _ in range(ROUNDS):
        items.change(rng, 5000)
        engine = items.start()
        assert pause(engine, rng.uniform(0, 0.1))
        services.POSTGRES.restart()
        ends_well(engine, items, search_one, seen=False)


def test_backends_terminated_again_and_again(search, items, rng):
    items.fill(30000, width=100)
    engine = items.start()
    hits = 0
    while hits < 10 and pause(engine, rng.uniform(0, 0.5)):
        hits += items.pg.terminate()
    ends_well(engine, items, search, seen=False)
    items.change(rng, 5000)
    engine = items.start()
    while pause(engine, rng.uniform(0, 0.05)):
        items.pg.terminate()
        hits += 1
        if hits > 30:
            break
    ends_well(engine, items, search, seen=False)


def test_queries_cancelled_by_an_administrator(search_one, items, rng):
    items.fill(30000, width=100)
    engine = items.start()
    for _ in range(5):
        if pause(engine, rng.uniform(0.1, 0.4)):
            items.pg.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    ends_well(engine, items, search_one, seen=False)


def test_frozen_and_woken(search_one, items):
    items.fill(30000, width=600)
    engine = items.start()
    wait_for_rows(items, search_one)
    services.POSTGRES.freeze()
    try:
        assert pause(engine, 130 if LONG else 3)
    finally:
        services.POSTGRES.thaw()
    ends_well(engine, items, search_one, seen=False)


@pytest.fixture
def role(pg):
    name = f"limited_{os.getpid()}"
    pg.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret' CONNECTION LIMIT 0")
    yield name
    pg.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_too_many_connections_are_waited_for(search_one, items, role):
    items.fill(1000)
    items.pg.execute(f"GRANT SELECT ON item TO {role}")
    url = items.pg.url_at(items.pg.port, user=role, password="secret")
    engine = items.start(env={"DATABASE_URL": url})
    wait_until(lambda: "too many connections for role" in engine.stderr)
    items.pg.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")
    ends_well(engine, items, search_one)


@pytest.mark.parametrize("limit", [1, 2])
def test_fewer_connections_than_workers_are_shared(search_one, items, role, limit):
    """A worker that has nothing to do must not keep the connection that another one waits for."""
    items.fill(30000)
    items.pg.execute(f"GRANT SELECT ON item TO {role}; ALTER ROLE {role} CONNECTION LIMIT {limit}")
    engine = items.start(env={"DATABASE_URL": items.pg.url_at(items.pg.port, user=role, password="secret")})
    ends_well(engine, items, search_one, seen=False)


def test_statement_timeout_in_the_url(search_one, items):
    """A query that is cancelled by it is asked again, until the server is quick enough."""
    items.fill(1000)
    items.pg.execute("CREATE TABLE knob AS SELECT 1::float8 AS s")
    items.script = items.write("SELECT id, name, n FROM item, LATERAL (SELECT pg_sleep(s + id * 0) FROM knob) k")
    url = items.pg.url_at(items.pg.port, options="-c%20statement_timeout%3D500")
    engine = items.start(env={"DATABASE_URL": url})
    wait_until(lambda: "canceling statement due to statement timeout; trying again in" in engine.stderr)
    assert "(hint: if it is this role's statement_timeout" in engine.stderr
    items.pg.execute("UPDATE knob SET s = 0")
    ends_well(engine, items, search_one)


def test_statement_timeout_for_ever_ends_where_that_was_asked_for(search_one, items):
    items.fill(1000)
    items.script = items.write("SELECT id, name, n FROM item, LATERAL (SELECT pg_sleep(1 + id * 0)) k")
    url = items.pg.url_at(items.pg.port, options="-c%20statement_timeout%3D300")
    done = items.start("--give-up-after", "2", env={"DATABASE_URL": url}).wait()
    assert done.returncode == 3
    error, hint = done.stderr.splitlines()[-2:]
    assert "canceling statement due to statement timeout" in error and "statement_timeout=0" in hint
    assert "the row of key '" in error


def test_the_time_to_give_up_begins_with_the_first_failure(search_one, items, pg_proxy):
    """A server that served for long and fails for a moment was not absent for long."""
    items.fill(10)
    items.pg.execute("CREATE TABLE knob AS SELECT 0.3::float8 AS s")
    items.script = items.write("SELECT id, name, n FROM item, LATERAL (SELECT pg_sleep(s + id * 0) FROM knob) k")
    engine = items.start("--give-up-after", "2")
    assert pause(engine, 2.5)
    items.pg.execute("UPDATE knob SET s = 0")
    pg_proxy.cut()
    ends_well(engine, items, search_one)


def test_a_lock_is_waited_for(search_one, items):
    """ALTER TABLE in mid-load; with lock_timeout, the engine asks again."""
    items.fill(60000)
    locker = items.pg.connect()
    with locker.cursor() as cursor:
        cursor.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        url = items.pg.url_at(items.pg.port, options="-c%20lock_timeout%3D200")
        engine = items.start(env={"DATABASE_URL": url})
        wait_until(lambda: "canceling statement due to lock timeout" in engine.stderr)
    locker.commit()
    locker.close()
    ends_well(engine, items, search_one)


def test_a_column_dropped_in_a_load_is_an_error_and_not_a_wrong_document(search_one, items, gateway):
    items.fill(60000)
    items.script = items.write("SELECT * FROM item")
    gateway.answer = lambda r: (503, {}, b"{}") if r.bulk else None
    engine = items.start("--workers", "1")
    wait_until(lambda: gateway.bulks > 0)
    thread = threading.Thread(target=items.pg.execute, args=("ALTER TABLE item DROP COLUMN name",))
    thread.start()
    gateway.answer = lambda r: None
    done = engine.wait()
    thread.join()
    assert done.returncode in (1, 2), done
    items.script = items.write("SELECT id, n, NULL::text AS name FROM item")  # what document() reads is there again
    items.run("--full")
    assert_true_to(items, search_one)


def test_a_table_that_is_emptied_and_filled_by_one_transaction(search_one, items, rng):
    """The nightly import: all rows are written anew, with one and the same cursor."""
    items.fill(30000)
    items.run()
    with items.pg.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE old ON COMMIT DROP AS SELECT * FROM item")
        cursor.execute("DELETE FROM item")
        cursor.execute("INSERT INTO item SELECT id, name || ' (new)', n, now() FROM old")
    items.run()
    assert_true_to(items, search_one)


def test_a_transaction_that_commits_after_the_load(search_one, items):
    """Its rows bear the time at which it began: the position must not have passed that."""
    items.fill(1000)
    early = items.pg.connect()
    with early.cursor() as cursor:
        cursor.execute("UPDATE item SET n = 7, modified = now() WHERE id < 10")
        items.insert(500)  # later cursors, visible at once
        items.run()
        early.commit()
    items.run()
    assert_true_to(items, search_one)


def test_a_transaction_that_has_only_begun_when_the_load_looks(search_one, items):
    """It holds a time already, and has not written."""
    items.fill(1000)
    early = items.pg.connect()
    with early.cursor() as cursor:
        cursor.execute("SELECT now()")
        items.insert(10)
        items.run()
        cursor.execute("UPDATE item SET n = 7, modified = now() WHERE id < 10")
        early.commit()
    items.run()
    assert_true_to(items, search_one)


def test_a_page_of_rows_with_one_cursor(search_one, items, rng):
    """Pages end amid rows with the same time, and a kill comes there."""
    items.fill(30000)
    items.run()
    for _ in range(ROUNDS):
        items.pg.execute("UPDATE item SET n = n + 1, modified = now() WHERE id % 3 = 0")
        engine = items.start()
        if pause(engine, rng.uniform(0, 0.4)):
            engine.kill()
        items.run()
        assert_true_to(items, search_one)


def test_a_refusal_after_it_had_let_us_in_is_waited_for(search_one, items, role, gateway):
    """A password that is being changed, in mid-load."""
    items.fill(60000)
    items.pg.execute(f"GRANT SELECT ON item TO {role}; ALTER ROLE {role} CONNECTION LIMIT -1")
    gateway.answer = lambda r: (503, {}, b"{}") if r.bulk else None
    engine = items.start(env={"DATABASE_URL": items.pg.url_at(items.pg.port, user=role, password="secret")})
    wait_until(lambda: gateway.bulks > 0)
    items.pg.execute(f"ALTER ROLE {role} PASSWORD 'changed'")
    items.pg.terminate()
    gateway.answer = lambda r: None
    wait_until(lambda: "password authentication failed" in engine.stderr)
    assert "secret" not in engine.stderr
    items.pg.execute(f"ALTER ROLE {role} PASSWORD 'secret'")
    ends_well(engine, items, search_one)


def test_a_wrong_password_fails_at_once(search_one, items):
    items.fill(10)
    done = items.start(env={"DATABASE_URL": items.pg.url_at(items.pg.port, password="wrong-one")}).wait(10)
    assert done.returncode == 1
    assert "password authentication failed" in done.stderr and "wrong-one" not in done.stderr
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(items.pg.url_at(items.pg.port, password="wrong-one"))
