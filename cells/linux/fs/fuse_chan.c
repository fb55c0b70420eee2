/* SPDX-License-Identifier: ISC */
/*
 * FUSE requests over a D0_PROTO_FS channel (d0/vfs.h).
 *
 * The data area of the ring region is cut into equal slots; a request takes one, lays its
 * bytes at the slot's start and the room for the reply behind them, and sleeps until the
 * device has used the chain.
 *
 * When the store restarts, its half of the ring's head page shows a new epoch: the queues
 * are set up anew, a session begins with INIT, and the requests that were in flight are sent
 * again. Node numbers keep their meaning. A request that was sent twice may have been
 * done the first time: fuse_call_x says so (`resent`), and fs/fuse.c reads the answer of
 * create, remove and rename accordingly. What must not be done twice (an exchange of two
 * names) is sent with fuse_call_once. fuse_session() counts sessions; fs/fuse.c compares it
 * with what its inodes were looked up in, because lookup counts begin at 0 with each.
 *
 * The reply is copied out of shared memory once; its length and header are checked there.
 */
#include "cells/linux/inc/channel.h"
#include "cells/linux/inc/fuse.h"
#include "libcell/vchan.h"
#include "libcell/virtq.h"

#define SLOTS_MAX 32u

struct fuse_req {
	u32 slot;
	u32 reply_off, used;
	bool done, lost, forget;
	struct waitq wait;
	u64 unique;
};

struct fuse_conn {
	u32 channel;
	u8 *ring;
	u64 size;
	struct vchan chan;
	struct virtq_drv q[D0_VFS_QUEUES];
	struct virtq_slot slots[D0_VFS_QUEUES][D0_VFS_QUEUE_NUM];
	struct fuse_conn *next;
	bool up, ready; /* handshake done; INIT done */
	u32 nslots, slot_size;
	u64 free_slots; /* bitmap */
	struct waitq slot_wait, up_wait;
	u64 next_unique;
	struct fuse_req forgets[SLOTS_MAX];
	u32 max_write;
	bool initialising;
	u32 session; /* INITs that were answered */
	void (*renewed)(void *arg);
	void *renewed_arg;
};

static struct fuse_conn *conns;

static void complete(struct fuse_conn *c, struct fuse_req *r, u32 used, bool lost)
{
	if (r->forget) {
		c->free_slots |= 1ull << r->slot;
		wake_all(&c->slot_wait);
		return;
	}
	r->used = used;
	r->lost = lost;
	r->done = true;
	wake_all(&r->wait);
}

static void queues_init(struct fuse_conn *c)
{
	for (u32 i = 0; i < D0_VFS_QUEUES; i++) {
		void *at = vchan_queue(&c->chan, i, D0_VFS_QUEUES, D0_VFS_QUEUE_NUM);

		if (!at || virtq_drv_init(&c->q[i], at, D0_VFS_QUEUE_NUM, c->chan.features,
					  c->slots[i]))
			panic("fs channel: ring too small");
		virtq_drv_events_on(&c->q[i]);
	}
	vchan_client_ready(&c->chan);
	c->up = true;
	wake_all(&c->up_wait);
}

static void drain(struct fuse_conn *c)
{
	struct fuse_req *r;

	for (u32 i = 0; i < D0_VFS_QUEUES && c->up; i++)
		while ((r = virtq_drv_drain(&c->q[i])))
			complete(c, r, 0, true);
	c->up = c->ready = false;
}

static void fuse_event(void *arg)
{
	struct fuse_conn *c = arg;
	enum vchan_event e;
	struct fuse_req *r;
	u32 used;

	/*
	 * Down, then perhaps up at once: a server that has just started waits for us and will
	 * not notify again.
	 */
	do {
		e = vchan_client_poll(&c->chan, D0_VRING_F_VERSION_1 | D0_VRING_F_EVENT_IDX);
		if (e != VCHAN_SAME)
			drain(c);
		if (e == VCHAN_UP)
			queues_init(c);
	} while (e == VCHAN_DOWN);
	if (c->chan.notify) {
		c->chan.notify = false;
		channel_notify(c->channel);
	}
	for (u32 i = 0; i < D0_VFS_QUEUES && c->up; i++)
		do {
			while ((r = virtq_drv_pop(&c->q[i], &used)))
				complete(c, r, used, false);
		} while (virtq_drv_events_on(&c->q[i]));
}

