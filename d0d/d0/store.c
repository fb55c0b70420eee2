// SPDX-License-Identifier: ISC
// Requests to the store cell.
//
// Problem: images and files of containers belong to the store; d0d has byte streams to it, over
// each of which requests are answered in order, and some take minutes. Model: three ways, for
// requests that are answered soon, for an import, and for what streams or removes much; the
// store serves them in turns. With fewer admin channels the last one takes what is left. A
// request holds its way from its first byte to the last of its answer; others wait. What a
// user's connection takes is gathered first (struct spill), so nobody's slowness is the
// store's. Bytes that are sent for an import or an unpacking have no answer unless they fail;
// that answer is found by the next request and fails it. Locking: the ways' locks are leaves:
// nothing is called while one is held but the request's callback, which may not make a request.
// Failure: a broken frame, or the store's restart, ends the request with an error; the way is
// used again, because the stream begins anew with either end. What was lost of an import fails
// it.
#include "d0d/d0/store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/d0/box.h"

#define LOOK_MS    500 // how often a waiting request asks whether the store still runs
#define SPILL_MEM  (2u << 20)
#define RECLAIM_S  3
#define RECLAIM_MS 60000 // at most, for who waits for it

enum way {
	WAY_SHORT,
	WAY_IMPORT,
	WAY_LONG,
	WAYS
};

struct store_link {
	pthread_mutex_t lock;
	int fd;
	uint32_t tag;
	uint64_t starts; // of the store's cell, when the link was last good
	bool greeted, begun_anew;
	int32_t key;    // of the session, from its greeting
	bool spooling;  // an import is under way
	bool lost;      // the import has failed: an answer to its bytes said so
	bool refused;   // bytes of an import or an unpacking were; WHY says why
	bool reclaimed; // the space of a refused import was asked for
	char file[300]; // the file its bytes go to
	struct err why; // of what was lost
};

// ---- finding it ----

static uint64_t store_starts(struct d0_backend *b)
{
	struct d0_ctl_cell_status s = {.h.cell = b->store_cell};

	return ctl_call(b, &s, D0_CTL_cell_status, sizeof(s), NULL) == 0 ? s.starts : 0;
}

void store_link_open(struct d0_backend *b)
{
	struct store_link *l = xcalloc(WAYS, sizeof(*l));
	uint32_t number = 0;

	for (int i = 0; i < WAYS; i++, number++) {
		struct d0_channel c = {.protocol = D0_PROTO_ADMIN,
				       .role = D0_ROLE_CLIENT,
				       .peer_cell = CHANNEL_ANY_PEER};
		pthread_mutex_init(&l[i].lock, NULL);
		l[i].fd = i && l[i - 1].fd < 0 ? -1 : channel_next(&c, &number);
		if (l[i].fd >= 0) {
			b->store_cell = c.peer_cell;
			l[i].starts = store_starts(b);
		}
	}
	b->store = l;
}

void store_link_close(struct d0_backend *b)
{
	for (int i = 0; i < WAYS; i++)
		if (b->store[i].fd >= 0)
			close(b->store[i].fd);
	free(b->store);
}

static enum way way_of(enum d0_admin_op op)
{
	switch (op) {
	case D0_ADMIN_IMPORT_BEGIN:
	case D0_ADMIN_IMPORT_FILE:
	case D0_ADMIN_IMPORT_DATA:
	case D0_ADMIN_IMPORT_COMMIT:
	case D0_ADMIN_IMPORT_ABORT:
	case D0_ADMIN_IMPORT_RENAME:
		return WAY_IMPORT;
	case D0_ADMIN_IMAGE_EXPORT:
	case D0_ADMIN_IMAGE_REMOVE:
	case D0_ADMIN_LAYER_EXPORT:
	case D0_ADMIN_TREE_PACK:
	case D0_ADMIN_TREE_DIFF:
	case D0_ADMIN_TREE_PACK_DIFF:
	case D0_ADMIN_UNPACK_BEGIN:
	case D0_ADMIN_UNPACK_DATA:
	case D0_ADMIN_UNPACK_END:
		return WAY_LONG;
	default:
		return WAY_SHORT;
	}
}

