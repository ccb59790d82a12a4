"""A reindex that ends at any moment, under searches, changes, and an engine that follows: no search ever finds less than
there is, and nothing is lost."""
import json
import threading
import urllib.request

import pytest

from faults import LONG, assert_true_to, pause, seconds, truth

pytest_plugins = ["fault_fixtures"]

KILLS = 50 if LONG else 3
ROWS = 20000


class Searcher(threading.Thread):
    """Counts the documents through the alias, over and over."""

    def __init__(self, search, rows):
        super().__init__(daemon=True)
        self.url = f"{search.url}/items/_count"
        self.rows = rows
        self.counts = 0
        self.wrong = []
        self.ending = threading.Event()

    def run(self):
        while not self.ending.is_set():
            try:
                with urllib.request.urlopen(self.url, timeout=30) as answer:
                    found = json.load(answer)
                if found["count"] != self.rows or found["_shards"]["failed"] > 0:
                    self.wrong.append(found)
            except OSError as error:
                self.wrong.append(str(error))
            self.counts += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.join()


class Writer(threading.Thread):
    """Changes rows all the time, each in the way an application does."""

    def __init__(self, items, rng):
        super().__init__(daemon=True)
        self.connection = items.pg.connect(autocommit=True)
        self.rng = rng
        self.ending = threading.Event()

    def run(self):
        with self.connection.cursor() as cursor:
            while not self.ending.wait(0.01):
                ids = self.rng.sample(range(1, ROWS + 1), 20)
                cursor.execute("UPDATE item SET n = n + 1, modified = clock_timestamp() WHERE id = ANY(%s)", (ids,))

    __enter__ = Searcher.__enter__
    __exit__ = Searcher.__exit__


@pytest.mark.parametrize("follower", [False, True], ids=["alone", "beside one that follows"])
def test_kill_9_at_random_moments_of_a_reindex(search, items, rng, wait_until, follower):
    items.fill(ROWS)
    reindex = lambda: items.engine.start("reindex", items.script)
    first = lambda: reindex().wait().returncode == 0 or pytest.fail("no first index")
    first()
    span = seconds(first)
    following = items.start("--follow") if follower else None
    if following:
        wait_until(lambda: "following" in following.stderr)
    killed = done = 0
    with Searcher(search, ROWS) as searcher, Writer(items, rng):
        while killed < KILLS:
            engine = reindex()
            if pause(engine, rng.uniform(0, span * 1.2)):
                result = engine.kill()
                killed += result.returncode == -9
            else:
                result = engine.wait()
                assert result.returncode == 0, result
                done += 1
            assert not searcher.wrong, (searcher.wrong[:5], result)
            if not follower and rng.random() < 0.5:
                items.run()
            assert len(search.request("GET", "_alias/items")) == 1
        result = reindex().wait()
        assert result.returncode == 0, result
    assert not searcher.wrong and searcher.counts > 0, searcher.wrong[:5]
    if following:
        expected = truth(items.engine, items.script, items.pg.url)
        wait_until(lambda: search.docs("items") == expected, timeout=60, what="the last changes arrive")
        assert following.alive() and "loading everything" not in following.stderr, following.stderr[-3000:]
        assert following.stop().returncode == 143
    items.run()
    assert_true_to(items, search)
    assert len(search.request("GET", "_cat/indices/items-*?format=json")) <= 2  # the present one, and the one before


def test_a_run_that_a_reindex_overtakes_brings_the_new_index_up_to_date(search_one, items, rng, gateway, wait_until):
    direct = {"ELASTICSEARCH_URL": search_one.url}
    items.fill(1000)
    assert items.engine("reindex", items.script, env=direct).returncode == 0
    items.change(rng, 100)
    held = []

    def hold(request):
        if request.bulk:
            held.append(request)
            return 429, {"Retry-After": "1"}, b"{}"
        return None

    gateway.answer = hold
    run = items.start()
    wait_until(lambda: held)
    done = items.engine("reindex", items.script, env=direct)
    assert done.returncode == 0 and "continues with the new index" in done.stderr, done
    gateway.answer = lambda request: None
    done = run.wait()
    assert done.returncode == 0 and "has taken the place of the one that was loaded" in done.stderr, done
    assert_true_to(items, search_one)
    assert "loading everything" not in items.run().stderr


def test_an_alias_that_is_swapped_in_the_middle_of_a_request_is_not_taken_for_a_pipeline(search_one, items, gateway):
    """The answer tells of documents in an index that the alias no longer stands for."""
    items.fill(50)
    for index in ("items-1", "items-2"):
        search_one.request("PUT", index)
    search_one.request("PUT", "items-1/_alias/items")
    swapped = []

    def swap(request):
        if not request.bulk or swapped:
            return None
        swapped.append(gateway.forward(request))
        actions = [{kind: {"index": index, "alias": "items"}} for kind, index in (("remove", "items-1"), ("add", "items-2"))]
        search_one.request("POST", "_aliases", {"actions": actions})
        return swapped[0]

    gateway.answer = swap
    done = items.start("--workers", "1").wait()
    assert swapped and done.returncode == 1 and "index 'items' was replaced during the run" in done.stderr, done
    assert "went into index 'items-1' instead of 'items-2'" in done.stderr and "pipeline" not in done.stderr, done
    items.run()
    assert_true_to(items, search_one)


def test_without_the_privilege_to_note_anything_it_is_told_once(search_one, items, gateway):
    items.fill(100)
    items.run()
    forbidden = {"error": {"type": "security_exception", "reason": "no permissions for [indices:admin/mapping/put]"}}

    def no_mapping(request):
        if request.method == "PUT" and "_mapping" in request.path:
            return 403, {"Content-Type": "application/json"}, json.dumps(forbidden).encode()
        return None

    gateway.answer = no_mapping
    items.insert(10)
    done = items.run("--full")
    assert done.stderr.count("cannot write metadata to index 'items'") == 1
    assert_true_to(items, search_one)
