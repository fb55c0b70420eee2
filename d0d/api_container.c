// SPDX-License-Identifier: ISC
// /containers: create, list, inspect and the verbs.
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "d0d/api.h"

static void create(struct http_req *r)
{
	json_t *body = req_json(r, false), *warnings = json_array();
	char id[ID_LEN + 1];
	struct err err;

	if (!body) {
		json_decref(warnings);
		return;
	}
	if (container_create(r->e, req_query(r, "name", NULL), body, id, warnings, &err) < 0) {
		json_decref(warnings);
		resp_err(r, &err);
	} else {
		resp_json(r, 201, json_pack("{s:s, s:o}", "Id", id, "Warnings", warnings));
	}
	json_decref(body);
}
ROUTE("POST", "/containers/create", create);

// ---- list ----

struct list_query {
	struct engine *e;
	json_t *filters;
	bool all;
	int64_t before, since;
};

static bool fits_id(const char *value, void *ctx)
{
	return strncmp(((struct container *)ctx)->id, value, strlen(value)) == 0;
}

static bool fits_status(const char *value, void *ctx)
{
	const char *have = container_state_name(ctx);

	return strcmp(have, value) == 0;
}

static bool fits_exited(const char *value, void *ctx)
{
	struct container *c = ctx;

	return c->state == C_EXITED && c->exit_code == atoi(value);
}

struct ancestor {
	struct engine *e;
	struct container *c;
};

static bool fits_ancestor(const char *value, void *ctx)
{
	struct ancestor *a = ctx;
	struct image *im = image_find_locked(a->e, value, NULL);

	return (im && strcmp(im->id, a->c->image_id) == 0) ||
	       strcmp(value, a->c->image_ref) == 0;
}

static bool fits_network(const char *value, void *ctx)
{
	struct ancestor *a = ctx;
	struct network *n = network_find_locked(a->e, value, NULL);

	for (int i = 0; n && i < a->c->nep; i++)
		if (strcmp(a->c->ep[i].network, n->id) == 0)
			return true;
	return false;
}

static bool fits_volume(const char *value, void *ctx)
{
	struct container *c = ctx;

	for (size_t i = 0; i < json_array_size(c->mounts); i++) {
		const json_t *m = json_array_get(c->mounts, i);
		if (strcmp(js(m, "Name", ""), value) == 0 ||
		    strcmp(js(m, "Destination", ""), value) == 0)
			return true;
	}
	return false;
}

static bool fits_health(const char *value, void *ctx)
{
	static const char *const names[] = {"none", "starting", "healthy", "unhealthy"};

	return strcmp(names[((struct container *)ctx)->health], value) == 0;
}

static bool listed(struct list_query *q, struct container *c)
{
	struct ancestor a = {q->e, c};
	bool any_state = json_object_size(jo(q->filters, "status")) ||
			 json_object_size(jo(q->filters, "exited"));

	if (!q->all && !any_state && !container_running(c))
		return false;
	if ((q->before && c->created_ns >= q->before) ||
	    (q->since && c->created_ns <= q->since))
		return false;
	return filter_ok(q->filters, "id", fits_id, c) &&
	       filter_substr(q->filters, "name", c->name) &&
	       filter_ok(q->filters, "status", fits_status, c) &&
	       filter_ok(q->filters, "exited", fits_exited, c) &&
	       filter_ok(q->filters, "ancestor", fits_ancestor, &a) &&
	       filter_ok(q->filters, "network", fits_network, &a) &&
	       filter_ok(q->filters, "volume", fits_volume, c) &&
	       filter_ok(q->filters, "health", fits_health, c) &&
	       filter_labels(q->filters, jo(c->config, "Labels"));
}

static int64_t created_of(struct list_query *q, const char *key, struct err *err)
{
	const char *name = filter_value(q->filters, key, NULL);
	struct container *c = name ? container_find_locked(q->e, name, err) : NULL;

	return !name ? 0 : c ? c->created_ns : -1;
}

static void list(struct http_req *r)
{
	struct list_query q = {
	    .e = r->e,
	    .filters = api_filters(
		r, "id,name,status,exited,ancestor,network,volume,health,label,label!,before,"
		   "since,publish,expose,is-task,isolation")};
	int64_t limit = req_int(r, "limit", 0), n = 0;
	struct err err;
	json_t *out;

	if (!q.filters)
		return;
	out = json_array();
	q.all = req_flag(r, "all") || limit > 0;
	engine_lock(r->e);
	q.before = created_of(&q, "before", &err);
	q.since = q.before < 0 ? -1 : created_of(&q, "since", &err);
	for (struct container *c = r->e->containers; c && q.since >= 0; c = c->next)
		if (!c->removing && listed(&q, c) && (limit <= 0 || n++ < limit))
			json_array_append_new(out,
					      container_summary(r->e, c, req_flag(r, "size")));
	engine_unlock(r->e);
	json_decref(q.filters);
	if (q.before < 0 || q.since < 0) {
		json_decref(out);
		resp_err(r, &err);
	} else {
		resp_json(r, 200, out);
	}
}
ROUTE("GET", "/containers/json", list);

