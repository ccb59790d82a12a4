"""The parts `latency` and `fanout` of the engine itself: by polls, and from the write-ahead log."""
import functools
import os
import re

from basis import MOVIES, OUT, engine, forget_state
from follower import Follower, measure


def script(capture):
    """scripts/movies.lua with this source.capture, for an index of its own."""
    with open(MOVIES, encoding="utf-8") as f:
        text = f.read()
    changes = (
        (r'name = "movies"', f'name = "bench_{capture}"'),
        (r'index = "movies"', f'index = "bench_{capture}"'),
        (r'-- capture = "wal",', f'capture = "{capture}",'),
    )
    for old, new in changes:
        text, n = re.subn(old, new, text)
        assert n == 1, f"{MOVIES} has no {old}"
    path = os.path.join(OUT, f"bench_{capture}.lua")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def begin(capture, pause):
    state = os.path.join(OUT, f"bench_{capture}.state")
    forget_state(state)
    command = engine(script(capture), "--follow")
    return Follower(f"capture = {capture}", command, f"bench_{capture}", pause, {"FILE_PATH_STATE": state})


def part(chosen, loads):
    """{"poll": ..., "wal": ...}, each with what follower.measure gives."""
    found = {}
    for capture, pause in (("poll", 1.0), ("wal", 0.05)):
        found[capture] = measure(functools.partial(begin, capture, pause), chosen, loads)
        assert "stopped" not in found[capture], f"capture = {capture}: {found[capture]['stopped']}"
    return found
