"""Capture from the log: each kind of change arrives, and no other document is written. One
pipeline follows through many changes; after each the index has what a dry run prints."""
import re

import psycopg2
import pytest

import films
import wal
from tools import wait_until
from wal import (
    CATEGORY, LINK, QUERY, REVIEW, REVIEW_INDEXED, SIMILAR, TAG, lua, pipe, plain, shop,
)


FULL = "ALTER TABLE review REPLICA IDENTITY FULL"


@pytest.fixture
def full(shop):
    """The shop; its reviews tell their old rows."""
    shop.pg.execute(FULL)
    return shop


ROWS = (
    "INSERT INTO product VALUES (100, 'new', true, 1, 2, 3)",
    "UPDATE product SET name = 'renamed' WHERE id IN (4, 5)",
    "DELETE FROM product WHERE id = 6",  # its links and reviews go with it
    "DELETE FROM product WHERE id = 2",  # those that are similar to it lose it
    "UPDATE product SET id = 1000 WHERE id = 7",  # what refers to it moves along
    "BEGIN; UPDATE product SET id = -1 WHERE id = 8; UPDATE product SET id = 8 WHERE id = 9;"
    "UPDATE product SET id = 9 WHERE id = -1; COMMIT",
    "BEGIN; DELETE FROM product WHERE id = 10; INSERT INTO product VALUES (10, 'again'); COMMIT",
    "BEGIN; INSERT INTO product VALUES (101, 'a');"
    "UPDATE product SET id = 102 WHERE id = 101; COMMIT",
    "UPDATE product SET name = upper(name)",
    "INSERT INTO product VALUES (4, 'x') ON CONFLICT (id) DO UPDATE SET name = 'upserted'",
    "COPY product (id) FROM PROGRAM 'seq 200 202'",
    "WITH gone AS (DELETE FROM product WHERE id = 11 RETURNING name) UPDATE product"
    " SET name = (SELECT name FROM gone) WHERE id = 12",
)

LINKS = (
    "INSERT INTO product_tag VALUES (20, 8)",
    "DELETE FROM product_tag WHERE product_id = 21",
    "UPDATE product_tag SET product_id = 23 WHERE product_id = 22 AND tag_id IN (SELECT tag_id"
    " FROM product_tag WHERE product_id = 22 EXCEPT SELECT tag_id FROM product_tag"
    " WHERE product_id = 23)",
    "UPDATE product_tag SET tag_id = 8 WHERE product_id = 24 AND tag_id = (SELECT min(tag_id)"
    " FROM product_tag WHERE product_id = 24)",
    "BEGIN; INSERT INTO review VALUES (500, 'short', 25); DELETE FROM review WHERE id = 500;"
    "INSERT INTO product_tag VALUES (25, 8); COMMIT",
    "INSERT INTO review VALUES (501, 'new', 26)",
    "UPDATE review SET body = 'other' WHERE id = 501",
    "UPDATE review SET product_id = 27 WHERE id = 501",
    "UPDATE review SET product_id = NULL WHERE id = 501",
    "UPDATE review SET product_id = 28, id = 502 WHERE id = 501",
    "DELETE FROM review WHERE id = 502",
    "BEGIN; INSERT INTO product VALUES (103, 'a'); INSERT INTO product_tag VALUES (103, 1);"
    "INSERT INTO review VALUES (503, 'r', 103); COMMIT",
    "DELETE FROM product WHERE id = 103",
)

OTHERS = (
    "UPDATE tag SET name = 'renamed' WHERE id = 2",
    "DELETE FROM tag WHERE id = 3",  # its links go with it
    "UPDATE category SET name = 'renamed' WHERE id = 1",  # some have it first
    "DELETE FROM category WHERE id = 2",  # its products remain
    "UPDATE category SET name = name || '!'; UPDATE tag SET name = name || '!'",
    "UPDATE product SET name = 'like others' WHERE id = 5",  # named again as related: 20 to 23
    "UPDATE product SET similar_id = 5 WHERE id = 30",
    "UPDATE product SET similar_id = id WHERE id = 31",
    "DELETE FROM product WHERE id = 5",
    "UPDATE product SET second_id = category_id",
)


