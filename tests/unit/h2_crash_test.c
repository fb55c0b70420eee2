/* SPDX-License-Identifier: ISC */
/*
 * The crash tester. A workload runs on a device that keeps the writes of the current flush
 * epoch apart. At every write, and after every flush, the power "fails": of the writes that no
 * flush has made durable, any may be lost, torn or done before others. Each resulting medium is
 * mounted again, checked in full, and must hold exactly what the last finished sync saw, or
 * what the sync under way was writing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/h2_dev.h"

#define PFSS 3

static const char *const labels[PFSS] = {"ROOT", "two", "snap"};

/* State of the whole volume: a digest for each PFS, 0 = not there. */
struct state {
	uint64_t sum[PFSS];
};

struct crash {
	struct dev dev;
	struct h2_vol *vol;
	struct h2_pfs *pfs;
	struct state durable, next; /* last sync; what a running one would make durable */
	uint64_t rng, cuts, fell_back;
	bool whole_header; /* a single header copy is written whole or not at all */
	unsigned one_in;   /* branch at one write in so many */
	unsigned variants;
};

static void digest_all(struct h2_vol *v, struct state *s)
{
	for (int i = 0; i < PFSS; i++) {
		struct h2_pfs *p;
		int err = h2_pfs_open(v, labels[i], 0, &p);

		s->sum[i] = 0;
		if (err == -H2_ENOENT)
			continue;
		assert_int_equal(err, 0);
		s->sum[i] = pfs_digest(p, &err);
		assert_int_equal(err, 0);
		h2_pfs_close(p);
	}
}

/* ---- one cut ---- */

/* What of the epoch's writes arrives: any subset, in any order, some only in part. */
static void scatter(struct crash *c, struct dev *d)
{
	size_t n = c->dev.n_pending;
	unsigned mode = dev_random(&c->rng) % 4;

	for (size_t i = 0; i < n; i++) {
		size_t at = mode == 1 ? n - 1 - i : i; /* order matters when writes overlap */
		const struct dev_write *w = &c->dev.pending[at];
		unsigned fate = dev_random(&c->rng) >> 20 & 7;

		if (mode == 2 && i + 1 < n)
			fate = 7; /* all but the last */
		if (mode == 3)
			fate = i + 1 == n ? 7 : fate; /* the last overtook others */
		if (c->whole_header && w->off == 0 && fate > 2)
			fate = 7;
		if (fate <= 2)
			continue; /* lost */
		if (fate <= 4) {  /* torn at a sector, head or tail */
			size_t cut = (dev_random(&c->rng) % (w->len / 512 + 1)) * 512;
			if (fate == 3)
				dev_apply(d, w, 0, cut);
			else
				dev_apply(d, w, cut, w->len);
			continue;
		}
		dev_apply(d, w, 0, w->len);
	}
}

static void examine(struct crash *c, struct dev *d)
{
	struct h2_mount_opts o = {0};
	struct h2_vol *v;
	struct state s;
	bool old, new;

	c->cuts++;
	assert_int_equal(h2_mount(&d->env, &o, &v), 0);
	assert_int_equal(dev_check(v, true), 0);
	digest_all(v, &s);
	old = !memcmp(&s, &c->durable, sizeof(s));
	new = !memcmp(&s, &c->next, sizeof(s));
	c->fell_back += old && !new;
	if (!old && !new)
		fail_msg("cut %llu: neither the old nor the new state",
			 (unsigned long long)c->cuts);
	h2_abandon(v);
	assert_int_equal(d->bad_events, 0);
}

static void on_write(struct dev *dev, bool flushed)
{
	struct crash *c = dev->arg;

	if (dev_random(&c->rng) % c->one_in && !flushed)
		return;
	for (unsigned i = 0; i < (flushed ? 1 : c->variants); i++) {
		struct dev d;
		dev_copy(&d, dev);
		if (!flushed)
			scatter(c, &d);
		examine(c, &d);
		dev_close(&d);
	}
}

/* ---- workload ---- */

static void sync_now(struct crash *c)
{
	digest_all(c->vol, &c->next);
	c->dev.on_write = on_write;
	assert_int_equal(h2_sync(c->vol), 0);
	c->durable = c->next;
}

static void name_for(unsigned n, char *out)
{
	sprintf(out, "file-number.%u", n);
}

