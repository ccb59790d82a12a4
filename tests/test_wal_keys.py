"""Capture from the log: the log's text of a key and the query's are the same _id, for every type
that a key may have; and a column with a root's key may be of another type."""
import re

import pytest

import wal
from wal import lua, pipe, plain


# What sessions of this database have, unless they ask for something else: the text of a key must
# not depend on it.
ODD_SETTINGS = {"DateStyle": "SQL, DMY", "IntervalStyle": "sql_standard",
                "TimeZone": "Asia/Kolkata", "bytea_output": "escape", "extra_float_digits": "0"}

UUIDS = [f"0a3e1f8c-1111-4222-8333-0123456789a{c}" for c in "abcd"]
TYPES = {  # two keys that are loaded, one that is inserted, and one to which the second one changes
    "smallint": ("1", "-2", "32767", "0"),
    "int": ("1", "-2147483648", "3", "4"),
    "bigint": ("9007199254740993", "-9223372036854775808", "3", "9223372036854775807"),
    "uuid": UUIDS,
    "text": ("it's", 'a "quoted" \\ one', "a:b, {c}", "ключ 🎬"),
    "varchar(20)": (" space ", "NULL", "null", "100%"),
    "char(5)": ("ab", "abcde", "c", "ключ"),
    "numeric": ("1.0", "12345678901234567890.10", "1e-10", "12345678901234567890.100"),
    "numeric(8,2)": ("1", "-2.5", "3.14", "0"),
    "citext": ("Abc", "Key", "ключ", "KEY"),
    "color": ("red", "a color", "blue", "green"),
    "sku": ("A-1", "A-2", "B:1", "B-2"),
    "natural_number": ("1", "2", "3", "4"),
    "pair": ("(1,a)", '(2,"b c")', '(3,"it\'s, ""x""")', "(4,)"),
    "date": ("2020-01-31", "1999-12-01", "2024-02-29", "0044-03-15 BC"),
    "timestamp": ("2020-01-31 12:00:00", "2020-01-31 12:00:00.123456", "1999-02-03 04:05:06",
                  "infinity"),
    "timestamptz": ("2020-01-31 12:00:00+00", "2020-06-01 12:00:00.5+02", "1999-02-03 04:05:06-07",
                    "2021-01-01 00:00:00+00"),
    "interval": ("1 day 02:03:04", "1 mon", "-00:00:01.5", "1 year 2 mons"),
    "double precision": ("0.1", "1e300", "-2.5", "0.30000000000000004"),
    "real": ("0.1", "1e30", "-2.5", "3.1415927"),
    "bytea": (r"\x00ff", r"\x61", r"\x", r"\x5c27"),
    "inet": ("10.0.0.1", "10.0.0.0/8", "::1", "fe80::1/64"),
}
MADE = """CREATE EXTENSION IF NOT EXISTS citext;
    CREATE TYPE color AS ENUM ('red', 'green', 'blue', 'a color');
    CREATE DOMAIN sku AS text CHECK (length(VALUE) >= 3);
    CREATE DOMAIN natural_number AS int CHECK (VALUE > 0);
    CREATE TYPE pair AS (x int, y text);"""


def quote(text):
    return "'" + text.replace("'", "''") + "'"


@pytest.fixture
def odd(pipe):
    """A database whose sessions see values in other forms."""
    for name, value in ODD_SETTINGS.items():
        pipe.pg.execute(f"ALTER DATABASE {pipe.pg.name} SET {name} = '{value}'")
    pipe.pg.execute(MADE)
    return pipe


@pytest.mark.parametrize("kind", TYPES)
def test_keys_of_this_type(odd, kind):
    one, two, three, four = (f"{quote(value)}::{kind}" for value in TYPES[kind])
    odd.pg.execute(f"""SET TimeZone = 'UTC'; SET DateStyle = 'ISO';
        CREATE TABLE root (id {kind} PRIMARY KEY, v text);
        CREATE TABLE leaf (id int PRIMARY KEY, root {kind}, n int);
        CREATE TABLE twig (id {kind} PRIMARY KEY, root {kind}, n int);
        ALTER TABLE leaf REPLICA IDENTITY FULL;
        INSERT INTO root VALUES ({one}, 'v'), ({two}, 'v');
        INSERT INTO leaf VALUES (1, {one}, 0); INSERT INTO twig VALUES ({three}, {one}, 0)""")
    cast = "::pair[]" if kind == "pair" else ""  # which the server would not infer
    odd.write(lua(
        ('{ table = "leaf", key = "id", affects = "root" }',
         '{ table = "twig", key = "id", affects = '
         f'"SELECT root FROM twig WHERE id = ANY($1{cast})" }}'),
        """SELECT r.id, r.v, (SELECT sum(n) FROM leaf l WHERE l.root = r.id) AS n,
             (SELECT sum(n) FROM twig t WHERE t.root = r.id) AS m FROM root r""", "root",
        document="return { v = row.v, n = row.n, m = row.m }"))
    running = odd.follow()
    for sql in (f"INSERT INTO root VALUES ({three}, 'new')",
                f"UPDATE root SET v = 'w' WHERE id IN ({one}, {three})",
                f"UPDATE root SET id = {four} WHERE id = {two}",
                f"UPDATE leaf SET n = 1 WHERE root = {one}",
                f"UPDATE twig SET n = 1 WHERE id = {three}",
                f"UPDATE leaf SET root = {four} WHERE id = 1", "DELETE FROM leaf WHERE id = 1",
                f"DELETE FROM root WHERE id IN ({one}, {three})"):
        odd.change(running, sql)
    assert len(odd.docs()) == 1
    done = running.stop()
    assert not re.search("error|warn|rejected:", done.stderr), done
    odd.pg.execute(f"UPDATE root SET id = {one} WHERE id = {four};"
                   f"INSERT INTO root VALUES ({two}, 'x')")
    odd.run()
    odd.is_true()


