"""The command `state` and capture from the log: what show tells of slot and journal, what reset leaves and drops, and what
becomes of a time that is set."""
import glob
import json
import os
import re
import socket

import pytest

from pipelines import pipeline
from test_load import make_things, ok
from test_state import mtime_us, read

SLOT = "etl_things"


def captured(**options):
    return pipeline(cursor=None, **options).replace("table =", 'capture = "wal", table =', 1)


@pytest.fixture
def things(pg, script):
    """The path of a script that captures the table `things`, which has ten rows."""
    make_things(pg)
    return script(captured())


def show(engine, path, **options):
    """What `state show` prints, {first word or words: the rest}."""
    lines = ok(engine("state", "show", path, **options)).stdout.splitlines()
    return {line[:10].strip(): line[11:] for line in lines}


def journal(engine):
    return glob.glob(engine.state + ".journal.*")


def slots(pg):
    return [name for (name,) in pg.query("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()")]


def publications(pg):
    return [name for (name,) in pg.query("SELECT pubname FROM pg_publication")]


def reader(pg, slot=SLOT):
    return pg.value("SELECT max(active_pid) FROM pg_replication_slots WHERE slot_name = %s", [slot])


def is_there(pg, engine):
    """All that a capture leaves, or nothing of it."""
    there = [slots(pg) == [SLOT], publications(pg) == [SLOT], os.path.exists(engine.state), bool(journal(engine))]
    assert all(there) or not any(there), there
    return all(there)


# show


def test_show_before_the_first_run_makes_nothing(engine, pg, search_one, things):
    shown = show(engine, things)
    assert shown["phase"].startswith("new") and shown["capture"] == "wal"
    assert shown["slot"] == "etl_things does not exist: the next run creates it"
    assert shown["published"] == "by etl_things, which does not exist: the next run creates it"
    assert not is_there(pg, engine)


def test_show_tells_where_it_is_and_who_reads(engine, pg, search_one, things, wait_until):
    ok(engine(things))
    shown = show(engine, things)
    assert shown["slot"] == "etl_things, read by nobody now" and shown["published"] == "by etl_things"
    assert shown["delivered"].startswith("all commits up to 20") and shown["sweep"].startswith("none is owed; the last load or sweep ended at ")
    assert "watermarks" not in shown
    running = engine.start(things, "--follow")
    pg.execute("UPDATE things SET v = 'new' WHERE id = 1")
    wait_until(lambda: (search_one.get("things", "1") or {}).get("v") == "new", timeout=60)
    assert show(engine, things)["slot"] == f"etl_things, read by process {reader(pg)}"
    ok(engine("wait", things))  # the server's answer may come later than the document can be read
    assert ok(running.stop(), 143)
    shown = show(engine, things)
    assert shown["slot"] == "etl_things, read by nobody now"
    assert shown["position"] == pg.value("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s", [SLOT])
    time = re.fullmatch(r"all commits up to (\S+)", shown["delivered"]).group(1)
    assert mtime_us(engine.state) == pg.value("SELECT (extract(epoch FROM %s::timestamptz) * 1000000)::bigint", [time])
    segment, offset = read(engine.state)["tables"]["public.things"]["journal"]
    assert shown["journal"] == f"0 bytes wait, from byte {offset} of segment {segment} on"


def number_in(text):
    return int(re.match(r"[\d,]+", text).group().replace(",", ""))


def test_show_tells_how_much_log_the_server_holds_back(engine, pg, search_one, things):
    ok(engine(things))
    pg.execute("CREATE TABLE other AS SELECT repeat('x', 500) FROM generate_series(1, 10000)")
    held = show(engine, things)["held back"]
    assert held.endswith(" bytes of the server's log")
    assert 5_000_000 < number_in(held) < 5_000_000_000
    pg.execute("CHECKPOINT")  # a slot moves on from one of these, or of those that the server writes every 15 s, to the next
    ok(engine(things))
    assert number_in(show(engine, things)["held back"]) < 1_000_000


