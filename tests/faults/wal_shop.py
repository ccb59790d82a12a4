"""A shop of five tables without one cursor, whose changes are captured from the write-ahead log, and its writers.

    shop.fill()                        # 3,000 products
    shop.follow()                      # the engine runs
    with shop.writing(sessions=4):     # threads change rows in every way, until the block ends
        ...                            # faults
    shop.wait_true()                   # every document is what the query gives for its row; none is missing or left over
    shop.assert_no_sweep()             # and that was the log's doing, not a comparison's
"""
import contextlib
import random
import re
import threading
import time

import psycopg2

from faults import pause
from tools import SLOW, wait_until

SCHEMA = """
CREATE TABLE brand (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE tag (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE product (id int PRIMARY KEY, name text NOT NULL, price int NOT NULL, body text,
                      brand_id int REFERENCES brand ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE product_tag (product_id int REFERENCES product ON DELETE CASCADE ON UPDATE CASCADE,
                          tag_id int REFERENCES tag ON DELETE CASCADE ON UPDATE CASCADE,
                          PRIMARY KEY (product_id, tag_id));
CREATE TABLE review (id serial PRIMARY KEY, stars int NOT NULL,
                     product_id int NOT NULL REFERENCES product ON DELETE CASCADE ON UPDATE CASCADE);
CREATE INDEX ON product (brand_id);
CREATE INDEX ON product_tag (tag_id);
CREATE INDEX ON review (product_id);
ALTER TABLE review REPLICA IDENTITY FULL;
CREATE TABLE other (id bigserial PRIMARY KEY, filler text);
INSERT INTO brand SELECT i, 'brand ' || i FROM generate_series(1, 40) i;
INSERT INTO tag SELECT i, 'tag ' || i FROM generate_series(1, 60) i;
"""

FILL = """
INSERT INTO product SELECT i, 'product ' || i, i %% 100, repeat('.', %(width)s), 1 + i %% 40
  FROM generate_series(%(first)s, %(last)s) i;
INSERT INTO product_tag SELECT i, 1 + i * j %% 60 FROM generate_series(%(first)s, %(last)s) i, generate_series(1, 2) j
  ON CONFLICT DO NOTHING;
INSERT INTO review (product_id, stars) SELECT i, i %% 6 FROM generate_series(%(first)s, %(last)s, 3) i;
"""

QUERY = """SELECT p.id, p.name, p.price, b.name AS brand, length(p.body) AS width,
       ARRAY(SELECT t.name FROM product_tag l JOIN tag t ON t.id = l.tag_id WHERE l.product_id = p.id ORDER BY t.id) AS tags,
       (SELECT count(*) FROM review r WHERE r.product_id = p.id) AS reviews,
       (SELECT coalesce(sum(stars), 0) FROM review r WHERE r.product_id = p.id) AS stars
  FROM product p LEFT JOIN brand b ON b.id = p.brand_id"""

SCRIPT = """
return {
  name = "shop",
  source = {
    url = os.getenv "DATABASE_URL", table = "product", key = "id", capture = "wal",
    query = [[%(query)s]],
    related = {
      { table = "product_tag", key = { "product_id", "tag_id" }, affects = "product_id" },
      { table = "review", key = "id", affects = "product_id" },
      { table = "brand", key = "id", affects = "SELECT id FROM product WHERE brand_id = ANY($1)" },
      { table = "tag", key = "id", affects = "SELECT product_id FROM product_tag WHERE tag_id = ANY($1)" },
    },
    %(source)s
  },
  document = { name = "name", price = "price", brand = "brand", width = "width", tags = "tags", reviews = "reviews",
               stars = "stars" },
  sink = { url = os.getenv "ELASTICSEARCH_URL", index = "shop", %(sink)s },
  state = os.getenv "FILE_PATH_STATE",
}
"""

SLOT = "etl_shop"
TOP = 4000  # ids of products are below that: deleted ones come again


