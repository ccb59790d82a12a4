"""ALTER TABLE under a run: the query is described anew and the run goes on, or it ends with what does not fit any more."""
import re

import films
import pytest
from films import run


def copying(document="row", query="SELECT * FROM t", related="", extra="poll_interval = 0.1, sweep = 3600,"):
    """A script of every column, unless it says otherwise."""
    return f"""
return {{
  name = "t",
  source = {{ url = os.getenv "DATABASE_URL", table = "t", key = "id", cursor = "modified", query = "{query}",
    related = {{ {related} }} }},
  document = function(row) return {document} end,
  sink = {{ url = os.getenv "ELASTICSEARCH_URL", index = "t" }},
  state = os.getenv "FILE_PATH_STATE",
  {extra}
}}
"""


def touch(pg, what, key):
    pg.execute(f"UPDATE t SET {what}, modified = clock_timestamp() WHERE id = {key}")


def test_a_follower_goes_on_with_columns_that_were_added_or_have_another_type(engine, pg, search_one, script, wait_until):
    films.table(pg, rows=50)
    running = films.follow(engine, script(copying()), wait_until=wait_until)
    pg.execute("ALTER TABLE t ADD COLUMN w int DEFAULT 5")
    touch(pg, "v = 'one'", 1)
    wait_until(lambda: (search_one.get("t", "1") or {}).get("w") == 5 or not running.alive(), what="the new column")
    wait_until(lambda: search_one.get("t", "50").get("w") == 5 or not running.alive(), what="it in all others")
    pg.execute("ALTER TABLE t ALTER v TYPE varchar(50), ALTER w TYPE numeric")
    touch(pg, "v = 'two', w = 1.5", 2)
    wait_until(lambda: search_one.get("t", "2").get("v") == "two" or not running.alive(), what="the new types")
    pg.execute("ALTER TABLE t DROP COLUMN w")
    touch(pg, "v = 'three'", 3)
    wait_until(lambda: search_one.get("t", "3").get("v") == "three" or not running.alive(), what="without the column")
    done = running.stop()
    assert done.returncode == 143 and "error" not in done.stderr, done
    assert "w" not in search_one.get("t", "3") and not re.search(r"rejected:", done.stderr), done


@pytest.mark.parametrize("case", ["in the query", "in document", "of a related table"])
def test_a_follower_ends_when_a_column_is_gone_and_names_the_place(engine, pg, search_one, script, wait_until, case):
    films.table(pg, rows=5)
    pg.execute("CREATE TABLE part (id int PRIMARY KEY, t_id int, changed timestamptz DEFAULT now())")
    related = '{ table = "part", key = "id", cursor = "changed", affects = "t_id" }'
    path = script({"in the query": copying(query="SELECT id, v FROM t"),
                   "in document": copying(document="{ text = row.v }"),
                   "of a related table": copying(related=related)}[case])
    running = films.follow(engine, path, wait_until=wait_until)
    column = "t_id" if "related" in case else "v"
    pg.execute(f"ALTER TABLE {'part' if 'related' in case else 't'} DROP COLUMN {column}")
    pg.execute("INSERT INTO part VALUES (1)") if "related" in case else touch(pg, "id = id", 3)
    done = running.wait()
    assert done.returncode == 2 and re.search(rf"script\.lua:\d+: .*\b{column}\b", done.stderr), done
    assert search_one.count("t") == 5


def test_a_load_under_way_goes_on(engine, pg, search_one, script, wait_until):
    films.table(pg, rows=600)
    path = script(copying(query="SELECT t.*, pg_sleep(0.005)::text AS s FROM t"))
    running = engine.start(path, "--workers", "1")
    wait_until(lambda: search_one.count("t") > 50 or not running.alive(), what="a part of it")
    pg.execute("ALTER TABLE t ADD COLUMN w int DEFAULT 5")
    done = running.wait()
    assert done.returncode == 0 and search_one.count("t") == 600 and search_one.get("t", "600")["w"] == 5, done


def test_what_the_server_refuses_each_time_ends_the_run(engine, pg, search_one, script, wait_until):
    films.table(pg, rows=5)
    pg.execute("CREATE FUNCTION f(v text) RETURNS text LANGUAGE sql AS $$ SELECT v $$")
    running = films.follow(engine, script(copying(query="SELECT id, f(v) AS v FROM t")), wait_until=wait_until)
    pg.execute("DROP FUNCTION f")
    touch(pg, "v = 'x'", 3)
    done = running.wait()
    assert done.returncode == 2 and re.search(r"script\.lua:\d+: .*f\(text\) does not exist", done.stderr), done


def test_a_signal_meanwhile_is_the_end_of_the_run(engine, pg, search_one, script, wait_until):
    films.table(pg, rows=5)
    path = script(copying())
    running = films.follow(engine, path, wait_until=wait_until)
    script("local n = 0; for i = 1, 5e7 do n = n + i end\n" + copying())  # it takes a while to be read again
    pg.execute("ALTER TABLE t ADD COLUMN w int DEFAULT 5")
    touch(pg, "v = 'one'", 1)
    wait_until(lambda: "describing the query again" in running.stderr or not running.alive(), what="the change is noticed")
    done = running.stop()
    assert done.returncode == 143 and "error" not in done.stderr, done
