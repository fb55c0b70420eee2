// SPDX-License-Identifier: ISC
// From a container's record to what the backend starts.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/engine.h"
#include "d0d/ref.h"

// A spec with everything that it points to.
struct spec_mem {
	struct be_spec s; // first: the spec's address is this struct's
	void **ptr;
	size_t n, cap;
	char **argv, **env;
	json_t *hold[2];
};

static void *keep(struct spec_mem *m, void *p)
{
	if (m->n == m->cap) {
		m->cap = m->cap ? m->cap * 2 : 32;
		m->ptr = xrealloc(m->ptr, m->cap * sizeof(void *));
	}
	return m->ptr[m->n++] = p;
}

void spec_free(struct be_spec *s)
{
	struct spec_mem *m = (struct spec_mem *)s;

	if (!m)
		return;
	for (size_t i = 0; i < m->n; i++)
		free(m->ptr[i]);
	free(m->ptr);
	strv_free(m->argv);
	strv_free(m->env);
	json_decref(m->hold[0]);
	json_decref(m->hold[1]);
	free(m);
}

// ---- users ----

struct who {
	uint32_t uid, gid;
	char home[256];
	char name[100];
	uint32_t groups[64];
	size_t ngroups;
};

// Field N of a ':'-separated line into OUT.
static void field(const char *line, int n, char *out, size_t cap)
{
	for (; n > 0; n--) {
		line = strchr(line, ':');
		if (!line) {
			*out = 0;
			return;
		}
		line++;
	}
	size_t len = strcspn(line, ":\n");
	if (len >= cap)
		len = cap - 1;
	memcpy(out, line, len);
	out[len] = 0;
}

static const char *next_line(const char *p)
{
	p = strchr(p, '\n');
	return p && p[1] ? p + 1 : NULL;
}

static bool number(const char *s, uint32_t *out)
{
	char *end;
	unsigned long n = strtoul(s, &end, 10);

	if (!*s || *end || n > 0x7fffffff || *s == '-')
		return false;
	*out = (uint32_t)n;
	return true;
}

static bool passwd_find(const char *text, const char *user, struct who *w)
{
	char name[100], id[20];
	uint32_t want = 0, uid;
	bool by_id = number(user, &want);

	for (const char *l = text; l && *l; l = next_line(l)) {
		field(l, 0, name, sizeof(name));
		field(l, 2, id, sizeof(id));
		if (!number(id, &uid) || (strcmp(name, user) != 0 && !(by_id && uid == want)))
			continue;
		w->uid = uid;
		field(l, 3, id, sizeof(id));
		number(id, &w->gid);
		field(l, 5, w->home, sizeof(w->home));
		snprintf(w->name, sizeof(w->name), "%s", name);
		return true;
	}
	w->uid = want;
	return by_id;
}

static bool group_find(const char *text, const char *group, uint32_t *gid)
{
	char name[100], id[20];

	for (const char *l = text; l && *l; l = next_line(l)) {
		field(l, 0, name, sizeof(name));
		field(l, 2, id, sizeof(id));
		if (strcmp(name, group) == 0 && number(id, gid))
			return true;
	}
	return number(group, gid);
}

// Groups that list the user as a member.
static void groups_of(const char *text, struct who *w)
{
	char members[1000], id[20], *save;
	uint32_t gid;

	for (const char *l = text; *w->name && l && *l; l = next_line(l)) {
		field(l, 3, members, sizeof(members));
		field(l, 2, id, sizeof(id));
		for (char *m = strtok_r(members, ",", &save); m; m = strtok_r(NULL, ",", &save))
			if (strcmp(m, w->name) == 0 && number(id, &gid) && w->ngroups < 64)
				w->groups[w->ngroups++] = gid;
	}
}

static int resolve_user(struct engine *e, struct container *c, const char *user, struct who *w,
			struct err *err)
{
	char tree[ID_LEN + 3], *passwd = NULL, *group = NULL;
	char *name = xstrdup(user), *gname = strchr(name, ':');
	int rc = 0;

	if (gname)
		*gname++ = 0;
	snprintf(tree, sizeof(tree), "c-%s", c->id);
	*w = (struct who){.home = ""};
	e->ops->tree_read(e->be, tree, "etc/passwd", 1 << 20, &passwd, NULL, NULL);
	e->ops->tree_read(e->be, tree, "etc/group", 1 << 20, &group, NULL, NULL);
	if (!passwd_find(passwd ? passwd : "", *name ? name : "0", w))
		rc = err_set(err, 400,
			     "unable to find user %.100s: no matching entries in passwd file",
			     name);
	else if (gname && *gname && !group_find(group ? group : "", gname, &w->gid))
		rc = err_set(err, 400,
			     "unable to find group %.100s: no matching entries in group file",
			     gname);
	else if (!gname)
		groups_of(group ? group : "", w);
	if (!*w->home)
		strcpy(w->home, w->uid ? "/" : "/root");
	free(passwd);
	free(group);
	free(name);
	return rc;
}

