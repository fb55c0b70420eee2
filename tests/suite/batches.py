# SPDX-License-Identifier: ISC
"""What the runs of several suites share: batches of programs over one or more machines at a time,
results in a file that is written after each batch, and the reasons of what does not pass."""

import argparse
import json
import os
import re
import tempfile
import threading
import textwrap

import machines

TOP = machines.TOP


def options(doc, *more):
    """The options of every suite; more: (name, keyword arguments) of its own."""
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--only", default="")
    p.add_argument("--peer", action="store_true")
    p.add_argument("--again", action="store_true")
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--results")
    for name, words in more:
        p.add_argument(name, **words)
    return p.parse_args()


def load(path):
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        return json.load(f)


class Run:
    """todo: the programs. take(root, todo): the next batch, (name, seconds, words), taken out of todo and put
    into the root. keep(new): takes the results of a batch in and returns what of it is to do again."""

    def __init__(self, path, results, todo, make_root, machine):
        self.path, self.results, self.todo = path, results, todo
        self.make_root, self.machine = make_root, machine
        self.lock, self.problems = threading.Lock(), []

    def save(self):
        with open(self.path, "w", encoding="utf-8") as f:
            json.dump(self.results, f, indent=1, sort_keys=True)

    def worker(self, number, take, keep, say):
        try:
            with tempfile.TemporaryDirectory() as tmp, \
                    open(self.path.replace(".json", f".{number}.log"), "wb", buffering=0) as log:
                root, failed = self.make_root(tmp), 0
                while True:
                    with self.lock:
                        batch = take(root, self.todo)
                    if not batch:
                        return
                    new, missed = {}, batch
                    try:
                        missed = machines.run_machine(self.machine(root, tmp), batch, new, log)
                        failed = 0
                    except RuntimeError:
                        failed += 1
                        if failed == 3:
                            raise
                    with self.lock:
                        self.todo[:0] = [m[0] for m in missed]
                        self.todo += keep(new)
                        self.save()
                        print(f"{len(self.todo)} programs to go; {say()}", flush=True)
        except (Exception, SystemExit) as e:  # pylint: disable=broad-except
            self.problems.append(e)

    def go(self, jobs, take, keep, say):
        threads = [threading.Thread(target=self.worker, args=(n, take, keep, say)) for n in range(jobs)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if self.problems:
            raise self.problems[0]


def rules(folder):
    """reasons.txt of a suite: (class, pattern, reason), the first that fits counts."""
    found = []
    with open(os.path.join(folder, "reasons.txt"), encoding="utf-8") as f:
        for line in f:
            if line.strip() and line[0] != "#":
                kind, pattern, reason = line.rstrip("\n").split("\t")
                found.append((kind, re.compile(pattern), reason))
    return found


class Groups:
    """What does not pass, by class and reason: of each name what it said."""

    def __init__(self, folder):
        self.rules, self.found = rules(folder), {}

    def add(self, name, text, value):
        """The class of what is called name, by the first rule that text fits."""
        kind, reason = next((k, r) for k, p, r in self.rules if p.search(text))
        self.found.setdefault(kind, {}).setdefault(reason, {}).setdefault(name, value)
        return kind

    def of(self, kind):
        """(reason, {name: value}) of a class, the largest first."""
        return sorted(self.found.get(kind, {}).items(), key=lambda g: (-len(g[1]), g[0]))

    def tables(self, titles, head):
        out = ""
        for kind, title in titles:
            if self.of(kind):
                out += f"\n## {title}\n\n| reason | {head} |\n|---|---|\n"
                out += "".join(f"| {r} | {' '.join(sorted(names))} |\n" for r, names in self.of(kind))
        return out

    def lists(self, titles):
        """The same for many long names: under each reason a line a program, "PROGRAM: CASE, CASE"."""
        out = ""
        for kind, title in titles:
            if self.of(kind):
                out += f"\n## {title}\n\n" + "".join(listed(r, names) for r, names in self.of(kind))
        return out


def listed(reason, names):
    programs = {}
    for name in sorted(names):
        programs.setdefault(name.split(" ", 1)[0], []).append(name.split(" ", 1)[1])
    out = f"- {reason} ({len(names)})\n"
    for program, cases in programs.items():
        out += textwrap.fill(f"{program}: {', '.join(cases)}", 118, initial_indent="  - ", subsequent_indent="    ",
                             break_long_words=False, break_on_hyphens=False) + "\n"
    return out


def publish(name, text, first, last):
    """docs/NAME, and the part from first to last on the terminal."""
    with open(os.path.join(TOP, "docs", name), "w", encoding="utf-8") as f:
        f.write(text)
    print(text[text.index(first):text.index(last)])
