/* SPDX-License-Identifier: ISC */
/*
 * Copying to or from a program's memory may sleep: what other threads do to a pipe or a unix
 * socket meanwhile must lose no byte and touch no freed memory. Every copy here sleeps in its
 * middle. And sockets whose peer, or whose receiver, goes while others hold on to it.
 */
#include "cells/linux/inc/vfs.h"
#undef current
static struct thread test_thread;
static struct proc test_proc;
static struct cred test_cred;
#define current (&test_thread)
#include "cells/linux/fs/pipe.c"
#include "cells/linux/net/unix.c"
#include "cells/linux/net/unix_data.c"
#include "cells/linux/net/unix_gc.c"

#include <setjmp.h>
#include <cmocka.h>
#include "tests/fuzz/fibers.h"
void *calloc(size_t n, size_t size);
void free(void *p);
void abort(void);

/* ---- What the two need of the rest of the kernel ---- */
struct page *page_alloc_nozero(enum page_kind kind)
{
	struct page *p = calloc(1, sizeof(*p) + PAGE_SIZE);

	p->ref = 1;
	return p;
}
void page_get(struct page *p)
{
	p->ref++;
}
void page_put(struct page *p)
{
	if (--p->ref == 0)
		free(p);
}
void *page_ptr(const struct page *p)
{
	return (void *)(p + 1);
}
u64 page_total(void)
{
	return 1 << 20;
}

/* Half, then another thread's turn, then the rest. */
static int copy(struct uio *u, void *k, u64 n, bool out)
{
	for (u64 i = 0; i < n; i++) {
		u8 *user = (u8 *)u->iov->base + u->off, *mine = (u8 *)k + i;

		if (i == n / 2)
			fiber_yield();
		*(out ? user : mine) = *(out ? mine : user);
		u->off++;
		u->left--;
	}
	return 0;
}
int uio_in(struct uio *u, void *dst, u64 n)
{
	return copy(u, dst, n, false);
}
int uio_out(struct uio *u, const void *src, u64 n)
{
	return copy(u, (void *)src, n, true);
}
void uio_kernel(struct uio *u, struct iovec_k *iov, void *buf, u64 n)
{
	*iov = (struct iovec_k){(u64)buf, n};
	*u = (struct uio){.iov = iov, .count = 1, .left = n, .kernel = true};
}