@pytest.mark.parametrize("changes", [ROWS, LINKS, OTHERS], ids=["rows", "links", "others"])
def test_each_change_arrives(full, changes):
    running = full.follow()
    assert not re.search("warn|error", running.stderr), running.stderr
    for sql in changes:
        full.change(running, sql)
    done = running.stop()
    assert done.returncode == 143 and not re.search("warn|error|sweeping", done.stderr), done


def test_one_run_after_all_changes_makes_them_right(full):
    full.run()
    for sql in (*OTHERS, *LINKS):
        full.pg.execute(sql)
    done = full.run()
    full.is_true()
    assert not re.search("warn|error|sweeping", done.stderr), done


def test_only_what_a_change_affects_is_written(full):
    """Of products that no other one is similar to."""
    running = full.follow()
    assert full.written(running, "UPDATE product SET name = 'a' WHERE id < 15 AND id > 12") == {
        "13", "14"}
    assert full.written(running, "DELETE FROM product WHERE id = 15") == {"15"}
    assert full.written(running, "UPDATE product SET id = 60 WHERE id = 16") == {"16", "60"}
    assert full.written(running, "DELETE FROM product_tag WHERE product_id = 17") == {"17"}
    assert full.written(running, "UPDATE review SET product_id = 19 WHERE id = 17") == {"18", "19"}
    assert full.written(running, "CREATE TABLE other (id int PRIMARY KEY);"
                                 "INSERT INTO other VALUES (11); DELETE FROM other") == set()
    assert full.written(running, "SELECT pg_logical_emit_message(true, 'etl', 'a');"
                                 "SELECT pg_logical_emit_message(false, 'etl', 'b')") == set()


def test_rollbacks_and_savepoints(full):
    running = full.follow()
    assert full.written(running, "BEGIN; UPDATE product SET name = 'a'; ROLLBACK") == set()
    many = "".join(f"SAVEPOINT s; UPDATE product SET name = 'r' WHERE id = {i}; ROLLBACK TO s;"
                   f"UPDATE product SET name = 'k' WHERE id = {i + 20}; RELEASE s;"
                   for i in range(1, 16))
    assert full.written(running, f"BEGIN; {many} COMMIT") == {str(i) for i in range(21, 36)}
    full.change(running, """DO $$ BEGIN FOR i IN 1..100 LOOP BEGIN
        INSERT INTO product VALUES (1000 + i);
        IF i % 2 = 0 THEN RAISE 'no'; END IF;
        EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$""")
    assert full.pg.value("SELECT count(*) FROM product WHERE id > 1000") == 50


def test_an_open_transaction_is_not_seen_and_arrives_with_its_commit(full):
    running = full.follow()
    early, late = full.pg.connect(), full.pg.connect()
    for connection, key in ((early, 3), (late, 4)):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE product SET name = 'held' WHERE id = %s", (key,))
    full.change(running, "UPDATE product SET name = 'between' WHERE id = 5")
    late.commit()  # in the other order than they began
    full.settle(running)
    full.change(running, "UPDATE product SET name = 'between' WHERE id = 6")
    early.commit()
    full.settle(running)
    assert full.search.get("shop", "3")["name"] == "held"


