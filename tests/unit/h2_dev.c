/* SPDX-License-Identifier: ISC */
#include "tests/unit/h2_dev.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t dev_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/* ---- the device ---- */

void dev_peek(struct dev *d, uint64_t off, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		uint64_t at = off + done;
		size_t in = at % DEV_PAGE, n = DEV_PAGE - in;

		if (n > len - done)
			n = len - done;
		if (d->page[at / DEV_PAGE])
			memcpy((char *)buf + done, d->page[at / DEV_PAGE] + in, n);
		else
			memset((char *)buf + done, 0, n);
		done += n;
	}
}

void dev_poke(struct dev *d, uint64_t off, const void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		uint64_t at = off + done;
		size_t in = at % DEV_PAGE, n = DEV_PAGE - in;
		uint8_t **page = &d->page[at / DEV_PAGE];

		if (n > len - done)
			n = len - done;
		if (!*page)
			*page = calloc(1, DEV_PAGE);
		memcpy(*page + in, (const char *)buf + done, n);
		done += n;
	}
}

static int dev_read(void *arg, uint64_t off, void *buf, size_t len)
{
	struct dev *d = arg;

	if (off % 1024 || len % 1024 || off > d->size || len > d->size - off)
		abort(); /* the library broke its contract */
	d->reads++;
	if (off < d->fail_reads_to && d->fail_reads_from < off + len)
		return -H2_EIO;
	dev_peek(d, off, buf, len);
	for (size_t i = 0; i < d->n_pending; i++) {
		const struct dev_write *w = &d->pending[i];
		uint64_t a = w->off > off ? w->off : off;
		uint64_t b = w->off + w->len < off + len ? w->off + w->len : off + len;
		if (a < b)
			memcpy((char *)buf + (a - off), w->data + (a - w->off), b - a);
	}
	return 0;
}

static int dev_write(void *arg, uint64_t off, const void *buf, size_t len)
{
	struct dev *d = arg;
	struct dev_write *w;

	if (off % 1024 || len % 1024 || off > d->size || len > d->size - off || !len)
		abort();
	if (d->fail_writes_after == 0)
		return -H2_EIO;
	if (d->fail_writes_after > 0)
		d->fail_writes_after--;
	d->writes++;
	d->written += len;
	if (!d->record) {
		dev_poke(d, off, buf, len);
		return 0;
	}
	if (d->n_pending == d->max_pending) {
		d->max_pending = d->max_pending ? 2 * d->max_pending : 64;
		d->pending = realloc(d->pending, d->max_pending * sizeof(*d->pending));
	}
	w = &d->pending[d->n_pending++];
	w->off = off;
	w->len = len;
	w->data = malloc(len);
	memcpy(w->data, buf, len);
	if (d->on_write)
		d->on_write(d, false);
	return 0;
}

void dev_apply(struct dev *d, const struct dev_write *w, size_t from, size_t to)
{
	if (to > w->len)
		to = w->len;
	if (from < to)
		dev_poke(d, w->off + from, w->data + from, to - from);
}

static int dev_flush(void *arg)
{
	struct dev *d = arg;

	if (d->fail_writes_after == 0)
		return -H2_EIO;
	d->flushes++;
	for (size_t i = 0; i < d->n_pending; i++) {
		dev_apply(d, &d->pending[i], 0, d->pending[i].len);
		free(d->pending[i].data);
	}
	d->n_pending = 0;
	if (d->record && d->on_write)
		d->on_write(d, true);
	return 0;
}

/* A discarded range reads back as rubbish: nobody may rely on it. */
static int dev_discard(void *arg, uint64_t off, uint64_t len)
{
	struct dev *d = arg;
	uint8_t junk[1024];

	memset(junk, 0xdb, sizeof(junk));
	if (d->record)
		return 0;
	for (uint64_t i = 0; i < len; i += sizeof(junk))
		dev_poke(d, off + i, junk, sizeof(junk));
	return 0;
}

static const struct h2_dev_ops ops = {
    .read = dev_read, .write = dev_write, .flush = dev_flush, .discard = dev_discard};

/* ---- the rest of the environment ---- */

static void *mem_alloc(void *ctx, size_t len)
{
	struct dev *d = ctx;

	if (d->mem_limit && d->mem + len > d->mem_limit)
		return NULL;
	d->mem += len;
	if (d->mem > d->mem_max)
		d->mem_max = d->mem;
	return malloc(len);
}

static void mem_free(void *ctx, void *mem, size_t len)
{
	struct dev *d = ctx;

	d->mem -= len;
	free(mem);
}

static uint64_t now(void *ctx)
{
	struct dev *d = ctx;

	return d->clock += 1000;
}

static int entropy(void *ctx, void *buf, size_t len)
{
	struct dev *d = ctx;

	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = dev_random(&d->rng) >> 32;
	return 0;
}

static void event(void *ctx, const struct h2_event *ev)
{
	struct dev *d = ctx;

	if (ev->kind == H2_EV_REPAIRED)
		d->repairs++;
	else if (ev->kind == H2_EV_READ_ERROR || ev->kind == H2_EV_BAD_CHECK ||
		 ev->kind == H2_EV_BAD_STRUCT)
		d->bad_events++;
}

