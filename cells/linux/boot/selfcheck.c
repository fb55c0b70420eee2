/* SPDX-License-Identifier: ISC */
/*
 * `selfcheck=1`: the kernel tries what it must not be able to do and reports what was refused.
 * A test reads the report; in normal operation none of this runs.
 */
#include "cells/linux/inc/smp.h"

int probe_call(void (*fn)(u64), u64 arg);
u64 probe_rsp; /* boot/entry.S: where a refused probe goes on; 0: none */
void selfcheck(void);

static const u64 constant = 0x1234;
static u8 code_in_data[16] = {0xc3}; /* ret */

static void write_byte(u64 at)
{
	/* cppcheck-suppress selfAssignment; the store is what is tried */
	*(volatile u8 *)at = *(volatile u8 *)at;
}

static void read_byte(u64 at)
{
	(void)*(volatile u8 *)at;
}

static void report(const char *what, bool refused)
{
	printk("selfcheck: %s: %s", what, refused ? "refused" : "POSSIBLE");
}

/* A user page at a user address, through an address space of its own. */
static void user_memory(struct page *p)
{
	const u64 at = 0x400000;
	struct mm *mm = mm_new();
	u64 *e = mm ? pt_entry(mm->root, at, true) : NULL;

	BUG_ON(!e);
	*e = page_phys(p) | PTE_P | PTE_W | PTE_U;
	mm_activate(mm);
	report("execute user memory", probe_call((void (*)(u64))at, 0));
	report("read user memory", probe_call(read_byte, at));
	mm_activate(NULL);
	*e = 0;
	mm_put(mm);
}

void selfcheck(void)
{
	struct page *p = page_alloc(PAGE_KERNEL);
	u8 *stack = vmalloc(4 * PAGE_SIZE);

	BUG_ON(!p || !stack);
	*(u8 *)page_ptr(p) = 0xc3;
	report("execute a program's frame", probe_call((void (*)(u64))page_ptr(p), 0));
	report("execute data", probe_call((void (*)(u64))code_in_data, 0));
	report("execute a stack", probe_call((void (*)(u64))stack, 0));
	report("write text", probe_call(write_byte, (u64)selfcheck));
	report("write constants", probe_call(write_byte, (u64)&constant));
	report("touch what is below a stack", probe_call(write_byte, (u64)stack - 8));
	report("touch what is above a stack",
	       probe_call(write_byte, (u64)stack + 4 * PAGE_SIZE));
	user_memory(p);
	/* The probes themselves must be able to succeed. */
	report("write data", probe_call(write_byte, (u64)code_in_data));
	vfree(stack);
	page_put(p);
}
