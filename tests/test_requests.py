"""A process that follows takes requests: keys, sweeps, another position of the state, repairs. The command that would be
refused for the state's lock asks the process that holds it, and tells how it went."""
import json
import os
import re
import signal
import socket
import stat

import pytest

from proxy import Proxy

LUA = """
return {
  name = "t",
  source = {
    url = os.getenv "DATABASE_URL", table = "t", key = "id", %(capture)s
    query = "SELECT id, v FROM t",
  },
  document = function(row)
    if row.v == "bad" then error("no document for this one") end
    return { id = row.id, v = row.v }
  end,
  sink = { url = os.getenv "ELASTICSEARCH_URL", index = "t", %(sink)s },
  state = os.getenv "FILE_PATH_STATE",
  poll_interval = 0.1, sweep = 0, %(extra)s
}
"""
CAPTURES = {"poll": 'cursor = "modified",', "wal": 'capture = "wal",'}
ASKED = "asked the process that follows"


def lua(capture="poll", sink="", extra=""):
    return LUA % {"capture": CAPTURES[capture], "sink": sink, "extra": extra}


@pytest.fixture
def search(search_one):
    return search_one


@pytest.fixture
def table(pg):
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, v text, modified timestamptz DEFAULT clock_timestamp())")
    pg.execute("CREATE INDEX ON t (modified, id)")
    pg.execute("INSERT INTO t (id, v) SELECT i, 'v' || i FROM generate_series(1, 100) i")
    yield pg
    pg.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL"
               " AND database = current_database()")


class Following:
    """A process that follows, and what is asked of it."""

    def __init__(self, engine, path, pg, search, wait_until):
        self.engine, self.path, self.pg, self.search, self.wait_until = engine, path, pg, search, wait_until
        self.process = None

    def start(self, **options):
        self.process = self.engine.start("run", self.path, "--follow", **options)
        self.wait_until(lambda: ": following" in self.process.stderr, 90, "following")
        return self

    def ask(self, *words, code=0, asked=True, **options):
        done = self.engine(*words, **options)
        assert done.returncode == code, (done, self.process.stderr)
        assert (ASKED in done.stderr) == asked, done
        return done

    def begin(self, *words, **options):
        """Asks, and returns once the request has been taken."""
        asking = self.engine.start(*words, **options)
        self.wait_until(lambda: ASKED in asking.stderr or not asking.alive(), 60, "asked")
        assert asking.alive(), asking.stderr
        return asking

    def spoil(self, *keys):
        """What no feed sees: somebody else has written to the index."""
        for key in keys:
            self.search.request("POST", f"t/_update/{key}?refresh=true", {"doc": {"v": "spoilt"}})

    def value(self, key):
        found = self.search.get("t", str(key))
        return found and found["v"]

    def still_follows(self):
        self.pg.execute("UPDATE t SET v = 'still', modified = clock_timestamp() WHERE id = 50")
        self.wait_until(lambda: self.value(50) == "still", 60, "following")
        assert self.process.alive(), self.process.stderr

    def dead(self):
        try:
            with open(self.engine.state + ".rejected", encoding="utf-8") as f:
                return {json.loads(line)["key"] for line in f}
        except FileNotFoundError:
            return set()


@pytest.fixture
def pipeline(table, engine, search, script, wait_until):
    def make(text=None, **words):
        return Following(engine, script(text or lua(**words), "t.lua"), table, search, wait_until)

    return make


@pytest.fixture
def follow(pipeline):
    return pipeline().start()


@pytest.fixture(params=["poll", "wal"])
def either(request, pipeline):
    return pipeline(capture=request.param).start()


def summary(done):
    """The numbers of the last line: indexed, deleted, rejected."""
    found = re.search(r"([\d,]+) documents? indexed, ([\d,]+) deleted,.* ([\d,]+) rejected", done.stderr)
    return tuple(int(n.replace(",", "")) for n in found.groups())


# What can be asked for


