"""Capture from the log: what the first run makes on the server, what it asks of it, and what it
says where something is missing."""
import os
import re
import signal

import psycopg2
import pytest

import wal
from tools import wait_until
from wal import (
    CATEGORY, LINK, REVIEW_INDEXED, SCHEMA, SECOND, TAG, lua, one_line, own_pg, pipe, plain,
    shop,
)


EVERYTHING = {"public.product", "public.product_tag", "public.tag", "public.review",
              "public.category"}


def error(done):
    """Why it has ended: one line, and perhaps a hint."""
    line = one_line(done, r"etl-engine: error: ")
    return done.stderr[done.stderr.index(line):]


# What is made, and when


def test_a_run_that_is_not_whole_makes_nothing_and_the_first_whole_one_makes_both(shop):
    partial = (("--dry-run",), ("--dry-run", "--limit", "1"), ("--dry-run", "--keys", "1"),
               ("--limit", "1"), ("--keys", "1,2"))
    for words in partial:
        shop.run(*words)
        assert shop.slots() == shop.publications() == 0, words
    shop.run()
    slot = shop.slot()
    assert slot["plugin"] == "pgoutput" and slot["database"] == shop.pg.name, slot
    assert not slot["temporary"] and not slot["active"], slot
    assert shop.published() == EVERYTHING
    publication = shop.pg.value("SELECT to_jsonb(p) FROM pg_publication p")
    assert publication["pubinsert"] and publication["pubupdate"] and publication["pubdelete"] and not publication["puballtables"]
    assert publication.get("pubtruncate", True) and publication.get("pubviaroot", True)  # an older version has neither
    assert shop.pg.value("SELECT bool_and(to_jsonb(r) ->> 'prattrs' IS NULL AND"
                         " to_jsonb(r) ->> 'prqual' IS NULL) FROM pg_publication_rel r")
    shop.is_true()

    shop.pg.execute("UPDATE product SET name = 'new' WHERE id = 13")
    for words in partial:
        shop.run(*words)
        assert shop.slot()["confirmed"] == slot["confirmed"], words
    shop.run()
    wait_until(lambda: shop.slot()["confirmed"] > slot["confirmed"], what="what the run confirmed")
    assert (shop.slots(), shop.publications()) == (1, 1)
    shop.is_true()


@pytest.mark.parametrize("name, made", [("my-shop.1", "etl_my_shop_1"), ("shop_2", "etl_shop_2")])
def test_slot_and_publication_have_the_pipeline_s_name(shop, name, made):
    shop.write(lua(name=name))
    shop.run()
    assert shop.slot(made) and shop.published(made) == EVERYTHING
    assert (shop.slots(), shop.publications()) == (1, 1)


def test_they_may_have_names_of_their_own(shop):
    shop.write(lua(source="""slot = "other_slot", publication = [[The "shop's"]],"""))
    shop.run()
    assert shop.slot("other_slot") and shop.published('The "shop\'s"') == EVERYTHING
    assert (shop.slots(), shop.publications()) == (1, 1)
    running = shop.follow()
    shop.change(running, "UPDATE product SET name = 'new' WHERE id = 13")


@pytest.mark.parametrize("field, why", [
    ('slot = "Not-A-Slot",', r"slot"),
    ('slot = "' + "x" * 64 + '",', r"slot"),
    ('slot = "",', r"slot"),
    ('publication = "",', r"publication"),
    ('capture = "log",', r'capture.*"?(poll|wal)'),
])
def test_a_name_that_the_server_would_refuse_is_a_mistake_in_the_script(shop, field, why):
    text = lua(source="\n" + field)
    if "capture" in field:
        text = text.replace('capture = "wal", ', "").replace('capture = "wal",', "")
    path = shop.write(text)
    line = next(n for n, words in enumerate(text.split("\n"), 1) if words.startswith(field))
    done = shop.run(code=2)
    assert re.search(rf"{re.escape(path)}:{line}: .*{why}", done.stderr), done
    assert shop.slots() == shop.publications() == 0


def test_a_table_that_the_script_names_later_is_published_and_its_past_is_swept(shop):
    shop.write(related=(LINK, TAG))
    shop.run()
    assert shop.published() == EVERYTHING - {"public.review", "public.category"}
    shop.pg.execute("UPDATE review SET body = 'unseen' WHERE id = 5")
    shop.pg.execute("UPDATE category SET name = 'unseen' WHERE id = 5")
    shop.write(related=wal.ALL)
    done = shop.run()
    assert "sweeping" in done.stderr and "loading everything" not in done.stderr, done
    assert shop.published() == EVERYTHING
    shop.is_true()
    assert "sweeping" not in shop.run().stderr


