"""Mistakes in a script: one clear line each, exit status 2. And the fence: whatever document() does, the other documents
go, and the process neither hangs nor crashes."""
import json
import os
import re

import pytest

GOOD = """\
local etl = require "etl"

return {
  name = "films",
  source = {
    url = os.getenv "DATABASE_URL",
    table = "films",
    key = "id",
    cursor = "modified",
    query = [[
      SELECT id, title,
             modified
        FROM films
    ]],
    related = {
      { table = "genres", key = "id", cursor = "modified", affects = "film_id", index_field = "genres.id" },
      { table = "people", key = "id",
        affects = "SELECT film_id FROM people WHERE id = ANY($1)" },
    },
  },
  document = function(film)
    return { title = film.title }
  end,
  sink = {
    url = os.getenv "ELASTICSEARCH_URL",
    index = "films",
    settings = { number_of_replicas = 0 },
    mappings = { properties = { title = { type = "text" } } },
  },
  before_run = function() end,
  after_run = function() end,
  state = os.getenv "FILE_PATH_STATE",
}
"""

DOCUMENT = "document = function(film)\n    return { title = film.title }\n  end,"

# (what is replaced in GOOD, by what, the message behind FILE)
MISTAKES = [
    # the language
    ("\nreturn {", "\nretrun {", ":3: attempt to call a nil value (global 'retrun')"),
    ("\nreturn {", "\nreturn {{", ":34: '}' expected (to close '{' at line 3) near <eof>"),
    ('"films",\n  source', "'films\",\n  source", ":4: unfinished string near a string"),
    ("local etl", "error 'no luck'\nlocal etl", ":1: no luck"),
    ("local etl", "error({ code = 5 })\nlocal etl", ":1: (error object is a table value)"),
    ("local etl", "error()\nlocal etl", ":1: (error object is a nil value)"),
    ("local etl", "error('no luck', 0)\nlocal etl", ":1: no luck"),
    ("local etl", "error 'first\\nsecond'\nlocal etl", ":1: first second"),
    ("local etl", "local x = nil + 1\nlocal etl", ":1: attempt to perform arithmetic on a nil value"),
    ("local etl", "local x = film.id\nlocal etl", ":1: attempt to index a nil value (global 'film')"),
    ('require "etl"', 'require "elt"', ":1: module 'elt' not found"),
    ("\nreturn {", "\nlocal pipeline = {", ":33: script returned nothing, expected a table: return { name = ..."),
    ("\nreturn {", "\nreturn 5, {", ":33: script returned a number, expected a table"),
    ("\nreturn {", "\nreturn function() end, {", ":33: script returned a function, expected a table"),
    ("local etl", "etl.pg.query 'SELECT 1'\nlocal etl", ":1: attempt to index a nil value (global 'etl')"),
    ("\n\nreturn", "\netl.pg.query 'SELECT 1'\nreturn", ":2: etl.pg is available in document() and in hooks, not while"),
    ("\n\nreturn", "\netl.es.request('GET', '/')\nreturn", ":2: etl.es is available in document() and in hooks, not while"),
    ("\n\nreturn", "\netl.state.read()\nreturn", ":2: etl.state is available in document() and in hooks, not while"),
    # unknown, misspelt
    ("cursor = \"modified\",\n    query", "curser = \"modified\",\n    query", ":9: unknown field 'curser' in source, did you mean 'cursor'?"),
    ("name =", "nmae =", ":4: unknown field 'nmae', did you mean 'name'?"),
    ("document =", "documents =", ":21: unknown field 'documents', did you mean 'document'?"),
    ("index = \"films\"", "index = \"films\", shards = 5", ":26: unknown field 'shards' in sink"),
    ("affects = \"film_id\"", "affect = \"film_id\"", ":16: unknown field 'affect' in source.related[1], did you mean 'affects'?"),
    ("before_run", "beforerun", ":30: unknown field 'beforerun', did you mean 'before_run'?"),
    ("  state =", "  index = 'films',\n  state =", ":32: unknown field 'index', did you mean 'sink.index'?"),
    ("  state =", "  'films',\n  state =", ":32: unexpected element [1]: fields have names"),
    ("  state =", "  [true] = 1,\n  state =", ":3: unexpected element [true]: fields have names"),
    # missing
    ("  name = \"films\",\n", "", ":3: missing field 'name'"),
    ("    table = \"films\",\n", "", ":5: missing field 'table' in source"),
    ("    key = \"id\",\n", "", ":5: missing field 'key' in source"),
    ("    index = \"films\",\n", "", ":24: missing field 'index' in sink"),
    ("table = \"people\", ", "", ":17: missing field 'table' in source.related[2]"),
    ("key = \"id\",\n        affects", "affects", ":17: missing field 'key' in source.related[2]"),
    ("affects = \"film_id\", ", "", ":16: missing field 'affects' in source.related[1]"),
    (DOCUMENT, "document = to_document,", ":21: field 'document' must be a table of fields or a function, is nil"),
    # a template
    (DOCUMENT, "document = {},", ":21: document has no fields"),
    (DOCUMENT, "document = { 'title' },", ":21: unexpected element [1] in document: fields have names"),
    (DOCUMENT, "document = { id = 'id',\n    year = 5 },", ":22: field 'year' in document must be a column's name, a function of the row or a table of fields, is a number"),
    (DOCUMENT, "document = { id = 'id',\n    a = { yes = true } },", ":22: field 'a.yes' in document must be a column's name, a function of the row or a table of fields, is a boolean"),
    (DOCUMENT, "document = { id = 'id', a = etl.null },", ":21: field 'a' in document must be a column's name, a function of the row or a table of fields, is etl.null"),
    (DOCUMENT, "document = { id = 'id', a = {\n  } },", ":21: document.a has no fields"),
    (DOCUMENT, "document = { id = 'id', [''] = 'title' },", ":21: a field in document has an empty name"),
    (DOCUMENT, "document = { id = '' },", ":21: field 'id' in document must be a column's name, is an empty text"),
    (DOCUMENT, "document = {\n    f = function(film)\n      local title = film.title\n    end },", ":22: the function of field 'f' in document returns nothing"),
    (DOCUMENT, "document = 'title',", ":21: field 'document' must be a table of fields or a function, is a string"),
    # of a wrong type
    ("name = \"films\"", "name = 5", ":4: field 'name' must be a string, is a number"),
    ("name = \"films\"", "name = print", ":4: field 'name' must be a string, is a function"),
    ("source = {", "source = 'x', unused = {", ":5: "),
    ("table = \"films\"", "table = true", ":7: field 'table' in source must be a string, is a boolean"),
    ("key = \"id\",\n    cursor", "key = { 'id', 'x' },\n    cursor", ":16: field 'affects' in source.related[1] has 1 column, but the key in source has 2"),
    ("key = \"id\",\n    cursor", "key = { 'id', 5 },\n    cursor", ":8: "),
    ("cursor = \"modified\",\n    query", "cursor = {},\n    query", ":9: field 'cursor' in source must be a string, is a table"),
    ("url = os.getenv \"DATABASE_URL\"", "url = {}", ":6: field 'url' in source must be a string, is a table"),
    ("url = os.getenv \"ELASTICSEARCH_URL\"", "url = 9200", ":25: field 'url' in sink must be a string or a list of strings, is a number"),
    ("settings = { number_of_replicas = 0 }", "settings = 1", ":27: field 'settings' in sink must be a table, is a number"),
    ("mappings = {", "mappings = { 1, 2 }, x = {", ":28: "),
    ("type = \"text\"", "type = print", ":28: field 'mappings' in sink: properties.title.type: cannot encode a function"),
    ("before_run = function() end", "before_run = {}", ":30: field 'before_run' must be a function, is a table"),
    ("after_run = function() end", "after_run = 'x'", ":31: field 'after_run' must be a function, is a string"),
    ("state = os.getenv \"FILE_PATH_STATE\"", "state = {}", ":32: field 'state' must be a string, is a table"),
    ("related = {\n", "related = { table = 'x',\n", ":15: field 'related' in source must be a list of tables"),
    ("{ table = \"people\"", "'people', { table = \"people\"", ":17: field 'related[2]' in source must be a table, is a string"),
    # empty
    ("name = \"films\"", "name = ''", ":4: field 'name' is empty"),
    ("table = \"films\"", "table = ''", ":7: field 'table' in source is empty"),
    ("key = \"id\",\n    cursor", "key = '',\n    cursor", ":8: field 'key' in source is empty"),
    ("cursor = \"modified\",\n    query", "cursor = '',\n    query", ":9: field 'cursor' in source is empty"),
    ("index = \"films\"", "index = ''", ":26: field 'index' in sink is empty"),
    ("url = os.getenv \"ELASTICSEARCH_URL\"", "url = ''", ":25: field 'url' in sink is empty"),
    ("state = os.getenv \"FILE_PATH_STATE\"", "state = ''", ":32: field 'state' is empty"),
    ("SELECT id, title,\n             modified\n        FROM films", "-- nothing", ":10: field 'query' in source is empty"),
    ("table = \"films\"", "table = 'fi\\0lms'", ":7: field 'table' in source holds a zero byte"),
    # SQL, before PostgreSQL is asked
    ("FROM films\n", "FROM films; SELECT 1\n", ":13: field 'query' in source: there is more than one statement"),
    ("FROM films\n", "FROM films;\n\n DROP TABLE films\n", ":15: field 'query' in source: there is more than one statement"),
    ("title,", "'title,", ":11: field 'query' in source: a quote is not closed"),
    ("title,", "/* title,", ":11: field 'query' in source: a comment is not closed"),
    ("title,", "$x$ title,", ":11: field 'query' in source: a quote is not closed"),
    ("FROM films\n", "FROM films); DROP TABLE films; --\n", ":13: field 'query' in source: there is more than one statement"),
    # servers' addresses
    ("url = os.getenv \"DATABASE_URL\"", "url = 'postgresql://u:secret@h:port/d'", ":6: "),
    ("url = os.getenv \"ELASTICSEARCH_URL\"", "url = 'ftp://u:secret@h/'", ":25: "),
    ("url = os.getenv \"ELASTICSEARCH_URL\"", "url = 'http://'", ":25: "),
]  # fmt: skip

