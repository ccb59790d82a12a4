"""Elasticsearch 8 and 9. Maven has the node's jars and modules for HTTP and security; what it lacks is in java/."""
import glob
import hashlib
import os
import re
import shutil
import subprocess
import zipfile

from servers import maven
from servers.base import Failed, Service
from servers.search import Jvm

JAVA = os.path.join(os.path.dirname(__file__), "java")
PLUGIN = "org.elasticsearch.plugin:"
DESCRIPTOR = "description=own\nversion={0}\nname=own\njava.version=17\nelasticsearch.version={0}\nclassname=etl.Own\n"


def artifact(path):
    """lucene-core of .../lucene-core-9.12.0.jar"""
    return re.sub(r"-[0-9].*", "", os.path.basename(path))


def sources():
    """Tells what was compiled from something older: it is made again."""
    sums = hashlib.sha256()
    for path in sorted(glob.glob(JAVA + "/**/*.java", recursive=True)):
        with open(path, "rb") as f:
            sums.update(f.read())
    return sums.hexdigest()[:8]


class Elastic(Jvm):
    modules = ("transport-netty4",)

    def __init__(self, name, settings, version, java):
        super().__init__(name, settings, java)
        self.version = version

    def usable(self):
        why = super().usable()
        if not why and not os.access(self.javac(), os.X_OK):
            why = f"{self.java()} is without a compiler (hint: vendor/install matrix)"
        return why

    def javac(self):
        return os.path.join(os.path.dirname(self.java()), "javac")

    def make(self, folder):
        """lib/, modules/ and classes/ in the folder."""
        lib = os.path.join(folder, "lib")
        maven.fetch(lib, f"org.elasticsearch:elasticsearch:{self.version}")
        have = {artifact(path) for path in glob.glob(lib + "/*")}
        for module in self.modules:
            self.add_module(os.path.join(folder, "modules", module), module, have)
        self.compile(folder, os.path.join(folder, "classes"), "Launch.java")
        own = os.path.join(folder, "modules", "own")
        parts = "Root.java", "Analysis.java", os.path.join(self.version.split(".")[0], "Own.java")
        self.compile(folder, os.path.join(folder, "own"), *parts)
        os.makedirs(own)
        shutil.make_archive(os.path.join(own, "own"), "zip", os.path.join(folder, "own"))
        os.rename(os.path.join(own, "own.zip"), os.path.join(own, "own.jar"))
        with open(os.path.join(own, "plugin-descriptor.properties"), "w", encoding="utf-8") as f:
            f.write(DESCRIPTOR.format(self.version))

    def add_module(self, folder, module, have):
        """What the node has already may not come twice."""
        maven.fetch(folder, f"{PLUGIN}{module}:{self.version}")
        for path in glob.glob(folder + "/*.jar"):
            if artifact(path) in have:
                os.unlink(path)
        inside = f"META-INF/es-plugins/{module}/"
        with zipfile.ZipFile(os.path.join(folder, f"{module}-{self.version}.jar")) as jar:
            for name in jar.namelist():
                if name.startswith(inside) and not name.endswith("/"):
                    with open(os.path.join(folder, os.path.basename(name)), "wb") as f:
                        f.write(jar.read(name))
        path = os.path.join(folder, "plugin-descriptor.properties")
        with open(path, encoding="utf-8") as f:
            lines = [line for line in f if not line.startswith("modulename=")]  # all is on the class path
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(lines)

    def compile(self, folder, to, *sources):
        words = [self.javac(), "-cp", os.path.join(folder, "lib", "*"), "-d", to]
        done = subprocess.run(words + [os.path.join(JAVA, s) for s in sources], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"javac could not compile {sources[-1]}:\n    " + "\n    ".join(done.stderr.splitlines()[:5]))

    def prepare(self):
        self.jars = maven.kept(f"{self.name}-{sources()}", self.make)
        os.makedirs(os.path.join(self.dir, "config"), exist_ok=True)
        modules = os.path.join(self.dir, "modules")
        if os.path.islink(modules):
            os.unlink(modules)
        os.symlink(os.path.join(self.jars, "modules"), modules)
        with open(os.path.join(self.dir, "config", "log4j2.properties"), "w", encoding="utf-8") as f:
            f.write(self.console_log())

    def node_settings(self):
        transport = self.settings.new_port(self.name + "_transport", Service.low, Service.high)
        return {
            "cluster.name": self.tag,
            "discovery.type": "single-node",
            "http.host": "127.0.0.1",
            "http.port": self.port,
            "transport.host": "127.0.0.1",
            "transport.port": transport,
            "cluster.routing.allocation.disk.threshold_enabled": "false",
        }

    def command(self):
        words = self.jvm_words() + ["-cp", f"{self.jars}/lib/*:{self.jars}/classes", "Launch", self.dir]
        return words + [f"{key}={value}" for key, value in self.node_settings().items()]