def test_prepared_transactions(full):
    running = full.follow()

    def prepare(gid, sql):
        connection = full.pg.connect()
        with connection.cursor() as cursor:
            cursor.execute(f"{sql}; PREPARE TRANSACTION '{gid}'")
        connection.close()

    prepare("a", "UPDATE product SET name = 'prepared' WHERE id = 3;"
                 "DELETE FROM product_tag WHERE product_id = 4; DELETE FROM product WHERE id = 5")
    prepare("b", "UPDATE product SET name = 'not kept' WHERE id = 6")
    full.change(running, "UPDATE product SET name = 'between' WHERE id = 7")
    assert full.search.get("shop", "3")["name"] == "product 3"
    full.change(running, "COMMIT PREPARED 'a'")
    assert full.written(running, "ROLLBACK PREPARED 'b'") == set()
    prepare("c", "UPDATE product SET name = 'over a restart' WHERE id = 8")
    running.stop()
    full.run()
    full.pg.execute("COMMIT PREPARED 'c'")
    full.run()
    full.is_true()
    assert full.search.get("shop", "8")["name"] == "over a restart"


def test_changes_that_came_from_another_server(full):
    """Those of a subscription bear an origin."""
    running = full.follow()
    full.pg.execute("SELECT pg_replication_origin_create('etl_test')")
    try:
        apply = full.pg.connect()
        with apply.cursor() as cursor:
            cursor.execute("SELECT pg_replication_origin_session_setup('etl_test');"
                           "SELECT pg_replication_origin_xact_setup('0/1', now());"
                           "UPDATE product SET name = 'from elsewhere' WHERE id = 3;"
                           "DELETE FROM product WHERE id = 4")
        apply.commit()
        apply.close()
        full.settle(running)
        assert full.search.get("shop", "3")["name"] == "from elsewhere"
    finally:
        wait_until(lambda: dropped_origin(full.pg))


def dropped_origin(pg):
    try:
        pg.execute("SELECT pg_replication_origin_drop('etl_test')")
    except psycopg2.Error:  # the session that had it has not quite ended
        return False
    return True


# Where the old row is not in the log


def test_without_the_old_row_a_sweep_finds_what_a_link_has_left(shop):
    running = shop.follow()
    assert "ALTER TABLE public.review REPLICA IDENTITY FULL" in running.stderr
    shop.change(running, "INSERT INTO review VALUES (100, 'new', 3)")
    shop.change(running, "UPDATE review SET body = 'changed' WHERE id = 100")
    shop.pg.execute("UPDATE review SET product_id = 4 WHERE id = 100")
    wait_until(lambda: "changed" in shop.search.get("shop", "4")["reviews"], wal.LIMIT)
    shop.pg.execute("DELETE FROM review WHERE id = 10")
    shop.pg.execute("UPDATE product SET name = 'marker' WHERE id = 40")
    wait_until(lambda: shop.search.get("shop", "40")["name"] == "marker", wal.LIMIT)
    assert "changed" in shop.search.get("shop", "3")["reviews"]
    assert "review 10" in shop.search.get("shop", "11")["reviews"]
    running.stop()
    shop.run("--sweep")
    shop.is_true()

    running = shop.follow()
    shop.pg.execute(FULL)  # from now on they are in the log
    shop.change(running, "UPDATE review SET product_id = 5 WHERE id = 100")
    shop.change(running, "DELETE FROM review WHERE id = 100")
    shop.pg.execute("ALTER TABLE review REPLICA IDENTITY DEFAULT")
    shop.change(running, "INSERT INTO review VALUES (100, 'new', 3)")


def test_without_the_old_row_the_index_tells_what_a_link_has_left(shop):
    shop.write(related=(LINK, TAG, REVIEW_INDEXED))
    running = shop.follow()
    assert "warn" not in running.stderr, running.stderr
    shop.search.refresh("shop")
    shop.change(running, "DELETE FROM review WHERE id = 10")
    shop.change(running, "UPDATE review SET product_id = 4 WHERE id = 11")
    shop.change(running, "INSERT INTO review VALUES (100, 'new', 3)")
    shop.change(running, "UPDATE review SET id = 101, product_id = 5 WHERE id = 100")
    running.stop()
    shop.pg.execute("DELETE FROM review WHERE id IN (12, 13, 101)")
    assert "sweeping" not in shop.run().stderr
    shop.is_true()


