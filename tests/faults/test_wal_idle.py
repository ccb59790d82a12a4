"""While nothing happens, nothing is asked, and nothing is done."""
import os
import re
import time

import pytest

from faults import LONG
from tools import SLOW, wait_until
from wal_shop import Shop

pytest_plugins = ["fault_fixtures", "wal_servers"]

SECONDS = 60 if LONG else 6


@pytest.fixture
def shop(own_servers, search_one, engine, script, rng):
    """On a server of its own, which logs all that it is asked."""
    server = own_servers.new("log_statement=all", "log_replication_commands=on", "autovacuum=off")
    engine.env["DATABASE_URL"] = server.url
    shop = Shop(server, search_one, engine, script, rng)
    shop.fill()
    yield shop
    engine.close()


def asked(shop):
    """How often the server was asked something."""
    return len(re.findall("LOG: .*(statement|execute|received replication command)", shop.pg.said()))


def cpu(pid):
    """Seconds that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quiet(shop, seconds):
    """The CPU seconds that the engine used while nothing was asked for so long; None: something
    was."""
    before, used, end = asked(shop), cpu(shop.running.pid), time.monotonic() + seconds
    while time.monotonic() < end:
        if not shop.pause(0.1) or asked(shop) != before:
            return None
    return cpu(shop.running.pid) - used + 1e-9


def test_no_query_and_no_cpu(shop):
    """Not even of the tables, whose publication is looked at some time after changes, and then no
    more."""
    shop.follow()
    shop.pg.execute("UPDATE product SET price = price + 1 WHERE id < 100")
    shop.wait_true()
    assert asked(shop) > 0
    used = wait_until(lambda: quiet(shop, SECONDS), timeout=300, what=f"{SECONDS} s without a question")
    print(f"{used / SECONDS:.2%} of a core")
    assert used < 0.01 * SECONDS or SLOW > 1
    shop.pg.execute("UPDATE product SET price = price + 1 WHERE id < 100")
    shop.wait_true()
    shop.assert_no_sweep()
    shop.stop()
