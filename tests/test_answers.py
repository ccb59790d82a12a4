"""Answers that a gateway gives in the search server's place: nothing is lost, and what is wrong is said."""
import re

import films
import pytest
from films import run
from nginx import Nginx


@pytest.fixture
def front(engine, search_one, tmp_path):
    """front(inside=...): nginx before the search server, which the engine then asks."""
    opened = []

    def open_front(**words):
        nginx = Nginx(tmp_path, search_one.port, **words)
        opened.append(nginx)
        engine.env["ELASTICSEARCH_URL"] = nginx.url()
        return nginx

    yield open_front
    for nginx in opened:
        nginx.__exit__()


def test_a_gateways_limit_is_learned_and_a_document_above_it_is_a_dead_letter(engine, pg, search_one, script, front):
    nginx = front(inside="client_max_body_size 200k;")
    films.table(pg, rows=0)
    pg.execute("INSERT INTO t SELECT i, repeat('x', 5000) FROM generate_series(1, 300) i")
    pg.execute("INSERT INTO t VALUES (301, repeat('x', 400000))")
    done = run(engine, script(films.plain()), "--workers", "1", code=4)
    assert "document '301' rejected: larger than the server accepts in one request (413)" in done.stderr, done
    assert search_one.docs("t").keys() == {str(i) for i in range(1, 301)}
    refused = [line for line in nginx.requests() if '" 413 ' in line]
    # The first 100 rows, 500 KB, halved twice, and document 301 alone: not each of the 15 requests anew. What was loaded is
    # looked at once more, as it is too young to be settled: document 301 is then refused again.
    assert 3 <= len(refused) <= 4, refused


def test_a_redirect_ends_it_and_names_where_it_leads(engine, pg, script, front):
    front(inside="return 302 https://joe:s3cret@login.example.org/s3cret;")
    films.table(pg)
    done = run(engine, script(films.plain()), code=1)
    assert "answered 302: it redirects to https://login.example.org" in done.stderr, done
    assert "s3cret" not in done.stderr


def test_a_page_in_place_of_an_answer_is_waited_out(engine, pg, search_one, script, front):
    films.table(pg)
    path = script(films.plain())
    front(inside="""if ($uri ~ _bulk) { add_header Content-Type text/html; return 200 "<html>Sign in</html>"; }""")
    done = run(engine, path, "--give-up-after", "1", code=3)
    assert "damaged at byte 0; it begins with '<html>Sign in</html>'" in done.stderr, done
    front()
    run(engine, path)
    assert search_one.count("t") == 20


# Something else at the search server's address


@pytest.mark.parametrize(
    "inside, told",
    [
        ('default_type text/html; return 200 "<html><head><title>Sign in</title></head></html>";', "status 200, text/html: 'Sign in'"),
        ('default_type application/json; return 404 \'{"statusCode":404,"error":"Not Found","message":"no"}\';',
         "status 404, application/json: '{\"statusCode\":404,\"error\":\"Not Found\",\"message\":\"no\"}'"),
        ('default_type application/json; return 200 \'{"status":"ok"}\';', "status 200, application/json: '{\"status\":\"ok\"}'"),
        ('default_type application/json; return 200 "{}";', "status 200, application/json: '{}'"),
        ("default_type text/plain; return 200 'hello';", "status 200, text/plain: 'hello'"),
        ("return 204;", "status 204, no content type: an empty body"),
        ("return 404;", "status 404, text/html: '404 Not Found'"),
    ],
)
def test_another_program_at_the_address_ends_it_and_is_told(engine, pg, script, front, inside, told):
    films.table(pg)
    front(inside=inside)
    done = run(engine, script(films.plain()), code=1)
    assert re.search(r"the server at http://127\.0\.0\.1:\d+ is not a search server: " + re.escape(told), done.stderr), done
    assert "hint: sink.url must be the address" in done.stderr and done.stderr.count("\n") < 5, done


# What the search server refuses of the script


@pytest.mark.parametrize(
    "text, field, why",
    [
        ('mappings = { properties = { v = { type = "txt" } } }', "mappings", "type [txt] declared on field [v]"),
        ('settings = { number_of_shards = 0 }', "settings", "Failed to parse value [0] for setting [index.number_of_shards]"),
        ('settings = { nonsense = 1 },\nmappings = { properties = {} }', "settings", "unknown setting [index.nonsense]"),
        ('settings = {},\nmappings = { properties = { v = { type = "text", analyzer = "none" } } }', "mappings", "analyzer [none]"),
    ],
)
def test_a_wrong_mapping_is_the_scripts_mistake_told_once_with_its_line(engine, pg, search, script, text, field, why):
    films.table(pg)
    path = script(films.plain(sink="\n" + text))
    line = next(n for n, row in enumerate(open(path, encoding="utf-8"), 1) if row.startswith(field))
    done = run(engine, path, code=2)
    told = done.stderr.splitlines()[-1] if "hint" not in done.stderr else done.stderr.splitlines()[-2]
    assert told.startswith(f"etl-engine: error: {path}:{line}: cannot create index 't': ") and told.count(why) == 1, done
