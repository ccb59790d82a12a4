"""More keys wait than journal_limit allows: they are dropped for one note, that a sweep is owed,
and the sweep repairs."""
import glob
import os

import pytest

from tools import wait_until

pytest_plugins = ["fault_fixtures", "wal_fixtures"]

LIMIT = 1 << 20  # bytes
ROWS = 250_000  # of some 8 bytes each: more than the limit


@pytest.fixture
def short(shop):
    """A shop whose journal may not be long."""
    shop.fill(3000)
    shop.script = shop.write(source=f"journal_limit = {LIMIT}")
    return shop


def journal(shop):
    """Its bytes on disk."""
    return sum(os.path.getsize(path) for path in glob.glob(shop.engine.state + ".journal.*"))


def overflow(shop, first=100_000):
    shop.pg.execute("INSERT INTO product SELECT i, 'many', 1 FROM generate_series(%s, %s) i", (first, first + ROWS - 1))
    shop.pg.execute("DELETE FROM product WHERE id >= %s", (first,))
    wait_until(lambda: "more than journal_limit" in shop.running.stderr, timeout=120, what="a line about it")
    shop.wait_confirmed(timeout=120)


def change(shop, n):
    shop.pg.execute("UPDATE product SET name = 'changed' WHERE id BETWEEN %s AND %s", (n * 100, n * 100 + 50))
    shop.pg.execute("DELETE FROM product WHERE id BETWEEN %s AND %s", (n * 100 + 60, n * 100 + 70))
    shop.pg.execute("INSERT INTO product VALUES (%s, 'born', 1)", (50_000 + n,))


def assert_swept(shop):
    wait_until(lambda: ": swept" in shop.running.stderr, timeout=120, what="the sweep's end")
    told = [line for line in shop.sweeps() if "journal_limit" in line]
    assert len(told) == 1, told


def test_while_the_search_server_is_away(short, search_proxy):
    short.follow()
    search_proxy.pause()
    change(short, 1)
    overflow(short)
    change(short, 2)
    short.wait_confirmed()
    search_proxy.resume()
    short.wait_true(120)
    assert_swept(short)
    change(short, 3)
    short.wait_true()
    assert journal(short) < LIMIT + (32 << 20)
    short.stop()


def test_killed_afterwards(short, search_proxy):
    """That a sweep is owed is on disk before the keys are gone."""
    short.follow()
    search_proxy.pause()
    change(short, 1)
    overflow(short)
    change(short, 2)
    short.kill()
    search_proxy.cut()
    search_proxy.resume()
    short.follow()
    short.wait_true(120)
    assert_swept_after_kill(short)
    short.stop()


def assert_swept_after_kill(shop):
    wait_until(lambda: ": swept" in shop.running.stderr, timeout=120, what="the sweep's end")


def test_one_run_sweeps_what_was_dropped(short, search_proxy):
    short.follow()
    search_proxy.pause()
    change(short, 1)
    overflow(short)
    change(short, 2)
    short.kill()
    search_proxy.cut()
    search_proxy.resume()
    short.run()
    short.assert_true()


def test_during_a_first_load(short, search_proxy):
    short.add(3001, 20_000)
    short.start()
    wait_until(lambda: search_proxy.up > 500_000, timeout=60, what="a part of the load")
    search_proxy.pause()
    change(short, 1)
    overflow(short)
    change(short, 2)
    search_proxy.resume()
    wait_until(lambda: ": following" in short.running.stderr, timeout=120, what="following")
    short.wait_true(120)
    change(short, 3)
    short.wait_true()
    short.stop()


def test_twice(short, search_proxy):
    """And amid the sweep that the first one owes."""
    short.follow()
    search_proxy.pause()
    change(short, 1)
    overflow(short)
    search_proxy.resume()
    short.wait_true(120)
    search_proxy.pause()
    change(short, 2)
    short.kill()
    search_proxy.cut()
    search_proxy.resume()
    short.follow()
    search_proxy.pause()
    change(short, 3)
    overflow(short)
    change(short, 4)
    search_proxy.resume()
    short.wait_true(120)
    short.stop()