UUID = UUIDS[0]


@pytest.mark.parametrize("key, column, value, junk", [
    ("int", "smallint", "7", None), ("bigint", "int", "7", None),
    ("smallint", "bigint", "7", "70000"),
    ("int", "numeric", "7.0", "99999999999"), ("text", "varchar(9)", "ab", "other"),
    ("varchar(9)", "char(9)", "ab", "other"), ("char(5)", "text", "ab", "other"),
    ("char(5)", "char(9)", "ab", "other"), ("numeric", "bigint", "7", "8"),
    ("numeric(8,2)", "int", "7", "8"), ("uuid", "text", UUID.upper(), "n/a"),
    ("int", "text", " 7", "n/a"), ("color", "text", "red", None), ("text", "uuid", UUID, None),
])  # fmt: skip
def test_a_column_that_holds_the_root_s_key_may_be_of_another_type(pipe, key, column, value, junk):
    pipe.pg.execute(MADE + f"""
        CREATE TABLE root (id {key} PRIMARY KEY, v text);
        CREATE TABLE leaf (id int PRIMARY KEY, root {column}, n int);
        ALTER TABLE leaf REPLICA IDENTITY FULL;
        INSERT INTO root VALUES ('{value.strip().removesuffix('.0')}')""")
    pipe.write(lua(('{ table = "leaf", key = "id", affects = "root" }',),
                   "SELECT r.id, r.v, (SELECT sum(n) FROM leaf) AS n FROM root r", "root",
                   document="return { v = row.v, n = row.n }"))
    running = pipe.follow()
    pipe.change(running, f"INSERT INTO leaf VALUES (1, '{value}', 1)")
    if junk:
        pipe.pg.execute("INSERT INTO leaf VALUES (2, %s, 0)", (junk,))
        pipe.change(running, "UPDATE leaf SET n = 5 WHERE id = 1")
        pipe.pg.execute("DELETE FROM leaf WHERE id = 2")
    pipe.change(running, "UPDATE leaf SET n = 6 WHERE id = 1")
    pipe.change(running, "INSERT INTO leaf VALUES (3, NULL, 0); UPDATE leaf SET n = 7 WHERE id = 1")
    if "another type than the root's key" in running.stderr:
        pipe.pg.execute("DELETE FROM leaf WHERE id = 1")
        done = running.stop()
        pipe.run("--sweep")
        pipe.is_true()
    else:
        pipe.change(running, "DELETE FROM leaf WHERE id = 1")
        done = running.stop()
    assert not re.search("error|rejected:", done.stderr), done
    assert len(pipe.docs()) == 1


@pytest.mark.parametrize("key, column", [("int", "id::bigint"), ("text", "id::varchar")])
def test_the_query_may_return_a_key_whose_text_is_the_same(pipe, key, column):
    pipe.pg.execute(f"CREATE TABLE t (id {key} PRIMARY KEY, v text);"
                    "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 9) i")
    pipe.write(plain(columns=f"{column}, v"))
    running = pipe.follow()
    pipe.change(running, "UPDATE t SET v = 'w' WHERE id = '7'")
    pipe.change(running, "UPDATE t SET id = '70' WHERE id = '7'")
    pipe.change(running, "DELETE FROM t WHERE id = '8'")


def test_a_document_that_only_looks_like_a_key_is_left_alone(pipe):
    """A key of the log is compared as the server writes it: 1.0 and 1.00 are one row, and never a
    reason to delete the other's document before that row says so."""
    pipe.pg.execute("CREATE TABLE t (id numeric PRIMARY KEY, v text);"
                    "INSERT INTO t VALUES (1.0, 'v')")
    pipe.write(plain())
    running = pipe.follow()
    for spelling in ("1.00", "1", "1.000"):
        pipe.change(running, f"UPDATE t SET id = {spelling}")
        assert set(pipe.docs()) == {spelling}
    pipe.change(running, "UPDATE t SET v = 'w' WHERE id = 1")
    assert pipe.docs() == {"1.000": {"v": "w"}}
