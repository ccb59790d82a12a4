"""The search server is away, or slow, while much is written: the log is not held back, and memory does not grow. Large
transactions likewise."""
import contextlib

import psycopg2
import pytest

from faults import LONG
from tools import SLOW, wait_until
from wal_shop import Flood

pytest_plugins = ["fault_fixtures", "wal_fixtures"]

MOST = 64 << 20  # bytes resident
HELD = 4 << 20  # bytes of log that are not confirmed, a moment after they were written
ROUNDS = 40 if LONG else 4
MEGABYTES = 5  # of log in each round


class Watch:
    """How much log is held back while it is written, and how much memory is resident."""

    def __init__(self, shop, flood):
        self.shop, self.flood, self.highest, self.memory = shop, flood, 0, 0

    def round(self):
        """More is written, which goes on; then little is held back, at some moment soon."""
        self.flood.wait_written(MEGABYTES << 20)
        wait_until(self._is_low, timeout=60, what="a slot that holds back little")
        self.memory = max(self.memory, self.shop.running.rss())
        assert self.memory < MOST or SLOW > 1

    def _is_low(self):
        held = self.shop.held_back()
        self.highest = max(self.highest, held)
        return held < HELD

    def __repr__(self):
        return f"{self.highest / 1e6:.1f} MB held back, {self.memory / 1e6:.0f} MB resident, at most"


@pytest.mark.parametrize("way", ["silent", "refused"])
def test_the_search_server_is_away_while_much_is_written(shop, search_proxy, way):
    shop.fill()
    shop.follow()
    with Flood(shop) as flood:
        watch = Watch(shop, flood)
        search_proxy.pause() if way == "silent" else search_proxy.refuse()
        for _ in range(ROUNDS):
            watch.round()
    print(watch)
    search_proxy.resume() if way == "silent" else search_proxy.accept()
    shop.wait_true(120)
    assert shop.running.rss() < MOST or SLOW > 1
    shop.assert_no_sweep()
    shop.stop()


