#!/usr/bin/python3
"""The page, engine/http/page.html, with a made-up process behind it, for its tests and for whoever works on it:

    make && tests/page_states.py      serves http://127.0.0.1:9699/STATE/ for every state below, until interrupted
"""
import base64
import hashlib
import http.server
import json
import math
import os
import re
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
TURNED = "\u202etxt.evil\u202c שלום"


def stamp(seconds_ago=0):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds_ago))


def history(most=900, lag=0.6, minutes=60, rejected=0):
    """A day's usual ups and downs; the same ones each time."""
    first = int(time.time()) // 60 * 60 - (minutes - 1) * 60
    points = []
    for i in range(minutes):
        wave = 0.5 + 0.35 * math.sin(i / 7) + 0.15 * math.sin(i * 2.3)
        documents = int(most * max(0, wave)) if i % 17 else 0
        points.append({"time": first + 60 * i, "documents": documents, "rejected": rejected if i % 11 == 5 else 0,
                       "lag_seconds": round(lag * (0.4 + wave / 2 + (1.5 if 38 < i < 42 else 0)), 3) if documents else None})  # fmt: skip
    return points


def pipeline(name="movies", **changes):
    p = {
        "name": name, "script": f"scripts/{name}.lua", "index": name, "database": "db.example:5432/films",
        "search": "http://search.example:9200", "capture": "wal", "phase": "following", "phase_since": stamp(93784), "ready": True,
        "reason": None, "retry_in_seconds": None, "reload_error": None, "load": None,
        "documents": {"indexed": 1843207, "deleted": 1204, "unchanged": 40, "superseded": 3, "rejected": 0},
        "requests": {"200": 9123, "429": 3}, "request_bytes": 812345678, "retried_items": 57,
        "documents_per_second": 12.5, "lag_seconds": 0.412, "oldest_waiting_seconds": 0, "queued_batches": 0,
        "slot": {"name": "etl_movies", "held_bytes": 16777216, "active": True}, "journal": {"bytes": 48211}, "horizon": None,
        "dead_letters": {"count": 0, "file": f"state/{name}.rejected", "latest": []}, "errors": [], "failures": 0, "last_sweep": stamp(7300), "history": history(),
    }  # fmt: skip
    p.update(changes)
    return p


def polled(name, **changes):
    return pipeline(name, **{"capture": "poll", "slot": None, "journal": None, **changes})


def loading(name="movies", documents=412000, expected=1000000, left=184.2, **changes):
    return pipeline(name, phase="loading", phase_since=stamp(128), ready=False, lag_seconds=None, oldest_waiting_seconds=None,
                    load={"documents": documents, "expected": expected, "seconds_left": left}, documents_per_second=3218.4,
                    queued_batches=7, last_sweep=None, history=history(190000, minutes=3), **changes)  # fmt: skip


def failing(name="genres", **changes):
    return polled(name, phase="failing", phase_since=stamp(95), ready=False, retry_in_seconds=42, failures=4, documents_per_second=0,
                  reason="could not read table 'content.genre': relation \"content.genre\" does not exist",
                  errors=[{"time": stamp(95), "level": "error",
                           "message": "could not read table 'content.genre': relation \"content.genre\" does not exist"},
                          {"time": stamp(1200), "level": "warn",
                           "message": "could not reach the search server at http://search.example:9200, trying again: connection refused"}],
                  **changes)  # fmt: skip


def waiting(name="persons", **changes):
    return polled(name, phase="waiting", phase_since=stamp(12), ready=False, retry_in_seconds=3, oldest_waiting_seconds=14.2,
                  reason="could not reach the search server: connection refused", **changes)  # fmt: skip


def letters(name="movies", count=2, **changes):
    reason = "mapper_parsing_exception: failed to parse field [rating] of type [float] in document: 'For input string: \"n/a\"'"
    latest = [{"key": key, "reason": reason} for key in ("3d825f60-9fff-4dfe-b294-1a45fa1e115d", "7", "9", "10", "11")[:count]]
    return pipeline(name, dead_letters={"count": count, "file": f"state/{name}.rejected", "latest": latest}, history=history(rejected=90),
                    documents={"indexed": 1843207, "deleted": 0, "unchanged": 0, "superseded": 0, "rejected": count}, **changes)  # fmt: skip


