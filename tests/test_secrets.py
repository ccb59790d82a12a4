"""A secret that has another value in its file is used without a restart: it is read again when a server refuses the old one."""
import os
import signal

import pytest

import films
from nginx import Nginx
from pipelines import lua, pipeline
from test_load import make_things, ok
from test_security_search import basic
from tools import wait_until

NEW = "has new ones"


class Door:
    """In front of a search server: it lets in those whose Authorization header is among its keys."""

    def __init__(self, folder, port):
        self.keys = folder / "keys"
        self.keys.mkdir()
        self.front = Nginx(folder, port, inside=f'if (!-f "{self.keys}/$http_authorization") {{ return 401 "who are you?"; }}')
        self.url = self.front.url()

    def lock(self, *headers):
        """From now on these are the keys, and no others."""
        for header in headers:
            (self.keys / header).touch()
        for key in self.keys.iterdir():
            if key.name not in headers:
                key.unlink()

    def refusals(self):
        return sum('" 401 ' in line for line in self.front.requests())


@pytest.fixture
def door(search_one, tmp_path):
    door = Door(tmp_path, search_one.port)
    with door.front:
        yield door


class Secret:
    def __init__(self, path, text):
        self.path = path
        self.write(text)

    def write(self, text):
        """As whoever takes care that nobody reads half a file."""
        part = self.path.with_suffix(".part")
        part.write_text(text + "\n")
        part.chmod(0o600)
        part.rename(self.path)


@pytest.fixture
def secret(tmp_path):
    """secret(text, name): a file with a secret."""
    (tmp_path / "secrets").mkdir()
    return lambda text, name="secret": Secret(tmp_path / "secrets" / name, text)


def text(url='os.getenv "ELASTICSEARCH_URL"', sink="", name="things", source='os.getenv "DATABASE_URL"', more=""):
    made = pipeline(index=name, name=name, extra="poll_interval = 0.1," + more)
    made = made.replace('os.getenv "DATABASE_URL"', source).replace('os.getenv "FILE_PATH_STATE"', f'os.getenv "FILE_PATH_STATE" .. "{name}"')
    return made.replace('url = os.getenv "ELASTICSEARCH_URL"', f"{sink} url = {url}")


def change(pg, value, key=1):
    pg.execute(f"UPDATE things SET v = '{value}', modified = clock_timestamp() WHERE id = {key}")


def arrives(pg, search, value, running, index="things", key=1):
    change(pg, value, key)
    wait_until(lambda: search.get(index, str(key)) == {"v": value} or not running.alive(), what=value)
    assert running.alive(), running.stderr


