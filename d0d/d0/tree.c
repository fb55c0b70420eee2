// SPDX-License-Identifier: ISC
// Trees: each is a PFS of the store. "c-<id>" is a container's root, a snapshot of its image;
// "v-<name>" a volume; "k-<chain>" a layer that was kept for a container whose image was
// removed. Layers themselves, "l-<chain>", are the store's own PFSs "lay-<chain>".
//
// What a running container has written is in its cell's cache first: before its files are
// looked at, the cell is asked to write everything back; after files were put there, to forget
// what it has cached. Its volumes are found by the place where they are mounted.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "d0d/d0/box.h"
#include "d0d/d0/store.h"

#define DELETE_TRIES 100 // of 50 ms: the store lets go of a PFS a moment after its cell ended

static void label_of(const char *tree, char out[300])
{
	if (strncmp(tree, "l-", 2) == 0)
		snprintf(out, 300, "lay-%.200s", tree + 2);
	else if (strncmp(tree, "i-", 2) == 0)
		snprintf(out, 300, "img-%.200s", tree + 2);
	else
		snprintf(out, 300, "%.250s", tree);
}

// ---- the base of a container's tree: what its usage is counted against ----

static char *base_path(struct d0_backend *b, const char *tree)
{
	return xasprintf("%s/base-%s", b->dir, tree);
}

static void base_note(struct d0_backend *b, const char *tree, const char *parent)
{
	char *path = base_path(b, tree);

	file_write_atomic(path, parent, strlen(parent));
	free(path);
}

int d0_tree_create(struct backend *be, const char *id, enum be_tree_kind kind,
		   const char *parent, struct err *e)
{
	struct d0_backend *b = d0_of(be);
	char from[300], to[300];
	int rc;

	label_of(id, to);
	if (!parent)
		return store_call(b, D0_ADMIN_PFS_CREATE, NULL, NULL, e, to, NULL);
	label_of(parent, from);
	rc = store_call(b, D0_ADMIN_PFS_SNAPSHOT, NULL, NULL, e, from, to, NULL);
	if (rc == 0 && kind == BE_TREE_CONTAINER)
		base_note(b, id, parent);
	return rc;
}

int d0_tree_apply(struct backend *be, const char *id, struct be_source *src, struct err *e)
{
	return err_set(e, 500, "layers are the store's"); // never asked: see img_commit
}

int d0_tree_sync(struct backend *be, const char *id, struct err *e)
{
	return store_call(d0_of(be), D0_ADMIN_SYNC, NULL, NULL, e, NULL);
}

int d0_tree_remove(struct backend *be, const char *id, struct err *e)
{
	struct d0_backend *b = d0_of(be);
	char label[300], *path = base_path(b, id);
	struct err why = {0};
	int rc = 0;

	unlink(path);
	free(path);
	if (strncmp(id, "l-", 2) == 0)
		return 0; // the store removes it with the last image that has it
	label_of(id, label);
	for (int i = 0; i < DELETE_TRIES; i++) {
		rc = store_call(b, D0_ADMIN_PFS_DELETE, NULL, NULL, &why, label, NULL);
		if (rc == 0 || why.status != 409)
			break;
		usleep(50000);
	}
	if (rc < 0 && why.status == 404)
		return 0;
	if (rc == 0)
		store_reclaim(b);
	else if (e)
		*e = why;
	return rc;
}

struct lister {
	be_tree_cb *cb;
	void *ctx;
	const char *want; // or: the bytes of this label
	uint64_t bytes;
	bool found;
	struct sbuf text;
};

static int take_line(void *ctx, const void *data, size_t n)
{
	struct lister *l = ctx;
	char line[600], *tab;

	snprintf(line, sizeof(line), "%.*s", (int)(n < 590 ? n : 590), (const char *)data);
	tab = strchr(line, '\t');
	if (!tab)
		return 0;
	*tab++ = 0;
	if (l->want && strcmp(l->want, line) == 0) {
		l->bytes = strtoull(tab, NULL, 10);
		l->found = true;
	}
	if (!l->want && line[1] == '-' && strchr("cvk", line[0]))
		sbuf_add(&l->text, line, strlen(line) + 1);
	return 0;
}

int d0_tree_each(struct backend *be, be_tree_cb *cb, void *ctx, struct err *e)
{
	struct lister l = {0};
	int rc = store_call(d0_of(be), D0_ADMIN_PFS_LIST, take_line, &l, e, NULL);

	for (size_t at = 0; rc == 0 && at < l.text.len; at += strlen(l.text.p + at) + 1)
		rc = cb(ctx, l.text.p + at);
	sbuf_free(&l.text);
	return rc;
}

// ---- running containers ----

// Writes back what the container's cell holds, if it runs. The box stays until box_put().
static struct box *settle_box(struct d0_backend *b, const char *tree, bool forget)
{
	struct box *x = strncmp(tree, "c-", 2) == 0 ? box_find(b, tree + 2) : NULL;

