"""The search server goes away, is frozen, says "later", "too much", "never", or is not who it should be."""
import json
import re

import pytest

from faults import LONG, assert_true_to, pause

pytest_plugins = ["fault_fixtures"]


def ends_well(engine, items, search, timeout=60):
    done = engine.wait(timeout)
    assert done.returncode == 0, done
    assert_true_to(items, search)
    return done


def test_absent_at_the_start(search_one, items, wait_until):
    items.fill(1000)
    search_one.server.down()
    engine = items.start()
    wait_until(lambda: "could not reach" in engine.stderr)
    search_one.server.up()
    done = ends_well(engine, items, search_one)
    assert "loading everything: there is no state yet" in done.stderr


def test_killed_and_restarted_in_a_load(search, items, wait_until):
    items.fill(30000, width=600)
    engine = items.start()
    wait_until(lambda: search.count("items") > 0)
    search.server.kill()
    wait_until(lambda: "could not reach" in engine.stderr)
    assert engine.alive()
    search.server.up()
    ends_well(engine, items, search)


def test_frozen_and_woken(search, items, wait_until):
    items.fill(30000, width=300)
    engine = items.start()
    wait_until(lambda: search.exists("items"))
    search.server.freeze()
    try:
        assert pause(engine, 130 if LONG else 3)
        assert engine.rss() < 64 << 20
    finally:
        search.server.thaw()
    ends_well(engine, items, search, timeout=180)


LATER = {
    "429": (429, {"Retry-After": "1"}, b'{"error":{"type":"es_rejected_execution_exception","reason":"queue full"}}'),
    "429 without a word": (429, {}, b""),
    "502": (502, {"Content-Type": "text/html"}, b"<html><body><h1>502 Bad Gateway</h1></body></html>"),
    "503": (503, {"Retry-After": "0"}, b'{"error":"no master"}'),
    "504": (504, {}, b"upstream timed out"),
    "200, but HTML": (200, {"Content-Type": "text/html"}, b"<html><body>We are down for maintenance</body></html>"),
    "200, but nothing": (200, {}, b""),
    "200, but another request's": (200, {}, b'{"took":1,"errors":false,"items":[{"index":{"_id":"x","status":201}}]}'),
}


@pytest.mark.parametrize("answer", LATER)
def test_an_answer_that_passes(search_one, items, gateway, answer):
    items.fill(3000)
    seen = []

    def refuse(request):
        seen.append(request)
        return LATER[answer] if request.bulk and len(seen) % 3 else None

    gateway.answer = refuse
    done = ends_well(items.start(), items, search_one)
    assert "trying again in" in done.stderr


@pytest.mark.parametrize("answer", ["429", "502", "503", "504"])
def test_each_kind_of_request_is_asked_again(search_one, items, gateway, answer):
    items.fill(100)
    kinds = set()

    def refuse_once(request):
        kind = (request.method, request.path.split("?")[0])
        # what goes without: a note, a look at how one document came back, the server's name, the end of a scroll
        unasked = ("PUT", "/items/_mapping"), ("POST", "/items/_mget"), ("GET", "/"), ("DELETE", "/_search/scroll")
        if kind in kinds or kind in unasked:
            return None
        kinds.add(kind)
        return LATER[answer]

    gateway.answer = refuse_once
    done = ends_well(items.start("--verbose"), items, search_one)
    assert done.stderr.count("trying again in") == len(kinds) >= 4, (kinds, done)


def test_an_index_made_although_the_answer_was_lost(search_one, items, gateway):
    items.fill(100)
    lost = []

    def lose(request):
        if request.method == "PUT" and not lost:
            lost.append(gateway.forward(request))
            return 504, {}, b""
        return None

    gateway.answer = lose
    ends_well(items.start(), items, search_one)


