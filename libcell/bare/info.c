/* SPDX-License-Identifier: ISC */
/* The info page, the hypercalls that need no more than a stub, and the clock. */
#include <string.h>
#include "libcell/bare/bare.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/common/backend.h"
#include "libcell/control.h"
#include "libcell/hypercall.h"

bool d0_hc_by_vmcall;
uintptr_t __stack_chk_guard = 0xd0d0d0d0d0d0d000;
static const struct d0_info *info_page;

__attribute__((no_stack_protector)) void cell_info_set(const struct d0_info *info)
{
	info_page = info;
	d0_hc_by_vmcall = (info->flags & D0_INFO_VMX) != 0;
}

const struct d0_info *cell_info(void)
{
	return info_page;
}

void backend_log(const char *text, size_t len)
{
	D0_HC(log, cell_gpa(text), len);
}

void backend_entropy(uint8_t out[32])
{
	uint64_t v[4];

	memcpy(v, info_page->seed, sizeof(v));
	for (int i = 0; i < 4; i++)
		v[i] ^= D0_HC(random).rdx;
	memcpy(out, v, sizeof(v));
}

_Noreturn void cell_exit(int code, const char *reason)
{
	for (;;)
		D0_HC(exit, (uint64_t)(int64_t)code, reason ? cell_gpa(reason) : 0,
		      reason ? strlen(reason) : 0);
}

int cell_notify(unsigned channel)
{
	return (int)D0_HC(notify, channel).rax;
}

int cell_irq_done(unsigned channel)
{
	return (int)D0_HC(irq_done, channel).rax;
}

void cell_timer(uint64_t deadline_ns)
{
	D0_HC(timer, deadline_ns);
}

void cell_ipi(uint64_t vcpu_mask)
{
	D0_HC(ipi, vcpu_mask);
}

int cell_control(struct d0_ctl *req, uint32_t op, uint32_t size)
{
	req->op = op;
	req->size = size;
	return (int)D0_HC(control, cell_gpa(req), size).rax;
}

long cell_console_read(void *buf, size_t len)
{
	return D0_HC(console_read, cell_gpa(buf), len).rax;
}

static uint64_t tsc_read(void)
{
	uint32_t lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return (uint64_t)hi << 32 | lo;
}

uint64_t clock_ns(void)
{
	struct d0_clock c = clock_read(cell_ptr(info_page->clock));

	return clock_scale(&c, tsc_read());
}

int64_t clock_wall_ns(void)
{
	struct d0_clock c = clock_read(cell_ptr(info_page->clock));

	return c.wall_ns + (int64_t)clock_scale(&c, tsc_read());
}

uint64_t clock_tsc_hz(void)
{
	return clock_read(cell_ptr(info_page->clock)).tsc_hz;
}
