"""Whatever a server answers: no crash, no memory without end, and a signal ends the engine. It goes on, or says why it ends.
Under the sanitizers this looks deeper: ETL_ENGINE=build/asan/etl-engine."""
import random
import threading

import pytest

from faults import LONG, Gateway, pause
from hostile import HostilePostgres, spoil_answer
from tools import SLOW

pytest_plugins = ["fault_fixtures"]

ROUNDS = 150 if LONG else 6  # of BESIDE engines each
BESIDE = 4
PATIENCE_S = 2  # until an engine that waits for an answer, as it may, is asked to stop
MEMORY = 400 << 20  # bytes; an engine takes some 30 MB

TABLE = """
CREATE TABLE hostile (id int PRIMARY KEY, modified timestamptz NOT NULL DEFAULT now(), t text, n numeric, f float8, b bool, raw bytea,
  j jsonb, day date, local timestamp, list text[], numbers int[][], span interval);
CREATE TABLE part (a int, b text, hostile_id int, modified timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (a, b));
INSERT INTO hostile SELECT i, now(), 'text ' || i, i / 7.0, i / 7.0, i % 2 = 0, '\\x00ff', '{"a": ["1", "ж"]}', '2020-01-02', '2020-01-02 03:04:05.5',
  '{a,"b \\" c",NULL}', '{{1,2},{3,4}}', '1 day 02:03' FROM generate_series(1, 300) i;
INSERT INTO part SELECT i, 'x:' || i, i FROM generate_series(1, 50) i;
"""
SCRIPT = """
local etl = require "etl"
return {
  name = "hostile", sweep = 0.2, poll_interval = 0.05,
  source = {
    url = os.getenv "DATABASE_URL", table = "hostile", key = "id", cursor = "modified",
    query = "SELECT h.*, (SELECT json_agg(p) FROM part p WHERE p.hostile_id = h.id) AS parts FROM hostile h",
    related = { { table = "part", key = { "a", "b" }, cursor = "modified", affects = "hostile_id" } },
  },
  document = DOCUMENT,
  before_run = function()
    etl.pg.query("SELECT *, $1::int[] AS more FROM hostile LIMIT 3", { 1, 2 })
    for row in etl.pg.rows "SELECT * FROM part LIMIT 20" do assert(row) end
  end,
  sink = { url = os.getenv "ELASTICSEARCH_URL", index = "hostile" SINK },
  state = os.getenv "FILE_PATH_STATE",
}
"""
FUNCTION = 'function(row) return { t = row.t, n = row.n, list = row.list, numbers = row.numbers, j = row.j, raw = etl.base64(row.raw or "") } end'
TEMPLATE = '{ t = "t", n = "n", f = "f", b = "b", j = "j", day = "day", list = "list", numbers = "numbers", span = "span", parts = "parts" }'
MODES = [("--dry-run",), ("--full",), ("--follow",), ("--sweep",), ("--keys", "1,2,999")]


@pytest.fixture(autouse=True)
def libpqs_own_leaks(engine, tmp_path):
    """libpq forgets a half-read result when a stray ReadyForQuery comes: once a connection, and not ours to mend."""
    path = tmp_path / "suppressions"
    path.write_text("leak:libpq.so\n", encoding="ascii")
    engine.env["LSAN_OPTIONS"] = f"suppressions={path}:print_suppressions=0"


@pytest.fixture
def scripts(pg, script):
    pg.execute(TABLE)
    texts = [SCRIPT.replace("DOCUMENT", FUNCTION), SCRIPT.replace("DOCUMENT", TEMPLATE)]
    return [script(text.replace("SINK", ""), f"hostile-{i}.lua") for i, text in enumerate(texts)]


def survives(running):
    """It has ended, by itself or when asked to, as it may end."""
    if pause(running, PATIENCE_S * SLOW):
        peak = running.rss()
        done = running.stop()
        assert peak < MEMORY * SLOW, f"{peak} bytes: {done}"
    else:
        done = running.wait()
    assert done.returncode in (0, 1, 2, 3, 4, 143), done
    assert done.returncode in (0, 143) or done.stderr, done


def rounds(engine, scripts, tmp_path, rng, env):
    """env: for each engine, the variables that lead it to its hostile server."""
    for round_ in range(ROUNDS):
        started = []
        for i in range(BESIDE):
            words = [rng.choice(scripts), *rng.choice(MODES), "--give-up-after", "1", "--quiet"]
            state = str(tmp_path / f"state-{rng.randrange(BESIDE * 2)}-{i}")
            started.append(engine.start(*words, env={"FILE_PATH_STATE": state, **env[i]}))
        for running in started:
            survives(running)


def test_a_hostile_postgres_does_no_harm(engine, pg, search_one, scripts, tmp_path, rng):
    assert engine(scripts[0]).returncode == 0
    proxies = [HostilePostgres(pg.port, random.Random(rng.random())) for _ in range(BESIDE)]
    urls = [pg.url_at(proxy.port, sslmode="disable", gssencmode="disable") for proxy in proxies]
    try:
        rounds(engine, scripts, tmp_path, rng, [{"DATABASE_URL": url} for url in urls])
    finally:
        for proxy in proxies:
            proxy.close()


class Hostile(Gateway):
    def __init__(self, search, rng):
        super().__init__(search)
        self._rng = rng
        self._lock = threading.Lock()
        self.rate = 0.1
        self.answer = self._answer

    def _answer(self, request):
        true = self.forward(request)
        with self._lock:
            return spoil_answer(self._rng, true) if self._rng.random() < self.rate else true


def test_a_hostile_search_server_does_no_harm(engine, pg, search_one, scripts, tmp_path, rng):
    assert engine(scripts[0]).returncode == 0
    gateways = [Hostile(search_one, random.Random(rng.random())) for _ in range(BESIDE)]
    for gateway, rate in zip(gateways, (0.02, 0.1, 0.3, 1)):
        gateway.rate = rate
    try:
        rounds(engine, scripts, tmp_path, rng, [{"ELASTICSEARCH_URL": gateway.url} for gateway in gateways])
    finally:
        for gateway in gateways:
            gateway.__exit__()
