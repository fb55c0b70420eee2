/* SPDX-License-Identifier: ISC */
/*
 * Trees of files as archives: what `cp`, `export`, `diff` and `commit` of a container need.
 *
 * Model. A PFS is read by inode number from its root; a path is walked as a chroot would,
 * links followed inside, so nothing outside of the PFS can be named. A snapshot keeps the inode
 * numbers of its source: two files of one number, change time, size and attributes are
 * the same file, so a comparison reads names and attributes, never contents.
 *
 * Names of a directory are collected before anything is written out: the writer may let
 * others use the volume between two pieces, and what disappears meanwhile is left out.
 * Depth is bounded, so is the stack.
 *
 * Archives are ustar with pax headers (POSIX.1-2017, pax "Extended Description") where ustar's
 * fields are too narrow: long names, times below a second, big files and numbers, extended
 * attributes (SCHILY.xattr). Hard links inside of what is packed stay links.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "oci/impl.h"

#define BUF       (128u << 10)
#define PATH_LEN  4096u
#define DEPTH_MAX 128u
/* An archive has no holes: of a file so many times the volume it would be zeros without end. */
#define HOLES     16u
#define LINKS_MAX 40

/* ---- one path ---- */

static bool is_dir(const struct h2_attr *a)
{
	return (a->mode & H2_S_IFMT) == H2_S_IFDIR;
}

static int step(struct h2_pfs *pfs, struct h2_attr *at, const char *name, size_t n)
{
	uint64_t up;
	int err;

	if (!is_dir(at))
		return -H2_ENOTDIR;
	if (n == 1 && *name == '.')
		return 0;
	if (n == 2 && !memcmp(name, "..", 2)) {
		err = h2_parent(pfs, at->ino, &up);
		return err ? err : h2_getattr(pfs, up, at);
	}
	return h2_lookup(pfs, at->ino, name, n, at);
}

int oci_tree_find(struct h2_pfs *pfs, const char *path, bool follow, struct h2_attr *out)
{
	char rest[2 * PATH_LEN], target[PATH_LEN];
	struct h2_attr at, dir;
	unsigned fuel = LINKS_MAX;
	const char *p = rest;
	int err = h2_getattr(pfs, H2_ROOT_INO, &at);

	if (strlen(path) >= PATH_LEN)
		return -H2_ENAMETOOLONG;
	strcpy(rest, path);
	while (!err) {
		size_t n, left;
		long t;

		p += strspn(p, "/");
		n = strcspn(p, "/");
		if (!n)
			break;
		if (n > H2_NAME_MAX)
			return -H2_ENAMETOOLONG;
		dir = at;
		err = step(pfs, &at, p, n);
		p += n;
		left = strlen(p);
		if (err || (at.mode & H2_S_IFMT) != H2_S_IFLNK || (!*p && !follow))
			continue;
		t = h2_readlink(pfs, at.ino, target, sizeof(target) - 1);
		if (t <= 0 || !fuel-- || (size_t)t + left >= PATH_LEN)
			return t < 0 ? (int)t : -H2_EINVAL;
		memmove(rest + t, p, left + 1);
		memcpy(rest, target, (size_t)t);
		p = rest;
		at = dir;
		if (*rest == '/')
			err = h2_getattr(pfs, H2_ROOT_INO, &at);
	}
	*out = at;
	return err;
}

/* ---- names of a directory, sorted ---- */

struct names {
	char *text;
	uint32_t *at; /* where each begins in the text */
	size_t n, size, len, text_size;
};

static const char *name_of(const struct names *l, size_t i)
{
	return l->text + l->at[i];
}

static void names_free(struct names *l)
{
	free(l->text);
	free(l->at);
}

static bool names_grow(struct names *l, size_t more)
{
	if (l->n == l->size) {
		void *p = realloc(l->at, (2 * l->size + 32) * sizeof(*l->at));

		if (!p)
			return false;
		l->at = p;
		l->size = 2 * l->size + 32;
	}
	if (more > l->text_size - l->len) {
		void *p = realloc(l->text, 2 * l->text_size + more + 512);

		if (!p)
			return false;
		l->text = p;
		l->text_size = 2 * l->text_size + more + 512;
	}
	return true;
}

