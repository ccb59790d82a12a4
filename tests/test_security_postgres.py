"""PostgreSQL over TLS, and from where libpq takes who we are: its own ways, through source.url and the environment."""
import os
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

import services
import tools
from certificates import Authority
from pipelines import pipeline
from test_load import ok
from tools import wait_until


class Server:
    """A PostgreSQL that takes nothing but TLS, with one small table."""

    def __init__(self, folder, authority):
        self.vendor = services.vendor(services.POSTGRES.name)
        self.folder, self.authority, self.port = folder, authority, tools.free_port()
        self.data = os.path.join(folder, "data")
        self._run("initdb", "-D", self.data, "-U", "etl", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
        cert, key = authority.issue("server", hosts="DNS:localhost")
        for path, name in ((cert, "server.crt"), (key, "server.key"), (authority.cert, "root.crt")):
            self._copy(path, name)
        with open(os.path.join(folder, "hba"), "w", encoding="utf-8") as f:
            f.write("local all all trust\nhostssl all by_certificate 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
        self._copy(os.path.join(folder, "hba"), "pg_hba.conf")
        words = [self.vendor.bin("postgres"), "-D", self.data, "-p", str(self.port), "-k", folder, "-h", "127.0.0.1"]
        for setting in ("ssl=on", "ssl_ca_file=root.crt", "fsync=off", "shared_buffers=16MB", "max_connections=20"):
            words += ["-c", setting]
        with open(os.path.join(folder, "log"), "wb") as log:
            self.process = subprocess.Popen(words, cwd="/", stdout=log, stderr=log, **self.vendor.who())
        wait_until(lambda: self.psql("SELECT 1").returncode == 0, what="PostgreSQL with TLS")
        done = self.psql(
            "SET password_encryption = 'scram-sha-256'; CREATE ROLE by_password LOGIN PASSWORD 's3cret'; CREATE ROLE by_certificate LOGIN;"
            "CREATE TABLE things (id int PRIMARY KEY, v text, modified timestamptz DEFAULT now());"
            "INSERT INTO things VALUES (1, 'a'), (2, 'b'); GRANT SELECT ON things TO PUBLIC"
        )
        assert done.returncode == 0, done.stderr

    def psql(self, sql):
        words = ["psql", "-X", "-q", "-h", self.folder, "-p", str(self.port), "-U", "etl", "-d", "postgres", "-c", sql]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    def url(self, host="localhost", user="by_password", **options):
        words = {"host": host, "hostaddr": "127.0.0.1", "port": self.port, "dbname": "postgres", "user": user, **options}
        return " ".join(f"{key}={value}" for key, value in words.items())

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)

    def _run(self, program, *words):
        done = subprocess.run([self.vendor.bin(program), *words], cwd="/", capture_output=True, text=True, check=False, **self.vendor.who())
        assert done.returncode == 0, done.stderr

    def _copy(self, path, name):
        target = os.path.join(self.data, name)
        shutil.copyfile(path, target)
        if os.getuid() == 0:
            shutil.chown(target, "postgres", "postgres")
        os.chmod(target, 0o600)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls(authority):
    folder = tempfile.mkdtemp(prefix="etl-tls-", dir="/var/tmp")  # where PostgreSQL's user can get to, and not too long a path
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    os.chmod(folder, 0o755)
    server = None
    try:
        server = Server(folder, authority)
        yield server
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder)


def documents(engine, path, url, **env):
    return len(ok(engine(path, "--dry-run", env={"DATABASE_URL": url, **env})).docs)


def refused(engine, path, url, *words, status=1, **env):
    """It ends at once, with one line that has these words."""
    result = engine(path, "--dry-run", env={"DATABASE_URL": url, **env})
    assert result.returncode == status and "trying again" not in result.stderr, result
    lines = [line for line in result.stderr.splitlines() if "etl-engine: error: " in line]
    assert len(lines) == 1 and [word for word in words if word not in result.stderr] == [], result
    assert "s3cret" not in result.stderr


