// SPDX-License-Identifier: ISC
// What d0d needs from the host it runs on. Two implementations exist: `linux` (namespaces,
// overlayfs; a development and test peer) and `d0` (cells through the nucleus' control
// device, trees through the store's admin channel).
//
// Rules for all operations
// - Every function that can fail returns 0, or -1 with *E filled: an HTTP status (Docker's
//   for that failure; 500 where none fits, 507 when the disk is full) and a message for
//   the user. Nothing half-made remains after a failure unless its description says so.
// - Any thread may call any operation at any time. The engine serialises only: start and
//   release of one container, and creation and removal of one tree or network.
// - Operations may block for as long as the work takes (never on a user's program, except
//   wait). Callbacks run on the caller's thread; a negative result from one ends the
//   operation with -1.
// - Strings and arrays belong to the caller and are valid only during the call; handles
//   (struct be_proc) belong to the engine until release().
// - Identifiers of trees, networks and containers match [a-zA-Z0-9][a-zA-Z0-9_.-]{0,200}.
#ifndef D0D_BACKEND_H
#define D0D_BACKEND_H

#include <netinet/in.h>

#include "d0d/util.h"

struct backend; // one implementation's state
struct be_proc; // a started container or exec session

// ---- bulk bytes ----

// Pulls: returns bytes, 0 at the end, -1 on failure (a later error then reads "source").
struct be_source {
	ssize_t (*read)(void *ctx, void *buf, size_t n);
	void *ctx;
};
// Pushes: 0, or -1 to stop.
struct be_sink {
	int (*write)(void *ctx, const void *buf, size_t n);
	void *ctx;
};

// ---- trees: the file systems of image layers, containers and volumes ----

enum be_tree_kind {
	BE_TREE_IMAGE,     // complete contents up to one layer; never changes once applied
	BE_TREE_CONTAINER, // a writable snapshot
	BE_TREE_VOLUME,    // writable, no parent
};

struct be_stat {
	uint32_t mode; // st_mode: type and permissions
	uint64_t size;
	int64_t mtime_ns;
	uint32_t uid, gid;
	char link[4096]; // target if a symbolic link, else ""
};

enum be_change {
	BE_MODIFIED = 0,
	BE_ADDED = 1,
	BE_DELETED = 2
}; // Docker's numbers

typedef int be_tree_cb(void *ctx, const char *id);
// An image that the host's store has: id in hex; TAG "" if it has none.
typedef int be_image_cb(void *ctx, const char *id, const char *tag);
// Digests in hex, of the layer's tar and of the chain up to it (base first).
typedef int be_layer_cb(void *ctx, const char *diff, const char *chain, uint64_t size);
typedef int be_change_cb(void *ctx, enum be_change kind, const char *path);

// unpack flags
#define BE_NO_OVERWRITE_DIR 1 // a directory may not replace a non-directory or reversed
#define BE_KEEP_OWNER       2 // take uid and gid from the archive (else root's)

// ---- containers ----

struct be_mount {
	const char *dest; // absolute path inside
	const char *tree; // a volume's tree, or NULL for a tmpfs
	bool read_only;
	uint64_t size; // tmpfs: limit in bytes, 0 none
	uint32_t mode; // tmpfs: permissions
};

struct be_endpoint {
	const char *network; // id given to net_create
	char ifname[16];
	struct in_addr ip;
	int prefix;
	struct in_addr gateway; // 0.0.0.0: none
	struct in6_addr ip6;    // if prefix6 is not 0
	int prefix6;
	struct in6_addr gateway6; // ::: none
	uint8_t mac[6];
};

enum {
	BE_V4 = 1,
	BE_V6 = 2
};
struct be_port {
	int proto;                // IPPROTO_TCP or IPPROTO_UDP
	uint8_t families;         // BE_V*; both: it was asked for without an address
	struct in_addr host_ip;   // of BE_V4; 0.0.0.0: any
	struct in6_addr host_ip6; // of BE_V6; ::: any
	uint16_t host_port;       // 0: the backend chooses and writes it here
	uint16_t port;            // inside
};

struct be_limits {
	int64_t memory;      // bytes, 0 none
	int64_t memory_swap; // bytes of memory and swap together, 0 unset, -1 unlimited
	int64_t nano_cpus;   // 1e9 is one CPU, 0 none
	int64_t cpu_shares;  // relative weight, 0 default (1024)
	int64_t pids;        // 0 or less: none
};

struct be_rlimit {
	const char *name; // "nofile", "core", ...
	uint64_t soft, hard;
};

struct be_spec {
	const char *id;   // container's id, or the exec session's
	const char *tree; // its root; exec: unused
	const char *hostname, *domainname;
	char **argv, **env; // NULL-terminated; argv has at least one element
	const char *cwd;    // absolute; made if missing
	uint32_t uid, gid;
	const uint32_t *groups;
	size_t ngroups;
	bool tty, stdin_open, read_only, init, privileged;
	uint16_t rows, cols; // of the terminal at start, 0 default
	struct be_mount *mounts;
	size_t nmounts;
	// Contents of /etc/hosts, /etc/resolv.conf and /etc/hostname; NULL leaves the image's.
	const char *etc_hosts, *etc_resolv, *etc_hostname;
	struct be_limits limits;
	struct be_endpoint *endpoints;
	size_t nendpoints;
	const char
	    *net_of; // id of a running container whose network (transport cell) is shared
	struct be_port *ports;
	size_t nports;
	uint64_t caps; // Linux capability bits of the process
	struct be_rlimit *rlimits;
	size_t nrlimits;
	uint64_t shm_size;
};