# The same, where PostgreSQL has to be asked.
MISTAKES_IN_SQL = [
    (DOCUMENT, "document = {\n    title = 'titel',\n  },", ":22: field 'title' in document: the query has no column 'titel', did you mean 'title'?"),
    (DOCUMENT, "document = {\n    a = { b = {\n      c = 'modifed' } } },", ":23: field 'a.b.c' in document: the query has no column 'modifed', did you mean 'modified'?"),
    (DOCUMENT, "document = { title = 'nothing like it' },", ":21: field 'title' in document: the query has no column 'nothing like it'"),
    ("title,", "tilte,", ':11: cannot use source.query: column "tilte" does not exist'),
    ("FROM films\n", "FROM film\n", ':11: cannot use source.query: relation "film" does not exist (line 3: film)'),
    ("SELECT id", "SELCT id", ':11: cannot use source.query: syntax error at or near "SELCT"'),
    ("modified\n        FROM", "modified,\n        FROM", ':11: cannot use source.query: syntax error at or near "FROM" (line 3: FROM films)'),
    ("FROM films\n", "FROM films) q --\n", ":11: cannot use source.query: syntax error at or near"),
    ("SELECT id, title", "SELECT title", ":11: cannot use source.query: it does not return the key column 'id'"),
    ("SELECT id,", "SELECT id::text AS id,", ":11: cannot use source.query: its column 'id' has type text, but in table 'films' that is integer"),
    ("SELECT id,", "SELECT id::numeric AS id,", ":11: cannot use source.query: its column 'id' has type numeric, but in table 'films' that is integer"),
    ("SELECT id,", "SELECT id, id,", ":11: cannot use source.query: it returns column 'id' twice"),
    ("title,", "$1::text AS title,", ":11: cannot use source.query: it has a placeholder, $1, but gets no parameters"),
    ("SELECT id, title,\n             modified\n        FROM films", "DELETE FROM films RETURNING id", ":11: cannot use source.query: "),
    ("SELECT id, title,\n             modified\n        FROM films", "WITH d AS (DELETE FROM films RETURNING id) SELECT id FROM d", ":11: cannot use source.query: "),
    ("SELECT id, title,\n             modified\n        FROM films", "VACUUM", ":11: cannot use source.query: "),
    ("table = \"films\"", "table = 'film'", ":7: cannot use source.table: relation \"film\" does not exist"),
    ("table = \"films\"", "table = 'public.films.id'", ":7: cannot use source.table: "),
    ("table = \"films\"", "table = 'films_pkey'", ":7: cannot use source.table: 'films_pkey' is not a table or view"),
    ("key = \"id\",\n    cursor", "key = 'ID',\n    cursor", ":8: cannot use source.key: column \"ID\" does not exist"),
    ("key = \"id\",\n    cursor", "key = 'tags',\n    cursor", ":8: cannot use source.key: column 'tags' is an array (text[]), and cannot be a key"),
    ("cursor = \"modified\",\n    query", "cursor = 'changed',\n    query", ":9: cannot use source.cursor: column \"changed\" does not exist"),
    ("cursor = \"modified\",\n    query", "cursor = 'title',\n    query", ":9: cannot use source.cursor: column 'title' has type text, but a cursor must be a time or a number"),
]  # fmt: skip


