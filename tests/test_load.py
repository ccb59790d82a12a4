"""What a run brings into the index: the sample films field by field, keys of every kind, changes and nothing but
changes, deletes, rejections, and what a dry run prints instead."""
import json
import os
import re
import signal
import subprocess
import uuid

import pytest

import conftest
import films
import tools
from pipelines import pipeline
from proxy import Proxy
from tools import ROOT

MOVIES = "scripts/movies.lua"
STALKER = "Сталкер"


def films_by_sql(movies):
    """The documents of all films, put together here from plain tables rather than by the script's query."""
    people, genres = {}, {}
    for film, role, name, person in movies.query(
        "SELECT film_work_id::text, role, full_name, p.id::text"
        " FROM content.person_film_work l JOIN content.person p ON p.id = l.person_id"
    ):
        people.setdefault((film, role), []).append((name, person))
    for film, name in movies.query(
        "SELECT film_work_id::text, name FROM content.genre_film_work l JOIN content.genre g ON g.id = l.genre_id"
    ):
        genres.setdefault(film, []).append(name)
    films = {}
    for key, title, description, rating, kind, created in movies.query(
        "SELECT id::text, title, description, rating, type,"
        """ to_char(creation_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') FROM content.film_work"""
    ):
        film = {"id": key, "title": title, "description": description, "imdb_rating": rating, "type": kind}
        film = {**film, "creation_date": created, "genres": sorted(genres.get(key, []))}
        for role in ("director", "actor", "writer"):
            found = sorted(people.get((key, role), []))
            film[role + "s"] = [{"id": person, "name": name} for name, person in found]
            film[role + "s_names"] = [name for name, _ in found]
        films[key] = {field: value for field, value in film.items() if value is not None}
    return films


def film_id(movies, title):
    return movies.value("SELECT id::text FROM content.film_work WHERE title = %s", [title])


def changed(before, after):
    """The keys whose version is another one."""
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def make_things(pg, rows=10, more=""):
    pg.execute(
        "CREATE TABLE things (id int PRIMARY KEY, v text, modified timestamptz NOT NULL DEFAULT now());"
        "INSERT INTO things SELECT i, 'v' || i, timestamptz '2024-01-01Z' + i * interval '1 microsecond'"
        f" FROM generate_series(1, {rows}) i; {more}"
    )


def ok(result, status=0):
    assert result.returncode == status, result
    return result


# The sample films


@pytest.fixture
def loaded(engine, movies, search):
    ok(engine(MOVIES))
    return search


def test_every_film_is_in_the_index_as_the_tables_say_and_as_the_dry_run_prints_it(engine, movies, loaded):
    expected = films_by_sql(movies)
    assert len(expected) >= 200
    assert loaded.docs("movies") == expected
    assert {film["id"]: film for film in ok(engine(MOVIES, "--dry-run")).docs} == expected


def test_compressed_requests_and_answers_carry_the_same(engine, movies, search, script):
    with open(os.path.join(ROOT, MOVIES), encoding="utf-8") as f:
        text = f.read()
    packed = text.replace("sink = {", "sink = { compress = true,")
    assert packed != text
    with Proxy(search.port) as proxy:
        ok(engine(script(packed), env={"ELASTICSEARCH_URL": proxy.url}))
        docs = search.docs("movies")
        assert docs == films_by_sql(movies)
        assert proxy.up < len(json.dumps(docs, ensure_ascii=False).encode()) / 2


def test_batch_bytes_bounds_what_a_request_holds(engine, pg, search_one, script):
    make_things(pg, 40, "UPDATE things SET v = repeat('x', 60000)")
    text = pipeline().replace("sink = {", "sink = { batch_bytes = 200000,")
    done = ok(engine(script(text), "--workers", "1"))
    assert len(search_one.docs("things")) == 40
    # four such rows each: the fourth one passes the bound; but the first request has a quarter of that, one row
    assert "in 11 requests" in done.stderr


def test_films_without_directors_have_empty_lists(movies, loaded):
    lone = loaded.get("movies", film_id(movies, "Groundhog Day for a Cat"))
    assert lone["directors"] == lone["directors_names"] == lone["writers"] == []
    assert lone["genres"] == ["Animation", "Short"]
    assert "description" not in lone


@pytest.mark.parametrize(
    "words, title",
    [("dreams", "Arrival|Inception|Paprika"), ("туманов", "Ёжик в тумане"), ("ежика", "Ёжик в тумане"), ("сталкеры", STALKER)],
)
def test_words_are_found_in_other_forms_than_the_text_has(loaded, words, title):
    query = {"multi_match": {"query": words, "fields": ["title", "description"]}}
    found = [film["title"] for film in loaded.search("movies", query, size=50)]
    assert set(title.split("|")) & set(found), found
    assert len(found) < 50


def test_stop_words_find_nothing(loaded):
    query = {"multi_match": {"query": "the и", "fields": ["title", "description"]}}
    assert loaded.search("movies", query) == []