static void inspect(struct http_req *r)
{
	struct container *c = api_container(r);

	if (!c)
		return;
	engine_lock(r->e);
	json_t *o = container_inspect(r->e, c, req_flag(r, "size"));
	engine_unlock(r->e);
	resp_json(r, 200, o);
	container_put(r->e, c);
}
ROUTE("GET", "/containers/{}/json", inspect);

// ---- verbs ----

static void done(struct http_req *r, struct container *c, int rc, const struct err *err)
{
	if (rc == 0 || err->status == 304)
		resp_empty(r, rc == 0 ? 204 : 304);
	else
		resp_err(r, err);
	container_put(r->e, c);
}

static void start(struct http_req *r)
{
	struct container *c = api_container(r);
	struct err err = {0};

	if (c)
		done(r, c, container_start(r->e, c, &err), &err);
}
ROUTE("POST", "/containers/{}/start", start);

static int64_t timeout_of(struct http_req *r)
{
	return req_int(r, "t", INT64_MIN);
}

static void stop(struct http_req *r)
{
	struct container *c = api_container(r);
	struct err err = {0};

	if (c)
		done(r, c,
		     container_stop(r->e, c, timeout_of(r), req_query(r, "signal", NULL), &err),
		     &err);
}
ROUTE("POST", "/containers/{}/stop", stop);

static void restart(struct http_req *r)
{
	struct container *c = api_container(r);
	struct err err = {0};

	if (!c)
		return;
	int rc = container_stop(r->e, c, timeout_of(r), req_query(r, "signal", NULL), &err);
	if (rc == 0 || err.status == 304)
		rc = container_start(r->e, c, &err);
	if (rc < 0 && err.status == 304)
		rc = 0; // its policy was quicker
	if (rc == 0)
		container_event(r->e, c, "restart", NULL);
	done(r, c, rc, &err);
}
ROUTE("POST", "/containers/{}/restart", restart);

static void kill_(struct http_req *r)
{
	struct container *c = api_container(r);
	struct err err = {0};

	if (c)
		done(r, c, container_kill(r->e, c, req_query(r, "signal", NULL), &err), &err);
}
ROUTE("POST", "/containers/{}/kill", kill_);

static void pause_(struct http_req *r)
{
	struct container *c = api_container(r);
	struct err err = {0};

	if (c)
		done(r, c, container_pause(r->e, c, true, &err), &err);
}
ROUTE("POST", "/containers/{}/pause", pause_);

static void unpause(struct http_req *r)
{
	struct container *c = api_container(r);
	struct err err = {0};

	if (c)
		done(r, c, container_pause(r->e, c, false, &err), &err);
}
ROUTE("POST", "/containers/{}/unpause", unpause);

static void rename_(struct http_req *r)
{
	struct container *c = api_container(r);
	struct err err = {0};

	if (c)
		done(r, c, container_rename(r->e, c, req_query(r, "name", ""), &err), &err);
}
ROUTE("POST", "/containers/{}/rename", rename_);

static void remove_(struct http_req *r)
{
	struct container *c = api_container(r);
	struct err err = {0};

	if (!c)
		return;
	if (req_flag(r, "link")) {
		resp_error(r, 400, "links are not supported by D0");
		container_put(r->e, c);
		return;
	}
	done(r, c, container_remove(r->e, c, req_flag(r, "force"), req_flag(r, "v"), &err),
	     &err);
}
ROUTE("DELETE", "/containers/{}", remove_);

// The headers are sent at once (the CLI waits for them before it starts the container), so
// the answer is streamed.
static void wait_(struct http_req *r)
{
	const char *text = req_query(r, "condition", "not-running");
	int condition = strcmp(text, "next-exit") == 0 ? 1
			: strcmp(text, "removed") == 0 ? 2
						       : 0,
	    code = 0;
	struct container *c;

	if (condition == 0 && strcmp(text, "not-running") != 0) {
		resp_error(r, 400, "invalid condition: \"%.80s\"", text);
		return;
	}
	c = api_container(r);
	if (!c)
		return;
	resp_begin(r, 200, "application/json", NULL);
	if (container_wait(r->e, c, condition, req_gone, r, &code) == 0)
		resp_json_line(r, json_pack("{s:i}", "StatusCode", code));
	resp_end(r);
	container_put(r->e, c);
}
ROUTE("POST", "/containers/{}/wait", wait_);

