"""A small schema of films, persons and genres for the tests that follow changes, and scripts for it."""
import json
import time

SCHEMA = """
CREATE TABLE person (id int PRIMARY KEY, name text, modified timestamptz DEFAULT now());
CREATE TABLE genre (id int PRIMARY KEY, name text, modified timestamptz DEFAULT now());
CREATE TABLE film (id int PRIMARY KEY, title text, modified timestamptz DEFAULT now(),
                   director_id int REFERENCES person, producer_id int REFERENCES person);
CREATE TABLE film_genre (film_id int, genre_id int, modified timestamptz DEFAULT now(), PRIMARY KEY (film_id, genre_id));
CREATE TABLE role (id serial PRIMARY KEY, film_id int, person_id int, role text, modified timestamptz DEFAULT now());
CREATE INDEX ON film (modified, id);
CREATE INDEX ON film_genre (genre_id);
CREATE INDEX ON role (film_id);
CREATE INDEX ON role (person_id);
INSERT INTO person SELECT i, 'person ' || i FROM generate_series(1, 10) i;
INSERT INTO genre SELECT i, 'genre ' || i FROM generate_series(1, 5) i;
INSERT INTO film SELECT i, 'film ' || i, now(), 1 + i % 10, 1 + (i + 1) % 10 FROM generate_series(1, 40) i;
INSERT INTO film_genre SELECT i, 1 + i % 5 FROM generate_series(1, 40) i;
INSERT INTO role (film_id, person_id, role) SELECT i, 1 + i % 10, 'actor' FROM generate_series(1, 40) i;
"""

QUERY = """SELECT f.id, f.title, f.modified, d.name AS director, p.name AS producer, g.genres, a.actors, a.actor_ids
  FROM film f
  LEFT JOIN person d ON d.id = f.director_id
  LEFT JOIN person p ON p.id = f.producer_id
 CROSS JOIN LATERAL (SELECT coalesce(array_agg(g.name ORDER BY g.name), '{}') AS genres
                       FROM film_genre fg JOIN genre g ON g.id = fg.genre_id WHERE fg.film_id = f.id) g
 CROSS JOIN LATERAL (SELECT coalesce(array_agg(r.role || ' ' || p.name ORDER BY r.id), '{}') AS actors,
                            coalesce(array_agg(p.id ORDER BY r.id), '{}') AS actor_ids
                       FROM role r JOIN person p ON p.id = r.person_id WHERE r.film_id = f.id) a"""

LINK = '{ table = "film_genre", key = { "film_id", "genre_id" }, cursor = "modified", affects = "film_id" }'
GENRE = ('{ table = "genre", key = "id", cursor = "modified",'
         ' affects = "SELECT film_id FROM film_genre WHERE genre_id = ANY($1)" }')
ROLE = '{ table = "role", key = "id", cursor = "modified", affects = "film_id" }'
PERSON = ('{ table = "person", key = "id", cursor = "modified",'
          ' affects = "SELECT film_id FROM role WHERE person_id = ANY($1)" }')
PERSON_INDEXED = PERSON.replace(" }", ', index_field = "actor_ids" }')
DIRECTOR = ('{ table = "person", key = "id", cursor = "modified",'
            ' affects = "SELECT id FROM film WHERE director_id = ANY($1)" }')
PRODUCER = DIRECTOR.replace("director_id", "producer_id")
ALL = (LINK, GENRE, ROLE, PERSON, DIRECTOR, PRODUCER)

DOCUMENT = """{ title = row.title, director = row.director, producer = row.producer, genres = row.genres,
             actors = row.actors, actor_ids = row.actor_ids }"""


def lua(related=(), query=QUERY, table="film", key='"id"', cursor="modified", document=f"return {DOCUMENT}", index="films",
        source="", sink="", extra="poll_interval = 0.1,", head=""):
    """A script. `document` is the body of its function of `row`; the others are Lua text, but for names and the query."""
    return f"""{head}
return {{
  name = "films",
  source = {{
    url = os.getenv "DATABASE_URL", table = "{table}", key = {key}, {f'cursor = "{cursor}",' if cursor else ""}
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


def plain(table="t", columns="id, v", document="return { v = row.v }", **words):
    """A script for one table without related ones."""
    return lua(query=f"SELECT {columns} FROM {table}", table=table, document=document, index=words.pop("index", "t"), **words)


def table(pg, cursor="timestamptz DEFAULT clock_timestamp()", rows=20):
    """A table t of rows id, v, modified."""
    pg.execute(f"CREATE TABLE t (id int PRIMARY KEY, v text, modified {cursor})")
    pg.execute("CREATE INDEX ON t (modified, id)")
    if rows:
        pg.execute("INSERT INTO t (id, v) SELECT i, 'v' || i FROM generate_series(1, %s) i", (rows,))


def touch(pg, what, where, table="film"):
    """UPDATE, and the cursor with it."""
    assert pg.execute(f"UPDATE {table} SET {what}, modified = clock_timestamp() WHERE {where}") > 0


def state(engine):
    """The state file's JSON; None while there is none, or it is bare."""
    try:
        with open(engine.state, encoding="utf-8") as f:
            text = f.read()
    except FileNotFoundError:
        return None
    return json.loads(text) if text else None


def changed(before, after):
    """The keys whose documents were written, or removed, since `before`: versions by key."""
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def run(engine, path, *words, code=0, **options):
    """Runs it, and checks how it ended; None: any way."""
    done = engine(path, *words, **options)
    assert code is None or done.returncode == code, done
    return done


def follow(engine, path, *words, wait_until, env=None):
    """A running engine that follows."""
    running = engine.start(path, "--follow", *words, env=env)
    wait_until(lambda: "following" in running.stderr or not running.alive(), what="following")
    assert running.alive(), running.stderr
    return running


def settle(seconds=1.2):
    """Until what happened lies below the horizon, with its second of grace: the passing of time is what is waited for."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(left)
