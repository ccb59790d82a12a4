"""Documents that choose their index, their routing, their ingest pipeline; and how they are found again."""
import json
import re

import pytest

from films import run

SCRIPT = """
return {
  name = "films",
  source = { url = os.getenv "DATABASE_URL", table = "films", key = "id", cursor = "modified", query = "SELECT * FROM films" },
  document = function(film)
    if film.title == "hidden" then return nil end
    %s
  end,
  sink = { url = os.getenv "ELASTICSEARCH_URL", index = "films", %s
           settings = { number_of_shards = 3, number_of_replicas = 0 },
           mappings = { properties = { title = { type = "keyword" } } } },
  state = os.getenv "FILE_PATH_STATE",
}
"""
PLACED = 'return { title = film.title }, { index = "films-" .. film.year, routing = film.owner }'
ROWS = 40


@pytest.fixture
def films(pg):
    pg.execute("CREATE TABLE films (id int PRIMARY KEY, title text, year int, owner text, modified timestamptz DEFAULT now())")
    pg.execute("INSERT INTO films SELECT i, 'film ' || i, 2020 + i %% 3, 'owner' || i %% 7 FROM generate_series(1, %s) i", (ROWS,))
    return pg


def places(search):
    """{_id: [(index, routing, title)]}, of all copies."""
    search.refresh()
    found = {}
    body = {"size": 1000, "query": {"match_all": {}}}
    for hit in search.request("POST", "films,films-*/_search", body)["hits"]["hits"]:
        found.setdefault(hit["_id"], []).append((hit["_index"], hit.get("_routing"), hit["_source"]["title"]))
    return found


def wanted(pg):
    rows = pg.query("SELECT id::text, 'films-' || year, owner, title FROM films WHERE title <> 'hidden'")
    return {row[0]: [row[1:]] for row in rows}


def versions(search):
    return search.versions("films,films-*")


def test_documents_go_where_they_say_move_when_that_changes_and_go_with_their_rows(engine, films, search, script):
    path = script(SCRIPT % (PLACED, 'indices = "films-*",'))
    run(engine, path)
    assert places(search) == wanted(films)
    for year in (2020, 2021, 2022):  # made by the engine, like sink.index
        mapping = search.request("GET", f"films-{year}/_mapping")[f"films-{year}"]["mappings"]
        assert mapping["properties"]["title"]["type"] == "keyword"

    films.execute("UPDATE films SET year = year + 1, modified = now() WHERE id IN (1, 2)")
    films.execute("UPDATE films SET owner = 'another', modified = now() WHERE id IN (2, 3)")
    films.execute("UPDATE films SET title = 'new', modified = now() WHERE id = 4")
    films.execute("UPDATE films SET title = 'hidden', modified = now() WHERE id = 5")
    done = run(engine, path)
    assert places(search) == wanted(films) and "4" in places(search) and "5" not in places(search)
    assert "4 documents indexed, 1 deleted" in done.stderr, done

    films.execute("DELETE FROM films WHERE id IN (6, 7, 8)")
    run(engine, path, "--keys", "8")
    assert places(search).keys() == wanted(films).keys() | {"6", "7"}
    before = versions(search)
    done = run(engine, path, "--sweep")
    assert places(search) == wanted(films)
    assert "0 documents indexed, 2 deleted" in done.stderr, done
    after = versions(search)
    assert after == {key: before[key] for key in after}  # nothing else was written


def test_a_copy_that_a_crash_left_is_removed_by_the_sweep(engine, films, search, script):
    path = script(SCRIPT % (PLACED, 'indices = "films-*",'))
    run(engine, path)
    lines = ""
    for index, routing in (("films-2020", "a"), ("films-2021", "b"), ("films-2022", "owner1"), ("films", None)):
        action = {"_index": index, "_id": "1", "version": 7, "version_type": "external_gte"}
        lines += json.dumps({"index": action | ({"routing": routing} if routing else {})}) + '\n{"title": "old"}\n'
    assert not search.request("POST", "_bulk?refresh=true", lines)["errors"]
    assert len(places(search)["1"]) > 2
    run(engine, path, "--sweep")
    assert places(search) == wanted(films)


