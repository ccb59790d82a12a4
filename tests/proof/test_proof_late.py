"""Rows that become visible long after they got their time; many rows with one time."""
import time

import pytest

from proof_fixtures import pg_proxy, search_proxy, small_disk, world  # noqa: F401 (fixtures)

from tools import wait_until
from world import INTERVAL, LONG, write_script

def titled(world, key):
    hit = world.search.get("movies", key)
    return hit and hit["title"]


def arrives(world, key, title):
    """By a poll: the next sweep is an hour away."""
    wait_until(lambda: titled(world, key) == title, what=f"'{title}' in the index")


def late_commit(world, seconds):
    """A changes a film and waits; later changes by others arrive at once; A commits, and its own arrives as well."""
    films = [row[0] for row in world.movies.query("SELECT id::text FROM content.film_work ORDER BY id LIMIT 5")]
    a = world.movies.connect()
    a.cursor().execute("UPDATE content.film_work SET title = 'late', modified = now() WHERE id = %s", (films[0],))
    a.cursor().execute("SELECT set_config('application_name', 'sleeper', false)")
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        film, number = films[1 + number % 4], number + 1
        world.movies.execute(
            "UPDATE content.film_work SET title = %s, modified = clock_timestamp() WHERE id = %s", (f"early {number}", film)
        )
        arrives(world, film, f"early {number}")
        time.sleep(0.2)
    assert titled(world, films[0]) != "late"
    a.commit()
    arrives(world, films[0], "late")


@pytest.mark.parametrize(
    "source",
    ["", "lookback = 1,", "horizon_limit = 1, lookback = 1,", "horizon_limit = 1, lookback = 0,"],
    ids=["plain", "lookback", "limit", "limit-without-lookback"],
)
def test_a_late_commit_arrives_and_holds_up_no_other(world, source):
    world.script = write_script(world.write, source=source)
    world.follow()
    late_commit(world, 10 if LONG else 2.5)
    world.settle()


def test_a_late_commit_arrives_though_the_engine_was_killed_meanwhile(world):
    """The transaction is over its limit when the engine goes, and over when it comes back."""
    world.script = write_script(world.write, source="horizon_limit = 1, lookback = 0,")
    world.follow()
    film = world.movies.value("SELECT id::text FROM content.film_work ORDER BY id LIMIT 1")
    a = world.movies.connect()
    a.cursor().execute("UPDATE content.film_work SET title = 'late', modified = now() WHERE id = %s", (film,))
    for _ in range(10):
        world.movies.execute(
            "UPDATE content.film_work SET rating = 1 + rating, modified = clock_timestamp() WHERE id <> %s", (film,)
        )
        time.sleep(0.2)
    world.kill()
    a.commit()
    world.follow()
    wait_until(lambda: titled(world, film) == "late", what="the late title")


def test_a_transaction_of_middle_age_counts_though_another_is_over_its_limit(world):
    world.script = write_script(world.write, source="horizon_limit = 3, lookback = 0,")
    world.follow()
    films = [row[0] for row in world.movies.query("SELECT id::text FROM content.film_work ORDER BY id LIMIT 3")]
    forgotten = world.movies.connect()
    forgotten.cursor().execute("SELECT 1")
    time.sleep(3)
    late = world.movies.connect()
    late.cursor().execute("UPDATE content.film_work SET title = 'late', modified = now() WHERE id = %s", (films[0],))
    for number in range(4):
        world.movies.execute(
            "UPDATE content.film_work SET title = %s, modified = now() WHERE id = %s", (f"early {number}", films[1])
        )
        arrives(world, films[1], f"early {number}")
        time.sleep(INTERVAL)
    late.commit()
    arrives(world, films[0], "late")
    forgotten.rollback()


def test_rows_with_one_and_the_same_time_from_two_transactions_all_arrive(world):
    """3,000 rows, so that each page ends amid them; one transaction commits its half while the others are delivered."""
    insert = (
        "INSERT INTO content.film_work (id, title, modified)"
        " SELECT md5(i::text)::uuid, 'film ' || i, %s FROM generate_series(1, 3000) i WHERE i %% 2 = %s"
    )
    world.follow()
    a = world.movies.connect()
    cursor = a.cursor()
    cursor.execute("SELECT now()")
    now = cursor.fetchone()[0]
    cursor.execute(insert, (now, 0))
    world.movies.execute(insert, (now, 1))
    wait_until(lambda: world.search.count("movies") >= 1500, what="the first half")
    a.commit()
    world.settle()


def test_a_change_of_many_films_is_not_lost_when_the_engine_is_killed_amid_it(world):
    """A genre of 12,000 films is renamed, and the engine killed again and again while it fetches them."""
    world.movies.execute(
        "INSERT INTO content.film_work (id, title, modified) SELECT md5(i::text)::uuid, 'film ' || i, '2022-01-01'"
        "  FROM generate_series(1, 12000) i;"
        "INSERT INTO content.genre_film_work (film_work_id, genre_id, modified) SELECT md5(i::text)::uuid, g.id, '2022-01-01'"
        "  FROM generate_series(1, 12000) i, content.genre g WHERE g.name = 'Drama'"
    )
    done = world.engine(world.script)
    assert done.returncode == 0, done
    for name in ("Dramma", "Tragedy")[: 2 if LONG else 1]:
        world.movies.execute(
            "UPDATE content.genre SET name = %s, modified = now() WHERE id = (SELECT genre_id FROM content.genre_film_work"
            " GROUP BY 1 ORDER BY count(*) DESC LIMIT 1)", (name,)
        )  # fmt: skip
        for _ in range(20 if LONG else 3):
            world.start()
            world.pause(0.1, 0.5)
            world.kill()
    world.follow()
    world.settle(timeout=20)


def test_sessions_that_cannot_be_seen_make_the_engine_look_back(world):
    """A session whose start is hidden, by track_activities, is covered by lookback."""
    world.script = write_script(world.write, source="")
    world.follow()
    film, other = [row[0] for row in world.movies.query("SELECT id::text FROM content.film_work ORDER BY id LIMIT 2")]
    a = world.movies.connect()
    a.cursor().execute("SET track_activities = off")
    a.commit()
    a.cursor().execute("UPDATE content.film_work SET title = 'late', modified = now() WHERE id = %s", (film,))
    for number in range(5):
        world.movies.execute("UPDATE content.film_work SET rating = %s, modified = now() WHERE id = %s", (number, other))
        time.sleep(INTERVAL)
    a.commit()
    arrives(world, film, "late")
