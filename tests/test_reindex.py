"""etl-engine reindex: a new index beside the old one, the alias swapped, and whoever wrote to the old one goes on with it."""
import json
import os
import re
import shutil

import pytest

from test_index import note
from test_load import ok

SCRIPT = """
return {
  name = "things",
  source = {
    url = os.getenv "DATABASE_URL", table = "things", key = "id", cursor = "modified", query = "SELECT id, v FROM things",
  },
  document = function(row) return { v = row.v } end,
  sink = { url = os.getenv "ELASTICSEARCH_URL", index = "things", mappings = { properties = { v = { type = "TYPE" } } },
           settings = { refresh_interval = "7s", ["index.number_of_replicas"] = 0 } },
  state = os.getenv "FILE_PATH_STATE",
}
"""
ROWS = 50


def text_of(kind="text"):
    return SCRIPT.replace("TYPE", kind)


@pytest.fixture
def things(pg):
    pg.execute(
        "CREATE TABLE things (id int PRIMARY KEY, v text, modified timestamptz NOT NULL DEFAULT clock_timestamp());"
        f"INSERT INTO things SELECT i, 'thing ' || i FROM generate_series(1, {ROWS}) i"
    )
    return pg


def update(pg, where, value="new"):
    pg.execute(f"UPDATE things SET v = '{value}', modified = clock_timestamp() WHERE {where}")


def target(search, alias="things"):
    """The one index that the alias stands for."""
    (index,) = search.request("GET", f"_alias/{alias}").keys()
    return index


def made(search):
    """All indexes that reindex has made, the oldest first."""
    return sorted(row["index"] for row in search.request("GET", "_cat/indices/things-*?format=json&h=index"))


def uuid(search, index="things"):
    return next(iter(search.request("GET", f"{index}/_settings").values()))["settings"]["index"]["uuid"]


def state(engine, suffix=""):
    with open(engine.state + suffix, encoding="utf-8") as f:
        return json.load(f)


def assert_true_to(search, pg):
    assert search.docs("things") == {str(i): {"v": v} for i, v in pg.query("SELECT id, v FROM things")}


def test_a_new_index_takes_the_old_ones_place(engine, things, search, script):
    path = script(text_of())
    done = ok(engine("reindex", path))
    first = target(search)
    assert re.fullmatch(r"things-\d{8}-\d{6}", first) and f"'things' points to '{first}' now" in done.stderr
    assert "reading changes" in ok(engine(path)).stderr  # the state was handed over
    update(things, "id <= 5")
    things.execute("DELETE FROM things WHERE id = 6")
    script(text_of("keyword"))
    assert engine(path).returncode == 2  # the type cannot be changed
    before = uuid(search)
    ok(engine("reindex", path, "--workers", "1"))
    second = target(search)
    assert made(search) == [first, second] and uuid(search) != before
    assert_true_to(search, things)
    assert search.request("GET", "things/_mapping")[second]["mappings"]["properties"] == {"v": {"type": "keyword"}}
    settings = search.request("GET", "things/_settings")[second]["settings"]["index"]
    assert settings["refresh_interval"] == "7s" and settings["number_of_replicas"] == "0"
    assert note(search)["formers"][0] == before
    done = ok(engine(path))
    assert "reading changes" in done.stderr
    assert not os.path.exists(engine.state + ".reindex")
    ok(engine("reindex", path))
    assert made(search) == [second, target(search)]
    ok(engine("reindex", path, "--keep", "0"))
    assert made(search) == [target(search)]


def test_an_index_is_made_an_alias_only_when_told_to(engine, things, search, script):
    path = script(text_of())
    ok(engine(path))
    old = uuid(search)
    done = engine("reindex", path)
    assert done.returncode == 2 and "it is an index itself, not an alias" in done.stderr and "--replace-index" in done.stderr
    assert uuid(search) == old and not made(search)
    update(things, "id = 1")
    ok(engine("reindex", path, "--replace-index"))
    assert made(search) == [target(search)] and note(search)["formers"] == [old]
    assert_true_to(search, things)
    assert "reading changes" in ok(engine(path)).stderr


