"""The index fits the script: what its mapping lacks is added, what cannot be is told; what the engine notes in it; aliases."""
import json

import pytest

from pipelines import pipeline
from services import SEARCH
from test_load import ok

SCRIPT = """
return {
  name = "things",
  source = {
    url = os.getenv "DATABASE_URL", table = "things", key = "id", cursor = "modified", query = "SELECT id, v FROM things",
  },
  document = function(row) return { v = row.v } end,
  sink = {
    url = os.getenv "ELASTICSEARCH_URL", index = "things",
    settings = SETTINGS,
    mappings = MAPPINGS,
  },
  state = os.getenv "FILE_PATH_STATE",
}
"""
SETTINGS = """{
  index = { refresh_interval = "1s", number_of_shards = 1 }, ["index.number_of_replicas"] = 0,
  analysis = {
    analyzer = { en = { type = "custom", tokenizer = "standard", filter = { "lowercase", "stems" }, char_filter = {} },
                 one = { tokenizer = "standard", filter = "lowercase" } },
    filter = { stems = { type = "stemmer", language = "english" },
               grams = { type = "edge_ngram", min_gram = 2, max_gram = 10, preserve_original = true } },
  },
}"""
FIELDS = {
    "v": """{ type = "text", analyzer = "en", index = true, norms = "true",
              fields = { raw = { type = "keyword", ignore_above = 256, doc_values = true } } }""",
    "o": """{ type = "object", enabled = true, properties = { n = { type = "long", coerce = "false" } } }""",
    "p": """{ properties = { at = { type = "date", format = "strict_date_optional_time||epoch_millis" } } }""",
    "q": """{ type = "nested", dynamic = "strict", properties = { id = { type = "keyword", store = false } } }""",
    "s": """{ type = "scaled_float", scaling_factor = 100 }""",
}
if any(server.is_partial for server in SEARCH):
    FIELDS["s"] = '{ type = "double", doc_values = "true" }'


def text_of(fields=None, settings=SETTINGS, more='dynamic = false, _source = { excludes = { "x.*" } },'):
    listed = ", ".join(f"{name} = {definition}" for name, definition in {**FIELDS, **(fields or {})}.items())
    mappings = f"""{{ {more}
      dynamic_templates = {{ {{ t = {{ match_mapping_type = "string", mapping = {{ type = "keyword" }} }} }} }},
      properties = {{ {listed} }} }}"""
    return SCRIPT.replace("SETTINGS", settings).replace("MAPPINGS", mappings)


@pytest.fixture
def things(pg):
    pg.execute(
        "CREATE TABLE things (id int PRIMARY KEY, v text, modified timestamptz NOT NULL DEFAULT now());"
        "INSERT INTO things SELECT i, 'thing ' || i FROM generate_series(1, 20) i"
    )
    return pg


def mapping(search, index="things"):
    return next(iter(search.request("GET", f"{index}/_mapping").values()))["mappings"]


def note(search, index="things"):
    return mapping(search, index)["_meta"]["etl_engine"]


def test_an_unchanged_script_never_differs_from_its_own_index(engine, things, search, script):
    path = script(text_of())
    ok(engine(path))
    before = mapping(search)
    for _ in range(2):
        done = ok(engine(path))
        assert "mapping" not in done.stderr and "changed since index" not in done.stderr, done
    assert mapping(search) == before


def test_what_the_mapping_lacks_is_added_and_what_else_it_has_stays(engine, things, search, script):
    ok(engine(script(text_of())))
    search.request("PUT", "things/_mapping", {"properties": {
        "theirs": {"type": "keyword"}, "o": {"properties": {"theirs": {"type": "long"}}},
        "v": {"type": "text", "analyzer": "en",
              "fields": {"raw": {"type": "keyword", "ignore_above": 256}, "theirs": {"type": "keyword"}}}}})  # fmt: skip
    done = ok(engine(script(text_of({
        "v": '{ type = "text", analyzer = "en", fields = { raw = { type = "keyword" }, en = { type = "text", analyzer = "one" } } }',
        "o": '{ properties = { m = { type = "keyword" }, deep = { properties = { x = { type = "long" } } } } }',
        "fresh": '{ type = "boolean" }',
    }))))  # fmt: skip
    assert "added new fields from the script to the mapping of index 'things'" in done.stderr
    fields = mapping(search)["properties"]
    assert fields["v"]["fields"] == {
        "raw": {"type": "keyword", "ignore_above": 256}, "theirs": {"type": "keyword"}, "en": {"type": "text", "analyzer": "one"},
    }  # fmt: skip
    assert fields["o"]["properties"].keys() == {"n", "m", "theirs", "deep"}
    assert fields["fresh"] == {"type": "boolean"} and fields["theirs"] == {"type": "keyword"}
    assert "changed since index" in done.stderr and "--full" in done.stderr


