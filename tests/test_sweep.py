"""The sweep finds what no cursor tells, and writes that alone; the guard keeps mistakes from emptying an index."""
import json
import os
import re
import signal
import time
import urllib.parse

import films
import pytest
from films import changed, run, state

ROWS = 60


@pytest.fixture
def loaded(engine, pg, search, script):
    """A table of 60 rows in an index, and its script. What changes without its cursor is below all that looks read."""
    films.table(pg, rows=ROWS)
    path = script(films.plain(source="lookback = 0,"))
    run(engine, path)
    return path


def test_deleted_rows_and_rows_whose_cursor_did_not_move_are_found_and_nothing_else_is_written(engine, loaded, pg, search):
    run(engine, loaded)
    before = search.versions("t")
    pg.execute("DELETE FROM t WHERE id IN (3, 40)")
    pg.execute("UPDATE t SET v = 'w' WHERE id = 7")
    pg.execute("INSERT INTO t VALUES (100, 'old', '2001-01-01')")
    run(engine, loaded)
    assert not changed(before, search.versions("t"))
    done = run(engine, loaded, "--sweep")
    assert changed(before, search.versions("t")) == {"3", "40", "7", "100"}
    assert search.get("t", "3") is None and search.get("t", "7") == {"v": "w"} and search.get("t", "100") == {"v": "old"}
    assert "2 documents indexed, 2 deleted" in done.stderr and f"{ROWS - 3} unchanged" in done.stderr, done


def test_a_load_into_an_index_with_documents_is_followed_by_a_sweep(engine, loaded, pg, search, wait_until):
    pg.execute("DELETE FROM t WHERE id = 3")
    engine("state", "reset", loaded)
    running = engine.start(loaded, "--follow")
    wait_until(lambda: "films: swept" in running.stderr, timeout=60)
    assert "'t' has documents already: a sweep follows the load" in running.stderr
    running.stop()
    assert search.get("t", "3") is None and search.count("t") == ROWS - 1


def test_a_table_without_a_cursor_is_swept_after_a_load_into_an_index_with_documents(engine, loaded, pg, search, script):
    pg.execute("DELETE FROM t WHERE id = 3")
    engine("state", "reset", loaded)
    done = run(engine, script(films.plain(cursor=None)))
    assert "loading everything" in done.stderr and "sweeping" in done.stderr, done
    assert search.get("t", "3") is None and search.count("t") == ROWS - 1


def test_documents_that_others_edited_lost_or_added_are_put_right(engine, loaded, search):
    run(engine, loaded)
    before = search.versions("t")
    version = before["5"] + 1
    search.request("PUT", f"t/_doc/5?version={version}&version_type=external", {"v": "edited"})
    search.request("DELETE", f"t/_doc/6?version={version}&version_type=external")
    search.request("PUT", "t/_doc/1000", {"v": "an orphan"})
    for alien in ("not a number", "12:x", "99999999999999999999", "ключ"):
        search.request("PUT", f"t/_doc/{urllib.parse.quote(alien, safe='')}", {"v": "an alien"})
    search.refresh("t")
    run(engine, loaded, "--sweep")
    assert search.docs("t") == {str(i): {"v": f"v{i}"} for i in range(1, ROWS + 1)}
    assert changed(before, search.versions("t")) == {"5", "6"}


def test_an_id_that_is_a_key_in_another_spelling_is_an_orphan(engine, loaded, search):
    search.request("PUT", "t/_doc/007", {"v": "v7"})
    search.refresh("t")
    run(engine, loaded, "--sweep")
    assert search.get("t", "007") is None and search.get("t", "7") == {"v": "v7"}


