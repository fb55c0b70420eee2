#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs python3's own test modules in a linux cell, many per boot, in QEMU.

run.py FOLDER [--only REGEX] [--host | --peer] [--jobs N] [--results FILE] [--again]

FOLDER is the host's standard library with its tests (/usr/lib/python3.11, package libpython3.11-testsuite). Each module of
modules.txt runs with unittest; results (exit code, time, what failed) are merged into FILE (build/python.json, -host,
-peer). --host: the same tree with the host's own kernel."""

import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "suite"))
import batches  # noqa: E402
import machines  # noqa: E402

SECONDS = 240
LEFT_OUT = shutil.ignore_patterns("idlelib", "lib2to3", "tkinter", "turtledemo", "pydoc_data", "config-3*", "dist-packages")
PER_BOOT = 24


def modules(kinds=None):
    """The modules of the list, or of some kinds."""
    names = []
    with open(os.path.join(HERE, "modules.txt"), encoding="utf-8") as f:
        for line in f:
            kind, _, rest = line.strip().partition("\t")
            if rest and not kind.startswith("#") and (not kinds or kind in kinds):
                names += [n for n in rest.split() if n not in names]
    return names


def known():
    """Of modules that don't pass the reason."""
    with open(os.path.join(HERE, "known.txt"), encoding="utf-8") as f:
        return dict(line.rstrip("\n").split("\t", 1) for line in f if line.strip() and line[0] != "#")


# What a run of the tests has loaded: its paths, one a line.
TRACE = """
import sys, unittest
unittest.main(module=None, argv=["x"] + sys.argv[1:], exit=False, verbosity=0)
print("\\n".join(sorted({p for m in list(sys.modules.values()) for p in (getattr(m, "__file__", None),) if p})))
"""
ALWAYS = ("encodings/ascii.py", "encodings/latin_1.py", "encodings/idna.py", "site.py",
          "sitecustomize.py", "unittest/__main__.py")


def put(root, path):
    if os.path.exists(path) and not os.path.exists(root + path):
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        shutil.copy(os.path.realpath(path), root + path)


def interpreter(root, objects):
    for path in [os.path.realpath("/usr/bin/python3")] + objects:
        for lib in machines.libraries(path):
            put(root, lib)
    os.makedirs(f"{root}/usr/bin", exist_ok=True)
    shutil.copy(os.path.realpath("/usr/bin/python3"), f"{root}/usr/bin/python3")


def library(folder, root):
    """The whole standard library and the interpreter into a root."""
    shutil.copytree(folder, root + folder, ignore=LEFT_OUT, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    interpreter(root, [f"{folder}/lib-dynload/{n}" for n in sorted(os.listdir(f"{folder}/lib-dynload"))])


def library_for(folder, root, names):
    """What some modules load as they run on the host, and no more: each file is hashed at the boot."""
    out = subprocess.run(["/usr/bin/python3", "-B", "-c", TRACE] + [f"test.{n}" for n in names], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, check=True)
    if "FAILED" in out.stderr:
        sys.exit(f"on the host: {out.stderr[-2000:]}")
    paths = [p for p in out.stdout.split("\n") if p.startswith(folder)] + [f"{folder}/{p}" for p in ALWAYS]
    for path in paths:
        put(root, path)
    interpreter(root, [p for p in paths if p.endswith(".so")])


class Python(machines.Root):
    def __init__(self, folder, tmp):
        super().__init__(tmp)
        library(folder, self.dir)
        self.library("/lib/x86_64-linux-gnu/libgcc_s.so.1")  # pthread_exit loads it
        os.symlink("/usr/bin/python3", f"{self.dir}/suite/bin/python3")


def command(name):
    return (name, SECONDS, ["python3", "-m", "unittest", "-v", f"test.{name}"])


def main():
    a = batches.options(__doc__, ("--host", {"action": "store_true"}))
    kind = "-peer" if a.peer else "-host" if a.host else ""
    path = a.results or os.path.join(machines.BUILD, f"python{kind}.json")
    machine = {"": machines.machine_d0, "-peer": machines.machine_peer, "-host": machines.machine_host}[kind]
    results = batches.load(path)
    todo = [n for n in modules() if re.search(a.only, n) and not (a.again and results.get(n, {}).get("code") == "0")]

    def take(root, left):
        batch = [command(n) for n in left[:PER_BOOT]]
        del left[:PER_BOOT]
        if batch:
            root.list(batch)
        return batch

    def keep(new):
        results.update(new)
        return []

    def say():
        return f"{sum(r['code'] == '0' for r in results.values())} of {len(results)} pass"

    batches.Run(path, results, todo, lambda tmp: Python(a.folder, tmp), machine).go(a.jobs, take, keep, say)
    for name in modules():
        r = results.get(name)
        if r and re.search(a.only, name) and r["code"] != "0":
            print(f"{name} {r['code']} {' | '.join(r['lines'])[:300]}")


if __name__ == "__main__":
    main()
