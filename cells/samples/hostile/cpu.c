/* SPDX-License-Identifier: ISC */
/* Attacks with instructions: privileged ones, ports, MSRs, exceptions, endless loops. */
#include "cells/samples/hostile/hostile.h"
#include "libcell/log.h"
#include "libcell/mmio.h"

#define INSTRUCTION(id, name, ...)             \
	ATTACK(id, name)                       \
	{                                      \
		__asm__ volatile(__VA_ARGS__); \
	}

struct __attribute__((packed)) table_register {
	uint16_t limit;
	uint64_t base;
};

static const struct table_register no_table;

INSTRUCTION(hlt, "hlt", "hlt")
INSTRUCTION(invd, "invd", "invd")
INSTRUCTION(lidt, "lidt", "lidt %0" ::"m"(no_table))
INSTRUCTION(lgdt, "lgdt", "lgdt %0" ::"m"(no_table))
INSTRUCTION(lldt, "lldt", "lldt %w0" ::"r"(0))
INSTRUCTION(ltr, "ltr", "ltr %w0" ::"r"(8))
INSTRUCTION(cr0, "write-cr0", "mov %0, %%cr0" ::"r"(0x11ul))
INSTRUCTION(cr4, "write-cr4", "mov %0, %%cr4" ::"r"(0x20ul))
INSTRUCTION(cr8, "write-cr8", "mov %0, %%cr8" ::"r"(15ul))
INSTRUCTION(dr7, "write-dr7", "mov %0, %%dr7" ::"r"(0x401ul))
INSTRUCTION(xsetbv, "xsetbv", "xsetbv" ::"a"(7), "c"(0), "d"(0))
INSTRUCTION(rsm, "rsm", ".byte 0x0f, 0xaa")
INSTRUCTION(vmrun, "vmrun", "vmrun" ::"a"(0x1000ul))
INSTRUCTION(vmload, "vmload", "vmload" ::"a"(0x1000ul))
INSTRUCTION(vmsave, "vmsave", "vmsave" ::"a"(0x1000ul))
INSTRUCTION(stgi, "stgi", "stgi")
INSTRUCTION(clgi, "clgi", "clgi")
INSTRUCTION(skinit, "skinit", "skinit" ::"a"(0x1000))
INSTRUCTION(invlpga, "invlpga", ".byte 0x0f, 0x01, 0xdf" ::"a"(0ul), "c"(0))
INSTRUCTION(vmxon, "vmxon", "vmxon %0" ::"m"(no_table))
INSTRUCTION(rdpmc, "rdpmc", "rdpmc" ::"c"(0) : "eax", "edx")
INSTRUCTION(ud2, "ud2", "ud2")
INSTRUCTION(int3, "int3", "int3")
INSTRUCTION(int80, "int80", "int $0x80")
INSTRUCTION(syscall, "syscall", "syscall" ::: "rcx", "r11")
INSTRUCTION(divide, "divide", "xor %%edx, %%edx; div %0" ::"r"(0), "a"(1) : "edx")

/* An interrupt stack that is not there: what would be a triple fault on a bare CPU. */
INSTRUCTION(triple, "triple-fault", "xor %%esp, %%esp; ud2" ::: "memory")

ATTACK(write_efer, "write-efer")
{
	__asm__ volatile("wrmsr" ::"c"(0xc0000080), "a"(0), "d"(0));
}

ATTACK(read_apic_base, "read-apic-base")
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(0x1b));
}

ATTACK(write_hsave, "write-hsave")
{
	__asm__ volatile("wrmsr" ::"c"(0xc0010117), "a"(0x1000), "d"(0));
}

ATTACK(x2apic_ipi, "x2apic-ipi")
{
	__asm__ volatile("wrmsr" ::"c"(0x830), "a"(0x000c4500),
			 "d"(0)); /* INIT to all others */
}

ATTACK(port_write, "port-write")
{
	pio_write8(0x80, 1);
}

ATTACK(port_reset, "port-reset")
{
	pio_write8(0xcf9, 6);
}

ATTACK(port_pci, "port-pci")
{
	pio_write32(0xcf8, 0x80000000);
}

ATTACK(port_read, "port-read")
{
	pio_read8(0x3f8);
}

/* Interrupts off and round for ever: must cost nobody else a beat. */
ATTACK(spin, "spin")
{
	log_info("hostile spin begins");
	__asm__ volatile("cli; 1: jmp 1b");
}
