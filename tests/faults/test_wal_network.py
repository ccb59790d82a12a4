"""PostgreSQL and the connection that brings the log: restarted, crashed, cut, frozen, and kept
waiting."""
import pytest

import services
from faults import LONG
from tools import wait_until

pytest_plugins = ["fault_fixtures", "wal_fixtures"]

ROUNDS = 20 if LONG else 3
HARM = {
    "restarted": services.POSTGRES.restart,
    "stopped immediately": lambda: (services.POSTGRES.stop_immediately(), services.POSTGRES.up()),
    "crashed": lambda: (services.POSTGRES.kill(), services.POSTGRES.up()),
}


@pytest.mark.parametrize("harm", HARM)
def test_of_the_server_amid_the_writing(shop, rng, harm):
    shop.fill()
    shop.follow()
    with shop.writing(sessions=3):
        for _ in range(ROUNDS):
            assert shop.pause(rng.uniform(0.3, 1.5))
            HARM[harm]()
    shop.wait_true(120)
    assert "trying again in" in shop.running.stderr
    shop.assert_no_sweep()
    shop.stop()


def test_the_server_is_restarted_and_the_engine_killed(shop, rng):
    """What was confirmed and is forgotten by a crash comes again; what was not, too."""
    shop.fill()
    shop.follow()
    with shop.writing(sessions=3):
        for _ in range(ROUNDS):
            assert shop.pause(rng.uniform(0.3, 1.5))
            shop.kill()
            HARM["crashed"]()
            shop.follow()
    shop.wait_true(120)
    shop.assert_no_sweep()
    shop.stop()


def test_sessions_are_terminated_again_and_again(shop, rng):
    """The one that sends the log, and all others of the engine."""
    shop.fill()
    shop.follow()
    ended = 0
    with shop.writing(sessions=3):
        for i in range(ROUNDS * 5):
            assert shop.pause(rng.uniform(0, 0.4))
            if i % 3 == 2:
                ended += shop.pg.value(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = 'etl-engine'"
                )
            else:
                ended += shop.slot("count(pg_terminate_backend(active_pid)) FILTER (WHERE active)")
    assert ended >= ROUNDS
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()


@pytest.mark.parametrize("direction", ["down", "up"])
def test_cut_at_random_bytes(shop, rng, pg_proxy, direction):
    shop.fill()
    shop.follow()
    cuts = pg_proxy.cuts
    with shop.writing(sessions=3):
        for _ in range(ROUNDS * 3):
            pg_proxy.cut_after(rng.randrange(1, 200_000 if direction == "down" else 4000), direction)
            wait_until(lambda n=pg_proxy.cuts: pg_proxy.cuts > n, timeout=60, what="a cut")
            shop.assert_alive()
    assert pg_proxy.cuts - cuts == ROUNDS * 3
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()


def test_refused_for_a_while(shop, rng, pg_proxy):
    shop.fill()
    shop.follow()
    with shop.writing(sessions=3):
        for _ in range(ROUNDS):
            assert shop.pause(rng.uniform(0.3, 1))
            pg_proxy.refuse()
            assert shop.pause(1)
            pg_proxy.accept()
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()


# ---- patience of the server ----


def impatient(shop, port=None):
    """The database, by a connection whose log the server ends if it hears nothing for 3 seconds."""
    return shop.pg.url_at(port or shop.pg.port, options="-c%20wal_sender_timeout%3D3s")


def sender(shop):
    """The server's process that sends the log."""
    return wait_until(lambda: shop.slot("active_pid"), timeout=60, what="a reader of the slot")


def assert_answered(shop, pid):
    """It has not been replaced by another one."""
    assert shop.slot("active_pid") == pid
    assert "could not read the log" not in shop.running.stderr


def test_the_server_is_answered_while_the_search_server_is_away(shop, search_proxy):
    shop.engine.env["DATABASE_URL"] = impatient(shop)
    shop.fill()
    shop.follow()
    pid = sender(shop)
    search_proxy.pause()
    shop.pg.execute("UPDATE product SET price = price + 1")
    assert shop.pause(60 if LONG else 8)
    assert_answered(shop, pid)
    shop.wait_confirmed()
    search_proxy.resume()
    shop.wait_true()
    assert_answered(shop, pid)
    shop.stop()


