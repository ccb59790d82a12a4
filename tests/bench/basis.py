"""What all parts of the bench stand on: numbers from the environment, the servers, the films, the engine.

It is used by bench.py, and by each part of it.
"""
import datetime
import hashlib
import os
import platform
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
os.environ.setdefault("ETL_TEST_SERVICES", "services-bench")  # before `services` looks at it
import services  # noqa: E402
from tools import ROOT  # noqa: E402


def say(text):
    print(f"bench.py: {text}", file=sys.stderr, flush=True)


def number(name, usual, least, most):
    """What the environment says, or one line and the end."""
    text = os.environ.get(name, str(usual))
    if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
        say(f"{name} is '{text}': it has to be a number from {least} to {most}")
        sys.exit(2)
    return int(text)


# With fewer films curl's second stream has no body, or a server's CPU time is less than the kernel counts.
FILMS = number("BENCH_FILMS", 100000, 100, 100000000)
RUNS = number("BENCH_RUNS", 5, 1, 1000)
CHANGES = number("BENCH_CHANGES", 100, 2, 100000)
HERE = os.path.join(ROOT, "tests", "bench")
OUT = os.path.join(ROOT, "build", "bench")
ENGINE = os.path.abspath(os.path.join(ROOT, os.environ.get("ETL_ENGINE", "build/etl-engine")))
MOVIES = os.path.join(ROOT, "scripts", "movies.lua")
POSTGRES, SEARCH = services.POSTGRES, services.SEARCH[0]


def psql(database, *words, **options):
    return subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", database, *words], check=True, text=True, **options)


def url_of(database):
    return POSTGRES.url.rpartition("/")[0] + "/" + database


def films_name():
    """Its name says what made it: a database that an older films.sql has made is not used again."""
    with open(os.path.join(HERE, "films.sql"), "rb") as f:
        return f"films_{FILMS}_{hashlib.sha256(f.read()).hexdigest()[:8]}"


def make_films():
    """The database with so many films; one that is there already is used again. Its address."""
    name = films_name()
    found = psql(POSTGRES.url, "-c", f"SELECT 1 FROM pg_database WHERE datname = '{name}'", capture_output=True).stdout
    if not found:
        say(f"making {FILMS} films")
        psql(POSTGRES.url, "-c", f"DROP DATABASE IF EXISTS {name}_new", stderr=subprocess.DEVNULL)
        psql(POSTGRES.url, "-c", f"CREATE DATABASE {name}_new")
        psql(url_of(f"{name}_new"), "-v", f"films={FILMS}", "-f", os.path.join(HERE, "films.sql"))
        psql(POSTGRES.url, "-c", f"ALTER DATABASE {name}_new RENAME TO {name}")
    psql(url_of(name), "-c", "CHECKPOINT")
    return url_of(name)


COPY = "bench_changed"


DROP_COPY = (
    f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{COPY}'",
    f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{COPY}' AND NOT active",
    f"DROP DATABASE IF EXISTS {COPY}",
)


def drop_copy(patience=60):
    """With what keeps it: slots, and sessions, which may take their time to end: of whoever was stopped in a long query."""
    words = [word for statement in DROP_COPY for word in ("-c", statement)]
    late = time.monotonic() + patience
    while True:
        done = subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", POSTGRES.url, *words], capture_output=True, text=True)
        if done.returncode == 0:
            return
        assert time.monotonic() < late, done.stderr
        time.sleep(0.2)


def make_copy():
    """The films in a database in which they may be changed. Its address."""
    make_films()
    drop_copy()
    psql(POSTGRES.url, "-c", f"CREATE DATABASE {COPY} TEMPLATE {films_name()}")
    return url_of(COPY)


def engine(script, *words):
    return [ENGINE, script, "--quiet", *words]


def forget_state(path):
    for name in (path, path + ".rejected"):
        if os.path.exists(name):
            os.unlink(name)


def about(es):
    """Where and with what: for the head of each table."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"model name\s*:\s*(.*)", f.read())
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "cpu": f"{os.cpu_count()} x {model[1] if model else platform.machine()}",
        "postgres": "PostgreSQL " + psql(POSTGRES.url, "-c", "SHOW server_version", capture_output=True).stdout.split()[0],
        "search": searcher(es.info()["version"]),
        "engine": subprocess.run([ENGINE, "--version"], capture_output=True, text=True, check=True).stdout.strip(),
    }


def searcher(version):
    name = {"opensearch": "OpenSearch"}.get(version.get("distribution"), "Elasticsearch")
    return f"{name} {version['number']}"