// The way for such requests, held.
static struct store_link *take_way(struct d0_backend *b, enum d0_admin_op op)
{
	struct store_link *l = b->store + way_of(op);

	while (l > b->store && l->fd < 0)
		l--;
	pthread_mutex_lock(&l->lock);
	return l;
}

// ---- frames ----

struct start {
	struct d0_backend *b;
	uint64_t starts;
};

static bool same_start(void *ctx)
{
	struct start *s = ctx;

	return store_starts(s->b) == s->starts;
}

// Fails when the store's cell has started anew since the request began.
static int read_all(struct d0_backend *b, struct store_link *l, void *buf, size_t n)
{
	struct start s = {b, l->starts};

	return fd_read_while(l->fd, buf, n, LOOK_MS, same_start, &s);
}

static int send_frame(struct store_link *l, enum d0_admin_op op, const void *data, size_t n)
{
	struct d0_admin_head h = {
	    .len = (uint32_t)n, .op = (uint16_t)op, .tag = ++l->tag, .status = l->key};

	return fd_write_all(l->fd, &h, sizeof(h)) < 0 || fd_write_all(l->fd, data, n) < 0 ? -1
											  : 0;
}

static int refused(struct err *e, int status, const char *text, size_t n)
{
	int http = status == -ENOENT || status == -ENOTDIR       ? 404
		   : status == -EEXIST || status == -EBUSY       ? 409
		   : status == -EINVAL || status == -EMEDIUMTYPE ? 400
		   : status == -EFBIG                            ? 413
		   : status == -ENOSPC                           ? 507
								 : 500;

	if (status == -ENOSPC)
		return err_set(e, http, "no space left on device");
	return err_set(e, http, "store: %.*s", (int)(n < 300 ? n : 300), text);
}

static int broken(struct d0_backend *b, struct store_link *l, struct err *e)
{
	l->starts = store_starts(b);
	l->lost = l->spooling;
	l->spooling = false;
	l->greeted = false;
	l->begun_anew = channel_reset(l->fd) == 0;
	return err_set(e, 503, "the store cell does not answer or has started anew");
}

static int take_key(struct d0_backend *b, struct store_link *l)
{
	struct d0_admin_head h;

	return read_all(b, l, &h, sizeof(h)) < 0 || h.op != D0_ADMIN_HELLO ||
		       h.len != sizeof(l->key) || read_all(b, l, &l->key, sizeof(l->key)) < 0
		   ? -1
		   : 0;
}

// Before anything is sent on a stream that was begun (anew). The end of the last one may still
// be seen until the store has noticed.
static int greet(struct d0_backend *b, struct store_link *l)
{
	for (int i = 0; !l->greeted && i < (l->begun_anew ? 60 : 1); i++) {
		if (i)
			usleep(50000);
		l->greeted = take_key(b, l) == 0;
		if (!l->greeted)
			l->starts = store_starts(b);
	}
	return l->greeted ? 0 : -1;
}

// A greeting again: of the same session, or of another store than before.
static bool other_session(const struct store_link *l, const struct d0_admin_head *h,
			  const char *data)
{
	return h->op == D0_ADMIN_HELLO &&
	       (h->len != sizeof(l->key) || memcmp(data, &l->key, sizeof(l->key)) != 0);
}

// An answer to bytes that were sent: there is one only if they were refused. What followed
// them is refused as well; the first answer says why.
static void note_failure(struct store_link *l, const struct d0_admin_head *h, const char *text)
{
	if (h->status >= 0 || l->refused ||
	    (h->op != D0_ADMIN_IMPORT_DATA && h->op != D0_ADMIN_UNPACK_DATA))
		return;
	l->refused = true;
	l->lost |= h->op == D0_ADMIN_IMPORT_DATA;
	refused(&l->why, h->status, text, h->len);
}