static void resize(struct http_req *r)
{
	struct container *c = api_container(r);
	int64_t h = req_int(r, "h", 0), w = req_int(r, "w", 0);
	struct err err;

	if (!c)
		return;
	if (h < 0 || w < 0 || h > 65535 || w > 65535) {
		resp_error(r, 400, "invalid terminal size");
	} else {
		struct be_proc *p = proc_hold(r->e, c, &err);
		int rc = p ? r->e->ops->resize(p, (uint16_t)h, (uint16_t)w, &err) : -1;
		if (p)
			proc_drop(r->e, c);
		if (rc < 0)
			resp_err(r, &err);
		else
			resp_empty(r, 200);
	}
	container_put(r->e, c);
}
ROUTE("POST", "/containers/{}/resize", resize);

// ---- update ----

static int apply_update(struct engine *e, struct container *c, const json_t *body,
			struct err *err)
{
	static const char *const keys[] = {"Memory",    "MemorySwap",   "NanoCpus",
					   "CpuQuota",  "CpuPeriod",    "CpuShares",
					   "PidsLimit", "RestartPolicy"};
	struct be_limits l;
	int rc = 0;

	engine_lock(e);
	json_t *old = c->host, *host = json_deep_copy(old);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		json_t *v = json_object_get(body, keys[i]);
		bool set = (json_is_integer(v) && json_integer_value(v) != 0) ||
			   (json_is_object(v) && *js(v, "Name", ""));
		if (set)
			json_object_set(host, keys[i], v);
	}
	engine_unlock(e);
	json_t *probe = json_pack("{s:[s], s:O}", "Cmd", "x", "HostConfig", host), *cfg = NULL,
	       *h = NULL;
	json_t *warnings = json_array();
	rc =
	    create_decode(probe, NULL, &cfg, &h, warnings, err); // the same rules as for create
	json_decref(probe);
	json_decref(cfg);
	json_decref(h);
	json_decref(warnings);
	struct be_proc *p = rc < 0 ? NULL : proc_hold(e, c, NULL);
	limits_of(host, &l);
	if (p) {
		rc = e->ops->update(p, &l, err);
		proc_drop(e, c);
	}
	engine_lock(e);
	if (rc == 0) {
		c->host = host;
		container_save_locked(e, c);
		json_decref(old);
	} else {
		json_decref(host);
	}
	engine_unlock(e);
	return rc;
}

static void update(struct http_req *r)
{
	struct container *c = api_container(r);
	json_t *body = c ? req_json(r, false) : NULL;
	struct err err;

	if (!c)
		return;
	if (body) {
		pthread_mutex_lock(&c->op);
		int rc = apply_update(r->e, c, body, &err);
		pthread_mutex_unlock(&c->op);
		if (rc < 0) {
			resp_err(r, &err);
		} else {
			container_event(r->e, c, "update", NULL);
			resp_json(r, 200, json_pack("{s:[]}", "Warnings"));
		}
	}
	json_decref(body);
	container_put(r->e, c);
}
ROUTE("POST", "/containers/{}/update", update);

// ---- prune ----

static void prune(struct http_req *r)
{
	json_t *f = api_filters(r, "label,label!,until"), *gone;
	int64_t until = 0, bytes = 0;
	struct engine *e = r->e;

	if (!f)
		return;
	gone = json_array();
	const char *u = filter_value(f, "until", NULL);
	if (u && time_parse(u, &until) < 0) { // a duration such as "24h"
		char *end;
		double v = strtod(u, &end);
		until = now_ns() - (int64_t)(v * (*end == 'h'   ? 3600e9
						  : *end == 'm' ? 60e9
								: 1e9));
	}
	for (;;) {
		struct container *c;
		engine_lock(e);
		for (c = e->containers; c; c = c->next)
			if (!container_running(c) && !c->removing &&
			    (!until || c->created_ns < until) &&
			    filter_labels(f, jo(c->config, "Labels")))
				break;
		json_t *sum = c ? container_summary(e, c, true) : NULL;
		if (c)
			c->refs++;
		engine_unlock(e);
		if (!c)
			break;
		if (container_remove(e, c, false, false, NULL) == 0) {
			bytes += ji(sum, "SizeRw", 0);
			json_array_append_new(gone, json_string(c->id));
		}
		json_decref(sum);
		container_put(e, c);
	}
	json_decref(f);
	event_emit(e, "container", "prune", "", json_pack("{s:s}", "reclaimed", ""));
	resp_json(r, 200,
		  json_pack("{s:o, s:I}", "ContainersDeleted", gone, "SpaceReclaimed",
			    (json_int_t)bytes));
}
ROUTE("POST", "/containers/prune", prune);
