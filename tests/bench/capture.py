#!/usr/bin/python3
"""How soon, and how fast, changes that are captured from the write-ahead log come into the index: a short table.

    BENCH_FILMS=100000 tests/bench/capture.py

So many products in a database of their own, each of which has the tag 1. `make bench` runs this, too. Documents are asked
for by key: that finds them before any refresh. A delay is counted from the end of the commit. The decoded rows are of a
narrow table, and come into the journal of a program that does nothing else (wal_decode.c).
"""
import glob
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
import bench  # noqa: E402
import psycopg2  # noqa: E402

DATABASE = "bench_capture"
STATE = os.path.join(bench.OUT, "capture.state")
SLOTS = ("etl_capture", "wal_decode")

SCHEMA = """
CREATE TABLE tag (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE product (id int PRIMARY KEY, name text NOT NULL, price int NOT NULL);
CREATE TABLE product_tag (product_id int, tag_id int, PRIMARY KEY (product_id, tag_id));
CREATE INDEX ON product_tag (tag_id);
CREATE TABLE narrow (id int PRIMARY KEY, n int NOT NULL);
INSERT INTO tag SELECT i, 'tag ' || i FROM generate_series(1, 100) i;
INSERT INTO product SELECT i, 'product ' || i, i % 100 FROM generate_series(1, {products}) i;
INSERT INTO product_tag SELECT i, 1 FROM generate_series(1, {products}) i;
INSERT INTO product_tag SELECT i, 2 + i % 99 FROM generate_series(1, {products}) i;
"""

SCRIPT = """
return {
  name = "capture",
  source = {
    url = os.getenv "DATABASE_URL", table = "product", key = "id", capture = "wal",
    query = [[SELECT p.id, p.name, p.price,
                     ARRAY(SELECT t.name FROM product_tag l JOIN tag t ON t.id = l.tag_id WHERE l.product_id = p.id) AS tags
                FROM product p]],
    related = {
      { table = "product_tag", key = { "product_id", "tag_id" }, affects = "product_id" },
      { table = "tag", key = "id", affects = "SELECT product_id FROM product_tag WHERE tag_id = ANY($1)" },
    },
  },
  document = { name = "name", price = "price", tags = "tags" },
  sink = { url = os.getenv "ELASTICSEARCH_URL", index = "capture" },
  state = os.getenv "FILE_PATH_STATE",
}
"""


