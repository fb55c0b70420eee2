// SPDX-License-Identifier: ISC
// Containers: records, lookup, creation and removal.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/console.h"
#include "d0d/engine.h"

const char *container_state_name(const struct container *c)
{
	static const char *const names[] = {
	    [C_CREATED] = "created",       [C_RUNNING] = "running", [C_PAUSED] = "paused",
	    [C_RESTARTING] = "restarting", [C_EXITED] = "exited",   [C_DEAD] = "dead"};
	return c->removing && c->state == C_DEAD ? "removing" : names[c->state];
}

bool container_running(const struct container *c)
{
	return c->state == C_RUNNING || c->state == C_PAUSED || c->state == C_RESTARTING;
}

void container_event(struct engine *e, struct container *c, const char *action, json_t *extra)
{
	json_t *a = json_object();

	engine_lock(e);
	if (jo(c->config, "Labels"))
		json_object_update(a, jo(c->config, "Labels"));
	json_object_set_new(a, "image", jstr(c->image_ref));
	json_object_set_new(a, "name", jstr(c->name));
	engine_unlock(e);
	if (extra)
		json_object_update(a, extra);
	json_decref(extra);
	event_emit(e, "container", action, c->id, a);
}

// ---- records ----

static json_t *endpoints_json(const struct container *c)
{
	json_t *a = json_array();

	for (int i = 0; i < c->nep; i++) {
		const struct endpoint *ep = &c->ep[i];
		char mac[13];
		hex_put(mac, ep->mac, 6);
		json_t *o =
		    json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:O?}", "network", ep->network,
			      "id", ep->id, "ip", (json_int_t)ntohl(ep->ip.s_addr), "wanted",
			      (json_int_t)ntohl(ep->wanted.s_addr), "mac", mac, "ifname",
			      ep->ifname, "aliases", ep->aliases);
		ep6_save(ep, o);
		json_array_append_new(a, o);
	}
	return a;
}

static json_t *ports_json(const struct container *c)
{
	json_t *a = json_array();
	char six[INET6_ADDRSTRLEN];

	for (int i = 0; i < c->nports; i++) {
		const struct be_port *p = &c->ports[i];
		inet_ntop(AF_INET6, &p->host_ip6, six, sizeof(six));
		json_array_append_new(a, json_pack("[i, I, i, i, i, s]", p->proto,
						   (json_int_t)ntohl(p->host_ip.s_addr),
						   (int)p->host_port, (int)p->port,
						   (int)p->families, six));
	}
	return a;
}

int container_save_locked(struct engine *e, struct container *c)
{
	json_t *o =
	    json_pack("{s:s, s:s, s:s, s:s, s:o, s:O, s:O, s:O, s:I, s:I, s:I, s:i, s:i, s:i, "
		      "s:b, s:b, s:o, s:o, s:o}",
		      "id", c->id, "name", c->name, "image", c->image_id, "chain", c->chain,
		      "ref", jstr(c->image_ref), "config", c->config, "host", c->host, "mounts",
		      c->mounts, "created", (json_int_t)c->created_ns, "started",
		      (json_int_t)c->started_ns, "finished", (json_int_t)c->finished_ns,
		      "state", (int)c->state, "exit", c->exit_code, "restarts",
		      c->restart_count, "oom", c->oom, "stopped", c->stopped_by_user, "error",
		      jstr(c->error), "endpoints", endpoints_json(c), "ports", ports_json(c));
	char *path = engine_path(e, "containers/%s.json", c->id);
	int rc = c->removed ? 0 : json_write_atomic(path, o);

	if (rc < 0)
		log_msg("container %.12s: cannot record: %s", c->id, strerror(errno));
	json_decref(o);
	free(path);
	return rc;
}

static void hex_get(uint8_t *out, size_t n, const char *hex)
{
	for (size_t i = 0; i < n; i++) {
		unsigned v = 0;
		sscanf(hex + 2 * i, "%2x", &v);
		out[i] = (uint8_t)v;
	}
}

