"""The command: options, exit statuses, what it logs, and what it never tells."""
import json
import os
import pty
import re
import select
import signal
import subprocess

import pytest

from pipelines import pipeline
from proxy import Proxy
from test_load import MOVIES, make_things, ok
from tools import ROOT

OPTIONS = [
    "--dry-run", "--format", "--limit", "--keys", "--keys-from", "--full", "--since", "--workers", "--give-up-after",
    "--log-format", "--quiet", "--verbose", "--help",
]  # fmt: skip


# Wrong use


@pytest.mark.parametrize(
    "words, complaint",
    [
        ([], "no script given"),
        (["run"], "no script given"),
        (["--full"], "no script given"),
        (["test", MOVIES, "scripts/genres.lua"], "more than one script given"),
        ([MOVIES, "--nonsense"], "unknown option '--nonsense'"),
        ([MOVIES, "--folow"], "unknown option '--folow', did you mean '--follow'?"),
        ([MOVIES, "--key=a"], "unknown option '--key=a', did you mean '--keys'?"),
        (["reindex", MOVIES, "--kep", "3"], "unknown option '--kep', did you mean '--keep'?"),
        (["rindex", MOVIES], "unknown command 'rindex', did you mean 'reindex'?"),
        (["sate"], "unknown command 'sate', did you mean 'state'?"),
        (["synchronise", MOVIES], "unknown command 'synchronise'"),
        (["state", "rest", MOVIES], "unknown action 'rest' of state, did you mean 'reset'?"),
        ([MOVIES, "-Z"], "unknown option '-Z'"),
        ([MOVIES, "-workers", "3"], "unknown option '-w'"),
        ([MOVIES, "-nZq"], "unknown option '-Z'"),
        ([MOVIES, "--quiet=yes"], "option '--quiet' takes no value"),
        ([MOVIES, "--workers"], "option '--workers' needs a value"),
        ([MOVIES, "--workers", "0"], "option --workers takes a whole number from 1 to 64, not '0'"),
        ([MOVIES, "--workers", "65"], "not '65'"),
        ([MOVIES, "--workers", "2x"], "not '2x'"),
        ([MOVIES, "--workers", ""], "not ''"),
        ([MOVIES, "--limit", "0"], "option --limit takes a whole number from 1"),
        ([MOVIES, "--limit", "-1"], "not '-1'"),
        ([MOVIES, "--limit", "99999999999999999999"], "not '99999999999999999999'"),
        ([MOVIES, "--give-up-after", "1.5"], "option --give-up-after takes a whole number from 0"),
        ([MOVIES, "--format", "bulk"], "option --format needs --dry-run"),
        ([MOVIES, "--dry-run", "--format", "xml"], "option --format takes 'documents' or 'bulk', not 'xml'"),
        ([MOVIES, "--log-format", "xml"], "option --log-format takes 'text' or 'json', not 'xml'"),
        ([MOVIES, "--keys", "a", "--keys-from", "b"], "options --keys and --keys-from exclude each other"),
        ([MOVIES, "--keys", "a", "--full"], "options --keys and --full exclude each other"),
        ([MOVIES, "--keys-from", "/dev/null", "--since", "2024-01-01"], "options --keys-from and --since exclude each other"),
        ([MOVIES, "--full", "--since", "2024-01-01"], "options --full and --since exclude each other"),
        ([MOVIES, "--quiet", "--verbose"], "options --quiet and --verbose exclude each other"),
        ([MOVIES, "--follow", "--max-lag", "5"], "option --max-lag needs --listen"),
        (["diff", MOVIES, "--keys", ""], "option --keys names no key"),
        (["diff", MOVIES, "--keys", ",", "--sample", "5"], "options --keys and --sample exclude each other"),
        ([MOVIES, "--keys-from", "/no/such/file"], "cannot read keys from '/no/such/file': No such file or directory"),
        ([MOVIES, "--keys-from", "/"], "cannot read keys from '/': Is a directory"),
        (["state"], "missing action: show, set or reset"),
        (["state", "look", MOVIES], "unknown action 'look' of state"),
        (["state", "show"], "state show takes a script"),
        (["state", "set", MOVIES], "state set takes a script and a time"),
        (["state", "reset", MOVIES, "more"], "state reset takes a script"),
    ],
)
def test_wrong_use_is_one_line_and_a_hint(engine, words, complaint):
    result = ok(engine(*words), 2)
    lines = result.stderr.splitlines()
    assert lines[0].startswith("etl-engine: error: ") and complaint in lines[0]
    assert [line[:6] for line in lines[1:]] == ["hint: "]
    assert result.stdout == ""


