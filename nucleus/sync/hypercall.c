/* SPDX-License-Identifier: ISC */
/* Hypercalls: decode, validate, act. The table is include/d0/abi.h's. Nucleus lock held. */
#include "nucleus/core/print.h"
#include "nucleus/core/crypto.h"
#include "nucleus/device_manager/device_manager.h"
#include "nucleus/sched/sched.h"
#include "nucleus/sync/sync.h"
#include "nucleus/verify/verify.h"

#define TEXT_MAX 256

typedef s64 (*handler)(struct vcpu *v, u64 a, u64 b, u64 c, u64 d);

/* Copy text from the cell: printable, NUL-terminated, at most TEXT_MAX - 1 bytes. */
static bool take_text(struct cell *cell, u64 at, u64 size, char out[TEXT_MAX])
{
	size = MIN(size, (u64)TEXT_MAX - 1);
	out[0] = 0;
	if (size && !guest_read(cell, GPA(at), out, size))
		return false;
	out[size] = 0;
	for (u64 i = 0; i < size && out[i]; i++)
		if ((u8)out[i] < ' ' || out[i] == 127)
			out[i] = out[i] == '\n' && i + 1 == size ? 0 : '.';
	return true;
}

static s64 hc_wait(struct vcpu *v, u64 deadline, u64 b, u64 c, u64 d)
{
	if (!vcpu_events_pending(v) && deadline > clock_ns())
		sched_block(v, deadline);
	return D0_OK;
}

static s64 hc_notify(struct vcpu *v, u64 channel, u64 also, u64 flags, u64 d)
{
	if (also)
		hc_notify(v, also - 1, 0, 0, 0);
	cpu_self()->resched |= flags & D0_NOTIFY_YIELD;
	return channel > D0_CHANNELS_MAX ? D0_ENOENT : channel_notify(v->cell, (u32)channel);
}

/* The channel's result; what came meanwhile shows in the events. */
static s64 hc_notify_wait(struct vcpu *v, u64 channel, u64 deadline, u64 also, u64 d)
{
	s64 result = hc_notify(v, channel, also, 0, 0);
	hc_wait(v, deadline, 0, 0, 0);
	return result;
}

static s64 hc_log(struct vcpu *v, u64 at, u64 size, u64 c, u64 d)
{
	char text[TEXT_MAX], line[TEXT_MAX + D0_NAME_MAX + 4];
	if (!take_text(v->cell, at, size, text))
		return D0_EFAULT;
	int n = n_snprintf(line, sizeof(line), "%s: %s\n", v->cell->config.name, text);
	console_write(line, (size_t)n);
	return D0_OK;
}

static s64 hc_exit(struct vcpu *v, u64 code, u64 at, u64 size, u64 d)
{
	char text[TEXT_MAX];
	if (!take_text(v->cell, at, size, text))
		n_snprintf(text, sizeof(text), "(its reason lies outside its regions)");
	cell_exited(v->cell, (s64)code, text);
	return D0_OK;
}

static s64 hc_random(struct vcpu *v, u64 a, u64 b, u64 c, u64 d)
{
	v->regs.rdx = random_u64();
	return D0_OK;
}

static s64 hc_verify(struct vcpu *v, u64 answer, u64 b, u64 c, u64 d)
{
	return verify_challenge(v->cell, answer, &v->regs.rdx);
}

static s64 hc_control(struct vcpu *v, u64 at, u64 size, u64 c, u64 d)
{
	return control_request(v->cell, GPA(at), size);
}

static s64 hc_vcpu_start(struct vcpu *v, u64 index, u64 entry, u64 stack, u64 arg)
{
	struct cell *cell = v->cell;
	if (index >= cell->config.vcpus)
		return D0_EINVAL;
	struct vcpu *t = &cell->vcpu[index];
	if (t->state != VCPU_OFF)
		return D0_EBUSY;
	vcpu_reset(t, entry, stack, cell->tables_root, arg, index);
	sched_ready(t);
	return D0_OK;
}

static s64 hc_ipi(struct vcpu *v, u64 mask, u64 b, u64 c, u64 d)
{
	for (u32 i = 0; i < v->cell->config.vcpus; i++)
		if (mask >> i & 1)
			cell_raise_flags(v->cell, i, D0_EV_IPI);
	return D0_OK;
}

static s64 hc_timer(struct vcpu *v, u64 deadline, u64 b, u64 c, u64 d)
{
	v->timer = deadline;
	sched_timer_changed(v);
	return D0_OK;
}

static s64 hc_upcall(struct vcpu *v, u64 vector, u64 b, u64 c, u64 d)
{
	if (!v->cell->high)
		return D0_EPERM;
	if (vector && (vector < 32 || vector > 255))
		return D0_EINVAL;
	v->upcall = (u32)vector;
	return D0_OK;
}

static s64 hc_discard(struct vcpu *v, u64 at, u64 size, u64 c, u64 d)
{
	return region_discard(v->cell, GPA(at), size);
}

static s64 hc_irq_done(struct vcpu *v, u64 channel, u64 b, u64 c, u64 d)
{
	struct cell *cell = v->cell;
	if (channel >= cell->config.channels || !cell->slot[channel].device)
		return D0_ENOENT;
	device_irq_done(cell->slot[channel].device, cell->slot[channel].irq);
	return D0_OK;
}

static s64 hc_console_read(struct vcpu *v, u64 at, u64 size, u64 c, u64 d)
{
	char bytes[64];
	if (!(v->cell->config.caps & D0_CAP_CONSOLE))
		return D0_EPERM;
	size_t n = console_read(bytes, MIN(size, sizeof(bytes)));
	return guest_write(v->cell, GPA(at), bytes, n) ? (s64)n : D0_EFAULT;
}

static s64 hc_fault_report(struct vcpu *v, u64 at, u64 size, u64 c, u64 d)
{
	char text[TEXT_MAX];
	if (!take_text(v->cell, at, size, text))
		return D0_EFAULT;
	journal(D0_EVENT_report, v->cell->number, 0, "%s: %.100s", v->cell->config.name, text);
	return D0_OK;
}

static const handler handlers[D0_HC_COUNT] = {
#define HANDLER(number, name, args, text) [number] = hc_##name,
    D0_HYPERCALLS(HANDLER)
#undef HANDLER
};

void hypercall(struct vcpu *v)
{
	u64 number = v->regs.rax, result = (u64)D0_ENOSYS;
	if (number < D0_HC_COUNT)
		result = (u64)handlers[number](v, v->regs.rdi, v->regs.rsi, v->regs.rdx,
					       v->regs.r10);
	v->regs.rax = result;
}
