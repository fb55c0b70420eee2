# SPDX-License-Identifier: ISC
"""A fault-injection campaign: campaign.py --count N --seed S [--hot] writes build/campaign.json.

Boots the heartbeat pair and the monitor, flips one random bit after the other in pages that the ring verifies
(live pages and golden copies of the nucleus and of every cell image), through QEMU's gdb
stub, and writes down for each what became of it. When the machine doesn't survive one, that is
written down too and the campaign goes on with a fresh one. --hot: only
functions of the live nucleus that run all the time: a flip there is executed before any check finds it.

campaign.json: {count, seed, hot, injected, repaired, retired, lost, silent, panics, cells_failed,
nucleus_recoveries, heartbeat: {lines, gap_max_us}, seconds, flips: [{n, image, address, bit,
outcome, ms}]}; outcome is "repaired", "retired" (its frame went out of service), "lost" (not
put right within the limit), "silent" (put right, but the heartbeat stopped) or "crash" (the
machine ended or panicked)."""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "system"))
from faults import hot_code, verified_frames  # noqa: E402
from machine import BUILD, Qemu  # noqa: E402

MEM = 64 << 20
LIMIT = 20  # seconds for one flip
CELLS = ["heartbeat", "monitor"]
CONF = """
cell beat-a image=heartbeat channels=4 priority=5 restart=always
args beat-a every=50
cell beat-b image=heartbeat channels=4 priority=5 restart=always
args beat-b interval=10 every=50
channel beat-a beat-b protocol=virtq ring=16K label=beat
cell monitor image=monitor stack=32K channels=4 priority=6 restart=always caps=inspect,power,console,control
"""


class Target:
    """One machine and what can be flipped in it."""

    def __init__(self, archive, hot):
        self.cwd = tempfile.mkdtemp(prefix="d0-campaign-")
        self.m = Qemu(self.cwd, archive, smp=2, mem="64M", gdb=True)
        self.m.expect(r"^d0: ready: ", timeout=60)
        self.m.expect(r"^beat-b: heartbeat 50 ", timeout=60)
        memory = self.m.dump(MEM)
        self.frames = []
        images = {c: f"{BUILD}/cells/{c}.elf" for c in CELLS} | {"nucleus": f"{BUILD}/d0.elf"}
        for name, path in images.items():
            self.frames += [(addr, name) for addr, _ in verified_frames(memory, path)]
        self.hot = [a for r in hot_code(f"{BUILD}/d0.elf") for a in range(*r)] if hot else []
        self.frames.sort()
        self.gdb = self.m.gdb()
        self.gdb.resume()

    def dead(self):
        return self.m.proc.poll() is not None or "PANIC" in self.m.log

    def retired(self):
        return {int(f, 16) for f in re.findall(r"frame_retired: frame (0x[0-9a-f]+)", self.m.log)}

    def flip(self, frame, offset, bit):
        """Returns (outcome, milliseconds)."""
        at = frame + offset
        self.gdb.pause()
        before = self.gdb.read(at, 1)[0]
        self.gdb.write(at, bytes([before ^ 1 << bit]))
        self.gdb.resume()
        start = time.monotonic()
        while time.monotonic() - start < LIMIT:
            time.sleep(0.1)
            if self.dead():
                return "crash", None
            if frame in self.retired():
                return "retired", round((time.monotonic() - start) * 1e3)
            self.gdb.pause()
            now = self.gdb.read(at, 1)[0]
            self.gdb.resume()
            if now == before:
                ms = round((time.monotonic() - start) * 1e3)
                return ("repaired" if self.beats() else "silent"), ms
        return "lost", None

    def beats(self):
        """Whether the heartbeat goes on (two lines more, as one may have been on its way)."""
        at, end = len(self.m.log), time.monotonic() + LIMIT
        while time.monotonic() < end and not self.dead():
            if len(re.findall(r"^beat-b: heartbeat \d+", self.m.log[at:], re.M)) >= 2:
                return True
            time.sleep(0.2)
        return False

    def post_mortem(self):
        """What is left to see of a machine that did not survive: its last words, and where its CPUs are."""
        print("    " + "\n    ".join(self.m.log.splitlines()[-12:]), flush=True)
        if self.m.proc.poll() is None:
            text = self.m.qmp("human-monitor-command", **{"command-line": "info registers -a"})
            for cpu in re.findall(r"RIP=\w+ RFL=\w+|GS =\w+ \w+|CR3=\w+|RSP=\w+|HLT=\w", str(text)):
                print("    " + cpu, flush=True)

    def close(self):
        self.m.stop()
        shutil.rmtree(self.cwd, ignore_errors=True)
        return self.m.log


def build_archive(folder):
    conf, out = os.path.join(folder, "conf"), os.path.join(folder, "archive")
    with open(conf, "w", encoding="utf-8") as f:
        f.write(CONF)
    argv = [f"{BUILD}/bin/d0-mkarchive", "create", "--key", f"{BUILD}/keys/signing.key", "--out",
            out, "--conf", conf, "--nucleus", f"{BUILD}/d0.elf"]
    for c in CELLS:
        argv += ["--cell", f"{c}={BUILD}/cells/{c}.elf"]
    subprocess.run(argv, check=True)
    return out


def campaign(count, seed, archive, hot):
    rng = random.Random(seed)
    flips, logs, target = [], [], None
    for n in range(count):
        if target is None:
            target = Target(archive, hot)
        gone = target.retired()
        frame, image = rng.choice([f for f in target.frames if f[0] not in gone])
        offset, bit = rng.randrange(4096), rng.randrange(8)
        if hot:
            image, address = "nucleus", rng.choice(target.hot)
            frame, offset = address & ~4095, address & 4095
        try:
            outcome, ms = target.flip(frame, offset, bit)
        except (OSError, EOFError, AssertionError):
            outcome, ms = "crash", None
        flips.append({"n": n, "image": image, "address": hex(frame + offset), "bit": bit,
                      "outcome": outcome, "ms": ms})
        print(f"  {n + 1}/{count} {image} {hex(frame + offset)}.{bit}: {outcome}"
              + (f" after {ms} ms" if ms is not None else ""), flush=True)
        if outcome in ("crash", "lost", "silent"):
            try:
                target.post_mortem()
            except (OSError, EOFError, AssertionError, KeyError) as e:
                print(f"    no more can be said: {e}")
            logs.append(target.close())
            target = None
    if target:
        logs.append(target.close())
    return flips, "\n".join(logs)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--count", type=int, default=100)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--hot", action="store_true")
    opts = args.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        flips, log = campaign(opts.count, opts.seed, build_archive(folder), opts.hot)
    gaps = [int(g) for g in re.findall(r"^beat-b: heartbeat \d+ gap_max_us (\d+)", log, re.M)]

    def outcomes(kind):
        return sum(f["outcome"] == kind for f in flips)

    result = {
        "count": opts.count, "seed": opts.seed, "hot": opts.hot, "injected": len(flips),
        "repaired": outcomes("repaired"), "retired": outcomes("retired"),
        "lost": outcomes("lost"), "silent": outcomes("silent"),
        "panics": outcomes("crash"),
        "cells_failed": len(re.findall(r"^d0: cell_failed", log, re.M)),
        "nucleus_recoveries": len(re.findall(r"^d0: nucleus_fault", log, re.M)),
        "heartbeat": {"lines": len(gaps), "gap_max_us": max(gaps, default=None)},
        "seconds": round(time.monotonic() - start, 1), "flips": flips,
    }
    path = os.path.join(BUILD, "campaign.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
    print({k: v for k, v in result.items() if k != "flips"})


if __name__ == "__main__":
    main()