static int take_name(void *arg, const struct h2_dirent *e)
{
	struct names *l = arg;

	if (e->name_len <= 2 && !memcmp(e->name, "..", e->name_len))
		return 0;
	if (!names_grow(l, e->name_len + 1u))
		return -H2_ENOMEM;
	l->at[l->n++] = (uint32_t)l->len;
	memcpy(l->text + l->len, e->name, e->name_len);
	l->len += e->name_len;
	l->text[l->len++] = 0;
	return 0;
}

static void swap_names(struct names *l, size_t a, size_t b)
{
	uint32_t t = l->at[a];

	l->at[a] = l->at[b];
	l->at[b] = t;
}

static void sift(struct names *l, size_t at, size_t n)
{
	for (size_t kid; (kid = 2 * at + 1) < n; at = kid) {
		if (kid + 1 < n && strcmp(name_of(l, kid), name_of(l, kid + 1)) < 0)
			kid++;
		if (strcmp(name_of(l, at), name_of(l, kid)) >= 0)
			break;
		swap_names(l, at, kid);
	}
}

/* A heap sort: the cell's C library has no qsort(). */
static int list_names(struct h2_pfs *pfs, uint64_t dir, struct names *l)
{
	int err = h2_readdir(pfs, dir, 0, take_name, l);

	for (size_t i = l->n / 2; i-- > 0;)
		sift(l, i, l->n);
	for (size_t n = l->n; n > 1; n--) {
		swap_names(l, 0, n - 1);
		sift(l, 0, n - 1);
	}
	return err;
}

/* What a walk keeps for each level; not on the stack, which is small in a cell. */
struct level {
	char path[PATH_LEN];
	struct h2_attr a, b;
	struct names now, was;
};

static int level_new(struct level **v, unsigned depth)
{
	*v = depth < DEPTH_MAX ? calloc(1, sizeof(**v)) : NULL;
	return *v ? 0 : depth < DEPTH_MAX ? -H2_ENOMEM : -H2_ENAMETOOLONG;
}

static void level_free(struct level *v)
{
	if (v) {
		names_free(&v->now);
		names_free(&v->was);
	}
	free(v);
}

/* ---- writing an archive ---- */

struct link {
	uint64_t ino;
	char *path;
};

struct packer {
	struct h2_pfs *pfs;
	oci_write_cb *cb;
	void *arg;
	uint8_t *buf;
	struct link *link; /* of files with several names, packed already; hashed by number */
	size_t links, links_size;
	char *pax;
	size_t pax_len, pax_size;
	uint64_t largest; /* file */
};

/* A record of a pax header: "LENGTH KEY=VALUE\n", the length counting itself. */
static int pax_add(struct packer *p, const char *key, const void *value, size_t len)
{
	size_t body = strlen(key) + len + 3, total = body + 1, digits;
	char head[32];

	for (size_t was = 0; was != total;) {
		was = total;
		digits = (size_t)snprintf(head, sizeof(head), "%zu", total);
		total = body + digits;
	}
	if (p->pax_len + total + 1 > p->pax_size) {
		void *more = realloc(p->pax, 2 * (p->pax_len + total + 1));

		if (!more)
			return -H2_ENOMEM;
		p->pax = more;
		p->pax_size = 2 * (p->pax_len + total + 1);
	}
	p->pax_len += (size_t)snprintf(p->pax + p->pax_len, total + 1, "%zu %s=", total, key);
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): made room for above */
	memcpy(p->pax + p->pax_len, value, len);
	p->pax_len += len;
	p->pax[p->pax_len++] = '\n';
	return 0;
}

static int pax_number(struct packer *p, const char *key, uint64_t v)
{
	char text[24];

	return pax_add(p, key, text,
		       (size_t)snprintf(text, sizeof(text), "%llu", (unsigned long long)v));
}

