# SPDX-License-Identifier: ISC
"""VMX with EPT, in Bochs (QEMU's TCG has none): the same cells, the same attacks."""

import subprocess

from test_hostile import CPU, MEMORY, beats_on, conf_of, ends_each, rings_for

READY = r"^d0: ready: "
# What an attack's instruction is on this vendor: SVM's own do not exist, VMX's do.
NOT_HERE = {"vmrun", "vmload", "vmsave", "stgi", "clgi", "skinit", "invlpga"}
VMX_CPU = {name: None if name in NOT_HERE else rule for name, rule in CPU.items()}


def boots_vmx(m):
    m.expect(r"^d0: vm_hypervisor: VMX", timeout=120)
    m.expect(r"^d0: vmx: EPT, VPID")
    m.expect(READY, timeout=120)


def test_attacks(bochs, archive, iso, pair):
    attacks = VMX_CPU | MEMORY
    conf = pair + conf_of(attacks) + rings_for(["exec-ring"])
    m = bochs(iso(archive(conf, ["heartbeat", "hostile"])), "corei7_haswell_4770")
    boots_vmx(m)
    ends_each(m, attacks)
    beats_on(m)


PROGRAM = r"""
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
static void *add(void *n) { (*(int *)n)++; return 0; }
int main(void)
{
	int n = 0, status;
	double d = 1.5;
	pthread_t t;
	pthread_create(&t, 0, add, &n);
	pthread_join(t, 0);
	if (!fork())
		_exit(7);
	wait(&status);
	for (int i = 0; i < 10; i++)
		d *= 1.1;
	printf("thread %d child %d fp %.3f\n", n, WEXITSTATUS(status), d);
	return 0;
}
"""


def test_two_cpus(bochs, archive, iso, pair, monitor, tmp_path):
    """A linux cell: its own CR3, faults, system calls, FPU, two vCPUs. VMCSs move between CPUs:
    its and those of three cells, one restarted."""
    root, source, tar = tmp_path / "root", tmp_path / "init.c", tmp_path / "root.tar"
    (root / "bin").mkdir(parents=True)
    source.write_text(PROGRAM)
    subprocess.run(["gcc", "-static", "-pthread", "-o", root / "bin" / "init", source], check=True)
    subprocess.run(["tar", "-C", root, "--format=ustar", "-cf", tar, "."], check=True)
    conf = ("cell web image=linux user=64M stack=32K heap=64K vcpus=2 data=demo-root\n"
            "args web argv=/bin/init hostname=web env=PATH=/bin\n")
    m = bochs(iso(archive(conf + pair + monitor, ["heartbeat", "monitor"], high=["linux"],
                          data={"demo-root": tar})), "corei7_haswell_4770", smp=2)
    boots_vmx(m)
    m.expect(r"^web: thread 1 child 7 fp 3\.891", timeout=120, absent="cell web failed")
    m.expect(r"^d0: cell_ended: cell web ended: code 0", timeout=30)
    m.expect(r"^beat-b: heartbeat \d+", timeout=60)
    m.command("restart beat-a", r"^monitor: beat-a: restarted", timeout=60)
    m.expect(r"^beat-b: heartbeat \d+", timeout=60)
    assert not m.find(r"PANIC|beat-. failed"), m.tail()
