"""The measurements, tiny: that they work, not how fast anything is."""
import json
import os
import signal
import subprocess
import sys

import pytest

import services
from tools import ROOT

PROGRAM = os.path.join(ROOT, "tests", "bench", "bench.py")


def environment(**words):
    """With the test's own servers: by itself it would start others."""
    return {**os.environ, "ETL_TEST_SERVICES": services.SET, "BENCH_FILMS": "300", "BENCH_RUNS": "1", **words}


def test_bench_compares_all_loaders_and_reports_ratios(servers):
    done = subprocess.run([sys.executable, PROGRAM], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with open(os.path.join(ROOT, "build", "bench", "bench_300.json"), encoding="utf-8") as f:
        report = json.load(f)
    assert len(report["runs"]) == 13 and all(run["wall_s"] > 0 for runs in report["runs"].values() for run in runs)
    for name, ratio in report["ratios"].items():
        assert ratio > 0 and name in done.stdout
    assert len(report["capture"]) == 12 and all(name in done.stdout for name in report["capture"])


@pytest.mark.parametrize("name, text", [("BENCH_FILMS", "99"), ("BENCH_FILMS", "abc"), ("BENCH_RUNS", "0")])
def test_bench_says_in_one_line_which_number_it_cannot_use(name, text):
    done = subprocess.run(
        [sys.executable, PROGRAM], env=environment(**{name: text}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"bench.py: {name} is '{text}': it has to be a number from ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_bench_stopped_by_a_signal_ends_what_it_started(servers, sig):
    command = [sys.executable, PROGRAM]
    # Its children are of its session: whoever is left there afterwards is one that it has lost.
    bench = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True)
    with bench:
        while "comparing" not in bench.stderr.readline():
            assert bench.poll() is None
        bench.send_signal(sig)
        lines = bench.stderr.read().splitlines()
    assert bench.returncode == 128 + sig
    assert lines[-1] == f"bench.py: stopped by {sig.name}" and not any("Traceback" in line for line in lines)
    with pytest.raises(ProcessLookupError):
        os.killpg(bench.pid, 0)
