"""The part `peer`: another program on the same servers, measured by the same function as the engine.

What its command is told, and what its documents have to have, is in bench.py's head.
"""
import json
import os
import re
import shlex

import basis
import follower
import loader
from basis import FILMS, HERE, MOVIES, OUT, say

COMMAND = os.environ.get("BENCH_PEER", "")
NAME = os.environ.get("BENCH_PEER_NAME") or os.path.basename((shlex.split(COMMAND) or ["peer"])[0])
NOTE = os.environ.get("BENCH_PEER_NOTE", "")
LIMIT = basis.number("BENCH_PEER_LIMIT", 600, 1, 86400)


def write(name, text):
    path = os.path.join(OUT, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def environment(es):
    """es has an index `movies` that the engine made."""
    with open(MOVIES, encoding="utf-8") as f:
        query = re.search(r"query\s*=\s*\[\[(.*?)\]\]", f.read(), re.S)[1]
    return {
        "BENCH_INDEX": "bench_peer",
        "BENCH_FILMS": str(FILMS),
        "BENCH_SCHEMA": os.path.join(HERE, "films.sql"),
        "BENCH_QUERY": write("peer.sql", query),
        "BENCH_INDEX_BODY": write("peer.index.json", json.dumps(loader.settings_of(es, "movies"), indent=1)),
    }


def begin(env):
    return follower.Follower(NAME, ["sh", "-c", COMMAND], "bench_peer", 1.0, env, LIMIT)


def part(es, chosen, loads):
    """{NAME: ...} as following.part gives for each capture; one line says why it is not all there."""
    env = environment(es)
    found = follower.measure(lambda: begin(env), chosen, loads)
    if "stopped" in found:
        log = os.path.relpath(os.path.join(OUT, "bench_peer.log"), basis.ROOT)
        say(f"the peer '{NAME}' is not measured further: {found['stopped']} (its output: {log})")
    return {NAME: found}
