/* SPDX-License-Identifier: ISC */
/*
 * The hosted back-end: a cell as a Linux process, or as a thread of a test.
 *
 * Problem. Stores, stacks and switches must run, unchanged, where sanitizers, fuzzers and
 * profilers are.
 *
 * Model. The info page and its tables are ordinary memory that this back-end fills as the
 * nucleus would; addresses are pointers (va_offset 0). A doorbell sets a bit in the peer's
 * event words and writes an eventfd when the peer is in this process, or only the eventfd
 * when it is in another. Each vCPU is a thread with an epoll of its own; cell_wait sleeps
 * there. Everything about "which cell am I" hangs on one thread-local pointer, so that one
 * test can run two cells.
 *
 * There is no verification duty, no DMA and no control protocol here.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include "libcell/alloc.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/common/backend.h"
#include "libcell/common/events.h"
#include "libcell/control.h"
#include "libcell/hosted.h"
#include "libcell/panic.h"
#include "libcell/hosted/hosted_impl.h"

#define WAKE_TAG ((uint64_t)~0u)

_Thread_local struct hosted_vcpu *hosted_self;

static struct hosted_cell *self_cell(void)
{
	if (!hosted_self) {
		fputs("libcell: this thread is no cell (hosted_enter)\n", stderr);
		abort();
	}
	return hosted_self->cell;
}

const struct d0_info *cell_info(void)
{
	return &self_cell()->page.info;
}

unsigned cell_vcpu(void)
{
	return hosted_self ? hosted_self->number : 0;
}

static void wake(struct hosted_cell *c, unsigned vcpu)
{
	uint64_t one = 1;

	if (write(c->vcpu[vcpu].wake, &one, sizeof(one)) < 0 && errno != EAGAIN)
		panic("eventfd: %s", strerror(errno));
}

void hosted_raise(struct hosted_cell *c, unsigned channel)
{
	unsigned vcpu = c->page.channel[channel].vcpu;

	events_put(&c->events[vcpu], channel / 64, 1ull << channel % 64);
	wake(c, vcpu);
}

void hosted_raise_flags(struct hosted_cell *c, unsigned vcpu, uint64_t flags)
{
	__atomic_fetch_or(&c->events[vcpu].flags, flags, __ATOMIC_SEQ_CST);
	wake(c, vcpu);
}

bool cell_event_take(unsigned channel)
{
	return channel < HOSTED_CHANNELS &&
	       events_take_one(&self_cell()->events[hosted_self->number], channel);
}

uint64_t cell_events_words(void)
{
	return __atomic_load_n(&self_cell()->events[hosted_self->number].words,
			       __ATOMIC_RELAXED);
}

uint64_t cell_events_take(unsigned word)
{
	struct d0_events *e = &self_cell()->events[hosted_self->number];

	return word < D0_CHANNELS_MAX / 64 ? events_take(e, word) : 0;
}

uint64_t cell_flags_take(uint64_t mask)
{
	struct d0_events *e = &self_cell()->events[hosted_self->number];

	return __atomic_fetch_and(&e->flags, ~mask, __ATOMIC_SEQ_CST) & mask;
}

/* Turns what epoll reported into event bits. */
static void take_ready(struct hosted_vcpu *v, const struct epoll_event *ev, int n)
{
	for (int i = 0; i < n; i++) {
		uint64_t count, tag = ev[i].data.u64;
		unsigned ch = (unsigned)tag;
		int fd = tag == WAKE_TAG ? v->wake : v->cell->peer[ch].recv_fd;

		if (tag == WAKE_TAG || !v->cell->peer[ch].watched)
			if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
				panic("eventfd: %s", strerror(errno));
		if (tag != WAKE_TAG)
			events_put(&v->cell->events[v->number], ch / 64, 1ull << ch % 64);
	}
}

/* One look at the descriptors, for at most until `deadline` (0: do not sleep). */
static void poll_until(struct hosted_vcpu *v, uint64_t deadline)
{
	struct epoll_event ev[16];
	struct timespec left = {0}, *timeout = &left;
	uint64_t now = deadline ? clock_ns() : 0;
	int n;

	if (deadline == D0_NEVER)
		timeout = NULL;
	else if (deadline > now)
		left = (struct timespec){(time_t)((deadline - now) / CLOCK_NS_PER_S),
					 (long)((deadline - now) % CLOCK_NS_PER_S)};
	n = epoll_pwait2(v->epoll, ev, 16, timeout, NULL);
	if (n < 0 && errno != EINTR)
		panic("epoll: %s", strerror(errno));
	take_ready(v, ev, n);
}

