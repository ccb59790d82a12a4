"""PostgreSQL 10 to 18: each promise that depends on the version, on the versions where it matters. They start by name;
usually those of QUICK, and all of them in the long form (ETL_FAULTS=long).

What is true of every version is in the other files, which ETL_POSTGRES=postgres18 runs against one of these."""
import re

import pytest

import conftest
import services
import wal
from test_load import ok
from tools import LONG, wait_until
from wal import one_line, pipe, plain, shop

QUICK = (13, 18)
ALL = (11, 12, 13, 14, 16, 17, 18)

pytestmark = pytest.mark.xdist_group("versions")  # so that each one starts once


def on(*versions):
    """Runs a test on these versions."""
    long = pytest.mark.skipif(not LONG, reason="in the long form (ETL_FAULTS=long)")
    names = [pytest.param(f"postgres{v}", marks=[] if v in QUICK else long) for v in versions]
    return pytest.mark.parametrize("version", names, indirect=True)


@pytest.fixture(scope="module")
def version(request, machine):
    server = services.Server(request.param)
    idle = not server.running()
    server.up()
    yield server
    if idle:
        server.down()


@pytest.fixture
def pg(version):
    """In place of the usual one: a database on that server."""
    database = conftest.new_database(server=version)
    yield database
    conftest.drop(database)


def error(done):
    line = one_line(done, r"etl-engine: error: ")
    return done.stderr[done.stderr.index(line):]


def check(pipe, level="error"):
    """What `check` finds at a level: one line each."""
    done = pipe.engine("check", pipe.path)
    assert done.returncode in (0, 1, 2), done
    return [line for line in (done.stdout + done.stderr).splitlines() if f": {level}: " in line]


# Polls


@on(10, 11, 12, 18)
def test_polls_read_values_and_changes(pipe):
    pipe.pg.execute("""CREATE TABLE t (id int PRIMARY KEY, f4 float4, f8 float8, n numeric,
                                       modified timestamptz NOT NULL DEFAULT clock_timestamp());
        CREATE INDEX ON t (modified, id);
        INSERT INTO t VALUES (1, 1e-45, 0.1, 12345678901234567890.10), (2, 0.5, 5e-324, 0.1), (3, 16777217, 1e23, 1)""")
    pipe.write(plain(columns="*", document="return row", capture="poll", source='cursor = "modified",'))
    running = pipe.follow()
    pipe.settle(running)
    assert pipe.docs()["1"]["f8"] == 0.1 and pipe.docs()["2"]["f8"] == 5e-324 and pipe.docs()["3"]["f8"] == 1e23
    pipe.change(running, "UPDATE t SET n = n + 1, modified = clock_timestamp() WHERE id = 2; INSERT INTO t VALUES (4)")
    running.stop()
    pipe.pg.execute("DELETE FROM t WHERE id = 1")
    pipe.run("--sweep")
    pipe.is_true()


@on(10)
def test_a_log_that_does_not_tell_of_truncate_is_refused(pipe):
    pipe.pg.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    pipe.write(plain())
    done = pipe.run(code=2)
    assert "is version 10" in error(done) and "at least version 11" in error(done) and '"poll"' in error(done), done
    (found,) = check(pipe)
    assert "at least version 11" in found and pipe.slots() == pipe.publications() == 0
    script = ok(pipe.engine("init", pipe.pg.url, "t")).stdout
    assert 'capture = "wal",' not in script and "before version 11 does not tell of TRUNCATE" in script


# The log


@on(*ALL)
def test_the_log_tells_of_every_change(shop):
    running = shop.follow()
    for sql in ("UPDATE product SET name = 'new' WHERE id < 5", "DELETE FROM product WHERE id = 7",
                "UPDATE product SET id = 1000 WHERE id = 8", "UPDATE tag SET name = 'new' WHERE id = 2",
                "DELETE FROM product_tag WHERE product_id = 9", "INSERT INTO review VALUES (100, 'new', 9)"):
        shop.change(running, sql)
    running.stop()
    shop.pg.execute("TRUNCATE product_tag, review")
    assert "sweeping" in shop.run("--allow-deletes").stderr
    shop.is_true()


PARTS = """CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20);
    INSERT INTO t VALUES (1, 'a'), (11, 'a'); CREATE TABLE one (id int PRIMARY KEY, v text); INSERT INTO one VALUES (1, 'a')"""