// Takes the answers that are there while bytes are being sent: who sends on for long without
// looking would in the end wait for the store, and the store for room for its answers.
static int look(struct d0_backend *b, struct store_link *l, struct err *e)
{
	struct pollfd p = {.fd = l->fd, .events = POLLIN};
	struct d0_admin_head h;
	char *data = NULL;
	int rc = 0;

	while (rc == 0 && poll(&p, 1, 0) > 0) {
		data = data ? data : xmalloc(D0_ADMIN_MAX + 1);
		if (read_all(b, l, &h, sizeof(h)) < 0 || h.len > D0_ADMIN_MAX ||
		    read_all(b, l, data, h.len) < 0 || other_session(l, &h, data))
			rc = broken(b, l, e);
		else
			note_failure(l, &h, data);
	}
	free(data);
	return rc;
}

// All of the answer to the last request. Answers to bytes sent before it come first.
static int take_answer(struct d0_backend *b, struct store_link *l, enum d0_admin_op op,
		       store_cb *cb, void *ctx, struct err *e)
{
	char *data = xmalloc(D0_ADMIN_MAX + 1);
	struct d0_admin_head h = {.flags = D0_ADMIN_MORE};
	bool stop = false;
	int rc = 0;

	while (h.flags & D0_ADMIN_MORE) {
		if (read_all(b, l, &h, sizeof(h)) < 0 || h.len > D0_ADMIN_MAX ||
		    read_all(b, l, data, h.len) < 0 || other_session(l, &h, data)) {
			rc = broken(b, l, e);
			break;
		}
		if (h.op != op || h.tag != l->tag) {
			note_failure(l, &h, data);
			h.flags = D0_ADMIN_MORE;
		} else if (h.flags & D0_ADMIN_MORE) {
			stop = stop || (cb && cb(ctx, data, h.len) < 0);
		} else if (h.status < 0) {
			rc = refused(e, h.status, data, h.len);
		}
	}
	free(data);
	return rc == 0 && stop ? err_set(e, 507, "no space left on device") : rc;
}

static int call_held(struct d0_backend *b, struct store_link *l, enum d0_admin_op op,
		     const void *data, size_t n, store_cb *cb, void *ctx, struct err *e)
{
	if (l->fd < 0)
		return err_set(e, 503, "this host has no store: nothing can be kept");
	if (n > D0_ADMIN_MAX)
		return err_set(e, 400, "a name is too long");
	if (greet(b, l) < 0 || send_frame(l, op, data, n) < 0)
		return broken(b, l, e);
	return take_answer(b, l, op, cb, ctx, e);
}

int store_text(void *sbuf, const void *data, size_t n)
{
	sbuf_add(sbuf, data, n);
	return 0;
}

int store_callv(struct d0_backend *b, enum d0_admin_op op, const struct sbuf *args,
		store_cb *cb, void *ctx, struct err *e)
{
	struct store_link *l = take_way(b, op);
	int rc = call_held(b, l, op, args->p ? args->p : "", args->len, cb, ctx, e);

	pthread_mutex_unlock(&l->lock);
	return rc;
}

static void gather(struct sbuf *out, va_list ap)
{
	for (const char *s; (s = va_arg(ap, const char *));)
		sbuf_add(out, s, strlen(s) + 1);
}

int store_call(struct d0_backend *b, enum d0_admin_op op, store_cb *cb, void *ctx,
	       struct err *e, ...)
{
	struct sbuf args = {0};
	va_list ap;

	va_start(ap, e);
	gather(&args, ap);
	va_end(ap);
	int rc = store_callv(b, op, &args, cb, ctx, e);
	sbuf_free(&args);
	return rc;
}

// ---- imports ----

// Waits until what nobody uses any more is free space again.
static void reclaim_now(struct d0_backend *b)
{
	char name[32];
	int running = 1;

	store_call(b, D0_ADMIN_BULKFREE, NULL, NULL, NULL, NULL); // 409: one is under way
	for (int64_t end = mono_ms() + RECLAIM_MS; running && mono_ms() < end;) {
		struct sbuf job = {0};
		if (store_call(b, D0_ADMIN_JOB, store_text, &job, NULL, NULL) < 0 ||
		    sscanf(job.p ? job.p : "", "%31s %d", name, &running) != 2)
			running = 0;
		sbuf_free(&job);
		if (running)
			usleep(20000);
	}
}