/* Between syncs evictions write as well: then only the durable state may appear. */
static void some_work(struct crash *c)
{
	static uint8_t buf[200000];
	struct h2_new how = {.mode = H2_S_IFREG | 0644};
	struct h2_attr a;
	char name[64], other[64];

	c->next = c->durable;
	for (int i = 0; i < 40; i++) {
		unsigned n = dev_random(&c->rng) % 60, len = dev_random(&c->rng) % sizeof(buf);
		name_for(n, name);
		name_for(dev_random(&c->rng) % 60, other);
		for (unsigned k = 0; k < len; k += 16)
			buf[k] = dev_random(&c->rng);
		switch (dev_random(&c->rng) % 7) {
		case 0:
			(void)h2_unlink(c->pfs, 1, name, strlen(name));
			break;
		case 1:
			(void)h2_rename(c->pfs, 1, name, strlen(name), 1, other, strlen(other),
					0);
			break;
		case 2:
			(void)h2_mkdir(c->pfs, 1, name, strlen(name), &how, &a);
			break;
		case 3:
			if (!h2_lookup(c->pfs, 1, name, strlen(name), &a))
				(void)h2_setxattr(c->pfs, a.ino, "user.x", buf, len % 2000, 0);
			break;
		default:
			(void)h2_create(c->pfs, 1, name, strlen(name), &how, &a);
			if (!h2_lookup(c->pfs, 1, name, strlen(name), &a))
				(void)h2_write(c->pfs, a.ino, len / 2, buf, len);
		}
	}
}

static void run(uint64_t seed, uint64_t size, unsigned epochs, unsigned one_in,
		unsigned variants)
{
	struct crash *c = calloc(1, sizeof(*c));
	struct h2_newfs_opts o = {
	    .check = H2_CHECK_XXH64, .comp = H2_COMP_LZ4, .labels = {"ROOT"}};
	struct h2_mount_opts m = {.cache_bytes = H2_CACHE_MIN, .dedup_entries = 64};
	struct h2_progress p;

	c->rng = seed;
	c->one_in = one_in;
	c->variants = variants;
	c->whole_header = size < 2ull << 30;
	dev_open(&c->dev, size);
	c->dev.arg = c;
	assert_int_equal(h2_newfs(&c->dev.env, &o), 0);
	assert_int_equal(h2_mount(&c->dev.env, &m, &c->vol), 0);
	assert_int_equal(h2_pfs_open(c->vol, "ROOT", 0, &c->pfs), 0);
	digest_all(c->vol, &c->durable);
	c->dev.record = true;
	for (unsigned e = 0; e < epochs; e++) {
		c->dev.on_write = on_write;
		some_work(c);
		sync_now(c);
		if (e % 3 == 1) { /* the snapshot begins with a sync of its own */
			(void)h2_pfs_delete(c->vol, "snap");
			sync_now(c);
			assert_int_equal(h2_pfs_snapshot(c->vol, "ROOT", "snap"), 0);
			sync_now(c);
		}
		if (e % 4 == 3)
			assert_int_equal(h2_bulkfree(c->vol, &p), 0);
	}
	printf("  %llu cuts, %llu of them to the older state\n", (unsigned long long)c->cuts,
	       (unsigned long long)c->fell_back);
	assert_true(c->cuts > 50 && c->fell_back > 10);
	h2_abandon(c->vol);
	dev_close(&c->dev);
	free(c);
}

/* H2_ROUNDS=50 soaks. */
static unsigned rounds(unsigned usual)
{
	const char *s = getenv("H2_ROUNDS");

	return s ? (unsigned)atoi(s) : usual;
}

static void test_four_headers(void **state)
{
	run(12345, 7ull << 30, 7, 5, 4);
	for (unsigned i = 1; i <= rounds(1); i++)
		run(99 + i * 7919, 7ull << 30, 6, 3, 3);
}

/* A torn header leaves nothing to fall back on where it is the only copy: such volumes rely on
 * media that write 64 KiB whole. All else may be lost, torn and reordered as ever. */
static void test_one_header(void **state)
{
	for (unsigned i = 1; i <= rounds(1); i++)
		run(4711 * i, 512ull << 20, 6, 5, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_four_headers),
	    cmocka_unit_test(test_one_header),
	};

	return cmocka_run_group_tests_name("h2_crash", tests, NULL, NULL);
}
