"""The disk is full, or the folder goes: the state is late, never wrong, and the run goes on or says why not."""
import os
import shutil
import subprocess

import pytest

from faults import assert_true_to

pytest_plugins = ["fault_fixtures"]


def test_a_full_disk_at_the_start_is_waited_for(search_one, items, small_disk, wait_until):
    items.fill(1000)
    items.engine.env["FILE_PATH_STATE"] = items.engine.state = small_disk.path("folder/state")
    os.mkdir(small_disk.path("folder"))
    small_disk.fill()
    engine = items.start()
    wait_until(lambda: "No space left" in engine.stderr)
    small_disk.free()
    assert engine.wait().returncode == 0
    assert_true_to(items, search_one)
    assert items.state()["phase"] == "following"


def test_a_disk_without_room_even_for_the_lock_is_waited_for(search_one, items, small_disk, wait_until):
    items.fill(1000)
    items.engine.env["FILE_PATH_STATE"] = items.engine.state = small_disk.path("folder/state")
    small_disk.use_up_inodes()
    engine = items.start()
    wait_until(lambda: "No space left" in engine.stderr)
    small_disk.free()
    assert engine.wait().returncode == 0
    assert_true_to(items, search_one)
    assert items.state()["phase"] == "following"


def test_a_disk_that_fills_up_in_a_load(search, items, small_disk, wait_until):
    """The load goes on meanwhile; only its end waits. Whatever happens then, the file is the old one or the new one."""
    items.fill(30000, width=300)
    items.engine.env["FILE_PATH_STATE"] = items.engine.state = small_disk.path("state")
    engine = items.start()
    wait_until(lambda: items.state())
    small_disk.fill()
    old = items.state()
    wait_until(lambda: search.count("items") == 30000)
    wait_until(lambda: "No space left" in engine.stderr)
    assert engine.alive()
    assert items.state() == old and old["phase"] == "snapshot"
    small_disk.free()
    done = engine.wait()
    assert done.returncode == 0
    assert done.stderr.count("No space left") < 40, "a line for each try: the log must not fill the disk"
    assert items.state()["phase"] == "following"
    assert_true_to(items, search)


def test_a_kill_while_the_disk_is_full(search_one, items, small_disk, wait_until):
    items.fill(3000)
    items.engine.env["FILE_PATH_STATE"] = items.engine.state = small_disk.path("state")
    items.run()
    items.pg.execute("UPDATE item SET n = 1, modified = clock_timestamp() WHERE id % 20 = 0")
    small_disk.fill()
    engine = items.start()
    wait_until(lambda: "No space left" in engine.stderr)
    engine.kill()
    assert items.state()["phase"] == "following"
    small_disk.free()
    items.run()
    assert_true_to(items, search_one)


def test_a_state_folder_that_is_deleted_in_a_load(search_one, items, tmp_path, gateway, wait_until):
    """It says so and ends; the next run has no state, and loads everything."""
    items.fill(30000)
    folder = tmp_path / "folder"
    items.engine.env["FILE_PATH_STATE"] = items.engine.state = str(folder / "state")
    gateway.answer = lambda r: (503, {}, b"{}") if r.bulk else None
    engine = items.start()
    wait_until(lambda: gateway.bulks > 0)
    shutil.rmtree(folder)
    gateway.answer = lambda r: None
    done = engine.wait()
    assert done.returncode == 1, done
    assert f"cannot create '{folder}/state.new': No such file or directory" in done.stderr
    done = items.run()
    assert "loading everything: there is no state yet" in done.stderr
    assert_true_to(items, search_one)


def test_a_folder_that_turns_read_only(search_one, items, small_disk):
    items.fill(3000)
    items.engine.env["FILE_PATH_STATE"] = items.engine.state = small_disk.path("state")
    items.run()
    items.pg.execute("UPDATE item SET n = 1, modified = clock_timestamp() WHERE id % 20 = 0")
    small_disk.remount("ro")
    done = items.start().wait()
    assert done.returncode == 1, done
    assert "Read-only file system" in done.stderr
    small_disk.remount("rw")
    items.run()
    assert_true_to(items, search_one)


def test_documents_printed_to_a_full_device(items):
    items.fill(1000)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [items.engine.path, items.script, "--dry-run"],
            stdout=full, stderr=subprocess.PIPE, text=True, env=items.engine.env, timeout=60, check=False,
        )
    assert done.returncode == 1
    assert "cannot write to standard output: No space left on device" in done.stderr


def test_a_log_that_cannot_be_written_stops_nothing(search_one, items):
    items.fill(3000)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [items.engine.path, items.script], stdout=subprocess.DEVNULL, stderr=full, env=items.engine.env,
            timeout=60, check=False,
        )
    assert done.returncode == 0
    assert_true_to(items, search_one)


def test_a_second_engine_on_one_state_is_kept_out(search_one, items, gateway, wait_until):
    items.fill(3000)
    gateway.answer = lambda r: (503, {}, b"{}") if r.bulk else None
    first = items.start()
    wait_until(lambda: gateway.bulks > 0)
    second = items.start().wait()
    assert second.returncode == 1
    assert f"another run is using it (process {first.pid})" in second.stderr
    gateway.answer = lambda r: None
    assert first.wait().returncode == 0
    assert_true_to(items, search_one)


def test_two_engines_with_two_states_on_one_index(search, items, tmp_path, rng):
    """Each reads at its own time; the later reading wins, whoever sends first, and neither takes the other for a
    stranger."""
    items.fill(30000)
    other = str(tmp_path / "other")
    engines = [items.start(), items.start(env={"FILE_PATH_STATE": other})]
    for _ in range(100):
        if any(engine.alive() for engine in engines):
            items.change(rng, 100)
    for engine in engines:
        done = engine.wait()
        assert done.returncode == 0, done
    items.run()
    assert_true_to(items, search)
