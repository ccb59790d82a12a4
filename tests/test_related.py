"""What changes in related tables re-indexes the documents that it affects, and only those."""
import re

import films
import pytest
import tools
from films import ALL, DIRECTOR, GENRE, LINK, PERSON, PERSON_INDEXED, PRODUCER, ROLE, changed, run, state, touch


ACTS = {str(i) for i in range(1, 41) if i % 10 == 2}  # of person 3


def ids(condition, of=range(1, 41)):
    return {str(i) for i in of if condition(i)}


@pytest.fixture
def shop(pg):
    pg.execute(films.SCHEMA)
    return pg


def load(engine, search, path, *words):
    run(engine, path, *words)
    return search.versions("films")


@pytest.mark.parametrize(
    "change, affected",
    [
        ("UPDATE person SET name = 'renamed', modified = clock_timestamp() WHERE id = 3", ACTS),
        ("UPDATE genre SET name = 'renamed', modified = clock_timestamp() WHERE id = 2", ids(lambda i: i % 5 == 1)),
        ("INSERT INTO film_genre VALUES (7, 1, clock_timestamp())", {"7"}),
        ("UPDATE role SET role = 'writer', modified = clock_timestamp() WHERE film_id = 9", {"9"}),
        ("UPDATE film SET title = 'renamed', modified = clock_timestamp() WHERE id IN (4, 5)", {"4", "5"}),
    ],
    ids=["person", "genre", "link", "role", "film"],
)
def test_a_change_reindexes_the_documents_that_it_affects_and_only_those(engine, shop, search, script, change, affected):
    path = script(films.lua((LINK, GENRE, ROLE, PERSON)))
    before = load(engine, search, path)
    run(engine, path)  # what lies within the second before the first load is read again
    before = search.versions("films")
    shop.execute(change)
    run(engine, path)
    assert changed(before, search.versions("films")) == affected


def test_a_deleted_link_is_found_by_the_sweep(engine, shop, search, script):
    path = script(films.lua(ALL))
    load(engine, search, path)
    run(engine, path)
    before = search.versions("films")
    shop.execute("DELETE FROM film_genre WHERE film_id = 11")
    run(engine, path)
    assert not changed(before, search.versions("films"))
    run(engine, path, "--sweep")
    assert changed(before, search.versions("films")) == {"11"}
    assert search.get("films", "11")["genres"] == []


def test_a_deleted_link_is_found_by_the_index_field_when_its_person_changes(engine, shop, search, script):
    path = script(films.lua((PERSON_INDEXED,)))
    load(engine, search, path)
    run(engine, path)
    before = search.versions("films")
    search.refresh("films")
    shop.execute("DELETE FROM role WHERE person_id = 3 AND film_id = 12")
    touch(shop, "name = 'renamed'", "id = 3", "person")
    run(engine, path)
    assert changed(before, search.versions("films")) == ACTS  # 12 among them
    assert search.get("films", "12")["actors"] == []


def test_both_forms_of_affects_take_composite_keys(engine, pg, search, script):
    pg.execute("""
        CREATE TABLE root (a int, b text, modified timestamptz DEFAULT now(), PRIMARY KEY (a, b));
        CREATE TABLE leaf (x int, y int, a int, b text, v text, modified timestamptz DEFAULT now(), PRIMARY KEY (x, y));
        CREATE TABLE twig (x int, y int, n int, modified timestamptz DEFAULT now(), PRIMARY KEY (x, y));
        INSERT INTO root SELECT i, 'b:' || i FROM generate_series(1, 9) i;
        INSERT INTO leaf SELECT i, i * 10, i, 'b:' || i, 'v' FROM generate_series(1, 9) i;
        INSERT INTO twig SELECT i, i * 10 FROM generate_series(1, 9) i""")
    path = script(films.lua(
        ('{ table = "leaf", key = { "x", "y" }, cursor = "modified", affects = { "a", "b" } }',
         '{ table = "twig", key = { "x", "y" }, cursor = "modified", affects = [[SELECT l.a, l.b FROM leaf l'
         ' JOIN unnest($1, $2) k(x, y) ON (l.x, l.y) = (k.x, k.y)]] }'),
        query="SELECT r.a, r.b, l.v, t.n FROM root r LEFT JOIN leaf l USING (a, b) LEFT JOIN twig t USING (x, y)",
        table="root", key='{ "a", "b" }', document="return { v = row.v, n = row.n }"))
    load(engine, search, path)
    run(engine, path)
    before = search.versions("films")
    touch(pg, "v = 'w'", "x = 3", "leaf")
    touch(pg, "n = 5", "x = 7", "twig")
    run(engine, path)
    assert changed(before, search.versions("films")) == {r"3:b\:3", r"7:b\:7"}
    assert search.get("films", r"7:b\:7") == {"v": "v", "n": 5}


