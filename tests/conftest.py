"""Fixtures for the end-to-end tests. In short:

    pg          an empty database of the test's own            movies   the same with scripts/movies.sql in it
    search      a search server; the test runs on each one     search_one   only on OpenSearch
    engine      runs the engine against these                  script   writes a Lua script
    wait_until  waits for a condition                          rng      random numbers, seed printed
    serve       runs the engine with --listen, and asks it

The servers belong to the tests: indexes of earlier tests are removed before each one.

Environment: ETL_ENGINE, the binary (build/etl-engine); ETL_SEARCH, the search servers to use ("opensearch,elasticsearch");
ETL_SEED, the seed for rng.
"""
import fcntl
import json
import os
import random
import re
import signal
import subprocess
import urllib.error
import urllib.request

import psycopg2
import pytest

import served
import services as private
import tools
from tools import ROOT, SLOW

ENGINE = os.path.abspath(os.path.join(ROOT, os.environ.get("ETL_ENGINE", "build/etl-engine")))
SEARCH = [s for s in private.SEARCH if s.usable()]
NOWHERE = "127.0.0.1:1"  # nothing listens there: a test that names no server must reach none
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs have it: the engine would, too
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config):
    return f"engine: {ENGINE}; search servers: {', '.join(s.name for s in SEARCH)}"


