"""The measurements, tiny: that they work, not how fast anything is."""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree

import pytest

import services
from conftest import ENGINE
from tools import ROOT

BENCH = os.path.join(ROOT, "tests", "bench")
PROGRAM = os.path.join(BENCH, "bench.py")
sys.path.insert(0, BENCH)
import chart  # noqa: E402
import report  # noqa: E402
import used  # noqa: E402

pytestmark = pytest.mark.xdist_group("bench")  # they write the same files


def environment(**words):
    """With the test's own servers: by itself it would start others."""
    tiny = {"BENCH_FILMS": "300", "BENCH_RUNS": "1", "BENCH_CHANGES": "2"}
    return {**os.environ, "ETL_TEST_SERVICES": services.SET, **tiny, **words}


def run(**words):
    command = [sys.executable, PROGRAM]
    return subprocess.run(command, env=environment(**words), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def whole(machine):
    """One run of all parts, with the engine as its own peer: what it printed, and its figures."""
    services.run("up", services.POSTGRES.name, services.SEARCH[0].name)
    path = os.path.join(ROOT, "build", "bench", "bench_300.json")
    if os.path.exists(path):
        os.unlink(path)
    peer = os.path.join(ROOT, "build", "bench", "peer.lua")
    with open(os.path.join(ROOT, "scripts", "movies.lua"), encoding="utf-8") as f:
        text = f.read().replace('"movies"', 'os.getenv "BENCH_INDEX"')
    os.makedirs(os.path.dirname(peer), exist_ok=True)
    with open(peer, "w", encoding="utf-8") as f:
        f.write(text)
    state = peer.replace(".lua", ".state")
    command = f"rm -f {state}; FILE_PATH_STATE={state} exec {ENGINE} {peer} --follow"
    done = run(BENCH_PEER=command, BENCH_PEER_NAME="itself", BENCH_PEER_NOTE="A note.")
    assert done.returncode == 0, done.stderr
    with open(path, encoding="utf-8") as f:
        return done.stdout, json.load(f)


def test_bench_compares_all_loaders_and_reports_ratios(whole):
    printed, found = whole
    cases = found["load"]["cases"]
    assert len(cases) == 13 and all(run["wall_s"] > 0 for case in cases for run in case["runs"])
    for name, ratio in found["load"]["ratios"].items():
        assert ratio > 0 and name in printed


def test_bench_follows_by_polls_from_the_log_and_by_its_peer(whole):
    printed, found = whole
    assert list(found["latency"]["followers"]) == list(found["fanout"]["followers"]) == ["poll", "wal"]
    assert sorted(found["peer"]["followers"]) == ["itself", "poll", "wal"]
    for figures in found["peer"]["followers"].values():
        assert len(figures["latency"]["idle_s"]) == len(figures["latency"]["stream_s"]) == 2
        assert [size["documents"] for size in figures["fanout"]["sizes"]] == [150, 300]
        assert all(seconds > 0 for size in figures["fanout"]["sizes"] for seconds in size["runs"])
        assert figures["fanout"]["meanwhile_s"]
        assert figures["loads"][0]["mb"] > 1
    assert "itself, one row that 300 documents contain" in printed and "\nA note." in printed


class Parent:
    """A server whose child has ended, and for which it has not waited."""

    def __init__(self, seconds):
        work = f"import os, sys, time\nif not os.fork():\n while time.process_time() < {seconds}: pass\n os._exit(0)\n"
        wait = "os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT); print('ended', flush=True); sys.stdin.read()"
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, "-c", work + wait], stdin=pipe, stdout=pipe, text=True)
        self.pid = self.process.pid


def test_the_cpu_of_a_servers_child_that_has_just_ended_counts():
    parent = Parent(0.5)
    with parent.process as process:
        assert process.stdout.readline() == "ended\n"
        assert used.server_cpu(parent) > 0.4  # the kernel rounds
        process.stdin.close()


def test_bench_sweeps_and_decodes(whole):
    printed, found = whole
    assert len(found["sweep"]["same"]) == len(found["sweep"]["differ"]) == 1
    assert found["decode"]["runs"][0]["keys"] == 6000
    assert "1 row in 100 differs" in printed and "6,000 changed rows" in printed