/* A sleeper waits in the queue, as in the kernel; each turn it looks again. */
static bool signalled;
static void woken(struct waiter *w, u32 events)
{
}
int wait_on(struct waitq *q, u64 deadline, bool intr)
{
	struct waiter w = {.wake = woken};

	waitq_add(q, &w);
	fiber_yield();
	list_del(&w.link);
	return intr && signalled ? -ERESTARTSYS : 0;
}
void waitq_add(struct waitq *q, struct waiter *w)
{
	list_add_tail(&q->waiters, &w->link);
}
void waitq_dissolve(struct waitq *q)
{
	while (q->waiters.next && !list_empty(&q->waiters))
		list_del(q->waiters.next);
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
struct sock *sock_alloc(size_t size, u32 family, u32 type, u32 protocol,
			const struct sock_ops *ops)
{
	struct sock *s = calloc(1, size);

	*s = (struct sock){.refs = 1, .type = type, .ops = ops, .sndbuf = 6000};
	return s;
}
void sock_put(struct sock *s)
{
	s->ops->release(s);
	free(s);
}
u64 sock_deadline(u64 timeo)
{
	return NEVER;
}
int sock_wait(struct sock *s, const struct msg *m, u64 deadline)
{
	return wait_on(&s->wait, deadline, true);
}
struct sock *file_sock(struct file *f)
{
	return f->priv; /* the files of these tests are sockets or have none */
}
void scm_free(struct scm *c)
{
	free(c);
}
bool capable(int cap)
{
	return false;
}
void sig_send_thread(struct thread *t, int sig, const siginfo_t *info)
{
}
struct file *anon_file(const char *name, const struct file_ops *ops, void *priv, u32 flags,
		       u32 mode)
{
	return NULL;
}
struct file *file_new(const struct file_ops *ops, u32 flags)
{
	return NULL;
}
void dentry_get(struct dentry *d)
{
}
void dentry_put(struct dentry *d)
{
}
int copy_out(u64 dst, const void *src, size_t n)
{
	return 0;
}
int vfs_mknod(int dfd, const char *path, u32 mode, u64 dev, struct dentry **out)
{
	return -EROFS;
}
int path_lookup(int dfd, const char *path, u32 flags, struct dentry **out)
{
	return -ENOENT;
}
int inode_permission(struct inode *i, u32 mask)
{
	return 0;
}
u64 random_u64(void)
{
	return 7;
}
s64 netdev_ioctl(u32 cmd, u64 arg)
{
	return -ENOTTY;
}
void text_add(struct text *t, const char *fmt, ...)
{
}

/* ---- Threads of a test ---- */
static struct call {
	void *object;
	u8 data[64];
	u64 size;
	ssize r;
	bool over;
	struct iovec_k iov;
	struct uio u;
} calls[4];
static u32 started;

static struct call *start(void (*fn)(void *), void *object, const char *data, u64 size)
{
	struct call *c = &calls[started++];

	*c = (struct call){.object = object, .size = size};
	if (data)
		memcpy(c->data, data, size);
	uio_kernel(&c->u, &c->iov, c->data, size);
	assert_int_equal(fiber_start(fn, c), 0);
	return c;
}

static void finish(void)
{
	for (u32 i = 0; fibers_turn(); i++)
		assert_true(i < 10000);
	started = 0;
}

static void writer(void *arg)
{
	struct call *c = arg;
	u64 pos = 0;

	c->r = pipe_write(&(struct file){.priv = c->object}, &c->u, &pos);
	c->over = true;
}
static void reader(void *arg)
{
	struct call *c = arg;
	u64 pos = 0;

	c->r = pipe_read(&(struct file){.priv = c->object}, &c->u, &pos);
	c->over = true;
}
static void sender(void *arg)
{
	struct call *c = arg;
	struct msg m = {.u = &c->u};

	c->r = unix_send(c->object, &m);
	c->over = true;
}
static void receiver(void *arg)
{
	struct call *c = arg;
	struct msg m = {.u = &c->u};

	c->r = unix_recv(c->object, &m);
	c->over = true;
}

static struct pipe *new_pipe(void)
{
	struct pipe *p = pipe_alloc();

	p->readers = p->writers = 1;
	return p;
}

/* Every order of the two that leaves each of them whole. */
static void assert_both(const u8 *got, const char *one, const char *two)
{
	char ab[64], ba[64];

	format(ab, sizeof(ab), "%s%s", one, two);
	format(ba, sizeof(ba), "%s%s", two, one);
	assert_true(!memcmp(got, ab, strlen(ab)) || !memcmp(got, ba, strlen(ba)));
}

static void pipe_two_writers(void **state)
{
	struct pipe *p = new_pipe();
	struct call *c;

	start(writer, p, "aaaaaa", 6);
	start(writer, p, "bbbb", 4);
	finish();
	c = start(reader, p, NULL, 64);
	finish();
	assert_int_equal(c->r, 10);
	assert_both(c->data, "aaaaaa", "bbbb");
	pipe_put(p);
}

static void pipe_two_readers(void **state)
{
	struct pipe *p = new_pipe();
	struct call *c, *d;

	start(writer, p, "0123456789", 10);
	finish();
	c = start(reader, p, NULL, 6);
	d = start(reader, p, NULL, 6);
	finish();
	assert_int_equal(c->r, 6);
	assert_int_equal(d->r, 4);
	assert_memory_equal(c->data, "012345", 6);
	assert_memory_equal(d->data, "6789", 4);
	pipe_put(p);
}

/* A reader that empties the pipe gives its page up while a writer fills it. */
static void pipe_read_while_written(void **state)
{
	struct pipe *p = new_pipe();
	struct call *c, *d;

	/* On to the second page: the first is never given up. */
	start(writer, p, "x", 1);
	finish();
	start(reader, p, NULL, 1);
	finish();
	start(writer, p, "abc", 3);
	finish();
	start(writer, p, "def", 3);
	c = start(reader, p, NULL, 3);
	d = start(reader, p, NULL, 3);
	finish();
	assert_int_equal(c->r, 3);
	assert_int_equal(d->r, 3);
	assert_memory_equal(c->data, "abc", 3);
	assert_memory_equal(d->data, "def", 3);
	pipe_put(p);
}

static void resizer(void *arg)
{
	struct call *c = arg;

	c->r = pipe_set_size(&(struct file){.priv = c->object}, 8 * PAGE_SIZE);
	c->over = true;
}

static void pipe_resized_while_written(void **state)
{
	struct pipe *p = new_pipe();
	struct call *c;

	start(writer, p, "abcdef", 6);
	c = start(resizer, p, NULL, 0);
	finish();
	assert_int_equal(c->r, 8 * PAGE_SIZE);
	c = start(reader, p, NULL, 6);
	finish();
	assert_int_equal(c->r, 6);
	assert_memory_equal(c->data, "abcdef", 6);
	pipe_put(p);
}

/* Each byte once, whichever reader gets it. */
static void readers_share(u32 type)
{
	struct sock *s[2];
	struct call *c, *d;

	assert_int_equal(unix_pair(type, 0, s), 0);
	start(sender, s[0], "abcd", 4);
	finish();
	start(sender, s[0], "efgh", 4);
	finish();
	c = start(receiver, s[1], NULL, 4);
	d = start(receiver, s[1], NULL, 4);
	finish();
	assert_int_equal(c->r, 4);
	assert_int_equal(d->r, 4);
	assert_memory_equal(c->data, "abcd", 4);
	assert_memory_equal(d->data, "efgh", 4);
	assert_int_equal(us(s[0])->flow->bytes, 0);
	sock_put(s[0]);
	sock_put(s[1]);
}

static void socket_two_readers(void **state)
{
	readers_share(SOCK_STREAM_K);
	readers_share(SOCK_DGRAM_K);
	readers_share(SOCK_SEQPACKET_K);
}

static struct sock *named(u32 type, const char *name)
{
	u8 addr[16] = {AF_UNIX_K, 0, 0};
	struct sock *s;

	memcpy(addr + 3, name, 3);
	assert_int_equal(unix_create(type, 0, &s), 0);
	assert_int_equal(unix_bind(s, addr, 6), 0);
	return s;
}

/* One of a pair gets another peer and goes: the other must not know it any more. */
static void pair_torn(void **state)
{
	struct sock *s[2], *third = named(SOCK_DGRAM_K, "abc");
	struct call *c;

	assert_int_equal(unix_pair(SOCK_DGRAM_K, 0, s), 0);
	assert_int_equal(unix_connect(s[0], us(third)->name, 6, true), 0);
	sock_put(s[0]);
	assert_null(us(s[1])->peer);
	c = start(sender, s[1], "x", 1);
	finish();
	assert_int_equal(c->r, -ECONNREFUSED); /* told once */
	sock_put(s[1]);

	assert_int_equal(unix_pair(SOCK_DGRAM_K, 0, s), 0);
	assert_int_equal(unix_connect(s[0], (u8[16]){0}, 2, true), 0);
	sock_put(s[0]);
	assert_null(us(s[1])->peer);
	sock_put(s[1]);
	sock_put(third);
}

static struct sock *going;
static void closes(void *arg)
{
	((struct call *)arg)->over = true;
	for (int i = 0; i < 8; i++)
		fiber_yield();
	sock_put(going);
}

/* The receiver of a datagram goes while its sender waits for room. */
static void receiver_gone(void **state)
{
	struct sock *to = named(SOCK_DGRAM_K, "abc"), *from;
	struct call *c;

	assert_int_equal(unix_create(SOCK_DGRAM_K, 0, &from), 0);
	assert_int_equal(unix_connect(from, us(to)->name, 6, true), 0);
	us(from)->flow->bytes = 6000;
	going = to;
	c = start(sender, from, "x", 1);
	start(closes, NULL, NULL, 0);
	finish();
	assert_true(c->over);
	assert_int_equal(c->r, -ECONNREFUSED);
	sock_put(from);
}

static struct sock *target;
static void connects(void *arg)
{
	struct call *c = arg;

	c->r = unix_connect(c->object, us(target)->name, 6, false);
	c->over = true;
}

/* Two threads connect one socket to a listener that is busy: one of them is too late. */
static void connected_twice(void **state)
{
	struct sock *s, *child;
	struct call *c, *d;

	target = named(SOCK_STREAM_K, "abc");
	assert_int_equal(unix_listen(target, 1), 0);
	us(target)->pending = 5;
	assert_int_equal(unix_create(SOCK_STREAM_K, 0, &s), 0);
	c = start(connects, s, NULL, 0);
	d = start(connects, s, NULL, 0);
	fibers_turn();
	us(target)->pending = 0;
	finish();
	assert_int_equal(c->r, 0);
	assert_int_equal(d->r, -EISCONN);
	assert_int_equal(us(target)->pending, 1);
	sock_put(s);
	assert_int_equal(unix_accept(target, &child, true), 0);
	assert_null(us(child)->peer);
	sock_put(child);
	sock_put(target);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pipe_two_writers),
	    cmocka_unit_test(pipe_two_readers),
	    cmocka_unit_test(pipe_read_while_written),
	    cmocka_unit_test(pipe_resized_while_written),
	    cmocka_unit_test(socket_two_readers),
	    cmocka_unit_test(pair_torn),
	    cmocka_unit_test(receiver_gone),
	    cmocka_unit_test(connected_twice),
	};

	test_cred.refs = 1;
	test_thread.proc = &test_proc;
	test_thread.cred = &test_cred;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
