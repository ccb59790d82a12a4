"""What a script can use beyond the table that it returns: every function, in document() and in hooks, on real servers.
(The examples of the manual are run by test_readme.py.)"""
import json
import re
import signal

import pytest

SCRIPT = """\
local etl = require "etl"
return {
  name   = "api",
  source = { url = os.getenv "DATABASE_URL", table = "t", key = "id", query = "SELECT id, title FROM t" },
  sink   = { url = os.getenv "ELASTICSEARCH_URL", index = "api" }, state = os.getenv "FILE_PATH_STATE",
  document = function(row)
    %s
  end,
  before_run = function(run)
    %s
  end,
  after_run = function(run)
    %s
  end,
}
"""


@pytest.fixture
def rows(pg):
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, title text)")
    pg.execute("INSERT INTO t SELECT n, 'film ' || n FROM generate_series(1, 10) n")
    return pg


@pytest.fixture
def write(script):
    def write(document="return { title = row.title }", before="", after=""):
        return script(SCRIPT % (document, before, after))

    return write


def messages(result, level=None):
    """The log's lines, without time and level; of a run with --log-format json."""
    found = []
    for line in result.stderr.splitlines():
        entry = json.loads(line) if line.startswith("{") else {"level": None, "message": line}
        if level is None or entry["level"] == level:
            found.append(entry["message"])
    return found


@pytest.fixture
def claim(engine, rows, write):
    """claim(lua) runs it in before_run of a dry run; its assertions have to hold."""

    def claim(lua, *words, status=0, **options):
        done = engine(write(before=lua), "--dry-run", "--log-format", "json", *words, **options)
        assert done.returncode == status, done
        return done

    return claim


# etl.pg


def test_pg_query_gives_rows_with_exact_values(claim):
    claim("""
        local rows = etl.pg.query [[
          SELECT n, n::int8 * 9007199254740993 AS big, 0.5::float8 AS f, 12345678901234567890.5 AS d, n = 1 AS b, NULL AS x,
                 ARRAY[n, NULL] AS a, '{"k": [1]}'::jsonb AS j, '2021-06-16 20:14:09.5Z'::timestamptz AS at, 'é' AS t,
                 '\\x00ff'::bytea AS bytes
          FROM generate_series(1, 2) n ORDER BY n]]
        assert(#rows == 2)
        local r = rows[1]
        assert(r.n == 1 and math.type(r.n) == "integer" and r.big == 9007199254740993 and r.f == 0.5)
        assert(tostring(r.d) == "12345678901234567890.5" and r.b == true and rows[2].b == false and r.x == nil)
        assert(#r.a == 2 and r.a[1] == 1 and r.a[2] == etl.null and r.j.k[1] == 1)
        assert(r.at == "2021-06-16T20:14:09.5Z" and r.t == "é" and r.bytes == "\\0\\xff")
    """)


def test_pg_parameters_of_each_type(claim):
    claim("""
        local function value(cast, v)
          local row = etl.pg.query("SELECT $1::" .. cast .. " AS v, pg_typeof($1::" .. cast .. ")::text AS t", v)[1]
          return row.v, row.t
        end
        assert(value("int", 5) == 5)
        assert(value("int8", math.mininteger) == math.mininteger)
        assert(value("int", 10 / 2) == 5)
        assert(value("float8", 0.1) == 0.1)
        assert(value("float8", 1 / 0) == 1 / 0)
        assert(value("float8", 1e308) == 1e308)
        assert(value("float8", 5e-324) == 5e-324)
        assert(tostring(value("numeric", etl.decimal "12345678901234567890.50")) == "12345678901234567890.50")
        assert(value("bool", true) == true and value("bool", false) == false)
        assert(value("text", "it's \\"q\\" \\\\ é\\n") == "it's \\"q\\" \\\\ é\\n")
        assert(value("text", "") == "")
        assert(value("text", "NULL") == "NULL")
        assert(value("text", nil) == nil and value("text", etl.null) == nil)
        assert(value("jsonb", { a = { 1, etl.null } }).a[1] == 1)
        assert(value("jsonb", etl.json.raw '{"a": [2]}').a[1] == 2)
        assert(value("jsonb", etl.json.decode '{}') ~= nil)
        assert(#value("int[]", {}) == 0)
        assert(#value("int[]", etl.array {}) == 0)
        local a = value("int[]", etl.array({ 1, nil, 3 }, 3))
        assert(#a == 3 and a[1] == 1 and a[2] == etl.null and a[3] == 3)
        local t = value("text[]", { "a,b", '"q"', "{x}", "\\\\", "", "NULL", "it's", "é 🎬", " " })
        assert(table.concat(t, "|") == 'a,b|"q"|{x}|\\\\||NULL|it\\'s|é 🎬| ', table.concat(t, "|"))
        assert(value("float8[]", { 0.1, 2 })[1] == 0.1)
        assert(value("bool[]", { true, false })[2] == false)
        assert(value("jsonb[]", { { a = 1 }, etl.json.raw "[2]" })[1].a == 1)
        assert(value("timestamptz", "2021-06-16T20:14:09.221855Z") == "2021-06-16T20:14:09.221855Z")
        assert(value("uuid", "bb86ad98-2023-b009-fe68-5460caf72331") == "bb86ad98-2023-b009-fe68-5460caf72331")
        assert(#etl.pg.query("SELECT title FROM t WHERE id = ANY($1)", { 1, 2, 99 }) == 2)
        local five = etl.pg.query("SELECT $1::int + $2::int + $3::int + $4::int + $5::int AS n", 1, 2, 3, 4, 5)
        assert(five[1].n == 15)
        local null = etl.pg.query("SELECT $1::int IS NULL AS a, $2::int AS b, $3::int IS NULL AS c", nil, 2, nil)[1]
        assert(null.a and null.b == 2 and null.c)
    """)


