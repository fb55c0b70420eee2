#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""`make check`: format, self-standing headers, cppcheck, clang-tidy. check.py [--quick] [PATH...]

Without paths it looks at every C file git knows. --quick leaves clang-tidy out. Prints
what is wrong and one line for each kind of check; ends with 1 if anything was wrong."""

import concurrent.futures
import os
import subprocess
import sys

BASE = ["-std=gnu11", "-I.", "-Iinclude", "-Ilibcell/include", "-Ibuild"]
HOST = BASE + ["-D_GNU_SOURCE"]
CELL = BASE + ["-ffreestanding", "-DD0_CELL", "-Ilibcell/include/libc"]
NUCLEUS = BASE + ["-ffreestanding", "-mgeneral-regs-only", "-DD0_NUCLEUS", "-Inucleus/libc"]
# Folders whose code runs in cells only, or in host mode only.
CELL_ONLY = ("libcell/bare", "libcell/libc", "libcell/include/libc/", "cells/samples",
             "cells/linux")


def flags_of(path):
    if path.startswith("nucleus/"):
        return NUCLEUS
    if path.startswith(CELL_ONLY) or "/bare/" in path:
        return CELL
    return HOST


def run(argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def in_parallel(work, items):
    """[(item, output)] of those that went wrong."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = zip(items, pool.map(work, items))
        return [(item, out) for item, (code, out) in results if code]


def check_format(paths):
    return in_parallel(lambda p: run(["clang-format", "--dry-run", "-Werror", p]), paths)


def check_headers(paths):
    """Each header compiles on its own."""
    headers = [p for p in paths if p.endswith(".h")]
    return in_parallel(lambda p: run(["gcc", *flags_of(p), "-Wall", "-Wextra", "-Werror",
                                      "-Wno-unused-parameter", "-fsyntax-only", "-x", "c", p]),
                       headers)


def sources_of(paths):
    """Not the attacks: they do on purpose what is warned of."""
    return [p for p in paths if p.endswith(".c") and "/hostile/" not in p]


def check_docs(_):
    """What is made from the headers is as the headers say."""
    made = run([sys.executable, "tools/mkdoc.py"])[1]
    with open("docs/hypercalls.md", encoding="utf-8") as f:
        good = f.read() == made
    return [] if good else [("docs/hypercalls.md", "run tools/mkdoc.py > docs/hypercalls.md")]


def check_cppcheck(paths):
    sources = sources_of(paths)
    if not sources:
        return []
    code, out = run(["cppcheck", "--quiet", "--error-exitcode=1", "--std=c11",
                     "--enable=warning,portability", "--inline-suppr", f"-j{os.cpu_count()}",
                     "--suppress=missingInclude", "--suppress=unknownMacro",
                     "--suppress=comparePointers",  # linker sets
                     "--suppress=internalAstError",  # its parser trips over designated initialisers
                     "--suppress=unknownEvaluationOrder",  # and over compound literals
                     "--suppress=constStatement",  # register variables with asm names
                     "--max-configs=2",
                     "--suppress=uninitvar",  # misreads cmocka's and designated initialisers
                     "-Iinclude", "-Ilibcell/include", "-I.", *sources])
    return [("cppcheck", out)] if code else []


def check_tidy(paths):
    sources = [p for p in sources_of(paths) if not p.startswith("tests/")]
    return in_parallel(lambda p: run(["clang-tidy", "--quiet", p, "--", *flags_of(p)]), sources)


def main():
    quick = "--quick" in sys.argv
    paths = [a for a in sys.argv[1:] if not a.startswith("--")]
    if not paths:
        paths = run(["git", "ls-files", "*.c", "*.h"])[1].split()
    checks = [("format", check_format), ("headers that stand alone", check_headers),
              ("generated docs", check_docs), ("cppcheck", check_cppcheck)]
    if not quick:
        checks.append(("clang-tidy", check_tidy))
    wrong = 0
    for name, check in checks:
        bad = check(paths)
        for path, out in bad:
            print(f"--- {path}\n{out.strip()}")
        print(f"check: {name}: {len(bad)} wrong" if bad else f"check: {name}: good", flush=True)
        wrong += len(bad)
    return 1 if wrong else 0


sys.exit(main())
