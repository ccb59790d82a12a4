"""Capture from the log: tables that are altered, renamed, dropped or made again while the engine
reads their changes, and a publication that loses them."""
import re
import signal

import pytest

import wal
from tools import wait_until
from wal import CATEGORY, LINK, SECOND, TAG, lua, pipe, plain, shop


@pytest.fixture
def things(pipe):
    """A table t with a part p, which tells its old rows."""
    pipe.pg.execute("""CREATE TABLE t (id int PRIMARY KEY, v text, unused text, w text);
        CREATE TABLE p (id int PRIMARY KEY, t_id int, n int, unused text);
        ALTER TABLE p REPLICA IDENTITY FULL;
        INSERT INTO t SELECT i, 'v', 'u', 'w' FROM generate_series(1, 30) i;
        INSERT INTO p SELECT i, i, i FROM generate_series(1, 30) i""")
    pipe.write(of_things())
    return pipe


def of_things(columns="t.*", document="return row", related=True, extra=""):
    part = '\n{ table = "p", key = "id",\naffects = "t_id" }'
    query = f"SELECT {columns}, (SELECT sum(n) FROM p WHERE p.t_id = t.id) AS n FROM t"
    return lua((part,) if related else (), query, "t", document=document, extra=extra)


def ends(things, running, *words):
    """It ends with status 2, script, line and these words; the state lets the next run go on."""
    done = running.wait()
    line = [text for text in done.stderr.splitlines() if re.search(r"script\.lua:\d+: ", text)
            and all(word in text for word in words)]
    assert done.returncode == 2 and line, done
    assert things.state()["tables"], done


def test_columns_come_go_and_change_while_it_follows(things):
    running = things.follow()
    for sql in ("ALTER TABLE t ADD x int DEFAULT 5; UPDATE t SET v = 'one' WHERE id = 1",
                "UPDATE t SET x = 6 WHERE id = 2",
                "ALTER TABLE t ALTER v TYPE varchar(50); UPDATE t SET v = 'two' WHERE id = 2",
                "ALTER TABLE t DROP unused; UPDATE t SET v = 'three' WHERE id = 3",
                "ALTER TABLE p DROP unused; UPDATE p SET n = 100 WHERE id = 4",
                "ALTER TABLE p ADD first text DEFAULT 'f'; UPDATE p SET t_id = 6 WHERE id = 5",
                "ALTER TABLE t ALTER id TYPE bigint; UPDATE t SET v = 'big' WHERE id = 7",
                "ALTER TABLE p ALTER t_id TYPE bigint; UPDATE p SET n = 101 WHERE id = 8",
                "BEGIN; ALTER TABLE t ADD y int; UPDATE t SET y = id WHERE id = 9;"
                "ALTER TABLE t DROP x; UPDATE t SET v = 'nine' WHERE id = 10; COMMIT",
                "DELETE FROM t WHERE id = 11; UPDATE t SET id = 112 WHERE id = 12"):
        things.change(running, sql)
    done = running.stop()
    assert done.returncode == 143 and not re.search("error|rejected:", done.stderr), done


def test_columns_that_changed_between_two_runs(things):
    things.run()
    things.pg.execute("""UPDATE t SET v = 'before' WHERE id = 1; ALTER TABLE t DROP unused;
        ALTER TABLE t ADD x int DEFAULT 5; UPDATE t SET v = 'after' WHERE id = 2;
        UPDATE p SET n = 100 WHERE id = 3; ALTER TABLE p DROP unused; DELETE FROM p WHERE id = 4""")
    things.run()
    things.run("--sweep")  # the default of a column writes no row's change
    things.is_true()


@pytest.mark.parametrize("case, sql, words", [
    ("a column of the query", "ALTER TABLE t DROP v; UPDATE t SET w = 'x' WHERE id = 3", ("v",)),
    ("renamed", "ALTER TABLE t RENAME v TO vv; UPDATE t SET w = 'x' WHERE id = 3", ("v",)),
    ("affects", "ALTER TABLE p DROP t_id CASCADE; UPDATE p SET n = 5 WHERE id = 3", ("t_id",)),
    ("a related table", "ALTER TABLE p RENAME TO pp; UPDATE pp SET n = 5 WHERE id = 3", ("p",)),
    ("the root", "ALTER TABLE t RENAME TO tt; UPDATE tt SET v = 'x' WHERE id = 3", ("t",)),
    ("dropped", "DROP TABLE p; UPDATE t SET v = 'x' WHERE id = 3", ("p",)),
    ("the key", "ALTER TABLE p DROP id; UPDATE p SET n = 5 WHERE t_id = 3", ("id",)),
])
def test_what_the_script_uses_is_gone(things, case, sql, words):
    things.write(of_things(columns="t.id, t.v, t.w"))
    running = things.follow()
    things.pg.execute(sql)
    ends(things, running, *words)
    assert things.slot()


def test_it_goes_on_once_the_script_names_what_there_is(things):
    things.write(of_things(columns="t.id, t.v, t.w"))
    running = things.follow()
    things.pg.execute("UPDATE t SET v = 'before' WHERE id = 2; ALTER TABLE t RENAME v TO vv;"
                      "UPDATE t SET w = 'x' WHERE id = 3; ALTER TABLE p RENAME TO pp;"
                      "UPDATE pp SET n = 50 WHERE id = 4; DELETE FROM t WHERE id = 5")
    ends(things, running)
    text = of_things(columns="t.id, t.vv, t.w").replace('"p"', '"pp"')
    things.write(text.replace("FROM p ", "FROM pp p "))
    done = things.run()
    assert "loading everything" not in done.stderr, done
    things.run("--sweep")  # documents have a new field
    things.is_true()
    running = things.follow()
    things.change(running, "UPDATE pp SET n = 51 WHERE id = 4")


