// The D0 backend: d0d in a linux cell of the host it manages.
//
// Problem: the host is cells, not processes; d0d reaches it through /dev/d0ctl only.
// Model: what the nucleus knows (machine, cells, journal) is asked for whenever someone
// wants to see it; nothing is cached. Trees are folders in d0d's own cell, in memory, so
// they end with it; the linux backend's store.c keeps them. A container is a linux cell
// (cell.c) with two channels to d0d's: one brings its files, the other controls its
// programs (box.c). What it writes stays in its cell: it is gone when the container ends.
// Failure: a refused request is an answer to the user, with the nucleus' words.
#include "d0d/d0/box.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// d0d's own cell is told by its name (--backend-opt cell=NAME, else "d0d"). Whether it may make
// cells shows when it asks for something harmless that needs the right: to start itself.
static void find_self(struct d0_backend *b, const char *opt)
{
	const char *name = strncmp(opt, "cell=", 5) == 0 ? opt + 5 : "d0d";

	b->self = ~0u;
	for (uint32_t i = 0; i < 4096 && b->self == ~0u; i++) {
		struct d0_ctl_cell_status s = {.h.cell = i};
		if (ctl_call(b, &s, D0_CTL_cell_status, sizeof(s), NULL) == 0 &&
		    strncmp(s.name, name, sizeof(s.name)) == 0)
			b->self = i;
	}
	struct d0_ctl_cell_op op = {.h.cell = b->self};
	ctl_call(b, &op, D0_CTL_cell_start, sizeof(op), NULL);
	b->may_control = b->self != ~0u && op.h.status != D0_EPERM;
}

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
		find_self(b, cfg->opt);
		if (b->may_control)
			box_sweep(b);
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
    .exec = d0_exec,
    .wait = d0_wait,
    .io = d0_io,
    .close_in = d0_close_in,
    .pid = d0_pid,
    .signal = d0_signal,
    .pause = d0_pause,
    .resize = d0_resize,
    .update = d0_update,
    .stats = d0_stats,
    .top = d0_top,
    .net_connect = d0_net_connect,
    .net_disconnect = d0_net_connect,
    .release = d0_release,
    .detach = d0_detach,
};
