"""Keys of one, two and three columns, in every feed; and PostgreSQL's plans for what the engine asks."""
import json
import os
import re

import films
import pytest
from films import changed, run

SHAPES = {  # the key's columns, their types, and three keys with their _id
    "two": (("a int", "b text"), [("1", "x", "1:x"), ("2", "y:z", r"2:y\:z"), ("3", "q\\", "3:q\\\\")]),
    "three": (("a uuid", "b date", "c text"), [
        ("00000000-0000-0000-0000-000000000001", "2020-01-01", ":", r"00000000-0000-0000-0000-000000000001:2020-01-01:\:"),
        ("00000000-0000-0000-0000-000000000002", "2020-01-02", "it's, \"q\"",
         "00000000-0000-0000-0000-000000000002:2020-01-02:it's, \"q\""),
        ("00000000-0000-0000-0000-000000000002", "2020-01-03", "", "00000000-0000-0000-0000-000000000002:2020-01-03:"),
    ]),
    "time": (("a timestamptz", "b numeric(10, 2)"), [
        ("2020-01-01 00:00:00.5+00", "1.50", r"2020-01-01 00\:00\:00.5+00:1.50"),
        ("2020-01-01 00:00:00.5+00", "10.00", r"2020-01-01 00\:00\:00.5+00:10.00"),
        ("2020-06-01 00:00:00+00", "-1.00", r"2020-06-01 00\:00\:00+00:-1.00"),
    ]),
    # the names that the engine's own statements give to keys
    "named as ours": (("k1 int", "k0 int", "u text"), [("1", "2", "a", "1:2:a"), ("2", "1", "b", "2:1:b"),
                                                        ("3", "3", "c", "3:3:c")]),
}


class Shape:
    def __init__(self, pg, name):
        columns, rows = SHAPES[name]
        self.names = [column.split()[0] for column in columns]
        listed = ", ".join(self.names)
        pg.execute(f"CREATE TABLE root ({', '.join(columns)}, v text, modified timestamptz DEFAULT clock_timestamp(),"
                   f" PRIMARY KEY ({listed}))")
        pg.execute(f"CREATE TABLE leaf ({', '.join(columns)}, w text, modified timestamptz DEFAULT clock_timestamp(),"
                   f" PRIMARY KEY ({listed}))")
        self.ids = [row[-1] for row in rows]
        for row in rows:
            places = ", ".join(["%s"] * (len(row) - 1))
            pg.execute(f"INSERT INTO root VALUES ({places}, 'v')", row[:-1])
            pg.execute(f"INSERT INTO leaf VALUES ({places}, 'w')", row[:-1])
        self.where = [" AND ".join(f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in zip(self.names, row))
                      for row in rows]
        key = "{ " + ", ".join(f'"{name}"' for name in self.names) + " }"
        self.script = films.lua(
            (f'{{ table = "leaf", key = {key}, cursor = "modified", affects = {key} }}',),
            query=f"SELECT {', '.join('r.' + n for n in self.names)}, r.v, l.w FROM root r LEFT JOIN leaf l USING ({listed})",
            table="root", key=key, index="t", document="return { v = row.v, w = row.w }")


@pytest.fixture(params=SHAPES)
def shape(request, pg):
    return Shape(pg, request.param)


def test_every_feed_knows_composite_keys(engine, pg, search, script, shape):
    path = script(shape.script)
    first, second, third = shape.ids
    run(engine, path)
    assert search.docs("t") == {key: {"v": "v", "w": "w"} for key in shape.ids}
    films.settle()
    run(engine, path)

    before = search.versions("t")
    pg.execute(f"UPDATE root SET v = 'new', modified = clock_timestamp() WHERE {shape.where[1]}")
    run(engine, path)  # poll
    assert changed(before, search.versions("t")) == {second}

    films.settle()
    run(engine, path)
    before = search.versions("t")
    pg.execute(f"UPDATE leaf SET w = 'new', modified = clock_timestamp() WHERE {shape.where[2]}")
    run(engine, path)  # related
    assert changed(before, search.versions("t")) == {third}
    assert search.get("t", third) == {"v": "v", "w": "new"}

    before = search.versions("t")
    run(engine, path, "--keys-from", "-", stdin=first + "\n")
    assert changed(before, search.versions("t")) == {first}

    pg.execute(f"DELETE FROM root WHERE {shape.where[1]}")
    pg.execute(f"UPDATE root SET v = 'unmoved' WHERE {shape.where[0]}")
    search.request("PUT", "t/_doc/alien", {})
    search.refresh("t")
    run(engine, path, "--sweep")
    assert search.docs("t") == {first: {"v": "unmoved", "w": "w"}, third: {"v": "v", "w": "new"}}

    pg.execute(f"DELETE FROM root WHERE {shape.where[0]}")
    run(engine, path, "--keys-from", "-", stdin=first + "\n")
    assert set(search.docs("t")) == {third}


def test_a_key_with_too_few_parts_is_wrong_use(engine, pg, search_one, script):
    shape = Shape(pg, "two")
    done = run(engine, script(shape.script), "--keys", "1", code=2)
    assert "'1' is not a key" in done.stderr


def test_a_composite_key_is_walked_in_several_stretches(engine, pg, search_one, script):
    pg.execute("CREATE TABLE t (a int, b text, v text, modified timestamptz DEFAULT now(), PRIMARY KEY (a, b));"
               "INSERT INTO t SELECT i / 7, 'b' || i % 7, i FROM generate_series(1, 26000) i; ANALYZE t")
    path = script(films.plain(columns="a, b, v", key='{ "a", "b" }'))
    run(engine, path)
    assert search_one.count("t") == 26000
    pg.execute("DELETE FROM t WHERE a = 77")
    done = run(engine, path, "--sweep")
    assert "7 deleted" in done.stderr and "25,993 unchanged" in done.stderr
    assert search_one.count("t") == 25993


