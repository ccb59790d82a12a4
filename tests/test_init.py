"""init writes a script from a live table; here each one is run as it is, and the index must have what the script prints, after
changes in every table, too."""
import json
import os

import pytest

from test_load import ok

SHOP = r"""
CREATE SCHEMA shop;
CREATE TYPE shop.state AS ENUM ('new', 'sold');
CREATE TABLE shop.maker (maker_id int PRIMARY KEY, name text NOT NULL, country char(2), password_hash text);
CREATE TABLE shop.category (id int PRIMARY KEY, parent_id int REFERENCES shop.category, name varchar(80));
CREATE TABLE shop.product (
    id bigint PRIMARY KEY, title text NOT NULL, description text, price numeric(10, 2), state shop.state, tags text[],
    place point, extra jsonb, picture bytea, sku varchar(20), maker_id int NOT NULL REFERENCES shop.maker,
    main_category int REFERENCES shop.category, replaces bigint REFERENCES shop.product,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ON shop.product (maker_id);
COMMENT ON COLUMN shop.product.sku IS E'as the label says\n]] return {}';
CREATE TABLE shop.product_category (
    product_id bigint REFERENCES shop.product ON DELETE CASCADE, category_id int REFERENCES shop.category,
    PRIMARY KEY (product_id, category_id));
CREATE TABLE shop.person (id int PRIMARY KEY, name text);
CREATE TABLE shop.credit (
    id serial PRIMARY KEY, product_id bigint NOT NULL REFERENCES shop.product, person_id int NOT NULL REFERENCES shop.person,
    role text, UNIQUE (product_id, person_id, role));
CREATE TABLE shop.review (
    review_id int PRIMARY KEY, product_id bigint REFERENCES shop.product, author int REFERENCES shop.person, body text,
    created_at timestamptz DEFAULT now());
CREATE TABLE shop.manual (product_id bigint PRIMARY KEY REFERENCES shop.product, text text);

INSERT INTO shop.maker VALUES (1, 'Ma', 'NL', 'x'), (2, 'Mb', 'D', 'y');
INSERT INTO shop.category VALUES (1, NULL, 'all'), (2, 1, 'toys'), (3, 1, 'tools');
INSERT INTO shop.product SELECT i, 'product ' || i, 'of "wood" \ ' || i, i * 1.25, 'new', ARRAY['a', 't' || i], '(4.9,52.3)',
    '{"a": [1, null]}', '\x00ff', 'SKU' || i, 1 + i % 2, CASE WHEN i % 3 > 0 THEN i % 3 END, CASE WHEN i > 20 THEN i - 20 END
    FROM generate_series(1, 30) i;
INSERT INTO shop.product_category SELECT i, 2 + i % 2 FROM generate_series(1, 30) i;
INSERT INTO shop.person VALUES (1, 'Ann'), (2, 'Bob');
INSERT INTO shop.credit (product_id, person_id, role) SELECT i, 1 + i % 2, 'maker' FROM generate_series(1, 30) i;
INSERT INTO shop.credit (product_id, person_id, role) VALUES (1, 2, 'seller');
INSERT INTO shop.review SELECT i, 1 + i % 10, 1, 'fine' FROM generate_series(1, 20) i;
INSERT INTO shop.manual VALUES (3, 'turn it on');
"""

NASTY = r"""
CREATE SCHEMA "Shop Floor";
CREATE TABLE "Shop Floor"."user" (id int PRIMARY KEY, "order" text);
CREATE TABLE "Shop Floor"."Order" (
    "OrderID" int, "select" text, "weird ""name]]" int, "a.b" int, "Größe" text, _id int, buyer int REFERENCES "Shop Floor"."user",
    "end" char(4), amount money, ip inet, span int4range, raw json, stamp timestamp, part int, PRIMARY KEY ("OrderID", part));
CREATE TABLE "Shop Floor"."Line" (
    "OrderID" int, part int, "LineNo" int, "desc" text, PRIMARY KEY ("OrderID", part, "LineNo"),
    FOREIGN KEY ("OrderID", part) REFERENCES "Shop Floor"."Order");
INSERT INTO "Shop Floor"."user" VALUES (1, 'first');
INSERT INTO "Shop Floor"."Order" SELECT i, 'a"b', 1, 2, 'XL', 3, 1, 'ab', 1.5, '10.0.0.1/8', '[1,5)', '[1]', now(), i % 2
    FROM generate_series(1, 9) i;
INSERT INTO "Shop Floor"."Line" SELECT i, i % 2, 1, 'x' FROM generate_series(1, 9) i;
CREATE VIEW "Shop Floor".lines AS SELECT "OrderID" || '-' || "LineNo" AS id, "desc" FROM "Shop Floor"."Line";
CREATE TABLE log (day date, id int, entry text, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO log SELECT '2026-02-03', i, 'entry' FROM generate_series(1, 5) i;
CREATE TABLE plain (a int, b text);
INSERT INTO plain VALUES (1, 'x'), (1, 'y');
CREATE TABLE wide (id int PRIMARY KEY);
DO $$ BEGIN FOR i IN 1..1100 LOOP EXECUTE format('ALTER TABLE wide ADD c%s int DEFAULT %s', i, i); END LOOP; END $$;
INSERT INTO wide VALUES (1);
"""


