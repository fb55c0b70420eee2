# SPDX-License-Identifier: ISC
"""D0 boots, everywhere it should, and its cells beat."""

import os
import signal
import threading
import time

import pytest

READY = r"^d0: ready: (\d+) cells on (\d+) CPUs?, (\d+\.\d+) s"


def check_beats(m, lines=2):
    for _ in range(lines):
        m.expect(r"^beat-b: heartbeat \d+ gap_max_us \d+", timeout=30)


@pytest.mark.parametrize("smp", [1, 2, 4])
def test_svm_in_qemu(boot, archive, pair, monitor, smp):
    m = boot(archive(pair + monitor, ["heartbeat", "monitor"]), smp=smp)
    ready = m.expect(READY, timeout=60)
    assert ready.group(1) == "3" and ready.group(2) == str(smp)
    check_beats(m)
    m.command("poweroff", r"power off by cell monitor")
    assert m.wait_exit() == 0


def test_monitor_commands(boot, archive, pair, monitor):
    m = boot(archive(pair + monitor, ["heartbeat", "monitor"]), smp=2)
    m.expect(READY, timeout=60)
    m.command("ps", r"^monitor: +0 beat-a +heartbeat +running")
    m.command("regions beat-a", r"^monitor: .* r-x text")
    m.command("ring", r"^monitor: +beat-a +-> +\S+ +\d+ pages checked, 0 bad")
    m.command("events", r"^monitor: .*beat-a")
    m.command("counters beat-b", r"^monitor: +beats +\d+")
    m.command("status", r"^monitor: +up \d+\.\d+ s, ready after \d+ ms; 2 CPUs, 3 cells")
    m.command("devices", r"^monitor: +0000:00:1f\.2 8086:2922")
    m.command("help", r"^monitor: +poweroff")
    m.command("nonsense", r"no command 'nonsense'")
    m.command("restart beat-a", r"^monitor: beat-a: restarted")
    check_beats(m)
    m.command("restart monitor", r"^monitor: refused")  # nobody saws at his own branch
    m.command("ps", r"^monitor: +0 beat-a +heartbeat +running +1 +2 ")


def test_small_memory(boot, archive, pair):
    m = boot(archive(pair, ["heartbeat"]), mem="64M")
    m.expect(READY, timeout=60)
    check_beats(m, 1)


@pytest.mark.long
def test_a_slow_machine_with_a_large_archive(boot, archive, pair, tmp_path):
    """The hash of the archive takes longer than the watchdog is patient: nobody is stuck for that."""
    big = tmp_path / "big"
    big.write_bytes(os.urandom(80 << 20))
    conf = "cell large image=heartbeat data=big\n" + pair
    m = boot(archive(conf, ["heartbeat"], data={"big": str(big)}), smp=2, mem="512M")
    done = threading.Event()

    def starve():
        while not done.is_set():
            os.kill(m.proc.pid, signal.SIGSTOP)
            time.sleep(0.085)
            os.kill(m.proc.pid, signal.SIGCONT)
            time.sleep(0.015)
    other = threading.Thread(target=starve)
    other.start()
    try:
        m.expect(READY, timeout=300, absent=r"nucleus_fault")
    finally:
        done.set()
        other.join()
    check_beats(m)


def test_no_acpi(boot, archive, pair):
    m = boot(archive(pair, ["heartbeat"]), extra=["-machine", "acpi=off"])
    m.expect(READY, timeout=60)
    check_beats(m, 1)


def test_no_svm_is_said(boot, archive, pair):
    m = boot(archive(pair, ["heartbeat"]), cpu="max,-svm")
    m.expect(r"^d0: (HALT|check: MISSING).*(SVM|VMX)", timeout=60)


def test_grub_iso_by_bios(boot, archive, iso, pair):
    m = boot(iso=iso(archive(pair, ["heartbeat"])), smp=2)
    m.expect(r"multiboot2 boot", timeout=60)
    m.expect(READY, timeout=60)
    check_beats(m, 1)


def test_grub_iso_by_uefi(boot, archive, iso, pair):
    m = boot(iso=iso(archive(pair, ["heartbeat"])), uefi=True, smp=2)
    m.expect(r"multiboot2 boot", timeout=90)
    m.expect(READY, timeout=60)
    check_beats(m, 1)


def test_svm_in_bochs(bochs, archive, iso, pair):
    m = bochs(iso(archive(pair, ["heartbeat"])), "ryzen")
    m.expect(READY, timeout=120)
    check_beats(m, 1)


def test_vmx_in_bochs(bochs, archive, iso, pair):
    m = bochs(iso(archive(pair, ["heartbeat"])), "corei7_skylake_x")
    m.expect(READY, timeout=120)
    assert m.find(r"^d0: lapic: x2APIC"), m.tail()  # QEMU's TCG has none
    check_beats(m, 1)


def test_static_libraries_in_a_cell(boot, archive):
    m = boot(archive("cell libs image=libs heap=2M stack=64K\n", ["libs"]))
    m.expect(r"^libs: libraries work, peak \d+ KiB", timeout=60)
    m.expect(r"^d0: cell_ended: cell libs ended: code 0", timeout=60)