def test_keys(either):
    either.spoil(1, 2)
    either.search.request("PUT", "t/_doc/999?refresh=true", {"v": "no row"})
    done = either.ask("run", either.path, "--keys", "1,2,999")
    assert summary(done) == (2, 1, 0)
    assert (either.value(1), either.value(2), either.value(999)) == ("v1", "v2", None)
    either.still_follows()


def test_keys_from_a_file(follow, tmp_path):
    follow.pg.execute("INSERT INTO t (id, v, modified) SELECT i, 'v' || i, '2020-01-01Z' FROM generate_series(101, 3500) i")
    text = "".join(f"{i}\n" for i in range(1, 3501))
    (tmp_path / "keys").write_text(text, encoding="utf-8")
    done = follow.ask("run", follow.path, "--keys-from", tmp_path / "keys")
    assert sum(summary(done)) == 3500
    assert follow.search.count("t") == 3500
    assert sum(summary(follow.ask("run", follow.path, "--keys-from", "-", stdin=text))) == 3500
    follow.still_follows()


def test_a_sweep(either):
    either.spoil(7)
    either.search.request("PUT", "t/_doc/999?refresh=true", {"v": "no row"})
    done = either.ask("run", either.path, "--sweep")
    assert summary(done) == (1, 1, 0)
    assert (either.value(7), either.value(999)) == ("v7", None)
    assert "t: swept" in either.process.stderr
    either.still_follows()


def test_rejected_keys_are_told_with_reasons_and_delivered_again_as_dead_letters(follow, wait_until):
    follow.pg.execute("UPDATE t SET v = 'bad', modified = '2020-01-01Z' WHERE id = 3")
    done = follow.ask("run", follow.path, "--keys", "3,4", code=4)
    assert "document '3' rejected" in done.stderr and "no document for this one" in done.stderr
    assert summary(done) == (1, 0, 1)
    assert follow.dead() == {"3"}
    follow.pg.execute("UPDATE t SET v = 'good', modified = '2020-01-01Z' WHERE id = 3")
    done = follow.ask("run", follow.path, "--keys-from", follow.engine.state + ".rejected")
    assert summary(done) == (1, 0, 0)
    assert follow.value(3) == "good" and follow.dead() == set()


def test_rejected_keys_that_are_alike_are_told_together(follow):
    follow.pg.execute("UPDATE t SET v = 'bad', modified = '2020-01-01Z' WHERE id <= 9")
    done = follow.ask("run", follow.path, "--keys", "1,2,3,4,5,6,7,8,9", code=4)
    assert done.stderr.count("document '") == 6 and "and 3 more like it (first key '" in done.stderr, done
    assert summary(done) == (0, 0, 9) and follow.dead() == set("123456789")


def test_many_rejected_keys_end_the_request_and_not_the_process(pipeline):
    follow = pipeline(extra="max_rejected = 5,").start()
    follow.pg.execute("UPDATE t SET v = 'bad', modified = '2020-01-01Z' WHERE id <= 20")
    keys = ",".join(str(i) for i in range(1, 21))
    done = follow.ask("run", follow.path, "--keys", keys, code=1)
    assert "more than 5 documents were rejected (max_rejected)" in done.stderr
    follow.still_follows()


def test_too_many_deletes_end_the_request_and_not_the_process(follow):
    follow.pg.execute("DELETE FROM t WHERE id > 40 AND id <> 50")
    done = follow.ask("run", follow.path, "--sweep", code=1)
    assert "refusing to delete" in done.stderr and "--allow-deletes" in done.stderr
    follow.still_follows()
    follow.ask("run", follow.path, "--sweep", "--allow-deletes")
    assert follow.search.count("t") == 41
    follow.still_follows()


def test_a_time_for_the_state(follow, wait_until):
    follow.spoil(9)
    follow.ask("state", "set", follow.path, "2020-01-01T00:00:00Z")
    wait_until(lambda: follow.value(9) == "v9", 60)
    done = follow.ask("state", "set", follow.path, "yesterday", code=2)
    assert "cannot read 'yesterday' as a time" in done.stderr
    follow.still_follows()


