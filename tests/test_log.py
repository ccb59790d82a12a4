"""The log of a process that runs for years: numbers are fields, what repeats is counted, and each minute has its line."""
import glob
import json
import os
import re

import films
import pytest

from conftest import ROOT

STANDARD = {"time", "level", "pipeline", "worker", "message"}
BAD = [3, 5, 6, 8, 9, 11, 12, 15]
PICKY = f"if ({{ {', '.join(f'[{key}] = true' for key in BAD)} }})[row.id] then return {{ v = nil .. row.v }} end return {{ v = row.v }}"


def parsed(stderr):
    """The lines, each checked: it is JSON with the standard fields, and no number is in its prose alone."""
    lines = [json.loads(line) for line in stderr.splitlines()]
    for line in lines:
        assert {"time", "level", "message"} <= line.keys() and line["level"] in ("error", "warn", "info", "debug"), line
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"]), line
        prose = re.sub(r"'[^']*'|\"[^\"]*\"", "", line["message"])
        assert not re.search(r"\d", prose) or line.keys() - STANDARD, line
        if "kind" in line:
            assert line["kind"] in ("passing", "final", "usage", "stopped"), line
        for name, value in line.items():
            assert isinstance(value, str) or type(value) in (int, float), (name, line)
            assert not name.endswith("_seconds") or type(value) in (int, float), (name, line)
    return lines


def one(lines, text):
    (line,) = [line for line in lines if text in line["message"]]
    return line


def source():
    code = ""
    for path in glob.glob(os.path.join(ROOT, "engine/*/*.c")):
        with open(path, encoding="utf-8") as f:
            code += f.read()
    return code


def test_no_line_has_a_number_that_is_no_field():
    """Those without any field at all have no number in their format; the others are tried below."""
    calls = re.findall(r'\blog_(?:info|warn|error|debug|line)\(((?:"[^"]*"|[^";])*)\);', source())
    assert len(calls) > 15
    for call in calls:
        text = "".join(re.findall(r'"([^"]*)"', call))
        assert not re.search(r"%[-0-9.*]*(?:l|ll|z|j)?[dugfex]", text) and "PRI" not in call, call


