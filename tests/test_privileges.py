"""What a user may do on servers that ask: the privileges of etl-engine-servers(7) are enough, one that is missing is named, and
keys, passwords and certificates work as the servers really want them."""
import base64

import pytest

import films
from certificates import Authority
from pipelines import pipeline
from test_load import make_things, ok
from tools import wait_until

pytest_plugins = ["secured"]

PASSWORD = "s3cret-Pass-1"  # OpenSearch refuses weak ones
ELASTICSEARCH = {"run": ["view_index_metadata", "read", "write"], "create": ["create_index"], "chosen": ["maintenance"], "reindex": ["manage"]}
OPENSEARCH = {
    "run": ["indices:monitor/settings/get", "indices:admin/mappings/get", "indices:admin/get", "read", "write"],
    "create": ["create_index"],
    "chosen": ["indices:admin/refresh*"],
    "reindex": ["indices:admin/*"],
}
ACTIONS = {  # what the servers call it that a request without this privilege would do
    "view_index_metadata": "indices:monitor/settings/get",
    "read": "indices:data/read/search",
    "write": "indices:data/write/bulk",
    "create_index": "indices:admin/create",
}


def table(secured):
    return OPENSEARCH if secured.is_opensearch else ELASTICSEARCH


def words(secured, *parts):
    return [word for part in parts for word in table(secured)[part]]


def allow(secured, granted, indexes=("things",)):
    """The engine's variables for a user with these privileges; with the same name as the one before."""
    cluster = ["cluster_composite_ops"] if secured.is_opensearch else []
    return secured.env(secured.add_user("etl_tests", PASSWORD, {index: granted for index in indexes}, cluster))


@pytest.fixture
def things(pg):
    make_things(pg, 3, "CREATE INDEX ON things (modified, id)")
    return pg


@pytest.fixture
def path(script):
    return script(pipeline(extra="poll_interval = 0.1,"))


def refused(result, *texts):
    assert result.returncode == 1 and result.stderr.count("etl-engine: error: ") == 1 and "trying again" not in result.stderr, result
    assert [text for text in texts if text not in result.stderr] == [] and "s3cret" not in result.stderr, result


def arrives(pg, secured, running, value):
    pg.execute(f"UPDATE things SET v = '{value}', modified = clock_timestamp() WHERE id = 2")
    wait_until(lambda: secured.get("things", "2") == {"v": value} or not running.alive(), what=value)
    assert running.alive(), running.stderr


# Privileges


def test_what_is_documented_is_enough(engine, things, secured, path):
    env = allow(secured, words(secured, "run", "create"))
    ok(engine(path, env=env))
    env = allow(secured, words(secured, "run"))
    things.execute("DELETE FROM things WHERE id = 1")
    for command in ((path, "--sweep"), ("verify", path), ("diff", path), ("why", path, "2"), ("check", path)):
        secured.refresh("things")  # which the user may not
        result = ok(engine(*command, env=env))
        assert "answered 403" not in result.stderr + result.stdout, result
    running = films.follow(engine, path, wait_until=wait_until, env=env)
    arrives(things, secured, running, "followed")
    assert running.stop().returncode == 143 and "answered 403" not in running.stderr
    env = allow(secured, words(secured, "run", "reindex"), ("things", "things-*"))
    ok(engine("reindex", path, "--replace-index", env=env))
    ok(engine("reindex", path, env=env))
    ok(engine(path, "--sweep", env=allow(secured, words(secured, "run"), ("things", "things-*"))))
    assert secured.docs("things") == {"2": {"v": "followed"}, "3": {"v": "v3"}}


def test_a_missing_privilege_is_named(engine, things, secured, path):
    needed = words(secured, "run", "create")
    env = allow(secured, needed)
    ok(engine(path, env=env))
    for missing in needed:
        if missing == "create_index":
            secured.wipe()
        allow(secured, [word for word in needed if word != missing])
        name = "view_index_metadata" if missing.startswith("indices:") else missing
        action = missing if missing.startswith("indices:") else ACTIONS[missing]
        refused(engine(path, "--full", "--sweep", env=env), action, f"hint: it requires the privilege '{name}' on the index")


CHOSEN = "indices:monitor/settings/get"


def test_a_chosen_index_without_privileges_ends_the_run(engine, things, secured, script):
    """No document is at fault."""
    path = script(pipeline(index="zf-0", document="return { v = row.v }, { index = 'zf-' .. row.id % 2 }", sink='indices = "zf-*",'))
    granted = words(secured, "run", "create", "chosen")
    env = allow(secured, granted, ["zf-0"])
    refused(engine(path, env=env), "index 'zf-1': ", CHOSEN, "hint: it requires the privilege 'view_index_metadata' on the index")
    env = allow(secured, [word for word in granted if word != "create_index"], ["zf-0", "zf-1"])
    refused(engine(path, env=env), "index 'zf-1': ", "hint: it requires the privilege 'create_index' on the index")
    ok(engine(path, env=allow(secured, granted, ["zf-*"])))
    result = engine("verify", path, env=allow(secured, granted, ["zf-0"]))
    refused(result, "security_exception", "hint: it requires the privilege ")
    assert secured.is_opensearch or "of index 'zf-1': security_exception" in result.stderr, result