def test_a_cursor_that_is_given_is_ignored(shop):
    shop.pg.execute("ALTER TABLE product ADD modified timestamptz DEFAULT '2020-01-01'")
    shop.write(source='cursor = "modified",')
    shop.run()
    shop.pg.execute("UPDATE product SET name = 'new' WHERE id = 13")
    shop.run()
    shop.is_true()


def test_what_changes_during_the_first_load_arrives(shop):
    """At the beginning, in the middle and at the end of the keys; and by a transaction that is
    older than the slot. The load stands at one row until all of it is done."""
    shop.pg.execute("INSERT INTO product SELECT i, 'p' FROM generate_series(41, 3000) i")
    gate = shop.pg.connect(autocommit=True)
    early = shop.pg.connect()
    with gate.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(1)")
    with early.cursor() as cursor:
        cursor.execute("SELECT 1")
    column = "CASE WHEN p.id = 1500 THEN pg_advisory_xact_lock_shared(1)::text END AS gate"
    shop.write(query=wal.QUERY.replace("SELECT p.id,", f"SELECT {column}, p.id,"))
    running = shop.start("--follow", "--workers", "1")
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    wait_until(lambda: shop.pg.value(waiting) or not running.alive(), wal.LIMIT, "the gate")
    assert shop.slot()["confirmed"], "the load began without a slot"
    for n, place in enumerate((2, 800, 1490, 2000, 2980)):
        shop.pg.execute(f"UPDATE product SET name = 'changed {n}' WHERE id = {place};"
                        f"DELETE FROM product WHERE id = {place} + 1;"
                        f"INSERT INTO product VALUES ({place} + 10000, 'new'), (-{place}, 'new');"
                        f"UPDATE product SET id = {place} + 20000 WHERE id = {place} + 2")
        with early.cursor() as cursor:
            cursor.execute("UPDATE product SET name = 'late' WHERE id = %s", (place + 5,))
    with gate.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(1)")
    wait_until(lambda: "following" in running.stderr or not running.alive(), wal.LIMIT)
    early.commit()
    shop.settle(running)


# Open transactions


def test_it_says_whom_it_waits_for_to_make_the_slot_and_a_signal_ends_the_wait(shop):
    writer = shop.pg.connect()
    with writer.cursor() as cursor:
        cursor.execute("UPDATE product SET name = 'late' WHERE id = 13")
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    running = shop.start()
    wait_until(lambda: "waits for" in running.stderr or not running.alive(), wal.LIMIT)
    assert re.search(rf"creating slot 'etl_shop' waits for .*process {pid}\b", running.stderr)
    assert running.stop().returncode == 143
    wait_until(lambda: shop.slots() == 0, what="nothing is left half made")
    running = shop.start()
    wait_until(lambda: "waits for" in running.stderr or not running.alive(), wal.LIMIT)
    writer.commit()
    assert running.wait().returncode == 0
    shop.is_true()


def test_a_prepared_transaction_is_named_among_these(shop):
    writer = shop.pg.connect()
    with writer.cursor() as cursor:
        cursor.execute("UPDATE product SET name = 'late' WHERE id = 13;"
                       "PREPARE TRANSACTION 'an old one'")
    running = shop.start()
    wait_until(lambda: "waits for" in running.stderr or not running.alive(), wal.LIMIT)
    assert "an old one" in running.stderr, running.stderr
    shop.pg.execute("COMMIT PREPARED 'an old one'")
    assert running.wait().returncode == 0
    shop.is_true()


# Privileges