def test_the_server_s_certificate_is_verified_as_sslmode_says(engine, tls, authority, script, tmp_path):
    path, other = script(pipeline()), Authority(tmp_path, "other")
    full = {"password": "s3cret", "sslmode": "verify-full", "sslrootcert": authority.cert}
    assert documents(engine, path, tls.url(**full)) == 2
    assert documents(engine, path, tls.url(host="db.example.org", **{**full, "sslmode": "verify-ca"})) == 2
    refused(engine, path, tls.url(host="db.example.org", **full), "does not match host name", "hint: the host in source.url")
    refused(engine, path, tls.url(**{**full, "sslrootcert": other.cert}), "certificate verify failed", "hint: sslrootcert")
    refused(engine, path, tls.url(**{**full, "sslrootcert": "/no/such"}), '"/no/such" does not exist')
    refused(engine, path, tls.url(**{**full, "sslmode": "disable"}), "no pg_hba.conf entry", "hint: set sslmode=require")
    refused(engine, path, tls.url(**{**full, "password": "s3cret2"}), "password authentication failed", "hint: check user and password")


def test_a_server_without_tls_is_refused_where_it_is_required(engine, pg, script):
    refused(engine, script(pipeline()), pg.url + "?sslmode=require", "server does not support SSL")


def test_a_client_certificate_says_who_we_are(engine, tls, authority, script, tmp_path):
    path = script(pipeline())
    cert, key = authority.issue("by_certificate")
    mine = {"user": "by_certificate", "sslmode": "require", "sslcert": cert, "sslkey": key}
    assert documents(engine, path, tls.url(**mine)) == 2
    refused(engine, path, tls.url(user="by_certificate"), "requires a valid client certificate", "hint: set sslcert and sslkey")
    other = dict(zip(("sslcert", "sslkey"), Authority(tmp_path, "other").issue("by_certificate")))
    refused(engine, path, tls.url(**{**mine, **other}), "unknown ca", "hint: the server does not know the authority")
    refused(engine, path, tls.url(**{**mine, "sslkey": other["sslkey"]}), "private key file")
    os.chmod(key, 0o644)
    refused(engine, path, tls.url(**mine), "has group or world access")


def test_passfile_and_service_file_are_read(engine, tls, authority, script, tmp_path):
    path, passfile, services_file = script(pipeline()), tmp_path / "pass", tmp_path / "services"
    passfile.write_text("localhost:*:*:by_password:s3cret\n")
    passfile.chmod(0o600)
    url = tls.url(sslmode="verify-full", sslrootcert=authority.cert, passfile=passfile)
    assert documents(engine, path, url) == 2
    assert documents(engine, path, tls.url(), PGPASSFILE=passfile) == 2
    services_file.write_text("[films]\n" + url.replace(" ", "\n") + "\n")
    assert documents(engine, path, "service=films", PGSERVICEFILE=services_file) == 2
    assert documents(engine, path, "postgresql://?service=films", PGSERVICEFILE=services_file) == 2
    refused(engine, path, "service=filmz", 'definition of service "filmz" not found', PGSERVICEFILE=services_file)
    passfile.chmod(0o644)  # libpq does not take it then
    refused(engine, path, url, "it requires a password, and none is set")


def test_a_secret_may_be_the_whole_url(engine, tls, script, tmp_path):
    path, file = script(pipeline().replace('os.getenv "DATABASE_URL"', 'etl.secret "DATABASE_URL"')), tmp_path / "url"
    file.write_text(tls.url(password="s3cret") + "\n")
    file.chmod(0o600)
    env = {"DATABASE_URL": None, "DATABASE_URL_FILE": file}
    assert len(ok(engine(path, "--dry-run", env=env)).docs) == 2
    file.unlink()
    result = engine(path, "--dry-run", env=env)
    assert result.returncode == 2 and f"cannot read DATABASE_URL from file '{file}': No such file" in result.stderr


@pytest.mark.parametrize("url", ["foo://bar", "mysql://root:s3cret@h/db?x=y", "POSTGRESQL://u:s3cret@h/db"])
def test_another_scheme_is_a_mistake_and_no_database_s_name(engine, script, url):
    result = engine(script(pipeline()), "--dry-run", env={"DATABASE_URL": url})
    assert result.returncode == 2 and "it begins neither with postgresql:// nor with postgres://" in result.stderr
    assert "s3cret" not in result.stderr


