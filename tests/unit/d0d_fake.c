/* SPDX-License-Identifier: ISC */
#include "tests/unit/d0d_fake.h"

#include <stdlib.h>
#include <string.h>

#include "d0d/linux/linux.h"

static int fake_open(struct backend **out, const struct be_config *cfg, struct err *e)
{
	struct backend *b = xcalloc(1, sizeof(*b));
	char *trees = xasprintf("%s/trees", cfg->dir);

	pthread_mutex_init(&b->lock, NULL);
	b->dir = xstrdup(cfg->dir);
	int rc = dir_make(trees, 0755);
	free(trees);
	*out = b;
	return rc;
}

static void fake_close(struct backend *b)
{
	free(b->dir);
	free(b);
}

static int fake_info(struct backend *b, struct be_info *out, struct err *e)
{
	*out = (struct be_info){.ncpu = 1, .memory = 1 << 20, .storage_driver = "fake"};
	strcpy(out->kernel, "none");
	return 0;
}

// Fuzzing makes thousands of trees: nothing waits for a disk.
static int fake_sync(struct backend *b, const char *id, struct err *e)
{
	return 0;
}

static int no_start(struct backend *b, struct be_spec *s, struct be_proc **out, struct err *e)
{
	return err_set(e, 500, "the fake backend starts nothing");
}

static int no_adopt(struct backend *b, const struct be_spec *s, struct be_proc **out)
{
	return 0;
}

static int net_ok(struct backend *b, const struct be_network *n, struct err *e)
{
	return 0;
}

static int net_gone(struct backend *b, const char *id, struct err *e)
{
	return 0;
}

const struct backend_ops backend_fake = {
    .name = "fake",
    .open = fake_open,
    .close = fake_close,
    .info = fake_info,
    .tree_create = lx_tree_create,
    .tree_apply = lx_tree_apply,
    .tree_sync = fake_sync,
    .tree_remove = lx_tree_remove,
    .tree_each = lx_tree_each,
    .tree_usage = lx_tree_usage,
    .tree_diff = lx_tree_diff,
    .tree_pack_diff = lx_tree_pack_diff,
    .tree_pack = lx_tree_pack,
    .tree_unpack = lx_tree_unpack,
    .tree_stat = lx_tree_stat,
    .tree_read = lx_tree_read,
    .net_create = net_ok,
    .net_remove = net_gone,
    .start = no_start,
    .adopt = no_adopt,
};

ssize_t memory_read(void *ctx, void *buf, size_t n)
{
	struct memory *m = ctx;

	if (n > m->n)
		n = m->n;
	memcpy(buf, m->p, n);
	m->p = (const char *)m->p + n;
	m->n -= n;
	return (ssize_t)n;
}
