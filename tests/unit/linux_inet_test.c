/* SPDX-License-Identifier: ISC */
/*
 * The linux cell's internet sockets while the transport dies between any two stores of each
 * command (tcp_mortal.h): each call has the result it would have had, once.
 *
 * The real files of cells/linux/net run here above a simulated kernel of one thread: waiting is to
 * let virtual time and the two stacks go on.
 */
#define sock_alloc lx_sock_alloc /* the transport has its own */
#define timer_set  lx_timer_set
#include "cells/linux/inc/vfs.h"
#undef current
static struct thread test_thread;
static struct proc test_proc;
static struct cred test_cred;
#define current (&test_thread)
#include "cells/linux/net/inet.c"
#include "cells/linux/net/inet_data.c"
#include "cells/linux/net/inet_filter.c"
#include "cells/linux/net/inet_rings.c"
#include "cells/linux/net/inet_urgent.c"

#include "tests/unit/tcp_mortal.h"
#include <setjmp.h>
#include <cmocka.h>

#define SECOND 1000000000ull
#define Q      (&sim->host[1].c)

static struct sim *sim;
static void (*on_channel)(void *arg);

/* ---- the rest of the kernel ---- */
s32 channel_find(u32 protocol, const char *label)
{
	return 0;
}
void *channel_ring(u32 ch, u64 *size)
{
	*size = sim->host[0].region_size;
	return sim->host[0].region;
}
void channel_notify(u32 ch)
{
	sim->host[0].deadline = 0;
}
void channel_notify_yield(u32 ch)
{
	channel_notify(ch);
}
void event_channel_handler(u32 ch, void (*fn)(void *), void *arg)
{
	on_channel = fn;
}
int wait_on(struct waitq *q, u64 deadline, bool intr)
{
	sim_step(sim, sim->now + 10000000);
	on_channel(NULL);
	return sim->now >= deadline ? -ETIMEDOUT : 0;
}
int sock_wait(struct sock *s, const struct msg *m, u64 deadline)
{
	int r = m->flags & MSG_DONTWAIT_K ? -EAGAIN : wait_on(&s->wait, deadline, true);

	return r == -ETIMEDOUT ? -EAGAIN : r;
}
u64 sock_deadline(u64 timeo)
{
	return timeo == NEVER ? sim->now + 100 * SECOND : sim->now + timeo;
}
u64 clock_now(void)
{
	return sim->now;
}
u64 wall_at(u64 moment)
{
	return moment;
}
u64 random_u64(void)
{
	return 4711;
}
bool capable(int cap)
{
	return true;
}
struct sock *sock_alloc(size_t size, u32 family, u32 type, u32 protocol,
			const struct sock_ops *ops)
{
	struct sock *s = kalloc(size);

	*s = (struct sock){.refs = 1,
			   .family = family,
			   .type = type,
			   .protocol = protocol,
			   .ops = ops,
			   .rcvtimeo = NEVER,
			   .sndtimeo = NEVER};
	return s;
}
void sock_put(struct sock *s)
{
	s->refs--;
}
int uio_in(struct uio *u, void *dst, u64 n)
{
	memcpy(dst, (void *)(u->iov->base + u->off), n);
	u->off += n;
	u->left -= n;
	return 0;
}
int uio_out(struct uio *u, const void *src, u64 n)
{
	memcpy((void *)(u->iov->base + u->off), src, n);
	u->off += n;
	u->left -= n;
	return 0;
}

int copy_in(void *dst, u64 src, u64 n)
{
	memcpy(dst, (void *)src, n);
	return 0;
}
int copy_out(u64 dst, const void *src, u64 n)
{
	memcpy((void *)dst, src, n);
	return 0;
}
s64 netdev_ioctl(u32 cmd, u64 arg)
{
	return -ENOTTY;
}
void file_sigurg(struct file *f)
{
}
void wake_all(struct waitq *q)
{
}
void wake_one(struct waitq *q)
{
}
void wake_events(struct waitq *q, u32 events)
{
}
void timer_set(struct ktimer *t, u64 deadline)
{
	t->fn(t); /* at once */
}
void timer_cancel(struct ktimer *t)
{
}
void printk(const char *fmt, ...)
{
}

/* ---- calls ---- */

static struct sock *make(u32 type)
{
	struct sock *s = NULL;

	CHECK(family_inet.create(type, 0, &s) == 0);
	return s;
}

static u32 name4(u8 *a, u32 host, u16 port)
{
	struct pvs_addr p = sim_addr(host, port, false);

	return inet_addr_format(&p, a);
}

static ssize talk(struct sock *s, bool send, void *buf, u64 n)
{
	struct iovec_k iov = {(u64)buf, n};
	struct uio u = {.iov = &iov, .count = 1, .left = n};
	struct msg m = {.u = &u};

	return send ? s->ops->send(s, &m) : s->ops->recv(s, &m);
}

static void end(struct sock *s)
{
	s->ops->release(s);
	kfree(s);
}

/* A listener on the other host, and what was accepted there. */
static int peer_listens(u16 port)
{
	struct pvs_addr at = sim_addr(1, port, false);
	int l = pvs_socket(Q, PVS_AF_INET, PVS_SOCK_STREAM, 0, 0, 0);

	CHECK(!pvs_bind(Q, l, &at) && !pvs_listen(Q, l, 8));
	return l;
}

static int peer_accepts(int l)
{
	int b = -1;

	for (int i = 0; i < 1000 && b < 0; i++) {
		sim_step(sim, sim->now + 10000000);
		b = pvs_accept(Q, l, 12, 12, NULL);
	}
	CHECK(b >= 0);
	return b;
}