def checked(engine, path, env):
    """(severity, check, message, remedy) of what `check` finds, but for the demonstration's notes; nothing has changed."""
    done = engine("check", path, "--format", "json", env=env)
    assert done.returncode in (0, 1, 2) and "s3cret" not in done.stdout + done.stderr, done
    return [(f["severity"], f["check"], f["message"], f["remedy"]) for f in done.docs if f["severity"] != "note"]


def test_check_sees_what_the_user_lacks(engine, things, secured, script):
    path = script(pipeline(index="zf-0", document="return { v = row.v }, { index = 'zf-' .. row.id % 2 }", sink='indices = "zf-*",'))
    granted = words(secured, "run", "create", "chosen")
    assert checked(engine, path, allow(secured, granted, ["zf-*"])) == []
    only_one = allow(secured, ["indices:*"] if secured.is_opensearch else ["all"], ["zf-0"])
    chosen, pattern = sorted(checked(engine, path, only_one))
    assert chosen[:2] == ("error", "index_privilege") and "on index 'zf-1': " in chosen[2] and chosen[3].endswith(" on 'zf-1'"), chosen
    assert pattern[:2] == ("warning", "index_privilege") and "(zf-*): " in pattern[2] and pattern[3].endswith(" on 'zf-*'"), pattern
    for missing in granted:
        found = checked(engine, path, allow(secured, [word for word in granted if word != missing], ["zf-*"]))
        lacks = "indices:data/" + missing if secured.is_opensearch and missing in ("read", "write") else missing.rstrip("*")
        lacks = "indices:admin/create" if secured.is_opensearch and missing == "create_index" else lacks
        if missing != "view_index_metadata" and not missing.startswith("indices:monitor"):  # without it, the first request is refused
            assert found and all(lacks in f[2] and f[1] == "index_privilege" for f in found), found
        assert found and not secured.exists("zf-0") and not secured.exists("zf-1"), found
    for index in ("zf-0", "zf-1"):
        secured.request("PUT", index, {"settings": {"index.gc_deletes": "1h"}})
    few = allow(secured, words(secured, "run", "chosen"), ["zf-0", "zf-1"])  # and no other one is needed
    assert [f[0] for f in checked(engine, path, few)] == ["warning"], checked(engine, path, few)
    ok(engine(path, env=few))


def test_check_sees_what_opensearch_wants_on_the_cluster(engine, things, secured, path):
    if not secured.is_opensearch:
        pytest.skip("only OpenSearch does")
    mapping = "_plugins/_security/api/rolesmapping/own_index"
    env = allow(secured, words(secured, "run", "create"))
    secured.request("DELETE", mapping)
    try:
        assert checked(engine, path, env) == []
        secured.add_user("etl_tests", PASSWORD, {"things": words(secured, "run", "create")})
        found = checked(engine, path, env)
        assert [f[:2] for f in found] == [("error", "cluster_privilege")] and BULK in found[0][2] and MGET in found[0][2], found
    finally:
        secured.request("PUT", mapping, {"users": ["*"]})


def test_an_item_that_is_forbidden_ends_the_run(engine, things, secured, path):
    """A user who may write, but not delete: the request succeeds, and one item of it does not."""
    granted = words(secured, "run", "create")
    ok(engine(path, env=allow(secured, granted)))
    things.execute("DELETE FROM things WHERE id = 1")
    secured.refresh("things")
    only = ["indices:data/write/bulk*", "indices:data/write/index"] if secured.is_opensearch else ["index"]
    env = allow(secured, [word for word in granted if word != "write"] + only)
    refused(engine(path, "--sweep", env=env), "cannot delete document '1': security_exception", "indices:data/write/delete", "hint: it requires the privilege 'write'")
    assert secured.count("things") == 3


BULK, MGET, SCROLL = "indices:data/write/bulk", "indices:data/read/mget", "indices:data/read/scroll"
CLUSTER = [  # privileges on the cluster, a command, and what it lacks
    ([], ["run", "--full"], BULK),
    ([BULK], ["run", "--full"], None),
    ([BULK], ["run", "--sweep"], MGET),
    ([BULK], ["verify"], MGET),
    ([BULK, MGET], ["run", "--sweep"], SCROLL),
    ([BULK, MGET, SCROLL], ["run", "--sweep"], None),
]


