"""Indexes that documents choose: one that is deleted comes back whole, and one that is new costs nothing."""
import films
import pytest
from films import run

ROWS = 20
GONE = "was deleted or replaced: a sweep finds the documents that are missing"
MAPPINGS = 'indices = "t-*", mappings = { properties = { v = { type = "keyword" } } },'


def chosen(**words):
    return films.plain(document="return { v = row.v }, { index = 't-' .. row.id % 3 }", index="t-none", sink=MAPPINGS, **words)


@pytest.fixture(params=["poll", "wal"])
def loaded(request, engine, pg, search_one, script):
    films.table(pg, rows=ROWS)
    capture = {} if request.param == "poll" else {"source": 'capture = "wal",', "cursor": None}
    path = script(chosen(extra="poll_interval = 0.1, sweep = 0,", **capture))
    run(engine, path)
    return path


def places(search):
    search.refresh()
    hits = search.request("POST", "t-*/_search", {"size": 1000})["hits"]["hits"]
    return {hit["_id"]: hit["_index"] for hit in hits}


def is_whole(search, rows=ROWS):
    mapping = search.request("GET", "t-1/_mapping")["t-1"]["mappings"]["properties"]
    return mapping == {"v": {"type": "keyword"}} and places(search) == {str(i): f"t-{i % 3}" for i in range(1, rows + 1)}


CASES = [("poll", "nothing"), ("poll", "keys"), ("poll", "another index"), ("wal", "a change")]


@pytest.mark.parametrize(("loaded", "meanwhile"), CASES, indirect=["loaded"])
def test_a_chosen_index_that_was_deleted_comes_back_whole(engine, pg, search_one, loaded, meanwhile):
    search_one.request("DELETE", "t-1")
    if meanwhile == "a change":
        pg.execute("UPDATE t SET v = 'w', modified = clock_timestamp() WHERE id = 1")
    if meanwhile == "keys":
        run(engine, loaded, "--keys", "4")
        assert places(search_one)["4"] == "t-1" and not is_whole(search_one)
    if meanwhile == "another index":
        search_one.request("PUT", "t-1", {"mappings": {"properties": {"v": {"type": "keyword"}}}})
    done = run(engine, loaded)
    assert f"index 't-1' {GONE}" in done.stderr and done.stderr.count("sweeping") == 1, done
    assert is_whole(search_one)
    done = run(engine, loaded)
    assert GONE not in done.stderr and "sweeping" not in done.stderr, done


def test_a_new_index_costs_no_sweep(engine, pg, search_one, script):
    films.table(pg, rows=1)
    path = script(chosen())
    run(engine, path)
    for row in range(2, 4):
        pg.execute("INSERT INTO t (id, v) VALUES (%s, 'new')", (row,))
        done = run(engine, path)
        assert f"created index 't-{row % 3}'" in done.stderr and "sweeping" not in done.stderr, done
    search_one.request("DELETE", "t-0,t-2")
    done = run(engine, path)
    assert f"(and 1 more of sink.indices) {GONE}" in done.stderr, done
    assert is_whole(search_one, 3)


def test_a_process_that_follows_brings_it_back(engine, pg, search_one, loaded, wait_until):
    running = engine.start(loaded, "--follow")
    pg.execute("UPDATE t SET v = 'w', modified = clock_timestamp() WHERE id = 1")
    wait_until(lambda: search_one.get("t-1", "1") == {"v": "w"}, timeout=60)
    search_one.request("DELETE", "t-1")
    wait_until(lambda: "swept" in running.stderr or not running.alive(), timeout=60)
    assert running.alive(), running.stderr
    assert f"index 't-1' {GONE}" in running.stderr
    assert is_whole(search_one)
    running.stop()
    assert "sweeping" not in run(engine, loaded).stderr
