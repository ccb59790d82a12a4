"""Every PostgreSQL type as a value of a document, and as its _id: what a dry run prints and what the search server gives
back are compared with what PostgreSQL itself prints. Numbers are compared as exact decimals, never through floats."""
import base64
import json
import re
import struct
import urllib.request
from decimal import Decimal

import pytest

from pipelines import lua

SCRIPT = """
local etl = require "etl"
return {
  name   = "values",
  source = { url = os.getenv "DATABASE_URL", table = "t", key = "id", query = [[%s]] },
  sink   = { url = os.getenv "ELASTICSEARCH_URL", index = "values", mappings = { enabled = false } }, -- _source alone, whatever is in it
  state  = os.getenv "FILE_PATH_STATE",
  document = function(row)
    %s
  end,
}
"""


class Number:
    """A JSON number as it is written; equal where value and sign are."""

    def __init__(self, text):
        self.text = text
        self.value = Decimal(text)

    def __eq__(self, other):
        return (
            isinstance(other, Number)
            and self.value == other.value
            and self.value.is_signed() == other.value.is_signed()
        )

    def __repr__(self):
        return self.text


def exact(text):
    """JSON, with its numbers as Number; of names that are repeated the last one counts."""
    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=lambda name: pytest.fail(name))


def written(text):
    """JSON, with numbers as they are written: to see that they travel unchanged."""
    return json.loads(text, parse_int=lambda n: ("number", n), parse_float=lambda n: ("number", n))


@pytest.fixture
def write(script):
    """write(query, body) writes a script."""

    def write(query="SELECT * FROM t", body="return row"):
        return script(SCRIPT % (query, body))

    return write


def fill(pg, columns, key="int"):
    """Makes the table t: columns is {name: (type, [literal, ...])}; row n holds each column's n-th literal, or NULL."""
    names = list(columns)
    kinds = ", ".join(f"{name} {columns[name][0]}" for name in names)
    pg.execute(f"CREATE TABLE t (id {key} PRIMARY KEY, {kinds})")
    height = max(len(literals) for _, literals in columns.values())
    for row in range(height):
        cells = [literals[row] if row < len(literals) else None for _, literals in columns.values()]
        casts = ", ".join(f"%s::{columns[name][0]}" for name in names)
        pg.execute(f"INSERT INTO t VALUES ({row}, {casts})", cells)


def printed(pg, columns):
    """What PostgreSQL prints for t: {(name, row): text}, without NULLs."""
    found = {}
    for name in columns:
        for row, text in pg.query(f"SELECT id, format('%s', {name}) FROM t WHERE {name} IS DISTINCT FROM NULL"):
            found[name, row] = text
    return found


def as_json(pg, columns):
    """What to_jsonb makes of t: {(name, row): value}, without NULLs."""
    found = {}
    for name in columns:
        for row, text in pg.query(f"SELECT id, to_jsonb({name})::text FROM t WHERE {name} IS NOT NULL"):
            found[name, row] = exact(text)
    return found


def lines(result):
    """What splitlines() gives, but that it would split at U+2028 too."""
    return result.stdout.split("\n")[:-1]


def cells(result, decode=exact):
    """The documents that a dry run printed: {(name, row): value}."""
    assert result.returncode == 0, result
    found = {}
    for line in lines(result):
        fields = decode(line)
        row = fields.pop("id")
        row = int(row.text if isinstance(row, Number) else row[1])
        found.update({(name, row): value for name, value in fields.items()})
    return found


def get(search, path, body=None):
    """An answer's text: exact digits and all."""
    data = json.dumps(body).encode() if body else None
    headers, context = search.access()
    headers["Content-Type"] = "application/json"
    request = urllib.request.Request(f"{search.url}/{path}", data=data, headers=headers)
    with urllib.request.urlopen(request, context=context) as answer:
        return answer.read().decode()


FUNCTION = "document = function(row)\n    return row\n  end,"