// The console. Descriptors are pollable and belong to the handle. With a terminal IN and
// OUT are its master and ERR is -1. IN is -1 unless stdin_open.
struct be_io {
	int in, out, err;
};

struct be_exit {
	int code; // 0..255; 128+N after signal N
	bool oom;
};

struct be_net_stats {
	char ifname[16];
	uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped;
	uint64_t tx_bytes, tx_packets, tx_errors, tx_dropped;
};

struct be_stats {
	uint64_t cpu_ns, cpu_user_ns, cpu_system_ns; // used since start
	uint64_t host_cpu_ns;                        // all CPUs of the host together
	uint32_t online_cpus;
	uint64_t mem_usage, mem_limit, mem_max, mem_cache;
	uint64_t pids, pids_limit;
	uint64_t blk_read, blk_write; // bytes
	struct be_net_stats net[8];
	size_t nnet;
};

struct be_task {
	int pid, ppid; // as the host numbers them
	uint32_t uid;
	char stat[8];
	int64_t start_s; // wall clock
	int64_t cpu_ms;
	char cmd[1024];
};
typedef int be_task_cb(void *ctx, const struct be_task *t);

struct be_network {
	const char *id;
	const char *driver; // "bridge", "macvlan", "ipvlan"
	const char *parent; // NIC for macvlan/ipvlan, "" the first
	struct in_addr subnet, gateway;
	int prefix;
	struct in6_addr gateway6; // if prefix6 is not 0
	int prefix6;
	bool internal; // no way out of the segment
	bool isolated; // ports of the segment can't talk to each other
};

struct be_info {
	char kernel[128], os[128], arch[32];
	int ncpu;
	uint64_t memory, memory_free; // free: what nobody has; 0 if not known
	const char *storage_driver;
	char warnings[8][200];
	int nwarnings;
	// Which resources can really be limited.
	bool memory_limit, cpu_limit, pids_limit;
};

struct be_config {
	const char *dir; // where the backend may keep its own state
	const char *opt; // free text from --backend-opt
};

// A host's self-healing state, for the dashboard and /metrics: named rows.
struct be_cell {
	char name[64], kind[24], state[24];
	uint64_t memory, cpu_ns, restarts, verified_pages, repairs;
};
typedef int be_cell_cb(void *ctx, const struct be_cell *c);

struct backend_ops {
	const char *name;

	// Opens the backend. Must find again everything that outlived an earlier d0d.
	int (*open)(struct backend **out, const struct be_config *cfg, struct err *e);
	void (*close)(struct backend *b);
	int (*info)(struct backend *b, struct be_info *out, struct err *e);
	// Every cell of the host (a linux host: its containers). May be NULL.
	int (*cells)(struct backend *b, be_cell_cb *cb, void *ctx);

	// Makes tree ID as a copy of PARENT (NULL: empty). 409 if it exists.
	int (*tree_create)(struct backend *b, const char *id, enum be_tree_kind kind,
			   const char *parent, struct err *e);
	// Applies one uncompressed OCI layer (tar with .wh. whiteouts) to an image's tree. On
	// failure the tree is to be removed by the caller. 400 for a malformed archive or a
	// path that leaves the tree.
	int (*tree_apply)(struct backend *b, const char *id, struct be_source *src,
			  struct err *e);
	// Makes the tree durable; after this a power cut loses none of it.
	int (*tree_sync)(struct backend *b, const char *id, struct err *e);
	// Removes; absent is success; removing what an earlier crash left half-made too.
	int (*tree_remove)(struct backend *b, const char *id, struct err *e);
	int (*tree_each)(struct backend *b, be_tree_cb *cb, void *ctx, struct err *e);
	// Bytes that belong to this tree alone (a container: what it has written).
	int (*tree_usage)(struct backend *b, const char *id, uint64_t *bytes, struct err *e);
	// What differs between ID and BASE, parents before children.
	int (*tree_diff)(struct backend *b, const char *id, const char *base, be_change_cb *cb,
			 void *ctx, struct err *e);
	// The same difference as a layer (tar with whiteouts).
	int (*tree_pack_diff)(struct backend *b, const char *id, const char *base,
			      struct be_sink *out, struct err *e);
	// PATH of the tree and all below as a tar whose entries begin with AS ("" for a whole
	// export). For the tree of a running container the paths are seen as it sees them
	// (with its volumes). 404 if there is no such path.
	int (*tree_pack)(struct backend *b, const char *id, const char *path, const char *as,
			 struct be_sink *out, struct err *e);
	// Extracts an uncompressed tar below directory PATH of the tree. 404, 400 (not a
	// directory; escaping entry), 403 (read-only).
	int (*tree_unpack)(struct backend *b, const char *id, const char *path,
			   struct be_source *src, int flags, struct err *e);
	// FOLLOW: a symbolic link at the end is followed (inside the tree).
	int (*tree_stat)(struct backend *b, const char *id, const char *path, bool follow,
			 struct be_stat *out, struct err *e);
	// A small regular file (at most MAX bytes), NUL-terminated, to be freed; 404, 413.
	int (*tree_read)(struct backend *b, const char *id, const char *path, size_t max,
			 char **out, size_t *len, struct err *e);