static void load_endpoints(struct container *c, const json_t *a)
{
	for (size_t i = 0; i < json_array_size(a) && c->nep < MAX_ENDPOINTS; i++) {
		const json_t *o = json_array_get(a, i);
		struct endpoint *ep = &c->ep[c->nep++];
		snprintf(ep->network, sizeof(ep->network), "%s", js(o, "network", ""));
		snprintf(ep->id, sizeof(ep->id), "%s", js(o, "id", ""));
		snprintf(ep->ifname, sizeof(ep->ifname), "%s", js(o, "ifname", "eth0"));
		ep->ip.s_addr = htonl((uint32_t)ji(o, "ip", 0));
		ep->wanted.s_addr = htonl((uint32_t)ji(o, "wanted", 0));
		if (strlen(js(o, "mac", "")) == 12)
			hex_get(ep->mac, 6, js(o, "mac", ""));
		ep6_load(ep, o);
		ep->aliases = json_incref(ja(o, "aliases"));
	}
}

static void load_ports(struct container *c, const json_t *a)
{
	for (size_t i = 0; i < json_array_size(a) && c->nports < MAX_PORTS; i++) {
		const json_t *p = json_array_get(a, i);
		const char *six = json_string_value(json_array_get(p, 5)) ?: "::";
		struct be_port *q = &c->ports[c->nports++];
		*q = (struct be_port){
		    .proto = (int)json_integer_value(json_array_get(p, 0)),
		    .host_ip.s_addr = htonl((uint32_t)json_integer_value(json_array_get(p, 1))),
		    .host_port = (uint16_t)json_integer_value(json_array_get(p, 2)),
		    .port = (uint16_t)json_integer_value(json_array_get(p, 3)),
		    .families = (uint8_t)json_integer_value(json_array_get(p, 4)),
		};
		inet_pton(AF_INET6, six, &q->host_ip6);
		if (!q->families) // recorded before there was a choice
			q->families = BE_V4;
	}
}

static struct container *container_new(void)
{
	struct container *c = xcalloc(1, sizeof(*c));

	engine_cond_init(&c->changed);
	pthread_mutex_init(&c->op, NULL);
	c->refs = 1; // the list's
	return c;
}

static void container_free(struct container *c)
{
	console_free(c->con);
	json_decref(c->config);
	json_decref(c->host);
	json_decref(c->mounts);
	json_decref(c->health_log);
	for (int i = 0; i < c->nep; i++)
		json_decref(c->ep[i].aliases);
	free(c->image_ref);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->op);
	free(c);
}

static void load_one(struct engine *e, const json_t *o)
{
	struct container *c = container_new();

	snprintf(c->id, sizeof(c->id), "%s", js(o, "id", ""));
	snprintf(c->name, sizeof(c->name), "%s", js(o, "name", ""));
	snprintf(c->image_id, sizeof(c->image_id), "%s", js(o, "image", ""));
	snprintf(c->chain, sizeof(c->chain), "%s", js(o, "chain", ""));
	snprintf(c->error, sizeof(c->error), "%s", js(o, "error", ""));
	c->image_ref = xstrdup(js(o, "ref", ""));
	c->config = json_incref(jo(o, "config"));
	c->host = json_incref(jo(o, "host"));
	c->mounts = ja(o, "mounts") ? json_incref(ja(o, "mounts")) : json_array();
	c->created_ns = ji(o, "created", 0);
	c->started_ns = ji(o, "started", 0);
	c->finished_ns = ji(o, "finished", 0);
	c->state = (enum cstate)ji(o, "state", C_EXITED);
	c->exit_code = (int)ji(o, "exit", 0);
	c->restart_count = (int)ji(o, "restarts", 0);
	c->oom = jb(o, "oom", false);
	c->stopped_by_user = jb(o, "stopped", false);
	load_endpoints(c, ja(o, "endpoints"));
	load_ports(c, ja(o, "ports"));
	if (strlen(c->id) != ID_LEN || !c->config || !c->host || c->state > C_DEAD) {
		log_msg("a container's record is broken: ignored");
		container_free(c);
		return;
	}
	// Newest first, as they are listed.
	struct container **at = &e->containers;
	while (*at && (*at)->created_ns > c->created_ns)
		at = &(*at)->next;
	c->next = *at;
	*at = c;
}

