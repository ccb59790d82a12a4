"""Writers that change films, persons, genres and links as applications do, and what a reader of the index may then expect.

    model = Model(database, seed)
    with model.writing():      # threads, until the block ends
        ...                    # faults
    model.seen()               # the films that polling alone must have brought up to date

What a poll cannot see leaves a film *blind*: it was deleted or got another key, it lost a link, one of its persons or genres
was deleted. Any later change of a row that leads to it, with a moved cursor, makes it seen again, for the whole document is
then fetched anew. "Later" is meant strictly: between transactions that overlap, the blind one counts.

Of a commit whose answer was lost nobody knows whether it has happened, or when: what it would have hidden stays blind.
"""
import contextlib
import math
import random
import threading
import time
import uuid

import psycopg2

FILMS = "content.film_work"
PERSONS = "content.person"
GENRES = "content.genre"
PERSON_LINKS = "content.person_film_work"
GENRE_LINKS = "content.genre_film_work"
LINKS = {PERSONS: (PERSON_LINKS, "person_id"), GENRES: (GENRE_LINKS, "genre_id")}
ROLES = ("actor", "director", "writer")

# From changed rows to the films that they lead to: as the script's `affects`.
LEADS_TO = {
    FILMS: "SELECT id::text FROM content.film_work WHERE id = ANY(%s::uuid[])",
    PERSON_LINKS: "SELECT film_work_id::text FROM content.person_film_work WHERE id = ANY(%s::uuid[])",
    GENRE_LINKS: "SELECT film_work_id::text FROM content.genre_film_work WHERE id = ANY(%s::uuid[])",
    PERSONS: "SELECT film_work_id::text FROM content.person_film_work WHERE person_id = ANY(%s::uuid[])",
    GENRES: "SELECT film_work_id::text FROM content.genre_film_work WHERE genre_id = ANY(%s::uuid[])",
}

SETUP = """
    ALTER TABLE content.person_film_work DROP CONSTRAINT person_film_work_film_work_id_fkey,
        ADD FOREIGN KEY (film_work_id) REFERENCES content.film_work ON DELETE CASCADE ON UPDATE CASCADE;
    ALTER TABLE content.genre_film_work DROP CONSTRAINT genre_film_work_film_work_id_fkey,
        ADD FOREIGN KEY (film_work_id) REFERENCES content.film_work ON DELETE CASCADE ON UPDATE CASCADE;
"""