@pytest.mark.parametrize("url", ["etl:s3cret@127.0.0.1:5432/db", "postgres:/etl:s3cret@h/db", "postgresql://u:x@s3cret@h/db"])
def test_an_address_that_is_not_whole_is_a_mistake_and_shows_no_password(engine, script, url):
    result = engine(script(pipeline()), "--dry-run", env={"DATABASE_URL": url})
    assert result.returncode == 2 and "invalid source.url" in result.stderr
    assert "s3cret" not in result.stderr


# What the role may do: CONNECT, USAGE on the schema, SELECT on the tables, and nothing else.

RIGHTS = {  # and what is said without it: with the script's line, where it names what cannot be used
    "GRANT CONNECT ON DATABASE {database} TO {role}": (1, "permission denied for database", "hint: allow the user to connect: GRANT CONNECT ON DATABASE {database} TO least_"),
    "GRANT USAGE ON SCHEMA films TO {role}": (1, "permission denied for schema films", "hint: GRANT USAGE ON SCHEMA films TO least_"),
    "GRANT SELECT ON films.film TO {role}": (1, "permission denied for table film", "hint: GRANT SELECT ON film TO least_"),
    "GRANT SELECT ON films.genre TO {role}": (1, "permission denied for table genre", "hint: GRANT SELECT ON genre TO least_"),
}


@pytest.fixture
def least(pg):
    """A role that may do nothing at all, not even what everybody may."""
    role = f"least_{os.getpid()}"
    pg.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD 's3cret'; REVOKE ALL ON DATABASE {pg.name} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC;"
        "CREATE SCHEMA films; CREATE TABLE films.genre (id int PRIMARY KEY, name text, modified timestamptz DEFAULT now());"
        "CREATE TABLE films.film (id int PRIMARY KEY, v text, genre_id int, modified timestamptz DEFAULT now());"
        "INSERT INTO films.genre VALUES (1, 'Drama'); INSERT INTO films.film VALUES (1, 'a', 1), (2, 'b', 1)"
    )
    yield role
    pg.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_role_with_the_least_privileges_will_do(engine, pg, search_one, script, least):
    path = script(
        pipeline(
            table="films.film", query="SELECT f.*, g.name FROM films.film f JOIN films.genre g ON g.id = f.genre_id",
            document="return { v = row.v, genre = row.name }",
        ).replace(
            "key = ", 'related = {{ table = "films.genre", key = "id", cursor = "modified", affects = "SELECT id FROM films.film WHERE genre_id = ANY($1)" }}, key = ', 1
        )
    )  # fmt: skip
    env = {"DATABASE_URL": pg.url_at(pg.port, user=least, password="s3cret")}
    for missing, (status, *words) in RIGHTS.items():
        for right in RIGHTS:
            if right != missing:
                pg.execute(right.format(database=pg.name, role=least))
        words = [word.replace("{database}", pg.name) for word in words]
        if pg.version() < 110000:
            words = [word.replace("for table", "for relation") for word in words]
        refused(engine, path, env["DATABASE_URL"], *words, status=status)
        pg.execute(f"DROP OWNED BY {least}")
    for right in RIGHTS:
        pg.execute(right.format(database=pg.name, role=least))
    ok(engine(path, env=env))
    pg.execute("UPDATE films.genre SET name = 'Comedy', modified = clock_timestamp(); DELETE FROM films.film WHERE id = 2")
    ok(engine(path, "--sweep", "--allow-deletes", env=env))
    assert search_one.docs("things") == {"1": {"v": "a", "genre": "Comedy"}}


def test_the_grants_of_the_manual_are_enough_for_the_films(engine, movies, search_one):
    with open(os.path.join(tools.ROOT, "vendor/man/etl-engine-servers.7.md"), encoding="utf-8") as page:
        grants = re.search(r"```sql\n(.*?)```", page.read(), re.S).group(1)
    role = f"readme_{os.getpid()}"
    movies.execute(re.sub(r"\betl\b", role, grants).replace("'...'", "'s3cret'").replace("DATABASE movies", f"DATABASE {movies.name}"))
    try:
        ok(engine("scripts/movies.lua", env={"DATABASE_URL": movies.url_at(movies.port, user=role, password="s3cret")}))
    finally:
        movies.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert search_one.count("movies") == 259
