"""verify compares every key both ways: what differs is named and repaired, and what only looks different, because a
process that follows has not delivered it yet, is not."""
import json
import random
import threading

import films
import pytest
from films import run

ROWS = 60
CAPTURES = ("poll", "wal")


@pytest.fixture
def loaded(engine, pg, search_one, script):
    films.table(pg, rows=ROWS)
    path = script(films.plain(source="lookback = 0,"))
    run(engine, path)
    return path


def found(engine, path, *words, code=5):
    """What verify found, from its JSON."""
    done = run(engine, "verify", path, "--format", "json", *words, code=code)
    return json.loads(done.stdout)


def kinds(report):
    return {kind: report[kind] for kind in ("missing", "orphaned", "different", "failed") if report[kind]}


def edit(search, key, document, index="t"):
    search.request("PUT", f"{index}/_doc/{key}?refresh=true", document)


def captured(**words):
    return films.plain(source='capture = "wal",', cursor=None, **words)


# what is found


def test_an_index_that_is_right_has_no_difference(engine, loaded, search_one):
    before = search_one.versions("t")
    report = found(engine, loaded, code=0)
    assert report["compared"] == report["same"] == ROWS and not kinds(report)
    assert "60 documents compared with index 't'" in run(engine, "verify", loaded).stdout
    assert search_one.versions("t") == before


def test_each_kind_of_difference_is_found_and_repaired(engine, pg, loaded, search_one):
    search = search_one
    edit(search, 3, {"v": "edited"})
    edit(search, 4, {"v": "v4", "more": [1]})
    search.request("DELETE", "t/_doc/5?refresh=true")
    edit(search, 100, {"v": "v100"})
    edit(search, "x", {"v": "not a key"})
    pg.execute("DELETE FROM t WHERE id = 7; UPDATE t SET v = 'w' WHERE id = 8")
    report = found(engine, loaded)
    assert kinds(report) == {"missing": 1, "orphaned": 3, "different": 3} and report["compared"] == ROWS + 2
    assert report["fields"] == [{"field": "v", "documents": 2}, {"field": "more", "documents": 1}]
    examples = {x["key"]: x for x in report["examples"]}
    assert set(examples) == {"3", "4", "5", "7", "8", "100", "x"}
    assert examples["8"]["differences"] == [{"path": "v", "index": '"v8"', "script": '"w"'}]
    assert examples["4"]["differences"] == [{"path": "more", "index": "[1]"}]
    assert examples["x"]["reason"] == examples["100"]["reason"] == "foreign" and examples["8"]["reason"] == "pending"
    done = run(engine, "verify", loaded, "--repair")
    assert "7 differences repaired, 0 left" in done.stdout, done
    assert found(engine, loaded, code=0)["same"] == ROWS - 1
    assert search.docs("t") == {str(i): {"v": "w" if i == 8 else f"v{i}"} for i in range(1, ROWS + 1) if i != 7}


def test_documents_are_compared_by_what_they_say(engine, pg, search_one, script):
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, n numeric, j jsonb)")
    pg.execute("""INSERT INTO t VALUES (1, 1.50, '{"a": [1, {"b": "é"}], "c": null}'), (2, 100, '[]'), (3, 3, '{}')""")
    path = script(films.plain(columns="id, n, j", document="return { n = row.n, j = row.j }", cursor=None,
                              sink='mappings = { properties = { j = { type = "object", enabled = false } } },'))  # fmt: skip
    run(engine, path)
    edit(search_one, 1, '{"j":{"c":null,"a":[1.0,{"b":"\\u00e9"}]},"n":15e-1}\n')
    edit(search_one, 2, '{"n":1e2,"j":[]}\n')
    assert not kinds(found(engine, path, code=0))
    edit(search_one, 1, {"n": 1.5, "j": {"a": [1, {"b": "e"}]}})
    edit(search_one, 2, {"n": 100.000001, "j": [0]})
    edit(search_one, 3, {"n": 3})
    report = found(engine, path)
    paths = {x["key"]: [line["path"] for line in x["differences"]] for x in report["examples"]}
    assert paths == {"1": ["j.a[1].b", "j.c"], "2": ["j[0]", "n"], "3": ["j"]}
    assert {x["field"]: x["documents"] for x in report["fields"]} == {"j.a[].b": 1, "j.c": 1, "j[]": 1, "n": 1, "j": 1}


