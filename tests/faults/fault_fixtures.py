"""Fixtures of the fault tests, each of which names this file in pytest_plugins.

    items       a table, and the script that carries it into the index "items"
    gateway     an HTTP server before the search server, that can be told to answer in its place
    pg_proxy    a TCP proxy before PostgreSQL           search_proxy   the same before the search server
    small_disk  a file system that can be filled
"""
import os

import pytest

import faults
from proxy import Proxy


@pytest.fixture
def items(pg, engine, script):
    return faults.Items(pg, engine, script)


@pytest.fixture
def search_for_proxy(request):
    for name in ("search_one", "search"):
        if name in request.fixturenames:
            return request.getfixturevalue(name)
    raise AssertionError("the test needs a search server")


@pytest.fixture
def gateway(engine, search_for_proxy):
    with faults.Gateway(search_for_proxy) as gateway:
        engine.env["ELASTICSEARCH_URL"] = gateway.url
        yield gateway


@pytest.fixture
def search_proxy(engine, search_for_proxy):
    with Proxy(search_for_proxy.port) as proxy:
        engine.env["ELASTICSEARCH_URL"] = proxy.url
        yield proxy


@pytest.fixture
def pg_proxy(pg, engine):
    with Proxy(pg.port) as proxy:
        engine.env["DATABASE_URL"] = pg.url_at(proxy.port)
        yield proxy


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own for the state, of 256 KiB."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    with faults.SmallDisk(str(tmp_path / "disk")) as disk:
        yield disk
