// SPDX-License-Identifier: ISC
// The engine: every object d0d manages, and the rules between them. See engine.c for the
// theory (locking, persistence, recovery).
#ifndef D0D_ENGINE_H
#define D0D_ENGINE_H

#include <pthread.h>

#include "d0d/backend.h"

// ---- images ----

#define DIGEST_LEN 71 // "sha256:" and 64 hex digits

struct layer {
	struct layer *next;
	char chain[ID_LEN + 1];       // hex: names the tree "l-<chain>"
	char parent[ID_LEN + 1];      // "" for a base layer
	char diff_id[DIGEST_LEN + 1]; // of the uncompressed tar
	char blob[DIGEST_LEN + 1];    // of the bytes as they came, kept in blobs/
	char media[100];              // OCI media type of the blob
	uint64_t blob_size, size;     // bytes of the blob, of the uncompressed tar
};

struct image {
	struct image *next;
	char id[DIGEST_LEN + 1]; // digest of the config
	json_t *config;          // OCI image config, parsed
	char **tags;             // full references, NULL-terminated
	char **digests;          // full "name@sha256:..."
	struct layer **layers;   // base first
	size_t nlayers;
	int64_t tagged_ns; // when the tags last changed
	bool step;         // of a build: not listed as long as it has no name
};

// ---- events ----

#define EVENT_RING 1024

struct events {
	json_t *ring[EVENT_RING];
	uint64_t next; // sequence number of the next event
	pthread_cond_t more;
	pthread_mutex_t file_lock; // a leaf
	unsigned lines;            // in the file
};

// ---- containers ----

enum cstate {
	C_CREATED,
	C_RUNNING,
	C_PAUSED,
	C_RESTARTING,
	C_EXITED,
	C_DEAD
};

enum hstate {
	H_NONE,
	H_STARTING,
	H_HEALTHY,
	H_UNHEALTHY
};

struct console;

struct endpoint {
	char network[ID_LEN + 1];     // id
	char id[ID_LEN + 1];          // of the endpoint
	struct in_addr ip, wanted;    // wanted: asked for with --ip; 0 if any
	struct in6_addr ip6, wanted6; // all zero: none, any
	uint8_t mac[6];
	char ifname[16];
	json_t *aliases; // array of names
};

#define MAX_ENDPOINTS 8
#define MAX_PORTS     64

struct container {
	struct container *next;
	int refs; // engine lock; freed when 0 after removal
	char id[ID_LEN + 1];
	char name[200];
	char image_id[DIGEST_LEN + 1];
	char chain[ID_LEN + 1]; // of the image: what diff compares with
	char *image_ref;        // as the user said it
	json_t *config, *host;  // Docker's Config and HostConfig, normalised
	json_t *mounts;         // Docker's Mounts
	int64_t created_ns, started_ns, finished_ns;
	enum cstate state;
	int exit_code, restart_count;
	bool oom, stopped_by_user, removing, removed;
	bool starting; // its addresses are given, it does not run yet
	char error[300];
	struct endpoint ep[MAX_ENDPOINTS];
	int nep;
	struct be_port ports[MAX_PORTS];
	int nports;
	struct be_proc *proc; // while running; others use it through proc_hold()
	int proc_users, pid;
	unsigned exits;         // counts ends of the program
	struct console *con;    // exists from the first start or attach on
	unsigned run;           // counts starts; a monitor belongs to one
	pthread_cond_t changed; // state, with the engine lock
	pthread_mutex_t op;     // serialises start, remove, update, connect
	enum hstate health;
	int health_fails;
	json_t *health_log; // newest last, at most 5
};

struct exec {
	struct exec *next;
	int refs;
	char id[ID_LEN + 1];
	char container[ID_LEN + 1];
	json_t *config; // as created
	bool running, started;
	int exit_code; // -1 until it ended
	int pid;
	struct be_proc *proc;
	struct console *con;
	pthread_cond_t changed;
	int64_t ended_ms;
};

// ---- networks and volumes ----

struct network {
	struct network *next;
	char id[ID_LEN + 1];
	char name[200];
	char driver[20]; // bridge, macvlan, ipvlan, null, host
	json_t *options, *labels;
	struct in_addr subnet, gateway;
	int prefix;
	struct in6_addr subnet6, gateway6;
	int prefix6; // 0: it has no IPv6
	bool internal, attachable, builtin, up;
	int64_t created_ns;
};