	// Images, where the host's store keeps them itself; else all of these are NULL, and d0d
	// keeps blobs as files and layers as trees "l-<chain>". Files of an import lie in a
	// spool that all imports share; a commit makes an image of them, whole and durable or
	// not at all, and gives its id in hex.
	int (*img_write)(struct backend *b, const char *file, const void *buf, size_t n,
			 struct err *e); // appends; makes it
	int (*img_rename)(struct backend *b, const char *from, const char *to, struct err *e);
	// MANIFEST: the file that stands for a docker archive's manifest.json. Layers that are
	// there need not be in the spool.
	int (*img_commit)(struct backend *b, const char *manifest, char id[ID_LEN + 1],
			  struct err *e);
	void (*img_drop)(struct backend *b); // the spool, when no import needs it
	int (*img_each)(struct backend *b, be_image_cb *cb, void *ctx, struct err *e);
	int (*img_layers)(struct backend *b, const char *id, be_layer_cb *cb, void *ctx,
			  struct err *e);
	int (*img_config)(struct backend *b, const char *id, char **out, size_t *len,
			  struct err *e);
	int (*img_tag)(struct backend *b, const char *id, const char *tag, struct err *e);
	int (*img_untag)(struct backend *b, const char *tag, struct err *e);
	int (*img_remove)(struct backend *b, const char *id, struct err *e);
	// The layer's tar, as it came but uncompressed.
	int (*layer_tar)(struct backend *b, const char *chain, struct be_sink *out,
			 struct err *e);

	int (*net_create)(struct backend *b, const struct be_network *n, struct err *e);
	int (*net_remove)(struct backend *b, const char *id, struct err *e);
	// A UDP socket on which DNS queries of this network's containers arrive (they ask its
	// gateway address, port 53); the caller's to close. -1: none, names don't resolve.
	int (*net_dns)(struct backend *b, const struct be_network *n, struct err *e);
	// Instead of net_dns, where one socket serves every network: that socket; who asks from
	// an address; and where containers send their questions. All three or none.
	int (*net_names)(struct backend *b, struct err *e);
	bool (*net_asker)(struct backend *b, struct in_addr from, char id[ID_LEN + 1]);
	struct in_addr (*net_resolver)(struct backend *b);

	// Starts a container and returns when its program runs. Docker's messages when it
	// can't: 400 `exec: "x": executable file not found in $PATH`, `permission denied`,
	// ...; 500 `... port is already allocated`.
	int (*start)(struct backend *b, struct be_spec *s, struct be_proc **out, struct err *e);
	// Finds a container that an earlier d0d started. 1: *OUT is its handle (it may have
	// exited meanwhile: wait() then returns at once); 0: there is none. S gives the ports
	// and endpoints it had.
	int (*adopt)(struct backend *b, const struct be_spec *s, struct be_proc **out);
	// All containers that were to be found are found: what else an earlier d0d left running
	// ends. May be NULL.
	void (*settle)(struct backend *b);
	// Runs one more program inside a running container. 409 if that has ended.
	int (*exec)(struct backend *b, struct be_proc *in, struct be_spec *s,
		    struct be_proc **out, struct err *e);
	// Blocks until the program has ended. May be called by one thread for each handle.
	int (*wait)(struct be_proc *p, struct be_exit *out);
	void (*io)(struct be_proc *p, struct be_io *out);
	// Closes the program's standard input (no effect on a terminal).
	void (*close_in)(struct be_proc *p);
	int (*pid)(struct be_proc *p); // the host's number for it, for inspect
	int (*signal)(struct be_proc *p, int sig, struct err *e);
	int (*pause)(struct be_proc *p, bool on, struct err *e);
	int (*resize)(struct be_proc *p, uint16_t rows, uint16_t cols, struct err *e);
	int (*update)(struct be_proc *p, const struct be_limits *l, struct err *e);
	int (*stats)(struct be_proc *p, struct be_stats *out, struct err *e);
	int (*top)(struct be_proc *p, be_task_cb *cb, void *ctx, struct err *e);
	int (*net_connect)(struct be_proc *p, const struct be_endpoint *ep, struct err *e);
	int (*net_disconnect)(struct be_proc *p, const struct be_endpoint *ep, struct err *e);
	// Frees the handle after wait() returned, with everything that belonged to the run
	// (network ports, limits). Closes the console.
	void (*release)(struct be_proc *p);
	// Forgets a handle without touching what runs (d0d ends, containers go on).
	void (*detach)(struct be_proc *p);
};

extern const struct backend_ops backend_linux, backend_d0;

#endif
