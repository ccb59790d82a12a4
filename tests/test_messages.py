"""What is said when something is wrong: what it is, where, and what to do; once, and without a secret."""
import contextlib
import datetime
import os
import re

from nginx import Nginx
from pipelines import pipeline
from test_load import make_things, ok

REFUSES = "return 401 'who are you?';"


def hint(result):
    """The one remedy of a command that has failed."""
    told = [line for line in result.stderr.splitlines() if line.startswith("hint: ")]
    assert len(told) == 1 and result.stderr.count("etl-engine: error: ") == 1 and "s3cret" not in result.stderr, result
    return told[0]


# Where refused credentials come from

PLACES = {  # fields of sink, the URL's user, the environment; what is named
    "none": ("", "", {}, "set credentials in sink"),
    "script": ('user = "joe", password = "s3cret",', "", {}, "the credentials are those in sink.user and sink.password"),
    "variables": ("", "", {"ELASTICSEARCH_USER": "joe", "ELASTICSEARCH_PASSWORD": "s3cret"},
                  "those in variable ELASTICSEARCH_USER and variable ELASTICSEARCH_PASSWORD"),
    "both": ('user = "joe", password = "x",', "", {"ELASTICSEARCH_PASSWORD": "s3cret"}, "those in sink.user and variable ELASTICSEARCH_PASSWORD"),
    "file": ("", "", {"ELASTICSEARCH_API_KEY_FILE": "FOLDER/elasticsearch_api_key"}, "those in file 'FOLDER/elasticsearch_api_key'"),
    "folder": ("", "", {"CREDENTIALS_DIRECTORY": "FOLDER"}, "those in file 'FOLDER/elasticsearch_api_key'"),
    "secret": ('api_key = etl.secret "KEY",', "", {"KEY_FILE": "FOLDER/elasticsearch_api_key"}, "those in file 'FOLDER/elasticsearch_api_key'"),
    "other": ('api_key = os.getenv("MY_KEY"),', "", {"MY_KEY": "s3cret"}, "those in sink.api_key (SCRIPT:7, variable MY_KEY); the API key is neither 'id:key' nor that in base64: is its id missing?"),
    "url": ("", "joe:s3cret@", {}, "the credentials are those in sink.url (SCRIPT:7, variable ELASTICSEARCH_URL)"),
}  # fmt: skip


def test_refused_credentials_are_told_by_their_place(engine, pg, script, tmp_path):
    make_things(pg, 3)
    file = tmp_path / "elasticsearch_api_key"
    file.write_text("me:s3cret")
    file.chmod(0o600)
    with Nginx(tmp_path, 1, inside=REFUSES) as front:
        for fields, user, env, told in PLACES.values():
            path = script(pipeline().replace("sink = {", "sink = { " + fields))
            env = {name: value.replace("FOLDER", str(tmp_path)) for name, value in env.items()}
            result = ok(engine(path, env={"ELASTICSEARCH_URL": front.url(user=user), **env}), 1)
            told = told.replace("FOLDER", str(tmp_path)).replace("SCRIPT", str(path))
            assert hint(result).endswith(told) or told.startswith("set "), result
            assert told in hint(result), result


def test_a_refused_password_of_postgres_is_told_by_its_place(engine, pg, script):
    path = script(pipeline())
    for password, env in (("s3cret", {}), ("", {"PGPASSWORD": "s3cret"})):
        url = pg.url_at(pg.port, "nobody", password).replace(":@", "@")
        result = ok(engine(path, "--dry-run", env={"DATABASE_URL": url, **env}), 1)
        assert hint(result).endswith("variable PGPASSWORD" if env else f"source.url ({path}:5, variable DATABASE_URL)"), result


# Addresses


