"""Memory and connections do not grow with the table, with failures, or with waiting."""
import os
import time

import pytest

from faults import assert_true_to, pause
from tools import SLOW

pytest_plugins = ["fault_fixtures"]

MOST = 64 << 20  # bytes resident

pytestmark = pytest.mark.skipif(SLOW > 1, reason="a sanitizer's build has its own memory")


def test_of_a_load(search, items):
    items.fill(60000, width=300)
    engine = items.start()
    highest = 0
    while engine.alive():
        try:
            highest = max(highest, engine.rss())
        except (FileNotFoundError, AttributeError):
            break
        time.sleep(0.01)
    assert engine.wait().returncode == 0
    assert 1 << 20 < highest < MOST
    assert_true_to(items, search)


def test_while_nothing_moves(search_one, items, search_proxy, wait_until):
    """The rows wait in PostgreSQL, not here."""
    items.fill(30000, width=1000)
    engine = items.start()
    wait_until(lambda: search_proxy.up > 5_000_000)
    search_proxy.pause()
    assert pause(engine, 3)
    assert engine.rss() < MOST
    assert items.pg.sessions() <= 3  # two workers, and the feed
    search_proxy.resume()
    assert engine.wait().returncode == 0
    assert_true_to(items, search_one)


def test_connections_after_many_failures(search_one, items, pg_proxy, search_proxy, rng):
    items.fill(60000, width=100)
    engine = items.start()
    for _ in range(20):
        if not pause(engine, rng.uniform(0, 0.15)):
            break
        pg_proxy.cut()
        search_proxy.cut()
        assert pg_proxy.open() <= 6 and search_proxy.open() <= 3
        if engine.alive():
            assert len(os.listdir(f"/proc/{engine.pid}/fd")) < 40
    assert engine.wait(120).returncode == 0
    assert_true_to(items, search_one)
