"""The first load of a pipeline that captures from the log: killed at random moments, amid
writers."""
import glob
import json
import os
import re
import threading

import pytest

from faults import LONG
from tools import wait_until
from wal_shop import DIRECT

pytest_plugins = ["fault_fixtures", "wal_fixtures"]

KILLS = 20 if LONG else 3
PRODUCTS = 20000
SLOWLY = "max_rate = 8000, batch_bytes = 65536"  # and in many stretches


def state(shop):
    """The state file's content; None while there is none."""
    try:
        with open(shop.engine.state, encoding="utf-8") as f:
            return json.load(f)
    except FileNotFoundError:
        return None


def start_over(shop):
    """As if no engine had ever run."""
    shop.stop()
    shop.drop_slot()
    for path in glob.glob(shop.engine.state + "*"):
        os.remove(path)
    shop.search.wipe()


def follows(shop):
    return ": following" in shop.running.stderr


def kill_loads(shop, rng):
    """Kills first loads at random moments, KILLS times in all, and begins anew where one comes to
    its end; so does the last."""
    killed = 0
    while killed < KILLS:
        before = state(shop)
        shop.start()
        wait_until(lambda: state(shop) or not shop.running.alive(), timeout=60, what="a state")
        if not shop.pause(rng.uniform(0, 1.0)) or follows(shop):
            shop.assert_alive()
            start_over(shop)
            continue
        shop.kill()
        killed += 1
        if before and before["phase"] == "snapshot" and before["after"]:
            resumed = re.findall("resuming the load after key '([0-9]+)'", shop.said[-1])
            assert resumed in ([], [before["after"]])  # it may not have come so far
            after = state(shop)
            assert after["phase"] != "snapshot" or int(after["after"]) >= int(before["after"])
    shop.start()
    wait_until(lambda: follows(shop), timeout=120, what="following")


def test_killed_at_random_moments_amid_writers(shop, rng):
    """Complete and right in the end."""
    shop.fill(PRODUCTS)
    shop.script = shop.write(sink=SLOWLY)
    with shop.writing(sessions=3):
        kill_loads(shop, rng)
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()


def test_what_is_loaded_is_not_loaded_again(shop, rng, gateway):
    """After a kill, no key below the point where the load resumes is sent once more, but for those
    that have changed."""
    shop.fill(PRODUCTS)
    shop.script = shop.write(sink=SLOWLY)
    sent, lock = set(), threading.Lock()

    def note(request):
        if request.bulk:
            with lock:
                sent.update(int(key) for key in re.findall(rb'"_id":"(\d+)"', request.body))

    gateway.answer = note
    stop = threading.Event()

    def write():
        """Every tenth product, over and over."""
        while not stop.wait(0.01):
            shop.pg.execute("UPDATE product SET price = price + 1 WHERE id %% 10 = 0 AND id %% 130 = %s", (len(sent) % 13 * 10,))

    writer = threading.Thread(target=write)
    resumed = 0
    shop.start()
    writer.start()
    try:
        while resumed < KILLS and (": following" not in shop.running.stderr):
            assert shop.pause(rng.uniform(0.2, 0.8))
            shop.kill()
            point = (state(shop) or {}).get("after")
            sent.clear()
            shop.start()
            if point:
                point = int(point)
                wait_until(lambda: max(sent, default=0) > point or ": following" in shop.running.stderr, timeout=60)
                again = sorted(key for key in sent if key <= point and key % 10)
                assert not again, f"loaded again: {len(again)} keys below {point}: {again[:5]}"
                resumed += 1
        wait_until(lambda: ": following" in shop.running.stderr, timeout=120, what="following")
    finally:
        stop.set()
        writer.join()
    assert resumed > 0
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()


@pytest.mark.parametrize("ops", [None, DIRECT])
def test_changes_everywhere_during_one_load(shop, rng, ops):
    """Before and behind where the load is, the slot is older than all it reads."""
    shop.fill(PRODUCTS)
    shop.script = shop.write(sink=SLOWLY)
    with shop.writing(sessions=4, only=ops):
        shop.start()
        wait_until(lambda: ": following" in shop.running.stderr, timeout=120, what="following")
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()


def test_a_transaction_that_is_older_than_the_slot(shop):
    """Begun before the engine is started, committed during the load: making the slot waits for
    it."""
    shop.fill(3000)
    early = shop.pg.connect()
    with early.cursor() as c:
        c.execute("UPDATE product SET name = 'early' WHERE id < 20")
        engine = shop.start()
        wait_until(lambda: "waits for open transactions: 1" in engine.stderr, timeout=60, what="a line about it")
        c.execute("UPDATE product SET name = 'later' WHERE id > 2980")
        shop.pg.execute("UPDATE product SET name = 'meanwhile' WHERE id BETWEEN 100 AND 200")
        early.commit()
    wait_until(lambda: ": following" in engine.stderr, timeout=60, what="following")
    shop.wait_true()
    shop.stop()


def test_stopped_while_the_slot_is_being_made(shop):
    """Nothing half made is left."""
    shop.fill(1000)
    early = shop.pg.connect()
    with early.cursor() as c:
        c.execute("UPDATE product SET name = 'early' WHERE id < 20")
        for _ in range(3):
            engine = shop.start()
            wait_until(lambda: "open transaction" in engine.stderr, timeout=60, what="a line about it")
            shop.stop()
            wait_until(lambda: shop.slot("true") is None, timeout=60, what="no slot")
        early.commit()
    shop.follow()
    shop.wait_true()
    shop.stop()


def test_killed_while_the_slot_is_being_made(shop):
    """The server goes on making it, and whoever comes next must not take it for whole: it would load rows that change
    before the slot has them."""
    shop.fill(1000)
    early = shop.pg.connect()
    with early.cursor() as c:
        c.execute("UPDATE product SET name = 'early' WHERE id < 20")
        engine = shop.start()
        wait_until(lambda: "open transaction" in engine.stderr, timeout=60, what="a line about it")
        shop.kill()
        engine = shop.start()
        maker = shop.slot("active_pid")
        wait_until(lambda: f"process {maker}" in engine.stderr, timeout=60, what="a line about who makes it")
        assert shop.pause(1)
        shop.pg.execute("UPDATE product SET price = 77 WHERE id BETWEEN 100 AND 200")
        early.commit()
    wait_until(lambda: ": following" in engine.stderr, timeout=60, what="following")
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()
