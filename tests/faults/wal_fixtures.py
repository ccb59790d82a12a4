"""Fixtures of the tests with faults of the capture from the write-ahead log, which name this file in pytest_plugins.

    shop   a shop, empty as yet, its script, and its engine; its slot goes with the test
"""
import pytest

from wal_shop import Shop


@pytest.fixture
def shop(pg, search_one, engine, script, rng):
    shop = Shop(pg, search_one, engine, script, rng)
    yield shop
    engine.close()
    shop.drop_slot()