def test_show_tells_what_waits_in_the_journal(engine, pg, search_one, script, wait_until):
    make_things(pg)
    slow = 'if row.v == "slow" and os.getenv "SLOW" then etl.pg.query "SELECT pg_sleep(600)" end return { v = row.v }'
    path = script(captured(document=slow))
    ok(engine(path))
    running = engine.start(path, "--follow", env={"SLOW": 1})
    pg.execute("UPDATE things SET v = 'slow'; INSERT INTO things SELECT i, 'more' FROM generate_series(100, 20000) i")
    wait_until(lambda: number_in(show(engine, path)["journal"]) > 100_000, timeout=60)
    assert re.fullmatch(r"[\d,]+ bytes wait, from byte \d+ of segment 1 on", show(engine, path)["journal"])
    running.kill()
    assert number_in(show(engine, path)["journal"]) > 100_000
    ok(engine(path))
    assert number_in(show(engine, path)["journal"]) < 1000  # no keys: perhaps a note how far the log was read
    assert search_one.count("things") == 10 + 19901


def test_show_tells_of_a_slot_that_is_gone_and_of_the_sweep(engine, pg, search_one, things):
    ok(engine(things))
    pg.execute("SELECT pg_drop_replication_slot(%s)", [SLOT])
    pg.execute(f"DROP PUBLICATION {SLOT}")
    shown = show(engine, things)
    assert shown["slot"] == "etl_things does not exist: the next run creates it, and sweeps"
    assert shown["published"] == "by etl_things, which does not exist: the next run creates it"
    ok(engine(things))
    shown = show(engine, things)
    assert shown["slot"] == "etl_things, read by nobody now" and shown["published"] == "by etl_things"
    assert shown["sweep"].startswith("none is owed")


def test_show_tells_of_a_slot_that_is_lost(engine, pg, search_one, things):
    pg.needs(13, "limit for slots")
    ok(engine(things))
    try:
        pg.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        pg.execute("SELECT pg_reload_conf()")
        for _ in range(3):
            pg.execute("CREATE TABLE other (v int)")
            pg.execute("DROP TABLE other")
            pg.execute("SELECT pg_switch_wal()")
        pg.execute("CHECKPOINT")
        expected = "etl_things is lost, as the server has removed a part of its log (max_slot_wal_keep_size?): the next"
        assert show(engine, things)["slot"] == expected + " run creates it again, and sweeps"
    finally:
        pg.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        pg.execute("SELECT pg_reload_conf()")
    ok(engine("state", "reset", "--drop-slot", things))
    assert not is_there(pg, engine)


def test_show_shows_the_state_where_no_server_answers(engine, pg, search_one, things):
    ok(engine(things))
    shown = show(engine, things, env={"DATABASE_URL": "postgresql://127.0.0.1:1/none"})
    assert shown["slot"] == "etl_things: could not connect to PostgreSQL 'none' at 127.0.0.1:1: Connection refused"
    assert shown["phase"] == "following" and shown["sweep"].startswith("none is owed") and shown["published"] == "by etl_things"


def test_show_does_not_wait_long_for_a_server_that_is_silent(engine, things):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # nobody accepts
        port = silent.getsockname()[1]
        shown = show(engine, things, env={"DATABASE_URL": f"postgresql://127.0.0.1:{port}/none"})
        assert shown["slot"] == f"etl_things: could not connect to PostgreSQL 'none' at 127.0.0.1:{port}: no answer within 3 s"


def test_a_state_that_was_touched_or_is_of_a_poll_owes_a_sweep(engine, pg, search_one, things, script):
    ok(engine(things))
    pg.execute("UPDATE things SET v = 'new' WHERE id = 1")
    ok(engine(things))
    os.utime(engine.state, (1e9, 1e9))
    assert show(engine, things)["sweep"] == "owed: the next run compares every row with the index"
    ok(engine(things))
    assert show(engine, things)["sweep"].startswith("none is owed")
    polls = script(pipeline(), "polls.lua")
    assert show(engine, polls)["left"] == "slot etl_things, from which changes were captured before"
    ok(engine(polls))
    assert "watermarks" in show(engine, polls)
    assert show(engine, things)["sweep"] == "owed: the next run compares every row with the index"
    told = ok(engine(things)).stderr  # of what the user has done: no warning
    assert "info  things: changes were polled until now: a sweep finds what the log does not tell" in told
    assert show(engine, things)["sweep"].startswith("none is owed")


