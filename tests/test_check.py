"""`etl-engine check`: each of these mistakes is named by its one line, with a remedy; clean scripts give none."""
import json
import os
import re

import pytest

from bouncer import Bouncer
from conftest import administrate
from tools import ROOT

SCHEMA = """
CREATE TABLE film (id int PRIMARY KEY, title text, rating float8, kind text, made date, meta jsonb,
                   modified timestamptz NOT NULL DEFAULT now());
CREATE TABLE role (id int PRIMARY KEY, film_id int NOT NULL, person_id int NOT NULL, name text,
                   modified timestamptz NOT NULL DEFAULT now());
CREATE TABLE person (id int PRIMARY KEY, name text, modified timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON film (modified, id); CREATE INDEX ON role (modified, id); CREATE INDEX ON person (modified, id);
CREATE INDEX role_film ON role (film_id); CREATE INDEX role_person ON role (person_id);
INSERT INTO film SELECT i, 'Film ' || i, i / 2.0, 'movie', '1999-01-01', '{"a": 1}' FROM generate_series(1, 20) i;
INSERT INTO person SELECT i, 'Person ' || i FROM generate_series(1, 5) i;
INSERT INTO role SELECT i, i % 20 + 1, i % 5 + 1, 'actor' FROM generate_series(1, 40) i;
"""
QUERY = """SELECT f.id, f.title, f.rating, f.kind, f.made, f.meta,
             (SELECT coalesce(json_agg(json_build_object('id', p.id, 'name', p.name)), '[]')
                FROM role r JOIN person p ON p.id = r.person_id WHERE r.film_id = f.id) AS actors
        FROM film f"""
RELATED = """{ table = "role", key = "id", cursor = "modified", affects = "film_id" },
      { table = "person", key = "id", cursor = "modified", affects = "SELECT film_id FROM role WHERE person_id = ANY($1)" },"""
DOCUMENT = '{ title = "title", rating = "rating", kind = "kind", made = "made", actors = "actors", meta = "meta" }'
MAPPINGS = """{ dynamic = "strict", properties = {
      title = { type = "text" }, rating = { type = "float" }, kind = { type = "keyword" }, made = { type = "date" },
      actors = { type = "nested", properties = { id = { type = "integer" }, name = { type = "text" } } },
      meta = { type = "object", enabled = false } } }"""


def text(query=QUERY, related=RELATED, document=DOCUMENT, mappings=MAPPINGS, settings="{}", source="", sink="", extra="",
         table="film", key='"id"', cursor='cursor = "modified",', name="films", index="films", state='os.getenv "FILE_PATH_STATE"'):
    """A script without a mistake, but for what is given."""
    return f"""local etl = require "etl"
return {{
  name = "{name}",
  source = {{
    url = os.getenv "DATABASE_URL", table = "{table}", key = {key}, {cursor}
    {source}
    query = [[
      {query}
    ]],
    related = {{
      {related}
    }},
  }},
  document = {document},
  sink = {{
    url = os.getenv "ELASTICSEARCH_URL", index = "{index}",
    {sink}
    settings = {settings},
    mappings = {mappings},
  }},
  state = {state},
  {extra}
}}
"""


def findings(done):
    """{check: [(severity, line, message, remedy)]} of --format json."""
    assert done.returncode in (0, 1, 2), done
    found = {}
    worst = 0
    for line in done.docs:
        worst = max(worst, ("note", "warning", "error").index(line["severity"]))
        found.setdefault(line["check"], []).append((line["severity"], line["line"], line["message"], line["remedy"] or ""))
    assert done.returncode == worst, done
    return found


@pytest.fixture
def films(pg):
    pg.execute(SCHEMA)
    return pg


@pytest.fixture
def check(engine, script):
    def run(lua, *words, **options):
        return findings(engine("check", script(lua), "--format", "json", *words, **options))

    return run


def only(found, name, severity, says, remedy=""):
    """That one, and no other warning or error."""
    others = {k: v for k, v in found.items() if k != name and any(f[0] != "note" for f in v)}
    assert name in found and not others, found
    assert [f[0] for f in found[name] if f[0] != "note"] == [severity], found
    assert re.search(says, found[name][0][2]), found
    assert remedy in found[name][0][3].replace('"', "") or remedy in found[name][0][3] + found[name][0][2], found


# Clean