@pytest.mark.parametrize("path, why", [("/no/such/script.lua", "No such file or directory"), ("/", "Is a directory")])
def test_a_script_that_cannot_be_read_is_one_line(engine, path, why):
    result = ok(engine(path), 2)
    assert result.stderr.count("\n") == 1
    assert f"'{path}'" in result.stderr and why in result.stderr


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-8-sig"])
def test_a_script_in_utf_16_is_told_and_the_mark_of_utf_8_is_passed_over(engine, pg, script, tmp_path, encoding):
    make_things(pg, 2)
    path, keys, module = script("return require 'inner'"), tmp_path / "keys", tmp_path / "inner.lua"
    module.write_bytes(pipeline().encode(encoding))
    keys.write_bytes("1\n2\n".encode(encoding))
    as_module = engine(path, "--dry-run")
    as_script = engine(module, "--dry-run", "--keys-from", "/dev/stdin", stdin="1\n")
    as_keys = engine(script(pipeline(), "plain.lua"), "--dry-run", "--keys-from", keys)
    if encoding == "utf-8-sig":
        assert [len(ok(done).docs) for done in (as_module, as_script, as_keys)] == [2, 1, 2]
        return
    assert f"cannot read script '{module}': it is UTF-16, and has to be saved as UTF-8" in ok(as_script, 2).stderr
    if encoding == "utf-16":  # with a mark
        assert "it is UTF-16, and has to be saved as UTF-8" in ok(as_module, 2).stderr
        assert f"{keys}:1: the file is UTF-16, and has to be saved as UTF-8" in ok(as_keys, 2).stderr


def test_help_names_every_option_and_goes_to_standard_output(engine):
    for words in (["run", "--help"], [MOVIES, "--help"], [MOVIES, "-h"]):
        result = ok(engine(*words))
        assert [option for option in OPTIONS if option + " " not in result.stdout] == []
        assert result.stderr == ""
    top = ok(engine("--help"))
    assert " run " in top.stdout and " state " in top.stdout and "--version" in top.stdout
    assert "state show|set|reset SCRIPT" in ok(engine("state", "--help")).stdout


def test_version_is_a_number(engine):
    assert re.fullmatch(r"etl-engine \d+\.\d+\.\d+\n", ok(engine("--version")).stdout)


def test_help_that_cannot_be_written_is_a_failure(engine):
    done = subprocess.run(f"'{engine.path}' --help > /dev/full", shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "cannot write to standard output" in done.stderr


def test_options_may_stand_anywhere(engine, movies):
    first = ok(engine("run", "--limit", "2", MOVIES, "--dry-run")).stdout
    assert ok(engine("--dry-run", MOVIES, "--limit=2")).stdout == first != ""


# What the database says about the script


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"table": "nowhere"}, 'cannot use source.table: relation "nowhere" does not exist'),
        ({"key": "idd"}, 'cannot use source.key: column "idd" does not exist'),
        ({"cursor": "modifed"}, 'cannot use source.cursor: column "modifed" does not exist'),
        ({"cursor": "v"}, "cannot use source.cursor: column 'v' has type text"),
        ({"query": "SELECT id, nothing FROM things"}, 'cannot use source.query: column "nothing" does not exist'),
        ({"query": "SELEC"}, 'cannot use source.query: syntax error at or near "SELEC"'),
        ({"query": "SELECT v FROM things"}, "cannot use source.query: it does not return the key column 'id'"),
        ({"query": "SELECT id::text, v FROM things"}, "its column 'id' has type text, but in table 'things' that is integer"),
        ({"query": "SELECT id, v, v FROM things"}, "it returns column 'v' twice"),
        ({"query": "SELECT 1 AS id; SELECT 2 AS id"}, "there is more than one statement"),
        ({"table": "things_id_seq"}, "'things_id_seq' is not a table or view"),
    ],
)
def test_a_script_that_does_not_fit_the_database_is_told_where(engine, pg, script, change, complaint):
    make_things(pg, 1, "CREATE SEQUENCE things_id_seq;")
    path = script(pipeline(**{"query": "SELECT id, v FROM things", **change}))
    result = ok(engine(path, "--dry-run"), 2)
    line = result.stderr.splitlines()[0]
    assert re.match(rf"etl-engine: error: {re.escape(path)}:\d+: ", line) and complaint in line