def test_a_time_for_the_state_means_a_sweep_where_the_log_is_read(pipeline, wait_until):
    follow = pipeline(capture="wal").start()
    follow.spoil(9)
    follow.ask("state", "set", follow.path, "2020-01-01T00:00:00Z")
    wait_until(lambda: "t: swept" in follow.process.stderr, 60)
    assert follow.value(9) == "v9"
    follow.still_follows()


def test_a_repair(either):
    either.spoil(11, 12)
    either.search.request("PUT", "t/_doc/not-a-key?refresh=true", {"v": "no row"})
    done = either.ask("verify", either.path, "--repair")
    assert "3 differences repaired, 0 left" in done.stdout, done
    assert either.value(11) == "v11" and either.value("not-a-key") is None
    either.still_follows()


def test_each_pipeline_of_a_process_is_asked_by_its_own_state(table, engine, search, script, wait_until):
    text = "local list = {}\nfor _, name in ipairs { 'a', 'b' } do list[#list + 1] = (function()\n" + lua() \
        .replace('name = "t"', "name = name").replace('index = "t"', "index = name") \
        .replace('"FILE_PATH_STATE"', '"FILE_PATH_STATE" .. name') + "end)() end\nreturn list"
    path = script(text, "list.lua")
    running = engine.start("run", path, "--follow")
    wait_until(lambda: running.stderr.count(": following, every") == 2, 90)
    for name in ("a", "b"):
        search.request("POST", f"{name}/_update/1?refresh=true", {"doc": {"v": "spoilt"}})
        done = engine("run", f"{path}#{name}", "--keys", "1")
        assert done.returncode == 0 and ASKED in done.stderr, done
        assert search.get(name, "1")["v"] == "v1"
    both = engine("run", path, "--sweep")
    assert both.returncode == 0 and both.stderr.count(ASKED) == 2, both


# What cannot be asked for


def test_what_is_refused_at_once(follow, script):
    other = lua().replace('name = "t"', 'name = "other"'), lua().replace('index = "t"', 'index = "other"')
    for words, code, said in [
        ((follow.path, "--keys", ""), 2, "option --keys names no key"),
        ((follow.path, "--keys", ","), 2, "option --keys names no key"),
        ((follow.path,), 1, "another run is using it"),
        ((follow.path, "--full"), 1, "another run is using it"),
        ((follow.path, "--keys", "1", "--dead-letters", "elsewhere"), 2, "leave out --dead-letters"),
        ((script(other[0], "name.lua"), "--keys", "1"), 2, "runs pipeline 't'"),
        ((script(other[1], "index.lua"), "--keys", "1"), 2, "writes to index 't'"),
    ]:
        done = follow.ask("run", *words, code=code, asked=False)
        assert said in done.stderr, done
    os.unlink(follow.engine.state + ".sock")  # as an older version
    done = follow.ask("run", follow.path, "--keys", "1", code=1, asked=False)
    assert "another run is using it" in done.stderr


def test_what_is_no_key(follow):
    done = follow.ask("run", follow.path, "--keys", "1,abc", code=2)
    assert 'invalid input syntax for type integer: "abc"' in done.stderr
    follow.still_follows()


def test_an_older_version_of_the_script_is_told(follow, script):
    script(lua().replace("v = row.v", "v = row.v, new = 1"), "t.lua")
    done = follow.ask("run", follow.path, "--keys", "1")
    assert "runs another version of the script" in done.stderr
    follow.process.signal(signal.SIGHUP)
    follow.wait_until(lambda: "reloaded" in follow.process.stderr, 60)
    done = follow.ask("run", follow.path, "--keys", "1")
    assert "another version" not in done.stderr and follow.search.get("t", "1")["new"] == 1


# What ends in the middle


@pytest.fixture
def stuck(either):
    """A process that follows, with a request for keys under way: their rows are locked."""
    either.spoil(1)
    lock = either.pg.connect()
    with lock.cursor() as cursor:
        cursor.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    asking = either.begin("run", either.path, "--keys", "1")
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    either.wait_until(lambda: either.pg.value(waiting) > 0, 60, "a query that waits")
    yield either, asking, lock
    lock.rollback()