int containers_load(struct engine *e, struct err *err)
{
	engine_records(e, "containers", load_one);
	return 0;
}

// ---- lookup ----

struct container *container_find_locked(struct engine *e, const char *name, struct err *err)
{
	struct container *found = NULL;
	size_t n = strlen(name);

	if (*name == '/')
		name++;
	for (struct container *c = e->containers; c; c = c->next)
		if (strcmp(c->name, name) == 0 || strcmp(c->id, name) == 0)
			return c;
	for (struct container *c = e->containers; n && hex_is(name, n) && c; c = c->next) {
		if (strncmp(c->id, name, n) != 0)
			continue;
		if (found) {
			err_set(err, 400, "Multiple IDs found with provided prefix: %.100s",
				name);
			return NULL;
		}
		found = c;
	}
	if (!found)
		err_set(err, 404, "No such container: %.200s", name);
	return found;
}

struct container *container_get(struct engine *e, const char *name, struct err *err)
{
	engine_lock(e);
	struct container *c = container_find_locked(e, name, err);
	if (c)
		c->refs++;
	engine_unlock(e);
	return c;
}

void container_put(struct engine *e, struct container *c)
{
	engine_lock(e);
	bool last = --c->refs == 0;
	engine_unlock(e);
	if (last)
		container_free(c);
}

struct console *container_console(struct engine *e, struct container *c)
{
	engine_lock(e);
	if (!c->con) {
		const json_t *lc = jo(c->host, "LogConfig");
		int64_t max = size_parse(js(jo(lc, "Config"), "max-size", ""));
		bool none = strcmp(js(lc, "Type", ""), "none") == 0;
		char *path = engine_path(e, "containers/%s.log", c->id);
		c->con = console_new(none ? NULL : path, max > 0 ? (uint64_t)max : 0);
		free(path);
	}
	struct console *con = c->con;
	engine_unlock(e);
	return con;
}

// ---- names ----

static const char *const adjectives[] = {
    "amber", "brave", "calm",   "dapper", "eager",  "fair",  "gentle", "happy",
    "ideal", "jolly", "keen",   "lucid",  "mellow", "noble", "open",   "proud",
    "quick", "royal", "silent", "tidy",   "upbeat", "vivid", "wise",   "zesty"};
static const char *const people[] = {
    "babbage", "cerf",   "dijkstra", "engelbart", "floyd",   "goldberg",   "hopper",  "ichbiah",
    "joy",     "knuth",  "lovelace", "mccarthy",  "noether", "ousterhout", "perlman", "ritchie",
    "shannon", "turing", "ullman",   "vaughan",   "wirth",   "yao",        "zuse"};

static bool name_taken(struct engine *e, const char *name)
{
	for (struct container *c = e->containers; c; c = c->next)
		if (strcmp(c->name, name) == 0)
			return true;
	return false;
}

static void name_invent(struct engine *e, char *out, size_t n)
{
	uint32_t r[2];

	for (int tries = 0;; tries++) {
		random_fill(r, sizeof(r));
		const char *a = adjectives[r[0] % (sizeof(adjectives) / sizeof(adjectives[0]))];
		const char *p = people[r[1] % (sizeof(people) / sizeof(people[0]))];
		if (tries < 5)
			snprintf(out, n, "%s_%s", a, p);
		else
			snprintf(out, n, "%s_%s%u", a, p, r[0] >> 16);
		if (!name_taken(e, out))
			return;
	}
}

static int name_check(struct engine *e, const char *name, struct err *err)
{
	if (!name_valid(name) || strlen(name) >= 200)
		return err_set(
		    err, 400,
		    "Invalid container name (%.100s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are "
		    "allowed",
		    name);
	for (struct container *c = e->containers; c; c = c->next)
		if (strcmp(c->name, name) == 0)
			return err_set(err, 409,
				       "Conflict. The container name \"/%s\" is already in use "
				       "by container "
				       "\"%s\". You have to remove (or rename) that container "
				       "to be able to "
				       "reuse that name.",
				       name, c->id);
	return 0;
}

// ---- creation ----

struct create {
	struct engine *e;
	struct container *c;
	json_t *body, *warnings;
	struct err *err;
};