def test_an_emptied_table_empties_no_index_of_many(engine, films, search_one, script):
    path = script(SCRIPT % (PLACED, 'indices = "films-*",'))
    films.execute("INSERT INTO films SELECT i, 'film ' || i, 2020, 'x' FROM generate_series(1000, 3000) i")
    run(engine, path)
    films.execute("DELETE FROM films")
    done = run(engine, path, "--sweep", code=1)
    assert "refusing to delete" in done.stderr and "their rows are gone" in done.stderr, done
    assert len(places(search_one)) > ROWS
    run(engine, path, "--sweep", "--allow-deletes")
    assert places(search_one) == {}


MISTAKES = [
    ("{ index = 'films-2020', pipelin = 'x' }", "unknown field 'pipelin', did you mean 'pipeline'?"),
    ("{ index = 2020 }", "metadata whose index is a number, expected a string"),
    ("{ routing = 1.5 }", "metadata whose routing is a number, expected a string"),
    ("{ routing = '' }", "metadata whose routing is empty"),
    ("{ routing = 'a\\0b' }", "metadata whose routing holds a zero byte"),
    ("{ routing = ('r'):rep(600) }", "metadata whose routing is too long"),
    ("{ routing = '\\xff' }", "its routing is not UTF-8"),
    ("{ 'films-2020' }", "returned a list as metadata"),
    ("'films-2020'", "returned a string as its second value"),
    ("{ index = 'movies' }", "returned index 'movies', which does not match sink.indices (films,films-*)"),
]


def test_wrong_metadata_is_a_dead_letter_that_says_what_is_wrong(engine, films, search_one, script):
    cases = "\n".join(f"if film.id == {i} then return {{}}, {text} end" for i, (text, _) in enumerate(MISTAKES, 1))
    path = script(SCRIPT % (f"{cases}\nreturn {{ title = film.title }}, {{ routing = film.id }}", 'indices = "films-*",'))
    done = run(engine, path, code=4)
    for i, (_, message) in enumerate(MISTAKES, 1):
        line = next(line for line in done.stderr.split("\n") if f"document '{i}' rejected" in line)
        assert message in line, line
    assert places(search_one).keys() == {str(i) for i in range(len(MISTAKES) + 1, ROWS + 1)}
    assert places(search_one)["20"] == [("films", "20", "film 20")]


def test_without_sink_indices_documents_choose_no_place(engine, films, search_one, script):
    done = run(engine, script(SCRIPT % (PLACED, "")), code=4)
    assert "document() returned an index, but sink.indices is not set" in done.stderr, done
    assert places(search_one) == {}


def test_a_dry_run_shows_where_documents_go(engine, films, script):
    path = script(SCRIPT % (PLACED.replace("owner }", "owner, pipeline = 'p' }"), 'indices = "films-*",'))
    done = run(engine, path, "--dry-run", "--format", "bulk", "--keys", "1", "--quiet")
    action = json.loads(done.stdout.split("\n")[0])["index"]
    assert action.pop("version") > 0
    assert action == {
        "_id": "1", "_index": "films-2021", "routing": "owner1", "pipeline": "p", "version_type": "external_gte",
    }
    assert done.stdout.split("\n")[1] == '{"title":"film 1"}'


def test_the_server_is_asked_for_the_ingest_pipeline(engine, films, search, script):
    """Our servers run none: either has its own words for one that it cannot have."""
    path = script(SCRIPT % ("return { title = film.title }, { pipeline = 'nix' }", ""))
    done = engine(path, "--keys", "1", "--give-up-after", "1")
    assert re.search(r"no ingest nodes in this cluster|pipeline with id \[nix\] does not exist", done.stderr), done


def test_what_another_pipeline_keeps_is_never_deleted(engine, films, search_one, script):
    other = SCRIPT.replace('"films"', '"films-of-others"').replace('table = "films-of-others"', 'table = "films"')
    run(engine, script(other % ("return { title = film.title }", ""), "other.lua"), env={"FILE_PATH_STATE": engine.state + ".other"})
    done = run(engine, script(SCRIPT % (PLACED, 'indices = "films-*",')), code=2)
    assert "also matches index 'films-of-others', which belongs to pipeline 'films-of-others'" in done.stderr
    assert search_one.count("films-of-others") == ROWS
