# SPDX-License-Identifier: ISC
"""Hostile cells: the host half. Each attack of cells/samples/hostile must end that cell
alone, with a report that names the cell, the rule and the address, or be refused; the
heartbeat of a pair beside it never stops. Several attackers share a boot: they must not
help each other either."""

import re

import pytest

READY = r"^d0: ready: "
GAP_MAX_US = 10_000_000  # emulation on a loaded machine; a starved cell stays away for good

# attack: (rule in the report, or None: any of them)
READ, WRITE, EXEC = ("read outside its regions", "write to memory it may not write",
                     "execution of memory it may not execute")
PRIVILEGED, PORT = "privileged instruction", "access to an I/O port"
EXCEPTION = "exception"
MEMORY = {
    "write-text": WRITE, "write-rodata": WRITE, "write-relro": WRITE, "write-info": WRITE,
    "write-mirror": WRITE, "exec-data": EXEC, "exec-stack": EXEC, "exec-heap": EXEC,
    "exec-ring": EXEC, "exec-rodata": EXEC, "exec-mirror": EXEC, "read-null": READ,
    "read-guard": READ, "write-guard": WRITE, "read-far": None, "read-apic": READ,
    "stack-overflow": WRITE, "remap": None,
}
CPU = {
    "hlt": PRIVILEGED, "invd": PRIVILEGED, "lidt": PRIVILEGED, "lgdt": PRIVILEGED,
    "lldt": PRIVILEGED, "ltr": PRIVILEGED, "write-cr0": PRIVILEGED, "write-cr4": PRIVILEGED,
    "write-cr8": PRIVILEGED, "write-dr7": PRIVILEGED, "xsetbv": None, "rsm": None,
    "vmrun": None, "vmload": None, "vmsave": None, "stgi": None, "clgi": None, "skinit": None,
    "invlpga": None, "vmxon": None, "rdpmc": None, "ud2": EXCEPTION, "int3": EXCEPTION,
    "int80": EXCEPTION, "syscall": EXCEPTION, "divide": EXCEPTION, "triple-fault": EXCEPTION,
    "write-efer": "write to an MSR", "read-apic-base": "read of an MSR",
    "write-hsave": "write to an MSR", "x2apic-ipi": "write to an MSR",
    "port-write": PORT, "port-reset": PORT, "port-pci": PORT, "port-read": PORT,
}


def conf_of(attacks, extra=""):
    lines = []
    for i, name in enumerate(attacks):
        lines += [f"cell x-{name} image=hostile heap=128K stack=32K channels=4 priority=3 {extra}",
                  f"args x-{name} attack={name} delay={1000 + 20 * i}"]
    return "\n".join(lines) + "\n"


def beats_on(m, lines=2):
    """The pair goes on, and no gap was longer than emulation explains."""
    for _ in range(lines):
        m.expect(r"^beat-b: heartbeat \d+ gap_max_us (\d+)", timeout=30)
    gaps = [int(g.group(1)) for g in m.find(r"^beat-b: heartbeat \d+ gap_max_us (\d+)")]
    assert max(gaps) < GAP_MAX_US, f"gaps in us: {gaps}"
    assert not m.find(r"^d0: .*cell beat-[ab] (failed|ended)"), m.tail()
    assert not m.find(r"^d0: (PANIC|nucleus_fault)"), m.tail(100)


def ends_each(m, attacks):
    """Every attack is reported with its rule and, where it said where it aims, that address."""
    for name, rule in attacks.items():
        report = rf"^d0: cell_failed: cell x-{name} failed: (.*?) at (0x[0-9a-f]+) "
        end = r"|^x-{0}: hostile {0} survived".format(name)
        if not m.find(report + end):
            m.expect(report + end, timeout=40)
        found = m.find(report)
        assert found, f"{name} was survived\n{m.tail()}"
        said, at = found[0].group(1), int(found[0].group(2), 16)
        assert rule is None or said == rule, f"{name}: {said}"
        aimed = re.search(rf"hostile {name} aims at (0x[0-9a-f]+|0)$", m.log, re.M)
        if aimed and name != "remap":
            assert at == int(aimed.group(1), 16), f"{name}: {at:#x}, aimed at {aimed.group(1)}"


def rings_for(attacks):
    """A ring to write code into, shared with a heartbeat server of its own."""
    lines = []
    for name in attacks:
        lines += [f"cell s-{name} image=heartbeat channels=4",
                  f"channel s-{name} x-{name} protocol=virtq ring=16K label=beat"]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("smp", [1, 2])
def test_memory_attacks(boot, archive, pair, smp):
    conf = pair + conf_of(MEMORY) + rings_for(["exec-ring"])
    m = boot(archive(conf, ["heartbeat", "hostile"]), smp=smp)
    m.expect(READY, timeout=60)
    ends_each(m, MEMORY)
    beats_on(m)


def test_cpu_attacks(boot, archive, pair):
    m = boot(archive(pair + conf_of(CPU), ["heartbeat", "hostile"]), smp=2)
    m.expect(READY, timeout=60)
    ends_each(m, CPU)
    beats_on(m)