class Shop:
    """In the test's database, or in one of a server of its own (`pg`: a conftest.Database, or
    alike)."""

    def __init__(self, pg, search, engine, write, rng):
        self.pg, self.search, self.engine, self.rng, self._write = pg, search, engine, rng, write
        self.script = self.write()
        self.running = None
        self.said = []  # standard error of the engines that have ended
        self.commits = 0

    def write(self, source="", sink="", name="shop.lua"):
        return self._write(SCRIPT % {"query": QUERY, "source": source, "sink": sink}, name)

    def fill(self, products=3000, width=20):
        self.pg.execute(SCHEMA)
        self.add(1, products, width)
        self.pg.execute("ANALYZE")
        return self

    def add(self, first, last, width=20):
        self.pg.execute(FILL, {"first": first, "last": last, "width": width})

    # The engine

    def start(self, *words, **options):
        self.running = self.engine.start(self.script, "--follow", *words, **options)
        return self.running

    def follow(self, *words, **options):
        """Start, and wait until it follows."""
        running = self.start(*words, **options)
        wait_until(lambda: ": following" in running.stderr or not running.alive(), timeout=120, what="following")
        assert running.alive(), running.stderr
        return running

    def run(self, *words, code=0, timeout=120, **options):
        """One run to its end."""
        done = self.engine(self.script, *words, timeout=timeout, **options)
        self.said.append(done.stderr)
        assert done.returncode == code, done
        return done

    def begin_run(self, *words, **options):
        """One run, to be killed or ended."""
        self.running = self.engine.start(self.script, *words, **options)
        return self.running

    def end_run(self):
        done, self.running = self.running.wait(120), None
        self.said.append(done.stderr)
        assert done.returncode == 0, done
        return done

    def pause(self, seconds):
        """Let it run for so long. Whether it still does."""
        return pause(self.running, seconds)

    def assert_alive(self):
        assert self.running.alive(), f"the engine ended by itself: {self.running.wait()}"

    def kill(self):
        """SIGKILL. It still ran: --follow never ends by itself."""
        self.assert_alive()
        done, self.running = self.running.kill(), None
        self.said.append(done.stderr)

    def stop(self):
        self.assert_alive()
        done, self.running = self.running.stop(), None
        self.said.append(done.stderr)
        assert done.returncode == 143, done
        return done

    def sweeps(self):
        """What the engines have said of sweeps."""
        said = [*self.said, self.running.stderr if self.running else ""]
        return [line for text in said for line in text.splitlines() if re.search("sweep|comparing", line)]

    def assert_no_sweep(self):
        assert self.sweeps() == [], self.said

    # The slot

    def slot(self, column):
        rows = self.pg.query(f"SELECT {column} FROM pg_replication_slots WHERE slot_name = %s", (SLOT,))
        return rows[0][0] if rows else None

    def held_back(self):
        """Bytes of the log that are not confirmed."""
        return int(self.slot("pg_current_wal_lsn() - confirmed_flush_lsn"))

    def wait_confirmed(self, lsn=None, timeout=60):
        """Until all of the log up to now is confirmed."""
        lsn = lsn or self.pg.value("SELECT pg_current_wal_lsn()")
        where = "confirmed_flush_lsn >= %s::pg_lsn"
        wait_until(
            lambda: self.pg.query(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND {where}", (SLOT, lsn)),
            timeout=timeout,
            what=f"{lsn} confirmed",
        )
        return lsn

    def drop_slot(self):
        """Whoever still reads it ends with its engine."""
        wait_until(lambda: not self.slot("active"), timeout=60, what="a slot that nobody reads")
        self.pg.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", (SLOT,)
        )

    # The truth

    def truth(self):
        """{_id: document} as the rows say."""
        columns = ("name", "price", "brand", "width", "tags", "reviews", "stars")
        rows = self.pg.query(f"SELECT q.id::text, {', '.join('q.' + c for c in columns)} FROM ({QUERY}) q")
        return {key: {c: v for c, v in zip(columns, values) if v is not None} for key, *values in rows}

    def differences(self):
        truth, found = self.truth(), self.search.docs("shop")
        return {
            key: "missing" if key not in found else "left over" if key not in truth else (found[key], truth[key])
            for key in truth.keys() | found.keys()
            if truth.get(key) != found.get(key)
        }

    def assert_true(self):
        wrong = self.differences()
        assert not wrong, f"{len(wrong)} documents are wrong: {list(wrong.items())[:5]}"

    def wait_true(self, timeout=60):
        """Every document is right within that time; how many seconds it took."""
        begin = time.monotonic()
        while wrong := self.differences():
            self.running is None or self.assert_alive()
            if time.monotonic() - begin > timeout * SLOW:
                print(self.running.stderr[-6000:] if self.running else "")
                raise AssertionError(f"{len(wrong)} documents are wrong: {list(wrong.items())[:5]}")
            time.sleep(0.05)
        took = time.monotonic() - begin
        print(f"right after {took:.1f} s")
        return took

    # Writers

    @contextlib.contextmanager
    def writing(self, sessions=4, truncate=False, only=None, pause=0.0, least=20):
        """Random transactions in so many sessions until the block ends; at least `least` of each
        come through."""
        stop = threading.Event()
        writers = [
            Writer(self.pg, self.rng.getrandbits(64), stop, least, only or (OPS + ([truncate_links] if truncate else [])), pause)
            for _ in range(sessions)
        ]
        for writer in writers:
            writer.start()
        try:
            yield writers
        finally:
            stop.set()
            for writer in writers:
                writer.join(120)
            self.commits += sum(writer.commits for writer in writers)
            print("commits", [w.commits for w in writers], "rollbacks", [w.rollbacks for w in writers],
                  "failures", [w.failures for w in writers])  # fmt: skip
        for writer in writers:
            assert not writer.is_alive(), "a writer does not end"
            if writer.error:
                raise writer.error


