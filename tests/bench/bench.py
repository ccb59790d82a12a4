#!/usr/bin/python3
"""How fast the engine is, beside what bounds it and beside the ordinary way: one table. `make bench` runs this.

    BENCH_FILMS=100000 BENCH_RUNS=5 tests/bench/bench.py

The floors are psql's COPY of the query to /dev/null, and curl sending request bodies that were built beforehand. Before
any time counts, the documents of each loader are compared, field by field. Then all are run in turn, BENCH_RUNS times;
the table has the medians, and the JSON in build/bench/ every run; a second table is of capture from the log (capture.py). CPU is what the kernel charged: to the loader, to
PostgreSQL, to the search server. Nothing here fails because something was slow.

It runs on servers of its own, in build/services-bench (ETL_TEST_SERVICES): the index `movies` is deleted and filled again.
"""
import datetime
import glob
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import warnings

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
os.environ.setdefault("ETL_TEST_SERVICES", "services-bench")  # before `services` looks at it
import elasticsearch.helpers  # noqa: E402
import services  # noqa: E402
from tools import ROOT, SLOW  # noqa: E402


def say(text):
    print(f"{os.path.basename(sys.argv[0])}: {text}", file=sys.stderr)


def number(name, usual, least, most):
    """What the environment says, or one line and the end."""
    text = os.environ.get(name, str(usual))
    if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
        say(f"{name} is '{text}': it has to be a number from {least} to {most}")
        sys.exit(2)
    return int(text)


# With fewer films curl's second stream has no body, or a server's CPU time is less than the kernel counts.
FILMS = number("BENCH_FILMS", 100000, 100, 100000000)
RUNS = number("BENCH_RUNS", 5, 1, 1000)
HERE = os.path.join(ROOT, "tests", "bench")
OUT = os.path.join(ROOT, "build", "bench")
ENGINE = os.path.abspath(os.path.join(ROOT, os.environ.get("ETL_ENGINE", "build/etl-engine")))
BODY = min(5 << 20, FILMS * 200)  # bytes of a body that curl sends: as the engine, but never a single one
POSTGRES, SEARCH = services.POSTGRES, services.SEARCH[0]


# ---- the data ----


def psql(database, *words, **options):
    return subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", database, *words], check=True, text=True, **options)


def make_films():
    """The database with so many films; one that is there already is used again."""
    name = f"bench_{FILMS}"
    url = POSTGRES.url.rpartition("/")[0] + "/" + name
    found = psql(POSTGRES.url, "-c", f"SELECT 1 FROM pg_database WHERE datname = '{name}'", capture_output=True).stdout
    if not found:
        print(f"making {FILMS} films", file=sys.stderr)
        psql(POSTGRES.url, "-c", f"DROP DATABASE IF EXISTS {name}_new", "-c", f"CREATE DATABASE {name}_new")
        psql(f"{url}_new", "-v", f"films={FILMS}", "-f", os.path.join(HERE, "films.sql"))
        psql(POSTGRES.url, "-c", f"ALTER DATABASE {name}_new RENAME TO {name}")
    psql(url, "-c", "CHECKPOINT")
    return url


def scripts():
    """(query, path of the script) of both forms of the query; and of the first one with a function for one field, and
    with a function for the whole document, in place of the template."""
    lateral = os.path.join(ROOT, "scripts", "movies.lua")
    with open(lateral, encoding="utf-8") as f:
        text = f.read()
    with open(os.path.join(HERE, "group_by.sql"), encoding="utf-8") as f:
        query = f.read()
    pattern = re.compile(r"(query\s*=\s*\[\[)(.*?)(\]\])", re.S)
    template = re.search(r"document = \{\n(.*?)\n  \},\n", text, re.S)
    fields = re.sub(r'= "(\w+)"', r"= film.\1", template[1])
    one = re.sub(r'\btitle( +)= "title"', r"title\1= function(film) return film.title end", template[0])
    assert fields.count("film.") == 13 and one != template[0], f"{lateral} has another document"
    lateral_query = pattern.search(text)[2]

    def write(name, changed):
        path = os.path.join(OUT, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(changed)
        return path

    return {
        "LATERAL": (lateral_query, lateral),
        "GROUP BY": (query, write("group_by.lua", pattern.sub(lambda m: m[1] + "\n" + query + m[3], text))),
        "field": (lateral_query, write("field.lua", text.replace(template[0], one))),
        "function": (
            lateral_query,
            write("function.lua", text.replace(template[0], f"document = function(film)\n    return {{\n{fields}\n    }}\n  end,\n")),
        ),
    }


# ---- what is run ----


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
    loader = [os.path.join(HERE, "loader.py"), "--index", "movies", "--keep"]
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
        Case("Python, server-side cursor", [loader], load=True),
        Case("Python, everything fetched", [[*loader, "--fetch-all"]], load=True),
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
            run(case)
            assert indexed(es) == right, f"'{case.name}' made other documents"
        case.runs.clear()


# ---- measuring ----


def cpu(server):
    """Seconds that a server has used: its processes, and those of its children that have ended."""
    ticks = 0
    for pid in server.members():
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                fields = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:13])) + (sum(map(int, fields[13:15])) if pid == server.pid else 0)
    return ticks / os.sysconf("SC_CLK_TCK")