@pytest.mark.parametrize(
    "fields, settings, line, says",
    [
        pytest.param({"s": '{ type = "long" }'}, SETTINGS, "mappings", "field 's' has type 'scaled_float', the script wants 'long'",
                     marks=pytest.mark.all_modules),
        ({"v": '{ type = "text", analyzer = "one" }'}, SETTINGS, "mappings", "field 'v' has analyzer 'en', the script wants 'one'"),
        ({"p": '{ properties = { at = { type = "keyword" } } }'}, SETTINGS, "mappings",
         "field 'p.at' has type 'date', the script wants 'keyword'"),
        ({"p": '{ type = "nested" }'}, SETTINGS, "mappings", "field 'p' has type 'object', the script wants 'nested'"),
        ({"v": '{ type = "text", analyzer = "en", fields = { raw = { type = "long" } } }'}, SETTINGS, "mappings",
         "field 'v.raw' has type 'keyword', the script wants 'long'"),
        ({}, SETTINGS.replace('"english"', '"russian"'), "settings",
         "setting 'analysis.filter.stems.language' is 'english', the script wants 'russian'"),
        ({}, SETTINGS.replace("grams", "other"), "settings", "it has no setting 'analysis.filter.other."),
        ({}, SETTINGS.replace("number_of_shards = 1", "number_of_shards = 2"), "settings",
         "setting 'number_of_shards' is '1', the script wants '2'"),
    ],
)  # fmt: skip
def test_what_cannot_be_changed_is_told_in_one_line(engine, things, search, script, fields, settings, line, says):
    ok(engine(script(text_of())))
    before = mapping(search)
    text = text_of(fields, settings)
    path = script(text)
    done = engine(path)
    assert done.returncode == 2, done
    number = next(i for i, row in enumerate(text.split("\n"), 1) if row.strip().startswith(f"{line} ="))
    assert f"{path}:{number}: index 'things' does not fit: {says}" in done.stderr, done
    assert f"etl-engine reindex {path}" in done.stderr and len(done.stderr.splitlines()) == 2
    assert mapping(search) == before


@pytest.mark.all_modules
def test_an_index_of_somebody_elses_may_lack_settings_but_not_differ_in_a_field(engine, things, search, script):
    path = script(text_of())
    search.request("PUT", "things", {})
    for _ in range(2):  # and it is not taken for ours the second time
        done = ok(engine(path, "--full"))
        assert "index 'things' was not created by etl-engine and differs from the script" in done.stderr
        assert search.count("things") == 20 and "_meta" not in mapping(search)
    search.request("DELETE", "things")
    search.request("PUT", "things", {"mappings": {"properties": {"s": {"type": "long"}}}})
    mappings = '{ properties = { s = { type = "scaled_float", scaling_factor = 100 } } }'
    done = engine(script(SCRIPT.replace("SETTINGS", "nil").replace("MAPPINGS", mappings)))
    assert done.returncode == 2 and "field 's' has type 'long', the script wants 'scaled_float'" in done.stderr


def test_the_note_stands_beside_the_users_own(engine, things, search, script):
    path = script(text_of(more='_meta = { owner = "us" },'))
    ok(engine(path))
    assert mapping(search)["_meta"]["owner"] == "us"
    first = note(search)
    assert first["format"] == 1 and first["pipeline"] == "things" and len(first["fingerprint"]) == 16
    # Not of a document, perhaps: rows as young as these are looked at again, and sent only if they differ.
    assert first["version"] >= max(search.versions("things").values())
    search.request("PUT", "things/_mapping", {"_meta": {"other": [1], "etl_engine": first}})
    things.execute("UPDATE things SET v = 'new', modified = clock_timestamp() WHERE id = 1")
    ok(engine(path))
    found = mapping(search)["_meta"]
    assert found["owner"] == "us" and found["other"] == [1]
    assert found["etl_engine"]["version"] >= max(search.versions("things").values()) > first["version"]
    assert found["etl_engine"]["fingerprint"] == first["fingerprint"]


def test_versions_go_on_above_the_one_that_the_index_knows(engine, things, search_one, script):
    path = script(text_of())
    ok(engine(path))
    hour = 3600 * 1000 * 1000
    ahead = note(search_one)
    ahead["version"] += hour
    search_one.request("PUT", "things/_mapping", {"_meta": {"etl_engine": ahead}})
    engine(f"{path}", "--quiet")
    ok(engine("state", "reset", path))
    done = ok(engine(path))
    assert "clock is" in done.stderr and "behind the last version" in done.stderr
    assert min(search_one.versions("things").values()) > ahead["version"]


