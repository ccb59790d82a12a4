"""A TCP proxy between the engine and a server, to cut, stop, slow down or refuse their connections.

    with Proxy(pg.port) as proxy:
        engine.start("scripts/movies.lua", env={"DATABASE_URL": pg.url_at(proxy.port)})
        proxy.cut_after(100_000)      # in mid-answer
"""
import socket
import struct
import threading
import time


class Proxy:
    def __init__(self, target_port, target_host="127.0.0.1"):
        self.target = (target_host, target_port)
        self.accepted = 0  # connections so far
        self.down = 0  # bytes from the server to the client
        self.up = 0  # bytes from the client to the server
        self.cuts = 0  # how often cut_after() has struck
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._delay = 0.0
        self._limits = {}  # "down" or "up": bytes still let through until the cut
        self._pairs = set()
        self._listener = None
        self.port = 0
        self.accept()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def open(self):
        """How many connections are open now."""
        with self._lock:
            return len(self._pairs)

    # What can be done to connections.

    def cut(self):
        """Reset all open connections; new ones are accepted."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for sock in pair:
                _reset(sock)

    def cut_after(self, nbytes, direction="down"):
        """Pass on nbytes more in that direction ("down": answers, "up": requests), then reset the connection that
        carried the last one. Once."""
        with self._lock:
            self._limits[direction] = nbytes

    def pause(self):
        """Connections stay and are accepted, but no byte passes."""
        self._flowing.clear()

    def resume(self):
        self._flowing.set()

    def delay(self, seconds):
        """Hold every piece of data for so long; 0 ends that."""
        self._delay = seconds

    def refuse(self):
        """Refuse new connections and reset the open ones."""
        listener, self._listener = self._listener, None
        if listener:
            try:
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            except OSError:
                pass
            listener.close()
        self.cut()

    def accept(self):
        """Accept connections (again), on the same port."""
        if self._listener:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def close(self):
        self.refuse()
        self.resume()

    # How it works: two threads for each connection.

    def _serve(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, timeout=10)
                server.settimeout(None)
            except OSError:
                _reset(client)
                continue
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = (client, server)
            with self._lock:
                self.accepted += 1
                self._pairs.add(pair)
            threading.Thread(target=self._pump, args=(pair, server, client, "down"), daemon=True).start()
            threading.Thread(target=self._pump, args=(pair, client, server, "up"), daemon=True).start()

    def _pump(self, pair, source, sink, direction):
        try:
            while True:
                data = source.recv(65536)
                self._flowing.wait()
                if self._delay:
                    time.sleep(self._delay)  # the very purpose, not a wait for something
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    break
                allowed, cut = self._count(direction, len(data))
                sink.sendall(data[:allowed])
                if cut:
                    self._end(pair)
                    return
        except OSError:
            self._end(pair)
            return
        if direction == "down":  # the server has closed: so do we
            self._end(pair, gently=True)

    def _count(self, direction, size):
        """How many of these bytes may pass, and whether the connection ends after them."""
        with self._lock:
            setattr(self, direction, getattr(self, direction) + size)
            left = self._limits.get(direction)
            if left is None or size < left:
                if left is not None:
                    self._limits[direction] = left - size
                return size, False
            del self._limits[direction]
            self.cuts += 1
            return left, True

    def _end(self, pair, gently=False):
        with self._lock:
            known = pair in self._pairs
            self._pairs.discard(pair)
        if known:
            for sock in pair:
                if gently:
                    sock.close()
                else:
                    _reset(sock)


def _reset(sock):
    """Close with RST rather than FIN: what a crashed host or a firewall does."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
    except OSError:
        pass
    sock.close()
