"""Elasticsearch 8 and 9. Maven has the node's jars and modules for HTTP and security; what it lacks is in java/."""
import os
import shutil
import zipfile

from servers import jvm, maven
from servers.base import Service
from servers.search import Jvm, link

PLUGIN = "org.elasticsearch.plugin:"
DESCRIPTOR = "description=own\nversion={0}\nname=own\njava.version=17\nelasticsearch.version={0}\nclassname=etl.Own\n"


class Elastic(Jvm):
    modules = ("transport-netty4",)
    without = ()  # what the modules would have, and Maven does not

    def __init__(self, name, settings, version, java):
        super().__init__(name, settings, java)
        self.version = version

    def make(self, folder):
        """lib/, modules/ and classes/ in the folder."""
        lib = os.path.join(folder, "lib")
        maven.fetch(lib, f"org.elasticsearch:elasticsearch:{self.version}")
        for module in self.modules:
            self.add_module(os.path.join(folder, "modules", module), module, lib)
        jvm.compile_for(self.min_java, lib, os.path.join(folder, "classes"), "Launch.java")
        own = os.path.join(folder, "modules", "own")
        parts = "Root.java", "Analysis.java", "Ingest.java", os.path.join(self.version.split(".")[0], "Own.java")
        jvm.compile_for(self.min_java, lib, os.path.join(folder, "own"), *parts)
        os.makedirs(own)
        shutil.make_archive(os.path.join(own, "own"), "zip", os.path.join(folder, "own"))
        os.rename(os.path.join(own, "own.zip"), os.path.join(own, "own.jar"))
        with open(os.path.join(own, "plugin-descriptor.properties"), "w", encoding="utf-8") as f:
            f.write(DESCRIPTOR.format(self.version))

    def add_module(self, folder, module, lib):
        maven.fetch(folder, f"{PLUGIN}{module}:{self.version}", without=self.without)
        maven.drop_twice(folder, lib)
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

    def config_folder(self):
        return os.path.join(self.dir, "config")

    def prepare(self):
        self.jars = maven.kept(f"{self.name}-{jvm.sources()}", self.make)
        os.makedirs(self.config_folder(), exist_ok=True)
        link(os.path.join(self.jars, "modules"), os.path.join(self.dir, "modules"))
        with open(os.path.join(self.config_folder(), "log4j2.properties"), "w", encoding="utf-8") as f:
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