def test_pg_statements_of_all_kinds(claim, rows):
    claim("""
        assert(#etl.pg.query "SELECT 1 WHERE false" == 0)
        assert(#etl.pg.query "CREATE TABLE made (n int)" == 0)
        assert(#etl.pg.query "INSERT INTO made VALUES (1), (2)" == 0)
        assert(#etl.pg.query "INSERT INTO made VALUES (3) RETURNING n" == 1)
        assert(etl.pg.query("WITH d AS (DELETE FROM made WHERE n = $1 RETURNING n) SELECT count(*) AS n FROM d", 3)[1].n == 1)
        assert(#etl.pg.query "SHOW work_mem" == 1)
        assert(#etl.pg.query "SELECT" == 1)
    """)
    assert rows.query("SELECT n FROM made ORDER BY n") == [(1,), (2,)]


PG_MISTAKES = [
    ("etl.pg.query 'SELECT nothing'", 'column "nothing" does not exist'),
    ("etl.pg.query 'SELCT'", 'syntax error at or near "SELCT"'),
    ("etl.pg.query 'SELECT 1; SELECT 2'", "cannot insert multiple commands into a prepared statement"),
    ("etl.pg.query 'SELECT 1/0'", "division by zero"),
    ("etl.pg.query('SELECT $1::int', 'x')", 'invalid input syntax for type integer: "x"'),
    ("etl.pg.query('SELECT $1::int')", "the query has 1 parameter ($1 ...), but 0 were given"),
    ("etl.pg.query('SELECT $1::int', 1, 2)", "the query has 1 parameter ($1 ...), but 2 were given"),
    ("for _ in etl.pg.rows('SELECT $2::int, $1::int', 1) do end", "the query has 2 parameters ($1 ...), but 1 was given"),
    ("etl.pg.query()", "bad argument #1 to 'query' (string expected, got no value)"),
    ("etl.pg.query({})", "bad argument #1 to 'query' (string expected, got table)"),
    ("etl.pg.query('SELECT $1::text', print)", "parameter 1: cannot send a function to PostgreSQL"),
    ("etl.pg.query('SELECT $1::text, $2::text', 1, io.stderr)", "parameter 2: cannot send a userdata to PostgreSQL"),
    ("etl.pg.query('SELECT $1::text', 'a\\0b')", "parameter 1: PostgreSQL's texts cannot hold a zero byte"),
    ("etl.pg.query('SELECT $1::text', '\\xff')", "invalid byte sequence for encoding"),
    ("etl.pg.query('SELECT $1::int[]', { { 1 } })", "parameter 1: cannot send a list within a list to PostgreSQL"),
    ("etl.pg.query('SELECT $1::int[]', { 1, print })", "parameter 1: cannot send a function to PostgreSQL"),
    ("etl.pg.query('SELECT $1::jsonb', { a = print })", "cannot encode a function"),
    ("for _ in etl.pg.rows 'SELECT 1 / (3 - n) FROM generate_series(1, 5) n' do end", "division by zero"),
    ("etl.pg.query 'COPY t TO STDOUT'", ""),
    ("etl.pg.query 'COPY t FROM STDIN'", ""),
    ("etl.pg.query ''", ""),
]


@pytest.mark.parametrize("lua, message", PG_MISTAKES, ids=range(len(PG_MISTAKES)))
def test_pg_mistakes_reject_the_document_with_its_line(engine, rows, write, lua, message):
    path = write(document=f"if row.id == 3 then {lua} end return row")
    done = engine(path, "--dry-run", "--log-format", "json")
    if not message:  # nothing is promised, but that the others go and nothing hangs
        assert len(done.docs) >= 9, done
        return
    assert done.returncode == 4, done
    assert [doc["id"] for doc in done.docs] == [1, 2, 4, 5, 6, 7, 8, 9, 10]
    assert len(messages(done, "warn")) == 1
    assert f"{path}:7: " in messages(done, "warn")[0] and message in messages(done, "warn")[0], done


def test_pg_errors_can_be_caught_and_the_connection_is_good_again(claim):
    claim("""
        for _ = 1, 5 do
          local ok, text = pcall(etl.pg.query, "SELECT 1/0")
          assert(not ok and text:find "division by zero", text)
          assert(etl.pg.query("SELECT 1 AS n")[1].n == 1)
        end
        local n = 0
        local ok, text = pcall(function()
          for row in etl.pg.rows "SELECT 1 / (3 - n) AS v FROM generate_series(1, 5) n" do n = n + 1 end
        end)
        assert(not ok and n == 2, n)
    """)


