"""Versions order all writes of one document, whatever clocks, restarts and other engines do."""
import json
import os
import time

import films
import pytest
from films import changed, run, state


@pytest.fixture
def path(pg, script):
    films.table(pg)
    return script(films.plain())


def update(pg, value, where="id = 3"):
    pg.execute(f"UPDATE t SET v = '{value}', modified = clock_timestamp() WHERE {where}")


def test_a_version_is_the_servers_clock_in_microseconds(engine, pg, search, path):
    before = pg.value("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    run(engine, path)
    after = pg.value("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    assert all(before < version < after for version in search.versions("t").values())


def test_after_the_clock_went_back_versions_go_on_above_the_last_one_and_it_is_told(engine, pg, search, path):
    run(engine, path)
    ahead = int((time.time() + 3600) * 1e6)
    content = state(engine)
    content["version"] = ahead
    mtime = os.stat(engine.state).st_mtime_ns
    with open(engine.state, "w", encoding="utf-8") as f:
        json.dump(content, f)
    os.utime(engine.state, ns=(mtime, mtime))
    search.request("PUT", f"t/_doc/3?version={ahead}&version_type=external_gte", {"v": "old"})
    update(pg, "new")
    done = run(engine, path)
    assert search.hit("t", "3")["_version"] > ahead and search.get("t", "3") == {"v": "new"}
    assert "clock" in done.stderr and "behind" in done.stderr, done
    assert state(engine)["version"] > ahead
    update(pg, "newer")
    run(engine, path)
    assert search.get("t", "3") == {"v": "newer"}


def test_after_a_lost_state_and_a_clock_that_went_back_versions_go_on_above_what_the_index_holds(engine, pg, search, path):
    run(engine, path)
    os.unlink(engine.state)
    ahead = int((time.time() + 3600) * 1e6)
    for key in range(1, 6):  # as a follower wrote them, whose state is lost
        search.request("PUT", f"t/_doc/{key}?version={ahead + key}&version_type=external_gte", {"v": "old"})
    update(pg, "new")
    done = run(engine, path)
    assert search.get("t", "3") == {"v": "new"} and search.hit("t", "5")["_version"] > ahead + 5
    assert "PostgreSQL's clock" in done.stderr, done
    update(pg, "newer")
    run(engine, path)
    assert search.get("t", "3") == {"v": "newer"}


def test_a_restarted_engine_goes_on_above_its_last_version(engine, pg, search, path):
    run(engine, path)
    first = max(search.versions("t").values())
    assert state(engine)["version"] >= first
    update(pg, "new")
    run(engine, path)
    assert search.hit("t", "3")["_version"] > first


def test_a_stale_delete_and_a_stale_document_lose(engine, pg, search, path):
    run(engine, path)
    version = search.hit("t", "3")["_version"]
    pg.execute("DELETE FROM t WHERE id = 3")
    run(engine, path, "--keys", "3")
    assert search.get("t", "3") is None
    with pytest.raises(Exception, match="409"):  # the tombstone stands in its way
        search.request("PUT", f"t/_doc/3?version={version}&version_type=external_gte", {"v": "old"})


def test_versions_from_elsewhere_above_ours_are_no_success(engine, pg, search, path):
    run(engine, path)
    search.request("PUT", f"t/_doc/3?version={10 ** 18}&version_type=external_gte", {"v": "restored"})
    update(pg, "new")
    done = run(engine, path, code=1)
    assert "versions above any that we issued" in done.stderr


def test_two_engines_on_one_index_end_true(engine, pg, search, script, tmp_path, wait_until):
    films.table(pg, rows=300)
    path = script(films.plain(document="for _ = 1, 2000 do end return { v = row.v }"))
    other = {"FILE_PATH_STATE": tmp_path / "other"}
    run(engine, path)
    run(engine, path, env=other)
    both = [films.follow(engine, path, wait_until=wait_until), films.follow(engine, path, wait_until=wait_until, env=other)]
    for n in range(40):
        update(pg, f"n{n}", f"id % {1 + n % 7} = 0")
    pg.execute("DELETE FROM t WHERE id = 300")
    update(pg, "last", "id > 0")
    wait_until(lambda: all(d["v"] == "last" for k, d in search.docs("t").items() if k != "300"))
    assert all(running.alive() for running in both), [running.stderr for running in both]
    for running in both:
        assert running.stop().returncode == 143
    run(engine, path, "--sweep")
    assert search.docs("t") == {str(i): {"v": "last"} for i in range(1, 300)}


def test_an_index_that_forgets_deletes_too_soon_is_warned_of(engine, pg, search, path, script):
    run(engine, path)
    search.request("PUT", "t/_settings", {"index": {"gc_deletes": "60s"}})
    done = run(engine, path)
    assert "index.gc_deletes" in done.stderr and "60 s" in done.stderr


def test_an_index_of_ours_remembers_deletes_for_an_hour(engine, pg, search, path):
    run(engine, path)
    assert search.request("GET", "t/_settings")["t"]["settings"]["index"]["gc_deletes"] == "1h"


def test_a_slow_engine_reads_again_what_another_one_has_overtaken(engine, pg, search, script, tmp_path, wait_until):
    """Its own highest version is older than what the other one wrote meanwhile."""
    films.table(pg)
    fast = script(films.plain())
    slow = script(films.plain(document="for _ = 1, 3000000 do end return { v = row.v }"), "slow.lua")
    run(engine, fast)
    update(pg, "seen by both", "true")
    running = engine.start(slow, "--workers", "1", "--keys", ",".join(str(i) for i in range(1, 21)), env={"FILE_PATH_STATE": tmp_path / "other"})
    wait_until(lambda: pg.value("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%ANY($1%' AND pid <> pg_backend_pid()"))
    update(pg, "new", "true")
    run(engine, fast)
    done = running.wait()
    assert done.returncode == 0 and "another run is writing to the index" in done.stderr, done
    assert all(document == {"v": "new"} for document in search.docs("t").values())
