/* SPDX-License-Identifier: ISC */
/*
 * Fuzzing volumes. A small valid volume is built once and all its check codes are switched to
 * "disabled", so that damage reaches the code behind them. An input is a list of patches to
 * metadata blocks; then everything the library can do is done to the result. Any answer is
 * right as long as nothing crashes, hangs or leaks.
 *
 * Input: u8 flags, then patches {u8 block, u16 offset, u8 length, bytes}.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "h2/impl.h"
#include "tests/unit/h2_dev.h"

#define VOLUME_BYTES (32ull << 20)
#define MAX_BLOCKS   256

static struct dev base;
static uint64_t block_off[MAX_BLOCKS];
static uint32_t block_len[MAX_BLOCKS];
static unsigned blocks;

static void must(int err)
{
	if (err)
		abort();
}

static void disable(struct h2_bref *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (t[i].type != H2_BREF_EMPTY)
			t[i].methods = H2_CHECK_DISABLED << 4 | (t[i].methods & 15);
}

static void seal_header(struct dev *d)
{
	struct h2_volhdr *hdr = malloc(sizeof(*hdr));

	dev_peek(d, 0, hdr, sizeof(*hdr));
	h2_header_crcs(hdr);
	dev_poke(d, 0, hdr, sizeof(*hdr));
	free(hdr);
}

/* Collect the metadata blocks and take their check codes away, from the leaves up. */
static void open_up(struct dev *d)
{
	struct h2_mount_opts o = {.readonly = true};
	struct h2_walk *w = calloc(1, sizeof(*w));
	struct h2_walk_item it;
	struct h2_bref *b;
	struct h2_vol *v;
	uint8_t buf[65536];

	must(h2_mount(&d->env, &o, &v));
	must(h2_walk_begin(w, v, v->hdr->sroot, false, 4096));
	while (h2_walk_next(w, &it) == 1) {
		b = it.bref;
		if (it.skipped || !b->data_off || b->type == H2_BREF_DATA ||
		    blocks == MAX_BLOCKS)
			continue;
		block_off[blocks] = h2_bref_off(b);
		block_len[blocks++] = h2_bref_bytes(b);
	}
	for (unsigned i = 0; i < 4 && v->hdr->freemap[i].data_off; i++) {
		block_off[blocks] = h2_bref_off(&v->hdr->freemap[i]);
		block_len[blocks++] = H2_FM_BYTES;
	}
	h2_walk_end(w);
	free(w);
	h2_abandon(v);
	for (unsigned i = 0; i < blocks; i++) {
		if (block_len[i] == H2_FM_BYTES)
			continue;
		dev_peek(d, block_off[i], buf, block_len[i]);
		if (block_len[i] == 1024 && !(((struct h2_inode *)buf)->op_flags & 1))
			disable(((struct h2_inode *)buf)->u.set, 4);
		else if (block_len[i] > 1024)
			disable((struct h2_bref *)buf, block_len[i] / 128);
		dev_poke(d, block_off[i], buf, block_len[i]);
	}
	dev_peek(d, 0, buf, sizeof(buf));
	disable(((struct h2_volhdr *)buf)->sroot, 4);
	dev_poke(d, 0, buf, sizeof(buf));
	block_off[blocks] = 0;
	block_len[blocks++] = 4096;
	seal_header(d);
}

static void build(void)
{
	struct h2_newfs_opts o = {
	    .check = H2_CHECK_XXH64, .comp = H2_COMP_LZ4, .labels = {"ROOT"}};
	struct h2_mount_opts m = {0};
	struct h2_new how = {.mode = H2_S_IFREG | 0644};
	struct h2_vol *v;
	struct h2_pfs *p;
	struct h2_attr a;
	static uint8_t data[300000];
	char name[80];

	dev_open(&base, VOLUME_BYTES);
	must(h2_newfs(&base.env, &o));
	must(h2_mount(&base.env, &m, &v));
	must(h2_pfs_open(v, "ROOT", 0, &p));
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = i / 97;
	for (int i = 0; i < 45; i++) {
		sprintf(name,
			i % 9
			    ? "f%d"
			    : "long-%d-"
			      "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz0123456789",
			i);
		must(h2_create(p, 1, name, strlen(name), &how, &a));
		(void)!h2_write(p, a.ino, 0, data, i == 3 ? sizeof(data) : i * 100);
	}
	must(h2_mkdir(p, 1, "d", 1, &how, &a));
	must(h2_symlink(p, a.ino, "l", 1, "../f1", 5, &how, &a));
	must(h2_setxattr(p, a.ino, "user.a", "value", 5, 0));
	must(h2_pfs_snapshot(v, "ROOT", "snap"));
	h2_pfs_close(p);
	must(h2_unmount(v));
	open_up(&base);
}

