"""README's table of servers is the one that `make test-matrix` made, and has all servers. (The suite itself takes minutes.)"""
import importlib.util
import os
import re
import subprocess

import pytest

import services
from tools import ROOT

PROGRAM = os.path.join(ROOT, "tests", "matrix", "matrix.py")


@pytest.fixture
def matrix(monkeypatch):
    """The program as a module, which keeps what it finds in a folder of its own."""
    monkeypatch.setenv("ETL_TEST_SERVICES", services.SET)  # it sets its own where there is none
    spec = importlib.util.spec_from_file_location("matrix", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def result(pair, topics=(), postgres="15.18", search="OpenSearch 2.19.1"):
    return {"pair": pair, "date": "2026-11-27", "postgres": postgres, "search": search, "topics": dict(topics)}


def test_the_readme_has_what_was_recorded(matrix):
    with open(matrix.README, encoding="utf-8") as f:
        text = f.read()
    assert matrix.with_table(text, matrix.table(matrix.kept())) == text


def test_every_server_of_the_table_was_tried_in_a_pair(matrix):
    assert [kept["pair"] for kept in matrix.kept()] == matrix.all_pairs()
    for names, half in zip(matrix.known(), (0, 1)):
        assert set(names) == {pair.split("+")[half] for pair in matrix.all_pairs()}
    assert len(matrix.known()[0]) >= 7 and len(matrix.known()[1]) >= 8


def test_every_test_of_the_suite_is_there(matrix):
    assert len(matrix.suite()) >= 10
    for name in [test for tests in matrix.suite().values() for test in tests]:
        path, function = name.split("::")
        with open(os.path.join(ROOT, "tests", path), encoding="utf-8") as f:
            assert re.search(rf"^def {function}\(", f.read(), re.M), name


def test_a_row_tells_what_passed_and_what_did_not(matrix, monkeypatch):
    monkeypatch.setattr(matrix, "suite", lambda: {"load": [], "values": [], "WAL": [], "TLS": []})
    topics = {"load": [4, 0, 0], "values": [3, 2, 0], "WAL": [5, 0, 1], "TLS": [0, 0, 1]}
    rows = matrix.table([result("a+b", topics), result("c+d", {"load": [1, 0, 0]}, "9.6", "Elasticsearch 10.1")]).splitlines()
    assert rows[2] == "| 15.18 | OpenSearch 2.19.1 | 2026-11-27 | ✓ | **2 failed** | 5 of 6 | – |"
    assert rows[3] == "| 9.6 | Elasticsearch 10.1 | 2026-11-27 | ✓ | – | – | – |"


def test_a_report_is_counted_by_topic(matrix, tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="test_load" name="test_a[opensearch-1]"/>'
        '<testcase classname="test_load" name="test_a[opensearch-2]"><failure message="no"/></testcase>'
        '<testcase classname="faults.test_kill" name="test_b"><skipped/></testcase>'
        '<testcase classname="faults.test_kill" name="test_b"/>'
        '<testcase classname="faults.test_kill" name="test_b"><error/></testcase></testsuite></testsuites>'
    )
    assert matrix.counted(report) == {"test_load.py::test_a": [1, 1, 0], "faults/test_kill.py::test_b": [1, 1, 1]}


def test_a_pair_that_fails_does_not_stop_the_others(matrix, monkeypatch, capsys):
    def tried(pair):
        if pair == "one":
            raise matrix.Failed("one did not start")
        return result(pair, {"load": [1, 1 if pair == "two" else 0, 0]})

    monkeypatch.setattr(matrix, "try_pair", tried)
    monkeypatch.setattr(matrix, "unusable", lambda pair: "no Java" if pair == "none" else None)
    monkeypatch.setenv("RECORD", "no")
    results, failed = matrix.run(["one", "two", "none", "three"])
    assert [r["pair"] for r in results] == ["two", "three"] and failed == ["one", "two"]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "one: one did not start" and said[1].endswith("1 failed, 0 skipped in 0 s: see build/matrix/two.log")
    assert said[2] == "none: left out: no Java" and "1 passed, 0 failed" in said[3]


def test_results_replace_those_of_the_same_pairs_and_no_others(matrix, monkeypatch, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{matrix.BEGIN}old\n{matrix.END}after\n")
    monkeypatch.setattr(matrix, "README", str(readme))
    monkeypatch.setattr(matrix, "RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(matrix, "all_pairs", lambda: ["a+b", "c+d"])
    (tmp_path / "results").write_text("")
    matrix.record([result("c+d"), result("a+b"), result("gone+gone")])
    matrix.record([result("c+d", search="OpenSearch 3.8.0")])
    assert matrix.kept() == [result("a+b"), result("c+d", search="OpenSearch 3.8.0")]
    assert readme.read_text() == f"before\n{matrix.BEGIN}{matrix.table(matrix.kept())}{matrix.END}after\n"
    readme.write_text("no marks")
    with pytest.raises(matrix.Failed, match="README.md lacks the comments"):
        matrix.record([])


@pytest.mark.parametrize("pairs", ["fish", "postgres18+fish", "opensearch+postgres", "postgres18+opensearch+opensearch3"])
def test_a_pair_that_is_none_is_told_in_one_line(pairs):
    done = subprocess.run([PROGRAM], env={**os.environ, "PAIRS": pairs}, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"matrix: PAIRS names '{pairs}': it has to be one of postgres, ")
