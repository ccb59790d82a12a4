"""What lies between: connections cut at any byte, reset, delayed, half-open."""
import pytest

from faults import LONG, assert_true_to, pause

pytest_plugins = ["fault_fixtures"]

CUTS = 60 if LONG else 5


def load_with_cuts(items, search, proxy, rng, direction, most):
    """Cut at a random byte, over and over; a load must come to its end in spite of it."""
    engine = items.start()
    first = proxy.cuts
    while engine.alive() and proxy.cuts - first < CUTS:
        cuts = proxy.cuts
        proxy.cut_after(rng.randrange(1, most), direction)
        while proxy.cuts == cuts and pause(engine, 0.02):
            pass
    done = engine.wait(180)
    assert done.returncode == 0, done
    # A request that was cut before a byte of its answer, on a connection kept from an earlier one, is sent again by
    # libcurl, and nobody hears of it.
    if proxy.cuts > first and not (direction == "up" and proxy.target[1] == search.port):
        assert "trying again in" in done.stderr
    assert_true_to(items, search)
    assert items.pg.sessions() == 0


@pytest.mark.parametrize("direction", ["down", "up"])
def test_postgresql_cut_at_random_bytes_of_a_load(search_one, items, pg_proxy, rng, direction):
    items.fill(60000)
    load_with_cuts(items, search_one, pg_proxy, rng, direction, 3_000_000 if direction == "down" else 4000)


@pytest.mark.parametrize("direction", ["down", "up"])
def test_the_search_server_cut_at_random_bytes_of_a_load(search, items, search_proxy, rng, direction):
    items.fill(30000)
    load_with_cuts(items, search, search_proxy, rng, direction, 500_000 if direction == "down" else 1_000_000)
    assert direction == "down" or search_proxy.cuts > 0


def test_both_cut_at_random_bytes_of_a_poll(search_one, items, pg_proxy, search_proxy, rng):
    items.fill(30000)
    items.run()
    items.change(rng, 5000)
    pg_proxy.cut_after(rng.randrange(1, 200_000))
    load_with_cuts(items, search_one, search_proxy, rng, "down", 60_000)


def test_every_byte_of_the_first_answers(search_one, items, pg_proxy, search_proxy, rng):
    """Login, the questions about table and query, the index: cut at each place in turn, with a stride."""
    items.fill(10)
    for proxy in (pg_proxy, search_proxy):
        total = 3000 if proxy is pg_proxy else 1500
        for at in range(rng.randrange(1, 200), total, 20 if LONG else 300):
            items.forget()
            search_one.wipe()
            proxy.cut_after(at)
            done = items.start().wait()
            assert done.returncode == 0, f"cut after {at} bytes: {done}"
            assert_true_to(items, search_one)


def test_slow_links(search_one, items, pg_proxy, search_proxy):
    items.fill(2000)
    pg_proxy.delay(0.05)
    search_proxy.delay(0.05)
    items.run()
    assert_true_to(items, search_one)


def test_links_that_stall_and_go_on(search_one, items, pg_proxy, search_proxy, rng):
    items.fill(30000)
    engine = items.start()
    for proxy in (search_proxy, pg_proxy, search_proxy):
        pause(engine, rng.uniform(0, 0.8))
        proxy.pause()
        pause(engine, 1.5)
        proxy.resume()
    assert engine.wait().returncode == 0
    assert_true_to(items, search_one)


@pytest.mark.skipif(not LONG, reason="longer than the engine's time limit of a minute (ETL_FAULTS=long)")
def test_a_search_server_that_nobody_answers_for_is_asked_again(search_one, items, search_proxy, wait_until):
    """Half-open: the other end is gone without a word. After a minute without a byte, the engine asks anew."""
    items.fill(60000)
    engine = items.start()
    wait_until(lambda: search_proxy.up > 1_000_000)
    search_proxy.pause()
    wait_until(lambda: "not a byte moved for 60 s" in engine.stderr, timeout=90)
    search_proxy.cut()
    search_proxy.resume()
    assert engine.wait(120).returncode == 0
    assert_true_to(items, search_one)


def test_refused_for_a_while_in_a_load(search_one, items, pg_proxy, search_proxy, rng, wait_until):
    items.fill(30000)
    engine = items.start()
    for proxy in (search_proxy, pg_proxy):
        pause(engine, rng.uniform(0.1, 0.6))
        if engine.alive():
            proxy.refuse()
            pause(engine, 1)
            proxy.accept()
    assert engine.wait().returncode == 0
    assert_true_to(items, search_one)


def test_giving_up_says_on_whom(search_one, items, pg_proxy, search_proxy):
    items.fill(10)
    for proxy, name in ((pg_proxy, "PostgreSQL"), (search_proxy, search_proxy.url)):
        proxy.refuse()
        done = items.start("--give-up-after", "1").wait()
        assert done.returncode == 3
        assert name in done.stderr.splitlines()[-2] + done.stderr.splitlines()[-1], done
        proxy.accept()
    items.run()
    assert_true_to(items, search_one)
