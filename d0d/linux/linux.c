// SPDX-License-Identifier: ISC
// The linux backend: containers as namespaces, for development and tests.
//
// It is a peer of the D0 backend, not a mock: what the docker command starts here really
// runs. Trees are folders (store.c, dirtree*.c), programs run beside a shim that outlives
// d0d (shim.c, child.c, proc.c), networks are bridges (net.c), published ports a relay in
// d0d itself (proxy.c), limits are cgroups (cgroup.c). It needs root.
#include "d0d/linux/linux.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "d0d/linux/dirtree.h"

// Folders that a crash left half-built or half-removed.
static void sweep(const char *trees)
{
	DIR *d = opendir(trees);
	struct dirent *de;

	while (d && (de = readdir(d))) {
		size_t n = strlen(de->d_name);
		if (n > 4 && strcmp(de->d_name + n - 4, ".new") == 0)
			tree_delete(dirfd(d), de->d_name);
	}
	if (d)
		closedir(d);
}

static int lx_open(struct backend **out, const struct be_config *cfg, struct err *e)
{
	struct backend *b = xcalloc(1, sizeof(*b));
	char *trees = xasprintf("%s/trees", cfg->dir), *run = xasprintf("%s/run", cfg->dir);
	char *tag = xasprintf("%s/tag", cfg->dir), *text;
	int rc = 0;

	pthread_mutex_init(&b->lock, NULL);
	b->dir = xstrdup(cfg->dir);
	if (geteuid() != 0)
		rc = err_set(e, 500, "the linux backend needs root");
	else if (dir_make(trees, 0711) < 0 || dir_make(run, 0700) < 0)
		rc = err_set(e, 500, "%s: %s", cfg->dir, strerror(errno));
	if (rc == 0) {
		sweep(trees);
		text = file_read(tag, 100, NULL);
		if (text && strlen(text) == 8 && hex_is(text, 8)) {
			strcpy(b->suffix, text);
		} else {
			char id[ID_LEN + 1];
			id_make(id);
			memcpy(b->suffix, id, 8);
			file_write_atomic(tag, b->suffix, 8);
		}
		free(text);
		b->overlay = !strstr(cfg->opt, "copy") && lx_overlay_works(cfg->dir);
	}
	free(trees);
	free(run);
	free(tag);
	if (rc == 0)
		*out = b;
	else
		free(b->dir), free(b);
	return rc;
}

static void lx_close(struct backend *b)
{
	free(b->dir);
	free(b);
}

static int lx_info(struct backend *b, struct be_info *out, struct err *e)
{
	struct utsname u;

	*out = (struct be_info){.ncpu = (int)sysconf(_SC_NPROCESSORS_ONLN)};
	uname(&u);
	snprintf(out->kernel, sizeof(out->kernel), "%.100s", u.release);
	snprintf(out->os, sizeof(out->os), "D0 (linux backend)");
	snprintf(out->arch, sizeof(out->arch), "%.30s", u.machine);
	out->memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	out->storage_driver = b->overlay ? "overlay2" : "vfs";
	out->memory_limit = cg_have("memory");
	out->cpu_limit = cg_have("cpu");
	out->pids_limit = cg_have("pids");
	snprintf(out->warnings[out->nwarnings++], sizeof(out->warnings[0]),
		 "WARNING: linux backend: containers share this host's kernel; for development "
		 "only");
	return 0;
}

const struct backend_ops backend_linux = {
    .name = "linux",
    .open = lx_open,
    .close = lx_close,
    .info = lx_info,
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
    .net_create = lx_net_create,
    .net_remove = lx_net_remove,
    .net_dns = lx_net_dns,
    .start = lx_start,
    .adopt = lx_adopt,
    .exec = lx_exec,
    .wait = lx_wait,
    .io = lx_io,
    .close_in = lx_close_in,
    .pid = lx_pid,
    .signal = lx_signal,
    .pause = lx_pause,
    .resize = lx_resize,
    .update = lx_update,
    .stats = lx_stats,
    .top = lx_top,
    .net_connect = lx_net_connect,
    .net_disconnect = lx_net_disconnect,
    .release = lx_release,
    .detach = lx_detach,
};
