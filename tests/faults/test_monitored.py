"""A real Prometheus, with the rules of vendor/monitoring, asks a real engine."""
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request

import films
import pytest
from faults import LONG
from proxy import Proxy
from tools import ROOT, free_port

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus here (vendor/install monitoring)")


def read(name):
    with open(os.path.join(ROOT, "vendor", "monitoring", name), encoding="utf-8") as f:
        return f.read()


class Prometheus:
    def __init__(self, folder, target, change):
        """change: of the rules' text."""
        self.port = free_port()
        rules = read("etl-engine.rules.yml").replace(*change)
        (folder / "etl-engine.rules.yml").write_text(re.sub(r"for: \w+", "for: 1s", rules))
        config = read("prometheus.yml").replace("localhost:9187", f"localhost:{target}")
        config = config.replace("scrape_interval: 15s", "scrape_interval: 1s")
        (folder / "prometheus.yml").write_text("global:\n  evaluation_interval: 1s\n" + config)
        with open(folder / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                 f"--web.listen-address=127.0.0.1:{self.port}"],
                stdout=log, stderr=log,
            )  # fmt: skip

    def ask(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=30) as answer:
                return json.load(answer)["data"]
        except (urllib.error.URLError, ConnectionError):  # it is starting
            return None

    def firing(self):
        data = self.ask("alerts") or {"alerts": []}
        return {alert["labels"]["alertname"] for alert in data["alerts"] if alert["state"] == "firing"}

    def value(self, expression):
        data = self.ask("query?query=" + urllib.request.quote(expression))
        return float(data["result"][0]["value"][1]) if data and data["result"] else None

    def close(self):
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def prometheus(tmp_path):
    started = []

    def start(target, change=("", "")):
        folder = tmp_path / "prometheus"
        folder.mkdir()
        started.append(Prometheus(folder, target, change))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.mark.skipif(not LONG, reason="half a minute (ETL_FAULTS=long)")
def test_a_real_prometheus_sees_a_search_server_go_away(pg, search_one, script, serve, prometheus, wait_until):
    films.table(pg)
    with Proxy(search_one.port) as proxy:
        served = serve(script(films.plain()), "--follow", "--max-lag", "1", env={"ELASTICSEARCH_URL": proxy.url})
        monitor = prometheus(served.port)
        wait_until(lambda: monitor.value("etl_engine_pipeline_ready") == 1, timeout=60)
        assert monitor.ask("targets")["activeTargets"][0]["lastError"] == ""
        wait_until(lambda: monitor.firing() == set())  # EtlEngineAbsent may have fired before the first look
        proxy.refuse()
        pg.execute("UPDATE t SET v = 'new', modified = clock_timestamp()")
        wait_until(lambda: {"EtlPipelineWaiting", "EtlPipelineNotReady"} <= monitor.firing(), timeout=120)
        proxy.accept()
        wait_until(lambda: monitor.firing() == set(), timeout=120)
        assert {doc["v"] for doc in search_one.docs("t").values()} == {"new"}
        served.running.stop()
        wait_until(lambda: monitor.firing() == {"EtlEngineDown"}, timeout=60)


WAL = 'capture = "wal",'


@pytest.mark.skipif(not LONG, reason="half a minute (ETL_FAULTS=long)")
def test_a_real_prometheus_sees_a_slot_that_holds_the_log(pg, search_one, script, serve, prometheus, wait_until):
    films.table(pg)
    served = serve(script(films.plain(source=WAL)), "--follow")
    monitor = prometheus(served.port, ("> 5e9", "> 5e6"))
    wait_until(lambda: monitor.value("etl_engine_pipeline_ready") == 1, timeout=60)
    wait_until(lambda: monitor.firing() == set())
    held = pg.connect()  # the log from here on is needed to decode what this transaction may still do
    with held.cursor() as cursor:
        cursor.execute("UPDATE t SET v = 'held' WHERE id = 1")
    pg.execute("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 1000000)) FROM generate_series(1, 30)")
    wait_until(lambda: "EtlSlotHoldsLog" in monitor.firing(), timeout=180)
    held.commit()

    def lets_go():
        pg.execute("UPDATE t SET v = v || '!' WHERE id = 2")
        pg.execute("CHECKPOINT")  # writes a snapshot from which the slot may go on
        return "EtlSlotHoldsLog" not in monitor.firing()

    wait_until(lets_go, timeout=180)
