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

#define NO_CANARY __attribute__((no_stack_protector))

extern uintptr_t __stack_chk_guard;
extern void (*const __init_array_start[])(void);
extern void (*const __init_array_end[])(void);

/* What another vCPU is to do. */
struct vcpu_job {
	unsigned vcpu;
	void (*fn)(void *);
	void *arg;
};
static struct vcpu_job vcpu_job[D0_VCPUS_MAX];

/* Each vCPU has a stack region; the one we stand on says which vCPU this is. */
unsigned cell_vcpu(void)
{
	const struct d0_info *info = cell_info();
	uintptr_t sp = (uintptr_t)__builtin_frame_address(0);
	const struct d0_region *r;

	for (unsigned i = 0; info->vcpus > 1 && (r = cell_region(D0_REGION_STACK, i)); i++)
		if (sp - (uintptr_t)cell_ptr(r->base) < r->size)
			return i;
	return 0;
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
	if (bare_tls_init)
		bare_tls_init(vcpu);
	bare_heap_init(info, keys[1]);
	log_level = (enum log_level)cell_arg_u64(info->args, "log", LOG_INFO);
	for (void (*const *init)(void) = __init_array_start; init < __init_array_end; init++)
		(*init)();
	cell_exit(cell_main(info), NULL);
}

extern void bare_vcpu_entry(void);

_Noreturn void bare_start_vcpu(struct vcpu_job *job);
NO_CANARY _Noreturn void bare_start_vcpu(struct vcpu_job *job)
{
	if (bare_tls_init)
		bare_tls_init(job->vcpu);
	job->fn(job->arg);
	panic("function of vCPU %u returned", cell_vcpu());
}

int cell_vcpu_start(unsigned vcpu, void (*fn)(void *), void *arg)
{
	const struct d0_region *stack = cell_region(D0_REGION_STACK, vcpu);

	if (!vcpu || vcpu >= cell_info()->vcpus || vcpu >= D0_VCPUS_MAX || !stack)
		return D0_EINVAL;
	vcpu_job[vcpu] = (struct vcpu_job){vcpu, fn, arg};
	return (int)D0_HC(vcpu_start, vcpu, (uintptr_t)bare_vcpu_entry,
			  (uintptr_t)cell_ptr(stack->base) + stack->size,
			  (uintptr_t)&vcpu_job[vcpu])
	    .rax;
}
