"""why tells one document's story."""
import json
import signal

import films
import pytest
from films import follow, run

CAPTURES = ("poll", "wal")


def lua(capture, related=(films.LINK, films.GENRE, films.PERSON), **words):
    how = {"cursor": None, "source": 'capture = "wal",'} if capture == "wal" else {}
    related = [r.replace('cursor = "modified", ', "") for r in related] if capture == "wal" else related
    return films.lua(related, **how, **words)


@pytest.fixture(params=CAPTURES)
def loaded(request, engine, pg, search_one, script):
    pg.execute(films.SCHEMA)
    path = script(lua(request.param))
    run(engine, path)
    return path


def story(engine, path, key, code=5):
    return json.loads(run(engine, "why", path, key, "--format", "json", code=code).stdout)


def why(engine, path, key, code=5):
    """The text, {label: what stands there}."""
    text = run(engine, "why", path, key, code=code).stdout
    found, last = {}, ""
    for line in text.splitlines():
        last = line[:12].strip() or last
        found[last] = (found.get(last, "") + " " + line[12:]).strip()
    return found


def test_a_document_that_is_right(engine, loaded):
    told = why(engine, loaded, "7", code=0)
    assert told["key"] == "7" and told["so"] == "the index has what the script makes"
    assert '"title":"film 7"' in told["document"] and told["dead letter"] == "none"
    assert "film_genre: 7:3" in told["led to by"] and "genre: 3" in told["led to by"] and "person: 8" in told["led to by"]
    assert "made by this version" in told["script"] and "none follows" in told["process"]
    assert ("slot 'etl_films' is ready" if "wal" in open(loaded).read() else "polled by modified") in told["noticed by"]
    facts = story(engine, loaded, "7", code=0)
    assert facts["kind"] == "same" and facts["row"]["title"] == "film 7" and facts["document"] == facts["held"]
    assert [[row["key"] for row in table["rows"]] for table in facts["tables"]] == [["7"], ["7:3"], ["3"], ["8"]]


def test_a_document_that_differs(engine, pg, loaded, search_one, script):
    pg.execute("UPDATE film SET title = 'other' WHERE id = 7")
    facts = story(engine, loaded, "7")
    assert (facts["kind"], facts["reason"]) == ("different", "pending")
    text = run(engine, "why", loaded, "7", code=5).stdout
    assert '  - title: "film 7"\n  + title: "other"\n' in text, text
    search_one.request("PUT", "films/_doc/800?refresh=true", {"title": "of another program"})
    assert story(engine, loaded, "800")["reason"] == "foreign"
    changed = script(lua("poll", document="return { title = row.title .. '!' }"), "changed.lua")
    assert story(engine, changed, "9")["reason"] == "script"
    assert "made by another version" in why(engine, changed, "9")["script"]


def test_a_key_without_row_or_document(engine, pg, loaded, search_one, script):
    assert why(engine, loaded, "1000", code=0)["so"] == "there is nothing, and there should be nothing"
    told = why(engine, loaded, "seven", code=0)
    assert "cannot be a key" in told["row"] and "no document" in told["index"]
    pg.execute("DELETE FROM film WHERE id = 7")
    told = why(engine, loaded, "7")
    assert "no row" in told["row"] and told["so"].startswith("orphaned")
    pg.execute("INSERT INTO film VALUES (500, 'new')")
    assert why(engine, loaded, "500")["so"].startswith("missing")
    filtered = script(lua("poll", query=films.QUERY + " WHERE f.id <> 8"), "filtered.lua")
    assert "though the table has one" in why(engine, filtered, "8")["row"]


def test_a_dead_letter_and_a_document_that_cannot_be_made(engine, pg, search_one, script):
    pg.execute(films.SCHEMA)
    bad = script(lua("poll", document="if row.id == 7 then error('no seven') end return { title = row.title }"))
    run(engine, bad, code=4)
    told = why(engine, bad, "7")
    assert "no seven" in told["document"] and "no seven" in told["dead letter"] and told["so"].startswith("failed")
    broken = script(lua("poll", query=films.QUERY.replace("f.title,", "(1 / (f.id - 8))::text AS title,")), "broken.lua")
    assert "division by zero" in why(engine, broken, "8")["document"]
    good = script(lua("poll", document="return { title = row.title }"), "good.lua")
    assert story(engine, good, "7")["dead_letter"]["key"] == "7" and "rejected" in why(engine, good, "7")["so"]


def test_what_is_under_way(engine, pg, search_one, script, wait_until):
    pg.execute(films.SCHEMA)
    path = script(lua("poll"))
    running = follow(engine, path, wait_until=wait_until)
    other = pg.connect()
    with other.cursor() as cursor:
        cursor.execute("UPDATE film SET title = 'late', modified = now() WHERE id = 1")
        told = why(engine, path, "1", code=0)
        assert f"process {other.get_backend_pid()}" in told["open now"] and "one follows" in told["process"]
    other.rollback()
    assert running.stop().returncode == 143


def test_the_rows_that_lead_to_a_key_whatever_its_type(engine, pg, search_one, script):
    pg.execute("""CREATE TABLE a (x text, y int, v text, PRIMARY KEY (x, y)); INSERT INTO a VALUES ('p:q', 1, 'v'), ('r', 2, 'w');
                  CREATE TABLE b (id int PRIMARY KEY, ax text, ay int); INSERT INTO b VALUES (10, 'p:q', 1), (11, 'r', 2);
                  CREATE TABLE c (id int PRIMARY KEY, bid int); INSERT INTO c VALUES (20, 10), (21, 11)""")
    path = script(films.lua(
        ['{ table = "b", key = "id", affects = { "ax", "ay" } }',
         '{ table = "c", key = "id", affects = "SELECT ax, ay FROM b /* $1 */ WHERE id = ANY(ARRAY(SELECT bid FROM c t'
         ' WHERE t.id = ANY($1)))" }'],
        query="SELECT x, y, v FROM a", table="a", key='{ "x", "y" }', cursor=None, document="return { v = row.v }"))  # fmt: skip
    run(engine, path)
    tables = story(engine, path, "p\\:q:1", code=0)["tables"]
    assert [[row["key"] for row in table["rows"]] for table in tables] == [["p\\:q:1"], ["10"], ["20"]]


def test_mistakes_are_named(engine, pg, search_one, script):
    films.table(pg)
    path = script(films.plain())
    assert "a script and a key" in run(engine, "why", path, code=2).stderr
    assert "does not exist" in run(engine, "why", path, "1", code=1).stderr


def test_a_process_that_follows_and_is_behind(engine, pg, search_one, loaded, wait_until):
    running = follow(engine, loaded, wait_until=wait_until)
    running.signal(signal.SIGSTOP)
    try:
        pg.execute("UPDATE film SET title = 'later', modified = clock_timestamp() WHERE id = 7")
        assert "has not come so far" in why(engine, loaded, "7")["so"]
    finally:
        running.signal(signal.SIGCONT)
    wait_until(lambda: search_one.get("films", "7")["title"] == "later", timeout=60)
    run(engine, "why", loaded, "7")
