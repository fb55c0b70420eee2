/* SPDX-License-Identifier: ISC */
/*
 * The probe: measures the nucleus from inside a cell, and exercises the control protocol.
 *
 *	do=cycle n=N		create, start and destroy a cell N times; free memory before and
 *				after
 *	do=hypercall n=N	N of the cheapest hypercall
 *	do=notify n=N		N round trips of a bell with the client of channel 0 (do=answer)
 *	do=answer		rings back
 *	do=smp n=N		all vCPUs of the cell add to a sum under a lock, N times each
 *
 * Each prints one line "probe WHAT n N ns TOTAL ..." and ends; "answer" goes on.
 */
#include <string.h>
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/control.h"
#include "libcell/hypercall.h"
#include "libcell/log.h"
#include "libcell/spinlock.h"

static uint64_t memory_free(void)
{
	static struct d0_ctl_system_status sys;

	return CELL_CONTROL(&sys, system_status) ? 0 : sys.mem_free;
}

/* Free memory when it has not changed for half a second. */
static uint64_t settled_memory(void)
{
	uint64_t last = 0;

	for (int same = 0; same < 5; same++) {
		cell_wait(clock_ns() + 100 * CLOCK_NS_PER_MS);
		cell_flags_take(~0ull);
		if (memory_free() != last)
			same = 0;
		last = memory_free();
	}
	return last;
}

static int cell_once(void)
{
	static struct d0_ctl_cell_create c;
	static struct d0_ctl_cell_op op;
	static struct d0_ctl_channel_create ch;
	static struct d0_ctl_channel_destroy hangup;
	int err;

	c = (struct d0_ctl_cell_create){
	    .name = "cycled",
	    .image = "heartbeat",
	    .heap = 65536,
	    .stack = 16384,
	    .vcpus = 1,
	    .channels = 4,
	    .priority = 3,
	};
	err = CELL_CONTROL(&c, cell_create);
	if (err)
		return err;
	ch = (struct d0_ctl_channel_create){
	    .h.cell = c.h.cell,
	    .client = cell_info()->cell,
	    .protocol = D0_PROTO_VIRTQ,
	    .ring = 16384,
	    .label = "cycle",
	};
	err = CELL_CONTROL(&ch, channel_create);
	op.h.cell = c.h.cell;
	if (!err)
		err = CELL_CONTROL(&op, cell_start);
	cell_wait(clock_ns() + 200000); /* let it run a little */
	cell_flags_take(~0ull);
	cell_events_take(0);
	hangup =
	    (struct d0_ctl_channel_destroy){.h.cell = c.h.cell, .channel = ch.server_channel};
	if (CELL_CONTROL(&hangup, channel_destroy) && !err)
		err = hangup.h.status;
	if (CELL_CONTROL(&op, cell_destroy) && !err)
		err = op.h.status;
	return err;
}

static void probe_cycle(uint64_t n)
{
	uint64_t start, before, after, failed = 0;
	int err = 0;

	/* The image is loaded once, and stays. Stacks, heaps and rings of the cells around,
	 * this one's too, take frames until all that they use was touched once. */
	for (int i = 0; i < 20; i++)
		cell_once();
	before = settled_memory();
	start = clock_ns();
	for (uint64_t i = 0; i < n; i++) {
		int e = cell_once();

		failed += e != 0;
		err = e ? e : err;
	}
	start = clock_ns() - start;
	after = settled_memory();
	log_info("probe cycle n %lu ns %lu failed %lu (%s) free %lu then %lu", n, start, failed,
		 cell_strerror(err), before, after);
}

static void probe_hypercall(uint64_t n)
{
	uint64_t start = clock_ns();

	for (uint64_t i = 0; i < n; i++)
		D0_HC(random);
	log_info("probe hypercall n %lu ns %lu", n, clock_ns() - start);
}

/* Waits until the peer rang. */
static void await_bell(void)
{
	while (!cell_event_take(0)) {
		cell_wait(D0_NEVER);
		cell_flags_take(~0ull);
	}
}

static void probe_notify(uint64_t n)
{
	uint64_t start;

	cell_notify(0);
	await_bell();
	start = clock_ns();
	for (uint64_t i = 0; i < n; i++) {
		cell_notify(0);
		await_bell();
	}
	log_info("probe notify n %lu ns %lu", n, clock_ns() - start);
}

static struct spinlock sum_lock = SPINLOCK_INIT;
static uint64_t sum, sum_rounds, vcpus_seen, vcpus_done;

static void add_up(void)
{
	for (uint64_t i = 0; i < sum_rounds; i++) {
		spin_lock(&sum_lock);
		sum++;
		vcpus_seen |= 1ull << cell_vcpu();
		spin_unlock(&sum_lock);
	}
	__atomic_fetch_add(&vcpus_done, 1, __ATOMIC_SEQ_CST);
}

/* The others add, tell the first by an interrupt between vCPUs, and wait for ever. */
static void other_vcpu(void *arg)
{
	add_up();
	cell_ipi(1);
	for (;;) {
		cell_wait(D0_NEVER);
		cell_flags_take(~0ull);
	}
}

static void probe_smp(uint64_t n)
{
	unsigned vcpus = cell_info()->vcpus;
	uint64_t start = clock_ns();

	sum_rounds = n;
	for (unsigned i = 1; i < vcpus; i++)
		if (cell_vcpu_start(i, other_vcpu, NULL))
			log_error("vCPU %u does not start", i);
	add_up();
	while (__atomic_load_n(&vcpus_done, __ATOMIC_SEQ_CST) < vcpus) {
		cell_wait(clock_ns() + 5 * CLOCK_NS_PER_S);
		if (!cell_flags_take(~0ull))
			log_warn("no word from the other vCPUs");
	}
	log_info("probe smp n %lu ns %lu sum %lu seen %lx", n, clock_ns() - start, sum,
		 vcpus_seen);
}

int cell_main(const struct d0_info *info)
{
	uint64_t n = cell_arg_u64(info->args, "n", 1000);
	char what[16] = "";

	cell_arg(info->args, "do", what, sizeof(what));
	if (!strcmp(what, "cycle"))
		probe_cycle(n);
	else if (!strcmp(what, "hypercall"))
		probe_hypercall(n);
	else if (!strcmp(what, "notify"))
		probe_notify(n);
	else if (!strcmp(what, "smp"))
		probe_smp(n);
	else if (!strcmp(what, "answer"))
		for (;;) {
			await_bell();
			cell_notify(0);
		}
	return 0;
}
