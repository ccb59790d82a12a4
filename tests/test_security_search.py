"""Who we are to the search server, and how we know it: TLS, certificates, passwords, keys, signatures, privileges."""
import base64
import hashlib
import hmac
import http.server
import os
import re
import shutil
import socket
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest

from certificates import Authority
from nginx import Nginx
from pipelines import lua, pipeline
from proxy import Proxy
from test_load import make_things, ok
from tools import ROOT

SECRET = "s3cret/+&Ж"


def sink(**fields):
    """A script with more fields in its sink."""
    more = ", ".join(f"{name} = {str(value).lower() if isinstance(value, bool) else lua(value)}" for name, value in fields.items())
    return pipeline().replace('index = "things"', 'index = "things"' + (", " + more if more else ""))


def run(engine, path, url, **env):
    return engine(path, "--full", "--give-up-after", "20", env={"ELASTICSEARCH_URL": url, **env})


def refused(engine, path, url, *words, status=1, **env):
    """It ends at once, with one line that has these words and no secret. Not asked again."""
    result = run(engine, path, url, **env)
    assert result.returncode == status and "trying again" not in result.stderr, result
    assert result.stderr.count("etl-engine: error: ") == 1, result
    assert [word for word in words if word not in result.stderr] == [], result
    assert "s3cret" not in result.stderr, result
    return result


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority):
    """For localhost and 127.0.0.1."""
    return authority.issue("node")


@pytest.fixture
def things(pg):
    make_things(pg, 3)
    return pg


# The server's certificate


def test_an_authority_is_believed_where_it_is_named(engine, things, search_one, script, authority, certificate, tmp_path):
    path, other = script(sink()), Authority(tmp_path, "other")
    with Nginx(tmp_path, search_one.port, certificate) as front:
        ok(run(engine, path, front.url(), ELASTICSEARCH_CA=authority.cert))
        assert search_one.count("things") == 3
        ok(run(engine, script(sink(ca=authority.cert), "named.lua"), front.url("localhost")))
        refused(engine, path, front.url(), f"cannot trust {front.url()}: no known authority signed its certificate", 'hint: set ca = "FILE"')
        refused(engine, path, front.url(), f"the authority in '{other.cert}' did not sign", "hint: set ca =", ELASTICSEARCH_CA=other.cert)
        refused(engine, path, front.url(), "cannot read ELASTICSEARCH_CA from file '/no/such'", status=2, ELASTICSEARCH_CA="/no/such")
        refused(engine, path, front.url(), "cannot read certificates from", "hint: ca must name", ELASTICSEARCH_CA=authority.key)
        refused(engine, path, f"https://127.0.0.1:{search_one.port}", "does not speak TLS", "hint: check the port, or use http://")
        result = ok(run(engine, script(sink(verify=False), "loud.lua"), front.url()))
        assert result.stderr.count("certificate is not verified") == 1


def test_an_authority_is_believed_by_its_fingerprint(engine, things, search_one, script, authority, certificate, tmp_path):
    path, fingerprint = script(sink()), authority.fingerprint()
    false = Authority(tmp_path, "authority")  # of the same name
    cert, key = false.issue("node")
    with open(cert, "a", encoding="utf-8") as forged, open(authority.cert, encoding="utf-8") as real:
        forged.write(real.read())
    with Nginx(tmp_path, search_one.port, certificate) as front, Nginx(tmp_path, search_one.port, (cert, key)) as liar:
        ok(run(engine, path, front.url(), ELASTICSEARCH_CA_FINGERPRINT=fingerprint))
        ok(run(engine, script(sink(ca_fingerprint=fingerprint.replace(":", "").lower()), "named.lua"), front.url()))
        told = fingerprint.replace(":", "").lower()
        refused(engine, path, front.url(), "none of its certificates has the ca_fingerprint", told, ELASTICSEARCH_CA_FINGERPRINT=false.fingerprint())
        # It presents the right authority's certificate, which anybody can have, and another one's signature.
        refused(engine, path, liar.url(), "cannot trust", ELASTICSEARCH_CA_FINGERPRINT=fingerprint)


