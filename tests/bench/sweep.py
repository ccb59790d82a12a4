"""The part `sweep`: every row is compared with the index."""
import os
import subprocess

import psycopg2

import following
from basis import FILMS, OUT, RUNS, SEARCH, engine, forget_state, make_copy, say
from index import Index
from load import measure

# Neither moves a cursor: only a sweep finds them.
DIFFER = """
UPDATE content.film_work SET title = %s WHERE id IN (SELECT id FROM content.film_work ORDER BY id LIMIT %s)"""


def part():
    """The runs of a sweep that finds nothing, and of one that finds a row in a hundred changed."""
    url, state = make_copy(), os.path.join(OUT, "sweep.state")
    forget_state(state)
    os.environ.update(DATABASE_URL=url, ELASTICSEARCH_URL=SEARCH.url, FILE_PATH_STATE=state)
    script, index = following.script("poll"), Index("bench_poll")
    index.delete()
    say("sweep")
    subprocess.run(engine(script), check=True)
    found = {"same": [], "differ": [], "documents": FILMS}
    session = psycopg2.connect(url)
    session.autocommit = True
    with session.cursor() as cursor:
        for n in range(RUNS):
            found["same"].append(measure("sweep", [engine(script, "--sweep")]))
            cursor.execute(DIFFER, (f"swept{n}", FILMS // 100))
            found["differ"].append(measure("sweep", [engine(script, "--sweep")]))
            assert index.count(f"title:swept{n}") == FILMS // 100, "a sweep has missed changes"
    session.close()
    index.delete()
    return found