def test_a_changed_script_is_told_until_all_documents_are_made_by_it(engine, things, search_one, script):
    path = script(text_of())
    ok(engine(path))
    script(text_of().replace("v = row.v", "v = row.v .. '!'"))
    for _ in range(2):
        assert "the script has changed since index 'things' was loaded" in ok(engine(path)).stderr
    assert "20 documents indexed" in ok(engine(path, "--sweep")).stderr
    assert "has changed" not in ok(engine(path)).stderr
    script("-- a remark\n" + text_of().replace("v = row.v", "v = row.v .. '!'"))
    assert "has changed" not in ok(engine(path)).stderr
    script(text_of())
    assert "has changed" not in ok(engine(path, "--full")).stderr
    assert "has changed" not in ok(engine(path)).stderr


def test_the_index_may_be_an_alias(engine, things, search, script):
    path = script(SCRIPT.replace("SETTINGS", "nil").replace("MAPPINGS", "nil"))
    search.request("PUT", "things-a", {"aliases": {"things": {}}})
    ok(engine(path))
    assert search.count("things-a") == 20 and note(search, "things-a")["pipeline"] == "things"
    search.request("PUT", "things-b", {"aliases": {"things": {}}, "mappings": {"properties": {"z": {"type": "long"}}}})
    done = engine(path)
    assert done.returncode == 1
    assert "cannot write to 'things': it is an alias of several indexes, none of which is its write index" in done.stderr
    search.request("PUT", "things-a/_alias/things", {"is_write_index": True})
    search.request("PUT", "things-b/_doc/theirs", {"z": 1})
    things.execute("DELETE FROM things WHERE id > 15")
    done = ok(engine(path, "--sweep"))
    assert "using its write index 'things-a'" in done.stderr
    assert search.count("things-a") == 15 and search.count("things-b") == 1
    for command in "verify", "diff":
        assert "'things-a'" in ok(engine(command, path)).stderr


def test_an_alias_of_several_indexes_whose_write_index_is_moved_ends_the_run(engine, things, search, script, wait_until):
    path = script(SCRIPT.replace("SETTINGS", "nil").replace("MAPPINGS", "nil"))
    search.request("PUT", "things-a", {"aliases": {"things": {"is_write_index": True}}})
    search.request("PUT", "things-b", {"aliases": {"things": {}}})
    following = engine.start(path, "--follow")
    wait_until(lambda: "following" in following.stderr)
    actions = [{"add": {"index": f"things-{name}", "alias": "things", "is_write_index": name == "b"}} for name in "ab"]
    search.request("POST", "_aliases", {"actions": actions})
    done = following.wait()
    assert done.returncode == 1 and "'things-a' is no longer the write index of alias 'things'" in done.stderr, done
    ok(engine(path))
    assert search.count("things-b") == 20


def test_an_alias_whose_index_was_deleted_gets_none_from_the_server(engine, things, search, script, wait_until):
    path = script(SCRIPT.replace("SETTINGS", "nil").replace("MAPPINGS", "nil"))
    search.request("PUT", "things-a", {"aliases": {"things": {}}})
    following = engine.start(path, "--follow")
    wait_until(lambda: "following" in following.stderr)
    search.request("DELETE", "things-a")
    things.execute("UPDATE things SET v = 'new', modified = now() WHERE id = 3")
    done = following.wait()
    assert done.returncode == 1 and "'things'" in done.stderr, done
    assert not search.exists("things")
    ok(engine(path))
    assert search.count("things") == 20


@pytest.mark.all_modules
def test_reload_says_what_the_index_cannot_do(engine, things, search_one, script, wait_until):
    path = script(text_of())
    following = engine.start(path, "--follow")
    wait_until(lambda: "following" in following.stderr)
    script(text_of({"s": '{ type = "long" }'}))
    following.signal(1)
    wait_until(lambda: "field 's' has type 'scaled_float'" in following.stderr)
    assert "could not reload the script, still running the previous version" in following.stderr
    script(text_of({"fresh": '{ type = "boolean" }'}))
    following.signal(1)
    wait_until(lambda: "reloaded" in following.stderr)
    assert "fresh" in mapping(search_one)["properties"]
    assert following.stop().returncode == 143


