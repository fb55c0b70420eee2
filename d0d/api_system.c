// SPDX-License-Identifier: ISC
// ping, version, info, events, system df, auth.
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "d0d/api.h"

#define VERSION "1.0.0"

static void ping(struct http_req *r)
{
	resp_begin(
	    r, 200, "text/plain; charset=utf-8",
	    "Builder-Version: 1\r\nSwarm: inactive\r\nCache-Control: no-cache, no-store, "
	    "must-revalidate\r\nPragma: no-cache\r\n");
	resp_write(r, "OK", 2);
	resp_end(r);
}
ROUTE("GET", "/_ping", ping);
ROUTE("HEAD", "/_ping", ping);

// d0d ends and whoever watches over it starts it anew: on D0 its cell's restart policy. What
// runs goes on.
static void restart(struct http_req *r)
{
	resp_empty(r, 202);
	log_msg("asked to start anew");
	engine_close(r->e);
	conn_shutdown_write(r->c);
	usleep(200000); // the answer leaves
	_exit(75);      // EX_TEMPFAIL: a failure, so that on-failure brings it back
}
ROUTE("POST", "/d0/restart", restart);

static void version(struct http_req *r)
{
	struct be_info in = {0};
	char api[16];

	r->e->ops->info(r->e->be, &in, NULL);
	snprintf(api, sizeof(api), "1.50");
	resp_json(r, 200,
		  json_pack("{s:{s:s}, s:[{s:s, s:s, s:{s:s, s:s, s:s, s:s, s:s}}], s:s, s:s, "
			    "s:s, s:s, s:s, s:s, "
			    "s:s, s:s, s:s}",
			    "Platform", "Name", "D0", "Components", "Name", "Engine", "Version",
			    VERSION, "Details", "ApiVersion", api, "MinAPIVersion", "1.24",
			    "Arch", "amd64", "Os", "linux", "KernelVersion", in.kernel,
			    "Version", VERSION, "ApiVersion", api, "MinAPIVersion", "1.24",
			    "GitCommit", "d0", "GoVersion", "none (C)", "Os", "linux", "Arch",
			    "amd64", "KernelVersion", in.kernel, "BuildTime",
			    "2026-11-23T00:00:00.000000000+00:00"));
}
ROUTE("GET", "/version", version);

static void count(struct engine *e, json_t *o)
{
	int n[3] = {0}, all = 0, images = 0;

	for (struct container *c = e->containers; c; c = c->next, all++)
		n[c->state == C_PAUSED ? 1 : container_running(c) ? 0 : 2]++;
	for (struct image *im = e->images; im; im = im->next)
		images++;
	json_object_set_new(o, "Containers", json_integer(all));
	json_object_set_new(o, "ContainersRunning", json_integer(n[0]));
	json_object_set_new(o, "ContainersPaused", json_integer(n[1]));
	json_object_set_new(o, "ContainersStopped", json_integer(n[2]));
	json_object_set_new(o, "Images", json_integer(images));
}