def test_settings_that_the_script_lacks_are_named_before_they_are_lost(engine, things, search, script):
    path = script(text_of())
    assert "does not name" not in ok(engine("reindex", path)).stderr
    search.request("PUT", "_ingest/pipeline/by_hand", {"processors": []})
    search.request("PUT", "things/_settings", {"index": {"default_pipeline": "by_hand", "refresh_interval": "3s"}})
    done = ok(engine("reindex", path)).stderr
    (line,) = [line for line in done.splitlines() if "does not name" in line]
    assert ": index.default_pipeline; to keep them" in line, line  # the script names the other one
    assert done.index(line) < done.index("points to")
    assert "does not name" not in ok(engine("reindex", path)).stderr


def test_what_the_alias_had_it_keeps(engine, things, search_one, script):
    path = script(text_of("keyword"))
    ok(engine("reindex", path))
    actions = [{"add": {"index": target(search_one), "alias": "things", "search_routing": "1", "is_write_index": True}}]
    search_one.request("POST", "_aliases", {"actions": actions})
    ok(engine("reindex", path))
    assert search_one.request("GET", f"{target(search_one)}/_alias")[target(search_one)]["aliases"]["things"] == {
        "search_routing": "1", "is_write_index": True,
    }  # fmt: skip


def test_who_follows_goes_on_with_the_new_index_and_the_present_script(engine, things, search, script, wait_until):
    path = script(text_of())
    ok(engine("reindex", path))
    following = engine.start(path, "--follow")
    wait_until(lambda: "following" in following.stderr)
    script(text_of("keyword").replace("v = row.v", "v = row.v .. '!'"))
    update(things, "id <= 5")
    things.execute("DELETE FROM things WHERE id = 6")
    done = ok(engine("reindex", path))
    assert "continues with the new index" in done.stderr and "did not pause" not in done.stderr
    wait_until(lambda: f"index '{target(search)}' has taken the place" in following.stderr)
    wait_until(lambda: "reloaded" in following.stderr)
    update(things, "id = 7", "newer")
    wait_until(lambda: search.get("things", "7") == {"v": "newer!"})
    assert "loading everything" not in following.stderr
    assert following.stop().returncode == 143
    assert state(engine)["index_uuid"] == uuid(search)
    assert search.docs("things") == {str(i): {"v": v + "!"} for i, v in things.query("SELECT id, v FROM things")}
    assert "reading changes" in ok(engine(path)).stderr


def test_a_state_that_is_older_by_two_reindexes_goes_on(engine, things, search_one, script, tmp_path):
    path = script(text_of())
    ok(engine("reindex", path))
    old = tmp_path / "old"
    shutil.copy2(engine.state, old)
    ok(engine("reindex", path))
    update(things, "id = 1")
    ok(engine("reindex", path))
    update(things, "id = 2")
    shutil.copy2(old, engine.state)
    done = ok(engine(path))
    assert "has taken the place" in done.stderr and "loading everything" not in done.stderr
    assert_true_to(search_one, things)
    assert state(engine)["index_uuid"] == uuid(search_one)
    search_one.request("PUT", "other", {"aliases": {}})
    search_one.request("POST", "_aliases", {"actions": [
        {"remove": {"index": target(search_one), "alias": "things"}}, {"add": {"index": "other", "alias": "things"}}]})  # fmt: skip
    assert "the index is not the one that was loaded" in ok(engine(path)).stderr


def test_rejected_documents_leave_the_old_index_in_place(engine, things, search_one, script):
    path = script(text_of())
    ok(engine("reindex", path))
    first = target(search_one)
    things.execute("UPDATE things SET v = id")
    update(things, "id = 9", "word")
    script(text_of("integer"))
    done = engine("reindex", path)
    assert done.returncode == 4 and "has rejected 1 document" in done.stderr and "--allow-rejected" in done.stderr
    assert target(search_one) == first
    with open(engine.state + ".reindex.rejected", encoding="utf-8") as f:
        assert [json.loads(line)["key"] for line in f] == ["9"]
    half = state(engine, ".reindex")["index"]
    assert engine("reindex", path, "--allow-rejected").returncode == 4
    assert target(search_one) == half and search_one.count("things") == ROWS - 1
    with open(engine.state + ".rejected", encoding="utf-8") as f:
        assert [json.loads(line)["key"] for line in f] == ["9"]
    update(things, "id = 9", "9")
    ok(engine("reindex", path))
    assert search_one.count("things") == ROWS and not os.path.exists(engine.state + ".rejected")


