"""A stop wakes every wait: SIGTERM and SIGINT, in each place where the engine may hang, end it within five seconds with
the right status, the state saved, and the next run goes on."""
import os
import signal
import socket
import subprocess

import pytest

import services
from faults import assert_true_to, pause, seconds

pytest_plugins = ["fault_fixtures"]

STOPS = [signal.SIGTERM, signal.SIGINT]


def stops(engine, number=signal.SIGTERM, limit=5):
    """Signal it once: it has to end in time, and by its own decision."""

    def end():
        engine.signal(number)
        done = engine.wait()
        assert done.returncode == 128 + number, done
        assert f"stopped by {signal.Signals(number).name}" in done.stderr, done
        assert "error:" not in done.stderr, done

    took = seconds(end)
    assert took < limit, f"{took:.1f} s\n{engine.stderr}"


def finishes(items, search):
    items.run()
    assert_true_to(items, search)
    assert items.pg.sessions() == 0


def test_while_postgresql_is_absent(search_one, items, pg_proxy, wait_until):
    items.fill(10)
    pg_proxy.refuse()
    engine = items.start("--verbose")
    wait_until(lambda: engine.stderr.count("trying again in") > 4)  # the waits have become long
    stops(engine)
    pg_proxy.accept()
    finishes(items, search_one)


def test_while_the_search_server_is_absent(search_one, items, search_proxy, wait_until):
    items.fill(10)
    search_proxy.refuse()
    engine = items.start("--verbose")
    wait_until(lambda: engine.stderr.count("trying again in") > 4)
    stops(engine)
    search_proxy.accept()
    finishes(items, search_one)


def test_while_a_lost_postgresql_is_waited_for(search_one, items, pg_proxy, wait_until):
    items.fill(30000, width=300)
    engine = items.start("--verbose")
    wait_until(lambda: pg_proxy.down > 2_000_000)
    pg_proxy.refuse()
    wait_until(lambda: engine.stderr.count("trying again in") > 4)
    stops(engine)
    pg_proxy.accept()
    finishes(items, search_one)


def test_in_connect_to_a_frozen_postgresql(search_one, items, pg_proxy, wait_until):
    """The kernel accepts the connection, and nobody ever answers."""
    items.fill(10)
    pg_proxy.pause()
    engine = items.start()
    wait_until(lambda: pg_proxy.accepted > 0)
    assert pause(engine, 0.3)
    stops(engine)
    pg_proxy.resume()
    finishes(items, search_one)


def test_in_a_load_from_a_frozen_postgresql(search_one, items, wait_until):
    items.fill(30000, width=300)
    engine = items.start()
    wait_until(lambda: search_one.exists("items"))
    services.POSTGRES.freeze()
    try:
        assert pause(engine, 1)
        stops(engine)
    finally:
        services.POSTGRES.thaw()
    wait_until(lambda: items.pg.sessions() == 0)
    finishes(items, search_one)


def test_in_a_bulk_request_to_a_frozen_search_server(search, items, wait_until):
    items.fill(30000, width=300)
    engine = items.start()
    wait_until(lambda: search.exists("items"))
    search.server.freeze()
    try:
        assert pause(engine, 0.5)
        stops(engine)
    finally:
        search.server.thaw()
    finishes(items, search)


def test_while_it_follows_and_the_search_server_is_frozen(search_one, items, wait_until):
    """A worker has a request under way, the main thread another one, and at the end there would be a third: all of them
    together have a second."""
    items.fill(100)
    engine = items.start("--follow")
    wait_until(lambda: search_one.count("items") == 100 and "following" in engine.stderr)
    search_one.server.freeze()
    try:
        items.pg.execute("UPDATE item SET name = 'x', modified = clock_timestamp()")
        assert pause(engine, 6)  # until it has looked whether the index is still the same
        stops(engine, limit=4)
    finally:
        search_one.server.thaw()
    finishes(items, search_one)


def test_in_the_first_request_to_a_frozen_search_server(search_one, items, search_proxy, wait_until):
    items.fill(10)
    search_proxy.pause()
    engine = items.start()
    wait_until(lambda: search_proxy.accepted > 0)
    stops(engine)
    search_proxy.resume()
    finishes(items, search_one)


