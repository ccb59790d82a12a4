"""What comes for Prometheus and Grafana: rules and dashboard."""
import json
import os
import re
import shutil
import subprocess

import pytest

import films
from tools import ROOT

FOLDER = os.path.join(ROOT, "vendor", "monitoring")
RULES = os.path.join(FOLDER, "etl-engine.rules.yml")

pytestmark = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool here (vendor/install monitoring)")


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


def promtool(*words):
    done = subprocess.run(["promtool", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def alerts():
    return re.findall(r"alert: (\w+)", read(RULES))


def test_the_rules_are_right_and_fire_when_they_should():
    promtool("check", "rules", RULES)
    promtool("check", "config", os.path.join(FOLDER, "prometheus.yml"))
    promtool("test", "rules", os.path.join(ROOT, "tests", "alerts.yml"))
    fires = re.findall(r"alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels", read("tests", "alerts.yml"))
    assert sorted(set(fires)) == sorted(alerts())


def expressions():
    """Of the dashboard: {title: its PromQL}."""
    dashboard = json.loads(read(FOLDER, "grafana.json"))
    found = {f"{p['title']} {t['refId']}": t["expr"] for p in dashboard["panels"] for t in p["targets"]}
    for variable in dashboard["templating"]["list"]:
        if match := re.fullmatch(r"label_values\((.*), \w+\)", variable.get("definition", "")):
            found[variable["name"]] = match.group(1)
    return found


def test_the_expressions_of_the_dashboard_are_valid(tmp_path):
    lines = ["groups:", "- name: dashboard", "  rules:"]
    for number, text in enumerate(expressions().values()):
        plain = text.replace("$__rate_interval", "1m").replace("$", "")
        lines += [f"  - record: x{number}", f"    expr: {json.dumps(plain)}"]
    (tmp_path / "rules.yml").write_text("\n".join(lines) + "\n")
    promtool("check", "rules", str(tmp_path / "rules.yml"))
    dashboard = json.loads(read(FOLDER, "grafana.json"))
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard["panels"]]
    assert len(set(places)) == len(places) and len({p["id"] for p in dashboard["panels"]}) == len(places)


def test_rules_and_dashboard_ask_for_what_there_is(pg, search_one, script, serve):
    films.table(pg)
    text = serve(script(films.plain()), "--follow").get("/metrics")[2]
    there = {"up"}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
        there |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    rules = dict(enumerate(re.findall(r"expr: (.*)", read(RULES))))
    for what, asked in {**expressions(), **rules}.items():
        names = set(re.findall(r"\b(?:etl_engine|process)_\w+|\bup\b", asked))
        assert names and names <= there, what
        if "pipeline" in asked and "phase" in asked:
            for phase in re.findall(r'phase="(\w+)"', asked):
                assert f'phase="{phase}"' in text
    manual = set(re.findall(r"`(etl_engine_\w+)`", read("vendor", "man", "etl-engine-monitor.7.md")))
    assert manual and manual <= {*there, "etl_engine_change_delay_seconds"}
