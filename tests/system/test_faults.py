# SPDX-License-Identifier: ISC
"""Bits flip in verified pages, from outside. Each has to be found and put right while
everything runs on."""

import re
import time

import pytest
from faults import function, pick_flips, read_only_pages, verified_frames
from machine import BUILD, PATIENCE

READY = r"^d0: ready: "
MEM = 64 << 20


def start(boot, archive, pair, monitor, smp):
    conf = pair.replace("priority=5", "priority=5 restart=always") + \
        monitor.replace("image=monitor", "image=monitor restart=always") + "cell idle image=hostile heap=64K\nargs idle attack=spinless\n"
    m = boot(archive(conf, ["heartbeat", "monitor", "hostile"]), smp=smp, mem="64M", gdb=True)
    m.expect(READY, timeout=60)
    m.expect(r"^beat-b: heartbeat 50 ", timeout=30)
    return m


@pytest.fixture
def machine(boot, archive, pair, monitor):
    return start(boot, archive, pair, monitor, 2)


def retired_frames(m):
    """Frames that D0 says it took out of service, having moved their page."""
    return {int(f.group(1), 16)
            for f in m.find(r"^d0: frame_retired: frame (0x[0-9a-f]+) out of service")}


def failed(m):
    return len(m.find(r"^d0: cell_failed"))


def all_right(m, images):
    """Is every page of the images there three times, live and as two golden copies?"""
    memory = m.dump(MEM, held=True)
    for i in images:
        count = {n: 0 for n in read_only_pages(i).values()}
        for _, n in verified_frames(memory, i):
            count[n] += 1
        if min(count.values()) < 3:
            return False
    return True


def flip_and_wait(m, gdb, flips, limit=25, images=()):
    """Flips all; waits until every byte is as before, or its frame is out of service, or,
    where a flip ended a cell and its image was loaded anew, all of that is right."""
    before, failures = [], failed(m)
    gdb.pause()
    for addr, bit in flips:
        byte = gdb.read(addr, 1)[0]
        before.append(byte)
        gdb.write(addr, bytes([byte ^ 1 << bit]))
    gdb.resume()
    start = time.monotonic()
    while True:
        time.sleep(0.3)
        gone = retired_frames(m)
        gdb.pause()
        wrong = [hex(a) for (a, _), b in zip(flips, before)
                 if a & ~0xfff not in gone and gdb.read(a, 1)[0] != b]
        if wrong and images and failed(m) != failures and all_right(m, images):
            wrong = []
        gdb.resume()
        if not wrong:
            return
        assert time.monotonic() - start < limit * PATIENCE, f"not repaired: {wrong}"


def heartbeat_goes_on(m, failures=2):
    at = len(m.log)
    m.expect(r"^beat-b: heartbeat \d+ gap_max_us \d+", timeout=30)
    gaps = [int(g.group(1)) for g in m.find(r"^beat-b: heartbeat \d+ gap_max_us (\d+)")]
    assert max(gaps) < 10_000_000, gaps
    assert "PANIC" not in m.log[:at], m.tail()
    # A flipped call that runs before it is found leads anywhere: that cell starts anew.
    assert len(re.findall(r"^d0: cell_failed", m.log[:at], re.M)) <= failures, m.tail()


def flip_rounds(m, images, total, batch):
    """Batches of flips in each image until `total` were made in it; every one must be put right."""
    def look(memory):
        return {i: verified_frames(memory, i) for i in images}

    frames = look(m.dump(MEM))
    assert all(len(f) >= 3 for f in frames.values()), \
        "found neither the live pages nor two golden copies"
    gdb = m.gdb()
    gdb.resume()
    done, gone = 0, set()
    while done < total:
        n = min(batch, total - done)
        failures = failed(m)
        flip_and_wait(m, gdb, [f for i in images for f in pick_flips(frames[i], n, seed=done)],
                      images=images)
        done += n
        if retired_frames(m) != gone or failed(m) != failures:  # pages have moved: look
            gone = retired_frames(m)
            gdb.pause()
            memory = m.dump(MEM, held=True)
            gdb.resume()
            frames = {i: [f for f in found if f[0] not in gone]
                      for i, found in look(memory).items()}
    gdb.close()


def test_flips_in_cells(machine):
    images, flips = ["heartbeat", "monitor"], 60
    flip_rounds(machine, [f"{BUILD}/cells/{i}.elf" for i in images], flips, batch=6)
    heartbeat_goes_on(machine, failures=4)
    reports = machine.find(r"^d0: (page_repaired|golden_bad): ")
    assert len(reports) >= flips * len(images), machine.tail()


def test_flips_in_the_nucleus(machine):
    """In all of its verified pages, those that run all the time among them."""
    flip_rounds(machine, [f"{BUILD}/d0.elf"], 80, batch=2)
    heartbeat_goes_on(machine)
    machine.command("ring", r"flips found (\d+), repaired (\d+)")


def test_one_cpu_in_an_endless_loop(boot, archive, pair, monitor):
    """In the scheduler's tick, with nobody else there: the watchdog's NMI gets it out."""
    m = start(boot, archive, pair, monitor, 1)
    at, gdb = function(f"{BUILD}/d0.elf", "tick"), m.gdb()
    gdb.pause()
    before = gdb.read(at, 2)
    gdb.write(at, b"\xeb\xfe")  # jmp .
    gdb.resume()
    m.expect(r"^d0: page_repaired: nucleus: 1 put right out of turn$", timeout=60)
    gdb.pause()
    assert gdb.read(at, 2) == before
    gdb.resume()
    gdb.close()
    heartbeat_goes_on(m)
