#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Lines of code and bytes of each room: size.py BUILD. Prints a table, writes size.json.

Lines of code are those that are neither blank nor comment, of .c, .h and .S files; what
`gcc -fpreprocessed -dD -E -P` leaves of them has as many. Bytes come from the linked images."""
import glob
import json
import os
import re
import subprocess
import sys

ROOMS = {  # room: (source folders, image or None)
    "nucleus": (["nucleus"], "d0.elf"),
    "libcell": (["libcell"], None),
    "h2": (["h2"], None),
    "d0d": (["d0d"], "bin/d0d"),
}


def count_lines(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        text = f.read()
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    lines = (re.sub(r"//.*", "", line).strip() for line in text.split("\n"))
    return sum(1 for line in lines if line)


def room_lines(folders):
    total = 0
    for folder in folders:
        for ext in ("c", "h", "S"):
            for path in glob.glob(f"{folder}/**/*.{ext}", recursive=True):
                total += count_lines(path)
    return total


def sections(image):
    """(text, data, bss) in bytes; rodata counts as text."""
    if not image or not os.path.exists(image):
        return 0, 0, 0
    out = subprocess.run(["size", image], check=True, capture_output=True, text=True).stdout
    return tuple(int(v) for v in out.splitlines()[1].split()[:3])


def rooms(build):
    found = dict(ROOMS)
    for folder in sorted(glob.glob("cells/*") + glob.glob("cells/samples/*")):
        name = os.path.basename(folder)
        if os.path.isdir(folder) and name != "samples":
            found[f"cell {name}"] = ([folder], f"cells/{name}.elf")
    return {k: (f, os.path.join(build, i) if i else None) for k, (f, i) in found.items()
            if any(os.path.isdir(d) for d in f)}


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    table = {}
    print("lines of code (neither blank nor comment), and bytes of the linked images")
    print(f"{'room':<18} {'lines':>7} {'text':>9} {'data':>9} {'bss':>9}")
    for room, (folders, image) in rooms(build).items():
        text, data, bss = sections(image)
        table[room] = {"lines": room_lines(folders), "text": text, "data": data, "bss": bss}
        print(f"{room:<18} {table[room]['lines']:>7} {text:>9} {data:>9} {bss:>9}")
    with open(os.path.join(build, "size.json"), "w", encoding="utf-8") as f:
        json.dump(table, f, indent=1)


main()
