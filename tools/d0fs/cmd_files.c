/* SPDX-License-Identifier: ISC */
/* ls, cat, rm, du, mkdir: single files and directories inside a volume. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/d0fs/d0fs.h"

/* ---- ls ---- */

struct lister {
	struct h2_pfs *pfs;
	bool all, recurse;
	char *path; /* of the directory, for recursion */
	int err;
};

static void mode_string(uint32_t mode, char out[11])
{
	static const char types[] = "?pc?d?b?-?l?s???";

	out[0] = types[(mode & H2_S_IFMT) >> 12];
	for (int i = 0; i < 9; i++)
		out[1 + i] = mode >> (8 - i) & 1 ? "rwxrwxrwx"[i] : '-';
	if (mode & 04000)
		out[3] = mode & 0100 ? 's' : 'S';
	if (mode & 02000)
		out[6] = mode & 0010 ? 's' : 'S';
	if (mode & 01000)
		out[9] = mode & 0001 ? 't' : 'T';
	out[10] = 0;
}

static void put_name(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = name[i];
		if (c < 0x20 || c == 0x7f)
			printf("\\%03o", c); /* no terminal escapes from an image */
		else
			putchar(c);
	}
}

static void show_text(struct h2_pfs *pfs, const char *name, size_t len, const struct h2_attr *a)
{
	char mode[11], when[32], target[4096];
	time_t sec = a->mtime.sec;
	struct tm tm;
	long n;

	mode_string(a->mode, mode);
	gmtime_r(&sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
	printf("%s %3llu %5u %5u ", mode, (unsigned long long)a->nlink, a->uid, a->gid);
	if ((a->mode & H2_S_IFMT) == H2_S_IFCHR || (a->mode & H2_S_IFMT) == H2_S_IFBLK)
		printf("%6u,%5u", a->rmajor, a->rminor);
	else
		printf("%12llu", (unsigned long long)a->size);
	printf(" %s ", when);
	put_name(name, len);
	if ((a->mode & H2_S_IFMT) == H2_S_IFLNK) {
		n = h2_readlink(pfs, a->ino, target, sizeof(target));
		fputs(" -> ", stdout);
		put_name(target, n > 0 ? n : 0);
	}
	putchar('\n');
}

static void show_json(struct h2_pfs *pfs, const char *name, size_t len, const struct h2_attr *a)
{
	char target[4096];
	long n;

	js_open(NULL, '{');
	js_strn("name", name, len);
	js_num("ino", a->ino);
	js_num("mode", a->mode);
	js_num("nlink", a->nlink);
	js_num("uid", a->uid);
	js_num("gid", a->gid);
	js_num("size", a->size);
	js_num("stored", a->stored);
	js_int("mtime", a->mtime.sec);
	js_num("mtime_nsec", a->mtime.nsec);
	if ((a->mode & H2_S_IFMT) == H2_S_IFLNK &&
	    (n = h2_readlink(pfs, a->ino, target, sizeof(target))) >= 0)
		js_strn("target", target, n);
	js_close('}');
}

static void show(struct h2_pfs *pfs, const char *name, size_t len, const struct h2_attr *a)
{
	if (d0fs_json)
		show_json(pfs, name, len, a);
	else
		show_text(pfs, name, len, a);
}

static int list_entry(void *arg, const struct h2_dirent *e)
{
	struct lister *l = arg;
	struct h2_attr a;
	bool dots =
	    e->name[0] == '.' && (e->name_len == 1 || (e->name_len == 2 && e->name[1] == '.'));
	int err;

	if (dots && !l->all)
		return 0;
	err = h2_getattr(l->pfs, e->ino, &a);
	if (err) {
		l->err = err;
		d0fs_fail(0, "%.*s: %s", e->name_len, e->name, h2_strerror(err));
		return 0;
	}
	show(l->pfs, e->name, e->name_len, &a);
	return 0;
}

static int list_pfss(struct h2_vol *vol)
{
	struct h2_pfs_info p;
	uint64_t cursor = 0;
	int err;

	while ((err = h2_pfs_next(vol, &cursor, &p)) == 0) {
		if (d0fs_json)
			js_str(NULL, p.label);
		else
			puts(p.label);
	}
	return err == -H2_ENOENT ? 0 : err;
}

static int list_path(struct d0fs_vol *v, const char *path, bool all)
{
	struct d0fs_path at;
	struct lister l = {.all = all};
	int code = d0fs_resolve(v, path, false, &at), err;

	if (code)
		return code;
	if (!at.ino) {
		h2_pfs_close(at.pfs);
		return d0fs_fail(D0FS_NOT_FOUND, "%s: no such file", path);
	}
	l.pfs = at.pfs;
	if ((at.attr.mode & H2_S_IFMT) == H2_S_IFDIR) {
		err = h2_readdir(at.pfs, at.ino, 0, list_entry, &l);
		if (!err)
			err = l.err;
	} else {
		err = 0;
		show(at.pfs, at.name, strlen(at.name), &at.attr);
	}
	h2_pfs_close(at.pfs);
	return err ? d0fs_fail(d0fs_code(err), "%s: %s", path, h2_strerror(err)) : 0;
}

static int ls(int argc, char **argv)
{
	struct d0fs_vol v;
	bool all = false;
	int c, code, err;

	while ((c = getopt(argc, argv, "a")) != -1) {
		if (c != 'a')
			return d0fs_usage();
		all = true;
	}
	if (optind == argc)
		return d0fs_usage();
	code = d0fs_open(&v, argv[optind], D0FS_RDONLY, 0);
	if (code)
		return code;
	if (d0fs_json)
		js_open(NULL, '[');
	if (optind + 1 == argc) {
		err = list_pfss(v.vol);
		if (err)
			code = d0fs_fail(d0fs_code(err), "%s", h2_strerror(err));
	}
	for (int i = optind + 1; i < argc; i++) {
		int one = list_path(&v, argv[i], all);
		code = code ? code : one;
	}
	if (d0fs_json) {
		js_close(']');
		js_end();
	}
	return d0fs_close(&v, code);
}
D0FS_COMMAND(ls, "ls", "[-a] [--json] VOLUME [PFS:/path]...", "list PFSs, or files in one", ls);

/* ---- cat ---- */

static int cat_path(struct d0fs_vol *v, const char *path, char *buf, size_t max)
{
	struct d0fs_path at;
	uint64_t off = 0;
	long n = 0;
	int code = d0fs_resolve(v, path, true, &at);

	if (code)
		return code;
	if (!at.ino)
		code = d0fs_fail(D0FS_NOT_FOUND, "%s: no such file", path);
	while (!code && (n = h2_read(at.pfs, at.ino, off, buf, max)) > 0) {
		if (fwrite(buf, 1, n, stdout) != (size_t)n)
			code = d0fs_fail(D0FS_FAILED, "write: %s", strerror(errno));
		off += n;
	}
	h2_pfs_close(at.pfs);
	if (!code && n < 0)
		code = d0fs_fail(d0fs_code((int)n), "%s: %s", path, h2_strerror((int)n));
	return code;
}

static int cat(int argc, char **argv)
{
	size_t max = 1u << 20;
	char *buf = malloc(max);
	struct d0fs_vol v;
	int code;

	if (argc < 3 || !buf) {
		free(buf);
		return d0fs_usage();
	}
	d0fs_stdout_is_data = true;
	code = d0fs_open(&v, argv[1], D0FS_RDONLY, 0);
	if (!code) {
		for (int i = 2; i < argc && !code; i++)
			code = cat_path(&v, argv[i], buf, max);
		code = d0fs_close(&v, code);
	}
	free(buf);
	return code;
}
D0FS_COMMAND(cat, "cat", "VOLUME PFS:/path...", "write files to standard output", cat);

/* ---- rm ---- */

struct child {
	char name[256];
	uint16_t len;
	bool dir;
	uint64_t ino;
};

static int first_child(void *arg, const struct h2_dirent *e)
{
	struct child *c = arg;

	if (e->name[0] == '.' && (e->name_len == 1 || (e->name_len == 2 && e->name[1] == '.')))
		return 0;
	memcpy(c->name, e->name, e->name_len);
	c->len = e->name_len;
	c->dir = e->mode == H2_S_IFDIR;
	c->ino = e->ino;
	return 1;
}

static int rm_tree(struct h2_pfs *pfs, uint64_t dir, const char *name, size_t len, uint64_t ino)
{
	struct child c;
	int err;

	for (;;) {
		c.len = 0;
		err = h2_readdir(pfs, ino, 2, first_child, &c);
		if (err < 0 || !c.len)
			break;
		err = c.dir ? rm_tree(pfs, ino, c.name, c.len, c.ino)
			    : h2_unlink(pfs, ino, c.name, c.len);
		if (err)
			return err;
	}
	return err < 0 ? err : h2_rmdir(pfs, dir, name, len);
}

static int rm_path(struct d0fs_vol *v, const char *path, bool recurse)
{
	struct d0fs_path at;
	int code = d0fs_resolve(v, path, false, &at), err;
	bool dir;

	if (code)
		return code;
	dir = (at.attr.mode & H2_S_IFMT) == H2_S_IFDIR;
	if (!at.ino)
		err = -H2_ENOENT;
	else if (!at.name[0])
		err = -H2_EBUSY; /* the PFS root: `rm VOLUME PFS` removes the whole PFS */
	else if (dir && recurse)
		err = rm_tree(at.pfs, at.dir, at.name, strlen(at.name), at.ino);
	else if (dir)
		err = h2_rmdir(at.pfs, at.dir, at.name, strlen(at.name));
	else
		err = h2_unlink(at.pfs, at.dir, at.name, strlen(at.name));
	h2_pfs_close(at.pfs);
	return err ? d0fs_fail(d0fs_code(err), "%s: %s", path, h2_strerror(err)) : 0;
}

static int rm(int argc, char **argv)
{
	bool recurse = false;
	struct d0fs_vol v;
	int c, code, err;

	while ((c = getopt(argc, argv, "r")) != -1) {
		if (c != 'r')
			return d0fs_usage();
		recurse = true;
	}
	if (optind + 2 > argc)
		return d0fs_usage();
	code = d0fs_open(&v, argv[optind], 0, 0);
	if (code)
		return code;
	for (int i = optind + 1; i < argc && !code; i++) {
		if (d0fs_is_path(argv[i])) {
			code = rm_path(&v, argv[i], recurse);
			continue;
		}
		err = h2_pfs_delete(v.vol, argv[i]);
		if (err)
			code = d0fs_fail(d0fs_code(err), "%s: %s", argv[i], h2_strerror(err));
	}
	return d0fs_close(&v, code);
}
D0FS_COMMAND(rm, "rm", "[-r] VOLUME PFS|PFS:/path...",
	     "remove files, or whole PFSs (bulkfree returns the space)", rm);

/* ---- du
 * -------------------------------------------------------------------------------------------
 */

struct sum {
	struct h2_pfs *pfs;
	uint64_t logical, stored, files;
	int err;
};

static int add_entry(void *arg, const struct h2_dirent *e)
{
	struct sum *s = arg;
	struct h2_attr a;
	int err;

	if (e->name[0] == '.' && (e->name_len == 1 || (e->name_len == 2 && e->name[1] == '.')))
		return 0;
	err = h2_getattr(s->pfs, e->ino, &a);
	if (err) {
		s->err = err;
		return 0;
	}
	s->files++;
	/* A file with several names counts its share under each. */
	s->logical += a.size / (a.nlink && e->mode != H2_S_IFDIR ? a.nlink : 1);
	s->stored += 1024 + a.stored / (a.nlink && e->mode != H2_S_IFDIR ? a.nlink : 1);
	if (e->mode == H2_S_IFDIR) {
		err = h2_readdir(s->pfs, e->ino, 0, add_entry, s);
		if (err)
			s->err = err;
	}
	return 0;
}

static int du_path(struct d0fs_vol *v, const char *path)
{
	struct d0fs_path at;
	struct sum s = {0};
	char a[32], b[32];
	int code = d0fs_resolve(v, path, true, &at), err = 0;

	if (code)
		return code;
	if (!at.ino) {
		h2_pfs_close(at.pfs);
		return d0fs_fail(D0FS_NOT_FOUND, "%s: no such file", path);
	}
	s.pfs = at.pfs;
	if ((at.attr.mode & H2_S_IFMT) == H2_S_IFDIR) {
		err = h2_readdir(at.pfs, at.ino, 0, add_entry, &s);
	} else {
		s.files = 1;
		s.logical = at.attr.size;
		s.stored = 1024 + at.attr.stored;
	}
	h2_pfs_close(at.pfs);
	if (d0fs_json) {
		js_open(NULL, '{');
		js_str("path", path);
		js_num("logical", s.logical);
		js_num("stored", s.stored);
		js_num("files", s.files);
		js_close('}');
	} else {
		printf("%-10s stored, %10s logical, %llu files: %s\n", d0fs_size(s.stored, a),
		       d0fs_size(s.logical, b), (unsigned long long)s.files, path);
	}
	err = err ? err : s.err;
	return err ? d0fs_fail(d0fs_code(err), "%s: %s", path, h2_strerror(err)) : 0;
}

static int du(int argc, char **argv)
{
	struct d0fs_vol v;
	int code;

	if (argc < 3)
		return d0fs_usage();
	code = d0fs_open(&v, argv[1], D0FS_RDONLY, 0);
	if (code)
		return code;
	if (d0fs_json)
		js_open(NULL, '[');
	for (int i = 2; i < argc; i++) {
		int one = du_path(&v, argv[i]);
		code = code ? code : one;
	}
	if (d0fs_json) {
		js_close(']');
		js_end();
	}
	return d0fs_close(&v, code);
}
D0FS_COMMAND(du, "du", "[--json] VOLUME PFS:/path...", "space used, stored and logical", du);

/* ---- mkdir ---- */

static int mkdir_cmd(int argc, char **argv)
{
	struct h2_new how = {.mode = 0755};
	struct d0fs_path at;
	struct d0fs_vol v;
	int code, err;

	if (argc != 3)
		return d0fs_usage();
	code = d0fs_open(&v, argv[1], 0, 0);
	if (code)
		return code;
	code = d0fs_resolve(&v, argv[2], false, &at);
	if (!code) {
		err = at.ino ? -H2_EEXIST
			     : h2_mkdir(at.pfs, at.dir, at.name, strlen(at.name), &how, NULL);
		h2_pfs_close(at.pfs);
		if (err)
			code = d0fs_fail(d0fs_code(err), "%s: %s", argv[2], h2_strerror(err));
	}
	return d0fs_close(&v, code);
}
D0FS_COMMAND(mkdir, "mkdir", "VOLUME PFS:/path", "make a directory", mkdir_cmd);
