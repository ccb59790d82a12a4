"""What is installed beside the binary: manual pages, completions, the unit for systemd, the package. No server is needed."""
import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

from conftest import ENGINE
from tools import ROOT, SLOW

pytestmark = pytest.mark.xdist_group("install")  # one `make` at a time
needs = {name: pytest.mark.skipif(not shutil.which(name), reason=f"no {name} here") for name in (
    "systemd-analyze", "mandoc", "man", "fish", "zsh", "lintian", "dh")}  # fmt: skip


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def make(*words):
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "CFLAGS"))}
    done = subprocess.run(["make", "-C", ROOT, *words], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def files_below(folder):
    return {os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names}


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """All of it, installed into a folder."""
    folder = str(tmp_path_factory.mktemp("prefix"))
    make("install", f"PREFIX={folder}")
    return folder


@pytest.fixture(scope="module")
def commands():
    """{command: its --help}"""
    text = run(ENGINE, "--help").stdout
    names = re.findall(r"^  (\w+) ", text[text.index("commands"):], re.M)
    assert {"run", "reindex", "state"} <= set(names)
    return {name: run(ENGINE, name, "--help").stdout for name in names}


def options_of(text):
    return set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", text, re.M))


def test_what_is_installed_works_and_is_removed_without_a_trace(tmp_path):
    root = str(tmp_path)
    make("install", "PREFIX=/usr", f"DESTDIR={root}")
    assert {"usr/bin/etl-engine", *(f"usr/share/man/man{name[-1]}/{name}" for name in PAGES),
            "usr/share/bash-completion/completions/etl-engine", "usr/share/etl-engine/library/etl.d.lua",
            "usr/share/etl-engine/monitoring/etl-engine.rules.yml", "usr/share/etl-engine/monitoring/grafana.json",
            "usr/lib/systemd/system/etl-engine@.service"} <= files_below(root)  # fmt: skip
    assert run(f"{root}/usr/bin/etl-engine", "--version").stdout.startswith("etl-engine ")
    left = [name for name in files_below(root) if not name.endswith("/etl-engine") and re.search(r"@[A-Z]+@", read(f"{root}/{name}"))]
    assert left == []  # placeholders
    assert "ExecStart=/usr/bin/etl-engine " in read(f"{root}/usr/lib/systemd/system/etl-engine@.service")
    make("uninstall", "PREFIX=/usr", f"DESTDIR={root}")
    assert files_below(root) == set() and not os.path.exists(f"{root}/usr/share/etl-engine")


def test_the_versions_agree():
    version = run(ENGINE, "--version").stdout.split()[1]
    assert re.search(r"^## (\S+)", read("CHANGELOG.md"), re.M).group(1) == version
    assert read("vendor/debian/changelog").startswith(f"etl-engine ({version}) ")
    assert read("LICENSE").startswith("MIT License") and "the etl-engine authors" in read("LICENSE")


# The manual pages


def page_text(path):
    done = run("man", "-l", path, env={**os.environ, "MANWIDTH": "400", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""})
    assert done.returncode == 0, done.stderr
    return re.sub(r".\x08", "", done.stdout)


PAGES = sorted(name.removesuffix(".md") for name in os.listdir(f"{ROOT}/vendor/man") if name.endswith(".md"))


@pytest.mark.parametrize("page", [f"man{name[-1]}/{name}" for name in PAGES])
class TestPage:
    @needs["mandoc"]
    def test_mandoc_finds_no_fault(self, prefix, page):
        # with a short prefix: a line with the path of a test's folder may be too long
        with open(f"{prefix}/share/man/{page}", encoding="utf-8") as f:
            text = f.read().replace(str(prefix), "/usr")
        lines = subprocess.run(["mandoc", "-Tlint"], input=text, capture_output=True, text=True, check=False).stdout.splitlines()
        # whether the pages that it refers to are installed here is another matter
        assert [line for line in lines if "referenced manual not found" not in line] == []

    @needs["man"]
    def test_man_has_nothing_to_warn_of(self, prefix, page):
        # wide: the prefix of a test is a long path, which no line could break
        env = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "250"}
        done = run("man", "--warnings", "-l", f"{prefix}/share/man/{page}", env=env)
        assert done.returncode == 0 and done.stderr == "" and len(done.stdout) > 2000

    def test_it_refers_to_pages_that_there_are(self, prefix, page):
        named = re.findall(r"^\.(?:It |Pf \S+ )?Xr (etl-engine\S*) (\d)", read(f"{prefix}/share/man/{page}"), re.M)
        assert named and {".".join(name) for name in named} <= set(PAGES)