def test_between_tries_that_the_search_server_asked_to_be_long(search_one, items, gateway, wait_until):
    items.fill(10)
    gateway.answer = lambda r: (429, {"Retry-After": "3600"}, b"{}") if r.bulk else None
    engine = items.start()
    wait_until(lambda: "trying again in 3600" in engine.stderr)
    stops(engine)
    gateway.answer = lambda r: None
    finishes(items, search_one)


@pytest.mark.parametrize("number", STOPS)
def test_in_a_query_that_takes_a_minute(search_one, items, wait_until, number):
    items.fill(10)
    slow = items.write("SELECT id, name, n FROM item, LATERAL (SELECT pg_sleep(60 + id)) s", name="slow.lua")
    engine = items.engine.start(slow)
    wait_until(lambda: items.pg.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
    stops(engine, number)
    wait_until(lambda: items.pg.sessions() == 0, what="the query was cancelled, too")
    finishes(items, search_one)


def test_in_a_query_that_waits_for_a_lock(search_one, items, wait_until):
    items.fill(300)
    locker = items.pg.connect()
    with locker.cursor() as cursor:
        cursor.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        engine = items.start()
        wait_until(lambda: items.pg.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
        stops(engine)
    locker.rollback()
    locker.close()
    wait_until(lambda: items.pg.sessions() == 0)
    finishes(items, search_one)


HOOKS = {
    "backoff": """
      local etl = require "etl"
      etl.backoff({ wait = "constant", interval = 100, jitter = "none" }, function() error "not yet" end)""",
    "query": """require "etl".pg.query("SELECT pg_sleep(100)")""",
}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("name", ["before_run", "after_run"])
def test_in_a_hook(search_one, items, wait_until, name, hook):
    items.fill(10)
    script = items.write(more=f"{name} = function() print 'waiting' {HOOKS[hook]} end,", name="hook.lua")
    engine = items.engine.start(script)
    wait_until(lambda: "waiting" in engine.stderr)
    stops(engine)
    finishes(items, search_one)


def test_in_document_that_never_returns_from_a_query(search_one, items, wait_until):
    items.fill(10)
    script = items.write(name="document.lua")
    with open(script, encoding="utf-8") as f:
        text = f.read()
    with open(script, "w", encoding="utf-8") as f:
        f.write(text.replace("return { name =", 'require "etl".pg.query("SELECT pg_sleep(100)") return { name ='))
    engine = items.engine.start(script)
    wait_until(lambda: items.pg.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
    stops(engine)
    finishes(items, search_one)


def test_while_nobody_reads_the_dry_run(items, wait_until):
    """`| less` holds the pipe open, and does not read on."""
    items.fill(60000)
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [items.engine.path, items.script, "--dry-run"], stdout=writer, stderr=subprocess.PIPE, env=items.engine.env
    )
    os.close(writer)
    try:
        assert os.read(reader, 100)
        try:
            process.wait(1)
            raise AssertionError("it ended by itself")
        except subprocess.TimeoutExpired:
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 143
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        os.close(reader)


def test_while_keys_are_read_from_a_terminal(items, search_one):
    """Or from a pipe into which nobody writes: Ctrl-C has to end it, as it ends any program that reads."""
    items.fill(10)
    ours, theirs = socket.socketpair()
    try:
        engine = items.start("--keys-from", "-", stdin=theirs)
        assert pause(engine, 0.5)
        engine.signal(signal.SIGINT)
        assert engine.wait(5).returncode in (130, -signal.SIGINT)
    finally:
        ours.close()
        theirs.close()


def test_while_the_disk_is_full(search_one, items, small_disk, wait_until):
    items.fill(3000)
    items.engine.env["FILE_PATH_STATE"] = items.engine.state = small_disk.path("state")
    small_disk.fill()
    engine = items.start("--verbose")
    wait_until(lambda: engine.stderr.count("No space left") > 2)
    stops(engine)
    small_disk.free()
    finishes(items, search_one)
