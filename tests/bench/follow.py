#!/usr/bin/python3
"""How closely --follow follows, in the database of bench.py (BENCH_FILMS), which is made if it is not there.

One film is changed, again and again: how long until the index has it. Then 1,000 films a second are changed for
FOLLOW_SECONDS (10): how far the index is behind when they end. Documents are asked for by key: that finds them before
any refresh.
"""
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
import bench  # noqa: E402
import elasticsearch  # noqa: E402
import loader  # noqa: E402
import psycopg2  # noqa: E402

INTERVAL = 1.0  # seconds: the script's poll_interval, which is not set
SECONDS = bench.number("FOLLOW_SECONDS", 10, 1, 3600)
CHANGE = "UPDATE content.film_work SET rating = %s, modified = clock_timestamp() WHERE id = ANY(%s::uuid[])"


def wait_for_rating(es, key, rating):
    """The moment at which the document has it."""
    while es.get(index="movies", id=key)["_source"].get("imdb_rating") != rating:
        time.sleep(0.005)
    return time.monotonic()


def one_film(cursor, es, keys):
    waits = []
    for n in range(12):
        time.sleep(0.13 * (n % 8))  # at any moment between two looks
        cursor.execute(CHANGE, (n + 0.5, [keys[n]]))
        changed = time.monotonic()
        waits.append(wait_for_rating(es, keys[n], n + 0.5) - changed)
    print(f"one film: {statistics.median(waits):.2f} s, {max(waits):.2f} s at most; interval {INTERVAL:.0f} s")


def many_films(cursor, es, keys):
    started = time.monotonic()
    for n in range(SECONDS * 10):
        cursor.execute(CHANGE, (100.0 + n, keys[n * 100 % len(keys) : n * 100 % len(keys) + 100]))
        time.sleep(max(0.0, started + (n + 1) / 10 - time.monotonic()))
    ended = time.monotonic()
    last = wait_for_rating(es, keys[n * 100 % len(keys)], 100.0 + n)
    print(f"{n * 100 + 100} films in {ended - started:.1f} s: the last one in the index {last - ended:.2f} s later")


def follow():
    state = os.path.join(bench.OUT, "follow.state")
    for path in (state, state + ".rejected"):
        if os.path.exists(path):
            os.unlink(path)
    url = bench.make_films()
    os.environ.update(DATABASE_URL=url, ELASTICSEARCH_URL=bench.SEARCH.url, FILE_PATH_STATE=state)
    es = elasticsearch.Elasticsearch([bench.SEARCH.url], timeout=120, transport_class=loader.LaxTransport)
    es.indices.delete(index="movies", ignore_unavailable=True)
    script = os.path.join(bench.ROOT, "scripts", "movies.lua")
    subprocess.run(bench.engine(script), check=True)
    subprocess.Popen(bench.engine(script, "--follow"))  # until bench ends its children
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT id::text FROM content.film_work ORDER BY id LIMIT 10000")
        keys = [key for (key,) in cursor.fetchall()]
        keys = keys[: len(keys) // 100 * 100]
        one_film(cursor, es, keys)
        many_films(cursor, es, keys)


if __name__ == "__main__":
    sys.exit(bench.with_servers(follow))
