"""The measurements, tiny: that they work, not how fast anything is."""
import json
import os
import subprocess
import sys

import pytest

from tools import ROOT

PROGRAM = os.path.join(ROOT, "tests", "bench", "bench.py")


def environment(**words):
    """With the test's own servers: by itself it would start others."""
    services = os.environ.get("ETL_SERVICES", "services")
    return {**os.environ, "ETL_SERVICES": services, "BENCH_FILMS": "300", "BENCH_RUNS": "1", **words}


def test_bench_compares_all_loaders_and_reports_ratios(servers):
    done = subprocess.run([sys.executable, PROGRAM], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with open(os.path.join(ROOT, "build", "bench", "bench_300.json"), encoding="utf-8") as f:
        report = json.load(f)
    assert len(report["runs"]) == 11 and all(run["wall_s"] > 0 for runs in report["runs"].values() for run in runs)
    for name, ratio in report["ratios"].items():
        assert ratio > 0 and name in done.stdout


@pytest.mark.parametrize("name, text", [("BENCH_FILMS", "99"), ("BENCH_FILMS", "abc"), ("BENCH_RUNS", "0")])
def test_bench_says_in_one_line_which_number_it_cannot_use(name, text):
    done = subprocess.run(
        [sys.executable, PROGRAM], env=environment(**{name: text}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"bench.py: {name} is '{text}': it has to be a number from ")
    assert done.stderr.count("\n") == 1
