"""Ingest pipelines, for real: documents are changed, refused, dropped or moved before they are indexed.

Without ETL_SEARCH on one server whose node has the role; otherwise on those that it names, if they have it. On Elasticsearch 8
and 9 the processors are ours (vendor/servers/java/Ingest.java), all around them is the server's own."""
import json
import os

import pytest

import services as private
from conftest import whole_search
from pipelines import pipeline
from secured import lent

ROWS = 10
OWN = 'return { v = row.v }, { pipeline = row.p }'
NAMES = [server.name for server in private.SEARCH] if os.environ.get("ETL_SEARCH") else ["opensearch-secured"]


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in NAMES])
def ingest_server(request, machine):
    yield from lent(request.param)


@pytest.fixture
def search(request, ingest_server):
    search = whole_search(request, ingest_server)
    if not any("ingest" in node["roles"] for node in search.request("GET", "_nodes")["nodes"].values()):
        pytest.skip(f"no node of {search.name} has the role")
    return search


@pytest.fixture
def things(pg):
    pg.execute("CREATE TABLE things (id int PRIMARY KEY, v text, p text, modified timestamptz DEFAULT clock_timestamp())")
    pg.execute("INSERT INTO things (id, v) SELECT i, i::text FROM generate_series(1, %s) i", (ROWS,))
    return pg


@pytest.fixture
def sync(engine, search, things, script):
    """sync("run", ...) with the search server's variables; `document` and `extra` are those of pipelines.pipeline."""

    def begin(*words, document="return { v = row.v }", extra="", **options):
        path = script(pipeline(document=document, extra=extra))
        return engine(words[0], path, *words[1:], env=search.env(), **options)

    return begin


def define(search, name, *processors, **more):
    search.request("PUT", f"_ingest/pipeline/{name}", {"processors": list(processors), **more})


def make_index(search, **settings):
    search.request("PUT", "things", {"settings": {"number_of_shards": 3, "number_of_replicas": 0, **settings}})


def ok(done, code=0):
    assert done.returncode == code, done
    return done


TO_NUMBER = {"convert": {"field": "v", "type": "integer"}}


# A document is refused


def test_a_document_that_a_pipeline_refuses_is_a_dead_letter_and_the_others_arrive(search, things, sync):
    define(search, "number", TO_NUMBER)
    define(search, "dissect", {"dissect": {"field": "v", "pattern": "%{a}:%{b}"}})
    define(search, "fail", {"fail": {"message": "no such luck"}})
    define(search, "nested", {"pipeline": {"name": "nowhere"}})
    things.execute("UPDATE things SET v = 'abc', p = 'number' WHERE id = 1")
    things.execute("UPDATE things SET p = 'number' WHERE id = 2")
    things.execute("UPDATE things SET p = 'dissect' WHERE id = 3")
    things.execute("UPDATE things SET p = 'fail' WHERE id = 4")
    things.execute("UPDATE things SET p = 'missing' WHERE id = 5")
    things.execute("UPDATE things SET p = 'nested' WHERE id = 6")
    done = ok(sync("run", document=OWN), 4)
    for key, words in {"1": "unable to convert [abc] to integer", "3": "Unable to find match for dissect pattern",
                       "4": "no such luck", "5": "pipeline with id [missing] does not exist", "6": "non-existent pipeline [nowhere]"}.items():
        assert [line for line in done.stderr.splitlines() if f"document '{key}' rejected: " in line and words in line], done
    assert search.docs("things") == {"2": {"v": 2}} | {str(i): {"v": str(i)} for i in (7, 8, 9, 10)}


def test_a_failure_that_the_pipeline_handles_is_none(search, things, sync):
    define(search, "handles", TO_NUMBER, on_failure=[{"set": {"field": "failed", "value": True}}])
    define(search, "ignores", TO_NUMBER | {"convert": TO_NUMBER["convert"] | {"ignore_failure": True}})
    things.execute("UPDATE things SET v = 'abc', p = CASE WHEN id < 5 THEN 'handles' ELSE 'ignores' END")
    ok(sync("run", document=OWN))
    assert search.get("things", "4") == {"v": "abc", "failed": True} and search.get("things", "5") == {"v": "abc"}


