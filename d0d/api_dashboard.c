// SPDX-License-Identifier: ISC
// The dashboard's port: a page, its data (status.json) and /metrics. Reads only.
//
// Metrics follow OpenMetrics 1.0: counters end in _total, a family's lines stand together,
// the text ends with "# EOF".
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/api.h"
#include "d0d/server.h"

extern const char www_html[], www_html_end[], www_css[], www_css_end[], www_js[], www_js_end[];

static void send_file(struct http_req *r, const char *type, const char *at, const char *end)
{
	static const char guard[] =
	    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
	    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
	    "frame-ancestors 'none'\r\n"
	    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: "
	    "no-cache\r\n";

	resp_begin(r, 200, type, guard);
	resp_write(r, at, (size_t)(end - at));
	resp_end(r);
}

static void page(struct http_req *r)
{
	send_file(r, "text/html; charset=utf-8", www_html, www_html_end);
}
ROUTE_ON(ON_DASH, "GET", "/", page);
ROUTE_ON(ON_DASH, "GET", "/index.html", page);

static void css(struct http_req *r)
{
	send_file(r, "text/css; charset=utf-8", www_css, www_css_end);
}
ROUTE_ON(ON_DASH, "GET", "/app.css", css);

static void js_file(struct http_req *r)
{
	send_file(r, "text/javascript; charset=utf-8", www_js, www_js_end);
}
ROUTE_ON(ON_DASH, "GET", "/app.js", js_file);

// ---- a snapshot of everything ----

struct row {
	struct container *c; // referenced
	struct be_stats st;
	bool have;
	uint64_t disk;
};

struct snapshot {
	struct engine *e;
	struct row *row;
	size_t n;
};

static void snap(struct engine *e, struct snapshot *s)
{
	size_t cap = 0;

	*s = (struct snapshot){.e = e};
	engine_lock(e);
	for (struct container *c = e->containers; c; c = c->next)
		cap++;
	s->row = xcalloc(cap, sizeof(*s->row));
	for (struct container *c = e->containers; c; c = c->next) {
		c->refs++;
		s->row[s->n++].c = c;
	}
	engine_unlock(e);
	for (size_t i = 0; i < s->n; i++) {
		struct be_proc *p = proc_hold(e, s->row[i].c, NULL);
		char tree[ID_LEN + 3];
		if (p) {
			s->row[i].have = e->ops->stats(p, &s->row[i].st, NULL) == 0;
			proc_drop(e, s->row[i].c);
		}
		snprintf(tree, sizeof(tree), "c-%s", s->row[i].c->id);
		e->ops->tree_usage(e->be, tree, &s->row[i].disk, NULL);
	}
}

static void snap_free(struct snapshot *s)
{
	for (size_t i = 0; i < s->n; i++)
		container_put(s->e, s->row[i].c);
	free(s->row);
}

static void traffic(const struct be_stats *st, uint64_t *rx, uint64_t *tx)
{
	*rx = *tx = 0;
	for (size_t i = 0; i < st->nnet; i++) {
		*rx += st->net[i].rx_bytes;
		*tx += st->net[i].tx_bytes;
	}
}

static const char *const health_names[] = {"none", "starting", "healthy", "unhealthy"};

static json_t *row_json(struct snapshot *s, struct row *w)
{
	json_t *sum = container_summary(s->e, w->c, false), *ports = json_array();
	uint64_t rx, tx;

	for (int i = 0; i < w->c->nports && container_running(w->c); i++) {
		char text[40];
		snprintf(text, sizeof(text), "%d→%d/%s", w->c->ports[i].host_port,
			 w->c->ports[i].port,
			 w->c->ports[i].proto == IPPROTO_UDP ? "udp" : "tcp");
		json_array_append_new(ports, json_string(text));
	}
	traffic(&w->st, &rx, &tx);
	json_t *o = json_pack(
	    "{s:s, s:s, s:O, s:O, s:O, s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "id",
	    w->c->id, "name", w->c->name, "image", json_object_get(sum, "Image"), "state",
	    json_object_get(sum, "State"), "status", json_object_get(sum, "Status"), "health",
	    health_names[w->c->health], "cpu", (double)w->st.cpu_ns / 1e9, "memory",
	    (json_int_t)w->st.mem_usage, "memory_limit", (json_int_t)w->st.mem_limit, "rx",
	    (json_int_t)rx, "tx", (json_int_t)tx, "disk", (json_int_t)w->disk, "read",
	    (json_int_t)w->st.blk_read, "written", (json_int_t)w->st.blk_write, "ports", ports);
	json_decref(sum);
	return o;
}