def test_killed_while_the_search_server_is_away(shop, search_proxy):
    """Also while it waits for that server, which has never answered it."""
    shop.fill()
    shop.follow()
    with Flood(shop) as flood:
        watch = Watch(shop, flood)
        search_proxy.pause()
        watch.round()
        for _ in range(ROUNDS // 2):
            shop.kill()
            search_proxy.cut()
            shop.start()
            watch.round()
    print(watch)
    search_proxy.resume()
    wait_until(lambda: ": following" in shop.running.stderr, timeout=120, what="following")
    shop.wait_true(120)
    shop.assert_no_sweep()
    shop.stop()


def test_started_while_the_search_server_refuses(shop, search_proxy):
    """And stopped, and started again when it is there."""
    shop.fill()
    shop.run()
    search_proxy.refuse()
    shop.start()
    with Flood(shop) as flood:
        watch = Watch(shop, flood)
        for _ in range(ROUNDS):
            watch.round()
    print(watch)
    shop.stop()
    search_proxy.accept()
    shop.run()
    shop.assert_true()
    shop.assert_no_sweep()


def test_much_is_written_during_a_first_load_that_takes_long(shop, search_proxy):
    shop.fill(20000)
    shop.start()
    wait_until(lambda: search_proxy.up > 1_000_000, what="a part of the load")
    search_proxy.pause()
    with Flood(shop, top=20000) as flood:
        watch = Watch(shop, flood)
        for _ in range(ROUNDS):
            watch.round()
        assert ": following" not in shop.running.stderr
    print(watch)
    search_proxy.resume()
    wait_until(lambda: ": following" in shop.running.stderr, timeout=120, what="following")
    shop.wait_true(120)
    assert shop.running.rss() < MOST or SLOW > 1
    shop.assert_no_sweep()
    shop.stop()


def test_the_log_of_others_is_confirmed_while_the_search_server_is_away(shop, search_proxy):
    """Also behind changes that are not delivered yet."""
    shop.fill()
    shop.follow()
    search_proxy.pause()
    shop.pg.execute("UPDATE product SET price = price + 1 WHERE id < 100")
    shop.pg.execute("INSERT INTO other (filler) SELECT repeat('z', 1000) FROM generate_series(1, 10000)")
    shop.wait_confirmed()
    search_proxy.resume()
    shop.wait_true()
    shop.stop()


# ---- large transactions ----


def test_large_transactions_do_not_grow_memory(shop, search_proxy):
    """All of them come while the search server is away: their keys wait on disk."""
    rows = 2_500_000 if LONG else 200_000
    shop.fill()
    shop.follow()
    search_proxy.pause()
    shop.pg.execute(
        "INSERT INTO product SELECT i, 'many', 1 FROM generate_series(10001, 10000 + %s) i", (rows,)
    )
    shop.wait_confirmed(timeout=300)
    print(f"{shop.running.rss() / 1e6:.0f} MB resident with {rows} keys in the journal")
    assert shop.running.rss() < MOST or SLOW > 1
    shop.pg.execute("UPDATE product SET price = 7 WHERE id % 1000 = 1")
    shop.pg.execute("DELETE FROM product WHERE id > 10000 AND id % 1000 > 1")
    shop.wait_confirmed(timeout=300)
    assert shop.running.rss() < MOST or SLOW > 1
    search_proxy.resume()
    shop.wait_true(900 if LONG else 120)
    assert shop.search.count("shop") == 3000 + 2 * rows // 1000
    print(f"{shop.running.rss() / 1e6:.0f} MB resident in the end")
    assert shop.running.rss() < MOST or SLOW > 1
    shop.assert_no_sweep()
    shop.stop()


def test_large_transactions_that_are_interleaved(shop):
    """Of two, each is committed while the other one goes on, or both were open all the time; a
    third is rolled back."""
    rows, parts = (50_000 if LONG else 10_000), 10
    shop.fill()
    shop.follow()
    with contextlib.ExitStack() as stack:
        sessions = []
        for _ in range(3):
            connection = stack.enter_context(contextlib.closing(psycopg2.connect(shop.pg.url)))
            sessions.append((connection, stack.enter_context(connection.cursor())))
        for part in range(parts):
            for n, (_, cursor) in enumerate(sessions):
                first = 10_000 + n * 10 * rows + part * (rows // parts)
                cursor.execute("SAVEPOINT s")
                cursor.execute(
                    "INSERT INTO product SELECT i, %s, 1 FROM generate_series(%s, %s) i", (f"of {n}", first, first + rows // parts - 1)
                )
                part % 3 == 1 and cursor.execute("ROLLBACK TO s")
            shop.pg.execute("UPDATE product SET price = price + 1 WHERE id = %s", (part + 1,))
        sessions[1][0].commit()
        sessions[2][0].rollback()
        shop.pg.execute("UPDATE product SET price = price + 1 WHERE id < 1000")
        sessions[0][0].commit()
    shop.wait_true(300)
    assert shop.search.count("shop") == 3000 + 2 * rows * 7 // 10
    shop.assert_no_sweep()
    shop.stop()


@pytest.mark.parametrize("percent", [1, 50, 99])
def test_killed_amid_the_delivery_of_one_transaction(shop, percent):
    rows = 100_000 if LONG else 30_000
    shop.fill(300)
    shop.follow()
    shop.pg.execute("INSERT INTO product SELECT i, 'many', 1 FROM generate_series(10001, 10000 + %s) i", (rows,))

    def indexed():
        return shop.search.request("GET", "shop/_stats/indexing")["_all"]["primaries"]["indexing"]["index_total"] - 300

    wait_until(lambda: indexed() >= rows * percent // 100, timeout=120, what="a part of the documents")
    shop.kill()
    left = rows + 300 - shop.search.count("shop")
    print(f"{left} documents are left")
    assert left > 0 or percent == 99
    shop.follow()
    shop.wait_true(120)
    shop.assert_no_sweep()
    shop.stop()