PART = '{ table = "t", key = "id", affects = "id" }'


@on(12)
def test_partitioned_tables_are_not_captured_before_13(pipe):
    pipe.pg.execute(PARTS)
    pipe.write(plain())
    done = pipe.run(code=2)
    assert "'t'" in error(done) and "from version 13 on" in error(done) and '"poll"' in error(done), done
    (found,) = check(pipe)
    assert "from version 13 on" in found and pipe.slots() == pipe.publications() == 0
    script = ok(pipe.engine("init", pipe.pg.url, "t")).stdout
    assert 'capture = "wal",' not in script and "the log tells of partitions alone" in script
    pipe.write(plain("one", related=(PART,)))
    line = one_line(pipe.run(), "warn ")
    assert "'t'" in line and "from version 13 on" in line and pipe.published() == {"public.one"}


@on(13, 18)
def test_partitioned_tables_are_captured_from_13_on(pipe):
    pipe.pg.execute(PARTS)
    pipe.write(plain())
    running = pipe.follow()
    pipe.change(running, "UPDATE t SET v = 'b' WHERE id = 11")
    pipe.change(running, "UPDATE t SET id = 2 WHERE id = 11")  # into the other partition
    assert pipe.published() == {"public.t"}


@on(12)
def test_without_a_limit_for_slots_check_says_what_can_be_done(pipe):
    pipe.pg.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    pipe.write(plain())
    (note,) = [line for line in check(pipe, "note") if "without a limit" in line]
    assert "PostgreSQL 13 or later" in note and "pg_drop_replication_slot('etl_shop')" in note


# Publications that others made


@on(18)
def test_a_publication_of_a_schema_will_do_and_its_changes_are_noticed(shop):
    shop.pg.execute("CREATE PUBLICATION etl_shop FOR TABLES IN SCHEMA public")
    shop.run()
    shop.pg.execute("UPDATE tag SET name = 'new' WHERE id = 3; DELETE FROM product WHERE id = 9")
    assert "sweeping" not in shop.run().stderr
    shop.is_true()
    shop.pg.execute("ALTER PUBLICATION etl_shop DROP TABLES IN SCHEMA public; UPDATE tag SET name = 'unseen' WHERE id = 3;"
                    "ALTER PUBLICATION etl_shop ADD TABLES IN SCHEMA public")
    assert "sweeping" in shop.run().stderr
    shop.is_true()


@pytest.mark.parametrize("table", ["product WHERE (id < 10)", "product (id)"])
@on(18)
def test_a_publication_that_hides_some_of_a_table_is_refused_and_found(shop, table):
    shop.write(related=())
    shop.pg.execute(f"CREATE PUBLICATION etl_shop FOR TABLE {table}, tag WHERE (id > 0)")
    why = "a row filter or a column list for public.product, which hides changes"
    assert why in error(shop.run(code=2)) and shop.slots() == 0
    (found,) = check(shop)
    assert why in found and "source.publication" in found
    shop.pg.execute("ALTER PUBLICATION etl_shop SET TABLE product, tag WHERE (id > 0)")  # tag is of no concern here
    shop.run()
    assert not check(shop)


# Generated columns

VIRTUAL = """CREATE TABLE t (id int PRIMARY KEY, v text, doubled int GENERATED ALWAYS AS (2 * id) VIRTUAL);
    CREATE TABLE link (id int PRIMARY KEY, t_id int NOT NULL, n int GENERATED ALWAYS AS (2 * id));
    INSERT INTO t VALUES (1, 'a'), (2, 'b'); INSERT INTO link VALUES (1, 1), (2, 2)"""
LINKED = '{ table = "link", key = "id", affects = "t_id" }'
QUERY = "SELECT id, v, doubled, (SELECT coalesce(array_agg(l.n ORDER BY l.n), '{}') FROM link l WHERE t_id = t.id) AS l FROM t"