def test_an_actor_is_found_by_a_nested_query(movies, loaded):
    actor = {"nested": {"path": "actors", "query": {"match": {"actors.name": {"query": "Amy Adams", "operator": "and"}}}}}
    found = {film["title"] for film in loaded.search("movies", actor, size=50)}
    assert found == {
        title
        for (title,) in movies.query(
            "SELECT title FROM content.film_work f JOIN content.person_film_work l ON l.film_work_id = f.id"
            " JOIN content.person p ON p.id = l.person_id WHERE role = 'actor' AND full_name = 'Amy Adams'"
        )
    }


def test_a_nested_query_does_not_mix_two_persons(movies, loaded):
    first, second = movies.query(
        "SELECT p.id::text, full_name FROM content.person_film_work l JOIN content.person p ON p.id = l.person_id"
        " WHERE role = 'actor' AND film_work_id = %s ORDER BY full_name LIMIT 2", [film_id(movies, "Arrival")]
    )

    def both(person, name):
        must = [{"term": {"actors.id": person}}, {"match_phrase": {"actors.name": name}}]
        return {"nested": {"path": "actors", "query": {"bool": {"must": must}}}}

    assert "Arrival" in [film["title"] for film in loaded.search("movies", both(*first))]
    assert loaded.search("movies", both(first[0], second[1])) == []


def test_versions_are_the_database_clock_in_microseconds(engine, movies, search):
    clock = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    before = movies.value(clock)
    ok(engine(MOVIES))
    after = movies.value(clock)
    versions = search.versions("movies").values()
    assert len(versions) == movies.value("SELECT count(*) FROM content.film_work")
    assert all(before <= version <= after for version in versions)


def test_genres_and_persons_arrive_too(engine, movies, search):
    ok(engine("scripts/genres.lua"))
    ok(engine("scripts/persons.lua"))
    genres = {doc["name"]: doc["films"] for doc in search.docs("genres").values()}
    assert genres == dict(
        movies.query(
            "SELECT name, count(film_work_id) FROM content.genre g"
            " LEFT JOIN content.genre_film_work l ON l.genre_id = g.id GROUP BY name"
        )
    )
    persons = search.docs("persons")
    assert len(persons) == movies.value("SELECT count(*) FROM content.person")
    key = movies.value("SELECT id::text FROM content.person WHERE full_name = 'Frank Darabont'")
    shawshank = [film for film in persons[key]["films"] if film["title"] == "The Shawshank Redemption"]
    assert shawshank[0]["roles"] == ["director", "writer"]


# Changes


def test_a_second_run_carries_nothing(engine, movies, loaded):
    before = loaded.versions("movies")
    assert "0 documents indexed" in ok(engine(MOVIES)).stderr
    assert loaded.versions("movies") == before


def test_of_all_films_only_a_changed_one_travels(engine, movies, loaded):
    before = loaded.versions("movies")
    key = film_id(movies, STALKER)
    movies.execute("UPDATE content.film_work SET rating = 9.9, modified = now() WHERE id = %s", [key])
    assert "1 document indexed" in ok(engine(MOVIES)).stderr
    assert changed(before, loaded.versions("movies")) == {key}
    assert loaded.get("movies", key)["imdb_rating"] == 9.9
    assert "0 documents indexed" in ok(engine(MOVIES)).stderr


def test_full_carries_everything_again(engine, movies, loaded):
    before = loaded.versions("movies")
    movies.execute("UPDATE content.film_work SET title = 'unnoticed' WHERE title = %s", [STALKER])
    ok(engine(MOVIES, "--full"))
    assert len(changed(before, loaded.versions("movies"))) == len(before)
    assert "unnoticed" in {film["title"] for film in loaded.docs("movies").values()}


def test_since_carries_what_changed_since(engine, movies, loaded):
    before = loaded.versions("movies")
    ok(engine(MOVIES, "--since", "2025-06-01"))
    expected = tools.changed_films(movies, "2025-06-01Z")
    assert 0 < len(expected) < len(before)
    assert changed(before, loaded.versions("movies")) == expected


def test_a_since_before_the_state_keeps_the_state(engine, movies, loaded):
    def positions():
        with open(engine.state, encoding="utf-8") as f:
            return {name: (t["cursor"], t["key"], t["us"]) for name, t in json.load(f)["tables"].items()}

    before = positions()
    ok(engine(MOVIES, "--since", "2021-01-01"))
    assert positions() == before


def test_a_since_after_the_state_does_not_move_the_state(engine, movies, loaded):
    ok(engine("state", "set", MOVIES, "2022-01-01"))
    skipped = film_id(movies, STALKER)
    movies.execute("UPDATE content.film_work SET title = 'later', modified = '2023-01-01Z' WHERE id = %s", [skipped])
    result = ok(engine(MOVIES, "--since", "2026-01-01"))
    assert "the state stays as it is" in result.stderr
    assert loaded.get("movies", skipped)["title"] == STALKER
    ok(engine(MOVIES))
    assert loaded.get("movies", skipped)["title"] == "later"


def test_a_since_after_the_state_does_not_move_it_by_a_reload_either(engine, movies, loaded, wait_until):
    def state():
        with open(engine.state, encoding="utf-8") as f:
            return f.read()

    ok(engine("state", "set", MOVIES, "2022-01-01"))
    before = state()
    following = engine.start(MOVIES, "--since", "2026-01-01", "--follow")
    wait_until(lambda: ": following" in following.stderr)
    following.signal(signal.SIGHUP)
    wait_until(lambda: "reloaded" in following.stderr)
    assert following.stop().returncode == 143
    assert state() == before


