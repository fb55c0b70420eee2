# SPDX-License-Identifier: ISC
"""The system tests: run.py OUTDIR CACHEDIR. Most of them wait more than they compute, so two groups
run side by side: those of the container host, and all others. Those in Bochs keep one CPU busy for
a minute and come first in the second. What failed is tried once more, alone: emulation on a busy
machine is slow at times. Ends with 1 if something failed twice."""

import glob
import os
import subprocess
import sys
import tempfile

TESTS = os.path.dirname(os.path.abspath(__file__))
HOST = ("test_d0d", "test_demo", "test_host_image")  # how their files' names begin


class Group:
    def __init__(self, name, which, files, out, cache):
        self.name, self.code = name, 0
        self.files = files
        self.argv = [sys.executable, "-m", "pytest", "-q", "-o", f"cache_dir={cache}/{name}", "-m", which]
        self.xml = f"--junitxml={out}/{name}"

    def start(self, output):
        return subprocess.Popen(self.argv + [self.xml + ".xml"] + self.files, stdout=output, stderr=output)

    def again(self):
        """The exit code after a second try of what failed."""
        if self.code != 1:  # all passed, or pytest itself went wrong
            return self.code
        print(f"once more, what failed of {self.name}", flush=True)
        return subprocess.run(self.argv + [self.xml + "-again.xml", "--last-failed"] + self.files,
                              check=False).returncode


def main():
    os.environ.setdefault("D0_PATIENCE", "2")  # machines that run tests have other work as well
    where = [os.path.abspath(a) for a in sys.argv[1:]]
    files = sorted(glob.glob(os.path.join(TESTS, "test_*.py")))
    host = [f for f in files if os.path.basename(f).startswith(HOST)]
    first = Group("system-host", "not bochs and not long", host, *where)
    beside = [Group("system-bochs", "bochs and not long", files, *where),
              Group("system", "not bochs and not long", [f for f in files if f not in host], *where)]
    with tempfile.TemporaryFile() as log:
        with first.start(None) as proc:
            try:
                for g in beside:
                    with g.start(log) as other:
                        g.code = other.wait()
                first.code = proc.wait()
            finally:
                if proc.poll() is None:
                    proc.terminate()
        log.seek(0)
        print(log.read().decode(errors="replace"), flush=True)
    return 1 if any([g.again() for g in (first, *beside)]) else 0


sys.exit(main())
