"""The requests that the engine makes are those that engine/es/es_api.h lists."""
import http.client
import http.server
import os
import re
import threading
import urllib.parse

import films
from films import run
from tools import ROOT


def listed():
    """{(method, path): parameters} of the header."""
    with open(os.path.join(ROOT, "engine", "es", "es_api.h"), encoding="utf-8") as f:
        lines = re.findall(r"^ \* (GET|PUT|POST|DELETE|HEAD) +(/\S*)((?: +\w+)*)$", f.read(), re.M)
    return {(method, path): set(parameters.split()) for method, path, parameters in lines}


class Recorder(http.server.BaseHTTPRequestHandler):
    """Passes every request on, and notes it."""

    protocol_version = "HTTP/1.1"

    def pass_on(self):
        self.server.seen.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        there = http.client.HTTPConnection("127.0.0.1", self.server.target)
        there.request(self.command, self.path, body, {"Content-Type": self.headers.get("Content-Type", "")})
        answer = there.getresponse()
        data = answer.read()
        there.close()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type", ""))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

    def log_message(self, *_):
        pass


def shape(path):
    """The path as the list has it, and its parameters."""
    path, _, query = path.partition("?")
    parts = path.strip("/").split("/")
    if parts[0] and not parts[0].startswith("_"):
        parts[0] = "INDEX"
    if len(parts) == 3 and parts[1] in ("_settings", "_alias", "_doc"):
        parts[-1] = "ID" if parts[1] == "_doc" else "NAME"
    return "/" + "/".join(parts), {name for name, _ in urllib.parse.parse_qsl(query)}


def test_every_request_is_listed(engine, pg, search_one, script):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    server.seen, server.target = [], search_one.port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    engine.env["ELASTICSEARCH_URL"] = f"http://127.0.0.1:{server.server_port}"
    try:
        pg.execute(films.SCHEMA)
        pg.execute("INSERT INTO film SELECT i, 'more' FROM generate_series(100, 2200) i")  # a walk of two pages
        path = script(films.lua([films.ROLE, films.PERSON_INDEXED]))
        engine("check", path)
        run(engine, path)
        pg.execute("DELETE FROM film WHERE id = 3; UPDATE person SET name = 'x', modified = clock_timestamp() WHERE id = 1")
        run(engine, path, "--sweep")
        run(engine, "reindex", path, "--replace-index")
        run(engine, "reindex", path, "--keep", "0")
        search_one.request("PUT", "films/_settings", {"index.default_pipeline": "missing"})
        engine("check", path)
        search_one.request("PUT", "films/_settings", {"index.default_pipeline": None})
        placed = films.lua(
            document="return { title = row.title }, { index = 'films-' .. row.id % 2, routing = row.id }",
            index="films-0", sink='indices = "films-*"',
        )  # fmt: skip
        run(engine, script(placed, "placed.lua"), "--full")
    finally:
        server.shutdown()
        server.server_close()
    allowed, met = listed(), set()
    for method, path in server.seen:
        place, parameters = shape(path)
        assert (method, place) in allowed and parameters <= allowed[method, place], f"not in es_api.h: {method} {path}"
        met.add((method, place))
    assert met == set(allowed)  # and nothing is listed that is not used
