"""What the state must not claim: positions, in spite of odd rows, odd options, and an index that is not the old one."""
import os

from faults import assert_true_to

pytest_plugins = ["fault_fixtures"]


def test_since_with_an_index_that_is_gone(search_one, items, rng):
    """Only a part is read then: the state must not make the new index its own."""
    items.fill(1000)
    items.change(rng, 10)
    items.run()
    search_one.wipe()
    items.run("--since", "2025-01-01")
    assert search_one.count("items") == 10
    done = items.run()
    assert "loading everything" in done.stderr
    assert_true_to(items, search_one)


def test_since_without_a_state(search_one, items, rng):
    """What lies before that time was never read: the next run has to read it."""
    items.fill(1000)
    items.change(rng, 10)
    items.run("--since", "2025-01-01")
    items.run()
    assert_true_to(items, search_one)


def test_since_in_an_unfinished_load(search_one, items, gateway, rng, wait_until):
    items.fill(60000)
    gateway.answer = lambda r: (503, {}, b"") if r.bulk else None
    engine = items.start()
    wait_until(lambda: gateway.bulks > 0)
    engine.kill()
    gateway.answer = lambda r: None
    items.change(rng, 10)
    done = items.run("--since", "2025-01-01")
    assert "the state stays as it is" in done.stderr
    assert items.state()["phase"] == "snapshot"
    items.run()
    assert_true_to(items, search_one)


def test_a_dry_run_since_a_time(items, rng):
    items.fill(1000)
    items.change(rng, 10)
    done = items.engine(items.script, "--dry-run", "--since", "2025-01-01", env={"ELASTICSEARCH_URL": None})
    assert done.returncode == 0, done
    assert len(done.docs) == 10
    assert not os.path.exists(items.engine.state)


def test_keys_and_limits_leave_the_state_of_a_lost_index_alone(search_one, items):
    items.fill(1000)
    items.run()
    before = items.state()
    search_one.wipe()
    items.run("--keys", "1,2")
    items.run("--limit", "5")
    assert items.state() == before
    items.run()
    assert_true_to(items, search_one)


def test_a_key_that_the_root_table_holds_twice(search_one, items):
    """A view, or a table without a primary key: both copies are one document, which must not go."""
    items.fill(100)
    items.pg.execute("ALTER TABLE item DROP CONSTRAINT item_pkey")
    items.script = items.write("SELECT DISTINCT ON (id) id, name, n FROM item ORDER BY id")
    items.run()
    items.pg.execute("INSERT INTO item SELECT id, name, n FROM item WHERE id % 10 = 0")
    items.run()
    assert_true_to(items, search_one)


def test_a_key_that_is_null(search_one, items):
    """It is no document's, is told of when all is loaded, and keeps nothing else from arriving."""
    items.fill(100)
    items.pg.execute(
        "ALTER TABLE item DROP CONSTRAINT item_pkey; ALTER TABLE item ALTER id DROP NOT NULL;"
        "INSERT INTO item SELECT NULL, 'nobody', 1, '2030-01-01'"
    )
    done = items.start().wait()
    assert done.returncode == 4 and "its key is NULL" in done.stderr, done
    items.insert(5)
    items.pg.execute("INSERT INTO item VALUES (NULL, 'nobody', 1, now()), (500, 'last', 0, '2030-01-01')")
    items.run()
    expected = items.pg.value("SELECT count(*) FROM item WHERE id IS NOT NULL")
    assert search_one.count("items") == expected


def test_a_row_dated_in_the_future(search_one, items, rng):
    """It must not pull the position beyond what is written today."""
    items.fill(100)
    items.pg.execute("UPDATE item SET modified = '2999-01-01' WHERE id = 1")
    items.run()
    items.change(rng, 20)
    items.run()
    items.insert(3)
    items.run()
    assert_true_to(items, search_one)


def test_rows_that_leave_and_enter_the_query_in_polls(search_one, items, rng):
    items.fill(3000)
    items.script = items.write("SELECT id, name, n FROM item WHERE n % 2 = 0")
    items.run()
    for _ in range(4):
        items.change(rng, 700)
        items.run()
        assert_true_to(items, search_one)


def test_another_root_table_under_the_old_state(search_one, items, script):
    """The position is one in the old table."""
    items.fill(100)
    items.run()
    items.pg.execute("CREATE TABLE other (LIKE item); INSERT INTO other SELECT id + 1000, name, n, modified FROM item")
    with open(items.script, encoding="utf-8") as f:
        text = f.read()
    items.script = script(text.replace('table = "item"', 'table = "other"').replace("FROM item", "FROM other"))
    items.run()
    assert search_one.get("items", "1001")


def test_text_keys_in_the_order_of_a_language(search_one, items, script, wait_until, gateway):
    """Bounds, stretches and resuming must agree on an order in which "a" < "B" < "c"."""
    items.pg.execute(
        'CREATE TABLE item (id text COLLATE "en-x-icu" PRIMARY KEY, name text, n int, modified timestamptz DEFAULT now());'
        "INSERT INTO item SELECT chr(97 + (i % 26) - 32 * (i % 2)) || md5(i::text), 'x', 0 FROM generate_series(1, 60000) i"
    )
    items.script = items.write('SELECT id COLLATE "C" AS id, name, n FROM item')
    gateway.answer = lambda r: (503, {}, b"") if r.bulk and gateway.bulks == 3 else None
    engine = items.start("--workers", "1")
    wait_until(lambda: (items.state() or {}).get("after") or not engine.alive())
    engine.kill()
    items.run()
    assert_true_to(items, search_one)