static int pax_time(struct packer *p, const struct h2_time *t)
{
	char text[40];
	long long sec = t->sec;
	uint32_t ns = t->nsec;
	bool minus = sec < 0;

	if (minus && ns) {
		sec++;
		ns = 1000000000u - ns;
	}
	return pax_add(p, "mtime", text,
		       (size_t)snprintf(text, sizeof(text), "%s%lld.%09u", minus ? "-" : "",
					minus ? -sec : sec, ns));
}

static int pax_xattrs(struct packer *p, uint64_t ino)
{
	long n = h2_listxattr(p->pfs, ino, NULL, 0), got;
	char *list, *value, key[300];
	int err = 0;

	if (n <= 0)
		return n == -H2_ENOTSUP ? 0 : (int)n;
	list = malloc((size_t)n + 1);
	value = malloc(H2_XATTR_MAX);
	if (!list || !value)
		err = -H2_ENOMEM;
	got = err ? 0 : h2_listxattr(p->pfs, ino, list, (size_t)n);
	for (long at = 0; !err && at < got; at += (long)strlen(list + at) + 1) {
		long len = h2_getxattr(p->pfs, ino, list + at, value, H2_XATTR_MAX);

		snprintf(key, sizeof(key), "SCHILY.xattr.%.255s", list + at);
		if (len >= 0)
			err = pax_add(p, key, value, (size_t)len);
	}
	free(list);
	free(value);
	return err;
}

static void octal(uint8_t *to, unsigned digits, uint64_t v)
{
	for (; digits; v >>= 3)
		to[--digits] = (uint8_t)('0' + (v & 7));
}

static int put_header(struct packer *p, const char *name, const char *link, char type,
		      const struct h2_attr *a, uint64_t size)
{
	uint8_t h[512] = {0};
	unsigned sum = 0;
	size_t n = strlen(name), l = strlen(link);

	memcpy(h, name, n < 100 ? n : 100);
	octal(h + 100, 7, a->mode & 07777);
	octal(h + 108, 7, a->uid);
	octal(h + 116, 7, a->gid);
	octal(h + 124, 11, size);
	octal(h + 136, 11, a->mtime.sec > 0 ? (uint64_t)a->mtime.sec : 0);
	memset(h + 148, ' ', 8);
	h[156] = (uint8_t)type;
	memcpy(h + 157, link, l < 100 ? l : 100);
	memcpy(h + 257, "ustar\00000", 8);
	octal(h + 329, 7, a->rmajor);
	octal(h + 337, 7, a->rminor);
	for (int i = 0; i < 512; i++)
		sum += h[i];
	octal(h + 148, 6, sum);
	h[154] = 0;
	return p->cb(p->arg, h, sizeof(h));
}

static int put_padding(struct packer *p, uint64_t size)
{
	static const uint8_t zero[512];
	size_t pad = (size_t)((512 - size % 512) % 512);

	return pad ? p->cb(p->arg, zero, pad) : 0;
}

static int put_entry(struct packer *p, const char *name, const char *link, char type,
		     const struct h2_attr *a, uint64_t size)
{
	static const struct h2_attr plain = {.mode = 0644};
	int err = 0;

	p->pax_len = 0;
	if (strlen(name) > 100)
		err = pax_add(p, "path", name, strlen(name));
	if (!err && strlen(link) > 100)
		err = pax_add(p, "linkpath", link, strlen(link));
	if (!err && size >> 33)
		err = pax_number(p, "size", size);
	if (!err && a->uid > 07777777)
		err = pax_number(p, "uid", a->uid);
	if (!err && a->gid > 07777777)
		err = pax_number(p, "gid", a->gid);
	if (!err && (a->mtime.nsec || a->mtime.sec < 0 || a->mtime.sec >> 33))
		err = pax_time(p, &a->mtime);
	if (!err && type != '1' && a->ino)
		err = pax_xattrs(p, a->ino);
	if (!err && p->pax_len) {
		err = put_header(p, "PaxHeaders/x", "", 'x', &plain, p->pax_len);
		if (!err)
			err = p->cb(p->arg, p->pax, p->pax_len);
		if (!err)
			err = put_padding(p, p->pax_len);
	}
	return err ? err : put_header(p, name, link, type, a, size);
}