@needs["man"]
def test_the_page_of_the_command_has_every_option_and_no_other(prefix, commands):
    text = page_text(f"{prefix}/share/man/man1/etl-engine.1")
    for name, shown in commands.items():
        assert f"etl-engine {shown.splitlines()[0].removeprefix('usage: etl-engine ')}" in text
    known = set().union(*map(options_of, commands.values()))
    assert known - set(re.findall(r"--[a-z-]+", text)) == set()
    assert set(re.findall(r"--[a-z-]+", text)) - known <= {"--version", "--now"}
    for variable in re.findall(r'"((?:ELASTICSEARCH|AWS)_[A-Z0-9_]+)"', read("engine/es/es_security.c")):
        assert variable in text


def stub_fields():
    """{class of scripts/etl.d.lua: {field: required}}"""
    found, at = {}, None
    for line in read("scripts/etl.d.lua").splitlines():
        if match := re.match(r"---@class (etl(?:\.\w+)?)", line):
            at = found.setdefault(match.group(1), {})
        elif match := re.match(r"---@field (\w+)(\??) ", line):
            at[match.group(1)] = not match.group(2)
    return found


def test_the_stub_has_every_field_of_a_script_and_no_other():
    groups = {"": "etl.Pipeline", "source": "etl.Source", "related": "etl.Related", "sink": "etl.Sink"}
    rows = re.findall(r'^    \{"(\w*)", "(\w+)", \w+,\s+(\w+),', read("engine/script/pipeline_fields.c"), re.M)
    fields = {group: {name: need != "PIPELINE_OPTIONAL" for g, name, need in rows if g == group} for group in groups}
    assert sum(map(len, fields.values())) > 40
    stub = stub_fields()
    for group, name in groups.items():
        assert stub[name] == fields[group]


@needs["man"]
def test_the_page_of_scripts_has_every_field_and_function(prefix):
    text = page_text(f"{prefix}/share/man/man5/etl-engine-script.5")
    for fields in (stub_fields()[name] for name in ("etl.Pipeline", "etl.Source", "etl.Related", "etl.Sink")):
        for field, required in fields.items():
            shown = re.findall(rf"^ +{field} \((.*?)\)$", text, re.M)
            assert any(kind.endswith(", required") == required for kind in shown), field
    for function in re.findall(r"^function etl\.(\w+)\(", read("scripts/etl.d.lua"), re.M):
        assert f"etl.{function}(" in text
    assert "etl.pg.query(sql, ...)" in text and "etl.log.warn(format, ...)" in text


@pytest.mark.parametrize("path", ["README.md", *(f"vendor/man/{name}.md" for name in PAGES)])
def test_options_fields_and_functions_that_a_page_names_exist(commands, path):
    text = read(path)
    options = set().union(*map(options_of, commands.values())) | {"--version"}
    assert {word for word in re.findall(r"`(--[a-z-]+)", text)} - options == set()
    assert {word for line in re.findall(r"etl-engine [^|`\n]*", text) for word in re.findall(r" (--[a-z-]+)", line)} - options == set()
    fields = stub_fields()
    for group, name in re.findall(r"`(source|sink)\.(\w+)", text):
        assert name in fields[f"etl.{group.title()}"], f"{group}.{name}"
    stub = read("scripts/etl.d.lua")
    known = set(re.findall(r"^function (?:etl\.)?([\w.]+)\(", stub, re.M)) | set(stub_fields()["etl"]) | {"d.lua"}
    assert set(re.findall(r"`etl\.([a-z][\w.]*)", text)) - known == set()


# Completions


class Shell:
    """An interactive bash in which keys are pressed."""

    def __init__(self, completion, folder):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ.update(TERM="dumb", PS1="$ ", HISTFILE="")
            os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
        self.press(f"bind 'set completion-query-items 0'; bind 'set page-completions off'; . '{completion}'; echo read''y\n")
        self.until("ready")

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def until(self, pattern):
        text, end = "", time.monotonic() + 30 * SLOW
        while not (found := re.search(pattern, text)):
            assert time.monotonic() < end, text
            if select.select([self.fd], [], [], 0.1)[0]:
                text += os.read(self.fd, 65536).decode()
        return found

    def completed(self, line):
        """The line after TAB, read back by the shell itself."""
        self.press(f"{line}\t\x01echo '<' \x05 '>'\n")
        return self.until(r"\r\n< (.*?) >\r\n").group(1).strip()

    def offered(self, line):
        """What it lists when TAB is pressed twice."""
        self.press(f"{line}\t\t")
        words = self.until(rf"\r\n((?:.*\r\n)+)\$ {re.escape(line)}").group(1).split()
        self.press("\x15")
        return set(words)

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.fixture
def bash(prefix, tmp_path):
    for name in ("movies.lua", "movies.sql", "persons.lua"):
        (tmp_path / name).touch()
    shell = Shell(f"{prefix}/share/bash-completion/completions/etl-engine", tmp_path)
    yield shell
    shell.close()


