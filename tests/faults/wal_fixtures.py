"""Fixtures of the tests with faults of the capture from the write-ahead log, which name this file in pytest_plugins.

    shop   a shop, empty as yet, its script, and its engine; what it has on the server goes with the test
"""
import pytest

from wal_shop import Shop


@pytest.fixture
def shop(pg, search_one, engine, script, rng):
    shop = Shop(pg, search_one, engine, script, rng)
    yield shop
    engine.close()
    for (name,) in pg.query("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"):
        pg.execute("ROLLBACK PREPARED %s", (name,))
    shop.drop_slot()
