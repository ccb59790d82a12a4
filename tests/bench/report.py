#!/usr/bin/python3
"""The figures of the bench as tables and a chart: nothing in them is typed by hand, and the same figures give the same text.

    tests/bench/report.py build/bench/bench_100000.json            print all tables
    tests/bench/report.py build/bench/bench_100000.json --write    put them into README.md and the manual page

A table goes between the comments <!-- bench: NAME --> and <!-- end of bench: NAME -->.
"""
import json
import os
import re
import statistics
import sys

import chart

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
OUT = os.path.join(ROOT, "build", "bench")
PAGES = ("README.md", os.path.join("vendor", "man", "etl-engine-run.7.md"))
CHART = os.path.join("vendor", "man", "speed.svg")
FORMAT = 1  # of the JSON: raised when figures change their names
CAPTURES = {"poll": 'capture = "poll"', "wal": 'capture = "wal"'}


# ---- figures as text ----


def middle(runs, field):
    return statistics.median(run[field] for run in runs)


def figure(value):
    """With two digits after the point, or with none that say nothing."""
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def spread(values):
    """The median, the least, the most."""
    return f"{figure(statistics.median(values))} ({figure(min(values))} - {figure(max(values))})"


def percentile95(values):
    return sorted(values)[max(0, -(-len(values) * 95 // 100) - 1)]


def thousands(count):
    return f"{count:,}"


def where(about):
    """The line above a table: what was measured, when, with what, on what."""
    versions = ", ".join((about["engine"], about["postgres"], about["search"]))
    return (
        f"{about['date']}: {versions}; {about['cpu']}, for all of them; {thousands(about['films'])} films, "
        + (f"medians of {about['runs']} runs." if about["runs"] > 1 else "one run.")
    )


def table(head, rows):
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines).replace("|  |", "| |")


def who(name):
    return CAPTURES.get(name, name)


# ---- the tables ----


USED = ["wall s (from - to)", "own CPU, µs a document", "PostgreSQL's CPU s", "search server's CPU s", "resident MB"]


def used(runs, search=True):
    own, postgres, searches, mb = (middle(runs, field) for field in ("own_us", "postgres_s", "search_s", "mb"))
    walls = spread([run["wall_s"] for run in runs])
    return [walls, f"{own:.1f}", f"{postgres:.1f}", f"{searches:.1f}" if search else "-", f"{mb:.0f}"]


def loads(part):
    rows = [[case["name"], *used(case["runs"], case["load"])] for case in part["cases"]]
    ratios = [[name, f"{ratio:.2f}"] for name, ratio in part["ratios"].items()]
    text = table(["", *USED], rows) + "\n\n" + table(["ratio", ""], ratios)
    if part["about"]["films"] < 20000:
        text += "\n\nSo few films are loaded so soon that the start of each program counts for much."
    counts = [f"{count:.0f} ({name})" for name, count in part["instructions"].items() if count]
    if counts:
        text += "\n\nInstructions a document, by callgrind, of a dry run by 1 worker: " + ", ".join(counts) + "."
    return text


def delays(name, what, seconds):
    ms = [1000 * second for second in seconds]
    return [f"{who(name)}, {what}", *map(figure, (statistics.median(ms), percentile95(ms), max(ms)))]


def latency(part):
    rows = []
    for name, found in part["followers"].items():
        rows.append(delays(name, "nothing else to do", found["idle_s"]))
        rows.append(delays(name, f"with {found['rate']:.0f} other changes a second", found["stream_s"]))
    count = len(next(iter(part["followers"].values()))["idle_s"])
    idle = [f"{who(name)}: {found['idle_cpu']:.2f} %" for name, found in part["followers"].items()]
    head = [f"commit to index, ms, of {count} changes", "median", "95 of 100", "longest"]
    return table(head, rows) + "\n\nCPU of the process with nothing to do, of a core: " + "; ".join(idle) + "."


def fanout(part):
    rows = []
    for name, found in part["followers"].items():
        many = found["transaction"]
        of_all = [(f"one row that {thousands(size['documents'])} documents contain", size) for size in found["sizes"]]
        of_all.append((f"{thousands(many['rows'])} rows changed by one transaction", many))
        for what, runs in of_all:
            documents = runs.get("documents") or runs["rows"]
            speed = documents / statistics.median(runs["runs"])
            rows.append([f"{who(name)}, {what}", spread(runs["runs"]), f"{speed:.0f}"])
    head, most = ["commit to index", "s (from - to)", "documents a second"], thousands(found["sizes"][-1]["documents"])
    single = [f"{who(n)}: {spread([1000 * s for s in f['meanwhile_s']])}" for n, f in part["followers"].items()]
    return (
        f"{table(head, rows)}\n\nSingle changes while the row that {most} documents contain makes its way, "
        f"commit to index, ms (from - to): {'; '.join(single)}."
    )


def sweep(part):
    names = (("nothing differs", "same"), ("1 row in 100 differs", "differ"))
    return table(["sweep", *USED], [[what, *used(part[runs])] for what, runs in names])


def decode(part):
    rows = [
        ["rows a second (most of the time is the server's)", spread([run["keys"] / run["wall_s"] for run in part["runs"]])],
        [
            "rows for each second of our own CPU",
            spread([run["keys"] / max(run["cpu_s"], 0.001) for run in part["runs"]]),
        ],
    ]
    return table([f"{thousands(part['rows'])} changed rows from the log into a journal", "(from - to)"], rows)


def peer(part):
    followers = part["followers"]
    loaded = {name: found for name, found in followers.items() if found["loads"]}
    texts = []
    if loaded:
        rows = [[who(name), *used(found["loads"])] for name, found in loaded.items()]
        texts.append(table(["until the index has all documents", *USED], rows))
    for name, of_it in (("latency", latency), ("fanout", fanout)):
        measured = {who: found[name] for who, found in loaded.items() if name in found}
        if measured:
            texts.append(of_it({"about": part["about"], "followers": measured}))
    stopped = [f"{name}: {found['stopped']}." for name, found in followers.items() if "stopped" in found]
    return "\n\n".join(texts + [part["note"]] * bool(part["note"]) + stopped)


TITLES = {
    "load": "Load",
    "latency": "Latency",
    "fanout": "Many documents at once",
    "sweep": "Sweep",
    "decode": "Decoding the log",
    "peer": "Beside another program",
}
PARTS = {"load": loads, "latency": latency, "fanout": fanout, "sweep": sweep, "decode": decode, "peer": peer}


def section(name, part):
    return f"### {TITLES[name]}\n\n{where(part['about'])}\n\n{PARTS[name](part)}"


def text(found):
    return "\n\n".join(section(name, found[name]) for name in PARTS if name in found)


def summary(found):
    """README's line with the chart, for who cannot see it: its main figures."""
    says = "; ".join(f"{name}: {value}" for name, value in chart.main_figures(found))
    return f"![How fast. {says}]({CHART})"


# ---- where they go ----


def path_of(films):
    return os.path.join(OUT, f"bench_{films}.json")


def save(found, films):
    """The JSON gets the parts that were measured, and keeps what others it has."""
    path = path_of(films)
    every = {**load_figures(path), **found, "format": FORMAT}
    replace(path, json.dumps(every, indent=1, ensure_ascii=False) + "\n")
    base = path.removesuffix(".json")
    replace(base + ".md", text(every) + "\n")
    if chart.is_possible(every):
        replace(base + ".svg", chart.draw(every))


def load_figures(path):
    """Of the parts; none of a file that an older bench has written."""
    try:
        with open(path, encoding="utf-8") as f:
            every = json.load(f)
    except FileNotFoundError:
        return {}
    return every if every.get("format") == FORMAT else {}


def replace(path, content):
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(content)
    os.replace(path + ".new", path)


def between_comments(page, name, content):
    """The page with that between the comments of this name; as it is, if it has none."""
    begin, end = f"<!-- bench: {name} -->\n", f"<!-- end of bench: {name} -->"
    return re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: f"{begin}{content}\n{end}", page, flags=re.S)


def is_partial(part):
    return any("stopped" in figures for figures in part.get("followers", {}).values())


def write(path, found):
    """Into the documents: the parts of `found` that are whole, and the chart of all that the JSON has."""
    every = load_figures(path)
    contents = {name: section(name, found[name]) for name in PARTS if name in found and not is_partial(found[name])}
    if chart.is_possible(every):
        contents["summary"] = summary(every)
        replace(os.path.join(ROOT, CHART), chart.draw(every))
    for page in PAGES:
        with open(os.path.join(ROOT, page), encoding="utf-8") as f:
            changed = before = f.read()
        for name, content in contents.items():
            changed = between_comments(changed, name, content)
        if changed != before:
            replace(os.path.join(ROOT, page), changed)
            print(f"bench.py: written: {page}", file=sys.stderr)


def main(words):
    if len(words) not in (1, 2) or words[1:] not in ([], ["--write"]) or not os.path.exists(words[0]):
        print("usage: tests/bench/report.py JSON [--write]", file=sys.stderr)
        return 2
    found = load_figures(words[0])
    print(text(found))
    if words[1:]:
        write(words[0], found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