// Networks that the request names, as endpoints without addresses yet.
static int attach_networks(struct create *k)
{
	struct engine *e = k->e;
	struct container *c = k->c;
	const char *mode = js(c->host, "NetworkMode", ""), *name;
	json_t *cfgs = jo(jo(k->body, "NetworkingConfig"), "EndpointsConfig"), *cfg;

	if (strncmp(mode, "container:", 10) == 0) {
		struct container *peer = container_find_locked(e, mode + 10, k->err);
		if (!peer)
			return -1;
		char *full = xasprintf("container:%s", peer->id);
		json_object_set_new(c->host, "NetworkMode", jstr(full));
		free(full);
		return 0;
	}
	if (!*mode || strcmp(mode, "default") == 0)
		mode = "bridge";
	if (strcmp(mode, "none") == 0)
		return 0;
	struct network *n = network_find_locked(e, mode, k->err);
	if (!n)
		return err_set(k->err, 404, "network %.100s not found", mode);
	cfg = jo(cfgs, mode);
	if (!cfg)
		cfg = jo(cfgs, n->name);
	if (!cfg)
		cfg = jo(cfgs, "default");
	if (network_attach_locked(e, n, c, cfg, k->err) < 0)
		return -1;
	json_object_foreach(cfgs, name, cfg)
	{
		if (strcmp(name, "default") == 0)
			continue; // the CLI's word for the first one
		struct network *more = network_find_locked(e, name, k->err);
		if (!more)
			return err_set(k->err, 404, "network %.100s not found", name);
		if (more != n && network_attach_locked(e, more, c, cfg, k->err) < 0)
			return -1;
	}
	return 0;
}

// Copies what the image has at the volume's place into a volume just made, as Docker does.
struct copy_in {
	struct engine *e;
	char *tree, *path;
	int fd;
};

static int pipe_write(void *ctx, const void *buf, size_t n)
{
	const char *p = buf;

	while (n) {
		ssize_t put = write(*(int *)ctx, p, n);
		if (put <= 0)
			return -1;
		p += put;
		n -= (size_t)put;
	}
	return 0;
}

static ssize_t pipe_read(void *ctx, void *buf, size_t n)
{
	return read(*(int *)ctx, buf, n);
}

static void *pack_thread(void *arg)
{
	struct copy_in *k = arg;
	struct be_sink out = {pipe_write, &k->fd};

	k->e->ops->tree_pack(k->e->be, k->tree, k->path, "", &out, NULL);
	close(k->fd);
	return NULL;
}

static int volume_fill(struct engine *e, struct container *c, const char *volume,
		       const char *dest, struct err *err)
{
	struct copy_in k = {e, xasprintf("c-%s", c->id), xasprintf("%s/.", dest + 1), -1};
	char *tree = xasprintf("v-%s", volume);
	struct be_stat st;
	pthread_t t;
	int p[2], rc = 0;

	if (e->ops->tree_stat(e->be, k.tree, dest + 1, true, &st, NULL) == 0 &&
	    (st.mode & 0170000) == 0040000 && pipe2(p, O_CLOEXEC) == 0) {
		struct be_source src = {pipe_read, &p[0]};
		k.fd = p[1];
		if (pthread_create(&t, NULL, pack_thread, &k) == 0) {
			rc = e->ops->tree_unpack(e->be, tree, "", &src, BE_KEEP_OWNER, err);
			close(p[0]); // a packer still writing gets EPIPE
			pthread_join(t, NULL);
		} else {
			close(p[0]);
			close(p[1]);
		}
	}
	free(k.tree);
	free(k.path);
	free(tree);
	return rc;
}

static int make_volumes(struct create *k)
{
	json_t *mounts = k->c->mounts;

	for (size_t i = 0; i < json_array_size(mounts); i++) {
		json_t *m = json_array_get(mounts, i);
		const char *name = js(m, "Name", "");
		char made[220];
		if (strcmp(js(m, "Type", ""), "volume") != 0)
			continue;
		engine_lock(k->e);
		bool fresh = !*name || !volume_find_locked(k->e, name);
		engine_unlock(k->e);
		if (volume_create(k->e, *name ? name : NULL, NULL, NULL, made, k->err) < 0)
			return -1;
		json_object_set_new(m, "Name", json_string(made));
		char *src = xasprintf("/var/lib/d0/volumes/%s/_data", made);
		json_object_set_new(m, "Source", json_string(src));
		free(src);
		if (fresh &&
		    volume_fill(k->e, k->c, made, js(m, "Destination", "/"), k->err) < 0)
			return -1;
	}
	return 0;
}

