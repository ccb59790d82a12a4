"""Patroni fails over, with the slot that it keeps on its replicas as etl-engine-capture(7) tells: no change is lost, and
nothing is compared. Its primary is killed with all its processes, as a machine that dies: that takes 20 s to be noticed."""
import json
import re
import urllib.error
import urllib.request

import psycopg2
import pytest

import services
from faults import LONG
from haproxy import HAProxy
from test_readme import Page
from tools import wait_until
from wal_servers import Server
from wal_shop import SLOT, Shop

yaml = pytest.importorskip("yaml")
pytest_plugins = ["fault_fixtures"]
NODES = [services.Server(name) for name in ("patroni1", "patroni2")]
pytestmark = [
    pytest.mark.skipif(not LONG, reason="in the long form (ETL_FAULTS=long)"),
    pytest.mark.skipif(not NODES[0].usable(), reason="no Patroni here (vendor/install patroni)"),
]


class Node(Server):
    """One of the cluster's servers, whatever it is at the moment."""

    name = "movies"

    def __init__(self, node):
        self.node, self.port = node, node.port
        self.url = f"postgresql://etl:etl@127.0.0.1:{node.port}/{self.name}"
        self.rest = services.vendor(node.name).rest

    def ask(self, path, method="GET", body=None):
        """Patroni's answer: its status, and the text."""
        url, data = f"http://127.0.0.1:{self.rest}{path}", json.dumps(body).encode() if body else None
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def leads(self):
        """It does so a little before it has been promoted."""
        try:
            return self.ask("/primary")[0] == 200 and not self.value("SELECT pg_is_in_recovery()")
        except psycopg2.OperationalError:
            return False

    def follows(self):
        return self.ask("/replica")[0] == 200


class Cluster(Server):
    """Whichever leads."""

    name = Node.name

    def __init__(self, nodes):
        self.nodes = nodes
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        self.url = f"postgresql://etl:etl@{hosts}/{self.name}?target_session_attrs=read-write"

    def leader(self):
        wait_until(lambda: any(node.leads() for node in self.nodes), timeout=120, what="a primary")
        return next(node for node in self.nodes if node.leads())

    def replica(self):
        wait_until(lambda: any(node.follows() for node in self.nodes), timeout=120, what="a replica")
        return next(node for node in self.nodes if node.follows())

    def wait_ready(self):
        """The replica has the slot, which Patroni restarts it for, and all that the primary has."""
        lsn = self.leader().value("SELECT pg_current_wal_lsn()")

        def is_ready():
            try:
                return self.replica().query(
                    "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND confirmed_flush_lsn IS NOT NULL"
                    " AND pg_last_wal_replay_lsn() >= %s::pg_lsn AND EXISTS (SELECT FROM pg_stat_wal_receiver"
                    " WHERE status = 'streaming')", (SLOT, lsn))  # fmt: skip
            except psycopg2.OperationalError:
                return False

        wait_until(is_ready, timeout=120, what="the slot on the replica")

    def kill(self):
        """The primary; waits for the next one. Returns which it was."""
        node = self.leader()
        node.node.kill()
        other = next(other for other in self.nodes if other is not node)
        wait_until(other.leads, timeout=180, what="a new primary")
        return node


def settings(slot):
    """The manual's, for a slot of that name."""
    text = re.search(r"^```yaml\n(slots:.*?)^```$", Page("vendor/man/etl-engine-capture.7.md").text, re.M | re.S).group(1)
    return yaml.safe_load(text.replace("etl_movies", slot))


def restart(nodes):
    """As `patronictl restart` does."""
    for node in nodes:
        wait_until(lambda node=node: node.ask("/restart", "POST", {"timeout": "60s"})[0] == 200, timeout=120, what="a restart")
    wait_until(lambda: sorted((node.leads(), node.follows()) for node in nodes) == [(False, True), (True, False)],
               timeout=120, what="both nodes")  # fmt: skip


