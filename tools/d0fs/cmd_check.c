/* SPDX-License-Identifier: ISC */
/* check, scrub, bulkfree. */
#include <getopt.h>

#include "tools/d0fs/d0fs.h"

static void finding_text(void *arg, const struct h2_finding *f)
{
	if (!f->error && d0fs_quiet)
		return;
	printf("%s: %s", f->where.what, f->text);
	if (f->where.off)
		printf(" (block at %#llx)", (unsigned long long)f->where.off);
	if (*f->where.pfs)
		printf(" [PFS %s, inode %llu]", f->where.pfs, (unsigned long long)f->where.ino);
	putchar('\n');
}

static void finding_json(void *arg, const struct h2_finding *f)
{
	js_open(NULL, '{');
	js_str("level", f->where.what);
	js_str("text", f->text);
	js_num("offset", f->where.off);
	js_str("pfs", f->where.pfs);
	js_num("inode", f->where.ino);
	js_close('}');
}

static int check(int argc, char **argv)
{
	static const struct option opts[] = {{"all-headers", no_argument, NULL, 'a'},
					     {"no-data", no_argument, NULL, 'n'},
					     {NULL, 0, NULL, 0}};
	struct h2_progress p = {0};
	struct d0fs_vol v;
	unsigned flags = 0;
	long errors;
	int c, code;

	while ((c = getopt_long(argc, argv, "an", opts, NULL)) != -1) {
		if (c == 'a')
			flags |= H2_CHECK_ALL_HEADERS;
		else if (c == 'n')
			flags |= H2_CHECK_NO_DATA;
		else
			return d0fs_usage();
	}
	if (optind + 1 != argc)
		return d0fs_usage();
	code = d0fs_open(&v, argv[optind], D0FS_RDONLY, 0);
	if (code)
		return code;
	v.dev.env.event = NULL;
	if (d0fs_json) {
		js_open(NULL, '{');
		js_open("findings", '[');
	}
	errors = h2_check(v.vol, flags, d0fs_json ? finding_json : finding_text, NULL, &p);
	if (d0fs_json) {
		js_close(']');
		js_int("errors", errors);
		js_num("blocks", p.blocks);
		js_num("inodes", p.inodes);
		js_num("bytes", p.done_bytes);
		js_close('}');
		js_end();
	} else if (errors >= 0) {
		char a[32];
		printf("%llu blocks, %llu inodes, %s checked: %ld errors\n",
		       (unsigned long long)p.blocks, (unsigned long long)p.inodes,
		       d0fs_size(p.done_bytes, a), errors);
	}
	if (errors < 0)
		code = d0fs_fail(d0fs_code((int)errors), "%s", h2_strerror((int)errors));
	else if (errors)
		code = D0FS_DAMAGED;
	return d0fs_close(&v, code);
}
D0FS_COMMAND(check, "check", "[-a] [-n] [--json] VOLUME",
	     "full check: codes, structure, links, freemap (-a all headers, -n no file data)",
	     check);

static void report(const char *what, const struct h2_progress *p)
{
	char a[32], b[32];

	if (d0fs_json) {
		js_open(NULL, '{');
		js_num("bytes", p->done_bytes);
		js_num("blocks", p->blocks);
		js_num("inodes", p->inodes);
		js_num("bad", p->bad);
		js_num("repaired", p->repaired);
		js_num("freed_bytes", p->freed_bytes);
		js_num("staged_bytes", p->staged_bytes);
		js_close('}');
		js_end();
		return;
	}
	printf("%s: %s in %llu blocks", what, d0fs_size(p->done_bytes, a),
	       (unsigned long long)p->blocks);
	if (p->pass)
		printf(", %s freed", d0fs_size(p->freed_bytes, b));
	else
		printf(", %llu bad, %llu repaired", (unsigned long long)p->bad,
		       (unsigned long long)p->repaired);
	putchar('\n');
}

/* The mirror holds the same bytes at the same place. */
static int from_mirror(void *ctx, const struct h2_event *ev, void *buf)
{
	struct d0fs_dev *mirror = ctx;

	if (ev->off > mirror->size || ev->len > mirror->size - ev->off)
		return -H2_EIO;
	return mirror->env.dev_ops->read(mirror, ev->off, buf, ev->len);
}

static int run_scrub(struct d0fs_vol *v)
{
	struct h2_progress p = {0};
	struct h2_scrub *s;
	int err = h2_scrub_begin(v->vol, &s);

	if (!err) {
		while ((err = h2_scrub_step(s, 64u << 20, &p)) > 0)
			d0fs_progress("scrub", p.done_bytes, p.total_bytes);
		h2_scrub_end(s);
	}
	d0fs_progress_end();
	if (err)
		return d0fs_fail(d0fs_code(err), "%s", h2_strerror(err));
	report("scrub", &p);
	return p.bad ? D0FS_DAMAGED : D0FS_OK;
}

static int scrub(int argc, char **argv)
{
	const char *mirror_path = NULL;
	struct d0fs_dev mirror;
	struct d0fs_vol v;
	int c, code;

	while ((c = getopt(argc, argv, "m:")) != -1) {
		if (c != 'm')
			return d0fs_usage();
		mirror_path = optarg;
	}
	if (optind + 1 != argc)
		return d0fs_usage();
	if (mirror_path) {
		code = d0fs_dev_open(&mirror, mirror_path, D0FS_RDONLY, 0);
		if (code)
			return code;
		d0fs_second_copy = from_mirror;
		d0fs_second_copy_ctx = &mirror;
	}
	code = d0fs_open(&v, argv[optind], mirror_path ? 0 : D0FS_RDONLY, 0);
	if (!code)
		code = d0fs_close(&v, run_scrub(&v));
	if (mirror_path)
		d0fs_dev_close(&mirror);
	return code;
}
D0FS_COMMAND(scrub, "scrub", "[-m MIRROR] [--json] VOLUME",
	     "read and verify everything reachable; -m mends from an equal volume", scrub);

static int bulkfree(int argc, char **argv)
{
	struct h2_progress p = {0};
	struct h2_bulkfree *b;
	struct d0fs_vol v;
	int code, err;

	if (argc != 2)
		return d0fs_usage();
	code = d0fs_open(&v, argv[1], 0, 0);
	if (code)
		return code;
	err = h2_bulkfree_begin(v.vol, &b);
	if (!err) {
		while ((err = h2_bulkfree_step(b, 256u << 20, &p)) > 0)
			d0fs_progress("bulkfree", p.done_bytes, p.total_bytes);
		h2_bulkfree_end(b);
	}
	d0fs_progress_end();
	if (err)
		code = d0fs_fail(d0fs_code(err), "%s", h2_strerror(err));
	else
		report("bulkfree", &p);
	return d0fs_close(&v, code);
}
D0FS_COMMAND(bulkfree, "bulkfree", "[--json] VOLUME", "return unused space", bulkfree);