// Everything that can be decided without making anything.
static int decide(struct create *k, const char *name)
{
	struct engine *e = k->e;
	struct container *c = k->c;
	const char *ref = js(k->body, "Image", "");

	if (!*ref)
		return err_set(k->err, 400, "no image specified");
	struct image *im = image_find_locked(e, ref, k->err);
	if (!im)
		return -1;
	if (create_decode(k->body, jo(im->config, "config"), &c->config, &c->host, k->warnings,
			  k->err) < 0)
		return -1;
	c->mounts = create_mounts(c->config, c->host, k->err);
	c->nports =
	    c->mounts ? create_ports(c->config, c->host, c->ports, MAX_PORTS, k->err) : -1;
	if (c->nports < 0)
		return -1;
	strcpy(c->image_id, im->id);
	strcpy(c->chain, image_parent_chain(im));
	c->image_ref = xstrdup(ref);
	id_make(c->id);
	if (name && *name == '/')
		name++;
	if (name && *name) {
		if (name_check(e, name, k->err) < 0)
			return -1;
		snprintf(c->name, sizeof(c->name), "%s", name);
	} else {
		name_invent(e, c->name, sizeof(c->name));
	}
	if (!*js(c->config, "Hostname", ""))
		json_object_set_new(c->config, "Hostname", json_stringn(c->id, 12));
	if (!json_object_get(c->host, "NetworkMode"))
		json_object_set_new(c->host, "NetworkMode", json_string("bridge"));
	return attach_networks(k);
}

static void undo(struct engine *e, struct container *c)
{
	char *tree = xasprintf("c-%s", c->id);

	engine_lock(e);
	for (struct container **at = &e->containers; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			break;
		}
	c->removed = true;
	engine_unlock(e);
	e->ops->tree_remove(e->be, tree, NULL);
	for (size_t i = 0; i < json_array_size(c->mounts); i++) {
		engine_lock(e);
		struct volume *v =
		    volume_find_locked(e, js(json_array_get(c->mounts, i), "Name", ""));
		bool anon = v && v->anonymous;
		engine_unlock(e);
		if (anon)
			volume_remove(e, js(json_array_get(c->mounts, i), "Name", ""), true,
				      NULL);
	}
	free(tree);
	container_put(e, c);
}

int container_create(struct engine *e, const char *name, json_t *body, char id[ID_LEN + 1],
		     json_t *warnings, struct err *err)
{
	struct container *c = container_new();
	struct create k = {e, c, body, warnings, err};

	engine_lock(e);
	c->created_ns = now_ns();
	if (decide(&k, name) < 0) {
		engine_unlock(e);
		container_free(c);
		return -1;
	}
	// In the list from here on, so that its name and image are taken; `removing` keeps
	// others from using it before it is whole.
	c->removing = true;
	c->next = e->containers;
	e->containers = c;
	engine_unlock(e);
	char *tree = xasprintf("c-%s", c->id);
	char *parent = images_in_store(e) ? xasprintf("i-%s", c->image_id + 7)
					  : xasprintf("l-%s", c->chain);
	int rc =
	    e->ops->tree_create(e->be, tree, BE_TREE_CONTAINER, *c->chain ? parent : NULL, err);
	free(tree);
	free(parent);
	if (rc == 0)
		rc = make_volumes(&k);
	if (rc == 0) {
		engine_lock(e);
		c->removing = false;
		rc = container_save_locked(e, c);
		engine_unlock(e);
		if (rc < 0)
			err_set(err, 507,
				"cannot record the container: no space left on device");
	}
	if (rc < 0) {
		undo(e, c);
		return -1;
	}
	strcpy(id, c->id);
	container_event(e, c, "create", NULL);
	return 0;
}

// ---- removal ----