def test_each_table_has_a_watermark_of_its_own(engine, shop, search_one, script):
    path = script(films.lua((GENRE, PERSON)))
    load(engine, search_one, path)
    touch(shop, "name = 'renamed'", "id = 2", "genre")
    shop.execute("UPDATE person SET modified = '2001-01-01' WHERE id > 0")  # behind its watermark
    run(engine, path)
    films.settle()
    run(engine, path)
    tables = state(engine)["tables"]
    assert set(tables) == {"public.film", "public.genre", "public.person"}
    assert tables["public.genre"]["key"] == "2" and tables["public.genre"]["cursor"] > tables["public.film"]["cursor"]


def test_a_table_added_to_the_script_later_is_read_from_its_beginning(engine, shop, search_one, script):
    load(engine, search_one, script(films.lua((GENRE,))))
    touch(shop, "name = 'renamed'", "id = 3", "person")
    path = script(films.lua((GENRE, PERSON)))
    run(engine, path)
    assert search_one.get("films", "12")["actors"] == ["actor renamed"]
    assert "public.person" in state(engine)["tables"]
    films.settle()
    run(engine, path)
    before = search_one.versions("films")
    run(engine, path)
    assert not changed(before, search_one.versions("films"))


@pytest.mark.parametrize(
    "affects, why",
    [
        ("[[SELECT title FROM film WHERE id = ANY($1)]]", r"type text, but the root's key is integer"),
        ("[[SELECT id, id AS other FROM film WHERE id = ANY($1)]]", r"2 columns, but the root's key has 1"),
        ("[[SELECT id FROM films WHERE id = ANY($1)]]", r'relation "films" does not exist'),
        ("[[SELECT id FROM film WHERE id = ANY($2)]]", r"\$2"),
        ("[[SELECT id FROM film]]", r"it lacks \$1"),
        ('"nothing"', r'column "nothing" does not exist'),
        ('{ "film_id", "genre_id" }', r"2 columns, but the key in source has 1"),
    ],
)
def test_wrong_affects_are_told_with_file_and_line(engine, shop, search_one, script, affects, why):
    path = script(films.lua((f'\n{{ table = "genre", key = "id", cursor = "modified",\naffects = {affects} }}',)))
    line = open(path, encoding="utf-8").read().split("affects")[0].count("\n") + 1
    done = run(engine, path, code=2)
    assert re.search(rf"{re.escape(path)}:{line}: .*{why}", done.stderr), done


UUID = "0a3e1f8c-1111-4222-8333-0123456789ab"


