"""The engine is killed, stopped, frozen, reloaded, while the rows change."""
from proof_fixtures import pg_proxy, search_proxy, small_disk, world  # noqa: F401 (fixtures)
import signal

from tools import wait_until
from world import rounds


def test_kill_9_at_any_moment_loses_nothing(world):
    with world.model.writing():
        for _ in range(rounds(5, 220)):
            world.start()
            world.pause(0.05, 1.2)
            world.kill()
        world.follow()
        world.pause(0.2, 0.5)
    world.settle()


def test_sigterm_at_any_moment_loses_nothing(world):
    with world.model.writing():
        for _ in range(rounds(3, 40)):
            world.follow()
            world.pause(0.05, 0.8)
            world.stop()
    world.settle()


def test_an_engine_frozen_for_longer_than_its_intervals_wakes_up_and_goes_on(world):
    world.follow()
    with world.model.writing():
        for _ in range(rounds(2, 20)):
            world.pause(0.1, 0.5)
            world.running.signal(signal.SIGSTOP)
            world.pause(0.5, 2)
            world.running.signal(signal.SIGCONT)
        world.pause(0.2, 0.5)
    world.settle()


def test_an_old_engine_that_wakes_up_beside_a_new_one_changes_nothing_back(world):
    """The old one held the lock, so the new one has a copy of its state: what an operator does who takes it for dead."""
    old = world.follow()
    with world.model.writing():
        world.pause(0.3, 0.6)
        old.signal(signal.SIGSTOP)
        world.engine.env["FILE_PATH_STATE"] += "-2"
        world.follow()
        world.pause(0.5, 1)
        old.signal(signal.SIGCONT)
        world.pause(0.3, 0.6)
        old.stop()
    world.settle()


def test_the_script_is_reloaded_while_rows_change(world):
    world.follow()
    with world.model.writing():
        for _ in range(rounds(4, 60)):
            world.pause(0.1, 0.6)
            world.running.signal(signal.SIGHUP)
    assert ": reloaded" in world.running.stderr
    world.settle()


def test_a_second_engine_on_the_same_state_is_kept_out(world):
    world.follow()
    with world.model.writing():
        second = world.engine(world.script, "--follow")
        assert second.returncode == 1 and "another run is using it" in second.stderr, second
        world.pause(0.2, 0.5)
    world.settle()


def test_a_reloaded_script_with_a_wrong_join_does_not_empty_the_index(world):
    running = world.engine.start(world.script, "--follow")
    wait_until(lambda: ": following" in running.stderr, what="following")
    with open(world.script, encoding="utf-8") as f:
        text = f.read()
    wrong = text.replace("FROM content.film_work fw\n", "FROM content.film_work fw JOIN content.genre x ON x.id = fw.id\n")
    assert wrong != text
    with open(world.script, "w", encoding="utf-8") as f:
        f.write(wrong)
    before = world.search.count("movies")
    running.signal(signal.SIGHUP)
    done = running.wait()
    assert done.returncode == 1 and "refusing to delete" in done.stderr and "their rows are gone" in done.stderr, done
    assert world.search.count("movies") >= before / 2
