"""The README and the manual pages keep their word: every command in one of them is run, in order, by one shell in a fresh
copy; what it prints is compared with what the page shows; every Lua example is run. The commands of README are run in a
checkout, those of a manual page among the examples that are installed."""
import glob
import json
import os
import re
import shutil
import subprocess

import pytest

from pipelines import lua
from test_load import ok
from tools import ROOT

README = "README.md"
MANUAL = [os.path.relpath(path, ROOT) for path in sorted(glob.glob(f"{ROOT}/vendor/man/*.md"))]


class Page:
    def __init__(self, path):
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            self.text = f.read()
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", self.text, re.M | re.S)
        self.shell = [body for kind, body in blocks if kind == "sh"]
        self.shown = [  # what the page shows below each of them, or None
            blocks[i + 1][1] if i + 1 < len(blocks) and blocks[i + 1][0] == "text" else None
            for i, (kind, _) in enumerate(blocks)
            if kind == "sh"
        ]
        self.lua = [body for kind, body in blocks if kind == "lua"]


PAGES = {os.path.basename(path): Page(path) for path in (README, *MANUAL)}
LUA = [(name, body) for name, page in PAGES.items() for body in page.lua]
SCRIPTS = [(name, body) for name, body in LUA if re.search(r"^return \{", body, re.M)]
SNIPPETS = [(name, body) for name, body in LUA if (name, body) not in SCRIPTS]


def named(examples):
    return [f"{name.split('.')[0]}{i}" for i, (name, _) in enumerate(examples)]


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


@pytest.fixture
def examples(engine, movies, search_one, tmp_path):
    """What is installed beside the pages: the scripts, in the current folder, and the command in PATH."""
    folder = tmp_path / "examples"
    shutil.copytree(os.path.join(ROOT, "scripts"), folder)
    (tmp_path / "bin").mkdir()
    shutil.copy2(engine.path, tmp_path / "bin" / "etl-engine")
    engine.env["PATH"] = f"{tmp_path}/bin:{os.environ['PATH']}"
    del engine.env["FILE_PATH_STATE"]
    return str(folder)


def check_commands(page, cwd, env):
    printed = run_in_order(page.shell, cwd, env)
    assert len(printed) == len(page.shell)
    for command, output, shown in zip(page.shell, printed, page.shown):
        if shown is not None:
            assert without_what_varies(output.strip()) == without_what_varies(shown.strip()), command


def test_every_command_of_the_readme_runs_and_prints_what_it_shows(engine, checkout):
    assert len(PAGES[README].shell) > 5
    check_commands(PAGES[README], checkout, engine.env)


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if page.shell and name != README])
def test_every_command_of_a_manual_page_does_so_too(engine, examples, name):
    check_commands(PAGES[name], examples, engine.env)


@pytest.mark.parametrize("number", range(len(SCRIPTS)), ids=named(SCRIPTS))
def test_every_script_runs(engine, movies, search_one, script, tmp_path, number):
    body = SCRIPTS[number][1]
    path = script(body)
    (tmp_path / "build").mkdir()
    documents = ok(engine(path, "--dry-run", cwd=str(tmp_path))).docs
    assert documents
    ok(engine(path, cwd=str(tmp_path)))
    index = re.search(r'indices = "(.+?)"', body) or re.search(r'index = "(\w+)"', body)
    assert search_one.count(index.group(1)) == len(documents)


@pytest.mark.parametrize("number", range(len(SNIPPETS)), ids=named(SNIPPETS))
def test_every_example_of_the_api_holds(engine, movies, search_one, script, number):
    path = script(
        f"""local etl = require "etl"
return {{
  name = "example",
  source = {{ url = os.getenv "DATABASE_URL", table = "content.genre", key = "id", query = {lua("SELECT id FROM content.genre")} }},
  document = function(row) return {{}} end,
  before_run = function(run)
{SNIPPETS[number][1]}
  end,
  sink = {{ url = os.getenv "ELASTICSEARCH_URL", index = "example" }},
  state = os.getenv "FILE_PATH_STATE",
}}"""
    )
    ok(engine(path))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_complete(name):
    text = PAGES[name].text
    folder = os.path.join(ROOT, os.path.dirname(next(path for path in (README, *MANUAL) if os.path.basename(path) == name)))
    assert "OUTPUT" not in text
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in links if not os.path.exists(os.path.join(folder, link))] == []
    for shown, target in re.findall(r"\[([^]]*)\]\(([^)#:]+\.[1-8]\.md)\)", text):  # "[name(7)](name.7.md)"
        assert os.path.basename(target) == re.sub(r"\((\d)\)$", r".\1.md", shown)


def test_the_pages_together():
    """README is short, and leads to all others."""
    assert PAGES[README].text.count("\n") <= 250
    assert [path for path in MANUAL if f"({path})" not in PAGES[README].text] == []
    for path in MANUAL:
        name = os.path.basename(path)
        assert re.match(r"# %s: [a-z]" % re.escape(re.sub(r"\.(\d)\.md$", r"(\1)", name)), PAGES[name].text)
    assert len(SCRIPTS) >= 7 and len(SNIPPETS) >= 10 and sum(len(page.shell) for page in PAGES.values()) > 20
