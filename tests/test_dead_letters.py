"""A rejected document is its key, in a file beside the state, until that key succeeds or goes."""
import json
import os
import subprocess

import films
import pytest
from films import run, state

STRICT = 'mappings = { dynamic = "strict", properties = { n = { type = "integer" } } },'


def letters(path):
    """The dead letters in a file, by key; none without one."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        return {letter["key"]: letter for letter in map(json.loads, f)}


@pytest.fixture
def numbers(engine, pg, script):
    """A table whose texts have to be numbers, 20 of them good; the script, and where its dead letters are."""
    films.table(pg, rows=0)
    pg.execute("INSERT INTO t SELECT i, i FROM generate_series(1, 20) i")

    def make(document="return { n = row.v }", name="script.lua", **words):
        return script(films.plain(document=document, sink=STRICT, **words), name)

    make.letters = engine.state + ".rejected"
    return make


def break_row(pg, number=3, value="three"):
    pg.execute(f"UPDATE t SET v = '{value}', modified = clock_timestamp() WHERE id = {number}")


def test_what_the_mapping_rejects_is_a_dead_letter_and_the_run_goes_on(engine, numbers, pg, search):
    break_row(pg)
    done = run(engine, numbers(), code=4)
    assert search.count("t") == 19 and "document '3' rejected" in done.stderr
    letter = letters(numbers.letters)["3"]
    assert set(letter) == {"key", "reason", "status", "time", "pipeline"}
    assert letter["status"] == 400 and "failed to parse" in letter["reason"] and letter["pipeline"] == "films"
    assert letter["time"].startswith("20") and letter["time"].endswith("Z")
    assert oct(os.stat(numbers.letters).st_mode & 0o777) == "0o600"


def test_their_file_is_told_as_the_script_names_it(engine, numbers, pg, search_one, tmp_path):
    path = numbers("if row.id == 3 then error('no threes') end return { n = row.v }")
    for n in (1, 2):  # the file is new, and then it is there
        done = engine(path, "--full", env={"FILE_PATH_STATE": "here.state"}, cwd=tmp_path)
        assert done.returncode == 4 and " in 'here.state.rejected'" in done.stderr, (n, done)


def test_an_error_in_document_is_a_dead_letter_that_names_script_line_and_key(engine, numbers, pg, search_one):
    path = numbers("if row.id == 3 then error('no threes') end return { n = row.v }")
    run(engine, path, code=4)
    letter = letters(numbers.letters)["3"]
    assert letter["status"] == 0 and "no threes" in letter["reason"]
    assert "script.lua:" in letter["reason"] and "'3'" in letter["reason"]
    assert search_one.count("t") == 19


def test_the_file_may_be_elsewhere(engine, numbers, pg, search_one, tmp_path):
    break_row(pg)
    run(engine, numbers(), "--dead-letters", tmp_path / "elsewhere", code=4)
    assert set(letters(tmp_path / "elsewhere")) == {"3"} and not os.path.exists(numbers.letters)


def test_a_run_that_rejects_nothing_ends_with_0_and_warns_of_what_waits(engine, numbers, pg, search_one):
    break_row(pg)
    run(engine, numbers(), code=4)
    films.settle()
    run(engine, numbers(), code=None)
    done = run(engine, numbers())
    assert "dead letter" in done.stderr and numbers.letters in done.stderr


def test_replayed_keys_that_succeed_are_cleared(engine, numbers, pg, search_one):
    run(engine, numbers("if row.id < 4 then error('small') end return { n = row.v }"), code=4)
    assert set(letters(numbers.letters)) == {"1", "2", "3"}
    break_row(pg)
    path = numbers()
    run(engine, path, "--keys-from", numbers.letters, code=4)
    assert set(letters(numbers.letters)) == {"3"} and search_one.count("t") == 19
    pg.execute("UPDATE t SET v = '3' WHERE id = 3")
    run(engine, path, "--keys-from", numbers.letters)
    assert not letters(numbers.letters) and search_one.count("t") == 20


@pytest.mark.parametrize("how", ["poll", "deleted", "nil", "sweep", "full"])
def test_a_letter_is_cleared_when_its_key_next_succeeds_or_goes(engine, numbers, pg, search_one, how):
    break_row(pg)
    path = numbers()
    run(engine, path, code=4)
    words = []
    if how == "poll":
        break_row(pg, value="33")
    elif how == "deleted":
        pg.execute("DELETE FROM t WHERE id = 3")
        words = ["--keys", "3"]
    elif how == "nil":
        path = numbers("if row.v == 'three' then return nil end return { n = row.v }")
        words = ["--keys", "3"]
    else:
        pg.execute("UPDATE t SET v = '33' WHERE id = 3")
        words = ["--" + how]
    run(engine, path, *words)
    assert not letters(numbers.letters)


def test_a_row_that_was_deleted_is_cleared_by_the_sweep(engine, numbers, pg, search_one):
    """Its key is neither a row nor in the index."""
    break_row(pg)
    run(engine, numbers(), code=4)
    pg.execute("DELETE FROM t WHERE id = 3")
    run(engine, numbers(), "--sweep")
    assert not letters(numbers.letters)


def test_a_rejected_change_of_a_document_that_is_there_leaves_the_old_one(engine, numbers, pg, search_one):
    path = numbers()
    run(engine, path)
    break_row(pg)
    run(engine, path, code=4)
    assert search_one.get("t", "3") == {"n": "3"} and set(letters(numbers.letters)) == {"3"}


def test_a_letter_says_the_last_reason(engine, numbers, pg, search_one):
    path = numbers()
    for value in ("three", "drei"):
        break_row(pg, value=value)
        run(engine, path, code=4)
    assert list(letters(numbers.letters)) == ["3"]
    assert "drei" in letters(numbers.letters)["3"]["reason"]


def test_max_rejected_stops_a_run_whose_mapping_is_wrong(engine, numbers, pg, search_one):
    path = numbers("return { m = row.v }", extra="max_rejected = 5,")
    done = run(engine, path, code=1)
    assert "more than 5 documents were rejected (max_rejected)" in done.stderr
    assert state(engine)["phase"] == "snapshot"
    run(engine, numbers())
    assert search_one.count("t") == 20 and not letters(numbers.letters)


def test_following_goes_on_and_its_budget_holds(engine, numbers, pg, search_one, wait_until):
    path = numbers(extra="poll_interval = 0.1, max_rejected = 3,")
    running = films.follow(engine, path, wait_until=wait_until)
    break_row(pg)
    wait_until(lambda: "3" in letters(numbers.letters))
    break_row(pg, 4, "44")
    wait_until(lambda: search_one.get("t", "4") == {"n": "44"})
    break_row(pg, 3, "33")
    wait_until(lambda: not letters(numbers.letters))
    assert running.alive()
    for number in range(5, 10):
        break_row(pg, number, "bad")
    done = running.wait(10)
    assert done.returncode == 1 and "max_rejected" in done.stderr


def test_a_rejected_document_is_not_tried_again_and_again(engine, numbers, pg, search_one, wait_until):
    path = numbers()
    running = films.follow(engine, path, wait_until=wait_until)
    break_row(pg)
    wait_until(lambda: "3" in letters(numbers.letters))
    films.settle(1.5)
    assert running.stderr.count("document '3' rejected") == 1


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_the_state_does_not_pass_a_letter_that_is_not_on_disk(engine, numbers, pg, search_one, small_disk, wait_until):
    path = numbers()
    run(engine, path)
    films.settle()
    before = state(engine)["tables"]["public.t"]
    (small_disk / "filler").write_bytes(b"x" * 65536)
    break_row(pg)
    running = engine.start(path, "--dead-letters", small_disk / "letters")
    wait_until(lambda: "No space left" in running.stderr)
    wait_until(lambda: "rejected" in running.stderr)
    assert state(engine)["tables"]["public.t"] == before
    (small_disk / "filler").unlink()
    assert running.wait().returncode == 4
    assert set(letters(small_disk / "letters")) == {"3"} and state(engine)["tables"]["public.t"] != before


def test_rows_that_each_sweep_rejects_again_do_not_end_a_follower_but_a_wrong_mapping_does(engine, numbers, pg, search_one,
                                                                                          wait_until):
    pg.execute("UPDATE t SET v = 'no number' WHERE id <= 15")
    path = numbers(extra="poll_interval = 0.1, sweep = 0.3, max_rejected = 17,")
    running = films.follow(engine, path, wait_until=wait_until)
    wait_until(lambda: running.stderr.count("swept") >= 4 or not running.alive(), what="four sweeps")
    assert running.alive() and running.stderr.count("document '3' rejected") <= 2, running.stderr
    pg.execute("UPDATE t SET v = 'none either', modified = clock_timestamp() WHERE id > 15")
    done = running.wait()
    assert done.returncode == 1 and "max_rejected" in done.stderr, done
    pg.execute("UPDATE t SET v = id + 100")
    run(engine, path, code=None)
    assert search_one.get("t", "20") == {"n": "120"}, "the state went back to before the last ones"


def test_a_rejected_document_counts_once_and_so_does_one_that_was_loaded(engine, numbers, pg, search_one):
    break_row(pg, 3)
    break_row(pg, 5)
    path = numbers(extra="after_run = function(run) etl.log.info('told %d, %d', run.documents, run.rejected) end,",
                   head='local etl = require "etl"')
    done = run(engine, path, code=4)
    assert "18 documents indexed, 0 deleted, 2 rejected" in done.stderr and "told 18, 2" in done.stderr, done
