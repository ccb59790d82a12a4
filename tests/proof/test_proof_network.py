"""Connections are cut in mid-answer, delayed, half-open, while the rows change."""
import pytest

from world import rounds


@pytest.fixture(params=["postgres", "search"])
def proxy(request):
    return request.getfixturevalue({"postgres": "pg_proxy", "search": "search_proxy"}[request.param])


def test_connections_are_cut_after_any_byte(world, proxy):
    world.follow()
    with world.model.writing():
        for _ in range(rounds(10, 150)):
            proxy.cut_after(int(10 ** (world.rng.random() * 4.5)), world.rng.choice(("down", "up")))
            world.pause(0.05, 0.4)
    proxy.cut_after(1 << 40, "down")
    proxy.cut_after(1 << 40, "up")
    world.assert_alive()
    world.settle(timeout=20)


def test_connections_are_delayed(world, proxy):
    world.follow()
    with world.model.writing():
        for _ in range(rounds(2, 20)):
            proxy.delay(world.rng.random() * 0.2)
            world.pause(0.2, 0.6)
        proxy.delay(0)
    world.assert_alive()
    world.settle(timeout=20)


def test_connections_are_half_open_then_reset(world, proxy):
    """The peer's host has gone without a word: nothing comes, until the reset."""
    world.follow()
    with world.model.writing():
        for _ in range(rounds(2, 20)):
            world.pause(0.1, 0.4)
            proxy.pause()
            world.pause(0.3, 1)
            proxy.cut()
            proxy.resume()
        world.pause(0.2, 0.5)
    world.assert_alive()
    world.settle(timeout=30)