static int put_content(struct packer *p, const struct h2_attr *a)
{
	uint64_t off = 0;
	int err = 0;

	while (!err && off < a->size) {
		size_t want = a->size - off < BUF ? (size_t)(a->size - off) : BUF;
		long n = h2_read(p->pfs, a->ino, off, p->buf, want);

		if (n < 0)
			return (int)n;
		/* Cut short meanwhile: the header has promised more. */
		memset(p->buf + n, 0, want - (size_t)n);
		err = p->cb(p->arg, p->buf, want);
		off += want;
	}
	return err ? err : put_padding(p, a->size);
}

static struct link *link_slot(const struct packer *p, uint64_t ino)
{
	size_t i = (size_t)(ino * 0x9e3779b97f4a7c15ull >> 32) & (p->links_size - 1);

	while (p->link[i].path && p->link[i].ino != ino)
		i = (i + 1) & (p->links_size - 1);
	return &p->link[i];
}

static int links_grow(struct packer *p)
{
	struct link *old = p->link;
	size_t n = p->links_size;

	p->link = calloc(n ? 2 * n : 64, sizeof(*p->link));
	if (!p->link) {
		p->link = old;
		return -H2_ENOMEM;
	}
	p->links_size = n ? 2 * n : 64;
	for (size_t i = 0; i < n; i++)
		if (old[i].path)
			*link_slot(p, old[i].ino) = old[i];
	free(old);
	return 0;
}

/* The path under which the file was packed before, or NULL; then it is remembered. */
static const char *known_link(struct packer *p, uint64_t ino, const char *path, int *err)
{
	struct link *l;

	*err = 2 * (p->links + 1) > p->links_size ? links_grow(p) : 0;
	if (*err)
		return NULL;
	l = link_slot(p, ino);
	if (l->path)
		return l->path;
	*l = (struct link){ino, malloc(strlen(path) + 1)};
	if (l->path)
		strcpy(l->path, path);
	else
		*err = -H2_ENOMEM;
	p->links += l->path != NULL;
	return NULL;
}

/* One object, without what is in it. */
static int pack_one(struct packer *p, const struct h2_attr *a, const char *name)
{
	char link[PATH_LEN] = "", dir[PATH_LEN + 2];
	const char *first;
	int err = 0;
	long n;

	switch (a->mode & H2_S_IFMT) {
	case H2_S_IFDIR:
		snprintf(dir, sizeof(dir), "%s/", name);
		return put_entry(p, dir, "", '5', a, 0);
	case H2_S_IFLNK:
		n = h2_readlink(p->pfs, a->ino, link, sizeof(link) - 1);
		if (n < 0)
			return (int)n;
		link[n] = 0;
		return put_entry(p, name, link, '2', a, 0);
	case H2_S_IFCHR:
		return put_entry(p, name, "", '3', a, 0);
	case H2_S_IFBLK:
		return put_entry(p, name, "", '4', a, 0);
	case H2_S_IFIFO:
		return put_entry(p, name, "", '6', a, 0);
	case H2_S_IFREG:
		first = a->nlink > 1 ? known_link(p, a->ino, name, &err) : NULL;
		if (err || first)
			return err ? err : put_entry(p, name, first, '1', a, 0);
		if (a->size > p->largest)
			return -H2_EFBIG;
		err = put_entry(p, name, "", '0', a, a->size);
		return err ? err : put_content(p, a);
	default:
		return 0; /* a socket: tar has none */
	}
}

static int join(char out[PATH_LEN], const char *dir, const char *name)
{
	int n = snprintf(out, PATH_LEN, "%s%s%s", dir, *dir ? "/" : "", name);

	return (size_t)n < PATH_LEN ? 0 : -H2_ENAMETOOLONG;
}

