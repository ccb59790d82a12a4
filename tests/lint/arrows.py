#!/usr/bin/python3
"""The rules of the house, as engine/README.md tells them: which wing may include which (engine/ARROWS), and no circle of
modules. A module is a .c with its .h. Includes are arrows, and so are calls, so that a declaration in a shared header
does not hide one; a wing's *_internal.h is no module: whose it is shows in the calls. Usage: arrows.py [OBJECTS-FOLDER]."""
import collections
import glob
import os
import re
import subprocess
import sys


def wings():
    """{wing: the wings that it may include}."""
    may = {}
    with open("engine/ARROWS", encoding="utf-8") as f:
        for line in f:
            line = line.split("#")[0].strip()
            if line:
                wing, _, others = line.partition(":")
                may[wing.strip()] = set(others.split())
    return may


def includes():
    """(module, included module) for every include, where a module is "wing/name"."""
    for path in sorted(glob.glob("engine/*/*.[ch]")):
        module = path[len("engine/") : -2]
        with open(path, encoding="utf-8") as f:
            for name in re.findall(r'^#include "(.*)"', f.read(), re.M):
                if not os.path.exists(f"engine/{name}"):
                    yield module, None, f'{path}: no "{name}": an include names its wing'
                elif module != name[:-2]:
                    yield module, name[:-2], None


def calls(folder):
    """(module, called module): what one object lacks and another one has."""
    lacks, home = collections.defaultdict(set), {}
    for path in sorted(glob.glob(f"{folder}/*/*.o")):
        module = os.path.relpath(path, folder)[:-2]
        if not os.path.exists(f"engine/{module}.c"):  # it was built before the module was moved
            continue
        for line in subprocess.check_output(["nm", "-P", path], text=True).splitlines():
            name, kind = line.split()[:2]
            if kind == "U":
                lacks[module].add(name)
            elif kind in "TDBR":
                home[name] = module
    return {(module, home[name]) for module in lacks for name in lacks[module] if home.get(name, module) != module}


def circles(arrows):
    """The strongly connected parts with more than one module (Tarjan's algorithm)."""
    to = collections.defaultdict(set)
    for a, b in arrows:
        to[a].add(b)
    index, low, stack, found = {}, {}, [], []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in sorted(to[v]):
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in stack:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            part = stack[stack.index(v) :]
            del stack[stack.index(v) :]
            if len(part) > 1:
                found.append(sorted(part))

    for v in sorted(to):
        if v not in index:
            visit(v)
    return found


def main():
    may, arrows, wrong = wings(), set(), []
    for module, included, message in includes():
        if message:
            wrong.append(message)
        else:
            arrows.add((module, included))
    if len(sys.argv) > 1:
        arrows |= calls(sys.argv[1])
    inner = {arrow for arrow in arrows if any(end.endswith("_internal") for end in arrow)}
    for a, b in sorted(arrows):
        at, to = os.path.dirname(a), os.path.dirname(b)
        if at != to and to not in may.get(at, ()):
            wrong.append(f"{a} may not use {b}: engine/ARROWS has no arrow from {at} to {to}")
        elif at != to and b.endswith("_internal"):
            wrong.append(f"{a} may not include {b}.h: it is for its own wing")
    wrong += ["a circle: " + ", ".join(part) for part in circles(arrows - inner)]
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


sys.exit(main())