static int cell_json(void *ctx, const struct be_cell *c)
{
	json_array_append_new(
	    ctx,
	    json_pack("{s:s, s:s, s:s, s:f, s:I, s:I, s:I, s:I}", "name", c->name, "kind",
		      c->kind, "state", c->state, "cpu", (double)c->cpu_ns / 1e9, "memory",
		      (json_int_t)c->memory, "restarts", (json_int_t)c->restarts, "repairs",
		      (json_int_t)c->repairs, "verified", (json_int_t)c->verified_pages));
	return 0;
}

// A host without cells shows its containers in their place.
static json_t *cells_json(struct snapshot *s)
{
	json_t *a = json_array();

	if (s->e->ops->cells) {
		s->e->ops->cells(s->e->be, cell_json, a);
		return a;
	}
	for (size_t i = 0; i < s->n; i++) {
		struct container *c = s->row[i].c;
		struct be_cell cell = {.memory = s->row[i].st.mem_usage,
				       .restarts = (uint64_t)c->restart_count};
		if (!container_running(c))
			continue;
		snprintf(cell.name, sizeof(cell.name), "%.60s", c->name);
		snprintf(cell.kind, sizeof(cell.kind), "linux");
		snprintf(cell.state, sizeof(cell.state), "%s", container_state_name(c));
		cell_json(a, &cell);
	}
	return a;
}

static json_t *events_json(struct engine *e)
{
	json_t *a = json_array();

	for (uint64_t i = 0; i < 60 && i < e->ev.next; i++) {
		const json_t *ev = e->ev.ring[(e->ev.next - 1 - i) % EVENT_RING];
		const json_t *actor = jo(ev, "Actor");
		char id[13];
		snprintf(id, sizeof(id), "%.12s", js(actor, "ID", ""));
		json_array_append_new(
		    a, json_pack("{s:I, s:s, s:s, s:s}", "time", (json_int_t)ji(ev, "time", 0),
				 "type", js(ev, "Type", ""), "action", js(ev, "Action", ""),
				 "name", js(jo(actor, "Attributes"), "name", id)));
	}
	return a;
}

static void status(struct http_req *r)
{
	struct engine *e = r->e;
	struct snapshot s;
	struct be_info in = {0};
	json_t *rows = json_array();
	uint64_t layers = 0;
	int images = 0, running = 0;

	snap(e, &s);
	e->ops->info(e->be, &in, NULL);
	engine_lock(e);
	for (size_t i = 0; i < s.n; i++) {
		json_array_append_new(rows, row_json(&s, &s.row[i]));
		running += container_running(s.row[i].c);
	}
	for (struct image *im = e->images; im; im = im->next)
		images++;
	for (struct layer *l = e->layers; l; l = l->next)
		layers += l->size;
	json_t *o = json_pack(
	    "{s:f, s:s, s:s, s:s, s:f, s:i, s:I, s:I, s:b, s:{s:i, s:i, s:i, s:I, s:I}, s:o, "
	    "s:o, "
	    "s:o}",
	    "time", (double)now_ns() / 1e9, "host", e->cfg.host_name, "version", "D0 1.0.0",
	    "backend", e->ops->name, "uptime", (double)(now_ns() - e->started_ns) / 1e9, "cpus",
	    in.ncpu, "memory", (json_int_t)in.memory, "memory_free", (json_int_t)in.memory_free,
	    "ring", e->ops->cells != NULL, "totals", "containers", (int)s.n, "running", running,
	    "images", images, "layers", (json_int_t)layers, "oom", (json_int_t)e->n_oom,
	    "containers", rows, "cells", cells_json(&s), "events", events_json(e));
	engine_unlock(e);
	snap_free(&s);
	resp_json(r, 200, o);
}
ROUTE_ON(ON_DASH, "GET", "/status.json", status);

