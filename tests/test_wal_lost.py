"""Capture from the log: whatever the engine cannot know from its slot is told in one line, and
repaired by a sweep: never by a reload, and never passed over in silence."""
import glob
import os
import re
import subprocess
import time

import pytest

import wal
from tools import wait_until
from wal import CATEGORY, LINK, SCHEMA, SECOND, SIMILAR, TAG, one_line, own_pg, pipe, shop


RELATED = (LINK, TAG, CATEGORY, SECOND, SIMILAR)
UNSEEN = ("UPDATE product SET name = 'unseen' WHERE id = 13; DELETE FROM product WHERE id = 4;"
          "INSERT INTO product VALUES (104, 'unseen');"
          "DELETE FROM product_tag WHERE product_id = 5;"
          "UPDATE tag SET name = 'unseen' WHERE id = 6")
CLEAR = ("INSERT INTO product VALUES (200, 'afterwards');"
         "DELETE FROM product_tag WHERE product_id = 6")


@pytest.fixture
def loaded(shop):
    """The shop, in the index, by a run that has ended; what its tables do not tell is not in it."""
    shop.write(related=RELATED)
    shop.run()
    shop.pg.execute("UPDATE tag SET name = 'seen' WHERE id = 7")
    shop.run()
    return shop


def repaired(shop, done, cause):
    """It was told in one line, swept, and is over."""
    assert "loading everything" not in done.stderr, done
    line = one_line(done, cause)
    assert re.search(r"\b(warn|info) ", line), line
    assert done.stderr.count("sweeping") == 1, done
    shop.is_true()
    shop.pg.execute(CLEAR)
    done = shop.run()
    assert "sweeping" not in done.stderr and "warn" not in done.stderr, done
    shop.is_true()


# Harm to a slot that nobody reads, with unseen changes before it, after it, or both


def advance(shop):
    shop.pg.query("SELECT pg_replication_slot_advance('etl_shop', pg_current_wal_lsn())")


def consume(shop):
    shop.pg.query("SELECT count(*) FROM pg_logical_slot_get_binary_changes('etl_shop', NULL, NULL,"
                  " 'proto_version', '1', 'publication_names', 'etl_shop')")


def make_again(shop):
    shop.drop_slot()
    shop.pg.query("SELECT pg_create_logical_replication_slot('etl_shop', 'pgoutput')")


def journal(shop):
    found = sorted(glob.glob(glob.escape(shop.engine.state) + ".journal.*"))
    assert found, "there is no journal"
    return found


def remove_journal(shop):
    for path in journal(shop):
        os.remove(path)


def touch_back(shop):
    os.utime(shop.engine.state, (1.6e9, 1.6e9))


def bare(shop):
    with open(shop.engine.state, "w", encoding="utf-8"):
        pass


SLOT = r"warn .*slot 'etl_shop'"
HARM = {
    "slot dropped": (lambda shop: shop.drop_slot(), SLOT),
    "slot made again": (make_again, SLOT),
    "slot moved on": (advance, SLOT),
    "slot read by others": (consume, SLOT),
    "journal removed": (remove_journal, r"warn .*journal"),
    "state touched back": (touch_back, "the state was set to an earlier time"),
    "bare state": (bare, "the state was set to an earlier time"),
}


@pytest.mark.parametrize("harm", HARM)
def test_harm_between_two_runs_is_told_and_repaired(loaded, harm):
    damage, cause = HARM[harm]
    loaded.pg.execute(UNSEEN)
    damage(loaded)
    loaded.pg.execute("DELETE FROM product WHERE id = 7;"
                      "UPDATE category SET name = 'x' WHERE id = 2")
    repaired(loaded, loaded.run(), cause)
    assert loaded.slot() and (loaded.slots(), loaded.publications()) == (1, 1)


