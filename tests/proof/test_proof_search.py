"""The search server is killed, restarted, frozen, full, loses the index, while the rows change."""
import contextlib

import pytest

from proof_fixtures import pg_proxy, search_proxy, small_disk, world  # noqa: F401 (fixtures)

from tools import wait_until
from world import LONG, rounds


@pytest.fixture(autouse=True)
def running_server(search_one):
    yield
    with contextlib.suppress(IndexError, ProcessLookupError):
        search_one.server.thaw()
    search_one.server.running() or search_one.server.up()


@pytest.mark.parametrize("how", ["kill", "down"])
def test_the_search_server_goes_and_comes_back(world, how):
    if not LONG:
        pytest.skip("a start of the search server takes long: ETL_FAULTS=long")
    world.follow()
    with world.model.writing():
        for _ in range(rounds(1, 5)):
            world.pause(0.3, 0.8)
            getattr(world.search.server, how)()
            world.pause(0, 0.5)
            world.search.server.up()
        world.pause(0.3, 0.6)
    world.assert_alive()
    world.settle(timeout=40)


def test_the_search_server_freezes_and_wakes(world):
    world.follow()
    with world.model.writing():
        for _ in range(rounds(1, 20)):
            world.pause(0.2, 0.5)
            world.search.server.freeze()
            world.pause(0.5, 2)
            world.search.server.thaw()
        world.pause(0.2, 0.5)
    world.assert_alive()
    world.settle(timeout=40)


def test_the_index_is_blocked_for_writes_as_by_the_flood_stage(world):
    world.follow()
    with world.model.writing():
        for _ in range(rounds(2, 20)):
            world.pause(0.2, 0.5)
            world.search.request("PUT", "movies/_settings", {"index.blocks.read_only_allow_delete": True})
            world.pause(0.3, 1)
            world.search.request("PUT", "movies/_settings", {"index.blocks.read_only_allow_delete": None})
        world.pause(0.2, 0.5)
    world.assert_alive()
    world.settle(timeout=40)


def test_an_index_that_is_deleted_under_the_engine_is_not_filled_in_part_for_ever(world):
    """The engine says so and ends; started again, it loads everything."""
    running = world.follow()
    with world.model.writing():
        world.pause(0.2, 0.5)
        world.search.request("DELETE", "movies")
        wait_until(lambda: not running.alive(), timeout=30, what="the engine notices")
        done = running.wait()
        assert done.returncode == 1 and "index 'movies'" in done.stderr, done
        if world.search.exists("movies"):  # made by the server, with a mapping of its own
            world.search.request("DELETE", "movies")
        world.follow()
    world.settle()
