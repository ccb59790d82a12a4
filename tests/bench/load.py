"""The part `load`: floors, dry runs, loads by the engine and by ordinary loaders in Python."""
import datetime
import glob
import json
import os
import re
import shutil
import statistics
import subprocess
import time

import elasticsearch.helpers

import loader
from basis import ENGINE, FILMS, HERE, MOVIES, OUT, POSTGRES, RUNS, SEARCH, engine, forget_state, make_films, say
from tools import SLOW
from used import MemoryWatch, server_cpu

BODY = min(5 << 20, FILMS * 200)  # bytes of a body that curl sends: as the engine, but never a single one


def scripts():
    """(query, path of the script) of both forms of the query; and of the first one with a function for one field, and
    with a function for the whole document, in place of the template."""
    with open(MOVIES, encoding="utf-8") as f:
        text = f.read()
    with open(os.path.join(HERE, "group_by.sql"), encoding="utf-8") as f:
        query = f.read()
    pattern = re.compile(r"(query\s*=\s*\[\[)(.*?)(\]\])", re.S)
    template = re.search(r"document = \{\n(.*?)\n  \},\n", text, re.S)
    fields = re.sub(r'= "(\w+)"', r"= film.\1", template[1])
    one = re.sub(r'\btitle( +)= "title"', r"title\1= function(film) return film.title end", template[0])
    assert fields.count("film.") == 13 and one != template[0], f"{MOVIES} has another document"
    lateral_query = pattern.search(text)[2]
    function = f"document = function(film)\n    return {{\n{fields}\n    }}\n  end,\n"

    def write(name, changed):
        path = os.path.join(OUT, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(changed)
        return path

    return {
        "LATERAL": (lateral_query, MOVIES),
        "GROUP BY": (query, write("group_by.lua", pattern.sub(lambda m: m[1] + "\n" + query + m[3], text))),
        "field": (lateral_query, write("field.lua", text.replace(template[0], one))),
        "function": (lateral_query, write("function.lua", text.replace(template[0], function))),
    }


class Case:
    """One line of the table: processes that start together."""

    def __init__(self, name, commands, load=False):
        self.name, self.commands, self.load, self.runs = name, commands, load, []


def engine(script, *words):
    return [ENGINE, script, "--quiet", *words]


def cases(forms):
    def copy(form):
        return ["psql", "-qX", os.environ["DATABASE_URL"], "-c", f"COPY ({forms[form][0]}) TO STDOUT"]

    def dry(form, workers):
        return engine(forms[form][1], "--dry-run", "--workers", str(workers))

    curls = [
        ["curl", "-sSf", "-o", os.path.join(OUT, f"answer{i}"), "-K", os.path.join(OUT, f"curl{i}")] for i in range(2)
    ]
    python = [os.path.join(HERE, "loader.py"), "--index", "movies", "--keep"]
    return [
        Case("psql COPY, LATERAL", [copy("LATERAL")]),
        Case("dry run, LATERAL, 1 worker", [dry("LATERAL", 1)]),
        Case("dry run, LATERAL, 2 workers", [dry("LATERAL", 2)]),
        Case("dry run, LATERAL, 2 workers, one field a function", [dry("field", 2)]),
        Case("dry run, LATERAL, 2 workers, document a function", [dry("function", 2)]),
        Case("psql COPY, GROUP BY", [copy("GROUP BY")]),
        Case("dry run, GROUP BY, 1 worker", [dry("GROUP BY", 1)]),
        Case("dry run, GROUP BY, 2 workers", [dry("GROUP BY", 2)]),
        Case("curl, ready bodies, 2 streams", curls, load=True),
        Case("load, 1 worker", [engine(forms["LATERAL"][1], "--workers", "1")], load=True),
        Case("load, 2 workers", [engine(forms["LATERAL"][1], "--workers", "2")], load=True),
        Case("Python, server-side cursor", [python], load=True),
        Case("Python, everything fetched", [[*python, "--fetch-all"]], load=True),
    ]


def make_bodies(script):
    """The bulk bodies for curl, in files, and for each of its two streams the list of them."""
    for path in glob.glob(os.path.join(OUT, "body*")):
        os.unlink(path)
    count, out = 0, None
    dry = subprocess.Popen(engine(script, "--dry-run", "--format", "bulk"), stdout=subprocess.PIPE)
    for line in dry.stdout:
        if not out or (out.tell() >= BODY and line.startswith(b'{"index"')):
            out = out and out.close()
            out = open(os.path.join(OUT, f"body{count}"), "wb")
            count += 1
        out.write(line)
    out.close()
    assert dry.wait() == 0
    for stream in range(2):
        with open(os.path.join(OUT, f"curl{stream}"), "w", encoding="utf-8") as f:
            parts = [
                f'url = "{SEARCH.url}/movies/_bulk?filter_path=took,errors"\n'
                'header = "Content-Type: application/x-ndjson"\nheader = "Expect:"\n'
                f'data-binary = "@{OUT}/body{i}"\n'
                for i in range(stream, count, 2)
            ]
            f.write("next\n".join(parts))


def empty_index(es, body):
    es.indices.delete(index="movies", ignore_unavailable=True)
    es.indices.create(index="movies", body=body)
    es.cluster.health(index="movies", wait_for_status="green", timeout="60s")
    for path in glob.glob(os.path.join(OUT, "state*")):
        os.unlink(path)


# ---- the documents ----


def plain(value):
    """A document in a form that can be compared: times are moments, lists are sets: the two queries order differently."""
    if isinstance(value, dict):
        return json.dumps({k: plain(v) for k, v in value.items()}, sort_keys=True, default=str)
    if isinstance(value, list):
        return sorted({plain(v) for v in value})
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)", value):
        return str(datetime.datetime.fromisoformat(value.replace("Z", "+00:00")))
    return value