def test_a_since_without_a_state_does_not_make_one(engine, movies, search):
    """Or the next run would take the rows before that time for loaded."""
    ok(engine(MOVIES, "--since", "2025-07-01"))
    assert 0 < search.count("movies") < 200
    ok(engine(MOVIES))
    assert search.count("movies") == movies.value("SELECT count(*) FROM content.film_work")


def test_a_since_that_is_no_time_is_wrong_usage(engine, movies, search_one):
    result = ok(engine(MOVIES, "--since", "yesterdayish"), 2)
    assert "'yesterdayish'" in result.stderr


def test_a_dry_run_since_a_time_prints_what_changed_since(engine, movies):
    result = ok(engine(MOVIES, "--dry-run", "--since", "2025-06-01"))
    expected = tools.changed_films(movies, "2025-06-01Z")
    assert {film["id"] for film in result.docs} == expected != set()
    assert ok(engine(MOVIES, "--dry-run", "--since", "2025-06-01", "--workers", 4)).stdout == result.stdout


def test_more_rows_of_one_time_than_a_page_holds_all_travel(engine, pg, search, script):
    make_things(pg, 3500)
    path = script(pipeline())
    ok(engine(path))
    before = search.versions("things")
    pg.execute("UPDATE things SET v = 'new', modified = now() WHERE id > 500")
    ok(engine(path))
    assert {doc["v"] for key, doc in search.docs("things").items() if int(key) > 500} == {"new"}
    assert len(changed(before, search.versions("things"))) == 3000


def test_one_microsecond_makes_a_difference(engine, pg, search_one, script):
    make_things(pg)
    path = script(pipeline())
    ok(engine(path))
    before = search_one.versions("things")
    pg.execute("UPDATE things SET modified = '2024-01-01 00:00:00.000011Z' WHERE id = 3")
    pg.execute("UPDATE things SET modified = '2024-01-01 00:00:00.000009Z' WHERE id = 4")
    ok(engine(path, "--since", "2024-01-01 00:00:00.000011Z"))
    assert changed(before, search_one.versions("things")) == {"3"}


def test_a_transaction_that_was_open_during_a_run_is_not_missed(engine, movies, loaded):
    early, late = film_id(movies, STALKER), film_id(movies, "Arrival")
    writer = movies.connect()
    writer.cursor().execute("UPDATE content.film_work SET title = 'early', modified = now() WHERE id = %s", [early])
    movies.execute("UPDATE content.film_work SET title = 'late', modified = now() WHERE id = %s", [late])
    ok(engine(MOVIES))
    assert loaded.get("movies", late)["title"] == "late"
    assert loaded.get("movies", early)["title"] == STALKER
    writer.commit()
    ok(engine(MOVIES))
    assert loaded.get("movies", early)["title"] == "early"


def test_a_transaction_that_was_open_during_the_first_load_is_not_missed(engine, movies, search):
    early = film_id(movies, STALKER)
    writer = movies.connect()
    writer.cursor().execute("UPDATE content.film_work SET title = 'early', modified = now() WHERE id = %s", [early])
    movies.execute("UPDATE content.film_work SET modified = now() WHERE title = 'Arrival'")
    ok(engine(MOVIES))
    writer.commit()
    ok(engine(MOVIES))
    assert search.get("movies", early)["title"] == "early"


@pytest.mark.parametrize("kind", ["timestamp(0)", "timestamptz(0)", "timestamptz(3)", "date", "timestamp"])
def test_a_later_change_within_the_same_rounded_time_is_not_missed(engine, pg, search_one, script, wait_until, kind):
    """Such a column gives two changes, one before a run and one after it, the same time."""
    pg.execute(f"SET timezone = 'UTC'; CREATE TABLE things (id int PRIMARY KEY, v text, modified {kind})")
    path = script(pipeline())
    ok(engine(path))
    wait_until(lambda: pg.value("SELECT extract(epoch FROM clock_timestamp())::numeric % 1 < 0.1"))  # time enough to round down
    pg.execute("INSERT INTO things VALUES (1, 'old', '2024-01-01'), (2, 'old', now())")
    ok(engine(path))
    pg.execute("UPDATE things SET v = 'new', modified = now() WHERE id = 1")
    ok(engine(path))
    assert search_one.get("things", "1")["v"] == "new"


def test_rows_written_while_the_load_runs_are_there_after_it(engine, pg, search, script):
    make_things(pg, 2000)
    write = (
        'if row.id == 1000 then etl.pg.query("INSERT INTO things VALUES (-1, \'low\', clock_timestamp()),'
        ' (9999, \'high\', clock_timestamp())"); etl.pg.query("UPDATE things SET v = \'changed\', modified = clock_timestamp()'
        ' WHERE id = 1") end return { v = row.v }'
    )
    ok(engine(script(pipeline(document=write))))
    docs = search.docs("things")
    assert len(docs) == 2002
    assert [docs[key]["v"] for key in ("-1", "9999", "1")] == ["low", "high", "changed"]


