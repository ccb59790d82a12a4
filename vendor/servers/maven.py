"""What the Maven repositories hold: jars with all that they need, or single files. Kept under build/, for all sets."""
import contextlib
import fcntl
import glob
import os
import re
import shutil
import subprocess
import zipfile

from servers.base import ROOT, Failed, say

KEPT = os.path.join(ROOT, "build", "services", "jars")
HELD = []  # its lock, while this process has it

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>etl-engine</groupId><artifactId>servers</artifactId><version>1</version>
<packaging>pom</packaging><dependencies>%s</dependencies></project>
"""
DEPENDENCY = """<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version><type>%s</type>%s</dependency>
"""
EXCLUSION = "<exclusion><groupId>%s</groupId><artifactId>%s</artifactId></exclusion>"
ALONE = ("*:*",)


def exclusions(*names):
    return "<exclusions>" + "".join(EXCLUSION % tuple(name.split(":")) for name in names) + "</exclusions>"


def artifact(path):
    """lucene-core of .../lucene-core-9.12.0.jar"""
    return re.sub(r"-[0-9].*", "", os.path.basename(path))


def drop_twice(folder, other):
    """A class may not come twice: what the other folder has of the same artifact stays there alone."""
    have = {artifact(path) for path in glob.glob(other + "/*.jar")}
    for path in glob.glob(folder + "/*.jar"):
        if artifact(path) in have:
            os.unlink(path)


@contextlib.contextmanager
def alone():
    """One process at a time, which may ask again."""
    if HELD:
        yield
        return
    os.makedirs(KEPT, exist_ok=True)
    with open(os.path.join(KEPT, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        HELD.append(lock)
        try:
            yield
        finally:
            HELD.clear()


def kept(name, make):
    """A folder of that name, which make(folder) fills in once, whoever asks first."""
    folder = os.path.join(KEPT, name)
    with alone():
        if not os.path.isdir(folder):
            shutil.rmtree(folder + ".new", ignore_errors=True)
            os.makedirs(folder + ".new")
            make(folder + ".new")
            os.rename(folder + ".new", folder)
    return folder


def fetch(folder, *coordinates, without=()):
    """group:artifact:version[:type] each, with what they depend on (without some group:artifact, * being any), into
    the folder. Of two versions Maven takes that of the first. It compares each file with the repository's checksum."""
    say(f"fetching {coordinates[0]} by Maven (once)")
    os.makedirs(folder, exist_ok=True)
    pom = folder + ".xml"
    wanted = [(*words.split(":"), "jar")[:4] + (exclusions(*without),) for words in coordinates]
    with open(pom, "w", encoding="utf-8") as f:
        f.write(POM % "".join(DEPENDENCY % words for words in wanted))
    words = ["mvn", "-q", "-B", "-C", "-f", pom, "dependency:copy-dependencies", "-DoutputDirectory=" + folder]
    try:
        done = subprocess.run(words, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        raise Failed("no 'mvn' on this machine (hint: vendor/install services)") from None
    finally:
        os.unlink(pom)
    if done.returncode != 0:
        lines = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout.decode(errors="replace")).strip().splitlines()
        raise Failed(f"Maven could not fetch {coordinates[0]}:\n    " + "\n    ".join(lines[:3]))


def unpack(folder, coordinate, wanted=lambda name: True):
    """What is in a zip, or those of it that are wanted, into the folder."""
    fetched = folder + ".fetched"
    fetch(fetched, coordinate, without=ALONE)
    with zipfile.ZipFile(glob.glob(fetched + "/*")[0]) as archive:
        archive.extractall(folder, filter(wanted, archive.namelist()))
    shutil.rmtree(fetched)
