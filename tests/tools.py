"""Small helpers without state."""
import os
import random
import socket
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

LONG = os.environ.get("ETL_FAULTS") == "long"  # the long form of the tests

# The sanitizers make the engine several times slower: limits stretch with them, conditions stay the same.
SLOW = 4 if any(word in os.environ.get("ETL_ENGINE", "") for word in ("asan", "tsan")) else 1


def wait_until(condition, timeout=30, what=None):
    """Call condition() until it returns something true, and return that; fail after timeout seconds."""
    end = time.monotonic() + timeout * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout * SLOW} s: {what or condition}")
        time.sleep(0.02)


def free_port():
    """A loopback port on which nothing listens, below the range of outgoing connections."""
    while True:
        port = random.randrange(10000, 20000)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def changed_films(database, since):
    """The ids of the sample's films that a change since then affects: in the film, its links, its people, its genres."""
    rows = database.query(
        """SELECT id::text FROM content.film_work WHERE modified >= %(t)s
           UNION SELECT l.film_work_id::text FROM content.person_film_work l JOIN content.person p ON p.id = l.person_id
                  WHERE l.modified >= %(t)s OR p.modified >= %(t)s
           UNION SELECT l.film_work_id::text FROM content.genre_film_work l JOIN content.genre g ON g.id = l.genre_id
                  WHERE l.modified >= %(t)s OR g.modified >= %(t)s""",
        {"t": since},
    )
    return {key for (key,) in rows}