class Transaction:
    """One transaction of a writer: its changes, and which films they are seen by, or hidden from."""

    def __init__(self, cursor, rng):
        self.cursor = cursor
        self.rng = rng
        self.touched = {}  # table: ids of rows whose cursor moved
        self.blind = set()  # films that lost something

    # Helpers

    def ask(self, sql, *params):
        self.cursor.execute(sql, params)
        return [row[0] for row in self.cursor.fetchall()]

    def any(self, table):
        return self.rng.choice(self.ask(f"SELECT id::text FROM {table} ORDER BY id"))

    def stamp(self):
        return self.rng.choice(("now()", "clock_timestamp()"))

    def id(self):
        return str(uuid.UUID(int=self.rng.getrandbits(128)))

    def word(self):
        return f"{self.rng.choice(('Night', 'Ночь', 'a <b> ', 'Café', '夜'))} {self.rng.getrandbits(32):x}"

    def touch(self, table, *ids):
        self.touched.setdefault(table, set()).update(ids)

    def update(self, table, what, key, value):
        """UPDATE ... SET what = value, with a moved cursor."""
        self.cursor.execute(f"UPDATE {table} SET {what} = %s, modified = {self.stamp()} WHERE id = %s", (value, key))
        self.touch(table, key)

    def insert_film(self, key):
        self.cursor.execute(
            f"INSERT INTO {FILMS} (id, title, rating, modified) VALUES (%s, %s, %s, {self.stamp()}) ON CONFLICT DO NOTHING",
            (key, self.word(), self.rng.randrange(100) / 10),
        )
        self.touch(FILMS, key)

    def insert_link(self, table, film, other):
        key = self.id()
        if table == PERSONS:
            self.cursor.execute(
                f"INSERT INTO {PERSON_LINKS} (id, role, film_work_id, person_id, modified)"
                f" VALUES (%s, %s, %s, %s, {self.stamp()}) ON CONFLICT DO NOTHING",
                (key, self.rng.choice(ROLES), film, other),
            )
        else:
            self.cursor.execute(
                f"INSERT INTO {GENRE_LINKS} (id, film_work_id, genre_id, modified)"
                f" VALUES (%s, %s, %s, {self.stamp()}) ON CONFLICT DO NOTHING",
                (key, film, other),
            )
        if self.cursor.rowcount:
            self.touch(LINKS[table][0], key)

    def seen(self):
        """The films that the changed rows lead to, as far as they still exist."""
        films = set()
        for table, ids in self.touched.items():
            films.update(self.ask(LEADS_TO[table], sorted(ids)))
        return films

    # What an application does

    def edit_film(self):
        self.update(FILMS, *self.rng.choice((("title", self.any(FILMS), self.word()), ("rating", self.any(FILMS), 5.5))))

    def edit_twice(self):
        film = self.any(FILMS)
        for _ in range(self.rng.randint(2, 4)):
            self.update(FILMS, "description", film, self.word())

    def edit_many(self):
        films = self.rng.sample(self.ask(f"SELECT id::text FROM {FILMS} ORDER BY id"), 20)
        self.cursor.execute(
            f"UPDATE {FILMS} SET rating = 1 + rating, modified = {self.stamp()} WHERE id = ANY(%s::uuid[])", (sorted(films),)
        )
        self.touch(FILMS, *films)

    def new_film(self):
        film = self.id()
        self.insert_film(film)
        for table in self.rng.choices((PERSONS, GENRES), k=3):
            self.insert_link(table, film, self.any(table))

    def rename_person(self):
        self.update(PERSONS, "full_name", self.any(PERSONS), self.word())

    def rename_genre(self):
        self.update(GENRES, "name", self.any(GENRES), self.word())

    def new_person(self):
        person = self.id()
        self.cursor.execute(
            f"INSERT INTO {PERSONS} (id, full_name, modified) VALUES (%s, %s, {self.stamp()})", (person, self.word())
        )
        self.touch(PERSONS, person)
        self.insert_link(PERSONS, self.any(FILMS), person)

    def new_genre(self):
        genre = self.id()
        self.cursor.execute(
            f"INSERT INTO {GENRES} (id, name, modified) VALUES (%s, %s, {self.stamp()})", (genre, self.word())
        )
        self.touch(GENRES, genre)
        for _ in range(5):
            self.insert_link(GENRES, self.any(FILMS), genre)

    def new_link(self):
        table = self.rng.choice((PERSONS, GENRES))
        self.insert_link(table, self.any(FILMS), self.any(table))

    def change_role(self):
        self.update(PERSON_LINKS, "role", self.any(PERSON_LINKS), self.rng.choice(ROLES))

    def delete_film(self):
        film = self.any(FILMS)
        self.cursor.execute(f"DELETE FROM {FILMS} WHERE id = %s", (film,))
        self.blind.add(film)

    def delete_link(self):
        table = self.rng.choice((PERSON_LINKS, GENRE_LINKS))
        self.blind.update(self.ask(f"DELETE FROM {table} WHERE id = %s RETURNING film_work_id::text", self.any(table)))

    def delete_link_and_touch(self):
        table = self.rng.choice((PERSON_LINKS, GENRE_LINKS))
        for film in self.ask(f"DELETE FROM {table} WHERE id = %s RETURNING film_work_id::text", self.any(table)):
            self.blind.add(film)
            self.update(FILMS, "title", film, self.word())

    def move_link(self):
        table = self.rng.choice((PERSON_LINKS, GENRE_LINKS))
        link = self.any(table)
        self.blind.update(self.ask(f"SELECT film_work_id::text FROM {table} WHERE id = %s FOR UPDATE", link))
        self.update(table, "film_work_id", link, self.any(FILMS))

    def delete_person_or_genre(self):
        table = self.rng.choice((PERSONS, GENRES))
        links, column = LINKS[table]
        key = self.any(table)
        self.ask(f"SELECT id FROM {table} WHERE id = %s FOR UPDATE", key)  # keeps new links out
        self.blind.update(self.ask(f"DELETE FROM {links} WHERE {column} = %s RETURNING film_work_id::text", key))
        self.cursor.execute(f"DELETE FROM {table} WHERE id = %s", (key,))

    def change_key(self):
        old, new = self.any(FILMS), self.id()
        self.cursor.execute(f"UPDATE {FILMS} SET id = %s, modified = {self.stamp()} WHERE id = %s", (new, old))
        self.blind.add(old)
        self.touch(FILMS, new)

    def replace_film(self):
        film = self.any(FILMS)
        self.cursor.execute(f"DELETE FROM {FILMS} WHERE id = %s", (film,))
        self.blind.add(film)
        self.insert_film(film)

    CHANGES = (
        [edit_film] * 6 + [edit_twice] * 3 + [edit_many, change_key, replace_film, delete_person_or_genre]
        + [new_film] * 4 + [rename_person] * 4 + [rename_genre] * 2 + [new_person, new_genre] + [new_link] * 3
        + [change_role] * 3 + [delete_film] * 2 + [delete_link] * 2 + [delete_link_and_touch] * 2 + [move_link] * 2
    )  # fmt: skip

    def change(self):
        self.rng.choice(self.CHANGES)(self)


