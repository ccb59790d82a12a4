"""Capture from the log by runs that end, as cron starts them; sweeps and reindexes of a pipeline
that captures."""
import re
import threading

import pytest

import films
import wal
from tools import wait_until
from wal import lua, pipe, shop


@pytest.fixture
def full(shop):
    shop.pg.execute("ALTER TABLE review REPLICA IDENTITY FULL")
    return shop


def indexed(done):
    return int(re.search(r"([\d,]+) documents? indexed", done.stderr).group(1).replace(",", ""))


def test_runs_alone_keep_the_index_true(full):
    full.run()
    assert indexed(full.run()) == 0
    for n in range(1, 6):
        before = full.search.versions("shop")
        full.pg.execute(f"""INSERT INTO product VALUES ({100 + n}, 'new');
            UPDATE product SET name = 'changed' WHERE id = {n};
            DELETE FROM product WHERE id = {10 + n};
            UPDATE product SET id = {1000 + n} WHERE id = {20 + n};
            DELETE FROM product_tag WHERE product_id = {30 + n};
            UPDATE review SET product_id = {n} WHERE product_id = {30 + n}""")
        position = full.slot()["confirmed"]
        done = full.run()
        full.is_true()
        assert not re.search("sweeping|warn|loading", done.stderr), done
        assert len(films.changed(before, full.search.versions("shop"))) < 16, "others, too"
        wait_until(lambda: full.slot()["confirmed"] > position and not full.slot()["active"],
                   what="the server has what the run confirmed at its end")
    assert indexed(full.run()) == 0


def test_a_run_reads_up_to_where_the_log_was_at_its_start_and_the_next_one_from_there(full):
    """Transactions that are open meanwhile are the next run's."""
    full.run()
    early = full.pg.connect()
    with early.cursor() as cursor:
        cursor.execute("UPDATE product SET name = 'late' WHERE id = 3;"
                       "DELETE FROM product WHERE id = 4")
    full.pg.execute("UPDATE product SET name = 'between' WHERE id = 5")
    full.run()
    full.is_true()
    early.commit()
    assert full.difference()
    full.run()
    full.is_true()


def test_a_run_ends_while_others_keep_writing(full):
    """It does not chase the end of a log that grows."""
    full.run()
    stop = threading.Event()

    def write():
        connection = full.pg.connect(autocommit=True)
        with connection.cursor() as cursor:
            n = 0
            while not stop.is_set():
                n += 1
                cursor.execute("UPDATE product SET name = %s WHERE id = %s", (f"n{n}", 1 + n % 40))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(3):
            full.run()
    finally:
        stop.set()
        thread.join()
    full.run()
    full.is_true()


def test_what_was_not_confirmed_is_read_again(full):
    """A run that is killed anywhere has confirmed no more than it can know."""
    full.run()
    full.write(document="for _ = 1, 200000 do end " + wal.DOCUMENT)
    full.pg.execute("UPDATE product SET name = 'slow'; DELETE FROM product WHERE id > 35")
    running = full.start("--workers", "1")
    wait_until(lambda: full.search.get("shop", "1")["name"] == "slow" or not running.alive(),
               wal.LIMIT)
    running.kill()
    full.write()
    full.free_slot()
    done = full.run()
    assert "sweeping" not in done.stderr and "loading" not in done.stderr, done
    full.is_true()


def test_keys_limit_and_dry_runs_read_nothing_of_the_slot(full):
    full.run()
    full.pg.execute("UPDATE product SET name = 'new' WHERE id IN (3, 4)")
    before = full.slot()["confirmed"]
    full.run("--keys", "3")
    full.run("--dry-run")
    assert full.search.get("shop", "3")["name"] == "new"
    assert full.search.get("shop", "4")["name"] == "product 4"
    assert full.slot()["confirmed"] == before
    full.run()
    full.is_true()


# Sweeps