def test_a_sweep_that_was_killed_goes_on_where_it_was(engine, pg, search, script, wait_until):
    films.table(pg, rows=6000)
    path = script(films.plain())
    run(engine, path)
    pg.execute("UPDATE t SET v = 'w' WHERE id % 100 = 0")
    pg.execute("DELETE FROM t WHERE id = 50")
    every = "poll_interval = 0.1, sweep = 1,"
    slow = script(films.plain(document="for _ = 1, 30000 do end return { v = row.v }", extra=every), "slow.lua")
    running = films.follow(engine, slow, "--workers", "1", wait_until=wait_until)
    after = wait_until(lambda: state(engine)["sweep"]["after"])
    running.kill()
    assert 0 < int(after) < 6000
    path = script(films.plain(extra=every))
    running = films.follow(engine, path, wait_until=wait_until)
    wait_until(lambda: "swept" in running.stderr)
    done = running.stop()
    left = int(re.search(r"([\d,]+) unchanged", done.stderr).group(1).replace(",", ""))
    assert left <= 6000 - int(after)
    assert search.get("t", "50") is None and all(search.get("t", str(i)) == {"v": "w"} for i in (100, 3000, 6000))
    assert state(engine)["sweep"]["swept"] > 0


def test_a_query_that_takes_long_before_its_first_row_is_asked_for_more_keys_at_once(engine, pg, search_one, script):
    """A sweep's pages have a thousand keys, and twenty of these would take as long as twenty whole queries."""
    films.table(pg, rows=20000)
    path = script(films.lua(query="SELECT t.id, t.v FROM t, (SELECT pg_sleep(0.3)) s", table="t", index="t",
                            document="return { v = row.v }", source="lookback = 0,"))  # or a look would see the change
    run(engine, path)
    assert search_one.count("t") == 20000
    pg.execute("UPDATE t SET v = 'w' WHERE id = 19999")
    done = run(engine, path, "--sweep", "--verbose", "--workers", "1")
    assert "1 document indexed" in done.stderr and "19,999 unchanged" in done.stderr, done
    assert 0 < len(re.findall("until the first one; next chunk", done.stderr)) < 10, done


def test_following_sweeps_by_itself(engine, loaded, pg, search, script, wait_until):
    path = script(films.plain(extra="poll_interval = 0.1, sweep = 1,"))
    running = films.follow(engine, path, wait_until=wait_until)
    for key in ("3", "4"):  # twice
        pg.execute(f"DELETE FROM t WHERE id = {key}")
        wait_until(lambda: search.get("t", key) is None)
    assert running.stop().returncode == 143


def whole_sweep(running, wait_until):
    """Until a sweep that begins after this call has ended."""
    begun = running.stderr.count("sweeping")
    wait_until(lambda: running.stderr.count("swept") > begun or not running.alive(), what="a sweep")
    assert running.alive(), running.stderr


def test_every_sweep_of_one_that_follows_compares_every_row(engine, loaded, pg, search, script, wait_until):
    path = script(films.plain(extra="poll_interval = 0.1, sweep = 0.2,"))
    running = films.follow(engine, path, wait_until=wait_until)
    for n in range(4):
        pg.execute("UPDATE t SET v = %s WHERE id IN (1, 30, 60)", (f"w{n}",))
        whole_sweep(running, wait_until)
        assert [search.get("t", key)["v"] for key in ("1", "30", "60")] == [f"w{n}"] * 3
    assert running.stop().returncode == 143


def test_what_changed_before_the_place_where_a_sweep_was_broken_off_is_found_by_the_next_one(engine, pg, search, script, wait_until):
    films.table(pg, rows=6000)
    run(engine, script(films.plain()))
    every = "poll_interval = 0.1, sweep = 0.5,"
    slow = script(films.plain(document="for _ = 1, 30000 do end return { v = row.v }", extra=every), "slow.lua")
    running = films.follow(engine, slow, "--workers", "1", wait_until=wait_until)
    wait_until(lambda: state(engine)["sweep"]["after"])
    assert running.stop().returncode == 143
    pg.execute("UPDATE t SET v = 'w' WHERE id IN (1, 6000)")
    running = films.follow(engine, script(films.plain(extra=every)), wait_until=wait_until)
    for _ in range(2):
        whole_sweep(running, wait_until)
    assert [search.get("t", key)["v"] for key in ("1", "6000")] == ["w", "w"]
    assert running.stop().returncode == 143