// ---- metrics ----

static void family(struct sbuf *b, const char *name, const char *type, const char *unit,
		   const char *help)
{
	sbuf_addf(b, "# TYPE %s %s\n", name, type);
	if (*unit)
		sbuf_addf(b, "# UNIT %s %s\n", name, unit);
	sbuf_addf(b, "# HELP %s %s\n", name, help);
}

// Label values escape backslash, quote and newline.
static void label(struct sbuf *b, const char *key, const char *value, const char *sep)
{
	sbuf_addf(b, "%s=\"", key);
	for (; *value; value++)
		if (*value == '\n')
			sbuf_adds(b, "\\n");
		else if (*value == '"' || *value == '\\')
			sbuf_addf(b, "\\%c", *value);
		else
			sbuf_add(b, value, 1);
	sbuf_addf(b, "\"%s", sep);
}

static void sample(struct sbuf *b, const char *name, struct container *c, double v)
{
	char id[13];

	snprintf(id, sizeof(id), "%.12s", c->id);
	sbuf_addf(b, "%s{", name);
	label(b, "id", id, ",");
	label(b, "name", c->name, ",");
	label(b, "image", c->image_ref, "} ");
	sbuf_addf(b, "%.17g\n", v);
}

enum what {
	W_CPU,
	W_MEM,
	W_LIMIT,
	W_RX,
	W_TX,
	W_PIDS,
	W_DISK,
	W_RESTARTS
};

static double value_of(const struct row *w, enum what what)
{
	uint64_t rx, tx;

	traffic(&w->st, &rx, &tx);
	switch (what) {
	case W_CPU:
		return (double)w->st.cpu_ns / 1e9;
	case W_MEM:
		return (double)w->st.mem_usage;
	case W_LIMIT:
		return (double)w->st.mem_limit;
	case W_RX:
		return (double)rx;
	case W_TX:
		return (double)tx;
	case W_PIDS:
		return (double)w->st.pids;
	case W_DISK:
		return (double)w->disk;
	case W_RESTARTS:
		return w->c->restart_count;
	}
	return 0;
}

static void container_families(struct sbuf *b, struct snapshot *s)
{
	static const struct {
		const char *name, *type, *unit, *help;
		enum what what;
		bool running; // only of running containers
	} fam[] = {
	    {"d0_container_cpu_seconds", "counter", "seconds", "CPU time used since the start.",
	     W_CPU, true},
	    {"d0_container_memory_bytes", "gauge", "bytes", "Memory in use.", W_MEM, true},
	    {"d0_container_memory_limit_bytes", "gauge", "bytes", "Memory it may use.", W_LIMIT,
	     true},
	    {"d0_container_network_receive_bytes", "counter", "bytes", "Bytes received.", W_RX,
	     true},
	    {"d0_container_network_transmit_bytes", "counter", "bytes", "Bytes sent.", W_TX,
	     true},
	    {"d0_container_processes", "gauge", "", "Processes and threads.", W_PIDS, true},
	    {"d0_container_disk_bytes", "gauge", "bytes", "Bytes written to its own root.",
	     W_DISK, false},
	    {"d0_container_restarts", "counter", "", "Restarts by its policy.", W_RESTARTS,
	     false},
	};
	for (size_t f = 0; f < sizeof(fam) / sizeof(fam[0]); f++) {
		bool total = strcmp(fam[f].type, "counter") == 0;
		char name[80];
		snprintf(name, sizeof(name), "%s%s", fam[f].name, total ? "_total" : "");
		family(b, fam[f].name, fam[f].type, fam[f].unit, fam[f].help);
		for (size_t i = 0; i < s->n; i++)
			if (!fam[f].running || s->row[i].have)
				sample(b, name, s->row[i].c, value_of(&s->row[i], fam[f].what));
	}
}