/* ---- scenarios ---- */

static void client(void)
{
	int l = peer_listens(5000), b, one = 1, v = 0;
	struct sock *s;
	u8 a[32];
	char buf[8];
	u32 len = 4, n = name4(a, 1, 5000);

	mortal_arm(sim, 0, 2);
	s = make(SOCK_STREAM_K);
	CHECK(s->ops->setopt(s, IPPROTO_TCP_K, TCP_NODELAY, &one, 4) == 0);
	CHECK(s->ops->connect(s, a, n, false) == 0); /* with the growth of its rings */
	CHECK(s->ops->connect(s, a, n, false) == -EISCONN);
	CHECK(s->ops->getopt(s, IPPROTO_TCP_K, TCP_NODELAY, &v, &len) == 0 && v == 1);
	CHECK(s->ops->getname(s, a, true) == 16);
	mortal_disarm();
	b = peer_accepts(l);
	CHECK(pvs_accept(Q, l, 12, 12, NULL) == -11);
	CHECK(talk(s, true, (char[]){"hello"}, 5) == 5);
	mortal_arm(sim, 0, 3);
	CHECK(s->ops->shutdown(s, 1) == 0);
	mortal_disarm();
	sim_run(sim, 5 * SECOND);
	CHECK(pvs_recv(Q, b, buf, 8) == 5 && pvs_recv(Q, b, buf, 8) == 0);
	CHECK(pvs_send(Q, b, "bye", 3) == 3);
	CHECK(talk(s, false, buf, 3) == 3);
	mortal_arm(sim, 0, 3);
	end(s);
	mortal_disarm();
}

static void server(void)
{
	struct pvs_addr to = sim_addr(0, 6000, false);
	struct sock *l, *s = NULL;
	int c = pvs_socket(Q, PVS_AF_INET, PVS_SOCK_STREAM, 0, 12, 12);
	u8 a[32];
	char buf[8];
	u32 n = name4(a, 0, 6000);

	mortal_arm(sim, 0, 2);
	l = make(SOCK_STREAM_K);
	CHECK(l->ops->bind(l, a, n) == 0);
	CHECK(l->ops->listen(l, 5) == 0);
	CHECK(l->ops->accept(l, &s, true) == -EAGAIN);
	mortal_disarm();
	CHECK(pvs_connect(Q, c, &to) == -115);
	sim_run(sim, SECOND);
	CHECK(pvs_send(Q, c, "first", 5) == 5);
	sim_run(sim, SECOND);
	mortal_arm(sim, 0, 2);
	CHECK(l->ops->accept(l, &s, false) == 0);
	mortal_disarm();
	CHECK(l->ops->accept(l, &s, true) == -EAGAIN);
	CHECK(talk(s, false, buf, 5) == 5 && !memcmp(buf, "first", 5));
	mortal_arm(sim, 0, 4);
	end(l);
	end(s);
	l = make(SOCK_STREAM_K);
	CHECK(l->ops->bind(l, a, n) == -EADDRINUSE); /* the connection has the port */
	mortal_disarm();
	end(l);
}

static void datagrams(void)
{
	struct pvs_addr at = sim_addr(1, 7777, false);
	int b = pvs_socket(Q, PVS_AF_INET, PVS_SOCK_DGRAM, 0, 12, 12);
	struct pvs_dgram d;
	struct sock *s, *t;
	u8 a[32], own[32];
	char buf[8];
	u32 n = name4(a, 1, 7777), m = name4(own, 0, 7000);

	CHECK(!pvs_bind(Q, b, &at));
	mortal_arm(sim, 0, 2);
	s = make(SOCK_DGRAM_K);
	t = make(SOCK_DGRAM_K);
	CHECK(s->ops->bind(s, own, m) == 0);
	CHECK(t->ops->bind(t, own, m) == -EADDRINUSE);
	CHECK(s->ops->connect(s, a, n, false) == 0);
	mortal_disarm();
	CHECK(talk(s, true, (char[]){"hello"}, 5) == 5);
	sim_run(sim, SECOND);
	CHECK(pvs_recvfrom(Q, b, &d, buf, 8) == 5);
	mortal_arm(sim, 0, 3);
	end(s);
	CHECK(t->ops->bind(t, own, m) == 0);
	mortal_disarm();
	end(t);
}

static void run(void (*scenario)(void), const char *name)
{
	struct tp_config cfg = {.max_socks = 64, .early_bufs = 8};
	struct sim s;

	sim = &s;
	mortal_begin(name);
	test_proc.pid = 1;
	test_thread.proc = &test_proc;
	test_thread.cred = &test_cred;
	sim_init(sim, 0, &cfg, 1 << 20);
	scenario();
	for (int i = 0; i < 400; i++) /* closed sockets give their slots back */
		wait_on(&rsp_wait, NEVER, false);
	for (u32 i = 0; i < pvs->nslots; i++)
		CHECK(!pvs->sock[i].used);
	assert_true(mortal_end() > 30);
	kfree(pvs->sock);
	kfree(by_slot);
	kfree(pvs);
	pvs = NULL;
	sim_free(sim);
}

#define SCENARIO(f)                        \
	static void test_##f(void **state) \
	{                                  \
		run(f, #f);                \
	}
SCENARIO(client)
SCENARIO(server)
SCENARIO(datagrams)

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_client),
					   cmocka_unit_test(test_server),
					   cmocka_unit_test(test_datagrams)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