def edit_state(engine, change):
    """change(the state's JSON), its file's time left as it is."""
    noted, mtime = state(engine), os.stat(engine.state).st_mtime_ns
    change(noted)
    with open(engine.state, "w", encoding="utf-8") as f:
        json.dump(noted, f)
    os.utime(engine.state, ns=(mtime, mtime))


def test_a_sweep_that_had_looked_at_all_rows_when_it_was_broken_off_does_so_again(engine, loaded, pg, search, wait_until):
    """An engine that is stopped time and again while it walks over the ids would compare no row ever after."""
    edit_state(engine, lambda noted: noted["sweep"].update(after=str(ROWS)))
    pg.execute("UPDATE t SET v = 'w' WHERE id = 7; DELETE FROM t WHERE id = 8")
    running = films.follow(engine, loaded, wait_until=wait_until)
    wait_until(lambda: "swept" in running.stderr)
    assert search.get("t", "7") == {"v": "w"} and not search.get("t", "8")
    assert running.stop().returncode == 143


@pytest.mark.parametrize("swept", [2000000000000000, 0], ids=["in the future", "never"])
def test_a_noted_time_that_tells_nothing_keeps_no_sweep_away(engine, loaded, pg, search, script, wait_until, swept):
    edit_state(engine, lambda noted: noted["sweep"].update(swept=swept))  # by a host whose clock was ahead
    pg.execute("DELETE FROM t WHERE id = 3")
    running = films.follow(engine, loaded, wait_until=wait_until)
    wait_until(lambda: search.get("t", "3") is None and "swept" in running.stderr)
    assert running.stop().returncode == 143
    assert abs(state(engine)["sweep"]["swept"] / 1e6 - time.time()) < 600
    running = films.follow(engine, loaded, wait_until=wait_until)  # and the next one waits for an hour
    pg.execute("UPDATE t SET v = 'w', modified = clock_timestamp() WHERE id = 7")
    wait_until(lambda: search.get("t", "7") == {"v": "w"})
    assert "sweeping" not in running.stop().stderr


def test_a_reload_in_the_midst_of_a_sweep_begins_a_whole_one(engine, pg, search_one, script, wait_until):
    films.table(pg, rows=6000)
    run(engine, script(films.plain()))
    slow = "for _ = 1, 30000 do end return { v = row.v }"
    path = script(films.plain(document=slow, extra="poll_interval = 0.1, sweep = 1,"))
    running = films.follow(engine, path, "--workers", "1", wait_until=wait_until)
    wait_until(lambda: state(engine)["sweep"]["after"])
    pg.execute("UPDATE t SET v = 'w' WHERE id IN (1, 6000)")
    script(films.plain(extra="poll_interval = 0.1, sweep = 3600,"))
    running.signal(signal.SIGHUP)
    wait_until(lambda: "swept" in running.stderr)
    assert [search_one.get("t", key)["v"] for key in ("1", "6000")] == ["w", "w"]
    wait_until(lambda: state(engine)["sweep"]["after"] is None)
    assert running.stop().returncode == 143


def test_following_may_be_told_never_to_sweep(engine, loaded, pg, search, script, wait_until):
    path = script(films.plain(extra="poll_interval = 0.1, sweep = 0,"))
    films.follow(engine, path, wait_until=wait_until)
    pg.execute("DELETE FROM t WHERE id = 3")
    films.settle(1)
    assert search.get("t", "3")


# An index that gives back something else

OTHERWISE = {
    "excludes": ("mappings = { _source = { excludes = { 'v' } } }", 'its mapping has _source {"excludes":["v"]}'),
    "disabled": ("mappings = { _source = { enabled = false } }", 'its mapping has _source {"enabled":false}'),
    "derived": ("settings = { ['index.derived_source.enabled'] = true }, mappings = { properties = { v = { type = 'keyword' } } }",
                "its setting index.derived_source.enabled is 'true'"),
}