static int lost(const struct store_link *l, struct err *e)
{
	return err_set(e, l->why.status ? l->why.status : 503, "%.900s",
		       *l->why.msg ? l->why.msg : "the import was interrupted");
}

static int spool_held(struct d0_backend *b, struct store_link *l, const char *file,
		      const void *buf, size_t n, struct err *e)
{
	const char *p = buf;

	if (l->lost)
		return lost(l, e);
	if (!l->spooling) {
		call_held(b, l, D0_ADMIN_IMPORT_ABORT, "", 0, NULL, NULL, NULL);
		if (call_held(b, l, D0_ADMIN_IMPORT_BEGIN, "", 0, NULL, NULL, e) < 0)
			return -1;
		l->spooling = true;
		l->file[0] = 0;
	}
	if (strcmp(l->file, file) != 0) {
		if (call_held(b, l, D0_ADMIN_IMPORT_FILE, file, strlen(file) + 1, NULL, NULL,
			      e) < 0)
			return -1;
		snprintf(l->file, sizeof(l->file), "%s", file);
	}
	while (n) {
		size_t part = n < D0_ADMIN_MAX ? n : D0_ADMIN_MAX;
		if (look(b, l, e) < 0)
			return -1;
		if (l->lost)
			return lost(l, e);
		if (send_frame(l, D0_ADMIN_IMPORT_DATA, p, part) < 0)
			return broken(b, l, e);
		p += part;
		n -= part;
	}
	return 0;
}

int store_spool(struct d0_backend *b, const char *file, const void *buf, size_t n,
		struct err *e)
{
	struct store_link *l = take_way(b, D0_ADMIN_IMPORT_DATA);
	int rc = spool_held(b, l, file, buf, n, e);
	bool full = l->lost && l->why.status == 507 && !l->reclaimed;

	l->reclaimed |= full;
	pthread_mutex_unlock(&l->lock);
	if (full) // the store has dropped the spool; others may import still, so do it here
		reclaim_now(b);
	return rc;
}

int store_spool_rename(struct d0_backend *b, const char *from, const char *to, struct err *e)
{
	struct sbuf args = {0};

	sbuf_add(&args, from, strlen(from) + 1);
	sbuf_add(&args, to, strlen(to) + 1);
	struct store_link *l = take_way(b, D0_ADMIN_IMPORT_RENAME);
	int rc = spool_held(b, l, from, NULL, 0, e); // an empty file has to be made
	if (rc == 0) {
		l->file[0] = 0;
		rc = call_held(b, l, D0_ADMIN_IMPORT_RENAME, args.p, args.len, NULL, NULL, e);
		if (l->lost) // the reason comes before its consequence
			rc = lost(l, e);
	}
	pthread_mutex_unlock(&l->lock);
	sbuf_free(&args);
	return rc;
}

void store_spool_drop(struct d0_backend *b)
{
	struct store_link *l = take_way(b, D0_ADMIN_IMPORT_ABORT);

	bool used = l->spooling || l->lost, full = l->why.status == 507;

	if (l->spooling)
		call_held(b, l, D0_ADMIN_IMPORT_ABORT, "", 0, NULL, NULL, NULL);
	l->spooling = l->lost = l->refused = l->reclaimed = false;
	l->why = (struct err){0};
	pthread_mutex_unlock(&l->lock);
	if (full) // who asks next, asks for the space that the import had taken
		reclaim_now(b);
	else if (used)
		store_reclaim(b);
}

// ---- unpacking ----

static int unpack_held(struct d0_backend *b, struct store_link *l, struct sbuf *args,
		       struct be_source *src, struct err *e)
{
	char *buf = xmalloc(D0_ADMIN_MAX);
	ssize_t n = 0;
	bool before = l->refused; // of an import, where both have one way
	struct err why = l->why;
	int rc;

