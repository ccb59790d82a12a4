"""--listen: what a running process serves, to whom, and what clients cannot do to it."""
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess

import films
import pytest
from tools import free_port

HOSTILE = 70  # connections: more than the server keeps


@pytest.fixture
def search(search_one):
    return search_one


@pytest.fixture
def followed(pg, search, script, serve, wait_until):
    """One pipeline that follows."""
    films.table(pg)
    served = serve(script(films.plain()), "--follow")
    wait_until(served.is_ready)
    return served


# What is served


def test_a_process_shows_how_it_is(followed):
    status, headers, page = followed.get("/")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8" and page.lower().startswith("<!doctype html>")
    assert followed.get("/healthz")[0::2] == (200, "ok\n")
    assert followed.get("/readyz")[0::2] == (200, "films: ready\n")
    shown = followed.status()
    assert shown["ready"] and shown["process"]["resident_bytes"] > 1 << 20 and shown["process"]["threads"] > 2
    (pipeline,) = shown["pipelines"]
    assert (pipeline["name"], pipeline["index"], pipeline["capture"], pipeline["phase"]) == ("films", "t", "poll", "following")
    assert pipeline["documents"]["indexed"] == 20 and pipeline["requests"]["200"] > 0
    assert set(pipeline) == {
        "name", "script", "index", "database", "search", "capture", "phase", "phase_since", "ready", "reason", "retry_in_seconds",
        "reload_error", "load", "documents", "requests", "request_bytes", "retried_items", "documents_per_second", "lag_seconds",
        "oldest_waiting_seconds", "queued_batches", "slot", "journal", "horizon", "dead_letters", "errors", "failures",
        "last_sweep", "history",
    }  # fmt: skip


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool here (vendor/install monitoring)")
def test_prometheus_can_read_the_metrics(followed):
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    status, headers, text = followed.get("/metrics")
    assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert 'etl_engine_documents_total{pipeline="films",result="indexed"} 20\n' in text
    status, headers, text = followed.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,*/*;q=0.1"})
    assert status == 200 and headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}  # a strict one
    assert families["etl_engine_documents"].type == "counter" and families["process_cpu_seconds"].type == "counter"
    (sample,) = [s for s in families["etl_engine_pipeline_phase"].samples if s.value == 1]
    assert sample.labels == {"pipeline": "films", "phase": "following"}


def test_one_listener_for_all_pipelines(engine, pg, search, script, serve, wait_until):
    films.table(pg)
    paths = [
        script(films.plain(index=name).replace('name = "films"', f'name = "{name}"').replace("FILE_PATH_STATE", f"STATE_{name}"),
               f"{name}.lua")
        for name in ("one", "two")
    ]  # fmt: skip
    env = {f"STATE_{name}": f"{engine.state}.{name}" for name in ("one", "two")}
    served = serve(*paths, "--follow", env=env)
    wait_until(served.is_ready)
    assert served.get("/readyz")[2] == "one: ready\ntwo: ready\n"
    pg.execute("ALTER TABLE t RENAME TO gone")
    wait_until(lambda: served.get("/readyz")[0] == 503)
    assert served.get("/healthz")[0] == 200  # it works, and tries again
    pg.execute("ALTER TABLE gone RENAME TO t")
    wait_until(served.is_ready, timeout=60)
    assert [p["documents"]["indexed"] >= 20 for p in served.status()["pipelines"]] == [True, True]


def test_a_pipeline_that_is_behind_is_not_ready(pg, search, script, serve, wait_until):
    films.table(pg)
    nowhere = f"http://127.0.0.1:{free_port()}"
    served = serve(script(films.plain()), "--follow", "--max-lag", "1", env={"ELASTICSEARCH_URL": nowhere})
    assert served.get("/healthz")[0] == 200
    wait_until(lambda: served.pipeline()["phase"] == "waiting")
    status, _, text = served.get("/readyz")
    assert status == 503 and text.startswith("films: not ready: waiting: could not reach http:")
    assert not served.status()["ready"] and not served.pipeline()["ready"]


def test_a_run_that_ends_is_served_for_as_long_as_it_lasts(pg, search, script, serve, wait_until):
    films.table(pg)
    nowhere = f"http://127.0.0.1:{free_port()}"
    served = serve(script(films.plain()), env={"ELASTICSEARCH_URL": nowhere})
    assert served.get("/readyz")[0] == 503
    assert served.running.stop().returncode == 143
    with pytest.raises(ConnectionRefusedError):
        served.get("/")


def test_no_secret_is_shown(pg, search, script, serve, wait_until):
    films.table(pg)
    env = {
        "DATABASE_URL": pg.url_at(pg.port, options="-capplication_name%3Ds3cr3t-1"),
        "ELASTICSEARCH_URL": search.url.replace("http://", "http://s3cr3t-2:s3cr3t-3@"),
    }
    served = serve(script(films.plain()), "--follow", env=env)
    wait_until(served.is_ready)
    shown = "".join(served.get(path)[2] for path in ("/", "/status", "/metrics", "/readyz", "/healthz"))
    assert "s3cr3t" not in shown and "etl:etl" not in shown
    assert served.pipeline()["search"] == search.url


def test_a_reload_that_fails_is_told_until_one_succeeds(followed, pg, script, wait_until):
    script("return {")
    followed.running.signal(signal.SIGHUP)
    wait_until(lambda: followed.pipeline()["reload_error"])
    told = followed.pipeline()["reload_error"]
    assert re.search(r"script\.lua:\d+: .*expected", told["message"]) and told["time"] <= followed.status()["now"]
    pg.execute("UPDATE t SET v = 'w', modified = now() WHERE id = 3")
    wait_until(lambda: followed.pipeline()["documents"]["indexed"] > 20)
    assert followed.pipeline()["reload_error"] == told and followed.pipeline()["ready"]
    script(films.plain())
    followed.running.signal(signal.SIGHUP)
    wait_until(lambda: not followed.pipeline()["reload_error"])


def test_a_reload_does_not_disturb_it(followed, wait_until):
    held = followed.connect(b"GET /healthz HTTP/1.1\r\n")
    followed.running.signal(signal.SIGHUP)
    wait_until(lambda: "reloaded" in followed.running.stderr)
    assert followed.get("/readyz")[0] == 200
    held.sendall(b"Host: localhost\r\n\r\n")
    assert held.recv(4096).startswith(b"HTTP/1.1 200 ")
    held.close()


class Frozen:
    """One thread of a process does not go on, while the others do (ptrace(2))."""

    SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
    ptrace = staticmethod(ctypes.CDLL(None, use_errno=True).ptrace)

    def __init__(self, thread):
        self.thread = thread

    def _ask(self, request):
        null = ctypes.c_void_p(0)
        return self.ptrace(ctypes.c_long(request), ctypes.c_long(self.thread), null, null)

    def __enter__(self):
        if self._ask(self.SEIZE) != 0:
            pytest.skip("no ptrace here")
        self._ask(self.INTERRUPT)
        os.waitpid(self.thread, 0x40000000)  # __WALL
        return self

    def __exit__(self, *_):
        self._ask(self.DETACH)


def test_a_thread_that_hangs_is_seen(pg, search, script, serve, wait_until):
    films.table(pg)
    served = serve(script(films.plain()), "--follow", env={"WATCHDOG_USEC": 2_000_000})
    wait_until(lambda: "following" in served.running.stderr)
    with Frozen(served.running.pid):
        wait_until(lambda: served.get("/healthz")[0::2] == (503, "thread 'main' hangs\n"))
    wait_until(lambda: served.get("/healthz")[0] == 200)


# To whom


def test_only_what_is_meant_is_answered(followed):
    status, headers, text = followed.get("/", method="HEAD")
    assert (status, text) == (200, "") and int(headers["Content-Length"]) > 100
    status, _, text = followed.get("/../etc/passwd")
    assert (status, text) == (404, "not here; there are: / /status /metrics /healthz /readyz\n")
    assert followed.get("/status?a=b")[0] == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
        status, headers, _ = followed.get("/status", method=method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert followed.get("/", body=b"x" * 100)[0] == 413
    assert b" 413 " in followed.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_no_page_from_elsewhere_reads_or_embeds_it(followed):
    for path in ("/", "/status", "/metrics", "/readyz", "/nope"):
        _, headers, _ = followed.get(path, headers={"Origin": "http://evil.example"})
        assert not [name for name in headers if name.lower().startswith("access-control-")]
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy


def test_on_loopback_another_host_name_is_refused(followed):
    for host in ("localhost", f"localhost:{followed.port}", "127.0.0.1:8000", "[::1]"):
        assert followed.get("/status", headers={"Host": host})[0] == 200
    for host in ("evil.example", f"evil.example:{followed.port}", "127.0.0.1.evil.example", "localhost.", "0.0.0.0"):
        status, _, text = followed.get("/status", headers={"Host": host})
        assert status == 403 and "pipelines" not in text
    request = b"GET /status HTTP/1.0\r\n%s\r\n"
    assert b"pipelines" not in followed.raw(request % b"")
    assert b"pipelines" not in followed.raw(request % b"Host: localhost\r\nHost: evil.example\r\n")


def test_elsewhere_any_host_name_is_answered(pg, search, script, serve, wait_until):
    films.table(pg)
    served = serve(script(films.plain()), "--follow", listen="0.0.0.0:0")
    assert served.get("/healthz", headers={"Host": "etl-engine.default.svc:9187"})[0] == 200


@pytest.mark.parametrize(
    "listen, status, words",
    [
        ("{busy}", 1, "the port is in use"),
        ("192.0.2.1:9187", 1, "this machine has no such address"),
        ("9187x", 2, "not an address and a port"),
        ("localhost", 2, "not an address and a port"),
        ("nowhere.invalid:9187", 2, "Name or service not known"),
    ],
)
def test_where_it_cannot_listen_nothing_is_run(engine, pg, search, script, listen, status, words):
    films.table(pg)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        listen = listen.replace("{busy}", str(busy.getsockname()[1]))
        done = engine(script(films.plain()), "--listen", listen)
    if "nowhere" in listen and done.returncode == 1:  # no name server here
        return
    assert done.returncode == status
    lines = done.stderr.strip().split("\n")
    assert lines[0].startswith(f"etl-engine: error: cannot listen on '{listen}': ") and words in lines[0]
    assert all(line.startswith("hint: ") for line in lines[1:]) and not os.path.exists(engine.state)


# What clients cannot do


def still_works(served, pg, search, wait_until):
    pg.execute("UPDATE t SET v = v || '!', modified = clock_timestamp()")
    wanted = {v for (v,) in pg.query("SELECT v FROM t")}
    wait_until(lambda: {doc["v"] for doc in search.docs("t").values()} == wanted)
    assert served.get("/healthz")[0] == 200 and served.get("/metrics")[0] == 200


SAYINGS = {
    "nothing": b"",
    "a part of a line": b"GET /sta",
    "headers without end": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
    "a body that does not come": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n",
    "questions without reading": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20,
    "noise": bytes(range(256)) * 4,
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
}


def say(client, text):
    """False: it was sent off."""
    try:
        client.sendall(text)
        return True
    except OSError:
        return False


def test_clients_that_hang_do_not_hold_it_up(followed, pg, search, wait_until):
    clients = []
    for saying in SAYINGS.values():
        held = [followed.connect() for _ in range(HOSTILE)]
        for client in held:
            say(client, saying)
        still_works(followed, pg, search, wait_until)
        say(held[0], b"x")
        clients += held
    assert followed.running.stop().returncode == 143  # while they all are still there
    for client in clients:
        client.close()


def test_connections_are_few_and_end(followed, wait_until):
    """However a client goes on."""
    held = [followed.connect() for _ in range(HOSTILE)]
    slow = followed.connect(b"GET / HTTP/1.1\r\nX-A: ")
    wait_until(lambda: followed.connections() <= 16)
    assert followed.get("/healthz")[0] == 200
    wait_until(lambda: not say(slow, b"a"))  # its time is over, and that of the others before
    wait_until(lambda: followed.connections() == 0)
    for client in [*held, slow]:
        client.close()


BROKEN = {
    "path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    "lines": b"\r\n" * 100_000,
    "version": b"GET /%00%ff%zz HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "negative": b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "length": b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
}


def test_what_is_too_long_or_broken_is_refused(followed):
    for name, request in BROKEN.items():
        assert not followed.raw(request).startswith(b"HTTP/1.1 200"), name
        assert followed.get("/healthz")[0] == 200