IDENTITIES = {  # of the root, and of a link, each changed while the engine follows
    "full": ("FULL", "FULL"),
    "index": ("USING INDEX product_other", "USING INDEX link_other"),
    "default": ("DEFAULT", "DEFAULT"),
}


def test_the_key_is_the_script_s_whatever_the_identity_is(shop):
    shop.pg.execute("CREATE UNIQUE INDEX product_other ON product (id);"
                    "ALTER TABLE product_tag ADD n int GENERATED ALWAYS AS IDENTITY;"
                    "CREATE UNIQUE INDEX link_other ON product_tag (product_id, n)")
    shop.write(related=(LINK, TAG, SIMILAR))
    running = shop.follow()
    for n, (root, link) in enumerate(IDENTITIES.values()):
        shop.pg.execute(f"ALTER TABLE product REPLICA IDENTITY {root};"
                        f"ALTER TABLE product_tag REPLICA IDENTITY {link}")
        one, two, three = 3 + 3 * n, 4 + 3 * n, 5 + 3 * n
        shop.change(running, f"UPDATE product SET name = 'a', active = false WHERE id = {one}")
        shop.change(running, f"UPDATE product_tag SET product_id = {one} WHERE product_id = {two}"
                             f" AND tag_id NOT IN (SELECT tag_id FROM product_tag"
                             f" WHERE product_id = {one})")
        shop.change(running, f"DELETE FROM product_tag WHERE product_id = {one}")
        shop.change(running, f"UPDATE product SET id = {one} + 100 WHERE id = {one}")
        shop.change(running, f"DELETE FROM product WHERE id = {three}")
        shop.change(running, f"INSERT INTO product VALUES (1000 + {n}, 'new')")
    assert running.stop().returncode == 143
    assert shop.search.count("shop") == shop.pg.value("SELECT count(*) FROM product")


def test_a_root_whose_key_is_not_in_its_identity_is_told(pipe):
    """Its deletes are in the log by another column, which the engine does not know."""
    pipe.pg.execute("CREATE TABLE t (id int PRIMARY KEY, code int NOT NULL UNIQUE, v text);"
                    "ALTER TABLE t REPLICA IDENTITY USING INDEX t_code_key;"
                    "INSERT INTO t SELECT i, -i, 'v' FROM generate_series(1, 9) i")
    pipe.write(plain())
    done = pipe.run(code=None)
    line = wal.one_line(done, "warn|error")
    assert re.search(r"script\.lua:\d+: .*\bid in 't'", line), line
    assert "ALTER TABLE public.t REPLICA IDENTITY FULL" in line, line
    if done.returncode == 0:
        pipe.pg.execute("UPDATE t SET v = 'w' WHERE id = 3; DELETE FROM t WHERE id = 4;"
                        "INSERT INTO t VALUES (10, -10, 'w')")
        pipe.run()
        assert pipe.search.get("shop", "3") == pipe.search.get("shop", "10") == {"v": "w"}
        pipe.run("--sweep")
        pipe.is_true()


# Rows that leave the query, and many deletes


def test_a_row_that_leaves_the_query_or_gives_nil_is_deleted_and_comes_back(shop):
    shop.write(related=(LINK,), query=QUERY + " WHERE p.active",
               document="if row.name == 'nil' then return nil end " + wal.DOCUMENT)
    running = shop.follow()
    shop.change(running, "UPDATE product SET active = false WHERE id IN (3, 4)")
    assert shop.search.get("shop", "3") is None
    shop.change(running, "UPDATE product SET active = true WHERE id = 3")
    shop.change(running, "UPDATE product SET name = 'nil' WHERE id = 15")
    assert shop.search.get("shop", "15") is None
    shop.change(running, "UPDATE product SET name = 'back' WHERE id = 15")
    shop.change(running, "INSERT INTO product VALUES (100, 'nil'), (101, 'seen')")


