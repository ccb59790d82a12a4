"""--follow stays, keeps the index true, and takes what comes: signals, restarts, a script that changes."""
import os
import re
import signal

import films
import pytest
import tools
from films import run, state

ROWS = 20


@pytest.fixture
def search(search_one):
    """What is tested here is PostgreSQL's side, and the engine's: one search server will do."""
    return search_one


@pytest.fixture
def started(engine, pg, search, script, wait_until):
    """start(): an engine that follows table t; start.path is its script."""
    films.table(pg, rows=ROWS)

    def start(*words, text=None, **options):
        start.path = script(text or films.plain())
        return films.follow(engine, start.path, *words, wait_until=wait_until, **options)

    return start


def touch(pg, value="w", where="id = 3"):
    pg.execute(f"UPDATE t SET v = '{value}', modified = clock_timestamp() WHERE {where}")


def test_it_loads_stays_and_saves_its_state_as_it_goes(started, engine, pg, search, wait_until):
    running = started()
    assert search.count("t") == ROWS
    for value in ("a", "b", "c"):
        touch(pg, value)
        wait_until(lambda: search.get("t", "3") == {"v": value})
    last = pg.value("SELECT (extract(epoch FROM max(modified)) * 1000000)::bigint FROM t")
    wait_until(lambda: state(engine)["tables"]["public.t"]["us"] == last)
    wait_until(lambda: os.stat(engine.state).st_mtime_ns // 1000 == last)
    newest = pg.value("SELECT max(xmin::text::bigint) FROM t")
    wait_until(lambda: state(engine)["tables"]["public.t"]["window"].get("xid", 0) > newest)  # the pass has ended
    running.kill()
    before = search.versions("t")
    run(engine, started.path)
    assert not films.changed(before, search.versions("t"))


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_at_once_with_everything_saved(started, engine, pg, search, wait_until, number, code):
    running = started()
    touch(pg)
    wait_until(lambda: search.get("t", "3") == {"v": "w"})
    running.signal(number)
    assert running.wait().returncode == code


def test_sighup_reloads_the_script(started, pg, search, script, wait_until):
    running = started()
    script(films.plain(document='return { v = "new " .. row.v }'))
    running.signal(signal.SIGHUP)
    wait_until(lambda: "reloaded" in running.stderr)
    touch(pg, "a")
    wait_until(lambda: search.get("t", "3") == {"v": "new a"})
    wait_until(lambda: search.get("t", "7") == {"v": "new v7"})  # documents that did not change, too
    assert running.stop().returncode == 143


@pytest.mark.parametrize(
    "text, why",
    [
        ("return {", r"script\.lua:\d+: .*expected"),
        (films.plain(columns="id, nothing"), r"script\.lua:\d+: .*nothing"),
        (films.plain(index="other"), r"'sink\.index' has changed: restart to use the new value"),
        (films.plain(sink='user = "me", api_key = "k"'), r"given api_key and user, which exclude each other"),
        (films.plain(cursor=None, extra="sweep = 0,"), r"script\.lua: option --follow would see no change"),
    ],
    ids=["syntax", "query", "index", "user", "never"],
)
def test_a_script_that_cannot_be_reloaded_leaves_the_old_one_at_work(started, pg, search, script, wait_until, text, why):
    running = started()
    script(text)
    running.signal(signal.SIGHUP)
    wait_until(lambda: re.search(rf"could not reload the script, still running the previous version: .*{why}", running.stderr))
    touch(pg)
    wait_until(lambda: search.get("t", "3") == {"v": "w"})
    assert running.alive() and not search.exists("other")


def test_a_related_table_may_be_added_by_a_reload(engine, pg, search, script, wait_until):
    pg.execute(films.SCHEMA)
    running = films.follow(engine, script(films.lua((films.GENRE,))), wait_until=wait_until)
    script(films.lua((films.LINK, films.PERSON, films.GENRE)))
    running.signal(signal.SIGHUP)
    wait_until(lambda: "reloaded" in running.stderr)
    films.touch(pg, "name = 'renamed'", "id = 3", "person")
    films.touch(pg, "name = 'renamed'", "id = 3", "genre")
    wait_until(lambda: search.get("films", "12")["actors"] == ["actor renamed"]
               and search.get("films", "12")["genres"] == ["renamed"])
    wait_until(lambda: {"public.person", "public.genre", "public.film_genre"} <= set(state(engine)["tables"]))


def test_a_reload_asked_for_during_the_load_comes_after_it(engine, pg, search, script, wait_until):
    films.table(pg)
    path = script(films.plain(document="etl.pg.query 'SELECT pg_sleep(0.1)' return { v = row.v }", head='local etl = require "etl"'))
    running = engine.start(path, "--follow")
    wait_until(lambda: pg.value("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(0.1)'"))
    script(films.plain(document="return { v = 'new' }"))
    running.signal(signal.SIGHUP)
    wait_until(lambda: "reloaded" in running.stderr or not running.alive())
    wait_until(lambda: search.get("t", "7") == {"v": "new"})
    assert running.stop().returncode == 143


@pytest.mark.skipif(os.environ.get("ETL_FAULTS") != "long", reason="a minute until the next line (ETL_FAULTS=long)")
def test_the_progress_goes_on_after_a_reload(started, pg, wait_until):
    running = started()
    running.signal(signal.SIGHUP)
    wait_until(lambda: "reloaded" in running.stderr)
    said = len(running.stderr)
    touch(pg, "a")
    wait_until(lambda: re.search(r"info  films: following: \d+ document", running.stderr[said:]) or not running.alive(), timeout=100)
    assert running.stop().returncode == 143


def test_many_reloads_lose_nothing(started, pg, search, script, wait_until):
    running = started()
    for n in range(10):
        running.signal(signal.SIGHUP)
        touch(pg, f"n{n}", f"id = {n + 1}")
    wait_until(lambda: all(search.get("t", str(n + 1)) == {"v": f"n{n}"} for n in range(10)))
    assert running.stop().returncode == 143


def test_it_survives_postgresql_being_restarted(started, pg, search, wait_until):
    running = started()
    pg.terminate()
    touch(pg, "a")
    wait_until(lambda: search.get("t", "3") == {"v": "a"})
    pg.server.restart()
    touch(pg, "b")
    wait_until(lambda: search.get("t", "3") == {"v": "b"})
    assert running.alive()
    assert running.stop().returncode == 143


def test_it_survives_the_search_server_being_frozen(started, pg, search, wait_until):
    running = started()
    search.server.freeze()
    try:
        touch(pg, "a")
        wait_until(lambda: pg.value("SELECT true"))
    finally:
        search.server.thaw()
    wait_until(lambda: search.get("t", "3") == {"v": "a"})
    assert running.alive()


def test_it_survives_the_search_server_being_killed(engine, pg, search_one, script, wait_until):
    films.table(pg, rows=ROWS)
    running = films.follow(engine, script(films.plain()), wait_until=wait_until)
    search_one.server.kill()
    touch(pg, "a")
    wait_until(lambda: re.search(r"warn .*trying again", running.stderr))
    search_one.server.up()
    wait_until(lambda: search_one.get("t", "3") == {"v": "a"}, timeout=60)
    assert running.stop().returncode == 143


def test_it_idles_for_next_to_nothing(started, wait_until):
    running = started(text=films.plain(extra=""))  # the default interval
    films.settle(1)

    def ticks():
        with open(f"/proc/{running.pid}/stat", encoding="utf-8") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = ticks()
    films.settle(5)
    assert ticks() - before <= 0.05 * tools.SLOW


@pytest.mark.parametrize("words", [("--keys", "1"), ("--keys-from", "-"), ("--limit", "1"), ("--dry-run",)])
def test_options_that_contradict_it_are_wrong_use(engine, pg, search_one, script, words):
    films.table(pg)
    done = run(engine, script(films.plain()), "--follow", *words, code=2)
    assert re.search(rf"options --follow and {words[0]} exclude each other", done.stderr)


def test_without_a_cursor_and_without_sweeps_it_is_wrong_use_and_nothing_is_loaded(engine, pg, search_one, script):
    films.table(pg)
    done = run(engine, script(films.plain(cursor=None, extra="sweep = 0,")), "--follow", code=2)
    assert "--follow would see no change" in done.stderr and "hint: sweep = 60" in done.stderr, done
    assert search_one.count("t") == 0


def test_without_a_cursor_it_lives_by_sweeps_and_sends_what_differs(started, pg, search, wait_until):
    running = started(text=films.plain(cursor=None, extra="poll_interval = 0.1, sweep = 0.3,"))
    assert "'t' has no cursor: its changes are seen by a sweep, every 0.3 s" in running.stderr
    before = search.versions("t")
    pg.execute("UPDATE t SET v = 'w' WHERE id = 3; DELETE FROM t WHERE id = 4; INSERT INTO t VALUES (100, 'new')")
    wait_until(lambda: search.get("t", "100") and not search.get("t", "4"))
    pg.execute("UPDATE t SET v = 'x' WHERE id = 3")
    wait_until(lambda: search.get("t", "3") == {"v": "x"})
    assert films.changed(before, search.versions("t")) == {"3", "4", "100"}
    assert running.stop().returncode == 143


def test_without_a_cursor_it_begins_up_to_date_however_seldom_it_sweeps(started, engine, pg, search, wait_until):
    text = films.plain(cursor=None)
    started(text=text).stop()
    pg.execute("UPDATE t SET v = 'w' WHERE id = 3")
    running = started(text=text)
    wait_until(lambda: search.get("t", "3") == {"v": "w"})
    assert running.stop().returncode == 143


def test_related_tables_that_have_cursors_are_looked_at_where_the_root_has_none(engine, pg, search, script, wait_until):
    pg.execute(films.SCHEMA)
    text = films.lua((films.LINK, films.PERSON), cursor=None, extra="poll_interval = 0.1, sweep = 0,")
    running = films.follow(engine, script(text), wait_until=wait_until)
    assert "'film' has no cursor, and sweeps are off" in running.stderr
    films.touch(pg, "name = 'renamed'", "id = 3", "person")
    wait_until(lambda: search.get("films", "12")["actors"] == ["actor renamed"])
    assert running.stop().returncode == 143


def test_a_reload_may_take_the_cursor_away_and_bring_it_back(started, pg, search, script, wait_until):
    running = started()
    for n, cursor in enumerate((None, "modified", None, "modified")):
        script(films.plain(cursor=cursor, extra=f"poll_interval = 0.1, sweep = {3600 if cursor else 0.2},"))
        running.signal(signal.SIGHUP)
        wait_until(lambda: running.stderr.count("reloaded") > n)
        pg.execute("UPDATE t SET v = %s WHERE id = 3", (f"w{n}",)) if not cursor else touch(pg, f"w{n}")
        wait_until(lambda: search.get("t", "3") == {"v": f"w{n}"})
    assert running.stop().returncode == 143