def test_without_a_cursor_every_run_compares_every_row_and_sends_what_differs(engine, pg, search_one, script):
    make_things(pg)
    path = script(pipeline(cursor=None))
    ok(engine(path))
    pg.execute("UPDATE things SET v = 'new' WHERE id = 4; DELETE FROM things WHERE id = 5")
    before = search_one.versions("things")
    done = ok(engine(path))
    assert "1 document indexed, 1 deleted, 8 unchanged" in done.stderr and done.stderr.count("sweeping") == 1, done
    assert changed(before, search_one.versions("things")) == {"4", "5"}
    assert search_one.get("things", "4")["v"] == "new" and not search_one.get("things", "5")
    before = search_one.versions("things")
    ok(engine(path))
    assert not changed(before, search_one.versions("things"))
    ok(engine(path, "--full"))
    assert len(changed(before, search_one.versions("things"))) == 9


def test_without_a_cursor_a_first_load_that_was_broken_off_ends_up_to_date(engine, pg, search_one, script, wait_until):
    make_things(pg, 3000)
    slow = script(pipeline(cursor=None, document="for _ = 1, 30000 do end return { v = row.v }"), "slow.lua")
    running = engine.start(slow, "--workers", "1")
    wait_until(lambda: (films.state(engine) or {}).get("after"))
    running.kill()
    pg.execute("UPDATE things SET v = 'new' WHERE id IN (1, 3000); DELETE FROM things WHERE id = 2")
    ok(engine(script(pipeline(cursor=None))))
    assert search_one.get("things", "1")["v"] == search_one.get("things", "3000")["v"] == "new"
    assert not search_one.get("things", "2")


def test_rows_whose_cursor_is_null_or_infinite_stop_nothing(engine, pg, search_one, script):
    make_things(pg, 5, "ALTER TABLE things ALTER modified DROP NOT NULL;"
                       "UPDATE things SET modified = 'infinity' WHERE id = 1; UPDATE things SET modified = NULL WHERE id = 2")
    path = script(pipeline())
    ok(engine(path))
    assert search_one.count("things") == 5
    pg.execute("UPDATE things SET v = 'new', modified = '2024-06-01Z' WHERE id = 5")
    assert "1 document indexed" in ok(engine(path)).stderr
    assert search_one.get("things", "5")["v"] == "new"


@pytest.mark.parametrize("kind", ["bigint", "numeric(30,0)"])
def test_a_number_may_be_the_cursor(engine, pg, search_one, script, kind):
    pg.execute(f"CREATE TABLE things (id int PRIMARY KEY, v text, modified {kind});"
               "INSERT INTO things SELECT i, 'old', 9007199254740992 + i FROM generate_series(1, 9) i")
    path = script(pipeline())
    ok(engine(path))
    before = search_one.versions("things")
    pg.execute("UPDATE things SET v = 'new', modified = 9007199254740992 + 10 WHERE id = 2")
    ok(engine(path))
    assert changed(before, search_one.versions("things")) == {"2"}
    assert "0 documents indexed" in ok(engine(path)).stderr


# Keys by hand


def test_keys_carry_these_documents_alone_and_leave_the_state(engine, movies, loaded):
    before, state = loaded.versions("movies"), open(engine.state, "rb").read()
    mtime = os.stat(engine.state).st_mtime_ns
    keys = [film_id(movies, STALKER), film_id(movies, "Arrival")]
    ok(engine(MOVIES, "--keys", ",".join(keys)))
    assert changed(before, loaded.versions("movies")) == set(keys)
    assert open(engine.state, "rb").read() == state
    assert os.stat(engine.state).st_mtime_ns == mtime


def test_a_key_without_a_row_removes_its_document(engine, movies, loaded):
    key = film_id(movies, STALKER)
    movies.execute("DELETE FROM content.film_work WHERE id = %s", [key])
    result = ok(engine(MOVIES, "--keys", key))
    assert "1 deleted" in result.stderr
    assert loaded.get("movies", key) is None
    ok(engine(MOVIES, "--keys", key))  # once more does no harm


def test_a_uuid_in_upper_case_is_the_same_key(engine, movies, loaded):
    key = film_id(movies, STALKER)
    movies.execute("DELETE FROM content.film_work WHERE id = %s", [key])
    count = loaded.count("movies")
    ok(engine(MOVIES, "--keys", key.upper() + "," + film_id(movies, "Arrival").upper()))
    assert loaded.get("movies", key) is None
    assert loaded.count("movies") == count - 1


def test_a_key_of_the_wrong_form_is_wrong_usage(engine, movies, search_one):
    result = ok(engine(MOVIES, "--keys", "not-a-uuid"), 2)
    assert "not-a-uuid" in result.stderr


def test_keys_come_from_a_file_or_from_standard_input(engine, movies, loaded, tmp_path):
    keys = [film_id(movies, STALKER), film_id(movies, "Arrival")]
    (tmp_path / "keys").write_text(f"{keys[0]}\r\n\n{keys[1]}", encoding="utf-8")
    before = loaded.versions("movies")
    ok(engine(MOVIES, "--keys-from", tmp_path / "keys"))
    between = loaded.versions("movies")
    assert changed(before, between) == set(keys)
    ok(engine(MOVIES, "--keys-from", "-", stdin="\n".join(keys)))
    assert changed(between, loaded.versions("movies")) == set(keys)


