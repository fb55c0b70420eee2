#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs gVisor's system-call tests in a linux cell, many programs per boot, in QEMU.

run.py FOLDER [--only REGEX] [--cases FILTER] [--peer | --host] [--results FILE] [--again]

FOLDER holds the built, static programs (NAME_test, and the helper programs they start), made by the
user from gVisor's sources. --host runs them with the host's own kernel, in a chroot and namespaces of
their own; --peer under a Debian cloud kernel in the same QEMU: what fails there doesn't count.
Results are merged into FILE (build/gvisor.json, -host, -peer): of each program every case. A program
that ends amid a case, or takes too long, is run once more without that case. --again leaves out
programs that passed."""

import argparse
import json
import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "suite"))
import machines  # noqa: E402

SECONDS = 90
ROUNDS = 5  # of a program with cases that are not through
BATCH = 160 << 20  # bytes of programs per boot: they are in memory twice


class Gvisor(machines.Root):
    """The tree: helper programs always, where the tests look for them, the others per batch."""

    def __init__(self, folder, tmp):
        super().__init__(tmp, ["suite/_main/test/syscalls"])
        self.folder = folder
        os.symlink("/suite/bin", f"{self.dir}/suite/_main/test/syscalls/linux")
        for name in os.listdir(folder):
            if not name.endswith("_test"):
                self.program(f"{folder}/{name}")

    def choose(self, batch):
        for name in os.listdir(f"{self.dir}/suite/bin"):
            if name.endswith("_test"):
                os.unlink(f"{self.dir}/suite/bin/{name}")
        for name, _, _ in batch:
            self.program(f"{self.folder}/{name}")
        self.list(batch)


def take_batch(folder, todo):
    batch, size = [], 0
    while todo and (not batch or size < BATCH):
        batch.append(todo.pop(0))
        size += os.path.getsize(f"{folder}/{batch[-1][0]}")
    return batch


def merge(results, new, without):
    """Of a program run again without some cases, those stay as they were. The programs to run again."""
    again = []
    for name, r in new.items():
        cases = r.setdefault("cases", {})
        for case in without.get(name, ()):
            cases.setdefault(case, results[name]["cases"][case])
        results[name] = r
        stuck = [c for c, v in cases.items() if v[0] == "!"]
        if len(stuck) > len(without.get(name, ())) and len(stuck) < ROUNDS:
            without[name] = stuck
            again.append(name)
    return again


def command(name, cases, without):
    text = (cases or "*") + (f"-{':'.join(without)}" if without else "")
    return (name, SECONDS, [name, f"--gtest_filter={text}"] if cases or without else [name])


def summary(results):
    signs = {"+": 0, "-": 0, "~": 0, "!": 0}
    for r in results.values():
        for case in r["cases"].values():
            signs[case[0]] += 1
    return f"{signs['+']} pass, {signs['-']} fail, {signs['!']} not through, {signs['~']} skipped"


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--only", default="")
    p.add_argument("--cases", default="")
    p.add_argument("--peer", action="store_true")
    p.add_argument("--host", action="store_true")
    p.add_argument("--again", action="store_true")
    p.add_argument("--results")
    return p.parse_args()


def main():
    a = options()
    kind = "-peer" if a.peer else "-host" if a.host else ""
    path = a.results or os.path.join(machines.BUILD, f"gvisor{kind}.json")
    machine = {"": machines.machine_d0, "-peer": machines.machine_peer, "-host": machines.machine_host}[kind]
    results, without, tried = {}, {}, []
    if os.path.exists(path) and not a.cases:
        with open(path, encoding="utf-8") as f:
            results = json.load(f)
    todo = [(n, SECONDS, []) for n in sorted(os.listdir(a.folder)) if n.endswith("_test") and
            re.search(a.only, n) and not (a.again and results.get(n, {}).get("code") == "0")]
    with tempfile.TemporaryDirectory() as tmp, open(path.replace(".json", ".log"), "wb") as log:
        root = Gvisor(a.folder, tmp)
        while todo:
            batch = [command(n, a.cases, without.get(n)) for n, _, _ in take_batch(a.folder, todo)]
            root.choose(batch)
            new = {}
            missed = machines.run_machine(machine(root, tmp), batch, new, log)
            tried += new
            todo = missed + todo + [(n, SECONDS, []) for n in merge(results, new, without)]
            with open(path if not a.cases else path + ".cases", "w", encoding="utf-8") as f:
                json.dump(results, f, indent=1, sort_keys=True)
            print(f"gvisor: {len(todo)} programs to go; {summary(results)}", flush=True)
    for name in sorted(set(tried)):
        bad = {c: v for c, v in results[name]["cases"].items() if v[0] in "-!"}
        if results[name]["code"] != "0" and not bad:
            print(f"{name}: {results[name]['code']} {' | '.join(results[name]['lines'])[:200]}")
        for case, said in bad.items():
            print(f"{name} {case} {' | '.join(s.strip() for s in said)[:300]}")


if __name__ == "__main__":
    main()
