/* SPDX-License-Identifier: ISC */
/*
 * Hypercall stubs, made from the table in d0/abi.h. D0_HC(name, arguments...) performs a
 * call and gives a struct d0_hc_result; arguments not given are 0:
 *
 *	if (D0_HC(notify, channel).rax < 0) ...
 *
 * Used by libcell's bare back-end and by guest kernels. Before the first call the cell
 * sets d0_hc_by_vmcall from its info page: (info->flags & D0_INFO_VMX) != 0.
 */
#ifndef LIBCELL_HYPERCALL_H
#define LIBCELL_HYPERCALL_H

#include <stdbool.h>
#include <stdint.h>
#include "d0/abi.h"

struct d0_hc_args {
	uint64_t a[4];
};

struct d0_hc_result {
	int64_t rax; /* a D0_E value if negative */
	uint64_t rdx;
};

/* Defined in libcell-bare (cells and guest kernels alike). */
extern bool d0_hc_by_vmcall;

static inline struct d0_hc_result d0_hc_call(uint64_t number, struct d0_hc_args in)
{
	struct d0_hc_result r;
	register uint64_t r10 __asm__("r10") = in.a[3];

	if (d0_hc_by_vmcall)
		__asm__ volatile("vmcall"
				 : "=a"(r.rax), "=d"(r.rdx)
				 : "0"(number), "D"(in.a[0]), "S"(in.a[1]), "1"(in.a[2]),
				   "r"(r10)
				 : "memory", "cc");
	else
		__asm__ volatile("vmmcall"
				 : "=a"(r.rax), "=d"(r.rdx)
				 : "0"(number), "D"(in.a[0]), "S"(in.a[1]), "1"(in.a[2]),
				   "r"(r10)
				 : "memory", "cc");
	return r;
}

#define D0_HC_STUB(number, name, args, text)                                    \
	static inline struct d0_hc_result d0_hc_do_##name(struct d0_hc_args in) \
	{                                                                       \
		return d0_hc_call(number, in);                                  \
	}
D0_HYPERCALLS(D0_HC_STUB)
#undef D0_HC_STUB

#define D0_HC(name, ...) d0_hc_do_##name((struct d0_hc_args){{__VA_ARGS__}})

#endif