@pytest.mark.parametrize(
    "change, hint",
    [
        ({"table": "FilmWork", "query": 'SELECT * FROM "FilmWork"'}, """did you mean "FilmWork"? A name with capital letters needs its quotes: table = '"FilmWork"'"""),
        ({"table": '"FilmWork"', "query": "SELECT * FROM FilmWork"}, 'did you mean "FilmWork"?'),
        ({"table": "shelf", "query": "SELECT * FROM stock.shelf"}, "did you mean stock.shelf?"),
        ({"table": "stock.Shelf", "query": "SELECT * FROM stock.shelf", "key": "ID"}, "did you mean 'id'? Column names are case-sensitive"),
        ({"key": "filmid"}, "did you mean 'filmId'?"),
        ({"key": '"filmId"'}, "did you mean 'filmId'?"),
        ({"cursor": "changedat"}, "did you mean 'changedAt'?"),
        ({"key": "filmId", "cursor": "changedAt"}, None),
    ],
)
def test_a_name_in_another_case_is_told_what_it_was_meant_to_be(engine, pg, script, change, hint):
    pg.execute("""CREATE SCHEMA stock; CREATE TABLE stock.shelf (id int PRIMARY KEY, "changedAt" timestamptz);
                  CREATE TABLE "FilmWork" ("filmId" int PRIMARY KEY, v text, "changedAt" timestamptz DEFAULT now());
                  INSERT INTO "FilmWork" VALUES (1)""")
    words = {"table": '"FilmWork"', "key": "filmId", "cursor": "changedAt", "query": 'SELECT * FROM "FilmWork"', **change}
    result = engine(script(pipeline(**words)), "--dry-run")
    if hint:
        assert any(line.startswith("hint: ") and hint in line for line in ok(result, 2).stderr.splitlines()), result
    else:
        assert len(ok(result).docs) == 1


def test_a_table_without_permission_is_named(engine, pg, script):
    make_things(pg, 1)
    role = f"reader_{os.getpid()}"
    pg.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
    try:
        result = engine(script(pipeline()), "--dry-run", env={"DATABASE_URL": pg.url_at(pg.port, user=role, password="p")})
        assert result.returncode != 0
        assert "permission denied for table things" in result.stderr
    finally:
        pg.execute(f"DROP ROLE {role}")


# What is required has no default: another database, server or folder is never taken in silence


@pytest.mark.parametrize("field, variable", [("'url' in source", "DATABASE_URL"), ("'url' in sink", "ELASTICSEARCH_URL"), ("'state'", "FILE_PATH_STATE")])
def test_an_unset_variable_is_a_mistake_that_names_the_field(engine, pg, search_one, script, tmp_path, field, variable):
    make_things(pg, 2)
    text = pipeline().replace(f'"{variable}"', f'"{variable.replace("_", "")}"', 1)
    path, line = script(text), text[: text.index(variable.replace("_", ""))].count("\n") + 1
    result = ok(engine(path, cwd=str(tmp_path)), 2)
    assert result.stderr.splitlines()[0] == f"etl-engine: error: {path}:{line}: missing field {field}"
    assert f"hint: the environment variable {variable.replace('_', '')} is not set, did you mean {variable}?" in result.stderr
    assert not search_one.exists("things") and not (tmp_path / "postgres_to_es").exists()
    result = engine(path, "--dry-run", cwd=str(tmp_path))
    if "source" in field:
        assert result.returncode == 2
    else:  # nothing is written, so it may be unknown where to
        assert len(ok(result).docs) == 2 and f"missing field {field}: only a dry run works without it" in result.stderr


def test_the_samples_name_their_defaults_themselves(engine, tmp_path):
    env = {"DATABASE_URL": None, "ELASTICSEARCH_URL": None, "FILE_PATH_STATE": None, "PGHOST": "127.0.0.1", "PGPORT": "1"}
    result = engine(os.path.join(ROOT, MOVIES), "--give-up-after", "1", env=env, cwd=str(tmp_path))
    assert result.returncode == 3 and "could not connect to PostgreSQL 'movies' at 127.0.0.1:1" in result.stderr
    assert os.path.exists(tmp_path / "postgres_to_es" / "es" / "es_data")