def test_a_sweep_is_there_when_it_is_asked_for(full):
    full.run()
    version = full.search.versions("shop")["5"] + 1
    full.search.request("PUT", f"shop/_doc/5?version={version}&version_type=external",
                        {"name": "edited"})
    full.search.request("DELETE", "shop/_doc/6")
    full.search.request("PUT", "shop/_doc/1000", {"name": "an orphan"})
    full.search.refresh("shop")
    assert "sweeping" not in full.run().stderr
    assert full.difference()
    full.pg.execute("UPDATE product SET name = 'new' WHERE id = 7")
    done = full.run("--sweep")
    assert done.stderr.count("sweeping") == 1, done
    full.is_true()


def test_one_that_follows_sweeps_when_the_script_says_so_and_not_by_itself(full):
    running = full.follow()
    assert "sweep" not in running.stderr, running.stderr
    running.stop()
    full.write(extra="sweep = 0.5,")
    running = full.follow()
    full.search.request("PUT", "shop/_doc/1000", {"name": "an orphan"})
    full.search.refresh("shop")
    full.settle(running)
    full.change(running, "DELETE FROM product WHERE id = 3")
    assert running.stop().returncode == 143


# Reindex


def text_of(kind="keyword", document=wal.DOCUMENT):
    mappings = f"mappings = {{ properties = {{ name = {{ type = '{kind}' }} }} }},"
    return lua(document=document, sink=mappings)


def target(search):
    return next(iter(search.request("GET", "_alias/shop")))


def test_a_reindex_of_a_pipeline_that_captures(full):
    full.write(text_of())
    done = full.engine("reindex", full.path)
    assert done.returncode == 0, done
    full.is_true()
    first = target(full.search)
    full.pg.execute("UPDATE product SET name = 'new' WHERE id = 3;"
                    "DELETE FROM product WHERE id = 4")
    done = full.run()  # which makes its own slot, and does not know what came before it
    assert not re.search("warn|loading everything", done.stderr.replace(" a sweep finds", "")), done
    full.is_true()
    full.pg.execute("UPDATE tag SET name = 'new' WHERE id = 3; DELETE FROM product WHERE id = 5")
    full.write(text_of("text"))
    done = full.engine("reindex", full.path)
    assert done.returncode == 0 and target(full.search) != first, done
    full.is_true()
    full.pg.execute("UPDATE product SET name = 'newer' WHERE id = 3;"
                    "DELETE FROM product WHERE id = 6;"
                    "DELETE FROM product_tag WHERE product_id = 7")
    done = full.run()
    assert "loading everything" not in done.stderr, done
    full.is_true()
    assert (full.slots(), full.publications()) == (1, 1)


def test_a_reindex_while_one_follows(full):
    full.write(text_of())
    assert full.engine("reindex", full.path).returncode == 0
    running = full.follow()
    full.change(running, "UPDATE product SET name = 'before' WHERE id = 3")
    full.write(text_of("text"))
    gate = full.pg.connect(autocommit=True)
    column = "CASE WHEN p.id = 20 THEN pg_advisory_xact_lock_shared(1)::text END AS gate"
    with gate.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(1)")
    full.write(text_of("text").replace("SELECT p.id,", f"SELECT {column}, p.id,"))
    reindex = full.engine.start("reindex", full.path)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    wait_until(lambda: full.pg.value(waiting) or not reindex.alive(), wal.LIMIT, "the gate")
    full.pg.execute("UPDATE product SET name = 'meanwhile' WHERE id IN (4, 30); DELETE FROM product"
                    " WHERE id IN (5, 31); DELETE FROM product_tag WHERE product_id IN (6, 32)")
    with gate.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(1)")
    done = reindex.wait()
    assert done.returncode == 0, done
    wait_until(lambda: "has taken the place" in running.stderr or not running.alive(), wal.LIMIT)
    full.settle(running)
    full.change(running, "UPDATE product SET name = 'after' WHERE id = 7;"
                         "DELETE FROM product WHERE id = 8")
    full.change(running, "DELETE FROM product_tag WHERE product_id = 9")
    assert running.stop().returncode == 143
    assert "loading everything" not in full.run().stderr
    full.is_true()
    assert (full.slots(), full.publications()) == (1, 1)