def test_pg_rows_stream_and_may_be_left_early(claim):
    done = claim("""
        local sum = 0
        for row in etl.pg.rows("SELECT n FROM generate_series(1, $1::int) n", 100000) do sum = sum + row.n end
        assert(sum == 5000050000)
        for _ = 1, 20 do
          for row in etl.pg.rows "SELECT n FROM generate_series(1, 1000000) n" do
            if row.n == 3 then break end
          end
        end
        for row in etl.pg.rows "SELECT 1 WHERE false" do error "none" end
        local function first(sql) for row in etl.pg.rows(sql) do return row end end
        assert(first("SELECT 7 AS n").n == 7)
        -- a query within the loop has a connection of its own
        local pairs_of = 0
        for a in etl.pg.rows "SELECT n FROM generate_series(1, 10) n" do
          for b in etl.pg.rows("SELECT n FROM generate_series(1, $1::int) n", a.n) do pairs_of = pairs_of + 1 end
          pairs_of = pairs_of + #etl.pg.query "SELECT 1"
        end
        assert(pairs_of == 65, pairs_of)
        local mine = etl.pg.query "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
        etl.log.info("sessions: %d", mine[1].n)
    """)
    assert int(re.search(r"sessions: (\d+)", done.stderr).group(1)) <= 6, done


def test_pg_rows_that_nobody_closes_leak_no_connection(engine, rows, write):
    """Iterators dropped half-way are closed by the collector; the server allows 100 connections."""
    path = write(
        document="""
        local next = etl.pg.rows "SELECT n FROM generate_series(1, 1000) n"
        next() next()
        if row.id % 10 == 0 then collectgarbage() end
        return row""",
        after="""
        collectgarbage()
        local n = etl.pg.query "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
        etl.log.info("sessions: %d", n[1].n)""",
    )
    rows.execute("INSERT INTO t SELECT n, 'x' FROM generate_series(11, 100) n")
    done = engine(path, "--dry-run", "--workers", "2")
    assert done.returncode == 0 and len(done.docs) == 100, done
    assert int(re.search(r"sessions: (\d+)", done.stderr).group(1)) <= 10, done


def test_pg_within_documents_with_several_workers(engine, rows, search, write):
    rows.execute("INSERT INTO t SELECT n, 'film ' || n FROM generate_series(11, 3000) n")
    rows.execute("CREATE TABLE tags AS SELECT id, 'tag ' || id % 7 AS tag FROM t")
    path = write(
        document="""
        local tags = etl.pg.query("SELECT tag FROM tags WHERE id = $1", row.id)
        local n = 0
        for _ in etl.pg.rows("SELECT 1 FROM generate_series(1, 3)") do n = n + 1 end
        return { title = row.title, tag = tags[1].tag, n = n, all = tags }"""
    )
    rows.execute("CREATE INDEX ON tags (id)")
    done = engine(path, "--workers", "4")
    assert done.returncode == 0, done
    docs = search.docs("api")
    assert len(docs) == 3000
    assert docs["2999"] == {"title": "film 2999", "tag": "tag 3", "n": 3, "all": [{"tag": "tag 3"}]}


def test_pg_settings_and_transactions_do_not_outlast_a_call(engine, rows, write):
    rows.execute("ALTER TABLE t ADD at timestamptz DEFAULT '2021-06-16 20:14:09Z'")
    path = write(
        document="""
        etl.pg.query "SET DateStyle = 'German'"
        etl.pg.query "SET TimeZone = 'Asia/Kolkata'"
        etl.pg.query "SET statement_timeout = 1"
        etl.pg.query "BEGIN"
        assert(#etl.pg.query "SELECT pg_sleep(0.05)" == 1)
        return { at = etl.pg.query("SELECT at FROM t WHERE id = $1", row.id)[1].at }"""
    )
    done = engine(path, "--dry-run", "--workers", "1")
    assert done.returncode == 0, done
    assert {doc["at"] for doc in done.docs} == {"2021-06-16T20:14:09Z"}


def test_a_connection_lost_within_a_document_retries_the_batch(engine, rows, search, write, wait_until):
    rows.execute("CREATE TABLE gate (open bool)")
    rows.execute("INSERT INTO gate VALUES (false)")
    path = write(
        document="""
        if row.id == 5 then
          print "at five"
          while not etl.pg.query("SELECT open, pg_sleep(0.02) FROM gate")[1].open do end
        end
        return { title = row.title }"""
    )
    running = engine.start(path, "--workers", "1")
    wait_until(lambda: rows.value("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT open%' AND state = 'active'"))
    rows.terminate()
    wait_until(lambda: running.stderr.count("at five") >= 2)
    rows.execute("UPDATE gate SET open = true")
    done = running.wait()
    assert done.returncode == 0, done
    assert "rejected:" not in done.stderr
    assert len(search.docs("api")) == 10


def test_a_server_that_restarts_within_a_document_is_waited_for(engine, rows, search_one, write, wait_until):
    path = write(
        document="""
        if row.id == 5 then print "at five" etl.pg.query "SELECT pg_sleep(1.5)" end
        return { title = row.title }"""
    )
    running = engine.start(path, "--workers", "1")
    wait_until(lambda: "at five" in running.stderr)
    rows.server.restart()
    done = running.wait()
    assert done.returncode == 0, done
    assert running.stderr.count("at five") >= 2 and "rejected:" not in done.stderr
    assert len(search_one.docs("api")) == 10