static int pack_tree(struct packer *p, const struct h2_attr *a, const char *name,
		     unsigned depth)
{
	struct level *v;
	int err = *name ? pack_one(p, a, name) : 0;

	if (err || !is_dir(a))
		return err;
	err = level_new(&v, depth);
	if (!err)
		err = list_names(p->pfs, a->ino, &v->now);
	for (size_t i = 0; !err && i < v->now.n; i++) {
		const char *kid = name_of(&v->now, i);

		err = p->cb(p->arg, "", 0);
		if (err)
			break;
		err = h2_lookup(p->pfs, a->ino, kid, strlen(kid), &v->a);
		if (err == -H2_ENOENT) {
			err = 0; /* gone meanwhile */
			continue;
		}
		if (!err)
			err = join(v->path, name, kid);
		if (!err)
			err = pack_tree(p, &v->a, v->path, depth + 1);
	}
	level_free(v);
	return err;
}

static int packer_begin(struct packer *p, struct h2_pfs *pfs, oci_write_cb *cb, void *arg)
{
	struct h2_vol_info vol;

	h2_vol_info(h2_pfs_vol(pfs), &vol);
	*p = (struct packer){.pfs = pfs,
			     .cb = cb,
			     .arg = arg,
			     .buf = malloc(BUF),
			     .largest = HOLES * vol.allocator_size};
	return p->buf ? 0 : -H2_ENOMEM;
}

static int packer_end(struct packer *p, int err)
{
	static const uint8_t zeros[1024];

	if (!err)
		err = p->cb(p->arg, zeros, sizeof(zeros));
	for (size_t i = 0; i < p->links_size; i++)
		free(p->link[i].path);
	free(p->link);
	free(p->pax);
	free(p->buf);
	return err;
}

int oci_tree_pack(struct h2_pfs *pfs, const char *path, const char *as, oci_write_cb *cb,
		  void *arg)
{
	struct h2_attr a;
	struct packer p;
	int err = oci_tree_find(pfs, path, false, &a);

	if (err)
		return err;
	err = packer_begin(&p, pfs, cb, arg);
	return packer_end(&p, err ? err : pack_tree(&p, &a, as, 0));
}

/* ---- what two trees differ in ---- */

struct differ {
	struct h2_pfs *pfs, *base;
	const char *const *skip; /* NULL-terminated paths to leave out */
	oci_diff_cb *cb;
	void *arg;
};

static bool skipped(const struct differ *d, const char *path)
{
	for (const char *const *s = d->skip; s && *s; s++)
		if (!strcmp(*s, path))
			return true;
	return false;
}

static bool same_time(const struct h2_time *a, const struct h2_time *b)
{
	return a->sec == b->sec && a->nsec == b->nsec;
}

static bool same_owner(const struct h2_attr *a, const struct h2_attr *b)
{
	return a->mode == b->mode && a->uid == b->uid && a->gid == b->gid;
}

static int all_added(struct differ *d, const struct h2_attr *a, const char *path,
		     unsigned depth)
{
	struct level *v;
	int err = d->cb(d->arg, OCI_ADDED, path, a);

	if (err || !is_dir(a))
		return err;
	err = level_new(&v, depth);
	if (!err)
		err = list_names(d->pfs, a->ino, &v->now);
	for (size_t i = 0; !err && i < v->now.n; i++) {
		const char *kid = name_of(&v->now, i);

		err = join(v->path, path, kid);
		if (err || skipped(d, v->path))
			continue;
		err = h2_lookup(d->pfs, a->ino, kid, strlen(kid), &v->a);
		if (err == -H2_ENOENT)
			err = 0;
		else if (!err)
			err = all_added(d, &v->a, v->path, depth + 1);
	}
	level_free(v);
	return err;
}

static int diff_dir(struct differ *d, uint64_t now, uint64_t was, const char *path,
		    unsigned depth);