def test_deletes_that_the_log_tells_pass_the_guard(pipe):
    pipe.pg.execute("CREATE TABLE t (id int PRIMARY KEY, v text, active bool DEFAULT true);"
                    "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 400) i")
    pipe.write(plain(columns="id, v, active",
                     document="return row.active and { v = row.v } or nil"))
    running = pipe.follow()
    pipe.change(running, "DELETE FROM t WHERE id <= 250")
    pipe.change(running, "UPDATE t SET active = false WHERE id <= 390")
    running.stop()
    pipe.pg.execute("DELETE FROM t; INSERT INTO t SELECT i, 'w' FROM generate_series(1, 400) i")
    pipe.run()
    pipe.pg.execute("DELETE FROM t")
    assert "refusing" not in pipe.run().stderr
    assert pipe.search.count("shop") == 0


# TRUNCATE


@pytest.mark.parametrize("sql", [
    "TRUNCATE review", "TRUNCATE product_tag", "TRUNCATE tag CASCADE",
    "TRUNCATE review RESTART IDENTITY", "TRUNCATE product CASCADE",
    "BEGIN; TRUNCATE review; INSERT INTO review VALUES (1, 'only', 3); COMMIT",
    "BEGIN; SAVEPOINT s; TRUNCATE review; ROLLBACK TO s;"
    "UPDATE tag SET name = 'x' WHERE id = 3; COMMIT",
])
def test_a_truncate_is_told_and_swept(full, sql):
    running = full.follow("--allow-deletes")
    full.change(running, sql)
    said = "ROLLBACK" not in sql
    if said:
        wait_until(lambda: "swept" in running.stderr, wal.LIMIT)
    full.change(running, "INSERT INTO product VALUES (300, 'after')")
    done = running.stop()
    assert done.returncode == 143 and done.stderr.count("sweeping") == said, done
    if said:
        assert re.search(r"TRUNCATE|truncated", done.stderr), done
        assert "sweeping" not in full.run().stderr
    full.is_true()


@pytest.mark.parametrize("how", ["run", "follow"])
def test_a_truncate_of_most_rows_is_stopped_by_the_guard(pipe, how):
    pipe.pg.execute("CREATE TABLE t (id int PRIMARY KEY, v text);"
                    "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 300) i")
    pipe.write(plain())
    if how == "follow":
        running = pipe.follow()
        pipe.pg.execute("TRUNCATE t")
        done = running.wait()
    else:
        pipe.run()
        pipe.pg.execute("TRUNCATE t")
        done = pipe.run(code=None)
    assert done.returncode == 1 and "refusing to delete" in done.stderr, done
    assert "--allow-deletes" in done.stderr and re.search("TRUNCATE|truncated", done.stderr), done
    assert pipe.search.count("shop") == 300
    done = pipe.run(code=1)  # the sweep is still owed
    assert pipe.search.count("shop") == 300
    pipe.pg.execute("INSERT INTO t VALUES (1, 'new')")
    pipe.run("--allow-deletes")
    assert pipe.docs() == {"1": {"v": "new"}}
    assert "sweeping" not in pipe.run().stderr


# Tables of other shapes


