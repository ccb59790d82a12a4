"""Several pipelines in one process: scripts, and scripts that return a list. Each stands alone."""
import json
import os
import re
import signal
import time

import pytest

TABLES = ("person", "genre", "film")

LIST = """
local list = {}
for _, t in ipairs { "person", "genre", "film" } do
  list[#list + 1] = {
    name = t,
    source = {
      url = os.getenv "DATABASE_URL", table = t, key = "id", cursor = "modified",
      query = "SELECT id, v FROM " .. t,
    },
    sink = { url = os.getenv "ELASTICSEARCH_URL", index = t },
    state = os.getenv "FILE_PATH_STATE" .. "." .. t,
    poll_interval = 0.1,
  }
end
return list
"""


@pytest.fixture
def search(search_one):
    return search_one


@pytest.fixture
def tables(pg):
    for table in TABLES:
        pg.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, v text, modified timestamptz DEFAULT clock_timestamp())")
        pg.execute(f"CREATE INDEX ON {table} (modified, id)")
        pg.execute(f"INSERT INTO {table} (id, v) SELECT i, '{table} ' || i FROM generate_series(1, 10) i")
    return pg


def touch(pg, table, value):
    pg.execute(f"UPDATE {table} SET v = %s, modified = clock_timestamp() WHERE id = 3", (value,))


def shown(search, table):
    found = search.get(table, "3")
    return found and found["v"]


def one(text, name):
    """The script of one pipeline of the list."""
    return text.replace('"person", "genre", "film"', f'"{name}"').replace("return list", "return list[1]")


# Once


def test_a_list_and_a_script_are_loaded_in_one_run(tables, engine, search, script):
    first = script(LIST.replace(', "film"', ""), "list.lua")
    second = script(one(LIST, "film"), "film.lua")
    done = engine("run", first, second)
    assert done.returncode == 0, done
    for table in TABLES:
        assert len(search.docs(table)) == 10
        assert f"{table}: loading everything" in done.stderr
        assert os.path.exists(f"{engine.state}.{table}")


def test_one_of_a_list_is_named(tables, engine, search, script):
    path = script(LIST)
    assert engine("run", f"{path}#genre").returncode == 0
    assert len(search.docs("genre")) == 10 and not search.exists("film")
    shown_state = engine("state", "show", f"{path}#genre")
    assert "pipeline   genre" in shown_state.stdout
    wrong = engine("run", f"{path}#gener")
    assert wrong.returncode == 2 and "has no pipeline 'gener', did you mean 'genre'?" in wrong.stderr
    no_list = engine("run", f"{script(one(LIST, 'film'), 'film.lua')}#film")
    assert no_list.returncode == 2 and "film.lua does not return a list: leave out '#film'" in no_list.stderr, no_list
    which = engine("state", "reset", path)
    assert which.returncode == 2 and "name the one that is meant" in which.stderr


def test_one_that_fails_does_not_stop_the_others_and_counts(tables, engine, search, script):
    tables.execute("DROP TABLE genre")
    done = engine("run", script(LIST))
    assert done.returncode == 2, done
    assert done.stderr.count('relation "genre" does not exist') == 1
    assert len(search.docs("person")) == len(search.docs("film")) == 10


def test_rejected_documents_of_one_show_in_the_status(tables, engine, search, script):
    text = LIST.replace('index = t }', 'index = t, mappings = t == "film" and { properties = { v = { type = "integer" } } } or nil }')
    done = engine("run", script(text))
    assert done.returncode == 4, done
    assert len(search.docs("person")) == 10 and search.count("film") == 0


@pytest.mark.parametrize("change, words", [
    (("name = t,", 'name = "same",'), "two pipelines of the list have the name 'same'"),
    (('.. "." .. t', '.. ".one"'), "have the same state"),
    (("index = t }", 'index = "all" }'), "have the same index 'all'"),
    (('cursor = "modified",', 'capture = "wal", slot = "one", publication = t,'), "share slot 'one', but not the publication"),
])
def test_what_they_share_by_mistake_is_refused(tables, engine, search, script, change, words):
    text = LIST.replace(*change)
    assert text != LIST
    done = engine("run", script(text))
    assert done.returncode == 2 and words in done.stderr, done
    assert not search.exists("film") and not search.exists("all")


