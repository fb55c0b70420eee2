// SPDX-License-Identifier: ISC
// How a container looks: inspect and list.
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "d0d/api.h"

static json_t *state_json(struct container *c)
{
	json_t *o =
	    json_pack("{s:s, s:b, s:b, s:b, s:b, s:b, s:i, s:i, s:o, s:o, s:o}", "Status",
		      container_state_name(c), "Running", container_running(c), "Paused",
		      c->state == C_PAUSED, "Restarting", c->state == C_RESTARTING, "OOMKilled",
		      c->oom, "Dead", c->state == C_DEAD, "Pid", c->pid, "ExitCode",
		      c->exit_code, "Error", jstr(c->error), "StartedAt", jtime(c->started_ns),
		      "FinishedAt", jtime(c->finished_ns));
	json_t *h = health_json(c);

	if (h)
		json_object_set_new(o, "Health", h);
	return o;
}

// The host's addresses where a port is: one of each family that it was asked for. How many.
static int port_hosts(const struct be_port *p, char out[2][INET6_ADDRSTRLEN])
{
	int n = 0;

	if (p->families & BE_V4)
		inet_ntop(AF_INET, &p->host_ip, out[n++], INET6_ADDRSTRLEN);
	if (p->families & BE_V6)
		inet_ntop(AF_INET6, &p->host_ip6, out[n++], INET6_ADDRSTRLEN);
	return n;
}

// NetworkSettings.Ports: every exposed port, with its bindings while running.
static json_t *ports_map(struct container *c)
{
	json_t *o = json_object(), *v;
	const char *key;
	char port[24], ip[2][INET6_ADDRSTRLEN], num[8];

	if (!container_running(c))
		return o;
	json_object_foreach(jo(c->config, "ExposedPorts"), key, v)
	    json_object_set_new(o, key, json_null());
	for (int i = 0; i < c->nports; i++) {
		const struct be_port *p = &c->ports[i];
		snprintf(port, sizeof(port), "%d/%s", p->port,
			 p->proto == IPPROTO_UDP ? "udp" : "tcp");
		snprintf(num, sizeof(num), "%d", p->host_port);
		json_t *list = json_object_get(o, port);
		if (!json_is_array(list)) {
			list = json_array();
			json_object_set_new(o, port, list);
		}
		for (int k = 0, n = port_hosts(p, ip); k < n; k++)
			json_array_append_new(
			    list, json_pack("{s:s, s:s}", "HostIp", ip[k], "HostPort", num));
	}
	return o;
}

static json_t *networks_map(struct engine *e, struct container *c)
{
	json_t *o = json_object();

	for (int i = 0; i < c->nep; i++) {
		struct network *n = network_find_locked(e, c->ep[i].network, NULL);
		json_object_set_new(o, n ? n->name : c->ep[i].network,
				    endpoint_json(e, c, &c->ep[i], container_running(c)));
	}
	if (!c->nep && strcmp(js(c->host, "NetworkMode", ""), "none") == 0)
		json_object_set_new(
		    o, "none", json_pack("{s:s, s:s}", "NetworkID", "none", "IPAddress", ""));
	return o;
}

static json_t *network_settings(struct engine *e, struct container *c)
{
	json_t *nets = networks_map(e, c),
	       *first = c->nep ? endpoint_json(e, c, &c->ep[0], container_running(c))
			       : json_object();
	json_t *o = json_pack("{s:s, s:s, s:s, s:o, s:s, s:s, s:i, s:s, s:s, s:o}", "Bridge",
			      "", "SandboxID", container_running(c) ? c->id : "", "SandboxKey",
			      "", "Ports", ports_map(c), "Gateway", js(first, "Gateway", ""),
			      "IPAddress", js(first, "IPAddress", ""), "IPPrefixLen",
			      (int)ji(first, "IPPrefixLen", 0), "MacAddress",
			      js(first, "MacAddress", ""), "EndpointID",
			      js(first, "EndpointID", ""), "Networks", nets);

	json_decref(first);
	return o;
}

// Entrypoint and Cmd as inspect shows them: Path and Args.
static void path_args(struct container *c, json_t *o)
{
	json_t *all = json_array(), *entry = ja(c->config, "Entrypoint"),
	       *cmd = ja(c->config, "Cmd");

	if (entry && *(json_string_value(json_array_get(entry, 0)) ?: ""))
		json_array_extend(all, entry);
	if (cmd)
		json_array_extend(all, cmd);
	json_object_set(o, "Path", json_array_get(all, 0));
	json_array_remove(all, 0);
	json_object_set_new(o, "Args", all);
}

