"""Commits that are in the log before anybody can see them: those that wait for a standby which never answers, and
transactions in two phases. Whoever reads the rows too early indexes the old ones, and never looks again."""
import contextlib
import threading

import psycopg2
import pytest

from tools import wait_until

pytest_plugins = ["fault_fixtures", "wal_fixtures"]


class Standby:
    """A synchronous standby that never answers."""

    def __init__(self, pg):
        self.pg = pg

    def want(self, name):
        self.pg.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        self.pg.execute("SELECT pg_reload_conf()")
        wait_until(lambda: self.pg.value("SHOW synchronous_standby_names") == name, what="the setting")

    def waiting(self):
        """How many commits wait for it."""
        return self.pg.value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()"
        )


@pytest.fixture
def standby(pg):
    """None until it is wanted."""
    standby = Standby(pg)
    pg.execute("SET synchronous_commit = local")  # this session never waits
    yield standby
    pg.execute("ALTER SYSTEM RESET synchronous_standby_names")
    pg.execute("SELECT pg_reload_conf()")


class Commits:
    """Sessions whose commits take long: each transaction has a thread."""

    def __init__(self, pg):
        self.pg, self.threads, self.errors = pg, [], []

    def begin(self, *statements, autocommit=False):
        thread = threading.Thread(target=self._run, args=(statements, autocommit), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _run(self, statements, autocommit):
        try:
            with contextlib.closing(psycopg2.connect(self.pg.url)) as connection:
                connection.autocommit = autocommit
                with connection.cursor() as cursor:
                    for statement in statements:
                        cursor.execute(statement)
                autocommit or connection.commit()
        except psycopg2.Error as error:
            self.errors.append(str(error))

    def join(self):
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a commit still waits"


CHANGES = (  # of different rows, for whoever waits holds their locks
    ["UPDATE product SET name = 'seen late' WHERE id = 1"],
    ["UPDATE product SET price = 777 WHERE id BETWEEN 10 AND 19", "DELETE FROM product WHERE id = 20"],
    ["INSERT INTO product VALUES (5001, 'born late', 5)", "INSERT INTO product_tag VALUES (5001, 1), (5001, 2)"],
    ["UPDATE product SET id = 5002 WHERE id = 30"],
    ["UPDATE product_tag SET product_id = 41 WHERE product_id = 40 AND tag_id = 50", "DELETE FROM product_tag WHERE product_id = 42"],
    ["DELETE FROM product_tag WHERE product_id = 50", "INSERT INTO product_tag VALUES (50, 60), (51, 60)"],
    ["UPDATE review SET stars = 5, product_id = 60 WHERE product_id = 61"],
    ["UPDATE brand SET name = 'renamed late' WHERE id = 7"],
    ["UPDATE tag SET name = 'renamed late' WHERE id = 33"],
    ["DELETE FROM tag WHERE id = 34"],
)


def make_wait(shop, standby, commits, changes=CHANGES):
    """The changes are committed, are in the log, have come to the engine, and nobody can see
    them."""
    before = standby.waiting()
    for change in changes:
        commits.begin(*change)
    wait_until(lambda: standby.waiting() == before + len(changes), timeout=60, what="commits that wait")
    return shop.pg.value("SELECT pg_current_wal_lsn()")


def settled(shop, marker):
    """A later change that everybody sees at once has come into the index: what is older had its
    turn."""
    shop.pg.execute("UPDATE product SET price = price + 1 WHERE id = %s", (marker,))
    price = shop.pg.value("SELECT price FROM product WHERE id = %s", (marker,))
    wait_until(lambda: shop.search.get("shop", str(marker))["price"] == price, timeout=60, what="a later change in the index")


def versions(shop, but=()):
    return {key: version for key, version in shop.search.versions("shop").items() if key not in but}


@pytest.mark.parametrize("end", ["the standby is not wanted any more", "cancelled", "terminated"])
def test_while_commits_wait_for_a_standby_nothing_is_indexed_and_nothing_forgotten(shop, standby, end):
    shop.fill(600)
    shop.follow()
    before = versions(shop)
    standby.want("nobody")
    commits = Commits(shop.pg)
    lsn = make_wait(shop, standby, commits)
    shop.wait_confirmed(lsn)  # the log need not wait for it, too
    settled(shop, 500)
    assert standby.waiting() == len(CHANGES)
    assert versions(shop, {"500"}) == {key: v for key, v in before.items() if key != "500"}
    shop.assert_true()  # as everybody sees it
    if end == "cancelled":
        shop.pg.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    elif end == "terminated":
        shop.pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    else:
        standby.want("")
    commits.join()
    assert shop.pg.value("SELECT name FROM product WHERE id = 1") == "seen late"
    shop.wait_true()
    assert shop.search.get("shop", "5001") and shop.search.get("shop", "20") is None
    shop.assert_no_sweep()
    shop.stop()


def test_a_kill_while_commits_wait(shop, standby):
    """Also twice, and with a standby that is given up only while no engine runs."""
    shop.fill(600)
    shop.follow()
    standby.want("nobody")
    commits = Commits(shop.pg)
    half = len(CHANGES) // 2
    shop.wait_confirmed(make_wait(shop, standby, commits, CHANGES[:half]))
    shop.kill()
    make_wait(shop, standby, commits, CHANGES[half:])
    shop.follow()
    shop.wait_confirmed()
    settled(shop, 500)
    shop.kill()
    standby.want("")
    commits.join()
    shop.follow()
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()


def test_a_stop_while_commits_wait(shop, standby):
    shop.fill(600)
    shop.follow()
    standby.want("nobody")
    commits = Commits(shop.pg)
    shop.wait_confirmed(make_wait(shop, standby, commits))
    shop.stop()
    standby.want("")
    commits.join()
    shop.run()
    shop.assert_true()
    shop.assert_no_sweep()


def test_one_run_while_commits_wait(shop, standby):
    """It waits for them, or leaves them to the next one."""
    shop.fill(600)
    shop.run()
    standby.want("nobody")
    commits = Commits(shop.pg)
    make_wait(shop, standby, commits)
    shop.begin_run()
    shop.pause(2)
    shop.assert_true()
    standby.want("")
    commits.join()
    shop.end_run()
    shop.run()
    shop.assert_true()
    shop.assert_no_sweep()


def test_a_first_load_while_commits_wait(shop, standby):
    """The slot waits for transactions that are open, and these are: whoever has made it then has
    them all."""
    shop.fill(600)
    standby.want("nobody")
    commits = Commits(shop.pg)
    make_wait(shop, standby, commits)
    engine = shop.start()
    assert shop.pause(2)
    standby.want("")
    commits.join()
    wait_until(lambda: ": following" in engine.stderr, timeout=60, what="following")
    shop.wait_true()
    shop.stop()


def test_changes_that_are_visible_pass_those_that_are_not(shop, standby):
    """Also of the same document, by another table: it is right as everybody sees it, before and
    after."""
    shop.fill(600)
    shop.follow()
    standby.want("nobody")
    commits = Commits(shop.pg)
    make_wait(shop, standby, commits, [["UPDATE product SET name = 'seen late' WHERE id = 1"]])
    shop.pg.execute("INSERT INTO review (product_id, stars) VALUES (1, 5)")
    shop.pg.execute("UPDATE product SET name = 'seen at once' WHERE id > 2")
    shop.wait_true()
    assert shop.search.get("shop", "1")["name"] == "product 1"
    standby.want("")
    commits.join()
    wait_until(lambda: shop.search.get("shop", "1")["name"] == "seen late", timeout=60)
    shop.wait_true()
    shop.stop()


def test_more_commits_wait_than_are_held_in_memory(shop, standby):
    """Each of 90 sessions' transactions is of many rows."""
    shop.fill(600)
    shop.follow()
    standby.want("nobody")
    commits = Commits(shop.pg)
    changes = [
        [f"INSERT INTO product SELECT i, repeat('n', 1000), 1 FROM generate_series({n * 1000 + 10001}, {n * 1000 + 10500}) i"]
        for n in range(60)
    ]
    shop.wait_confirmed(make_wait(shop, standby, commits, changes))
    shop.assert_true()
    standby.want("")
    commits.join()
    shop.wait_true(120)
    assert shop.pg.value("SELECT count(*) FROM product") == 30600
    shop.assert_no_sweep()
    shop.stop()


def test_a_standby_that_any_name_stands_for_does_not_lock_us_up(shop, standby):
    """With '*', whoever reads the log is a standby: commits then wait for what we confirm, and not
    for ever."""
    shop.fill(600)
    shop.follow()
    standby.want("*")
    commits = Commits(shop.pg)
    for change in CHANGES:
        commits.begin(*change)
    commits.join()
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()


@pytest.mark.parametrize("how", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("killed", [False, True])
def test_a_transaction_in_two_phases(shop, how, killed):
    shop.fill(600)
    shop.follow()
    before = versions(shop)
    commits = Commits(shop.pg)
    for i, change in enumerate(CHANGES):
        commits.begin("BEGIN", *change, f"PREPARE TRANSACTION 'late {i}'", autocommit=True)
    commits.join()
    assert not commits.errors
    try:
        shop.wait_confirmed()
        settled(shop, 500)
        assert versions(shop, {"500"}) == {key: v for key, v in before.items() if key != "500"}
        if killed:
            shop.kill()
            shop.follow()
            settled(shop, 501)
        shop.assert_true()
    finally:
        for (name,) in shop.pg.query("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"):
            shop.pg.execute(f"{how} PREPARED %s", (name,))
    assert (shop.pg.value("SELECT name FROM product WHERE id = 1") == "seen late") == (how == "COMMIT")
    settled(shop, 502)
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()


def test_a_prepared_transaction_whose_commit_waits_for_a_standby(shop, standby):
    shop.fill(600)
    shop.follow()
    commits = Commits(shop.pg)
    commits.begin("BEGIN", "UPDATE product SET name = 'seen late' WHERE id = 1", "PREPARE TRANSACTION 'late'", autocommit=True)
    commits.join()
    standby.want("nobody")
    commits.begin("COMMIT PREPARED 'late'", autocommit=True)
    wait_until(lambda: standby.waiting() == 1, timeout=60)
    shop.wait_confirmed()
    settled(shop, 500)
    shop.assert_true()
    shop.kill()
    shop.follow()
    standby.want("")
    commits.join()
    shop.wait_true()
    assert shop.search.get("shop", "1")["name"] == "seen late"
    shop.assert_no_sweep()
    shop.stop()