# reset


def test_reset_leaves_slot_and_publication_and_says_so(engine, pg, search_one, things):
    ok(engine(things))
    result = ok(engine("state", "reset", things))
    assert "slot 'etl_things' and publication 'etl_things' stay on the server" in result.stderr
    assert "holds back the log" in result.stderr and f"state reset --drop-slot {things}" in result.stderr
    assert not os.path.exists(engine.state) and not journal(engine)
    assert slots(pg) == publications(pg) == [SLOT]
    pg.execute("UPDATE things SET v = 'new' WHERE id = 1")
    assert "there is no state yet" in ok(engine(things)).stderr
    assert search_one.get("things", "1")["v"] == "new"


def test_reset_with_drop_slot_leaves_nothing(engine, pg, search_one, things):
    ok(engine(things))
    assert is_there(pg, engine)
    result = ok(engine("state", "reset", "--drop-slot", things))
    assert "dropped slot 'etl_things'" in result.stderr and "dropped publication 'etl_things'" in result.stderr
    assert not is_there(pg, engine)
    result = ok(engine("state", "reset", things, "--drop-slot"))  # once more, with nothing to drop
    assert "there is no slot 'etl_things'" in result.stderr and "there is no publication 'etl_things'" in result.stderr
    ok(engine(things))
    assert is_there(pg, engine) and search_one.count("things") == 10


def test_a_slot_in_use_is_not_dropped_nor_anything_else(engine, pg, search_one, things, tmp_path, wait_until):
    ok(engine(things))
    running = engine.start(things, "--follow")
    wait_until(lambda: reader(pg), timeout=60)
    before = open(engine.state, "rb").read()
    ok(engine("state", "reset", "--drop-slot", things), 1)  # whose lock another process has
    result = ok(engine("state", "reset", "--drop-slot", things, env={"FILE_PATH_STATE": tmp_path / "other"}), 1)
    assert f"cannot drop slot 'etl_things': process {reader(pg)} of the server reads it" in result.stderr
    assert result.stderr.count("\n") == 2, result  # with the hint
    assert is_there(pg, engine) and open(engine.state, "rb").read() == before
    ok(running.stop(), 143)
    ok(engine("state", "reset", "--drop-slot", things))
    assert not is_there(pg, engine)


def test_a_second_engine_on_the_slot_waits_and_says_so_once(engine, pg, search_one, things, tmp_path, wait_until):
    ok(engine(things))
    first = engine.start(things, "--follow")
    wait_until(lambda: reader(pg), timeout=60)
    result = ok(engine(things, "--give-up-after", "3", env={"FILE_PATH_STATE": tmp_path / "other"}), 3)
    assert result.stderr.count(f"is active for PID {reader(pg)}; trying again in") == 1, result
    assert result.stderr.count("is active for PID") == 2, result  # and why it gave up
    second = engine.start(things, "--follow", env={"FILE_PATH_STATE": tmp_path / "other"})
    wait_until(lambda: "is active for PID" in second.stderr, timeout=60)
    ok(first.stop(), 143)
    wait_until(lambda: reader(pg), timeout=60)
    pg.execute("UPDATE things SET v = 'new' WHERE id = 1")
    wait_until(lambda: search_one.get("things", "1")["v"] == "new", timeout=60)
    ok(second.stop(), 143)


def test_drop_slot_works_for_a_script_that_polls_again(engine, pg, search_one, things, script):
    ok(engine(things))
    polls = script(pipeline(), "polls.lua")
    assert "slot 'etl_things' of before stays on the server" in ok(engine("state", "reset", polls)).stderr
    ok(engine(things))
    ok(engine(polls))
    assert slots(pg) == [SLOT]
    ok(engine("state", "reset", "--drop-slot", polls))
    assert not is_there(pg, engine)
    assert ok(engine("state", "reset", polls)).stderr == ""  # it never captured