def test_a_lost_connection_that_the_script_catches_is_its_own_affair(engine, rows, write):
    path = write(
        document="""
        if row.id == 5 then
          local ok, text = pcall(etl.pg.query, "SELECT pg_terminate_backend(pg_backend_pid())")
          return { id = row.id, ok = ok, text = text }
        end
        return { id = row.id }"""
    )
    done = engine(path, "--dry-run")
    assert done.returncode == 0, done
    assert done.docs[4]["ok"] is False and "PostgreSQL" in done.docs[4]["text"]


# etl.es


def test_es_request(engine, rows, search, write):
    path = write(
        before="""
        local status, answer = etl.es.request("GET", "/")
        assert(status == 200 and answer.version.number)
        status, answer = etl.es.request("PUT", "/side", { settings = { number_of_replicas = 0 } })
        assert(status == 200 and answer.acknowledged == true)
        status, answer = etl.es.request("PUT", "/side/_doc/a%20b?refresh=true", { n = 9007199254740993, s = "é", e = {} })
        assert(status == 201 and answer._id == "a b", answer._id)
        status, answer = etl.es.request("GET", "/side/_doc/a%20b")
        assert(answer._source.n == 9007199254740993 and answer._source.s == "é" and #answer._source.e == 0)
        status, answer = etl.es.request("POST", "/side/_search", { query = { term = { n = 9007199254740993 } } })
        assert(status == 200 and answer.hits.total.value == 1)
        status, answer = etl.es.request("POST", "/side/_doc", '{"n": 1}')
        assert(status == 201)
        status, answer = etl.es.request("GET", "/absent/_doc/1")
        assert(status == 404 and answer.error.type == "index_not_found_exception")
        status, answer = etl.es.request("HEAD", "/side")
        assert(status == 200 and answer == nil)
        status, answer = etl.es.request("HEAD", "/absent")
        assert(status == 404)
        status, answer = etl.es.request("GET", "/_cat/indices/side?h=index")
        assert(status == 200 and answer:match "^side%s*$", answer)
        status, answer = etl.es.request("POST", "/_bulk?refresh=true",
          '{"index": {"_index": "side", "_id": "x"}}\\n{"n": 2}\\n{"delete": {"_index": "side", "_id": "a b"}}\\n')
        assert(status == 200 and answer.errors == false and #answer.items == 2)
        status, answer = etl.es.request("POST", "/side/_search", "{ broken")
        assert(status == 400 and answer.error)
        status, answer = etl.es.request("DELETE", "/side")
        assert(status == 200)
        """
    )
    done = engine(path)
    assert done.returncode == 0, done
    assert not search.exists("side") and search.count("api") == 10


def test_es_within_documents(engine, rows, search, write):
    path = write(document="""
        local status = etl.es.request("PUT", "/seen/_doc/" .. row.id, { title = row.title })
        return { title = row.title, status = status }""")
    done = engine(path, "--workers", "3")
    assert done.returncode == 0, done
    assert search.count("seen") == 10
    assert search.get("api", "7") == {"title": "film 7", "status": 201}


ES_MISTAKES = [
    ("etl.es.request('get', '/')", 'expected GET, POST, PUT, DELETE or HEAD'),
    ("etl.es.request('GET', 'movies')", "a path begins with '/'"),
    ("etl.es.request('GET', '/a b')", "a path's spaces and letters beyond ASCII have to be written as %XX"),
    ("etl.es.request('GET', '/é')", "a path's spaces and letters beyond ASCII have to be written as %XX"),
    ("etl.es.request('GET', '/\\r\\nHost: x')", "a path's spaces and letters beyond ASCII have to be written as %XX"),
    ("etl.es.request('GET')", "bad argument #2 to 'request' (string expected, got no value)"),
    ("etl.es.request('POST', '/x', { f = print })", "f: cannot encode a function"),
    ("etl.es.request('POST', '/x', print)", "cannot encode a function"),
]


@pytest.mark.parametrize("lua, message", ES_MISTAKES, ids=range(len(ES_MISTAKES)))
def test_es_mistakes_reject_the_document_with_its_line(engine, rows, search_one, write, lua, message):
    path = write(document=f"if row.id == 3 then {lua} end return {{}}")
    done = engine(path, "--log-format", "json")
    assert done.returncode == 4, done
    assert search_one.count("api") == 9
    assert f"{path}:7: " in messages(done, "warn")[0] and message in messages(done, "warn")[0], done


def test_es_in_a_dry_run_says_that_it_is_not_there(claim):
    claim("""
        local ok, text = pcall(etl.es.request, "GET", "/")
        assert(not ok and text:find "etl.es is not available here", text)
    """)


# etl.backoff

POLICIES = [  # jitter none: the sequences that the documentation of Python's backoff states
    ('wait = "expo"', [1, 2, 4, 8, 16]),
    ("", [1, 2, 4, 8, 16]),
    ('wait = "expo", base = 3', [1, 3, 9, 27, 81]),
    ('wait = "expo", factor = 5', [5, 10, 20, 40, 80]),
    ('wait = "expo", max_value = 4', [1, 2, 4, 4, 4]),
    ('wait = "constant"', [1, 1, 1, 1, 1]),
    ('wait = "constant", interval = 7', [7, 7, 7, 7, 7]),
]


