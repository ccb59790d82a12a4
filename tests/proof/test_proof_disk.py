"""The disk of the state and the dead letters is full, then not; the engine is killed meanwhile, too."""
from proof_fixtures import pg_proxy, search_proxy, small_disk, world  # noqa: F401 (fixtures)
import json

from world import rounds


def test_the_disk_is_full_then_not(world, small_disk):
    world.engine.env["FILE_PATH_STATE"] = str(small_disk / "state")
    world.follow()
    with world.model.writing():
        for _ in range(rounds(3, 30)):
            world.pause(0.1, 0.4)
            with open(small_disk / "filler", "wb", buffering=0) as f:
                try:
                    while f.write(b"x" * 512):
                        pass
                except OSError:
                    pass
            world.pause(0.2, 0.6)
            if world.rng.random() < 0.5:
                world.kill()
                world.start()  # the lock needs no room
                world.pause(0.1, 0.5)
            (small_disk / "filler").unlink()
            if not world.running.alive():
                world.follow()
        world.pause(0.2, 0.5)
    world.settle()


def test_a_clock_that_jumped_back_orders_no_document_wrongly(world):
    """As after a failover to a host whose clock is behind: the state has a version above the clock."""
    world.follow()
    with world.model.writing():
        for _ in range(rounds(2, 20)):
            world.pause(0.2, 0.5)
            world.stop()
            with open(world.engine.env["FILE_PATH_STATE"], encoding="utf-8") as f:
                state = json.load(f)
            state["version"] += 3600 * 1000000
            with open(world.engine.env["FILE_PATH_STATE"], "w", encoding="utf-8") as f:
                json.dump(state, f)
            world.follow()
        world.pause(0.2, 0.5)
    world.settle()