@pytest.fixture
def shop(pg):
    pg.execute(SHOP)
    yield pg
    pg.terminate()
    pg.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()")


@pytest.fixture
def nasty(pg):
    pg.execute(NASTY)
    yield pg
    pg.terminate()
    pg.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()")


class Script:
    """A script that init wrote, run in a folder of its own."""

    def __init__(self, engine, folder, url, table, *words):
        self.engine, self.folder = engine, str(folder)
        result = ok(engine("init", url, table, *words))
        self.text, self.said = result.stdout, result.stderr
        self.path = os.path.join(self.folder, "first.lua")
        with open(self.path, "w", encoding="utf-8") as f:
            f.write(self.text)

    def run(self, *words):
        return ok(self.engine(self.path, *words, cwd=self.folder))

    def start(self, *words):
        return self.engine.start(self.path, *words, cwd=self.folder)

    def documents(self):
        return in_order(self.run("--dry-run", "--quiet").docs)


def in_order(documents):
    return sorted(json.dumps(document, sort_keys=True) for document in documents)


@pytest.fixture
def init(engine, tmp_path):
    def write(url, table, *words):
        return Script(engine, tmp_path, url, table, *words)

    return write


def loads_cleanly(script, search, index, documents):
    """The first run has nothing to warn of, and the index then has what the script prints."""
    first = script.run()
    assert " warn " not in first.stderr and " error " not in first.stderr
    assert in_order(search.docs(index).values()) == script.documents()
    assert search.count(index) == documents


# What is in a document


def test_a_document_has_the_objects_and_arrays_that_a_person_would_want(shop, init, search_one):
    script = init(shop.url, "shop.product")
    loads_cleanly(script, search_one, "products", 30)
    document = search_one.get("products", "1")
    assert document["maker"] == {"maker_id": 2, "name": "Mb", "country": "D"}
    assert document["main_category_details"] if "main_category_details" in document else document["main_category_category"]
    assert [c["name"] for c in document["categories"]] == ["tools"]
    assert [(p["name"], p["role"]) for p in document["persons"]] == [("Bob", "maker"), ("Bob", "seller")]
    assert [r["review_id"] for r in document["reviews"]] == [10, 20]
    assert document["reviews"][0]["author_person"] == {"id": 1, "name": "Ann"}
    assert (document["price"], document["extra"], document["place"]) == (1.25, {"a": [1, None]}, {"lat": 52.3, "lon": 4.9})
    assert [p["id"] for p in document["products_by_replaces"]] == [21]
    assert search_one.get("products", "21")["replaces_product"]["title"] == "product 1"
    assert search_one.get("products", "3")["manual"] == {"text": "turn it on"}
    assert "picture" not in document and "-- left out: picture (binary data)" in script.text
    assert "password_hash (it looks like a secret)" in script.text
    assert "-- as the label says ]] return {}" in script.text


def test_the_mapping_is_by_type(shop, init, search_one):
    init(shop.url, "shop.product").run()
    fields = search_one.request("GET", "products/_mapping")["products"]["mappings"]["properties"]
    kinds = {name: field.get("type", "object") for name, field in fields.items()}
    assert {name: kinds[name] for name in ("id", "title", "price", "state", "tags", "place", "sku", "updated_at")} == {
        "id": "long", "title": "text", "price": "scaled_float", "state": "keyword", "tags": "keyword",
        "place": "geo_point", "sku": "keyword", "updated_at": "date",
    }  # fmt: skip
    assert (kinds["maker"], kinds["persons"], fields["extra"]["enabled"]) == ("object", "nested", False)
    assert fields["title"]["fields"]["keyword"]["type"] == "keyword" and "fields" not in fields["description"]