@on(18)
def test_virtual_columns_are_read_and_a_whole_row_with_them_is_not_published(pipe):
    """PostgreSQL would refuse UPDATE and DELETE."""
    pipe.pg.execute(VIRTUAL)
    pipe.write(wal.lua((LINKED,), QUERY, "t", document="return row"))
    line = one_line(pipe.run(), "warn ")
    assert "t_id in 'link'" in line and "FULL does not work with virtual columns" in line, line
    running = pipe.follow()
    pipe.change(running, "UPDATE link SET id = 3 WHERE id = 1")
    running.stop()
    assert pipe.docs()["1"] == {"id": 1, "v": "a", "doubled": 2, "l": [6]}

    pipe.pg.execute("ALTER PUBLICATION etl_shop DROP TABLE link; ALTER TABLE link REPLICA IDENTITY FULL")
    line = one_line(pipe.run(), "warn .*'link'")
    assert "refuses UPDATE and DELETE on public.link" in line and "REPLICA IDENTITY DEFAULT" in line, line
    assert pipe.published() == {"public.t"} and pipe.pg.execute("UPDATE link SET t_id = 2 WHERE id = 3") == 1
    pipe.pg.execute("CREATE UNIQUE INDEX of_t ON link (t_id, id); ALTER TABLE link REPLICA IDENTITY USING INDEX of_t")
    assert "'link'" not in pipe.run().stderr
    running = pipe.follow()
    pipe.change(running, "DELETE FROM link WHERE id = 3")
    running.stop()

    pipe.pg.execute("ALTER PUBLICATION etl_shop DROP TABLE t; ALTER TABLE t REPLICA IDENTITY FULL")
    done = pipe.run(code=2)
    assert "refuses UPDATE and DELETE on public.t" in error(done) and "REPLICA IDENTITY DEFAULT" in error(done), done
    assert len(check(pipe)) == 1
    assert pipe.pg.execute("DELETE FROM t") == 2


@on(18)
def test_init_does_not_advise_what_virtual_columns_do_not_bear(pipe):
    pipe.pg.execute(VIRTUAL + "; ALTER TABLE link ADD FOREIGN KEY (t_id) REFERENCES t ON DELETE CASCADE")
    script = ok(pipe.engine("init", pipe.pg.url, "t", "--capture", "wal")).stdout
    assert 'capture = "wal",' in script and "REPLICA IDENTITY FULL" not in script, script


STORED = """CREATE TABLE t (n int, v text, id int GENERATED ALWAYS AS (2 * n) STORED PRIMARY KEY);
    INSERT INTO t VALUES (1, 'a'), (2, 'b')"""


@on(13, 18)
def test_a_generated_key_is_in_the_log_from_18_on(pipe):
    pipe.pg.execute(STORED)
    pipe.write(plain())
    if pipe.pg.version() < 180000:
        done = pipe.run(code=2)
        assert "generated columns: id" in error(done) and pipe.publications() == 0, done
        return
    running = pipe.follow()
    pipe.change(running, "UPDATE t SET n = 5 WHERE id = 2; DELETE FROM t WHERE id = 4")
    running.stop()
    pipe.pg.execute("ALTER PUBLICATION etl_shop SET (publish_generated_columns = none)")
    hint = 'ALTER PUBLICATION "etl_shop" SET (publish_generated_columns = stored)'
    assert hint in error(pipe.run(code=2)) and len(check(pipe)) == 1
    pipe.pg.execute(hint + "; UPDATE t SET n = 6")
    pipe.run()
    pipe.is_true()


@on(18)
def test_a_table_that_gets_a_stored_column_later_stays_writable(pipe):
    pipe.pg.execute("CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'a')")
    pipe.write(plain())
    running = pipe.follow()
    pipe.pg.execute("ALTER TABLE t ADD n int GENERATED ALWAYS AS (2 * id) STORED")
    pipe.change(running, "UPDATE t SET v = 'b'")


# Slots


@on(18)
def test_a_slot_that_was_given_up_for_being_idle_is_made_anew(pipe):
    pipe.pg.execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')")
    pipe.write(plain())
    pipe.run()
    pipe.pg.execute("ALTER SYSTEM SET idle_replication_slot_timeout = '1s'")
    pipe.pg.execute("SELECT pg_reload_conf()")
    try:
        wait_until(lambda: pipe.pg.execute("INSERT INTO t SELECT max(id) + 1 FROM t; CHECKPOINT") and
                   pipe.slot().get("invalidation_reason") == "idle_timeout")
        why = "nobody has read it for longer than idle_replication_slot_timeout"
        (found,) = check(pipe, "warning")
        assert why in found and "ALTER SYSTEM SET idle_replication_slot_timeout" in found
        assert not [line for line in check(pipe, "note") if "without a limit" in line]
        assert why in ok(pipe.engine("state", "show", pipe.path)).stdout
        assert f"slot 'etl_shop' is lost: {why}" in pipe.run().stderr
    finally:
        pipe.pg.execute("ALTER SYSTEM RESET idle_replication_slot_timeout")
        pipe.pg.execute("SELECT pg_reload_conf()")
    pipe.is_true()