@pytest.mark.parametrize("key, column, value, junk", [
    ("int", "smallint", "7", None), ("bigint", "int", "7", None), ("smallint", "bigint", "7", "70000"),
    ("int", "numeric", "7", "99999999999"), ("text", "varchar(9)", "ab", "other"), ("varchar(9)", "char(9)", "ab", "other"),
    ("char(5)", "text", "ab", "other"), ("char(5)", "char(9)", "ab", "other"), ("numeric", "bigint", "7", "8"),
    ("numeric(8,2)", "int", "7", "8"), ("uuid", "text", UUID.upper(), "n/a"), ("int", "text", "7", "n/a"),
    ("color", "text", "red", None), ("text", "uuid", UUID, None),
])  # fmt: skip
def test_affects_gives_what_the_server_can_make_a_key_of(engine, pg, search_one, script, key, column, value, junk):
    form = "[[SELECT root FROM leaf WHERE id = ANY($1)]]" if key in ("int", "uuid", "char(5)") else '"root"'
    pg.execute(f"""
        CREATE TYPE color AS ENUM ('red', 'blue');
        CREATE TABLE root (id {key} PRIMARY KEY, modified timestamptz DEFAULT now());
        CREATE TABLE leaf (id int PRIMARY KEY, root {column}, n int, modified timestamptz DEFAULT now());
        INSERT INTO root VALUES ('{value}'); INSERT INTO leaf VALUES (1, '{value}', 0)""")
    path = script(films.lua(
        (f'{{ table = "leaf", key = "id", cursor = "modified", affects = {form} }}',), table="root",
        query="SELECT id, (SELECT max(n) FROM leaf WHERE root::text = r.id::text OR n > 0) AS n FROM root r",
        document="return { n = row.n }"))
    load(engine, search_one, path)
    if junk:
        pg.execute("INSERT INTO leaf VALUES (2, %s, 1)", (junk,))
    touch(pg, "n = 5", "id = 1", "leaf")
    assert " 0 deleted" in run(engine, path).stderr  # the key's own text: no other document is asked for
    assert search_one.docs("films") == {pg.value("SELECT format('%s', id) FROM root"): {"n": 5}}


@pytest.mark.parametrize("column", ["boolean", "json", "int[]", "date"])
def test_what_cannot_become_a_key_is_told(engine, pg, search_one, script, column):
    pg.execute(f"""CREATE TABLE root (id int PRIMARY KEY, modified timestamptz DEFAULT now());
                   CREATE TABLE leaf (id int PRIMARY KEY, root {column})""")
    path = script(films.lua(('{ table = "leaf", key = "id", affects = "root" }',), table="root", query="SELECT id FROM root",
                            document="return {}"))
    done = run(engine, path, code=2)
    assert re.search(rf"{re.escape(path)}:\d+: .*column 'root' has type .*, but the root's key is integer", done.stderr), done


@pytest.mark.parametrize("key, column", [("int", "id::bigint"), ("bigint", "id::int"), ("text", "id::varchar"), ("varchar", "id::text")])
def test_the_query_may_return_a_key_whose_text_is_the_same(engine, pg, search_one, script, key, column):
    pg.execute(f"CREATE TABLE t (id {key} PRIMARY KEY, v text, modified timestamptz DEFAULT now())")
    pg.execute("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 25) i")
    path = script(films.plain(columns=f"{column}, v", index="films"))
    load(engine, search_one, path)
    touch(pg, "v = 'w'", "id = '7'", "t")
    run(engine, path)
    run(engine, path, "--keys", "8,99")
    pg.execute("DELETE FROM t WHERE id = '9'")
    run(engine, path, "--sweep")
    docs = search_one.docs("films")
    assert docs.keys() == {str(i) for i in range(1, 26)} - {"9"} and docs["7"] == {"v": "w"}


@pytest.mark.parametrize("n", [1, 2])
def test_a_query_need_not_use_every_part_of_a_composite_key(engine, shop, search, script, n):
    column = ("film_id", "genre_id")[n - 1]
    path = script(films.lua((f"""{{ table = "film_genre", key = {{ "film_id", "genre_id" }}, cursor = "modified",
        affects = [[SELECT film_id FROM film_genre WHERE {column} = ANY(${n})]] }}""",)))
    load(engine, search, path)
    films.settle()
    run(engine, path)
    before = search.versions("films")
    touch(shop, "genre_id = genre_id", "film_id = 3", "film_genre")
    run(engine, path)
    assert changed(before, search.versions("films")) == (ids(lambda i: i == 3) if n == 1 else ids(lambda i: i % 5 == 3))