@pytest.mark.parametrize("harm", ["slot dropped", "slot moved on", "journal removed"])
def test_harm_before_it_follows_is_told_and_repaired(loaded, harm):
    damage, cause = HARM[harm]
    loaded.pg.execute(UNSEEN)
    damage(loaded)
    running = loaded.follow()
    loaded.settle(running)
    wait_until(lambda: "swept" in running.stderr, wal.LIMIT)
    loaded.change(running, CLEAR)
    done = running.stop()
    assert done.returncode == 143 and one_line(done, cause), done
    loaded.pg.execute("DELETE FROM product WHERE id = 8")
    assert "sweeping" not in loaded.run().stderr
    loaded.is_true()


def test_a_slot_that_was_dropped_while_it_follows(loaded):
    running = loaded.follow()
    for n in range(2):
        loaded.drop_slot()
        loaded.pg.execute(f"DELETE FROM product WHERE id = 1{n}; DELETE FROM product_tag"
                          f" WHERE product_id = 2{n}")
        loaded.settle(running)
        wait_until(lambda: running.stderr.count("swept") > n, wal.LIMIT)
        loaded.change(running, f"UPDATE product SET name = 'x{n}' WHERE id = 13")
    done = running.stop()
    assert done.returncode == 143 and "loading everything" not in done.stderr, done
    assert done.stderr.count("sweeping") == 2 and loaded.slots() == 1, done
    assert "sweeping" not in loaded.run().stderr


def test_a_reader_that_was_ended_is_no_loss(loaded):
    running = loaded.follow()
    for n in range(3):
        loaded.free_slot()
        loaded.change(running, f"UPDATE product SET name = 'x{n}' WHERE id = 13;"
                               f"DELETE FROM product WHERE id = 1{n}")
    done = running.stop()
    assert done.returncode == 143 and not re.search("sweeping|error", done.stderr), done


def test_no_harm_no_sweep(loaded):
    """Runs that are killed, a server that is restarted: what was confirmed is known."""
    for n in range(3):
        running = loaded.follow()
        loaded.pg.execute(f"UPDATE product SET name = 'x{n}' WHERE id < 20")
        running.kill()
        loaded.pg.execute(f"DELETE FROM product WHERE id = 2{n}")
    loaded.free_slot()
    loaded.pg.server.restart()
    done = loaded.run()
    assert "sweeping" not in done.stderr and "loading everything" not in done.stderr, done
    loaded.is_true()


def test_a_damaged_journal_is_told_and_repaired(loaded):
    loaded.pg.execute(UNSEEN)
    loaded.run()
    loaded.pg.execute("UPDATE product SET name = 'later' WHERE id = 19")
    path = journal(loaded)[-1]
    size = os.path.getsize(path)
    assert size > 0, "nothing is in it"
    with open(path, "r+b") as f:
        f.write(os.urandom(size))
    loaded.pg.execute("DELETE FROM product WHERE id = 7")
    done = loaded.run(code=None)
    if done.returncode != 0:  # told, and refused: then it must say what to do, and keep the state
        assert "journal" in done.stderr and "hint" in done.stderr, done
        remove_journal(loaded)
        done = loaded.run()
    assert "loading everything" not in done.stderr
    loaded.is_true()


# The ways between poll and wal


def test_a_poll_pipeline_becomes_one_that_captures_and_comes_back(shop):
    shop.pg.execute("ALTER TABLE product ADD modified timestamptz DEFAULT clock_timestamp()")
    poll = {"related": (), "capture": "poll", "source": 'cursor = "modified",'}
    shop.write(**poll)
    shop.run()
    assert shop.slots() == shop.publications() == 0
    shop.pg.execute(UNSEEN.replace("SET name", "SET modified = clock_timestamp(), name", 1))
    shop.write(related=RELATED)
    done = shop.run()
    assert "loading everything" not in done.stderr and done.stderr.count("sweeping") == 1, done
    assert shop.slot()
    shop.is_true()
    shop.pg.execute("DELETE FROM product WHERE id = 7; UPDATE tag SET name = 'x' WHERE id = 1")
    assert "sweeping" not in shop.run().stderr
    shop.is_true()

    shop.write(**poll)
    polled = "UPDATE product SET name = 'polled', modified = clock_timestamp() WHERE id = %s"
    shop.pg.execute(polled, (18,))
    done = shop.run()
    assert "loading everything" not in done.stderr, done
    shop.run("--sweep")
    shop.is_true()
    shop.pg.execute(polled, (19,))
    shop.run()
    shop.is_true()

    shop.write(related=RELATED)  # the slot has waited: the state does not continue it
    shop.pg.execute("DELETE FROM product WHERE id = 10")
    done = shop.run()
    assert "loading everything" not in done.stderr, done
    shop.is_true()


