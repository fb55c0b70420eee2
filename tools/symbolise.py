#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Names for addresses in D0's reports: symbolise.py [BUILD [IMAGE]] < console.log

Appends function, file and line to lines that hold "nucleus+0x..." and, when the image that
failed is given, "image+0x..."."""

import re
import subprocess
import sys


def lookup(binary, address):
    out = subprocess.run(["addr2line", "-f", "-s", "-e", binary, hex(address)],
                         capture_output=True, text=True, check=False).stdout.split()
    return f" [{out[0]} {out[1]}]" if len(out) == 2 and out[0] != "??" else ""


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    image = sys.argv[2] if len(sys.argv) > 2 else None
    for line in sys.stdin:
        line = line.rstrip("\n")
        for kind, offset in re.findall(r"\b(image|nucleus)\+(0x[0-9a-f]+)", line):
            if kind == "nucleus":
                line += lookup(f"{build}/d0.elf", 0x200000 + int(offset, 16))
            elif image:
                line += lookup(f"{build}/cells/{image}.dbg", int(offset, 16))
        print(line)


main()
