"""wait returns once all that was committed before its start is in the index and searchable, and not before."""
import films
import pytest
from films import follow, run

QUIET = "settings = { refresh_interval = '1h' },"  # nothing is searchable but what is refreshed


def plain(capture, **words):
    how = {"cursor": None, "source": 'capture = "wal",'} if capture == "wal" else {}
    return films.plain(sink=QUIET, **how, **words)


def searchable(search, text):
    """The ids that a search finds, without a refresh."""
    answer = search.request("POST", "t/_search", {"query": {"match": {"v": text}}, "size": 100})
    return {hit["_id"] for hit in answer["hits"]["hits"]}


@pytest.mark.parametrize("capture", ("poll", "wal"))
def test_what_was_committed_is_searchable(engine, pg, search_one, script, wait_until, capture):
    capture == "wal" and pg.needs(11, "log that tells of TRUNCATE")
    films.table(pg)
    path = script(plain(capture))
    running = follow(engine, path, wait_until=wait_until)
    for n in range(5):
        pg.execute("UPDATE t SET v = %s, modified = clock_timestamp() WHERE id IN (1, %s)", (f"w{n}", n + 2))
        done = run(engine, "wait", path)
        assert searchable(search_one, f"w{n}") == {"1", str(n + 2)}, done
    run(engine, "wait", path)  # nothing has changed
    assert running.stop().returncode == 143


@pytest.mark.parametrize("capture", ("poll", "wal"))
def test_a_transaction_that_is_open_is_not_waited_for(engine, pg, search_one, script, wait_until, capture):
    films.table(pg)
    path = script(plain(capture))
    running = follow(engine, path, wait_until=wait_until)
    other = pg.connect()
    with other.cursor() as cursor:
        cursor.execute("UPDATE t SET v = 'late', modified = clock_timestamp() WHERE id = 1")
        pg.execute("UPDATE t SET v = 'early', modified = clock_timestamp() WHERE id = 2")
        run(engine, "wait", path, "--timeout", "50")
        assert searchable(search_one, "early") == {"2"} and not searchable(search_one, "late")
    other.commit()
    run(engine, "wait", path)
    assert searchable(search_one, "late") == {"1"}
    assert running.stop().returncode == 143


def test_related_tables_are_waited_for(engine, pg, search_one, script, wait_until):
    pg.execute(films.SCHEMA)
    path = script(films.lua([films.LINK, films.GENRE], sink=QUIET))
    running = follow(engine, path, wait_until=wait_until)
    pg.execute("UPDATE genre SET name = 'other', modified = clock_timestamp() WHERE id = 3")
    run(engine, "wait", path)
    found = search_one.request("POST", "films/_search", {"query": {"match": {"genres": "other"}}, "size": 100})
    assert len(found["hits"]["hits"]) == 8
    assert running.stop().returncode == 143


def test_a_sweep_is_waited_for_if_it_is_asked_for_or_there_is_nothing_else(engine, pg, search_one, script, wait_until):
    films.table(pg)
    every = "poll_interval = 0.1, sweep = 0.5,"
    path = script(films.plain(sink=QUIET, extra=every))
    running = follow(engine, path, wait_until=wait_until)
    pg.execute("DELETE FROM t WHERE id = 1")
    run(engine, "wait", path, "--sweep")
    assert search_one.get("t", "1") is None
    running.stop()
    path = script(films.plain(sink=QUIET, extra=every, cursor=None))
    running = follow(engine, path, wait_until=wait_until)
    pg.execute("DELETE FROM t WHERE id = 2")
    run(engine, "wait", path)
    assert search_one.get("t", "2") is None
    assert running.stop().returncode == 143


@pytest.mark.parametrize("capture", ("poll", "wal"))
def test_nobody_follows(engine, pg, search_one, script, wait_until, capture):
    films.table(pg)
    path = script(plain(capture))
    run(engine, path)
    pg.execute("UPDATE t SET v = 'changed', modified = clock_timestamp() WHERE id = 1")
    done = run(engine, "wait", path, "--timeout", "1", code=1)
    assert "no process follows" in done.stderr and "waited for 1 s" in done.stderr, done
    waiting = engine.start("wait", path)
    wait_until(lambda: "no process follows" in waiting.stderr)
    run(engine, path)
    assert waiting.wait().returncode == 0
    assert searchable(search_one, "changed") == {"1"}


def test_what_is_missing_is_named(engine, pg, search_one, script):
    films.table(pg)
    path = script(films.plain())
    done = run(engine, "wait", path, "--timeout", "1", code=1)
    assert "index 't' does not exist" in done.stderr, done
    run(engine, path)
    run(engine, "state", "reset", path)
    done = run(engine, "wait", path, "--timeout", "1", code=1)
    assert "there is no state file" in done.stderr, done
    stopped = engine.start("wait", path)
    stopped.signal(15)
    assert stopped.wait().returncode in (143, -15)


@pytest.mark.parametrize("variable", ["ELASTICSEARCH_URL", "DATABASE_URL"])
def test_a_server_that_is_away_is_not_waited_for_longer(engine, pg, search_one, script, free_port, variable):
    films.table(pg)
    path = script(plain("poll"))
    run(engine, path)
    away = {"ELASTICSEARCH_URL": f"http://127.0.0.1:{free_port}",
            "DATABASE_URL": f"postgresql://etl@127.0.0.1:{free_port}/none"}
    done = engine("wait", path, "--timeout", "2", env={variable: away[variable]})
    assert done.returncode == 3, done