# init

KINDS = {  # from which version on: a column's definition and a value
    0: {"a": ("int GENERATED ALWAYS AS IDENTITY", "DEFAULT"), "state": ("state", "'new'"), "span": ("int4range", "'[1,5)'"),
        "short": ("varchar_3", "'abc'"), "j": ("json", "'[1]'"), "jb": ("jsonb", "'{\"a\": 1}'"), "at": ("pg_lsn", "'0/16B3748'")},
    12: {"stored": ("int GENERATED ALWAYS AS (2 * 21) STORED", "DEFAULT")},
    13: {"x": ("xid8", "'12345678901'")},
    14: {"spans": ("int4multirange", "'{[1,3),[5,9)}'")},
    18: {"virtual": ("int GENERATED ALWAYS AS (2 * 22) VIRTUAL", "DEFAULT")},
}


@on(10, 12, 14, 16, 17, *QUICK)
def test_init_knows_what_the_version_has(pipe, tmp_path):
    has = {name: kind for least, kinds in KINDS.items() if pipe.pg.version() >= least * 10000 for name, kind in kinds.items()}
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in has.items())
    unique = ", UNIQUE NULLS NOT DISTINCT (code)" if pipe.pg.version() >= 150000 else ", UNIQUE (code)"
    pipe.pg.execute(f"""CREATE TYPE state AS ENUM ('new', 'sold'); CREATE DOMAIN varchar_3 AS varchar(3);
        CREATE TABLE thing (id int PRIMARY KEY, code text{unique}, {columns});
        INSERT INTO thing VALUES (1, 'c', {", ".join(value for _, value in has.values())});
        INSERT INTO thing (id) VALUES (2)""")
    script = ok(pipe.engine("init", pipe.pg.url, "thing", "--index", "shop")).stdout
    pipe.write(script)
    done = ok(pipe.engine(pipe.path, cwd=str(tmp_path)))
    assert " warn " not in done.stderr, done
    found = pipe.docs()
    assert set(found) == {"1", "2"} and set(found["1"]) == {"id", "code", *has}, found
    expected = {"span": "[1,5)", "x": "12345678901", "spans": "{[1,3),[5,9)}", "stored": 42, "virtual": 44, "at": "0/16B3748"}
    assert {name: found["1"][name] for name in expected if name in has} == {n: v for n, v in expected.items() if n in has}


@on(18)
def test_a_temporal_key_is_a_key(pipe, tmp_path):
    """Its foreign keys compare periods: they are not joined."""
    pipe.pg.execute("""CREATE TABLE price (product int4range, during daterange, amount int,
            PRIMARY KEY (product, during WITHOUT OVERLAPS));
        CREATE TABLE offer (id int PRIMARY KEY, product int4range, during daterange,
            FOREIGN KEY (product, PERIOD during) REFERENCES price);
        INSERT INTO price VALUES ('[1,2)', '[2026-01-01,2026-06-01)', 5), ('[1,2)', '[2026-06-01,2027-01-01)', 6);
        INSERT INTO offer VALUES (1, '[1,2)', '[2026-05-01,2026-07-01)')""")
    pipe.write(ok(pipe.engine("init", pipe.pg.url, "price", "--index", "shop", "--capture", "wal")).stdout)
    assert "offer" not in open(pipe.path, encoding="utf-8").read()
    state = str(tmp_path)
    ok(pipe.engine(pipe.path, cwd=state))
    assert sorted(d["amount"] for d in pipe.docs().values()) == [5, 6]
    pipe.pg.execute("INSERT INTO price VALUES ('[2,3)', '[2026-01-01,)', 8); UPDATE price SET amount = 7 WHERE amount = 5;"
                    "DELETE FROM offer; DELETE FROM price WHERE amount = 6")
    done = ok(pipe.engine(pipe.path, cwd=state))
    assert "sweeping" not in done.stderr and sorted(d["amount"] for d in pipe.docs().values()) == [7, 8], done