def test_rows_that_make_no_document_are_orphans_only_if_there_is_one(engine, pg, search_one, script):
    films.table(pg, rows=10)
    document = "if row.id % 2 == 0 then return nil end return { v = row.v }"
    path = script(films.plain(document=document, source="lookback = 0,"))
    run(engine, path)
    assert found(engine, path, code=0)["compared"] == 5
    edit(search_one, 4, {"v": "v4"})
    filtered = script(films.lua(query="SELECT id, v FROM t WHERE id <> 3", table="t", index="t", document=document), "f.lua")
    report = found(engine, filtered)
    assert kinds(report) == {"orphaned": 2} and {x["key"] for x in report["examples"]} == {"3", "4"}


def test_a_document_that_cannot_be_made_is_named_with_the_reason(engine, loaded, script, search_one):
    bad = script(films.plain(document="if row.id == 9 then error('no nine') end return { v = row.v }"), "bad.lua")
    report = found(engine, bad)
    (example,) = report["examples"]
    assert kinds(report) == {"failed": 1} and example["key"] == "9" and "no nine" in example["error"]
    run(engine, bad, "--full", code=4)
    edit(search_one, 9, {"v": "edited"})
    assert [x["reason"] for x in found(engine, loaded)["examples"]] == ["rejected"]


def test_another_script_is_the_reason(engine, loaded, script):
    other = script(films.plain(document="return { v = row.v, n = row.id }"), "other.lua")
    report = found(engine, other)
    assert kinds(report) == {"different": ROWS} and report["reasons"] == {"script": ROWS}
    assert len(report["examples"]) == 10


def test_a_sample_and_what_has_changed_since(engine, pg, loaded, search_one):
    assert found(engine, loaded, "--sample", "10", code=0)["compared"] <= 20
    edit(search_one, 1, {"v": "edited"})
    edit(search_one, 500, {"v": "orphan"})
    assert kinds(found(engine, loaded, "--sample", "1000")) == {"different": 1, "orphaned": 1}
    since = pg.value("SELECT clock_timestamp()::text")
    pg.execute("UPDATE t SET v = 'w', modified = clock_timestamp() WHERE id = 2")
    report = found(engine, loaded, "--since", since)
    assert kinds(report) == {"different": 1} and report["examples"][0]["key"] == "2"


def test_repair_stops_before_it_empties_an_index(engine, pg, loaded, search_one):
    pg.execute("DELETE FROM t WHERE id <= 40")
    done = run(engine, "verify", loaded, "--repair", code=1)
    assert "refusing to delete" in done.stderr and search_one.count("t") >= 20, done
    run(engine, "verify", loaded, "--repair", "--allow-deletes")
    assert search_one.count("t") == 20


def test_documents_with_several_copies(engine, pg, search_one, script):
    films.table(pg, rows=20)
    path = script(films.plain(document="return { v = row.v }, { index = 't-' .. row.id % 2 }", index="t-0",
                              sink='indices = "t-*",', source="lookback = 0,"))  # fmt: skip
    run(engine, path)
    assert "20 documents compared with index 't-*'" in run(engine, "verify", path).stdout
    assert found(engine, path, code=0)["same"] == 20
    edit(search_one, 3, {"v": "v3"}, "t-0")
    edit(search_one, 4, {"v": "old"}, "t-0")
    edit(search_one, 50, {"v": "v50"}, "t-1")
    report = found(engine, path)
    assert kinds(report) == {"different": 2, "orphaned": 1}
    run(engine, "verify", path, "--repair")
    assert found(engine, path, code=0)["same"] == 20


