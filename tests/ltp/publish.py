#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Writes docs/ltp.md from the results of run.py: publish.py VERSION RESULTS [PEER-RESULTS]."""

import os
import re
import sys
import textwrap

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "suite"))
import batches  # noqa: E402

HEAD = """\
# LTP in a linux cell

What the Linux Test Project's system-call tests (the lists `syscalls` and `syscalls-ipc`) make of the linux cell.
Made by `tests/ltp/publish.py` from a run of `tests/ltp/run.py`.

- LTP {version}, built for x86-64 with glibc of Debian 12, dynamically linked; no part of it is in this repository.
- To reproduce: build and install LTP as it says itself, then `make ltp LTP=/opt/ltp` (`LTP_ARGS="--only REGEX"`
  for some of them). Results are merged into build/ltp.json. `LTP_ARGS=--peer` runs the same archive under a Debian
  cloud kernel in the same QEMU.
- How they run: in QEMU (TCG), many per boot. A static runner (tests/suite/runner.c) is the container's first
  process; its root is an archive in memory, /tmp a tmpfs, sockets come from a transport cell. It has every
  capability (`caps=`) and the permit for writable and executable memory (`wxallowed=1`): tests of
  privileged calls would say nothing otherwise. Each test has a time limit of 60 s; the machine it ran on was shared.
- "Does not apply": LTP itself says so (TCONF: another architecture, a library or program that is missing, 16-bit
  calls ...), or the test needs what no container has: block devices with mkfs, kernel modules, hardware.
- The tests that apply were run with the builds of one afternoon: those that a fix concerned again, not every one with the
  last. What does not apply is as an earlier run of the same day found it.

| | tests |
|---|---|
| in the lists | {total} |
| do not apply: LTP says so | {conf} |
| do not apply: need what a container has not | {none} |
| apply | {apply} |
| **pass** | **{ok} ({share:.0f} %)** |
| fail: refused on purpose | {design} |
| fail: missing or wrong | {open} |
{peer}
gVisor's own system-call tests: [gvisor.md](gvisor.md).
"""


def passed(result):
    """A pass may come with parts that LTP leaves out (32 without 1, 2, 4)."""
    return result["code"] == "0"


def words(names):
    return textwrap.fill(" ".join(names), 118, break_on_hyphens=False, break_long_words=False) + "\n"


def clean(line):
    line = re.sub(r"\S*/(?=[\w.]+\.[ch]:)", "", line)
    return line.replace("|", "\\|")[:110]


TITLES = (("open", "Fail: missing or wrong"), ("design", "Fail: refused on purpose"))


def beside(results, other):
    """What the same archive made of another kernel."""
    theirs = sum(passed(r) for r in other.values())
    both = [n for n, r in other.items() if passed(r) and n in results]
    return (f"\nThe same archive under Debian's Linux 6.1 in the same QEMU, as root and not in a container: {theirs} of {len(other)}\n"
            f"tests that were run pass; of those {sum(passed(results[n]) for n in both)} pass here.\n")


def spoken(groups):
    out = "\nWhat they said:\n\n"
    for kind, _ in TITLES:
        for _, found in groups.of(kind):
            for name, r in sorted(found.items()):
                said = clean(next((x for x in r["lines"] if "TFAIL" in x or "TBROK" in x),
                                  r["lines"][0] if r["lines"] else ""))
                out += f"- {name} ({r['code']}): {said}\n"
    return out


def main():
    version, results = sys.argv[1], batches.load(sys.argv[2])
    groups, ok, conf = batches.Groups(HERE), [], []
    for name, r in sorted(results.items()):
        if passed(r):
            ok.append(name)
        elif r["code"] == "32":
            conf.append(name)
        else:
            groups.add(name, f"{name} {' '.join(r['lines'])}", r)
    count = {k: sum(len(v) for _, v in groups.of(k)) for k in ("none", "design", "open")}
    apply = len(results) - len(conf) - count["none"]
    peer = beside(results, batches.load(sys.argv[3])) if len(sys.argv) > 3 else ""
    out = HEAD.format(version=version, total=len(results), conf=len(conf), apply=apply, ok=len(ok),
                      share=100 * len(ok) / apply, peer=peer, **count)
    out += groups.tables(TITLES, "tests") + spoken(groups)
    out += "\n## Do not apply: need what a container has not\n\n"
    for reason, names in groups.of("none"):
        out += f"{reason[0].upper()}{reason[1:]} ({len(names)}):\n\n{words(names)}\n"
    out += f"## Do not apply: LTP says so ({len(conf)})\n\n{words(conf)}\n## Pass ({len(ok)})\n\n{words(ok)}"
    batches.publish("ltp.md", out, "| | tests", "gVisor's")


if __name__ == "__main__":
    main()