# ---- what writers do: functions of a cursor and of random numbers ----


def some(rng):
    return rng.randrange(1, TOP)


def insert(c, rng):
    c.execute(
        "INSERT INTO product SELECT %s, %s, %s, repeat('x', %s), (SELECT min(id) FROM brand WHERE id >= %s)"
        " ON CONFLICT DO NOTHING",
        (some(rng), f"new {rng.getrandbits(32):x}", rng.randrange(1000), rng.choice((5, 200, 5000)), rng.randrange(60)),
    )


def edit(c, rng):
    c.execute("UPDATE product SET name = %s, price = %s WHERE id = %s", (f"{rng.getrandbits(32):x}", rng.randrange(1000), some(rng)))


def edit_large_value(c, rng):
    """One that is stored out of line, in no compressed form."""
    text = "".join(f"{rng.getrandbits(64):016x}" for _ in range(600))
    c.execute("UPDATE product SET body = %s WHERE id = %s", (text[: rng.randrange(5000, 9600)], some(rng)))


def change_brand(c, rng):
    c.execute("UPDATE product SET brand_id = (SELECT max(id) FROM brand WHERE id <= %s) WHERE id = %s", (rng.randrange(60), some(rng)))


def delete(c, rng):
    c.execute("DELETE FROM product WHERE id = %s", (some(rng),))


def delete_some(c, rng):
    first = some(rng)
    c.execute("DELETE FROM product WHERE id BETWEEN %s AND %s", (first, first + 5))


def bear_again(c, rng):
    """Deleted and inserted by one transaction."""
    key = some(rng)
    c.execute("DELETE FROM product WHERE id = %s", (key,))
    c.execute("INSERT INTO product VALUES (%s, 'born again', %s)", (key, rng.randrange(1000)))


def short_life(c, rng):
    key = some(rng)
    c.execute("INSERT INTO product VALUES (%s, 'of short life', 1) ON CONFLICT DO NOTHING", (key,))
    c.execute("DELETE FROM product WHERE id = %s", (key,))


def change_key(c, rng):
    """Links and reviews follow, by ON UPDATE CASCADE."""
    new, old = some(rng), some(rng)
    c.execute("UPDATE product SET id = %s WHERE id = %s AND NOT EXISTS (SELECT FROM product WHERE id = %s)", (new, old, new))


def swap_keys(c, rng):
    """Through a third one."""
    a, b = some(rng), some(rng)
    for old, new in ((a, TOP + a), (b, a), (TOP + a, b)):
        c.execute("UPDATE product SET id = %s WHERE id = %s", (new, old))


def link(c, rng):
    c.execute(
        "INSERT INTO product_tag SELECT p.id, t.id FROM product p, tag t WHERE p.id = %s AND t.id = %s ON CONFLICT DO NOTHING",
        (some(rng), rng.randrange(1, 80)),
    )


def unlink(c, rng):
    c.execute("DELETE FROM product_tag WHERE product_id = %s AND tag_id > %s", (some(rng), rng.randrange(60)))


