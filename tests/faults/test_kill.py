"""The engine ends without a farewell, at any moment."""
import signal
import time

import pytest

from faults import LONG, assert_true_to, pause, seconds

pytest_plugins = ["fault_fixtures"]

KILLS = 100 if LONG else 8


def shake(items, search, rng, ways):
    """Load 60,000 rows, then poll changes, over and over, ending the engine at random moments, until that was done so
    often; check the index whenever a run has come to its end."""
    items.fill(60000)
    span = seconds(items.run)
    search.wipe()
    items.forget()
    killed, done_before, last = 0, None, None
    while killed < len(ways):
        before = items.state()
        engine = items.start()
        if pause(engine, rng.uniform(0, span * 1.1)):
            number = ways[killed]
            engine.signal(number)
            last = engine.wait()
            if last.returncode != 0:  # or it had just ended by itself
                early = last.returncode == -number and (number == signal.SIGKILL or not last.stderr)
                assert early or last.returncode == 128 + number, last
                killed += 1
        else:
            last = engine.wait()
            assert last.returncode == 0, last
        if before and before["after"] and last.returncode == 0:
            assert f"resuming the load after key '{before['after']}'" in last.stderr
        after = items.state()
        if before and before["phase"] == "snapshot" and after["phase"] == "snapshot":
            assert int(after["after"] or 0) >= int(before["after"] or 0), f"{before} {after} {last}"
        if last.returncode == 0:
            assert_true_to(items, search)
            done_before = not done_before
            if done_before:
                items.change(rng, 5000)
                span_of_poll = seconds(items.run)  # a clean one, to know how long it takes
                items.change(rng, 5000)
                span, span_of_load = span_of_poll, span
            else:
                search.wipe()
                items.forget()
                span = span_of_load
    items.run()
    assert_true_to(items, search)


def test_kill_9_at_random_moments_loses_nothing(search, items, rng):
    shake(items, search, rng, [signal.SIGKILL] * KILLS)


def test_a_stop_at_random_moments_saves_the_state_and_loses_nothing(search_one, items, rng):
    shake(items, search_one, rng, [rng.choice([signal.SIGTERM, signal.SIGINT]) for _ in range(KILLS)])


def test_a_load_that_was_killed_goes_on_after_the_last_whole_stretch(search_one, items, gateway, wait_until):
    items.fill(60000)
    held = []

    def hold_the_end(request):  # keys come in the order of stretches
        if request.bulk and b'"_id":"55001"' in request.body:
            held.append(request)
            return 429, {"Retry-After": "1"}, b"{}"
        return None

    gateway.answer = hold_the_end
    engine = items.start("--workers", "1")
    wait_until(lambda: held and items.state()["after"], what="some stretches done")
    assert engine.kill().returncode == -9
    after = int(items.state()["after"])
    assert 0 < after < 55001
    gateway.answer = lambda request: None
    done = items.run()
    assert f"resuming the load after key '{after}'" in done.stderr
    assert f"items: {60000 - after:,} documents indexed" in done.stderr
    assert_true_to(items, search_one)


def test_changes_made_between_a_kill_and_the_next_run_are_not_lost(search_one, items, rng, wait_until):
    """Rows of stretches that are done change, appear, and leave the query while no engine runs."""
    items.fill(60000)
    script = items.write("SELECT id, name, n FROM item WHERE n < 100")
    items.script = script
    engine = items.start("--workers", "1")
    wait_until(lambda: (items.state() or {}).get("after"), what="one stretch done")
    engine.kill()
    items.change(rng, 2000)
    items.insert(10)
    items.pg.execute("UPDATE item SET n = 100, modified = clock_timestamp() WHERE id % 500 = 0")
    items.run()
    assert_true_to(items, search_one)


def test_rows_that_change_all_the_time_during_a_load_arrive(search, items, rng):
    items.fill(60000)
    items.script = items.write("SELECT id, name, n FROM item WHERE n < 3")
    engine = items.start()
    for _ in range(1000):
        if not engine.alive():
            break
        items.change(rng, 20)
        items.insert(1)
    engine.wait()
    items.run()
    assert_true_to(items, search)


def test_a_second_signal_ends_it_at_once(search_one, items, search_proxy, wait_until):
    """In a request to a server that does not answer, the first one still grants three seconds."""
    items.fill(100)
    search_proxy.pause()
    engine = items.start()
    wait_until(lambda: search_proxy.accepted > 0)
    assert pause(engine, 0.5)
    engine.signal(signal.SIGTERM)
    assert pause(engine, 0.5)
    engine.signal(signal.SIGTERM)
    begin = time.monotonic()
    assert engine.wait().returncode == 143
    assert time.monotonic() - begin < 2
    search_proxy.resume()
    items.run()
    assert_true_to(items, search_one)