bool cell_wait(uint64_t deadline_ns)
{
	struct hosted_vcpu *v = hosted_self;

	self_cell();
	poll_until(v, 0);
	for (;;) {
		uint64_t until = deadline_ns < v->timer ? deadline_ns : v->timer;

		if (v->timer != D0_NEVER && clock_ns() >= v->timer) {
			v->timer = D0_NEVER;
			hosted_raise_flags(v->cell, v->number, D0_EV_TIMER);
		}
		if (events_pending(&v->cell->events[v->number]))
			return true;
		if (deadline_ns != D0_NEVER && clock_ns() >= deadline_ns)
			return false;
		poll_until(v, until);
	}
}

void cell_duty(void)
{
}

int cell_notify(unsigned channel)
{
	struct hosted_cell *c = self_cell();
	uint64_t one = 1;
	struct hosted_peer *p;

	if (channel >= HOSTED_CHANNELS || c->page.channel[channel].state == D0_CHANNEL_FREE)
		return D0_ENOENT;
	p = &c->peer[channel];
	if (p->cell)
		hosted_raise(p->cell, p->channel);
	else if (p->send_fd >= 0 && write(p->send_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		return D0_ESTATE;
	return D0_OK;
}

void cell_notify_later(unsigned channel)
{
	cell_notify(channel);
}

void cell_notify_flush(void)
{
}

int cell_irq_done(unsigned channel)
{
	return D0_OK;
}

void cell_timer(uint64_t deadline_ns)
{
	self_cell();
	hosted_self->timer = deadline_ns;
}

void cell_ipi(uint64_t vcpu_mask)
{
	struct hosted_cell *c = self_cell();

	for (unsigned i = 0; i < c->page.info.vcpus; i++)
		if (vcpu_mask >> i & 1)
			hosted_raise_flags(c, i, D0_EV_IPI);
}

static void *vcpu_thread(void *arg)
{
	hosted_self = arg;
	hosted_self->fn(hosted_self->arg);
	panic("function of vCPU %u returned", hosted_self->number);
}

int cell_vcpu_start(unsigned vcpu, void (*fn)(void *), void *arg)
{
	struct hosted_cell *c = self_cell();
	struct hosted_vcpu *v;

	if (!vcpu || vcpu >= c->page.info.vcpus)
		return D0_EINVAL;
	v = &c->vcpu[vcpu];
	v->fn = fn;
	v->arg = arg;
	return pthread_create(&v->thread, NULL, vcpu_thread, v) ? D0_ENOMEM : D0_OK;
}

_Noreturn void cell_exit(int code, const char *reason)
{
	const char *name = hosted_self ? hosted_self->cell->page.info.name : "?";

	if (reason)
		fprintf(stderr, "%s: ended with code %d: %s\n", name, code, reason);
	if (hosted_self && hosted_self->cell->own_thread) {
		hosted_self->cell->exit_code = code;
		pthread_exit(NULL);
	}
	fflush(NULL);
	_exit(code);
}

void backend_log(const char *text, size_t len)
{
	const char *name = hosted_self ? hosted_self->cell->page.info.name : "?";

	fprintf(stderr, "%s: %.*s\n", name, (int)len, text);
}

long cell_console_read(void *buf, size_t len)
{
	struct pollfd p = {.fd = 0, .events = POLLIN};
	ssize_t n;

	if (self_cell()->own_thread)
		return D0_EPERM;
	n = poll(&p, 1, 0) > 0 ? read(0, buf, len) : 0;
	return n > 0 ? n : 0;
}

void backend_entropy(uint8_t out[32])
{
	if (getrandom(out, 32, 0) != 32)
		panic("no randomness from the system");
}

int cell_control(struct d0_ctl *req, uint32_t op, uint32_t size)
{
	req->op = op;
	req->size = size;
	req->status = D0_ENOSYS;
	return D0_ENOSYS;
}

static uint64_t monotonic_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * CLOCK_NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t clock_ns(void)
{
	static uint64_t start;
	uint64_t now = monotonic_ns(CLOCK_MONOTONIC), none = 0;

	if (!__atomic_load_n(&start, __ATOMIC_RELAXED))
		__atomic_compare_exchange_n(&start, &none, now - 1, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
	return now - __atomic_load_n(&start, __ATOMIC_RELAXED);
}

int64_t clock_wall_ns(void)
{
	return (int64_t)monotonic_ns(CLOCK_REALTIME);
}

uint64_t clock_tsc_hz(void)
{
	return 0;
}

struct heap_stats cell_heap_stats(void)
{
	return (struct heap_stats){0};
}
