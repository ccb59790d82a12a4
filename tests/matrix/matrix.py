#!/usr/bin/python3
"""Which servers the engine works with: the tests of tests/matrix/suite on pairs of a PostgreSQL and a search server, and one
table of what passed. `make test-matrix` runs this.

    PAIRS="postgres18+elasticsearch9 postgres+opensearch" RECORD=no tests/matrix/matrix.py

Without PAIRS: all of tests/matrix/pairs. A pair's servers are started for it and stopped after it. One that fails does not
stop the others: what its tests said is in build/matrix/PAIR.log, and the exit status is 1. Pairs for which this machine has
no Java are left out, and named.

Unless RECORD=no, the results are kept in tests/matrix/results, one line a pair, where those of an earlier run are replaced,
and README's table is made of that file.

The servers are a set of their own, build/services-matrix.
"""
import datetime
import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
os.environ.setdefault("ETL_TEST_SERVICES", "services-matrix")  # before `services` looks at it
import services  # noqa: E402
from tools import ROOT  # noqa: E402

OUT = os.path.join(ROOT, "build", "matrix")
RESULTS = os.path.join(HERE, "results")
README = os.path.join(ROOT, "README.md")
BEGIN, END = "<!-- matrix -->\n", "<!-- end of matrix -->\n"


class Failed(Exception):
    """Why a pair could not be tried, in one line."""


def say(text):
    print(text, flush=True)


# ---- what there is ----


def lines(name):
    """Those of a file of this folder that are no comment."""
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return [line.rstrip("\n") for line in f if line.strip() and not line.startswith("#")]


def suite():
    """{topic: [test]}"""
    topics = {}
    for line in lines("suite"):
        if line.startswith(" "):
            topics[topic].append(line.strip())
        else:
            topics[topic := line] = []
    return topics


def all_pairs():
    return [line.split()[0] for line in lines("pairs")]


def known():
    """The names of vendor/servers/table that can be half of a pair: (PostgreSQL, search servers)."""
    return tuple([name for name in services.known() if re.match(kind, name)] for kind in ("postgres", "opensearch|elasticsearch"))


def chosen(text):
    """The pairs that PAIRS names."""
    pairs = text.split() or all_pairs()
    for pair in pairs:
        halves = pair.split("+")
        if len(halves) != 2 or any(half not in names for half, names in zip(halves, known())):
            raise Failed(f"PAIRS names '{pair}': it has to be one of {' and one of '.join(map(', '.join, known()))}, as in postgres+opensearch")
    return pairs


# ---- one pair ----


