/* SPDX-License-Identifier: ISC */
/*
 * What the tests of the store share: a sparse memory device that can fail, count and be cut at
 * any write, an environment around it, and a digest of everything a PFS holds.
 */
#ifndef H2_DEV_H
#define H2_DEV_H

#include "h2/h2.h"

#define DEV_PAGE 65536u

struct dev_write {
	uint64_t off;
	size_t len;
	uint8_t *data;
};

struct dev {
	uint64_t size;
	uint64_t n_pages;
	uint8_t **page; /* NULL = zeros */
	/* While recording, writes since the last flush are kept here and not in the pages. */
	bool record;
	struct dev_write *pending;
	size_t n_pending, max_pending;
	/* Called before each write and after each flush while recording. */
	void (*on_write)(struct dev *d, bool flushed);
	void *arg;
	/* Faults */
	uint64_t fail_reads_from, fail_reads_to; /* byte range; empty when equal */
	long fail_writes_after;                  /* -1 = never */
	uint64_t writes, written, flushes, reads;
	uint64_t clock; /* ns, steps by 1 us with each look */
	uint64_t rng;
	uint64_t bad_events, repairs;
	struct dev *mirror;  /* second copy, may be NULL */
	size_t mem, mem_max; /* bytes from the allocator now and at most */
	size_t mem_limit;    /* 0 = none */
	struct h2_env env;
};

void dev_open(struct dev *d, uint64_t size);
void dev_close(struct dev *d);
void dev_copy(struct dev *to, const struct dev *from); /* opens `to`, with the pages only */
void dev_apply(struct dev *d, const struct dev_write *w, size_t from, size_t to);
uint64_t dev_random(uint64_t *state);
void dev_peek(struct dev *d, uint64_t off, void *buf, size_t len);
void dev_poke(struct dev *d, uint64_t off, const void *buf, size_t len);

/* Hash over names, attributes (no times), content, links and xattrs of a whole PFS; 0 = error,
 * stored in *err. */
uint64_t pfs_digest(struct h2_pfs *pfs, int *err);
/* h2_check() that prints what it finds; number of errors. */
long dev_check(struct h2_vol *v, bool print);

#endif
