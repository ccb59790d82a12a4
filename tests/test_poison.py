"""One row never stops the others: what its query raises, what is no text, and what takes too long at once."""
import json
import os

import films
import pytest
from films import run

import conftest

ROWS = 200


def letters(engine):
    path = engine.state + ".rejected"
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        return {letter["key"]: letter for letter in map(json.loads, f)}


@pytest.fixture
def prices(pg):
    """A table of 200 prices that are texts, two of which are no numbers."""
    films.table(pg, rows=ROWS)
    pg.execute("UPDATE t SET v = id * 10")
    pg.execute("UPDATE t SET v = 'n/a' WHERE id IN (7, 150)")


# By key: what raises there, and nowhere else.
RAISERS = {
    7: "CASE WHEN v = 'n/a' THEN v::numeric END",
    8: "1 / (CASE WHEN id = 8 THEN 0 ELSE 1 END)",
    50: "(CASE WHEN id = 50 THEN 99999 ELSE 1 END)::smallint",
    51: "checked(CASE WHEN id = 51 THEN 'n/a' END)",
    99: "own(CASE WHEN id = 99 THEN 'n/a' END)",
    100: "to_tsquery(CASE WHEN id = 100 THEN 'a b' ELSE 'a' END)",
    101: "(SELECT i FROM generate_series(1, CASE WHEN id = 101 THEN 2 ELSE 1 END) i)",
    150: "CASE WHEN v = 'n/a' THEN v::numeric END",
    200: "(CASE WHEN id = 200 THEN 'no table' ELSE 't' END)::regclass",
}
FUNCTIONS = """
CREATE FUNCTION checked(v text) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN IF v = 'n/a' THEN RAISE 'no price: %', v; END IF; RETURN v; END $$;
CREATE FUNCTION own(v text) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN IF v = 'n/a' THEN RAISE 'no price' USING ERRCODE = 'SHOP1'; END IF; RETURN v; END $$;
"""


def test_a_row_on_which_the_query_raises_is_a_dead_letter(engine, prices, pg, search_one, script):
    pg.execute(FUNCTIONS)
    columns = ", ".join(f"({sql})::text AS c{key}" for key, sql in RAISERS.items())
    path = script(films.plain(columns=f"id, v, {columns}"))
    done = run(engine, path, code=4)
    bad = {str(key) for key in RAISERS}
    assert search_one.count("t") == ROWS - len(bad) and set(letters(engine)) == bad, done
    assert "document '7' rejected" in done.stderr and f"{len(bad)} rejected" in done.stderr, done
    assert letters(engine)["51"]["reason"] == "the query fails on its row: no price: n/a"
    pg.execute("UPDATE t SET v = '70', modified = clock_timestamp() WHERE id = 7")
    pg.execute("UPDATE t SET v = 'n/a', modified = clock_timestamp() WHERE id = 9")
    run(engine, path, "--sweep", code=4)
    assert set(letters(engine)) == bad - {"7"} | {"9"} and search_one.get("t", "7") == {"v": "70"}
    assert search_one.get("t", "9") == {"v": "90"}, "its document stays as it was"


def test_a_dry_run_names_the_keys_on_which_the_query_raises_and_goes_on(engine, prices, script):
    path = script(films.plain(columns="id, v::numeric AS n", document="return { id = row.id }"))
    done = run(engine, path, "--dry-run", code=4)
    assert sorted(d["id"] for d in done.docs) == [i for i in range(1, ROWS + 1) if i not in (7, 150)]
    assert "document '7' rejected" in done.stderr and "document '150' rejected" in done.stderr
    done = run(engine, path, "--dry-run", "--limit", "50", code=4)
    assert len(done.docs) == 49, done  # one was tried in vain
    done = run(engine, path, "--dry-run", "--keys", "6,7,8", code=4)
    assert [d["id"] for d in done.docs] == [6, 8]


def test_what_every_row_would_meet_ends_the_run_at_once(engine, prices, pg, search_one, script):
    pg.execute("CREATE TABLE other (id int)")
    pg.execute("CREATE FUNCTION gone(v text) RETURNS bigint LANGUAGE plpgsql AS"
               " $$ BEGIN RETURN (SELECT count(*) FROM no_such_table); END $$")
    constant = script(films.plain(columns="id, CASE WHEN random() >= 0 THEN ('n/' || 'a')::numeric END AS n"))
    within = script(films.plain(columns="id, gone(v) AS n"), name="within.lua")
    whole = script(films.lua(query="SELECT id, v, sum(v::numeric) OVER () AS n FROM t", table="t",
                             document="return { v = row.v }", index="t"), name="whole.lua")
    for path in (constant, within, whole):
        done = run(engine, path, code=1)
        assert not letters(engine) and done.stderr.count("rejected") <= 1, done


def test_too_many_such_rows_end_the_run(engine, pg, search_one, script):
    films.table(pg, rows=ROWS)
    path = script(films.plain(columns="id, v::numeric AS n", extra="max_rejected = 20,"))
    done = run(engine, path, code=1)
    assert "max_rejected" in done.stderr and done.stderr.count("rejected:") <= 22, done


@pytest.fixture
def latin():
    """Databases of other encodings: latin("SQL_ASCII")."""
    made = []

    def make(encoding):
        database = conftest.new_database(f"template0 ENCODING '{encoding}' LOCALE 'C'")
        made.append(database)
        return database

    yield make
    for database in made:
        conftest.drop(database)


# In one a byte of Latin-1 among bytes of no declared meaning, in the other one that has no place in Unicode.
BYTES = {"SQL_ASCII": r"E'caf\xe9'", "WIN1252": "chr(129)"}