@pytest.mark.parametrize("name", ["movies", "genres", "persons"])
def test_the_scripts_of_the_demo_are_clean(engine, movies, search_one, name):
    for _ in range(2):  # before the first run, and after it
        done = engine("check", f"scripts/{name}.lua")
        assert done.returncode == 0 and done.stdout == "", done
        assert engine(f"scripts/{name}.lua", "--quiet").returncode == 0
    done = engine("check", f"scripts/{name}.lua", "--offline", env={"DATABASE_URL": None, "ELASTICSEARCH_URL": None})
    assert done.returncode == 0 and done.stdout == "", done


@pytest.mark.parametrize(
    "lua",
    [
        text(),
        text(document="function(row) return { title = row.title, rating = row.rating, kind = row.kind, made = row.made,"
                      " actors = row.actors, meta = row.meta } end"),
        text(mappings="nil"),
        text(mappings="nil").replace(f"document = {DOCUMENT},", ""),
        text(query="SELECT id, title, rating FROM film", related="", document='{ title = "title", rating = "rating" }',
             mappings='{ dynamic = false, properties = { title = { type = "text" }, rating = { type = "double" } } }'),
    ],
    ids=["template", "function", "no mapping", "no document", "no related"],
)  # fmt: skip
def test_a_clean_script_is_clean_and_nothing_is_changed(check, engine, films, search_one, lua):
    assert check(lua) == {}
    assert not search_one.exists("films") and not os.path.exists(engine.state)
    assert films.value("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 0
    assert films.value("SELECT count(*) FROM pg_publication") == 0


# Tables, keys, cursors


@pytest.mark.parametrize(
    "sql, lua, name, severity, says, remedy",
    [
        ("DROP INDEX film_modified_id_idx", text(), "cursor_index", "warning", "no index begins with the cursor of 'film'",
         "CREATE INDEX ON public.film (modified, id)"),
        ("UPDATE film SET modified = 'infinity' WHERE id = 3", text(), "cursor_null", "warning", "'film' has rows whose cursor is NULL",
         "UPDATE public.film SET modified = now()"),
        ("ALTER TABLE role ALTER modified DROP NOT NULL; UPDATE role SET modified = NULL WHERE id = 3", text(), "cursor_null", "warning",
         "'role' has rows", "UPDATE public.role"),
        ("UPDATE person SET modified = now() + interval '3 days' WHERE id = 1", text(), "cursor_future", "warning",
         "1 row of 'person' lies in the future", "SET modified = now()"),
        ("ALTER TABLE film ALTER modified DROP DEFAULT", text(), "cursor_clock", "warning",
         "the cursor of 'film' has no default, and no trigger", "SET DEFAULT now()"),
        ("ALTER TABLE film DROP CONSTRAINT film_pkey; CREATE INDEX ON film (id)", text(), "query", "warning",
         "several rows of table 'film' may have the same key", "CREATE UNIQUE INDEX ON public.film (id)"),
        ("DROP INDEX role_film", text(), "query_index", "warning", "each fetch of documents reads all of public.role",
         "CREATE INDEX ON public.role (film_id)"),
        ("DROP INDEX role_person", text(), "affects_index", "warning", "each change in 'person' reads all of public.role",
         "CREATE INDEX ON public.role (person_id)"),
        ("", text(related=RELATED.replace("person_id = ANY", "person_id::text = ANY")), "affects_index", "warning",
         "each change in 'person' reads all of public.role", "compare person_id with a value of its own type"),
        ("", text(related=RELATED.splitlines()[0]), "not_related", "warning", "reads public.person, which is not in source.related",
         'table = "public.person"'),
        ("", text(query=QUERY + " LIMIT 100"), "query", "warning", "the query has a LIMIT", "--limit N"),
        ("", text(query=QUERY.replace("f.meta,", "f.meta, row_number() OVER () AS n,")), "query", "warning",
         "because of a window function", ""),
        ("", text(query=f"SELECT DISTINCT title, rating, kind, made, meta::text::jsonb AS meta, max(id) AS id, '[]'::json AS actors"
                        " FROM film GROUP BY 1, 2, 3, 4, meta::text", related=""), "source", "error", "could not identify an equality operator", ""),
        ("", text(query="SELECT f.id, f.title, f.rating, f.kind, f.made, f.meta, '[]'::json AS actors FROM film f JOIN role r ON r.film_id = f.id",
                  related=RELATED.splitlines()[0]), "repeated_key", "warning", "several rows for one key, for '1'", "GROUP BY"),
        ("", text(query=QUERY + " WHERE false"), "no_rows", "warning", "returns no row for the first 20 keys of 'film'", ""),
        ("", text(key='"ident"'), "source", "error", "ident", ""),
        ("", text(query=QUERY.replace("f.title", "f.titel")), "source", "error", "titel", ""),
        ("", text(related=RELATED.replace('"film_id"', '"name"')), "source", "error", "column 'name' has type text", ""),
        ("ALTER TABLE film ENABLE ROW LEVEL SECURITY; ALTER TABLE film FORCE ROW LEVEL SECURITY", text(), "", "", "", ""),
        ("CREATE UNIQUE INDEX ON film (lower(title)); DROP INDEX role_modified_id_idx", text(), "cursor_index", "warning", "'role'",
         "CREATE INDEX ON public.role (modified, id)"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)  # fmt: skip
def test_mistakes_in_the_database(check, films, search_one, sql, lua, name, severity, says, remedy):
    if sql:
        films.execute(sql)
    found = check(lua)
    if name:
        only(found, name, severity, says, remedy)


# Documents and mappings


@pytest.mark.parametrize(
    "changes, name, severity, says, line",
    [
        ({"mappings": MAPPINGS.replace('title = { type = "text" }, ', "")}, "unknown_field", "error", "field 'title' is not in the mapping", 18),
        ({"mappings": MAPPINGS.replace('title = { type = "text" }, ', "").replace('"strict"', "false")}, "unindexed_field", "warning",
         "field 'title' is not in the mapping, which ignores", 18),
        ({"mappings": MAPPINGS.replace('kind = { type = "keyword" }', 'kind = { type = "integer" }')}, "field_value", "error",
         "field 'kind' of type integer cannot hold \"movie\"", 18),
        ({"mappings": MAPPINGS.replace('rating = { type = "float" }', 'rating = { type = "integer" }')}, "field_rounded", "warning",
         "field 'rating' of type integer loses the fraction of 0.5", 18),
        ({"mappings": MAPPINGS.replace('kind = { type = "keyword" }', 'kind = { type = "date" }')}, "field_value", "error", "cannot hold \"movie\"", 18),
        ({"mappings": MAPPINGS.replace('type = "object", enabled = false', 'type = "keyword"')}, "field_object", "error",
         "field 'meta' has type keyword in the mapping, but is an object", 18),
        ({"mappings": MAPPINGS.replace('title = { type = "text" }', 'title = { properties = { x = { type = "text" } } }')}, "field_scalar", "error",
         "field 'title' is an object in the mapping", 18),
        ({"mappings": MAPPINGS.replace("id = {", "ident = {")}, None, "error", "field 'actors.id'", 18),
        ({"mappings": MAPPINGS.replace("title = {", 'extra = { type = "text" }, title = {')}, "unfilled", "warning",
         "field 'extra' is in the mapping, but no document has it", 24),
        ({"mappings": MAPPINGS.replace("title = {", 'extra = { type = "keywrd" }, title = {')}, None, "error",
         "unknown type 'keywrd', did you mean 'keyword'", 24),
        ({"mappings": MAPPINGS.replace('"text" }, r', '"text", analyzer = "nope" }, r')}, "create_index", "error", "analyzer \\[nope\\]", 23),
        ({"settings": '{ nonsense = 5 }'}, "create_index", "error", "unknown setting \\[index.nonsense\\]", 22),
        ({"document": DOCUMENT.replace('"title"', '"titel"', 1)}, "column", "error", "the query has no column 'titel', did you mean 'title'", 18),
        ({"document": "function(row) return { title = row.title + 1 } end"}, None, "error", "attempt to add a 'string' with a 'number'", 18),
        ({"document": "function(row) if row.id > 100 then return {} end return nil end", "mappings": "nil"}, "no_documents", "warning",
         "returns nil for each of the first 20 rows", 18),
        ({"document": "function(row) local x = {} end", "mappings": "nil"}, "document", "error", "returned nothing", 18),
        ({"document": 'function(row) return { x = row.id % 2 == 0 and { a = 1 } or 1 } end', "mappings": "nil"}, "field_mixed", "warning",
         "an object in some documents and a single value in others", 18),
        ({"document": 'function(row) return { x = 1 }, { index = "films-1" } end', "mappings": "nil"}, "indices", "error",
         "chooses index 'films-1'", 18),
        ({"extra": 'examples = { { row = { id = 1, title = "x" }, document = { title = "y" } } },'}, "example", "error",
         "example 1: the document differs", 29),
        ({"extra": "sweep = 0,"}, "no_sweep", "warning", "sweep = 0", 29),
        ({"source": "lookback = 0,"}, "lookback", "warning", "lookback = 0", 6),
        ({"sink": "verify = false,"}, "address", "warning", "verify = false", None),
        ({"related": RELATED.replace('affects = "film_id" }', 'affects = "film_id", index_field = "roles.id" }')}, "index_field", "error",
         "index_field 'roles.id' is not in sink.mappings", 14),
    ],
)  # fmt: skip
def test_mistakes_in_the_script(check, films, search_one, changes, name, severity, says, line):
    found = check(text(**changes))
    if name:
        only(found, name, severity, says)
    match = [f for list_ in found.values() for f in list_ if re.search(says, f[2]) and f[0] == severity]
    assert len(match) == 1 and match[0][1] == line, found


@pytest.mark.parametrize(
    "changes, name, severity, says",
    [
        ({"document": DOCUMENT.replace('"title"', '"tittle"', 1)}, "column", "error", "the query has no column 'tittle'"),
        ({"mappings": MAPPINGS.replace('title = { type = "text" }, ', "")}, "unknown_field", "error", "field 'title'"),
        ({"mappings": MAPPINGS.replace('"text" }, r', '"text", analyzer = "ru_en" }, r')}, "analyzer", "warning", "analyzer 'ru_en' is not defined"),
        ({"mappings": MAPPINGS.replace('"keyword"', '"keywrd"')}, "field_type", "error", "did you mean 'keyword'"),
        ({"extra": "curser = 1,"}, "script", "error", "unknown field 'curser'"),
        ({"cursor": "", "related": "", "extra": "sweep = 0,"}, "no_changes", "warning", "no change is ever noticed"),
        ({"state": '"/etc/passwd/state"'}, "state_folder", "error", "is not a folder"),
        ({"state": '"/"'}, "state", "error", "state '/' is a folder"),
    ],
)  # fmt: skip
def test_offline(check, changes, name, severity, says):
    only(check(text(**changes), "--offline", env={"DATABASE_URL": None, "ELASTICSEARCH_URL": None}), name, severity, says)


# The index


def test_an_index_that_differs_or_is_another_pipeline_s(check, engine, films, search_one, script):
    assert engine(script(text())).returncode == 0
    assert check(text()) == {}
    only(check(text(mappings=MAPPINGS.replace('kind = { type = "keyword" }', 'kind = { type = "text" }'))), "index_differs", "error",
         "field 'kind' has type 'keyword', the script wants 'text'", "etl-engine reindex")  # fmt: skip
    only(check(text(settings="{ number_of_shards = 3 }")), "index_differs", "error", "number_of_shards", "etl-engine reindex")
    found = check(text(name="others", state='"/tmp/etl-no-such-state"'))
    only(found, "index_owner", "error", "index 'films' belongs to pipeline 'films'", "--take-over")
    only(check(text(name="others", index="others")), "state", "error", "belongs to pipeline 'films'")
    found = check(text(document=DOCUMENT.replace('kind = "kind", ', "")))
    assert found["script_changed"][0][0] == "note"
    search_one.request("PUT", "films/_settings", {"index.gc_deletes": "60s"})
    only(check(text()), "gc_deletes", "warning", "forgets deleted documents after 60 s", "1h")


def test_an_index_that_is_closed_or_blocked(check, engine, films, search_one, script):
    assert engine(script(text())).returncode == 0
    for name in ("write", "read_only", "read_only_allow_delete"):
        search_one.request("PUT", "films/_settings", {f"index.blocks.{name}": True})
        remedy = "free disk space" if name.endswith("delete") else f'PUT /films/_settings {{"index.blocks.{name}": null}}'.replace('"', "")
        only(check(text()), "index_block", "error", f"index 'films' has the block index.blocks.{name}: a run waits", remedy)
        search_one.request("PUT", "films/_settings", {f"index.blocks.{name}": None})
    search_one.request("POST", "films/_close")
    only(check(text()), "index_block", "error", "index 'films' is closed: a run waits until it is open", "POST /films/_open")
    search_one.request("POST", "films/_open")
    assert check(text()) == {}
    search_one.request("PUT", "other-1", {"settings": {"index.blocks.write": True}})  # one that documents choose
    search_one.request("PUT", "other-2", {"settings": {"index.blocks.write": True}})
    only(check(text(sink='indices = "films,other-*",')), "index_block", "error", r"index 'other-\d' has the block index.blocks.write \(and 1 more", "/_settings")


def test_a_name_through_which_nothing_can_be_replaced(check, films, search_one):
    one_hour = {"settings": {"index.gc_deletes": "1h"}}
    search_one.request("PUT", "films-1", {**one_hour, "aliases": {"films": {"is_write_index": False}}})
    assert check(text(mappings="nil"))["write_index"] == [
        ("error", check_line("index ="), "'films' is an alias through which nothing can be written: is_write_index of index 'films-1' is false",
         "set is_write_index on one index of the alias")]  # fmt: skip
    search_one.request("PUT", "films-1/_alias/films", {"is_write_index": True})
    assert check(text(mappings="nil")) == {}
    search_one.request("DELETE", "films-1")
    if not search_one.name.startswith("opensearch"):
        return  # these are without the module that makes data streams
    search_one.request("PUT", "_index_template/films", {"index_patterns": ["films"], "data_stream": {}, "priority": 200, "template": one_hour})
    try:
        search_one.request("PUT", "_data_stream/films")
        assert check(text(mappings="nil"))["data_stream"][0][2] == "'films' is a data stream, whose documents cannot be replaced"
    finally:
        search_one.request("DELETE", "_data_stream/films")
        search_one.request("DELETE", "_index_template/films")


def check_line(part):
    return next(i for i, line in enumerate(text().splitlines(), 1) if part in line)


def test_scripts_that_share_something(engine, films, search_one, script):
    one, two = script(text(), "one.lua"), script(text(name="more"), "two.lua")
    found = findings(engine("check", one, two, "--format", "json"))
    assert found.keys() == {"shared_index", "shared_state"}
    found = findings(engine("check", one, one, "--format", "json"))
    assert "shared_name" in found
    several = script("return { " + text().partition("return ")[2] + ", " + text(name="more").partition("return ")[2] + " }", "list.lua")
    found = findings(engine("check", several, "--format", "json", "--offline"))
    assert found["shared_index"][0][1] > 30, found


# Servers and privileges


def test_servers_that_do_not_answer(check, engine, script):
    found = check(text())
    assert found["postgres"][0][0] == found["search"][0][0] == "error"
    assert "DATABASE_URL" in found["postgres"][0][3] or "source.url" in found["postgres"][0][3]


def test_privileges(check, films, search_one):
    role = f"etl_check_{os.getpid()}"
    administrate(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        films.execute(f"GRANT SELECT ON film, role TO {role}")
        env = {"DATABASE_URL": films.url_at(films.port, user=role, password="x")}
        only(check(text(), env=env), "privilege", "error", "permission denied for table person", f"GRANT SELECT ON public.person TO {role}")
        films.execute(f"GRANT SELECT ON person TO {role}")
        found = check(text(), env=env)
        assert list(found) == ["stats"] and found["stats"][0][0] == "note" and f"GRANT pg_read_all_stats TO {role}" in found["stats"][0][3]
        films.execute("ALTER TABLE film ENABLE ROW LEVEL SECURITY")
        found = check(text(), env=env)
        assert "no row of 'film' is visible" in found["row_security"][0][2]
        found = check(text(source='capture = "wal",'), env=env)
        names = {f[2] for list_ in found.values() for f in list_ if f[0] == "error"}
        assert any("wal_level" in n or "lacks REPLICATION" in n for n in names), found
        if films.value("SHOW wal_level") == "logical":
            assert "ALTER ROLE" in found["replication"][0][3] and "GRANT CREATE ON DATABASE" in found["publication"][0][3]
            assert len(found["owner"]) == 3
    finally:
        films.execute(f"DROP OWNED BY {role}")
        administrate(f"DROP ROLE {role}")


def test_capture_from_the_log(check, films, search_one):
    if films.value("SHOW wal_level") != "logical":
        pytest.skip("the server writes no log that can be decoded")
    wal = text(source='capture = "wal",', cursor="", related=RELATED.replace('cursor = "modified", ', ""))
    found = check(wal)
    assert {f[0] for list_ in found.values() for f in list_} <= {"note", "warning"}, found
    assert all("REPLICA IDENTITY FULL" in f[3] for f in found.get("identity", []))
    films.execute("ALTER TABLE role REPLICA IDENTITY FULL")
    found = check(wal)
    assert not [f for list_ in found.values() for f in list_ if f[0] != "note"], found
    films.execute("ALTER TABLE film REPLICA IDENTITY NOTHING")
    found = check(wal)
    assert found["identity"][0][0] == "error" and "no replica identity" in found["identity"][0][2]
    films.execute("ALTER TABLE film REPLICA IDENTITY DEFAULT; ALTER TABLE person DROP CONSTRAINT person_pkey; CREATE INDEX ON person (id)")
    found = check(wal)
    assert "no replica identity" in found["identity"][0][2] and found["identity"][0][0] == "warning"
    films.query("SELECT pg_create_logical_replication_slot('etl_films', 'test_decoding')")
    try:
        found = check(wal)
        assert "another program's" in found["slot"][0][2]
    finally:
        films.query("SELECT pg_drop_replication_slot('etl_films')")
    films.query("SELECT pg_create_logical_replication_slot('etl_films', 'pgoutput')")
    try:
        found = check(text(related=RELATED))
        assert "is left of capture" in found["slot"][0][2] and "pg_drop_replication_slot('etl_films')" in found["slot"][0][3]
    finally:
        films.query("SELECT pg_drop_replication_slot('etl_films')")


def test_a_pooler(check, films, search_one, tmp_path):
    with Bouncer(films, tmp_path, pool_mode="transaction", default_pool_size=2) as bouncer:
        env = {"DATABASE_URL": bouncer.url}
        found = check(text(), env=env)
        assert list(found) == ["pooler"] and found["pooler"][0][0] == "note", found
        found = check(text(source='capture = "wal",'), env=env)
        assert found["pooler"][0][0] == "error"


# What it prints


def test_lines_and_json(engine, films, search_one, script):
    films.execute("DROP INDEX role_film")
    path = script(text())
    done = engine("check", path)
    assert done.returncode == 1
    assert done.stdout == (f"{path}:8: warning: each fetch of documents reads all of public.role: no index helps the query find its film_id"
                           "; remedy: CREATE INDEX ON public.role (film_id)\n")  # fmt: skip
    assert "0 errors, 1 warning, 0 notes" in done.stderr
    done = engine("check", path, "--format", "json")
    assert json.loads(done.stdout) == {
        "severity": "warning", "check": "query_index", "script": path, "file": path, "line": 8,
        "message": "each fetch of documents reads all of public.role: no index helps the query find its film_id",
        "remedy": "CREATE INDEX ON public.role (film_id)",
    }  # fmt: skip
    assert engine("check").returncode == 2 and engine("check", path, "--format", "xml").returncode == 2
    done = engine("check", f"{ROOT}/README.md", "nowhere.lua", "--offline")
    assert done.returncode == 2 and "nowhere.lua: error: cannot read" in done.stdout, done


def test_reserved_words_are_names_like_others(engine, pg, search_one, script):
    pg.execute('CREATE TABLE "order" (id int PRIMARY KEY, v text); CREATE TABLE "user" (id int PRIMARY KEY, order_id int);'
               ' CREATE INDEX ON "user" (order_id)')
    lua = """return { name = "orders", source = { url = os.getenv "DATABASE_URL", table = '"order"', key = "id",
      query = [[SELECT o.id, o.v, u.n FROM "order" o LEFT JOIN LATERAL (SELECT count(*) AS n FROM "user" u
                 WHERE u.order_id = o.id) u ON true]], %s },
      sink = { url = os.getenv "ELASTICSEARCH_URL", index = "orders" }, state = os.getenv "FILE_PATH_STATE" }"""
    related = """related = { { table = '"user"', key = "id", affects = "order_id" } }"""
    assert "not_related" not in findings(engine("check", script(lua % related), "--format", "json"))
    found = findings(engine("check", script(lua % "related = {}"), "--format", "json"))
    assert """{ table = 'public."user"',""" in found["not_related"][0][3], found
    pg.execute('DROP INDEX "user_order_id_idx"')  # its alias is a reserved word, too
    lua = lua.replace('FROM "user" u', 'FROM "user"').replace("u.order_id", '"user".order_id')
    found = findings(engine("check", script(lua % related), "--format", "json"))
    assert any('CREATE INDEX ON public."user" (order_id)' in f[3] for name in found for f in found[name]), found
