# SPDX-License-Identifier: ISC
"""VMX with EPT, in Bochs (QEMU's TCG has none): the same cells, the same attacks."""

import pytest

from test_hostile import CPU, MEMORY, beats_on, conf_of, ends_each, rings_for

READY = r"^d0: ready: "
# What an attack's instruction is on this vendor: SVM's own do not exist, VMX's do.
NOT_HERE = {"vmrun", "vmload", "vmsave", "stgi", "clgi", "skinit", "invlpga"}
VMX_CPU = {name: None if name in NOT_HERE else rule for name, rule in CPU.items()}


def boots_vmx(m):
    m.expect(r"^d0: vm_hypervisor: VMX", timeout=120)
    m.expect(r"^d0: vmx: EPT, VPID, unrestricted guest")
    m.expect(READY, timeout=120)


def test_two_cpus(bochs, archive, iso, pair, monitor):
    """VMCSs move between CPUs: three cells on two of them, one restarted."""
    m = bochs(iso(archive(pair + monitor, ["heartbeat", "monitor"])), "corei7_haswell_4770",
              smp=2)
    boots_vmx(m)
    m.expect(r"^beat-b: heartbeat \d+", timeout=60)
    m.command("restart beat-a", r"^monitor: beat-a: restarted", timeout=60)
    m.expect(r"^beat-b: heartbeat \d+", timeout=60)
    assert not m.find(r"PANIC|failed"), m.tail()


@pytest.mark.parametrize("attacks, rings", [(VMX_CPU, []), (MEMORY, ["exec-ring"])],
                         ids=["cpu", "memory"])
def test_attacks(bochs, archive, iso, pair, attacks, rings):
    conf = pair + conf_of(attacks) + rings_for(rings)
    m = bochs(iso(archive(conf, ["heartbeat", "hostile"])), "corei7_haswell_4770")
    boots_vmx(m)
    ends_each(m, attacks)
    beats_on(m)