def test_tables_of_the_same_name_in_two_schemas(pipe):
    pipe.pg.execute("""CREATE SCHEMA a; CREATE SCHEMA b; CREATE SCHEMA "c.d";
        CREATE TABLE a.item (id int PRIMARY KEY, v text);
        CREATE TABLE b.item (id int PRIMARY KEY, item_id int NOT NULL, v text);
        CREATE TABLE "c.d"."It""em" (id int PRIMARY KEY, v text);
        ALTER TABLE b.item REPLICA IDENTITY FULL;
        INSERT INTO a.item SELECT i, 'a' FROM generate_series(1, 20) i;
        INSERT INTO b.item SELECT i, 21 - i, 'b' FROM generate_series(1, 20) i;
        INSERT INTO "c.d"."It""em" SELECT i, 'c' FROM generate_series(1, 20) i;
        CREATE PUBLICATION etl_shop FOR ALL TABLES""")
    query = """SELECT a.id, a.v, b.v AS b, c.v AS c FROM a.item a
        LEFT JOIN b.item b ON b.item_id = a.id LEFT JOIN "c.d"."It""em" c ON c.id = a.id"""
    quoted = '''{ table = [["c.d"."It""em"]], key = "id", affects = "id" }'''
    plainly = '{ table = "b.item", key = "id", affects = "item_id" }'
    pipe.write(lua((plainly, quoted), query, "a.item",
                   document="return { v = row.v, b = row.b, c = row.c }"))
    running = pipe.follow()

    def written(sql):
        before = pipe.search.versions("shop")
        pipe.change(running, sql)
        return films.changed(before, pipe.search.versions("shop"))

    assert written("UPDATE a.item SET v = 'x' WHERE id = 3") == {"3"}
    assert written("UPDATE b.item SET v = 'x' WHERE id = 3") == {"18"}
    assert written("""UPDATE "c.d"."It""em" SET v = 'x' WHERE id = 4""") == {"4"}
    assert written("""UPDATE "c.d"."It""em" SET id = 50 WHERE id = 5""") == {"5"}
    pipe.pg.execute("CREATE SCHEMA z; CREATE TABLE z.item (id int PRIMARY KEY, v text);"
                    "INSERT INTO z.item VALUES (7, 'z'); UPDATE z.item SET v = 'y'")
    assert written("DELETE FROM b.item WHERE id = 6;"
                   "DELETE FROM a.item WHERE id = 16") == {"15", "16"}


def test_a_partitioned_root_and_a_partition_that_comes_later(pipe):
    pipe.pg.needs(13, "partitioned tables in a publication")
    pipe.pg.execute("""CREATE TABLE t (id int, region text, v text, PRIMARY KEY (id, region))
          PARTITION BY LIST (region);
        CREATE TABLE t_a PARTITION OF t FOR VALUES IN ('a');
        CREATE TABLE t_bc PARTITION OF t FOR VALUES IN ('b', 'c') PARTITION BY LIST (region);
        CREATE TABLE t_b PARTITION OF t_bc FOR VALUES IN ('b');
        CREATE TABLE t_c PARTITION OF t_bc FOR VALUES IN ('c');
        INSERT INTO t SELECT i, chr(97 + i % 3), 'v' FROM generate_series(1, 30) i""")
    pipe.write(plain(columns="id, region, v", key='{ "id", "region" }',
                     document="return { v = row.v, region = row.region }"))
    running = pipe.follow()
    assert pipe.published() == {"public.t"}
    for sql in ("UPDATE t SET v = 'w' WHERE id IN (3, 4, 5)",
                "UPDATE t_b SET v = 'direct' WHERE id = 7",
                "UPDATE t SET region = 'c' WHERE id = 3",  # another partition: deleted and inserted
                "DELETE FROM t WHERE id IN (6, 7)", "INSERT INTO t VALUES (31, 'b', 'new')",
                "CREATE TABLE t_d PARTITION OF t FOR VALUES IN ('d');"
                "INSERT INTO t VALUES (32, 'd', 'in a new one')"):
        pipe.change(running, sql)
    pipe.pg.execute("""CREATE TABLE t_e (id int, region text, v text, PRIMARY KEY (id, region));
        INSERT INTO t_e VALUES (40, 'e', 'was there'), (41, 'e', 'was there');
        ALTER TABLE t ATTACH PARTITION t_e FOR VALUES IN ('e')""")
    pipe.pg.execute("UPDATE t SET v = 'seen' WHERE id = 41; INSERT INTO t VALUES (42, 'e', 'new')")
    wait_until(lambda: {"41:e", "42:e"} <= set(pipe.docs()), wal.LIMIT)
    running.stop()
    pipe.run("--sweep")  # the rows that came with it are in no log
    pipe.is_true()
    running = pipe.follow("--allow-deletes")
    pipe.change(running, "TRUNCATE t")


