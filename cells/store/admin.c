/* SPDX-License-Identifier: ISC */
/*
 * The admin channels (d0/store_admin.h): sessions, frames, turns.
 *
 * Problem. An image of gigabytes takes minutes to make, to give out or to remove; meanwhile
 * containers read files, and others are made and removed.
 *
 * Model. A session for each channel. Frames are collected in private memory before anything of
 * them is looked at. A request runs in a task of its session (task.h) and gives way when its
 * slice is over: between the pieces of an import, the files of a tree, the frames of an answer,
 * the victims of a removal; never inside a call of h2, so the volume is fit for use
 * then. A slice lasts as long as the files' last round took, within bounds, so neither
 * starves the other. In one session requests are answered in order; several sessions take
 * turns. Replies wait in a buffer of the session when the ring is full; while more than
 * OUT_HIGH wait, the request is not gone on with, and no other taken.
 *
 * What two requests under way could do to each other: two imports could make the same layer
 * (one waits for the other), a removal could take what an import is about to publish or an
 * export to read (pins, oci.h). Everything else is done between two pauses, or finds that a
 * name is gone and says so.
 *
 * Failure. When the client is gone in the middle of a request, the session is `gone`: it
 * hears errors wherever it reads or answers, and so comes to its end by the way of any
 * error, in slices like before. Its ring is not touched again.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cells/store/admin.h"
#include "cells/store/events.h"
#include "cells/store/task.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/log.h"
#include "libcell/random.h"

#define OUT_HIGH (256u << 10)
#define ROUND    64u /* requests of a session in a row */

static struct session *sessions[D0_CHANNELS_MAX];
static unsigned top;            /* no session at this channel or above */
static struct session *leaving; /* their channel is closed, their request is not over */

/* ---- replies ---- */

static int out_bytes(struct session *c, const void *p, size_t len)
{
	if (len > c->out_size - c->out_len) {
		size_t size = 2 * c->out_size + len + 4096;
		uint8_t *more = realloc(c->out, size);

		if (!more)
			return -H2_ENOMEM;
		c->out = more;
		c->out_size = size;
	}
	memcpy(c->out + c->out_len, p, len);
	c->out_len += len;
	return 0;
}

static void flush(struct session *c)
{
	size_t n;

	if (!c->out_len || c->gone)
		return;
	n = stream_write(&c->stream, c->out, c->out_len, &c->notify);
	memmove(c->out, c->out + n, c->out_len - n);
	c->out_len -= n;
}

int admin_frame(struct session *c, int status, unsigned flags, const void *p, size_t len)
{
	struct d0_admin_head h = {.len = (uint32_t)len,
				  .op = c->head.op,
				  .flags = (uint16_t)flags,
				  .tag = c->head.tag,
				  .status = status};
	int err = c->gone ? -H2_EIO : out_bytes(c, &h, sizeof(h));

	if (!err)
		err = out_bytes(c, p, len);
	c->closed |= err != 0; /* an answer that can't be given */
	return err;
}

int admin_wait(struct session *c, admin_waits *waits)
{
	c->waits = waits;
	while (!c->gone && waits(c))
		task_pause();
	c->waits = NULL;
	return c->gone ? -H2_EIO : 0;
}

/* The reader sets the pace. */
static bool no_room(const struct session *c)
{
	return c->out_len > OUT_HIGH;
}

static int frame_of_many(struct session *c, const void *p, size_t len)
{
	if (c->closed || admin_frame(c, 0, D0_ADMIN_MORE, p, len))
		return -H2_EIO;
	if (no_room(c))
		flush(c);
	task_breathe(NULL);
	return admin_wait(c, no_room);
}

