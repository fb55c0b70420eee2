# SPDX-License-Identifier: ISC
"""What the benchmarks share: rows, medians, the table and build/bench.json."""

import json
import os
import re
import statistics
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, os.environ.get("B", "build"))
RESULT = os.path.join(BUILD, "bench.json")


def row(area, name, unit, better, d0, peer, peer_name):
    """One line of the result. d0 and peer are lists of readings (medians count) or numbers."""
    def mid(v):
        return statistics.median(v) if isinstance(v, list) and v else v
    d0, peer = mid(d0), mid(peer)
    ratio = round(d0 / peer, 4) if d0 is not None and peer else None
    return {"area": area, "name": name, "unit": unit, "better": better, "d0": d0, "peer": peer,
            "peer_name": peer_name, "ratio": ratio}


def publish(area, rows):
    """Print the table; replace this area's rows in build/bench.json."""
    old = []
    if os.path.exists(RESULT):
        with open(RESULT, encoding="utf-8") as f:
            old = [r for r in json.load(f) if r["area"] != area]
    os.makedirs(BUILD, exist_ok=True)
    with open(RESULT, "w", encoding="utf-8") as f:
        json.dump(old + rows, f, indent=1)
    print(f"{area:<34}{'D0':>14}{'peer':>14}{'ratio':>9}  unit, peer")
    for r in rows:
        def text(v):
            return "-" if v is None else f"{v:.4g}"
        print(f"  {r['name']:<32}{text(r['d0']):>14}{text(r['peer']):>14}{text(r['ratio']):>9}  "
              f"{r['unit']} ({r['better']} is better), {r['peer_name']}")


def console(argv, want, seconds, tmp):
    """What the machine prints until `want` matches, it ends, or time is up."""
    out = os.path.join(tmp, "console")
    with open(out, "wb") as f:
        proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.STDOUT)
        text = ""
        for _ in range(seconds * 5):
            try:
                proc.wait(0.2)
            except subprocess.TimeoutExpired:
                pass
            with open(out, encoding="utf-8", errors="replace") as r:
                text = r.read()
            if re.search(want, text) or proc.poll() is not None:
                break
        if proc.poll() is None:
            proc.kill()
            proc.wait()
    return text