def test_two_entries_for_one_table_do_not_share_a_watermark(engine, shop, search_one, script):
    path = script(films.lua((DIRECTOR, PRODUCER)))
    load(engine, search_one, path)
    films.settle()
    run(engine, path)
    before = search_one.versions("films")
    run(engine, path)
    assert not changed(before, search_one.versions("films"))
    touch(shop, "name = 'renamed'", "id = 5", "person")
    run(engine, path)
    assert changed(before, search_one.versions("films")) == ids(lambda i: i % 10 in (3, 4))
    assert {"public.person", "public.person#2"} <= set(state(engine)["tables"])


def test_a_table_that_refers_to_itself_reindexes_the_whole_branch(engine, pg, search_one, script):
    pg.execute("""
        CREATE TABLE category (id int PRIMARY KEY, parent_id int REFERENCES category, name text,
                               modified timestamptz DEFAULT now());
        INSERT INTO category SELECT i, nullif(i / 2, 0), 'c' || i FROM generate_series(1, 31) i""")
    branch = """WITH RECURSIVE branch(id) AS (SELECT unnest($1) UNION
                SELECT c.id FROM category c JOIN branch b ON c.parent_id = b.id) SELECT id FROM branch"""
    path_of = """WITH RECURSIVE up AS (SELECT c.id, c.parent_id, c.name, 1 AS depth UNION ALL
                 SELECT up.id, p.parent_id, p.name, depth + 1 FROM up JOIN category p ON p.id = up.parent_id)
                 SELECT string_agg(name, '/' ORDER BY depth DESC) FROM up"""
    path = script(films.lua(
        (f'{{ table = "category", key = "id", cursor = "modified", affects = [[{branch}]] }}',),
        query=f"SELECT c.id, ({path_of}) AS path FROM category c", table="category", document="return { path = row.path }"))
    load(engine, search_one, path)
    films.settle()
    run(engine, path)
    before = search_one.versions("films")
    run(engine, path)
    assert not changed(before, search_one.versions("films"))
    touch(pg, "name = 'x'", "id = 5", "category")
    run(engine, path)
    assert changed(before, search_one.versions("films")) == {"5", "10", "11", "20", "21", "22", "23"}
    assert search_one.get("films", "22")["path"] == "c1/c2/x/c11/c22"


# A change that affects many documents

MANY = 20000
SLOWLY = f"for _ = 1, 20000 do end return {films.DOCUMENT}"


@pytest.fixture
def many(shop):
    """A genre of 20,000 films; each film twice in the fan."""
    shop.execute("INSERT INTO film (id, title, director_id) SELECT i, 'film ' || i, 1 FROM generate_series(41, %s) i", (MANY,))
    shop.execute("INSERT INTO film_genre SELECT i, 5 FROM generate_series(1, %s) i ON CONFLICT DO NOTHING", (MANY,))
    shop.execute("ANALYZE")
    return shop


TWICE = GENRE.replace("ANY($1)", "ANY($1) UNION ALL SELECT film_id FROM film_genre WHERE genre_id = ANY($1)")


def indexed(done):
    return int(re.search(r"([\d,]+) documents? indexed", done.stderr).group(1).replace(",", ""))


def test_a_fan_is_bounded_in_memory_and_each_document_is_fetched_once(engine, many, search_one, script):
    path = script(films.lua((TWICE,)))
    run(engine, path)
    films.settle()
    run(engine, path)
    touch(many, "name = 'renamed'", "id IN (4, 5)", "genre")
    running = engine.start(path)
    most = 0
    while running.alive():
        try:
            most = max(most, running.rss())
        except (FileNotFoundError, AttributeError, ProcessLookupError):
            break
    done = running.wait()
    assert indexed(done) == MANY
    if tools.SLOW == 1:  # the sanitizers keep what was freed
        assert most < 64 << 20


