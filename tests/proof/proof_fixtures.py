"""Fixtures of the proof: writers change films in every way while something fails, and in the end the index is right.

    world        the films, their writers (world.model), the engine that follows them, and the final judgement (world.settle)
    pg_proxy     a TCP proxy before PostgreSQL           search_proxy   the same before the search server
    small_disk   a folder on a disk that can be filled

Environment: ETL_FAULTS=long, many more faults (`make faults`); ETL_SEED, as in ../conftest.py; the tests import these by name, for a second conftest would hide the first.
"""
import subprocess

import pytest

from proxy import Proxy
from world import World


@pytest.fixture
def world(movies, search_one, engine, script, rng, tmp_path):
    return World(movies, search_one, engine, script, rng, tmp_path)


@pytest.fixture
def pg_proxy(world):
    with Proxy(world.movies.port) as proxy:
        world.engine.env["DATABASE_URL"] = world.movies.url_at(proxy.port)
        yield proxy


@pytest.fixture
def search_proxy(world):
    with Proxy(world.search.port) as proxy:
        world.engine.env["ELASTICSEARCH_URL"] = proxy.url
        yield proxy


@pytest.fixture
def small_disk(tmp_path):
    """A disk for the state that can be filled and freed; needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {done.stderr}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
