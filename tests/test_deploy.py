"""The manifests for Kubernetes, and the image: whatever of it can be tried without a cluster and a registry."""
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
import textwrap
import urllib.request

import pytest

import films
from conftest import ENGINE
from test_load import ok
from tools import ROOT, free_port

MANIFESTS = os.path.join(ROOT, "vendor", "kubernetes")
WAYS = {"follow": "Deployment", "load": "Job", "cron": "CronJob"}
kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl here")


def read(*path):
    with open(os.path.join(MANIFESTS, *path), encoding="utf-8") as f:
        return f.read()


def version():
    return subprocess.run([ENGINE, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]


def rendered(way):
    done = subprocess.run(["kubectl", "kustomize", f"{MANIFESTS}/{way}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def in_the_pod(engine, movies, search_one, tmp_path):
    """Runs a container's command as the manifests start it: with their script, secrets and folder."""
    secrets, state = tmp_path / "secrets", tmp_path / "state"
    for folder in (secrets, state):
        folder.mkdir()
    for name, value in (("database_url", movies.url), ("elasticsearch_url", search_one.url)):
        (secrets / name).write_text(value)
        (secrets / name).chmod(0o440)
    env = {"CREDENTIALS_DIRECTORY": str(secrets), "DATABASE_URL": None, "ELASTICSEARCH_URL": None, "FILE_PATH_STATE": None}

    def start(words):
        words = [word.replace("/etc/etl-engine", f"{MANIFESTS}/base") for word in words]
        return engine.start(*words, env=env, cwd=str(state))

    return start


def words_of(text, key):
    """The items of the list `key` in a manifest."""
    block = re.search(rf"^( *){key}:\n((?:\1 +- .*\n)+)", text, re.M)
    return [item.strip().strip('"') for item in re.findall(r"- (.*)\n", block.group(2))]


def answers(port, path):
    """As the kubelet asks: any status from 200 to 399 is well."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status < 400
    except OSError:
        return False


def test_the_commands_of_the_manifests_do_their_work(in_the_pod, movies, search_one, wait_until):
    films_there = movies.value("SELECT count(*) FROM content.film_work")
    ok(in_the_pod(words_of(read("load", "job.yaml"), "args")).wait())
    assert search_one.count("titles") == films_there
    movies.execute("DELETE FROM content.film_work WHERE id IN (SELECT id FROM content.film_work LIMIT 1)")
    ok(in_the_pod(words_of(read("cron", "cronjob.yaml"), "args")).wait())
    assert search_one.count("titles") == films_there - 1
    manifest, port = read("follow", "deployment.yaml"), free_port()
    assert "- 0.0.0.0:9187\n" in manifest and "containerPort: 9187\n" in manifest
    running = in_the_pod([word.replace("9187", str(port)) for word in words_of(manifest, "args")])
    alive, ready = re.findall(r"Probe:\n +httpGet:\n +path: (\S+)\n +port: http\n", manifest)
    wait_until(lambda: answers(port, ready))
    assert answers(port, alive)
    movies.execute("UPDATE content.film_work SET title = 'new', modified = now()")
    wait_until(lambda: {doc["title"] for doc in search_one.docs("titles").values()} == {"new"})
    assert running.stop().returncode == 143


@kubectl
@pytest.mark.parametrize("way", WAYS)
def test_the_manifests_are_complete(way, tmp_path):
    text = rendered(way)
    assert f"kind: {WAYS[way]}\n" in text and f"image: etl-engine:{version()}\n" in text
    script = re.search(r"^  pipeline\.lua: \|\n((?:    .*\n|\n)+)", text, re.M).group(1)
    assert textwrap.dedent(script).strip() == read("base", "pipeline.lua").strip()
    name = re.search(r"name: (etl-engine-script-\w+)", text).group(1)  # a change of the script changes it, and so the pod
    assert text.count(name) == 2
    for line in ("runAsNonRoot: true", "readOnlyRootFilesystem: true", "allowPrivilegeEscalation: false"):
        assert line in text
    if importlib.util.find_spec("kubernetes_validate"):
        (tmp_path / "all.yaml").write_text(text)
        subprocess.run(["kubernetes-validate", "--strict", str(tmp_path / "all.yaml")], check=True)


@kubectl
def test_a_component_adds_the_monitor(tmp_path):
    """The monitor asks the service, and that one the pod, by labels and names that fit."""
    shutil.copytree(MANIFESTS, tmp_path / "kubernetes")
    (tmp_path / "kubernetes" / "mine").mkdir()
    with open(tmp_path / "kubernetes" / "mine" / "kustomization.yaml", "w", encoding="utf-8") as f:
        f.write("resources:\n  - ../follow\ncomponents:\n  - ../servicemonitor\n")
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path / "kubernetes" / "mine")], capture_output=True, text=True, check=True)
    kinds = {re.search(r"^kind: (.*)$", part, re.M).group(1): part + "\n" for part in done.stdout.split("\n---\n")}
    assert "ServiceMonitor" not in rendered("follow")
    label = "app.kubernetes.io/name: etl-engine"
    assert f"matchLabels:\n      {label}\n" in kinds["ServiceMonitor"] and "port: http\n" in kinds["ServiceMonitor"]
    assert f"labels:\n    {label}\n" in kinds["Service"]
    assert "- name: http\n    port: 9187\n    targetPort: http\n" in kinds["Service"]
    assert f"selector:\n    app.kubernetes.io/component: follow\n    {label}\n" in kinds["Service"]
    assert f"labels:\n        app.kubernetes.io/component: follow\n        {label}\n" in kinds["Deployment"]


# The image

# buildah needs a root that can be pivoted: this one is moved there.
NAMESPACE = """
mount --make-rprivate /; mkdir -p {folder}/root; mount --rbind / {folder}/root; cd {folder}/root; mount --move . /
exec chroot . /bin/sh -euxc '{script}'
"""
BUILD = """
cd {root}
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
flags="--root {folder}/storage --runroot {folder}/run"
base=$(buildah $flags from scratch)
buildah $flags add -q $base {folder}/base /
buildah $flags commit -q $base localhost/debian-base
make image CONTAINER="buildah $flags" IMAGE_FLAGS=--pull-never BASE=localhost/debian-base
image=$(buildah $flags from --pull-never etl-engine:{version})
buildah $flags inspect $image >{folder}/image.json
cp -a "$(buildah $flags mount $image)" {folder}/files
"""


@pytest.fixture
def folder():
    """One that other users may enter, too."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield path


@pytest.mark.skipif(os.environ.get("ETL_FAULTS") != "long", reason="a few minutes (ETL_FAULTS=long, vendor/install container)")
@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
@pytest.mark.xdist_group("install")
def test_the_image_runs_without_root_on_a_read_only_root(engine, pg, search_one, script, folder):
    subprocess.run([f"{ROOT}/vendor/install", "container"], check=True)
    subprocess.run(["debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", f"{folder}/base"], check=True)
    build = BUILD.format(root=ROOT, folder=folder, version=version())
    done = subprocess.run(["unshare", "-m", "sh", "-euc", NAMESPACE.format(folder=folder, script=build)], check=False)
    assert done.returncode == 0
    with open(f"{folder}/image.json", encoding="utf-8") as f:
        config = json.load(f)["OCIv1"]["config"]
    assert config["User"] == "65532:65532" and config["Entrypoint"] == ["/usr/bin/etl-engine"]
    films.table(pg)
    path, state = shutil.copy(script(films.plain()), folder), f"{folder}/state"
    os.mkdir(state)
    os.chown(state, 65532, 65532)
    os.chmod(path, 0o644)
    command = [
        "bwrap", "--ro-bind", f"{folder}/files", "/", "--proc", "/proc", "--dev", "/dev", "--bind", state, config["WorkingDir"],
        "--ro-bind", path, f"{config['WorkingDir']}/script.lua", "--chdir", config["WorkingDir"], "--cap-drop", "ALL",
        "--setenv", "FILE_PATH_STATE", "state", *config["Entrypoint"], "script.lua",
    ]  # fmt: skip
    done = subprocess.run(["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", *command], env={**os.environ, **engine.env},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert search_one.count("t") == 20 and os.path.exists(f"{state}/state")