/* An object of the same name in both. */
static int diff_both(struct differ *d, const struct level *v, unsigned depth)
{
	const struct h2_attr *now = &v->a, *was = &v->b;
	int err = 0;

	if (is_dir(now) != is_dir(was)) {
		err = d->cb(d->arg, OCI_DELETED, v->path, was);
		return err ? err : all_added(d, now, v->path, depth + 1);
	}
	if (!is_dir(now)) {
		bool same = now->ino == was->ino && now->size == was->size &&
			    same_owner(now, was) && same_time(&now->ctime, &was->ctime) &&
			    same_time(&now->mtime, &was->mtime);

		return same ? 0 : d->cb(d->arg, OCI_CHANGED, v->path, now);
	}
	if (!same_owner(now, was))
		err = d->cb(d->arg, OCI_CHANGED, v->path, now);
	else if (!same_time(&now->mtime, &was->mtime))
		err = d->cb(d->arg, OCI_TOUCHED, v->path, now);
	return err ? err : diff_dir(d, now->ino, was->ino, v->path, depth + 1);
}

/* order < 0: the name is in the old directory only, > 0: in the new one only. */
static int diff_name(struct differ *d, uint64_t now, uint64_t was, const char *name, int order,
		     struct level *v, unsigned depth)
{
	int err = order >= 0 ? h2_lookup(d->pfs, now, name, strlen(name), &v->a) : 0;

	if (err)
		return err == -H2_ENOENT ? 0 : err; /* gone meanwhile */
	if (order <= 0)
		/* NOLINTNEXTLINE: one of both lists has a name */
		err = h2_lookup(d->base, was, name, strlen(name), &v->b);
	if (err)
		return err;
	if (order > 0)
		return all_added(d, &v->a, v->path, depth + 1);
	return order < 0 ? d->cb(d->arg, OCI_DELETED, v->path, &v->b) : diff_both(d, v, depth);
}

static int diff_dir(struct differ *d, uint64_t now, uint64_t was, const char *path,
		    unsigned depth)
{
	struct level *v;
	int err = level_new(&v, depth);

	if (!err)
		err = list_names(d->pfs, now, &v->now);
	if (!err)
		err = list_names(d->base, was, &v->was);
	for (size_t i = 0, k = 0; !err && (i < v->now.n || k < v->was.n);) {
		const char *a = i < v->now.n ? name_of(&v->now, i) : NULL;
		const char *b = k < v->was.n ? name_of(&v->was, k) : NULL;
		int order = !a ? 1 : !b ? -1 : strcmp(a, b);

		err = join(v->path, path, order <= 0 ? a : b);
		if (!err)
			err = d->cb(d->arg, OCI_SAME, v->path, NULL);
		if (!err && !skipped(d, v->path))
			err = diff_name(d, now, was, order <= 0 ? a : b, -order, v, depth);
		i += order <= 0;
		k += order >= 0;
	}
	level_free(v);
	return err;
}

int oci_tree_diff(struct h2_pfs *pfs, struct h2_pfs *base, const char *const *skip,
		  oci_diff_cb *cb, void *arg)
{
	struct differ d = {pfs, base, skip, cb, arg};

	return diff_dir(&d, H2_ROOT_INO, H2_ROOT_INO, "", 0);
}

/* A difference as a layer: a deleted object is an empty file ".wh.NAME" (OCI image-spec). */
static int pack_change(void *arg, enum oci_change kind, const char *path,
		       const struct h2_attr *a)
{
	static const struct h2_attr none = {.mode = 0600};
	const char *name = strrchr(path, '/');
	char mark[PATH_LEN + 8];

	if (kind == OCI_SAME)
		return ((struct packer *)arg)->cb(((struct packer *)arg)->arg, "", 0);
	if (kind != OCI_DELETED)
		return pack_one(arg, a, path);
	name = name ? name + 1 : path;
	snprintf(mark, sizeof(mark), "%.*s.wh.%s", (int)(name - path), path, name);
	return put_entry(arg, mark, "", '0', &none, 0);
}

int oci_tree_pack_diff(struct h2_pfs *pfs, struct h2_pfs *base, const char *const *skip,
		       oci_write_cb *cb, void *arg)
{
	struct packer p;
	int err = packer_begin(&p, pfs, cb, arg);

	return packer_end(&p, err ? err : oci_tree_diff(pfs, base, skip, pack_change, &p));
}
