"""The README keeps its word: every command in it is run, in order, by one shell in a fresh copy of the checkout; what it
prints is compared with what the page shows; every Lua example is run."""
import json
import os
import re
import shutil
import subprocess

import pytest

from pipelines import lua
from test_load import ok
from tools import ROOT

with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as readme:
    TEXT = readme.read()
BLOCKS = [(kind, body) for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.M | re.S)]
SHELL = [body for kind, body in BLOCKS if kind == "sh"]
SHOWN = [  # what the page shows below each of them, or None
    BLOCKS[i + 1][1] if i + 1 < len(BLOCKS) and BLOCKS[i + 1][0] == "text" else None
    for i, (kind, _) in enumerate(BLOCKS)
    if kind == "sh"
]
LUA = [body for kind, body in BLOCKS if kind == "lua"]
SCRIPTS = [body for body in LUA if re.search(r"^return \{", body, re.M)]
SNIPPETS = [body for body in LUA if body not in SCRIPTS]

# In the copy, vendor/services tells where the tests' own servers are; they run already.
SERVICES = """#!/bin/sh
case $1 in
env) echo "export DATABASE_URL='{database}' ELASTICSEARCH_URL='{search}'" ;;
up | down) ;;
*) exit 2 ;;
esac
"""


def in_any_order(found):
    """An answer with hits: those of the same score come in the order in which the workers happened to send them."""
    answer = json.loads(found[0])
    answer["hits"]["hits"].sort(key=json.dumps)
    return json.dumps(answer)


def without_what_varies(text):
    text = re.sub(r'^\{"hits":\{"hits":.*$', in_any_order, text, flags=re.M)
    text = re.sub(r"^\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text, flags=re.M)
    text = re.sub(r"\bin [\d.]+ m?s \([\d,]+/s\); [\d.]+ MB in \d+ requests?", "in SOME TIME; SOME MB", text)
    text = re.sub(r"\b(in|after) [\d.]+ m?s(?=:|$)", r"\1 SOME TIME", text, flags=re.M)
    text = re.sub(r"(indexed|read at) \d{4}-\d\d-\d\dT[\d:.]+Z", r"\1 SOME TIME", text)
    text = re.sub(r"version \d{16}", "version OF THEN", text)
    return re.sub(r"since \d{4}-\d\d-\d\d \S+", "since THEN", text)


def copy_of_the_checkout(to, services):
    with open(os.path.join(ROOT, ".gitignore"), encoding="utf-8") as f:  # git itself knows nothing of an unpacked archive
        left_out = [".git", *(line.strip("/\n") for line in f)]
    shutil.copytree(ROOT, to, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*left_out))
    os.mkdir(os.path.join(to, "build"))
    for name in ("obj", "packages", "etl-engine"):  # so that `make` there has little to do
        subprocess.run(["cp", "-a", os.path.join(ROOT, "build", name), os.path.join(to, "build")], check=False)
    with open(os.path.join(to, "vendor", "services"), "w", encoding="utf-8") as f:
        f.write(services)


def run_in_order(blocks, cwd, env):
    """What each block printed."""
    text = "".join(f"echo; echo '==== {i}'\n{body}" for i, body in enumerate(blocks))
    done = subprocess.run(
        ["bash", "-ec", text + "echo; echo '==== all'"], cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.endswith("==== all\n"), done.stdout[-5000:]
    parts = re.split(r"\n==== \w+\n", done.stdout)
    return parts[1:-1]


@pytest.fixture
def checkout(engine, movies, search_one, tmp_path):
    folder = str(tmp_path / "checkout")
    os.mkdir(folder)
    copy_of_the_checkout(folder, SERVICES.format(database=movies.url, search=search_one.url))
    shutil.copy2(engine.path, os.path.join(folder, "build", "etl-engine"))
    del engine.env["FILE_PATH_STATE"]
    return folder


def test_every_command_runs_and_prints_what_the_page_shows(engine, checkout):
    printed = run_in_order(SHELL, checkout, engine.env)
    assert len(printed) == len(SHELL) > 5
    for command, output, shown in zip(SHELL, printed, SHOWN):
        if shown is not None:
            assert without_what_varies(output.strip()) == without_what_varies(shown.strip()), command


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_every_script_runs(engine, movies, search_one, script, tmp_path, number):
    path = script(SCRIPTS[number])
    (tmp_path / "build").mkdir()
    documents = ok(engine(path, "--dry-run", cwd=str(tmp_path))).docs
    assert documents
    ok(engine(path, cwd=str(tmp_path)))
    index = re.search(r'indices = "(.+?)"', SCRIPTS[number]) or re.search(r'index = "(\w+)"', SCRIPTS[number])
    assert search_one.count(index.group(1)) == len(documents)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_every_example_of_the_api_holds(engine, movies, search_one, script, number):
    path = script(
        f"""local etl = require "etl"
return {{
  name = "example",
  source = {{ url = os.getenv "DATABASE_URL", table = "content.genre", key = "id", query = {lua("SELECT id FROM content.genre")} }},
  document = function(row) return {{}} end,
  before_run = function(run)
{SNIPPETS[number]}
  end,
  sink = {{ url = os.getenv "ELASTICSEARCH_URL", index = "example" }},
  state = os.getenv "FILE_PATH_STATE",
}}"""
    )
    ok(engine(path))


def test_the_page_is_complete():
    assert "OUTPUT" not in TEXT
    assert len(SCRIPTS) == 6 and len(SNIPPETS) >= 10
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert [link for link in links if not os.path.exists(os.path.join(ROOT, link))] == []