def test_the_key_may_be_the_cursor_too(engine, pg, search_one, script):
    """Rows that are only ever added, with a growing number."""
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(1, 30) i")
    path = script(films.plain(cursor="id"))
    run(engine, path)
    pg.execute("INSERT INTO t VALUES (31, 'v')")
    assert "1 document indexed" in run(engine, path).stderr
    assert search_one.count("t") == 31


@pytest.mark.parametrize("key", ["single", "composite"])
def test_a_changed_key_is_a_new_document_at_once_and_the_old_one_goes_at_the_sweep(engine, pg, search, script, key):
    pg.execute("CREATE TABLE t (a int, b text, v text, modified timestamptz DEFAULT clock_timestamp(), PRIMARY KEY (a, b));"
               "INSERT INTO t SELECT i, 'b', 'v' FROM generate_series(1, 30) i")
    path = script(films.plain(columns="a, b, v", key='"a"' if key == "single" else '{ "a", "b" }'))
    old, new = ("5", "500") if key == "single" else ("5:b", "500:b")
    run(engine, path)
    pg.execute("UPDATE t SET a = 500, modified = clock_timestamp() WHERE a = 5")
    run(engine, path)
    assert search.get("t", new) and search.get("t", old)
    run(engine, path, "--sweep")
    assert search.get("t", new) and not search.get("t", old)


# What PostgreSQL makes of it: the statements as the engine sends them, told by the server's own log of plans

LATERAL = """SELECT r.{key}, r.v, l.n FROM root r
             CROSS JOIN LATERAL (SELECT count(*) AS n FROM leaf l WHERE {on}) l"""
GROUPED = """SELECT r.{key}, r.v, count(l.w) AS n FROM root r LEFT JOIN leaf l ON {on} GROUP BY r.{key}"""


@pytest.fixture
def plans(pg):
    """plans(): the plans of what ran in this database since, by auto_explain."""
    log = pg.server.log
    try:
        pg.execute("LOAD 'auto_explain'")
    except Exception:
        pytest.skip("the server has no auto_explain")
    for setting, value in (("session_preload_libraries", "auto_explain"), ("auto_explain.log_min_duration", "0"),
                           ("auto_explain.log_nested_statements", "off")):
        pg.execute(f"ALTER DATABASE {pg.name} SET {setting} = '{value}'")

    def read():
        with open(log, encoding="utf-8", errors="replace") as f:
            f.seek(read.at)
            return f.read()

    read.at = os.path.getsize(log)
    return read


@pytest.mark.parametrize("form", [LATERAL, GROUPED], ids=["lateral", "group by"])
@pytest.mark.parametrize("composite", [False, True], ids=["single", "composite"])
def test_the_conditions_on_the_key_are_pushed_down_into_the_query(engine, pg, search_one, script, plans, form, composite):
    if composite:
        key, on, names = "a, r.b", "l.a = r.a AND l.b = r.b", '{ "a", "b" }'
    else:
        key, on, names = "a", "l.a = r.a", '"a"'
    primary = "a, b" if composite else "a"
    pg.execute(f"CREATE TABLE root (a int, b text, v text, PRIMARY KEY ({primary}));"
               "CREATE TABLE leaf (a int, b text, w text); CREATE INDEX ON leaf (a, b);"
               "INSERT INTO root SELECT i, 'b' || i, 'v' FROM generate_series(1, 60000) i;"
               "INSERT INTO leaf SELECT i, 'b' || i, 'w' FROM generate_series(1, 60000) i; ANALYZE")
    query = form.format(key=key, on=on)
    path = script(films.lua(query=query, table="root", key=names, cursor=None, index="t", document="return { n = row.n }"))
    keys = ",".join(f"{i}:b{i}" if composite else str(i) for i in range(1, 60000, 6000))
    run(engine, path, "--dry-run", "--keys", keys)
    run(engine, path, "--dry-run", "--limit", "5")
    texts = [t for t in re.split(r"\d{4}-\d\d-\d\d [\d:.]+ ", plans()) if "plan:" in t and "FROM ( SELECT" in t]
    keyed = [t for t in texts if "= ANY" in t.split("plan:")[0] + t]
    stretches = [t for t in texts if " <= " in t]
    assert keyed and stretches, texts
    for plan in keyed[:1] + stretches[:1]:
        assert re.search(r"(Index (Only )?Scan|Bitmap Index Scan).* on root|root_pkey", plan), plan
        assert not re.search(r"Seq Scan on root", plan), plan
    assert "Seq Scan on leaf" not in keyed[0], keyed[0]


def test_rows_are_planned_as_part_of_a_table_and_a_script_s_own_queries_are_not(engine, pg, script):
    """The server's usual price of a random page is a spinning disk's: then it reads whole tables for a thousand keys."""
    pg.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    query = ("SELECT id, current_setting('random_page_cost') AS page,"
             " current_setting('max_parallel_workers_per_gather') AS parallel FROM t")
    path = script(films.lua(query=query, table="t", key='"id"', cursor=None, index="t", document="""
        local own = require("etl").pg.query("SELECT current_setting('random_page_cost') AS page")[1]
        return { page = row.page, parallel = row.parallel, own = own.page }"""))

    def seen(*words):
        return json.loads(run(engine, path, "--dry-run", *words).stdout)

    assert seen() == seen("--keys", "1") == {"page": "1.1", "parallel": "0", "own": "4"}
    pg.execute(f"ALTER DATABASE {pg.name} SET random_page_cost = 0.5")
    assert seen() == {"page": "0.5", "parallel": "0", "own": "0.5"}
