/* SPDX-License-Identifier: ISC */
/*
 * Clients of the store: one D0_PROTO_FS channel each, with a FUSE session confined to the
 * PFS that the controlling cell named in the channel's args. Requests are copied out of the
 * ring, served from private memory, and the reply is copied back; so a client that changes
 * its request while it is being served changes nothing. One that breaks its ring is not
 * served until it shakes hands again; others do not notice.
 */
#include <stdlib.h>
#include <string.h>
#include "cells/store/events.h"
#include "cells/store/fuse/server.h"
#include "cells/store/store.h"
#include "d0/vfs.h"
#include "libcell/cell.h"
#include "libcell/counters.h"
#include "libcell/log.h"
#include "libcell/vchan.h"
#include "libcell/virtq.h"

#define FEATURES (D0_VRING_F_VERSION_1 | D0_VRING_F_EVENT_IDX)
#define BUDGET   32u /* requests of one client in a row */

struct client {
	bool used, up, broken, create;
	bool waits; /* for the verification of its image */
	bool data;  /* not an image: needs no signature */
	uint32_t generation;
	uint8_t *ring;
	size_t size;
	char label[sizeof(((struct d0_channel *)0)->args)];
	struct fuse_options opts;
	struct vchan chan;
	struct virtq_dev q[D0_VFS_QUEUES];
	struct h2_pfs *pfs;
	struct fuse_session *session;
};

static struct client *clients[D0_CHANNELS_MAX];
/* A bit each: who is served when its bell rings, and who is to be served without: it is new, or
 * its budget was used up. */
static uint64_t listed[D0_CHANNELS_MAX / 64], again[D0_CHANNELS_MAX / 64];
/* One request is served at a time: the buffers are everybody's. */
static uint8_t *request, *answer;
static size_t buffer_size;

static void close_client(struct store *s, unsigned ch)
{
	struct client *c = clients[ch];

	fuse_session_free(c->session);
	if (c->pfs)
		h2_pfs_close(c->pfs);
	free(c);
	clients[ch] = NULL;
	listed[ch / 64] &= ~(1ull << ch % 64);
	counter_set(s->c_clients, *s->c_clients - 1);
}

static int open_session(struct store *s, struct client *c)
{
	static const struct h2_pfs_opts fresh = {.comp = H2_COMP_LZ4};
	int state = c->data ? 1 : signed_state(s, c->label), err;

	c->waits = state == 0;
	if (state <= 0)
		return -1;
	err = h2_pfs_open(s->vol, c->label, c->opts.readonly ? H2_PFS_RDONLY : 0, &c->pfs);

	if (err == -H2_ENOENT && c->create) {
		err = h2_pfs_create(s->vol, c->label, &fresh);
		if (!err)
			err = h2_pfs_open(s->vol, c->label, 0, &c->pfs);
	}
	if (err) {
		log_error("PFS '%s': %s", c->label, h2_strerror(err));
		c->pfs = NULL;
		return -1;
	}
	c->session = fuse_session_new(c->pfs, &c->opts);
	return c->session ? 0 : -1;
}

static void announce(struct client *c)
{
	struct d0_vfs_config config = {.num_request_queues = 1};
	size_t len = strlen(c->label);

	memcpy(config.tag, c->label, len < sizeof(config.tag) ? len : sizeof(config.tag));
	memcpy(vchan_config(&c->chan), &config, sizeof(config));
}

static void open_client(struct store *s, unsigned ch, const struct d0_channel *d)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return;
	c->used = true;
	c->generation = d->generation;
	c->ring = cell_channel_ring(ch, &c->size);
	c->opts =
	    (struct fuse_options){.readonly = s->readonly || cell_arg_u64(d->args, "ro", 0),
				  .max_write = D0_VFS_MAX_WRITE,
				  .valid_s = D0_VFS_VALID_S,
				  .nodes_max = 1 << 17,
				  .now = store_now};
	c->data = cell_arg_u64(d->args, "data", 0);
	c->create = !c->opts.readonly && cell_arg_u64(d->args, "create", 0);
	clients[ch] = c;
	counter_add_own(s->c_clients, 1);
	if (cell_arg(d->args, "pfs", c->label, sizeof(c->label)) <= 0) {
		log_error("channel %u names no pfs=; not served", ch);
		return;
	}
	if (!c->ring || c->size < D0_VFS_RING_MIN ||
	    vchan_server_open(&c->chan, c->ring, c->size, FEATURES)) {
		log_error("channel %u: a ring of %zu bytes is too small for files", ch,
			  c->size);
		c->label[0] = 0;
		return;
	}
	announce(c);
	c->chan.notify = true;
	listed[ch / 64] |= 1ull << ch % 64;
	again[ch / 64] |= 1ull << ch % 64;
	log_info("channel %u: PFS '%s'%s", ch, c->label, c->opts.readonly ? ", read-only" : "");
}

void fs_channels_scan(struct store *s)
{
	for (unsigned ch = 0; ch < D0_CHANNELS_MAX; ch++) {
		const struct d0_channel *d = cell_channel(ch);
		bool open = d && d->state == D0_CHANNEL_OPEN && d->protocol == D0_PROTO_FS &&
			    d->role == D0_ROLE_SERVER;

		if (clients[ch] && (!open || d->generation != clients[ch]->generation))
			close_client(s, ch);
		if (open && !clients[ch])
			open_client(s, ch, d);
	}
}

