"""`document` as a template: what it gives, and what happens to it: other columns, another script, fields that fail."""
import re
import signal

import films
import pytest


def template(document, query="SELECT * FROM t", extra="poll_interval = 0.1, sweep = 3600,"):
    """A script with that field, written as it is, or without it."""
    return f"""
return {{
  name = "t",
  source = {{ url = os.getenv "DATABASE_URL", table = "t", key = "id", cursor = "modified", query = "{query}" }},
  {document}
  sink = {{ url = os.getenv "ELASTICSEARCH_URL", index = "t" }},
  state = os.getenv "FILE_PATH_STATE",
  {extra}
}}
"""


@pytest.fixture
def rows(pg):
    films.table(pg, rows=0)
    pg.execute("INSERT INTO t VALUES (1, 'one'), (2, NULL), (3, '')")


SHAPES = [
    ('{ v = "v" }', [{"v": "one"}, {}, {"v": ""}]),
    ('{ ["a.b"] = "id", v = { w = "v" } }', [{"a.b": 1, "v": {"w": "one"}}, {"a.b": 2, "v": []}, {"a.b": 3, "v": {"w": ""}}]),
    ('{ id = "id", n = function(row) return row.v and #row.v end }', [{"id": 1, "n": 3}, {"id": 2}, {"id": 3, "n": 0}]),
    ('{ kind = function() return "film" end, of = { all = function(row) return { row.v or "none", "x" } end } }',
     [{"kind": "film", "of": {"all": [text, "x"]}} for text in ("one", "none", "")]),
]  # fmt: skip


@pytest.mark.parametrize("document, wanted", SHAPES, ids=range(len(SHAPES)))
def test_a_template_gives_its_fields(engine, search_one, rows, script, document, wanted):
    path = script(template(f"document = {document},"))
    assert films.run(engine, path, "--dry-run", "--workers", "1").docs == wanted
    films.run(engine, path)
    assert [search_one.get("t", str(key)) for key in (1, 2, 3)] == wanted
    assert films.run(engine, path, "--dry-run", "--keys", "3").docs == wanted[2:]


def test_left_out_every_column_is_a_field(engine, search_one, rows, script):
    path = script(template("", query="SELECT id, v AS name, id + 1 AS next FROM t"))
    films.run(engine, path)
    assert [search_one.get("t", str(key)) for key in (1, 2)] == [{"id": 1, "name": "one", "next": 2}, {"id": 2, "next": 3}]


def test_a_field_that_fails_rejects_its_document_alone(engine, search_one, rows, script):
    path = script(template("""document = {
    id = "id",
    first = function(row)
      return row.v:sub(1, 1)
    end,
  },"""))
    done = films.run(engine, path, code=4)
    reasons = re.findall(r"document '2' rejected: (.*)", done.stderr)
    assert len(reasons) == 1, done
    assert re.fullmatch(r"\S+script\.lua:8: attempt to index a nil value \(field 'v'\) "
                        r"\(field 'first'; key '2'; columns id, v, modified\)", reasons[0]), reasons  # fmt: skip
    assert search_one.docs("t").keys() == {"1", "3"}


def test_a_value_that_json_lacks_names_the_fields_line(engine, pg, rows, script):
    path = script(template("""document = {
    id = "id",
    o = {
      x = "x",
    },
  },""", query="SELECT id, modified, CASE id WHEN 2 THEN 'NaN' ELSE 1.5 END::float8 AS x FROM t"))
    done = films.run(engine, path, "--dry-run", code=4)
    assert re.search(r"document '2' rejected: \S+script\.lua:8: o\.x: cannot encode NaN \(key '2'; columns ", done.stderr), done
    assert len(done.docs) == 2


def test_another_template_is_another_document(engine, search_one, rows, script):
    """A run says that documents which are there may be of an earlier script; the same template in another order is the same."""
    films.run(engine, script(template('document = { id = "id", v = "v" },')))
    for document, changed in (('{ v = "v",\n id = "id" }', False), ('{ id = "id", w = "v" }', True), ('{ id = "id", v = "id" }', True)):
        done = films.run(engine, script(template(f"document = {document},")))
        assert ("has changed" in done.stderr) == changed, (document, done)


def test_sighup_takes_another_template_and_refuses_a_wrong_one(engine, pg, search_one, rows, script, wait_until):
    path = script(template('document = { v = "v" },'))
    running = films.follow(engine, path, wait_until=wait_until)
    script(template('document = { v = "w" },'))
    running.signal(signal.SIGHUP)
    wait_until(lambda: "the query has no column 'w'" in running.stderr or not running.alive(), what="a refusal")
    script(template('document = { v = "v", twice = function(row) return row.id * 2 end },'))
    running.signal(signal.SIGHUP)
    wait_until(lambda: "reloaded" in running.stderr.split("no column")[1] or not running.alive(), what="the new script")
    films.touch(pg, "v = 'two'", "id = 2", table="t")
    wait_until(lambda: search_one.get("t", "2") == {"v": "two", "twice": 4} or not running.alive(), what="the new document")
    assert running.stop().returncode == 143


@pytest.mark.parametrize("gone", [True, False])
def test_a_follower_ends_when_the_templates_column_is_gone(engine, pg, search_one, rows, script, wait_until, gone):
    running = films.follow(engine, script(template('document = {\n v = "v" },')), wait_until=wait_until)
    pg.execute("ALTER TABLE t DROP COLUMN v" if gone else "ALTER TABLE t ADD COLUMN w int")
    pg.execute("UPDATE t SET modified = clock_timestamp() WHERE id = 1" if gone else "UPDATE t SET v = 'two', modified = clock_timestamp() WHERE id = 1")
    if gone:
        done = running.wait()
        assert done.returncode == 2 and re.search(r"script\.lua:6: field 'v' in document: the query has no column 'v'", done.stderr), done
    else:
        wait_until(lambda: search_one.get("t", "1") == {"v": "two"} or not running.alive(), what="the document")
        assert running.stop().returncode == 143
    assert search_one.count("t") == 3
