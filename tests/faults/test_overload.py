"""A search server that has too much to do, and a user who wants it left in peace."""
import time

import pytest

from faults import LONG, assert_true_to
from tools import SLOW

pytest_plugins = ["fault_fixtures"]


def test_a_server_that_takes_only_small_requests(search, items):
    """Its circuit breaker answers a real 429: our requests begin with 5 MB, it has 600 KB for all that are under way."""
    items.fill(20000, width=300)
    breaker = {"network.breaker.inflight_requests.limit": "600kb"}
    search.request("PUT", "_cluster/settings", {"transient": breaker})
    done = items.run()
    assert "answered 429: circuit_breaking_exception" in done.stderr
    assert "overloaded: now 1 request at a time" in done.stderr
    assert_true_to(items, search)


def test_a_storm_of_429_loses_nothing_and_takes_no_memory(search_one, items, gateway, rng, wait_until):
    items.fill(20000, width=300)
    busy = (429, {}, b'{"error":{"type":"es_rejected_execution_exception","reason":"queue"},"status":429}')
    refused, end = [], time.monotonic() + (600 if LONG else 4)

    def least():
        return min(refused, default=1 << 20) <= 80 << 10

    def storm(request):
        if not request.bulk or (least() and (time.monotonic() > end or rng.random() > 0.9)):
            return None
        refused.append(len(request.body))
        return busy

    gateway.answer = storm
    engine = items.start()
    highest = 0

    def over():
        nonlocal highest
        if not engine.alive():
            return True
        highest = max(highest, engine.rss())
        return least() and time.monotonic() > end

    wait_until(over, timeout=700)
    assert engine.wait(120).returncode == 0, engine.stderr
    assert least() and "overloaded: now 1 request at a time" in engine.stderr
    assert SLOW > 1 or 1 << 20 < highest < 64 << 20
    assert_true_to(items, search_one)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for(search_one, items, gateway, status):
    items.fill(100)
    times = []

    def once(request):
        if not request.bulk:
            return None
        times.append(time.monotonic())
        return (status, {"Retry-After": "2"}, b"{}") if len(times) == 1 else None

    gateway.answer = once
    items.run("--workers", "1")
    assert times[1] - times[0] >= 2
    assert_true_to(items, search_one)


def test_no_more_documents_a_second_than_the_script_says(search_one, items, gateway):
    items.fill(350)
    items.script = items.write(sink="max_rate = 100")
    times = []

    def note(request):
        if request.bulk:
            times.append((time.monotonic(), len(request.lines())))

    gateway.answer = note
    begun = time.monotonic()
    items.run()
    assert sum(n for _, n in times) == 350 and max(n for _, n in times) <= 100
    arrived = 0
    for when, n in times:  # one request is let through at once, of a hundred documents at most
        arrived += n
        assert arrived <= (when - begun) * 100 + 100
    assert_true_to(items, search_one)


def test_a_stop_while_the_rate_is_waited_for(search_one, items, wait_until):
    items.fill(600)
    items.script = items.write(sink="max_rate = 10")
    engine = items.start()
    wait_until(lambda: search_one.count("items") >= 10)
    assert engine.stop().returncode == 143
    assert search_one.count("items") < 600
    items.script = items.write()
    items.run()
    assert_true_to(items, search_one)
