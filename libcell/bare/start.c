/* SPDX-License-Identifier: ISC */
/*
 * Start-up of a native cell. The nucleus has loaded and relocated the image and made the
 * stack; here the canary is set (so these functions go without it), the heap, the
 * exception handlers and the constructors, then cell_main runs.
 */
#include <string.h>
#include "libcell/alloc.h"
#include "libcell/bare/bare.h"
#include "libcell/cell.h"
#include "libcell/hypercall.h"
#include "libcell/log.h"
#include "libcell/panic.h"
#include "libcell/random.h"

#define MSR_FS_BASE 0xc0000100u
#define NO_CANARY   __attribute__((no_stack_protector))

extern uintptr_t __stack_chk_guard;
extern void (*const __init_array_start[])(void);
extern void (*const __init_array_end[])(void);

static struct bare_vcpu vcpu_block[D0_VCPUS_MAX];

static inline void fs_base_set(const void *p)
{
	uint64_t v = (uintptr_t)p;

	__asm__ volatile("wrmsr" ::"c"(MSR_FS_BASE), "a"((uint32_t)v),
			 "d"((uint32_t)(v >> 32)));
}

unsigned cell_vcpu(void)
{
	uint64_t n;

	__asm__("movq %%fs:%c1, %0"
		: "=r"(n)
		: "i"(__builtin_offsetof(struct bare_vcpu, number)));
	return (unsigned)n;
}

NO_CANARY static void vcpu_block_init(unsigned vcpu)
{
	struct bare_vcpu *v = &vcpu_block[vcpu];

	v->self = (uintptr_t)v;
	v->canary = __stack_chk_guard;
	v->number = vcpu;
	fs_base_set(v);
}

_Noreturn void bare_start(const struct d0_info *info, unsigned vcpu);
NO_CANARY _Noreturn void bare_start(const struct d0_info *info, unsigned vcpu)
{
	uint64_t keys[2];
	struct random_gen gen;

	cell_info_set(info);
	if (info->magic != D0_ABI_MAGIC || info->version != D0_ABI_VERSION)
		cell_exit(1, "info page has another ABI version");
	random_gen_init(&gen, info->seed);
	random_gen_bytes(&gen, keys, sizeof(keys));
	__stack_chk_guard = keys[0] & ~0xffull; /* a zero byte stops string overruns */
	vcpu_block_init(vcpu);
	bare_exceptions_init();
	bare_heap_init(info, keys[1]);
	log_level = (enum log_level)cell_arg_u64(info->args, "log", LOG_INFO);
	for (void (*const *init)(void) = __init_array_start; init < __init_array_end; init++)
		(*init)();
	cell_exit(cell_main(info), NULL);
}

extern void bare_vcpu_entry(void);

_Noreturn void bare_start_vcpu(struct bare_vcpu *v);
NO_CANARY _Noreturn void bare_start_vcpu(struct bare_vcpu *v)
{
	vcpu_block_init((unsigned)(v - vcpu_block));
	bare_exceptions_init();
	v->fn(v->arg);
	panic("function of vCPU %u returned", cell_vcpu());
}

int cell_vcpu_start(unsigned vcpu, void (*fn)(void *), void *arg)
{
	const struct d0_region *stack = cell_region(D0_REGION_STACK, vcpu);

	if (!vcpu || vcpu >= cell_info()->vcpus || vcpu >= D0_VCPUS_MAX || !stack)
		return D0_EINVAL;
	vcpu_block[vcpu].fn = fn;
	vcpu_block[vcpu].arg = arg;
	return (int)D0_HC(vcpu_start, vcpu, (uintptr_t)bare_vcpu_entry,
			  (uintptr_t)cell_ptr(stack->base) + stack->size,
			  (uintptr_t)&vcpu_block[vcpu])
	    .rax;
}