	l->refused = false;
	rc = call_held(b, l, D0_ADMIN_UNPACK_BEGIN, args->p, args->len, NULL, NULL, e);
	while (rc == 0 && !l->refused && (n = src->read(src->ctx, buf, D0_ADMIN_MAX)) > 0) {
		rc = look(b, l, e);
		if (rc == 0 && !l->refused &&
		    send_frame(l, D0_ADMIN_UNPACK_DATA, buf, (size_t)n) < 0)
			rc = broken(b, l, e);
	}
	if (rc == 0 && call_held(b, l, D0_ADMIN_UNPACK_END, "", 0, NULL, NULL, e) < 0) {
		rc = -1;
		if (l->refused && e)
			*e = l->why;
	}
	if (rc == 0 && n < 0)
		rc = err_set(e, 400, "unexpected EOF");
	l->refused = before;
	l->why = why;
	free(buf);
	return rc;
}

int store_unpack(struct d0_backend *b, const char *label, const char *path, int flags,
		 struct be_source *src, struct err *e)
{
	struct sbuf args = {0};
	char bits[2] = {(char)('0' + flags), 0};

	sbuf_add(&args, label, strlen(label) + 1);
	sbuf_add(&args, path, strlen(path) + 1);
	sbuf_add(&args, bits, 2);
	struct store_link *l = take_way(b, D0_ADMIN_UNPACK_BEGIN);
	int rc = unpack_held(b, l, &args, src, e);

	pthread_mutex_unlock(&l->lock);
	sbuf_free(&args);
	return rc;
}

// The store looks at its channels between rounds of requests: the round that answers the first
// request ends with a look, the second answer is behind it.
void store_settle(struct d0_backend *b)
{
	for (int i = 0; i < 2; i++)
		store_call(b, D0_ADMIN_JOB, NULL, NULL, NULL, NULL);
}

// ---- space of what was removed ----

// Some time after the last removal, so that many removals are one run.
static void *reclaim_main(void *arg)
{
	struct d0_backend *b = arg;

	for (bool more = true; more;) {
		struct err why = {0};
		sleep(RECLAIM_S);
		pthread_mutex_lock(&b->lock);
		b->garbage = false;
		pthread_mutex_unlock(&b->lock);
		int rc = store_call(b, D0_ADMIN_BULKFREE, NULL, NULL, &why, NULL);
		pthread_mutex_lock(&b->lock);
		b->garbage |= rc < 0 && why.status == 409; // one is under way
		more = b->garbage;
		b->reclaiming = more;
		pthread_mutex_unlock(&b->lock);
	}
	return NULL;
}

void store_reclaim(struct d0_backend *b)
{
	pthread_t t;

	pthread_mutex_lock(&b->lock);
	b->garbage = true;
	if (!b->reclaiming && pthread_create(&t, NULL, reclaim_main, b) == 0) {
		b->reclaiming = true;
		pthread_detach(t);
	}
	pthread_mutex_unlock(&b->lock);
}

// ---- answers gathered ----

int spill_take(void *spill, const void *data, size_t n)
{
	struct spill *s = spill;

	s->size += n;
	if (s->fd < 0 && s->mem.len + n <= SPILL_MEM) {
		sbuf_add(&s->mem, data, n);
		return 0;
	}
	if (s->fd < 0) {
		char *path = xasprintf("%s/spill-XXXXXX", s->dir);
		s->fd = mkostemp(path, O_CLOEXEC);
		if (s->fd >= 0)
			unlink(path);
		free(path);
		if (s->fd < 0)
			return -1;
	}
	return fd_write_all(s->fd, data, n);
}

int spill_give(struct spill *s, struct be_sink *out, struct err *e)
{
	char *buf;
	ssize_t n = 0;
	int rc = s->mem.len ? out->write(out->ctx, s->mem.p, s->mem.len) : 0;

	if (rc < 0 || s->fd < 0)
		return rc < 0 ? err_set(e, 500, "the receiver is gone") : 0;
	buf = xmalloc(65536);
	lseek(s->fd, 0, SEEK_SET);
	while (rc == 0 && (n = read(s->fd, buf, 65536)) > 0)
		rc = out->write(out->ctx, buf, (size_t)n);
	free(buf);
	return rc < 0 || n < 0 ? err_set(e, 500, "the receiver is gone") : 0;
}

void spill_free(struct spill *s)
{
	sbuf_free(&s->mem);
	if (s->fd >= 0)
		close(s->fd);
}