@pytest.mark.parametrize("how", ["run", "follow"])
def test_a_fan_that_was_killed_goes_on_where_it_was(engine, many, search_one, script, wait_until, how):
    path = script(films.lua((GENRE,)))
    run(engine, path)
    films.settle()
    slow = script(films.lua((GENRE,), document=SLOWLY), "slow.lua")
    words = ("--follow",) if how == "follow" else ()
    if how == "run":
        touch(many, "name = 'renamed'", "id = 5", "genre")
    running = engine.start(slow, "--workers", "1", *words)
    if how == "follow":
        wait_until(lambda: "following" in running.stderr)
        touch(many, "name = 'renamed'", "id = 5", "genre")
    wait_until(lambda: "fan" in state(engine)["tables"]["public.genre"], what="a fan in the state")
    running.kill()
    shown = engine("state", "show", path)
    assert "in progress: fan-out of changes" in shown.stdout, shown
    done = run(engine, path)
    assert 0 < indexed(done) < MANY
    assert "fan" not in state(engine)["tables"]["public.genre"]
    assert all("renamed" in document["genres"] for document in search_one.docs("films").values())


def test_a_small_change_does_not_wait_behind_a_fan(engine, many, search_one, script, wait_until):
    run(engine, script(films.lua((GENRE,))))
    slow = script(films.lua((GENRE,), document=SLOWLY), "slow.lua")
    running = films.follow(engine, slow, wait_until=wait_until)
    touch(many, "name = 'renamed'", "id = 5", "genre")
    wait_until(lambda: "renamed" in search_one.get("films", "1042")["genres"] or search_one.get("films", "1")["genres"])
    touch(many, "title = 'changed meanwhile'", "id = 19999")
    wait_until(lambda: search_one.get("films", "19999")["title"] == "changed meanwhile")
    assert search_one.docs("films")["20000"]["genres"] != ["renamed"]  # the fan was still under way
    running.kill()


# index_field


NESTED = """mappings = { dynamic = %s, properties = { title = { type = "text" }, actors = { properties = {
    id = { type = "integer" }, name = { type = "text" }, tag = { type = "text", fields = { raw = { type = "keyword" } } } } } } }"""


@pytest.mark.parametrize("field, dynamic, told", [
    ("actors.quantity", '"strict"', r"index 'films' has no field 'actors.quantity', and its mapping allows no new one there; known fields: actors.id, actors.name, "),
    ("actors.di", "false", r"has no field 'actors.di', and its mapping allows no new one there, did you mean 'actors.id'\?"),
    ("actor.id", "false", r"has no field 'actor.id', and its mapping allows no new one there, did you mean 'actors.id'\?"),
    ("title.raw", "true", r"has no field 'title.raw', and its mapping allows no new one there"),
    ("actors.name", "true", r"'actors.name' is analysed text in index 'films', without a sub-field of type keyword"),
    ("actors.id", '"strict"', None), ("actors.tag", "false", None), ("actors.tag.raw", "false", None), ("actors.new", "true", "yet"),
])  # fmt: skip
def test_an_index_field_that_is_not_there_is_told(engine, shop, search, script, field, dynamic, told):
    related = PERSON.replace(" }", f',\nindex_field = "{field}" }}')
    path = script(films.lua((related,), document="return { title = row.title }", sink="\n" + NESTED % dynamic))
    line = next(n for n, text in enumerate(open(path, encoding="utf-8"), 1) if text.startswith("index_field"))
    if told == "yet":  # the documents may bring it, but did not
        for _ in range(2):
            warned = [text for text in run(engine, path).stderr.splitlines() if "has no field 'actors.new' yet" in text]
            assert len(warned) == 1 and f"{path}:{line}: source.related[1].index_field: " in warned[0]
        return
    done = run(engine, path, code=2 if told else 0)
    assert not told or re.search(rf"{re.escape(path)}:{line}: cannot use source.related\[1\].index_field: .*{told}", done.stderr), done
    assert "index_field" not in done.stderr or told