int admin_lines(struct session *c, const char *fmt, ...)
{
	char text[768];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return frame_of_many(c, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

int admin_stream(void *session, const void *p, size_t len)
{
	struct session *c = session;
	const uint8_t *at = p;
	int err = 0;

	if (!len) {
		task_breathe(NULL);
		return c->gone ? -H2_EIO : 0;
	}
	while (len && !err) {
		size_t n = len < D0_ADMIN_MAX ? len : D0_ADMIN_MAX;

		err = frame_of_many(c, at, n);
		at += n;
		len -= n;
	}
	return err;
}

/* ---- arguments ---- */

/* The n-th string of the payload, or NULL. */
const char *admin_arg(const struct session *c, unsigned n)
{
	const char *p = (const char *)c->in, *end = p + c->head.len;

	for (;;) {
		const char *nul = p < end ? memchr(p, 0, (size_t)(end - p)) : NULL;

		if (!nul)
			return NULL;
		if (!n--)
			return p;
		p = nul + 1;
	}
}

/* ---- sessions ---- */

static int perform(struct session *c, struct store *s, char why[256])
{
	switch (c->head.op) {
	case D0_ADMIN_USAGE:
		return admin_usage(c, s);
	case D0_ADMIN_PFS_LIST:
		return admin_pfs_list(c, s);
	case D0_ADMIN_PFS_CREATE:
	case D0_ADMIN_PFS_SNAPSHOT:
	case D0_ADMIN_PFS_DELETE:
	case D0_ADMIN_PFS_ROLLBACK:
	case D0_ADMIN_PFS_RENAME:
		return admin_pfs(c, s);
	case D0_ADMIN_IMAGE_LIST:
	case D0_ADMIN_IMAGE_TAG:
	case D0_ADMIN_IMAGE_UNTAG:
	case D0_ADMIN_IMAGE_ROLLBACK:
	case D0_ADMIN_IMAGE_REMOVE:
	case D0_ADMIN_IMAGE_BLOB:
	case D0_ADMIN_IMAGE_EXPORT:
	case D0_ADMIN_IMAGE_SIGN:
	case D0_ADMIN_IMAGE_SIGNERS:
	case D0_ADMIN_IMAGE_LAYERS:
	case D0_ADMIN_LAYER_EXPORT:
		return admin_image(c, s, why);
	case D0_ADMIN_IMPORT_BEGIN:
	case D0_ADMIN_IMPORT_FILE:
	case D0_ADMIN_IMPORT_DATA:
	case D0_ADMIN_IMPORT_COMMIT:
	case D0_ADMIN_IMPORT_ABORT:
	case D0_ADMIN_IMPORT_RENAME:
		return admin_import(c, s, why);
	case D0_ADMIN_TREE_STAT:
	case D0_ADMIN_TREE_READ:
	case D0_ADMIN_TREE_PACK:
	case D0_ADMIN_TREE_DIFF:
	case D0_ADMIN_TREE_PACK_DIFF:
	case D0_ADMIN_UNPACK_BEGIN:
	case D0_ADMIN_UNPACK_DATA:
	case D0_ADMIN_UNPACK_END:
		return admin_tree(c, s, why);
	case D0_ADMIN_SYNC:
		return h2_sync(s->vol);
	case D0_ADMIN_SCRUB:
	case D0_ADMIN_BULKFREE:
		return admin_job_begin(s, c->head.op == D0_ADMIN_SCRUB);
	case D0_ADMIN_JOB:
		return admin_job(c);
	default:
		return -H2_ENOTSUP;
	}
}

/* A request, in the session's task. */
static void serve_frame(void *session)
{
	struct session *c = session;
	char why[256] = "";
	int err = perform(c, c->store, why);

	if (!err && (c->head.op == D0_ADMIN_IMPORT_DATA || c->head.op == D0_ADMIN_UNPACK_DATA))
		return;
	if (err && !why[0])
		snprintf(why, sizeof(why), "%s", h2_strerror(err));
	admin_frame(c, err, 0, why, err ? strlen(why) : 0);
}

/* Collect the head, then the payload. True: a frame is complete. */
static bool collect(struct session *c)
{
	for (;;) {
		bool in_head = c->got < sizeof(c->head);
		size_t want = in_head ? sizeof(c->head) : sizeof(c->head) + c->head.len;
		uint8_t *to =
		    in_head ? (uint8_t *)&c->head + c->got : c->in + (c->got - sizeof(c->head));
		size_t n =
		    want - c->got ? stream_read(&c->stream, to, want - c->got, &c->notify) : 0;

		c->got += n;
		if (c->got < want)
			return false;
		if (in_head && (c->head.len > D0_ADMIN_MAX || c->head.status != c->key)) {
			log_warn(
			    "channel %u: bytes that are no admin frame of this session; closed",
			    c->ch);
			c->closed = true;
			return false;
		}
		if (c->got == sizeof(c->head) + c->head.len)
			return true;
	}
}

static void hello(struct session *c)
{
	c->head = (struct d0_admin_head){.op = D0_ADMIN_HELLO};
	admin_frame(c, 0, 0, &c->key, sizeof(c->key));
}

/* For a client that begins anew; no request is under way. */
static void reset(struct session *c)
{
	size_t size;
	void *ring = cell_channel_ring(c->ch, &size);

	admin_import_end(c, c->store);
	admin_unpack_drop(c);
	c->got = 0;
	c->out_len = 0;
	c->closed = c->gone = false;
	/* The stream that was ended is begun anew; the client waits for the hello. */
	if (c->eof && ring && stream_open(&c->stream, ring, size, true))
		c->closed = true;
	c->eof = false;
	hello(c);
}

/* What a closed session's client still writes is dropped, so that it comes to read the EOF. */
static bool drop_input(struct session *c)
{
	for (unsigned n = 0; n < 16; n++)
		if (!stream_read(&c->stream, c->in, D0_ADMIN_MAX, &c->notify))
			return stream_wait_read(&c->stream);
	return true;
}

static bool can_go_on(const struct session *c)
{
	return c->busy && (!c->waits || c->gone || !c->waits(c));
}

/* Requests, one after the other. True: there may be more of them. */
static bool serve_requests(struct session *c, uint64_t until)
{
	for (unsigned n = 0; n < ROUND; n++) {
		if (can_go_on(c))
			c->busy = task_step(c->task, until);
		if (c->busy)
			return false;
		if (c->gone)
			reset(c);
		if (c->closed || c->out_len >= OUT_HIGH || !collect(c))
			return false;
		c->got = 0;
		task_begin(c->task, serve_frame, c);
		c->busy = true;
	}
	return true;
}

static bool serve_session(struct session *c, struct store *s)
{
	bool more;

	if (stream_peer_restarted(&c->stream))
		c->gone = true;
	if (c->waits)
		flush(c); /* perhaps that is all it waits for */
	more = serve_requests(c, clock_ns() + s->slice_ns);
	flush(c);
	if (c->closed && !c->gone && !c->busy) {
		if (!c->eof)
			stream_send_eof(&c->stream);
		c->eof = true;
		more |= drop_input(c);
	} else if (c->out_len) {
		more |= stream_wait_write(&c->stream);
	} else if (!c->busy) {
		more |= stream_wait_read(&c->stream);
	}
	if (c->notify)
		cell_notify(c->ch);
	c->notify = false;
	return more;
}

static void free_session(struct session *c)
{
	admin_import_end(c, c->store);
	admin_unpack_drop(c);
	task_free(c->task);
	free(c->in);
	free(c->out);
	free(c);
}

static void close_session(unsigned ch)
{
	struct session *c = sessions[ch];

	sessions[ch] = NULL;
	c->gone = true;
	if (!c->busy) {
		free_session(c);
		return;
	}
	c->next = leaving;
	leaving = c;
}

/* Requests whose client is gone come to their end. True: not all have. */
static bool serve_leaving(struct store *s)
{
	for (struct session **at = &leaving; *at;) {
		struct session *c = *at;

		c->busy = task_step(c->task, clock_ns() + s->slice_ns);
		if (c->busy) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		free_session(c);
	}
	return leaving != NULL;
}

static void open_session(struct store *s, unsigned ch, const struct d0_channel *d)
{
	struct session *c = calloc(1, sizeof(*c));
	size_t size;
	void *ring = cell_channel_ring(ch, &size);

	if (!c)
		return;
	c->store = s;
	c->ch = ch;
	c->generation = d->generation;
	c->in = malloc(D0_ADMIN_MAX);
	c->task = task_new();
	if (!c->in || !c->task || !ring || stream_open(&c->stream, ring, size, true)) {
		log_error("channel %u: no memory, or no ring, for admin requests", ch);
		task_free(c->task);
		free(c->in);
		free(c);
		return;
	}
	cell_random_bytes(&c->key, sizeof(c->key));
	sessions[ch] = c;
	hello(c);
	flush(c);
	cell_notify(ch);
	log_info("channel %u: admin", ch);
}

void admin_scan(struct store *s)
{
	top = 0;
	for (unsigned ch = 0; ch < D0_CHANNELS_MAX; ch++) {
		const struct d0_channel *d = cell_channel(ch);
		bool open = d && d->state == D0_CHANNEL_OPEN && d->protocol == D0_PROTO_ADMIN &&
			    d->role == D0_ROLE_SERVER;

		if (sessions[ch] && (!open || d->generation != sessions[ch]->generation))
			close_session(ch);
		if (open && !sessions[ch])
			open_session(s, ch, d);
		if (sessions[ch])
			top = ch + 1;
	}
}

bool admin_serve(struct store *s)
{
	bool more = serve_leaving(s);

	for (unsigned ch = 0; ch < top; ch++)
		if (sessions[ch]) {
			events_take(ch);
			more |= serve_session(sessions[ch], s);
		}
	/* One may have waited for another. */
	for (unsigned ch = 0; ch < top && !more; ch++)
		more = sessions[ch] && can_go_on(sessions[ch]);
	return more;
}

void admin_close(struct store *s)
{
	for (unsigned ch = 0; ch < D0_CHANNELS_MAX; ch++)
		if (sessions[ch])
			close_session(ch);
	while (serve_leaving(s))
		;
	admin_job_close();
}