MADE_AGAIN = {
    "t": "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v text, unused text, w text);"
         "INSERT INTO t SELECT i, 'again', 'u', 'w' FROM generate_series(11, 40) i",
    "p": "DROP TABLE p; CREATE TABLE p (id int PRIMARY KEY, t_id int, n int, unused text);"
         "ALTER TABLE p REPLICA IDENTITY FULL;"
         "INSERT INTO p SELECT i, i, -i FROM generate_series(11, 40) i",
}


@pytest.mark.parametrize("tables, how", [("t", "away"), ("p", "away"), ("tp", "following")])
def test_a_table_that_was_dropped_and_made_again_is_published_again_and_swept(things, tables, how):
    """While it follows it looks every half minute: it may have missed a publication, too."""
    running = things.follow()
    said = len(running.stderr)
    if how == "away":
        running.stop()
    for table in tables:
        things.pg.execute(f"BEGIN; {MADE_AGAIN[table]}; COMMIT")
    if how == "away":
        running, said = things.follow(), 0
    things.settle(running, limit=2 * wal.LIMIT)
    assert things.published() == {"public.t", "public.p"}
    stderr = running.stderr[said:]
    assert "loading everything" not in stderr and "sweeping" in stderr, stderr
    for sql in ("UPDATE t SET v = 'x' WHERE id = 20", "UPDATE p SET n = 7 WHERE id = 21",
                "DELETE FROM t WHERE id = 22"):
        things.change(running, sql)


def test_a_table_that_a_reload_adds_is_published_and_its_past_is_swept(shop):
    shop.write(related=(LINK,))
    running = shop.follow()
    shop.pg.execute("UPDATE tag SET name = 'unseen' WHERE id = 3")
    shop.write(related=(LINK, TAG, CATEGORY, SECOND))
    running.signal(signal.SIGHUP)
    wait_until(lambda: "reload" in running.stderr or not running.alive(), wal.LIMIT)
    shop.settle(running)
    assert shop.published() >= {"public.tag", "public.category"}
    shop.change(running, "UPDATE tag SET name = 'seen' WHERE id = 3")
    shop.change(running, "UPDATE category SET name = 'seen' WHERE id = 3")
    shop.write(related=(LINK, TAG))  # and one less: what it announced before is no mistake
    running.signal(signal.SIGHUP)
    wait_until(lambda: running.stderr.count("reloaded") > 1 or not running.alive(), wal.LIMIT)
    shop.pg.execute("UPDATE category SET name = name WHERE id = 3")
    shop.change(running, "UPDATE tag SET name = 'seen again' WHERE id = 3")
    done = running.stop()
    assert done.returncode == 143 and "error" not in done.stderr, done


def test_a_reload_that_changes_the_documents_writes_all_of_them(shop):
    running = shop.follow()
    shop.write(document="return { name = 'new ' .. row.name }")
    running.signal(signal.SIGHUP)
    shop.settle(running)
    shop.change(running, "UPDATE product SET name = 'x' WHERE id = 3")


# The publication


DROPPED = "DROP PUBLICATION etl_shop"
LESS = "ALTER PUBLICATION etl_shop DROP TABLE product_tag"


@pytest.mark.parametrize("harm, how", [(DROPPED, "away"), (DROPPED, "run"), (DROPPED, "following"),
                                       (LESS, "away"), (LESS, "run")])
def test_a_publication_that_somebody_took_away_is_mended_and_swept(shop, harm, how):
    running = shop.follow()
    tables, said = shop.published(), len(running.stderr)
    if how != "following":
        running.stop()
    shop.pg.execute(harm)
    shop.pg.execute("DELETE FROM product_tag WHERE product_id = 3;"
                    "DELETE FROM product WHERE id = 4;"
                    "UPDATE product SET name = 'unseen' WHERE id = 5")
    if how == "run":
        done, said = shop.run(), 0
        shop.is_true()
    else:
        if how == "away":
            running, said = shop.follow(), 0
        shop.settle(running)
        shop.change(running, "UPDATE product SET name = 'seen' WHERE id = 6")
        shop.change(running, "DELETE FROM product_tag WHERE product_id = 7")
        done = running.stop()
    assert shop.published() == tables
    stderr = done.stderr[said:]
    assert "loading everything" not in stderr and "sweeping" in stderr, stderr
    assert re.search("warn .*publication", stderr), stderr
    assert "sweeping" not in shop.run().stderr
    shop.is_true()


def test_plain_tables_beside_are_no_concern(things):
    """A column of a published table that the script does not use, with a name that it does."""
    things.write(plain(columns="id, v"))
    running = things.follow()
    assert things.published() == {"public.t"}
    things.pg.execute("ALTER TABLE p DROP t_id; UPDATE p SET n = 4; DROP TABLE p")
    things.change(running, "UPDATE t SET v = 'x' WHERE id = 3")
    assert running.stop().returncode == 143
