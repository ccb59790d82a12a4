"""Certificates for the tests, made by openssl when they are needed."""
import os
import subprocess


def openssl(*words):
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"openssl {' '.join(words)}\n{done.stderr}"
    return done.stdout


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
        words = ["x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial"]
        openssl(*words, "-days", str(days), "-extfile", extensions, "-out", cert)
        with open(cert, "a", encoding="utf-8") as f, open(self.cert, encoding="utf-8") as own:
            f.write(own.read())
        os.chmod(key, 0o600)
        return cert, key