def test_limit_carries_so_many_and_leaves_the_state(engine, movies, search):
    ok(engine(MOVIES, "--limit", "7"))
    assert search.count("movies") == 7
    assert not os.path.exists(engine.state)
    ok(engine(MOVIES))
    assert search.count("movies") == movies.value("SELECT count(*) FROM content.film_work")


# Documents that are nil, raise, or do not fit


def test_a_document_that_became_nil_is_deleted(engine, pg, search, script):
    make_things(pg)
    path = script(pipeline(document='if row.v ~= "gone" then return { v = row.v } end'))
    ok(engine(path))
    assert search.count("things") == 10
    pg.execute("UPDATE things SET v = 'gone', modified = now() WHERE id IN (3, 4)")
    assert "2 deleted" in ok(engine(path)).stderr
    assert set(search.docs("things")) == {str(i) for i in range(1, 11)} - {"3", "4"}


def test_a_raising_document_is_rejected_with_key_and_reason_and_the_others_arrive(engine, pg, search, script):
    make_things(pg)
    path = script(pipeline(document='if row.id == 7 then error "seven is odd" end return { v = row.v }'))
    result = ok(engine(path), 4)
    line = next(line for line in result.stderr.splitlines() if "seven is odd" in line)
    assert "'7'" in line and os.path.basename(path) in line
    assert search.count("things") == 9
    ok(engine(path))  # the state has passed it


def test_a_document_that_the_mapping_refuses_is_rejected_with_key_and_reason(engine, pg, search, script):
    make_things(pg)
    mappings = '{ dynamic = "strict", properties = { v = { type = "keyword" }, n = { type = "integer" } } }'
    path = script(pipeline(mappings=mappings, document='return { v = row.v, n = row.id == 7 and "seven" or row.id }'))
    result = ok(engine(path), 4)
    line = next(line for line in result.stderr.splitlines() if "document '7' rejected" in line)
    assert "failed to parse field [n]" in line
    assert search.count("things") == 9


def test_a_wrong_mapping_stops_the_run_and_the_state_does_not_pass(engine, pg, search, script):
    make_things(pg, 3000)
    wrong = '{ dynamic = "strict", properties = { w = { type = "keyword" } } }'
    result = ok(engine(script(pipeline(mappings=wrong))), 1)
    assert "more than 1000 documents were rejected" in result.stderr
    assert search.count("things") == 0
    search.request("DELETE", "things")
    ok(engine(script(pipeline())))
    assert search.count("things") == 3000


def test_a_thousand_rejections_in_a_poll_do_not_stop_it_but_more_do(engine, pg, search_one, script):
    make_things(pg, 3000)
    document = 'if row.v == "bad" then error "bad" end return { v = row.v }'
    path = script(pipeline(document=document))
    ok(engine(path))
    pg.execute("UPDATE things SET v = 'bad', modified = now() WHERE id <= 1000")
    ok(engine(path), 4)
    pg.execute("UPDATE things SET v = 'bad', modified = now()")
    ok(engine(path, "--workers", "1"), 1)
    pg.execute("UPDATE things SET v = 'good'")
    ok(engine(path))
    assert {doc["v"] for doc in search_one.docs("things").values()} == {"good"}


# Keys of every kind

AWKWARD = [
    "plain", 'double "quotes"', "single 'quotes'", "back\\slash", "sl/ash", "..", "%2F?&#", "with space", " ", "ключ", "🎬",
    "tab\tand\nline", "{a,b}", "NULL", "null", "_under", "a" * 512,
]  # fmt: skip


def test_text_keys_may_hold_anything(engine, pg, search, script):
    make_table = "CREATE TABLE things (id text PRIMARY KEY, v text, modified timestamptz DEFAULT now())"
    pg.execute(make_table)
    for key in AWKWARD:
        pg.execute("INSERT INTO things VALUES (%s, %s)", [key, "v" + key])
    path = script(pipeline())
    ok(engine(path))
    assert search.docs("things") == {key: {"v": "v" + key} for key in AWKWARD}
    pg.execute("DELETE FROM things; INSERT INTO things VALUES ('plain', 'new')")
    ok(engine(path, "--allow-deletes", "--keys-from", "-", stdin="\n".join(key for key in AWKWARD if "\n" not in key)))
    assert search.docs("things") == {"plain": {"v": "new"}, "tab\tand\nline": {"v": "vtab\tand\nline"}}


def test_keys_that_no_server_takes_are_rejected_by_name(engine, pg, search, script):
    pg.execute("CREATE TABLE things (id text PRIMARY KEY, v text, modified timestamptz DEFAULT now())")
    pg.execute("INSERT INTO things VALUES ('', 'empty'), ('good', 'good'), (repeat('x', 513), 'long')")
    result = ok(engine(script(pipeline())), 4)
    assert "document '' rejected" in result.stderr and "document 'xxx" in result.stderr
    assert set(search.docs("things")) == {"good"}