@pytest.fixture(scope="module")
def running():
    """The cluster, as the manual sets it up."""
    names = [node.name for node in NODES]
    done = services.run("up", *names)
    assert done.returncode == 0, done.stderr
    cluster = Cluster([Node(node) for node in NODES])
    for name in (f"{SLOT}_reindex", "stranger"):
        cluster.query("SELECT pg_create_physical_replication_slot(%s)", (name,))
    status, said = cluster.leader().ask("/config", "PATCH", settings(SLOT))
    assert status == 200, said
    restart(cluster.nodes)
    yield cluster
    services.run("down", *names, "etcd")


@pytest.fixture
def shop(running, search_one, engine, script, rng):
    for table in ("product_tag", "review", "product", "tag", "brand", "other"):
        running.execute(f"DROP TABLE IF EXISTS {table}")
    running.execute("DROP PUBLICATION IF EXISTS etl_shop")
    shop = Shop(running, search_one, engine, script, rng)
    engine.env["DATABASE_URL"] = running.url
    shop.fill(300)
    yield shop
    engine.close()


def change(shop, n):
    shop.pg.execute(f"UPDATE product SET name = 'change {n}' WHERE id BETWEEN {n * 10} AND {n * 10 + 5}")
    shop.pg.execute(f"DELETE FROM product WHERE id BETWEEN {n * 10 + 6} AND {n * 10 + 8}")
    shop.pg.execute(f"INSERT INTO product VALUES ({10000 + n}, 'born {n}', 1)")


def test_slots_of_others_are_dropped_but_those_that_the_manual_names(running):
    """Which is why it names that of a reindex."""
    def slots():
        return {name for (name,) in running.leader().query("SELECT slot_name FROM pg_replication_slots")}

    wait_until(lambda: "stranger" not in slots(), timeout=60, what="a slot that Patroni does not know")
    wait_until(lambda: SLOT in slots(), timeout=60, what="the slot of its settings")
    assert f"{SLOT}_reindex" in slots()


def test_the_slot_goes_on_at_the_next_primary_and_back_again(shop):
    """And the one that was killed comes back, as its replica."""
    shop.follow()
    for n in (1, 3):
        change(shop, n)
        shop.wait_true()
        shop.pg.wait_ready()
        killed = shop.pg.kill()
        change(shop, n + 1)
        shop.wait_true()
        killed.node.up()
        wait_until(killed.follows, timeout=120, what="the old primary as a replica")
    assert sum("a standby has taken over: its log has all" in line for line in shop.running.stderr.splitlines()) == 2
    shop.stop()
    change(shop, 5)
    shop.run()
    shop.assert_true()
    shop.assert_no_sweep()


def test_behind_haproxy_which_asks_patroni_the_log_goes_on(shop, engine, tmp_path):
    ports, checks = zip(*((node.port, node.rest) for node in shop.pg.nodes))
    with HAProxy(tmp_path, ports, "option httpchk GET /primary", checks) as proxy:
        engine.env["DATABASE_URL"] = f"postgresql://etl:etl@127.0.0.1:{proxy.port}/movies"
        shop.follow()
        change(shop, 1)
        shop.wait_true()
        shop.pg.wait_ready()
        killed = shop.pg.kill()
        change(shop, 2)
        shop.wait_true()
        shop.stop()
        killed.node.up()
    shop.assert_no_sweep()


def test_while_others_write_the_index_is_what_the_new_primary_has(shop):
    """Replication is asynchronous: what was read of the log may be lost, and then a sweep finds it."""
    shop.follow()
    shop.pg.wait_ready()
    with shop.writing(sessions=2):
        killed = shop.pg.kill()
        killed.node.up()
    shop.wait_true()
    reasons = [line for line in shop.sweeps() if " warn " in line]
    assert all("a standby has taken over which lacks changes that were read before" in line for line in reasons), reasons
    shop.stop()