HEADERS = {"key": ("ApiKey one", "ApiKey two"), "password": (basic("etl", "one"), basic("etl", "two"))}
SECRET = 'etl.secret "SECRET"'
PLACES = {  # what the script says, the variable that names the file, and what is in the file
    "api_key": ("", "", "ELASTICSEARCH_API_KEY_FILE", "key", "{}"),
    "password": ("", 'user = "etl",', "ELASTICSEARCH_PASSWORD_FILE", "password", "{}"),
    "credentials": ("", "", "CREDENTIALS_DIRECTORY", "key", "{}"),
    "script": ("", f"api_key = {SECRET},", "SECRET_FILE", "key", "{}"),
    "url": (SECRET, "", "SECRET_FILE", "password", "http://etl:{}@127.0.0.1:PORT"),
    "part": (f'"http://etl:" .. {SECRET} .. "@127.0.0.1:PORT"', "", "SECRET_FILE", "password", "{}"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_new_secret_is_used_at_once(engine, pg, search_one, script, door, secret, place):
    url, sink, variable, kind, form = PLACES[place]
    form, port = form.replace("PORT", str(door.front.port)), str(door.front.port)
    make_things(pg, 3)
    old, new = HEADERS[kind]
    door.lock(old)
    file = secret(form.format("one"), "elasticsearch_api_key" if place == "credentials" else "secret")
    path = script(text(url.replace("PORT", port) or 'os.getenv "ELASTICSEARCH_URL"', sink))
    value = file.path.parent if place == "credentials" else file.path
    running = films.follow(engine, path, wait_until=wait_until, env={"ELASTICSEARCH_URL": door.url, variable: value})
    arrives(pg, search_one, "before", running)
    file.write(form.format("two"))
    arrives(pg, search_one, "between", running)  # nobody has refused the old one
    door.lock(new)
    arrives(pg, search_one, "after", running)
    assert running.stderr.count(f"file '{file.path}' {NEW}") == 1 and "answered 401" not in running.stderr, running.stderr
    assert running.stop().returncode == 143


def test_a_storm_of_refusals_reads_the_file_for_all(engine, pg, search_one, script, door, secret):
    """Several pipelines, each with several workers that are about to send."""
    make_things(pg, 1000)
    door.lock("ApiKey 0")
    file = secret("0")
    names = ["a", "b", "c"]
    paths = [script(text(name=name), name + ".lua") for name in names]
    running = engine.start(*paths, "--follow", "--workers", "4", env={"ELASTICSEARCH_URL": door.url, "ELASTICSEARCH_API_KEY_FILE": file.path})
    wait_until(lambda: running.stderr.count("following") == 3 or not running.alive())
    for n in range(1, 4):
        file.write(str(n))
        door.lock(f"ApiKey {n}")
        pg.execute(f"UPDATE things SET v = 'v{n}', modified = clock_timestamp()")
        wait_until(lambda: all(search_one.search(name, f"v:v{n}", 1) for name in names) or not running.alive())
    wait_until(lambda: all(search_one.get(name, str(key)) == {"v": "v3"} for name in names for key in (1, 500, 1000)))
    assert door.refusals() >= 3 and "answered 401" not in running.stderr, running.stderr
    assert running.stop().returncode == 143


def test_a_refused_secret_waits_for_its_file(engine, pg, search_one, script, door, secret):
    make_things(pg, 3)
    door.lock("ApiKey s3cret1")
    file = secret("s3cret1")
    running = films.follow(engine, script(text()), wait_until=wait_until, env={"ELASTICSEARCH_URL": door.url, "ELASTICSEARCH_API_KEY_FILE": file.path})
    door.lock("ApiKey s3cret2")
    change(pg, "waits")
    wait_until(lambda: door.refusals() > 3 and "trying again" in running.stderr or not running.alive())
    line = next(line for line in running.stderr.splitlines() if "answered 401: who are you?; trying again" in line)
    assert f"(hint: the credentials are those in file '{file.path}', which is read again with each try)" in line
    file.write("s3cret0")  # is wrong, too
    wait_until(lambda: NEW in running.stderr)
    file.path.write_text("")  # as whoever writes it without care leaves it for a moment
    wait_until(lambda: f"could not renew the credentials: cannot read ELASTICSEARCH_API_KEY from file '{file.path}': it is empty" in running.stderr)
    file.write("s3cret2")
    wait_until(lambda: search_one.get("things", "1") == {"v": "waits"} or not running.alive())
    assert running.stop().returncode == 143 and "s3cret" not in running.stderr


def test_what_does_not_follow_ends_as_before(engine, pg, search_one, script, door, secret):
    make_things(pg, 3)
    door.lock("ApiKey 2")
    env = {"ELASTICSEARCH_URL": door.url, "ELASTICSEARCH_API_KEY_FILE": secret("1").path}
    for words in ((), ("--follow",)):
        result = engine(script(text()), *words, env=env)
        assert result.returncode == 1 and "answered 401: who are you?" in result.stderr and "trying again" not in result.stderr, result


def test_a_reload_takes_the_credentials_of_the_script(engine, pg, search_one, script, door):
    """Also those that the old script cannot do without: nobody lets it in any more."""
    make_things(pg, 3)
    door.lock("ApiKey 1")
    running = films.follow(engine, script(text(sink='api_key = "1",')), wait_until=wait_until, env={"ELASTICSEARCH_URL": door.url})
    door.lock("ApiKey 2")
    change(pg, "new")
    wait_until(lambda: "trying again" in running.stderr)
    assert "the credentials are those in sink.api_key; if there are new ones: restart with them, or SIGHUP" in running.stderr
    script(text(sink='api_key = "2",'))
    running.signal(signal.SIGHUP)
    wait_until(lambda: search_one.get("things", "1") == {"v": "new"} or not running.alive())
    wait_until(lambda: "reloaded" in running.stderr)
    for other in (text(lua(door.url + "/elsewhere"), 'api_key = "2",'), text(source=lua("postgresql://127.0.0.1:1/none"), sink='api_key = "2",')):
        field = "sink.url" if "elsewhere" in other else "source.url"
        script(other)
        running.signal(signal.SIGHUP)
        wait_until(lambda: f"'{field}' has changed: restart to use the new value" in running.stderr)
    arrives(pg, search_one, "still", running)


def test_a_file_that_names_another_server_is_not_followed(engine, pg, search_one, script, door, secret):
    make_things(pg, 3)
    door.lock(basic("etl", "s3cret1"))
    form = f"http://etl:{{}}@127.0.0.1:{door.front.port}"
    file = secret(form.format("s3cret1"))
    running = films.follow(engine, script(text(SECRET)), wait_until=wait_until, env={"SECRET_FILE": file.path})
    door.lock(basic("etl", "s3cret2"))
    file.write("http://etl:s3cret2@127.0.0.1:1")
    change(pg, "waits")
    wait_until(lambda: f"could not renew the credentials: file '{file.path}' has another address for sink.url by now" in running.stderr)
    file.write(form.format("s3cret2"))
    wait_until(lambda: search_one.get("things", "1") == {"v": "waits"} or not running.alive())
    assert running.stop().returncode == 143 and "s3cret" not in running.stderr


# PostgreSQL


@pytest.fixture
def role(pg):
    name = f"role_{os.getpid()}"
    make_things(pg, 3, f"CREATE ROLE {name} LOGIN REPLICATION PASSWORD 's3cret1'; GRANT SELECT ON things TO {name}; GRANT CREATE ON DATABASE {pg.name} TO {name}")
    yield name
    pg.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def alter(pg, role, password):
    pg.execute(f"ALTER ROLE {role} PASSWORD '{password}'")
    pg.terminate()


PG_PLACES = {"url": ('etl.secret "DATABASE_URL"', "DATABASE_URL_FILE"), "part": (f'"postgresql://ROLE:" .. {SECRET} .. "@127.0.0.1:PORT/NAME"', "SECRET_FILE")}


@pytest.mark.parametrize("place", PG_PLACES)
def test_a_new_password_of_postgres_is_used_at_once(engine, pg, role, search_one, script, secret, place):
    source, variable = PG_PLACES[place]
    source = source.replace("ROLE", role).replace("PORT", str(pg.port)).replace("NAME", pg.name)
    form = (lambda password: pg.url_at(pg.port, role, password)) if place == "url" else str
    file = secret(form("s3cret1"))
    paths = [script(text(source=source, name=name), name + ".lua") for name in ("a", "b")]
    running = engine.start(*paths, "--follow", env={"DATABASE_URL": None, variable: file.path})
    wait_until(lambda: running.stderr.count("following") == 2 or not running.alive())
    for name in ("a", "b"):
        arrives(pg, search_one, "before", running, name)
    file.write(form("s3cret2"))
    alter(pg, role, "s3cret2")
    for name in ("a", "b"):
        arrives(pg, search_one, "after", running, name)
    assert running.stderr.count(f"file '{file.path}' {NEW}") == 1 and "password authentication failed" not in running.stderr, running.stderr
    alter(pg, role, "s3cret3")
    change(pg, "waits")
    wait_until(lambda: f"hint: the credentials are those in file '{file.path}'" in running.stderr or not running.alive())
    assert "could not connect to PostgreSQL" in running.stderr and "password authentication failed" in running.stderr
    file.write(form("s3cret3"))
    wait_until(lambda: search_one.get("a", "1") == search_one.get("b", "1") == {"v": "waits"} or not running.alive())
    assert running.stop().returncode == 143 and "s3cret" not in running.stderr


def test_a_file_that_names_another_database_is_not_followed(engine, pg, role, search_one, script, secret):
    file = secret(pg.url_at(pg.port, role, "s3cret1"))
    running = films.follow(engine, script(text(source='etl.secret "DATABASE_URL"')), wait_until=wait_until, env={"DATABASE_URL": None, "DATABASE_URL_FILE": file.path})
    file.write(pg.url_at(pg.port, role, "s3cret2").replace(pg.name, "postgres"))
    alter(pg, role, "s3cret2")
    wait_until(lambda: f"could not renew the credentials: file '{file.path}' has another address for source.url by now" in running.stderr)
    file.write(pg.url_at(pg.port, role, "s3cret2"))
    arrives(pg, search_one, "after", running)


def test_the_reader_of_the_log_takes_the_new_password(engine, pg, role, search_one, script, secret):
    pg.execute(f"ALTER TABLE things OWNER TO {role}")
    file = secret(pg.url_at(pg.port, role, "s3cret1"))
    captured = text(source='etl.secret "DATABASE_URL"').replace('cursor = "modified"', 'capture = "wal"')
    running = films.follow(engine, script(captured), wait_until=wait_until, env={"DATABASE_URL": None, "DATABASE_URL_FILE": file.path})
    arrives(pg, search_one, "before", running)
    file.write(pg.url_at(pg.port, role, "s3cret2"))
    alter(pg, role, "s3cret2")
    arrives(pg, search_one, "after", running)
    assert "password authentication failed" not in running.stderr, running.stderr
    assert running.stop().returncode == 143
    ok(engine("state", "reset", script(captured), env={"DATABASE_URL": None, "DATABASE_URL_FILE": file.path}))