def test_each_name_of_a_field_is_documented():
    code = source()
    used = set(re.findall(r'\blog_(?:int|real|text)\((?:[^"();]*\? *"\w+" *: *)?"(\w+)"', code))
    used |= set(re.findall(r'\blog_(?:int|real|text)\([^"();]*\? *"(\w+)" *:', code)) | {"kind", "hint", "script", "line"}
    with open(os.path.join(ROOT, "vendor/man/etl-engine-monitor.7.md"), encoding="utf-8") as f:
        table = f.read().split("| fields | are |")[1].split("\n\n")[0]
    documented = {name for row in table.splitlines() if row.startswith("| `") for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    with open(os.path.join(ROOT, "engine/base/log.h"), encoding="utf-8") as f:
        header = set(re.search(r"compares the code with it:\n \*\n(.*?) \*/", f.read(), re.S)[1].replace("*", "").split())
    assert used == documented == header


def test_numbers_are_fields(engine, pg, search_one, script, wait_until):
    """A load with rejections, a sweep that has nothing to do, changes that are followed."""
    films.table(pg)
    path = script(films.plain(document=PICKY))
    lines = parsed(films.run(engine, path, "--log-format", "json", code=4).stderr)
    assert {line["pipeline"] for line in lines if "worker" in line} == {"films"}
    rejected = [line for line in lines if line["message"].startswith("document ")]
    assert [line["key"] for line in rejected[:5]] == list(map(str, BAD[:5])) and len(rejected) == 6
    assert rejected[5]["message"].endswith("; and 2 more like it (first key '11', last key '15')")
    assert {"lines": 3, "first_key": "11", "last_key": "15"}.items() <= rejected[5].items()
    with open(engine.state + ".rejected", encoding="utf-8") as f:
        assert {json.loads(letter)["key"] for letter in f} == set(map(str, BAD)), "each of them is a dead letter"
    done = one(lines, "documents indexed")
    assert {"documents": 12, "indexed": 12, "rejected": 8, "deleted": 0, "superseded": 0, "unchanged": 0, "repeated": 0,
            "requests": 1, "retried_items": 0}.items() <= done.items()
    assert done["seconds"] > 0 and done["documents_per_second"] > 0 and done["request_bytes"] > 0
    assert one(lines, "dead letters")["dead_letters"] == 8 and one(lines, "dead letters")["path"] == engine.state + ".rejected"
    assert one(lines, "created index")["index"] == "t"

    swept = parsed(films.run(engine, path, "--sweep", "--log-format", "json", code=4).stderr)
    assert one(swept, "documents indexed")["unchanged"] == 12 and "since" in one(swept, "reading changes since")

    path = script(films.plain())
    running = films.follow(engine, path, "--log-format", "json", wait_until=wait_until)
    pg.execute("UPDATE t SET v = 'new', modified = clock_timestamp() WHERE id IN (1, 2)")
    wait_until(lambda: search_one.get("t", "2") == {"v": "new"})
    lines = parsed(running.stop().stderr)
    assert one(lines, "following, every")["interval_seconds"] == 0.1
    assert lines[-1]["kind"] == "stopped" and one(lines, "indexed")["indexed"] >= 2


def test_the_lines_of_other_commands_have_fields_too(engine, pg, search_one, script):
    films.table(pg)
    path = script(films.plain())
    films.run(engine, path)
    done = engine("reindex", path, "--replace-index", "--log-format", "json")
    lines = parsed(done.stderr)
    assert done.returncode == 0 and {line.get("pipeline") for line in lines} == {"films"}, done
    assert one(lines, "alias 't' points to")["alias"] == "t" and one(lines, "documents indexed")["indexed"] == 20
    checked = parsed(engine("check", path, "--log-format", "json").stderr)
    assert one(checked, "error")["errors"] == 0
    waited = parsed(engine("wait", path, "--timeout", "1", "--log-format", "json").stderr)
    assert waited[-1]["kind"] in ("passing", "final") and waited[-1]["pipeline"] == "films"


def test_an_error_has_its_kind_and_its_hint_as_fields(engine, pg, script):
    films.table(pg)
    done = engine(script(films.plain()), "--log-format", "json", "--verbose", "--give-up-after", "1")
    lines = parsed(done.stderr)
    again = [line for line in lines if "trying again in" in line["message"]]
    assert done.returncode == 3 and again and all(line["kind"] == "passing" and line["wait_seconds"] >= 0 for line in again)
    assert [line["attempt"] for line in again] == list(range(1, len(again) + 1)) and "worker" not in again[0]
    assert one(lines, "no request to the search server")["give_up_seconds"] == 1
    wrong = parsed(engine(script(films.plain(extra="sweap = 1,")), "--log-format", "json").stderr)
    assert len(wrong) == 1 and wrong[0]["kind"] == "usage" and "did you mean 'sweep'" in wrong[0]["message"]
    with open(engine.state, "w", encoding="utf-8") as f:
        f.write("{ damaged")
    damaged = one(parsed(engine(script(films.plain()), "--log-format", "json").stderr), "damaged")
    assert damaged["kind"] in ("usage", "final") and "state reset" in damaged["hint"] and "hint" not in damaged["message"]


def test_a_server_that_stays_away_fills_no_log(engine, pg, script, wait_until):
    """One cause is one warning, with its remedy; the tries that follow are details."""
    films.table(pg)
    running = engine.start(script(films.plain()), "--follow", "--log-format", "json", "--verbose")
    wait_until(lambda: running.stderr.count("trying again in") > 5)
    running.stop()
    again = [line for line in parsed(running.stderr) if "trying again in" in line["message"]]
    assert [line["attempt"] for line in again] == list(range(1, len(again) + 1)), again
    levels = [line["level"] for line in again]
    assert levels[0] == "warn" and levels.count("debug") > levels.count("warn") and again[0]["kind"] == "passing", again


@pytest.mark.skipif(os.environ.get("ETL_FAULTS") != "long", reason="a minute until the next line (ETL_FAULTS=long)")
def test_each_minute_in_which_something_happens_has_a_line(engine, pg, search_one, script, wait_until):
    films.table(pg)
    running = films.follow(engine, script(films.plain()), "--log-format", "json", wait_until=wait_until)
    pg.execute("UPDATE t SET v = 'new', modified = clock_timestamp() WHERE id IN (1, 2)")
    wait_until(lambda: "films: following: " in running.stderr, timeout=100)
    line = one(parsed(running.stderr), "films: following: ")
    assert re.fullmatch(r"films: following: 2 documents, lag \d+\.\d s", line["message"]), line
    assert {"doing": "following", "documents": 2, "indexed": 2}.items() <= line.items() and line["lag_seconds"] >= 0
    running.stop()
