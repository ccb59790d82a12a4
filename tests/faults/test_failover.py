"""A primary dies, and its standby takes over. With a slot that was synchronised the log continues there; otherwise, and
if what was read of the log is not in the new primary's, a sweep finds what differs."""
import signal

import pytest

from faults import LONG
from haproxy import HAProxy
from served import Served
from tools import wait_until
from wal_shop import SLOT, Shop

pytest_plugins = ["fault_fixtures", "wal_servers"]


def two_servers(primary, search_one, engine, script, rng):
    """shop.pg is the primary, shop.standby follows it, and the engine knows both addresses."""
    shop = Shop(primary, search_one, engine, script, rng)
    shop.fill(300)
    shop.standby = primary.standby("two")
    engine.env["DATABASE_URL"] = all_of(primary, shop.standby)
    yield shop
    engine.close()


@pytest.fixture
def pair(servers_of, search_one, engine, script, rng):
    yield from two_servers(servers_of("postgres17").new(), search_one, engine, script, rng)


def sync_slot(shop):
    """As the standby's own worker does from time to time."""
    persistent = "synced AND NOT temporary AND invalidation_reason IS NULL"

    def is_synced():
        shop.pg.query("SELECT pg_log_standby_snapshot()")
        shop.standby.query("SELECT pg_sync_replication_slots()")
        return shop.standby.query(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND {persistent}", (SLOT,))

    wait_until(is_synced, timeout=60, what="a synchronised slot")


def fail_over(shop):
    shop.pg.stop(signal.SIGQUIT)
    shop.standby.promote()
    shop.pg = shop.standby


def all_of(*servers):
    """An address that leads to the primary of them."""
    return f"postgresql://etl@{','.join(f'127.0.0.1:{server.port}' for server in servers)}/{servers[0].name}"


def change(shop, n):
    shop.pg.execute(f"UPDATE product SET name = 'change {n}' WHERE id BETWEEN {n * 10} AND {n * 10 + 5}")
    shop.pg.execute(f"DELETE FROM product WHERE id BETWEEN {n * 10 + 6} AND {n * 10 + 8}")
    shop.pg.execute(f"INSERT INTO product VALUES ({10000 + n}, 'born {n}', 1)")


def goes_on(shop):
    """One more change arrives, by the log; the state is that of the new primary."""
    if shop.running:
        shop.stop()
    sweeps = len(shop.sweeps())
    change(shop, 9)
    shop.run()
    shop.assert_true()
    assert len(shop.sweeps()) == sweeps, shop.said


@pytest.mark.parametrize("follows", [True, False] if LONG else [True])
def test_with_a_synchronised_slot_the_log_goes_on_and_nothing_is_compared(pair, follows):
    shop = pair
    shop.follow()
    change(shop, 1)
    shop.wait_true()
    sync_slot(shop)
    follows or shop.stop()
    change(shop, 2)
    shop.pg.wait_replayed(shop.standby)
    fail_over(shop)
    change(shop, 3)
    follows or shop.run()
    shop.wait_true()
    goes_on(shop)
    shop.assert_no_sweep()
    assert sum("a standby has taken over: its log has all" in said for said in shop.said) == 1, shop.said


def test_a_second_failover_soon_after_the_first_one_goes_on_as_well(pair, engine):
    """What is made again after repeated failures is a slot that cannot be read: this one can."""
    shop, first = pair, pair.pg
    third = first.standby("three")
    third.reset("synchronized_standby_slots")  # copied with the rest; as a primary it would wait for a slot that it lacks
    engine.env["DATABASE_URL"] = all_of(first, shop.standby, third)
    shop.follow()
    sync_slot(shop)
    change(shop, 1)
    shop.wait_true()
    first.wait_replayed(shop.standby)
    first.wait_replayed(third)
    fail_over(shop)
    third.stop()
    third.follow(shop.pg, "three")
    third.start()
    shop.standby = third
    change(shop, 2)
    shop.wait_true()
    sync_slot(shop)
    change(shop, 3)
    shop.pg.wait_replayed(third)
    fail_over(shop)
    change(shop, 4)
    shop.wait_true()
    shop.assert_no_sweep()
    assert sum("a standby has taken over: its log has all" in line for line in shop.running.stderr.splitlines()) == 2
    goes_on(shop)
    shop.assert_no_sweep()


@pytest.mark.parametrize("follows", [True, False] if LONG else [True])
def test_a_standby_that_lacks_what_was_read_is_noticed(pair, follows):
    """Its slot is there, and nothing of the log is missing for it: but what was indexed never happened."""
    shop = pair
    shop.pg.reset("synchronized_standby_slots")
    shop.follow()
    sync_slot(shop)
    shop.standby.query("SELECT pg_wal_replay_pause()")
    shop.standby.stop()
    change(shop, 1)
    shop.wait_true()
    shop.wait_confirmed()
    follows or shop.stop()
    shop.pg.stop(signal.SIGQUIT)
    shop.standby.start()
    fail_over(shop)
    change(shop, 2)
    follows or shop.run()
    shop.wait_true()
    assert sum("a standby has taken over which lacks changes that were read before: a sweep" in line
               for line in shop.sweeps()) == 1, shop.sweeps()
    goes_on(shop)


def test_without_a_synchronised_slot_another_one_is_made_and_every_row_compared(pair):
    shop = pair
    shop.follow()
    shop.pg.wait_replayed(shop.standby)
    change(shop, 1)
    shop.wait_true()
    shop.pg.wait_replayed(shop.standby)
    fail_over(shop)
    change(shop, 2)
    shop.wait_true()
    assert any(f"slot '{SLOT}' does not exist: a sweep" in line for line in shop.sweeps()), shop.sweeps()
    goes_on(shop)
    assert shop.slot("failover")


def test_nothing_is_read_that_the_standby_does_not_have(pair, engine):
    """As the primary waits for it: synchronized_standby_slots. The log, the status and `check` say so."""
    shop, held = pair, "slot 'two' of synchronized_standby_slots, which "
    shop.follow("--listen", "127.0.0.1:0", "--max-lag", "1")
    sync_slot(shop)
    served = Served(shop.running)
    shop.standby.stop(signal.SIGQUIT)
    change(shop, 1)
    shop.pg.execute("INSERT INTO other (filler) SELECT repeat('z', 1000) FROM generate_series(1, 1000)")
    wait_until(lambda: held + "is used by no standby: changes wait; start that standby" in shop.running.stderr)
    assert "10001" not in shop.search.docs("shop")
    status = served.pipeline()
    assert status["phase"] == "waiting" and status["reason"].endswith(held + "is used by no standby"), status
    wait_until(lambda: not served.is_ready())
    assert kept_back(engine, shop, 1) == [f"warning: PostgreSQL keeps back the log of slot '{SLOT}': it waits for {held}is used by no standby"]
    shop.standby.start()
    shop.wait_true()
    wait_until(lambda: f"PostgreSQL hands out the log of slot '{SLOT}' again" in shop.running.stderr and served.is_ready())
    assert served.pipeline()["phase"] == "following" and shop.running.stderr.count(" warn ") == 1, shop.running.stderr
    shop.standby.stop()
    shop.pg.query("SELECT pg_drop_replication_slot('two')")
    change(shop, 2)
    wait_until(lambda: held + "does not exist: changes wait" in shop.running.stderr)
    assert kept_back(engine, shop, 2) == [f"error: PostgreSQL keeps back the log of slot '{SLOT}': it waits for {held}does not exist"]
    shop.pg.reset("synchronized_standby_slots")
    shop.wait_true()
    assert kept_back(engine, shop, 0) == []
    shop.assert_no_sweep()


def kept_back(engine, shop, status):
    """What `check` says of it, with that exit status."""
    done = engine("check", shop.script)
    assert done.returncode == status or not status, done
    return [line.partition(": ")[2].partition(": changes do not arrive")[0] for line in done.stdout.splitlines() if "keeps back" in line]


def test_behind_one_address_a_standby_is_waited_for_until_it_takes_over(pair, engine, tmp_path):
    """HAProxy leads to it before it is promoted."""
    shop = pair
    with HAProxy(tmp_path, [shop.pg.port, shop.standby.port]) as proxy:
        engine.env["DATABASE_URL"] = shop.pg.url_at(proxy.port)
        shop.follow()
        change(shop, 1)
        shop.wait_true()
        sync_slot(shop)
        change(shop, 2)
        shop.pg.wait_replayed(shop.standby)
        shop.pg.stop(signal.SIGQUIT)
        wait_until(lambda: "is a copy of the primary's" in shop.running.stderr, timeout=60, what="a line about the standby")
        shop.assert_alive()
        shop.pg = shop.standby
        shop.pg.promote()
        change(shop, 3)
        shop.wait_true()
        goes_on(shop)
        shop.assert_no_sweep()


# ---- before PostgreSQL 17: a slot whose file was copied to the standby, as Patroni does ----


@pytest.fixture
def copied(own_servers, search_one, engine, script, rng):
    """As `pair`, of the machine's own version."""
    yield from two_servers(own_servers.new(), search_one, engine, script, rng)


def test_a_copied_slot_that_is_behind_goes_on(copied):
    shop = copied
    shop.follow()
    shop.wait_confirmed()
    shop.standby.stop()
    shop.standby.copy_slot(shop.pg, SLOT)
    shop.standby.start()
    for n in (1, 2):
        change(shop, n)
        shop.wait_true()
    shop.wait_confirmed()
    shop.pg.wait_replayed(shop.standby)
    fail_over(shop)
    change(shop, 3)
    shop.wait_true()
    goes_on(shop)
    shop.assert_no_sweep()


def test_a_copied_slot_beyond_the_end_of_the_log_is_made_again(copied):
    """From it, nothing would come until the new primary has written as much as the old one had."""
    shop = copied
    shop.follow()
    shop.standby.stop()
    change(shop, 1)
    shop.wait_true()
    shop.stop()
    shop.pg.execute("INSERT INTO other (filler) SELECT repeat('z', 1000) FROM generate_series(1, 10000)")
    wait_until(lambda: not shop.slot("active"), timeout=60, what="a slot that nobody reads")
    # so far, and then to its file: the engine's own confirmations come there now and then
    shop.pg.query("SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", (SLOT,))
    shop.pg.execute("CHECKPOINT")
    shop.standby.copy_slot(shop.pg, SLOT)
    shop.pg.stop(signal.SIGQUIT)
    shop.standby.start()
    fail_over(shop)
    change(shop, 2)
    shop.follow()
    shop.wait_true()
    wait_until(lambda: ": swept" in shop.running.stderr, timeout=60, what="the sweep's end")
    assert any(f"slot '{SLOT}' is beyond the end of the server's log" in line for line in shop.sweeps()), shop.sweeps()
    change(shop, 4)
    shop.wait_true()
    goes_on(shop)