/* ---- doing everything ---- */

struct tour {
	struct h2_pfs *pfs;
	int left, depth;
};

static int visit(void *arg, const struct h2_dirent *e)
{
	struct tour *t = arg;
	struct h2_attr a;
	static uint8_t buf[70000];
	char list[256];

	if (e->cookie <= 2 || --t->left < 0)
		return t->left < 0;
	if (h2_getattr(t->pfs, e->ino, &a))
		return 0;
	(void)!h2_listxattr(t->pfs, e->ino, list, sizeof(list));
	(void)!h2_read(t->pfs, e->ino, 0, buf, sizeof(buf));
	(void)!h2_readlink(t->pfs, e->ino, (char *)buf, sizeof(buf));
	if ((a.mode & H2_S_IFMT) == H2_S_IFDIR && t->depth < 4) {
		struct tour sub = {t->pfs, t->left, t->depth + 1};
		(void)!h2_readdir(t->pfs, e->ino, 0, visit, &sub);
		t->left = sub.left;
	}
	return 0;
}

static void change(struct h2_pfs *p)
{
	struct h2_new how = {.mode = H2_S_IFREG | 0600};
	struct h2_attr a;
	static const uint8_t data[70000] = {1, 2, 3};

	for (int i = 0; i < 8; i++) {
		char name[8], old[8];
		sprintf(name, "n%d", i);
		sprintf(old, "f%d", i);
		if (!h2_create(p, 1, name, 2, &how, &a)) {
			(void)!h2_write(p, a.ino, i * 5000, data, sizeof(data));
			(void)!h2_setxattr(p, a.ino, "user.z", data, 100, 0);
		}
		if (!h2_lookup(p, 1, old, strlen(old), &a)) {
			(void)!h2_write(p, a.ino, 10, data, 1000);
			(void)!h2_truncate(p, a.ino, i * 300);
		}
		(void)!h2_rename(p, 1, old, strlen(old), 1, name, 2, i % 3);
		(void)!h2_unlink(p, 1, name, 2);
	}
}

static void use(struct dev *d, unsigned flags)
{
	struct h2_mount_opts o = {.readonly = flags & 1, .cache_bytes = H2_CACHE_MIN};
	struct h2_pfs_info info;
	struct h2_progress prog;
	struct h2_scrub *s;
	struct h2_vol *v;
	struct h2_pfs *p;
	uint64_t cursor = 0;

	if (h2_mount(&d->env, &o, &v))
		return;
	for (int i = 0; i < 16 && !h2_pfs_next(v, &cursor, &info); i++)
		;
	if (!h2_pfs_open(v, "ROOT", 0, &p)) {
		struct tour t = {p, 100, 0};
		(void)!h2_readdir(p, 1, 0, visit, &t);
		if (!(flags & 1))
			change(p);
		h2_pfs_close(p);
	}
	if (!(flags & 1)) {
		(void)!h2_pfs_delete(v, "snap");
		(void)!h2_pfs_snapshot(v, "ROOT", "s2");
		(void)!h2_sync(v);
		(void)!h2_bulkfree(v, &prog);
	}
	(void)!h2_check(v, 0, NULL, NULL, NULL);
	if (!h2_scrub_begin(v, &s)) {
		while (h2_scrub_step(s, 1 << 20, NULL) > 0)
			;
		h2_scrub_end(s);
	}
	(void)!h2_unmount(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t len)
{
	struct dev d;
	unsigned flags;

	if (!base.page)
		build();
	if (len < 1)
		return 0;
	flags = *in++;
	len--;
	dev_copy(&d, &base);
	d.mem_limit = 64u << 20;
	while (len >= 5) {
		unsigned b = in[0] % blocks, off = in[1] | in[2] << 8, n = in[3];
		in += 4;
		len -= 4;
		if (n > len)
			n = len;
		off %= block_len[b];
		if (n > block_len[b] - off)
			n = block_len[b] - off;
		dev_poke(&d, block_off[b] + off, in, n);
		in += n;
		len -= n;
	}
	seal_header(&d);
	use(&d, flags);
	if (d.mem)
		abort(); /* a leak */
	dev_close(&d);
	return 0;
}
