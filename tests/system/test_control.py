# SPDX-License-Identifier: ISC
"""The control protocol: cells come and go without leaving anything behind. And cells with
several vCPUs."""

import pytest

READY = r"^d0: ready: "


def test_a_thousand_cells_leak_nothing(boot, archive, pair):
    conf = pair + ("cell probe image=probe stack=32K caps=inspect,control channels=8 priority=4\n"
                   "args probe do=cycle n=1000\n")
    m = boot(archive(conf, ["heartbeat", "probe"]), smp=2, mem="64M")
    m.expect(READY, timeout=60)
    done = m.expect(r"probe cycle n 1000 ns (\d+) failed (\d+) \((.*)\) free (\d+) then (\d+)",
                    timeout=120, absent=r"^d0: (PANIC|HALT)")
    assert done.group(2) == "0", done.group(3)
    assert done.group(4) == done.group(5), "frames were lost"
    m.expect(r"^beat-b: heartbeat \d+", timeout=20)


def test_notifications_and_hypercalls(boot, archive):
    conf = """
cell caller image=probe channels=4
args caller do=hypercall n=2000
cell ringer image=probe channels=4
args ringer do=notify n=500
cell answerer image=probe channels=4
args answerer do=answer
channel ringer answerer protocol=virtq ring=4K label=bell
"""
    m = boot(archive(conf, ["probe"]), smp=2)
    m.expect(READY, timeout=60)
    for what in ("hypercall n 2000", "notify n 500"):
        if not m.find(rf"probe {what} ns \d+"):
            m.expect(rf"probe {what} ns \d+", timeout=60)


@pytest.mark.parametrize("smp", [1, 4])
def test_vcpus_of_one_cell(boot, archive, smp):
    conf = "cell many image=probe vcpus=4 stack=16K\nargs many do=smp n=20000\n"
    m = boot(archive(conf, ["probe"]), smp=smp)
    done = m.expect(r"probe smp n 20000 ns \d+ sum (\d+) seen ([0-9a-f]+)", timeout=60,
                    absent=r"does not start|no word|cell_failed")
    assert done.group(1) == "80000" and done.group(2) == "f"