def fifty():
    some = [polled(f"shop_{i:02}", documents_per_second=i * 1.5, lag_seconds=i / 10, history=history(40 + 17 * i % 900)) for i in range(1, 46)]
    some[7].update(ready=False, lag_seconds=380.0, oldest_waiting_seconds=412)
    return some + [failing("genres"), waiting(), letters("movies"), loading("reviews"), loading("prices", 500, None, None)]


STATES = {
    "empty": lambda: [],
    "loading": lambda: [loading()],
    "unknown": lambda: [loading(expected=None, left=None)],
    "following": lambda: [pipeline()],
    "fresh": lambda: [pipeline(history=[], documents_per_second=0, lag_seconds=None, last_sweep=None)],
    "three": lambda: [pipeline(), polled("genres"), polled("persons", phase="sweeping")],
    "failing": lambda: [pipeline(), failing(), polled("persons")],
    "not-reloaded": lambda: [pipeline(reload_error={"time": stamp(95), "message": "scripts/movies.lua:3: '}' expected near 'sink'"}), polled("genres")],
    "dead": lambda: [letters()],
    "many-dead": lambda: [letters(count=5)],
    "held": lambda: [pipeline(slot={"name": "etl_movies", "held_bytes": 48318382080, "active": False},
                              horizon={"seconds": 5077, "held_by": "pid 4711 (psql), idle in transaction"})],
    "hostile": lambda: [pipeline(HOSTILE, script="a b'; rm -rf $HOME.lua", index=HOSTILE, database=TURNED + "x" * 300, search=HOSTILE, phase="waiting",
                                 reason=HOSTILE * 3, reload_error={"time": HOSTILE, "message": HOSTILE}, requests={HOSTILE: 1}, slot={"name": HOSTILE, "held_bytes": 1, "active": False},
                                 dead_letters={"count": 2, "file": "a '$(reboot)'\n" + TURNED, "latest": [{"key": "$(reboot)'" + HOSTILE, "reason": TURNED}, {"key": "y" * 400, "reason": HOSTILE}]},
                                 errors=[{"time": "no time", "level": HOSTILE, "message": HOSTILE}]),
                        pipeline("toString", history=[{"time": "x"}, None, {"time": time.time() - 90, "documents": HOSTILE}], errors=7, dead_letters=None,
                                 documents=None, requests=None, phase=HOSTILE, phase_since=None, slot=None, script=None)],
    "fifty": fifty,
}  # fmt: skip


def status(pipelines):
    return {"version": "1.4.0", "started": stamp(93784), "now": stamp(), "uptime_seconds": 93784.2, "ready": all(p["ready"] for p in pipelines),
            "process": {"resident_bytes": 32505856, "cpu_seconds": 311.4, "open_files": 19, "threads": 9}, "pipelines": pipelines}  # fmt: skip


def page():
    """As it is in the binary."""
    with open(os.path.join(ROOT, "build", "obj", "http", "page_html.c"), encoding="utf-8") as f:
        return bytes.fromhex("".join(re.findall(r"0x(..),", f.read())))


def policy(html):
    """As engine/http/page.c makes it; that it does is tested with the engine itself."""
    def hashes(tag):
        found = re.findall(rb"<%s>(.*?)</%s>" % (tag, tag), html, re.S)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in found)

    return (f"default-src 'none'; script-src {hashes(b'script')}; style-src {hashes(b'style')}; img-src data:; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")  # fmt: skip


class Server(http.server.ThreadingHTTPServer):
    """/STATE/ is the page, /STATE/status what it asks for. `answers[STATE]` overrules: a function that gives pipelines,
    or a status of HTTP; `asked` counts."""

    daemon_threads = True

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.answers, self.asked = {}, {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        state, _, what = self.path.lstrip("/").partition("/")
        answer = self.server.answers.get(state, STATES.get(state))
        if answer is None or what not in ("", "status"):
            self.send(404, b"nothing here\n", "text/plain")
        elif not what:
            html = page()
            self.send(200, html, "text/html; charset=utf-8", {"Content-Security-Policy": policy(html)})
        else:
            self.server.asked[state] = self.server.asked.get(state, 0) + 1
            if isinstance(answer, int):
                self.send(answer, b"no\n", "text/plain")
            else:
                self.send(200, json.dumps(status(answer())).encode(), "application/json")

    def send(self, code, body, kind, more=()):
        self.send_response(code)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), "X-Content-Type-Options": "nosniff", **dict(more)}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    own = Server(9699)
    for one in STATES:
        print(f"{own.url}/{one}/")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