def move_link(c, rng):
    c.execute(
        "UPDATE product_tag l SET product_id = p.id FROM product p WHERE p.id = %s AND l.product_id = %s"
        " AND NOT EXISTS (SELECT FROM product_tag t WHERE t.product_id = p.id AND t.tag_id = l.tag_id)",
        (some(rng), some(rng)),
    )


def link_for_a_moment(c, rng):
    key = some(rng)
    c.execute("INSERT INTO product_tag SELECT p.id, t.id FROM product p, tag t WHERE p.id = %s ON CONFLICT DO NOTHING", (key,))
    c.execute("DELETE FROM product_tag WHERE product_id = %s AND tag_id %% 7 > 0", (key,))


def review(c, rng):
    c.execute("INSERT INTO review (product_id, stars) SELECT id, %s FROM product WHERE id = %s", (rng.randrange(6), some(rng)))


A_REVIEW = "(SELECT id FROM review WHERE product_id >= %s ORDER BY product_id, id LIMIT 1)"


def move_review(c, rng):
    c.execute(
        f"UPDATE review SET product_id = p.id FROM product p WHERE p.id = %s AND review.id = {A_REVIEW}", (some(rng), some(rng))
    )


def edit_review(c, rng):
    c.execute(f"UPDATE review SET stars = %s WHERE id = {A_REVIEW}", (rng.randrange(6), some(rng)))


def delete_review(c, rng):
    c.execute(f"DELETE FROM review WHERE id = {A_REVIEW}", (some(rng),))


def rename_brand(c, rng):
    c.execute("UPDATE brand SET name = %s WHERE id = %s", (f"brand {rng.getrandbits(32):x}", rng.randrange(1, 60)))


def rename_tag(c, rng):
    c.execute("UPDATE tag SET name = %s WHERE id = %s", (f"tag {rng.getrandbits(32):x}", rng.randrange(1, 80)))


def renew_brand(c, rng):
    """Deleted, with its products' references set to NULL, or there again."""
    key = rng.randrange(1, 60)
    c.execute("DELETE FROM brand WHERE id = %s", (key,))
    if c.rowcount == 0:
        c.execute("INSERT INTO brand VALUES (%s, 'a new brand') ON CONFLICT DO NOTHING", (key,))


def renew_tag(c, rng):
    """Deleted, and its links with it, or there again."""
    key = rng.randrange(1, 80)
    c.execute("DELETE FROM tag WHERE id = %s", (key,))
    if c.rowcount == 0:
        c.execute("INSERT INTO tag VALUES (%s, 'a new tag') ON CONFLICT DO NOTHING", (key,))


def change_tag_key(c, rng):
    new, old = rng.randrange(1, 80), rng.randrange(1, 80)
    c.execute("UPDATE tag SET id = %s WHERE id = %s AND NOT EXISTS (SELECT FROM tag WHERE id = %s)", (new, old, new))


