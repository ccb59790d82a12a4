"""Documents that have a `_routing` which no script chose: found, told and repaired; the right copy is never deleted."""
import json
import time

import pytest

from films import follow, run
from pipelines import pipeline

ROWS = 12
SHARDS = pytest.mark.parametrize("shards", [1, 5])


@pytest.fixture
def things(pg):
    pg.execute("CREATE TABLE things (id int PRIMARY KEY, v text, modified timestamptz DEFAULT clock_timestamp())")
    pg.execute("INSERT INTO things (id, v) SELECT i, i::text FROM generate_series(1, %s) i", (ROWS,))
    return pg


@pytest.fixture
def path(things, script):
    return script(pipeline(extra="poll_interval = 0.1, sweep = 0,"))


def make_index(search, shards, **more):
    search.request("PUT", "things", {"settings": {"number_of_shards": shards, "number_of_replicas": 0}, **more})


def write(search, *items):
    """Each item: (key, routing or None, document or None for a delete, version)."""
    lines = ""
    for key, routing, document, version in items:
        verb = "delete" if document is None else "index"
        where = {"routing": routing} if routing else {}
        lines += json.dumps({verb: {"_id": key, "version": version, "version_type": "external_gte", **where}}) + "\n"
        lines += json.dumps(document) + "\n" if document is not None else ""
    assert not search.request("POST", "things/_bulk?refresh=true", lines)["errors"]


def now():
    return int(time.time() * 1e6)


def copies(search, index="things"):
    """{_id: [(routing, document)]}, of all copies."""
    search.refresh()
    found = {}
    body = {"size": 10000, "query": {"match_all": {}}}
    for hit in search.request("POST", f"{index}/_search", body)["hits"]["hits"]:
        found.setdefault(hit["_id"], []).append((hit.get("_routing"), hit["_source"]))
    return found


def wanted(pg):
    return {key: [(None, {"v": v})] for key, v in pg.query("SELECT id::text, v FROM things")}


def misplace(search, pg, routing="elsewhere"):
    """What polls leave while a pipeline sets a routing: newer copies, only copies, copies of rows that are gone."""
    pg.execute("UPDATE things SET v = 'new' WHERE id IN (1, 2, 3)")
    newer = [(str(key), routing, {"v": "new"}, now()) for key in (1, 2, 3)]
    only = [item for key in (4, 5, 6) for item in ((str(key), None, None, now()), (str(key), routing, {"v": str(key)}, now()))]
    gone = [("7", None, None, now()), ("7", routing, {"v": "7"}, now()), ("8", routing, {"v": "8"}, now())]
    strange = [("no key", routing, {"v": "?"}, now())]
    older = [("9", routing, {"v": "old"}, 7)] if (routing_of(search) > 1) else []
    pg.execute("DELETE FROM things WHERE id IN (7, 8)")
    for item in newer + only + gone + strange:
        write(search, item)
    for item in older:
        try_write(search, item)


def routing_of(search):
    return int(search.request("GET", "things/_settings")["things"]["settings"]["index"]["number_of_shards"])


def try_write(search, item):
    """An older version is refused where the routing leads to the shard of the key."""
    key, routing, document, version = item
    search.request("POST", "things/_bulk?refresh=true", json.dumps(
        {"index": {"_id": key, "version": version, "version_type": "external_gte", "routing": routing}},
    ) + "\n" + json.dumps(document) + "\n")


def told(done):
    return [line for line in done.stderr.splitlines() if "with a _routing that the script did not choose" in line]


@SHARDS
def test_a_sweep_puts_them_where_they_belong(engine, things, search, path, shards):
    make_index(search, shards)
    run(engine, path)
    misplace(search, things)
    before = search.versions("things")
    done = run(engine, path, "--sweep")
    assert copies(search) == wanted(things)
    assert len(told(done)) == 1 and "the sweep writes them again without it" in told(done)[0], done
    after = search.versions("things")
    assert {key: after[key] for key in ("10", "11", "12")} == {key: before[key] for key in ("10", "11", "12")}
    assert not told(run(engine, path, "--sweep")) and search.versions("things") == after


@SHARDS
def test_verify_finds_and_repairs_them(engine, things, search, path, shards):
    make_index(search, shards)
    run(engine, path)
    misplace(search, things)
    done = run(engine, "verify", path, "--format", "json", code=5)
    report = json.loads(done.stdout)
    keys = {example["key"] for example in report["examples"]}
    assert keys >= set("12345678") | {"no key"} and report["reasons"].keys() == {"routed"}, done
    assert report["orphaned"] == 3 and report["reasons"]["routed"] == len(keys), done
    assert len(told(done)) == 1 and "'etl-engine verify --repair'" in told(done)[0], done
    run(engine, "verify", path, "--repair", "--allow-deletes")
    assert copies(search) == wanted(things)
    assert not told(run(engine, "verify", path))


def test_the_process_that_follows_repairs_them_for_verify(engine, things, search_one, path, wait_until):
    make_index(search_one, 5)
    run(engine, path)
    misplace(search_one, things)
    process = follow(engine, path, wait_until=wait_until)
    done = run(engine, "verify", path, "--repair", "--allow-deletes")
    assert "asked the process that follows" in done.stderr, done
    process.stop()
    assert copies(search_one) == wanted(things)


def test_pages_of_them(engine, things, search_one, path):
    things.execute("INSERT INTO things (id, v) SELECT i, i::text FROM generate_series(100, 5000) i")
    make_index(search_one, 5)
    run(engine, path)
    write(search_one, *[(str(key), "elsewhere", {"v": str(key)}, now()) for key in range(100, 5001)])
    run(engine, path, "--sweep")
    assert copies(search_one) == wanted(things)


def test_a_document_that_cannot_be_made_keeps_its_copies(engine, things, search_one, script):
    make_index(search_one, 5)
    run(engine, script(pipeline()))
    misplace(search_one, things)
    before = copies(search_one)
    failing = script(pipeline(document="if row.v == 'new' then error('no') end return { v = row.v }"))
    run(engine, failing, "--sweep", code=4)
    after = copies(search_one)
    assert {key: after[key] for key in "123"} == {key: before[key] for key in "123"}


def test_an_alias_with_a_routing_is_no_pipeline(engine, things, search, path):
    aliases = {"things": {"index_routing": "7", "search_routing": "7"}}
    search.request("PUT", "things-1", {"settings": {"number_of_shards": 5, "number_of_replicas": 0}, "aliases": aliases})
    run(engine, path)
    before = copies(search, "things-1")
    assert set(routing for found in before.values() for routing, _ in found) == {"7"} and len(before) == ROWS
    done = run(engine, path, "--sweep")
    assert not told(done) and copies(search, "things-1") == before
    run(engine, "verify", path)


def test_an_index_that_requires_a_routing_is_refused(engine, things, search_one, path):
    make_index(search_one, 1, mappings={"_routing": {"required": True}})
    done = run(engine, path, code=2)
    assert done.stderr.count("error: ") == 1 and "requires a routing" in done.stderr, done
    assert "sink.indices" in done.stderr and copies(search_one) == {}, done
    found = run(engine, "check", path, code=2)
    assert [line for line in found.stdout.splitlines() if "requires a routing" in line], found