static json_t *mounts_json(struct container *c)
{
	json_t *out = json_array();

	for (size_t i = 0; i < json_array_size(c->mounts); i++) {
		json_t *m = json_deep_copy(json_array_get(c->mounts, i));
		json_object_del(m, "Size");
		json_object_del(m, "Perm");
		json_array_append_new(out, m);
	}
	return out;
}

static void add_sizes(struct engine *e, struct container *c, json_t *o)
{
	char tree[ID_LEN + 3];
	uint64_t rw = 0, root = 0;

	snprintf(tree, sizeof(tree), "c-%s", c->id);
	e->ops->tree_usage(e->be, tree, &rw, NULL);
	for (struct layer *l = layer_find_locked(e, c->chain); l;
	     l = layer_find_locked(e, l->parent))
		root += l->size;
	json_object_set_new(o, "SizeRw", json_integer((json_int_t)rw));
	json_object_set_new(o, "SizeRootFs", json_integer((json_int_t)rw + (json_int_t)root));
}

// Keys that the CLI and compose read without checking that they are there.
static json_t *host_json(struct container *c)
{
	static const char *const lists[] = {"Binds", "Dns", "DnsOptions", "DnsSearch",
					    "ExtraHosts"};
	json_t *h = json_deep_copy(c->host);

	for (size_t i = 0; i < 5; i++)
		if (!json_object_get(h, lists[i]))
			json_object_set_new(h, lists[i], json_array());
	if (!jo(h, "RestartPolicy") || !*js(jo(h, "RestartPolicy"), "Name", ""))
		json_object_set_new(
		    h, "RestartPolicy",
		    json_pack("{s:s, s:i}", "Name", "no", "MaximumRetryCount", 0));
	if (!jo(h, "LogConfig") || !*js(jo(h, "LogConfig"), "Type", ""))
		json_object_set_new(h, "LogConfig",
				    json_pack("{s:s, s:{}}", "Type", "json-file", "Config"));
	if (!jo(h, "PortBindings"))
		json_object_set_new(h, "PortBindings", json_object());
	if (!*js(h, "Runtime", ""))
		json_object_set_new(h, "Runtime", json_string("d0"));
	json_object_set_new(h, "ShmSize", json_integer(ji(h, "ShmSize", 0) ?: 67108864));
	return h;
}

static json_t *exec_ids(struct engine *e, struct container *c)
{
	json_t *a = json_array();

	for (struct exec *x = e->execs; x; x = x->next)
		if (x->running && strcmp(x->container, c->id) == 0)
			json_array_append_new(a, json_string(x->id));
	if (json_array_size(a))
		return a;
	json_decref(a);
	return json_null();
}

json_t *container_inspect(struct engine *e, struct container *c, bool size)
{
	char *name = xasprintf("/%s", c->name);
	char *log = xasprintf("/var/lib/d0/containers/%s.log", c->id);
	json_t *o =
	    json_pack("{s:s, s:o, s:o, s:s, s:s, s:s, s:i, s:s, s:s, s:o, s:O, s:o, s:o, s:o}",
		      "Id", c->id, "Created", jtime(c->created_ns), "State", state_json(c),
		      "Image", c->image_id, "LogPath", log, "Name", name, "RestartCount",
		      c->restart_count, "Driver", "h2", "Platform", "linux", "HostConfig",
		      host_json(c), "Config", c->config, "Mounts", mounts_json(c),
		      "NetworkSettings", network_settings(e, c), "ExecIDs", exec_ids(e, c));
	json_t *cfg = json_copy(c->config);

	json_object_set_new(cfg, "Image", jstr(c->image_ref));
	json_object_set_new(o, "Config", cfg);
	json_object_set_new(o, "GraphDriver", json_pack("{s:s, s:n}", "Name", "h2", "Data"));
	path_args(c, o);
	if (size)
		add_sizes(e, c, o);
	free(name);
	free(log);
	return o;
}

// ---- list ----

