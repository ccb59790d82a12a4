"""What the service manager is told: systemd's place is taken by a socket of our own."""
import signal
import socket
import threading

import films
import pytest


class Manager:
    """Collects the messages that arrive at NOTIFY_SOCKET: [{"READY": "1"}, {"STATUS": "..."}, ...]."""

    def __init__(self, path):
        self.path = path
        self.messages = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while data := self._socket.recv(65536):
            self.messages.append(dict(line.split("=", 1) for line in data.decode().split("\n")))

    def env(self, **more):
        return {"NOTIFY_SOCKET": self.path, **more}

    def count(self, name):
        return sum(name in message for message in self.messages)

    def status(self):
        """The last one."""
        return next((m["STATUS"] for m in reversed(self.messages) if "STATUS" in m), "")

    def states(self):
        """All messages but STATUS and WATCHDOG, in order."""
        return [next(iter(m)) for m in self.messages if not {"STATUS", "WATCHDOG"} & m.keys()]

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"", self.path)


@pytest.fixture
def manager(tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


@pytest.fixture
def search(search_one):
    return search_one


def test_a_service_starts_reloads_and_stops(engine, pg, search, script, manager, wait_until):
    films.table(pg)
    path = script(films.plain())
    running = engine.start(path, "--follow", env=manager.env())
    wait_until(lambda: "READY" in manager.states())
    wait_until(lambda: manager.status() == "films: following")
    pg.execute("UPDATE t SET modified = clock_timestamp() WHERE id = 3")
    wait_until(lambda: manager.status().startswith("films: following: 1 document, lag "))
    running.signal(signal.SIGHUP)
    wait_until(lambda: manager.states() == ["READY", "RELOADING", "READY"])
    assert next(m for m in manager.messages if "RELOADING" in m)["MONOTONIC_USEC"].isdigit()
    script("return {")
    running.signal(signal.SIGHUP)
    wait_until(lambda: "could not reload" in running.stderr)
    wait_until(lambda: manager.states() == ["READY"] + 2 * ["RELOADING", "READY"])
    assert manager.status().startswith("could not reload the script, still running the previous version: ")
    script(films.plain())
    running.signal(signal.SIGHUP)
    wait_until(lambda: manager.status() == "films: following")
    assert running.stop().returncode == 143
    wait_until(lambda: manager.states()[-1] == "STOPPING")
    assert manager.count("WATCHDOG") == 0


@pytest.mark.parametrize("missing", ["DATABASE_URL", "ELASTICSEARCH_URL"])
def test_it_is_ready_only_once_both_servers_have_answered(engine, pg, search, script, manager, wait_until, missing):
    films.table(pg)
    nowhere = {"DATABASE_URL": "postgresql://127.0.0.1:1/none", "ELASTICSEARCH_URL": "http://127.0.0.1:1"}[missing]
    running = engine.start(script(films.plain()), "--follow", env=manager.env(**{missing: nowhere}))
    wait_until(lambda: manager.status().endswith("; trying again"))
    assert "127.0.0.1:1" in manager.status() and manager.states() == []
    assert running.stop().returncode == 143


def test_a_first_load_counts_as_started(engine, pg, search, script, manager, wait_until):
    films.table(pg, rows=5)
    slow = 'etl.pg.query "SELECT pg_sleep(1)" return { v = row.v }'
    running = engine.start(script(films.plain(document=slow, head='local etl = require "etl"')), "--follow", env=manager.env())
    wait_until(lambda: manager.states() == ["READY"])
    assert search.count("t") < 5 and "following" not in manager.status()
    running.kill()


def test_the_reason_of_its_end_is_its_last_status(engine, pg, search, script, manager, wait_until):
    films.table(pg)
    running = engine.start(script(films.plain(cursor="nothing")), "--follow", env=manager.env())
    assert running.wait().returncode == 2
    wait_until(lambda: 'column "nothing" does not exist' in manager.status())
    assert manager.states() == []


def test_the_watchdog_hears_of_a_process_that_waits(engine, pg, search, script, manager, wait_until):
    """For work, for a search server that is silent, and for a query that takes its time."""
    films.table(pg)
    path = script(films.plain(columns="id, v, pg_sleep(CASE WHEN v = 'slow' THEN 5 ELSE 0 END)::text AS s"))
    running = engine.start(path, "--follow", env=manager.env(WATCHDOG_USEC=1_000_000))

    def signs_go_on():
        before = manager.count("WATCHDOG")
        wait_until(lambda: manager.count("WATCHDOG") > before + 4)

    wait_until(lambda: "following" in manager.status())
    signs_go_on()
    search.server.freeze()
    try:
        pg.execute("UPDATE t SET v = 'new', modified = clock_timestamp() WHERE id = 3")
        signs_go_on()
    finally:
        search.server.thaw()
    pg.execute("UPDATE t SET v = 'slow', modified = clock_timestamp() WHERE id = 4")
    wait_until(lambda: pg.query("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
    signs_go_on()
    wait_until(lambda: search.get("t", "4") == {"v": "slow"})
    assert running.stop().returncode == 143


def test_the_watchdog_of_another_process_is_not_ours(engine, pg, search, script, manager, wait_until):
    films.table(pg)
    running = engine.start(script(films.plain()), "--follow", env=manager.env(WATCHDOG_USEC=100_000, WATCHDOG_PID=1))
    wait_until(lambda: "following" in manager.status())
    assert running.stop().returncode == 143
    assert manager.count("WATCHDOG") == 0


def test_several_pipelines_have_one_status(engine, pg, search, script, manager, wait_until):
    """Whatever the others do meanwhile, it tells of the one that does not get on."""
    films.table(pg)
    good = films.plain()
    lost = good.replace('"films"', '"lost"').replace('os.getenv "ELASTICSEARCH_URL"', '"http://127.0.0.1:1"')
    lost = lost.replace('os.getenv "FILE_PATH_STATE"', 'os.getenv "FILE_PATH_STATE" .. ".lost"')
    paths = script(good), script(lost, "lost.lua"), script("return {", "broken.lua")
    running = engine.start(*paths, "--follow", env=manager.env())
    wait_until(lambda: manager.status().startswith("3 pipelines: 1 following, 1 waiting, 1 failing; broken.lua: "))
    assert "broken.lua:1: " in manager.status()
    pg.execute("UPDATE t SET v = 'new', modified = clock_timestamp() WHERE id = 3")
    wait_until(lambda: search.get("t", "3") == {"v": "new"})
    assert running.stop().returncode == 143
    wait_until(lambda: manager.status().startswith("3 pipelines: 3 ended"))
    assert all(m["STATUS"].startswith("3 pipelines: ") for m in manager.messages if "STATUS" in m), manager.messages