@pytest.fixture
def role(pipe):
    """A role that may read, and do no more."""
    name = f"capturer_{os.getpid()}"
    pipe.pg.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret';"
                    f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {name}")
    yield name
    pipe.engine.close()
    wal.forget_all(pipe.pg)
    pipe.pg.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_what_the_role_may_not_do_is_told_with_the_sql_and_goes_on_once_that_has_run(shop, role):
    shop.pg.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    env = {"DATABASE_URL": shop.pg.url_at(shop.pg.port, user=role, password="secret")}
    shop.write(related=(LINK, TAG))

    done = shop.run(code=2, env=env)
    assert "must be owner" in error(done) or "permission denied" in error(done), done
    sql = re.search(r"CREATE PUBLICATION [^;\n]*", error(done))
    assert sql and (shop.slots(), shop.publications()) == (0, 0), done
    shop.pg.execute(sql.group())
    assert shop.published() == {"public.product", "public.product_tag", "public.tag"}

    done = shop.run(code=2, env=env)
    assert "cannot create slot 'etl_shop'" in error(done), done
    sql = re.search(rf"ALTER ROLE {role} REPLICATION", error(done))
    assert sql and shop.slots() == 0 and not shop.docs(), done
    shop.pg.execute(sql.group())

    shop.run(env=env)
    shop.is_true()
    shop.pg.execute("UPDATE product SET name = 'new' WHERE id = 13")
    shop.run(env=env)
    shop.is_true()

    shop.write(related=(LINK, TAG, CATEGORY, SECOND))
    done = shop.run(code=2, env=env)
    sql = re.search(r"ALTER PUBLICATION \"?etl_shop\"? ADD TABLE [\w\", .]*\w", error(done))
    assert sql, done
    shop.pg.execute(sql.group())
    shop.pg.execute("UPDATE category SET name = 'new' WHERE id = 3")
    shop.run(env=env)
    shop.is_true()


def test_a_role_that_lost_its_privilege_is_told_and_does_not_try_for_ever(shop, role):
    """The slot is there, made by somebody else; the stream is refused."""
    shop.pg.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    env = {"DATABASE_URL": shop.pg.url_at(shop.pg.port, user=role, password="secret")}
    shop.run()
    done = shop.run(code=2, env=env)
    assert f"ALTER ROLE {role} REPLICATION" in error(done), done
    assert "trying again" not in done.stderr, done


# Settings


def test_a_server_without_a_logical_log_is_told(own_pg, engine, search_one, script):
    server = own_pg("wal_level=replica", "max_wal_senders=2")
    server.execute(SCHEMA)
    engine.env["DATABASE_URL"] = server.url
    shop = wal.Pipe(engine, server, search_one, script)
    shop.write()
    done = shop.run(code=2)
    assert "wal_level" in error(done) and "'replica'" in error(done), done
    assert "ALTER SYSTEM SET wal_level = logical" in error(done), done
    assert shop.publications() == 0 and not shop.docs()
    server.stop()
    server.start(("wal_level=logical", "max_replication_slots=0"))
    done = shop.run(code=2)
    assert "max_replication_slots" in error(done) and "restart" in error(done), done
    server.stop()
    server.start(("wal_level=logical", "max_wal_senders=0"))
    done = shop.run(code=2)
    assert "max_wal_senders" in error(done) and "restart" in error(done), done


def test_no_free_slot_is_told(shop):
    shop.pg.query("SELECT pg_create_physical_replication_slot('taken_' || i)"
                  " FROM generate_series(1, current_setting('max_replication_slots')::int) i")
    done = shop.run(code=2)
    assert "all replication slots are in use" in error(done), done
    assert "max_replication_slots" in error(done), done
    assert not shop.docs()
    shop.pg.query("SELECT pg_drop_replication_slot('taken_1')")
    shop.run()
    shop.is_true()


@pytest.mark.parametrize("kind", ["plugin", "database", "physical"])
def test_a_slot_of_somebody_else_is_left_alone(shop, kind):
    if kind == "plugin":
        shop.pg.query("SELECT pg_create_logical_replication_slot('etl_shop', 'test_decoding')")
    elif kind == "physical":
        shop.pg.query("SELECT pg_create_physical_replication_slot('etl_shop')")
    else:
        other = psycopg2.connect(shop.pg.url.replace(shop.pg.name, "postgres"))
        other.autocommit = True
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_create_logical_replication_slot('etl_shop', 'pgoutput')")
        other.close()
    before = shop.slot()
    for words in ((), ("--follow",)):
        done = shop.run(*words, code=2)
        assert "slot 'etl_shop'" in error(done) and "source.slot" in error(done), done
    after = shop.slot()
    for slot in (before, after):
        slot.pop("behind")
    assert before == after


# Two engines


def test_a_second_engine_waits_says_for_whom_and_goes_on_when_that_ends(shop, tmp_path):
    first = shop.follow()
    pid = wait_until(shop.reader)
    second = shop.start("--follow", env={"FILE_PATH_STATE": tmp_path / "other"})
    wait_until(lambda: re.search(rf"warn .*etl_shop.*\b{pid}\b", second.stderr)
               or not second.alive(), wal.LIMIT, "a warning with the process")
    shop.change(first, "UPDATE product SET name = 'new' WHERE id = 13")
    assert second.alive() and second.stderr.count(f"{pid}") == 1, second.stderr
    assert first.stop().returncode == 143
    wait_until(lambda: shop.reader() not in (0, pid) or not second.alive(), wal.LIMIT)
    shop.settle(second)
    shop.change(second, "UPDATE product SET name = 'newer' WHERE id = 13")
    assert second.stop().returncode == 143


