#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""The support list of the linux cell, made from the SYSCALL() entries of its sources:
`linux_syscalls.py > docs/linux-syscalls.md`, or `--count`."""
import glob
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NUMBERS = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"


def entries():
    found = {}
    for path in sorted(glob.glob(os.path.join(TOP, "cells/linux/*/*.c"))):
        with open(path, encoding="utf-8") as f:
            for name, fmt in re.findall(r'^SYSCALL\((\w+),\s*"([^"]*)"', f.read(), re.M):
                found[name] = (os.path.relpath(path, TOP), fmt.endswith("!"))
    return found


def main():
    found = entries()
    with open(NUMBERS, encoding="utf-8") as f:
        numbers = {n: int(v) for n, v in re.findall(r"#define __NR_(\w+) (\d+)", f.read())}
    done = [n for n in found if not found[n][1]]
    if sys.argv[1:] == ["--count"]:
        print(len(done), "implemented,", len(found) - len(done), "refused by design,",
              len(set(numbers) - set(found)), "answer ENOSYS")
        return
    print("# System calls of the linux cell\n\nMade by tools/linux_syscalls.py from the dispatch "
          f"table. {len(done)} are implemented; {len(found) - len(done)} are there and always refuse "
          "(what they do is not a container's business); the others answer ENOSYS and are counted in "
          "/proc/d0/syscalls.\n\n| number | name | state |\n|---|---|---|")
    for name, number in sorted(numbers.items(), key=lambda e: e[1]):
        state = "ENOSYS" if name not in found else "refused" if found[name][1] else found[name][0]
        print(f"| {number} | {name} | {state} |")


main()