def test_a_list_of_nodes_is_read_as_it_is_meant(engine, pg, search_one, script):
    make_things(pg, 3)
    path = script(pipeline())
    for url in (f" {search_one.url} ,", f",{search_one.url}, ,{search_one.url}"):
        ok(engine(path, "--full", env={"ELASTICSEARCH_URL": url}))
    line = next(n for n, text in enumerate(open(path, encoding="utf-8"), 1) if "sink" in text)
    for url in (f"{search_one.url},localhost:9200", f"{search_one.url};{search_one.url}"):
        result = ok(engine(path, env={"ELASTICSEARCH_URL": url}), 2)
        assert f"{path}:{line}: not a search server's URL (http://HOST:9200): it goes on after its host" in result.stderr, result
        assert "a comma between two, each with its http:// or https://" in hint(result)


# Waiting


@contextlib.contextmanager
def blocked(search, name):
    """With a metadata block, the next test could not clear the server."""
    search.request("PUT", "things/_settings", {f"index.blocks.{name}": True})
    try:
        yield
    finally:
        search.request("PUT", "things/_settings", {f"index.blocks.{name}": None})


def test_the_address_is_not_doubted_once_the_server_answers(engine, pg, search_one, script):
    """And what failed is told when it has succeeded; no full stop of the server's stands before what goes on."""
    make_things(pg, 3)
    path = script(pipeline())
    ok(engine(path))
    with blocked(search_one, "metadata"):
        result = ok(engine(path, "--give-up-after", "1"), 3)
    assert "no request to the search server has succeeded yet in this run; waiting for it for 1 s" in result.stderr, result
    assert "its address comes from" not in result.stderr and "]; trying again" in result.stderr and ";;" not in result.stderr


def test_what_failed_is_told_when_it_succeeds(engine, pg, search_one, script, wait_until):
    make_things(pg, 3)
    path = script(pipeline())
    ok(engine(path))
    with blocked(search_one, "metadata"):
        running = engine.start(path)
        wait_until(lambda: "trying again" in running.stderr)
    result = ok(running.wait())
    assert "; what failed before: index 'things': the search server answered 403: cluster_block_exception" in result.stderr, result


def test_comparing_with_a_blocked_index_is_told_once(engine, pg, search_one, script):
    make_things(pg, 600)
    path = script(pipeline())
    ok(engine(path))
    with blocked(search_one, "read"):
        result = ok(engine("verify", path, "--give-up-after", "3"), 3)
    told = [line for line in result.stderr.splitlines() if "trying again" in line]
    assert 0 < len(told) <= 2 and all("removed (" in line for line in told) and 'index.blocks.read": null' in hint(result), result


def test_a_path_that_the_search_server_does_not_have(engine, pg, search_one, script):
    make_things(pg, 1)
    result = ok(engine(script(pipeline()), env={"ELASTICSEARCH_URL": f"{search_one.url}/path/"}), 1)
    assert "no handler found for uri" in result.stderr and "sink.url has one only if a proxy requires it" in hint(result), result


def test_a_query_that_fails_for_every_row_has_its_line(engine, pg, search_one, script):
    make_things(pg, 1)
    path = script(pipeline(query="SELECT id, 1 / 0 AS v, modified FROM things"))
    assert re.search(r"script\.lua:\d+: could not read 'things': division by zero", ok(engine(path), 1).stderr)


def test_check_notices_a_closed_index(engine, pg, search_one, script):
    make_things(pg, 1)
    path = script(pipeline())
    ok(engine(path))
    search_one.request("POST", "things/_close")
    result = ok(engine("check", path), 2)
    assert "index 'things' is closed: a run waits until it is open; remedy: POST /things/_open" in result.stdout, result


# Times


def test_a_time_in_the_future_is_refused(engine, pg, search_one, script):
    make_things(pg, 3)
    path, later = script(pipeline()), "2999-01-01"
    assert "cannot go to '2999-01-01', which is in the future" in ok(engine("state", "set", path, later), 2).stderr
    assert not os.path.exists(engine.state)
    ok(engine(path))
    for words in ((path, "--since", later), ("verify", path, "--since", later)):
        assert "cannot read changes since '2999-01-01', which is in the future" in ok(engine(*words), 2).stderr
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=20)  # a clock in another zone
    ok(engine("state", "set", path, soon.strftime("%Y-%m-%dT%H:%M")))
    ok(engine("state", "set", path, "1970-01-01"))
    assert "3 documents indexed" in ok(engine(path)).stderr


