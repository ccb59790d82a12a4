"""A running engine and what it serves (--listen)."""
import http.client
import json
import re
import socket


class Served:
    def __init__(self, running):
        self.running = running
        self.port = int(re.search(r"listening on http://\S+:(\d+)/", running.stderr).group(1))

    def get(self, path, method="GET", headers=None, body=None):
        """(status, headers, text)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, headers=headers or {}, body=body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def status(self):
        return json.loads(self.get("/status")[2])

    def pipeline(self, i=0):
        return self.status()["pipelines"][i]

    def is_ready(self):
        return self.get("/readyz")[0] == 200

    def connect(self, text=b""):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        s.sendall(text)
        return s

    def connections(self):
        """How many the server keeps."""
        with open("/proc/net/tcp", encoding="utf-8") as f:
            rows = [line.split() for line in f]
        return sum(row[1].endswith(f":{self.port:04X}") and row[3] in ("01", "08") for row in rows)

    def raw(self, text):
        """All that comes back for these bytes."""
        answer = b""
        with self.connect() as s:
            try:
                s.sendall(text)
            except (BrokenPipeError, ConnectionResetError):  # it wants no more of it
                pass
            try:
                while part := s.recv(65536):
                    answer += part
            except ConnectionResetError:  # it has not read all of it
                pass
        return answer
