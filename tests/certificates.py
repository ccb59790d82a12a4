"""Certificates for the tests, made by openssl when they are needed."""
import datetime
import os
import subprocess


def openssl(*words):
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"openssl {' '.join(words)}\n{done.stderr}"
    return done.stdout


def moment(days):
    """So many days from now, as openssl wants it."""
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days)).strftime("%Y%m%d%H%M%SZ")


class Authority:
    """A certificate authority of our own, in a folder."""

    def __init__(self, folder, name="authority"):
        self.folder = str(folder)
        self.name = name
        self.cert = self.path(".pem")
        self.key = self.path(".key")
        words = ["req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-out", self.cert, "-keyout", self.key]
        openssl(*words, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")

    def path(self, suffix):
        return os.path.join(self.folder, self.name + suffix)

    def records(self):
        """What `openssl ca` wants to have: its settings, and a list of what it has issued."""
        issued, settings = self.path(".issued"), self.path(".settings")
        with open(issued, "a", encoding="utf-8"), open(settings, "w", encoding="utf-8") as f:
            f.write(f"[ca]\ndefault_ca=own\n[own]\ncertificate={self.cert}\nprivate_key={self.key}\ndatabase={issued}\n")
            f.write(f"new_certs_dir={self.folder}\nrand_serial=yes\nunique_subject=no\ndefault_md=sha256\npolicy=any\n")
            f.write("[any]\ncommonName=supplied\n")
        return settings

    def fingerprint(self):
        return openssl("x509", "-in", self.cert, "-noout", "-fingerprint", "-sha256").split("=")[1].strip()

    def issue(self, name, hosts="DNS:localhost,IP:127.0.0.1", days=2):
        """(certificate, key) for a name; days -1: it has expired. The certificate's file holds the authority's, too."""
        cert, key, request = (self.path(f"-{name}{suffix}") for suffix in (".pem", ".key", ".csr"))
        extensions = self.path(f"-{name}.ext")
        with open(extensions, "w", encoding="utf-8") as f:
            f.write(f"subjectAltName={hosts}\nbasicConstraints=CA:FALSE\n")
        words = ["req", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request]
        openssl(*words, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
        # `openssl x509` would be shorter, but no longer takes a number of days below 0.
        words = ["ca", "-batch", "-notext", "-config", self.records(), "-extfile", extensions, "-in", request, "-out", cert]
        openssl(*words, "-startdate", moment(min(days, 0) - 1), "-enddate", moment(days))
        with open(cert, "a", encoding="utf-8") as f, open(self.cert, encoding="utf-8") as own:
            f.write(own.read())
        os.chmod(key, 0o600)
        return cert, key