def check_forms(engine, path, dry):
    """A template of every column, and a script without `document`, give the same bytes as the function."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if FUNCTION not in text:
        assert not re.search(r"document = function\(row\)\s*return row\s*end", text)  # the same, written in another way
        return
    names = sorted({name for line in lines(dry) for name in json.loads(line)})
    fields = ", ".join(f"[{lua(name)}] = {lua(name)}" for name in names)
    for number, form in enumerate(["", f"document = {{ {fields} }},"]):
        other = f"{path}.{number}.lua"
        with open(other, "w", encoding="utf-8") as f:
            f.write(text.replace(FUNCTION, form))
        done = engine(other, "--dry-run")
        assert done.returncode == 0 and done.stdout == dry.stdout, done


def check_index(engine, search, path):
    """Loads, and compares what the search server has with what the dry run prints."""
    dry = engine(path, "--dry-run")
    assert dry.returncode == 0, dry
    check_forms(engine, path, dry)
    docs = [written(line) for line in lines(dry)]
    ids = [str(doc["id"][1] if isinstance(doc["id"], tuple) else doc["id"]) for doc in docs]
    loaded = engine(path)
    assert loaded.returncode == 0, loaded
    stored = written(get(search, "values/_mget", {"ids": ids}))["docs"]
    assert [hit["_id"] for hit in stored] == ids
    assert [hit["_source"] for hit in stored] == docs
    return dry


# Numbers

DIGITS_40 = "1234567890123456789012345678901234567890"
NUMBERS = {
    "i2": ("int2", ["-32768", "32767", "0", "-1"]),
    "i4": ("int4", ["-2147483648", "2147483647", "0", "10"]),
    "i8": (
        "int8",
        ["-9223372036854775808", "9223372036854775807", "9007199254740993", "-9007199254740993", "1234567890123456"],
    ),
    "o": ("oid", ["0", "4294967295"]),
    "n": (
        "numeric",
        [
            DIGITS_40,
            "-" + DIGITS_40,
            f"0.{DIGITS_40}",
            f"{DIGITS_40}.{DIGITS_40}",
            "1e-30",
            "-1e-30",
            "0",
            "0.0",
            "0.000000",
            "-0.5",
            "1.10",
            "100",
            "100.00",
            "1e20",
            "1e40",
            "0.1",
            "0.3",
            "123456789012345",
            "12345678901234.5",
            "123456789012345.6",
            "0.123456789012345",
            "0.1234567890123456",
            "9007199254740993",
            "9007199254740993.0",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "9223372036854775807.5",
            "99999999999999.99",
            "1e308",
            "1.7976931348623157e308",
            "1.8e308",
            "1e400",
            "5e-324",
            "1e-400",
            "9" * 500 + "." + "9" * 499,
        ],
    ),
    "n2": ("numeric(12,2)", ["1.1", "-9999999999.99", "0", "0.005"]),
    "d": ("money_amount", ["0.01", "12345678901234567.89"]),
    "di": ("positive", ["1", "9223372036854775807"]),
    "dd": ("more_positive", ["10"]),
}


def test_whole_numbers_and_numerics_keep_every_digit(engine, pg, search, write, rng):
    pg.execute("CREATE DOMAIN money_amount AS numeric(30,2)")
    pg.execute("CREATE DOMAIN positive AS int8 CHECK (VALUE > 0)")
    pg.execute("CREATE DOMAIN more_positive AS positive CHECK (VALUE > 9)")
    random_ones = []
    for _ in range(200):
        digits = "".join(rng.choice("0123456789") for _ in range(rng.randrange(1, 30)))
        point = rng.randrange(len(digits) + 1)
        random_ones.append(f"{rng.choice(['', '-'])}{digits[:point] or '0'}.{digits[point:] or '0'}")
    columns = {**NUMBERS, "r": ("numeric", random_ones)}
    fill(pg, columns)
    got = cells(check_index(engine, search, write()))
    wanted = {place: Number(text) for place, text in printed(pg, columns).items()}
    assert got.keys() == wanted.keys()
    assert {place: got[place] for place in got if got[place] != wanted[place]} == {}
    for (name, row), number in got.items():  # an integer looks like one, for mappings of long
        if name in ("i2", "i4", "i8", "o", "di", "dd"):
            assert number.text == printed(pg, {name: None})[name, row]


def test_the_longest_numerics(engine, pg, search_one, write):
    """OpenSearch takes no number of more than 1,000 digits: an answer about that document, not about the request."""
    columns = {"v": ("numeric", ["1", "9" * 131072, "0." + "0" * 16382 + "1", "9" * 999])}
    fill(pg, columns)
    got = cells(engine(write(), "--dry-run"))
    assert got == {place: Number(text) for place, text in printed(pg, columns).items()}
    loaded = engine(write())
    assert loaded.returncode in (0, 4), loaded
    assert {"0", "3"} <= set(search_one.docs("values"))


FLOATS = [
    "0", "-0", "0.1", "-0.1", "0.3333333333333333", "1", "100", "1e15", "1e16", "1e22", "1e23", "123456789012345680",
    "9007199254740993", "1e308", "-1e308", "1.7976931348623157e308", "2.2250738585072014e-308",
    "2.225073858507201e-308", "5e-324", "-5e-324", "1e-5", "0.0001", "5.684341886080802e-14",
]  # fmt: skip


def test_floats_read_back_as_the_very_same(engine, pg, search, write, rng):
    eights, fours = list(FLOATS), ["0", "-0", "0.1", "16777217", "3.4028235e38", "1e-45", "1.1754944e-38"]
    eights += [repr(2.0**n) for n in range(-1074, 1024, 29)]
    while len(eights) < 400:
        x = struct.unpack("<d", rng.randbytes(8))[0]
        if x == x and abs(x) != float("inf"):
            eights.append(repr(x))
    eights += [repr(rng.randrange(10**6) / 10 ** rng.randrange(8)) for _ in range(200)]
    while len(fours) < 300:
        x = struct.unpack("<f", rng.randbytes(4))[0]
        if x == x and abs(x) != float("inf"):
            fours.append(repr(x))
    columns = {"f8": ("float8", eights), "f4": ("float4", fours), "r": ("real[]", ["{0.1,-0,NULL,1e-45}"])}
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, f8 float8, f4 float4, r real[])")
    connection = pg.connect(autocommit=True)
    with connection.cursor() as cursor:
        for row, f8 in enumerate(eights):
            cursor.execute("INSERT INTO t VALUES (%s, %s::float8, %s::float4)", (row, f8, (fours + [None] * 900)[row]))
    pg.execute("UPDATE t SET r = '{0.1,-0,NULL,1e-45}' WHERE id = 0; SET extra_float_digits = 3")
    shortest = pg.version() >= 120000  # before: as many digits as may be needed
    got = cells(check_index(engine, search, write()))
    tenth, least = ("0.1", "1e-45") if shortest else ("0.100000001", "1.40129846e-45")
    assert got.pop(("r", 0)) == [Number(tenth), Number("-0"), None, Number(least)]
    del columns["r"]
    wanted = printed(pg, columns)
    assert got.keys() == wanted.keys()
    for place, text in wanted.items():
        number = got[place]
        assert struct.pack("d", float(number.text)) == struct.pack("d", float(text)), (place, number, text)
        if place[0] == "f4":
            assert number == Number(text), place  # 0.1, not 0.10000000149011612
        elif shortest and struct.unpack("<Q", struct.pack("<d", float(text)))[0] << 12 & (1 << 64) - 1:
            # PostgreSQL itself writes 9.999999999999999e+22 for 1e23; a power of two may have a digit too many
            assert digits_of(number.text) == digits_of(repr(float(text))), (number, text)
        assert re.search("[.e]", number.text), number  # a float looks like one


def digits_of(text):
    return len(Decimal(text).normalize().as_tuple().digits)


@pytest.mark.parametrize("kind", ["float8", "float4", "numeric"])
def test_nan_and_infinities_are_an_error_for_their_key_alone(engine, pg, search_one, write, kind):
    if kind == "numeric":
        pg.needs(14, "infinite numeric")
    fill(pg, {"v": (kind, ["1.5", "NaN", "Infinity", "-Infinity", "2.5"])})
    path = write()
    dry = engine(path, "--dry-run")
    assert dry.returncode == 4
    assert [doc["v"] for doc in dry.docs] == [1.5, 2.5]
    for row, what in ((1, "NaN"), (2, "infinity"), (3, "infinity")):
        line = [line for line in dry.stderr.splitlines() if f"document '{row}' rejected" in line]
        assert len(line) == 1 and f"v: cannot encode {what}" in line[0], dry
    loaded = engine(path)
    assert loaded.returncode == 4
    assert sorted(search_one.docs("values")) == ["0", "4"]


def test_nan_within_an_array_is_named_by_its_place(engine, pg, write):
    fill(pg, {"v": ("float8[]", ["{1,NaN}", "{{1,2},{Infinity,3}}"])})
    dry = engine(write(), "--dry-run")
    assert dry.returncode == 4
    assert "v[2]: cannot encode NaN" in dry.stderr
    assert "v[2][1]: cannot encode infinity" in dry.stderr


# Texts, and what is printed as text

TEXTS = [
    "", " ", "plain", "it's", '"quoted"', "«ёлочки» “curly” ‘single’ „low“ `tick` ´acute´ ″prime″", "back\\slash",
    "".join(map(chr, range(1, 32))) + "\x7f", "\x80\x9f\xa0\u2028\u2029\ufeff\ufffe\uffff", "line\nbreak\r\nand\ttab",
    "emoji 🎬🏴\U000e0067\U000e0062\U000e007f 👩‍👩‍👧", "e\u0301 combining Z\u0351\u036b\u0343", "שלום عليكم \u202etxt.exe", "𝔘𝔫𝔦\U0010ffff",
    "Сталкер", "</script>&amp;%s%d%n", "{}[],:", "NULL", "null", "\\u0041 \\n", "x" * 1000 + "я" * 1000,
]  # fmt: skip


def text_columns(pg):
    pg.execute("CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy \"very\"', 'весёлый')")
    pg.execute("CREATE TYPE pair AS (n int, t text)")
    pg.execute("CREATE TYPE span AS RANGE (subtype = text)")
    pg.execute("CREATE DOMAIN email AS text CHECK (VALUE ~ '@')")
    extra = {}
    if pg.query("SELECT 1 FROM pg_available_extensions WHERE name = 'hstore'"):
        pg.execute("CREATE EXTENSION hstore")
        extra["hs"] = ("hstore", ['a=>1, "b c"=>"q\\"q", n=>NULL', ""])
    if pg.version() >= 120000:
        extra["jp"] = ("jsonpath", ['$.a[*]?(@ > 1)'])
    if pg.version() >= 140000:
        extra["mr"] = ("int4multirange", ["{[1,3),[5,9)}"])
    return {
        "t": ("text", TEXTS),
        "vc": ("varchar(10)", ["", "héllo", "trailing "]),
        "ch": ("char(5)", ["ab", "", "абвгд"]),
        "c": ('"char"', ["x", ""]),
        "na": ("name", ["pg_class"]),
        "u": ("uuid", ["BB86AD98-2023-B009-FE68-5460CAF72331"]),
        "e": ("mood", ["sad", "it's ok", 'happy "very"', "весёлый"]),
        "ip": ("inet", ["192.168.0.1/24", "::ffff:1.2.3.4", "2001:db8::/32"]),
        "ci": ("cidr", ["10.0.0.0/8"]),
        "mac": ("macaddr", ["08:00:2b:01:02:03"]),
        "iv": ("interval", ["1 year 2 mons -3 days 04:05:06.789", "00:00:00", "-1 day"]),
        "ir": ("int4range", ["[1,5)", "empty", "(,)"]),
        "tr": ("tstzrange", ["[2021-01-01 00:00:00+03,)"]),
        "sr": ("span", ['["a b","c,d")']),
        "p": ("pair", ['(1,"a ""b"" , c")', "(,)"]),
        "m": ("email", ["a@b"]),
        "x": ("xml", ["<a b=\"c\">\n  <d/> &amp; é</a>"]),
        "mo": ("money", ["-1234.56"]),
        "b": ("bit(5)", ["10101"]),
        "vb": ("varbit", ["", "1"]),
        "tm": ("time", ["04:05:06.789", "24:00:00"]),
        "tz": ("timetz", ["04:05:06+05:30"]),
        "pt": ("point", ["(1.5,-2)"]),
        "bx": ("box", ["(1,1),(0,0)"]),
        "pa": ("path", ["[(0,0),(1,1)]"]),
        "ts": ("tsvector", ["'a':1 'b c':2A"]),
        "tq": ("tsquery", ["'a' & !'b'"]),
        "rc": ("regclass", ["pg_class"]),
        "lsn": ("pg_lsn", ["16/B374D848"]),
        "iv2": ("int2vector", ["1 2 3"]),
        "ov": ("oidvector", ["1 2"]),
        **extra,
    }  # fmt: skip


def test_texts_and_all_other_types_are_what_postgresql_prints(engine, pg, search, write):
    columns = text_columns(pg)
    fill(pg, columns)
    got = cells(check_index(engine, search, write()))
    assert got == printed(pg, columns)


def test_a_text_of_five_megabytes(engine, pg, search, write):
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    pg.execute("INSERT INTO t SELECT n, repeat(E'Сталкер \\\\ \"quoted\" \\n🎬 ', 128 * 1024) FROM generate_series(1, 3) n")
    assert pg.value("SELECT octet_length(v) FROM t LIMIT 1") > 4_000_000
    path = write()
    loaded = engine(path)
    assert loaded.returncode == 0, loaded
    wanted = pg.value("SELECT v FROM t LIMIT 1")
    assert {key: doc["v"] == wanted for key, doc in search.docs("values").items()} == {"1": True, "2": True, "3": True}


def test_the_servers_locale_and_time_zone_change_nothing(engine, pg, write):
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, at timestamptz, d date, b bytea, f float8, i interval)")
    pg.execute(
        "INSERT INTO t VALUES (1, '2021-06-16 20:14:09.221855Z', '2021-02-01', '\\x00ff', 0.1, '1 mon 2 days 03:04:05')"
    )
    body = "row.b = etl.base64(row.b) return row"
    plain = engine(write(body=body), "--dry-run")
    assert plain.returncode == 0, plain
    for setting in (
        "TimeZone = 'Asia/Kolkata'",
        "DateStyle = 'German, DMY'",
        "IntervalStyle = 'iso_8601'",
        "bytea_output = 'escape'",
        "extra_float_digits = 0",
        "client_encoding = 'LATIN1'",
        "standard_conforming_strings = off",
    ):
        pg.execute(f"ALTER DATABASE {pg.name} SET {setting}")
    changed = engine(write(body=body), "--dry-run", env={"PGTZ": "America/Caracas", "PGDATESTYLE": "SQL"})
    assert changed.stdout == plain.stdout
    assert changed.docs == [
        {
            "id": 1, "at": "2021-06-16T20:14:09.221855Z", "d": "2021-02-01", "b": "AP8=", "f": 0.1,
            "i": "1 mon 2 days 03:04:05",
        }
    ]  # fmt: skip


# Times

MOMENTS = {
    "timestamptz": {
        "2021-06-16 20:14:09.221855Z": "2021-06-16T20:14:09.221855Z",
        "2021-06-16 23:14:09.221855+03": "2021-06-16T20:14:09.221855Z",
        "2021-06-16 20:14:09Z": "2021-06-16T20:14:09Z",
        "2021-06-16 20:14:09.2Z": "2021-06-16T20:14:09.2Z",
        "1970-01-01 00:00:00.000001Z": "1970-01-01T00:00:00.000001Z",
        "0001-01-01 00:00:00Z": "0001-01-01T00:00:00Z",
        "0044-03-15 12:00:00Z BC": "-0043-03-15T12:00:00Z",  # ISO 8601: 1 BC is the year 0
        "0001-12-31 23:59:59Z BC": "0000-12-31T23:59:59Z",
        "4713-01-01 00:00:00Z BC": "-4712-01-01T00:00:00Z",
        "9999-12-31 23:59:59.999999Z": "9999-12-31T23:59:59.999999Z",
        "99999-12-31 23:59:59.999999Z": "+99999-12-31T23:59:59.999999Z",
        "294276-12-31 23:59:59.999999Z": "+294276-12-31T23:59:59.999999Z",
        "infinity": "infinity",
        "-infinity": "-infinity",
    },
    "timestamp": {
        "2021-06-16 20:14:09.221855": "2021-06-16T20:14:09.221855",
        "1900-01-01 00:00:00": "1900-01-01T00:00:00",
        "0044-03-15 12:00:00.5 BC": "-0043-03-15T12:00:00.5",
        "99999-12-31 00:00:00": "+99999-12-31T00:00:00",
        "infinity": "infinity",
    },
    "date": {
        "2021-06-16": "2021-06-16",
        "0044-03-15 BC": "-0043-03-15",
        "4713-01-01 BC": "-4712-01-01",
        "99999-01-01": "+99999-01-01",
        "5874897-12-31": "+5874897-12-31",
        "-infinity": "-infinity",
    },
    "timestamptz[]": {
        '{"2021-06-16 20:14:09.221855Z",NULL,infinity,"0044-03-15 12:00:00Z BC"}': [
            "2021-06-16T20:14:09.221855Z", None, "infinity", "-0043-03-15T12:00:00Z",
        ],
    },
    "date[]": {"{2021-06-16,NULL}": ["2021-06-16", None]},
}  # fmt: skip


def test_times_are_iso_8601_with_their_microseconds(engine, pg, search, write):
    columns = {f"c{n}": (kind, list(pairs)) for n, (kind, pairs) in enumerate(MOMENTS.items())}
    fill(pg, columns)
    got = cells(check_index(engine, search, write()))
    for n, (kind, pairs) in enumerate(MOMENTS.items()):
        assert [got[f"c{n}", row] for row in range(len(pairs))] == list(pairs.values()), kind


def test_times_are_the_same_moments_to_postgresql(engine, pg, write, rng):
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, v timestamptz)")
    for row in range(200):
        pg.execute(
            "INSERT INTO t VALUES (%s, to_timestamp(0) + %s * interval '1 microsecond')",
            (row, rng.randrange(-62135596800000000, 253402300800000000)),
        )
    for (_, row), text in cells(engine(write(), "--dry-run")).items():
        assert pg.value("SELECT v = %s::timestamptz FROM t WHERE id = %s", (text, row)), text


def test_the_search_server_takes_times_and_numbers_in_fields_of_their_types(engine, pg, search, script):
    """Not only _source: what is indexed is found by exact value."""
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, at timestamptz, day date, n int8, d numeric, ok bool, b bytea)")
    pg.execute(
        "INSERT INTO t VALUES (1, '2021-06-16 20:14:09.221855Z', '2021-06-16', 9223372036854775807, 0.1, true, '\\x00ff'),"
        " (2, '2021-06-16 20:14:09.221856Z', '0044-03-15 BC', 9223372036854775806, 12345678901234567890.5, false, '')"
    )
    path = script(
        """local etl = require "etl"
        return { name = "values",
          source = { url = os.getenv "DATABASE_URL", table = "t", key = "id", query = "SELECT * FROM t" },
          document = function(row) row.b = etl.base64(row.b) return row end,
          state = os.getenv "FILE_PATH_STATE",
          sink = { url = os.getenv "ELASTICSEARCH_URL", index = "values", mappings = { dynamic = "strict", properties = {
            id = { type = "integer" }, at = { type = "date_nanos" }, day = { type = "date" }, n = { type = "long" },
            d = { type = "double" }, ok = { type = "boolean" },
            b = { type = "binary" } } } } }"""
    )
    loaded = engine(path)
    assert loaded.returncode == 0, loaded
    for field, value in (("at", "2021-06-16T20:14:09.221855Z"), ("n", 9223372036854775807), ("ok", True), ("d", 0.1)):
        assert [doc["id"] for doc in search.search("values", {"term": {field: value}})] == [1], field


# bool, bytea


def test_booleans(engine, pg, search, write):
    columns = {"v": ("bool", ["t", "f"]), "a": ("bool[]", ["{t,f,NULL}"])}
    fill(pg, columns)
    assert cells(check_index(engine, search, write())) == as_json(pg, columns)


def test_bytes_are_a_string_that_etl_base64_writes(engine, pg, search, write, rng):
    every = bytes(range(256))
    samples = [every, b"", b"f", b"fo", b"foo", b"\x00", b"\xff\xfe", rng.randbytes(1000), every[::-1] * 300]
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, v bytea, a bytea[])")
    for row, sample in enumerate(samples):
        pg.execute("INSERT INTO t VALUES (%s, %s, ARRAY[%s, NULL])", (row, sample, sample))
    path = write(
        body="""
        local bytes = row.v
        row.v, row.len, row.sum = etl.base64(bytes), #bytes, 0
        for i = 1, #bytes do row.sum = row.sum + bytes:byte(i) end
        row.a[1] = etl.base64(row.a[1])
        return row"""
    )
    got = cells(check_index(engine, search, path))
    for row, sample in enumerate(samples):
        assert base64.b64decode(got["v", row], validate=True) == sample
        assert got["len", row] == Number(str(len(sample)))
        assert got["sum", row] == Number(str(sum(sample)))
        assert got["a", row] == [base64.b64encode(sample).decode(), None]


def test_bytes_that_are_not_text_are_an_error_with_a_remedy(engine, pg, write):
    fill(pg, {"v": ("bytea", ["\\xff00", "\\x6f6b"])})
    dry = engine(write(), "--dry-run")
    assert dry.returncode == 4
    assert [doc["v"] for doc in dry.docs] == ["ok"]
    assert "v: the text is not valid UTF-8; etl.base64 makes bytes fit for JSON" in dry.stderr


# json

JSON = [
    "{}", "[]", "null", "true", "0", '""', '"text"', "-0", "1e400", "12345678901234567890123456789.123456789",
    '{"b": 1, "a": {"b": [1, [2, [3, {}]], []]}}', '{"a": 1.0, "b": 100, "c": 1e2, "d": 0.10}', '[null, false, ""]',
    '{"name": "it\'s \\"q\\" \\\\ \\n 🎬 \\u0436 \\ud83c\\udfac"}', "[" * 200 + "]" * 200,
    '{"id": 9223372036854775807, "big": 9223372036854775808, "x": 5e-324}', '{"": {"": ""}}',
]  # fmt: skip


def test_json_passes_through_as_it_is(engine, pg, search, write):
    as_written = JSON + ['{\n  "a": 1,\r\n\t"b": [1,\n2]\n}', " [1 , 2 ] "]
    columns = {"j": ("json", as_written), "b": ("jsonb", JSON)}
    fill(pg, columns)
    path = write()
    dry = check_index(engine, search, path)
    assert len(lines(dry)) == len(as_written)
    got = cells(dry, written)
    for (name, row), text in printed(pg, columns).items():
        assert got[name, row] == written(text)
        if name == "b":
            assert f'"b":{text}' in lines(dry)[row]
    assert '"j":{   "a": 1,  \t"b": [1, 2] }' in dry.stdout  # a bulk request is made of lines
    assert got["j", JSON.index("null")] is None


def test_json_with_a_repeated_name_is_the_search_servers_to_judge(engine, pg, search, write):
    """json keeps what jsonb would not."""
    fill(pg, {"v": ("json", ["1", '{"a": 1, "a": 2}', "2"])})
    assert '"v":{"a": 1, "a": 2}' in engine(write(), "--dry-run").stdout
    loaded = engine(write())
    assert loaded.returncode in (0, 4), loaded
    assert {"0", "2"} <= set(search.docs("values"))


def test_json_that_was_indexed_but_not_changed_has_the_same_value(engine, pg, search, write):
    columns = {"j": ("json", JSON), "b": ("jsonb", JSON)}
    fill(pg, columns)
    body = """
        for _, name in ipairs { "j", "b" } do
          pcall(function() return row[name].a, #row[name] end)
          etl.json.decode(row[name])
        end
        return row"""
    got = cells(check_index(engine, search, write(body=body)))
    wanted = {}
    for (name, row), text in printed(pg, columns).items():
        wanted[name, row] = exact(text)
    assert {place: (got[place], wanted[place]) for place in wanted if got[place] != wanted[place]} == {}


def test_json_is_decoded_when_it_is_indexed(engine, pg, write):
    fill(pg, {"v": ("jsonb", ['{"actors": [{"id": 9007199254740993, "name": "Юрий"}, {"id": 2}], "n": null, "e": [], "o": {}}'])})
    body = """
        local v = row.v
        assert(v.actors[1].id == 9007199254740993 and math.type(v.actors[1].id) == "integer")
        assert(v.actors[1].name == "Юрий" and #v.actors == 2 and v.missing == nil)
        assert(v.n == etl.null and #v.e == 0)
        local names = {}
        for name in pairs(v) do names[#names + 1] = name end
        table.sort(names)
        assert(table.concat(names, ",") == "actors,e,n,o")
        for i, actor in ipairs(v.actors) do actor.place = i end
        v.actors[3] = { id = etl.decimal "12345678901234567890.50" }
        v.added, v.n = { 1.5 }, nil
        v.e, v.o = v.e, v.o
        return { v = v }"""
    dry = engine(write(body=body), "--dry-run")
    assert dry.returncode == 0, dry
    assert dry.stdout == (
        '{"v":{"actors":[{"id":9007199254740993,"name":"Юрий","place":1},{"id":2,"place":2},'
        '{"id":12345678901234567890.50}],"added":[1.5],"e":[],"o":{}}}\n'
    )


def test_a_json_column_can_be_the_document(engine, pg, write):
    fill(pg, {"v": ("json", ['{"b": 1,  "a": 2}', "{}"])})
    dry = engine(write(body="return row.v"), "--dry-run")
    assert dry.stdout == '{"b": 1,  "a": 2}\n{}\n'
    bad = engine(write(query="SELECT id, '[1]'::json AS v FROM t", body="return row.v"), "--dry-run")
    assert bad.returncode == 4
    assert "document() returned a list, expected a table of fields" in bad.stderr
    text = engine(write(query="SELECT id, '\"text\"'::json AS v FROM t", body="return row.v"), "--dry-run")
    assert text.returncode == 4, text


# Arrays

ARRAYS = {
    "i": ("int[]", ["{}", "{1}", "{1,NULL,3}", "{{1,2},{3,4}}", "{{{1},{2}},{{3},{NULL}}}", "[0:1]={5,6}",
                    "[-1:0][5:6]={{1,2},{3,4}}", "{NULL}", "{NULL,NULL}", "{{NULL},{NULL}}",
                    "{{{{{{1,2}}}}}}"]),
    "b": ("int8[]", ["{9223372036854775807,-9223372036854775808}"]),
    "n": ("numeric[]", [f"{{{DIGITS_40},1.10,1e-30,NULL}}"]),
    "n2": ("numeric(5,2)[]", ["{1,2.5}"]),
    "f": ("float8[]", ["{0.1,1e308,5e-324}"]),
    "t": ("text[]", ['{"",NULL,"NULL",null,"null","a,b","{x}","q\\"q","back\\\\slash"," lead","it\'s",🎬,"\\\\\\"","\n","é{"}',
                     '{{a,"b c"},{"}","{"}}', "{}", '[2:3]={"x","y,=z"}', '{"[0:1]={1}"}', '{"\\\\\\\\"}']),
    "v": ("varchar(3)[]", ["{abc,d}"]),
    "c": ("char(3)[]", ["{a,bcd}"]),
    "e": ("mood[]", ['{sad,NULL,"it\'s ok"}']),
    "u": ("uuid[]", ["{bb86ad98-2023-b009-fe68-5460caf72331}"]),
    "j": ("json[]", ['{"{\\"a\\": [1, 2]}","[]",NULL,"\\"x\\"","null","1"}']),
    "jb": ("jsonb[]", ['{"{\\"a\\": {\\"b\\": \\"c\\\\\\\\d\\"}}"}']),
    "d": ("email[]", ["{a@b,NULL}"]),
    "dn": ("cents[]", ["{1,2.5}"]),
    "da": ("tags", ["{a,b}", "{}"]),
    "dda": ("more_tags", ["{c,NULL}"]),
    "iv": ("interval[]", ['{"1 day",02:00:00}']),
    "ip": ("inet[]", ["{192.168.0.1/24}"]),
}  # fmt: skip


def test_arrays_of_every_kind(engine, pg, search, write):
    pg.execute("CREATE TYPE mood AS ENUM ('sad', 'it''s ok')")
    pg.execute("CREATE DOMAIN email AS text CHECK (VALUE ~ '@')")
    pg.execute("CREATE DOMAIN cents AS numeric(10,2)")
    pg.execute("CREATE DOMAIN tags AS text[] CHECK (array_length(VALUE, 1) IS DISTINCT FROM 9)")
    pg.execute("CREATE DOMAIN more_tags AS tags")
    newer = {"d": 11, "dn": 11, "f": 12}  # arrays of domains; to_jsonb of floats with their shortest digits
    arrays = {name: column for name, column in ARRAYS.items() if pg.version() >= newer.get(name, 10) * 10000}
    fill(pg, arrays)
    got, wanted = cells(check_index(engine, search, write())), as_json(pg, arrays)
    assert got.keys() == wanted.keys()
    assert {place: (got[place], wanted[place]) for place in got if got[place] != wanted[place]} == {}


def test_arrays_of_what_prints_as_text(engine, pg, write):
    """to_jsonb would take composites apart; here an element is what PostgreSQL prints for it."""
    pg.execute("CREATE TYPE pair AS (n int, t text)")
    columns = {
        "p": ("pair[]", ['{"(1,\\"a b\\")","(,)",NULL}']),
        "b": ("box[]", ["{(1,1),(0,0);(3,3),(2,2)}", "{(1,1),(0,0)}", "{}", "{NULL;(1,1),(0,0)}"]),
        "r": ("int4range[]", ['{"[1,5)",empty}']),
        "pt": ("point[]", ['{"(1,2)","(3,4)"}']),
        "x": ("xml[]", ['{"<a b=\\"c,d\\"/>"}']),
        "m": ("money[]", ['{"$1,234.50"}']),
        "by": ("bit(2)[]", ["{10,01}"]),
    }
    fill(pg, columns)
    got = cells(engine(write(), "--dry-run"))
    for name in columns:
        for row, texts in pg.query(
            f"SELECT id, array(SELECT {name}[i]::text FROM generate_subscripts({name}, 1) i) FROM t"
            f" WHERE {name} IS NOT NULL"
        ):
            assert got[name, row] == texts


def test_random_arrays(engine, pg, write, rng):
    letters = ["a", "N", "NULL", '"', "\\", "{", "}", ",", " ", "'", "é", "🎬", "\n", ";", "=", "[", "]", ""]
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, v text[])")
    for row in range(150):
        width = rng.randrange(1, 4)
        make = lambda: rng.choice([None, "".join(rng.choice(letters) for _ in range(rng.randrange(6)))])
        value = [[make() for _ in range(width)] for _ in range(rng.randrange(1, 4))] if row % 2 else [make() for _ in range(width)]
        pg.execute("INSERT INTO t VALUES (%s, %s::text[])", (row, value))
    columns = {"v": None}
    assert cells(engine(write(), "--dry-run")) == as_json(pg, columns)


def test_an_array_stays_an_array_in_lua(engine, pg, write):
    fill(pg, {"v": ("int[]", ["{}", "{1,NULL,3}"]), "m": ("int[]", ["{{1,2},{3,4}}"])})
    body = """
        if row.id == 0 then
          assert(#row.v == 0 and row.m[2][1] == 3)
          return { v = row.v, given = { v = row.v } }
        end
        assert(#row.v == 3 and row.v[2] == etl.null and row.v[3] == 3)
        row.v[#row.v + 1] = 4
        return { v = row.v }"""
    assert engine(write(body=body), "--dry-run").stdout == '{"given":{"v":[]},"v":[]}\n{"v":[1,null,3,4]}\n'


# NULL, tables of the script's own


def test_null_is_left_out_and_etl_null_is_written(engine, pg, search, write):
    fill(pg, {"a": ("text", ["x", None]), "b": ("int[]", ["{}", None]), "c": ("json", ["null", None])})
    path = write(body="row.n = etl.null row.cj = require('cjson').null row.x = nil return row")
    dry = check_index(engine, search, path)
    assert dry.stdout == (
        '{"a":"x","b":[],"c":null,"cj":null,"id":0,"n":null}\n{"cj":null,"id":1,"n":null}\n'
    )


def test_fields_come_out_sorted_and_nested_tables_too(engine, pg, write):
    fill(pg, {"v": ("int", ["1"])})
    body = """
        return { z = 1, a = { y = { 1, { b = 2, a = { {}, etl.array {} } } }, x = etl.json.decode "{}" }, ["é"] = 1,
                 ["a.b"] = 2, ["A"] = 3, [""] = 4, a1 = 5, e = {}, f = 1.0, g = -0.0, h = 2^53, i = 1e100 }"""
    assert engine(write(body=body), "--dry-run").stdout == (
        '{"":4,"A":3,"a":{"x":{},"y":[1,{"a":[[],[]],"b":2}]},"a.b":2,"a1":5,"e":[],"f":1.0,"g":-0.0,'
        '"h":9007199254740992.0,"i":1e+100,"z":1,"é":1}\n'
    )


def test_an_empty_table_is_an_empty_document(engine, pg, search, write):
    fill(pg, {"v": ("int", ["1"])})
    for body in ("return {}", "return etl.json.decode '{}'", "return etl.json.raw ' {} '"):
        path = write(body=body)
        assert json.loads(engine(path, "--dry-run").stdout) == {}
        assert engine(path, "--full").returncode == 0
        assert search.docs("values") == {"0": {}}


def test_a_document_of_many_fields_and_levels(engine, pg, write):
    fill(pg, {"v": ("int", ["1"])})
    body = """
        local deep = { leaf = true }
        for _ = 1, 400 do deep = { down = deep } end
        local wide = {}
        for i = 1, 2000 do wide["f" .. i] = { i } end
        return { deep = deep, wide = wide }"""
    doc = engine(write(body=body), "--dry-run").docs[0]
    assert len(doc["wide"]) == 2000 and doc["wide"]["f77"] == [77]
    for _ in range(400):
        doc = doc.get("deep", doc).get("down", doc)
    assert "leaf" in json.dumps(doc)


BAD = {
    "return { actors = { { name = 'a' }, {}, { name = print } } }": "actors[3].name: cannot encode a function",
    "return { a = { b = { [1] = 1, x = 2 } } }": "a.b: cannot encode a table with both names and numbers as keys",
    "return { a = { x = 2, [1] = 1 } }": "a: cannot encode a table with both names and numbers as keys",
    "return { a = { 1, nil, 3 } }": "a: cannot encode an array with holes: etl.array(t) makes them null",
    "return { a = { [3] = 1 } }": "a: cannot encode an array with holes: etl.array(t) makes them null",
    "return { a = { [0] = 1 } }": "a: cannot encode a table with the key 0",
    "return { a = { [-1] = 1 } }": "a: cannot encode a table with the key -1",
    "return { a = { [1.5] = 1 } }": "a: cannot encode a table with the key 1.5",
    "return { a = { [2^53] = 1 } }": "a: cannot encode an array with holes: etl.array(t) makes them null",
    "return { a = { [true] = 1 } }": "a: cannot encode a table with a boolean as key",
    "return { a = { [{}] = 1 } }": "a: cannot encode a table with a table as key",
    "local t = {} t.t = t return t": "t: cannot encode a table that holds itself",
    "local t = { {} } t[1][1] = t return { a = t }": "a[1][1]: cannot encode a table that holds itself",
    "return { a = 0/0 }": "a: cannot encode NaN",
    "return { a = { b = -1/0 } }": "a.b: cannot encode infinity",
    "return { a = coroutine.create(print) }": "a: cannot encode a thread",
    "return { a = io.stderr }": "a: cannot encode a FILE*",
    "return { a = '\\xff' }": "a: the text is not valid UTF-8; etl.base64 makes bytes fit for JSON",
    "return { a = 'ok\\xc3' }": "a: the text is not valid UTF-8; etl.base64 makes bytes fit for JSON",
    "return { a = '\\xed\\xa0\\x80' }": "a: the text is not valid UTF-8; etl.base64 makes bytes fit for JSON",
    "return { a = '\\xc0\\x80' }": "a: the text is not valid UTF-8; etl.base64 makes bytes fit for JSON",
    "return { a = ('é'):sub(1, 1) }": "a: the text is not valid UTF-8; etl.base64 makes bytes fit for JSON",
    "return { ['\\xff'] = 1 }": "the field's name is not valid UTF-8",
    "return { ['my field'] = { ['a.b'] = { print } } }": '["my field"]["a.b"][1]: cannot encode a function',
    "local t = {} for _ = 1, 600 do t = { t } end return { a = t }": "cannot encode tables nested deeper than 512",
    "return { 1, 2 }": "document() returned a list, expected a table of fields",
    "return 'text'": "document() returned a string, expected a table or nil",
    "return 1": "document() returned a number, expected a table or nil",
    "return true": "document() returned a boolean, expected a table or nil",
    "return etl.null": "document() returned etl.null, expected a table or nil",
    "return print": "document() returned a function, expected a table or nil",
    "return {}, 1": "document() returned a number as its second value",
    "return row.absent.name": "the query has no column 'absent'",
    "error 'no'": "no",
    "error({ code = 1 })": "(error object is a table value)",
    "error()": "nil",
}


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_a_document_that_cannot_be_encoded_names_the_field(engine, pg, write, body):
    """The others go; the one line tells script, line, what, key and columns."""
    fill(pg, {"v": ("int", ["1", "2", "3"])})
    dry = engine(write(body=f"if row.id ~= 1 then return row end {body}"), "--dry-run", "--log-format", "json")
    assert dry.returncode == 4, dry
    assert [doc["id"] for doc in dry.docs] == [0, 2]
    warnings = [line for line in map(json.loads, dry.stderr.splitlines()) if line["level"] == "warn"]
    assert len(warnings) == 1, dry
    text = warnings[0]["message"]
    assert text.startswith("document '1' rejected: "), text
    assert BAD[body] in text
    assert re.search(r"script\.lua:(6|7|8|9|10)\b", text), text
    assert text.endswith("(key '1'; columns id, v)")


def test_a_document_that_is_nil_is_a_delete(engine, pg, search, write):
    fill(pg, {"v": ("int", ["1", "2"])})
    assert engine(write()).returncode == 0
    assert sorted(search.docs("values")) == ["0", "1"]
    done = engine(write(body="if row.id == 1 then return nil end return row"), "--full")
    assert done.returncode == 0, done
    assert sorted(search.docs("values")) == ["0"]


def test_an_empty_table_of_rows(engine, pg, search, write):
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    dry = engine(write(), "--dry-run")
    assert (dry.returncode, dry.stdout) == (0, "")
    loaded = engine(write())
    assert loaded.returncode == 0, loaded
    assert search.exists("values") and search.count("values") == 0
    pg.execute("INSERT INTO t VALUES (1, 'x')")
    assert engine(write()).returncode == 0
    assert search.count("values") == 1


# Keys

KEYS = {
    "int8": ["-9223372036854775808", "9223372036854775807", "0", "9007199254740993"],
    "int2": ["-1", "1"],
    "uuid": ["BB86AD98-2023-B009-FE68-5460CAF72331"],
    "numeric": ["1.10", DIGITS_40, "-0.5", "1e-30"],
    "float8": ["0.1", "1e308", "5e-324"],
    "text": [t for t in TEXTS if t and len(t) < 500] + [".", "..", "_all", "a/b", "a?b#c", "%41", "a,b", "*", "k" * 512],
    "varchar(40)": ["trailing ", "é"],
    "char(4)": ["ab"],
    "bool": ["t", "f"],
    "date": ["2021-06-16", "0044-03-15 BC"],
    "timestamptz": ["2021-06-16 20:14:09.221855Z", "infinity"],
    "inet": ["192.168.0.1/24"],
    "mood": ["it's ok", "sad"],
    "code": ["A-1"],
    "bytea": ["\\x00ff"],
    "pair": ['(1,"a b")'],
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_is_the_id_as_postgresql_prints_it(engine, pg, search, script, kind):
    pg.execute("CREATE TYPE mood AS ENUM ('sad', 'it''s ok')")
    pg.execute("CREATE DOMAIN code AS text")
    pg.execute("CREATE TYPE pair AS (n int, t text)")
    pg.execute(f"CREATE TABLE t (id {kind} PRIMARY KEY, n int, modified timestamptz NOT NULL DEFAULT now())")
    for n, literal in enumerate(KEYS[kind]):
        pg.execute(f"INSERT INTO t VALUES (%s::{kind}, %s)", (literal, n))
    path = script(
        """return { name = "keys",
          source = { url = os.getenv "DATABASE_URL", table = "t", key = "id", cursor = "modified", query = "SELECT id, n FROM t" },
          document = function(row) return { n = row.n } end,
          sink = { url = os.getenv "ELASTICSEARCH_URL", index = "keys" },
          state = os.getenv "FILE_PATH_STATE" }"""
    )
    wanted = {n: key for n, key in pg.query("SELECT n, format('%s', id) FROM t")}
    loaded = engine(path)
    assert loaded.returncode == 0, loaded
    assert {hit["_source"]["n"]: key for key, hit in search.hits("keys").items()} == wanted

    # A change travels by the key, and a vanished row by --keys.
    pg.execute("UPDATE t SET n = n + 100, modified = now() + interval '1 second'")
    changed = engine(path)
    assert changed.returncode == 0, changed
    assert {hit["_source"]["n"] - 100: key for key, hit in search.hits("keys").items()} == wanted
    pg.execute("DELETE FROM t")
    keys = "".join(f"{key}\n" for key in wanted.values() if "\n" not in key and "\r" not in key)
    gone = engine(path, "--allow-deletes", "--keys-from", "-", stdin=keys)
    assert gone.returncode == 0, gone
    assert set(search.docs("keys")) == {key for key in wanted.values() if "\n" in key or "\r" in key}


@pytest.mark.parametrize("key", ["", "k" * 513, "я" * 300])
def test_a_key_that_cannot_be_an_id_is_rejected_alone(engine, pg, search, write, key):
    pg.execute("CREATE TABLE t (id text PRIMARY KEY)")
    pg.execute("INSERT INTO t VALUES ('a'), (%s), ('z')", (key,))
    loaded = engine(write())
    assert loaded.returncode == 4, loaded
    assert set(search.docs("values")) == {"a", "z"}
    assert len([line for line in loaded.stderr.splitlines() if "rejected:" in line]) == 1


EVERYTHING = """
CREATE TABLE t AS SELECT n AS id,
    CASE WHEN n % 3 > 0 THEN md5(n::text) || E' "\\\\\\n\\u0430' END AS words, repeat('x', n % 50) AS "odd, name",
    CASE WHEN n % 5 > 0 THEN (random() - 0.5) * 10 ^ (n % 60 - 30) END AS float, random()::float4 AS single,
    (random() * 10 ^ (n % 25))::numeric(40, 10) AS exact, n * 4294967296 AS big, n % 2 = 0 AS yes,
    now() + n * interval '1.000001 days' AS moment, current_date - n AS day,
    ARRAY[n::text, NULL, '"', E'\\\\', '', 'NULL'] AS list, ARRAY[[random(), 0.1], [n, 1 / 3.0]] AS numbers,
    '{}'::text[] AS none, ARRAY[jsonb_build_object('n', n)] AS objects, json_build_object('b', n, 'a', 1.10) AS json
FROM generate_series(1, 3000) n
"""


def test_a_function_that_only_copies_gives_what_it_would_give_if_it_was_called(engine, pg, write):
    pg.execute(EVERYTHING)
    only = "return { id = row.id, x = { float = row.float, n = 1.5 }, l = row.list, json = row.json }"
    for body, called in (("return row", "if row then return row end"), (only, f"if row then {only} end")):
        copied = engine(write(body=body), "--dry-run", "--workers", 1)
        assert copied.stdout.count("\n") == 3000
        assert copied.stdout == engine(write(body=called), "--dry-run", "--workers", 1).stdout
