#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Writes docs/gvisor.md from results of run.py: publish.py VERSION RESULTS HOST-RESULTS."""

import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
HEAD = """\
# gVisor's system-call tests in a linux cell

What the programs of gVisor's `test/syscalls/linux` make of the linux cell, case by case.
Made by `tests/gvisor/publish.py` from runs of `tests/gvisor/run.py`.

- gVisor {version}; no part of it is in this repository. The programs were built outside of it with g++ and Debian 12's
  GoogleTest and Abseil, static.
- To reproduce: build them, put them into one folder as bazel names them (NAME_test and the helper programs), then
  `make gvisor GVISOR=/that/folder`, and once more with `GVISOR_ARGS=--host` for the host's kernel in namespaces of its
  own (or `--peer`: Debian's kernel in the same QEMU). `GVISOR_ARGS="--only REGEX"` runs some of them. Results are merged into build/gvisor.json.
- How they run: as LTP does ([ltp.md](ltp.md)): QEMU (TCG), many per boot, root in memory, every capability, one vCPU. A
  program has {seconds} s; one that ends amid a case or hangs in it is run again without that case. The machine was shared by
  many emulators at that time: of the programs with thousands of cases (sockets over every kind of address)
  a part of the cases was not reached.
- What fails or is skipped on the host's Linux (6.18), or was not reached there, does not count. The programs were run over a
  few hours, with fixes in between: those with a fix were run again, the others not with the last build.
- Left out from the start, both here and there: cgroup, fuse, iptables, io_uring, kcov, landlock, packet_mmap, tuntap.

| | cases |
|---|---|
| pass or fail on Linux and run here | {apply} |
| **pass** | **{ok} ({share:.1f} %)** |
| fail: refused on purpose, or this emulator | {design} |
| fail: missing or wrong | {open} |
| skipped here (the test itself says so) | {skipped} |
| not reached in the time | {missing} |

Programs of which no case was run: {left}.
"""


def rules():
    found = []
    with open(os.path.join(HERE, "reasons.txt"), encoding="utf-8") as f:
        for line in f:
            if line.strip() and line[0] != "#":
                kind, pattern, reason = line.rstrip("\n").split("\t")
                found.append((kind, re.compile(pattern), reason))
    return found


def short(case):
    """Without the parameter's number: one name for all of them."""
    return re.sub(r"/\d+$", "", case)


def said(lines):
    text = " ".join(x.strip() for x in lines)
    text = re.sub(r"test/syscalls/linux/", "", text).replace("|", "\\|")
    return text[:150]


def main():
    version = sys.argv[1]
    ours, theirs = (json.load(open(p, encoding="utf-8")) for p in sys.argv[2:4])
    table, groups, programs, total = rules(), {}, [], {"ok": 0, "design": 0, "open": 0, "skipped": 0, "missing": 0}
    for name, program in sorted(ours.items()):
        base = {c: v[0] for c, v in theirs.get(name, {}).get("cases", {}).items()}
        good = [c for c, sign in base.items() if sign == "+"]
        count = dict.fromkeys(total, 0)
        for case in good:
            v = program["cases"].get(case)
            if v is None or v[0] == "~":
                count["skipped" if v else "missing"] += 1
            elif v[0] == "+":
                count["ok"] += 1
            else:
                text = f"{name} {case} {v[0]} {' '.join(v[1:])}"
                kind, reason = next((k, r) for k, p, r in table if p.search(text))
                count[kind] += 1
                groups.setdefault((kind, reason), {}).setdefault(f"{name[:-5]} {short(case)}", v[1:] or ["hangs or ends the program"])
        for key in total:
            total[key] += count[key]
        if good:
            programs.append((name[:-5], len(good), count))
    apply = total["ok"] + total["design"] + total["open"]
    left = sorted(n[:-5] for n in theirs if n not in ours and n.endswith("_test"))
    out = HEAD.format(version=version, seconds=90, apply=apply, share=100 * total["ok"] / apply,
                      left=" ".join(left) or "none", **total)
    for kind, title in (("open", "Fail: missing or wrong"), ("design", "Fail: refused on purpose, or this emulator")):
        out += f"\n## {title}\n\n| reason | cases (of which several parameters count as one) |\n|---|---|\n"
        for (k, reason), cases in sorted(groups.items(), key=lambda g: -len(g[1])):
            if k == kind:
                out += f"| {reason} | {', '.join(sorted(cases))} |\n"
    out += "\n## Programs\n\n| program | cases that pass on Linux | pass | fail | skipped | not reached |\n|---|---|---|---|---|---|\n"
    for name, n, c in programs:
        out += f"| {name} | {n} | {c['ok']} | {c['open'] + c['design']} | {c['skipped']} | {c['missing']} |\n"
    out += "\n## What they said\n\n"
    for (kind, _), cases in sorted(groups.items()):
        if kind == "open":
            for case, lines in sorted(cases.items()):
                out += f"- {case}: {said(lines)}\n"
    with open(os.path.join(TOP, "docs", "gvisor.md"), "w", encoding="utf-8") as f:
        f.write(out)
    print(out[out.index("| | cases"):out.index("Programs of")])


if __name__ == "__main__":
    main()
