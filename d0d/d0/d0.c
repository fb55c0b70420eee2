// The D0 backend: d0d in a linux cell of the host it manages.
//
// Problem: the host is cells, not processes; d0d reaches it through /dev/d0ctl only.
// Model: what the nucleus knows (machine, cells, journal) is asked for whenever someone
// wants to see it; nothing is cached. Trees are folders in d0d's own cell, in memory, so
// they end with it; the linux backend's store.c keeps them.
// Failure: a refused request is an answer to the user, with the nucleus' words.
#include "d0d/d0/d0.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int d0_open(struct backend **out, const struct be_config *cfg, struct err *e)
{
	struct d0_backend *b = xcalloc(1, sizeof(*b));
	char *trees = xasprintf("%s/trees", cfg->dir);
	int rc = 0;

	pthread_mutex_init(&b->trees.lock, NULL);
	b->trees.dir = xstrdup(cfg->dir);
	b->ctl = open("/dev/d0ctl", O_RDWR | O_CLOEXEC);
	if (b->ctl < 0)
		rc = err_set(e, 500, "/dev/d0ctl: %s", strerror(errno));
	else if (dir_make(trees, 0711) < 0)
		rc = err_set(e, 500, "%s: %s", trees, strerror(errno));
	free(trees);
	if (rc == 0) {
		*out = &b->trees;
		return 0;
	}
	if (b->ctl >= 0)
		close(b->ctl);
	free(b->trees.dir);
	free(b);
	return -1;
}

static void d0_close(struct backend *be)
{
	struct d0_backend *b = d0_of(be);

	close(b->ctl);
	free(b->trees.dir);
	free(b);
}

static int not_yet(struct err *e, const char *what)
{
	return err_set(e, 501, "the d0 backend can't %s yet", what);
}

static int d0_net_create(struct backend *b, const struct be_network *n, struct err *e)
{
	return not_yet(e, "make networks");
}
static int d0_net_remove(struct backend *b, const char *id, struct err *e)
{
	return 0; // none was made
}
static int d0_start(struct backend *b, struct be_spec *s, struct be_proc **out, struct err *e)
{
	return not_yet(e, "start containers");
}
static int d0_adopt(struct backend *b, const struct be_spec *s, struct be_proc **out)
{
	return 0; // no container outlives d0d
}

const struct backend_ops backend_d0 = {
    .name = "d0",
    .open = d0_open,
    .close = d0_close,
    .info = d0_host_info,
    .cells = d0_cells,
    .tree_create = lx_tree_create,
    .tree_apply = lx_tree_apply,
    .tree_sync = lx_tree_sync,
    .tree_remove = lx_tree_remove,
    .tree_each = lx_tree_each,
    .tree_usage = lx_tree_usage,
    .tree_diff = lx_tree_diff,
    .tree_pack_diff = lx_tree_pack_diff,
    .tree_pack = lx_tree_pack,
    .tree_unpack = lx_tree_unpack,
    .tree_stat = lx_tree_stat,
    .tree_read = lx_tree_read,
    .net_create = d0_net_create,
    .net_remove = d0_net_remove,
    .start = d0_start,
    .adopt = d0_adopt,
};