def test_a_table_with_children_by_inheritance(pipe):
    """A row of a child is one of the parent's, too."""
    pipe.pg.execute("""CREATE TABLE t (id int PRIMARY KEY, v text);
        CREATE TABLE child (extra text, PRIMARY KEY (id)) INHERITS (t);
        INSERT INTO t VALUES (1, 'a'), (2, 'b'); INSERT INTO child VALUES (3, 'c'), (4, 'd')""")
    pipe.write(plain())
    running = pipe.follow()
    pipe.change(running, "UPDATE t SET v = 'x' WHERE id IN (2, 3)")
    pipe.change(running, "INSERT INTO child VALUES (5, 'e')")
    pipe.change(running, "DELETE FROM t WHERE id = 4")


def test_keys_of_several_columns(pipe):
    pipe.pg.execute(r"""
        CREATE TABLE root (a int, b text, v text, PRIMARY KEY (a, b));
        CREATE TABLE leaf (x int, y int, a int, b text, v text, PRIMARY KEY (x, y));
        CREATE TABLE twig (x int, y int, n int, PRIMARY KEY (x, y));
        ALTER TABLE leaf REPLICA IDENTITY FULL;
        INSERT INTO root SELECT i, 'b:\' || i, 'v' FROM generate_series(1, 19) i;
        INSERT INTO leaf SELECT i, i * 10, i, 'b:\' || i, 'v' FROM generate_series(1, 9) i;
        INSERT INTO twig SELECT i, i * 10 FROM generate_series(1, 9) i""")
    pipe.write(lua(
        ('{ table = "leaf", key = { "x", "y" }, affects = { "a", "b" } }',
         '{ table = "twig", key = { "x", "y" }, affects = [[SELECT l.a, l.b FROM leaf l'
         ' JOIN unnest($1, $2) k(x, y) ON (l.x, l.y) = (k.x, k.y)]] }'),
        """SELECT r.a, r.b, r.v, l.v AS leaf, t.n FROM root r LEFT JOIN leaf l USING (a, b)
             LEFT JOIN twig t USING (x, y)""", "root", '{ "a", "b" }',
        "return { v = row.v, leaf = row.leaf, n = row.n }"))
    running = pipe.follow()
    for sql in ("UPDATE root SET v = 'w' WHERE a = 2", "UPDATE root SET b = 'other' WHERE a = 3",
                "UPDATE root SET a = 100 WHERE a = 4", "DELETE FROM root WHERE a = 5",
                r"INSERT INTO root VALUES (6, '', 'empty'), (6, '\', 'back'), (6, ':', 'colon')",
                "UPDATE leaf SET v = 'w' WHERE x = 6",
                r"UPDATE leaf SET a = 17, b = 'b:\17' WHERE x = 7",
                "DELETE FROM leaf WHERE x = 8",
                r"INSERT INTO leaf VALUES (50, 50, 15, 'b:\15', 'x')",
                "UPDATE leaf SET a = NULL WHERE x = 50", "UPDATE twig SET n = 5 WHERE x > 0",
                "UPDATE twig SET y = 0 WHERE x = 9", "DELETE FROM twig WHERE x = 6",
                r"UPDATE root SET a = 15, b = '\:' WHERE a = 16"):
        pipe.change(running, sql)


LONG = "left(repeat(md5({}::text), 12), 380) || {}"


