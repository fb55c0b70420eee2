// SPDX-License-Identifier: ISC
// Inside of the linux backend; see backend.h for what it promises.
#ifndef D0D_LINUX_H
#define D0D_LINUX_H

#include <pthread.h>

#include "d0d/backend.h"

struct backend {
	char *dir;
	bool overlay;         // else containers are copies of their image
	char suffix[16];      // distinguishes this daemon's bridges and cgroups
	pthread_mutex_t lock; // mounts and the table of published ports
	struct proxy *proxies;
};

// ---- store.c ----
int lx_tree_create(struct backend *b, const char *id, enum be_tree_kind kind,
		   const char *parent, struct err *e);
int lx_tree_apply(struct backend *b, const char *id, struct be_source *src, struct err *e);
int lx_tree_sync(struct backend *b, const char *id, struct err *e);
int lx_tree_remove(struct backend *b, const char *id, struct err *e);
int lx_tree_each(struct backend *b, be_tree_cb *cb, void *ctx, struct err *e);
int lx_tree_usage(struct backend *b, const char *id, uint64_t *bytes, struct err *e);
int lx_tree_diff(struct backend *b, const char *id, const char *base, be_change_cb *cb,
		 void *ctx, struct err *e);
int lx_tree_pack_diff(struct backend *b, const char *id, const char *base, struct be_sink *out,
		      struct err *e);
int lx_tree_pack(struct backend *b, const char *id, const char *path, const char *as,
		 struct be_sink *out, struct err *e);
int lx_tree_unpack(struct backend *b, const char *id, const char *path, struct be_source *src,
		   int flags, struct err *e);
int lx_tree_stat(struct backend *b, const char *id, const char *path, bool follow,
		 struct be_stat *out, struct err *e);
int lx_tree_read(struct backend *b, const char *id, const char *path, size_t max, char **out,
		 size_t *len, struct err *e);
// The directory a container's or volume's files are in, mounted if need be; to be freed.
char *lx_tree_path(struct backend *b, const char *id, struct err *e);
bool lx_overlay_works(const char *dir);

// ---- shim.c, child.c ----
// How a started program's parts talk: the shim answers d0d through one pipe.
struct shim_report {
	int kind; // 0 failed, 1 pid known (network may be set up), 2 running
	int pid;
	int err;
	char what[200];
};
// Runs in a fresh single-threaded process; never returns.
void shim_main(const struct be_spec *s, const char *root, const char *run, char **volumes,
	       int report, int go, int join_pid) __attribute__((noreturn));
// What the shim hands to whoever connects to its socket: this, with in, out, err (or the
// terminal's master) as SCM_RIGHTS.
struct shim_hello {
	int pid, nfds;
	bool tty, has_in;
};
// In the container's first process, before its program: never returns.
struct child {
	const struct be_spec *s;
	const char *root, *run;
	char **volumes;
	int sync, tty_sock, fail;
	int stdio[3];
	int join_fd; // exec: a pidfd of the container's first process, else -1
};
void child_main(struct child *c) __attribute__((noreturn));

// ---- proc.c ----
int lx_start(struct backend *b, struct be_spec *s, struct be_proc **out, struct err *e);
int lx_adopt(struct backend *b, const struct be_spec *s, struct be_proc **out);
int lx_exec(struct backend *b, struct be_proc *in, struct be_spec *s, struct be_proc **out,
	    struct err *e);
int lx_wait(struct be_proc *p, struct be_exit *out);
void lx_io(struct be_proc *p, struct be_io *out);
int lx_pid(struct be_proc *p);
void lx_close_in(struct be_proc *p);
int lx_signal(struct be_proc *p, int sig, struct err *e);
int lx_pause(struct be_proc *p, bool on, struct err *e);
int lx_resize(struct be_proc *p, uint16_t rows, uint16_t cols, struct err *e);
int lx_update(struct be_proc *p, const struct be_limits *l, struct err *e);
int lx_stats(struct be_proc *p, struct be_stats *out, struct err *e);
int lx_top(struct be_proc *p, be_task_cb *cb, void *ctx, struct err *e);
int lx_net_connect(struct be_proc *p, const struct be_endpoint *ep, struct err *e);
int lx_net_disconnect(struct be_proc *p, const struct be_endpoint *ep, struct err *e);
void lx_release(struct be_proc *p);
void lx_detach(struct be_proc *p);
// The first process of running container ID, 0 if it doesn't run.
int lx_container_pid(struct backend *b, const char *id);

// ---- net.c ----
int lx_net_create(struct backend *b, const struct be_network *n, struct err *e);
int lx_net_dns(struct backend *b, const struct be_network *n, struct err *e);
int lx_net_remove(struct backend *b, const char *id, struct err *e);
// Host side of an endpoint: a veth pair, its far end named EP->ifname inside PID.
int lx_net_plug(struct backend *b, const struct be_endpoint *ep, int pid, struct err *e);
// Inside the namespace the caller is in: addresses and routes. 0 or -1 with errno.
int lx_net_setup_lo(void);
int lx_net_setup(const struct be_endpoint *ep);
int lx_net_unplug(const char *ifname);

// ---- cgroup.c ----
void cg_create(struct backend *b, const char *id, const struct be_limits *l);
void cg_add(struct backend *b, const char *id, int pid);
int cg_update(struct backend *b, const char *id, const struct be_limits *l, struct err *e);
int cg_freeze(struct backend *b, const char *id, bool on);
void cg_stats(struct backend *b, const char *id, struct be_stats *st);
bool cg_oom(struct backend *b, const char *id);
void cg_remove(struct backend *b, const char *id);
bool cg_have(const char *controller);
int cg_each_pid(struct backend *b, const char *id, int (*cb)(void *ctx, int pid), void *ctx);

// ---- proxy.c ----
int proxy_open(struct backend *b, const char *container, struct be_port *port,
	       struct in_addr to, struct err *e);
void proxy_close_all(struct backend *b, const char *container);

#endif