def test_items_put_off(search, items, gateway, rng):
    """Of each bulk request a part is carried out, and the rest answered with 429."""
    items.fill(3000)
    again = b'{"error":{"type":"es_rejected_execution_exception","reason":"queue capacity"},"status":429}'

    def some(request):
        lines = request.lines()
        taken = [rng.random() < 0.8 for _ in lines]
        if not any(taken):
            return 429, {}, b"{}"
        body = b"".join(a + (d or b"") for (a, d), yes in zip(lines, taken) if yes)
        status, headers, answer = gateway.forward(request, body)
        real = iter(json.loads(answer)["items"])
        answers = []
        for (action, _), yes in zip(lines, taken):
            if yes:
                answers.append(next(real))
                continue
            ((kind, item),) = json.loads(action).items()
            answers.append({kind: {"_id": item["_id"], **json.loads(again)}})
        return status, headers, json.dumps({"took": 1, "errors": not all(taken), "items": answers}).encode()

    gateway.answer = lambda request: some(request) if request.bulk else None
    done = ends_well(items.start(), items, search)
    assert "items were rejected for now" in done.stderr
    assert "3,000 documents indexed" in done.stderr


def test_a_server_that_takes_a_little_each_time_is_not_absent(search_one, items, gateway):
    items.fill(500)

    def a_tenth(request):
        lines = request.lines()
        many = len(lines) // 10 + 1
        status, headers, answer = gateway.forward(request, b"".join(a + d for a, d in lines[:many]))
        answers = json.loads(answer)["items"]
        for action, _ in lines[many:]:
            key = json.loads(action)["index"]["_id"]
            answers.append({"index": {"_id": key, "status": 429, "error": {"type": "x", "reason": "busy"}}})
        return 200, {"Retry-After": "1"}, json.dumps({"errors": many < len(lines), "items": answers[:len(lines)]}).encode()

    gateway.answer = lambda r: a_tenth(r) if r.bulk and gateway.bulks < 5 else None
    ends_well(items.start("--give-up-after", "2"), items, search_one)


def test_answers_lost_although_all_was_carried_out(search_one, items, gateway, rng):
    """The worst moment for a connection to break: nothing may be counted twice, or be a conflict."""
    items.fill(5000)

    def lose(request):
        if request.bulk and rng.random() < 0.6:
            gateway.forward(request)
            return 504, {}, b""
        return None

    gateway.answer = lose
    done = ends_well(items.start(), items, search_one)
    assert "5,000 documents indexed, 0 deleted, 0 rejected" in done.stderr


def test_requests_that_are_too_large_are_halved(search, items, gateway):
    items.fill(10000, width=300)
    gateway.answer = lambda r: (413, {}, b"<html>too large</html>") if len(r.body) > 300_000 else None
    done = ends_well(items.start(), items, search)
    assert "0 rejected" in done.stderr


def test_one_document_that_never_fits_is_rejected_alone(search_one, items, gateway):
    items.fill(100)
    items.pg.execute("UPDATE item SET name = repeat('x', 20000) WHERE id = 50")
    gateway.answer = lambda r: (413, {}, b"") if len(r.body) > 10_000 else None
    done = items.start().wait()
    assert done.returncode == 4, done
    assert "document '50' rejected" in done.stderr and done.stderr.count("rejected:") == 1
    assert search_one.count("items") == 99


def test_a_disk_of_the_search_server_that_is_nearly_full(search, items, wait_until):
    """The flood-stage block, which the server lifts by itself."""
    items.fill(30000, width=300)
    engine = items.start()
    wait_until(lambda: search.exists("items"))
    search.request("PUT", "items/_settings", {"index.blocks.read_only_allow_delete": True})
    wait_until(lambda: "trying again in" in engine.stderr)
    assert engine.alive() and "free disk space on the server's data nodes" in engine.stderr, engine.stderr
    search.request("PUT", "items/_settings", {"index.blocks.read_only_allow_delete": None})
    ends_well(engine, items, search)


