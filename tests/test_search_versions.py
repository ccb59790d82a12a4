"""What differs between the search servers and their versions: what each refuses, blocks and warns of. Runs on all of them; on
others by ETL_SEARCH=elasticsearch8,elasticsearch9."""
import re

import films
import pytest
from films import run
from nginx import Nginx


@pytest.fixture
def path(pg, script):
    films.table(pg)
    return script(films.plain())


def block(search, name, value=True, index="t"):
    search.request("PUT", f"{index}/_settings", {f"index.blocks.{name}": value})


def update(pg, value, where="id = 3"):
    pg.execute(f"UPDATE t SET v = '{value}', modified = clock_timestamp() WHERE {where}")


# Blocked, read-only and closed: it waits, says what for, and drops nothing.

BLOCKS = {
    "write": ("index write", "index.blocks.write"),
    "read_only": ("index read-only", "index.blocks.read_only"),
    "read_only_allow_delete": ("read-only-allow-delete block", ""),  # the disk is nearly full
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_follower_waits_while_the_index_is_blocked(engine, pg, search, path, wait_until, name):
    told, hint = BLOCKS[name]
    running = films.follow(engine, path, wait_until=wait_until)
    block(search, name)
    update(pg, "late")
    wait_until(lambda: told in running.stderr and "trying again" in running.stderr or not running.alive())
    assert running.alive() and hint in running.stderr, running.stderr
    block(search, name, None)
    wait_until(lambda: search.get("t", "3") == {"v": "late"})
    assert "rejected: " not in running.stderr and running.stop().returncode == 143


def test_a_follower_waits_while_the_index_is_closed(engine, pg, search, path, wait_until):
    running = films.follow(engine, path, wait_until=wait_until)
    search.request("POST", "t/_close")
    update(pg, "late")
    wait_until(lambda: "index_closed_exception" in running.stderr or not running.alive())
    assert running.alive() and "POST /INDEX/_open" in running.stderr, running.stderr
    search.request("POST", "t/_open")
    wait_until(lambda: search.request("GET", "_cluster/health/t")["status"] != "red")
    wait_until(lambda: search.get("t", "3") == {"v": "late"})
    assert running.stop().returncode == 143


@pytest.mark.parametrize("name", ["read_only", "metadata"])
def test_a_run_waits_for_a_blocked_index_from_the_start_and_may_give_up(engine, pg, search, path, name):
    run(engine, path)
    block(search, name)
    update(pg, "late")
    done = run(engine, path, "--give-up-after", "1", code=3 if name == "metadata" else None)
    assert "cluster_block_exception" in done.stderr and "index.blocks" in done.stderr, done
    assert search.get("t", "3") == {"v": "v3"} or name == "metadata"
    block(search, name, None)
    run(engine, path)
    assert search.get("t", "3") == {"v": "late"}


# Too many scrolls


def test_a_sweep_waits_while_the_server_has_too_many_scrolls(engine, pg, search, path, wait_until):
    run(engine, path)
    search.request("PUT", "t/_doc/99?version=1&version_type=external_gte", {"v": "astray"})
    search.request("PUT", "_cluster/settings", {"persistent": {"search.max_open_scroll_context": 1}})
    held = search.request("POST", "t/_search?scroll=5m", {"size": 1})["_scroll_id"]
    sweeping = engine.start(path, "--sweep")
    wait_until(lambda: "too many scroll contexts" in sweeping.stderr or not sweeping.alive())
    assert sweeping.alive() and "search.max_open_scroll_context" in sweeping.stderr, sweeping.stderr
    search.request("DELETE", "_search/scroll", {"scroll_id": held})
    assert sweeping.wait().returncode == 0 and search.count("t") == 20
    search.request("PUT", "_cluster/settings", {"persistent": {"search.max_open_scroll_context": None}})


# Warnings


def test_a_deprecation_is_told_once_in_a_run(engine, pg, search, script):
    """All of these servers warn of a name with a dot; OpenSearch only for the first such index since it was started."""
    films.table(pg)
    path = script(films.plain(index=".dot"))
    try:
        done = run(engine, path)
        told = "the search server warns: index name [.dot] starts with a dot '.', in the next major version"
        assert done.stderr.count(told) == 1 or search.name.startswith("opensearch") and told not in done.stderr, done
        assert search.count(".dot") == 20
        assert "warns" not in run(engine, path, "--sweep").stderr
    finally:
        search.request("DELETE", ".dot")


@pytest.fixture
def front(engine, search_one, tmp_path):
    """front(inside=..., server=...): nginx before the search server, which the engine then asks."""
    opened = []

    def open_front(**words):
        opened.append(Nginx(tmp_path, search_one.port, **words))
        engine.env["ELASTICSEARCH_URL"] = opened[-1].url()

    yield open_front
    for nginx in opened:
        nginx.__exit__()


def test_warnings_with_every_answer_are_no_flood(engine, pg, search_one, path, front):
    front(
        inside="add_header Warning '299 Elasticsearch-8 \"not \x1b[31m secure $msec\" \"date\", 299 - \"second\"' always;"
        " add_header Warning '110 cache \"stale\"' always; add_header Warning '299 broken' always;"
    )
    done = run(engine, path, "--sweep")
    lines = [line for line in done.stderr.splitlines() if "warns" in line]
    assert len(lines) == 2 and "not" in lines[0] and lines[1].endswith("the search server warns: second"), done
    assert "\x1b" not in done.stderr and "stale" not in done.stderr


# Which program, and which version, answers


ROOT = "location = / {{ {} }}"


def root(number, rest=""):
    return f"default_type application/json; return 200 '{{\"version\":{{\"number\":\"{number}\"{rest}}},\"tagline\":\"You Know, for Search\"}}';"


def test_a_server_that_is_too_old_is_refused(engine, pg, search_one, path, front):
    front(server=ROOT.format(root("6.8.23")))
    done = run(engine, path, code=1)
    assert re.search(r"cannot use the server at http://\S+: it is Elasticsearch 6\.8\.23, and version 7 or later", done.stderr), done
    assert not search_one.exists("t") and "6.8.23" in engine("check", path).stdout


@pytest.mark.parametrize(
    "inside, told",
    [
        (root("7.0.0"), None),
        (root("99.1"), None),
        ("return 401;", None),
        ("return 403;", None),
        ("return 404;", None),
        ("return 302 https://example.org/;", None),
        ("default_type text/html; return 200 '<title>Sign in</title>';", "'Sign in'"),
        ("default_type application/json; return 200 '{\"version\":{\"number\":\"0.4\"},\n\"name\":\"zinc\"}';", "zinc"),
        ("return 204;", None),
    ],
)
def test_who_may_not_ask_for_the_version_goes_on_and_a_strange_answer_is_told(engine, pg, search_one, path, front, inside, told):
    front(server=ROOT.format(inside))
    done = run(engine, path)
    assert search_one.count("t") == 20
    lines = [line for line in done.stderr.splitlines() if "neither Elasticsearch nor OpenSearch" in line]
    assert len(lines) == (told is not None) and (not told or told in lines[0]), done


# Aliases


def test_a_swap_keeps_what_the_alias_has_and_names_one_index(engine, pg, search, script):
    films.table(pg)
    search.request("PUT", "old", {"settings": {"number_of_replicas": 0}})
    kept = {"is_write_index": True, "index_routing": "1", "search_routing": "1,2"}
    search.request("POST", "_aliases", {"actions": [{"add": {"index": "old", "alias": "t", **kept}}]})
    done = run(engine, "reindex", script(films.plain()))
    (fresh, found), = search.request("GET", "_alias/t").items()
    assert fresh.startswith("t-") and found["aliases"]["t"] == kept and search.count("t") == 20, done


def test_the_write_index_of_an_alias_is_written_to(engine, pg, search, path):
    for name in ("one", "two"):
        search.request("PUT", name, {"settings": {"number_of_replicas": 0}})
    add = [{"add": {"index": "one", "alias": "t"}}, {"add": {"index": "two", "alias": "t"}}]
    search.request("POST", "_aliases", {"actions": add})
    done = run(engine, path, code=1)
    assert "it is an alias of several indexes, none of which is its write index" in done.stderr, done
    add[1]["add"]["is_write_index"] = True
    search.request("POST", "_aliases", {"actions": add})
    run(engine, path)
    assert (search.count("one"), search.count("two")) == (0, 20)


# What documents, keys and scripts some refuse


def test_what_a_document_may_not_have_is_a_dead_letter(engine, pg, search, script):
    """Names that are empty between dots, one field too many, a key that is too long: the others are written."""
    pg.execute("CREATE TABLE t (id text PRIMARY KEY, v text, modified timestamptz DEFAULT clock_timestamp())")
    pg.execute("INSERT INTO t VALUES ('1', 'good'), ('2', 'a..b'), ('3', ''), (repeat('x', 513), 'good')")
    pg.execute("INSERT INTO t SELECT '4', string_agg('f' || i, ' ') FROM generate_series(1, 1001) i")
    document = """
        if row.v == "good" then return { v = row.v } end
        local made = {}
        if row.v == "" then made[""] = 1 end
        for name in row.v:gmatch "%S+" do made[name] = 1 end
        return made"""
    done = run(engine, script(films.plain(document=document)), code=4)
    assert search.docs("t") == {"1": {"v": "good"}}, done
    assert done.stderr.count(" rejected: ") == 4 and "longer than 512 bytes" in done.stderr, done
    assert "Limit of total fields [1000] has been exceeded" in done.stderr, done


REFUSED = {  # by the servers that do not have them any more
    'settings = { ["index.soft_deletes.enabled"] = false }': "soft-deletes disabled",
    'settings = { ["index.mapper.dynamic"] = false }': "index.mapper.dynamic",
    'mappings = { _doc = { properties = { v = { type = "keyword" } } } }': "_doc",
    'mappings = { properties = { v = { type = "string" } } }': "[string]",
    'mappings = { properties = { v = { type = "keyword", boost = 2 } } }': "boost",
}


@pytest.mark.parametrize("sink", REFUSED)
def test_what_a_version_no_longer_has_is_the_scripts_mistake_or_a_warning(engine, pg, search, script, sink):
    films.table(pg)
    path = script(films.plain(sink="\n" + sink))
    line = next(n for n, row in enumerate(open(path, encoding="utf-8"), 1) if row.startswith(sink))
    done = run(engine, path, code=None)
    if done.returncode == 0:  # still taken by this one
        assert search.count("t") == 20
    else:
        assert done.returncode == 2 and f"{path}:{line}: cannot create index 't': " in done.stderr, done
        assert REFUSED[sink] in done.stderr and not search.exists("t"), done


def test_a_name_that_no_server_takes_is_the_scripts_mistake(engine, pg, search, script):
    films.table(pg)
    for name in ("Upper", "_begins", "a b", "x" * 256):
        done = run(engine, script(films.plain(index=name)), code=2)
        assert done.stderr.count("\n") <= 3, done


def test_a_hidden_index_is_kept_like_any_other(engine, pg, search, script):
    films.table(pg)
    path = script(films.plain(sink='settings = { ["index.hidden"] = true }'))
    run(engine, path)
    pg.execute("DELETE FROM t WHERE id = 3")
    run(engine, path, "--sweep")
    assert search.count("t") == 19
    run(engine, "reindex", path, "--replace-index")
    assert search.count("t") == 19