def test_without_its_default_pipeline_an_index_takes_nothing(search, things, sync):
    make_index(search, **{"index.default_pipeline": "missing"})
    done = ok(sync("run"), 1)
    assert done.stderr.count("error: ") == 1 and "pipeline with id [missing] does not exist" in done.stderr, done
    assert "index.default_pipeline" in done.stderr and "0 rejected" in done.stderr, done


def test_a_server_without_ingest_nodes_is_told(engine, search_one, things, script):
    path = script(pipeline(document="return { v = row.v }, { pipeline = 'any' }"))
    done = engine("run", path, "--give-up-after", "1", env={"ELASTICSEARCH_URL": search_one.url})
    if "does not exist" in done.stderr:
        pytest.skip("this one has the role")
    assert "no ingest nodes" in done.stderr and "no node has the role 'ingest'" in done.stderr, done


# A document is dropped


def test_a_dropped_document_is_counted_and_told_and_verify_finds_it_missing(search, things, sync):
    """The index has a final pipeline, too. OpenSearch asks it nevertheless, and so has two answers about the document."""
    define(search, "drop", {"drop": {}})
    define(search, "number", TO_NUMBER)
    make_index(search, **{"index.final_pipeline": "number"})
    things.execute("UPDATE things SET p = 'drop', v = 'abc' WHERE id = 3")
    done = ok(sync("run", document=OWN))
    assert "document '3' was dropped by an ingest pipeline" in done.stderr, done
    assert "9 documents indexed" in done.stderr and "1 dropped by an ingest pipeline" in done.stderr, done
    found = ok(sync("verify", document=OWN), 5)
    assert "1  missing" in found.stdout and "3" in found.stdout, found
    again = ok(sync("run", "--sweep", document=OWN))
    assert "1 dropped by an ingest pipeline" in again.stderr, again


@pytest.mark.all_modules
def test_a_condition_drops_documents_of_an_index(search, things, sync):
    define(search, "drop", {"drop": {"if": "ctx.v == '3'"}})
    make_index(search, **{"index.default_pipeline": "drop"})
    done = ok(sync("run"))
    assert "9 documents indexed" in done.stderr and "1 dropped by an ingest pipeline" in done.stderr, done
    again = ok(sync("run", "--sweep"))
    assert "1 dropped by an ingest pipeline" in again.stderr and "0 documents indexed" in again.stderr, again
    told = "ingest pipeline 'drop' may have dropped the document"
    for words in (("verify",), ("why", "3")):
        found = sync(*words)
        assert told in found.stdout and "changed since the last run" not in found.stdout, found


# A document is moved


MOVES = [
    ("_index", "away", "an ingest pipeline has put it into index 'away'"),
    ("_id", "other", "an ingest pipeline has set its _id to 'other'"),
    ("_version", 77, "an ingest pipeline has set its _version to 77"),
    ("_version_type", "internal", "an ingest pipeline must not change _version_type"),
    ("_if_seq_no", 3, "an ingest pipeline must not set _if_seq_no"),
    ("_routing", "elsewhere", "an ingest pipeline has set its _routing to 'elsewhere'"),
]


@pytest.mark.parametrize("field, value, words", MOVES, ids=[move[0] for move in MOVES])
def test_a_pipeline_that_moves_documents_ends_the_run_at_once(search, things, sync, field, value, words):
    define(search, "moves", {"set": {"field": field, "value": value}})
    make_index(search, **{"index.default_pipeline": "moves"})
    done = ok(sync("run"), 1)
    assert done.stderr.count("error: ") == 1 and words in done.stderr, done
    assert "trying again" not in done.stderr, done
    refused = field in ("_version_type", "_if_seq_no")
    assert refused or "was indexed, but" in done.stderr, done
    assert refused or field == "_routing" or "of the 10 documents of the request" in done.stderr, done