@pytest.mark.parametrize("kind", OTHERWISE)
def test_an_index_that_does_not_give_back_what_was_sent_is_told_once(engine, pg, search, script, wait_until, kind):
    """Every sweep writes all documents again then: which is right, but costs."""
    if kind == "derived" and search.name != "opensearch3":
        pytest.skip("this server has no such setting")
    sink, why = OTHERWISE[kind]
    films.table(pg, rows=ROWS)
    text = films.plain(sink=sink, document="return { v = { row.v, 'a' } }", extra="poll_interval = 0.1, sweep = 0.2,")
    path = script(text)
    running = films.follow(engine, path, wait_until=wait_until)
    for _ in range(2):
        whole_sweep(running, wait_until)
    done = running.stop()
    assert done.stderr.count("does not return documents as they were sent") == 1 and why in done.stderr, done
    run(engine, path)
    done = run(engine, path, "--sweep")
    assert done.stderr.count("each sweep writes all of them again") == 1 and f"{ROWS} documents indexed" in done.stderr, done


def test_an_index_that_gives_back_what_was_sent_is_not_blamed_for_rows_of_one_key(engine, pg, search_one, script):
    films.table(pg, rows=ROWS)
    twice = films.lua(query="SELECT t.id, t.v, n FROM t, generate_series(1, 2) n", table="t", index="t", document="return { v = row.n }")
    path = script(twice)
    for words in ((), ("--sweep",)):
        assert "as they were sent" not in run(engine, path, *words).stderr


def test_orphans_behind_the_filter_of_an_alias_are_found(engine, pg, search, script):
    films.table(pg, rows=ROWS)
    search.request("PUT", "real", {"aliases": {"t": {"filter": {"term": {"v.keyword": "v3"}}}}})
    path = script(films.plain())
    assert "all of index 'real' is kept in sync" in run(engine, path).stderr
    assert search.count("t") == 1 and search.count("real") == ROWS
    pg.execute("DELETE FROM t WHERE id IN (3, 4)")
    search.request("PUT", "real/_doc/1000", {"v": "an orphan"})
    search.refresh("real")
    done = run(engine, path, "--sweep")
    assert "3 deleted" in done.stderr and search.docs("real") == {str(i): {"v": f"v{i}"} for i in range(1, ROWS + 1) if i not in (3, 4)}


def test_documents_of_others_behind_the_filter_of_an_alias_are_left_alone(engine, pg, search, script):
    films.table(pg, rows=ROWS)
    search.request("PUT", "real", {"aliases": {"t": {"filter": {"term": {"tenant": 1}}}}})
    search.request("PUT", "real/_doc/1000", {"tenant": 2})
    search.refresh("real")
    done = run(engine, script(films.plain()), code=2)
    assert "1 document of index 'real'" in done.stderr and "hint: to use the whole index: index = \"real\"" in done.stderr, done
    assert search.count("real") == 1


# The guard

WRONG = {
    "an emptied table": ("TRUNCATE t", {}),
    "hidden rows": ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", {}),
    "a wrong join": ("SELECT 1", {"table": "t", "query": "SELECT t.id, t.v FROM t JOIN pg_class c ON c.oid = 0"}),
    "document() gives nil": ("SELECT 1", {"document": "return nil"}),
}


@pytest.fixture
def guest(pg):
    pg.execute("DROP ROLE IF EXISTS guest_reader")
    pg.execute("CREATE ROLE guest_reader LOGIN PASSWORD 'guest'; GRANT pg_read_all_data TO guest_reader")
    yield {"DATABASE_URL": pg.url_at(pg.port, "guest_reader", "guest")}
    pg.execute("DROP OWNED BY guest_reader; DROP ROLE guest_reader")


def test_rows_that_row_security_hides_are_told(engine, pg, search_one, script, guest, wait_until):
    films.table(pg, rows=ROWS)
    pg.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    path = script(films.plain(extra="poll_interval = 0.1, sweep = 0.2,"))
    running = films.follow(engine, path, wait_until=wait_until, env=guest)
    for _ in range(2):
        whole_sweep(running, wait_until)
    done = running.stop()
    assert "0 documents indexed" in done.stderr and done.stderr.count("cannot see any row of 't': its row security") == 1, done
    assert "row security" not in run(engine, path, "--sweep").stderr  # the owner sees all
    pg.execute("CREATE POLICY a ON t USING (id > 5)")
    done = run(engine, path, "--dry-run", "--limit", "1", env=guest)
    assert len(done.docs) == 1 and "row security is active in 't' for this user" in done.stderr, done
    pg.execute("ALTER POLICY a ON t USING (false)")
    assert run(engine, path, "--sweep", code=1, env=guest).stderr.count("cannot see any row of 't'") == 1