def test_sigkill_of_the_process_that_follows(stuck):
    follow, asking, lock = stuck
    follow.process.kill()
    done = asking.wait()
    assert done.returncode == 1 and "ended before this was done" in done.stderr, done
    lock.rollback()
    assert stat.S_ISSOCK(os.stat(follow.engine.state + ".sock").st_mode)  # stale
    follow.ask("run", follow.path, "--keys", "1", asked=False)
    assert follow.value(1) == "v1"
    follow.spoil(2)
    follow.start()
    follow.ask("run", follow.path, "--keys", "2")
    assert follow.value(2) == "v2"


def test_who_ends_before_it_has_said_a_word_is_not_named(follow):
    path = follow.engine.state + ".sock"
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(60)
        s.bind(path)
        s.listen()
        asking = follow.engine.start("run", follow.path, "--keys", "1")
        s.accept()[0].close()
        done = asking.wait()
    assert done.returncode == 1 and "error: the process that follows ended before this was done" in done.stderr, done


def test_sigterm_of_the_process_that_follows(stuck):
    follow, asking, lock = stuck
    follow.process.signal(signal.SIGTERM)
    done = asking.wait()
    assert done.returncode == 1 and "was stopped before this was done" in done.stderr, done
    assert follow.process.wait().returncode == 143
    assert not os.path.exists(follow.engine.state + ".sock")
    lock.rollback()
    follow.ask("run", follow.path, "--keys", "1", asked=False)
    assert follow.value(1) == "v1"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_to_who_asks_ends_the_wait_and_not_the_work(stuck, number):
    follow, asking, lock = stuck
    asking.signal(number)
    done = asking.wait()
    if number == signal.SIGINT:
        assert done.returncode == 130 and "still delivers what it was given (1 key given)" in done.stderr, done
    lock.rollback()
    follow.wait_until(lambda: follow.value(1) == "v1", 60)
    follow.still_follows()


def test_a_reload_in_the_middle_of_a_request(stuck):
    follow, asking, lock = stuck
    follow.process.signal(signal.SIGHUP)
    lock.rollback()
    assert asking.wait().returncode == 0
    follow.wait_until(lambda: "reloaded" in follow.process.stderr, 60)
    assert follow.value(1) == "v1"
    follow.ask("run", follow.path, "--keys", "2")


def test_a_search_server_that_is_away_is_told_and_given_up(table, engine, search, pipeline):
    with Proxy(search.port) as proxy:
        follow = pipeline().start(env={"ELASTICSEARCH_URL": proxy.url})
        follow.spoil(1)
        proxy.refuse()
        proxy.cut()
        done = follow.ask("run", follow.path, "--keys", "1", "--give-up-after", "4", code=3)
        assert "gave up on the process that follows" in done.stderr
        asking = follow.begin("run", follow.path, "--keys", "2")
        follow.wait_until(lambda: "waiting for the process that follows (process " in asking.stderr, 60)
        proxy.accept()
        assert asking.wait().returncode == 0
    assert follow.value(1) == "v1"


# Who asks


def test_twenty_at_once(follow):
    follow.spoil(*range(1, 21))
    asking = [follow.engine.start("run", follow.path, "--keys", str(i)) for i in range(1, 18)]
    asking += [follow.engine.start("run", follow.path, "--sweep") for _ in range(3)]
    ended = [one.wait(90) for one in asking]
    assert [done.returncode for done in ended] == [0] * 20, ended
    assert all(ASKED in done.stderr for done in ended)
    assert [follow.value(i) for i in range(1, 21)] == [f"v{i}" for i in range(1, 21)]
    follow.still_follows()