static void info(struct http_req *r)
{
	struct engine *e = r->e;
	struct be_info in = {0};
	json_t *warn = json_array();

	e->ops->info(e->be, &in, NULL);
	for (int i = 0; i < in.nwarnings; i++)
		json_array_append_new(warn, jstr(in.warnings[i]));
	json_t *o = json_pack(
	    "{s:s, s:s, s:[[s,s]], s:{s:[s], s:[s,s,s,s], s:n, s:[s,s]}, s:b, s:b, s:b, s:b, "
	    "s:b, s:b, s:s, s:s, "
	    "s:s, s:s, s:s, s:i, s:I, s:s, s:s, s:s, s:s, s:o}",
	    "ID", e->id, "Driver", in.storage_driver ? in.storage_driver : "h2", "DriverStatus",
	    "Backend", e->ops->name, "Plugins", "Volume", "local", "Network", "bridge",
	    "macvlan", "ipvlan", "null", "Authorization", "Log", "json-file", "local",
	    "MemoryLimit", in.memory_limit, "SwapLimit", false, "CpuCfsPeriod", in.cpu_limit,
	    "CpuCfsQuota", in.cpu_limit, "PidsLimit", in.pids_limit, "IPv4Forwarding", true,
	    "LoggingDriver", "json-file", "KernelVersion", in.kernel, "OperatingSystem", in.os,
	    "OSType", "linux", "Architecture", in.arch, "NCPU", in.ncpu, "MemTotal",
	    (json_int_t)in.memory, "DockerRootDir", "/var/lib/d0", "Name", e->cfg.host_name,
	    "ServerVersion", VERSION, "DefaultRuntime", "d0", "Warnings", warn);
	json_object_set_new(o, "Runtimes", json_pack("{s:{s:s}}", "d0", "path", "cell"));
	json_object_set_new(
	    o, "Swarm",
	    json_pack("{s:s, s:b}", "LocalNodeState", "inactive", "ControlAvailable", 0));
	json_object_set_new(o, "SystemTime", jtime(now_ns()));
	json_object_set_new(o, "IndexServerAddress",
			    json_string("https://index.docker.io/v1/"));
	json_object_set_new(o, "RegistryConfig",
			    json_pack("{s:[], s:{}, s:[]}", "InsecureRegistryCIDRs",
				      "IndexConfigs", "Mirrors"));
	json_object_set_new(o, "SecurityOptions", json_pack("[s]", "name=cell,profile=vm"));
	json_object_set_new(o, "Labels", json_array());
	json_object_set_new(o, "CgroupDriver", json_string("none"));
	json_object_set_new(o, "LiveRestoreEnabled", json_true());
	json_object_set_new(o, "ExperimentalBuild", json_false());
	if (in.memory_free) // not Docker's: what is left for more containers
		json_object_set_new(o, "MemFree", json_integer((json_int_t)in.memory_free));
	engine_lock(e);
	count(e, o);
	engine_unlock(e);
	resp_json(r, 200, o);
}
ROUTE("GET", "/info", info);

// ---- events ----

struct event_query {
	json_t *filters;
	int64_t since, until;
};

static bool fits_container(const char *value, void *ctx)
{
	const json_t *actor = jo(ctx, "Actor");
	const char *id = js(actor, "ID", "");

	return strcmp(js(ctx, "Type", ""), "container") == 0 &&
	       (strcmp(js(jo(actor, "Attributes"), "name", ""), value) == 0 ||
		(strlen(value) >= 4 && strncmp(id, value, strlen(value)) == 0));
}

// "exec_start: ls" is matched by "exec_start".
static bool fits_action(const char *value, void *ctx)
{
	size_t n = strlen(value);

	return strncmp(ctx, value, n) == 0 && (!((char *)ctx)[n] || ((char *)ctx)[n] == ':');
}

static bool event_fits(const struct event_query *q, json_t *ev)
{
	int64_t ns = ji(ev, "timeNano", 0);
	const json_t *attrs = jo(jo(ev, "Actor"), "Attributes");

	if ((q->since && ns < q->since) || (q->until && ns > q->until))
		return false;
	return filter_text(q->filters, "type", js(ev, "Type", "")) &&
	       filter_ok(q->filters, "event", fits_action, (void *)js(ev, "Action", "")) &&
	       filter_ok(q->filters, "container", fits_container, ev) &&
	       filter_text(q->filters, "image", js(attrs, "image", js(attrs, "name", ""))) &&
	       filter_labels(q->filters, attrs);
}