@pytest.fixture
def films(pg):
    pg.execute(
        "CREATE TABLE people (id int PRIMARY KEY, film_id int, modified timestamptz NOT NULL DEFAULT now());"
        "CREATE TABLE film_people (film_id int, person_id int);"
        "CREATE TABLE genres (id int PRIMARY KEY, film_id int, modified timestamptz NOT NULL DEFAULT now());"
        "CREATE TABLE films (id int PRIMARY KEY, title text, modified timestamptz NOT NULL DEFAULT now(), tags text[]);"
        "INSERT INTO films SELECT n, 'film ' || n FROM generate_series(1, 5) n"
    )
    return pg


def mistake(result, path, message):
    """Exit 2, nothing on stdout, on stderr one error (and perhaps a hint) that begins with the place."""
    assert result.returncode == 2, result
    assert result.stdout == ""
    lines = [line for line in result.stderr.split("\n") if not re.match(r"\S+Z info ", line)]
    assert lines[0].startswith(f"etl-engine: error: {path}{message}"), result
    assert lines[-1] == "" and len(lines) <= 3, result
    assert len(lines) == 2 or lines[1].startswith("hint: "), result
    assert "secret" not in result.stderr


def changed(old, new):
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


@pytest.mark.parametrize("old, new, message", MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_one_line_with_file_and_line(engine, script, old, new, message):
    path = script(changed(old, new))
    mistake(engine(path), path, message)


@pytest.mark.parametrize("old, new, message", MISTAKES_IN_SQL, ids=range(len(MISTAKES_IN_SQL)))
def test_a_mistake_in_sql_is_one_line_with_file_and_line(engine, films, script, old, new, message):
    path = script(changed(old, new))
    mistake(engine(path, "--dry-run"), path, message)
    assert films.value("SELECT count(*) FROM films") == 5


def test_the_script_without_mistakes_runs(engine, films, search_one, script):
    done = engine(script(GOOD))
    assert done.returncode == 0, done
    assert search_one.count("films") == 5


def test_a_mistake_is_found_before_any_server_is_asked(engine, script):
    """Nothing listens where the engine looks by default here; it must not wait for that."""
    path = script(GOOD.replace("curs", "curz"))
    mistake(engine(path, timeout=5), path, ":")


@pytest.mark.parametrize("command", [["state", "show"], ["state", "reset"], ["run", "--dry-run"]])
def test_each_command_says_it_in_the_same_way(engine, script, command):
    path = script(changed("name =", "nmae ="))
    mistake(engine(*command, path), path, ":4: unknown field 'nmae', did you mean 'name'?")


# Files


def test_a_file_that_cannot_be_read(engine, script, tmp_path):
    missing = str(tmp_path / "missing.lua")
    done = engine(missing)
    assert done.returncode == 2
    assert done.stderr.startswith(f"etl-engine: error: cannot read script '{missing}': No such file or directory\n")
    folder = engine(tmp_path)
    assert folder.returncode == 2
    assert folder.stderr.startswith(f"etl-engine: error: cannot read script '{tmp_path}': Is a directory\n")
    path = script(GOOD)
    os.chmod(path, 0)
    if not os.access(path, os.R_OK):  # root may read anything
        assert "Permission denied" in engine(path).stderr


def test_an_empty_file(engine, script):
    for text in ("", "\n\n", "-- nothing\n", "\ufeff", "#!/usr/bin/env etl-engine", "#!x\n"):
        path = script(text)
        done = engine(path)
        assert done.returncode == 2
        assert re.match(rf"etl-engine: error: {re.escape(path)}:\d+: script returned nothing, expected a table", done.stderr)


@pytest.mark.parametrize(
    "prefix, suffix", [("\ufeff", ""), ("#!/usr/bin/env etl-engine\n", ""), ("\ufeff#!x\n", ""), ("", "\r\n"), ("", "\x1a"[:0])]
)
def test_marks_of_other_editors_and_systems_are_borne(engine, films, tmp_path, prefix, suffix):
    text = prefix + GOOD
    if suffix == "\r\n":
        text = text.replace("\n", "\r\n")
    path = tmp_path / "script.lua"
    path.write_bytes(text.encode())
    done = engine(path, "--dry-run")
    assert done.returncode == 0 and len(done.docs) == 5, done
    path.write_bytes(text.replace("cursor = \"modified\",\n", "curser = 1,\n").replace("curs", "curz", 1).encode())
    line = 9 + prefix.count("\n")
    mistake(engine(path, "--dry-run"), path, f":{line}: unknown field 'curz")
    path.write_bytes(text.replace("tit", "tilt", 1).encode())
    mistake(engine(path, "--dry-run"), path, f':{line + 2}: cannot use source.query: column "tiltle" does not exist')


def test_a_compiled_script_is_refused(engine, tmp_path):
    path = tmp_path / "script.lua"
    path.write_bytes(b"\x1bLua\x54\x00\x19\x93\r\n\x1a\n" + bytes(range(256)) * 20)
    mistake(engine(path), path, ": cannot load a compiled chunk: a script is text")


def test_garbage_is_a_mistake_like_any_other(engine, tmp_path, rng):
    path = tmp_path / "script.lua"
    for _ in range(15):
        text = bytearray(GOOD.encode())
        for _ in range(rng.randrange(1, 30)):
            text[rng.randrange(len(text))] = rng.randrange(256)
        path.write_bytes(text)
        done = engine(path, "--dry-run", "--give-up-after", "1")
        assert done.returncode in (0, 2, 3), done


# The fence: document() does it for one row of five.


def run(engine, script, attack, *words, **options):
    text = GOOD.replace("    return { title", f"    if film.id == 3 then {attack} end\n    return {{ title")
    return engine(script(text), "--dry-run", "--workers", "1", "--log-format", "json", *words, **options)


def rejected(result):
    """The reason for which document 3 alone was rejected."""
    assert result.returncode == 4, result
    assert [doc["title"] for doc in result.docs] == ["film 1", "film 2", "film 4", "film 5"]
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    reasons = [line["message"] for line in lines if line["level"] == "warn"]
    assert len(reasons) == 1, result
    assert reasons[0].startswith("document '3' rejected: "), reasons
    return reasons[0].removeprefix("document '3' rejected: ")


LOOPS = [
    "while true do end",
    "while true do pcall(function() while true do end end) end",
    "local co = coroutine.wrap(function() while true do pcall(function() while true do end end) end end) co()",
    "return setmetatable({}, { __index = function() while true do end end }).x",
    "xpcall(function() while true do end end, function() while true do end end)",
    "xpcall(error, function() while true do end end)",
    "string.gsub('aaa', 'a', function() while true do end end)",
    "table.sort({ 1, 2, 3 }, function() while true do end end)",
    "return setmetatable({}, { __concat = function() while true do end end }) .. 'x'",
    "local c <close> = setmetatable({}, { __close = function() while true do end end })",
    "for _ in function() return 1 end do end",
    "repeat until false",
    "etl.backoff({ wait = 'constant', interval = 0.001 }, function() while true do end end)",
    "while true do pcall(error, setmetatable({}, { __tostring = function() while true do end end })) end",
    "error(setmetatable({}, { __tostring = function() while true do end end }))",
    "while true do coroutine.wrap(function() for _ = 1, 500 do end end)() end",
]


@pytest.mark.parametrize("attack", LOOPS, ids=range(len(LOOPS)))
def test_a_loop_without_end_is_stopped(engine, films, script, attack):
    reason = rejected(run(engine, script, attack))
    assert re.search(r"script\.lua:22: stopped after \d+ (million instructions|seconds)", reason), reason
    assert reason.endswith("(key '3'; columns id, title, modified)")


C_LOOPS = [  # in C code, where no instruction is counted
    "table.insert(setmetatable({}, { __len = function() return 1 << 60 end }), 1, 1)",
    "table.remove(setmetatable({}, { __len = function() return 1 << 60 end }), 1)",
    "table.move({}, 1, 1 << 60, 2)",
    "table.concat(setmetatable({}, { __len = function() return 1 << 60 end, __index = { 'x' } }))",
    "table.unpack({}, 1, 1 << 60)",
    "table.sort(setmetatable({}, { __len = function() return 1 << 30 end }))",
    "(''):rep(1 << 60) error 'nothing to do'",
    "('x'):rep(1 << 60)",
    "('a'):rep(40):find(('a?'):rep(40) .. ('a'):rep(40))",
    "('a'):rep(3000):find(('.-'):rep(12) .. 'b')",
    "('a'):rep(3000):match(('a*'):rep(12) .. 'b')",
    "('a'):rep(3000):gsub(('a*'):rep(12) .. 'b', '')",
    "for _ in ('a'):rep(3000):gmatch(('a*'):rep(12) .. 'b') do end",
    "('('):rep(1000000):match('%b()' .. ('.-'):rep(8) .. 'x')",
]


@pytest.mark.parametrize("attack", C_LOOPS, ids=range(len(C_LOOPS)))
def test_a_call_of_the_library_without_end_is_stopped(engine, films, script, attack):
    reason = rejected(run(engine, script, attack, timeout=30))
    assert "script.lua:22: " in reason, reason


BOMBS = [
    ("local t = {} while true do t[#t + 1] = ('x'):rep(1 << 20) .. #t end", "not enough memory: a script may use 256 MB"),
    ("local s = 'x' while true do s = s .. s end", "not enough memory: a script may use 256 MB"),
    ("local s = ('x'):rep(1 << 20) while true do local t = s .. 'y' end", "seconds of work"),
    ("local s = ('x'):rep(1 << 31)", "resulting string too large"),
    ("local s = ('x'):rep(1 << 30)", "not enough memory: a script may use 256 MB"),
    ("local t = {} for i = 1, 1 << 40 do t[i] = {} end", "not enough memory: a script may use 256 MB"),
    ("return { v = ('x'):rep(300 << 20) }", "not enough memory: a script may use 256 MB"),
    ("local t = {} while true do t = coroutine.wrap(function() coroutine.yield() end) t() end", "not enough memory|million instructions"),
    ("local t = {} for i = 1, 1e7 do t[i] = coroutine.create(print) end", "not enough memory|million instructions"),
    ("local t = ('x'):rep(100) for i = 1, 100 do t = { t, t } end return { t = t }", "the document does not fit a request"),
    ("local t = ('x'):rep(100) for i = 1, 100 do t = { a = t, b = t } end return { t = t }", "the document does not fit a request"),
    ("local s = ('x'):rep(50 << 20) local t = {} for i = 1, 1000 do t[i] = s end return { t = t }", "the document does not fit a request"),
    ("('x'):rep(60 << 20):gsub('.+', '%0%0%0%0%0')", "not enough memory: a script may use 256 MB"),
    ("local s = ('x'):rep(200 << 20) return { s = s:upper() }", "not enough memory: a script may use 256 MB"),
    ("etl.json.decode('[' .. ('[],'):rep(20000000) .. '[]]')", "not enough memory: a script may use 256 MB"),
    ("io.open('/dev/zero'):read('a')", "not enough memory: a script may use 256 MB"),
]  # fmt: skip


@pytest.mark.parametrize("attack, message", BOMBS, ids=range(len(BOMBS)))
def test_memory_is_limited_and_comes_back(engine, films, script, attack, message):
    reason = rejected(run(engine, script, attack))
    assert re.search(message, reason), reason


DEPTHS = [
    ("local function f() return 1 + f() end f()", "stack overflow"),
    ("local function f() return pcall(f) end f() error 'back'", "back"),
    ("local t = {} for _ = 1, 300 do t = setmetatable({}, { __index = t }) end return t.x and {}", None),
    ("local s = ('a'):rep(250000) s:find(('(a'):rep(40))", "malformed pattern|too many captures|unfinished capture"),
    ("('a'):rep(300000):match(('a?'):rep(300000))", "pattern too complex"),
    ("load('return ' .. ('('):rep(1000) .. '1' .. (')'):rep(1000))() ", "attempt to call a nil value"),
    ("local f = function() end for _ = 1, 300 do local g = f f = coroutine.wrap(function() return g() end) end f()", "script.lua:22: "),
    ("string.format('%99999d', 1)", "invalid conversion|invalid format"),
    ("string.format(('%s'):rep(1000000))", "bad argument #2 to 'format'"),
    ("table.unpack({}, 1, 1e7)", "too many results to unpack"),
    ("string.char(table.unpack({ 300 }))", "value out of range"),
    ("string.pack('!16 i16 z', 1, 'x\\0')", "string contains zeros"),
    ("string.unpack('s8', ('\\xff'):rep(8))", "data string too short|too"),
    ("utf8.char(-1)", "value out of range"),
    ("math.random(0, -1)", "interval is empty"),
    ("os.date('%Ez')", "invalid conversion specifier"),
    ("setmetatable(_G, { __index = function(_, name) error('no ' .. name) end }) return undefined_name", "no undefined_name"),
]  # fmt: skip


@pytest.mark.parametrize("attack, message", DEPTHS, ids=range(len(DEPTHS)))
def test_depths_and_strange_arguments_are_errors(engine, films, script, attack, message):
    result = run(engine, script, attack)
    if message is None:  # nothing wrong with it: nil, so no document
        assert result.returncode == 0 and len(result.docs) == 4, result
        return
    assert re.search(message, rejected(result)), result


WAYS_OUT = [
    ("os.exit(0)", "attempt to call a nil value (field 'exit')"),
    ("os.execute('true')", "attempt to call a nil value (field 'execute')"),
    ("io.popen('true')", "attempt to call a nil value (field 'popen')"),
    ("os.setlocale('ru_RU.UTF-8')", "attempt to call a nil value (field 'setlocale')"),
    ("debug.sethook()", "attempt to call a nil value (field 'sethook')"),
    ("debug.getregistry()", "attempt to call a nil value (field 'getregistry')"),
    ("require('debug').setmetatable('', {})", "attempt to call a nil value (field 'setmetatable')"),
    ("assert(load('\\27Lua'))", "attempt to load a binary chunk"),
    ("assert(load(function() return nil end, 'x', 'b'))() error 'text only'", "text only"),
    ("string.dump(function() end)", "attempt to call a nil value (field 'dump')"),
    ("package.loadlib('libc.so.6', '*')", "attempt to call a nil value (field 'loadlib')"),
    ("package.cpath = '/usr/lib/x86_64-linux-gnu/lua/5.4/?.so' require 'lfs'", "module 'lfs' not found"),
    ("package.searchers[3] = package.loadlib require 'lfs'", "not found"),
    ("setmetatable({}, { __gc = print })", "a script's metatable cannot have __gc; use __close"),
    ("getmetatable(io.stdout).__gc = print", "attempt to index a boolean value"),
    ("collectgarbage 'stop'", "invalid option 'stop'"),
    ("error({ code = 1 })", "(error object is a table value)"),
    ("error(nil)", "(error object is a nil value)"),
    ("error(42)", "42"),
    ("error(print)", "(error object is a function value)"),
    ("error(setmetatable({}, { __tostring = function() return 'told' end }))", "told"),
    ("error(setmetatable({}, { __tostring = function() return {} end }))", "(error object is a table value)"),
    ("error(setmetatable({}, { __tostring = function() error 'again' end }))", "again"),
    ("error('with %s %d %n')", "with %s %d %n"),
    ("error('zero \\0 byte')", "zero"),
    ("error('\\xff\\xfe')", "rejected"),
    ("error(('x'):rep(100000))", "xxxxx"),
    ("coroutine.yield()", "attempt to yield from outside a coroutine"),
    ("coroutine.wrap(function() error { 1 } end)()", "(error object is a table value)"),
    ("coroutine.close(coroutine.running())", "cannot close a running coroutine"),
]  # fmt: skip


@pytest.mark.parametrize("attack, message", WAYS_OUT, ids=range(len(WAYS_OUT)))
def test_there_is_no_way_out(engine, films, script, attack, message):
    result = run(engine, script, attack)
    reason = rejected(result)
    assert message in "rejected " + reason, reason
    assert "script.lua:22: " in reason, reason
    assert reason.endswith("(key '3'; columns id, title, modified)")


TAMPERING = [  # what a script breaks is its own; the process and the engine's own functions live on
    "etl.null = 1 etl.array = nil etl.json.encode = error",
    "for name in pairs(etl) do etl[name] = nil end",
    "local g = _G for name in pairs(g) do g[name] = nil end",
    "local t = getmetatable('') t.__index = function() return 'x' end t.__gc = 1",
    "string.format = nil string.rep = nil table.insert = error",
    "rawset(_G, 'pcall', error) rawset(_G, 'error', print)",
    "package.loaded.etl = nil package.loaded.string = 5 package.preload = nil package.searchers = nil",
    "setmetatable(etl, { __index = error, __newindex = error })",
    "pcall(setmetatable, etl.json.decode '{}', {}) pcall(setmetatable, etl.array {}, nil)",
    "pcall(rawset, getmetatable(etl.decimal '1'), '__eq', error)",
    "local m = getmetatable(etl.array {}) if type(m) == 'table' then for k in pairs(m) do m[k] = nil end end",
    "local m = getmetatable(etl.null) if m then m.__index = error end",
]  # fmt: skip


@pytest.mark.parametrize("attack", TAMPERING, ids=range(len(TAMPERING)))
def test_a_script_that_tampers_hurts_itself_at_most(engine, films, script, attack):
    result = run(engine, script, attack + " do return { title = 'tampered' } end")
    assert result.returncode == 0, result
    assert [doc["title"] for doc in result.docs] == ["film 1", "film 2", "tampered", "film 4", "film 5"]


def test_a_document_that_takes_nearly_all_memory_leaves_it_to_the_next(engine, films, script):
    attack = "local t = {} for i = 1, 200 do t[i] = ('x'):rep((1 << 20) - 100) .. i end return { title = #t }"
    text = GOOD.replace("    return { title", f"    if film.title then {attack} end\n    return {{ title")
    running = engine.start(script(text), "--dry-run", "--workers", "1")
    done = running.wait()
    assert done.returncode == 0, done
    assert [doc["title"] for doc in done.docs] == [200] * 5


def test_garbage_of_a_document_that_failed_does_not_fail_the_next(engine, films, script):
    films.execute("INSERT INTO films SELECT n, 'film ' || n FROM generate_series(6, 100) n")
    attack = "local t = {} while true do t[#t + 1] = ('x'):rep(1 << 20) .. #t end"
    text = GOOD.replace("    return { title", f"    if film.id % 30 == 0 then {attack} end\n    return {{ title = ('x'):rep(1 << 20):len(), old")
    done = engine(script(text), "--dry-run")
    assert done.returncode == 4, done
    assert len(done.docs) == 97


def test_the_limit_of_instructions_is_of_each_call(engine, films, script):
    films.execute("INSERT INTO films SELECT n, 'film ' || n FROM generate_series(6, 30) n")
    work = "local n = 0 for i = 1, 3000000 do n = n + i end"
    text = GOOD.replace("    return { title", f"    {work}\n    return {{ title")
    done = engine(script(text), "--dry-run")
    assert done.returncode == 0 and len(done.docs) == 30, done


def test_loading_has_the_same_limits(engine, script):
    for attack, message in (
        ("while true do end", ":1: stopped after 100 million instructions"),
        ("local t = {} while true do t[#t + 1] = ('x'):rep(1 << 20) .. #t end", ": not enough memory: a script may use 256 MB"),
        ("local function f() return 1 + f() end f()", ":1: stack overflow"),
        ("os.exit(0)", ":1: attempt to call a nil value (field 'exit')"),
        ("('a'):rep(3000):find(('.-'):rep(12) .. 'b')", ":1: stopped after"),
    ):
        path = script(attack + "\n" + GOOD)
        mistake(engine(path), path, message)


def test_hooks_have_the_same_limits(engine, films, script):
    path = script(changed("before_run = function() end", "before_run = function() while true do end end"))
    done = engine(path, "--dry-run")
    assert done.returncode != 0 and done.stdout == ""
    assert f"{path}:30: stopped after 100 million instructions" in done.stderr


def test_a_signal_ends_a_run_whose_script_is_busy(engine, films, script, wait_until):
    """At the latest when the call's instructions are used up."""
    text = GOOD.replace("    return { title", "    print 'busy' for _ = 1, 90000000 do end\n    return { title")
    running = engine.start(script(text), "--dry-run", "--workers", "1")
    wait_until(lambda: "busy" in running.stderr)
    done = running.stop()
    assert done.returncode == 143, done


def test_many_rejected_documents_end_the_run(engine, films, script):
    films.execute("INSERT INTO films SELECT n, 'film ' || n FROM generate_series(6, 3000) n")
    text = GOOD.replace("    return { title", "    error 'always'\n    return { title")
    done = engine(script(text), "--dry-run", "--quiet")
    assert done.returncode == 1
    assert done.stderr.count("rejected: ") <= 1001 + 4
    assert "more than 1000 documents were rejected" in done.stderr


# A mistake in document() that every row would meet is the script's: one line, and nothing is indexed or deleted.


MISSPELT = [  # the body of document(), the line of the mistake, what the query's column is
    ("return { title = film.titel }", 22, "the query has no column 'titel', did you mean 'title'?"),
    ("return { a = { film.id, b = film.Modified } }", 22, "the query has no column 'Modified', did you mean 'modified'?"),
    ("return { title = film.titel or 'none' }", 22, "the query has no column 'titel', did you mean 'title'?"),
    ("return {\n      id = film.id,\n      title = film['tittle'] }", 24, "the query has no column 'tittle', did you mean 'title'?"),
    ("local f = film return { x = f.something_else }", 22, "the query has no column 'something_else'"),
    ("local t = film.titel return { id = film.id }", 22, "the query has no column 'titel', did you mean 'title'?"),
    ("film.title = film.titel return film", 22, "the query has no column 'titel', did you mean 'title'?"),
]  # fmt: skip


def test_a_misspelt_column_is_a_mistake_of_the_script(engine, films, script):
    for body, line, message in MISSPELT:
        path = script(changed("return { title = film.title }", body))
        mistake(engine(path, "--dry-run"), path, f":{line}: {message}")


def old_index(search):
    search.request("PUT", "films", {"settings": {"index.gc_deletes": "1h"}})
    for key in (1, 2, 3, 4, 5, 99):
        search.request("PUT", f"films/_doc/{key}", {"title": "stays"})
    return {str(key): {"title": "stays"} for key in (1, 2, 3, 4, 5, 99)}


def test_a_misspelt_column_changes_nothing_in_the_index(engine, films, search_one, script):
    before = old_index(search_one)
    path = script(changed("film.title", "film.titel"))
    for words in (["--full", "--allow-deletes"], ["--keys", "1,99", "--allow-deletes"]):
        mistake(engine(path, *words), path, ":22: the query has no column 'titel'")
    assert search_one.docs("films") == before


ROWS = [  # what a row still can do
    "return { title = film.title }",
    "return film",
    "local copy = {} for k, v in pairs(film) do copy[k] = v end return copy",
    "film.extra = film.id film.extra = film.extra + 1 return film",
    "for _ in ipairs(film) do error 'a list' end assert(#film == 0 and film[1] == nil and next(film)) return film",
    "assert(rawget(film, 'none') == nil and getmetatable(film) == false) return film",
    "local row = setmetatable(film, { __index = function() return 'any' end }) assert(row.none == 'any') return row",
    "assert(not pcall(function() return film.none end)) return film",
    "film.title = nil assert(film.title == nil) return film",
]


def test_a_row_is_a_table_like_any_other(engine, films, script):
    films.execute("UPDATE films SET title = NULL, tags = NULL WHERE id = 2")
    for body in ROWS:
        done = engine(script(changed("return { title = film.title }", body)), "--dry-run")
        assert done.returncode == 0 and len(done.docs) == 5, done
        assert done.docs[1].get("title") is None


def test_a_misspelt_column_that_few_rows_meet_costs_these_alone(engine, films, script):
    body = "return { title = film.id == 3 and film.titel or film.title }"
    done = engine(script(changed("return { title = film.title }", body)), "--dry-run", "--workers", "1")
    assert done.returncode == 4 and len(done.docs) == 4, done
    assert "script.lua:22: the query has no column 'titel', did you mean 'title'?" in done.stderr


def test_rows_of_a_script_s_own_query_know_their_columns_too(engine, films, script):
    for call in ("etl.pg.query('SELECT id, title FROM films')[1].titel", "etl.pg.rows('SELECT id, title FROM films')().titel"):
        path = script(changed("return { title = film.title }", f"return {{ title = {call} }}"))
        mistake(engine(path, "--dry-run"), path, ":22: the query has no column 'titel', did you mean 'title'?")


FORGOTTEN = [
    "local doc = { title = film.title }",
    "if not film.title then return end local doc = {} doc.title = film.title",
    "etl.array {}",
    "return make(film)",
    "return (function(row) local doc = { title = row.title } end)(film)",
]


def forgetful(body):
    text = changed("    return { title = film.title }", f"    {body}")
    return text.replace("\nreturn {", "\nlocal function make(row) local doc = { title = row.title } end\nreturn {")


def test_a_forgotten_return_is_a_mistake_of_the_script(engine, films, script):
    for body in FORGOTTEN:
        path = script(forgetful(body))
        done = engine(path, "--dry-run")
        mistake(done, path, ":22: document() returned nothing")
        assert "hint: did it forget 'return'? to have no document, return nil" in done.stderr


def test_a_forgotten_return_deletes_nothing(engine, films, search_one, script):
    before = old_index(search_one)
    path = script(forgetful("return make(film)"))
    mistake(engine(path, "--full", "--allow-deletes"), path, ":22: document() returned nothing")
    path = script(forgetful("make(film)"))
    mistake(engine(path, "--keys", "1,2", "--allow-deletes"), path, ":22: document() returned nothing")
    assert search_one.docs("films") == before


def test_a_document_may_end_without_a_return_for_some_rows(engine, films, script):
    for body in (
        "if film.id == 5 then return { title = film.title } end",
        "return (function(row) if row.id > 1 then return { title = row.title } end end)(film)",
        "if film.id ~= 5 then return end return { title = film.title }",
    ):
        done = engine(script(changed("return { title = film.title }", body)), "--dry-run")
        assert done.returncode == 0 and done.docs[-1] == {"title": "film 5"}, done
    for body in ("return nil", "if film.id > 9 then return { title = film.title } end", "do return nil end"):
        done = engine(script(changed("return { title = film.title }", body)), "--dry-run")
        assert done.returncode == 0 and done.docs == [], done


# What is no mistake, but seldom meant: one warning at the start


def warned(engine, path, *words):
    """The warning, or None: at most one."""
    done = engine(path, "--dry-run", *words)
    assert done.returncode == 0, done
    found = [line.split(" warn  ")[1] for line in done.stderr.splitlines() if " warn " in line]
    assert len(found) <= 1, done
    return found[0].removeprefix(path) if found else None


WHOLE = [  # the query, what keeps the condition on the key out of it
    ("SELECT id, title FROM films ORDER BY id LIMIT 2", "the query has a LIMIT"),
    ("SELECT id, title FROM films FETCH FIRST 2 ROWS ONLY", "the query has a LIMIT"),
    ("SELECT id, title FROM films OFFSET 1", "the query has a LIMIT"),
    ("SELECT * FROM (SELECT id, title FROM films ORDER BY modified DESC LIMIT 3) f ORDER BY id", "the query has a LIMIT"),
    ("WITH f AS (SELECT id, title FROM films LIMIT 2) SELECT id, title FROM f", "the query has a LIMIT"),
    ("SELECT id, title, row_number() OVER (ORDER BY modified) AS n FROM films", "a window function"),
    ("SELECT DISTINCT ON (title) id, title FROM films", "DISTINCT without the key"),
    ("SELECT max(id) AS id, title FROM films GROUP BY title", "GROUP BY"),
    ("WITH f AS MATERIALIZED (SELECT id, title FROM films) SELECT id, title FROM f", "a WITH query"),
    ("SELECT id, title FROM json_to_recordset('[{\"id\":1}]') AS f(id int, title text)", "a function in FROM"),
    ("SELECT id, title FROM films", None),
    ("SELECT id, title FROM films ORDER BY title", None),
    ("SELECT id, max(title) AS title FROM films GROUP BY id", None),
    ("SELECT f.id, g.n AS title FROM films f LEFT JOIN LATERAL (SELECT id AS n FROM genres WHERE film_id = f.id LIMIT 1) g ON true", None),
    ("SELECT id, title, row_number() OVER (PARTITION BY id ORDER BY modified) AS n FROM films", None),
    ("WITH f AS (SELECT id, title FROM films) SELECT id, title FROM f", None),
    ("SELECT id, title FROM films UNION ALL SELECT id, 'g' FROM genres", None),
    ("SELECT id, title FROM films WHERE id > 2", None),
]  # fmt: skip


def test_a_query_that_is_run_whole_for_each_batch_is_told(engine, films, script):
    films.execute("INSERT INTO films SELECT n, 'film ' || n FROM generate_series(6, 3000) n; ANALYZE films")
    start, end = GOOD.index("[[") + 2, GOOD.index("]]")
    for query, cause in WHOLE:
        path = script(GOOD[:start] + query + GOOD[end:])
        warning = warned(engine, path, "--keys", "1,2")
        if cause:
            assert warning.startswith(":10: ") and cause in warning, (query, warning)
        else:
            assert warning is None, (query, warning)


def test_a_key_that_may_come_twice_is_told(engine, pg, script):
    pg.execute(
        "CREATE TABLE u (a int NOT NULL, b varchar NOT NULL, c int NOT NULL UNIQUE, d int);"
        "CREATE UNIQUE INDEX ON u (b, c) INCLUDE (d); CREATE UNIQUE INDEX ON u (d) WHERE d > 0;"
        "CREATE UNIQUE INDEX ON u ((a + 1)); INSERT INTO u VALUES (1, 'x', 1, 1);"
        "CREATE VIEW v AS SELECT * FROM u;"
        "CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)) PARTITION BY LIST (b)"
    )
    told = "several rows of table '{}' may have the same key"
    for table, key, twice in (
        ("u", "'a'", '("a")'), ("u", "'d'", '("d")'), ("u", "{ 'a', 'b' }", '("a", "b")'), ("u", "'c'", None), ("u", "{ 'c', 'b' }", None),
        ("u", "{ 'd', 'c' }", None), ("v", "'a'", None), ("p", "'a'", None), ("p", "'b'", '("b")'),
    ):  # fmt: skip
        path = script(f"""return {{ name = "u", source = {{ url = os.getenv "DATABASE_URL", table = "{table}",
            key = {key}, query = "SELECT * FROM {table}" }}, document = function(r) return r end,
            sink = {{ url = os.getenv "ELASTICSEARCH_URL", index = "u" }}, state = os.getenv "FILE_PATH_STATE" }}""")
        warning = warned(engine, path)
        if twice:
            assert warning.startswith(":2: " + told.format(table)), (key, warning)
            assert warning.endswith(f"CREATE UNIQUE INDEX ON public.{table} {twice}"), warning
        else:
            assert warning is None, (table, key, warning)
