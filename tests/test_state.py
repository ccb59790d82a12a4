"""The state file: its time of last modification is the watermark, and it is safe to rely on."""
import json
import os
import signal
import stat
import subprocess
import uuid

import pytest

import tools

from pipelines import pipeline
from test_load import MOVIES, STALKER, changed, film_id, make_things, ok
from tools import ROOT

def read(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def mtime_us(path):
    return os.stat(path).st_mtime_ns / 1000


def watermark_us(movies):
    return movies.value("SELECT (extract(epoch FROM max(modified)) * 1000000)::bigint FROM content.film_work")


def touch(path, text):
    subprocess.run(["touch", "-d", text, path], check=True)


@pytest.fixture
def loaded(engine, movies, search_one):
    ok(engine(MOVIES))
    return search_one


# The contract


def test_without_a_file_everything_is_loaded_and_the_folders_are_made(engine, movies, search, tmp_path):
    path = tmp_path / "some" / "new folder" / "state"
    result = ok(engine(MOVIES, env={"FILE_PATH_STATE": path}))
    assert "loading everything: there is no state yet" in result.stderr
    assert search.count("movies") == movies.value("SELECT count(*) FROM content.film_work")
    assert read(path)["phase"] == "following"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_the_time_of_last_modification_is_the_watermark_to_the_microsecond(engine, movies, loaded):
    assert mtime_us(engine.state) == watermark_us(movies)
    movies.execute("UPDATE content.film_work SET modified = '2026-01-02 03:04:05.678901Z' WHERE title = %s", [STALKER])
    ok(engine(MOVIES))
    assert mtime_us(engine.state) == watermark_us(movies) == 1767323045678901
    ok(engine(MOVIES))  # one that carries nothing
    assert mtime_us(engine.state) == 1767323045678901


def test_a_touched_file_without_content_means_since_then(engine, movies, search):
    open(engine.state, "w", encoding="utf-8").close()
    touch(engine.state, "2025-06-01 00:00:00 UTC")
    search.request("PUT", "movies", {})
    ok(engine(MOVIES))
    expected = len(tools.changed_films(movies, "2025-06-01Z"))
    assert search.count("movies") == expected > 0
    assert read(engine.state)["pipeline"] == "movies"
    assert mtime_us(engine.state) == watermark_us(movies)
    assert "0 documents indexed" in ok(engine(MOVIES)).stderr


def test_a_touched_file_where_there_is_no_index_loads_everything(engine, movies, search_one):
    open(engine.state, "w", encoding="utf-8").close()
    result = ok(engine(MOVIES))
    assert "the index did not exist" in result.stderr
    assert search_one.count("movies") == movies.value("SELECT count(*) FROM content.film_work")


def test_the_old_service_s_file_with_a_time_in_it_counts_by_its_mtime(engine, movies, search_one):
    with open(engine.state, "w", encoding="utf-8") as f:
        f.write("2021-06-16 20:14:09.310212\n")
    touch(engine.state, "2025-06-01 00:00:00 UTC")
    search_one.request("PUT", "movies", {})
    ok(engine(MOVIES))
    assert 0 < search_one.count("movies") < 200


def test_a_bare_file_and_a_cursor_that_is_a_number_load_everything(engine, pg, search_one, script):
    pg.execute("CREATE TABLE things AS SELECT i AS id, 'v' AS v, i AS modified FROM generate_series(1, 5) i")
    search_one.request("PUT", "things", {})
    open(engine.state, "w", encoding="utf-8").close()
    ok(engine(script(pipeline())))
    assert search_one.count("things") == 5


def test_touch_goes_back_to_that_time(engine, movies, loaded):
    before = loaded.versions("movies")
    touch(engine.state, "2025-06-01 00:00:00.5 UTC")
    result = ok(engine(MOVIES))
    assert "was touched: going back" in result.stderr
    expected = tools.changed_films(movies, "2025-06-01 00:00:00.5Z")
    assert changed(before, loaded.versions("movies")) == expected != set()
    assert mtime_us(engine.state) == watermark_us(movies)


def test_a_copy_with_a_later_time_loses_nothing_and_is_warned_of(engine, movies, loaded):
    movies.execute("UPDATE content.film_work SET title = 'new', modified = '2025-12-01Z' WHERE title = %s", [STALKER])
    touch(engine.state, "2026-06-01 UTC")
    result = ok(engine(MOVIES))
    assert "has a later time" in result.stderr and "1 document indexed" in result.stderr
    assert mtime_us(engine.state) == watermark_us(movies)


def test_the_default_path_is_the_seed_s(engine, movies, search_one, tmp_path):
    ok(engine(os.path.join(ROOT, MOVIES), cwd=str(tmp_path), env={"FILE_PATH_STATE": None}))
    path = tmp_path / "postgres_to_es" / "es" / "es_data" / "state"
    assert mtime_us(path) == watermark_us(movies)


# Files that are not right


def test_a_file_cut_anywhere_is_refused_and_kept(engine, movies, loaded):
    whole = open(engine.state, "rb").read().rstrip()
    count = loaded.versions("movies")
    for length in (1, 2, 20, len(whole) // 2, len(whole) - 2, len(whole) - 1):
        with open(engine.state, "wb") as f:
            f.write(whole[:length])
        result = ok(engine(MOVIES), 1)
        assert "damaged at byte" in result.stderr and "state reset" in result.stderr, length
        assert open(engine.state, "rb").read() == whole[:length]
    assert loaded.versions("movies") == count
    with open(engine.state, "wb") as f:
        f.write(whole)
    ok(engine(MOVIES))


@pytest.mark.parametrize(
    "text", ["{}", "[]", "null extra {", '{"format":1}', "\0\0\0\0", "x" * 300, '{"format":2,"pipeline":"movies"}']
)
def test_a_file_of_another_kind_is_refused_and_kept(engine, movies, search_one, text):
    with open(engine.state, "w", encoding="utf-8") as f:
        f.write(text)
    result = ok(engine(MOVIES), 1)
    assert "cannot read state file" in result.stderr
    assert open(engine.state, encoding="utf-8").read() == text
    assert not search_one.exists("movies")


def test_another_script_s_state_is_refused(engine, movies, loaded):
    before = open(engine.state, "rb").read()
    os.replace(engine.state, engine.state + ".genres")
    result = ok(engine("scripts/genres.lua"), 2)
    assert "belongs to pipeline 'movies', not to 'genres'" in result.stderr
    assert open(engine.state + ".genres", "rb").read() == before


def test_a_second_run_is_kept_out_and_told_by_whom(engine, pg, search_one, script, wait_until):
    make_things(pg, 3)
    path = script(pipeline(document='etl.pg.query "SELECT pg_sleep(60)" return { v = row.v }'))
    first = engine.start(path)
    wait_until(lambda: os.path.exists(engine.state))
    result = ok(engine(path), 1)
    assert f"another run is using it (process {first.pid})" in result.stderr
    ok(engine("state", "reset", path), 1)
    assert ok(engine("state", "show", path)).stdout  # looking is free
    first.kill()
    assert search_one.count("things") == 0
    ok(engine(script(pipeline())))
    assert search_one.count("things") == 3


def test_a_folder_that_cannot_be_made_is_an_error_before_any_work(engine, movies, search_one, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    result = ok(engine(MOVIES, env={"FILE_PATH_STATE": tmp_path / "file" / "state"}), 1)
    assert str(tmp_path / "file") in result.stderr
    assert not search_one.exists("movies")


def test_a_folder_as_the_state_is_an_error(engine, movies, search_one, tmp_path):
    line = next(n for n, text in enumerate(open(os.path.join(ROOT, MOVIES), encoding="utf-8"), 1) if "FILE_PATH_STATE" in text)
    for command in ([], ["state", "show"], ["state", "reset"], ["verify"], ["state", "set"]):
        words = ["2024-01-01"] if "set" in command else []
        result = ok(engine(*command, MOVIES, *words, env={"FILE_PATH_STATE": tmp_path}), 2)
        assert f"error: {MOVIES}:{line}: cannot use state file '{tmp_path}': not a regular file" in result.stderr, result


def test_a_folder_without_permission_is_an_error_before_any_work(engine, movies, search_one):
    """As an ordinary user: root may write everywhere."""
    folder = f"/tmp/etl-engine-{uuid.uuid4()}"  # the tests' own folder is closed to others
    os.mkdir(folder)
    try:
        copy = os.path.join(folder, "etl-engine")
        subprocess.run(["cp", engine.path, MOVIES, folder], check=True)
        os.chmod(folder, 0o555)
        words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
        done = subprocess.run(
            [*words, copy, "movies.lua"], cwd=folder, env={**engine.env, "FILE_PATH_STATE": "state"}, capture_output=True,
            text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 1
        assert "Permission denied" in done.stderr and done.stderr.count("\n") <= 2
        assert not search_one.exists("movies")
    finally:
        os.chmod(folder, 0o755)
        subprocess.run(["rm", "-r", folder], check=True)


@pytest.mark.parametrize("there", [True, False])
def test_a_symbolic_link_stays_one(engine, movies, search_one, tmp_path, there):
    os.mkdir(tmp_path / "data")
    if there:
        ok(engine(MOVIES))
        os.replace(engine.state, tmp_path / "data" / "real")
    os.symlink("data/real", engine.state)
    ok(engine(MOVIES))
    assert os.path.islink(engine.state)
    assert mtime_us(tmp_path / "data" / "real") == watermark_us(movies)


# The command


def test_show_tells_what_there_is(engine, movies, search_one):
    assert "new" in ok(engine("state", "show", MOVIES)).stdout
    ok(engine(MOVIES))
    shown = ok(engine("state", "show", MOVIES)).stdout
    assert engine.state in shown and "following" in shown
    assert movies.value("SELECT max(modified)::text FROM content.film_work") in shown


def test_show_needs_no_server(engine):
    open(engine.state, "w", encoding="utf-8").close()
    touch(engine.state, "2025-06-01 12:00:00.25 UTC")
    assert "2025-06-01T12:00:00.250000Z" in ok(engine("state", "show", MOVIES)).stdout


@pytest.mark.parametrize("text", ["2025-06-01", "2025-06-01T00:00:00Z", "2025-06-01 03:00:00+03:00", "2025-06-01T00:00"])
def test_set_moves_the_watermark(engine, movies, loaded, text):
    before = loaded.versions("movies")
    ok(engine("state", "set", MOVIES, text))
    assert mtime_us(engine.state) == 1748736000000000
    ok(engine(MOVIES))
    expected = tools.changed_films(movies, "2025-06-01Z")
    assert changed(before, loaded.versions("movies")) == expected


def test_set_heeds_the_zone_where_the_cursor_has_none(engine, pg, search_one, script):
    pg.execute(
        "CREATE TABLE things (id int PRIMARY KEY, v text, modified timestamp);"
        "INSERT INTO things VALUES (1, 'old', '2025-06-01 01:00'), (2, 'old', '2025-06-01 05:00')"
    )
    path = script(pipeline())
    ok(engine(path))
    ok(engine("state", "set", path, "2025-06-01 03:00+03:00"))
    assert "2 documents indexed" in ok(engine(path)).stderr


def test_set_takes_what_the_cursor_is(engine, pg, search_one, script):
    pg.execute("CREATE TABLE things (id int PRIMARY KEY, v text, modified bigint);"
               "INSERT INTO things SELECT i, 'v', i FROM generate_series(1, 9) i")
    path = script(pipeline())
    ok(engine(path))
    assert "the cursor of this pipeline is not a time: it is at 9" in ok(engine("state", "set", path, "2025-01-01"), 2).stderr
    ok(engine("state", "set", path, "6"))
    assert "4 documents indexed" in ok(engine(path)).stderr  # 6 itself, too


def test_set_without_a_state_makes_a_bare_file(engine, movies, search_one):
    ok(engine("state", "set", MOVIES, "2025-06-01"))
    assert os.stat(engine.state).st_size == 0
    assert mtime_us(engine.state) == 1748736000000000
    search_one.request("PUT", "movies", {})
    ok(engine(MOVIES))
    assert 0 < search_one.count("movies") < 200


@pytest.mark.parametrize("text", ["soon", "2025-13-01", "2025-06-01T25:00", "2025-06-01x", "2025-02-30", ""])
def test_set_to_no_time_is_wrong_usage(engine, text):
    result = ok(engine("state", "set", MOVIES, text), 2)
    assert f"'{text}'" in result.stderr
    assert not os.path.exists(engine.state)


def test_reset_forgets_everything(engine, movies, loaded):
    ok(engine("state", "reset", MOVIES))
    assert not os.path.exists(engine.state)
    ok(engine("state", "reset", MOVIES))
    assert "there is no state yet" in ok(engine(MOVIES)).stderr


def test_reset_removes_a_damaged_file(engine):
    with open(engine.state, "w", encoding="utf-8") as f:
        f.write('{"format":1,')
    ok(engine("state", "reset", MOVIES))
    assert not os.path.exists(engine.state)


# Death in the middle


def test_a_killed_load_resumes_at_its_stretch_and_loses_nothing(engine, pg, search, script, wait_until):
    make_things(pg, 60000)
    slow = 'if row.id > 30000 and os.getenv "SLOW" then etl.pg.query "SELECT pg_sleep(60)" end return { v = row.v }'
    path = script(pipeline(document=slow))
    running = engine.start(path, "--workers", "2", env={"SLOW": 1})
    wait_until(lambda: os.path.exists(engine.state) and read(engine.state)["after"])
    running.kill()
    assert read(engine.state)["phase"] == "snapshot"
    assert mtime_us(engine.state) == 0
    done = int(read(engine.state)["after"])
    before = search.versions("things")
    pg.execute("UPDATE things SET v = 'changed', modified = now() WHERE id = 1")
    result = ok(engine(path))
    assert f"resuming the load after key '{done}'" in result.stderr
    docs = search.docs("things")
    assert len(docs) == 60000
    assert docs.pop("1")["v"] == "changed"
    assert all(doc["v"] == "v" + key for key, doc in docs.items())
    after = search.versions("things")
    assert [key for key in map(str, range(2, done + 1)) if before[key] != after[key]] == []


def test_a_poll_killed_in_the_middle_loses_nothing(engine, pg, search_one, script, wait_until):
    make_things(pg, 5000)
    slow = 'if row.v == "new" and row.id > 3000 and os.getenv "SLOW" then etl.pg.query "SELECT pg_sleep(60)" end return { v = row.v }'
    path = script(pipeline(document=slow))
    ok(engine(path))
    start = mtime_us(engine.state)
    pg.execute("UPDATE things SET v = 'new', modified = timestamptz '2024-06-01Z' + id * interval '1 microsecond'")
    running = engine.start(path, env={"SLOW": 1})
    wait_until(lambda: mtime_us(engine.state) > start)
    running.kill()
    assert read(engine.state)["tables"]["public.things"]["key"] in ("1000", "2000", "3000")
    ok(engine(path))
    assert {doc["v"] for doc in search_one.docs("things").values()} == {"new"}


# The same script from another folder


def test_a_state_that_another_folder_holds_is_missed_aloud(engine, pg, search, script, tmp_path):
    make_things(pg, 3)
    path, (here, there) = script(pipeline()), (tmp_path / name for name in ("here", "there"))
    here.mkdir(), there.mkdir()
    env = {"FILE_PATH_STATE": "things.state"}
    assert "there is no state at" not in ok(engine(path, env=env, cwd=here)).stderr  # the first time, that is as it should be
    assert "loading everything" not in ok(engine(path, env=env, cwd=here)).stderr
    result = ok(engine(path, env=env, cwd=there))
    missed = f"there is no state at '{there}/things.state', but index 'things' has documents of this pipeline, by a run with "
    told = missed + "--limit or --keys, or with another state: is this the right folder?"
    assert result.stderr.index(told) < result.stderr.index("loading everything: there is no state yet")
    assert told not in ok(engine(path, env=env, cwd=there)).stderr
    (there / "things.state").unlink()
    absolute = {"FILE_PATH_STATE": there / "things.state"}
    assert missed in ok(engine(path, env=absolute, cwd=here)).stderr


def test_a_few_documents_are_no_load_that_is_missed(engine, pg, search, script):
    make_things(pg, 5)
    path = script(pipeline())
    ok(engine(path, "--limit", "3"))
    done = ok(engine(path))
    assert "loading everything: there is no state yet" in done.stderr and "warn" not in done.stderr, done
    assert search.count("things") == 5


# What the positions are of


@pytest.fixture
def things(pg):
    pg.execute(
        "CREATE TABLE things (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), slug text UNIQUE NOT NULL, v text,"
        " modified timestamptz NOT NULL DEFAULT now(), changed timestamptz NOT NULL DEFAULT now());"
        "CREATE TABLE parts (a int UNIQUE, b uuid UNIQUE DEFAULT gen_random_uuid(), slug text, modified timestamptz DEFAULT now());"
        "INSERT INTO things (slug, v) SELECT 'thing-' || i, 'v' FROM generate_series(1, 30) i;"
        "INSERT INTO parts (a, slug) SELECT i, 'thing-' || i FROM generate_series(1, 30) i"
    )
    return pg


def things_by(key, cursor="modified", part="a"):
    related = f"""related = {{ {{ table = "parts", key = "{part}", cursor = "modified",
      affects = "SELECT {key} FROM things WHERE slug IN (SELECT slug FROM parts WHERE {part} = ANY($1))" }} }}, table ="""
    return pipeline(key=key, cursor=cursor).replace("table =", related, 1)


def test_another_key_is_refused_with_a_way_out(engine, things, search, script):
    assert engine(script(things_by("id"))).returncode == 0
    before = search.hits("things")
    things.execute("UPDATE things SET v = 'w', modified = now() WHERE slug = 'thing-7'")
    path = script(things_by("slug"))
    for words in ([], ["--sweep"], ["--keys", "thing-7"], ["--limit", "2"], ["--since", "2020-01-01"], ["--follow"]):
        done = engine(path, *words)
        assert done.returncode == 2, done
        assert f"error: {path}:6: source.key is 'slug' (text), but the documents in index 'things' were made with 'id' (uuid)" in done.stderr
        assert "reindex" in done.stderr and "--full --sweep" in done.stderr, done
    assert search.hits("things") == before
    done = engine(script(things_by("id")))  # and back
    assert done.returncode == 0 and "1 document indexed" in done.stderr, done
    path = script(things_by("slug"))
    done = engine(path, "--full", "--sweep")
    assert done.returncode == 0, done
    assert sorted(search.docs("things")) == sorted(f"thing-{i}" for i in range(1, 31))
    path = script(things_by("id"))
    assert engine("reindex", path, "--replace-index").returncode == 0
    done = engine(path)
    assert done.returncode == 0 and "loading everything" not in done.stderr, done
    assert set(search.docs("things")) == {key for (key,) in things.query("SELECT id::text FROM things")}


def test_a_related_key_or_another_cursor_begins_anew(engine, things, search_one, script):
    assert engine(script(things_by("id"))).returncode == 0
    for text, says in (
        (things_by("id", part="b"), "reading 'parts' from its first row: its key or cursor in the script has changed"),
        (things_by("id", part="a"), "reading 'parts' from its first row: its key or cursor in the script has changed"),
        (things_by("id", cursor="changed"), "loading everything: the cursor in the script has changed"),
    ):
        done = engine(script(text))
        assert done.returncode == 0 and says in done.stderr and "30 documents indexed" in done.stderr, done
        done = engine(script(text))
        assert done.returncode == 0 and "0 documents indexed" in done.stderr, done


def test_a_key_of_another_type_goes_on_where_its_values_do(engine, pg, search_one, script):
    pg.execute(
        "CREATE TABLE things (id int PRIMARY KEY, v text, modified timestamptz NOT NULL DEFAULT now());"
        "INSERT INTO things SELECT i, 'v', now() - i * interval '1 day' FROM generate_series(1, 30) i"
    )
    path = script(pipeline())
    assert engine(path).returncode == 0
    pg.execute("ALTER TABLE things ALTER id TYPE bigint; UPDATE things SET modified = now() WHERE id = 1")
    done = engine(path)
    assert done.returncode == 0 and "1 document indexed" in done.stderr, done
    pg.execute(
        "DROP TABLE things; CREATE TABLE things (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), v text, modified timestamptz"
        " NOT NULL DEFAULT now()); INSERT INTO things (v) VALUES ('new')"
    )
    done = engine(path)
    assert done.returncode == 2 and "source.key is 'id' (uuid), but the documents in index 'things' were made with 'id' (bigint)" in done.stderr
    done = engine(path, "--full", "--sweep", "--allow-deletes")
    assert done.returncode == 0 and search_one.count("things") == 1, done


def test_the_key_does_not_change_under_way(engine, things, search_one, script, wait_until):
    following = engine.start(script(things_by("id")), "--follow")
    wait_until(lambda: "following" in following.stderr)
    script(things_by("slug"))
    following.signal(signal.SIGHUP)
    wait_until(lambda: "'source.key' has changed: restart to use the new value" in following.stderr)
    assert following.stop().returncode == 143