class Model:
    def __init__(self, database, seed, writers=4):
        self.database = database
        self.seed = seed
        self.writers = writers
        self.commits = self.rollbacks = self.failures = 0
        self.errors = []  # that no writer may meet
        self._lock = threading.Lock()
        self._round = 0
        self._stop = threading.Event()
        self._seen_at = {}  # film: just before it was found to be led to
        self._blind_at = {}  # film: just after the commit
        database.execute(SETUP)

    @contextlib.contextmanager
    def writing(self):
        self._round += 1
        self._stop.clear()
        threads = [
            threading.Thread(target=self._write, args=(random.Random(f"{self.seed}/{self._round}/{i}"), i == 0))
            for i in range(self.writers)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        assert not self.errors, self.errors

    def blind(self):
        """Films of which a poll alone need not know."""
        with self._lock:
            return {film for film, at in self._blind_at.items() if at >= self._seen_at.get(film, 0)}

    # Writers

    def _write(self, rng, slow):
        connection = None
        try:
            while not self._stop.is_set():
                try:
                    if connection is None or connection.closed:
                        connection = self._connect()
                    self._transact(connection, rng, slow)
                except psycopg2.Error:  # a fault, a deadlock, a row that has gone
                    self.failures += 1
                    if connection and connection.closed:
                        self._stop.wait(0.1)
                    elif connection:
                        with contextlib.suppress(psycopg2.Error):
                            connection.rollback()
                self._stop.wait(rng.random() * 0.03)
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(error)
            raise
        finally:
            if connection:
                connection.close()

    def _connect(self):
        options = "-c lock_timeout=1000 -c statement_timeout=5000 -c synchronous_commit=on"
        return psycopg2.connect(self.database.url, connect_timeout=3, options=options, application_name="writer",
                                keepalives_idle=1, tcp_user_timeout=3000)  # fmt: skip

    def _transact(self, connection, rng, slow):
        with connection.cursor() as cursor:
            transaction = Transaction(cursor, rng)
            for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
                transaction.change()
                if slow and rng.random() < 0.2:  # open for seconds while later ones commit
                    self._stop.wait(rng.random() * 3)
            asked = time.monotonic()
            seen = transaction.seen()
            if rng.random() < 0.15:
                connection.rollback()
                self.rollbacks += 1
                return
            try:
                connection.commit()
            except psycopg2.Error:
                self._note(transaction.blind, self._blind_at, math.inf)
                raise
            self.commits += 1
            self._note(seen, self._seen_at, asked)
            self._note(transaction.blind - seen, self._blind_at, time.monotonic())

    def _note(self, films, where, at):
        with self._lock:
            for film in films:
                where[film] = max(at, where.get(film, 0))
