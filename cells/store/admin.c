/* SPDX-License-Identifier: ISC */
/*
 * The admin channels (d0/store_admin.h): PFSs, images, long work.
 *
 * Frames are collected in private memory before anything of them is looked at. A request
 * runs to its end, except that an import serves the other clients between its pieces
 * (oci's yield callback: never inside a call of h2), and an export while its reader is slow.
 * Replies wait in a buffer of the session when the ring is full; while more than OUT_HIGH wait,
 * no request is taken.
 *
 * An import's files are kept in a PFS of its own, "tmp-<random>", opened as long as the
 * import lasts: oci_recover() deletes such PFSs only when nobody has them open, so what a
 * crash leaves goes with the next import.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cells/store/admin.h"
#include "cells/store/events.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/log.h"
#include "libcell/random.h"
#include "oci/oci.h"

#define OUT_HIGH (256u << 10)
#define STEP     (1u << 20) /* bytes of a job between two rounds of the loop */

/* One job at a time for the volume. */
static struct {
	const char *name;
	struct h2_scrub *scrub;
	struct h2_bulkfree *free;
	struct h2_progress progress;
	int status;
} job = {.name = "none"};

static struct session *sessions[D0_CHANNELS_MAX];
static bool busy; /* an import runs and has yielded: no second admin request meanwhile */

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

	if (!c->out_len)
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
	int err = out_bytes(c, &h, sizeof(h));

	if (!err)
		err = out_bytes(c, p, len);
	c->closed |= err != 0; /* an answer that can't be given */
	return err;
}

