#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""`make check`: format, self-standing headers, cppcheck, clang-tidy.

    check.py [--quick] [PATH...]

Without paths it looks at every C file git knows. --quick leaves clang-tidy out. Prints
what is wrong and one line for each kind of check; ends with 1 if anything was wrong.

What was found good is remembered in build/check with the contents of every file of the
tree it was made from: it is looked at again when one of them, the flags or the tool
changes. `make clean` forgets it all."""

import concurrent.futures
import functools
import hashlib
import json
import os
import subprocess
import sys

BASE = ["-std=gnu11", "-I.", "-Iinclude", "-Ilibcell/include", "-Ibuild"]
HOST = BASE + ["-D_GNU_SOURCE"]
CELL = BASE + ["-ffreestanding", "-DD0_CELL", "-Ilibcell/include/libc"]
GUEST = CELL + ["-mgeneral-regs-only", "-DD0_GUEST"]
NUCLEUS = BASE + ["-ffreestanding", "-mgeneral-regs-only", "-DD0_NUCLEUS", "-Inucleus/libc"]
# Folders whose code runs in cells only, or in host mode only.
CELL_ONLY = ("libcell/bare", "libcell/libc", "libcell/include/libc/", "cells/samples")
FOLDER = os.path.join("build", "check")
CPPCHECK = ["cppcheck", "--quiet", "--error-exitcode=1", "--std=c11",
            "--enable=warning,portability", "--inline-suppr", f"-j{os.cpu_count()}",
            "--suppress=missingInclude", "--suppress=unknownMacro",
            "--suppress=comparePointers",  # linker sets
            "--suppress=internalAstError",  # its parser trips over designated initialisers
            "--suppress=unknownEvaluationOrder",  # and over compound literals
            "--suppress=constStatement",  # register variables with asm names
            "--suppress=varFuncNullUB",  # NULL is a pointer in C as gcc and clang have it
            "--max-configs=2",
            "--suppress=uninitvar",  # misreads cmocka's and designated initialisers
            f"--cppcheck-build-dir={FOLDER}/cppcheck",
            "-Iinclude", "-Ilibcell/include", "-I."]


def flags_of(path):
    if path.startswith("nucleus/"):
        return NUCLEUS
    if path.startswith("cells/linux/"):
        return GUEST
    if "lwip" in path:
        return HOST + ["-I/usr/include/lwip"]
    if path.startswith(CELL_ONLY) or "/bare/" in path:
        return CELL
    return HOST


def run(argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@functools.lru_cache(None)
def contents(path):
    """Of a file, in short; another value when there is none."""
    try:
        with open(path, "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()[:24]
    except OSError:
        return ""


@functools.lru_cache(None)
def version(tool):
    return run([tool, "--version"])[1]


class Memory:
    """What was found good before: {kind: {path: {"by": ..., "from": {path: contents}}}}."""

    def __init__(self, kind):
        self._path = os.path.join(FOLDER, kind + ".json")
        try:
            with open(self._path, encoding="utf-8") as f:
                self._good = json.load(f)
        except (OSError, ValueError):
            self._good = {}

    def knows(self, path, by):
        entry = self._good.get(path)
        return entry and entry["by"] == by and \
            all(contents(p) == was for p, was in entry["from"].items())

    def learn(self, path, by, sources):
        self._good[path] = {"by": by, "from": {p: contents(p) for p in sources}}

    def save(self):
        os.makedirs(FOLDER, exist_ok=True)
        with open(self._path + ".new", "w", encoding="utf-8") as f:
            json.dump(self._good, f)
        os.replace(self._path + ".new", self._path)


def included(path):
    """The files of this tree that a C file is made from, itself too."""
    _, out = run(["gcc", *flags_of(path), "-MM", "-x", "c", path])
    return {path, *(w for w in out.split()[1:] if os.path.isfile(w))}


def each(kind, paths, argv_of, config=None, sources_of_file=included):
    """Run argv_of(path) for each path not known to be good. [(path, output)] of the bad ones."""
    memory = Memory(kind)

    def by(path):
        argv = argv_of(path)
        return hashlib.sha256(repr((argv, version(argv[0]), config and contents(config)))
                              .encode()).hexdigest()[:24]

    def work(path):
        code, out = run(argv_of(path))
        return path, code, out, sources_of_file(path)

    todo = [p for p in paths if not memory.knows(p, by(p))]
    bad = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for n, (path, code, out, sources) in enumerate(pool.map(work, todo)):
            if code:
                bad.append((path, out))
            else:
                memory.learn(path, by(path), sources)
            if n % 20 == 0:  # it may be interrupted
                memory.save()
    memory.save()
    return bad


def check_format(paths):
    return each("format", paths, lambda p: ["clang-format", "--dry-run", "-Werror", p],
                ".clang-format", lambda p: {p})


def check_headers(paths):
    """Each header compiles on its own."""
    return each("headers", [p for p in paths if p.endswith(".h")],
                lambda p: ["gcc", *flags_of(p), "-Wall", "-Wextra", "-Werror",
                           "-Wno-unused-parameter", "-fsyntax-only", "-x", "c", p])


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
    """One run over all files: it remembers by itself, and looks across files."""
    os.makedirs(os.path.join(FOLDER, "cppcheck"), exist_ok=True)
    code, out = run([*CPPCHECK, *sources_of(paths)]) if sources_of(paths) else (0, "")
    return [("cppcheck", out)] if code else []


def check_tidy(paths):
    sources = [p for p in sources_of(paths) if not p.startswith("tests/")]
    if not os.path.isdir("/usr/include/lwip"):  # a peer that is only there for `make bench`
        sources = [p for p in sources if "lwip" not in p]
    return each("clang-tidy", sources,
                lambda p: ["clang-tidy", "--quiet", p, "--", *flags_of(p)], ".clang-tidy")


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
    print(f"check: {wrong} wrong" if wrong else "check: all good")
    return 1 if wrong else 0


sys.exit(main())
