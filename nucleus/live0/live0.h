/* SPDX-License-Identifier: ISC */
/*
 * live0: from the boot loader to the first cell. boot_info is what both boot protocols
 * are boiled down to; its contents are the loader's word and are bounds-checked.
 */
#ifndef NUCLEUS_LIVE0_H
#define NUCLEUS_LIVE0_H

#include "nucleus/core/types.h"

struct cpu;

#define BOOT_RANGES_MAX  64
#define BOOT_CMDLINE_MAX 512

struct boot_info {
	struct {
		u64 base, end; /* whole pages of RAM */
	} range[BOOT_RANGES_MAX];
	u32 ranges;
	u64 ram_top;      /* end of the highest RAM range */
	hpa_t archive;    /* the one module */
	u64 archive_size; /* 0: there is none */
	hpa_t rsdp;       /* 0: the loader named none */
	const char *loader;
	char cmdline[BOOT_CMDLINE_MAX];
};

extern struct boot_info boot_info;

/* Fill boot_info; returns NULL or why it can't. Runs on the identity map. */
const char *boot_info_from_pvh(u64 start_info);
const char *boot_info_from_mb2(u64 tags);

/* Copy NAME=VALUE of the command line (not terminated); its length, 0: it is not there. */
size_t cmdline_copy(const char *name, size_t len, char *out, size_t room);
bool cmdline_has(const char *word);

/* checks.c: one line per finding; false: this machine can't run D0. */
bool checks_cpu(void);
void checks_machine(void);

/* smp.c */
void smp_start_all(void);
void cpu_init_this(struct cpu *cpu); /* GDT, TSS, IDT, GS, control registers */
void traps_init(u64 spare); /* build the IDT; exceptions lead that far behind trap_stubs */

/* live0.c */
extern u64 __stack_chk_guard;
extern u64 boot_tsc; /* TSC at kernel entry */
/* Into the nucleus's own space; stops if there is no memory. */
void nucleus_map(u64 at, hpa_t to, u64 size, u32 perms, bool large);
u64 stack_create(u32 pages); /* a stack with guard pages; its top, or 0 */
void live0_switch(u64 root, u64 stack, u64 function, u64 enter) __noreturn;

/* The image's own bounds (linker script) and where it is mapped now. */
extern u64 image_base; /* virtual address of image_start now */
hpa_t image_phys(void);
extern char image_start[], text_start[], text_end[], rodata_start[], rodata_end[],
    relro_start[], relro_end[], data_start[], bss_start[], bss_end[], image_end[];

#endif
