"""Another database behind the same address: restored from a backup, or a standby that was promoted. The log does not
continue there where the state ends: a sweep repairs the index, and a line says why."""
import signal

import pytest

from proxy import Proxy
from tools import wait_until
from wal_shop import Shop

pytest_plugins = ["fault_fixtures", "wal_servers"]


class Place:
    """An address behind which servers come and go."""

    def __init__(self, proxy):
        self.proxy, self.server = proxy, None

    def is_of(self, server):
        self.proxy.target = ("127.0.0.1", server.port)
        self.server = server


@pytest.fixture
def place():
    with Proxy(1) as proxy:
        yield Place(proxy)


@pytest.fixture
def shop(own_servers, place, search_one, engine, script, rng):
    """On a server of its own."""
    place.is_of(own_servers.new())
    engine.env["DATABASE_URL"] = place.server.url_at(place.proxy.port)
    shop = Shop(place.server, search_one, engine, script, rng)
    shop.fill()
    yield shop
    engine.close()


def goes_on(shop, follows):
    """The engine finds out, sweeps, and follows from there."""
    if not follows:
        shop.follow()
    wait_until(lambda: shop.sweeps(), timeout=60, what="a line about a sweep")
    shop.wait_true()
    said = shop.running.stderr
    assert "a sweep finds what the log does not tell" in said
    assert said.count("loading everything") <= follows  # the first one
    wait_until(lambda: ": swept" in shop.running.stderr, timeout=60, what="the sweep's end")
    swept = len(shop.sweeps())
    shop.pg.execute("UPDATE product SET price = price + 1 WHERE id < 50")
    shop.pg.execute("DELETE FROM product WHERE id = 60")
    shop.wait_true()
    shop.stop()
    shop.run()
    shop.assert_true()
    assert len(shop.sweeps()) == swept, shop.said


def change(server, n):
    """Rows in each way, others for each n."""
    server.execute(f"UPDATE product SET name = 'change {n}' WHERE id BETWEEN {n * 100} AND {n * 100 + 50}")
    server.execute(f"DELETE FROM product WHERE id BETWEEN {n * 100 + 60} AND {n * 100 + 70}")
    server.execute(f"INSERT INTO product VALUES ({10000 + n}, 'born {n}', 1)")
    server.execute(f"DELETE FROM product_tag WHERE product_id BETWEEN {n * 100 + 80} AND {n * 100 + 90}")


@pytest.mark.parametrize("follows", [True, False])
def test_a_standby_without_the_slot_is_promoted(shop, place, follows):
    standby = shop.pg.standby()
    shop.follow()
    change(shop.pg, 1)
    shop.wait_true()
    follows or shop.stop()
    primary = shop.pg
    change(primary, 2)  # the engine may have them or not
    primary.wait_replayed(standby)
    primary.stop(signal.SIGQUIT)
    place.is_of(standby)
    standby.promote()
    shop.pg = standby
    change(standby, 3)
    goes_on(shop, follows)


@pytest.mark.parametrize("follows", [True, False])
def test_a_standby_that_lacks_the_last_commits_is_promoted(shop, place, follows):
    """They are in the index, and never were, as the new server has it."""
    standby = shop.pg.standby()
    shop.follow()
    standby.execute("SELECT pg_wal_replay_pause()")
    standby.stop()
    change(shop.pg, 1)
    shop.wait_true()
    follows or shop.stop()
    shop.pg.stop(signal.SIGQUIT)
    standby.start()
    place.is_of(standby)
    standby.promote()
    shop.pg = standby
    change(standby, 2)
    goes_on(shop, follows)


@pytest.mark.parametrize("follows", [True, False])
def test_restored_from_a_base_backup(shop, place, follows):
    """The log's positions go back; the slot is not in the backup."""
    shop.follow()
    change(shop.pg, 1)
    shop.wait_true()
    old = shop.pg.backup()
    change(shop.pg, 2)
    shop.wait_true()
    follows or shop.stop()
    shop.pg.stop()
    place.is_of(old.start())
    shop.pg = old
    change(old, 3)
    goes_on(shop, follows)


@pytest.mark.parametrize("follows", [True, False])
def test_restored_with_its_slot(shop, follows):
    """A copy of the whole folder: slot and timeline are as they were, and the log's positions go
    back."""
    shop.follow()
    change(shop.pg, 1)
    shop.wait_true()
    shop.wait_confirmed()
    shop.stop()
    shop.pg.stop()
    shop.pg.save()
    shop.pg.start()
    shop.follow()
    change(shop.pg, 2)
    shop.pg.execute("INSERT INTO other (filler) SELECT repeat('z', 1000) FROM generate_series(1, 10000)")
    shop.wait_true()
    shop.wait_confirmed()
    follows or shop.stop()
    shop.pg.stop()
    shop.pg.restore()
    shop.pg.start()
    change(shop.pg, 3)
    goes_on(shop, follows)


def test_keys_that_wait_are_those_of_a_server_that_is_gone(shop, place, engine, search_one):
    """The journal has transactions that never happened on the new server, whose ids are in its
    future."""
    old = shop.pg.backup()
    shop.run()
    with Proxy(search_one.port) as search:
        engine.env["ELASTICSEARCH_URL"] = search.url
        shop.follow()
        search.pause()
        for n in range(1, 20):
            change(shop.pg, n)
        shop.wait_confirmed()
        shop.kill()
    engine.env["ELASTICSEARCH_URL"] = search_one.url
    shop.pg.stop()
    place.is_of(old.start())
    shop.pg = old
    change(old, 3)
    goes_on(shop, False)