def test_a_run_waits_for_the_slot_too(shop, tmp_path):
    first = shop.follow()
    pid = wait_until(shop.reader)
    second = shop.start(env={"FILE_PATH_STATE": tmp_path / "other"})
    wait_until(lambda: re.search(rf"warn .*\b{pid}\b", second.stderr) or not second.alive(),
               wal.LIMIT, "a warning with the process")
    assert second.alive(), second.stderr
    first.kill()
    assert second.wait().returncode == 0
    shop.is_true()


# Tables


def test_a_table_whose_rows_have_no_identity_stays_writable(shop):
    shop.pg.execute("CREATE TABLE note (product_id int, body text);"
                    "INSERT INTO note VALUES (3, 'a'), (4, 'b')")
    note = '{ table = "note", key = { "product_id", "body" }, affects = "product_id" }'
    query = wal.QUERY.replace("SELECT p.id,", """SELECT (SELECT array_agg(body ORDER BY body)
        FROM note n WHERE n.product_id = p.id) AS notes, p.id,""")
    words = {"related": (LINK, note), "query": query,
             "document": "return { name = row.name, notes = row.notes }"}
    shop.write(**words)
    done = shop.run()
    line = one_line(done, "warn .*'note'")
    assert re.search(r"script\.lua:\d+: ", line), line
    assert "ALTER TABLE public.note REPLICA IDENTITY FULL" in line, line
    assert shop.published() == {"public.product", "public.product_tag"}
    assert shop.pg.execute("UPDATE note SET body = 'c' WHERE product_id = 3") == 1
    assert shop.pg.execute("DELETE FROM note WHERE product_id = 4") == 1
    shop.run("--sweep")
    shop.is_true()

    shop.pg.execute("ALTER TABLE note REPLICA IDENTITY FULL")
    shop.pg.execute("INSERT INTO note VALUES (5, 'unseen')")
    done = shop.run()
    assert "'note'" not in done.stderr and "public.note" in shop.published(), done
    shop.is_true()
    shop.pg.execute("UPDATE note SET product_id = 6, body = 'd' WHERE product_id = 5")
    shop.pg.execute("DELETE FROM note WHERE product_id = 3")
    assert "sweeping" not in shop.run().stderr
    shop.is_true()


@pytest.mark.parametrize("how", ["no key", "nothing", "deferrable"])
def test_a_root_whose_rows_have_no_identity_is_refused(pipe, how):
    pipe.pg.execute("CREATE TABLE t (id int NOT NULL, v text); INSERT INTO t VALUES (1, 'a')")
    if how == "nothing":
        pipe.pg.execute("ALTER TABLE t ADD PRIMARY KEY (id);"
                        "ALTER TABLE t REPLICA IDENTITY NOTHING")
    if how == "deferrable":
        pipe.pg.execute("ALTER TABLE t ADD PRIMARY KEY (id) DEFERRABLE")
    path = pipe.write(plain())
    done = pipe.run(code=2)
    assert re.search(rf"{re.escape(path)}:\d+: .*'t'.*no replica identity", error(done)), done
    assert "ALTER TABLE public.t " in error(done) and pipe.publications() == 0, done
    assert pipe.pg.execute("UPDATE t SET v = 'b'") == 1


def test_rows_whose_identity_was_taken_away_later_are_told(shop):
    shop.write(related=(LINK, REVIEW_INDEXED))
    assert "warn" not in shop.run().stderr
    shop.pg.execute("ALTER TABLE review REPLICA IDENTITY NOTHING")
    shop.pg.execute("INSERT INTO review VALUES (1000, 'new', 3)")
    done = shop.run()
    assert "ALTER TABLE public.review REPLICA IDENTITY" in one_line(done, "warn .*'review'")
    shop.is_true()


@pytest.mark.parametrize("kind, code", [("view", 2), ("materialized", 2), ("unlogged", 2)])
def test_a_root_that_is_not_in_the_log_is_refused_and_poll_is_named(pipe, kind, code):
    pipe.pg.execute("CREATE TABLE base (id int PRIMARY KEY, v text)")
    pipe.pg.execute({"view": "CREATE VIEW t AS SELECT * FROM base",
                     "materialized": "CREATE MATERIALIZED VIEW t AS SELECT * FROM base",
                     "unlogged": "CREATE UNLOGGED TABLE t (id int PRIMARY KEY, v text)"}[kind])
    path = pipe.write(plain())
    done = pipe.run(code=code)
    assert re.search(rf"{re.escape(path)}:\d+: .*'t'", error(done)), done
    assert 'capture = "poll"' in error(done) and pipe.publications() == 0, done