// Sends what is there from *AT on; -1 when the client is gone.
static int send_events(struct http_req *r, const struct event_query *q, uint64_t *at)
{
	struct engine *e = r->e;
	int rc = 0;

	engine_lock(e);
	if (e->ev.next - *at > EVENT_RING)
		*at = e->ev.next - EVENT_RING;
	while (*at < e->ev.next && rc == 0) {
		json_t *ev = json_incref(e->ev.ring[*at % EVENT_RING]);
		(*at)++;
		engine_unlock(e);
		if (event_fits(q, ev))
			rc = resp_json_line(r, json_incref(ev));
		json_decref(ev);
		engine_lock(e);
	}
	engine_unlock(e);
	return rc;
}

static void events(struct http_req *r)
{
	struct engine *e = r->e;
	struct event_query q = {0};
	const char *since = req_query(r, "since", NULL), *until = req_query(r, "until", NULL);

	if ((since && time_parse(since, &q.since) < 0) ||
	    (until && time_parse(until, &q.until) < 0)) {
		resp_error(r, 400, "invalid timestamp");
		return;
	}
	q.filters = api_filters(r, NULL);
	if (!q.filters)
		return;
	engine_lock(e);
	uint64_t at = since ? 0 : e->ev.next;
	engine_unlock(e);
	resp_begin(r, 200, "application/json", NULL);
	while (send_events(r, &q, &at) == 0 && !e->stopping && !req_gone(r)) {
		int64_t left = q.until ? (q.until - now_ns()) / 1000000 : 500;
		if (left <= 0)
			break;
		engine_lock(e);
		if (at == e->ev.next)
			engine_wait(e, &e->ev.more, left < 500 ? left + 1 : 500);
		engine_unlock(e);
	}
	resp_end(r);
	json_decref(q.filters);
}
ROUTE("GET", "/events", events);

// ---- disk usage ----

static void df(struct http_req *r)
{
	struct engine *e = r->e;
	json_t *images = json_array(), *conts = json_array(), *vols = json_array();
	uint64_t layers = 0;

	engine_lock(e);
	for (struct layer *l = e->layers; l; l = l->next)
		layers += l->size;
	for (struct image *im = e->images; im; im = im->next)
		json_array_append_new(images, image_summary(e, im, true));
	for (struct container *c = e->containers; c; c = c->next)
		json_array_append_new(conts, container_summary(e, c, true));
	for (struct volume *v = e->volumes; v; v = v->next) {
		json_t *o = volume_json(e, v);
		char *tree = xasprintf("v-%s", v->name);
		uint64_t bytes = 0;
		int refs = 0;
		for (struct container *c = e->containers; c; c = c->next)
			for (size_t i = 0; i < json_array_size(c->mounts); i++)
				refs += strcmp(js(json_array_get(c->mounts, i), "Name", ""),
					       v->name) == 0;
		e->ops->tree_usage(e->be, tree, &bytes, NULL);
		json_object_set_new(
		    o, "UsageData",
		    json_pack("{s:I, s:i}", "Size", (json_int_t)bytes, "RefCount", refs));
		json_array_append_new(vols, o);
		free(tree);
	}
	engine_unlock(e);
	resp_json(r, 200,
		  json_pack("{s:I, s:o, s:o, s:o, s:[]}", "LayersSize", (json_int_t)layers,
			    "Images", images, "Containers", conts, "Volumes", vols,
			    "BuildCache"));
}
ROUTE("GET", "/system/df", df);

static void no_swarm(struct http_req *r)
{
	resp_error(r, 503, "This node is not a swarm manager: D0 has no cluster engine.");
}
ROUTE("GET", "/swarm", no_swarm);
ROUTE("POST", "/swarm/init", no_swarm);
ROUTE("POST", "/swarm/join", no_swarm);
ROUTE("GET", "/services", no_swarm);
ROUTE("GET", "/nodes", no_swarm);
ROUTE("GET", "/tasks", no_swarm);
ROUTE("GET", "/secrets", no_swarm);
ROUTE("GET", "/configs", no_swarm);

static void plugins(struct http_req *r)
{
	resp_json(r, 200, json_array());
}
ROUTE("GET", "/plugins", plugins);
