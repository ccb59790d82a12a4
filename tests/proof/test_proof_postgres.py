"""PostgreSQL is stopped, killed, restarted, frozen, full, while the rows change."""
import contextlib

import psycopg2
import pytest

from proof_fixtures import pg_proxy, search_proxy, small_disk, world  # noqa: F401 (fixtures)

import services
from tools import wait_until
from world import LONG, rounds

POSTGRES = services.POSTGRES


@pytest.fixture(autouse=True)
def running_postgres():
    yield
    with contextlib.suppress(IndexError, ProcessLookupError):
        POSTGRES.thaw()
    POSTGRES.running() or POSTGRES.up()


def test_backends_are_terminated(world):
    world.follow()
    with world.model.writing():
        for _ in range(rounds(8, 100)):
            world.pause(0.05, 0.4)
            world.movies.terminate()
    world.assert_alive()
    world.settle()


@pytest.mark.parametrize("how", ["fast", "immediate", "killed"])
def test_postgres_goes_and_comes_back(world, how):
    if how == "fast" and not LONG:
        pytest.skip("the harmless one: ETL_FAULTS=long")
    stop = {"fast": POSTGRES.down, "immediate": POSTGRES.stop_immediately, "killed": POSTGRES.kill}[how]
    world.follow()
    with world.model.writing():
        for _ in range(rounds(1, 10)):
            world.pause(0.3, 0.8)
            stop()
            world.pause(0, 0.3)
            POSTGRES.up()
        world.pause(0.3, 0.6)
    world.assert_alive()
    world.settle(timeout=40)


def test_postgres_and_the_engine_are_killed_together(world):
    with world.model.writing():
        for _ in range(rounds(1, 10)):
            world.follow()
            world.pause(0.3, 0.8)
            POSTGRES.kill()
            world.kill()
            POSTGRES.up()
    world.settle(timeout=40)


def test_postgres_freezes_and_wakes(world):
    world.follow()
    with world.model.writing():
        for _ in range(rounds(1, 10)):
            world.pause(0.2, 0.5)
            POSTGRES.freeze()
            world.pause(0.5, 2)
            POSTGRES.thaw()
        world.pause(0.2, 0.5)
    world.assert_alive()
    world.settle(timeout=40)


def test_postgres_has_no_connections_left(world):
    world.follow()
    with world.model.writing():
        for _ in range(rounds(1, 10)):
            crowd = []
            world.pause(0.1, 0.4)
            with contextlib.suppress(psycopg2.OperationalError):
                while True:
                    crowd.append(psycopg2.connect(world.movies.url))
            for connection in crowd[: len(crowd) // 2]:  # or a superuser's reserve would keep us out, too
                connection.close()
            world.movies.terminate()
            with contextlib.suppress(psycopg2.OperationalError):
                while True:
                    crowd.append(psycopg2.connect(world.movies.url))
            world.pause(0.2, 1)
            for connection in crowd:
                connection.close()
        wait_until(lambda: world.movies.value("SELECT 1"))
    world.assert_alive()
    world.settle(timeout=40)
