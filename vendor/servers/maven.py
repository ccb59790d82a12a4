"""What the Maven repositories hold: jars with all that they need, or single files. Kept under build/, for all sets."""
import fcntl
import os
import re
import shutil
import subprocess

from servers.base import ROOT, Failed, say

KEPT = os.path.join(ROOT, "build", "services", "jars")

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>etl-engine</groupId><artifactId>servers</artifactId><version>1</version>
<packaging>pom</packaging><dependencies>%s</dependencies></project>
"""
DEPENDENCY = """<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version><type>%s</type>%s</dependency>
"""
ALONE = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"


def kept(name, make):
    """A folder of that name, which make(folder) fills in once, whoever asks first."""
    folder = os.path.join(KEPT, name)
    os.makedirs(KEPT, exist_ok=True)
    with open(os.path.join(KEPT, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(folder):
            shutil.rmtree(folder + ".new", ignore_errors=True)
            os.makedirs(folder + ".new")
            make(folder + ".new")
            os.rename(folder + ".new", folder)
    return folder


def fetch(folder, *coordinates, alone=False):
    """group:artifact:version[:type] each, with what they depend on unless alone, into the folder. Maven compares each
    file with the repository's checksum."""
    say(f"fetching {coordinates[0]} by Maven (once)")
    os.makedirs(folder, exist_ok=True)
    pom = folder + ".xml"
    wanted = [(*words.split(":"), "jar")[:4] + (ALONE if alone else "",) for words in coordinates]
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