static void engine_families(struct sbuf *b, struct engine *e, int conns)
{
	static const char *const states[] = {"created",    "running", "paused",
					     "restarting", "exited",  "dead"};
	int n[6] = {0}, images = 0;
	uint64_t layers = 0;

	for (struct container *c = e->containers; c; c = c->next)
		n[c->state]++;
	for (struct image *im = e->images; im; im = im->next)
		images++;
	for (struct layer *l = e->layers; l; l = l->next)
		layers += l->size;
	family(b, "d0_build", "info", "", "What runs here.");
	sbuf_addf(b, "d0_build_info{version=\"1.0.0\",backend=\"%s\"} 1\n", e->ops->name);
	family(b, "d0_uptime_seconds", "gauge", "seconds", "Time since d0d started.");
	sbuf_addf(b, "d0_uptime_seconds %.3f\n", (double)(now_ns() - e->started_ns) / 1e9);
	family(b, "d0_containers", "gauge", "", "Containers by state.");
	for (int i = 0; i < 6; i++)
		sbuf_addf(b, "d0_containers{state=\"%s\"} %d\n", states[i], n[i]);
	family(b, "d0_images", "gauge", "", "Images.");
	sbuf_addf(b, "d0_images %d\n", images);
	family(b, "d0_layers_bytes", "gauge", "bytes", "Size of all image layers.");
	sbuf_addf(b, "d0_layers_bytes %llu\n", (unsigned long long)layers);
	family(b, "d0_container_starts", "counter", "", "Containers started.");
	sbuf_addf(b, "d0_container_starts_total %llu\n", (unsigned long long)e->n_started);
	family(b, "d0_container_ends", "counter", "", "Containers that ended.");
	sbuf_addf(b, "d0_container_ends_total %llu\n", (unsigned long long)e->n_died);
	family(b, "d0_oom_kills", "counter", "", "Containers ended for want of memory.");
	sbuf_addf(b, "d0_oom_kills_total %llu\n", (unsigned long long)e->n_oom);
	family(b, "d0_events", "counter", "", "Events emitted.");
	sbuf_addf(b, "d0_events_total %llu\n", (unsigned long long)e->ev.next);
	family(b, "d0_connections", "gauge", "", "Open HTTP connections.");
	sbuf_addf(b, "d0_connections %d\n", conns);
}

struct cells {
	struct be_cell *v;
	size_t n;
};

static int collect_cell(void *ctx, const struct be_cell *c)
{
	struct cells *k = ctx;

	k->v = xrealloc(k->v, (k->n + 1) * sizeof(*k->v));
	k->v[k->n++] = *c;
	return 0;
}

static void cell_families(struct sbuf *b, struct engine *e)
{
	static const struct {
		const char *name, *help;
		size_t at;
	} fam[] = {
	    {"d0_cell_restarts", "Micro-reboots.", offsetof(struct be_cell, restarts)},
	    {"d0_cell_verified_pages", "Pages verified.",
	     offsetof(struct be_cell, verified_pages)},
	    {"d0_cell_repairs", "Pages repaired.", offsetof(struct be_cell, repairs)},
	};
	struct cells k = {0};

	if (!e->ops->cells || e->ops->cells(e->be, collect_cell, &k) < 0)
		return;
	for (size_t f = 0; f < 3; f++) {
		family(b, fam[f].name, "counter", "", fam[f].help);
		for (size_t i = 0; i < k.n; i++) {
			sbuf_addf(b, "%s_total{", fam[f].name);
			label(b, "cell", k.v[i].name, ",");
			label(b, "kind", k.v[i].kind, "} ");
			uint64_t v;
			memcpy(&v, (const char *)&k.v[i] + fam[f].at, sizeof(v));
			sbuf_addf(b, "%llu\n", (unsigned long long)v);
		}
	}
	free(k.v);
}

static void metrics(struct http_req *r)
{
	struct snapshot s;
	struct sbuf b = {0};

	snap(r->e, &s);
	engine_lock(r->e);
	engine_families(&b, r->e,
			r->srv ? __atomic_load_n(&r->srv->conns, __ATOMIC_RELAXED) : 0);
	container_families(&b, &s);
	engine_unlock(r->e);
	cell_families(&b, r->e);
	sbuf_adds(&b, "# EOF\n");
	snap_free(&s);
	resp_data(r, 200, "application/openmetrics-text; version=1.0.0; charset=utf-8", b.p,
		  b.len);
	sbuf_free(&b);
}
ROUTE_ON(ON_DASH | ON_API, "GET", "/metrics", metrics);