static void delete_files(struct engine *e, struct container *c)
{
	static const char *const ends[] = {"json", "log", "log.1"};
	char *tree = xasprintf("c-%s", c->id);
	struct err err;

	for (size_t i = 0; i < 3; i++) {
		char *path = engine_path(e, "containers/%s.%s", c->id, ends[i]);
		unlink(path);
		free(path);
	}
	if (e->ops->tree_remove(e->be, tree, &err) < 0)
		log_msg("container %.12s: %s", c->id, err.msg);
	free(tree);
}

static void drop_volumes(struct engine *e, struct container *c)
{
	for (size_t i = 0; i < json_array_size(c->mounts); i++) {
		const char *name = js(json_array_get(c->mounts, i), "Name", "");
		engine_lock(e);
		struct volume *v = *name ? volume_find_locked(e, name) : NULL;
		bool gone = v && v->anonymous && !volume_in_use_locked(e, name);
		engine_unlock(e);
		if (gone)
			volume_remove(e, name, true, NULL);
	}
}

static int removal_begin(struct engine *e, struct container *c, bool force, struct err *err)
{
	int rc = 0;

	engine_lock(e);
	if (c->removed)
		rc = err_set(err, 404, "No such container: %s", c->name);
	else if (c->removing)
		rc = err_set(err, 409, "removal of container %s is already in progress",
			     c->name);
	else if (container_running(c) && !force)
		rc = err_set(err, 409, "cannot remove container \"%s\": container is %s: %s",
			     c->name, container_state_name(c),
			     c->state == C_PAUSED
				 ? "unpause and then stop the container before removing or "
				   "force remove"
				 : "stop the container before removing or force remove");
	else
		c->removing = true;
	engine_unlock(e);
	return rc;
}

// Ends a container that is being removed and takes its lock. A start that was under way (the
// restart at boot) ends first, and what it started is killed as well; no other one begins.
static bool hold_ended(struct engine *e, struct container *c, bool force)
{
	for (int tries = force ? 2 : 1; tries; tries--) {
		if (force)
			container_stop(e, c, 0, "KILL", NULL);
		pthread_mutex_lock(&c->op);
		engine_lock(e);
		bool alive = container_running(c);
		engine_unlock(e);
		if (!alive)
			return true;
		pthread_mutex_unlock(&c->op);
	}
	return false;
}

int container_remove(struct engine *e, struct container *c, bool force, bool volumes,
		     struct err *err)
{
	if (removal_begin(e, c, force, err) < 0)
		return -1;
	if (!hold_ended(e, c, force)) {
		engine_lock(e);
		c->removing = false;
		engine_unlock(e);
		return err_set(err, 500, "cannot remove container \"%s\": could not kill it",
			       c->name);
	}
	delete_files(e, c);
	engine_lock(e);
	for (struct container **at = &e->containers; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			break;
		}
	c->state = C_DEAD;
	c->removed = true;
	if (c->con)
		console_hangup(c->con);
	pthread_cond_broadcast(&c->changed);
	engine_unlock(e);
	pthread_mutex_unlock(&c->op);
	if (volumes)
		drop_volumes(e, c);
	container_event(e, c, "destroy", NULL);
	container_put(e, c);
	if (__atomic_load_n(&e->gc_wanted, __ATOMIC_ACQUIRE))
		images_gc(e);
	return 0;
}

int container_rename(struct engine *e, struct container *c, const char *name, struct err *err)
{
	char old[200];
	int rc;

	if (*name == '/')
		name++;
	engine_lock(e);
	strcpy(old, c->name);
	if (strcmp(old, name) == 0)
		rc = err_set(err, 400,
			     "Renaming a container with the same name as its current name");
	else if (!*name)
		rc = err_set(err, 400, "Neither old nor new names may be empty");
	else
		rc = name_check(e, name, err);
	if (rc == 0) {
		snprintf(c->name, sizeof(c->name), "%s", name);
		if (container_save_locked(e, c) < 0) {
			strcpy(c->name, old);
			rc = err_set(err, 507, "cannot record the new name");
		}
	}
	engine_unlock(e);
	if (rc == 0)
		container_event(e, c, "rename", json_pack("{s:o}", "oldName", jstr(old)));
	return rc;
}