def versions(postgres, search):
    """As the servers themselves tell them."""
    import conftest  # when the servers are known: what it imports looks for them

    database = subprocess.run(
        ["psql", "-XqAt", services.Server(postgres).url.replace("/movies", "/postgres"), "-c", "SHOW server_version"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    about = conftest.search_server(services.Server(search)).request("GET", "/")["version"]
    product = "OpenSearch" if about.get("distribution") == "opensearch" else "Elasticsearch"
    secured = " with security" if services.Server(search).url.startswith("https") else ""
    return database.stdout.split()[0], f"{product} {about['number']}{secured}"


def run_tests(pair, tests):
    """How many of each test [passed, failed, skipped], by its file and function."""
    postgres, search = pair.split("+")
    report, log = (os.path.join(OUT, f"{pair}.{kind}") for kind in ("xml", "log"))
    words = ["/usr/bin/python3", "-m", "pytest", "-q", "--junitxml", report, *[os.path.join(ROOT, "tests", test) for test in tests]]
    env = {**os.environ, "ETL_POSTGRES": postgres, "ETL_SEARCH": search}
    with open(log, "wb") as f:
        status = subprocess.run(words, cwd=ROOT, env=env, stdout=f, stderr=subprocess.STDOUT, check=False).returncode
    if status > 1:  # nothing ran, or it was broken off
        raise Failed(f"the tests did not run: see {os.path.relpath(log, ROOT)}")
    return counted(report)


def counted(report):
    counts = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        test = f"{case.get('classname').replace('.', '/')}.py::{case.get('name').split('[')[0]}"
        kinds = {child.tag for child in case}
        place = 1 if kinds & {"failure", "error"} else 2 if "skipped" in kinds else 0
        counts.setdefault(test, [0, 0, 0])[place] += 1
    return counts


def by_topic(counts):
    return {
        topic: [sum(counts.get(test, [0, 0, 0])[i] for test in tests) for i in range(3)] for topic, tests in suite().items()
    }


def start(pair):
    done = services.run("up", *pair.split("+"))
    if done.returncode:
        with open(os.path.join(OUT, pair + ".log"), "w", encoding="utf-8") as f:
            f.write(done.stderr)
        raise Failed([line for line in done.stderr.splitlines() if not line.startswith(" ")][-1])


def try_pair(pair):
    """What its line in the results says."""
    names = pair.split("+")
    try:
        start(pair)
        postgres, search = versions(*names)
        counts = run_tests(pair, [test for tests in suite().values() for test in tests])
    finally:
        services.run("down", *names)
    today = datetime.date.today().isoformat()
    return {"pair": pair, "date": today, "postgres": postgres, "search": search, "topics": by_topic(counts)}


# ---- all of them ----


def unusable(pair):
    """Why this machine cannot try it, or None."""
    every = services.known()
    return next(filter(None, (every[name].usable() for name in pair.split("+"))), None)


def run(pairs):
    """(results, pairs that failed)"""
    results, failed = [], []
    for pair in pairs:
        why, started = unusable(pair), time.monotonic()
        if why:
            say(f"{pair}: left out: {why}")
            continue
        print(f"{pair}: a few minutes", file=sys.stderr, flush=True)
        try:
            result = try_pair(pair)
        except Failed as e:
            say(f"{pair}: {e}")
            failed.append(pair)
            continue
        results.append(result)
        passed, bad, skipped = (sum(counts[i] for counts in result["topics"].values()) for i in range(3))
        where = f": see build/matrix/{pair}.log" if bad else ""
        say(f"{pair}: {passed} passed, {bad} failed, {skipped} skipped in {time.monotonic() - started:.0f} s{where}")
        failed += [pair] if bad else []
        keep(result)
    return results, failed


def keep(result):
    """Keeps it at once, so that a run that is broken off has not been for nothing."""
    if os.environ.get("RECORD") != "no":
        record([result])


# ---- the table ----


def kept():
    with open(RESULTS, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def record(results):
    """Replaces the lines of these pairs, and README's table. A pair that is no longer one of `pairs` goes."""
    new = {result["pair"]: result for result in kept() + results}
    ordered = [new[pair] for pair in all_pairs() if pair in new]
    with open(RESULTS + ".new", "w", encoding="utf-8") as f:
        f.writelines(json.dumps(result) + "\n" for result in ordered)
    os.replace(RESULTS + ".new", RESULTS)
    with open(README, encoding="utf-8") as f:
        text = f.read()
    with open(README, "w", encoding="utf-8") as f:
        f.write(with_table(text, table(ordered)))


def with_table(readme, rows):
    before, _, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise Failed(f"README.md lacks the comments between which the table stands: {BEGIN.strip()} {END.strip()}")
    return before + BEGIN + rows + END + after


def cell(counts):
    passed, failed, skipped = counts
    if failed:
        return f"**{failed} failed**"
    if not passed:
        return "–"
    return f"{passed} of {passed + skipped}" if skipped else "✓"


def newest_first(result):
    return [[int(n) for n in re.findall(r"\d+", result[key])] for key in ("postgres", "search")]


def table(results):
    topics = list(suite())
    rows = [["PostgreSQL", "search server", "date", *topics], ["---"] * (3 + len(topics))]
    for result in sorted(results, key=newest_first, reverse=True):
        cells = [cell(result["topics"].get(topic, [0, 0, 0])) for topic in topics]
        rows.append([result["postgres"], result["search"], result["date"], *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main():
    pairs = chosen(os.environ.get("PAIRS", ""))
    os.makedirs(OUT, exist_ok=True)
    try:
        results, failed = run(pairs)
    finally:
        services.run("purge")
    if results:
        say("\n" + table(results))
    if failed:
        say(f"failed: {' '.join(failed)}")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as complaint:
        print(f"matrix: {complaint}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