@pytest.mark.parametrize("options, waits", POLICIES, ids=range(len(POLICIES)))
def test_backoff_sequences(engine, rows, write, options, waits):
    scale = "0.001"  # seconds: the shape is what counts
    scaled = options
    unit = scale
    for name in ("factor", "max_value", "interval"):
        scaled = re.sub(rf"{name} = (\d+)", rf"{name} = \1 * {scale}", scaled)
    if "constant" in options and "interval" not in options:
        scaled += f", interval = {scale}"
    elif "expo" in options or not options:
        scaled += "" if "factor" in options else f", factor = {scale}"
    done = engine(
        write(before=f"""
        local waits = {{}}
        local ok, text = pcall(etl.backoff, {{ {scaled.strip(', ')}, jitter = "none", max_tries = {len(waits) + 1},
          on_backoff = function(d) waits[#waits + 1] = d.wait end }}, function() error "no" end)
        assert(not ok and text:find "no")
        for i, wait in ipairs(waits) do waits[i] = ("%g"):format(wait / {unit}) end
        print("waits: " .. table.concat(waits, " "))"""),
        "--dry-run",
    )
    assert done.returncode == 0, done
    assert re.search(r"waits: (.*)", done.stderr).group(1).split() == [str(w) for w in waits], done


def test_backoff_by_fibonacci(claim):
    """It has no factor to make it quick: its limit is far below the first second, or a handler ends it."""
    claim("""
        local waits = {}
        local function note(d) waits[#waits + 1] = d.wait end
        pcall(etl.backoff, { wait = "fibo", max_value = 0.002, jitter = "none", max_tries = 4, on_backoff = note }, error)
        assert(table.concat(waits, " ") == "0.002 0.002 0.002", table.concat(waits, " "))
        local first
        pcall(etl.backoff, { wait = "fibo", jitter = "none", on_backoff = function(d) first = d.wait error "enough" end }, error)
        assert(first == 1)
    """)


def test_backoff_handlers_and_results(claim):
    claim("""
        local function noting(options)
          local seen = {}
          options.jitter, options.wait, options.interval = "none", "constant", 0.001
          for _, name in ipairs { "on_backoff", "on_success", "on_giveup" } do
            options[name] = function(d)
              seen[#seen + 1] = name .. " " .. d.tries
              assert(d.elapsed >= 0 and d.args[1] == "a" and d.args[2] == nil and d.args[3] == "c")
              assert((d.wait ~= nil) == (name == "on_backoff"))
              assert(name ~= "on_success" or d.error == nil)
            end
          end
          return options, seen
        end

        -- success at the third try; all that fn returns comes back
        local options, seen = noting {}
        local tries = 0
        local a, b, c, d = etl.backoff(options, function(...)
          assert(select("#", ...) == 3)
          tries = tries + 1
          if tries < 3 then error { code = tries } end
          return 1, nil, "three", nil
        end, "a", nil, "c")
        assert(a == 1 and b == nil and c == "three" and d == nil)
        assert(table.concat(seen, ", ") == "on_backoff 1, on_backoff 2, on_success 3", table.concat(seen, ", "))

        -- giving up raises the very error
        options, seen = noting { max_tries = 2 }
        local the_error = { code = 5 }
        local ok, e = pcall(etl.backoff, options, function() error(the_error) end, "a", nil, "c")
        assert(not ok and e == the_error)
        assert(table.concat(seen, ", ") == "on_backoff 1, on_giveup 2")

        -- an error that is not worth another try
        options, seen = noting { giveup = function(e) return e.fatal end }
        ok, e = pcall(etl.backoff, options, function() error { fatal = true } end, "a", nil, "c")
        assert(not ok and e.fatal and table.concat(seen, ", ") == "on_giveup 1")

        -- a predicate of the result: the last one is returned
        options, seen = noting { retry_if = function(v) return v == "busy" end, max_tries = 3 }
        assert(etl.backoff(options, function() return "busy" end, "a", nil, "c") == "busy")
        assert(table.concat(seen, ", ") == "on_backoff 1, on_backoff 2, on_giveup 3")
        options.retry_if = function(v) return v == nil end
        local n = 0
        assert(etl.backoff(options, function() n = n + 1 if n == 3 then return "at last" end end, "a", nil, "c") == "at last")

        -- with a predicate errors pass through, unless retry_on asks for them too
        options = { retry_if = function() return false end, wait = "constant", interval = 0.001, jitter = "none", max_tries = 4 }
        n = 0
        local function failing() n = n + 1 error "always" end
        assert(not pcall(etl.backoff, options, failing) and n == 1, n)
        options.retry_on, n = "error", 0
        assert(not pcall(etl.backoff, options, failing) and n == 4, n)

        -- max_time
        local began = os.clock()
        n = 0
        assert(not pcall(etl.backoff, { max_time = 0.2, wait = "constant", interval = 0.05, jitter = "none" }, failing))
        assert(n >= 3 and n <= 6, n)

        -- jitter: full is up to the wait, random up to a second more
        local waits = {}
        local function note(d) waits[#waits + 1] = d.wait end
        pcall(etl.backoff, { wait = "constant", interval = 0.01, jitter = "full", max_tries = 21, on_backoff = note }, failing)
        local different = {}
        for _, wait in ipairs(waits) do assert(wait >= 0 and wait <= 0.01) different[wait] = true end
        assert(#waits == 20 and next(different, (next(different))))
        waits = {}
        pcall(etl.backoff, { wait = "constant", interval = 0.01, jitter = "random", max_tries = 2, on_backoff = note }, failing)
        assert(waits[1] >= 0.01 and waits[1] < 1.01)

        -- errors within handlers and predicates come out
        local function broken() error "broken handler" end
        for _, name in ipairs { "on_backoff", "on_giveup", "giveup" } do
          local o = { [name] = broken, wait = "constant", interval = 0.001, max_tries = 2 }
          local ok, text = pcall(etl.backoff, o, failing)
          assert(not ok and text:find "broken handler", name)
        end
        assert(not pcall(etl.backoff, { on_success = broken }, function() end))
        assert(not pcall(etl.backoff, { retry_if = broken }, function() end))
    """)


