# SPDX-License-Identifier: ISC
"""Run libFuzzer targets one after the other: run.py --seconds N TARGET...

With --corpus each only goes through its seeds (tests/fuzz/corpus/NAME)."""

import argparse
import os
import subprocess
import sys


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--seconds", type=int, default=60)
    args.add_argument("--corpus", action="store_true")
    args.add_argument("targets", nargs="+")
    opts = args.parse_args()
    failed = 0
    for target in opts.targets:
        name = os.path.basename(target)
        corpus = os.path.join("build", "fuzz-corpus", name)
        os.makedirs(corpus, exist_ok=True)
        seeds = os.path.join("tests", "fuzz", "corpus", name)
        dirs = ([] if opts.corpus else [corpus]) + ([seeds] if os.path.isdir(seeds) else [])
        limit = "-runs=0" if opts.corpus else f"-max_total_time={opts.seconds}"
        done = subprocess.run([target, limit, "-timeout=10",
                               "-rss_limit_mb=2048", f"-artifact_prefix=build/fuzz-{name}-",
                               "-print_final_stats=1"] + dirs,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        bad = done.returncode != 0
        failed += bad
        if bad or not opts.corpus:
            print(f"  {'FAIL' if bad else 'ok  '} {name}", flush=True)
        if bad:
            print(done.stdout.decode(errors="replace")[-4000:])
    print(f"{'fuzz corpus: ' if opts.corpus else ''}{len(opts.targets) - failed} passed, "
          f"{failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