static u32 slot_take(struct fuse_conn *c)
{
	while (!c->free_slots)
		wait_on(&c->slot_wait, NEVER, false);
	u32 n = (u32)__builtin_ctzll(c->free_slots);

	c->free_slots &= ~(1ull << n);
	return n;
}

static u64 slot_off(const struct fuse_conn *c, u32 slot)
{
	return d0_vfs_data_off() + (u64)slot * c->slot_size;
}

/* Queue one request; the pieces were copied to the slot. */
static int submit(struct fuse_conn *c, u32 queue, struct fuse_req *r, u32 out_bytes)
{
	u64 at = slot_off(c, r->slot);
	struct virtq_buf out = {at, out_bytes}, in;
	int e;

	r->reply_off = ALIGN_UP(out_bytes, 64u);
	in = (struct virtq_buf){at + r->reply_off, c->slot_size - r->reply_off};
	e = virtq_drv_add(&c->q[queue], &out, 1, &in, r->forget ? 0 : 1, r);
	if (e)
		return -EAGAIN;
	if (virtq_drv_push(&c->q[queue]))
		channel_notify(c->channel);
	return 0;
}

static u32 fill_slot(struct fuse_conn *c, u32 slot, u32 op, u64 node, u64 unique,
		     const struct fuse_arg *in, u32 nin)
{
	const struct cred *cr = current->cred;
	struct fuse_in_header h = {.opcode = op,
				   .unique = unique,
				   .nodeid = node,
				   .uid = cr ? cr->fsuid : 0,
				   .gid = cr ? cr->fsgid : 0,
				   .pid = current->proc ? current->proc->pid : 0};
	u8 *p = c->ring + slot_off(c, slot);
	u32 at = sizeof(h);

	for (u32 i = 0; i < nin; i++) {
		memcpy(p + at, in[i].p, in[i].len);
		at += in[i].len;
	}
	h.len = at;
	memcpy(p, &h, sizeof(h));
	return at;
}

static ssize take_reply(struct fuse_conn *c, struct fuse_req *r, void *out, u32 out_len)
{
	const u8 *p = c->ring + slot_off(c, r->slot) + r->reply_off;
	struct fuse_out_header h;

	if (r->used < sizeof(h))
		return -EIO;
	memcpy(&h, p, sizeof(h));
	if (h.unique != r->unique || h.len < sizeof(h) || h.len > r->used)
		return -EIO;
	if (h.error)
		return h.error < 0 && h.error > -4096 ? h.error : -EIO;
	h.len -= sizeof(h);
	if (h.len > out_len)
		return -EIO;
	memcpy(out, p + sizeof(h), h.len);
	return h.len;
}

/* One attempt: -ERESTARTNOINTR when the store went away meanwhile; *sent if it may have
 * seen the request. */
static ssize call_once(struct fuse_conn *c, u32 op, u64 node, const struct fuse_arg *in,
		       u32 nin, void *out, u32 out_len, bool *sent)
{
	struct fuse_req r = {.slot = slot_take(c), .unique = c->next_unique++};
	u32 bytes = fill_slot(c, r.slot, op, node, r.unique, in, nin);
	ssize n = -ERESTARTNOINTR;

	if (c->up && submit(c, D0_VFS_REQUESTS, &r, bytes) == 0) {
		while (!r.done)
			wait_on(&r.wait, NEVER, false);
		*sent = true;
		if (!r.lost)
			n = take_reply(c, &r, out, out_len);
	} else if (c->up) {
		wait_on(NULL, clock_now() + 1000000, false);
	}
	c->free_slots |= 1ull << r.slot;
	wake_all(&c->slot_wait);
	return n;
}

static int do_init(struct fuse_conn *c)
{
	struct fuse_init_in in = {.major = 7,
				  .minor = 36,
				  .max_readahead = 131072,
				  .flags = FUSE_INIT_ASYNC_READ | FUSE_INIT_BIG_WRITES |
					   FUSE_INIT_MAX_PAGES | FUSE_INIT_DONT_MASK |
					   FUSE_INIT_WRITEBACK_CACHE |
					   FUSE_INIT_CACHE_SYMLINKS};
	struct fuse_init_out o = {0};
	struct fuse_arg a = {&in, sizeof(in)};
	bool sent;
	ssize n = call_once(c, FUSE_INIT, 0, &a, 1, &o, sizeof(o), &sent);

	if (n < 0)
		return (int)n;
	c->max_write = MIN(o.max_write ? o.max_write : 4096, c->slot_size - 4096);
	c->ready = true;
	c->session++;
	if (c->session > 1)
		printk("store: connected again, session %u", c->session);
	if (c->session > 1 && c->renewed)
		c->renewed(c->renewed_arg);
	wake_all(&c->up_wait);
	return 0;
}