def test_opensearch_wants_a_privilege_on_the_cluster_too(engine, things, secured, path):
    """Unless its role own_index is everybody's, as its demonstration has it."""
    if not secured.is_opensearch:
        pytest.skip("only OpenSearch does")
    env, mapping = allow(secured, words(secured, "run", "create")), "_plugins/_security/api/rolesmapping/own_index"
    secured.request("DELETE", mapping)
    try:
        ok(engine(path, "--full", "--sweep", env=env))
        things.execute("INSERT INTO things (id, v) SELECT i, 'many' FROM generate_series(100, 2200) i")  # several pages
        composite = "and cluster_composite_ops on the cluster)"
        for granted, command, lacking in CLUSTER:
            secured.add_user("etl_tests", PASSWORD, {"things": words(secured, "run", "create")}, granted)
            result = engine(*command, path, env=env)
            refused(result, f"no permissions for [{lacking}]", composite) if lacking else ok(result)
    finally:
        secured.request("PUT", mapping, {"users": ["*"]})


def test_a_warning_about_the_mapping_ends_with_the_privilege_that_the_manual_names(engine, things, secured, path):
    """Elasticsearch lets `write` do what the engine's data in _meta needs, and warns of it."""
    if secured.is_opensearch:
        pytest.skip("it refuses what it does not allow")
    warns, granted = "the index privilege [write] allowed the update mapping action [indices:admin/mapping/put]", words(secured, "run", "create")
    result = ok(engine(path, env=allow(secured, granted)))
    assert result.stderr.count(warns) == 1, result
    for privilege in "indices:admin/mapping/put", "manage":
        result = ok(engine(path, "--full", env=allow(secured, granted + [privilege])))
        assert warns not in result.stderr, result


def test_a_reindex_needs_more(engine, things, secured, path):
    env = allow(secured, words(secured, "run", "reindex"), ("things", "things-*"))
    ok(engine(path, env=env))
    ok(engine("reindex", path, "--replace-index", env=env))
    before = secured.request("GET", "things/_alias")
    allow(secured, words(secured, "run"), ("things", "things-*"))
    refused(engine("reindex", path, env=env), "cannot create index 'things-", "indices:admin/create", "hint: it requires the privilege 'create_index'")
    assert secured.request("GET", "things/_alias") == before


# Users, passwords, keys


def test_who_is_not_known_is_told_so(engine, things, secured, path):
    env = allow(secured, words(secured, "run", "create"))
    for user, password in (("etl_tests", "s3cret"), ("nobody", PASSWORD)):
        wrong = {**env, "ELASTICSEARCH_USER": user, "ELASTICSEARCH_PASSWORD": password}
        refused(engine(path, env=wrong), "the search server answered 401", "hint: the credentials are those in variable ELASTICSEARCH_USER and variable ELASTICSEARCH_PASSWORD")
    refused(engine(path, env={**env, "ELASTICSEARCH_USER": None, "ELASTICSEARCH_PASSWORD": None}), "the search server answered 401", "hint: set credentials in sink")
    refused(engine(path, "--follow", env={**env, "ELASTICSEARCH_PASSWORD": "s3cret"}), "the search server answered 401")


def test_a_new_password_is_used_at_once(engine, things, secured, path, tmp_path):
    granted, file = words(secured, "run", "create"), tmp_path / "password"
    file.write_text(PASSWORD)
    file.chmod(0o600)
    env = {**allow(secured, granted), "ELASTICSEARCH_PASSWORD": None, "ELASTICSEARCH_PASSWORD_FILE": file}
    running = films.follow(engine, path, wait_until=wait_until, env=env)
    arrives(things, secured, running, "before")
    cluster = ["cluster_composite_ops"] if secured.is_opensearch else []
    file.write_text(PASSWORD + "2")
    secured.add_user("etl_tests", PASSWORD + "2", {"things": granted}, cluster)
    arrives(things, secured, running, "after")
    secured.add_user("etl_tests", PASSWORD + "3", {"things": granted}, cluster)
    things.execute("UPDATE things SET v = 'waits', modified = clock_timestamp() WHERE id = 2")
    wait_until(lambda: f"hint: the credentials are those in variable ELASTICSEARCH_USER and file '{file}', which is" in running.stderr or not running.alive())
    file.write_text(PASSWORD + "3")
    wait_until(lambda: secured.get("things", "2") == {"v": "waits"} or not running.alive())
    assert running.stop().returncode == 143 and "s3cret" not in running.stderr


def api_key(secured, **more):
    """id, and what authenticates by it."""
    rules = {"etl": {"index": [{"names": ["things"], "privileges": words(secured, "run", "create")}]}}
    made = secured.request("POST", "_security/api_key?refresh=true", {"name": "etl", "role_descriptors": rules, **more})
    return made["id"], made["api_key"]


