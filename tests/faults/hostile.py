"""Servers that answer nonsense: what a genuine one says, spoilt at random places.

    HostilePostgres(port, rng)   a proxy before PostgreSQL that changes, drops, adds and cuts its messages
    spoil_answer(rng, answer)    an HTTP answer of the search server, (status, headers, body), spoilt
"""
import gzip
import json
import struct

from proxy import Proxy

NONSENSE = [b"", b"x", b"t", b"-", b"0", b"99999999999999999999", b"-9223372036854775808", b"{", b"{{{{{{{{", b"}", b"[", b'"', b"\\x0",
            b"\\x", b"NaN", b"infinity", b"{1,2", b'{"a', b"{\\", b'{"a\\', b"[0:1]={", b"[", b"{NULL}", b"\xff\xfe", b"\xc3", b"2020-01-02",
            b"2020-01-02 03:04:05", b"294276-12-31 23:59:59.999999+00", b"4714-11-24 00:00:00+00 BC", b"1e999999", b"x" * 100_000]

STRAY = [b"I" + struct.pack("!i", 4), b"s" + struct.pack("!i", 4), b"n" + struct.pack("!i", 4), b"1" + struct.pack("!i", 4),
         b"2" + struct.pack("!i", 4), b"3" + struct.pack("!i", 4), b"c" + struct.pack("!i", 4), b"Z" + struct.pack("!i", 5) + b"I",
         b"Z" + struct.pack("!i", 5) + b"E", b"Z" + struct.pack("!i", 5) + b"T", b"C" + struct.pack("!i", 13) + b"SELECT 0\0",
         b"C" + struct.pack("!i", 4), b"G" + struct.pack("!ibh", 7, 0, 0), b"H" + struct.pack("!ibh", 7, 0, 0),
         b"W" + struct.pack("!ibh", 7, 0, 0), b"E" + struct.pack("!i", 5) + b"\0", b"E" + struct.pack("!i", 4),
         b"E" + struct.pack("!i", 11) + b"C0800\0\0", b"E" + struct.pack("!i", 12) + b"C40001\0\0", b"E" + struct.pack("!i", 13) + b"Mx\0P-9\0\0" + b"\0",
         b"N" + struct.pack("!i", 5) + b"\0", b"A" + struct.pack("!ii", 10, 1) + b"\0\0", b"S" + struct.pack("!i", 6) + b"\0\0",
         b"S" + struct.pack("!i", 24) + b"server_version\0x.y\0\0", b"S" + struct.pack("!i", 24) + b"client_encoding\0SJI\0",
         b"T" + struct.pack("!ih", 6, 0), b"T" + struct.pack("!ih", 6, 3), b"T" + struct.pack("!ih", 6, -1), b"D" + struct.pack("!ih", 6, 0),
         b"D" + struct.pack("!ih", 6, -1), b"D" + struct.pack("!ihi", 10, 1, 0x7FFFFFFF), b"D" + struct.pack("!ihi", 10, 1, -1),
         b"t" + struct.pack("!ih", 6, -1), b"t" + struct.pack("!ih", 6, 7), b"t" + struct.pack("!ihi", 10, 1, 25), b"R" + struct.pack("!ii", 8, 3),
         b"v" + struct.pack("!iii", 12, 0, 0), b"\0" * 5, b"?" + struct.pack("!i", 4)]


