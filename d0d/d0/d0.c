// SPDX-License-Identifier: ISC
// The D0 backend: d0d in a linux cell of the host it manages.
//
// Problem: the host is cells, not processes; d0d reaches it through /dev/d0ctl only.
// Model: what the nucleus knows (machine, cells, journal) is asked for whenever someone
// wants to see it; nothing is cached. Images, containers' roots and volumes are PFSs of the
// store (store.c, images.c, tree.c). A container is a linux cell (cell.c) with channels to the
// store for its files and one to d0d, which controls its programs (box.c). Recovery: cells and
// their channels outlive d0d's cell. The next d0d finds a container's cell by its name, and the
// cell tells it what runs; output waits in the cell meanwhile. Failure: a refused request is an
// answer to the user, with the nucleus' or the store's words.
#include "d0d/d0/box.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/d0/store.h"

// A word of --backend-opt: NAME=VALUE, joined by '+'. "": it isn't there.
static void opt_word(const char *opt, const char *name, char *out, size_t size)
{
	size_t n = strlen(name);

	*out = 0;
	for (const char *p = opt; *p; p += strcspn(p, "+"), p += *p == '+')
		if (strncmp(p, name, n) == 0 && p[n] == '=')
			snprintf(out, size, "%.*s", (int)strcspn(p + n + 1, "+"), p + n + 1);
}

// d0d's own cell is told by its name (--backend-opt cell=NAME, else "d0d"). Whether it may make
// cells shows when it asks for something harmless that needs the right: to start itself.
static void find_self(struct d0_backend *b, const char *opt)
{
	char name[D0_NAME_MAX];

	opt_word(opt, "cell", name, sizeof(name));
	if (!*name)
		strcpy(name, "d0d");
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
	char near[64];

	pthread_mutex_init(&b->lock, NULL);
	b->dir = xstrdup(cfg->dir);
	b->ctl = open("/dev/d0ctl", O_RDWR | O_CLOEXEC);
	if (b->ctl < 0) {
		free(b->dir);
		free(b);
		return err_set(e, 500, "/dev/d0ctl: %s", strerror(errno));
	}
	find_self(b, cfg->opt);
	opt_word(cfg->opt, "near", near, sizeof(near));
	nets_open(b, cfg->dir, near);
	store_link_open(b);
	*out = (struct backend *)b;
	return 0;
}

static void d0_close(struct backend *be)
{
	struct d0_backend *b = d0_of(be);

	store_link_close(b);
	nets_close(b);
	close(b->ctl);
	free(b->dir);
	free(b);
}

static void d0_settle(struct backend *be)
{
	if (!d0_of(be)->may_control)
		return;
	box_sweep(d0_of(be));
	net_readdress(d0_of(be)); // it may have changed while there was no d0d
}

const struct backend_ops backend_d0 = {
    .name = "d0",
    .open = d0_open,
    .close = d0_close,
    .info = d0_host_info,
    .cells = d0_cells,
    .tree_create = d0_tree_create,
    .tree_apply = d0_tree_apply,
    .tree_sync = d0_tree_sync,
    .tree_remove = d0_tree_remove,
    .tree_each = d0_tree_each,
    .tree_usage = d0_tree_usage,
    .tree_diff = d0_tree_diff,
    .tree_pack_diff = d0_tree_pack_diff,
    .tree_pack = d0_tree_pack,
    .tree_unpack = d0_tree_unpack,
    .tree_stat = d0_tree_stat,
    .tree_read = d0_tree_read,
    .img_write = d0_img_write,
    .img_rename = d0_img_rename,
    .img_commit = d0_img_commit,
    .img_drop = d0_img_drop,
    .img_each = d0_img_each,
    .img_layers = d0_img_layers,
    .img_config = d0_img_config,
    .img_tag = d0_img_tag,
    .img_untag = d0_img_untag,
    .img_remove = d0_img_remove,
    .layer_tar = d0_layer_tar,
    .net_create = d0_net_create,
    .net_remove = d0_net_remove,
    .net_names = d0_net_names,
    .net_asker = d0_net_asker,
    .net_resolver = d0_net_resolver,
    .start = d0_start,
    .adopt = d0_adopt,
    .settle = d0_settle,
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
    .net_disconnect = d0_net_disconnect,
    .release = d0_release,
    .detach = d0_detach,
};
