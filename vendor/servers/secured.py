"""Servers that ask who is there: TLS, users, roles. Certificates are made at the first start, in the server's folder."""
import base64
import glob
import os
import shutil
import ssl
import subprocess

from servers import jvm, maven
from servers.base import Failed
from servers.elastic import Elastic
from servers.search import Search, link

SECURITY = "org.opensearch.plugin:opensearch-security:2.19.4.0:zip"
SAML = "org.elasticsearch.plugin:es-opensaml-security-api:8.19.21"
# Maven lacks these: SAML's own, of which those that OpenSearch's plugin brings take the place, and templates.
LACKING = (
    "org.opensaml:*",
    "net.shibboleth.utilities:*",
    "org.elasticsearch.plugin:es-opensaml-security-api",
    "org.elasticsearch.plugin:x-pack-template-resources",
)
# What OpenSearch's runner brings in another version than the plugin wants.
PARTS = """aggs-matrix-stats-client analysis-common geo ingest-common ingest-user-agent lang-expression lang-mustache-client
lang-painless mapper-extras-client opensearch-scripting-painless-spi parent-join-client percolator-client rank-eval-client
reindex-client repository-url transport-netty4-client""".split()
PASSWORD = "$2a$04$etlengineetlengineetleupMnz65.meqZeZg5JnL2lE0Yz8/g1MG"  # "admin", by bcrypt

OPENSEARCH = """\
plugins.security.ssl.transport.pemcert_filepath: node.pem
plugins.security.ssl.transport.pemkey_filepath: node.key
plugins.security.ssl.transport.pemtrustedcas_filepath: ca.pem
plugins.security.ssl.transport.enforce_hostname_verification: false
plugins.security.ssl.http.enabled: true
plugins.security.ssl.http.pemcert_filepath: node.pem
plugins.security.ssl.http.pemkey_filepath: node.key
plugins.security.ssl.http.pemtrustedcas_filepath: ca.pem
plugins.security.ssl.http.clientauth_mode: OPTIONAL
plugins.security.allow_default_init_securityindex: true
plugins.security.restapi.roles_enabled: [all_access]
plugins.security.authcz.admin_dn: ["CN=client"]
"""
ELASTICSEARCH = {
    "xpack.security.enabled": "true",
    "xpack.security.http.ssl.enabled": "true",
    "xpack.security.http.ssl.certificate": "node.pem",
    "xpack.security.http.ssl.key": "node.key",
    "xpack.security.authc.api_key.enabled": "true",
    "xpack.license.self_generated.type": "basic",
}


def openssl(folder, *words):
    try:
        done = subprocess.run(["openssl", *words], cwd=folder, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise Failed("no 'openssl' on this machine") from None
    if done.returncode != 0:
        raise Failed(f"openssl {words[0]} failed: {done.stderr.strip()}")


def make_certificates(folder):
    """ca.pem, and what it vouches for: NAME.pem and NAME.key, for the node and for a client."""
    if os.path.exists(os.path.join(folder, "client.pem")):
        return
    new = "-newkey", "rsa:2048", "-nodes"  # the key is PKCS #8, as both servers want it
    openssl(folder, "req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "3650", "-subj", "/CN=authority")
    with open(os.path.join(folder, "names"), "w", encoding="utf-8") as f:
        f.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in "node", "client":
        openssl(folder, "req", *new, "-keyout", name + ".key", "-out", name + ".csr", "-subj", "/CN=" + name)
        words = "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3650", "-extfile", "names"
        openssl(folder, "x509", "-req", "-in", name + ".csr", "-out", name + ".pem", *words)


class Secured:
    """What a client needs to know. The certificates lie in the folder of the settings."""

    variable = None  # a URL alone does not lead in
    admin = "admin", "admin"
    client_certificate = None

    def certificate(self, name):
        return os.path.join(self.config_folder(), name)

    @property
    def ca(self):
        return self.certificate("ca.pem")

    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def shown_url(self):
        return f"{self.url()} (user {':'.join(self.admin)}, CA {self.ca})"

    def access(self):
        user = base64.b64encode(":".join(self.admin).encode()).decode()
        return {"Authorization": "Basic " + user}, ssl.create_default_context(cafile=self.ca)


class SecuredSearch(Secured, Search):
    """OpenSearch with its security plugin, and with the role that ingest pipelines need."""

    def __init__(self, name, settings, coordinate, java, version):
        super().__init__(name, settings, coordinate, java)
        self.version = version
        self.kept_as = f"{name}-{jvm.sources()}"

    @property
    def client_certificate(self):
        """It makes its owner an administrator."""
        return self.certificate("client.pem"), self.certificate("client.key")

    def make(self, folder):
        parts = [f"org.opensearch.plugin:{part}:{self.version}" for part in PARTS]
        maven.fetch(folder, f"org.opensearch:opensearch:{self.version}", *parts, self.coordinate)
        jvm.compile_for(self.min_java, folder, os.path.join(folder, "classes"), "Run.java")
        plugin = os.path.join(folder, "plugin")
        maven.unpack(plugin, SECURITY)
        maven.drop_twice(plugin, folder)

    def prepare(self):
        super().prepare()
        make_certificates(self.config_folder())
        plugin, plugins = os.path.join(self.jars, "plugin"), os.path.join(self.dir, "node_1", "plugins")
        os.makedirs(plugins, exist_ok=True)
        link(plugin, os.path.join(plugins, "opensearch-security"))
        shutil.copytree(plugin + "/config", os.path.join(self.config_folder(), "opensearch-security"), dirs_exist_ok=True)

    def settings_text(self):
        return super().settings_text() + OPENSEARCH

    def main_words(self):
        return ["-cp", f"{self.jars}/*:{self.jars}/classes", "-Detl.node.roles=cluster_manager,data,ingest", "Run"]


def is_saml(name):
    return name.startswith(("opensaml-", "java-support-")) and "security-api" not in name


class SecuredElastic(Secured, Elastic):
    """Elasticsearch with a superuser in the file realm; others are made by its API."""

    modules = Elastic.modules + ("x-pack-core", "x-pack-security")
    without = LACKING

    def make(self, folder):
        super().make(folder)
        security = os.path.join(folder, "modules", "x-pack-security")
        maven.drop_twice(security, os.path.join(folder, "modules", "x-pack-core"))
        maven.fetch(security, SAML, without=maven.ALONE)
        for path in glob.glob(security + "/jcip-annotations-1.0.jar") + glob.glob(security + "/jakarta.activation-api*"):
            os.unlink(path)
        maven.unpack(security, SECURITY, is_saml)

    def prepare(self):
        super().prepare()
        make_certificates(self.config_folder())
        for name, text in ("users", "admin:" + PASSWORD), ("users_roles", "superuser:admin"), ("roles.yml", ""):
            with open(self.certificate(name), "w", encoding="utf-8") as f:
                f.write(text + "\n")

    def node_settings(self):
        return {**super().node_settings(), **ELASTICSEARCH}

    def access(self):
        """With a certificate, since a test may let it require one (in config/elasticsearch.yml)."""
        headers, context = super().access()
        context.load_cert_chain(self.certificate("client.pem"), self.certificate("client.key"))
        return headers, context
