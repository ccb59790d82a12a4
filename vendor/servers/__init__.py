"""The private servers of vendor/services: what each kind is, and the table that says which there are."""
import os

from servers.base import Settings
from servers.elastic import Elastic
from servers.patroni import Etcd, Patroni
from servers.postgres import Postgres
from servers.search import Node, Search
from servers.secured import SecuredElastic, SecuredSearch
from servers.standby import Standby

KINDS = {
    "postgres": Postgres,
    "search": Search,
    "node": Node,
    "elastic": Elastic,
    "standby": Standby,
    "etcd": Etcd,
    "patroni": Patroni,
    "secured-search": SecuredSearch,
    "secured-elastic": SecuredElastic,
}


def rows():
    with open(os.path.join(os.path.dirname(__file__), "table"), encoding="utf-8") as f:
        for line in f:
            words = line.split()
            if words and not line.startswith("#"):
                by_name = words[1] == "*"
                yield words[0], by_name, *words[1 + by_name:]


def services():
    """All of them, by their names."""
    settings, found = Settings(), {}
    for name, by_name, kind, *words in rows():
        words = [found.get(word, word) for word in words if word != "-"]  # one may name another server
        found[name] = KINDS[kind](name, settings, *words)
        found[name].only_by_name = by_name
    return found