def printed(command):
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return {document["id"]: hash(plain(document)) for document in map(json.loads, out.splitlines())}


def indexed(es):
    es.indices.refresh(index="movies")
    found = elasticsearch.helpers.scan(es, index="movies", size=5000)
    return {hit["_id"]: hash(plain(hit["_source"])) for hit in found}


def check_documents(es, body, all_cases, forms):
    """Each way, once: it also warms the servers up."""
    right = printed(engine(forms["LATERAL"][1], "--dry-run"))
    assert len(right) == FILMS, f"{len(right)} documents of {FILMS} films"
    for form in "GROUP BY", "field", "function":
        assert printed(engine(forms[form][1], "--dry-run")) == right, f"'{form}' made other documents"
    for case in all_cases:
        if case.load:
            empty_index(es, body)
            measure(case.name, case.commands)
            assert indexed(es) == right, f"'{case.name}' made other documents"

# ---- measuring ----


def measure(name, commands):
    """Run them at a time; what they and the servers have used."""
    before = server_cpu(POSTGRES), server_cpu(SEARCH)
    started = time.monotonic()
    with open(os.devnull, "wb") as null:
        children = [subprocess.Popen(command, stdout=null) for command in commands]
    memory = MemoryWatch(child.pid for child in children)
    ended = [os.wait4(child.pid, 0) for child in children]
    wall = time.monotonic() - started
    for child, (_, status, _) in zip(children, ended):
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0, f"'{name}' ended with status {child.returncode}"
    return {
        "wall_s": wall,
        "own_us": sum(used.ru_utime + used.ru_stime for _, _, used in ended) / FILMS * 1e6,
        "postgres_s": server_cpu(POSTGRES) - before[0],
        "search_s": server_cpu(SEARCH) - before[1],
        "mb": memory.sum(),
    }


def instructions(script):
    """Of one worker's dry run, for each document beyond the first ones; None: too few films, no valgrind, or a sanitizer."""
    if FILMS < 1000 or SLOW > 1 or not shutil.which("valgrind"):
        return None
    many, few, counts = min(FILMS, 12000), min(FILMS, 12000) // 6, []
    for limit in many, few:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={OUT}/callgrind.{limit}"]
        command += engine(script, "--dry-run", "--workers", "1", "--limit", str(limit))
        done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        counts.append(int(re.search(r"refs:\s+([\d,]+)", done.stderr)[1].replace(",", "")))
    return (counts[0] - counts[1]) / (many - few)


def ratios(by_name):
    def median(name, field):
        return statistics.median(run[field] for run in by_name[name].runs)

    def wall(name):
        return median(name, "wall_s")

    floor = median("psql COPY, LATERAL", "postgres_s") + median("curl, ready bodies, 2 streams", "search_s")
    python = min(wall("Python, server-side cursor"), wall("Python, everything fetched"))
    cores = os.cpu_count()
    return {
        "dry run, 2 workers / psql COPY (LATERAL)": wall("dry run, LATERAL, 2 workers") / wall("psql COPY, LATERAL"),
        "dry run, 1 worker / psql COPY (LATERAL)": wall("dry run, LATERAL, 1 worker") / wall("psql COPY, LATERAL"),
        "dry run, 2 workers / psql COPY (GROUP BY)": wall("dry run, GROUP BY, 2 workers") / wall("psql COPY, GROUP BY"),
        f"load, 2 workers / (the servers' CPU for psql COPY and for curl / {cores} cores)": (
            wall("load, 2 workers") * cores / max(floor, 0.01)  # less is not counted
        ),
        "load, 1 worker / load, 2 workers": wall("load, 1 worker") / wall("load, 2 workers"),
        "the faster Python loader / load, 2 workers": python / wall("load, 2 workers"),
    }


def make_index(es):
    """The engine's index `movies`, with a film or none; the body that makes one like it."""
    state = os.path.join(OUT, "state")
    os.environ.update(DATABASE_URL=make_films(), ELASTICSEARCH_URL=SEARCH.url, FILE_PATH_STATE=state)
    es.indices.delete(index="movies", ignore_unavailable=True)
    forget_state(state)
    subprocess.run(engine(MOVIES, "--limit", "1"), check=True)
    return loader.settings_of(es, "movies")


def part(es):
    """What was measured: every case with its runs, and what follows from them."""
    body = make_index(es)
    forms = scripts()
    all_cases = cases(forms)
    make_bodies(MOVIES)
    say("comparing the documents")
    check_documents(es, body, all_cases, forms)
    for n in range(RUNS):
        say(f"load, run {n + 1} of {RUNS}")
        for case in all_cases:
            if case.load:
                empty_index(es, body)
            case.runs.append(measure(case.name, case.commands))
    return {
        "cases": [{"name": case.name, "load": case.load, "runs": case.runs} for case in all_cases],
        "ratios": ratios({case.name: case for case in all_cases}),
        "instructions": {form: instructions(forms[form][1]) for form in ("LATERAL", "field", "function")},
    }