def test_depth_is_how_many_foreign_keys_are_followed(shop, init):
    flat = init(shop.url, "shop.product", "--depth", "0")
    assert "LATERAL" not in flat.text and len(flat.documents()) == 30
    near = init(shop.url, "shop.product", "--depth", "1")
    assert "credits.list AS credits" in near.text and "shop.person" not in near.text and len(near.documents()) == 30


# How changes are found

CHANGES = [
    "UPDATE shop.product SET title = 'changed', updated_at = clock_timestamp() WHERE id = 4",
    "UPDATE shop.maker SET name = 'changed' WHERE maker_id = 1",
    "UPDATE shop.category SET name = 'changed' WHERE id = 2",
    "DELETE FROM shop.product_category WHERE product_id = 5",
    "DELETE FROM shop.credit WHERE product_id = 6",
    "UPDATE shop.credit SET product_id = 8 WHERE product_id = 7",
    "UPDATE shop.person SET name = 'changed' WHERE id = 2",
    "DELETE FROM shop.review WHERE review_id = 3",
    "INSERT INTO shop.manual VALUES (9, 'press it')",
    "DELETE FROM shop.manual WHERE product_id = 3",
    "INSERT INTO shop.product (id, title, maker_id, replaces) VALUES (31, 'another', 1, 10)",
    "DELETE FROM shop.credit WHERE product_id = 30; DELETE FROM shop.product WHERE id = 30",
]


def test_the_log_tells_every_change_in_every_table(shop, init, search_one, wait_until):
    script = init(shop.url, "shop.product")
    assert 'capture = "wal"' in script.text
    loads_cleanly(script, search_one, "products", 30)
    running = script.start("--follow")
    for change in CHANGES:
        shop.execute(change)
    documents = script.documents()
    wait_until(lambda: in_order(search_one.docs("products").values()) == documents, 60)
    assert " warn " not in running.stop().stderr


def test_polls_and_a_sweep_find_every_change(shop, init, search_one):
    script = init(shop.url, "shop.product", "--capture", "poll")
    assert 'cursor  = "updated_at"' in script.text
    loads_cleanly(script, search_one, "products", 30)
    for change in CHANGES:
        shop.execute(change)
    script.run("--sweep")
    assert in_order(search_one.docs("products").values()) == script.documents()


def test_missing_indexes_are_named_and_none_that_is_there(shop, init):
    script = init(shop.url, "shop.product", "--capture", "poll")
    wanted = [line.split("--   ")[1] for line in script.text.splitlines() if "CREATE INDEX" in line]
    assert "CREATE INDEX ON shop.review (product_id);" in wanted and "CREATE INDEX ON shop.product (updated_at, id);" in wanted
    assert not [line for line in wanted if "(maker_id)" in line or "product_category (product_id)" in line]
    for statement in wanted:
        shop.execute(statement)
    assert "CREATE INDEX" not in init(shop.url, "shop.product", "--capture", "poll").text


def test_without_a_cursor_the_script_says_what_that_means(shop, init, search_one):
    script = init(shop.url, "shop.maker", "--capture", "poll")
    assert "No column says when a row last changed" in script.text and "cursor  =" not in script.text
    loads_cleanly(script, search_one, "makers", 2)


# What a role may do


def as_role(pg, attributes, grants):
    """A URL of a role of the test's own."""
    role = f"{pg.name}_role"
    pg.execute(f"CREATE ROLE {role} LOGIN PASSWORD 's3cret/' {attributes}")
    for grant in grants:
        pg.execute(f"GRANT {grant} TO {role}")
    return pg.url_at(pg.port, user=role, password="s3cret%2F"), role


@pytest.fixture
def role(shop):
    made = []

    def make(attributes, *grants):
        url, name = as_role(shop, attributes, grants)
        made.append(name)
        return url

    yield make
    for name in made:
        shop.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_role_that_may_only_read_polls_and_is_told_what_it_lacks(shop, role, init, search_one, engine):
    url = role("", "USAGE ON SCHEMA shop", "SELECT ON shop.product, shop.maker, shop.review",
               "SELECT (id, name) ON shop.category")  # fmt: skip
    script = init(url, "shop.product")
    engine.env["DATABASE_URL"] = url
    assert 'capture = "wal"' not in script.text.replace('-- capture = "wal"', "")
    assert "REPLICATION" in script.text and "GRANT CREATE ON DATABASE" in script.text and "does not own" in script.text
    assert "shop.manual: GRANT SELECT ON shop.manual TO" in script.text
    assert "parent_id (it cannot be read)" in script.text
    loads_cleanly(script, search_one, "products", 30)