def test_drop_slot_drops_that_of_the_state_too(engine, pg, search_one, things, script):
    ok(engine(things))
    other = script(captured().replace("capture =", 'slot = "other", capture =', 1))
    assert show(engine, other)["left"] == "slot etl_things, from which changes were captured before"
    result = ok(engine("state", "reset", "--drop-slot", other))
    assert "there is no slot 'other'" in result.stderr and "dropped slot 'etl_things'" in result.stderr
    assert slots(pg) == [] and not os.path.exists(engine.state) and not journal(engine)


@pytest.mark.parametrize("script_polls", [False, True])
def test_a_slot_of_somebody_else_is_not_dropped(engine, pg, search_one, script, script_polls):
    make_things(pg)
    path = script(pipeline() if script_polls else captured())
    pg.execute("SELECT pg_create_physical_replication_slot(%s)", [SLOT])
    try:
        if not script_polls:
            assert show(engine, path)["slot"] == "etl_things is of another plugin, or of another database: the next run refuses it"
            assert "etl_things" in ok(engine(path), 2).stderr
        result = ok(engine("state", "reset", "--drop-slot", path), 2)
        assert "cannot drop slot 'etl_things': it is of another plugin, or of another database" in result.stderr
        assert pg.value("SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s", [SLOT]) == 1
    finally:
        pg.execute("SELECT pg_drop_replication_slot(%s)", [SLOT])


@pytest.fixture
def poor(pg):
    """The URL of this database for a role that owns nothing, without REPLICATION."""
    pg.execute("CREATE ROLE poor LOGIN PASSWORD 'poor'")
    yield pg.url_at(pg.port, "poor", "poor")
    pg.execute("DROP ROLE poor")


def test_without_the_privilege_the_sql_is_told_and_the_rest_stays(engine, pg, search_one, things, poor):
    ok(engine(things))
    result = ok(engine("state", "reset", "--drop-slot", things, env={"DATABASE_URL": poor}), 1)
    assert "'etl_things'" in result.stderr and "SELECT pg_drop_replication_slot('etl_things')" in result.stderr
    assert is_there(pg, engine)
    pg.execute("SELECT pg_drop_replication_slot('etl_things')")
    result = ok(engine("state", "reset", "--drop-slot", things, env={"DATABASE_URL": poor}), 1)
    assert "its owner, or a superuser, runs: DROP PUBLICATION \"etl_things\"" in result.stderr
    assert publications(pg) == [SLOT] and os.path.exists(engine.state) and journal(engine)
    pg.execute("DROP PUBLICATION etl_things")
    ok(engine("state", "reset", "--drop-slot", things, env={"DATABASE_URL": poor}))
    assert not is_there(pg, engine)


def test_without_a_server_nothing_is_removed(engine, pg, search_one, things):
    ok(engine(things))
    result = ok(engine("state", "reset", "--drop-slot", things, env={"DATABASE_URL": "postgresql://127.0.0.1:1/none"}), 3)
    assert "could not connect to PostgreSQL" in result.stderr
    assert is_there(pg, engine)
    ok(engine("state", "reset", things, env={"DATABASE_URL": "postgresql://127.0.0.1:1/none"}))
    assert not os.path.exists(engine.state)


def test_a_slot_that_a_killed_reindex_left_is_told_and_dropped(engine, pg, search_one, script, wait_until):
    make_things(pg)
    path = script(captured(document='if os.getenv "SLOW" then etl.pg.query "SELECT pg_sleep(600)" end return { v = row.v }'))
    ok(engine(path))
    running = engine.start("reindex", path, "--replace-index", env={"SLOW": 1})
    wait_until(lambda: reader(pg, SLOT + "_reindex"), timeout=60)
    # also while it is being made, somebody has it
    wait_until(lambda: show(engine, path)["reindex"] == "has a slot of its own", timeout=60)
    result = ok(engine("state", "reset", "--drop-slot", path), 1)
    assert "cannot drop slot 'etl_things_reindex': process" in result.stderr
    assert len(slots(pg)) == 2
    running.kill()
    wait_until(lambda: not reader(pg, SLOT + "_reindex"), timeout=60)
    assert show(engine, path)["reindex"] == "has a slot of its own, which is read by nobody: run reindex again to its end"
    ok(engine("state", "reset", "--drop-slot", path))
    assert not is_there(pg, engine) and slots(pg) == []


