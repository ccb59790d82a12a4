"""`etl-engine test`: a script's examples are tried without any server."""
import json

import pytest

from test_load import ok
from tools import ROOT

SCRIPT = """local etl = require "etl"
return {
  name = "films",
  source = { url = os.getenv "NO_SUCH_VARIABLE", table = "film", key = "id",
             query = "SELECT id, title, rating, genres, people, made FROM film" },
  document = {
    title = "title", rating = "rating", genres = "genres", people = "people",
    year = function(film) return film.made and tonumber(film.made:sub(1, 4)) end,
  },
  sink = { index = "films" },
  examples = {
%s
  },
}
"""
DUNE = """    { row = { id = 1, title = "Dune", rating = 8.5, genres = { "a" }, people = { { name = "N" } }, made = "1984-12-14" },
      document = { title = "Dune", rating = 8.5, genres = { "a" }, people = { { name = "N" } }, year = 1984 } },
"""


@pytest.fixture
def offline(engine):
    """Without any server, and without what the script reads from the environment."""
    for name in ("DATABASE_URL", "ELASTICSEARCH_URL", "FILE_PATH_STATE"):
        engine.env.pop(name)
    return engine


def test_examples_that_hold(offline, script):
    done = offline("test", script(SCRIPT % (DUNE + "    { row = { id = 2 }, document = {} },")))
    assert done.returncode == 0 and done.stdout.endswith("script.lua: 2 examples passed\n"), done
    done = offline("test", "scripts/persons.lua")
    assert done.returncode == 0 and done.stdout == "scripts/persons.lua: 2 examples passed\n", done


def test_differences_are_shown_field_by_field(offline, script):
    wrong = '      document = { title = "Dune", rating = 8, genres = { "a", "b" }, people = { { name = "M" } }, yeer = 1984 } },\n'
    done = offline("test", script(SCRIPT % (DUNE + DUNE.splitlines(True)[0] + wrong)))
    assert done.returncode == 1
    first, *lines, last = done.stdout.splitlines()
    assert first.endswith("script.lua:14: example 2: the document differs")
    assert sorted(lines) == sorted([
        '  genres[1]: expected "b", is missing',
        '  people[0].name: expected "M", is "N"',
        "  rating: expected 8, is 8.5",
        "  yeer: expected 1984, is missing",
        "  year: expected missing, is 1984",
    ])  # fmt: skip
    assert last.endswith("script.lua: 1 of 2 examples failed")


@pytest.mark.parametrize(
    "examples, status, says",
    [
        ("    { row = { id = 1 } },", 1, "script.lua:12: example 1: expected no document, but one was made: {}"),
        ("    { row = { id = 1, made = 5 }, document = {} },", 1, "script.lua:8: attempt to index a number value"),
        ("    { row = { id = 1, tite = 5 } },", 2, "script.lua:12: example 1: the query has no column 'tite'"),
        ("    { row = { id = 1 }, doc = {} },", 2, "script.lua:12: example 1: unknown field 'doc'"),
        ("    { document = {} },", 2, "script.lua:12: example 1: row must be a table: column = value"),
        ("", 2, "script.lua: the script has no examples"),
    ],
)
def test_what_is_wrong_has_a_line(offline, script, examples, status, says):
    done = offline("test", script(SCRIPT % examples))
    assert done.returncode == status and says in done.stdout + done.stderr, done


def test_no_document(offline, script):
    text = SCRIPT.replace("document = {\n", "document = function(film) if film.rating then return { t = film.title } end return nil end, nothing = {\n", 1)
    text = text[: text.index(" nothing = {")] + text[text.index("\n  sink") :]
    done = offline("test", script(text % '    { row = { id = 1, title = "x" } }, { row = { id = 1, rating = 1 }, document = { t = nil } },'))
    assert done.returncode == 0, done
    done = offline("test", script(text % "    { row = { id = 1 }, document = {} },"))
    assert done.returncode == 1 and "example 1: no document was made, expected {}" in done.stdout, done


def test_a_row_as_json_gives_its_document(offline, script, tmp_path):
    path = script(SCRIPT % DUNE)
    row = {"id": 1, "title": "Dune", "rating": 8.50, "genres": [], "people": [{"a": None}], "made": "1984-12-14"}
    wanted = {"title": "Dune", "rating": 8.5, "genres": [], "people": [{"a": None}], "year": 1984}
    (tmp_path / "row").write_text(json.dumps(row, indent=2))
    done = ok(offline("test", path, "--row", tmp_path / "row"))
    assert done.docs == [wanted]
    done = ok(offline("test", path, "--row", "-", stdin=json.dumps(row) + "\n\n" + '{"id": 2, "rating": 12345678901234567890}\n'))
    assert done.docs == [wanted, {"rating": 12345678901234567890}]
    done = offline("test", path, "--row", "-", stdin=json.dumps(row) + "\n[]\n")
    assert done.returncode == 2 and "-:2: expected a JSON object: column and value" in done.stderr
    done = offline("test", path, "--row", "nowhere")
    assert done.returncode == 2 and "cannot read 'nowhere'" in done.stderr


def test_a_run_ignores_them(engine, movies, search_one):
    with open(f"{ROOT}/scripts/persons.lua", encoding="utf-8") as f:
        assert "examples" in f.read()
    done = ok(engine("scripts/persons.lua"))
    assert "persons:" in done.stderr


def test_services_are_not_there(offline, script):
    text = SCRIPT.replace('title = "title"', 'title = function() return etl.pg.query("SELECT 1") end')
    done = offline("test", script(text % DUNE))
    assert done.returncode == 1 and "etl.pg is not available here: this command does not ask PostgreSQL" in done.stdout, done
