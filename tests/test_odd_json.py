"""Odd JSON, of whoever wrote it: what the index gives back is compared, not judged, and no row of it stops the others."""
import json
import urllib.request

import films
import pytest
from films import run

ODD = {
    1: r'{"a":"lone \ud800 hi"}',
    2: r'{"a":"\udc00\ud800", "\ud800":1, "b":{"\udfff":"\ud83d"}}',
    3: r'{"a":1e400, "b":-0.0, "c":123456789012345678901234567890.1234567890e-5}',
    4: '{"a":' + "[" * 700 + "]" * 700 + "}",
    5: r'{"a":"[{\"\\\\", "b":"]}", "":"\/"}',
}
STORED = 'mappings = { dynamic = "false", properties = { n = { type = "integer" }, doc = { type = "object", enabled = false } } },'


@pytest.fixture
def odd(pg, script):
    """A table of odd json values, and a script that copies them."""
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, doc json, modified timestamptz DEFAULT clock_timestamp())")
    for key, doc in ODD.items():
        pg.execute("INSERT INTO t VALUES (%s, %s)", (key, doc))
    pg.execute("INSERT INTO t SELECT i, json_build_object('a', i) FROM generate_series(10, 20) i")
    return script(films.plain(columns="id, doc", document="return { doc = row.doc }", sink=STORED))


def put_raw(search, key, body, version):
    request = urllib.request.Request(f"{search.url}/t/_doc/{key}?version={version}&version_type=external", data=body,
                                     method="PUT", headers={"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=30).read()


def test_a_sweep_compares_odd_json_byte_for_byte_and_goes_on(engine, odd, pg, search):
    run(engine, odd, code=None)
    assert search.count("t") >= 15
    before = search.versions("t")  # one server refuses key 2 in the first place
    pg.execute("DELETE FROM t WHERE id IN (2, 12)")
    pg.execute("""UPDATE t SET doc = '{"a":"\\ud800"}' WHERE id = 1""")
    done = run(engine, odd, "--sweep", "--give-up-after", "10", code=None)
    assert films.changed(before, search.versions("t")) == {"1", "2", "12"} & before.keys(), done
    assert "damaged" not in done.stderr, done


def test_documents_that_others_wrote_with_comments_are_put_right(engine, odd, search):
    run(engine, odd, code=None)
    version = max(search.versions("t").values()) + 1
    put_raw(search, 10, b'{"doc": /* a " and a { */ {"a": "x"}}', version)
    put_raw(search, 11, b'{"doc": // ["\n{"a": 1\n}\n\n}', version)
    search.refresh("t")
    done = run(engine, odd, "--sweep", "--give-up-after", "10", code=None)
    assert search.get("t", "10") == {"doc": {"a": 10}} and search.get("t", "11") == {"doc": {"a": 11}}, done


def test_a_rejection_that_quotes_odd_json_is_a_dead_letter(engine, odd, pg, search, script):
    path = script(films.plain(columns="id, doc", document="return { n = row.doc }", sink=STORED))
    done = run(engine, path, "--give-up-after", "10", code=4)
    with open(engine.state + ".rejected", encoding="utf-8") as f:
        assert {"1", "20"} < {json.loads(line)["key"] for line in f}, done
    assert "rejected: " in done.stderr and " more like it (first key '" in done.stderr, done