BACKOFF_MISTAKES = [
    ("{ max_trys = 3 }", "etl.backoff: unknown option 'max_trys', did you mean 'max_tries'?"),
    ("{ shape = 3 }", "etl.backoff: unknown option 'shape'"),
    ("{ 5 }", "etl.backoff: options are named, such as max_tries = 5"),
    ("{ wait = 'linear' }", "etl.backoff: option 'wait' must be \"expo\", \"fibo\" or \"constant\", is 'linear'"),
    ("{ jitter = true }", "etl.backoff: option 'jitter' must be \"full\", \"random\" or \"none\", is 'boolean'"),
    ("{ retry_on = 'result' }", "etl.backoff: option 'retry_on' must be \"error\""),
    ("{ max_tries = 0 }", "etl.backoff: option 'max_tries' must be a number above 0"),
    ("{ max_tries = 1.5 }", "etl.backoff: option 'max_tries' must be a whole number"),
    ("{ max_time = -1 }", "etl.backoff: option 'max_time' must be a number above 0"),
    ("{ interval = 0/0 }", "etl.backoff: option 'interval' must be a number above 0"),
    ("{ base = '2' }", "etl.backoff: option 'base' must be a number above 0"),
    ("{ giveup = 5 }", "etl.backoff: option 'giveup' must be a function, is a number"),
    ("5", "bad argument #1 to 'backoff' (table expected, got number)"),
    ("{}, 5", "bad argument #2 to 'backoff' (function expected, got number)"),
]


def test_backoff_mistakes(claim):
    lines = []
    for options, message in BACKOFF_MISTAKES:
        call = f"{options}, function() end" if ", 5" not in options else options
        lines.append(
            f"do local ok, text = pcall(function() etl.backoff({call}) end)"
            f" assert(not ok and text:find([==[{message}]==], 1, true), text) end"
        )
    claim("\n".join(lines))


def test_backoff_waits_for_a_server_of_the_scripts_own(claim, rows):
    """The documented use: a call that may fail."""
    claim("""
        local n = 0
        local row = etl.backoff({ max_tries = 5, max_value = 0.01 }, function(id)
          n = n + 1
          if n < 3 then etl.pg.query "SELECT 1/0" end
          return etl.pg.query("SELECT title FROM t WHERE id = $1", id)[1]
        end, 4)
        assert(row.title == "film 4" and n == 3)
    """)


def test_a_signal_ends_a_backoff_at_once(engine, rows, write, wait_until):
    path = write(document="""
        etl.backoff({ wait = "constant", interval = 600, jitter = "none", on_backoff = function() print "waiting" end },
          function() error "never" end)""")
    running = engine.start(path, "--dry-run")
    wait_until(lambda: "waiting" in running.stderr)
    running.signal(signal.SIGTERM)
    done = running.wait(timeout=5)
    assert done.returncode == 143, done
    assert "rejected:" not in done.stderr


# etl.state, etl.log, print


def test_state_read(engine, rows, search_one, write):
    path = write(
        before="""
        local state = etl.state.read()
        print("before: " .. (state and etl.json.encode(state) or "none"))""",
        after="print('after: ' .. etl.state.read().phase)",
    )
    first = engine(path)
    assert first.returncode == 0, first
    assert "before: none" in first.stderr
    assert "after: following" in first.stderr or "after: snapshot" in first.stderr
    second = engine(path)
    assert re.search(r'before: \{.*"pipeline":"api"', second.stderr), second
    with open(engine.state, "w", encoding="utf-8"):
        pass
    assert "before: []" in engine(path).stderr  # a bare file


def test_log_levels_and_formats(engine, rows, write):
    path = write(before="""
        etl.log.debug("debug %d", 1)
        etl.log.info("100% sure %s")
        etl.log.info("%s|%5.2f|%d|%q|%%", "é", 3.14159, 7, "a\\nb")
        etl.log.warn(("film %s has no title"), nil)
        etl.log.error "no format %d here"
        etl.log.info(5)
        etl.log.info(etl.decimal "12345678901234567890")
        etl.log.info("two\\nlines")
        print("printed", 1, nil, true, "%d")
        warn("warned ", "in parts")""")
    done = engine(path, "--dry-run", "--log-format", "json")
    assert done.returncode == 0, done
    assert len(done.docs) == 10  # nothing of it on stdout
    got = [(json.loads(line)["level"], json.loads(line)["message"]) for line in done.stderr.splitlines()]
    for wanted in (
        ("info", "100% sure %s"),
        ("info", 'é| 3.14|7|"a\\\nb"|%'),
        ("warn", "film nil has no title"),
        ("error", "no format %d here"),
        ("info", "5"),
        ("info", "12345678901234567890"),
        ("info", "two\nlines"),
        ("info", "printed\t1\tnil\ttrue\t%d"),
        ("warn", "warned \tin parts"),
    ):
        assert (wanted[0], re.sub("[\n\t]", " ", wanted[1])) in got, (wanted, got)
    assert "debug 1" not in done.stderr
    assert "debug 1" in engine(path, "--dry-run", "--verbose").stderr
    quiet = engine(path, "--dry-run", "--quiet")
    assert "printed" not in quiet.stderr and "film nil" in quiet.stderr and "no format" in quiet.stderr
    text = engine(path, "--dry-run")
    assert all(re.match(r"\d{4}-\d\d-\d\dT\S+Z (info|warn|error) ", line) for line in text.stderr.splitlines()), text


