"""diff shows what a full load would change, before it does."""
import json
import os
import pty
import subprocess

import films
import pytest
from films import run

ROWS = 50
CHANGED = "return { v = row.id % 5 == 0 and row.v .. '!' or row.v, extra = row.id == 7 and { name = 'x' } or nil }"


@pytest.fixture
def loaded(engine, pg, search_one, script):
    films.table(pg, rows=ROWS)
    path = script(films.plain())
    run(engine, path)
    return path


def report(engine, path, *words, code=5):
    return json.loads(run(engine, "diff", path, "--format", "json", *words, code=code).stdout)


def test_the_same_script_changes_nothing(engine, loaded, search_one):
    before = search_one.versions("t")
    done = run(engine, "diff", loaded)
    assert f"{ROWS} documents compared with index 't'" in done.stdout and "would change nothing" in done.stdout
    assert report(engine, loaded, code=0)["same_script"] is True
    assert search_one.versions("t") == before


def test_a_changed_script_is_shown_field_by_field(engine, pg, loaded, search_one, script):
    pg.execute("DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (100, 'new')")
    other = script(films.plain(document=CHANGED), "other.lua")
    found = report(engine, other, "--examples", "100")
    assert {k: found[k] for k in ("compared", "same", "different", "missing", "orphaned")} == {
        "compared": ROWS + 1, "same": ROWS - 1 - 11, "different": 11, "missing": 1, "orphaned": 1}  # fmt: skip
    assert found["fields"] == [{"field": "v", "documents": 10}, {"field": "extra", "documents": 1}]
    assert found["same_script"] is False
    shown = {x["key"]: x for x in found["examples"]}
    assert shown["5"]["differences"] == [{"path": "v", "index": '"v5"', "script": '"v5!"'}]
    assert shown["7"]["differences"] == [{"path": "extra", "script": '{"name":"x"}'}]
    text = run(engine, "diff", other, "--workers", "1", code=5).stdout
    assert "11  documents would change" in text and "1  would come" in text and "1  would go" in text, text
    assert "  - v: \"v5\"\n  + v: \"v5!\"\n" in text and text.count("\n\n") == 5
    run(engine, other, "--full", "--sweep")  # and so it does
    assert report(engine, other, code=0)["same"] == ROWS


def test_some_keys_or_a_sample(engine, loaded, script):
    other = script(films.plain(document=CHANGED), "other.lua")
    assert report(engine, other, "--keys", "5,6,7")["different"] == 2
    assert report(engine, other, "--keys", "6", code=0)["compared"] == 1
    assert report(engine, other, "--sample", "1000")["different"] == 11
    assert "ten" in run(engine, "diff", other, "--keys", "ten", code=2).stderr
    assert "exclude each other" in run(engine, "diff", other, "--keys", "1", "--sample", "5", code=2).stderr


def test_a_terminal_gets_colours_and_no_command(engine, loaded, search_one, script):
    search_one.request("PUT", "t/_doc/7?refresh=true", '{"v":"a\\u009b31m\x9b\x7f"}\n')
    for env, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        leader, follower = pty.openpty()
        subprocess.run([engine.path, "diff", loaded], stdout=follower, stderr=subprocess.DEVNULL, env={**engine.env, **env}, check=False)
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            shown += part
        assert (b"\x1b[31m- v: " in shown) == coloured and (b"\x1b" in shown) == coloured, shown
        assert b"\x7f" not in shown and "\x9b".encode() not in shown


def test_fields_beyond_counting_and_large_values_are_cut(engine, pg, search_one, script):
    films.table(pg, rows=3)
    run(engine, script(films.plain()))
    document = "local d = { v = ('é'):rep(100000) } for i = 1, 500 do d['f' .. i] = i end return d"
    found = report(engine, script(films.plain(document=document), "other.lua"))
    assert len(found["fields"]) == 200 and found["different"] == 3
    (first, *_) = found["examples"]
    assert len(first["differences"]) == 12 and first["more"] == 489
    assert all(len(line.get("script", "")) < 1000 for line in first["differences"])