def test_a_certificate_must_be_valid_and_for_this_host(engine, things, search_one, script, authority, tmp_path):
    path, env = script(sink()), {"ELASTICSEARCH_CA": authority.cert}
    by_print = {"ELASTICSEARCH_CA_FINGERPRINT": authority.fingerprint()}
    with Nginx(tmp_path, search_one.port, authority.issue("old", days=-1)) as expired:
        refused(engine, path, expired.url(), f"cannot trust {expired.url()}: certificate has expired", "hint: renew the server's", **env)
        refused(engine, path, expired.url(), "certificate has expired", **by_print)
    with Nginx(tmp_path, search_one.port, authority.issue("example", hosts="DNS:es.example.org")) as other:
        refused(engine, path, other.url(), "its certificate is for another host name", "hint: the host in sink.url", **env)
        refused(engine, path, other.url(), "its certificate is for another host name", **by_print)


def test_a_handshake_that_breaks_off_is_tried_again(engine, things, search_one, script, authority, certificate, tmp_path):
    with Nginx(tmp_path, search_one.port, certificate) as front, Proxy(front.port) as proxy:
        proxy.cut_after(500)
        result = ok(run(engine, script(sink()), f"https://127.0.0.1:{proxy.port}", ELASTICSEARCH_CA=authority.cert))
    assert proxy.cuts == 1 and "the TLS handshake broke off; trying again" in result.stderr


def test_a_server_that_hangs_up_is_tried_again(engine, things, script):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.recv(1000)
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        result = engine(script(sink()), "--give-up-after", "1", env={"ELASTICSEARCH_URL": url})
        plain = engine(script(sink()), "--give-up-after", "1", env={"ELASTICSEARCH_URL": url.replace("https", "http")})
        listener.shutdown(socket.SHUT_RDWR)
    assert result.returncode == 3 and f"could not reach {url}: the TLS handshake broke off" in result.stderr, result
    assert plain.returncode == 3 and "hint: the server may accept https:// only" in plain.stderr, plain


# Our certificate