KEYS = {
    "bigint": ["-9223372036854775808", "0", "9223372036854775807", "9007199254740993"],
    "timestamptz": ["2021-06-16 20:14:09.221855+00", "infinity", "0044-03-15 12:00:00+00 BC", "2024-01-01 00:00:00+00"],
    "numeric": ["1234567890123456789012345678901234567890", "-0.5", "1.10", "0.0000000000000000000000000000000000000001"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "double precision": ["0.1", "1e+308", "5e-324", "-Infinity"],
    "boolean": ["t", "f"],
    "bytea": ["\\x", "\\x00ff"],
    "char(10)": ["a         ", "ab        ", "zzzzzzzzzz"],
    "varchar(5)": ["a", "abcde"],
    "bit(4)": ["0000", "1010"],
    "inet": ["10.0.0.0/8", "::1"],
    "interval": ["1 day", "-00:00:01"],
    "\"char\"": ["a", "b"],
    "name": ["a", "pg_class"],
}


@pytest.mark.parametrize("kind", KEYS)
def test_an_id_is_the_key_as_the_database_prints_it(engine, pg, search_one, script, kind):
    pg.execute(f"CREATE TABLE things (id {kind} PRIMARY KEY, v text, modified timestamptz DEFAULT now())")
    for key in KEYS[kind]:
        pg.execute("INSERT INTO things VALUES (%s, 'old')", [key])
    expected = {key for key in KEYS[kind] if kind != "bytea" or key}
    path = script(pipeline())
    ok(engine(path))
    assert set(search_one.docs("things")) == expected
    pg.execute("UPDATE things SET v = 'new', modified = now()")
    ok(engine(path))
    assert {doc["v"] for doc in search_one.docs("things").values()} == {"new"}
    pg.execute("DELETE FROM things")
    ok(engine(path, "--keys-from", "-", stdin="\n".join(KEYS[kind])))
    assert search_one.docs("things") == {}


@pytest.mark.parametrize("kind", ["char(10)", "bit(20)", "numeric(12,3)", "varchar(9)"])
def test_stretches_lose_no_key_whose_type_has_a_length(engine, pg, script, kind):
    value = {"bit(20)": "i::bit(20)", "numeric(12,3)": "i / 8.0"}.get(kind, "'k' || lpad(i::text, 6, '0')")
    pg.execute(f"CREATE TABLE things (id {kind} PRIMARY KEY, v int);"
               f"INSERT INTO things SELECT {value}, i FROM generate_series(1, 30000) i")
    result = ok(engine(script(pipeline(cursor=None)), "--dry-run"))
    assert sorted(doc["v"] for doc in result.docs) == list(range(1, 30001))


def test_names_may_need_quotes(engine, pg, search, script):
    pg.execute(
        'CREATE SCHEMA "My Schema"; CREATE TABLE "My Schema"."The ""Things"" Ж" ('
        '"Key ""Col" int PRIMARY KEY, "The Value" text, "Last Mod\'d" timestamptz DEFAULT now());'
        'INSERT INTO "My Schema"."The ""Things"" Ж" SELECT i, \'v\' || i FROM generate_series(1, 9) i'
    )
    table = '"My Schema"."The ""Things"" Ж"'
    path = script(pipeline(table=table, key='Key "Col', cursor="Last Mod'd", document='return { v = row["The Value"] }'))
    ok(engine(path))
    assert search.docs("things") == {str(i): {"v": f"v{i}"} for i in range(1, 10)}
    pg.execute(f"UPDATE {table} SET \"The Value\" = 'new', \"Last Mod'd\" = now() WHERE \"Key \"\"Col\" = 2")
    assert "1 document indexed" in ok(engine(path)).stderr
    assert search.get("things", "2") == {"v": "new"}


@pytest.mark.parametrize("ending", [";", " ;  \n", "-- the end", " -- it's the end\n", "/* nested /* one */ */", "; -- 'both"])
def test_a_query_may_end_in_a_comment_or_a_semicolon(engine, pg, script, ending):
    make_things(pg, 3)
    query = "SELECT id, v, ';--' AS odd, modified FROM things" + ending
    assert len(ok(engine(script(pipeline(query=query)), "--dry-run")).docs) == 3


def test_a_view_may_be_the_root(engine, pg, search, script):
    make_things(pg, 20, "CREATE VIEW shown AS SELECT * FROM things WHERE id <= 15;")
    path = script(pipeline(table="shown"))
    ok(engine(path))
    assert search.count("things") == 15
    pg.execute("UPDATE things SET v = 'new', modified = now() WHERE id IN (15, 16)")
    assert "1 document indexed" in ok(engine(path)).stderr


def test_a_query_with_fewer_rows_than_the_table_is_fine(engine, pg, search_one, script):
    make_things(pg, 10)
    ok(engine(script(pipeline(query="SELECT * FROM things WHERE id % 2 = 0"))))
    assert set(search_one.docs("things")) == {"2", "4", "6", "8", "10"}


def test_an_empty_table_makes_an_empty_index(engine, pg, search, script):
    make_things(pg, 0)
    path = script(pipeline())
    ok(engine(path))
    assert search.exists("things") and search.count("things") == 0
    pg.execute("INSERT INTO things VALUES (1, 'first')")
    ok(engine(path))
    assert search.docs("things") == {"1": {"v": "first"}}


@pytest.mark.parametrize("rows", [50, 1000])
@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_rows_without_a_key_are_rejected_however_many_stretches_there_are(engine, pg, search_one, script, rows, kind):
    pg.execute("CREATE TABLE base (id int, v text, modified timestamptz DEFAULT now());"
               f"INSERT INTO base SELECT i, 'v' || i FROM generate_series(1, {rows}) i;"
               "INSERT INTO base VALUES (NULL, 'a'), (NULL, 'b')")
    pg.execute("ALTER TABLE base RENAME TO things" if kind == "TABLE" else "CREATE VIEW things AS SELECT * FROM base")
    result = ok(engine(script(pipeline()), "--full"), 4)
    assert "document '' rejected: its key is NULL" in result.stderr and "2 rejected" in result.stderr
    assert search_one.count("things") == rows
    pg.execute(f"INSERT INTO {'things' if kind == 'TABLE' else 'base'} VALUES (NULL, 'c')")
    result = ok(engine(script(pipeline()), "--sweep"), 4)
    assert "3 rows of table 'things' rejected: the key is NULL" in result.stderr and "3 rejected" in result.stderr


# Several stretches, several workers


@pytest.fixture(scope="module")
def big(machine):
    database = conftest.new_database()
    make_things(database, 60000)
    yield database
    conftest.drop(database)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_table_of_several_stretches_arrives_whole(engine, big, search_one, script, workers):
    ok(engine(script(pipeline()), "--workers", workers, env={"DATABASE_URL": big.url}))
    docs = search_one.docs("things")
    assert len(docs) == 60000
    assert all(doc["v"] == "v" + key for key, doc in docs.items())


def test_a_dry_run_prints_the_same_each_time_however_many_workers(engine, big, script):
    path = script(pipeline(document="return { id = row.id, v = row.v }"))

    def run(workers):
        return ok(engine(path, "--dry-run", "--workers", workers, env={"DATABASE_URL": big.url})).stdout

    first = run(1)
    assert [json.loads(line)["id"] for line in first.splitlines()] == list(range(1, 60001))
    assert run(5) == first
    assert run(2) == first


# What the index may already be


def test_versions_go_on_from_the_state_s_where_the_database_clock_is_behind(engine, movies, loaded):
    """As after a failover to a host whose clock is slow: a change must not lose against what it replaces."""
    key = film_id(movies, STALKER)
    with open(engine.state, encoding="utf-8") as f:
        state = json.load(f)
    mtime = os.stat(engine.state).st_mtime_ns
    state["version"] += 10**12
    with open(engine.state, "w", encoding="utf-8") as f:
        json.dump(state, f)
    os.utime(engine.state, ns=(mtime, mtime))
    loaded.request("PUT", f"movies/_doc/{key}?version={state['version']}&version_type=external", {"title": "before"})
    movies.execute("UPDATE content.film_work SET title = 'after', modified = now() WHERE id = %s", [key])
    ok(engine(MOVIES))
    assert loaded.get("movies", key)["title"] == "after"
    assert loaded.hit("movies", key)["_version"] > state["version"]


def test_a_foreign_higher_version_is_an_error_and_not_a_success(engine, movies, loaded):
    key = film_id(movies, STALKER)
    loaded.request("PUT", f"movies/_doc/{key}?version={2**60}&version_type=external", {"title": "foreign"})
    movies.execute("UPDATE content.film_work SET modified = now() WHERE id = %s", [key])
    result = ok(engine(MOVIES), 1)
    assert key in result.stderr and "hint:" in result.stderr
    ok(engine(MOVIES), 1)  # the state has not passed it


def test_an_index_that_was_deleted_is_loaded_again_and_the_log_says_so(engine, movies, loaded):
    loaded.request("DELETE", "movies")
    result = ok(engine(MOVIES))
    assert "the index did not exist, though the state says it was loaded" in result.stderr
    assert loaded.count("movies") == movies.value("SELECT count(*) FROM content.film_work")


def test_an_index_that_was_replaced_is_loaded_again_and_the_log_says_so(engine, movies, loaded):
    loaded.request("DELETE", "movies")
    loaded.request("PUT", "movies", {})
    result = ok(engine(MOVIES))
    assert "the index is not the one that was loaded" in result.stderr
    assert loaded.count("movies") == movies.value("SELECT count(*) FROM content.film_work")


def test_the_sink_may_be_an_alias(engine, pg, search, script):
    make_things(pg)
    search.request("PUT", "things_1", {"aliases": {"things": {}}})
    path = script(pipeline())
    ok(engine(path))
    assert search.count("things_1") == 10
    pg.execute("UPDATE things SET v = 'new', modified = now() WHERE id = 2")
    assert "1 document indexed" in ok(engine(path)).stderr
    search.request("PUT", "things_2", {})
    search.request("POST", "_aliases", {"actions": [{"remove": {"index": "things_1", "alias": "things"}},
                                                    {"add": {"index": "things_2", "alias": "things"}}]})
    assert "the index is not the one that was loaded" in ok(engine(path)).stderr
    assert search.count("things_2") == 10


def test_an_alias_of_two_indexes_is_refused(engine, pg, search, script):
    make_things(pg)
    search.request("PUT", "things_1", {"aliases": {"things": {}}})
    search.request("PUT", "things_2", {"aliases": {"things": {}}})
    result = ok(engine(script(pipeline())), 1)
    assert "it is an alias of several indexes, none of which is its write index" in result.stderr


def test_an_index_deleted_while_it_is_loaded_is_an_error(engine, pg, search, script):
    make_things(pg, 10)
    hook = 'before_run = function() etl.es.request("DELETE", "/things") end'
    result = ok(engine(script(pipeline(extra=hook))), 1)
    assert re.search("deleted (or replaced )?during the run", result.stderr)
    search.exists("things") and search.request("DELETE", "things")
    ok(engine(script(pipeline())))
    assert search.count("things") == 10


# Dry runs


def test_a_dry_run_makes_neither_index_nor_state(engine, movies, search):
    ok(engine(MOVIES, "--dry-run"))
    assert not search.exists("movies")
    assert not os.path.exists(engine.state) and not os.path.exists(engine.state + ".lock")


def test_a_dry_run_needs_no_search_server(engine, movies):
    assert len(ok(engine(MOVIES, "--dry-run", "--limit", "3")).docs) == 3


def test_a_dry_run_gives_the_same_text_twice(engine, movies):
    assert ok(engine(MOVIES, "--dry-run")).stdout == ok(engine(MOVIES, "--dry-run", "--workers", "4")).stdout


def test_a_dry_run_of_a_key_without_a_row_prints_nothing(engine, movies):
    result = ok(engine(MOVIES, "--dry-run", "--keys", f"{film_id(movies, STALKER)},{uuid.UUID(int=1)}"))
    assert [film["title"] for film in result.docs] == [STALKER]


def test_the_bulk_format_is_what_a_search_server_takes(engine, movies, search):
    key = str(uuid.UUID(int=1))
    search.request("PUT", f"movies/_doc/{key}?version=1&version_type=external", {"title": "no such row"})
    text = ok(engine(MOVIES, "--dry-run", "--format", "bulk")).stdout
    text += ok(engine(MOVIES, "--dry-run", "--format", "bulk", "--keys", key)).stdout
    answer = search.request("POST", "movies/_bulk", text)
    assert not answer["errors"]
    assert search.docs("movies") == films_by_sql(movies)


def shell(engine, line):
    return subprocess.run(
        ["bash", "-c", line, "bash", engine.path], env={**os.environ, **engine.env}, capture_output=True, text=True,
        timeout=60, check=False, cwd=ROOT,
    )  # fmt: skip


def test_head_ends_a_dry_run_quietly(engine, big, script):
    engine.env["DATABASE_URL"] = big.url
    path = script(pipeline())
    result = shell(engine, f"set -o pipefail; \"$1\" {path} --dry-run --quiet | head -n 1")
    assert (result.returncode, result.stdout, result.stderr) == (0, '{"v":"v1"}\n', "")


@pytest.mark.parametrize("where, why", [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")])
def test_output_that_cannot_be_written_is_a_failure(engine, movies, where, why):
    result = shell(engine, f'"$1" {MOVIES} --dry-run {where}')
    assert result.returncode == 1
    assert f"cannot write to standard output: {why}" in result.stderr


# Several rows for one key: one document, and one warning


@pytest.mark.parametrize("links, rows", [("SELECT i, 'a' FROM generate_series(1, 500) i, generate_series(1, 3)", 500),
                                         ("SELECT 7, 'a' FROM generate_series(1, 3)", 500)])  # fmt: skip
def test_several_rows_for_one_key_are_told_once(engine, pg, search_one, script, links, rows):
    make_things(pg, rows)
    pg.execute(f"CREATE TABLE links (thing int, tag text); INSERT INTO links {links}")
    path = script(pipeline(query="SELECT id, v, tag FROM things LEFT JOIN links ON thing = id", document="return { v = row.v }"))
    more = pg.value("SELECT count(*) FROM things LEFT JOIN links ON thing = id") - rows
    for words in ([], ["--sweep"], ["--full"], ["--dry-run"], ["--keys", "7,8"]):
        done = ok(engine(path, *words))
        warnings = [line for line in done.stderr.splitlines() if " warn " in line]
        assert len(warnings) == 1 or words == ["--sweep"], done
        assert f"{path}:5: the query has several rows for one key, for '" in warnings[0] and "GROUP BY" in warnings[0], done
        if words in ([], ["--full"]):
            assert f": {more:,} rows too many" in warnings[0] and f"{rows} documents indexed" in done.stderr, done
        if words == ["--sweep"]:
            assert "0 documents indexed" in done.stderr and f"{rows} unchanged" in done.stderr, done
    assert search_one.count("things") == rows


def test_one_row_for_each_key_is_nothing_to_tell(engine, pg, search_one, script):
    make_things(pg, 30000)
    path = script(pipeline())
    for words in ([], ["--sweep"], ["--dry-run"]):
        done = ok(engine(path, *words))
        assert " warn " not in done.stderr and "repeating" not in done.stderr, done