	if (x)
		box_sync(x, forget);
	return x;
}

// Where a path of a container really lies: in a volume, if one is mounted above it there.
static const char *locate(struct box *x, const char *tree, const char *path, char label[300])
{
	size_t best = 0;

	label_of(tree, label);
	while (*path == '/')
		path++;
	for (size_t i = 0; x && i < x->nmounts; i++) {
		const char *dest = x->mount[i].dest + strspn(x->mount[i].dest, "/");
		size_t n = strlen(dest);
		if (n <= best || strncmp(path, dest, n) != 0 || (path[n] && path[n] != '/'))
			continue;
		best = n;
		label_of(x->mount[i].tree, label);
	}
	return path + best;
}

// ---- comparing ----

// The runtime's own places in a root: no change of the container.
static const char *const own[] = {
    "dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf", NULL};

static int compare(struct d0_backend *b, enum d0_admin_op op, const char *id, const char *base,
		   store_cb *cb, void *ctx, struct err *e)
{
	struct box *x = settle_box(b, id, false);
	struct sbuf args = {0};
	char label[300];
	struct err why = {0};

	label_of(id, label);
	sbuf_add(&args, label, strlen(label) + 1);
	label_of(base, label);
	sbuf_add(&args, label, strlen(label) + 1);
	for (size_t i = 0; own[i]; i++)
		sbuf_add(&args, own[i], strlen(own[i]) + 1);
	int rc = store_callv(b, op, &args, cb, ctx, &why);
	sbuf_free(&args);
	if (rc < 0 && why.status == 404 && strncmp(base, "l-", 2) == 0) {
		char *kept = xasprintf("k-%s", base + 2); // its image was removed
		rc = compare(b, op, id, kept, cb, ctx, &why);
		free(kept);
	}
	if (rc < 0 && e)
		*e = why;
	if (x)
		box_put(x);
	return rc;
}

struct changes {
	be_change_cb *cb;
	void *ctx;
	char *last; // the path reported before: the walk goes deep first
	uint64_t bytes;
};