def test_a_final_pipeline_that_moves_documents_is_told(search, things, sync):
    define(search, "moves", {"set": {"field": "_index", "value": "away"}})
    make_index(search, **{"index.final_pipeline": "moves"})
    done = ok(sync("run"), 1)
    assert "can't change the target index" in done.stderr and "must not change _index" in done.stderr, done
    assert "trying again" not in done.stderr, done


def needs_reroute(search):
    if not search.server.is_partial:
        pytest.skip(f"{search.name} has no processor 'reroute'")


def test_a_document_that_is_rerouted_ends_the_run(search, things, sync):
    needs_reroute(search)
    define(search, "moves", {"reroute": {"destination": "away"}})
    make_index(search, **{"index.default_pipeline": "moves"})
    done = ok(sync("run"), 1)
    assert done.stderr.count("error: ") == 1 and "an ingest pipeline has put it into index 'away'" in done.stderr, done


def test_indexes_that_reroute_to_each_other_end_the_run(search, things, sync):
    needs_reroute(search)
    for name, other in ("things", "away"), ("away", "things"):
        define(search, f"to_{other}", {"reroute": {"destination": other}})
        search.request("PUT", name, {"settings": {"index.default_pipeline": f"to_{other}"}})
    done = ok(sync("run"), 1)
    assert done.stderr.count("error: ") == 1 and "index cycle detected" in done.stderr, done
    assert "must not change _index" in done.stderr and "trying again" not in done.stderr, done


def test_pipelines_that_call_each_other_are_told(search, things, sync):
    define(search, "one", {"pipeline": {"name": "two"}})
    define(search, "two", {"pipeline": {"name": "one"}})
    things.execute("UPDATE things SET p = 'one' WHERE id = 1")
    done = ok(sync("run", document=OWN), 4)
    assert "document '1' rejected: " in done.stderr and "Cycle detected for pipeline: " in done.stderr, done
    assert search.count("things") == ROWS - 1
    search.request("PUT", "things/_settings", {"index.default_pipeline": "two"})
    done = ok(sync("run", "--full"), 1)
    assert done.stderr.count("error: ") == 1 and "Cycle detected for pipeline: " in done.stderr, done
    assert "hint: an ingest pipeline must not call itself" in done.stderr and "trying again" not in done.stderr, done


def test_an_alias_is_not_taken_for_a_pipeline(search, things, engine, script):
    search.request("PUT", "things-1", {"aliases": {"things": {}}})
    path = script(pipeline())
    ok(engine("run", path, env=search.env()))
    things.execute("UPDATE things SET v = 'new', modified = clock_timestamp() WHERE id = 1")
    ok(engine("run", path, env=search.env()))
    assert search.get("things", "1") == {"v": "new"} and search.count("things-1") == ROWS


def test_a_pipeline_behind_an_alias_moves_documents(search, things, sync):
    define(search, "moves", {"set": {"field": "_index", "value": "away"}})
    search.request("PUT", "things-1", {"aliases": {"things": {}}, "settings": {"index.default_pipeline": "moves"}})
    done = ok(sync("run"), 1)
    assert "error: " in done.stderr and "an ingest pipeline has set its _index to 'away'" in done.stderr, done
    assert not search.exists("away"), done


def places(search):
    """{_id: [(routing, v)]}, of all copies."""
    found = {}
    search.refresh()
    for hit in search.request("POST", "things/_search", {"size": 1000})["hits"]["hits"]:
        found.setdefault(hit["_id"], []).append((hit.get("_routing"), hit["_source"]["v"]))
    return found


def test_a_routing_that_a_pipeline_sets_for_some_documents_ends_the_load(search, things, sync):
    define(search, "routes", {"set": {"field": "_routing", "value": "elsewhere"}})
    make_index(search, number_of_shards=1)  # each request by the key finds them
    things.execute("UPDATE things SET p = 'routes' WHERE id <= 2")
    things.execute("UPDATE things SET p = NULL WHERE id > 2")  # these are read last, and the last one is read back
    done = ok(sync("run", document=OWN), 1)
    assert "has 2 documents with a _routing that the script did not choose" in done.stderr, done
    assert "an ingest pipeline has set its _routing to 'elsewhere'" in done.stderr, done
    things.execute("UPDATE things SET p = NULL")
    ok(sync("run", "--sweep", document=OWN))
    found = places(search)
    assert len(found) == ROWS and all([routing for routing, _ in copies] == [None] for copies in found.values()), found


