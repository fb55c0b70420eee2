#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Writes docs/gvisor.md from results of run.py: publish.py VERSION RESULTS HOST-RESULTS."""

import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "suite"))
import batches  # noqa: E402

HEAD = """\
# gVisor's system-call tests in a linux cell

What the programs of gVisor's `test/syscalls/linux` make of the linux cell, case by case.
Made by `tests/gvisor/publish.py` from runs of `tests/gvisor/run.py`.

- gVisor {version}; no part of it is in this repository. The programs were built outside of it with g++ and Debian 12's
  GoogleTest and Abseil, static.
- To reproduce: build them, put them into one folder as bazel names them (NAME_test and the helper programs), then
  `make gvisor GVISOR=/that/folder`, and once more with `GVISOR_ARGS=--host` for the host's kernel in namespaces of its
  own (or `--peer`: Debian's kernel in the same QEMU). `GVISOR_ARGS="--only REGEX"` runs some of them. Results are merged into build/gvisor.json.
- How they run: as LTP does ([ltp.md](ltp.md)): QEMU (TCG), many per boot, root in memory, every capability, one vCPU, a
  network of one transport cell (512 sockets) without a device. A
  case has {seconds} s; a program that ends amid a case or hangs in it goes on with the cases after it. The machine was shared by
  other emulators at that time.
- What fails or is skipped on the host's Linux (6.18), or was not reached there, does not count. The programs were run over one
  afternoon, with fixes in between: those that a fix concerns were run again, not every one with the last build; those of UDP,
  TCP and raw sockets later, socket_inet_loopback as far as Linux came in 150 s.
- Nothing is left out from the start: what needs what a container has not (namespaces, TUN, cgroups, Landlock, ptrace ...) is counted
  as refused on purpose, with its reason.

| | cases |
|---|---|
| pass on Linux | {all} |
| of these run here: pass or fail | {run} |
| fail: refused on purpose, or this emulator | {design} |
| the rest applies | {apply} |
| **pass** | **{ok} ({share:.1f} % of those that apply, {part:.1f} % of all run)** |
| fail: missing or wrong | {open} |
| skipped here (the test itself says so) | {skipped} |
| not reached in the time | {missing} |

Programs of which no case was run: {left}.

In the lists below several parameters of a case count as one.
"""


def short(case):
    """Without the parameter's number: one name for all of them."""
    return re.sub(r"/\d+$", "", case)


def said(lines):
    text = " ".join(x.strip() for x in lines)
    text = re.sub(r"test/syscalls/linux/", "", text).replace("|", "\\|")
    return text[:150]


class Count(dict):
    KEYS = ("ok", "design", "open", "skipped", "missing")

    def __init__(self):
        super().__init__(dict.fromkeys(self.KEYS, 0))

    def add(self, other):
        for key in self.KEYS:
            self[key] += other[key]


def judge(name, cases, good, groups):
    """The cases of a program that pass on Linux, counted; what does not pass goes to the groups."""
    count = Count()
    for case in good:
        v = cases.get(case)
        label = f"{name[:-5]} {short(case)}"
        if v is None:
            count["missing"] += 1
        elif v[0] == "~":
            count["skipped"] += 1
            reason = next(r for _, p, r in groups.rules if p.search(f"{name} {case} ~"))
            groups.found.setdefault("skipped", {}).setdefault(reason, {})[label] = []
        elif v[0] == "+":
            count["ok"] += 1
        else:
            text = f"{name} {case} {v[0]} {' '.join(v[1:])}"
            count[groups.add(label, text, v[1:] or ["hangs or ends the program"])] += 1
    return count


TITLES = (("open", "Fail: missing or wrong"), ("design", "Fail: refused on purpose, or this emulator"))


def main():
    version, ours, theirs = sys.argv[1], batches.load(sys.argv[2]), batches.load(sys.argv[3])
    groups, total, programs = batches.Groups(HERE), Count(), []
    for name in sorted(theirs):
        good = [c for c, v in theirs[name].get("cases", {}).items() if v[0] == "+"]
        if not good:
            continue
        count = judge(name, ours.get(name, {}).get("cases", {}), good, groups)
        total.add(count)
        programs.append((name[:-5], len(good), count))
    apply = total["ok"] + total["open"]
    run = apply + total["design"]
    left = [n for n, _, c in programs if c["missing"] and not any(c[k] for k in ("ok", "design", "open", "skipped"))]
    out = HEAD.format(version=version, seconds=60, apply=apply, run=run, share=100 * total["ok"] / apply,
                      part=100 * total["ok"] / run, all=sum(n for _, n, _ in programs),
                      left=" ".join(left) or "none", **total)
    out += groups.lists(TITLES + (("skipped", "Skipped here, as the test itself says"),))
    out += "\n## Programs\n\n| program | cases that pass on Linux | pass | fail | skipped | not reached |\n|---|---|---|---|---|---|\n"
    for name, n, c in programs:
        out += f"| {name} | {n} | {c['ok']} | {c['open'] + c['design']} | {c['skipped']} | {c['missing']} |\n"
    out += "\n## What they said\n\n"
    for _, cases in groups.of("open"):
        for case, lines in sorted(cases.items()):
            out += f"- {case}: {said(lines)}\n"
    batches.publish("gvisor.md", out, "| | cases", "Programs of")


if __name__ == "__main__":
    main()
