/* SPDX-License-Identifier: ISC */
/* check, scrub, bulkfree. */
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <sys/stat.h>

#include "oci/oci.h"
#include "tools/d0fs/d0fs.h"
#include "tools/d0fs/source.h"

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

static int run_scrub(struct d0fs_vol *v, struct h2_progress *p)
{
	struct h2_scrub *s;
	int err = h2_scrub_begin(v->vol, &s);

	memset(p, 0, sizeof(*p));
	if (!err) {
		while ((err = h2_scrub_step(s, 64u << 20, p)) > 0)
			d0fs_progress("scrub", p->done_bytes, p->total_bytes);
		h2_scrub_end(s);
	}
	d0fs_progress_end();
	return err ? d0fs_fail(d0fs_code(err), "%s", h2_strerror(err)) : 0;
}

/*
 * Where second copies come from: an image archive, or another volume: there first the block at
 * the same place, then the same bytes wherever they lie.
 */
struct mender {
	const char *path;
	bool volume;
	struct d0fs_dev dev; /* of the other volume */
	struct h2_vol *vol;
	struct d0fs_source src; /* or the archive */
	struct oci_mend *mend;
};

static int second_copy(void *ctx, const struct h2_event *ev, void *buf)
{
	struct mender *m = ctx;

	if (m->volume && ev->off <= m->dev.size && ev->len <= m->dev.size - ev->off &&
	    !m->dev.env.dev_ops->read(&m->dev, ev->off, buf, ev->len) &&
	    h2_code_is(ev->methods, ev->code, buf, ev->len))
		return 0;
	return oci_mend_second_copy(m->mend, ev, buf);
}

static void offer(void *ctx, uint64_t off, const void *stored, size_t len)
{
	oci_mend_offer(ctx, stored, len);
}

static void hush(void *ctx, const struct h2_event *ev)
{
}

/* Everything the other volume holds. */
static int search_volume(struct mender *m)
{
	struct d0fs_vol v = {.vol = m->vol};
	struct h2_progress p;

	return run_scrub(&v, &p);
}

static int archive_error(const struct mender *m, const struct oci_store *st, int err)
{
	return d0fs_fail(d0fs_code(err), "%s: %s", m->path,
			 st->err[0] ? st->err : h2_strerror(err));
}

static int search_archive(struct mender *m)
{
	struct oci_store st = {0};
	int err = oci_mend_scan(m->mend, &st, &m->src.source);

	return err ? archive_error(m, &st, err) : 0;
}

static int open_volume(struct mender *m)
{
	struct h2_mount_opts o = {.cache_bytes = H2_CACHE_DEFAULT, .readonly = true};
	struct h2_env env = m->dev.env;
	int err;

	m->volume = true;
	env.ctx = m->mend;
	env.second_copy = NULL;
	env.event = hush;
	env.scrubbed = offer;
	err = h2_mount(&env, &o, &m->vol);
	return err ? d0fs_fail(d0fs_code(err), "%s: %s", m->path, h2_strerror(err)) : 0;
}

static int open_archive(struct mender *m)
{
	struct oci_store st = {0};
	int code = d0fs_source_open(&m->src, m->path);
	int err = code ? 0 : oci_source_check(&st, &m->src.source);

	return err ? archive_error(m, &st, err) : code;
}

/* Fails at once if the source is neither: not only when a block turns out to be bad. */
static int mender_open(struct mender *m, const char *path)
{
	struct h2_vol_info info;
	struct stat st;

	m->path = path;
	m->mend = oci_mend_new();
	if (!m->mend || stat(path, &st))
		return d0fs_fail(m->mend && errno == ENOENT ? D0FS_NOT_FOUND : D0FS_FAILED,
				 "%s: %s", path, strerror(errno));
	d0fs_second_copy = second_copy;
	d0fs_second_copy_ctx = m;
	if (!S_ISDIR(st.st_mode)) {
		int code = d0fs_dev_open(&m->dev, path, D0FS_RDONLY, 0);

		if (code)
			return code;
		if (!h2_probe(&m->dev.env, &info))
			return open_volume(m);
		d0fs_dev_close(&m->dev);
	}
	return open_archive(m);
}

static void mender_close(struct mender *m)
{
	if (m->vol)
		h2_abandon(m->vol);
	if (m->volume)
		d0fs_dev_close(&m->dev);
	else if (m->src.source.read || m->src.fd > 0)
		d0fs_source_close(&m->src);
	oci_mend_free(m->mend);
}

/* First what is missing, then where it might be, then again: h2 mends as it reads. */
static int scrub_and_mend(struct d0fs_vol *v, struct mender *m, struct h2_progress *p)
{
	uint64_t mended;
	int code = run_scrub(v, p);

	if (code || !m->mend || !oci_mend_missing(m->mend))
		return code;
	mended = p->repaired;
	code = m->volume ? search_volume(m) : search_archive(m);
	if (code)
		return code;
	code = run_scrub(v, p);
	p->repaired += mended;
	return code;
}

static int scrub(int argc, char **argv)
{
	static const struct option opts[] = {{"repair-from", required_argument, NULL, 'm'},
					     {NULL, 0, NULL, 0}};
	struct h2_progress p = {0};
	struct mender m = {0};
	struct d0fs_vol v;
	int c, code = 0;

	while ((c = getopt_long(argc, argv, "m:", opts, NULL)) != -1) {
		if (c != 'm' || m.path)
			return d0fs_usage();
		m.path = optarg;
	}
	if (optind + 1 != argc)
		return d0fs_usage();
	if (m.path)
		code = mender_open(&m, m.path);
	if (!code)
		code = d0fs_open(&v, argv[optind], m.path ? 0 : D0FS_RDONLY, 0);
	if (!code) {
		code = scrub_and_mend(&v, &m, &p);
		if (!code) {
			report("scrub", &p);
			code = p.bad ? D0FS_DAMAGED : D0FS_OK;
		}
		code = d0fs_close(&v, code);
	}
	mender_close(&m);
	return code;
}
D0FS_COMMAND(scrub, "scrub", "[--repair-from ARCHIVE|LAYOUT|VOLUME] [--json] VOLUME",
	     "read and verify everything reachable; mend it from an image or another volume",
	     scrub);

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
