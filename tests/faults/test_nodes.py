"""Several nodes in sink.url: the run goes on while one lives. Mostly a proxy each, all before one server."""
import contextlib
import http.server
import threading

import pytest

import services as private
from conftest import clean_search
from faults import LONG, assert_true_to, pause
from proxy import Proxy

pytest_plugins = ["fault_fixtures"]


@pytest.fixture
def proxies(engine, search_one):
    with contextlib.ExitStack() as stack:
        three = [stack.enter_context(Proxy(search_one.port)) for _ in range(3)]
        engine.env["ELASTICSEARCH_URL"] = ",".join(proxy.url for proxy in three)
        yield three


def test_all_nodes_have_their_share_of_a_load_and_of_a_walk(search_one, items, proxies):
    """A sweep walks through the index by a scroll, whose pages come from one node after the other."""
    urls = ", ".join(f'"{proxy.url}"' for proxy in proxies)
    items.script = items.write(sink=f"url = {{ {urls} }},")
    items.fill(20000, width=300)
    items.run()
    assert all(proxy.up > 0 for proxy in proxies)
    down = [proxy.down for proxy in proxies]
    items.run("--sweep")
    assert all(proxy.down > before for proxy, before in zip(proxies, down))
    assert all(proxy.accepted <= 2 * 4 for proxy in proxies)  # two runs, of two workers and two others each
    assert_true_to(items, search_one)


def test_nodes_that_go_and_come_in_a_load(search_one, items, proxies, rng, wait_until):
    items.fill(60000, width=300)
    engine = items.start()
    while engine.alive():
        passed = sum(proxy.up for proxy in proxies)
        wait_until(lambda: sum(proxy.up for proxy in proxies) > passed + 7_000_000 or not engine.alive())
        for proxy in proxies:
            proxy.accept()
        rng.choice(proxies).refuse()
    done = engine.wait()
    assert done.returncode == 0, done
    assert "going on with other nodes" in done.stderr
    assert_true_to(items, search_one)


def test_a_node_that_is_absent_is_asked_now_and_then_and_comes_back(search_one, items, proxies, wait_until):
    items.fill(100)
    proxies[1].refuse()
    items.script = items.write(more="poll_interval = 0.1,")
    engine = items.start("--follow")
    wait_until(lambda: "going on with other nodes" in engine.stderr)
    assert f"could not reach {proxies[1].url}: " in engine.stderr
    proxies[1].accept()

    def changed():
        items.pg.execute("UPDATE item SET n = n + 1, modified = clock_timestamp() WHERE id = 7")
        return f"node {proxies[1].url} answers again" in engine.stderr

    wait_until(changed)
    assert engine.stop().returncode == 143
    assert engine.stderr.count("going on with other nodes") == 1
    assert "trying again in" not in engine.stderr
    items.run()
    assert_true_to(items, search_one)


def test_with_no_node_left_it_waits(search_one, items, proxies, wait_until):
    items.fill(100)
    for proxy in proxies:
        proxy.refuse()
    engine = items.start("--verbose")
    wait_until(lambda: engine.stderr.count("trying again in") > 4)
    proxies[2].accept()
    done = engine.wait()
    assert done.returncode == 0, done
    assert_true_to(items, search_one)


@pytest.fixture
def nodes(machine):
    """A cluster of three real nodes."""
    names = [node.name for node in private.NODES]
    done = private.run("up", *names)
    assert done.returncode == 0, done.stderr
    yield private.NODES
    private.run("down", *names)


@pytest.mark.skipif(not LONG, reason="starts a cluster (ETL_FAULTS=long)")
def test_real_nodes_whose_queues_are_full(items, engine, nodes):
    search = clean_search(nodes[0])
    search.request("PUT", "items", {"settings": {"number_of_shards": 6, "number_of_replicas": 1}})
    engine.env["ELASTICSEARCH_URL"] = ",".join(node.url for node in nodes)
    items.fill(100000, width=300)
    done = items.run("--workers", "8", timeout=300)
    assert "items were rejected for now: rejected_execution_exception" in done.stderr
    assert "overloaded: now" in done.stderr
    assert_true_to(items, search)


@pytest.mark.skipif(not LONG, reason="starts a cluster (ETL_FAULTS=long)")
def test_a_real_node_killed_and_restarted_in_a_load(items, engine, nodes, rng, wait_until):
    search = clean_search(nodes[0])

    def whole():
        health = search.request("GET", "_cluster/health")
        return health["number_of_nodes"] == 3 and health["status"] == "green"

    search.request("PUT", "items", {"settings": {"number_of_shards": 3, "number_of_replicas": 1}})
    wait_until(whole)
    engine.env["ELASTICSEARCH_URL"] = ",".join(node.url for node in nodes)
    items.fill(60000)
    items.script = items.write(sink="max_rate = 1500,")  # it then takes 40 s, as long as a node needs to come back
    running = items.start()
    wait_until(lambda: search.count("items") > 1000)
    pause(running, rng.uniform(0, 2))
    nodes[1].kill()
    assert pause(running, 2)
    nodes[1].up()
    wait_until(whole, timeout=120)
    done = running.wait(300)
    assert done.returncode == 0, done
    assert "going on with other nodes" in done.stderr
    items.script = items.write()
    assert_true_to(items, search)


class Sick(http.server.BaseHTTPRequestHandler):
    """A node that is there, and says that it cannot."""

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b'{"error":{"type":"master_not_discovered_exception","reason":null},"status":503}'
        self.send_response(503)
        self.send_header("Retry-After", "3600")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_HEAD = do_GET

    def log_message(self, *words):
        pass


@pytest.mark.parametrize("first", ["sick", "well"])
def test_a_node_that_answers_503_holds_nobody_up(search_one, items, first):
    items.fill(3000)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sick)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    urls = [f"http://127.0.0.1:{server.server_port}", search_one.url]
    try:
        url = ",".join(urls if first == "sick" else urls[::-1])
        done = items.start("--sweep", env={"ELASTICSEARCH_URL": url}).wait()
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done
    assert "answered 503; going on with other nodes" in done.stderr
    assert_true_to(items, search_one)