def test_hypercall_attacks(boot, archive, pair):
    attacks = ["hypercalls", "unknown-calls", "bad-pointers", "control", "exit-badly"]
    m = boot(archive(pair + conf_of(attacks), ["heartbeat", "hostile"]), smp=2)
    m.expect(READY, timeout=60)
    for name in attacks[:4]:
        m_find_or_expect(m, rf"^x-{name}: hostile {name} survived", 60)
    m_find_or_expect(m, r"^d0: cell_ended: cell x-exit-badly ended", 30)
    assert m.find(r"hostile bad-pointers: 0 not refused"), m.tail()
    assert m.find(r"hostile control: 0 requests allowed"), m.tail()
    assert not m.find(r"is not refused"), m.tail()
    beats_on(m)


def m_find_or_expect(m, pattern, timeout):
    return m.find(pattern) or m.expect(pattern, timeout)


def test_ring_attacks(boot, archive, pair):
    attacks = {"ring-loop": "loops", "ring-overrun": "runs ahead", "ring-outside": "window",
               "ring-head": "out of range", "ring-race": None}
    conf = pair + conf_of(attacks) + rings_for(attacks)
    m = boot(archive(conf, ["heartbeat", "hostile"]), smp=2)
    m.expect(READY, timeout=60)
    for name, why in attacks.items():
        m_find_or_expect(m, rf"^x-{name}: hostile {name} survived", 40)
        if why:
            m_find_or_expect(m, rf"^s-{name}: peer broke the ring: .*{why}", 20)
        assert not m.find(rf"cell s-{name} (failed|ended)"), m.tail()
    beats_on(m)


def test_resource_attacks(boot, archive, pair):
    attacks = ["eat-memory", "log-flood", "log-forge", "bell-flood"]
    conf = pair + conf_of(attacks) + rings_for(["bell-flood"])
    m = boot(archive(conf, ["heartbeat", "hostile"]), smp=1)
    m.expect(READY, timeout=60)
    for name in attacks:
        m_find_or_expect(m, rf"^x-{name}: hostile {name} survived", 60)
    assert not m.find(r"^d0: cell beat-a failed: forged"), m.tail()
    beats_on(m)


def test_stack_canary(boot, archive, pair):
    m = boot(archive(pair + conf_of(["stack-smash"]), ["heartbeat", "hostile"]))
    m.expect(READY, timeout=60)
    m.expect(r"^x-stack-smash: panic: stack canary overwritten", timeout=30)
    m.expect(r"^x-stack-smash: +#\d+ 0x[0-9a-f]+ (smash|attack_stack_smash)\+0x", timeout=60)
    m.expect(r"^d0: cell_ended: cell x-stack-smash ended: code 134 stack canary", timeout=60)
    beats_on(m, 1)


def test_spinning_cell_starves_nobody(boot, archive, pair, monitor):
    """On one CPU, at the same priority as the pair: they still get their share."""
    conf = pair.replace("priority=5", "priority=3") + conf_of(["spin"]) + monitor
    m = boot(archive(conf, ["heartbeat", "hostile", "monitor"]), smp=1)
    m.expect(READY, timeout=60)
    m.expect(r"hostile spin begins", timeout=30)
    beats_on(m, 3)
    m.command("stop x-spin", r"asked to end")
    m.command("ps", r"x-spin +hostile +running")  # it does not listen
    m.command("restart x-spin", r"^monitor: x-spin: restarted")
    beats_on(m, 1)


NIC_ATTACKS = ["nic-indexes", "nic-lengths", "nic-epochs", "nic-garbage", "nic-scribble"]
SOCKET_ATTACKS = ["pvs-indexes", "pvs-requests", "pvs-generations", "pvs-scribble"]


def stack_for(attacks, channel):
    """Each attacker gets a transport cell of its own."""
    lines = []
    for name in attacks:
        lines += [f"cell v-{name} image=transport heap=2M stack=64K state=1M channels=8 priority=4",
                  f"args v-{name} ip=10.77.0.2/24", channel.format(v=f"v-{name}", x=f"x-{name}")]
    return "\n".join(lines) + "\n"


def stack_lives(m, name, word):
    """Not just alive: it works for whoever plays by the rules afterwards."""
    said = m_find_or_expect(m, rf"^x-{name}: (hostile {name} survived|transport .*)$", 90)
    said = said[0] if isinstance(said, list) else said
    assert said.group(1) == f"transport {word}", f"{name}: {said.group()}\n{m.tail(60)}"
    assert not m.find(rf"cell v-{name} (failed|ended)"), m.tail(60)
    assert not m.find(rf"^v-{name}: panic"), m.tail(60)


@pytest.mark.parametrize("attacks, channel, word", [
    (NIC_ATTACKS, "channel {x} {v} protocol=net ring=256K label=eth0", "answers"),
    (SOCKET_ATTACKS, "channel {v} {x} protocol=socket ring=256K label=sockets", "serves")],
    ids=["nic", "client"])
def test_a_stack_between_hostile_cells(boot, archive, pair, attacks, channel, word):
    conf = pair + conf_of(attacks) + stack_for(attacks, channel)
    m = boot(archive(conf, ["heartbeat", "hostile", "transport"]), smp=2)
    m.expect(READY, timeout=60)
    for name in attacks:
        stack_lives(m, name, word)
    beats_on(m)