@pytest.mark.parametrize("encoding", BYTES)
def test_a_row_whose_text_is_none_in_utf8_is_a_dead_letter(engine, machine, latin, search_one, script, encoding):
    pg = latin(encoding)
    films.table(pg, rows=ROWS)
    pg.execute(f"UPDATE t SET v = {BYTES[encoding]} WHERE id = 33")
    path = script(films.plain())
    done = run(engine, path, code=4, env={"DATABASE_URL": pg.url})
    assert search_one.count("t") == ROWS - 1 and set(letters(engine)) == {"33"}, done
    run(engine, path, "--sweep", code=4, env={"DATABASE_URL": pg.url})
    assert search_one.count("t") == ROWS - 1


def test_a_key_that_is_no_text_in_utf8_is_named_as_well_as_can_be(engine, machine, latin, search_one, script):
    pg = latin("SQL_ASCII")
    pg.execute("CREATE TABLE t (id text PRIMARY KEY, v json, modified timestamptz DEFAULT clock_timestamp())")
    pg.execute("""INSERT INTO t SELECT 'k' || i, '{"a":1}' FROM generate_series(1, 50) i""")
    pg.execute(r"""INSERT INTO t VALUES (E'caf\xe9', '{"a":1}'), ('j', E'{"a":"caf\xe9"}')""")
    path = script(films.plain())
    done = run(engine, path, "--sweep", code=4, env={"DATABASE_URL": pg.url})
    assert search_one.count("t") == 50 and {"caf?", "j"} == set(letters(engine)), done


def test_a_stretch_that_is_broken_off_is_read_in_smaller_ones(engine, pg, search_one, script):
    films.table(pg, rows=400)
    path = script(films.plain(columns="id, v, pg_sleep(0.02)::text AS s", extra=""))
    url = pg.url_at(pg.port, options="-c%20statement_timeout%3D1000")
    done = run(engine, path, "--workers", "1", env={"DATABASE_URL": url}, timeout=120)
    assert search_one.count("t") == 400 and "continuing with fewer than" in done.stderr, done
    keys = script(films.plain(columns="id, v || 'x' AS v, pg_sleep(0.02)::text AS s"), name="keys.lua")
    done = run(engine, keys, "--sweep", "--workers", "1", env={"DATABASE_URL": url}, timeout=120)
    assert search_one.get("t", "400") == {"v": "v400x"}, done


def test_a_related_row_on_which_affects_raises_does_not_stop_the_others(engine, pg, search_one, script, wait_until):
    pg.execute(films.SCHEMA)
    pg.execute("ALTER TABLE genre ADD films text DEFAULT ''; UPDATE genre SET films = id")
    affects = "SELECT films::int FROM genre WHERE id = ANY($1)"
    genre = f'{{ table = "genre", key = "id", cursor = "modified", affects = "{affects}" }}'
    query = "SELECT f.id, (SELECT string_agg(g.name, ',') FROM genre g WHERE g.films = f.id::text) AS title FROM film f"
    path = script(films.lua([genre], query=query, document="return { title = row.title }"))
    run(engine, path)
    films.touch(pg, "name = 'new', films = CASE WHEN id = 3 THEN 'n/a' ELSE films END", "id < 5", table="genre")
    done = run(engine, path)
    assert "cannot tell which documents row '3' of 'genre' affects: could not read 'genre': invalid input syntax" in done.stderr
    assert search_one.get("films", "4") == {"title": "new"} and search_one.get("films", "3") == {"title": "genre 3"}
    run(engine, path, "--sweep")
    assert search_one.get("films", "3") == {}
    pg.execute("UPDATE genre SET films = 'n/a', modified = clock_timestamp()")
    assert "invalid input syntax" in run(engine, path, code=1).stderr  # each of them: that is no row's fault


def test_a_view_whose_column_raises_on_a_row_is_polled_all_the_same(engine, pg, search_one, script):
    pg.execute("CREATE TABLE base (id int, v text, modified timestamptz DEFAULT clock_timestamp())")
    pg.execute("INSERT INTO base SELECT i, 'v' FROM generate_series(1, 20) i")
    pg.execute("CREATE VIEW t AS SELECT id, v, modified, 10 / (id - 13) AS x FROM base")
    path = script(films.plain(columns="id, v, x"))
    run(engine, path, code=4)
    assert search_one.count("t") == 19 and set(letters(engine)) == {"13"}
    pg.execute("UPDATE base SET v = 'w', modified = clock_timestamp() WHERE id = 5")
    run(engine, path, code=None)
    assert search_one.get("t", "5") == {"v": "w"}


def test_a_key_that_is_no_text_does_not_stop_the_state(engine, machine, latin, search_one, script):
    """It is the last one by cursor, so the position would name it."""
    pg = latin("SQL_ASCII")
    engine.env["DATABASE_URL"] = pg.url
    pg.execute("CREATE TABLE t (id text PRIMARY KEY, v text, modified timestamptz DEFAULT clock_timestamp())")
    pg.execute("INSERT INTO t VALUES ('a', 'v')")
    pg.execute(r"INSERT INTO t VALUES (E'z\xff', 'v')")
    path = script(films.plain())
    for _ in range(2):
        run(engine, path, "--sweep", code=4)
        assert search_one.count("t") == 1
    pg.execute("UPDATE t SET v = 'w', modified = clock_timestamp() WHERE id = 'a'")
    run(engine, path, code=None)
    assert search_one.get("t", "a") == {"v": "w"}
