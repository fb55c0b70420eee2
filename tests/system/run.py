# SPDX-License-Identifier: ISC
"""The system tests: run.py OUTDIR CACHEDIR. Those in Bochs, which keep one CPU busy for a minute,
run beside the others. What failed is tried once more: emulation on a busy machine is slow at
times. Ends with 1 if something failed twice."""

import os
import subprocess
import sys

TESTS = os.path.dirname(os.path.abspath(__file__))


def command(name, which, out, cache, *more):
    return [sys.executable, "-m", "pytest", "-q", "-o", f"cache_dir={cache}/{name}", "-m", which,
            f"--junitxml={out}/{name}.xml" if not more else f"--junitxml={out}/{name}-again.xml",
            *more, TESTS]


def again(code, *args):
    """The exit code of the tests after a second try of those that failed."""
    if code != 1:  # all passed, or pytest itself went wrong
        return code
    print("once more, what failed", flush=True)
    return subprocess.run(command(*args, "--last-failed"), check=False).returncode


def main():
    os.environ.setdefault("D0_PATIENCE", "2")  # machines that run tests have other work as well
    out, cache = (os.path.abspath(a) for a in sys.argv[1:])
    beside = ("system-bochs", "bochs and not long", out, cache)
    others = ("system", "not bochs and not long", out, cache)
    with subprocess.Popen(command(*beside), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as proc:
        try:
            code = subprocess.run(command(*others), check=False).returncode
            print(proc.communicate()[0].decode(errors="replace"), flush=True)
        finally:
            if proc.poll() is None:
                proc.terminate()
    bad = again(code, *others), again(proc.returncode, *beside)
    return 1 if any(bad) else 0


sys.exit(main())
