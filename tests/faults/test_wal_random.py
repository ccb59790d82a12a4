"""Random writers of a shop without one cursor: after the last commit the index is what the rows
say, by the log alone."""
import pytest

from faults import LONG

pytest_plugins = ["fault_fixtures", "wal_fixtures"]

SECONDS = 60 if LONG else 5
KILLS = 15 if LONG else 4


def test_of_every_kind_of_change_none_is_missed(shop):
    shop.fill()
    shop.follow()
    with shop.writing():
        assert shop.pause(SECONDS)
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()


def test_truncate_amid_other_changes(shop):
    shop.fill()
    shop.follow()
    with shop.writing(truncate=True):
        assert shop.pause(SECONDS)
    shop.wait_true()
    assert any("TRUNCATE" in line for line in shop.sweeps())
    shop.stop()


@pytest.mark.parametrize("truncate", [False, True])
def test_kill_9_amid_the_writing(shop, rng, truncate):
    shop.fill()
    shop.follow()
    with shop.writing(truncate=truncate, sessions=3):
        for _ in range(KILLS):
            assert shop.pause(rng.uniform(0, 1.5))
            shop.kill()
            shop.start()
    shop.wait_true()
    if not truncate:
        shop.assert_no_sweep()
    shop.stop()


def test_runs_from_time_to_time_are_enough(shop, rng):
    shop.fill()
    shop.run()
    with shop.writing(sessions=3):
        for _ in range(10 if LONG else 3):
            shop.run()
    shop.run()
    shop.assert_true()
    shop.assert_no_sweep()


def test_runs_from_time_to_time_that_are_killed(shop, rng):
    shop.fill()
    shop.run()
    killed = 0
    with shop.writing(sessions=3):
        while killed < KILLS:
            shop.begin_run()
            if shop.pause(rng.uniform(0, 0.6)):
                shop.kill()
                killed += 1
            else:
                shop.end_run()
    shop.run()
    shop.assert_true()
    shop.assert_no_sweep()


def test_writers_from_the_first_load_on(shop):
    """The engine starts amid the writing; a run with writers follows the first one, which had none
    to follow."""
    shop.fill()
    with shop.writing():
        shop.follow()
        assert shop.pause(SECONDS / 2)
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()