def test_documents_whose_index_does_not_exist_are_missing(engine, pg, search_one, script):
    films.table(pg, rows=20)
    path = script(films.plain(document="return { v = row.v }, { index = 't-' .. row.id % 2 }", index="t-0",
                              sink='indices = "t-*",', source="lookback = 0,"))  # fmt: skip
    run(engine, path)
    search_one.request("DELETE", "t-1")
    assert kinds(found(engine, path)) == {"missing": 10}
    assert "10  would come" in run(engine, "diff", path, code=5).stdout
    run(engine, "verify", path, "--repair")
    assert found(engine, path, code=0)["same"] == 20


# beside a process that follows


class Writer:
    """Changes rows without a pause, until it is stopped. Deletes are seen by the log alone."""

    def __init__(self, pg, rng, deletes):
        self.connection = pg.connect(autocommit=True)
        self.rng, self.deletes, self.on, self.n = rng, deletes, True, 0
        self.thread = threading.Thread(target=self.write)

    def write(self):
        with self.connection.cursor() as cursor:
            while self.on:
                self.n += 1
                key, value = self.rng.randrange(1, 60), f"w{self.n}"
                if self.deletes and self.rng.random() < 0.3:
                    cursor.execute("DELETE FROM t WHERE id = %s", (key,))
                else:
                    cursor.execute("INSERT INTO t (id, v) VALUES (%s, %s) ON CONFLICT (id)"
                                   " DO UPDATE SET v = excluded.v, modified = clock_timestamp()", (key, value))  # fmt: skip

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.on = False
        self.thread.join()


@pytest.mark.parametrize("capture", CAPTURES)
def test_changes_under_way_are_no_difference_but_others_are(engine, pg, search_one, script, wait_until, rng, capture):
    films.table(pg, rows=ROWS + 2000)
    path = script(captured() if capture == "wal" else films.plain())
    running = films.follow(engine, path, wait_until=wait_until)
    with Writer(pg, random.Random(rng.random()), deletes=capture == "wal") as writer:
        for _ in range(3):
            report = found(engine, path, code=0)
            assert report["unsettled"] < 60 and not kinds(report)
        assert writer.n > 50
        edit(search_one, 70, {"v": "edited"})  # whose row does not change
        edit(search_one, 9000, {"v": "an orphan"})
        search_one.request("DELETE", "t/_doc/71?refresh=true")
        report = found(engine, path)
        assert {x["key"]: x["kind"] for x in report["examples"]} == {"70": "different", "9000": "orphaned", "71": "missing"}
        run(engine, "verify", path, "--repair")
        assert running.alive()
    assert not kinds(found(engine, path, code=0))
    assert running.stop().returncode == 143


def test_a_delete_that_a_poll_does_not_see_is_left_to_the_sweep(engine, pg, search_one, script, wait_until):
    films.table(pg)
    path = script(films.plain())
    running = films.follow(engine, path, wait_until=wait_until)
    pg.execute("DELETE FROM t WHERE id = 3")
    report = found(engine, path)
    assert kinds(report) == {"orphaned": 1} and report["reasons"] == {"deleted": 1}
    assert running.stop().returncode == 143


# mistakes


def test_mistakes_are_named(engine, pg, search_one, script):
    films.table(pg)
    path = script(films.plain())
    done = run(engine, "verify", path, code=1)
    assert "index 't' does not exist" in done.stderr and not search_one.exists("t"), done
    run(engine, path)
    for words, text in (
        (("--sample", "5", "--since", "2024-01-01"), "exclude each other"),
        (("--allow-deletes",), "needs --repair"),
        (("--format", "xml"), "'text' or 'json'"),
        (("--since", "nonsense"), "nonsense"),
    ):
        done = run(engine, "verify", path, *words, code=2)
        assert text in done.stderr, done