# The index


ASKED_S = 1.5  # what the engine was told of the index holds for a second at most


@pytest.mark.parametrize("create", [True, False], ids=["created", "refused"])
def test_an_index_that_was_deleted_while_it_follows_ends_it(loaded, create):
    """Whatever the server would make of the next request, there is no index with a guessed mapping."""
    running = loaded.follow()
    asked = time.monotonic()
    loaded.search.request("PUT", "_cluster/settings",
                          {"persistent": {"action.auto_create_index": create}})
    loaded.search.request("DELETE", "shop")
    wait_until(lambda: time.monotonic() > asked + ASKED_S, wal.LIMIT, "the last answer's end")
    loaded.pg.execute(UNSEEN)
    done = running.wait()
    assert done.returncode == 1 and "'shop'" in done.stderr, done
    assert not loaded.search.exists("shop")
    assert loaded.slot()
    done = loaded.run()
    assert "loading everything" in done.stderr, done
    loaded.is_true()
    loaded.pg.execute(CLEAR)
    loaded.run()
    loaded.is_true()


def test_an_index_that_is_not_the_one_that_was_loaded_is_loaded(loaded):
    loaded.search.request("DELETE", "shop")
    loaded.search.request("PUT", "shop")
    loaded.pg.execute(UNSEEN)
    done = loaded.run()
    assert "loading everything" in done.stderr and "warn" in done.stderr, done
    loaded.is_true()


def test_a_load_into_an_index_with_documents_ends_with_a_sweep(loaded):
    """As when the state is lost, or an older copy of the index is put in its place."""
    assert "none is owed; the last load or sweep ended at" in loaded.engine("state", "show", loaded.path).stdout
    assert loaded.engine("state", "reset", "--drop-slot", loaded.path).returncode == 0
    loaded.pg.execute(UNSEEN)
    done = loaded.run()
    assert "'shop' has documents already: a sweep follows the load" in done.stderr, done
    assert done.stderr.count("sweeping") == 1, done
    loaded.is_true()
    assert "sweeping" not in loaded.run().stderr


def test_a_load_into_an_index_with_too_many_others_asks_before_it_deletes_them(shop):
    shop.write(related=RELATED)
    shop.search.request("PUT", "shop")
    for i in range(60):
        shop.search.request("PUT", f"shop/_doc/other-{i}", {"name": "other"})
    done = shop.run(code=None)
    assert done.returncode == 1 and "refusing to delete" in done.stderr, done
    assert "none is owed" not in shop.engine("state", "show", shop.path).stdout
    done = shop.run("--allow-deletes")
    assert "loading everything" not in done.stderr and done.stderr.count("sweeping") == 1, done
    shop.is_true()


def test_a_load_that_follows_sweeps_an_index_with_documents_at_once(loaded):
    assert loaded.engine("state", "reset", "--drop-slot", loaded.path).returncode == 0
    loaded.pg.execute(UNSEEN)
    running = loaded.follow()
    wait_until(lambda: "swept" in running.stderr, wal.LIMIT, "the sweep's end")
    running.stop()
    loaded.is_true()


# The log of others


def behind(shop):
    return shop.slot()["behind"]


def write_log(pg, megabytes):
    pg.execute("SELECT pg_logical_emit_message(true, 'filler', repeat('x', 1 << 20))"
               " FROM generate_series(1, %s)", (megabytes,))