int user_ids(struct engine *e, struct container *c, const char *user, uint32_t *uid,
	     uint32_t *gid, struct err *err)
{
	struct who w;
	int rc = resolve_user(e, c, user, &w, err);

	*uid = w.uid;
	*gid = w.gid;
	return rc;
}

static int set_user(struct engine *e, struct container *c, struct spec_mem *m, const char *user,
		    struct who *w, struct err *err)
{
	if (resolve_user(e, c, user, w, err) < 0)
		return -1;
	const json_t *add = ja(c->host, "GroupAdd");
	for (size_t i = 0; i < json_array_size(add) && w->ngroups < 64; i++)
		if (number(json_string_value(json_array_get(add, i)) ?: "",
			   &w->groups[w->ngroups]))
			w->ngroups++;
	m->s.uid = w->uid;
	m->s.gid = w->gid;
	uint32_t *g = keep(m, xmalloc(sizeof(w->groups)));
	memcpy(g, w->groups, sizeof(w->groups));
	m->s.groups = g;
	m->s.ngroups = w->ngroups;
	return 0;
}

// ---- environment and arguments ----

static void env_default(json_t *env, const char *key, const char *value)
{
	size_t n = strlen(key);

	for (size_t i = 0; i < json_array_size(env); i++) {
		const char *s = json_string_value(json_array_get(env, i));
		if (s && strncmp(s, key, n) == 0 && s[n] == '=')
			return;
	}
	char *kv = xasprintf("%s=%s", key, value);
	json_array_append_new(env, jstr(kv));
	free(kv);
}

// KEY without "=" takes the variable away (docker run -e KEY with no value).
static void env_prune(json_t *env)
{
	for (size_t i = 0; i < json_array_size(env);) {
		const char *s = json_string_value(json_array_get(env, i));
		if (s && strchr(s, '='))
			i++;
		else
			json_array_remove(env, i);
	}
}

static const char *hostname_of(struct container *c)
{
	return js(c->config, "Hostname", "");
}

// Whose network the container is in: of a pod the one that has it, whose names all share.
static struct container *pod_head_locked(struct engine *e, struct container *c)
{
	for (int i = 0; i < 8; i++) {
		const char *mode = js(c->host, "NetworkMode", "");
		struct container *peer = NULL;
		struct err none;

		if (strncmp(mode, "container:", 10) == 0)
			peer = container_find_locked(e, mode + 10, &none);
		if (!peer)
			break;
		c = peer;
	}
	return c;
}

static const char *hostname_now(struct engine *e, struct spec_mem *m, struct container *c)
{
	engine_lock(e);
	const char *name = keep(m, xstrdup(hostname_of(pod_head_locked(e, c))));
	engine_unlock(e);
	return name;
}

