/* SPDX-License-Identifier: ISC */
/*
 * A native cell takes no interrupts, and an exception is its end: report it with a
 * backtrace. Needs a GDT and IDT of the cell's own. (Accesses outside its regions never
 * get here: they leave the guest, and the nucleus ends the cell.)
 */
#include "libcell/bare/bare.h"
#include "libcell/panic.h"

/* AMD64 APM 2, 4.8.3: long-mode gate */
struct gate {
	uint16_t off_low;
	uint16_t selector;
	uint8_t ist;
	uint8_t type;
	uint16_t off_mid;
	uint32_t off_high;
	uint32_t reserved;
};
_Static_assert(sizeof(struct gate) == 16, "AMD64 APM 2, 4.8.4");

struct __attribute__((packed)) table_register {
	uint16_t limit;
	uint64_t base;
};

struct exception_frame {
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

extern const char bare_exception_entries[];
void bare_gdt_load(const struct table_register *gdtr);
_Noreturn void bare_exception(const struct exception_frame *f);

#define ENTRY_SIZE    16
#define GATE_PRESENT  0x8e
#define CODE_SELECTOR 8

static struct gate idt[32] __attribute__((aligned(16)));
/* null, 64-bit code, data (accessed bits set: the CPU need not write them) */
static const uint64_t gdt[3] = {0, 0x00209b0000000000, 0x0000930000000000};

_Noreturn void bare_exception(const struct exception_frame *f)
{
	static const char *const names[32] = {
	    [0] = "divide error", [1] = "debug",          [3] = "breakpoint",
	    [4] = "overflow",     [6] = "invalid opcode", [8] = "double fault",
	    [13] = "protection",  [14] = "page fault",    [16] = "x87",
	    [17] = "alignment",   [19] = "SIMD",
	};
	const char *name = f->vector < 32 && names[f->vector] ? names[f->vector] : "reserved";
	uint64_t cr2;

	__asm__ volatile("movq %%cr2, %0" : "=r"(cr2));
	panic("exception %lu (%s) at %#lx, error %#lx, address %#lx", f->vector, name, f->rip,
	      f->error, f->vector == 14 ? cr2 : 0);
}

void bare_exceptions_init(void)
{
	struct table_register gdtr = {sizeof(gdt) - 1, (uintptr_t)gdt};
	struct table_register idtr = {sizeof(idt) - 1, (uintptr_t)idt};

	for (unsigned i = 0; i < 32; i++) {
		uintptr_t at = (uintptr_t)bare_exception_entries + i * ENTRY_SIZE;

		idt[i] = (struct gate){
		    .off_low = (uint16_t)at,
		    .selector = CODE_SELECTOR,
		    .type = GATE_PRESENT,
		    .off_mid = (uint16_t)(at >> 16),
		    .off_high = (uint32_t)(at >> 32),
		};
	}
	bare_gdt_load(&gdtr);
	__asm__ volatile("lidt %0" ::"m"(idtr));
}
