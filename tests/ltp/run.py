#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs LTP's system-call tests in a linux cell, many per boot, in QEMU.

run.py LTP [--only REGEX] [--batch N] [--peer] [--jobs N] [--results FILE] [--again]

LTP is an installed Linux Test Project (the folder with runtest/ and testcases/bin/), built by the
user for x86-64. Its programs and the libraries they need go into an archive in memory, the
root of the cell. --peer runs the same archive under a Debian cloud kernel in the same QEMU
instead. Results are merged into FILE (build/ltp.json, build/ltp-peer.json): name, code, time, the
telling lines. --again leaves out what passed already. --jobs: as many machines at a time."""

import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "suite"))
import batches  # noqa: E402
import machines  # noqa: E402

LISTS = ("syscalls", "syscalls-ipc")
SECONDS = 60
# Tests that need more by what they count.
LONGER = {"fork13": 120, "fork14": 120, "msgstress01": 300, "pidfd_send_signal01": 90}


def tests(ltp):
    """(name, seconds, [program, arguments]) of the lists."""
    found = []
    for name in LISTS:
        with open(os.path.join(ltp, "runtest", name), encoding="utf-8") as f:
            for line in f:
                words = line.split("#")[0].split()
                if len(words) >= 2 and words[0] not in (t[0] for t in found):
                    found.append((words[0], LONGER.get(words[0], SECONDS), words[1:]))
    return found


class Ltp(machines.Root):
    """The tree of the container: helper programs always, those of the tests as they are chosen."""

    def __init__(self, ltp, tmp):
        super().__init__(tmp, ["suite/testcases"])
        self.ltp = ltp
        os.symlink("../bin", f"{self.dir}/suite/testcases/bin")
        self.library("/lib/x86_64-linux-gnu/libgcc_s.so.1")  # pthread_exit loads it
        self.every = set(os.listdir(f"{ltp}/testcases/bin"))
        for name in self.every:
            if not re.search(r"\d\d", name):
                self.add(name)

    def path(self, name):
        return f"{self.ltp}/testcases/bin/{name}"

    def add(self, name):
        to = f"{self.dir}/suite/bin/{name}"
        if os.path.exists(to) or name not in self.every:
            return
        if os.path.isdir(self.path(name)):
            shutil.copytree(self.path(name), to, symlinks=True)
        else:
            self.program(self.path(name))

    def choose(self, batch):
        """Exactly these tests' own programs, and the list."""
        keep = set()
        for _, _, words in batch:
            stem = re.sub(r"_(16|64)$", "", words[0])
            keep |= {n for n in self.every if n == words[0] or n.startswith(stem)}
        for name in os.listdir(f"{self.dir}/suite/bin"):
            if re.search(r"\d\d", name) and name not in keep:
                path = f"{self.dir}/suite/bin/{name}"
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        for name in sorted(keep):
            self.add(name)
        self.list(batch)


def summary(results):
    kinds = {}
    for r in results.values():
        kind = {"0": "pass", "32": "not applicable", "4": "warning"}.get(r["code"], "fail")
        kinds[kind] = kinds.get(kind, 0) + 1
    return ", ".join(f"{v} {k}" for k, v in sorted(kinds.items()))


def main():
    a = batches.options(__doc__, ("--batch", {"type": int, "default": 100}))
    path = a.results or os.path.join(machines.BUILD, "ltp-peer.json" if a.peer else "ltp.json")
    every = {t[0]: t for t in tests(a.folder)}
    results = batches.load(path)
    todo = [n for n in every if re.search(a.only, n) and
            not (a.again and results.get(n, {}).get("code") in ("0", "32"))]

    def take(root, left):
        batch = [every[n] for n in left[:a.batch]]
        del left[:a.batch]
        if batch:
            root.choose(batch)
        return batch

    def keep(new):
        results.update(new)
        return []

    run = batches.Run(path, results, todo, lambda tmp: Ltp(a.folder, tmp),
                      machines.machine_peer if a.peer else machines.machine_d0)
    run.go(a.jobs, take, keep, lambda: summary(results))
    for name in every:
        r = results.get(name)
        if r and re.search(a.only, name) and r["code"] != "0":
            print(f"{name} {r['code']} {' | '.join(r['lines'][:2])[:200]}")


if __name__ == "__main__":
    main()