def test_bash_completes(bash, commands):
    assert bash.completed("etl-engine --fol") == "etl-engine --follow"
    assert bash.completed("etl-engine mov") == "etl-engine movies.lua"
    assert bash.completed("etl-engine reindex --rep") == "etl-engine reindex --replace-index"
    assert bash.completed("etl-engine movies.lua --dry-run --format=b") == "etl-engine movies.lua --dry-run --format=bulk"
    assert bash.completed("etl-engine movies.lua --log-format j") == "etl-engine movies.lua --log-format json"
    assert bash.completed("etl-engine movies.lua --keys-from movies.s") == "etl-engine movies.lua --keys-from movies.sql"
    assert bash.completed("etl-engine state sh") == "etl-engine state show"
    assert bash.completed("etl-engine state show per") == "etl-engine state show persons.lua"
    assert {"movies.lua", "persons.lua", *commands} == bash.offered("etl-engine ")
    for name, text in commands.items():
        assert options_of(text) <= bash.offered(f"etl-engine {name} --")


@needs["fish"]
def test_fish_completes(prefix, commands, tmp_path):
    def offered(line):
        path = f"{prefix}/share/fish/vendor_completions.d/etl-engine.fish"
        done = run("fish", "--no-config", "-c", f"source '{path}'; complete -C '{line}'", cwd=tmp_path)
        assert done.returncode == 0 and done.stderr == ""
        return {text.split("\t")[0] for text in done.stdout.splitlines()}

    assert offered("etl-engine state ") >= {"show", "set", "reset"}
    assert offered("etl-engine --format ") >= {"documents", "bulk"}
    assert offered("etl-engine ") >= set(commands)
    for name, text in commands.items():
        assert offered(f"etl-engine {name} --") == options_of(text)


@needs["zsh"]
def test_zsh_reads_its_completion(prefix, commands):
    path = f"{prefix}/share/zsh/site-functions/_etl-engine"
    assert run("zsh", "-n", path).stderr == ""
    for text in commands.values():
        for option in options_of(text):
            assert option in read(path)


# systemd


@needs["systemd-analyze"]
def test_the_unit_is_right_and_exposes_little(prefix, tmp_path):
    unit = tmp_path / "etl-engine@.service"
    shutil.copy(f"{prefix}/lib/systemd/system/etl-engine@.service", unit)
    for path in (unit, tmp_path / "etl-engine@movies.service"):
        done = run("systemd-analyze", "verify", "--man=no", str(path))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run("systemd-analyze", "security", "--offline=yes", str(unit))
    level = re.search(r"Overall exposure level for .*: ([\d.]+)", done.stdout)
    assert level, done.stdout + done.stderr
    assert float(level.group(1)) < 2.0


def test_the_unit_knows_every_secret_of_the_engine(prefix):
    unit = read(f"{prefix}/lib/systemd/system/etl-engine@.service")
    files = dict(re.findall(r"^LoadCredential=(\w+):etl-engine\.%i\.(\w+)$", unit, re.M))
    assert all(name == file for name, file in files.items())
    assert {"database_url", "elasticsearch_url", "elasticsearch_password", "elasticsearch_api_key"} <= set(files)


# The package


@needs["dh"]
@needs["lintian"]
def test_the_package_is_clean_and_complete(prefix, tmp_path):
    make("deb")  # fails where lintian finds a fault
    version = run(ENGINE, "--version").stdout.split()[1]
    packages = [name for name in os.listdir(f"{ROOT}/build/deb") if re.fullmatch(rf"etl-engine_{version}_\w+\.deb", name)]
    assert len(packages) == 1
    run("dpkg-deb", "-x", f"{ROOT}/build/deb/{packages[0]}", str(tmp_path))
    packed = {os.path.basename(name).removesuffix(".gz") for name in files_below(tmp_path)}
    assert {os.path.basename(name) for name in files_below(prefix)} - packed == {"LICENSE"}
    assert os.path.isdir(tmp_path / "etc" / "etl-engine")
    assert run(str(tmp_path / "usr/bin/etl-engine"), "--version").stdout == f"etl-engine {version}\n"