# What only its owner may drop


def test_a_publication_of_somebody_else_stays_and_that_is_told(engine, pg, search_one, script):
    make_things(pg, 3)
    path, name = script(pipeline(cursor=None).replace("query =", 'capture = "wal", query =')), f"role_{os.getpid()}"
    ok(engine(path))
    pg.execute(f"CREATE ROLE {name} LOGIN REPLICATION PASSWORD 's3cret'; GRANT SELECT ON things TO {name}")
    try:
        result = ok(engine("state", "reset", "--drop-slot", path, env={"DATABASE_URL": pg.url_at(pg.port, name, "s3cret")}), 1)
        assert "dropped slot 'etl_things', but not publication 'etl_things', which stays, as the state does: must be owner" in result.stderr
        assert 'DROP PUBLICATION "etl_things"; then the same command' in hint(result) and os.path.exists(engine.state)
    finally:
        pg.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
    ok(engine("state", "reset", "--drop-slot", path))
    assert not os.path.exists(engine.state)


# Mistakes of a beginner

MISTAKES = {  # what is replaced in the script, the environment; what is told
    "IPv6 of PostgreSQL": ("", "", {"DATABASE_URL": "postgresql://joe:s3cret@::1:5432/films"}, "hint: an IPv6 address stands in brackets: postgresql://["),
    "IPv6 of the search server": ("", "", {"ELASTICSEARCH_URL": "http://joe:s3cret@::1:9200"}, ":7: not a search server's URL (http://HOST:9200): an IPv6 address stands in brackets"),
    "unknown parameter": ("", "", {"DATABASE_URL": "postgresql://joe:s3cret@127.0.0.1/films?ssl=true&x"}, "hint: after '?' stand parameters of libpq"),
    "bytes": ('index = "things"', 'index = "\\255"', {}, ":7: field 'index' in sink is not UTF-8"),
    "file": ('index = "things"', 'index = "things", ca = "/none"', {}, "script.lua: cannot read sink.ca from file '/none': No such file"),
}  # fmt: skip


def test_a_mistake_is_told_with_its_place(engine, script):
    for before, after, env, told in MISTAKES.values():
        result = ok(engine(script(pipeline().replace(before, after)), env=env), 2)
        assert told in result.stderr and result.stderr.count("\n") < 3 and "s3cret" not in result.stderr, result


def test_init_takes_no_name_that_no_index_has(engine):
    for name, told in (("Films", "must be in lower case"), ("", "is empty"), ("a b", "must be the name of one index: it cannot hold ' '")):
        assert f"option --index {told}" in ok(engine("init", "postgresql://127.0.0.1:1/none", "films", "--index", name), 2).stderr


def test_a_parameter_that_cannot_be_is_not_tried_again(engine, pg, script):
    path = script(pipeline())
    result = ok(engine(path, "--dry-run", env={"DATABASE_URL": pg.url_at(pg.port, target_session_attrs="primry")}), 1)
    assert 'invalid target_session_attrs value: "primry"' in result.stderr and "trying again" not in result.stderr
    result = ok(engine(path, "--dry-run", env={"DATABASE_URL": pg.url_at(pg.port, sslmode="require")}), 1)
    assert "set up TLS on the server, or remove sslmode" in hint(result)


def test_a_proxy_in_the_way_is_named(engine, pg, script):
    make_things(pg, 3)
    env = {"ELASTICSEARCH_URL": "https://search.invalid", "https_proxy": "http://joe:s3cret@127.0.0.1:1", "no_proxy": None}
    result = ok(engine(script(pipeline()), "--give-up-after", "1", env=env), 3)
    assert "https_proxy is set: requests go by that proxy" in hint(result)
