#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs LTP's system-call tests in a linux cell, many per boot, in QEMU.

run.py LTP [--only REGEX] [--batch N] [--peer] [--results FILE] [--again]

LTP is an installed Linux Test Project (the folder with runtest/ and testcases/bin/), built by the
user for x86-64. Its programs and the libraries they need go into an archive in memory, the
root of the cell. --peer runs the same archive under a Debian cloud kernel in the same QEMU
instead. Results are merged into FILE (build/ltp.json, build/ltp-peer.json): name, code, time, the
telling lines. --again leaves out what passed already."""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "suite"))
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
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("ltp")
    p.add_argument("--only", default="")
    p.add_argument("--batch", type=int, default=200)
    p.add_argument("--peer", action="store_true")
    p.add_argument("--again", action="store_true")
    p.add_argument("--results")
    a = p.parse_args()
    path = a.results or os.path.join(machines.BUILD, "ltp-peer.json" if a.peer else "ltp.json")
    results = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            results = json.load(f)
    todo = [t for t in tests(a.ltp) if re.search(a.only, t[0]) and
            not (a.again and results.get(t[0], {}).get("code") in ("0", "32"))]
    with tempfile.TemporaryDirectory() as tmp, open(path.replace(".json", ".log"), "wb") as log:
        root = Ltp(a.ltp, tmp)
        while todo:
            batch, todo = todo[:a.batch], todo[a.batch:]
            root.choose(batch)
            argv = (machines.machine_peer if a.peer else machines.machine_d0)(root, tmp)
            missed = machines.run_machine(argv, batch, results, log)
            todo = missed + todo
            with open(path, "w", encoding="utf-8") as f:
                json.dump(results, f, indent=1, sort_keys=True)
            print(f"ltp: {len(todo)} to go; {summary(results)}", flush=True)
    for name, _, _ in tests(a.ltp):
        r = results.get(name)
        if r and re.search(a.only, name) and r["code"] != "0":
            print(f"{name} {r['code']} {' | '.join(r['lines'][:2])[:200]}")


if __name__ == "__main__":
    main()