def test_an_api_key_is_made_used_and_revoked(engine, things, secured, path, tmp_path):
    if secured.is_opensearch:
        pytest.skip("OpenSearch 2 has no API keys")
    (first, one), (second, two) = api_key(secured), api_key(secured)
    file, plain = tmp_path / "key", {"ELASTICSEARCH_URL": secured.url, "ELASTICSEARCH_CA": secured.ca}
    ok(engine(path, env={**plain, "ELASTICSEARCH_API_KEY": f"{first}:{one}"}))
    file.write_text(base64.b64encode(f"{first}:{one}".encode()).decode())
    file.chmod(0o600)
    running = films.follow(engine, path, wait_until=wait_until, env={**plain, "ELASTICSEARCH_API_KEY_FILE": file})
    arrives(things, secured, running, "before")
    file.write_text(f"{second}:{two}")
    secured.request("DELETE", "_security/api_key", {"ids": [first]})
    arrives(things, secured, running, "after")
    assert running.stderr.count(f"file '{file}' has new ones") == 1 and "answered 401" not in running.stderr, running.stderr
    secured.request("DELETE", "_security/api_key", {"ids": [second]})
    things.execute("UPDATE things SET v = 'waits', modified = clock_timestamp() WHERE id = 2")
    wait_until(lambda: f"hint: the credentials are those in file '{file}'" in running.stderr or not running.alive())
    file.write_text(":".join(api_key(secured)))
    wait_until(lambda: secured.get("things", "2") == {"v": "waits"} or not running.alive())
    assert running.stop().returncode == 143 and one not in running.stderr and two not in running.stderr
    refused(engine(path, env={**plain, "ELASTICSEARCH_API_KEY": f"{first}:{one}"}), "the search server answered 401: security_exception: unable to authenticate")


def test_an_api_key_that_has_expired_is_told(engine, things, secured, path):
    if secured.is_opensearch:
        pytest.skip("OpenSearch 2 has no API keys")
    key = ":".join(api_key(secured, expiration="1ms"))
    env = {"ELASTICSEARCH_URL": secured.url, "ELASTICSEARCH_CA": secured.ca, "ELASTICSEARCH_API_KEY": key}
    refused(engine(path, env=env), "the search server answered 401: security_exception: unable to authenticate")


# Certificates


def test_the_server_must_be_the_one_that_is_meant(engine, things, secured, path, tmp_path):
    env = allow(secured, words(secured, "run", "create"))
    refused(engine(path, env={**env, "ELASTICSEARCH_CA": None}), "no known authority signed its certificate", "hint: set ca =")
    refused(engine(path, env={**env, "ELASTICSEARCH_CA": Authority(tmp_path, "other").cert}), "did not sign its certificate")


def test_a_client_certificate_stands_for_a_user(engine, things, secured, path):
    if not secured.client_certificate:
        pytest.skip(f"{secured.name} takes no client certificates")
    cert, key = secured.client_certificate
    env = {"ELASTICSEARCH_URL": secured.url, "ELASTICSEARCH_CA": secured.ca}
    ok(engine(path, env={**env, "ELASTICSEARCH_CLIENT_CERT": cert, "ELASTICSEARCH_CLIENT_KEY": key}))
    assert secured.count("things") == 3


def test_elasticsearch_may_require_a_certificate_and_take_it_for_a_user(engine, things, demanding, path, tmp_path):
    """Beside a password by any licence; alone, by its PKI realm, with one for which there are trials."""
    (cert, key), granted = demanding.shown, words(demanding, "run", "create")
    shown = {"ELASTICSEARCH_CLIENT_CERT": cert, "ELASTICSEARCH_CLIENT_KEY": key}
    user = demanding.env(demanding.add_user("etl_tests", PASSWORD, {"things": granted}))
    ok(engine(path, env={**user, **shown}))
    lacks = "cannot reach https://", "it refuses our TLS handshake (", "client_cert and client_key in sink"
    refused(engine(path, env=user), *lacks, "hint: it may require a client certificate")
    cert, key = Authority(tmp_path, "other").issue("client")
    strange = {"ELASTICSEARCH_CLIENT_CERT": cert, "ELASTICSEARCH_CLIENT_KEY": key}
    refused(engine(path, env={**user, **strange}), *lacks, "hint: it may require another client certificate")
    demanding.request("POST", "_license/start_trial?acknowledge=true")
    alone = {**shown, "ELASTICSEARCH_URL": demanding.url, "ELASTICSEARCH_CA": demanding.ca}
    refused(engine(path, env=alone), "is unauthorized for user [client]", "hint: it requires the privilege 'view_index_metadata'")
    rule = {"roles": ["etl_tests"], "enabled": True, "rules": {"field": {"dn": "CN=client"}}}
    demanding.request("PUT", "_security/role_mapping/etl", rule)
    ok(engine(path, env=alone))
    assert demanding.count("things") == 3