int admin_lines(struct session *c, const char *fmt, ...)
{
	char text[768];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return admin_frame(c, 0, D0_ADMIN_MORE, text,
			   (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
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

/* ---- volume and PFSs ---- */

static int do_usage(struct session *c, struct store *s)
{
	struct h2_vol_info i;

	h2_vol_info(s->vol, &i);
	return admin_lines(c, "%llu\t%llu\t%llu\t%llu\t%d\n",
			   (unsigned long long)i.allocator_size,
			   (unsigned long long)i.allocator_free, (unsigned long long)i.reserve,
			   (unsigned long long)i.bad_blocks, i.readonly);
}

static int do_pfs_list(struct session *c, struct store *s)
{
	struct h2_pfs_info i;
	uint64_t cursor = 0;
	int err;

	while (!(err = h2_pfs_next(s->vol, &cursor, &i)))
		admin_lines(c, "%s\t%llu\t%llu\t%d\n", i.label,
			    (unsigned long long)i.data_bytes, (unsigned long long)i.inodes,
			    i.open);
	return err == -H2_ENOENT ? 0 : err;
}

/* Where there are images, a PFS remembers which one it began as. */
static int with_origin(struct store *s, const char *a, const char *b,
		       int (*images)(struct oci_store *, const char *, const char *),
		       int (*plain)(struct h2_vol *, const char *, const char *))
{
	struct oci_store st = {0};
	int err = oci_open(&st, s->vol, false);

	if (!err) {
		err = images(&st, a, b);
		oci_close(&st);
	} else if (err == -H2_ENOENT) {
		err = plain(s->vol, a, b);
		if (!err)
			err = h2_sync(s->vol);
	}
	return err;
}

static int do_pfs(struct session *c, struct store *s)
{
	static const struct h2_pfs_opts o = {.comp = H2_COMP_LZ4};
	const char *a = admin_arg(c, 0), *b = admin_arg(c, 1);
	bool two = c->head.op != D0_ADMIN_PFS_CREATE && c->head.op != D0_ADMIN_PFS_DELETE;
	int err;

	if (!a || (two && !b))
		return -H2_EINVAL;
	if (c->head.op == D0_ADMIN_PFS_CREATE)
		err = h2_pfs_create(s->vol, a, &o);
	else if (c->head.op == D0_ADMIN_PFS_DELETE)
		err = h2_pfs_delete(s->vol, a);
	else if (c->head.op == D0_ADMIN_PFS_SNAPSHOT)
		return with_origin(s, a, b, oci_pfs_snapshot, h2_pfs_snapshot);
	else if (c->head.op == D0_ADMIN_PFS_RENAME)
		err = h2_pfs_rename(s->vol, a, b, false);
	else
		return with_origin(s, a, b, oci_pfs_rollback, h2_pfs_rollback);
	return err ? err : h2_sync(s->vol);
}

/* ---- images ---- */

static int list_image(void *ctx, const char *tag, const struct oci_image *img)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < img->layers; i++)
		size += img->layer[i].size;
	return admin_lines(ctx, "%s\t%s\t%s\t%s\t%llu\n", tag, img->id, img->manifest,
			   img->root, (unsigned long long)size);
}

/* The reader sets the pace; meanwhile files are served. A reader that is gone ends it. */
static int wait_for_room(struct session *c)
{
	for (unsigned i = 0; c->out_len > OUT_HIGH && i < 300; i++) {
		const struct d0_channel *d = cell_channel(c->ch);
		bool more;

		if (c->notify)
			cell_notify(c->ch);
		c->notify = false;
		if (!d || d->state != D0_CHANNEL_OPEN)
			return -H2_EIO;
		more = fs_channels_serve(c->store);
		more |= stream_wait_write(&c->stream);
		if (more)
			events_collect();
		else
			events_sleep_new(clock_ns() + 100 * CLOCK_NS_PER_MS);
		flush(c);
	}
	return c->out_len > 4 * OUT_HIGH ? -H2_EIO : 0;
}

int admin_stream(void *session, const void *p, size_t len)
{
	struct session *c = session;
	const uint8_t *at = p;
	int err = 0;

	while (len && !err) {
		size_t n = len < D0_ADMIN_MAX ? len : D0_ADMIN_MAX;

		if (c->closed || admin_frame(c, 0, D0_ADMIN_MORE, at, n))
			return -H2_EIO;
		at += n;
		len -= n;
		flush(c);
		err = wait_for_room(c);
	}
	return err;
}

static int do_layers(struct session *c, struct oci_store *st, const char *id)
{
	struct oci_image *img = malloc(sizeof(*img));
	int err = img ? oci_image_read(st, id, img) : -H2_ENOMEM;

	for (unsigned i = 0; !err && i < img->layers; i++)
		err = admin_lines(c, "%s\t%s\t%llu\n", img->layer[i].diff, img->layer[i].chain,
				  (unsigned long long)img->layer[i].size);
	free(img);
	return err;
}

static int signer_line(void *ctx, const char *key, const struct oci_signature *sig, bool good)
{
	return admin_lines(ctx, "%s\t%d\n", key, good);
}

static int do_sign(struct session *c, struct oci_store *st, const char *id, const char *line)
{
	struct oci_image *img = calloc(1, sizeof(*img));
	struct oci_signature sig;
	int err = img ? oci_image_read(st, id, img) : -H2_ENOMEM;

	if (!err && c->head.op == D0_ADMIN_IMAGE_SIGNERS)
		err = oci_signatures(st, img, signer_line, c);
	else if (!err)
		err = line && oci_signature_parse(line, &sig) ? oci_signature_add(st, img, &sig)
							      : -H2_EINVAL;
	free(img);
	return err;
}

static int image_op(struct session *c, struct store *s, struct oci_store *st)
{
	const char *a = admin_arg(c, 0), *b = admin_arg(c, 1);
	char id[OCI_HEX], *blob;
	size_t len;
	int err;

	if (c->head.op == D0_ADMIN_IMAGE_LIST)
		return oci_list(st, list_image, c);
	if (!a || (c->head.op == D0_ADMIN_IMAGE_TAG && !b))
		return -H2_EINVAL;
	switch (c->head.op) {
	case D0_ADMIN_IMAGE_UNTAG:
		err = oci_untag(st, a);
		break;
	case D0_ADMIN_IMAGE_ROLLBACK:
		err = oci_tag_rollback(st, a);
		break;
	case D0_ADMIN_IMAGE_BLOB:
		err = oci_blob(st, a, &blob, &len);
		if (err)
			return err;
		err = admin_stream(c, blob, len);
		free(blob);
		return err;
	case D0_ADMIN_LAYER_EXPORT:
		return oci_layer_export(st, a, admin_stream, c);
	default:
		err = oci_find(st, a, id);
		if (err)
			break;
		if (c->head.op == D0_ADMIN_IMAGE_EXPORT)
			return oci_export(st, id, a, admin_stream, c);
		if (c->head.op == D0_ADMIN_IMAGE_LAYERS)
			return do_layers(c, st, id);
		if (c->head.op == D0_ADMIN_IMAGE_SIGN || c->head.op == D0_ADMIN_IMAGE_SIGNERS) {
			err = do_sign(c, st, id, b);
			break;
		}
		err =
		    c->head.op == D0_ADMIN_IMAGE_TAG ? oci_tag(st, b, id) : oci_remove(st, id);
	}
	return err ? err : h2_sync(s->vol);
}

static int do_image(struct session *c, struct store *s, char why[256])
{
	struct oci_store st = {0};
	int err = oci_open(&st, s->vol, !s->readonly);

	if (err)
		return err == -H2_ENOENT && c->head.op == D0_ADMIN_IMAGE_LIST ? 0 : err;
	err = image_op(c, s, &st);
	memcpy(why, st.err, sizeof(st.err));
	oci_close(&st);
	return err;
}

/* ---- imports ---- */

static void import_end(struct session *c, struct store *s)
{
	if (!c->spool)
		return;
	h2_pfs_close(c->spool);
	c->spool = NULL;
	if (h2_pfs_delete(s->vol, c->spool_label))
		log_warn("the spool '%s' of an import stays until the next one",
			 c->spool_label);
}

static int import_begin(struct session *c, struct store *s)
{
	/* Checked against the image's digests when it is read: a fast check will do. */
	static const struct h2_pfs_opts o = {.check = H2_CHECK_XXH64, .comp = H2_COMP_NONE};
	uint8_t raw[32];
	int n = 4, err;

	if (c->spool)
		return -H2_EBUSY;
	cell_random_bytes(raw, sizeof(raw));
	strcpy(c->spool_label, "tmp-");
	for (unsigned i = 0; i < sizeof(raw); i++)
		n += snprintf(c->spool_label + n, 3, "%02x", raw[i]);
	err = h2_pfs_create(s->vol, c->spool_label, &o);
	if (!err)
		err = h2_pfs_open(s->vol, c->spool_label, 0, &c->spool);
	c->file = 0;
	return err;
}

/* "blobs/sha256/X" is one name in the spool. */
static int spool_name(const char *name, char out[H2_NAME_MAX + 1])
{
	size_t len = strlen(name);

	if (len == 0 || len > H2_NAME_MAX)
		return -H2_EINVAL;
	for (size_t i = 0; i <= len; i++)
		out[i] = name[i] == '/' ? '|' : name[i];
	return 0;
}

static int import_file(struct session *c)
{
	static const struct h2_new how = {.mode = 0600};
	char name[H2_NAME_MAX + 1];
	struct h2_attr a;
	int err = !c->spool         ? -H2_EINVAL
		  : admin_arg(c, 0) ? spool_name(admin_arg(c, 0), name)
				    : -H2_EINVAL;

	if (!err)
		err = h2_create(c->spool, H2_ROOT_INO, name, strlen(name), &how, &a);
	if (err == -H2_EEXIST)
		err = h2_lookup(c->spool, H2_ROOT_INO, name, strlen(name), &a);
	c->file = err ? 0 : a.ino;
	c->file_len = err ? 0 : a.size;
	return err;
}

static int import_rename(struct session *c)
{
	char from[H2_NAME_MAX + 1], to[H2_NAME_MAX + 1];
	const char *a = admin_arg(c, 0), *b = admin_arg(c, 1);
	int err = c->spool && a && b ? spool_name(a, from) : -H2_EINVAL;

	if (!err)
		err = spool_name(b, to);
	return err ? err
		   : h2_rename(c->spool, H2_ROOT_INO, from, strlen(from), H2_ROOT_INO, to,
			       strlen(to), 0);
}

static int import_data(struct session *c, struct store *s)
{
	long n =
	    c->file ? h2_write(c->spool, c->file, c->file_len, c->in, c->head.len) : -H2_EINVAL;

	if (n == (long)c->head.len) {
		c->file_len += (uint64_t)n;
		return 0;
	}
	import_end(c, s);
	return n < 0 ? (int)n : -H2_ENOSPC;
}

static int spool_find(void *ctx, const char *name, struct h2_attr *a)
{
	struct session *c = ctx;
	char flat[H2_NAME_MAX + 1];
	int err;

	if (c->manifest && !strcmp(name, "index.json"))
		return -H2_ENOENT;
	if (c->manifest && !strcmp(name, "manifest.json"))
		name = c->manifest;
	err = spool_name(name, flat);
	return err ? err : h2_lookup(c->spool, H2_ROOT_INO, flat, strlen(flat), a);
}

static int64_t spool_size(void *ctx, const char *name)
{
	struct h2_attr a;
	int err = spool_find(ctx, name, &a);

	return err ? err : (int64_t)a.size;
}

static long spool_read(void *ctx, const char *name, uint64_t off, void *buf, size_t len)
{
	struct h2_attr a;
	int err = spool_find(ctx, name, &a);

	return err ? err : h2_read(((struct session *)ctx)->spool, a.ino, off, buf, len);
}

static int import_commit(struct session *c, struct store *s, char why[256])
{
	struct oci_source src = {spool_size, spool_read, c};
	struct oci_store st = {.yield = store_serve_others, .yield_ctx = s};
	struct oci_image *img;
	const char *tag = admin_arg(c, 0);
	int err;

	if (!c->spool || !tag)
		return -H2_EINVAL;
	err = oci_open(&st, s->vol, true);
	if (err)
		return err;
	c->manifest = admin_arg(c, 1);
	img = calloc(1, sizeof(*img));
	busy = true;
	st.mend = s->mend = oci_mend_new();
	err = img ? oci_import(&st, &src, *tag ? tag : NULL, img) : -H2_ENOMEM;
	busy = false;
	oci_mend_free(s->mend);
	s->mend = NULL;
	memcpy(why, st.err, sizeof(st.err));
	if (!err)
		admin_frame(c, 0, D0_ADMIN_MORE, img->id, 64);
	oci_close(&st);
	free(img);
	if (!c->manifest)
		import_end(c, s);
	c->manifest = NULL;
	h2_sync(s->vol);
	return err;
}

/* ---- jobs ---- */

static int job_begin(struct store *s, bool scrub)
{
	int err;

	if (job.scrub || job.free)
		return -H2_EBUSY;
	memset(&job.progress, 0, sizeof(job.progress));
	err = scrub ? h2_scrub_begin(s->vol, &job.scrub) : h2_bulkfree_begin(s->vol, &job.free);
	job.name = scrub ? "scrub" : "bulkfree";
	job.status = err;
	return err;
}

bool admin_job_step(struct store *s)
{
	int r;

	if (!job.scrub && !job.free)
		return false;
	r = job.scrub ? h2_scrub_step(job.scrub, STEP, &job.progress)
		      : h2_bulkfree_step(job.free, STEP, &job.progress);
	if (r > 0)
		return true;
	job.status = r;
	if (job.scrub)
		h2_scrub_end(job.scrub);
	else
		h2_bulkfree_end(job.free);
	job.scrub = NULL;
	job.free = NULL;
	log_info("%s done: %llu MiB, %llu bad, %llu repaired, %llu KiB freed%s%s", job.name,
		 (unsigned long long)job.progress.done_bytes >> 20,
		 (unsigned long long)job.progress.bad,
		 (unsigned long long)job.progress.repaired,
		 (unsigned long long)job.progress.freed_bytes >> 10, r ? ": " : "",
		 r ? h2_strerror(r) : "");
	return false;
}

static int do_job(struct session *c)
{
	const struct h2_progress *p = &job.progress;

	return admin_lines(c, "%s\t%d\t%llu\t%llu\t%llu\t%llu\t%llu\t%d\n", job.name,
			   job.scrub || job.free, (unsigned long long)p->done_bytes,
			   (unsigned long long)p->total_bytes, (unsigned long long)p->bad,
			   (unsigned long long)p->repaired, (unsigned long long)p->freed_bytes,
			   job.status);
}

/* ---- sessions ---- */

static int perform(struct session *c, struct store *s, char why[256])
{
	switch (c->head.op) {
	case D0_ADMIN_USAGE:
		return do_usage(c, s);
	case D0_ADMIN_PFS_LIST:
		return do_pfs_list(c, s);
	case D0_ADMIN_PFS_CREATE:
	case D0_ADMIN_PFS_SNAPSHOT:
	case D0_ADMIN_PFS_DELETE:
	case D0_ADMIN_PFS_ROLLBACK:
	case D0_ADMIN_PFS_RENAME:
		return do_pfs(c, s);
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
		return do_image(c, s, why);
	case D0_ADMIN_IMPORT_BEGIN:
		return import_begin(c, s);
	case D0_ADMIN_IMPORT_FILE:
		return import_file(c);
	case D0_ADMIN_IMPORT_DATA:
		return import_data(c, s);
	case D0_ADMIN_IMPORT_COMMIT:
		return import_commit(c, s, why);
	case D0_ADMIN_IMPORT_ABORT:
		import_end(c, s);
		return 0;
	case D0_ADMIN_IMPORT_RENAME:
		return import_rename(c);
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
		return job_begin(s, c->head.op == D0_ADMIN_SCRUB);
	case D0_ADMIN_JOB:
		return do_job(c);
	default:
		return -H2_ENOTSUP;
	}
}

static void serve_frame(struct session *c, struct store *s)
{
	char why[256] = "";
	int err = perform(c, s, why);

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
		if (in_head && c->head.len > D0_ADMIN_MAX) {
			log_warn("channel %u: an admin frame of %u bytes; closed", c->ch,
				 c->head.len);
			c->closed = true;
			return false;
		}
		if (c->got == sizeof(c->head) + c->head.len)
			return true;
	}
}