def edit_many(c, rng):
    c.execute(
        "UPDATE product SET price = price + 1 WHERE id IN (SELECT id FROM product WHERE id >= %s ORDER BY id LIMIT 1000)",
        (rng.randrange(1, TOP // 2),),
    )


def truncate_links(c, rng):
    c.execute("TRUNCATE product_tag")
    first = some(rng)
    c.execute("INSERT INTO product_tag SELECT p.id, t.id FROM product p, tag t WHERE p.id BETWEEN %s AND %s AND t.id < 5", (first, first + 200))


# As often as they stand here.
OPS = [
    *[insert, edit, link, review] * 6,
    *[delete, unlink, move_link, move_review, edit_review, delete_review] * 4,
    *[edit_large_value, change_brand, bear_again, change_key, link_for_a_moment] * 3,
    *[insert, short_life, swap_keys, delete_some, rename_brand, rename_tag] * 2,
    *[renew_brand, renew_tag, change_tag_key, edit_many],
]
DIRECT = [edit, insert, delete, bear_again, change_key, link, unlink, move_link, review, move_review, delete_review]


class Writer(threading.Thread):
    """Transactions of some changes each, with savepoints, rollbacks, and commits that come late or
    in two phases."""

    def __init__(self, pg, seed, stop, least, ops, pause):
        super().__init__(daemon=True)
        self.pg, self.seed, self.rng = pg, seed, random.Random(seed)
        self.stopped, self.least, self.ops, self.pause = stop, least, ops, pause
        self.commits = self.rollbacks = self.failures = 0
        self.error = None

    def run(self):
        connection = None
        end = None
        try:
            while not self.stopped.is_set() or self.commits < self.least:
                end = end or (time.monotonic() + 100 if self.stopped.is_set() else None)
                assert not end or time.monotonic() < end, f"{self.commits} commits alone"
                try:
                    if connection is None or connection.closed:
                        connection = psycopg2.connect(self.pg.url)
                    self.transaction(connection)
                except psycopg2.Error:  # a deadlock, a duplicate key, a server that is away
                    self.failures += 1
                    with contextlib.suppress(psycopg2.Error, AttributeError):
                        connection.rollback()
                    if connection is None or connection.closed:
                        connection = None
                        time.sleep(0.05)
                if self.pause:
                    time.sleep(self.rng.random() * 2 * self.pause)
        except Exception as error:  # for the thread that waits for this one
            self.error = error
        finally:
            if connection is not None:
                connection.close()

    def transaction(self, connection):
        rng = self.rng
        with connection.cursor() as c:
            for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
                if rng.random() < 0.15:
                    c.execute("SAVEPOINT s")
                    rng.choice(self.ops)(c, rng)
                    if rng.random() < 0.6:
                        c.execute("ROLLBACK TO s")
                rng.choice(self.ops)(c, rng)
            if rng.random() < 0.1:
                connection.rollback()
                self.rollbacks += 1
                return
            if rng.random() < 0.03:
                time.sleep(rng.random())  # a late commit is what others have to live with
            if rng.random() < 0.03:
                self.in_two_phases(connection, c)
            else:
                connection.commit()
        self.commits += 1

    def in_two_phases(self, connection, c):
        name = f"{self.seed:x}-{self.commits}-{self.failures}-{self.rollbacks}"
        c.execute("PREPARE TRANSACTION %s", (name,))
        connection.rollback()
        connection.autocommit = True
        try:
            time.sleep(self.rng.random() / 5)
            self.finish(name)
        finally:
            connection.closed or setattr(connection, "autocommit", False)

    def finish(self, name):
        """By another session, for the first one may have been cut off meanwhile; a server that is
        away comes again."""
        end = time.monotonic() + 60
        while True:
            try:
                with contextlib.closing(psycopg2.connect(self.pg.url)) as connection:
                    connection.autocommit = True
                    with connection.cursor() as c:
                        c.execute("SELECT 1 FROM pg_prepared_xacts WHERE gid = %s", (name,))
                        c.rowcount and c.execute("COMMIT PREPARED %s", (name,))
                    return
            except psycopg2.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)


class Flood:
    """Writes log at some megabytes a second: changes of products, and, as much, of a table that
    nobody follows."""

    def __init__(self, shop, rate=5e6, top=3000):
        self.shop, self.rate, self.top = shop, rate, top
        self.written = 0
        self._stop = threading.Event()
        self._error = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(60)
        if self._error:
            raise self._error

    def wait_written(self, more):
        goal = self.written + more
        wait_until(lambda: self.written >= goal or self._error, timeout=120, what=f"{more} bytes of log")

    def _run(self):
        rng = random.Random(1)
        try:
            with contextlib.closing(psycopg2.connect(self.shop.pg.url)) as connection:
                connection.autocommit = True
                with connection.cursor() as c:
                    c.execute("SELECT pg_current_wal_lsn() - '0/0'")
                    begin, first = time.monotonic(), c.fetchone()[0]
                    while not self._stop.wait(max(0.0, begin + self.written / self.rate - time.monotonic())):
                        c.execute(
                            "UPDATE product SET price = price + 1,"
                            " body = (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 40))"
                            " WHERE id BETWEEN %(n)s AND %(n)s + 99;"
                            "INSERT INTO other (filler) SELECT repeat('z', 1500) FROM generate_series(1, 100);"
                            "SELECT pg_current_wal_lsn() - '0/0'",
                            {"n": rng.randrange(1, self.top)},
                        )
                        self.written = int(c.fetchone()[0] - first)
        except Exception as error:  # for who waits
            self._error = error