def test_a_related_view_is_told_and_the_rest_is_captured(shop):
    shop.pg.execute("CREATE VIEW labels AS SELECT * FROM product_tag")
    shop.write(related=(LINK.replace('"product_tag"', '"labels"'), TAG))
    done = shop.run()
    assert "only a sweep" in one_line(done, "warn .*'labels'")
    assert shop.published() == {"public.product", "public.tag"}
    shop.pg.execute("UPDATE product SET name = 'new' WHERE id = 13")
    shop.run()
    shop.is_true()


def test_a_table_that_does_not_tell_the_old_document_is_named_with_the_remedy(shop):
    done = shop.run()
    line = one_line(done, "warn ")
    assert re.search(r"script\.lua:\d+: .*product_id in 'review'", line), line
    assert "ALTER TABLE public.review REPLICA IDENTITY FULL" in line, line
    shop.pg.execute("ALTER TABLE review REPLICA IDENTITY FULL")
    shop.run()  # a sweep finds what was lost while it did not tell
    assert "warn" not in shop.run().stderr
    shop.pg.execute("ALTER TABLE review REPLICA IDENTITY DEFAULT;"
                    "ALTER TABLE review ALTER product_id SET NOT NULL;"
                    "CREATE UNIQUE INDEX of_product ON review (product_id, id);"
                    "ALTER TABLE review REPLICA IDENTITY USING INDEX of_product")
    shop.run()  # a sweep finds what was lost while it did not tell
    assert "warn" not in shop.run().stderr
    shop.pg.execute("ALTER TABLE review REPLICA IDENTITY DEFAULT")
    shop.write(related=(LINK, REVIEW_INDEXED))
    shop.run()  # a sweep finds what was lost while it did not tell
    assert "warn" not in shop.run().stderr


def test_a_column_that_the_key_only_includes_is_not_told(shop):
    shop.pg.execute("ALTER TABLE review DROP CONSTRAINT review_pkey,"
                    " ADD PRIMARY KEY (id) INCLUDE (product_id)")
    assert "product_id in 'review'" in one_line(shop.run(), "warn ")


# Publications that others made

PARTIAL = {
    "kinds": ("FOR TABLE product WITH (publish = 'insert, update')",
              r"ALTER PUBLICATION .*truncate'\)"),
    "rows": ("FOR TABLE product WHERE (id < 10)", "source.publication"),
    "columns": ("FOR TABLE product (id)", "source.publication"),
}


@pytest.mark.parametrize("what", PARTIAL)
def test_a_publication_that_hides_changes_is_refused(shop, what):
    sql, remedy = PARTIAL[what]
    shop.write(related=())
    if what != "kinds":
        shop.pg.needs(15, "row filters and column lists")
    shop.pg.execute("CREATE PUBLICATION etl_shop " + sql)
    done = shop.run(code=2)
    assert "publication 'etl_shop'" in error(done) and shop.slots() == 0, done
    found = re.search(remedy, error(done))
    assert found, done
    if what == "kinds":
        shop.pg.execute(found.group())
        shop.run()
        shop.pg.execute("DELETE FROM product WHERE id = 40")
        shop.run()
        shop.is_true()


def test_a_publication_of_all_tables_will_do(shop):
    shop.pg.execute("CREATE PUBLICATION etl_shop FOR ALL TABLES")
    shop.run()
    shop.pg.execute("UPDATE tag SET name = 'new' WHERE id = 3; DELETE FROM product WHERE id = 9")
    assert "sweeping" not in shop.run().stderr
    shop.is_true()


# Reloads


@pytest.mark.parametrize("old, new, field", [
    ('capture = "wal"', 'capture = "poll"', "capture"),
    ("related = {", 'slot = "other", related = {', "slot"),
    ("related = {", 'publication = "other", related = {', "publication"),
])
def test_a_reload_does_not_change_how_it_captures(shop, old, new, field):
    running = shop.follow()
    shop.write(lua().replace(old, new))
    running.signal(signal.SIGHUP)
    wait_until(lambda: "could not reload" in running.stderr or not running.alive(), wal.LIMIT)
    assert re.search(rf"'source\.{field}' has changed: restart to use", running.stderr)
    shop.write()
    shop.change(running, "UPDATE product SET name = 'new' WHERE id = 13")
    assert (shop.slots(), shop.publications()) == (1, 1)