def test_the_log_of_other_tables_and_databases_is_confirmed(shop):
    running = shop.follow()
    shop.pg.execute("CREATE TABLE other (id int PRIMARY KEY, v text);"
                    "INSERT INTO other SELECT i, repeat(md5(i::text), 20)"
                    "  FROM generate_series(1, 20000) i")
    write_log(shop.pg, 20)
    wait_until(lambda: behind(shop) < 1 << 20, wal.LIMIT, "the log of other tables")
    url = shop.pg.url.replace(shop.pg.name, "postgres")
    done = subprocess.run(["psql", "-X", "-q", url, "-c",
                           "SELECT pg_logical_emit_message(true, 'filler', repeat('x', 1 << 20))"
                           " FROM generate_series(1, 20)"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: behind(shop) < 1 << 20, wal.LIMIT, "the log of other databases")
    shop.change(running, "UPDATE product SET name = 'x' WHERE id = 13")
    running.stop()
    write_log(shop.pg, 20)
    assert behind(shop) > 10 << 20
    assert "sweeping" not in shop.run().stderr
    wait_until(lambda: behind(shop) < 1 << 20, what="what the run confirmed at its end")
    shop.pg.execute("UPDATE product SET name = 'y' WHERE id = 13")
    assert "sweeping" not in shop.run().stderr
    shop.is_true()


# Another server, and a server that has thrown the log away


@pytest.fixture(scope="module")
def small(own_pg):
    """A server that keeps little of its log for a slot."""
    if (wal.services.vendor(wal.services.POSTGRES.name).version or "").startswith("12."):
        pytest.skip("PostgreSQL 12 has no limit for slots")
    return own_pg("wal_level=logical", "max_slot_wal_keep_size=1MB", "wal_keep_size=0",
                  "max_wal_size=32MB", "min_wal_size=32MB", "wal_sender_timeout=60s")


@pytest.fixture
def on_small(small, engine, search_one, script):
    small.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    small.query(SCHEMA)
    engine.env["DATABASE_URL"] = small.url
    shop = wal.Pipe(engine, small, search_one, script)
    shop.write(related=RELATED)
    yield shop
    engine.close()
    wal.forget_all(small)
    small.query("DROP PUBLICATION IF EXISTS etl_shop")


def lose_log(shop):
    """The slot becomes one that needs what the server has removed."""
    for _ in range(8):
        shop.pg.execute("SELECT pg_logical_emit_message(true, 'filler', repeat('x', 1 << 20))"
                        " FROM generate_series(1, 17)")
        shop.pg.execute("SELECT pg_switch_wal()")
        shop.pg.execute("CHECKPOINT")
        if shop.slot()["wal_status"] == "lost":
            return
    raise AssertionError(shop.slot())


def test_a_slot_whose_log_was_removed_is_told_and_repaired(on_small):
    on_small.run()
    on_small.pg.execute(UNSEEN)
    lose_log(on_small)
    done = on_small.run()
    repaired(on_small, done, SLOT)
    assert on_small.slot()["wal_status"] == "reserved" and on_small.slots() == 1


def test_another_server_behind_the_same_url_is_told_and_swept(shop, small, on_small):
    """Its slot bears the same name, and its positions look like those of the first one."""
    first = shop.pg
    on_small.engine.env["DATABASE_URL"] = first.url
    shop.write(related=RELATED)
    shop.run()
    small.query("SELECT pg_create_logical_replication_slot('etl_shop', 'pgoutput')")
    small.query(UNSEEN)
    on_small.engine.env["DATABASE_URL"] = small.url
    on_small.write(related=RELATED)
    done = on_small.run()
    assert "loading everything" not in done.stderr and done.stderr.count("sweeping") == 1, done
    assert one_line(done, r"(warn|info) .*(server|cluster)"), done
    on_small.is_true()
    on_small.pg.execute(CLEAR)
    assert "sweeping" not in on_small.run().stderr
    on_small.is_true()