def watch_memory(pids, peaks):
    """Notes the kernel's own high-water marks. (Those of wait4 begin with the size of who forked: ours.)"""
    while pids:
        for pid in list(pids):
            try:
                with open(f"/proc/{pid}/status", encoding="utf-8") as f:
                    peak = re.search(r"VmHWM:\s+(\d+)", f.read())
            except OSError:
                peak = None
            if peak:
                peaks[pid] = int(peak[1]) / 1024
            else:
                pids.discard(pid)
        time.sleep(0.02)


def run(case):
    before = cpu(POSTGRES), cpu(SEARCH)
    started = time.monotonic()
    with open(os.devnull, "wb") as null:
        children = [subprocess.Popen(command, stdout=null) for command in case.commands]
    peaks = {}
    watcher = threading.Thread(target=watch_memory, args=({child.pid for child in children}, peaks))
    watcher.start()
    ended = [os.wait4(child.pid, 0) for child in children]
    wall = time.monotonic() - started
    watcher.join()
    for child, (_, status, _) in zip(children, ended):
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0, f"'{case.name}' ended with status {child.returncode}"
    case.runs.append(
        {
            "wall_s": wall,
            "own_us": sum(used.ru_utime + used.ru_stime for _, _, used in ended) / FILMS * 1e6,
            "postgres_s": cpu(POSTGRES) - before[0],
            "search_s": cpu(SEARCH) - before[1],
            "mb": sum(peaks.values()),
        }
    )


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


# ---- the report ----


def median(case, field):
    return statistics.median(run[field] for run in case.runs)


def goals(by_name):
    def wall(name):
        return median(by_name[name], "wall_s")

    floor = median(by_name["psql COPY, LATERAL"], "postgres_s") + median(by_name["curl, ready bodies, 2 streams"], "search_s")
    python = min(wall("Python, server-side cursor"), wall("Python, everything fetched"))
    cores = os.cpu_count()
    return {
        "dry run, 2 workers / psql COPY (LATERAL)": wall("dry run, LATERAL, 2 workers") / wall("psql COPY, LATERAL"),
        "dry run, 1 worker / psql COPY (LATERAL)": wall("dry run, LATERAL, 1 worker") / wall("psql COPY, LATERAL"),
        "dry run, 2 workers / psql COPY (GROUP BY)": wall("dry run, GROUP BY, 2 workers") / wall("psql COPY, GROUP BY"),
        f"load, 2 workers / (the servers' CPU for psql COPY and for curl / {cores} cores)": (
            wall("load, 2 workers") * cores / floor
        ),
        "load, 1 worker / load, 2 workers": wall("load, 1 worker") / wall("load, 2 workers"),
        "the faster Python loader / load, 2 workers": python / wall("load, 2 workers"),
    }


def machine(es):
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"model name\s*:\s*(.*)", f.read())
    return {
        "cpu": f"{os.cpu_count()} x {model[1] if model else platform.machine()}",
        "postgres": psql(POSTGRES.url, "-c", "SHOW server_version", capture_output=True).stdout.split()[0],
        "search": " ".join(str(es.info()["version"].get(key, "")) for key in ("distribution", "number")).strip(),
        "engine": subprocess.run([ENGINE, "--version"], capture_output=True, text=True, check=True).stdout.strip(),
    }