static void reset(struct session *c, struct store *s)
{
	import_end(c, s);
	admin_unpack_drop(c);
	c->got = 0;
	c->out_len = 0;
	c->closed = false;
}

static bool serve_session(struct session *c, struct store *s)
{
	bool more = false;

	if (stream_peer_restarted(&c->stream))
		reset(c, s);
	for (unsigned n = 0; n < 64 && !c->closed && c->out_len < OUT_HIGH && collect(c); n++) {
		c->got = 0;
		serve_frame(c, s);
		more = n == 63;
	}
	flush(c);
	if (c->closed)
		stream_send_eof(&c->stream);
	else
		more |=
		    c->out_len ? stream_wait_write(&c->stream) : stream_wait_read(&c->stream);
	if (c->notify)
		cell_notify(c->ch);
	c->notify = false;
	return more;
}

static void close_session(struct store *s, unsigned ch)
{
	struct session *c = sessions[ch];

	import_end(c, s);
	admin_unpack_drop(c);
	free(c->in);
	free(c->out);
	free(c);
	sessions[ch] = NULL;
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
	if (!c->in || !ring || stream_open(&c->stream, ring, size, true)) {
		log_error("channel %u: no memory, or no ring, for admin requests", ch);
		free(c->in);
		free(c);
		return;
	}
	sessions[ch] = c;
	cell_notify(ch);
	log_info("channel %u: admin", ch);
}

void admin_scan(struct store *s)
{
	for (unsigned ch = 0; ch < D0_CHANNELS_MAX; ch++) {
		const struct d0_channel *d = cell_channel(ch);
		bool open = d && d->state == D0_CHANNEL_OPEN && d->protocol == D0_PROTO_ADMIN &&
			    d->role == D0_ROLE_SERVER;

		if (sessions[ch] && (!open || d->generation != sessions[ch]->generation))
			close_session(s, ch);
		if (open && !sessions[ch])
			open_session(s, ch, d);
	}
}

bool admin_serve(struct store *s)
{
	bool more = false;

	for (unsigned ch = 0; ch < D0_CHANNELS_MAX && !busy; ch++)
		if (sessions[ch]) {
			events_take(ch);
			more |= serve_session(sessions[ch], s);
		}
	return more;
}

void admin_close(struct store *s)
{
	for (unsigned ch = 0; ch < D0_CHANNELS_MAX; ch++)
		if (sessions[ch])
			close_session(s, ch);
	if (job.scrub)
		h2_scrub_end(job.scrub);
	if (job.free)
		h2_bulkfree_end(job.free);
	job.scrub = NULL;
	job.free = NULL;
}