@pytest.mark.parametrize(
    "url, complaint, hint",
    [
        ("jdbc:postgresql://h:5432/d?user=u&password=hush", "it is a JDBC URL", "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"),
        ("JDBC:postgresql:d", "it is a JDBC URL", "leave out 'jdbc:'"),
        ("postgresql+psycopg2://u:hush@h/d", "it names a driver", "leave out what is between 'postgresql' and '://'"),
    ],
)
def test_the_urls_of_others_are_known(engine, script, url, complaint, hint):
    result = ok(engine(script(pipeline()), "--dry-run", env={"DATABASE_URL": url}), 2)
    lines = result.stderr.splitlines()
    assert complaint in lines[0] and hint in lines[1] and "hush" not in result.stderr and "percent" not in result.stderr


# The same mistake in each row


def test_a_mistake_in_document_is_not_told_a_thousand_times(engine, pg, search_one, script):
    make_things(pg, 900)
    path = script(pipeline(document="return { v = row.v .. nothing }"))
    result = ok(engine(path), 4)
    told = [line for line in result.stderr.splitlines() if "attempt to concatenate a nil value" in line]
    assert len(told) == 6 and "; and 894 more like it (first key '" in told[-1]
    result = ok(engine(path, "--dry-run", "--limit", "1"), 4)
    assert result.stdout == "" and result.stderr.count("attempt to concatenate") == 1


# Exit statuses


def test_giving_up_on_postgresql_is_3(engine, search_one, free_port):
    env = {"DATABASE_URL": f"postgresql://etl:etl@127.0.0.1:{free_port}/movies"}
    result = ok(engine(MOVIES, "--give-up-after", "1", env=env), 3)
    assert "etl-engine: error: could not connect to PostgreSQL" in result.stderr
    assert "trying again" in result.stderr
    told = [line for line in result.stderr.splitlines() if "no request to PostgreSQL has succeeded yet in this run" in line]
    assert len(told) == 1 and re.search(r"from source.url \(\S+movies.lua:\d+, variable DATABASE_URL\); waiting for it for 1 s", told[0])
    assert result.stderr.count("check that the server is running") == 2  # at first, and at the end


def test_giving_up_on_the_search_server_is_3(engine, movies, free_port):
    env = {"ELASTICSEARCH_URL": f"http://127.0.0.1:{free_port}"}
    result = ok(engine(MOVIES, "--give-up-after", "1", env=env), 3)
    assert "trying again" in result.stderr
    told = [line for line in result.stderr.splitlines() if "no request to the search server has succeeded yet in this run" in line]
    assert len(told) == 1 and re.search(r"from sink.url \(\S+movies.lua:\d+, variable ELASTICSEARCH_URL\); waiting for it", told[0])


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_wait_at_once(engine, movies, free_port, wait_until, number, status):
    running = engine.start(MOVIES, env={"ELASTICSEARCH_URL": f"http://127.0.0.1:{free_port}"})
    wait_until(lambda: "trying again" in running.stderr)
    assert "waiting for it without end (--give-up-after S: for S seconds)" in running.stderr
    running.signal(number)
    ok(running.wait(timeout=2), status)


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_a_load_ends_it_and_the_next_run_completes_it(engine, pg, search_one, script, wait_until, number, status):
    make_things(pg, 30000)
    slow = 'if row.id > 27000 and os.getenv "SLOW" then etl.pg.query "SELECT pg_sleep(60)" end return { v = row.v }'
    path = script(pipeline(document=slow))
    running = engine.start(path, env={"SLOW": 1})
    wait_until(lambda: os.path.exists(engine.state) and json.load(open(engine.state, encoding="utf-8"))["after"])
    running.signal(number)
    result = ok(running.wait(timeout=5), status)
    assert "error:" not in result.stderr
    assert "resuming" in ok(engine(path)).stderr
    assert search_one.count("things") == 30000


# The log


