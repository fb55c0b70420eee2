# SPDX-License-Identifier: ISC
"""Where verified pages lie in a machine's physical memory, found from outside: D0 is not
asked, its images are looked for."""

import random
import re
import struct
import subprocess

PAGE = 4096
ARCHIVE_MAGIC = struct.pack("<Q", 0x4348435241304400)
PT_LOAD, PF_X, PF_W = 1, 1, 2


def read_only_pages(elf_path):
    """{contents: page number} of the pages of an image's segments without write permission."""
    with open(elf_path, "rb") as f:
        data = f.read()
    phoff, phnum = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    pages = {}
    for i in range(phnum):
        kind, flags, off, vaddr, _, filesz, _, _ = struct.unpack_from("<IIQQQQQQ", data,
                                                                      phoff + 56 * i)
        if kind != PT_LOAD or flags & PF_W:
            continue
        for at in range(0, filesz, PAGE):
            page = data[off + at:off + min(at + PAGE, filesz)].ljust(PAGE, b"\0")
            if page.count(0) < PAGE - 64:  # an almost empty page could be anybody's
                pages.setdefault(page, (vaddr + at) // PAGE)
    return pages


def without(memory, ranges):
    def ok(addr):
        return not any(lo <= addr < hi for lo, hi in ranges)
    return ok


def archive_ranges(memory):
    """Where boot archives lie: their copies of the images are not verified continuously."""
    at, found = memory.find(ARCHIVE_MAGIC), []
    while at >= 0:
        if at % 8 == 0:
            size = struct.unpack_from("<Q", memory, at + 16)[0]
            if 0 < size < len(memory):
                found.append((at, at + size))
        at = memory.find(ARCHIVE_MAGIC, at + 8)
    return found


def verified_frames(memory, elf_path):
    """[(physical address, page number)] of all copies of an image's read-only pages."""
    pages = read_only_pages(elf_path)
    ok = without(memory, archive_ranges(memory))
    found = []
    for addr in range(0, len(memory), PAGE):
        number = pages.get(memory[addr:addr + PAGE])
        if number is not None and ok(addr):
            found.append((addr, number))
    return found


def pick_flips(frames, count, seed):
    """count flips (address, bit), no two in copies of one page of one image."""
    rng = random.Random(seed)
    by_page = {}
    for addr, number in frames:
        by_page.setdefault(number, []).append(addr)
    chosen = rng.sample(sorted(by_page), min(count, len(by_page)))
    return [(rng.choice(by_page[n]) + rng.randrange(PAGE), rng.randrange(8)) for n in chosen]


def symbols(kernel):
    """[(physical address, name)] of the nucleus's functions, in order."""
    out = subprocess.run(["nm", "-n", kernel], capture_output=True, text=True, check=True).stdout
    return [(int(a, 16), n) for a, t, n in (line.split() for line in out.splitlines()) if t in "tT"]


def function(kernel, name):
    return next(a for a, n in symbols(kernel) if n == name)


# What runs at every exit, tick, interrupt or fault.
HOT = re.compile(r"(sched_|vcpu_|svm_(run|enter)|vmx_(run|enter)|fpu_|nucleus_(un)?lock|spin_|timers_|trap_|recovery_|"
                 r"repair_|verify_|hypercall|hc_|cell_raise|channel_notify|lapic_|clock_ns).*|run|pick|tick|idle|decode|"
                 r"assign_asid|take_turn|take|let_go|mem(cmp|cpy|set)|compare|piece|own_piece|run_live|run_expected|"
                 r"set_find|image_frame|space_lookup|wake|find_cpu|enqueue|dequeue|settle|forgive|on_timer|in_text")


def hot_code(kernel):
    """[(start, end)] of the functions of the nucleus that run all the time."""
    text = symbols(kernel)
    return [(a, b) for (a, name), (b, _) in zip(text, text[1:]) if b > a and HOT.fullmatch(name.split(".")[0])]