def test_a_client_certificate_is_shown(engine, things, search_one, script, authority, certificate, tmp_path):
    cert, key = authority.issue("client")
    both = tmp_path / "both.pem"
    both.write_text(open(cert, encoding="utf-8").read() + open(key, encoding="utf-8").read())
    server = f"ssl_client_certificate {authority.cert}; ssl_verify_client on;"
    with Nginx(tmp_path, search_one.port, certificate, server=server) as front:
        ok(run(engine, script(sink(ca=authority.cert, client_cert=cert, client_key=key)), front.url()))
        env = {"ELASTICSEARCH_CA": authority.cert}
        ok(run(engine, script(sink(client_cert=str(both)), "both.lua"), front.url(), **env))
        refused(engine, script(sink(), "none.lua"), front.url(), "answered 400: 400 No required SSL certificate was sent", **env)
        wrong = script(sink(client_cert=cert, client_key=authority.key), "wrong.lua")
        refused(engine, wrong, front.url(), f"cannot use the client certificate '{cert}' with the key", "hint: both must be PEM", **env)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_refuses_us_in_the_handshake_is_final(engine, things, script, authority, certificate, version):
    """As Elasticsearch does; nginx shakes hands first, and answers 400 afterwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.load_verify_locations(authority.cert)
    context.verify_mode, context.minimum_version, context.maximum_version = ssl.CERT_REQUIRED, version, version
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as tls:
                    tls.settimeout(5)
                    try:
                        tls.do_handshake()
                    except ssl.SSLError:
                        while socket.socket.recv(tls, 1000):  # unread, a reset could overtake the alert
                            pass

        threading.Thread(target=serve, daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        refused(engine, script(sink(ca=authority.cert)), url, "it refuses our TLS handshake", "hint: it may require a client certificate")
        listener.shutdown(socket.SHUT_RDWR)


# User, password, key, token


def only(header):
    """Of nginx: nobody else."""
    return f"if ($http_authorization != '{header}') {{ return 401 'who are you?'; }}"


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_user_and_password_come_from_everywhere(engine, things, search_one, script, tmp_path):
    path = script(sink(user="etl"))
    file, folder = tmp_path / "password", tmp_path / "credentials"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    folder.mkdir()
    shutil.copy(file, folder / "elasticsearch_password")
    with Nginx(tmp_path, search_one.port, inside=only(basic("etl", SECRET))) as front:
        ok(run(engine, script(sink(user="etl", password=SECRET), "script.lua"), front.url()))
        ok(run(engine, path, front.url(), ELASTICSEARCH_PASSWORD=SECRET))
        ok(run(engine, path, front.url(), ELASTICSEARCH_PASSWORD_FILE=file))
        ok(run(engine, path, front.url(), CREDENTIALS_DIRECTORY=folder))
        quoted = urllib.parse.quote(SECRET, safe="")
        ok(run(engine, script(sink(), "url.lua"), front.url(user=f"etl:{quoted}@")))
        ok(run(engine, script(sink(), "url.lua"), front.url(user="etl:weaker@"), ELASTICSEARCH_PASSWORD=SECRET))
        public = front.url("0.0.0.0", f"etl:{quoted}@")  # not the loopback's name, but it leads there
        result = ok(run(engine, script(sink(), "url.lua"), public, http_proxy=None, no_proxy="*"))
        assert result.stderr.count(f"credentials go to http://0.0.0.0:{front.port} unencrypted") == 1
        refused(engine, path, front.url(), "the search server answered 401: who are you?", "hint: the credentials are those in sink.user and variable ELASTICSEARCH_PASSWORD", ELASTICSEARCH_PASSWORD="s3cret")
        refused(engine, path, front.url(), "api_key and user, which exclude each other", status=2, ELASTICSEARCH_API_KEY="s3cret")
        file.chmod(0o644)
        result = ok(run(engine, path, front.url(), ELASTICSEARCH_PASSWORD_FILE=file))
        assert result.stderr.count(f"every user can read file '{file}', which holds the secret") == 1
        file.write_text("")
        refused(engine, path, front.url(), f"cannot read ELASTICSEARCH_PASSWORD from file '{file}': it is empty", status=2, ELASTICSEARCH_PASSWORD_FILE=file)


def test_a_token_is_shown(engine, things, search_one, script, tmp_path):
    with Nginx(tmp_path, search_one.port, inside=only("Bearer s3cret")) as front:
        ok(run(engine, script(sink(bearer_token="s3cret")), front.url()))
        refused(engine, script(sink(), "none.lua"), front.url(), "answered 401", ELASTICSEARCH_BEARER_TOKEN="s3cret2")


# Amazon's signatures


def signature(method, path, query, headers, signed, body, secret, date, scope):
    """Signature Version 4, as Amazon describes it."""
    pairs = [parameter.partition("=")[::2] for parameter in query.split("&") if parameter]
    encoded = sorted(tuple(urllib.parse.quote(urllib.parse.unquote(part), safe="-_.~") for part in pair) for pair in pairs)
    request = [method, urllib.parse.quote(path or "/", safe="/-_.~"), "&".join(f"{name}={value}" for name, value in encoded)]
    request += ["".join(f"{name}:{headers[name].strip()}\n" for name in signed), ";".join(signed), hashlib.sha256(body).hexdigest()]
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256("\n".join(request).encode()).hexdigest()])
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class Amazon:
    """A search service that looks at signatures, and passes on what is signed well."""

    def __init__(self, target, secret):
        self.good = self.bad = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_request(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fields = re.fullmatch(
                    r"AWS4-HMAC-SHA256 Credential=AKID/(\S+), SignedHeaders=(\S+), Signature=(\S+)", self.headers["Authorization"] or ""
                )
                path, _, query = self.path.partition("?")
                lower = {name.lower(): value for name, value in self.headers.items()}
                signed = fields.group(2).split(";") if fields else []
                known = {"host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"} <= set(signed)
                if not known or lower["x-amz-security-token"] != "token" or fields.group(3) != signature(
                    self.command, path, query, lower, signed, body, secret, lower["x-amz-date"], fields.group(1)
                ):
                    outer.bad += 1
                    self.answer(403, b'{"message":"The request signature we calculated does not match"}')
                    return
                outer.good += 1
                request = urllib.request.Request(f"{target}{self.path}", data=body or None, method=self.command)
                for name in {"Content-Type", "Content-Encoding"} & set(self.headers):
                    request.add_header(name, self.headers[name])
                try:
                    with urllib.request.urlopen(request) as reply:
                        self.answer(reply.status, reply.read())
                except urllib.error.HTTPError as error:
                    self.answer(error.code, error.read())

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_request

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def test_requests_are_signed_for_amazon(engine, things, search_one, script):
    # Amazon's own example, "get-vanilla": that the test computes what they do.
    example = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
    assert signature(
        "GET", "/", "", example, ["host", "x-amz-date"], b"", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830T123600Z", "20150830/us-east-1/service/aws4_request"
    ) == "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"  # fmt: skip
    env = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s3cret/+", "AWS_SESSION_TOKEN": "token"}
    path = script(sink(aws_sigv4="aws:amz:eu-central-1:es"))
    with Amazon(search_one.url, "s3cret/+") as amazon:
        ok(run(engine, path, amazon.url, **env))
        things.execute("DELETE FROM things WHERE id = 1")
        packed = script(sink(aws_sigv4="aws:amz:eu-central-1:es", compress=True), "packed.lua")  # it is signed as it is sent
        ok(engine(packed, "--sweep", env={"ELASTICSEARCH_URL": amazon.url, **env}))  # scrolls and mgets, too
        assert search_one.count("things") == 2 and amazon.good > 10 and amazon.bad == 0
        refused(engine, path, amazon.url, "the search server answered 403", "signature", **{**env, "AWS_SECRET_ACCESS_KEY": "s3cret"})
    refused(engine, path, amazon.url, "sink.aws_sigv4 needs an access key", "hint: set AWS_ACCESS_KEY_ID", status=2, AWS_ACCESS_KEY_ID=None)


# What a user need not be allowed: the rest is in test_privileges.py


def without(method, path):
    """Of nginx: such requests are forbidden, as the security plugins of both search servers say it."""
    answer = '{"error":{"type":"security_exception","reason":"action is unauthorized for user [etl]"},"status":403}'
    return {
        "outside": f'map "$request_method $uri" $forbidden {{ default 0; "~^{method} {path}" 1; }}',
        "inside": f"if ($forbidden) {{ return 403 '{answer}'; }}",
    }


OPTIONAL = [("POST", "/things/_refresh"), ("DELETE", "/_search/scroll"), ("PUT", "/things/_mapping")]


@pytest.mark.parametrize("method, path", OPTIONAL)
def test_what_is_not_needed_may_be_forbidden(engine, things, search_one, script, tmp_path, method, path):
    lines = script(sink())
    with Nginx(tmp_path, search_one.port, **without(method, path)) as front:
        ok(run(engine, lines, front.url()))
        search_one.refresh()
        things.execute("DELETE FROM things WHERE id = 1")
        ok(engine(lines, "--sweep", env={"ELASTICSEARCH_URL": front.url()}))
        assert any(f'"{method} {path}' in line for line in front.requests())
    assert search_one.count("things") == 2


# Nothing that is secret is told

TOKEN = "s3cretToken"
BASE64 = base64.b64encode(f"etl:{SECRET}".encode()).decode()
QUOTED = urllib.parse.quote(SECRET, safe="")
PLACES = {  # where a secret can stand: fields of sink, the URL's user, the environment
    "script": ({"user": "etl", "password": SECRET}, "", {}),
    "url": ({}, f"etl:{QUOTED}@", {}),
    "environment": ({}, "", {"ELASTICSEARCH_USER": "etl", "ELASTICSEARCH_PASSWORD": SECRET}),
    "file": ({"user": "etl"}, "", {"ELASTICSEARCH_PASSWORD_FILE": "FOLDER/elasticsearch_password"}),
    "credentials": ({"user": "etl"}, "", {"CREDENTIALS_DIRECTORY": "FOLDER"}),
    "api_key": ({"api_key": f"id:{TOKEN}"}, "", {}),
    "bearer_token": ({}, "", {"ELASTICSEARCH_BEARER_TOKEN": TOKEN}),
    "amazon": ({"aws_sigv4": "aws:amz:r:es"}, "", {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": TOKEN, "AWS_SESSION_TOKEN": TOKEN}),
}
WORDS = ("s3cret", BASE64, base64.b64encode(f"id:{TOKEN}".encode()).decode())


def told(text):
    return [word for word in WORDS if word in text]


def test_no_secret_is_told_anywhere(engine, pg, search_one, script, tmp_path):
    folder, work = tmp_path / "secrets", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    engine.env["FILE_PATH_STATE"] = str(work / "state")
    (folder / "elasticsearch_password").write_text(SECRET)
    (folder / "elasticsearch_password").chmod(0o600)
    role = f"secret_{os.getpid()}"
    make_things(pg, 3, f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'; GRANT SELECT ON things TO {role}")
    in_url = {"DATABASE_URL": pg.url_at(pg.port, user=role, password=QUOTED)}
    in_variable = {"DATABASE_URL": f"postgresql://{role}@127.0.0.1:{pg.port}/{pg.name}", "PGPASSWORD": SECRET}
    json_log, text_log = ("--full", "--verbose", "--log-format", "json"), ("--full", "--verbose")
    results = []
    try:
        with Nginx(tmp_path, search_one.port) as front, Nginx(tmp_path, 1, inside="return 401 'I got Authorization: $http_authorization';") as curious:
            for fields, user, env in PLACES.values():
                text = sink(**fields)
                good = script(text)
                fails = script(text.replace("return { v = row.v }", "return { v = row.v.x.y }"), "fails.lua")
                wrong = script(text.replace("index =", "indx ="), "wrong.lua")
                env = {name: value.replace("FOLDER", str(folder)) for name, value in env.items()}
                there, asked, away = ({"ELASTICSEARCH_URL": url, **env} for url in (front.url(user=user), curious.url(user=user), f"http://{user}127.0.0.1:1"))
                runs = [
                    ((good, *json_log), {**in_url, **there}, 0),
                    ((fails, *text_log), {**in_variable, **there}, 4),
                    ((good, *text_log), {**in_url, **asked}, 1),
                    ((good, *json_log), {**in_url, **there, "ELASTICSEARCH_CLIENT_KEY": str(folder / "elasticsearch_password")}, 2),
                    ((wrong, *text_log), {**in_url, **there}, 2),
                ]
                if user:
                    runs += [
                        ((good, *json_log, "--give-up-after", "1"), {**in_variable, **away}, 3),
                        ((good, "--dry-run", "--format", "bulk", "--verbose"), {**in_url, **there}, 0),
                        ((good, *text_log), {**in_variable, **there, "PGPASSWORD": SECRET + "2"}, 1),
                        ((good, *text_log), {**there, "DATABASE_URL": in_url["DATABASE_URL"] + "2"}, 1),
                        (("state", "show", good), {**in_url, **there}, 0),
                    ]
                for words, variables, status in runs:
                    results.append(ok(engine(*words, env=variables), status))
            assert any(" 200 " in line for line in front.requests()) and any(" 401 " in line for line in curious.requests())
    finally:
        pg.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert [result for result in results if told(result.stdout + result.stderr)] == []
    assert {path.name for path in work.iterdir()} == {"state", "state.lock", "state.rejected"}
    assert [path for path in work.iterdir() if told(path.read_text())] == []