struct volume {
	struct volume *next;
	char name[220];
	json_t *labels, *options;
	bool anonymous;
	int64_t created_ns;
};

// ---- the engine ----

struct engine_config {
	const char *dir;
	const struct backend_ops *ops;
	const char *backend_opt;
	const char *registry_ca;         // extra CA file for registries, or NULL
	const char *insecure_registries; // comma-separated host[:port], or NULL
	const char *bridge_subnet;       // default network, "172.17.0.0/16"
	const char *dns; // upstream resolvers, comma-separated; NULL: the host's
	const char *host_name;
};

struct engine {
	pthread_mutex_t lock;
	struct engine_config cfg;
	const struct backend_ops *ops;
	struct backend *be;
	char *dir;
	char id[ID_LEN + 1];
	int64_t started_ns;
	struct layer *layers;
	struct image *images;
	struct container *containers;
	struct exec *execs;
	struct network *networks;
	struct volume *volumes;
	struct events ev;
	pthread_rwlock_t import; // importers read; garbage collection writes
	// Where the host keeps images (images_in_store()): what lies in its spool.
	pthread_mutex_t spool_lock; // a leaf
	struct spooled *spooled;
	int importers;
	unsigned spool_names;
	pthread_mutex_t unpack; // one layer is unpacked at a time
	bool gc_wanted, stopping;
	uint64_t n_started, n_died, n_oom; // for /metrics
};

// The host keeps images itself (backend.h, img_commit); d0d has neither blobs nor layers.
static inline bool images_in_store(const struct engine *e)
{
	return e->ops->img_commit;
}