def test_after_a_reindex_the_pipeline_goes_on_with_its_own_slot(engine, pg, search_one, things):
    ok(engine(things))
    ok(engine("reindex", things, "--replace-index"))
    assert slots(pg) == [SLOT] and read(engine.state)["slot"] == SLOT
    pg.execute("UPDATE things SET v = 'new' WHERE id = 1")
    result = ok(engine(things))
    assert "warn" not in result.stderr and "sweeping" not in result.stderr, result
    assert "left" not in show(engine, things) and search_one.get("things", "1")["v"] == "new"


@pytest.mark.parametrize("words", [["show"], ["set", "2025-01-01"]])
def test_drop_slot_is_for_reset_alone(engine, things, words):
    result = ok(engine("state", words[0], "--drop-slot", things, *words[1:]), 2)
    assert "option --drop-slot is for state reset" in result.stderr


# set


@pytest.mark.parametrize("text", ["2025-06-01", "2030-01-01T00:00:00Z"])
def test_a_time_that_is_set_means_a_sweep(engine, pg, search_one, things, text):
    ok(engine(things))
    pg.execute("UPDATE things SET v = 'new' WHERE id = 1")
    ok(engine(things))
    place = read(engine.state)["tables"]["public.things"]["journal"]
    before = mtime_us(engine.state)
    search_one.request("PUT", "things/_doc/3", {"v": "of somebody else"})
    search_one.refresh("things")
    result = ok(engine("state", "set", things, text))
    assert "cannot go back to a time: instead, the next run compares every row with the index (a sweep)" in result.stderr
    assert show(engine, things)["sweep"] == "owed: the next run compares every row with the index"
    assert mtime_us(engine.state) == before  # all commits up to then are delivered, still
    assert read(engine.state)["tables"]["public.things"]["journal"] == place
    result = ok(engine(things))
    assert "sweeping" in result.stderr and "loading everything" not in result.stderr
    assert search_one.get("things", "3")["v"] == "v3"
    assert show(engine, things)["sweep"].startswith("none is owed")


def test_a_time_that_is_set_without_a_state_means_a_sweep_too(engine, pg, search_one, things):
    search_one.request("PUT", "things", {})
    search_one.request("PUT", "things/_doc/11?version=1&version_type=external", {"v": "whose row is gone"})
    search_one.refresh("things")
    ok(engine("state", "set", things, "2025-06-01"))
    assert os.stat(engine.state).st_size == 0 and mtime_us(engine.state) == 1748736000000000
    assert show(engine, things)["sweep"] == "owed: the next run compares every row with the index"
    ok(engine(things))
    assert sorted(search_one.docs("things")) == sorted(str(i) for i in range(1, 11))


def test_set_to_no_time_is_wrong_usage(engine, pg, search_one, things):
    ok(engine(things))
    before = open(engine.state, "rb").read()
    assert "cannot read 'soon' as a time" in ok(engine("state", "set", things, "soon"), 2).stderr
    assert open(engine.state, "rb").read() == before


def test_a_lost_connection_is_the_first_again_once_the_last_one_was_of_use(engine, pg, search_one, things, wait_until):
    ok(engine(things))
    running = engine.start(things, "--follow", "--log-format", "json", "--verbose")
    for n in range(5):
        wait_until(lambda: reader(pg), timeout=60)
        pg.execute("UPDATE things SET v = %s WHERE id = 1", [f"change {n}"])
        confirmed = pg.value("SELECT pg_current_wal_flush_lsn()")
        wait_until(
            lambda: pg.value("SELECT confirmed_flush_lsn >= %s FROM pg_replication_slots WHERE slot_name = %s", [confirmed, SLOT]),
            timeout=60,
        )
        pg.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", [SLOT])
        wait_until(lambda: running.stderr.count("trying again") > n, timeout=60)
    wait_until(lambda: reader(pg), timeout=60)
    assert ok(running.stop(), 143)
    lines = [json.loads(line) for line in running.stderr.splitlines()]
    attempts = [line["attempt"] for line in lines if "trying again" in line["message"]]
    assert len(attempts) >= 5 and max(attempts) < 5
    assert any("succeeded after" in line["message"] for line in lines)