SLEEPING = "CROSS JOIN LATERAL (SELECT pg_sleep(s + p.id * 0) FROM knob) k"


def test_the_server_is_answered_while_a_query_takes_long(shop):
    shop.engine.env["DATABASE_URL"] = impatient(shop)
    shop.fill(100)
    shop.pg.execute("CREATE TABLE knob AS SELECT 0::float8 AS s")
    with open(shop.script, encoding="utf-8") as f:
        text = f.read()
    text = text.replace("LEFT JOIN brand b ON b.id = p.brand_id", f"LEFT JOIN brand b ON b.id = p.brand_id {SLEEPING}")
    text = text.replace("SELECT id FROM product WHERE", "SELECT p.id FROM product p, knob, pg_sleep(s) WHERE")
    assert text.count("knob") == 2
    with open(shop.script, "w", encoding="utf-8") as f:
        f.write(text)
    shop.follow()
    pid = sender(shop)
    shop.pg.execute("UPDATE knob SET s = 4")
    shop.pg.execute("UPDATE brand SET name = 'renamed' WHERE id = 3")  # the fan-out, and then the rows
    shop.pg.execute("UPDATE product SET name = 'renamed' WHERE id = 1")
    assert shop.pause(10)
    shop.pg.execute("UPDATE knob SET s = 0")
    shop.wait_true()
    assert_answered(shop, pid)
    shop.stop()


def test_the_server_is_answered_during_a_load_that_takes_long(shop, search_proxy):
    shop.engine.env["DATABASE_URL"] = impatient(shop)
    shop.fill(20000)
    shop.start()
    wait_until(lambda: search_proxy.up > 500_000, timeout=60)
    pid = sender(shop)
    search_proxy.pause()
    shop.pg.execute("UPDATE product SET price = price + 1 WHERE id < 5000")
    assert shop.pause(60 if LONG else 8)
    assert_answered(shop, pid)
    search_proxy.resume()
    wait_until(lambda: ": following" in shop.running.stderr, timeout=120, what="following")
    shop.wait_true()
    assert_answered(shop, pid)
    shop.stop()


def test_a_frozen_link_is_opened_anew(shop, pg_proxy):
    """The server ends the connection after its 3 seconds."""
    shop.engine.env["DATABASE_URL"] = impatient(shop, pg_proxy.port)
    shop.fill()
    shop.follow()
    pid = sender(shop)
    pg_proxy.pause()
    shop.pg.execute("UPDATE product SET price = price + 1 WHERE id < 1000")
    wait_until(lambda: shop.slot("active_pid") != pid, timeout=60, what="the end of the connection")
    pg_proxy.resume()
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()


def test_frozen_and_woken(shop):
    """The server and all its processes."""
    shop.fill()
    shop.follow()
    with shop.writing(sessions=2):
        assert shop.pause(0.5)
        for _ in range(2):
            services.POSTGRES.freeze()
            try:
                assert shop.pause(130 if LONG else 3)
            finally:
                services.POSTGRES.thaw()
            assert shop.pause(0.5)
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()


def test_a_slot_that_a_dead_connection_holds_is_waited_for(shop, pg_proxy):
    """The engine's machine died without a word: the server knows after its 3 seconds."""
    shop.engine.env["DATABASE_URL"] = impatient(shop, pg_proxy.port)
    shop.fill()
    shop.follow()
    pid = sender(shop)
    pg_proxy.pause()  # the server's end stays open
    shop.kill()
    shop.pg.execute("UPDATE product SET price = price + 1 WHERE id < 1000")
    shop.start(env={"DATABASE_URL": impatient(shop)})
    wait_until(lambda: f"is active for PID {pid}" in shop.running.stderr, timeout=60, what="a line about it")
    shop.wait_true()
    assert shop.slot("active_pid") != pid
    shop.assert_no_sweep()
    shop.stop()
    pg_proxy.resume()
