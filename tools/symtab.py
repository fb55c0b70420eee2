#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Make a cell's symbol table from its first link: `symtab.py IMAGE > table.S`.

Format: see libcell/bare/backtrace.c. Text comes first in a cell's layout, so that linking
the table in does not move any function."""
import subprocess
import sys


def functions(image):
    out = subprocess.run(["nm", "--defined-only", "-n", image], check=True,
                         capture_output=True, text=True).stdout
    seen = {}
    for line in out.splitlines():
        addr, kind, name = line.split(maxsplit=2)
        if kind in "tTwW" and not name.startswith("__"):
            seen.setdefault(int(addr, 16), name.split(".")[0])
    return sorted(seen.items())


def main():
    table = functions(sys.argv[1]) if len(sys.argv) > 1 else []
    names, offsets = [], []
    at = 0
    for _, name in table:
        offsets.append(at)
        names.append(name)
        at += len(name) + 1
    print('\t.section .d0_symtab, "a"\n\t.balign 4\n\t.globl d0_symtab\n'
          '\t.hidden d0_symtab\nd0_symtab:')
    print(f"\t.long {len(table)}")
    for (addr, _), off in zip(table, offsets):
        print(f"\t.long {addr:#x}, {off}")
    for name in names:
        print(f'\t.asciz "{name}"')
    print('\t.section .note.GNU-stack, "", @progbits')


main()