static void make_env(struct spec_mem *m, struct container *c, const json_t *more, bool tty,
		     const char *home)
{
	json_t *env = json_array(), *base = ja(c->config, "Env");

	if (base)
		json_array_extend(env, base);
	for (size_t i = 0; i < json_array_size(more); i++)
		json_array_append(env, json_array_get(more, i));
	env_prune(env);
	env_default(env, "PATH",
		    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	env_default(env, "HOSTNAME", m->s.hostname);
	if (tty)
		env_default(env, "TERM", "xterm");
	env_default(env, "HOME", home);
	m->env = jstrv(env);
	m->s.env = m->env;
	json_decref(env);
}

static int make_argv(struct spec_mem *m, struct container *c, struct err *err)
{
	json_t *all = json_array(), *entry = ja(c->config, "Entrypoint"),
	       *cmd = ja(c->config, "Cmd");

	if (entry && !(json_array_size(entry) == 1 &&
		       !*(json_string_value(json_array_get(entry, 0)) ?: "")))
		json_array_extend(all, entry);
	if (cmd)
		json_array_extend(all, cmd);
	m->argv = jstrv(all);
	m->s.argv = m->argv;
	json_decref(all);
	return m->argv[0] ? 0 : err_set(err, 400, "no command specified");
}

// ---- files in /etc ----

static char *make_hosts(struct engine *e, struct container *c)
{
	struct sbuf b = {0};
	const json_t *extra = ja(c->host, "ExtraHosts");
	char ip[INET_ADDRSTRLEN], ip6[IP6_TEXT];

	sbuf_adds(&b, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
		      "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
	for (size_t i = 0; i < json_array_size(extra); i++) {
		const char *s = json_string_value(json_array_get(extra, i)),
			   *sep = s ? strpbrk(s, ":=") : NULL;
		if (sep)
			sbuf_addf(&b, "%s\t%.*s\n", sep + 1, (int)(sep - s), s);
	}
	for (int i = 0; i < c->nep; i++) {
		inet_ntop(AF_INET, &c->ep[i].ip, ip, sizeof(ip));
		const char *dom = js(c->config, "Domainname", "");
		if (*dom)
			sbuf_addf(&b, "%s\t%s.%s %s\n", ip, hostname_of(c), dom,
				  hostname_of(c));
		else
			sbuf_addf(&b, "%s\t%s\n", ip, hostname_of(c));
		if (!ip6_any(&c->ep[i].ip6))
			sbuf_addf(&b, "%s\t%s\n", ip6_text(&c->ep[i].ip6, 0, ip6),
				  hostname_of(c));
	}
	return b.p;
}

static bool has_ip6(const struct container *c)
{
	for (int i = 0; i < c->nep; i++)
		if (!ip6_any(&c->ep[i].ip6))
			return true;
	return false;
}

// The host's, without the servers that a container of an IPv4 network can't reach.
static void host_resolv(const struct container *c, struct sbuf *b)
{
	char *host = file_read("/etc/resolv.conf", 65536, NULL), *save = NULL;

	for (char *s = host ? strtok_r(host, "\n", &save) : NULL; s;
	     s = strtok_r(NULL, "\n", &save))
		if (has_ip6(c) || strncmp(s, "nameserver", 10) != 0 || !strchr(s, ':'))
			sbuf_addf(b, "%s\n", s);
	free(host);
}

static char *make_resolv(struct engine *e, struct container *c)
{
	const json_t *own = ja(c->host, "Dns"), *search = ja(c->host, "DnsSearch");
	struct sbuf b = {0};
	char ip[INET_ADDRSTRLEN];

	sbuf_adds(&b, "# made by d0d\n");
	// In a network of the user's the gateway's address answers for containers' names.
	struct network *n = c->nep ? network_find_locked(e, c->ep[0].network, NULL) : NULL;
	bool names = n && !n->builtin && (n->gateway.s_addr || e->ops->net_resolver);
	if (names) {
		struct in_addr at =
		    e->ops->net_resolver ? e->ops->net_resolver(e->be) : n->gateway;
		inet_ntop(AF_INET, &at, ip, sizeof(ip));
		sbuf_addf(&b, "nameserver %s\noptions ndots:0\n", ip);
	}
	for (size_t i = 0; i < json_array_size(own); i++)
		sbuf_addf(&b, "nameserver %s\n",
			  json_string_value(json_array_get(own, i)) ?: "");
	// Some resolvers ask all servers at once: one that doesn't know the names would win.
	if (names) {
		// d0d passes on what it doesn't know itself
	} else if (!json_array_size(own) && e->cfg.dns) {
		char *copy = xstrdup(e->cfg.dns), *save = NULL;
		for (char *s = strtok_r(copy, ",", &save); s; s = strtok_r(NULL, ",", &save))
			sbuf_addf(&b, "nameserver %s\n", s);
		free(copy);
	} else if (!json_array_size(own)) {
		host_resolv(c, &b);
	}
	for (size_t i = 0; i < json_array_size(search); i++)
		sbuf_addf(&b, "search %s\n",
			  json_string_value(json_array_get(search, i)) ?: "");
	return b.p;
}

// ---- the rest ----

void limits_of(const json_t *host, struct be_limits *l)
{
	int64_t quota = ji(host, "CpuQuota", 0), period = ji(host, "CpuPeriod", 0);

	*l = (struct be_limits){
	    .memory = ji(host, "Memory", 0),
	    .memory_swap = ji(host, "MemorySwap", 0),
	    .nano_cpus = ji(host, "NanoCpus", 0),
	    .cpu_shares = ji(host, "CpuShares", 0),
	    .pids = ji(host, "PidsLimit", 0),
	};
	if (!l->nano_cpus && quota > 0)
		l->nano_cpus =
		    (int64_t)((double)quota / (double)(period > 0 ? period : 100000) * 1e9);
}

static void make_mounts(struct spec_mem *m, struct container *c)
{
	size_t n = json_array_size(c->mounts);

	m->s.mounts = keep(m, xcalloc(n, sizeof(*m->s.mounts)));
	for (size_t i = 0; i < n; i++) {
		const json_t *o = json_array_get(c->mounts, i);
		struct be_mount *mt = &m->s.mounts[m->s.nmounts++];
		bool vol = strcmp(js(o, "Type", ""), "volume") == 0;
		*mt = (struct be_mount){
		    .dest = keep(m, xstrdup(js(o, "Destination", "/"))),
		    .tree = vol ? keep(m, xasprintf("v-%s", js(o, "Name", ""))) : NULL,
		    .read_only = !jb(o, "RW", true),
		    .size = (uint64_t)ji(o, "Size", 0),
		    .mode = (uint32_t)ji(o, "Perm", 0),
		};
	}
}

static void make_rlimits(struct spec_mem *m, struct container *c)
{
	const json_t *list = ja(c->host, "Ulimits");
	size_t n = json_array_size(list);

	m->s.rlimits = keep(m, xcalloc(n, sizeof(*m->s.rlimits)));
	for (size_t i = 0; i < n; i++) {
		const json_t *o = json_array_get(list, i);
		m->s.rlimits[m->s.nrlimits++] = (struct be_rlimit){
		    .name = keep(m, xstrdup(js(o, "Name", ""))),
		    .soft = (uint64_t)ji(o, "Soft", 0),
		    .hard = (uint64_t)ji(o, "Hard", 0),
		};
	}
}

static void make_network(struct engine *e, struct spec_mem *m, struct container *c)
{
	const char *mode = js(c->host, "NetworkMode", "");

	if (strncmp(mode, "container:", 10) == 0)
		m->s.net_of = keep(m, xstrdup(mode + 10));
	m->s.endpoints = keep(m, xcalloc(MAX_ENDPOINTS, sizeof(*m->s.endpoints)));
	for (int i = 0; i < c->nep; i++)
		endpoint_to_backend(e, &c->ep[i], i == 0, &m->s.endpoints[m->s.nendpoints++]);
	m->s.ports = keep(m, xcalloc(MAX_PORTS, sizeof(*m->s.ports)));
	memcpy(m->s.ports, c->ports, sizeof(*m->s.ports) * (size_t)c->nports);
	m->s.nports = (size_t)c->nports;
}

struct be_spec *spec_make(struct engine *e, struct container *c, struct err *err)
{
	struct spec_mem *m = xcalloc(1, sizeof(*m));
	struct be_spec *s = &m->s;
	struct who w;

	engine_lock(e);
	m->hold[0] = json_incref(c->config);
	m->hold[1] = json_incref(c->host);
	engine_unlock(e);
	if (make_argv(m, c, err) < 0 ||
	    set_user(e, c, m, js(c->config, "User", ""), &w, err) < 0) {
		spec_free(s);
		return NULL;
	}
	s->id = c->id;
	s->tree = keep(m, xasprintf("c-%s", c->id));
	s->hostname = hostname_now(e, m, c);
	s->domainname = js(c->config, "Domainname", "");
	s->cwd = *js(c->config, "WorkingDir", "") ? js(c->config, "WorkingDir", "") : "/";
	s->tty = jb(c->config, "Tty", false);
	s->stdin_open = jb(c->config, "OpenStdin", false);
	s->read_only = jb(c->host, "ReadonlyRootfs", false);
	s->init = jb(c->host, "Init", false);
	s->caps = caps_of(c->host);
	s->shm_size = (uint64_t)ji(c->host, "ShmSize", 0);
	const json_t *size = ja(c->host, "ConsoleSize");
	s->rows = (uint16_t)json_integer_value(json_array_get(size, 0));
	s->cols = (uint16_t)json_integer_value(json_array_get(size, 1));
	make_env(m, c, NULL, s->tty, w.home);
	limits_of(c->host, &s->limits);
	make_mounts(m, c);
	make_rlimits(m, c);
	engine_lock(e);
	make_network(e, m, c);
	c = pod_head_locked(e, c);
	s->etc_hosts = keep(m, make_hosts(e, c));
	s->etc_resolv = keep(m, make_resolv(e, c));
	engine_unlock(e);
	s->etc_hostname = keep(m, xasprintf("%s\n", s->hostname));
	return s;
}

struct be_spec *spec_make_exec(struct engine *e, struct container *c, struct exec *x,
			       struct err *err)
{
	struct spec_mem *m = xcalloc(1, sizeof(*m));
	struct be_spec *s = &m->s;
	const char *user = js(x->config, "User", "");
	struct who w;

	m->hold[0] = json_incref(c->config);
	m->argv = jstrv(ja(x->config, "Cmd"));
	s->argv = m->argv;
	if (!s->argv[0])
		err_set(err, 400, "No exec command specified");
	if (!s->argv[0] ||
	    set_user(e, c, m, *user ? user : js(c->config, "User", ""), &w, err) < 0) {
		spec_free(s);
		return NULL;
	}
	s->id = x->id;
	s->tty = jb(x->config, "Tty", false);
	s->stdin_open = jb(x->config, "AttachStdin", false);
	s->caps = jb(x->config, "Privileged", false) ? (1ull << 41) - 1 : caps_of(c->host);
	s->cwd = *js(x->config, "WorkingDir", "") ? js(x->config, "WorkingDir", "")
						  : js(c->config, "WorkingDir", "");
	if (!*s->cwd)
		s->cwd = "/";
	s->hostname = hostname_now(e, m, c);
	make_env(m, c, ja(x->config, "Env"), s->tty, w.home);
	return s;
}