def test_an_index_deleted_in_a_load(search, items, wait_until):
    """The next bulk request fails, or makes another one, that lacks what came before: the run must not call that
    done."""
    items.fill(30000, width=300)
    engine = items.start()
    wait_until(lambda: search.count("items") > 0)
    search.request("DELETE", "items")
    done = engine.wait()
    assert done.returncode == 1, done
    assert re.search("index 'items' was deleted (or replaced )?during the run|no such index", done.stderr)
    done = items.run()
    assert "loading everything: the index " in done.stderr
    assert_true_to(items, search)


def test_an_index_deleted_in_a_poll_and_the_engine_killed(search_one, items, rng, gateway, wait_until):
    items.fill(30000)
    items.run()
    items.change(rng, 5000)
    gateway.answer = lambda r: (503, {}, b"") if r.bulk else None
    engine = items.start()
    wait_until(lambda: gateway.bulks > 0)
    search_one.request("DELETE", "items")
    gateway.answer = lambda r: None
    wait_until(lambda: search_one.count("items") > 0 or not engine.alive())
    engine.kill()
    items.run()
    assert_true_to(items, search_one)


def test_an_index_deleted_and_no_other_made(search_one, items, wait_until):
    items.fill(30000, width=300)
    search_one.request("PUT", "_cluster/settings", {"transient": {"action.auto_create_index": "false"}})
    engine = items.start()
    wait_until(lambda: search_one.count("items") > 0)
    search_one.request("DELETE", "items")
    done = engine.wait()
    assert done.returncode == 1, done
    assert re.search("no such index|index 'items' was deleted during the run", done.stderr), done
    items.run()
    assert_true_to(items, search_one)


def test_an_index_that_is_closed(search, items, wait_until):
    items.fill(30000, width=300)
    engine = items.start()
    wait_until(lambda: search.count("items") > 0)
    search.request("POST", "items/_close")
    wait_until(lambda: "closed; trying again" in engine.stderr)
    search.request("POST", "items/_open")
    assert engine.wait(120).returncode == 0, engine.stderr
    assert_true_to(items, search)


@pytest.mark.parametrize("status", [200, 404, 401])
def test_a_gateway_that_is_no_search_server(search_one, items, gateway, rng, status):
    """It ends with a message, and what it said is not taken for the truth."""
    items.fill(100)
    items.run()
    gateway.answer = lambda r: (status, {"Content-Type": "text/html"}, b"<html><h1>Welcome to nginx</h1></html>")
    done = items.start("--give-up-after", "1").wait()
    assert done.returncode == 1 and "Welcome to nginx" in done.stderr, done
    gateway.answer = lambda r: None
    items.change(rng, 50)
    items.run()
    assert_true_to(items, search_one)


def test_a_failure_of_one_worker_ends_those_that_wait(search_one, items, gateway, wait_until):
    """One is told that it may not write at all, while the other waits for a server that is busy for an hour."""
    items.fill(60000)
    waiting = []

    def one_of_each(request):
        if not request.bulk:
            return None
        if b'"_id":"10"' in request.body:
            waiting.append(request)
            return 429, {"Retry-After": "3600"}, b"{}"
        wait_until(lambda: waiting)
        return 403, {}, b'{"error":{"type":"security_exception","reason":"no permissions"},"status":403}'

    gateway.answer = one_of_each
    done = items.start().wait(20)
    assert done.returncode == 1, done
    assert "no permissions" in done.stderr


def test_a_stop_while_a_rejected_document_is_counted(search_one, items):
    """Documents that the mapping refuses are reported, and the run goes on past them."""
    items.fill(3000)
    search_one.request("PUT", "items", {"mappings": {"properties": {"n": {"type": "integer"}, "name": {"type": "ip"}}}})
    items.pg.execute("UPDATE item SET name = '10.0.0.1' WHERE id > 500")
    done = items.start().wait()
    assert done.returncode == 4, done
    assert "rejected: mapper_parsing_exception" in done.stderr and "500 dead letters in" in done.stderr
    assert search_one.count("items") == 2500
