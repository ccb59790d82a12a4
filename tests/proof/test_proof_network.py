"""Connections are cut in mid-answer, delayed, half-open, while the rows change."""
import pytest

from proof_fixtures import pg_proxy, search_proxy, small_disk, world  # noqa: F401 (fixtures)

from world import rounds


@pytest.fixture(params=["postgres", "search"])
def proxy(request):
    return request.getfixturevalue({"postgres": "pg_proxy", "search": "search_proxy"}[request.param])


def cut(world, proxy):
    """After any byte of a request or an answer."""
    proxy.cut_after(int(10 ** (world.rng.random() * 4.5)), world.rng.choice(("down", "up")))
    world.pause(0.05, 0.4)


def delay(world, proxy):
    proxy.delay(world.rng.random() * 0.2)
    world.pause(0.1, 0.4)
    proxy.delay(0)


def half_open(world, proxy):
    """The peer's host has gone without a word: nothing comes, until the reset."""
    proxy.pause()
    world.pause(0.2, 0.8)
    proxy.cut()
    proxy.resume()


def refuse(world, proxy):
    proxy.refuse()
    world.pause(0.1, 0.4)
    proxy.accept()


def test_connections_fail_in_every_way(world, proxy):
    world.follow()
    with world.model.writing():
        for _ in range(rounds(10, 200)):
            world.rng.choice((cut, cut, cut, delay, half_open, refuse))(world, proxy)
            world.pause(0, 0.2)
    for direction in ("down", "up"):
        proxy.cut_after(1 << 60, direction)
    world.assert_alive()
    world.settle(timeout=30)
