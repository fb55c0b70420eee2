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


def library(folder, root, only=None):
    """The standard library and the interpreter into a root; of the tests only some, if they are named."""
    def leave_out(where, names):
        out = LEFT_OUT(where, names)
        if only and where == f"{folder}/test":
            out |= {n for n in names if n.split(".")[0] not in ("__init__", "support", *only)}
        if only and where == folder:
            out |= {"ensurepip", "distutils", "asyncio", "xml", "sqlite3", "curses", "wsgiref"} & set(names)
        return out

    shutil.copytree(folder, root + folder, ignore=leave_out, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    for path in [os.path.realpath("/usr/bin/python3")] + [
            f"{folder}/lib-dynload/{n}" for n in sorted(os.listdir(f"{folder}/lib-dynload"))]:
        for lib in machines.libraries(path):
            if not os.path.exists(root + lib):
                os.makedirs(os.path.dirname(root + lib), exist_ok=True)
                shutil.copy(os.path.realpath(lib), root + lib)
    os.makedirs(f"{root}/usr/bin", exist_ok=True)
    shutil.copy(os.path.realpath("/usr/bin/python3"), f"{root}/usr/bin/python3")


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
