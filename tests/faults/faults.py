"""What the fault tests share: a table to load, the comparison with the truth, and an HTTP server that lies.

The invariant of each test: in the end every document in the index equals what the script gives for its row, none is
missing, none left over: assert_true_to().

Environment: ETL_FAULTS=long, many more rounds, and waits beyond the engine's own time limits; ETL_SEED, as in
../conftest.py.
"""
import http.client
import http.server
import json
import os
import subprocess
import threading
import time

import pytest

from tools import LONG

SCRIPT = """
return {
  name = "items",
  source = {
    url = os.getenv "DATABASE_URL", table = "item", key = "id", cursor = "modified",
    query = [[ %(query)s ]],
  },
  document = function(row) return { name = row.name, n = row.n } end,
  %(more)s
  sink = { url = os.getenv "ELASTICSEARCH_URL", index = "items", %(sink)s },
  state = os.getenv "FILE_PATH_STATE",
}
"""


class Items:
    """The table "item", and its script. Rows are small, so that a load is quick."""

    def __init__(self, pg, engine, write):
        self.pg = pg
        self.engine = engine
        self._write = write
        self.script = self.write()

    def write(self, query="SELECT id, name, n FROM item", more="", sink="", name="items.lua"):
        """Another script for the same table."""
        return self._write(SCRIPT % {"query": query, "more": more, "sink": sink}, name)

    def fill(self, rows, width=0):
        """width: bytes by which each document is made longer, for more requests in a load."""
        self.pg.execute(
            "CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL, n int NOT NULL,"
            " modified timestamptz NOT NULL DEFAULT clock_timestamp());"
            "CREATE INDEX ON item (modified, id);"
            "INSERT INTO item SELECT i, 'item ' || i || repeat('.', %s), 0, timestamptz '2024-01-01' + i * interval '1 ms'"
            "  FROM generate_series(1, %s) i;"
            "ANALYZE item",
            (width, rows),
        )
        return self

    def change(self, rng, rows):
        """Change so many rows at random places, each in the way an application does."""
        top = self.pg.value("SELECT max(id) FROM item")
        ids = rng.sample(range(1, top + 1), rows)
        self.pg.execute("UPDATE item SET n = n + 1, modified = clock_timestamp() WHERE id = ANY(%s)", (ids,))

    def insert(self, rows):
        self.pg.execute(
            "INSERT INTO item SELECT m + i, 'item ' || m + i, 0 FROM (SELECT max(id) m FROM item) top,"
            " generate_series(1, %s) i",
            (rows,),
        )

    def start(self, *words, **options):
        return self.engine.start(self.script, *words, **options)

    def run(self, *words, timeout=60, **options):
        """Run to the end, which has to be a good one."""
        done = self.engine(self.script, *words, timeout=timeout, **options)
        assert done.returncode == 0, done
        return done

    def state(self):
        """The state file's content; None while there is none."""
        try:
            with open(self.engine.state, encoding="utf-8") as f:
                return json.load(f)
        except FileNotFoundError:
            return None

    def forget(self):
        if os.path.exists(self.engine.state):
            os.remove(self.engine.state)


def truth(engine, script, url):
    """What the script gives now: {_id: document}, read past all proxies."""
    done = engine(script, "--dry-run", "--format", "bulk", env={"DATABASE_URL": url})
    assert done.returncode == 0, done
    expected = {}
    lines = iter(done.stdout.splitlines())
    for line in lines:
        action = json.loads(line)
        if "index" in action:
            expected[action["index"]["_id"]] = json.loads(next(lines))
    return expected


def assert_true_to(items, search, script=None, index="items"):
    """Every document in the index equals what the script gives for its row; none is missing, none left over."""
    expected = truth(items.engine, script or items.script, items.pg.url)
    found = search.docs(index)
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    wrong = sorted(key for key in expected.keys() & found.keys() if expected[key] != found[key])
    assert not (missing or extra or wrong), (
        f"of {len(expected)} documents {len(missing)} are missing ({missing[:5]}), {len(wrong)} differ ({wrong[:5]}), "
        f"and {len(extra)} are left over ({extra[:5]})"
    )


def pause(running, seconds):
    """Let the engine run for so long, or until it ends: for faults at a random moment. Whether it still runs."""
    try:
        running.process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        return True


def seconds(call, *arguments):
    begin = time.monotonic()
    call(*arguments)
    return time.monotonic() - begin


class Request:
    def __init__(self, method, path, body, headers):
        self.method = method
        self.path = path
        self.body = body
        self.headers = headers

    @property
    def bulk(self):
        return "/_bulk" in self.path

    def lines(self):
        """A bulk body's items: [(action, document or None)], as bytes."""
        items, lines = [], iter(self.body.splitlines(keepends=True))
        for line in lines:
            items.append((line, None if line.startswith(b'{"delete"') else next(lines)))
        return items


class Gateway:
    """Passes requests on, unless `answer` has something else to say: a function that takes a Request and returns
    None (pass it on) or (status, headers, body)."""

    def __init__(self, search):
        self.search = search
        self.answer = lambda request: None
        self.bulks = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def _serve(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.command, self.path, body, dict(self.headers))
                outer.bulks += request.bulk
                status, headers, answer = outer.answer(request) or outer.forward(request)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def forward(self, request, body=None):
        """The search server's own answer: (status, headers, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.search.port, timeout=60)
        try:
            kind = request.headers.get("Content-Type", "application/json")
            connection.request(
                request.method, request.path, request.body if body is None else body, {"Content-Type": kind}
            )
            answer = connection.getresponse()
            return answer.status, {"Content-Type": answer.getheader("Content-Type", "")}, answer.read()
        finally:
            connection.close()


class SmallDisk:
    """A file system in memory with room for little."""

    def __init__(self, folder):
        self.folder = folder
        os.mkdir(folder)

    def __enter__(self):
        done = self._run("mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=64", "tmpfs", self.folder)
        if done.returncode != 0:
            pytest.skip(f"cannot mount a small disk: {done.stderr}")
        return self

    def __exit__(self, *_):
        done = self._run("umount", "-l", self.folder)
        assert done.returncode == 0, done.stderr

    def _run(self, *command):
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def path(self, name):
        return os.path.join(self.folder, name)

    def remount(self, how):
        done = self._run("mount", "-o", f"remount,{how}", self.folder)
        assert done.returncode == 0, done.stderr

    def fill(self):
        """Until not a byte more fits."""
        with open(self.path("filler"), "wb", buffering=0) as f:
            for size in (4096, 1):
                try:
                    while f.write(b"x" * size):
                        pass
                except OSError:
                    pass

    def use_up_inodes(self):
        """Until no further file can be made."""
        try:
            for i in range(100):
                with open(self.path(f"filler{i}"), "wb"):
                    pass
        except OSError:
            pass

    def free(self):
        for name in os.listdir(self.folder):
            if name.startswith("filler"):
                os.remove(self.path(name))