@pytest.mark.parametrize("option", [("--keys", "1"), ("--limit", "1"), ("--since", "2020-01-01T00:00:00Z"),
                                    ("--keys", "1", "--dry-run")])
def test_options_for_one_pipeline(tables, engine, script, option):
    done = engine("run", script(LIST), *option)
    assert done.returncode == 2 and f"option {option[0]} takes one pipeline" in done.stderr, done


def test_a_mistake_has_its_line_in_the_list(tables, engine, script):
    fields = 'source = { url = "postgresql:///x", table = "t", key = "id", query = "SELECT 1" },\n'
    sink = 'sink = { url = "http://127.0.0.1:1", index = "%s" }, state = os.getenv "FILE_PATH_STATE" .. "%s" }'
    text = ("return {\n  { name = 'a',\n" + fields + sink % ("a", "a") + ",\n  { name = 'b',\n" + fields
            + "    curser = 1,\n" + sink % ("b", "b") + "\n}\n")
    done = engine("run", script(text, "two.lua"), "--give-up-after", "1")
    assert done.returncode == 2, done
    line = text[:text.index("curser")].count("\n") + 1
    assert f"two.lua:{line}: unknown field 'curser'" in done.stderr, done


def test_each_log_line_names_its_pipeline(tables, engine, search, script):
    done = engine("run", script(LIST), "--log-format", "json", "--verbose")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line.get("pipeline") for line in lines} == set(TABLES)


def test_a_script_that_cannot_be_read_does_not_stop_the_others(tables, engine, search, script):
    good, broken = script(LIST.replace(', "film"', ""), "list.lua"), script("return {", "film.lua")
    for scripts in ((good, broken), (broken, good)):
        done = engine("run", *scripts)
        assert done.returncode == 2 and done.stderr.count("film.lua:1: ") == 1, done
        assert done.stderr.splitlines()[-1].endswith(f"1 of 3 pipelines failed: {broken}"), done
    assert len(search.docs("person")) == len(search.docs("genre")) == 10
    done = engine("verify", good, broken)
    assert done.returncode == 2 and done.stderr.count("film.lua") == 1, done
    assert "person: 10 documents compared" in done.stdout and "genre: 10 documents compared" in done.stdout, done
    done = engine("run", broken, script("return", "other.lua"))
    assert done.returncode == 2 and "film.lua:1: " in done.stderr and "other.lua:1: " in done.stderr, done
    assert done.stderr.endswith("error: none of the 2 scripts can be read\n"), done


# Other commands, one pipeline after the other


def test_other_commands_take_several(tables, engine, search, script):
    path, film = script(LIST.replace(', "film"', ""), "list.lua"), script(one(LIST, "film"), "film.lua")
    dry = engine("run", path, film, "--dry-run", "--limit", "2")
    assert dry.returncode == 0 and len(dry.stdout.splitlines()) == 6 and not search.exists("film"), dry
    assert engine("reindex", path, film).returncode == 0
    search.request("POST", "genre/_update/3?refresh=true", {"doc": {"v": "spoilt"}})
    for command in ("verify", "diff"):
        done = engine(command, path, film)
        assert done.returncode == 5, done
        order = [done.stdout.index(f"{table}: 10 documents compared") for table in TABLES]
        assert order == sorted(order), done
    done = engine("verify", path, film, "--format", "json")
    assert [json.loads(line)["pipeline"] for line in done.stdout.splitlines()] == list(TABLES)
    assert engine("verify", path, film, "--repair").returncode == 0
    states = engine("state", "show", path, film)
    assert states.returncode == 0 and states.stdout.count("pipeline   ") == 3, states
    refused = engine("diff", path, "--keys", "1")
    assert refused.returncode == 2 and "option --keys takes one pipeline" in refused.stderr


def test_the_worst_status_counts_and_the_others_still_come(tables, engine, search, script):
    path = script(LIST)
    assert engine("run", path).returncode == 0
    tables.execute("DROP TABLE person")
    done = engine("verify", path)
    assert done.returncode == 2 and f"{path}#person: " in done.stderr, done
    assert "genre: 10 documents compared" in done.stdout and "film: 10 documents compared" in done.stdout