def test_log_mistakes(claim):
    claim("""
        assert(not pcall(etl.log.info))
        assert(not pcall(etl.log.info, "%d", "x"))
        assert(pcall(etl.log.debug, "%d", "not looked at: below the level"))
        assert(not pcall(etl.log.warn, "%s"  , nil, nil) == false)
    """)


# Values


def test_values_of_the_api(claim):
    claim("""
        assert(etl.null == require("cjson").null and etl.null ~= nil)
        -- array
        assert(etl.json.encode(etl.array {}) == "[]" and etl.json.encode(etl.array({}, 2)) == "[null,null]")
        local a = { 1, 2 }
        assert(etl.array(a) == a and rawequal(etl.array(a), a))
        a[4] = 4
        assert(etl.json.encode(etl.array(a)) == "[1,2,null,4]")
        assert(not pcall(etl.array, { x = 1 }) and not pcall(etl.array, { [0] = 1 }) and not pcall(etl.array, { [1.5] = 1 }))
        assert(not pcall(etl.array, { 1, 2 }, 1) and not pcall(etl.array, {}, -1) and not pcall(etl.array, "x"))
        assert(not pcall(etl.array, setmetatable({}, {})))
        -- decimal
        local d = etl.decimal "12345678901234567890.10"
        assert(tostring(d) == "12345678901234567890.10" and d:tonumber() == 12345678901234567890.10)
        assert(etl.decimal "1.50" == etl.decimal "1.5" and etl.decimal "1e2" == etl.decimal "100")
        assert(etl.decimal "0.1" < etl.decimal "0.2" and etl.decimal "-1" <= 5 and 5 > etl.decimal "4.99")
        assert(etl.decimal(5) == etl.decimal "5" and etl.decimal(0.1) == etl.decimal "0.1" and etl.decimal(d) == d)
        assert(etl.decimal "1e400" > etl.decimal "1e399" and etl.decimal "1e400" < 1/0 and not (etl.decimal "1" < 0/0))
        assert(math.type(etl.decimal("7"):tonumber()) == "integer")
        assert(etl.json.encode { etl.decimal "1.10" } == "[1.10]")
        for _, bad in ipairs { "", "x", "1.", ".5", "+1", "0x10", " 1", "1 ", "NaN", "01", "1e", "--1", "1\\0" } do
          assert(not pcall(etl.decimal, bad), bad)
        end
        assert(not pcall(etl.decimal, 0/0) and not pcall(etl.decimal, {}) and not pcall(etl.decimal))
        assert(not pcall(function() return d < "1" end) and not pcall(function() return d + 1 end))
        -- base64
        assert(etl.base64 "" == "" and etl.base64 "f" == "Zg==" and etl.base64 "fo" == "Zm8=" and etl.base64 "foo" == "Zm9v")
        assert(etl.base64 "\\xfb\\xff\\xfe" == "+//+" and #etl.base64(("x"):rep(1000)) == 1336)
        assert(not pcall(etl.base64, nil) and not pcall(etl.base64, {}))
        -- json
        assert(etl.json.encode { b = 1, a = { etl.null, true, "é\\n" } } == '{"a":[null,true,"é\\\\n"],"b":1}')
        assert(etl.json.encode "x" == '"x"' and etl.json.encode(etl.null) == "null" and etl.json.encode(1e100) == "1e+100")
        local v = etl.json.decode ' {"i": 9223372036854775807, "big": 9223372036854775808, "f": 1.0, "n": null, "e": [], "o": {}} '
        assert(v.i == math.maxinteger and math.type(v.i) == "integer" and math.type(v.f) == "float" and v.n == etl.null)
        assert(tostring(v.big) == "9223372036854775808")
        assert(etl.json.encode(v) == '{"big":9223372036854775808,"e":[],"f":1.0,"i":9223372036854775807,"n":null,"o":{}}')
        assert(etl.json.decode "-0" == 0 and tostring(etl.json.decode "-0") == "-0.0")
        assert(etl.json.decode '"\\\\ud83c\\\\udfac"' == "🎬")
        for _, bad in ipairs { "", "{", "[1,]", "nul", "1 2", '"\\\\ud800"', "'x'", "[1] x", "01", '"\\1"', "{1:2}", "\\xff" } do
          local ok, text = pcall(etl.json.decode, bad)
          assert(not ok and text:find "damaged JSON at byte %d+", bad)
          assert(not pcall(etl.json.raw, bad), bad)
        end
        local raw = etl.json.raw '{"a":  [1]}'
        assert(tostring(raw) == '{"a":  [1]}' and etl.json.encode { r = raw } == '{"r":{"a":  [1]}}')
        assert(raw.a[1] == 1 and #raw.a == 1 and raw.b == nil)
        raw.a[2] = 2
        assert(etl.json.encode(raw) == '{"a":[1,2]}')
        assert(not pcall(function() return etl.json.raw("5").x end) and not pcall(function() return #etl.json.raw "null" end))
        -- cjson
        local cjson = require "cjson"
        assert(cjson.encode { 1, 2 } == "[1,2]" and cjson.decode('{"a": [1, null]}').a[2] == cjson.null)
    """)