def test_what_was_begun_by_another_script_is_cleared_away(engine, things, search_one, script):
    path = script(text_of())
    ok(engine("reindex", path))
    first = target(search_one)
    update(things, "id = 9", "word")
    script(text_of("integer"))
    assert engine("reindex", path).returncode == 4
    half = state(engine, ".reindex")["index"]
    script(text_of("keyword"))
    done = ok(engine("reindex", path))
    assert f"removing '{half}', which an earlier reindex began" in done.stderr
    assert made(search_one) == [first, target(search_one)]
    assert_true_to(search_one, things)


def test_an_index_that_would_lose_most_documents_is_not_swapped_in(engine, things, search_one, script):
    path = script(text_of())
    ok(engine("reindex", path))
    first = target(search_one)
    script(text_of().replace("FROM things", "FROM things WHERE id <= 3"))
    done = engine("reindex", path)
    assert done.returncode == 1 and f"it has {ROWS} documents, its successor" in done.stderr
    assert target(search_one) == first and search_one.count("things") == ROWS
    ok(engine("reindex", path, "--allow-deletes"))
    assert search_one.count("things") == 3


def test_two_at_a_time_exclude_each_other(engine, things, search_one, script, wait_until):
    path = script(text_of())
    lock = things.connect()
    with lock.cursor() as cursor:
        cursor.execute("LOCK TABLE things")
        first = engine.start("reindex", path)
        wait_until(lambda: os.path.exists(engine.state + ".reindex"))
        done = engine("reindex", path)
        assert done.returncode == 1 and f"another run is using it (process {first.pid})" in done.stderr
    lock.rollback()
    ok(first.wait())
    assert_true_to(search_one, things)


def test_documents_in_several_indexes_are_not_reindexed(engine, things, search_one, script):
    done = engine("reindex", script(text_of().replace('index = "things"', 'index = "things", indices = "things,other-*"')))
    assert done.returncode == 2 and "sink.indices" in done.stderr
    done = ok(engine("reindex", script(text_of().replace('index = "things"', 'index = "things", indices = "things"'))))
    assert_true_to(search_one, things)


def test_wrong_use(engine, script):
    path = script(text_of())
    assert "--replace-index" in ok(engine("reindex", "--help")).stdout
    assert "reindex" in ok(engine("--help")).stdout
    assert engine("reindex").returncode == 2
    assert engine("reindex", path, path).returncode == 2
    assert engine("reindex", path, "--keep", "-1").returncode == 2


def test_what_merely_bears_such_a_name_is_not_removed(engine, things, search_one, script):
    path = script(text_of())
    ok(engine("reindex", path))
    first = target(search_one)
    search_one.request("PUT", "things-20200101-000000/_doc/1", {"theirs": True})
    ok(engine("reindex", path, "--keep", "0"))
    assert made(search_one) == ["things-20200101-000000", target(search_one)] and first not in made(search_one)


def test_the_other_aliases_of_an_index_that_is_replaced_are_kept(engine, things, search_one, script):
    path = script(text_of())
    ok(engine(path))
    search_one.request("POST", "_aliases", {"actions": [
        {"add": {"index": "things", "alias": "one", "filter": {"ids": {"values": ["1"]}}}},
        {"add": {"index": "things", "alias": "all"}}]})
    ok(engine("reindex", path, "--replace-index"))
    assert target(search_one, "one") == target(search_one, "all") == target(search_one)
    assert search_one.count("one") == 1 and search_one.count("all") == ROWS


def test_a_module_that_was_mended_makes_the_rejected_ones_right(engine, things, search_one, script):
    script("return function(v) return { v = { v } , nothing = 1 } end", "module.lua")
    text = text_of().replace("return { v = row.v }", "return require 'module'(row.v)").replace("properties =", "dynamic = 'strict', properties =")
    path = script(text)
    assert engine("reindex", path).returncode == 4
    script("return function(v) return { v = v } end", "module.lua")
    ok(engine("reindex", path))
    assert_true_to(search_one, things)