/* ---- requests ---- */

static void give_up(struct client *c, unsigned ch, const char *why)
{
	log_warn("channel %u: %s; its session is closed", ch, why);
	c->broken = true;
}

static void serve_one(struct store *s, struct client *c, unsigned ch, struct virtq_dev *q,
		      const struct virtq_chain *chain)
{
	size_t max = chain->in_bytes < buffer_size ? chain->in_bytes : buffer_size;
	uint8_t dummy[16];
	long n;

	if (chain->out_bytes > buffer_size) {
		virtq_dev_put(q, chain->head, 0);
		give_up(c, ch, "a request is too long");
		return;
	}
	virtq_chain_read(chain, 0, request, chain->out_bytes);
	/* FORGET has no room for a reply, and needs none. */
	n = max < 16 ? fuse_session_handle(c->session, request, chain->out_bytes, dummy, 16)
		     : fuse_session_handle(c->session, request, chain->out_bytes, answer, max);
	counter_add_own(s->c_requests, 1);
	if (n < 0 || (n > 0 && max < 16)) {
		virtq_dev_put(q, chain->head, 0);
		give_up(c, ch, n < 0 ? "a request without a header" : "no room for a reply");
		return;
	}
	virtq_dev_put(q, chain->head, (uint32_t)virtq_chain_write(chain, 0, answer, (size_t)n));
}

/* Up to BUDGET requests of one queue; true: there may be more. */
static bool serve_queue(struct store *s, struct client *c, unsigned ch, struct virtq_dev *q)
{
	struct virtq_seg seg[D0_VFS_SEGS_MAX];
	struct virtq_chain chain = {.seg = seg, .seg_max = D0_VFS_SEGS_MAX};
	unsigned n = 0;
	bool more = false;

	virtq_dev_events_off(q);
	do {
		while (n < BUDGET && !c->broken && virtq_dev_next(q, &chain) == 1) {
			serve_one(s, c, ch, q, &chain);
			n++;
		}
		more = n == BUDGET;
	} while (!more && !c->broken && !q->broken && virtq_dev_events_on(q));
	if (q->broken && !c->broken)
		give_up(c, ch, q->broken);
	if (virtq_dev_push(q))
		c->chan.notify = true;
	return more && !c->broken;
}

static void go_up(struct store *s, struct client *c)
{
	struct virtq_window w = {c->ring, 0, c->size};

	c->broken = false;
	c->up = !c->session ? !open_session(s, c) : true;
	for (unsigned i = 0; i < D0_VFS_QUEUES && c->up; i++)
		c->up = !virtq_dev_init(
		    &c->q[i], vchan_queue(&c->chan, i, D0_VFS_QUEUES, D0_VFS_QUEUE_NUM),
		    D0_VFS_QUEUE_NUM, c->chan.features, &w);
}

static void go_down(struct client *c)
{
	c->up = c->waits = false;
	fuse_session_free(c->session);
	c->session = NULL;
	if (c->pfs)
		h2_pfs_close(c->pfs);
	c->pfs = NULL;
}

static bool serve_client(struct store *s, unsigned ch)
{
	struct client *c = clients[ch];
	bool more = false;

	switch (vchan_server_poll(&c->chan)) {
	case VCHAN_UP:
		go_down(c); /* a client that started anew holds nothing of before */
		go_up(s, c);
		more = true;
		break;
	case VCHAN_DOWN:
		go_down(c);
		break;
	default:
		break;
	}
	for (unsigned i = 0; c->up && !c->broken && i < D0_VFS_QUEUES; i++)
		more |= serve_queue(s, c, ch, &c->q[i]);
	if (c->broken && c->session)
		go_down(c);
	if (c->chan.notify) {
		c->chan.notify = false;
		cell_notify(ch);
	}
	return more;
}

bool fs_channels_serve(struct store *s)
{
	bool more = false;

	if (!request) {
		buffer_size = D0_VFS_MAX_WRITE + 4096;
		request = malloc(buffer_size);
		answer = malloc(buffer_size);
		if (!request || !answer)
			cell_exit(1, "no memory for request buffers");
	}
	events_collect();
	for (unsigned w = 0; w < D0_CHANNELS_MAX / 64; w++) {
		uint64_t bits = events_take_of(w, listed[w]) | (again[w] & listed[w]);

		again[w] = 0;
		for (; bits; bits &= bits - 1)
			if (serve_client(s, w * 64 + (unsigned)__builtin_ctzll(bits)))
				again[w] |= bits & -bits;
		more |= again[w] != 0;
	}
	return more;
}

void fs_channels_retry(struct store *s)
{
	for (unsigned ch = 0; ch < D0_CHANNELS_MAX; ch++)
		if (clients[ch] && clients[ch]->waits) {
			go_up(s, clients[ch]);
			again[ch / 64] |= 1ull << ch % 64;
		}
}

void fs_channels_close(struct store *s)
{
	for (unsigned ch = 0; ch < D0_CHANNELS_MAX; ch++)
		if (clients[ch])
			close_client(s, ch);
}