/* Until there is a session. 0, or what INIT failed with. */
static int session_wait(struct fuse_conn *c)
{
	while (!c->ready) {
		int r;

		if (!c->up) {
			wait_on(&c->up_wait, NEVER, false);
			continue;
		}
		if (c->initialising) {
			wait_on(&c->up_wait, clock_now() + 10000000, false);
			continue;
		}
		c->initialising = true;
		r = do_init(c);
		c->initialising = false;
		wake_all(&c->up_wait);
		if (r < 0 && r != -ERESTARTNOINTR)
			return r;
	}
	return 0;
}

ssize fuse_call_once(struct fuse_conn *c, u32 op, u64 node, const struct fuse_arg *in, u32 nin,
		     void *out, u32 out_len)
{
	bool sent = false;
	ssize n;

	do {
		n = session_wait(c);
		if (n < 0)
			return n;
		n = call_once(c, op, node, in, nin, out, out_len, &sent);
	} while (n == -ERESTARTNOINTR && !sent);
	return n;
}

ssize fuse_call_x(struct fuse_conn *c, u32 op, u64 node, const struct fuse_arg *in, u32 nin,
		  void *out, u32 out_len, bool *resent)
{
	*resent = false;
	for (;;) {
		ssize n = fuse_call_once(c, op, node, in, nin, out, out_len);

		if (n != -ERESTARTNOINTR)
			return n;
		*resent = true;
	}
}

ssize fuse_call(struct fuse_conn *c, u32 op, u64 node, const struct fuse_arg *in, u32 nin,
		void *out, u32 out_len)
{
	bool resent;

	return fuse_call_x(c, op, node, in, nin, out, out_len, &resent);
}

u32 fuse_session(const struct fuse_conn *c)
{
	return c->session;
}

void fuse_on_renewal(struct fuse_conn *c, void (*fn)(void *arg), void *arg)
{
	c->renewed = fn;
	c->renewed_arg = arg;
}

void fuse_forget(struct fuse_conn *c, u64 node, u64 nlookup)
{
	struct fuse_forget_in f = {nlookup};
	struct fuse_arg a = {&f, sizeof(f)};
	struct fuse_req *r;
	u32 slot, bytes;

	if (!c->ready || !nlookup)
		return;
	slot = slot_take(c);
	r = &c->forgets[slot];
	*r = (struct fuse_req){.slot = slot, .forget = true, .unique = c->next_unique++};
	bytes = fill_slot(c, slot, FUSE_FORGET, node, r->unique, &a, 1);
	if (!c->up || submit(c, D0_VFS_HIPRIO, r, bytes))
		c->free_slots |= 1ull << slot;
}

u32 fuse_max_data(const struct fuse_conn *c)
{
	return c->max_write;
}

struct fuse_conn *fuse_conn_open(u32 channel, int *err)
{
	struct fuse_conn *c;
	u64 data, deadline = clock_now() + 30 * NS_PER_SEC;

	for (c = conns; c; c = c->next)
		if (c->channel == channel)
			return c;
	c = kalloc(sizeof(*c));
	*err = -ENOMEM;
	if (!c)
		return NULL;
	c->channel = channel;
	c->ring = channel_ring(channel, &c->size);
	*err = -EINVAL;
	if (!c->ring || c->size < D0_VFS_RING_MIN ||
	    vchan_client_open(&c->chan, c->ring, c->size)) {
		kfree(c);
		return NULL;
	}
	data = c->size - d0_vfs_data_off();
	c->slot_size = data >= 512 * 1024 ? 40960 : 12288;
	c->nslots = (u32)MIN(data / c->slot_size, (u64)SLOTS_MAX);
	c->free_slots = (1ull << c->nslots) - 1;
	c->next_unique = 2;
	c->max_write = 4096;
	c->next = conns;
	conns = c;
	event_channel_handler(channel, fuse_event, c);
	channel_notify(channel);
	fuse_event(c);
	while (!c->up && clock_now() < deadline)
		wait_on(&c->up_wait, deadline, false);
	*err = c->up ? 0 : -ENODEV;
	return c->up ? c : NULL;
}
