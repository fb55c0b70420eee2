#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Writes docs/python.md from results of run.py: publish.py VERSION RESULTS HOST-RESULTS."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "suite"))
sys.path.insert(0, HERE)
import batches  # noqa: E402
import run  # noqa: E402

HEAD = """\
# python3's own test modules in a linux cell

What the test modules of Debian's python3 that need no network make of the linux cell. Made by `tests/python/publish.py`
from runs of `tests/python/run.py`.

- {version} (packages python3, libpython3.11-testsuite), each module by itself: `python3 -m unittest test.MODULE`.
- To reproduce: `make pytests` (`PYTESTS_ARGS="--only REGEX"` for some of them; `--host`: the same tree with the host's kernel).
  Results are merged into build/python.json.
- How they run: as LTP does ([ltp.md](ltp.md)): QEMU (TCG), many per boot, root in memory, as root with every
  capability; a module has {seconds} s. The machine was shared by other emulators at that time.
- What does not pass on the host's Linux in the same tree does not count. Ten modules are those of `make test`; of the others
  only those that say so were run so far, with the files alone that they load on the host.

| | modules |
|---|---|
| in the list | {total} |
| pass on Linux | {base} |
| run here | {run} |
| **of these pass** | **{ok}** |

"""


def main():
    version, ours, theirs = sys.argv[1], batches.load(sys.argv[2]), batches.load(sys.argv[3])
    known, names = run.known(), run.modules()
    base = [n for n in names if theirs.get(n, {}).get("code") == "0"]
    here = [n for n in base if n in ours]
    ok = [n for n in here if ours[n]["code"] == "0"]
    out = HEAD.format(version=version, seconds=run.SECONDS, total=len(names), base=len(base), run=len(here), ok=len(ok))
    out += "| module | here | Linux | why not |\n|---|---|---|---|\n"
    for name in sorted(names):
        words = [{"0": "pass", None: "not run", "timeout": "not through"}.get(r.get(name, {}).get("code"), "fail")
                 for r in (ours, theirs)]
        said = " ".join(ours.get(name, {}).get("lines", []))[:120].replace("|", "\\|")
        why = known.get(name, "" if words[0] == "pass" else said if words[1] == "pass" else "not on Linux either")
        out += f"| {name} | {words[0]} | {words[1]} | {why} |\n"
    batches.publish("python.md", out, "| | modules", "| module |")


if __name__ == "__main__":
    main()