# --follow


@pytest.fixture
def following(tables, engine, search, script, wait_until):
    """An engine that follows the list; its script can be changed."""
    path = script(LIST, "list.lua")
    running = engine.start("run", path, "--follow")
    running.path = path
    wait_until(lambda: running.stderr.count("following, every") == len(TABLES), timeout=60)
    return running


def test_a_table_that_is_dropped_fails_one_until_it_is_there_again(tables, following, search, wait_until):
    tables.execute("ALTER TABLE genre RENAME TO away")
    wait_until(lambda: "genre: starting again in" in following.stderr, timeout=60)
    for table in ("person", "film"):
        touch(tables, table, "while genre is away")
        wait_until(lambda: shown(search, table) == "while genre is away", timeout=60)
    tables.execute("ALTER TABLE away RENAME TO genre")
    touch(tables, "genre", "again")
    wait_until(lambda: shown(search, "genre") == "again", timeout=120)
    done = following.stop()
    assert done.returncode == 143


@pytest.mark.skipif(os.environ.get("ETL_FAULTS") != "long", reason="follows for some time (ETL_FAULTS=long)")
def test_after_a_success_the_next_failure_is_a_first_one(tables, following, search, wait_until):
    def waits():
        return re.findall(r"genre: starting again in (\d+) s", following.stderr)

    tables.execute("ALTER TABLE genre RENAME TO away")
    wait_until(lambda: len(waits()) == 4, timeout=60)
    assert waits() == ["1", "2", "4", "8"]
    tables.execute("ALTER TABLE away RENAME TO genre")
    touch(tables, "genre", "again")
    wait_until(lambda: shown(search, "genre") == "again", timeout=60)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 11, timeout=60)
    tables.execute("ALTER TABLE genre RENAME TO away")
    wait_until(lambda: len(waits()) > 4, timeout=60)
    assert waits()[4] == "1"


def test_a_broken_script_leaves_all_as_they_are(tables, following, search, wait_until):
    with open(following.path, "w", encoding="utf-8") as f:
        f.write("return {")
    following.signal(signal.SIGHUP)
    wait_until(lambda: following.stderr.count("could not reload the script") == len(TABLES), timeout=60)
    for table in TABLES:
        touch(tables, table, "still")
        wait_until(lambda: shown(search, table) == "still", timeout=60)


def test_a_reload_reaches_each_of_them(tables, following, search, wait_until):
    text = LIST.replace('"SELECT id, v FROM "', '"SELECT id, upper(v) AS v FROM "')
    with open(following.path, "w", encoding="utf-8") as f:
        f.write(text)
    following.signal(signal.SIGHUP)
    for table in TABLES:  # a sweep follows
        wait_until(lambda: shown(search, table) == f"{table} 3".upper(), timeout=60)


def test_a_script_that_was_broken_at_the_start_joins_once_it_is_mended(tables, engine, search, script, wait_until):
    good, film = script(LIST.replace(', "film"', ""), "list.lua"), script("return {", "film.lua")
    running = engine.start("run", good, film, "--follow")
    wait_until(lambda: running.stderr.count("following, every") == 2, timeout=60)
    for table in ("person", "genre"):
        touch(tables, table, "while film is broken")
        wait_until(lambda: shown(search, table) == "while film is broken", timeout=60)
    assert "film.lua: starting again in" in running.stderr and not search.exists("film")
    script(one(LIST, "film").replace("index = t", 'index = "genre"'), "film.lua")
    running.signal(signal.SIGHUP)
    wait_until(lambda: "have the same index 'genre'" in running.stderr, timeout=60)
    script(one(LIST, "film"), "film.lua")
    running.signal(signal.SIGHUP)
    wait_until(lambda: "film: following" in running.stderr, timeout=60)
    touch(tables, "film", "mended")
    wait_until(lambda: shown(search, "film") == "mended", timeout=60)
    assert running.stop().returncode == 143


def test_all_end_together(following):
    done = following.stop()
    assert done.returncode == 143
    assert done.stderr.count("stopped by SIGTERM") == 1