static int second_copy(void *ctx, const struct h2_event *ev, void *buf)
{
	struct dev *d = ctx;

	if (!d->mirror)
		return -H2_EIO;
	dev_peek(d->mirror, ev->off, buf, ev->len);
	return 0;
}

void dev_open(struct dev *d, uint64_t size)
{
	memset(d, 0, sizeof(*d));
	d->size = size;
	d->n_pages = (size + DEV_PAGE - 1) / DEV_PAGE;
	d->page = calloc(d->n_pages, sizeof(*d->page));
	d->fail_writes_after = -1;
	d->clock = 1700000000000000000ull;
	d->rng = 88172645463325252ull;
	d->env = (struct h2_env){.dev_ops = &ops,
				 .dev = d,
				 .dev_size = size,
				 .ctx = d,
				 .alloc = mem_alloc,
				 .free = mem_free,
				 .now = now,
				 .entropy = entropy,
				 .event = event,
				 .second_copy = second_copy,
				 .codec = &h2_codec_std};
}

void dev_close(struct dev *d)
{
	for (uint64_t i = 0; i < d->n_pages; i++)
		free(d->page[i]);
	for (size_t i = 0; i < d->n_pending; i++)
		free(d->pending[i].data);
	free(d->pending);
	free(d->page);
	memset(d, 0, sizeof(*d));
}

void dev_copy(struct dev *to, const struct dev *from)
{
	dev_open(to, from->size);
	for (uint64_t i = 0; i < from->n_pages; i++)
		if (from->page[i]) {
			to->page[i] = malloc(DEV_PAGE);
			memcpy(to->page[i], from->page[i], DEV_PAGE);
		}
}

/* ---- digests ---- */

struct digest {
	struct h2_pfs *pfs;
	uint64_t sum;
	int err;
	int depth;
};

static uint64_t mix(uint64_t h, const void *buf, size_t len)
{
	return h2_xxh64(buf, len, h);
}

static uint64_t content(struct digest *d, const struct h2_attr *a, uint64_t h)
{
	size_t max = 200000;
	uint8_t *buf = malloc(max); /* not static: a cut examines a copy while we read */
	char names[4096];
	long n = 0;

	if ((a->mode & H2_S_IFMT) == H2_S_IFREG) {
		for (uint64_t at = 0; at < a->size; at += n) {
			n = h2_read(d->pfs, a->ino, at, buf, max);
			if (n <= 0)
				break;
			h = mix(h, buf, n);
		}
	} else if ((a->mode & H2_S_IFMT) == H2_S_IFLNK) {
		n = h2_readlink(d->pfs, a->ino, (char *)buf, max);
		if (n > 0)
			h = mix(h, buf, n);
	}
	if (n < 0)
		d->err = (int)n;
	n = h2_listxattr(d->pfs, a->ino, names, sizeof(names));
	for (char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
		long len = h2_getxattr(d->pfs, a->ino, name, buf, max);
		if (len < 0)
			d->err = (int)len;
		else
			h += mix(mix(1, name, strlen(name)), buf, len); /* any order */
	}
	free(buf);
	return h;
}

static int entry(void *arg, const struct h2_dirent *e)
{
	struct digest *d = arg;
	struct digest sub = {.pfs = d->pfs, .sum = 7, .depth = d->depth + 1};
	struct h2_attr a;
	uint64_t h = mix(3, e->name, e->name_len), f[8];

	if (e->cookie <= 2)
		return 0;
	d->err = h2_getattr(d->pfs, e->ino, &a);
	if (d->err)
		return d->err;
	f[0] = a.mode;
	f[1] = a.size;
	f[2] = (a.mode & H2_S_IFMT) == H2_S_IFDIR ? 0 : a.nlink;
	f[3] = a.uid;
	f[4] = a.gid;
	f[5] = a.rmajor;
	f[6] = a.rminor;
	f[7] = e->mode;
	h = content(d, &a, mix(h, f, sizeof(f)));
	if (d->err)
		return d->err;
	if ((a.mode & H2_S_IFMT) == H2_S_IFDIR && d->depth < 64) {
		int err = h2_readdir(d->pfs, e->ino, 0, entry, &sub);
		if (err || sub.err)
			return d->err = err ? err : sub.err;
		h = mix(h, &sub.sum, 8);
	}
	d->sum += h;
	return 0;
}

uint64_t pfs_digest(struct h2_pfs *pfs, int *err)
{
	struct digest d = {.pfs = pfs, .sum = 11};

	*err = h2_readdir(pfs, H2_ROOT_INO, 0, entry, &d);
	if (!*err)
		*err = d.err;
	return *err ? 0 : d.sum;
}

static void show(void *arg, const struct h2_finding *f)
{
	if (f->error)
		printf("  check: %s (block %#llx, ino %llu)\n", f->text,
		       (unsigned long long)f->where.off, (unsigned long long)f->where.ino);
}

long dev_check(struct h2_vol *v, bool print)
{
	return h2_check(v, 0, print ? show : NULL, NULL, NULL);
}