def report(all_cases, about, counts, captured):
    print(f"{FILMS} films, medians of {RUNS} runs; " + "; ".join(about.values()) + "\n")
    print("| | wall s (from - to) | own CPU, µs a document | PostgreSQL's CPU s | search server's CPU s | resident MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for case in all_cases:
        walls = [run["wall_s"] for run in case.runs]
        own, postgres, search, mb = (median(case, field) for field in ("own_us", "postgres_s", "search_s", "mb"))
        print(
            f"| {case.name} | {statistics.median(walls):.2f} ({min(walls):.2f} - {max(walls):.2f}) | {own:.1f} "
            f"| {postgres:.1f} | {f'{search:.1f}' if case.load else '-'} | {mb:.0f} |"
        )
    ratios = goals({case.name: case for case in all_cases})
    print("\n| ratio | |\n| --- | --- |")
    for name, ratio in ratios.items():
        print(f"| {name} | {ratio:.2f} |")
    if FILMS < 20000:
        print(f"\n{FILMS} films are few: below 20000, start-up counts for much in these times")
    for name, count in counts.items():
        if count:
            print(f"\n{count:.0f} instructions a document (callgrind, dry run, 1 worker; {name})")
    capture_module().report(captured)
    path = os.path.join(OUT, f"bench_{FILMS}.json")
    with open(path, "w", encoding="utf-8") as f:
        runs = {case.name: case.runs for case in all_cases}
        about = {"films": FILMS, "machine": about, "instructions": counts, "ratios": ratios, "runs": runs}
        about["capture"] = captured
        json.dump(about, f, indent=1, ensure_ascii=False)
    print(f"every run: {os.path.relpath(path, ROOT)}", file=sys.stderr)


def measure():
    url = make_films()
    os.environ.update(DATABASE_URL=url, ELASTICSEARCH_URL=SEARCH.url, FILE_PATH_STATE=os.path.join(OUT, "state"))
    es = elasticsearch.Elasticsearch([SEARCH.url], timeout=120, transport_class=loader_module().LaxTransport)
    forms = scripts()
    all_cases = cases(forms)
    es.indices.delete(index="movies", ignore_unavailable=True)
    subprocess.run(engine(forms["LATERAL"][1], "--limit", "1"), check=True)  # makes the index, for its settings
    body = loader_module().settings_of(es, "movies")
    make_bodies(forms["LATERAL"][1])
    print("comparing the documents", file=sys.stderr)
    check_documents(es, body, all_cases, forms)
    for n in range(RUNS):
        print(f"run {n + 1} of {RUNS}", file=sys.stderr)
        for case in all_cases:
            if case.load:
                empty_index(es, body)
            run(case)
    captured = capture_module().Capture().all()
    report(all_cases, machine(es), {form: instructions(forms[form][1]) for form in ("LATERAL", "field", "function")}, captured)


def loader_module():
    sys.path.insert(0, HERE)
    import loader

    return loader


def capture_module():
    sys.path.insert(0, HERE)
    import capture

    return capture


# ---- servers and signals ----


class Stopped(BaseException):
    """By a signal, which is its argument."""


def on_signals(handler):
    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sig, handler)


def stop(sig, _frame):
    on_signals(signal.SIG_IGN)  # to end properly takes seconds, in which a second one must not leave servers behind
    end_children()  # here, as subprocess would kill them: vendor/services could not end what it has started
    raise Stopped(signal.Signals(sig))


def end_children():
    """SIGINT, since PostgreSQL's clients then cancel their query; SIGKILL for who does not end."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="utf-8") as f:
        pids = [int(pid) for pid in f.read().split()]
    for pid in pids:
        os.kill(pid, signal.SIGINT)
    patience = time.monotonic() + 10
    for pid in pids:
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > patience:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


def with_servers(work):
    """Do it with the servers up; then nothing runs that did not run before. The exit status."""
    os.makedirs(OUT, exist_ok=True)
    idle = [server for server in (POSTGRES, SEARCH) if not server.running()]
    try:
        on_signals(stop)
        for server in idle:
            server.up()
        work()
        return 0
    except Stopped as stopped:
        sig = stopped.args[0]
        say(f"stopped by {sig.name}")
        return 128 + sig
    finally:
        on_signals(signal.SIG_IGN)
        end_children()
        for server in idle:
            server.down()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(with_servers(measure))