@pytest.fixture(scope="session")
def machine():
    """The private servers for this run of the tests: a second run, in the same checkout, waits. Those that were not
    running before are stopped at the end."""
    os.makedirs(os.path.join(ROOT, "build"), exist_ok=True)
    with open(os.path.join(ROOT, "build", f"tests-{private.WORKER}.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        idle = [s.name for s in [private.POSTGRES, *SEARCH] if not s.running()]
        yield
        if idle:
            private.run("down", *idle)


@pytest.fixture
def servers(machine):
    """All private servers, running."""
    all_of_them = [private.POSTGRES, *SEARCH]
    done = private.run("up", *[s.name for s in all_of_them])
    assert done.returncode == 0, done.stderr
    return all_of_them


# PostgreSQL


class Database:
    """One database: `execute` and `query` commit at once, `connect` gives a connection of one's own."""

    def __init__(self, name, server=private.POSTGRES):
        self.name = name
        self.server = server
        self.port = self.server.port
        self.url = self.url_at(self.port)
        self._opened = []
        self._own = None

    def url_at(self, port, user="etl", password="etl", host="127.0.0.1", **options):
        """This database by another port (a proxy's), user, password, or with libpq's options."""
        query = "?" + "&".join(f"{k}={v}" for k, v in options.items()) if options else ""
        return f"postgresql://{user}:{password}@{host}:{port}/{self.name}{query}"

    def connect(self, autocommit=False):
        """A psycopg2 connection, closed after the test."""
        connection = psycopg2.connect(self.url)
        connection.autocommit = autocommit
        self._opened.append(connection)
        return connection

    def execute(self, sql, params=None):
        """Run statements; returns the number of rows of the last one."""
        with self._cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.rowcount

    def query(self, sql, params=None):
        """All rows, as a list of tuples."""
        with self._cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall()

    def value(self, sql, params=None):
        """The first column of the first row."""
        return self.query(sql, params)[0][0]

    def version(self):
        """180006, say."""
        return self.value("SELECT current_setting('server_version_num')::int")

    def needs(self, major, what):
        """Skips the test on a server that is too old for it."""
        if self.version() < major * 10000:
            pytest.skip(f"PostgreSQL {self.version() // 10000} has no {what}")

    def psql(self, *words, stdin=None):
        """Run psql on this database, for example psql("-f", path); returns its output."""
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", self.url, *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=clean_env())
        assert done.returncode == 0, done.stderr
        return done.stdout

    def terminate(self):
        """End all other sessions in this database; returns how many there were."""
        return self.value(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def sessions(self):
        """How many other sessions this database has."""
        return self.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def close(self):
        for connection in self._opened:
            connection.close()

    def _cursor(self):
        if self._own is not None and not self._own.closed:
            try:  # the server may have been restarted since
                with self._own.cursor() as cursor:
                    cursor.execute("SELECT 1")
            except psycopg2.Error:
                self._own.close()
        if self._own is None or self._own.closed:
            self._own = self.connect(autocommit=True)
        return self._own.cursor()


def administrate(sql, server=private.POSTGRES):
    connection = psycopg2.connect(f"postgresql://etl:etl@127.0.0.1:{server.port}/postgres")
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
    finally:
        connection.close()


_databases = 0


def new_database(template="template1", server=private.POSTGRES):
    global _databases  # one number for the run, so that a database is never used twice
    _databases += 1
    server.running() or server.up()
    name = f"test_{os.getpid()}_{_databases}"
    administrate(f"CREATE DATABASE {name} TEMPLATE {template}", server)
    return Database(name, server)


def dropped(name, server=private.POSTGRES):
    """False: a process is still in it, or reads a slot of it. (Other slots go with their database.)"""
    administrate(f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '{name}'", server)
    administrate(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'", server)
    try:
        administrate(f"DROP DATABASE IF EXISTS {name}", server)
    except psycopg2.errors.ObjectInUse:
        return False
    return True


def drop(database):
    database.close()
    database.server.running() or database.server.up()
    tools.wait_until(lambda: dropped(database.name, database.server), timeout=60)


@pytest.fixture
def pg(machine):
    """An empty database."""
    database = new_database()
    yield database
    drop(database)


@pytest.fixture(scope="session")
def movies_template(machine):
    database = new_database()
    database.psql("-f", os.path.join(ROOT, "scripts", "movies.sql"))
    database.close()
    yield database.name
    drop(database)


@pytest.fixture
def movies(machine, movies_template):
    """A database with the sample films."""
    database = new_database(movies_template)
    yield database
    drop(database)


# The search servers


class SearchError(Exception):
    def __init__(self, status, answer):
        super().__init__(f"{status}: {answer}")
        self.status = status
        self.answer = answer


class SearchServer:
    def __init__(self, server):
        self.server = server  # freeze(), thaw(), kill(), restart(), up(), down()
        self.name = server.name
        self.port = server.port
        self.url = server.url

    def access(self, **who):
        """The headers that say who asks, and the TLS to ask by: none of either. (Others: tests/secured.py.)"""
        return {}, None

    def env(self):
        """The engine's variables."""
        return {"ELASTICSEARCH_URL": self.url}

    def request(self, method, path, body=None, timeout=30, **who):
        """The answer, decoded from JSON. A body may be text (NDJSON) or anything that JSON can express. A status
        of 400 or above raises SearchError."""
        headers, context = self.access(**who)
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        kind = "application/x-ndjson" if isinstance(body, str) else "application/json"
        request = urllib.request.Request(
            f"{self.url}/{path.lstrip('/')}",
            data=text.encode() if text is not None else None,
            method=method,
            headers={"Content-Type": kind, **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
                return _decode(answer.read())
        except urllib.error.HTTPError as error:
            raise SearchError(error.code, _decode(error.read())) from None

    def exists(self, index):
        try:
            self.request("HEAD", index)
        except SearchError:
            return False
        return True

    def refresh(self, index="_all"):
        self.request("POST", f"{index}/_refresh")

    def count(self, index):
        """How many documents; 0 if there is no such index."""
        if not self.exists(index):
            return 0
        self.refresh(index)
        return self.request("GET", f"{index}/_count")["count"]

    def get(self, index, key):
        """One document's fields, or None."""
        hit = self.hit(index, key)
        return hit["_source"] if hit else None

    def hit(self, index, key):
        """One document with _version, _seq_no and so on, or None."""
        try:
            return self.request("GET", f"{index}/_doc/{urllib.request.quote(key, safe='')}")
        except SearchError as error:
            if error.status == 404:
                return None
            raise

    def docs(self, index):
        """All documents: {_id: fields}."""
        return {key: hit["_source"] for key, hit in self.hits(index).items()}

    def versions(self, index):
        """All versions: {_id: _version}."""
        return {key: hit["_version"] for key, hit in self.hits(index).items()}

    def hits(self, index):
        self.refresh(index)
        found = {}
        body = {"size": 2000, "version": True, "sort": ["_doc"]}
        page = self.request("POST", f"{index}/_search?scroll=1m", body)
        while page["hits"]["hits"]:
            found.update({hit["_id"]: hit for hit in page["hits"]["hits"]})
            page = self.request("POST", "_search/scroll", {"scroll": "1m", "scroll_id": page["_scroll_id"]})
        self.request("DELETE", "_search/scroll", {"scroll_id": page["_scroll_id"]})
        return found

    def search(self, index, query, size=10):
        """The hits of a query, best first: [fields]. A text is searched in all fields."""
        if isinstance(query, str):
            query = {"query_string": {"query": query}}
        self.refresh(index)
        answer = self.request("POST", f"{index}/_search", {"query": query, "size": size})
        return [hit["_source"] for hit in answer["hits"]["hits"]]

    def wipe(self):
        """Remove all indexes, and settings that a test made."""
        names = [row["index"] for row in self.request("GET", "_cat/indices?format=json&h=index&expand_wildcards=all")]
        for name in names:
            if not name.startswith("."):
                self.request("DELETE", name)
        settings = self.request("GET", "_cluster/settings")
        for kind in ("persistent", "transient"):
            if settings[kind]:
                self.request("PUT", "_cluster/settings", {kind: {"*": None}})


def _decode(data):
    try:
        return json.loads(data) if data else None
    except ValueError:
        return data.decode(errors="replace")


def search_server(server):
    """The view of it that fits its kind."""
    if not server.url.startswith("https"):
        return SearchServer(server)
    import secured  # it builds on this module

    return secured.SecuredServer(server)


def whole_search(request, server):
    if server.is_partial and request.node.get_closest_marker("all_modules"):
        pytest.skip(f"{server.name} is without some modules")
    return clean_search(server)


def clean_search(server):
    server.running() or server.up()
    search = search_server(server)
    search.wipe()
    return search


def pytest_generate_tests(metafunc):
    """Each test of a search server runs on all of them; those with faults, which take long, on the first one alone, unless
    ETL_FAULTS=long. With several tests at a time, each server has its tests in one process: it starts but once."""
    if "search" not in metafunc.fixturenames or hasattr(metafunc.module, "search"):  # a module's own is of one server
        return
    slow = metafunc.module.__file__.split(os.sep)[-2] in ("faults", "proof") and os.environ.get("ETL_FAULTS") != "long"
    servers = [pytest.param(s, id=s.name, marks=pytest.mark.xdist_group(s.name)) for s in SEARCH]
    metafunc.parametrize("search", [pytest.param(SEARCH[0], id=SEARCH[0].name)] if slow else servers, indirect=True)


@pytest.fixture
def search(request, machine):
    """A search server without indexes. The test runs once on each server."""
    return whole_search(request, request.param)


@pytest.fixture
def search_one(request, machine):
    """The first search server only, for tests where it does not matter which."""
    return whole_search(request, SEARCH[0])


# The engine


def clean_env():
    """Ours, without what would change the engine's or psql's behaviour."""
    ours = ("PG", "ETL_", "ELASTICSEARCH_", "AWS_", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_", "DATABASE_URL",
            "FILE_PATH_STATE", "NO_COLOR")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)}


class Result:
    def __init__(self, command, returncode, stdout, stderr):
        self.command = command
        self.returncode = returncode  # negative: the signal that ended it
        self.stdout = stdout
        self.stderr = stderr
        for text in (stdout, stderr):
            complaint = re.search(r"^.*(Sanitizer|runtime error:).*$", text, re.M)
            assert not complaint, f"{' '.join(command)}\n{text[:20000]}"

    @property
    def docs(self):
        """The documents on standard output, one JSON text a line."""
        return [json.loads(line) for line in self.stdout.split("\n") if line]  # splitlines() splits at U+2028

    def __repr__(self):
        return f"{' '.join(self.command)}: {self.returncode}\n{self.stdout[-4000:]}\n{self.stderr[-8000:]}"


class Running:
    """An engine at work."""

    def __init__(self, command, env, cwd, folder, number, stdin):
        self.command = command
        self._out = os.path.join(folder, f"engine-{number}.out")
        self._err = os.path.join(folder, f"engine-{number}.err")
        with open(self._out, "wb") as out, open(self._err, "wb") as err:
            self.process = subprocess.Popen(
                command, stdin=stdin or subprocess.DEVNULL, stdout=out, stderr=err, env=env, cwd=cwd
            )
        self.pid = self.process.pid

    @property
    def stdout(self):
        """What it has printed so far."""
        return _read(self._out)

    @property
    def stderr(self):
        """What it has said so far."""
        return _read(self._err)

    def alive(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        """SIGTERM, and the result."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        """SIGKILL, and the result."""
        self.process.kill()
        return self.wait()

    def wait(self, timeout=60):
        """The result, once it has ended by itself."""
        try:
            returncode = self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"still running after {timeout * SLOW} s: {' '.join(self.command)}\n{self.stderr}") from None
        return Result(self.command, returncode, self.stdout, self.stderr)

    def rss(self):
        """Resident memory in bytes, at its highest so far."""
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as f:
            return int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1)) * 1024


def _read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


class Engine:
    """engine("scripts/movies.lua", "--limit", "2") runs it and returns the result; engine.start(...) returns the
    running process. Paths are as seen from the checkout."""

    path = ENGINE

    def __init__(self, env, folder):
        self.env = env
        self.state = env["FILE_PATH_STATE"]
        self._folder = folder
        self._running = []

    def __call__(self, *words, timeout=60, **options):
        return self.start(*words, **options).wait(timeout)

    def start(self, *words, env=None, cwd=ROOT, stdin=None):
        """env: variables to add, or with None to take away. stdin: an open file, or text."""
        variables = {**self.env, **(env or {})}
        variables = {key: str(value) for key, value in variables.items() if value is not None}
        number = len(self._running) + 1
        if isinstance(stdin, str):
            path = os.path.join(self._folder, f"engine-{number}.in")
            with open(path, "w", encoding="utf-8") as f:
                f.write(stdin)
            with open(path, "rb") as f:
                running = Running([ENGINE, *map(str, words)], variables, cwd, self._folder, number, f)
        else:
            running = Running([ENGINE, *map(str, words)], variables, cwd, self._folder, number, stdin)
        self._running.append(running)
        return running

    def close(self):
        for running in self._running:
            if running.alive():
                running.kill()


@pytest.fixture
def engine(request, tmp_path):
    """Runs the engine against the databases and servers of the test's other fixtures."""
    env = clean_env()
    env["DATABASE_URL"] = f"postgresql://{NOWHERE}/none"
    for name in ("pg", "movies"):
        if name in request.fixturenames:
            env["DATABASE_URL"] = request.getfixturevalue(name).url
    env["ELASTICSEARCH_URL"] = f"http://{NOWHERE}"
    for name in ("search_one", "search"):
        if name in request.fixturenames:
            env.update(request.getfixturevalue(name).env())
    env["FILE_PATH_STATE"] = str(tmp_path / "state")
    env["ASAN_OPTIONS"] = "exitcode=99:detect_leaks=1"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1"
    env["TSAN_OPTIONS"] = "exitcode=99"
    engine = Engine(env, str(tmp_path))
    yield engine
    engine.close()


@pytest.fixture
def script(tmp_path):
    """script(text, name="script.lua") writes a script and returns its path."""

    def write(text, name="script.lua"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def wait_until():
    return tools.wait_until


@pytest.fixture
def free_port():
    return tools.free_port()


@pytest.fixture
def rng():
    seed = int(os.environ.get("ETL_SEED", random.randrange(1 << 32)))
    print(f"seed {seed} (again: ETL_SEED={seed})")
    return random.Random(seed)


@pytest.fixture
def serve(engine, wait_until):
    """serve("scripts/movies.lua", "--follow") starts the engine with --listen, and returns what it serves."""

    def start(*words, listen="127.0.0.1:0", **options):
        running = engine.start(*words, "--listen", listen, **options)
        wait_until(lambda: "listening on" in running.stderr or not running.alive())
        return served.Served(running)

    return start
