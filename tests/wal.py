"""Capture from the write-ahead log: a shop without one cursor, pipelines for it, and what they
leave on the server. Fixtures, which a test module imports:

    pipe    a database, and a pipeline that captures      shop    the same with the shop's tables
    own_pg  starts a PostgreSQL with settings of its own

The invariant of most tests: in the end the index has what a full dry run of the script prints.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile

import psycopg2
import pytest

import films
import services
import tools
from tools import wait_until

LIMIT = 60  # seconds, in which a change arrives however busy the machine is

SCHEMA = """
CREATE TABLE category (id int PRIMARY KEY, name text);
CREATE TABLE product (id int PRIMARY KEY, name text, active bool DEFAULT true,
                      category_id int REFERENCES category ON DELETE SET NULL,
                      second_id int REFERENCES category ON DELETE SET NULL,
                      similar_id int REFERENCES product ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE tag (id int PRIMARY KEY, name text);
CREATE TABLE product_tag (product_id int REFERENCES product ON DELETE CASCADE ON UPDATE CASCADE,
                          tag_id int REFERENCES tag ON DELETE CASCADE,
                          PRIMARY KEY (product_id, tag_id));
CREATE TABLE review (id int PRIMARY KEY, body text,
                     product_id int REFERENCES product ON DELETE CASCADE ON UPDATE CASCADE);
CREATE INDEX ON product (category_id);
CREATE INDEX ON product_tag (tag_id);
CREATE INDEX ON review (product_id);
INSERT INTO category SELECT i, 'category ' || i FROM generate_series(1, 6) i;
INSERT INTO product SELECT i, 'product ' || i, true, 1 + i % 5, 1 + i % 3, nullif(i / 4, 0)
  FROM generate_series(1, 40) i;
INSERT INTO tag SELECT i, 'tag ' || i FROM generate_series(1, 8) i;
INSERT INTO product_tag SELECT i, 1 + (i + k) % 7 FROM generate_series(1, 40) i,
  generate_series(0, 1) k;
INSERT INTO review SELECT i, 'review ' || i, 1 + i % 40 FROM generate_series(1, 60) i;
"""

QUERY = """SELECT p.id, p.name, p.active, c.name AS category, s.name AS second, o.name AS similar,
       t.tags, r.reviews, r.review_ids
  FROM product p
  LEFT JOIN category c ON c.id = p.category_id
  LEFT JOIN category s ON s.id = p.second_id
  LEFT JOIN product o ON o.id = p.similar_id
 CROSS JOIN LATERAL (SELECT coalesce(array_agg(t.name ORDER BY t.id), '{}') AS tags
                       FROM product_tag l JOIN tag t ON t.id = l.tag_id
                      WHERE l.product_id = p.id) t
 CROSS JOIN LATERAL (SELECT coalesce(array_agg(r.body ORDER BY r.id), '{}') AS reviews,
                            coalesce(array_agg(r.id ORDER BY r.id), '{}') AS review_ids
                       FROM review r WHERE r.product_id = p.id) r"""

LINK = '{ table = "product_tag", key = { "product_id", "tag_id" }, affects = "product_id" }'
TAG = """{ table = "tag", key = "id",
  affects = "SELECT product_id FROM product_tag WHERE tag_id = ANY($1)" }"""
REVIEW = '{ table = "review", key = "id", affects = "product_id" }'
REVIEW_INDEXED = REVIEW.replace(" }", ', index_field = "review_ids" }')
CATEGORY = """{ table = "category", key = "id",
  affects = "SELECT id FROM product WHERE category_id = ANY($1)" }"""
SECOND = CATEGORY.replace("category_id", "second_id")
SIMILAR = """{ table = "product", key = "id",
  affects = "SELECT id FROM product WHERE similar_id = ANY($1)" }"""
ALL = (LINK, TAG, REVIEW, CATEGORY, SECOND, SIMILAR)

DOCUMENT = """return { name = row.name, active = row.active, category = row.category,
    second = row.second, similar = row.similar, tags = row.tags, reviews = row.reviews,
    review_ids = row.review_ids }"""


def lua(related=ALL, query=QUERY, table="product", key='"id"', document=DOCUMENT, name="shop",
        source="", sink="", extra="", capture="wal", index="shop", head=""):
    """A script. `document` is the body of its function of `row`; the others are Lua text, but for
    names and the query."""
    return f"""{head}
return {{
  name = "{name}",
  source = {{
    url = os.getenv "DATABASE_URL", table = [[{table}]], key = {key}, capture = "{capture}",
    query = [[{query}]],
    related = {{ {", ".join(related)} }},
    {source}
  }},
  document = function(row) {document} end,
  sink = {{ url = os.getenv "ELASTICSEARCH_URL", index = "{index}", {sink} }},
  state = os.getenv "FILE_PATH_STATE",
  {extra}
}}
"""


def plain(table="t", columns="id, v", document="return { v = row.v }", related=(), **words):
    """A script for one table."""
    return lua(related, f"SELECT {columns} FROM {table}", table, document=document, **words)


class Pipe:
    """A pipeline that captures into the index "shop", its database, its slot "etl_shop" and its
    publication of the same name."""

    def __init__(self, engine, pg, search, write):
        self.engine, self.pg, self.search, self._write = engine, pg, search, write
        self.path = None

    def write(self, text=None, name="script.lua", **words):
        """Its script from now on: the shop's, unless it is another one."""
        self.path = self._write(text or lua(**words), name)
        return self.path

    def start(self, *words, **options):
        return self.engine.start(self.path, *words, **options)

    def run(self, *words, code=0, **options):
        """One run, and how it ended; None: any way."""
        done = self.engine(self.path, *words, **options)
        assert code is None or done.returncode == code, done
        return done

    def follow(self, *words, env=None):
        running = self.start("--follow", *words, env=env)
        wait_until(lambda: "following" in running.stderr or not running.alive(), LIMIT, "following")
        assert running.alive(), running.stderr
        return running

    def state(self):
        return films.state(self.engine)

    # what the index has

    def truth(self):
        """What the script gives now: {_id: document}."""
        words = (self.path, "--dry-run", "--format", "bulk", "--quiet")
        done = self.engine(*words)
        assert done.returncode == 0, done
        expected, lines = {}, iter(done.stdout.split("\n"))
        for line in lines:
            action = json.loads(line) if line else {}
            if "index" in action:
                expected[action["index"]["_id"]] = json.loads(next(lines))
        return expected

    def docs(self):
        return self.search.docs("shop") if self.search.exists("shop") else {}

    def difference(self, expected=None):
        """How the index differs from the truth; empty: not at all."""
        expected, found = self.truth() if expected is None else expected, self.docs()
        wrong = [f"{key}: {found.get(key)} in place of {expected.get(key)}"
                 for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
        return "\n".join(sorted(wrong)[:5])

    def settle(self, running=None, expected=None, limit=LIMIT):
        """Until the index has the truth."""
        expected = self.truth() if expected is None else expected
        ended = lambda: running is not None and not running.alive()
        try:
            wait_until(lambda: ended() or not self.difference(expected), limit)
        except AssertionError:
            said = running.stderr[-4000:] if running else ""
            raise AssertionError(f"{self.difference(expected)}\n{said}") from None
        assert not ended(), running.stderr

    def change(self, running, sql):
        """A statement that changes documents; returns once the index has what it made of them."""
        before = self.truth()
        self.pg.execute(sql)
        after = self.truth()
        assert before != after, f"changes nothing: {sql}"
        try:
            self.settle(running, after)
        except AssertionError as error:
            raise AssertionError(f"{sql}: {error}") from None

    def is_true(self):
        difference = self.difference()
        assert not difference, difference

    def written(self, running, sql, marker="40"):
        """The documents that a statement had written or removed. The document `marker`, which is
        changed after it, says that all of it has arrived."""
        before = self.search.versions("shop")
        self.pg.execute(sql)
        self.change(running, f"UPDATE product SET name = name || '.' WHERE id = {marker}")
        return films.changed(before, self.search.versions("shop")) - {marker}

    # what the server has

    def slot(self, name="etl_shop"):
        """The slot as {column: value}, with the bytes up to its position; None: there is none."""
        rows = self.pg.query(
            "SELECT to_jsonb(s)::text, CASE WHEN confirmed_flush_lsn IS NOT NULL THEN"
            " pg_wal_lsn_diff(confirmed_flush_lsn, '0/0')::bigint END,"
            " pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint"
            " FROM pg_replication_slots s WHERE slot_name = %s", (name,))
        if not rows:
            return None
        text, confirmed, behind = rows[0]
        return {**json.loads(text), "confirmed": confirmed, "behind": behind}

    def slots(self):
        return self.pg.value("SELECT count(*) FROM pg_replication_slots")

    def publications(self):
        return self.pg.value("SELECT count(*) FROM pg_publication")

    def published(self, name="etl_shop"):
        """Its tables; None: there is no such publication."""
        if not self.pg.value("SELECT count(*) FROM pg_publication WHERE pubname = %s", (name,)):
            return None
        return {table for (table,) in self.pg.query(
            "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_publication_tables"
            " WHERE pubname = %s", (name,))}

    def reader(self):
        """The process of the server that reads the slot for an engine; 0: none."""
        slot = self.slot()
        return slot["active_pid"] or 0 if slot else 0

    def free_slot(self):
        """Ends who reads the slot, and waits until nobody does."""
        wait_until(lambda: self.slot() is None or not self.pg.value(
            "SELECT count(pg_terminate_backend(active_pid)) FROM pg_replication_slots"
            " WHERE slot_name = 'etl_shop' AND active_pid IS NOT NULL"), what="a free slot")

    def drop_slot(self):
        """Also while an engine reads it, and comes back for it at once."""
        self.pg.execute("""DO $$ BEGIN FOR i IN 1..1000 LOOP BEGIN
            PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots
              WHERE slot_name = 'etl_shop' AND active_pid IS NOT NULL;
            PERFORM pg_drop_replication_slot('etl_shop');
            RETURN;
            EXCEPTION WHEN object_in_use THEN PERFORM pg_sleep(0.01); END; END LOOP;
            RAISE 'the slot is never free'; END $$""")


def forget_all(pg):
    """Drops what the server would keep beyond the database: slots and prepared transactions."""
    for (gid,) in pg.query("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"):
        pg.execute("ROLLBACK PREPARED %s", (gid,))
    wait_until(lambda: not pg.value(
        "SELECT count(pg_terminate_backend(active_pid)) FROM pg_replication_slots"
        " WHERE active_pid IS NOT NULL"), what="slots that nobody reads")
    pg.query("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


@pytest.fixture
def pipe(engine, pg, search_one, script):
    """A pipeline with a database of its own; what it makes on the server goes after the test."""
    pg.needs(11, "log that tells of TRUNCATE")
    pipe = Pipe(engine, pg, search_one, script)
    yield pipe
    engine.close()
    forget_all(pg)


@pytest.fixture
def shop(pipe):
    pipe.pg.execute(SCHEMA)
    pipe.write()
    return pipe


class OwnServer:
    """A PostgreSQL with settings of its own, one database, and nothing in it."""

    def __init__(self, folder, settings):
        self.vendor = services.vendor(services.POSTGRES.name)
        self.folder, self.port, self.process = folder, tools.free_port(), None
        self.data = os.path.join(folder, "data")
        self._run("initdb", "-D", self.data, "-U", "etl", "--no-sync", "--auth=trust",
                  "--encoding=UTF8", "--locale=C.UTF-8")
        self.name, self.url = "postgres", f"postgresql://etl@127.0.0.1:{self.port}/postgres"
        self.start(settings)

    def start(self, settings):
        words = [self.vendor.bin("postgres"), "-D", self.data, "-p", str(self.port), "-h",
                 "127.0.0.1", "-k", self.folder]
        for setting in ("fsync=off", "shared_buffers=16MB", "max_connections=30", *settings):
            words += ["-c", setting]
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(words, cwd="/", stdout=log, stderr=log,
                                            **self.vendor.who())
        wait_until(self._answers, what="a PostgreSQL of the test's own")

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
        self.process = None

    def query(self, sql, params=None):
        connection = psycopg2.connect(self.url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, params)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    execute = query

    def value(self, sql, params=None):
        return self.query(sql, params)[0][0]

    def _answers(self):
        try:
            return self.value("SELECT true")
        except psycopg2.OperationalError:
            assert self.process.poll() is None, open(os.path.join(self.folder, "log")).read()
            return False

    def _run(self, program, *words):
        done = subprocess.run([self.vendor.bin(program), *words], cwd="/", capture_output=True,
                              text=True, check=False, **self.vendor.who())
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def own_pg():
    """own_pg(settings...): a PostgreSQL with these settings, without data of earlier tests."""
    servers = []

    def start(*settings):
        folder = tempfile.mkdtemp(prefix="etl-pg-", dir="/var/tmp")  # not too long for a socket
        servers.append(folder)
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        os.chmod(folder, 0o755)
        server = OwnServer(folder, settings)
        servers.append(server)
        return server

    yield start
    for made in reversed(servers):
        if isinstance(made, OwnServer):
            made.stop()
        else:
            shutil.rmtree(made)


def one_line(done, pattern):
    """The only line of the log that has the pattern."""
    lines = [line for line in done.stderr.splitlines() if re.search(pattern, line)]
    assert len(lines) == 1, done
    return lines[0]