def test_capture_from_the_log_that_is_not_possible_yet_says_what_to_do_first(shop, role, init):
    script = init(role("", "USAGE ON SCHEMA shop", "SELECT ON ALL TABLES IN SCHEMA shop"), "shop.product", "--capture", "wal")
    assert "-- Before the first run:" in script.text and " warn " in script.said
    assert len(script.documents()) == 30


def test_no_password_is_written(shop, role, engine):
    url = role("", "USAGE ON SCHEMA shop", "SELECT ON ALL TABLES IN SCHEMA shop")
    host, user = f"host=127.0.0.1 port={shop.port} dbname={shop.name}", url.split("//")[1].split(":")[0]
    bare = f"postgresql://127.0.0.1:{shop.port}/{shop.name}?user={user}&password=s3cret%2F&connect_timeout=9"
    for address in (url, f"{host} user={user} password=s3cret/", bare):
        result = ok(engine("init", address, "shop.maker"))
        assert "s3cret" not in result.stdout + result.stderr and "~/.pgpass" in result.stdout
        assert user in result.stdout
    assert "connect_timeout=9" in result.stdout


# Names


@pytest.mark.parametrize("capture", ["wal", "poll"])
@pytest.mark.parametrize(
    "table, index, documents",
    [('"Shop Floor"."Order"', "orders", 9), ("user", "users", 1), ('"Shop Floor".Line', "lines", 9), ("log", "logs", 5),
     ("wide", "wides", 1)],
)  # fmt: skip
def test_nasty_names_are_quoted(nasty, init, search_one, table, index, documents, capture):
    if table == "user" and capture == "wal":
        pytest.skip("the log does not tell by which key of two columns a deleted order was the user's")
    if table == "log" and capture == "wal":
        nasty.needs(13, "partitioned tables in the log")
    script = init(nasty.url, table, "--capture", capture)
    loads_cleanly(script, search_one, index, documents)
    document = search_one.docs(index)
    if index == "orders":
        one = document["2:0"]
        assert (one['weird "name]]'], one["a_b"], one["id"], one["end"], one["amount"]) == (1, 2, 3, "ab", 1.5)
        assert one["Lines"] == [{"LineNo": 1, "desc": "x"}] and one["ip"] == "10.0.0.1"


def test_a_view_has_the_key_that_its_name_tells_or_that_is_given(nasty, init, search_one):
    script = init(nasty.url, "lines", "--index", "views")
    assert "a guess" in script.said and "a guess" in script.text
    loads_cleanly(script, search_one, "views", 9)


def test_a_table_without_a_key_needs_to_be_told(nasty, engine, init):
    result = ok(engine("init", nasty.url, "plain"), 2)
    assert "cannot tell which column of 'plain' identifies a row" in result.stderr and "--key COLUMN" in result.stderr
    assert init(nasty.url, "plain", "--key", "a,b").documents() != []
    assert "no column 'aa'" in ok(engine("init", nasty.url, "plain", "--key", "aa"), 2).stderr


# The command


def test_without_a_table_it_lists_them_the_likeliest_first(shop, engine):
    result = ok(engine("init", shop.url))
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["TABLE", "ROWS", "KEY", "IN", "ITS", "DOCUMENTS"]
    assert lines[1].startswith("shop.product ") and "maker" in lines[1] and "persons" in lines[1]
    assert len(lines) == 9 and lines[-1].startswith("shop.product_category ")
    assert "etl-engine init URL shop.product" in result.stderr


@pytest.mark.parametrize(
    "words, message",
    [
        (["prodct"], "no table 'prodct', did you mean 'shop.product'?"),
        (["shop.maker", "--capture", "log"], "option --capture takes 'wal' or 'poll', not 'log'"),
        (["shop.maker", "--depth", "9"], "option --depth takes a whole number from 0 to 6"),
        (["shop.maker", "shop.person"], "more than one table given"),
        (["nothing.like.it"], "no table 'nothing.like.it'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(shop, engine, words, message):
    result = ok(engine("init", shop.url, *words), 2)
    assert message in result.stderr and result.stdout == ""


def test_the_database_must_be_named(engine):
    assert "no database given" in ok(engine("init"), 2).stderr
    result = ok(engine("init", "mysql://user:s3cret@host/films", "film"), 2)
    assert "invalid URL" in result.stderr and "postgresql://" in result.stderr and "s3cret" not in result.stderr


def test_the_sample_films_can_be_loaded(movies, init, search_one):
    loads_cleanly(init(movies.url, "film_work", "--capture", "poll"), search_one, "film_works", 259)