def make(kind, script, pg):
    sql, words = WRONG[kind]
    pg.execute(sql)
    if "query" in words:
        return script(films.lua(document="return { v = row.v }", index="t", **words))
    return script(films.plain(**words))


@pytest.mark.parametrize("kind", WRONG)
def test_the_guard_stops_a_sweep_that_would_empty_the_index(engine, loaded, pg, search, script, guest, kind):
    path = make(kind, script, pg)
    done = run(engine, path, "--sweep", code=1, env=guest)
    assert "refusing to delete" in done.stderr and "--allow-deletes" in done.stderr
    assert search.count("t") == ROWS
    run(engine, path, "--sweep", code=1, env=guest)  # nor at the next try
    assert search.count("t") == ROWS
    run(engine, path, "--sweep", "--allow-deletes", env=guest)
    assert search.count("t") == 0


@pytest.mark.parametrize("kind", ["a wrong join", "document() gives nil"])
def test_the_guard_stops_a_poll_too(engine, loaded, pg, search, script, kind):
    path = make(kind, script, pg)
    pg.execute("UPDATE t SET modified = clock_timestamp()")
    position = state(engine)["tables"]
    done = run(engine, path, code=1)
    assert "refusing to delete" in done.stderr
    assert search.count("t") == ROWS and state(engine)["tables"] == position
    run(engine, path, "--allow-deletes")
    assert search.count("t") == 0


@pytest.mark.parametrize("kind", ["an emptied table", "document() gives nil"])
def test_the_guard_stops_a_list_of_keys_too(engine, loaded, pg, search, script, tmp_path, kind):
    path = make(kind, script, pg)
    keys = tmp_path / "keys"
    keys.write_text("".join(f"{i}\n" for i in range(1, ROWS + 1)))
    assert "refusing to delete" in run(engine, path, "--keys-from", keys, code=1).stderr
    assert search.count("t") == ROWS


def test_a_handful_of_deletes_passes_whatever_its_share(engine, pg, search, script):
    films.table(pg, rows=8)
    path = script(films.plain())
    run(engine, path)
    pg.execute("DELETE FROM t")
    run(engine, path, "--sweep")
    assert search.count("t") == 0


def test_an_ordinary_share_of_deletes_passes(engine, loaded, pg, search):
    pg.execute("DELETE FROM t WHERE id % 3 = 0")
    run(engine, loaded, "--sweep")
    assert search.count("t") == ROWS - ROWS // 3


def test_deletes_of_what_is_not_there_do_not_count(engine, loaded, search, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("".join(f"{i}\n" for i in range(1000, 1500)))
    run(engine, loaded, "--keys-from", keys)
    assert search.count("t") == ROWS


@pytest.mark.parametrize("how", ["an emptied table", "a wrong join", "document() gives nil"])
def test_a_restarted_engine_does_not_empty_a_large_index_by_halves(engine, pg, search_one, script, how):
    films.table(pg, rows=12000)
    run(engine, script(films.plain()))
    path = make(how, script, pg)
    for _ in range(4):  # as a supervisor would
        assert "refusing to delete" in run(engine, path, "--sweep", code=1).stderr
    assert search_one.count("t") >= 6000


def test_the_guard_stops_an_engine_that_follows(engine, loaded, pg, search, script, wait_until):
    path = script(films.plain(extra="poll_interval = 0.1, sweep = 1,"))
    running = films.follow(engine, path, wait_until=wait_until)
    pg.execute("TRUNCATE t")
    done = running.wait(20)
    assert done.returncode == 1 and "refusing to delete" in done.stderr
    assert search.count("t") == ROWS
