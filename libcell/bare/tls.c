/* SPDX-License-Identifier: ISC */
/* The block at FS that the distribution's static libraries expect: see bare.h. */
#include "libcell/bare/bare.h"

#define MSR_FS_BASE 0xc0000100u

struct tls_block {
	uint64_t self;
	uint64_t pad[4];
	uint64_t canary;
};
_Static_assert(__builtin_offsetof(struct tls_block, canary) == 0x28, "psABI: canary");

extern uintptr_t __stack_chk_guard;
static struct tls_block tls_block[D0_VCPUS_MAX];

__attribute__((no_stack_protector)) void bare_tls_init(unsigned vcpu)
{
	struct tls_block *t = &tls_block[vcpu % D0_VCPUS_MAX];
	uint64_t at = (uintptr_t)t;

	t->self = at;
	t->canary = __stack_chk_guard;
	__asm__ volatile("wrmsr" ::"c"(MSR_FS_BASE), "a"((uint32_t)at),
			 "d"((uint32_t)(at >> 32)));
}