def test_a_routing_that_a_pipeline_sets_later_ends_the_sweep_that_meets_it(search, things, sync):
    """Nothing is deleted meanwhile; without the pipeline, a sweep puts all of them right."""
    define(search, "routes", {"set": {"field": "_routing", "value": "elsewhere"}})
    make_index(search)
    ok(sync("run"))
    search.request("PUT", "things/_settings", {"index.default_pipeline": "routes"})
    things.execute("UPDATE things SET v = 'new', modified = clock_timestamp()")
    ok(sync("run"))
    before = places(search)
    done = ok(sync("run", "--sweep"), 1)
    assert "was indexed, but an ingest pipeline has set its _routing to 'elsewhere'" in done.stderr, done
    assert "ingest pipeline 'routes' sets it: remove that first" in done.stderr, done
    after = places(search)
    assert {key: len(found) for key, found in after.items()} == {key: len(found) for key, found in before.items()}

    search.request("PUT", "things/_settings", {"index.default_pipeline": None})
    things.execute("DELETE FROM things WHERE id = 1")
    found = ok(sync("verify", "--format", "json"), 5)
    assert json.loads(found.stdout)["reasons"] == {"routed": ROWS} and "remove that first" not in found.stderr, found
    ok(sync("run", "--sweep"))
    assert places(search) == {str(i): [(None, "new")] for i in range(2, ROWS + 1)}
    ok(sync("verify"))


# A document is changed


def test_what_a_pipeline_changes_is_told_by_the_sweep_and_by_verify(search, things, sync):
    define(search, "adds", {"set": {"field": "extra", "value": 1}})
    make_index(search, **{"index.default_pipeline": "adds"})
    done = ok(sync("run"))
    assert "its setting index.default_pipeline is 'adds'" in done.stderr, done
    found = ok(sync("verify"), 5)
    assert "index.default_pipeline is 'adds'" in found.stderr and "10 differ" in found.stdout, found
    ok(sync("diff", "--keys", "1"), 5)


# What check sees


CHECKED = [
    ({"set": {"field": "_index", "value": "x"}}, "_index"),
    ({"drop": {}}, "drop"),
    ({"rename": {"field": "v", "target_field": "_routing"}}, "_routing"),
    ({"date_index_name": {"field": "v", "date_rounding": "M"}}, "_index"),
    ({"foreach": {"field": "v", "processor": {"set": {"field": "_routing", "value": "x"}}}}, "_routing"),
    pytest.param({"script": {"source": "ctx._id = ctx.v"}}, "_id", marks=pytest.mark.all_modules),
]


@pytest.mark.parametrize("processor, words", CHECKED, ids=["set", "drop", "rename", "date_index_name", "foreach", "script"])
def test_check_warns_of_a_pipeline_that_moves_documents(search, things, sync, processor, words):
    define(search, "inner", processor)
    define(search, "outer", {"pipeline": {"name": "inner"}})
    make_index(search, **{"index.final_pipeline": "outer"})
    done = sync("check")
    lines = [line for line in done.stdout.splitlines() if "ingest pipeline 'inner'" in line]
    assert len(lines) == 1 and words in lines[0], done


def test_check_tells_of_a_pipeline_that_is_missing_or_harmless(search, things, sync):
    make_index(search, **{"index.default_pipeline": "missing-one"})
    done = sync("check")
    assert "ingest pipeline 'missing-one' does not exist" in done.stdout, done
    define(search, "harmless", {"set": {"field": "index", "value": "ctx._index"}})
    search.request("PUT", "things/_settings", {"index.default_pipeline": "harmless"})
    done = sync("check", "--format", "json")
    about = [found for found in map(json.loads, done.stdout.splitlines()) if found.get("check") == "ingest_pipeline"]
    assert [found["severity"] for found in about] == ["note"] and "'harmless'" in about[0]["message"], done