def test_json_lines_are_json_down_to_the_last_error(engine, pg, search_one, script):
    make_things(pg, 5)
    odd = 'error("odd \\"quotes\\"\\n\\\\ \\1 \\xff Ж")'
    result = ok(engine(script(pipeline(document=f"if row.id == 3 then {odd} end return {{}}")), "--log-format", "json"), 4)
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["time"]) for line in lines)
    assert {"info", "warn"} <= {line["level"] for line in lines}
    assert any("document '3' rejected" in line["message"] for line in lines)
    failed = ok(engine("/no/such.lua", "--log-format", "json"), 2)
    (last,) = map(json.loads, failed.stderr.splitlines())
    assert last["level"] == "error" and "/no/such.lua" in last["message"]


def test_quiet_leaves_warnings_and_verbose_adds_details(engine, pg, search_one, script):
    make_things(pg, 1)
    lines = 'etl.log.debug "detail" etl.log.info "news" etl.log.warn "warning" return { v = row.v }'
    path = script(pipeline(document=lines))
    log = {option: ok(engine(path, "--dry-run", *option)).stderr for option in [(), ("--quiet",), ("--verbose",)]}
    shown = {option: re.findall(r"Z (\w+) +w\d .*(detail|news|warning)$", text, re.M) for option, text in log.items()}
    assert shown == {
        (): [("info", "news"), ("warn", "warning")],
        ("--quiet",): [("warn", "warning")],
        ("--verbose",): [("debug", "detail"), ("info", "news"), ("warn", "warning")],
    }
    assert len(log[("--quiet",)].splitlines()) == 1


def test_print_in_a_script_goes_to_the_log(engine, pg, script):
    make_things(pg, 1)
    result = ok(engine(script(pipeline(document='print("seen", row.id) return { v = row.v }')), "--dry-run"))
    assert "seen\t1" in result.stderr.replace("seen 1", "seen\t1")
    assert result.docs == [{"v": "v1"}]


def test_a_script_prints_once_a_start_however_often_its_file_is_run(engine, pg, script, tmp_path):
    make_things(pg, 20)
    top = 'print("at the top", 1)\nrequire("etl").log.info("logged at the top")\n'
    path = script(top + pipeline())
    result = ok(engine(path, "--workers", "2", "--dry-run"))
    assert result.stderr.count("at the top") == 2, result
    other = script((top + pipeline(name="other")).replace("FILE_PATH_STATE", "OTHER"), "other.lua")
    result = ok(engine(path, other, "--dry-run", env={"OTHER": tmp_path / "other"}))
    assert result.stderr.count("logged at the top") == 2, result
    result = ok(engine(script(top + "error 'no'"), "--dry-run"), 2)  # what helps to find the mistake
    assert result.stderr.count("at the top") == 2, result


def on_a_terminal(engine, words, env=None):
    """Its exit status, and what a terminal got of stdout and stderr."""
    master, slave = pty.openpty()
    variables = {**engine.env, "TERM": "xterm", **(env or {})}
    with subprocess.Popen([engine.path, *words], env=variables, stdout=slave, stderr=slave, stdin=slave, cwd=ROOT) as run:
        os.close(slave)
        shown = b""
        while select.select([master], [], [], 60)[0]:
            try:
                data = os.read(master, 65536)
            except OSError:  # the last one has closed it
                break
            if not data:
                break
            shown += data
    os.close(master)
    return run.returncode, shown.decode()


SLOWLY = 'if row.id % 500 == 0 then etl.pg.query "SELECT pg_sleep(0.15)" end return { v = row.v }'


def test_a_terminal_shows_progress_and_a_pipe_does_not(engine, pg, search_one, script):
    make_things(pg, 3000, "ANALYZE things;")
    path = script(pipeline(document=SLOWLY))
    status, shown = on_a_terminal(engine, [path])
    assert status == 0
    assert re.search(r"\r\x1b\[Kthings: loading: [\d,]+ .*/s", shown), shown
    assert shown.rstrip().endswith("0 items retried")  # no rest of the line stays behind
    piped = ok(engine(path, "--full")).stderr
    assert "\r" not in piped and "\x1b" not in piped


