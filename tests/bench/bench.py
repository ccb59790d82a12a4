#!/usr/bin/python3
"""How fast the engine is, beside what bounds it and beside the ordinary way. `make bench` runs this.

    BENCH_FILMS=100000 BENCH_RUNS=5 BENCH_CHANGES=100 tests/bench/bench.py

It has these parts; BENCH_ONLY=latency,sweep chooses some of them:

    load     psql's COPY of the query to /dev/null, and curl sending request bodies that were built beforehand, are the
             floors; then dry runs, loads by the engine, and by two ordinary loaders in Python, BENCH_RUNS times in turn.
             Before any time counts, the documents of each loader are compared, field by field.
    latency  BENCH_CHANGES single changes, by polls and from the write-ahead log: from the end of the commit until the
             index answers with them, by key, which needs no refresh. With nothing else to do, and under a steady stream.
    fanout   a row that many documents contain is changed, and many rows by one transaction: until all are in the index.
    sweep    every row is compared with the index.
    decode   the write-ahead log becomes keys in a journal, with nobody to deliver them.
    peer     another program, which BENCH_PEER starts.

The figures are written to build/bench/bench_FILMS.json, as tables to .md and .svg beside it. Parts that were not measured
this time stay there as they were. BENCH_WRITE=1: into README.md and the manual page, too. (report.py does so later.)
CPU is what the kernel charged: to the program, to PostgreSQL, to the search server. Nothing fails because it was slow.

BENCH_PEER=COMMAND runs COMMAND by sh, with these variables:

    DATABASE_URL, ELASTICSEARCH_URL   the servers; the database has the films, BENCH_FILMS of them, and may be written to
    BENCH_INDEX                       the index to fill, which is not there; a document's _id is the film's id
    BENCH_SCHEMA                      a file: SQL that made the films
    BENCH_QUERY                       a file: the query that the engine uses, one row a document
    BENCH_INDEX_BODY                  a file: settings and mappings of the engine's index, as JSON

The documents have to have `title`, and `genres`, a list of names, as that index does. The command loads all films, and may
then follow changes until SIGTERM; it, and all that it has started, is measured. What the engine does is measured beside it,
in the same way: `capture` in its table. BENCH_PEER_NAME is its name there, BENCH_PEER_NOTE a sentence below, and
BENCH_PEER_LIMIT (600) the seconds that it has for each thing. One line tells if it ended or was late; the exit status is
then 1, and its table goes into no page.

It runs on servers of its own, in build/services-bench (ETL_TEST_SERVICES), and deletes its indexes there.
"""
import os
import signal
import sys
import time
import warnings

import basis
import follower
from basis import FILMS, OUT, POSTGRES, RUNS, SEARCH, say

import elasticsearch  # noqa: E402  (basis says where the modules are)

import decode  # noqa: E402
import following  # noqa: E402
import load  # noqa: E402
import loader  # noqa: E402
import peer  # noqa: E402
import report  # noqa: E402
import sweep  # noqa: E402

PARTS = ("load", "latency", "fanout", "sweep", "decode", "peer")


def chosen():
    """The parts to measure, of which `peer` is one only if there is a peer."""
    usual = ",".join(part for part in PARTS if part != "peer" or peer.COMMAND)
    names = os.environ.get("BENCH_ONLY") or usual
    wrong = [name for name in names.split(",") if name not in PARTS]
    if wrong:
        say(f"BENCH_ONLY has '{wrong[0]}', which is no part: the parts are {', '.join(PARTS)}")
        sys.exit(2)
    if "peer" in names.split(",") and not peer.COMMAND:
        say("BENCH_ONLY has 'peer', but BENCH_PEER has no command to start it")
        sys.exit(2)
    return names.split(",")


def measure(names):
    """{part: figures}; each is saved at once: a later one may fail, or be stopped."""
    es = elasticsearch.Elasticsearch([SEARCH.url], timeout=120, transport_class=loader.LaxTransport)
    about = {**basis.about(es), "films": FILMS, "runs": RUNS}
    found = {}
    try:
        for figures in figures_of(es, names):
            found.update({name: {"about": about, **part} for name, part in figures.items()})
            report.save(found, FILMS)
    finally:
        basis.drop_copy()
    return found


def figures_of(es, names):
    if "load" in names:
        yield {"load": load.part(es)}
    if {"latency", "fanout", "peer"} & set(names):
        yield followed(es, names)
    if "sweep" in names:
        yield {"sweep": sweep.part()}
    if "decode" in names:
        yield {"decode": decode.part()}


def followed(es, names):
    """The parts of who follows, measured in one life of it; with a peer, which comes first, several loads of each."""
    follows = [name for name in names if name in ("latency", "fanout")]
    parts, beside = follows or ["latency", "fanout"], {}
    if "peer" in names:
        load.make_index(es)
        beside = peer.part(es, parts, RUNS)
    loaded = any(figures["loads"] for figures in beside.values())
    engines = following.part(parts, RUNS if beside else 1) if follows or loaded else {}
    found = {name: {"followers": {who: figures[name] for who, figures in engines.items()}} for name in follows}
    if beside:
        found["peer"] = {"followers": {**engines, **beside}, "note": peer.NOTE}
    return found


# ---- servers and signals ----


class Stopped(BaseException):
    """By a signal, which is its argument."""


def on_signals(handler):
    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sig, handler)


def stop(sig, _frame):
    on_signals(signal.SIG_IGN)  # to end properly takes seconds, in which a second one must not leave servers behind
    end_children()  # here, as subprocess would kill them: vendor/services could not end what it has started
    raise Stopped(signal.Signals(sig))


def end_children():
    """SIGINT, since PostgreSQL's clients then cancel their query; SIGKILL for who does not end."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="utf-8") as f:
        pids = [int(pid) for pid in f.read().split()]
    for pid in pids:
        signal_child(pid, signal.SIGINT)
    patience = time.monotonic() + 10
    for pid in pids:
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > patience:
                signal_child(pid, signal.SIGKILL)
            time.sleep(0.02)


def signal_child(pid, sig):
    """With its group, if that is its own: a peer may have started others."""
    (os.killpg if os.getpgid(pid) == pid else os.kill)(pid, sig)


def with_servers(work):
    """Do it with the servers up; then nothing runs that did not run before. The exit status."""
    os.makedirs(OUT, exist_ok=True)
    idle = [server for server in (POSTGRES, SEARCH) if not server.running()]
    try:
        on_signals(stop)
        for server in idle:
            server.up()
        return work()
    except Stopped as stopped:
        sig = stopped.args[0]
        say(f"stopped by {sig.name}")
        return 128 + sig
    finally:
        on_signals(signal.SIG_IGN)
        end_children()
        for server in idle:
            server.down()


def main():
    names = chosen()

    def work():
        found = measure(names)
        path = report.path_of(FILMS)
        print(report.text(found))
        say(f"every run: {os.path.relpath(path, basis.ROOT)}")
        if os.environ.get("BENCH_WRITE"):
            report.write(path, found)
        return 1 if any(report.is_partial(part) for part in found.values()) else 0

    return with_servers(work)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
