"""A standby as the source: by polls, which its primary may cancel, and, from PostgreSQL 16 on, by its log."""
import contextlib
import re
import signal
import threading

import pytest

from faults import LONG
from tools import wait_until
from wal_shop import SLOT, Shop

pytest_plugins = ["fault_fixtures", "wal_servers"]

ITEMS = """
CREATE TABLE item (id int PRIMARY KEY, name text, modified timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE other (id int PRIMARY KEY, n int);
INSERT INTO item SELECT i, 'item ' || i FROM generate_series(1, 300) i;
INSERT INTO other SELECT i, 0 FROM generate_series(1, 100) i;
"""
SCRIPT = """
return {
  name = "items",
  source = { url = os.getenv "DATABASE_URL", table = "item", key = "id", cursor = "modified",
             query = [[SELECT id, name, (SELECT sum(n) * 0 FROM other WHERE pg_sleep(0.0003) IS NOT NULL) AS n FROM item]] },
  document = function(row) return { name = row.name } end,
  poll_interval = 0.1,
  sink = { url = os.getenv "ELASTICSEARCH_URL", index = "items" },
  state = os.getenv "FILE_PATH_STATE",
}
"""


@pytest.fixture
def items(own_servers, search_one, engine, script):
    """A primary, its standby, which does not wait for queries, and a pipeline that polls that one."""
    items = type("Items", (), {})()
    items.primary = own_servers.new()
    items.primary.execute(ITEMS)
    items.standby = items.primary.standby(settings=("max_standby_streaming_delay=0", "wal_receiver_status_interval=1"))
    items.script = script(SCRIPT)
    engine.env["DATABASE_URL"] = items.standby.url

    def are_true(server):
        rows = {str(key): {"name": name} for key, name in server.query("SELECT id, name FROM item")}
        return search_one.exists("items") and search_one.docs("items") == rows

    items.are_true = are_true
    return items


@contextlib.contextmanager
def conflicts(primary):
    """The primary removes rows that the standby's queries may see, again and again."""
    over = threading.Event()

    def vacuum():
        while not over.wait(0.05):
            primary.execute("UPDATE other SET n = n + 1")
            primary.execute("VACUUM other")

    thread = threading.Thread(target=vacuum)
    thread.start()
    yield
    over.set()
    thread.join()


def cancelled(standby):
    return standby.value("SELECT sum(confl_snapshot + confl_lock + confl_bufferpin) FROM pg_stat_database_conflicts")


def test_a_load_whose_queries_are_cancelled_is_whole_in_the_end(items, engine):
    with conflicts(items.primary):
        running = engine.start(items.script)
        wait_until(lambda: cancelled(items.standby) > 2 or not running.alive(), timeout=60, what="cancelled queries")
    done = running.wait(120)
    assert done.returncode == 0 and items.are_true(items.primary), done
    assert "rejected, in" not in done.stderr or " 0 rejected" in done.stderr, done


def test_followed_while_it_lags_is_cancelled_and_takes_over(items, engine):
    running = engine.start(items.script, "--follow")
    wait_until(lambda: "following" in running.stderr, timeout=120, what="following")
    items.standby.query("SELECT pg_wal_replay_pause()")
    items.primary.execute("UPDATE item SET name = 'late', modified = clock_timestamp() WHERE id < 20")
    items.primary.execute("INSERT INTO item VALUES (1000, 'born late')")
    items.standby.query("SELECT pg_wal_replay_resume()")
    wait_until(lambda: items.are_true(items.primary), timeout=60, what="what came late")
    with conflicts(items.primary):
        items.primary.execute("UPDATE item SET name = 'cancelled', modified = clock_timestamp()")
        wait_until(lambda: cancelled(items.standby) > 0, timeout=60, what="cancelled queries")
    wait_until(lambda: items.are_true(items.primary), timeout=60, what="what was cancelled")
    items.primary.wait_replayed(items.standby)
    items.primary.stop()
    items.standby.promote()
    items.standby.execute("UPDATE item SET name = 'promoted', modified = clock_timestamp() WHERE id < 30")
    wait_until(lambda: items.are_true(items.standby), timeout=60, what="what the new primary has")
    assert running.alive(), running.stderr
    running.stop()