// Docker shows the folders above a change as changed too; the store only what differs itself.
static int above(struct changes *c, const char *path)
{
	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		size_t n = (size_t)(slash - path);
		if (c->last && strncmp(c->last, path, n) == 0 &&
		    (!c->last[n] || c->last[n] == '/'))
			continue; // said already
		char *dir = xstrndup(path, n);
		int rc = c->cb(c->ctx, BE_MODIFIED, dir);
		free(dir);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int one_change(void *ctx, const void *data, size_t n)
{
	struct changes *c = ctx;
	char *text = xstrndup(data, n), *tab = strchr(text, '\t'), *path;
	int rc = 0;

	if (tab && *text != 't') {
		enum be_change kind = *text == 'A'   ? BE_ADDED
				      : *text == 'D' ? BE_DELETED
						     : BE_MODIFIED;
		if (kind != BE_DELETED)
			c->bytes += strtoull(text + 1, NULL, 10);
		path = xasprintf("/%s", tab + 1);
		if (c->cb) {
			rc = above(c, path);
			if (rc == 0)
				rc = c->cb(c->ctx, kind, path);
		}
		free(c->last);
		c->last = path;
	}
	free(text);
	return rc;
}

int d0_tree_diff(struct backend *be, const char *id, const char *base, be_change_cb *cb,
		 void *ctx, struct err *e)
{
	struct changes c = {.cb = cb, .ctx = ctx};
	int rc = compare(d0_of(be), D0_ADMIN_TREE_DIFF, id, base, one_change, &c, e);

	free(c.last);
	return rc;
}

int d0_tree_pack_diff(struct backend *be, const char *id, const char *base, struct be_sink *out,
		      struct err *e)
{
	struct d0_backend *b = d0_of(be);
	struct spill s = {.fd = -1, .dir = b->dir};
	int rc = compare(b, D0_ADMIN_TREE_PACK_DIFF, id, base, spill_take, &s, e);

	if (rc == 0)
		rc = spill_give(&s, out, e);
	spill_free(&s);
	return rc;
}

int d0_tree_usage(struct backend *be, const char *id, uint64_t *bytes, struct err *e)
{
	struct d0_backend *b = d0_of(be);
	struct lister l = {.want = id};
	struct changes c = {0};
	char *path = base_path(b, id), *base = file_read(path, 400, NULL);
	int rc;

	free(path);
	if (base) {
		rc = compare(b, D0_ADMIN_TREE_DIFF, id, base, one_change, &c, e);
		*bytes = c.bytes;
		free(c.last);
	} else {
		rc = store_call(b, D0_ADMIN_PFS_LIST, take_line, &l, e, NULL);
		*bytes = l.bytes;
	}
	free(base);
	return rc;
}

// ---- files ----

int d0_tree_pack(struct backend *be, const char *id, const char *path, const char *as,
		 struct be_sink *out, struct err *e)
{
	struct d0_backend *b = d0_of(be);
	struct box *x = settle_box(b, id, false);
	struct spill s = {.fd = -1, .dir = b->dir};
	bool whole = strcmp(path, "/") == 0 && !*as; // export: without volumes
	char label[300];
	const char *in = locate(whole ? NULL : x, id, path, label);
	int rc = store_call(b, D0_ADMIN_TREE_PACK, spill_take, &s, e, label, in, as, NULL);

	if (x)
		box_put(x);
	if (rc == 0)
		rc = spill_give(&s, out, e);
	spill_free(&s);
	return rc;
}

struct spilled {
	struct spill *s;
	size_t at;
};

static ssize_t spilled_read(void *ctx, void *buf, size_t n)
{
	struct spilled *p = ctx;
	size_t left = p->s->mem.len - p->at;

	if (!left)
		return p->s->fd < 0 ? 0 : read(p->s->fd, buf, n);
	if (n > left)
		n = left;
	memcpy(buf, p->s->mem.p + p->at, n);
	p->at += n;
	return (ssize_t)n;
}

// All of it first: who sends may be slow, and the store serves one request after the other.
static int gather(struct be_source *src, struct spill *s, struct err *e)
{
	char *buf = xmalloc(65536);
	ssize_t n;
	int rc = 0;

	while (rc == 0 && (n = src->read(src->ctx, buf, 65536)) != 0)
		if (n < 0)
			rc = err_set(e, 400, "unexpected EOF");
		else if (spill_take(s, buf, (size_t)n) < 0)
			rc = err_set(e, 507, "no space left on device");
	if (s->fd >= 0)
		lseek(s->fd, 0, SEEK_SET);
	free(buf);
	return rc;
}

int d0_tree_unpack(struct backend *be, const char *id, const char *path, struct be_source *src,
		   int flags, struct err *e)
{
	struct d0_backend *b = d0_of(be);
	struct spill s = {.fd = -1, .dir = b->dir};
	struct spilled p = {&s, 0};
	struct be_source from = {spilled_read, &p};
	struct be_stat st;
	int rc = gather(src, &s, e);

	if (rc == 0)
		rc = d0_tree_stat(be, id, path, true, &st, e);
	if (rc == 0 && !S_ISDIR(st.mode))
		rc = err_set(e, 400, "extraction point is not a directory");
	if (rc == 0) {
		struct box *x = settle_box(b, id, true);
		char label[300];
		const char *in = locate(x, id, path, label);
		rc = store_unpack(b, label, in,
				  (flags & BE_NO_OVERWRITE_DIR ? 1 : 0) |
				      (flags & BE_KEEP_OWNER ? 2 : 0),
				  &from, e);
		if (rc < 0 && e && e->status == 400 && strstr(e->msg, "'..'"))
			err_set(e, 400, "an entry of the archive leaves the tree it is for");
		if (x) {
			box_sync(x, true);
			box_put(x);
		}
	}
	spill_free(&s);
	return rc;
}

int d0_tree_stat(struct backend *be, const char *id, const char *path, bool follow,
		 struct be_stat *out, struct err *e)
{
	struct d0_backend *b = d0_of(be);
	struct box *x = strncmp(id, "c-", 2) == 0 ? box_find(b, id + 2) : NULL;
	char label[300];
	const char *in = locate(x, id, path, label);
	struct sbuf text = {0};
	long long mtime;
	unsigned long long size;
	int at = 0, rc;

	rc = store_call(b, D0_ADMIN_TREE_STAT, store_text, &text, e, label, in,
			follow ? "1" : "0", NULL);
	if (x)
		box_put(x);
	*out = (struct be_stat){0};
	const char *said = text.p ? text.p : "";
	if (rc == 0 && sscanf(said, "%u %llu %lld %u %u%n", &out->mode, &size, &mtime,
			      &out->uid, &out->gid, &at) < 5)
		rc = err_set(e, 500, "the store's answer is not understood");
	if (rc == 0) {
		out->size = size;
		out->mtime_ns = mtime;
		snprintf(out->link, sizeof(out->link), "%s", said[at] ? said + at + 1 : "");
	}
	sbuf_free(&text);
	return rc;
}

int d0_tree_read(struct backend *be, const char *id, const char *path, size_t max, char **out,
		 size_t *len, struct err *e)
{
	struct sbuf text = {0};
	char label[300];
	int rc;

	label_of(id, label);
	rc = store_call(d0_of(be), D0_ADMIN_TREE_READ, store_text, &text, e, label, path, NULL);
	if (rc == 0 && text.len > max)
		rc = err_set(e, 413, "%s: too large", path);
	if (rc < 0) {
		sbuf_free(&text);
		return -1;
	}
	sbuf_add(&text, "", 0);
	*out = text.p;
	if (len)
		*len = text.len;
	return 0;
}