def test_bench_measures_only_the_parts_that_are_asked_for(whole):
    """The others' figures stay."""
    done = run(BENCH_ONLY="sweep", BENCH_RUNS="2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("###") == 1 and "### Sweep" in done.stdout
    with open(os.path.join(ROOT, "build", "bench", "bench_300.json"), encoding="utf-8") as f:
        found = json.load(f)
    assert len(found["sweep"]["same"]) == 2 and found["load"] == whole[1]["load"]


def test_bench_writes_its_tables_into_the_pages(whole, tmp_path, monkeypatch):
    for page in report.PAGES:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.join(ROOT, page), tmp_path / page)
    monkeypatch.setattr(report, "ROOT", str(tmp_path))
    path = os.path.join(ROOT, "build", "bench", "bench_300.json")
    parts = {name: whole[1][name] for name in report.PARTS}
    report.write(path, parts)
    pages = [(tmp_path / page).read_text("utf-8") for page in report.PAGES]
    report.write(path, parts)  # again, in the place of the first ones
    assert [(tmp_path / page).read_text("utf-8") for page in report.PAGES] == pages
    for name in report.PARTS:
        assert pages[1].count(report.section(name, parts[name])) == 1
    assert report.summary(whole[1]) in pages[0] and (tmp_path / report.CHART).exists()


def test_bench_writes_no_table_of_a_peer_that_has_ended():
    assert report.is_partial({"followers": {"poll": {}, "peer": {"stopped": "it ended"}}})


def test_the_chart_is_made_of_its_figures_alone(whole):
    drawn = chart.draw(whole[1])
    assert drawn == chart.draw(json.loads(json.dumps(whole[1])))
    assert all(word not in drawn for word in ("<script", "href", "url(", "@import", "@font-face"))
    svg = xml.etree.ElementTree.fromstring(drawn)
    texts = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert "Python, server-side cursor" in texts and "from the log" in texts
    labels = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text") if text.get("text-anchor") == "end"]
    assert labels and max(map(len, labels)) * 8 < chart.LEFT - 10  # pixels of a wide letter
    assert "@media (prefers-color-scheme: dark)" in drawn and len(drawn) < 10000


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("BENCH_FILMS", "99", "BENCH_FILMS is '99': it has to be a number from "),
        ("BENCH_FILMS", "abc", "BENCH_FILMS is 'abc': it has to be a number from "),
        ("BENCH_RUNS", "0", "BENCH_RUNS is '0': it has to be a number from "),
        ("BENCH_ONLY", "load,swep", "BENCH_ONLY has 'swep', which is no part: the parts are load, "),
        ("BENCH_ONLY", "peer", "BENCH_ONLY has 'peer', but BENCH_PEER has no command"),
    ],
)
def test_bench_says_in_one_line_what_it_cannot_use(name, text, says):
    done = run(**{name: text})
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"bench.py: {says}")
    assert done.stderr.count("\n") == 1


def test_a_peer_that_ends_is_one_line(servers):
    done = run(BENCH_ONLY="peer", BENCH_PEER="echo no films today; exit 3", BENCH_PEER_NAME="it")
    assert done.returncode == 1 and "it: it ended with status 3." in done.stdout
    line = [line for line in done.stderr.splitlines() if "the peer 'it' is not measured further" in line]
    assert len(line) == 1 and "ended with status 3" in line[0] and "Traceback" not in done.stderr
    log = line[0].partition("its output: ")[2].rstrip(")")
    with open(os.path.join(ROOT, log), encoding="utf-8") as f:
        assert f.read() == "no films today\n"


def test_a_peer_that_is_late_is_one_line_and_nothing_of_it_stays(servers, tmp_path):
    pids = tmp_path / "pids"
    command = f"sleep 600 & echo $$ $! >{pids}; wait"
    done = run(BENCH_ONLY="peer", BENCH_PEER=command, BENCH_PEER_LIMIT="1")
    assert done.returncode == 1
    assert "did not have 300 documents with * within 1 s" in done.stderr and "Traceback" not in done.stderr
    for pid in pids.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def engines():
    """Those that follow for the bench."""
    script = os.path.join(ROOT, "build", "bench", "bench_poll.lua")
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                words = f.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        found += [path] if script in words else []
    return found


@pytest.mark.parametrize(
    "sig, part, line", [(signal.SIGINT, "load", "comparing"), (signal.SIGTERM, "latency", "capture = poll: latency")]
)
def test_bench_stopped_by_a_signal_ends_what_it_started(servers, sig, part, line):
    command = [sys.executable, PROGRAM]
    # Its children are of its session, or engines: whoever is left there afterwards is one that it has lost.
    env = environment(BENCH_ONLY=part)
    bench = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    with bench:
        while line not in bench.stderr.readline():
            assert bench.poll() is None
        assert bool(engines()) == (part == "latency")
        bench.send_signal(sig)
        lines = bench.stderr.read().splitlines()
    assert bench.returncode == 128 + sig
    assert lines[-1] == f"bench.py: stopped by {sig.name}" and not any("Traceback" in line for line in lines)
    assert engines() == []
    with pytest.raises(ProcessLookupError):
        os.killpg(bench.pid, 0)
