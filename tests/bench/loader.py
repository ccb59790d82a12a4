#!/usr/bin/python3
"""A plain Python loader, to measure the engine against: psycopg2's server-side cursor, the Elasticsearch client's bulk.

    tests/bench/loader.py --index films --like movies [--threads 2] [--fetch-all] [--limit N]

Reads DATABASE_URL and ELASTICSEARCH_URL as the engine does, and the very query of scripts/movies.lua. --like copies
settings and mappings of an index that is there (one that the engine made), so that both do the same work; --keep
writes into an index that is there.
"""
import argparse
import dataclasses
import json
import os
import re
import resource
import signal
import time
import warnings

import elasticsearch
import elasticsearch.helpers
import psycopg2
import psycopg2.extras

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
FIELDS = {"rating": "imdb_rating", "modified": None}  # the others keep their name


if elasticsearch.__version__ < (8,):

    class LaxTransport(elasticsearch.Transport):
        """The client refuses what is not its maker's own build; the requests are the same."""

        def _do_verify_elasticsearch(self, *_args, **_kwargs):
            pass

else:
    import elastic_transport

    class LaxTransport(elastic_transport.Transport):
        """The same, and what the bodies are is said in the words that all servers know."""

        def perform_request(self, *words, headers=None, **options):
            plain = {k: v.replace("vnd.elasticsearch+", "").partition(";")[0] for k, v in (headers or {}).items()}
            answer = super().perform_request(*words, headers=plain, **options)
            product = {**answer.meta.headers, "x-elastic-product": "Elasticsearch"}
            meta = dataclasses.replace(answer.meta, headers=elastic_transport.HttpHeaders(product))
            return answer._replace(meta=meta)


def query():
    with open(os.path.join(ROOT, "scripts", "movies.lua"), encoding="utf-8") as f:
        return re.search(r"query\s*=\s*\[\[(.*?)\]\]", f.read(), re.S).group(1)


def actions(connection, index, limit, fetch_all):
    """fetch_all: an ordinary cursor, which holds all rows here; else the server's, which gives 1,000 at a time."""
    psycopg2.extras.register_default_json(connection, loads=json.loads)
    with connection.cursor(None if fetch_all else "films", cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.itersize = 1000
        cursor.execute(f"SELECT * FROM ({query()}) q" + (f" LIMIT {limit}" if limit else ""))
        for row in cursor.fetchall() if fetch_all else cursor:
            document = {FIELDS.get(key, key): value for key, value in row.items() if value is not None}
            document.pop(None, None)
            yield {"_index": index, "_id": row["id"], "_source": document}


def settings_of(es, index):
    """The body that makes an index like this one."""
    settings = next(iter(es.indices.get_settings(index=index).values()))["settings"]["index"]
    kept = ("analysis", "number_of_shards", "number_of_replicas", "refresh_interval", "gc_deletes")
    return {
        "settings": {key: settings[key] for key in kept if key in settings},
        "mappings": next(iter(es.indices.get_mapping(index=index).values()))["mappings"],
    }


def create(es, index, like):
    es.indices.delete(index=index, ignore_unavailable=True)
    es.indices.create(index=index, body=settings_of(es, like) if like else {"settings": {"number_of_replicas": 0}})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--index", default="films")
    parser.add_argument("--like")
    parser.add_argument("--threads", type=int, default=1, help="1: helpers.bulk; more: helpers.parallel_bulk")
    parser.add_argument("--fetch-all", action="store_true", help="hold all rows in memory, then send them")
    parser.add_argument("--keep", action="store_true", help="do not make the index anew")
    parser.add_argument("--limit", type=int)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # there is nothing to tidy up: no traceback
    es = elasticsearch.Elasticsearch(
        [os.environ["ELASTICSEARCH_URL"]], timeout=120, maxsize=args.threads, transport_class=LaxTransport
    )
    if not args.keep:
        create(es, args.index, args.like)

    started = time.monotonic()
    with psycopg2.connect(os.environ["DATABASE_URL"]) as connection:
        source = actions(connection, args.index, args.limit, args.fetch_all)
        options = {"chunk_size": 2000, "max_chunk_bytes": 5_000_000}
        if args.threads > 1:
            loaded = sum(
                ok for ok, _ in elasticsearch.helpers.parallel_bulk(es, source, thread_count=args.threads, **options)
            )
        else:
            loaded, _ = elasticsearch.helpers.bulk(es, source, stats_only=True, **options)
    seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        f"{loaded} documents in {seconds:.1f} s: {loaded / seconds:.0f}/s, "
        f"{used.ru_utime + used.ru_stime:.1f} s of CPU, {used.ru_maxrss // 1024} MB at most"
    )


if __name__ == "__main__":
    main()
