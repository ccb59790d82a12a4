"""The servers that ask who is there: TLS, users, roles. In a test module:

    pytest_plugins = ["secured"]

    secured     one of them, without indexes and without users of the test's own; the test runs once on each, or on
                those alone that ETL_SEARCH names
                secured.request("GET", "films", user=(name, password))    as that user; without user, the administrator;
                secured.request("GET", "films", user=None)                without credentials; header="ApiKey ...": with these
                secured.env(user=(name, password))                        the engine's variables

A server runs while the tests of one module need it.
"""
import base64
import os
import ssl

import pytest

import services as private
from conftest import SearchServer

NAMES = ("opensearch-secured", "elasticsearch8-secured", "elasticsearch9-secured")
if os.environ.get("ETL_SEARCH"):
    NAMES = tuple(server.name for server in private.SEARCH if server.name in NAMES)
ADMIN = object()


class SecuredServer(SearchServer):
    def __init__(self, server):
        super().__init__(server)
        known = private.vendor(server.name)
        self.ca, self.admin, self.client_certificate = known.ca, known.admin, known.client_certificate
        self.is_opensearch = server.name.startswith("opensearch")
        self.shown = None  # the certificate and the key that our own requests show
        self._made = []  # paths

    def access(self, user=ADMIN, header=None):
        context = ssl.create_default_context(cafile=self.ca)
        if self.shown:
            context.load_cert_chain(*self.shown)
        user = self.admin if user is ADMIN else user
        if user and not header:
            header = "Basic " + base64.b64encode(":".join(user).encode()).decode()
        return {"Authorization": header} if header else {}, context

    def env(self, user=ADMIN):
        name, password = self.admin if user is ADMIN else user
        return {
            "ELASTICSEARCH_URL": self.url,
            "ELASTICSEARCH_CA": self.ca,
            "ELASTICSEARCH_USER": name,
            "ELASTICSEARCH_PASSWORD": password,
        }

    def add_user(self, name, password, privileges, cluster=()):
        """(name, password) of a user with these privileges, in the server's own words: {index: [privilege]}, and those on
        the cluster. Called again with the same name: he has these instead."""
        if self.is_opensearch:
            rules = [{"index_patterns": [index], "allowed_actions": words} for index, words in privileges.items()]
            self._make(f"_plugins/_security/api/roles/{name}", cluster_permissions=list(cluster), index_permissions=rules)
            self._make(f"_plugins/_security/api/internalusers/{name}", password=password, opendistro_security_roles=[name])
        else:
            rules = [{"names": [index], "privileges": words} for index, words in privileges.items()]
            self._make(f"_security/role/{name}", cluster=list(cluster), indices=rules)
            self._make(f"_security/user/{name}", password=password, roles=[name])
        return name, password

    def _make(self, path, **body):
        self.request("PUT", path, body)
        self._made.append(path)

    def forget(self):
        """Remove what add_user has made."""
        for path in set(self._made):
            self.request("DELETE", path)
        self._made.clear()


def lent(name):
    """What a fixture of one module yields: the server, which is stopped afterwards if it was not running before."""
    server = private.Server(name)
    if not server.usable():
        pytest.skip(f"{server.name} does not run on this machine")
    idle = not server.running()
    yield server
    if idle:
        server.down()


def clean(server):
    """The server, running and without indexes."""
    server.running() or server.up()
    search = SecuredServer(server)
    search.wipe()
    return search


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in NAMES])
def secured_server(request, machine):
    yield from lent(request.param)


@pytest.fixture
def secured(secured_server):
    search = clean(secured_server)
    yield search
    search.forget()


DEMANDING = """\
path.data: {}
xpack.security.http.ssl.client_authentication: required
xpack.security.http.ssl.certificate_authorities: [ca.pem]
xpack.security.authc.realms.pki.pki1.order: 2
"""


@pytest.fixture
def demanding(secured_server, tmp_path):
    """It requires a certificate of its clients, and would take its name for that of a user, if a licence lets it. With
    other data: a trial of that licence can be had once."""
    if secured_server.name.startswith("opensearch"):
        pytest.skip("it has certificates without this")
    folder = os.path.dirname(private.vendor(secured_server.name).ca)
    os.makedirs(folder, exist_ok=True)
    settings = os.path.join(folder, "elasticsearch.yml")
    with open(settings, "w", encoding="utf-8") as f:
        f.write(DEMANDING.format(tmp_path / "data"))
    try:
        secured_server.restart()
        search = SecuredServer(secured_server)
        search.shown = tuple(os.path.join(folder, name) for name in ("client.pem", "client.key"))
        yield search
    finally:
        os.unlink(settings)
        secured_server.down()