@pytest.mark.parametrize("follows", [True, False])
def test_a_standby_that_lacks_what_was_polled_is_swept(items, engine, search_one, follows):
    """Its rows are as they were before, and no poll meets them again."""
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in (items.primary, items.standby))
    engine.env["DATABASE_URL"] = f"postgresql://etl@{hosts}/{items.primary.name}"

    def follow():
        running = engine.start(items.script, "--follow")
        wait_until(lambda: "following" in running.stderr, timeout=120, what="following")
        return running

    running = follow()
    items.standby.query("SELECT pg_wal_replay_pause()")
    items.standby.stop()
    items.primary.execute("INSERT INTO item VALUES (1000, 'lost')")
    wait_until(lambda: search_one.get("items", "1000"), timeout=60, what="what will be lost")
    follows or running.stop()
    items.primary.stop(signal.SIGQUIT)
    items.standby.start()
    items.standby.promote()
    running = running if follows else follow()
    wait_until(lambda: items.are_true(items.standby), timeout=60, what="what the new primary has")
    assert re.search("another PostgreSQL server .* a sweep finds", running.stderr), running.stderr
    assert running.stop().returncode == 143


# ---- its log ----


@pytest.fixture
def pair(request, servers_of, search_one, engine, script, rng):
    """shop.pg is the primary, and the engine knows its standby alone."""
    primary = servers_of(request.param).new()
    shop = Shop(primary, search_one, engine, script, rng)
    shop.fill(300)
    shop.standby = primary.standby("two")
    engine.env["DATABASE_URL"] = shop.standby.url
    yield shop
    engine.close()


@pytest.mark.parametrize("pair", ["postgres"], indirect=True)
def test_one_before_version_16_is_refused_in_one_line(pair):
    done = pair.run(code=2)
    assert len(re.findall("is a standby, which can decode it from version 16 on", done.stderr)) == 1, done
    assert "hint: source.url has to lead to the primary" in done.stderr, done


@pytest.mark.parametrize("pair", ["postgres16", "postgres17"] if LONG else ["postgres17"], indirect=True)
def test_its_log_is_followed_and_goes_on_when_it_takes_over(pair):
    shop = pair
    done = shop.run(code=2)
    assert "cannot create the publication" in done.stderr and "read-only" in done.stderr, done
    statement = re.search("hint: on the primary, .* can run: (CREATE PUBLICATION .*)", done.stderr).group(1)
    shop.pg.execute(statement)
    shop.pg.wait_replayed(shop.standby)
    shop.start()

    def follows():
        shop.pg.query("SELECT pg_log_standby_snapshot()")
        return ": following" in shop.running.stderr or not shop.running.alive()

    wait_until(follows, timeout=120, what="following")
    assert "waits until its primary tells of its transactions" in shop.running.stderr
    shop.pg.execute("UPDATE product SET name = 'one' WHERE id < 20")
    shop.pg.execute("DELETE FROM product WHERE id BETWEEN 20 AND 30")
    shop.wait_true()
    assert shop.standby.value("SELECT active FROM pg_replication_slots WHERE slot_name = %s", (SLOT,))
    shop.pg.execute("UPDATE product SET name = 'two' WHERE id < 20")
    shop.pg.wait_replayed(shop.standby)
    shop.pg.stop()
    shop.pg = shop.standby
    shop.pg.promote()
    shop.pg.execute("UPDATE product SET name = 'three' WHERE id < 10")
    shop.wait_true()
    wait_until(lambda: "the standby has taken over" in shop.running.stderr, timeout=60, what="a line about it")
    shop.stop()
    shop.pg.execute("DELETE FROM product WHERE id BETWEEN 31 AND 40")
    shop.run()
    shop.assert_true()
    shop.assert_no_sweep()


@pytest.mark.parametrize("pair", ["postgres17"], indirect=True)
def test_a_slot_that_is_a_copy_of_the_primarys_is_refused_in_one_line(pair, engine):
    shop = pair
    engine.env["DATABASE_URL"] = shop.pg.url
    shop.follow()
    state = engine.env["FILE_PATH_STATE"]

    def is_synced():
        shop.pg.query("SELECT pg_log_standby_snapshot()")
        shop.standby.query("SELECT pg_sync_replication_slots()")
        return shop.standby.query("SELECT 1 FROM pg_replication_slots WHERE synced AND NOT temporary")

    wait_until(is_synced, timeout=60, what="a copy of the slot")
    shop.stop()
    engine.env |= {"DATABASE_URL": shop.standby.url, "FILE_PATH_STATE": state + ".other"}
    done = shop.run(code=2)
    assert len(re.findall("is a copy of the primary's, and cannot be read", done.stderr)) == 1, done
    assert "hint: source.url has to lead to the primary" in done.stderr, done
