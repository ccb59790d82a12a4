"""An index, as the bench looks at it: by one connection, and by conditions."""
import http.client
import json
import time
import urllib.parse

from basis import SEARCH


class NotInTime(Exception):
    """A condition did not become true; its text is what was waited for."""


class Index:
    """`alive`, if any, is called while it waits: it raises if there is nothing more to wait for."""

    def __init__(self, name, limit=3600, alive=lambda: None):
        self.name, self.limit, self.alive = name, limit, alive
        self.connection = http.client.HTTPConnection("127.0.0.1", SEARCH.port, timeout=120)

    def ask(self, method, path, body=None):
        headers = {"Content-Type": "application/json"}
        self.connection.request(method, f"/{self.name}{path}", body and json.dumps(body), headers)
        answer = self.connection.getresponse()
        return json.loads(answer.read() or "{}")

    def delete(self):
        self.ask("DELETE", "")

    def count(self, query="*"):
        """Documents that a search finds: 0 of an index that is not there."""
        self.ask("POST", "/_refresh")
        return self.ask("GET", f"/_count?q={urllib.parse.quote(query)}").get("count", 0)

    def written(self):
        """How many times a document was written, which needs no refresh."""
        total = self.ask("GET", "/_stats/indexing").get("_all", {}).get("primaries", {}).get("indexing", {})
        return total.get("index_total", 0)

    def wait_for_text(self, key, text):
        """Until a document's source contains it. Documents are asked for by key, which finds them before a refresh.
        The moment; it is seen within 1 part in 50 of the time that it took, or within half a millisecond."""
        began = time.monotonic()
        while text not in json.dumps(self.ask("GET", f"/_doc/{key}").get("_source", "")):
            self.rest(began, 0.0005, f"the change of document {key}")
        return time.monotonic()

    def wait_for_count(self, query, goal, written):
        """Until a search finds so many; it does not ask before so many were written, as that refreshes the index."""
        began, asked = time.monotonic(), time.monotonic()
        while True:
            now = time.monotonic()
            if self.written() >= written or now > asked + 5:
                if self.count(query) >= goal:
                    return now
                asked = now
            self.rest(began, 0.005, f"{goal} documents with {query}")

    def in_time(self, began, what):
        """The seconds since then; raises if they are too many."""
        waited = time.monotonic() - began
        if waited > self.limit:
            raise NotInTime(f"the index '{self.name}' did not have {what} within {self.limit} s")
        return waited

    def rest(self, began, least, what):
        waited = self.in_time(began, what)
        self.alive()
        time.sleep(min(0.1, max(least, waited / 50)))