def test_modules_beside_the_script(engine, rows, script, write, tmp_path):
    script("local M = { n = 0 } function M.up(s) M.n = M.n + 1 return s:upper() end return M", "helper.lua")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "init.lua").write_text("return { sub = require 'lib.sub' }", encoding="utf-8")
    (tmp_path / "lib" / "sub.lua").write_text("#!x\nreturn 'sub'", encoding="utf-8")
    path = write(document="return { title = require('helper').up(row.title), sub = require('lib').sub, n = require('helper').n }")
    done = engine(path, "--dry-run", "--workers", "1", cwd="/")
    assert done.returncode == 0, done
    assert [(doc["title"], doc["sub"], doc["n"]) for doc in done.docs[:2]] == [("FILM 1", "sub", 1), ("FILM 2", "sub", 2)]
    script("return {\n  = 1 }", "helper.lua")
    broken = engine(path, "--dry-run")
    assert broken.returncode == 4
    assert re.search(r"helper\.lua:2: unexpected symbol near '='", broken.stderr), broken


# Hooks


def test_hooks_are_called_once_and_told_what_happened(engine, rows, search, write):
    path = write(
        document="if row.id == 1 then error 'no' end if row.id == 2 then return nil end return { title = row.title }",
        before='print("before " .. etl.json.encode(run)) calls = (calls or 0) + 1',
        after='print("after " .. etl.json.encode(run) .. " calls " .. tostring(calls))',
    )
    done = engine(path, "--workers", "3", "--log-format", "json")
    assert done.returncode == 4, done
    told = messages(done, "info")
    before = [json.loads(line[7:]) for line in told if line.startswith("before ")]
    after = [line for line in told if line.startswith("after ")]
    assert len(before) == 1 and len(after) == 1, done
    assert before[0]["pipeline"] == "api" and before[0]["dry_run"] is False
    assert after[0].endswith(" calls 1")
    run = json.loads(after[0].removeprefix("after ").removesuffix(" calls 1"))
    assert run.pop("seconds") > 0
    assert run == {"pipeline": "api", "dry_run": False, "ok": True, "documents": 8, "deleted": 0, "rejected": 1}  # there was none to delete
    dry = engine(path, "--dry-run", "--log-format", "json")
    assert '"dry_run":true' in "".join(messages(dry, "info"))


def test_before_run_that_fails_ends_the_run(engine, rows, search_one, write):
    path = write(before="error 'not today'", after="print 'after'")
    done = engine(path)
    assert done.returncode not in (0, 4), done
    assert f"{path}:10: not today" in done.stderr and "after" not in done.stderr.replace(path, "")
    assert search_one.count("api") == 0


def test_after_run_is_told_of_a_failure_and_may_fail_itself(engine, rows, search_one, write):
    rows.execute("INSERT INTO t SELECT n, 'x' FROM generate_series(11, 2000) n")
    path = write(document="error 'always'", after="print('after ok=' .. tostring(run.ok) .. ' rejected=' .. run.rejected)")
    done = engine(path, "--quiet")
    assert done.returncode == 1
    done = engine(path, "--log-format", "json")
    after = [line for line in messages(done, "info") if line.startswith("after ")]
    assert len(after) == 1 and "ok=false" in after[0], done
    fails = engine(write(after="error 'report server is gone'"))
    assert fails.returncode not in (0, 4), fails
    assert f"{path}:13: report server is gone" in fails.stderr
    assert search_one.count("api") == 2000  # what was delivered stays so


def test_hooks_reach_both_servers(engine, rows, search, write):
    path = write(
        before="""
        etl.pg.query "CREATE TABLE IF NOT EXISTS runs (began timestamptz DEFAULT now(), ended timestamptz, n int)"
        etl.pg.query "INSERT INTO runs DEFAULT VALUES" """,
        after="""
        etl.pg.query("UPDATE runs SET ended = now(), n = $1", run.documents)
        local status, answer = etl.es.request("GET", "/api/_count")
        assert(status == 200 and answer.count == 10, answer.count)""",
    )
    done = engine(path)
    assert done.returncode == 0, done
    assert rows.query("SELECT n, ended IS NOT NULL FROM runs") == [(10, True)]


def test_globals_are_each_workers_own_and_live_as_long(engine, rows, write):
    """Documented: share nothing. A counter counts a worker's documents, not all."""
    path = write(document="count = (count or 0) + 1 return { n = count }")
    one = engine(path, "--dry-run", "--workers", "1")
    assert [doc["n"] for doc in one.docs] == list(range(1, 11))