def message(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body


def fields(body):
    """The values of a DataRow; None is NULL."""
    (n,), at, values = struct.unpack_from("!h", body), 2, []
    for _ in range(n):
        (size,) = struct.unpack_from("!i", body, at)
        values.append(None if size < 0 else body[at + 4 : at + 4 + size])
        at += 4 + max(size, 0)
    return values


def data_row(values):
    packed = [struct.pack("!i", -1) if v is None else struct.pack("!i", len(v)) + v for v in values]
    return message(b"D", struct.pack("!h", len(values)) + b"".join(packed))


def columns(body):
    """The columns of a RowDescription: [(name, the rest of 18 bytes)]."""
    (n,), at, found = struct.unpack_from("!h", body), 2, []
    for _ in range(n):
        end = body.index(b"\0", at)
        found.append((body[at:end], body[end + 1 : end + 19]))
        at = end + 19
    return found


def row_description(found):
    return message(b"T", struct.pack("!h", len(found)) + b"".join(name + b"\0" + rest for name, rest in found))


class Result:
    """One result, spoilt as a whole, so that libpq has nothing to object to: each message is what it says."""

    def __init__(self, rng):
        self._rng = rng
        self._how = rng.choice(["fewer", "more", "none", "nulls", "nonsense", "types", "names", "twice", "rowless"])

    def pass_on(self, kind, body):
        rng, how = self._rng, self._how
        if kind == b"T":
            found = columns(body)
            if how == "fewer":
                found = found[:-1]
            elif how == "more":
                found += found[-1:]
            elif how == "none":
                found = []
            elif how == "types":
                oids = [16, 17, 20, 23, 25, 114, 701, 1082, 1184, 1700, 1007, 1009, 0, 0xFFFFFFFF]
                found = [(name, rest[:6] + struct.pack("!I", rng.choice(oids)) + rest[10:]) for name, rest in found]
            elif how == "names":
                found = [(rng.choice([b"", b"id", b"\xff", b"x" * 3000, name]), rest) for name, rest in found]
            return row_description(found)
        values = fields(body)
        if how == "fewer":
            values = values[:-1]
        elif how == "more":
            values += values[-1:]
        elif how == "none":
            values = []
        elif how == "nulls":
            values = [None if rng.random() < 0.7 else v for v in values]
        elif how == "nonsense":
            values = [rng.choice(NONSENSE) if rng.random() < 0.7 else v for v in values]
        elif how == "rowless":
            return b""
        return data_row(values) * (2 if how == "twice" else 1)


class HostilePostgres(Proxy):
    """Each connection has its own dose: from the first message on, or once it is at work; rarely or often."""

    def __init__(self, target_port, rng):
        self._rng = rng
        super().__init__(target_port)

    def _pump(self, pair, source, sink, direction):
        if direction == "up":
            super()._pump(pair, source, sink, direction)
            return
        rate, early, result = self._rng.choice([0.003, 0.02, 0.1]), self._rng.random() < 0.1, None
        ready = False
        try:
            with source.makefile("rb") as stream:
                while head := stream.read(5):
                    kind, body = head[:1], stream.read(struct.unpack("!i", head[1:])[0] - 4)
                    out = head + body
                    if kind in b"TD" and ready:
                        if kind == b"T":
                            result = Result(self._rng) if self._rng.random() < rate * 5 else None
                        out = result.pass_on(kind, body) if result else out
                    if (ready or early) and self._rng.random() < rate:
                        out = self._spoil(out)
                    ready = ready or kind == b"Z"
                    if out is None:
                        break
                    sink.sendall(out)
        except (OSError, ValueError):
            pass
        self._end(pair)

    def _spoil(self, out):
        """None: the connection ends here."""
        rng = self._rng
        how = rng.randrange(8)
        if how == 0 and len(out) > 5:
            at = rng.randrange(5, len(out))
            return out[:at] + bytes([rng.randrange(256)]) + out[at + 1 :]
        if how == 1:
            return bytes([rng.choice(b"CDEGHIKNRSTWZcnst123")]) + out[1:]
        if how == 2:
            return b""
        if how == 3:
            return out + out
        if how == 4:
            return out[:1] + struct.pack("!i", rng.choice([-1, 0, 3, 4, len(out) + 1, 30001, 0x7FFFFFFF])) + out[5:]
        if how == 5:
            return None
        return rng.choice(STRAY) + out if how == 6 else rng.choice(STRAY)


# The search server

VALUES = [None, True, False, -1, 0, 1.5, 1e308, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, "", "x", "1", "-1", "\u0000", "я" * 5000,
          [], {}, [[]], [{}], {"": {}}, [None], ["x"] * 1000]
PAGES = [b"", b"null", b"[]", b"{}", b"0", b'"x"', b"<html></html>", b"{", b'{"', b'{"a":', b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"\0" * 100,
         b'{"items":[', b"1e400", b"-", b'"\\ud800"']
BOMB = gzip.compress(b" " * (64 << 20))  # 64 KB that become 64 MB


def _places(value, found):
    """Every place in a decoded JSON text: (container, key)."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found.append((value, key))
        _places(inner, found)
    return found


def _spoil_json(rng, body):
    try:
        value = json.loads(body)
    except ValueError:
        return body
    for _ in range(rng.choice([1, 1, 2, 5])):
        places = _places(value, [])
        if not places:
            return json.dumps(rng.choice(VALUES)).encode()
        container, key = rng.choice(places)
        how = rng.randrange(4)
        if how == 0:
            del container[key]
        elif how == 1 and isinstance(container, list):
            container.insert(key, container[key])
        elif how == 2 and isinstance(container, dict):
            container[rng.choice(["", "x", "error", "items", "hits", "_id", "status"])] = container.pop(key)
        else:
            container[key] = rng.choice(VALUES)
    return json.dumps(value).encode()


def spoil_answer(rng, answer):
    status, headers, body = answer
    how = rng.randrange(10)
    if how < 5:
        return status, headers, _spoil_json(rng, body)
    if how == 5:
        return rng.choice([200, 201, 204, 301, 304, 400, 401, 403, 404, 409, 413, 418, 429, 500, 503, 599]), headers, body
    if how == 6 and body:
        at = rng.randrange(len(body))
        return status, headers, body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :]
    if how == 7 and body:
        return status, headers, body[: rng.randrange(len(body))]
    if how == 8:
        return status, {**headers, "Content-Encoding": "gzip"}, rng.choice([BOMB, BOMB[:5000], body, b"\x1f\x8b\x08"])
    return rng.choice([200, status]), headers, rng.choice(PAGES)