def test_large_values_that_did_not_change_are_not_in_the_log(pipe):
    """Keys that lie outside of their rows, as a row of more than 2 kB is stored."""
    pipe.pg.execute(f"""
        CREATE TABLE root (id text PRIMARY KEY, n int, body text);
        CREATE TABLE leaf (id text PRIMARY KEY, root text, n int, body text);
        CREATE TABLE full_leaf (LIKE leaf INCLUDING ALL);
        ALTER TABLE full_leaf REPLICA IDENTITY FULL;
        ALTER TABLE root SET (toast_tuple_target = 128);
        ALTER TABLE leaf SET (toast_tuple_target = 128);
        ALTER TABLE full_leaf SET (toast_tuple_target = 128);
        ALTER TABLE root ALTER id SET STORAGE EXTERNAL, ALTER body SET STORAGE EXTERNAL;
        ALTER TABLE leaf ALTER id SET STORAGE EXTERNAL, ALTER root SET STORAGE EXTERNAL,
          ALTER body SET STORAGE EXTERNAL;
        ALTER TABLE full_leaf ALTER id SET STORAGE EXTERNAL, ALTER root SET STORAGE EXTERNAL,
          ALTER body SET STORAGE EXTERNAL;
        INSERT INTO root SELECT {LONG.format('i', 'i')}, 0, repeat('x', 5000)
          FROM generate_series(1, 9) i;
        INSERT INTO leaf SELECT {LONG.format('(-i)', 'i')}, {LONG.format('i', 'i')}, 0,
            repeat('y', 5000)
          FROM generate_series(1, 9) i;
        INSERT INTO full_leaf SELECT * FROM leaf""")
    for table, columns in (("root", 2), ("leaf", 3), ("full_leaf", 3)):
        assert pipe.pg.value(f"""SELECT count(DISTINCT chunk_id) FROM (SELECT chunk_id FROM
            {pipe.pg.value("SELECT reltoastrelid::regclass::text FROM pg_class WHERE relname = %s",
                           (table,))}) c""") == 9 * columns, f"keys within their rows: {table}"
    leaf = '{ table = "leaf", key = "id", affects = "root" }'
    pipe.write(lua(
        (leaf, leaf.replace("leaf", "full_leaf")),
        """SELECT r.id, r.n, length(r.body) AS size,
             (SELECT sum(n) FROM leaf l WHERE l.root = r.id) AS leaf,
             (SELECT sum(n) FROM full_leaf f WHERE f.root = r.id) AS full FROM root r""", "root",
        document="return { n = row.n, size = row.size, leaf = row.leaf, full = row.full }"))
    running = pipe.follow()
    one, two = (pipe.pg.value("SELECT id FROM root WHERE id LIKE %s", (f"%{i}",)) for i in (1, 2))
    for sql in (f"UPDATE root SET n = 1 WHERE id = '{one}'",
                f"UPDATE leaf SET n = 1 WHERE root = '{one}'",
                f"UPDATE full_leaf SET n = 1 WHERE root = '{one}'",
                f"UPDATE full_leaf SET root = '{two}' WHERE root = '{one}'",
                f"DELETE FROM full_leaf WHERE root = '{two}' AND n = 1",
                f"UPDATE leaf SET id = 'short', n = 3 WHERE root = '{one}'",
                "UPDATE leaf SET n = 2 WHERE id = 'short'",
                f"UPDATE root SET id = 'short' WHERE id = '{one}'",
                f"DELETE FROM root WHERE id = '{two}'",
                "UPDATE root SET body = 'short' WHERE id LIKE '%3'"):
        pipe.change(running, sql)
    done = running.stop()
    assert not re.search("error|rejected:", done.stderr), done


def test_thousands_of_rows_in_one_transaction(pipe):
    pipe.pg.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    pipe.write(plain())
    running = pipe.follow()
    pipe.change(running, "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 5000) i")
    pipe.change(running, "UPDATE t SET v = v || id")
    pipe.change(running, "UPDATE t SET id = id + 10000 WHERE id % 2 = 0")
    pipe.change(running, "BEGIN; UPDATE t SET v = 'a'; UPDATE t SET v = 'b';"
                         "DELETE FROM t WHERE id % 3 = 0;"
                         "INSERT INTO t SELECT i, 'c' FROM generate_series(1, 5000) i"
                         " ON CONFLICT DO NOTHING; COMMIT")
    assert running.stop().returncode == 143