class Index:
    """The index `capture`, by one connection."""

    def __init__(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", bench.SEARCH.port, timeout=120)

    def ask(self, method, path):
        self.connection.request(method, path)
        return json.loads(self.connection.getresponse().read() or "{}")

    def wait_for_price(self, key, price):
        """The moment at which the document has it."""
        while self.ask("GET", f"/capture/_doc/{key}?_source_includes=price").get("_source", {}).get("price") != price:
            time.sleep(0.0005)
        return time.monotonic()

    def count(self, query):
        self.ask("POST", "/capture/_refresh")
        return self.ask("GET", f"/capture/_count?q={query}")["count"]

    def written(self):
        return self.ask("GET", "/capture/_stats/indexing")["_all"]["primaries"]["indexing"]["index_total"]

    def wait_written(self, goal):
        while self.written() < goal:
            time.sleep(0.002)
        return time.monotonic()


class Capture:
    def __init__(self):
        self.url = bench.POSTGRES.url.rpartition("/")[0] + "/" + DATABASE
        self.products, self.rng, self.index = bench.FILMS, random.Random(1), Index()
        self.figures = {}
        self.engine = None

    # before and after

    def forget(self):
        """What a measurement that was cut short has left."""
        for slot in SLOTS:
            sql = f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}'"
            bench.psql(bench.POSTGRES.url, "-c", sql, stdout=subprocess.DEVNULL)
        bench.psql(bench.POSTGRES.url, "-c", f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)", stderr=subprocess.DEVNULL)
        self.index.ask("DELETE", "/capture")
        for path in glob.glob(STATE + "*") + glob.glob(os.path.join(bench.OUT, "decode.journal*")):
            os.unlink(path)

    def make(self):
        bench.psql(bench.POSTGRES.url, "-c", f"CREATE DATABASE {DATABASE}")
        bench.psql(self.url, "-c", SCHEMA.format(products=self.products))
        bench.psql(self.url, "-c", "VACUUM ANALYZE", "-c", "CHECKPOINT")
        self.script = os.path.join(bench.OUT, "capture.lua")
        with open(self.script, "w", encoding="utf-8") as f:
            f.write(SCRIPT)
        self.env = {
            **os.environ, "DATABASE_URL": self.url, "ELASTICSEARCH_URL": bench.SEARCH.url, "FILE_PATH_STATE": STATE
        }  # fmt: skip
        self.session = psycopg2.connect(self.url)
        self.session.autocommit = True
        self.cursor = self.session.cursor()

    def load(self):
        began = time.monotonic()
        subprocess.run(bench.engine(self.script), check=True, env=self.env)
        self.figures["load, documents a second"] = self.products / (time.monotonic() - began)

    def follow(self):
        self.engine = subprocess.Popen(bench.engine(self.script, "--follow"), env=self.env)
        self.change()

    def stop(self):
        self.engine.terminate()
        self.engine.wait()
        self.session.close()
        self.forget()

    # what is measured

    def change(self):
        """Seconds from the commit of one product's change until the index has it."""
        key, price = self.rng.randrange(1, self.products + 1), self.rng.getrandbits(30)
        self.cursor.execute("UPDATE product SET price = %s WHERE id = %s", (price, key))
        committed = time.monotonic()
        return self.index.wait_for_price(key, price) - committed

    def single_changes(self):
        delays = []
        for _ in range(300 if self.products >= 20000 else 20):
            time.sleep(self.rng.random() / 20)  # at any moment
            delays.append(self.change() * 1000)
        self.figures["one change, commit to index, ms: median"] = statistics.median(delays)
        self.figures["one change, commit to index, ms: 95 of 100"] = statistics.quantiles(delays, n=20)[-1]

    def one_transaction(self):
        rows, before = min(10000, self.products), self.index.written()
        self.cursor.execute("UPDATE product SET name = name || '.' WHERE id <= %s", (rows,))
        committed = time.monotonic()
        took = self.index.wait_written(before + rows) - committed
        self.figures[f"{rows} rows of one transaction, s until in the index"] = took
        self.figures[f"{rows} rows of one transaction, documents a second"] = rows / took

    def rename(self):
        """A tag of all products; meanwhile, single ones are changed."""
        delays, looked = [], time.monotonic()
        self.cursor.execute("UPDATE tag SET name = 'renamed' WHERE id = 1")
        committed = time.monotonic()
        while True:
            # The look refreshes the index, hence seldom; a rename of few products may be through before the first.
            delays.append(self.change() * 1000)
            if time.monotonic() < looked + 1:
                continue
            looked = time.monotonic()
            if self.index.count("tags:renamed") >= self.products:
                break
        self.figures[f"a tag of {self.products} products renamed, s until in the index (seen each second)"] = looked - committed
        self.figures["one change meanwhile, commit to index, ms: median"] = statistics.median(delays)
        self.figures["one change meanwhile, commit to index, ms: at most"] = max(delays)

    def idle(self):
        """After the one look at the publication that follows changes."""
        before, seconds = (35, 60) if self.products >= 20000 else (0, 1)
        time.sleep(before)
        self.cursor.execute("SELECT now()")
        began, used = self.cursor.fetchone()[0], self.own_cpu()
        time.sleep(seconds)
        self.figures["idle, % of a core"] = (self.own_cpu() - used) * 100 / seconds
        self.cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query_start > %s"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
            (began,),
        )
        self.figures["idle, sessions that asked the server something"] = self.cursor.fetchone()[0]

    def own_cpu(self):
        with open(f"/proc/{self.engine.pid}/stat", encoding="utf-8") as f:
            return sum(map(int, f.read().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def decode(self):
        """Of a narrow table, half of the rows inserted and half of them updated, in transactions
        of 10,000."""
        rows = self.products * 10
        self.cursor.execute("CREATE PUBLICATION wal_decode FOR TABLE narrow")
        self.cursor.execute("SELECT pg_create_logical_replication_slot('wal_decode', 'pgoutput')")
        for first in range(1, rows + 1, 10000):
            part = (first, min(first + 9999, rows))
            self.cursor.execute("INSERT INTO narrow SELECT i, 0 FROM generate_series(%s, %s) i", part)
            self.cursor.execute("UPDATE narrow SET n = 1 WHERE id BETWEEN %s AND %s", part)
        self.cursor.execute("SELECT pg_current_wal_flush_lsn()::text")
        program = os.path.join(bench.OUT, "wal_decode")
        journal = os.path.join(bench.OUT, "decode.journal")
        words = [program, "wal_decode", "public", "narrow", "id", self.cursor.fetchone()[0], journal]
        done = json.loads(subprocess.run(words, check=True, env=self.env, stdout=subprocess.PIPE).stdout)
        assert done["keys"] == 2 * rows, done
        self.figures["log decoded, changed rows for each CPU second of our own"] = done["keys"] / max(done["cpu_s"], 1e-3)
        self.figures["log decoded, changed rows a second (the server's part is most of it)"] = done["keys"] / done["wall_s"]

    def all(self):
        print("capture from the log", file=sys.stderr)
        self.forget()
        self.make()
        try:
            self.load()
            self.follow()
            self.single_changes()
            self.one_transaction()
            self.rename()
            self.idle()
            self.decode()
        finally:
            if self.engine:
                self.stop()
        return self.figures


def report(figures):
    print("\n| capture from the write-ahead log | |\n| --- | --- |")
    for name, figure in figures.items():
        print(f"| {name} | {figure:.0f} |" if figure >= 100 else f"| {name} | {figure:.2f} |")


if __name__ == "__main__":
    sys.exit(bench.with_servers(lambda: report(Capture().all())))
