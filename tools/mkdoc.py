#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""docs/hypercalls.md from the X-macro tables of include/d0: mkdoc.py > docs/hypercalls.md"""

import re


def table(path, name):
    """Entries of a table `#define NAME(X) X(...) X(...)`: lists of their arguments."""
    with open(path, encoding="utf-8") as f:
        text = f.read().replace("\\\n", " ")
    body = re.search(rf"#define {name}\(X\)(.*)", text).group(1)
    for entry in re.findall(r'X\(((?:[^()"]|"[^"]*")*)\)', body):
        entry = re.sub(r'"\s+"', "", entry)
        yield [part.strip('"') for part in re.findall(r'\s*("[^"]*"|[^,\s]+)', entry)]


def rows(head, lines):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for line in lines:
        print("| " + " | ".join(line) + " |")
    print()


def main():
    abi, control = "include/d0/abi.h", "include/d0/control.h"
    print("# Hypercalls\n\nMade by tools/mkdoc.py from include/d0/abi.h and control.h; do not "
          "edit.\n\nVMMCALL (VMCALL when the info page says VMX): number in RAX, arguments in RDI, "
          "RSI, RDX, R10;\nresult in RAX, negative for an error, a second result in RDX. "
          "Addresses are guest-physical.\n")
    rows(["number", "name", "arguments", "what it does"],
         ([n, f"`{name}`", args, text] for n, name, args, text in table(abi, "D0_HYPERCALLS")))
    print("## Errors\n")
    rows(["value", "name", "meaning"],
         ([f"-{n}", f"`D0_E{name}`", text] for n, name, text in table(abi, "D0_ERRORS")))
    print("## Control requests\n\n[R] needs the capability `inspect`, [P] `power`, the others "
          "`control`.\n")
    rows(["number", "name", "what it does"],
         ([n, f"`{name}`", text] for n, name, text in table(control, "D0_CTL_REQUESTS")))
    print("## Kinds of journal entries\n")
    rows(["number", "name", "meaning"],
         ([n, f"`{name}`", text] for n, name, text in table(control, "D0_EVENT_KINDS")))


main()
