#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs gVisor's system-call tests in a linux cell, many programs per boot, in QEMU.

run.py FOLDER [--only REGEX] [--cases FILTER] [--peer | --host] [--jobs N] [--seconds N] [--results FILE] [--again]

FOLDER holds the built, static programs (NAME_test, and the helper programs they start), made by the
user from gVisor's sources. --host runs them with the host's own kernel, in a chroot and namespaces of
their own; --peer under a Debian cloud kernel in the same QEMU: what fails there doesn't count.
Results are merged into FILE (build/gvisor.json, -host, -peer): of each program every case. A program
that ends amid a case, or hangs in one, is run on with the cases that follow. --again runs only the cases that
did not pass. --jobs: as many machines at a time."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "suite"))
import batches  # noqa: E402
import machines  # noqa: E402

SECONDS = 60  # of a case
ROUNDS = 24  # of a program with cases that are not through
BATCH = 40 << 20  # bytes of programs per boot: they are in memory twice, and all of them are hashed before


class Gvisor(machines.Root):
    """The tree: helper programs always, where the tests look for them, the others per batch."""

    def __init__(self, folder, tmp):
        super().__init__(tmp, ["suite/_main/test/syscalls", "suite/flags"])
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

    def flags(self, name, text):
        """GoogleTest's options for a program: a list of thousands of cases fits no command line."""
        with open(f"{self.dir}/suite/flags/{name}", "w", encoding="utf-8") as f:
            f.write(f"--gtest_filter={text}\n")


class Cases:
    """Which cases of each program are still to run, and what came of the others."""

    def __init__(self, a, results):
        self.a, self.results, self.rounds, self.tried = a, results, {}, set()
        self.size = {n: os.path.getsize(f"{a.folder}/{n}") for n in os.listdir(a.folder)}
        self.before = {}

    def filter(self, name):
        if name in self.rounds:
            without = ":".join(self.results[name]["cases"])
        else:
            without = ""
        only = self.a.cases or "*"
        if self.a.again and name in self.before:
            only = ":".join(c for c, v in self.before[name].items() if v[0] in "-!")
        return only + (f"-{without}" if without else "")

    def take(self, root, todo):
        batch, size = [], 0
        while todo and (not batch or size < BATCH):
            name = todo.pop(0)
            batch.append((name, self.a.seconds, [name, f"--gtest_flagfile=/suite/flags/{name}"]))
            root.flags(name, self.filter(name))
            size += self.size[name]
        if batch:
            root.choose(batch)
        return batch

    def keep(self, new):
        """Into the results: what came first stays, for this run. The programs with cases that follow."""
        more = []
        for name, r in new.items():
            cases = r.setdefault("cases", {})
            stuck = r["code"] not in ("0", "1") or any(v[0] == "!" for v in cases.values())
            if name in self.rounds:
                old = self.results[name]
                cases = {**cases, **old["cases"]}
                r["ms"] += old["ms"]
                r["code"] = max(r["code"], old["code"])
            self.rounds[name] = self.rounds.get(name, 0) + 1
            self.tried.add(name)
            r["cases"] = cases
            self.results[name] = r
            if stuck and self.rounds[name] < ROUNDS:
                more.append(name)
            elif name in self.before:
                r["cases"] = {**self.before[name], **cases}
        return more

    def say(self):
        signs = {"+": 0, "-": 0, "~": 0, "!": 0}
        for r in self.results.values():
            for case in r["cases"].values():
                signs[case[0]] += 1
        return f"{signs['+']} pass, {signs['-']} fail, {signs['!']} not through, {signs['~']} skipped"


def wanted(a, results):
    names = [n for n in sorted(os.listdir(a.folder)) if n.endswith("_test") and re.search(a.only, n)]
    if a.again:
        names = [n for n in names if n not in results or any(v[0] in "-!" for v in results[n]["cases"].values())]
    return names


def main():
    a = batches.options(__doc__, ("--cases", {"default": ""}), ("--host", {"action": "store_true"}),
                        ("--seconds", {"type": int, "default": SECONDS}))
    kind = "-peer" if a.peer else "-host" if a.host else ""
    path = a.results or os.path.join(machines.BUILD, f"gvisor{kind}{'-cases' if a.cases else ''}.json")
    machine = {"": machines.machine_d0, "-peer": machines.machine_peer, "-host": machines.machine_host}[kind]
    results = {} if a.cases else batches.load(path)
    cases = Cases(a, results)
    if a.again:
        cases.before = {n: r["cases"] for n, r in results.items() if r.get("cases")}
    run = batches.Run(path, results, wanted(a, results), lambda tmp: Gvisor(a.folder, tmp), machine)
    run.go(a.jobs, cases.take, cases.keep, cases.say)
    for name in sorted(cases.tried):
        bad = {c: v for c, v in results[name]["cases"].items() if v[0] in "-!"}
        if results[name]["code"] != "0" and not bad:
            print(f"{name}: {results[name]['code']} {' | '.join(results[name]['lines'])[:200]}")
        for case, said in bad.items():
            print(f"{name} {case} {' | '.join(s.strip() for s in said)[:300]}")


if __name__ == "__main__":
    main()