class Raw:
    """A connection to the socket, byte by byte."""

    def __init__(self, follow):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(60)
        self.socket.connect(follow.engine.state + ".sock")

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass
        return self

    def hello(self, **words):
        hello = {"type": "hello", "version": 1, "pipeline": "t", "index": "t", **words}
        return self.send(json.dumps(hello).encode() + b"\n")

    def answers(self):
        """All that comes until the other end closes."""
        data = b""
        try:
            while more := self.socket.recv(1 << 16):
                data += more
        except OSError:
            pass
        return [json.loads(line) for line in data.splitlines()]


HOSTILE = {
    "noise": bytes(range(256)) * 40 + b"\n",
    "a page before the hello": b'{"type":"keys","keys":["1"]}\n',
    "no type": b"{}\n",
    "deep": b'{"type":' + b"[" * 100000 + b"\n",
    "long": b'{"type":"hello","pipeline":"' + b"x" * (3 << 20) + b'"}\n',
    "another version": b'{"type":"hello","version":99,"pipeline":"t","index":"t"}\n',
    "a zero byte": b'{"type":"hello","version":1,"pipeline":"t\\u0000","index":"t"}\n',
}
NO_KEYS = [
    b'{"type":"keys","keys":["1",""]}\n',
    b'{"type":"keys","keys":[7]}\n',
    b'{"type":"keys","keys":"7"}\n',
    json.dumps({"type": "keys", "keys": ["1"] * 5000}).encode() + b"\n",
]


def test_hostile_bytes(follow):
    for what, data in HOSTILE.items():
        answers = Raw(follow).send(data).answers()
        assert answers[-1]["type"] == "end" and answers[-1]["error"] in ("final", "usage"), (what, answers)
    for page in NO_KEYS:
        answers = Raw(follow).hello().send(page).answers()
        assert answers[-1]["type"] == "end" and answers[-1]["error"] == "final", (page[:60], answers)
    follow.ask("run", follow.path, "--keys", "1")
    follow.still_follows()


def test_who_hangs_holds_up_nobody(follow):
    hanging = [Raw(follow), Raw(follow).send(b'{"type":'), Raw(follow).hello(), Raw(follow).hello(ask="sweep")]
    gone = Raw(follow).hello(ask="sweep")
    gone.socket.close()
    follow.spoil(1)
    follow.ask("run", follow.path, "--keys", "1")
    follow.ask("run", follow.path, "--sweep")
    assert follow.value(1) == "v1"
    follow.still_follows()
    assert len(hanging) == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_even_where_the_file_allows_it(follow, tmp_path):
    path = follow.engine.state + ".sock"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    os.chmod(tmp_path, 0o711)
    os.chmod(path, 0o666)
    said, out = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(tmp_path)
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                s.settimeout(60)
                s.connect("state.sock")
                os.write(out, s.recv(4096))
        except OSError as error:
            os.write(out, repr(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    answer = os.read(said, 4096).decode()
    assert "only the user of the process that follows, or root, may ask" in answer
    follow.still_follows()


# Where the socket is


@pytest.mark.parametrize("where", ["/".join(["folder" * 8] * 4) + "/state", "n" * 200, "d" * 100 + "/" + "s" * 90])
def test_long_paths(pipeline, tmp_path, where):
    follow = pipeline()
    follow.engine.env["FILE_PATH_STATE"] = follow.engine.state = str(tmp_path / where)
    follow.start()
    follow.spoil(1)
    follow.ask("run", follow.path, "--keys", "1")
    assert follow.value(1) == "v1"
    follow.process.stop()
    assert not [name for name in os.listdir(os.path.dirname(follow.engine.state)) if name.endswith(".sock")]


def test_what_is_in_the_way_of_the_socket_stays_and_is_told(pipeline, engine):
    with open(engine.state + ".sock", "w", encoding="utf-8") as f:
        f.write("mine")
    follow = pipeline().start()
    assert "takes no requests of other processes" in follow.process.stderr
    follow.ask("run", follow.path, "--keys", "1", code=1, asked=False)
    follow.process.stop()
    with open(engine.state + ".sock", encoding="utf-8") as f:
        assert f.read() == "mine"