int engine_open(struct engine *e, const struct engine_config *cfg, struct err *err);
// Stops threads that could start something; containers go on running.
void engine_close(struct engine *e);
void engine_lock(struct engine *e);
void engine_unlock(struct engine *e);
// A path below the state folder, to be freed.
char *engine_path(struct engine *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// A file without a name in the state folder; -1 with ERR.
int engine_scratch(struct engine *e, struct err *err);
int engine_scratch_write(void *fd, const void *buf, size_t n); // of a struct be_sink
// Runs FN(ctx) on a detached thread.
int engine_thread(void *(*fn)(void *), void *ctx);
// Waits on a monotonic condition with the engine lock held, at most MS; false on timeout.
bool engine_wait(struct engine *e, pthread_cond_t *c, int64_t ms);
void engine_cond_init(pthread_cond_t *c);
// Calls FN for every *.json in a folder of records.
void engine_records(struct engine *e, const char *sub,
		    void (*fn)(struct engine *e, const json_t *o));

// ---- events.c ----
void events_load(struct engine *e); // what an earlier d0d recorded
// ATTRS is stolen. TYPE "container", ACTION "start", ...
void event_emit(struct engine *e, const char *type, const char *action, const char *id,
		json_t *attrs);

// ---- image.c ---- (functions named *_locked need the engine lock)
int images_load(struct engine *e, struct err *err);
struct image *image_find_locked(struct engine *e, const char *name, struct err *err);
struct image *image_by_id_locked(struct engine *e, const char *id);
struct layer *layer_find_locked(struct engine *e, const char *chain);
bool layer_in_image_locked(struct engine *e, const char *chain);
int image_save_locked(struct engine *e, struct image *im, struct err *err);
void image_insert_locked(struct engine *e, struct image *im);
struct image *image_new(struct engine *e, const char *id, json_t *config,
			const char *const *chains, size_t n);
void chain_id(const char *parent, const char *diff_id, char chain[ID_LEN + 1]);
// Records an image; its layers exist. CONFIG is the exact text whose digest is the id.
int image_add(struct engine *e, const char *config, size_t len, const char *const *chains,
	      size_t n, char id[DIGEST_LEN + 1], struct err *err);
// Gives the image a tag (full reference), taking it from whoever has it.
int image_tag(struct engine *e, const char *id, const char *full, struct err *err);
int image_add_digest(struct engine *e, const char *id, const char *full, struct err *err);
// The exact manifest the image came with, so that a push can give it back; a manifest that is
// lost only changes the digest of a later push. NULL, or text to be freed.
// A step of a build; and all that nothing uses, with what remembers them.
void image_mark_step(struct engine *e, const char *id);
void image_prune_steps(struct engine *e, json_t *gone, int64_t *bytes);
void image_keep_manifest(struct engine *e, const char *id, const char *text, size_t len);
char *image_manifest(struct engine *e, const char *id, size_t *len);
// Docker's rmi: untags and, when that was the last name, deletes. Appends to OUT.
int image_remove(struct engine *e, const char *name, bool force, json_t *out, struct err *err);
bool image_in_use_locked(struct engine *e, const struct image *im); // by a container
int image_delete_locked(struct engine *e, struct image *im, json_t *out, struct err *err);
void images_gc(struct engine *e); // removes layers and blobs that nothing uses
void import_begin(struct engine *e);
void import_end(struct engine *e);
uint64_t image_size(const struct image *im);
const char *image_parent_chain(const struct image *im); // its top layer, "" if it has none
json_t *image_summary(struct engine *e, struct image *im, bool shared);
json_t *image_names(char **v); // as users write them

// ---- blob.c ----
struct blob_writer {
	struct engine *e;
	int fd;
	char *tmp; // its file's path, or its name in the spool
	void *md;
	uint64_t size;
	// In the spool:
	struct sbuf text; // small JSON, kept until the import's end
	struct expand *expand;
	bool spooled; // something of it
};
int blob_begin(struct engine *e, struct blob_writer *w, struct err *err);
int blob_write(struct blob_writer *w, const void *buf, size_t n, struct err *err);
// Makes it durable under its digest. WANT may be NULL; another digest is an error.
int blob_finish(struct blob_writer *w, const char *want, char digest[DIGEST_LEN + 1],
		struct err *err);
void blob_abort(struct blob_writer *w);
char *blob_path(struct engine *e, const char *digest);
void spool_begin(struct engine *e); // an import is under way: what it brings is kept
void spool_end(struct engine *e);   // ... until the last one has ended
bool blob_exists(struct engine *e, const char *digest, uint64_t *size);
char *blob_text(struct engine *e, const char *digest, size_t max, size_t *len);
int blob_put(struct engine *e, const void *data, size_t n, char digest[DIGEST_LEN + 1],
	     struct err *err);
void sha256_text(const void *data, size_t n, char digest[DIGEST_LEN + 1]);

// A blob read with its compression (gzip, zstd, xz, bzip2 or none) undone.
struct unzip;
struct unzip *unzip_open(struct engine *e, const char *digest, struct err *err);
ssize_t unzip_read(void *ctx, void *buf, size_t n);
const char *unzip_error(struct unzip *u);
void unzip_close(struct unzip *u);

// ---- istore.c: images that the host keeps ----
int istore_load(struct engine *e, struct err *err);
// Makes an image of what is in the spool. BLOBS has a digest for each layer, "" for one that is
// in the store already.
int istore_build(struct engine *e, const char *config, size_t len, char *const *blobs, size_t n,
		 char id[DIGEST_LEN + 1], struct err *err);
// Before FULL becomes a name of this image / is nobody's name any more / the image goes.
int istore_tag(struct engine *e, const char *id, const char *full, struct err *err);
int istore_untag(struct engine *e, const char *full, struct err *err);
int istore_remove(struct engine *e, const char *id, struct err *err);
// Remembers in what form the layer travels: the compressed blob's digest, media type and size.
void istore_layer_blob(struct engine *e, const char *chain, const char *blob, const char *media,
		       uint64_t size);
// The layer's tar, uncompressed, to a file descriptor by a thread of its own; -1.
int istore_layer_fd(struct engine *e, const char *chain, struct err *err);

// ---- layer.c ----
// Makes sure that the layer with this blob on top of chain PARENT ("" for none) exists;
// checks DIFF_ID if it isn't "". CHAIN gets its name.
int layer_ensure(struct engine *e, const char *parent, const char *diff_id, const char *blob,
		 const char *media, char chain[ID_LEN + 1], struct err *err);
// The image that CONFIG (exact text) and BLOBS describe: layers, then the record.
int image_build(struct engine *e, const char *config, size_t len, char *const *blobs,
		char *const *medias, size_t n, char id[DIGEST_LEN + 1], struct err *err);

// ---- archive formats ----
// load.c: docker-archive or OCI layout, possibly compressed. Appends names or ids of the
// images to LOADED. Nothing of a failed load remains.
int image_load(struct engine *e, struct be_source *src, json_t *loaded, struct err *err);
// save.c: both formats in one archive.
int image_save(struct engine *e, char *const *names, size_t n, struct be_sink *out,
	       struct err *err);
// import.c: a root file system as a one-layer image (docker import), and commit.
int image_import(struct engine *e, struct be_source *src, const json_t *changes,
		 const char *message, char id[DIGEST_LEN + 1], struct err *err);
struct image_meta {
	const json_t *config;  // the image's config section
	const json_t *history; // of what is below; NULL: the base image's
	const char *author, *comment;
};
int image_commit(struct engine *e, struct container *c, const struct image_meta *m,
		 const char *created_by, char id[DIGEST_LEN + 1], struct err *err);
// An image of the layers up to chain TOP, with another config.
int image_of_layers(struct engine *e, const char *top, const struct image_meta *m,
		    char id[DIGEST_LEN + 1], struct err *err);
int image_tag_name(struct engine *e, const char *id, const char *repo, const char *tag,
		   struct err *err);
// Applies one Dockerfile-like CHANGE ("CMD [..]", "ENV k=v") to an image's config section.
int config_change(json_t *config, const char *change, struct err *err);

// ---- container.c ----
int containers_load(struct engine *e, struct err *err);
void containers_recover(struct engine *e);
struct container *container_find_locked(struct engine *e, const char *name, struct err *err);
struct container *container_get(struct engine *e, const char *name, struct err *err);
void container_put(struct engine *e, struct container *c);
int container_save_locked(struct engine *e, struct container *c);
// BODY is Docker's create request. WARNINGS is an array to append to.
int container_create(struct engine *e, const char *name, json_t *body, char id[ID_LEN + 1],
		     json_t *warnings, struct err *err);
int container_remove(struct engine *e, struct container *c, bool force, bool volumes,
		     struct err *err);
int container_rename(struct engine *e, struct container *c, const char *name, struct err *err);
bool container_running(const struct container *c); // running, paused or restarting
void container_event(struct engine *e, struct container *c, const char *action, json_t *extra);
const char *container_state_name(const struct container *c);

// ---- ensure.c ----
// TEXT: NAME=REQUEST, a create request as percent-encoded JSON. The container is made if it is
// missing or was made from another text, and started then.
int ensure_container(struct engine *e, const char *text, struct err *err);

// ---- run.c ----
// 304 if it runs already.
int container_start(struct engine *e, struct container *c, struct err *err);
int container_stop(struct engine *e, struct container *c, int64_t timeout_s, const char *signal,
		   struct err *err);
int container_kill(struct engine *e, struct container *c, const char *signal, struct err *err);
int container_pause(struct engine *e, struct container *c, bool on, struct err *err);
int container_adopt(struct engine *e, struct container *c);
// Waits for "not-running" (0), "next-exit" (1) or "removed" (2). GONE is asked between; true
// ends the wait with -1.
int container_wait(struct engine *e, struct container *c, int condition,
		   bool (*gone)(void *ctx), void *ctx, int *code);
// The running container's handle, kept valid until proc_drop(); 409 if it doesn't run.
struct be_proc *proc_hold(struct engine *e, struct container *c, struct err *err);
void proc_drop(struct engine *e, struct container *c);
// What is recorded of a container's console; made if need be.
struct console *container_console(struct engine *e, struct container *c);
int signal_parse(const char *s); // number, "KILL", "SIGKILL"; -1

// ---- spec.c ----
// What the backend needs to start the container; free with spec_free.
struct spec_mem;
struct be_spec *spec_make(struct engine *e, struct container *c, struct err *err);
struct be_spec *spec_make_exec(struct engine *e, struct container *c, struct exec *x,
			       struct err *err);
void spec_free(struct be_spec *s);
// "user", "user:group" or numbers, as the container's files know them.
int user_ids(struct engine *e, struct container *c, const char *user, uint32_t *uid,
	     uint32_t *gid, struct err *err);
void limits_of(const json_t *host, struct be_limits *l);

// ---- create.c ----
// Checks a create request against what D0 can do and merges it with the image's CONFIG
// section (may be NULL). New references in *CONFIG and *HOST; nothing else is touched.
int create_decode(const json_t *body, const json_t *image, json_t **config, json_t **host,
		  json_t *warnings, struct err *err);
// The mounts that a decoded request asks for, as Docker's Mounts array without Source;
// volumes without a name have Name "".
json_t *create_mounts(const json_t *config, const json_t *host, struct err *err);
// Ports of PortBindings (and, if asked, ExposedPorts) into PORTS; the count or -1.
int create_ports(const json_t *config, const json_t *host, struct be_port *ports, int max,
		 struct err *err);
bool name_valid(const char *s); // [a-zA-Z0-9][a-zA-Z0-9_.-]+
uint64_t caps_of(const json_t *host);
int64_t size_parse(const char *s); // "64m", "1g"; -1 if malformed

// ---- health.c ----
void health_start(struct engine *e, struct container *c);
void health_reset_locked(struct container *c);
json_t *health_json(const struct container *c); // NULL without a health check

// ---- exec.c ----
int exec_create(struct engine *e, struct container *c, json_t *body, char id[ID_LEN + 1],
		struct err *err);
struct exec *exec_get(struct engine *e, const char *id, struct err *err);
void exec_put(struct engine *e, struct exec *x);
int exec_start(struct engine *e, struct exec *x, uint16_t rows, uint16_t cols, struct err *err);

// ---- network.c ----
int networks_load(struct engine *e, struct err *err);
struct network *network_find_locked(struct engine *e, const char *name, struct err *err);
int network_create(struct engine *e, json_t *body, char id[ID_LEN + 1], json_t *warnings,
		   struct err *err);
int network_remove(struct engine *e, const char *name, struct err *err);
// Address and MAC for an endpoint of this container; the engine lock is held.
int network_attach_locked(struct engine *e, struct network *n, struct container *c,
			  const json_t *cfg, struct err *err);
int network_connect(struct engine *e, const char *name, struct container *c, const json_t *cfg,
		    struct err *err);
int network_disconnect(struct engine *e, const char *name, struct container *c, bool force,
		       struct err *err);
int endpoint_assign_locked(struct engine *e, struct endpoint *ep, struct err *err);
void endpoint_to_backend(struct engine *e, const struct endpoint *ep, bool first,
			 struct be_endpoint *out);

// ---- network6.c: the same for IPv6, where a network has it ----
// From a request: EnableIPv6 and the IPv6 subnet of its pools; one of our own if it names none.
int net6_from_request(struct engine *e, struct network *n, const json_t *body, struct err *err);
void net6_load(struct network *n, const json_t *o); // of its record
void net6_save(const struct network *n, json_t *o);
void ep6_load(struct endpoint *ep, const json_t *o);
void ep6_save(const struct endpoint *ep, json_t *o);
// Notes the address that the request asks for; 400.
int ep6_want(const struct network *n, struct endpoint *ep, const json_t *cfg, struct err *err);
int ep6_assign_locked(struct engine *e, const struct network *n, struct endpoint *ep,
		      struct err *err);
// As text, "" for none; with the prefix unless that is 0.
#define IP6_TEXT 52
const char *ip6_text(const struct in6_addr *ip, int prefix, char out[IP6_TEXT]);
bool ip6_any(const struct in6_addr *ip);

json_t *network_json(struct engine *e, struct network *n, bool full);
bool network_in_use_locked(struct engine *e, const struct network *n);
json_t *endpoint_json(struct engine *e, struct container *c, struct endpoint *ep, bool running);

// ---- volume.c ----
int volumes_load(struct engine *e, struct err *err);
struct volume *volume_find_locked(struct engine *e, const char *name);
// Finds or makes; NAME NULL makes an anonymous one.
int volume_create(struct engine *e, const char *name, const json_t *labels,
		  const json_t *options, char out[220], struct err *err);
int volume_remove(struct engine *e, const char *name, bool force, struct err *err);
bool volume_in_use_locked(struct engine *e, const char *name);
json_t *volume_json(struct engine *e, struct volume *v);

#endif