static void human(int64_t s, char out[40])
{
	if (s < 1)
		strcpy(out, "Less than a second");
	else if (s == 1)
		strcpy(out, "1 second");
	else if (s < 60)
		snprintf(out, 40, "%lld seconds", (long long)s);
	else if (s < 120)
		strcpy(out, "About a minute");
	else if (s < 3600)
		snprintf(out, 40, "%lld minutes", (long long)s / 60);
	else if (s < 5400)
		strcpy(out, "About an hour");
	else if (s < 48 * 3600)
		snprintf(out, 40, "%lld hours", (long long)(s + 1800) / 3600);
	else if (s < 14 * 86400)
		snprintf(out, 40, "%lld days", (long long)s / 86400);
	else if (s < 60 * 86400)
		snprintf(out, 40, "%lld weeks", (long long)s / (7 * 86400));
	else if (s < 730 * 86400ll)
		snprintf(out, 40, "%lld months", (long long)s / (30 * 86400));
	else
		snprintf(out, 40, "%lld years", (long long)s / (365 * 86400));
}

static void status_text(const struct container *c, char out[120])
{
	char up[40], ago[40];

	human((now_ns() - c->started_ns) / 1000000000, up);
	human((now_ns() - c->finished_ns) / 1000000000, ago);
	switch (c->state) {
	case C_CREATED:
		strcpy(out, "Created");
		break;
	case C_RUNNING:
	case C_PAUSED:
		snprintf(out, 120, "Up %s%s%s", up, c->state == C_PAUSED ? " (Paused)" : "",
			 c->state == C_PAUSED       ? ""
			 : c->health == H_STARTING  ? " (health: starting)"
			 : c->health == H_HEALTHY   ? " (healthy)"
			 : c->health == H_UNHEALTHY ? " (unhealthy)"
						    : "");
		break;
	case C_RESTARTING:
		snprintf(out, 120, "Restarting (%d) %s ago", c->exit_code, ago);
		break;
	case C_EXITED:
		snprintf(out, 120, "Exited (%d) %s ago", c->exit_code, ago);
		break;
	default:
		strcpy(out, "Dead");
	}
}

static json_t *ports_list(struct container *c)
{
	json_t *a = json_array(), *v;
	const char *key;
	char ip[2][INET6_ADDRSTRLEN];

	if (!container_running(c))
		return a;
	for (int i = 0; i < c->nports; i++) {
		const struct be_port *p = &c->ports[i];
		for (int k = 0, n = port_hosts(p, ip); k < n; k++)
			json_array_append_new(
			    a, json_pack("{s:s, s:i, s:i, s:s}", "IP", ip[k], "PrivatePort",
					 (int)p->port, "PublicPort", (int)p->host_port, "Type",
					 p->proto == IPPROTO_UDP ? "udp" : "tcp"));
	}
	json_object_foreach(jo(c->config, "ExposedPorts"), key, v)
	{
		int port = 0;
		char type[8] = "tcp";
		bool bound = false;
		sscanf(key, "%d/%7s", &port, type);
		for (int i = 0; i < c->nports; i++)
			bound |= c->ports[i].port == port;
		if (!bound)
			json_array_append_new(
			    a, json_pack("{s:i, s:s}", "PrivatePort", port, "Type", type));
	}
	return a;
}

static json_t *command_text(struct container *c)
{
	json_t *o = json_object();
	struct sbuf b = {0};

	path_args(c, o);
	sbuf_adds(&b, js(o, "Path", ""));
	for (size_t i = 0; i < json_array_size(ja(o, "Args")); i++) {
		const char *s = json_string_value(json_array_get(ja(o, "Args"), i)) ?: "";
		sbuf_addf(&b, strpbrk(s, " \t") ? " '%s'" : " %s", s);
	}
	json_t *out = jstr(b.p);
	sbuf_free(&b);
	json_decref(o);
	return out;
}

json_t *container_summary(struct engine *e, struct container *c, bool size)
{
	char status[120], *name = xasprintf("/%s", c->name);
	struct image *im = image_by_id_locked(e, c->image_id);
	bool lost = !im || (!*im->tags && strncmp(c->image_ref, "sha256:", 7) != 0);

	status_text(c, status);
	json_t *o = json_pack(
	    "{s:s, s:[s], s:o, s:s, s:o, s:I, s:o, s:O?, s:s, s:s, s:{s:s}, s:{s:o}, s:o}",
	    "Id", c->id, "Names", name, "Image", jstr(lost ? c->image_id : c->image_ref),
	    "ImageID", c->image_id, "Command", command_text(c), "Created",
	    (json_int_t)(c->created_ns / 1000000000), "Ports", ports_list(c), "Labels",
	    jo(c->config, "Labels"), "State", container_state_name(c), "Status", status,
	    "HostConfig", "NetworkMode", js(c->host, "NetworkMode", "bridge"),
	    "NetworkSettings", "Networks", networks_map(e, c), "Mounts", mounts_json(c));
	if (size)
		add_sizes(e, c, o);
	free(name);
	return o;
}