@pytest.mark.parametrize("name", ["thi*ngs", "a,b", "Things", "-things", "_all", "..", "a b", "<things-{now/d}>", "a:b", "x" * 256])
def test_a_name_that_no_index_can_have_is_a_mistake_in_the_script(engine, script, name):
    text = text_of().replace('index = "things"', f"index = {json.dumps(name)}")
    path = script(text)
    done = engine(path)
    assert done.returncode == 2
    number = next(i for i, row in enumerate(text.split("\n"), 1) if "ELASTICSEARCH_URL" in row)
    assert done.stderr.startswith(f"etl-engine: error: {path}:{number}: field 'index' in sink ") and done.stderr.count("\n") == 1


# Whose index it is


def refused(done, index, owner, name):
    assert done.returncode == 2, done
    assert f"error: index '{index}' belongs to pipeline '{owner}', not to '{name}'" in done.stderr, done
    assert "hint: " in done.stderr and "sink.index" in done.stderr and "--take-over" in done.stderr


def test_an_index_is_one_pipeline_s(engine, things, search, script):
    first = script(pipeline(name="first"), "first.lua")
    second = script(pipeline(name="second"), "second.lua")
    ok(engine(first))
    before = search.hits("things")
    other = {"FILE_PATH_STATE": engine.state + "2"}
    things.execute("DELETE FROM things WHERE id > 5; UPDATE things SET v = 'changed', modified = now()")
    for words in ([], ["--full"], ["--sweep"], ["--keys", "1,20"], ["--limit", "3"], ["--follow"], ["--since", "2020-01-01"]):
        refused(engine(second, *words, env=other), "things", "first", "second")
    refused(engine("reindex", second, "--replace-index", env=other), "things", "first", "second")
    assert search.hits("things") == before and note(search)["pipeline"] == "first"
    ok(engine(first, "--sweep", "--allow-deletes"))
    assert search.count("things") == 5


def test_an_index_without_a_note_is_whose_run_comes_first(engine, things, search, script):
    search.request("PUT", "things", {"settings": {"index.gc_deletes": "1h"}})
    ok(engine(script(pipeline(name="first"), "first.lua")))
    second = script(pipeline(name="second"), "second.lua")
    refused(engine(second, env={"FILE_PATH_STATE": engine.state + "2"}), "things", "first", "second")


def test_a_renamed_pipeline_takes_over_what_was_its_own(engine, things, search, script, wait_until):
    ok(engine(script(pipeline(name="before"), "before.lua")))
    versions = search.versions("things")
    path = script(pipeline(name="after", extra="poll_interval = 0.05,"))
    done = engine(path)
    assert done.returncode == 2 and "belongs to pipeline 'before', not to 'after'" in done.stderr and "--take-over" in done.stderr
    done = ok(engine(path, "--take-over"))
    assert "took over index 'things' from pipeline 'before'" in done.stderr and "loading everything" not in done.stderr
    assert search.versions("things") == versions and note(search)["pipeline"] == "after"
    ok(engine(path))
    following = engine.start(path, "--follow")
    wait_until(lambda: "following" in following.stderr)
    other = {"FILE_PATH_STATE": engine.state + "2"}
    third = script(pipeline(name="third"), "third.lua")
    refused(engine(third, env=other), "things", "after", "third")
    ok(engine(third, "--take-over", env=other))
    refused(following.wait(), "things", "third", "after")


def test_a_name_longer_than_the_note_keeps_is_known_again(engine, things, search_one, script):
    name = "ж" * 200
    path = script(pipeline(name=name))
    for _ in range(2):
        ok(engine(path))
    second = script(pipeline(name="ж" * 50), "second.lua")
    assert engine(second, env={"FILE_PATH_STATE": engine.state + "2"}).returncode == 2


def test_sink_indices_names_no_index_of_another_pipeline(engine, things, search, script):
    scattered = pipeline(name="many", index="things-none", document="return { v = row.v }, { index = 'things-' .. row.id % 2 }")
    scattered = script(scattered.replace("index = \"things-none\"", 'index = "things-none", indices = "things-*"'), "many.lua")
    ok(engine(scattered))
    assert search.count("things-0") == 10 and note(search, "things-0")["pipeline"] == "many"
    other = {"FILE_PATH_STATE": engine.state + "2"}
    refused(engine(script(pipeline(name="one", index="things-1")), env=other), "things-1", "many", "one")
    ok(engine(script(pipeline(name="late", index="things-late")), env=other))
    before = search.hits("things-*")
    things.execute("UPDATE things SET v = 'changed', modified = now()")
    for words in ([], ["--full"], ["--keys", "1,2"]):
        done = engine(scattered, *words)
        assert done.returncode == 2, done
        assert "of pipeline 'many' also matches index 'things-late', which belongs to pipeline 'late'" in done.stderr, done
    assert search.hits("things-*") == before