def test_no_color_and_quiet_are_honoured_on_a_terminal(engine, pg, search_one, script):
    make_things(pg, 3)
    path = script(pipeline(document='if row.id == 2 then error "two" end return {}'))
    assert "\x1b[3" in on_a_terminal(engine, [path])[1]
    assert "\x1b[3" not in on_a_terminal(engine, [path, "--full"], {"NO_COLOR": "1"})[1]
    assert "\x1b[3" in on_a_terminal(engine, [path, "--full"], {"NO_COLOR": ""})[1]
    quiet = on_a_terminal(engine, [script(pipeline()), "--full", "--quiet"])
    assert quiet == (0, "")


# Passwords

SECRET = "s3cret/&Ж"
QUOTED = "s3cret%2F%26%D0%96"


def tells_no_secret(result):
    text = result.stdout + result.stderr
    assert [word for word in (SECRET, QUOTED, "s3cret") if word in text] == [], text
    return result


@pytest.fixture
def role(pg):
    """A user with an odd password."""
    name = f"odd_{os.getpid()}"
    pg.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    yield name
    pg.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_password_in_the_database_url_works_and_is_not_told(engine, pg, role, script):
    make_things(pg, 2, f"GRANT SELECT ON things TO {role};")
    path = script(pipeline())
    good = pg.url_at(pg.port, user=role, password=QUOTED)
    assert len(tells_no_secret(ok(engine(path, "--dry-run", "--verbose", env={"DATABASE_URL": good}))).docs) == 2
    with Proxy(pg.port) as proxy:  # lost in the middle
        proxy.cut_after(3000)
        url = pg.url_at(proxy.port, user=role, password=QUOTED)
        tells_no_secret(ok(engine(path, "--dry-run", "--verbose", env={"DATABASE_URL": url})))


@pytest.mark.parametrize(
    "url, status",
    [
        (f"postgresql://etl:{QUOTED}@127.0.0.1:PORT/NAME", 1),  # a wrong one
        (f"host=127.0.0.1 port=PORT dbname=NAME user=etl password='{SECRET}'", 1),
        (f"postgresql://etl:{QUOTED}@127.0.0.1:1/NAME", 3),
        (f"postgresql://etl:{QUOTED}@no-such-host.invalid:5432/NAME", 3),
        ("postgresql://etl:etl@127.0.0.1:PORT/no_such_database", 1),
        (f"postgresql://etl:{QUOTED}@127.0.0.1:x/NAME", 2),
        (f"postgresql://etl:{QUOTED}@127.0.0.1:PORT/NAME?sslmod=x", 2),
        (f"postgresql://etl:{SECRET}@127.0.0.1:PORT/NAME", None),  # not quoted: who knows what libpq makes of it
        (f"host=127.0.0.1 password={SECRET} nonsense", 2),
    ],
)
def test_no_failure_to_connect_tells_the_password(engine, pg, script, url, status):
    make_things(pg, 1)
    url = url.replace("PORT", str(pg.port)).replace("NAME", pg.name)
    result = tells_no_secret(engine(script(pipeline()), "--dry-run", "--give-up-after", "1", env={"DATABASE_URL": url}))
    assert result.returncode == status if status is not None else result.returncode in (1, 2, 3), result
    assert result.stderr.count("etl-engine: error: ") == 1


@pytest.mark.parametrize(
    "url, status",
    [
        (f"http://elastic:{QUOTED}@127.0.0.1:PORT", 0),
        (f"http://elastic:{QUOTED}@127.0.0.1:1", 3),
        (f"http://elastic:{QUOTED}@no-such-host.invalid:9200", 3),
        (f"http://elastic:{QUOTED}@127.0.0.1:99999", 2),
        (f"ftp://elastic:{QUOTED}@127.0.0.1:1", 2),
        (f"elastic:{QUOTED}@127.0.0.1:1", None),
    ],
)
def test_no_search_server_s_password_is_told(engine, pg, search_one, script, url, status):
    make_things(pg, 1)
    env = {"ELASTICSEARCH_URL": url.replace("PORT", str(search_one.port))}
    result = tells_no_secret(engine(script(pipeline()), "--verbose", "--give-up-after", "1", env=env))
    assert result.returncode == status if status is not None else result.returncode in (1, 2, 3), result


def test_state_show_tells_no_secret(engine):
    env = {"DATABASE_URL": f"postgresql://etl:{QUOTED}@127.0.0.1:1/x", "ELASTICSEARCH_URL": f"http://e:{QUOTED}@127.0.0.1:1"}
    tells_no_secret(ok(engine("state", "show", MOVIES, env=env)))
