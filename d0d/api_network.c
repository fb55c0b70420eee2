// SPDX-License-Identifier: ISC
// /networks and /volumes.
#include <string.h>

#include "d0d/api.h"

static bool fits_id(const char *value, void *ctx)
{
	return strncmp(((struct network *)ctx)->id, value, strlen(value)) == 0;
}

static bool fits_type(const char *value, void *ctx)
{
	return strcmp(value, ((struct network *)ctx)->builtin ? "builtin" : "custom") == 0;
}

static void net_list(struct http_req *r)
{
	json_t *f = api_filters(r, "name,id,driver,label,label!,scope,type,dangling"), *out;

	if (!f)
		return;
	out = json_array();
	const char *dangling = filter_value(f, "dangling", NULL);
	engine_lock(r->e);
	for (struct network *n = r->e->networks; n; n = n->next) {
		if (dangling &&
		    (strcmp(dangling, "true") == 0) == network_in_use_locked(r->e, n))
			continue;
		if (filter_substr(f, "name", n->name) && filter_text(f, "driver", n->driver) &&
		    filter_ok(f, "id", fits_id, n) && filter_ok(f, "type", fits_type, n) &&
		    filter_text(f, "scope", "local") && filter_labels(f, n->labels))
			json_array_append_new(out, network_json(r->e, n, false));
	}
	engine_unlock(r->e);
	json_decref(f);
	resp_json(r, 200, out);
}
ROUTE("GET", "/networks", net_list);

static void net_inspect(struct http_req *r)
{
	struct err err;

	engine_lock(r->e);
	struct network *n = network_find_locked(r->e, r->arg[0], &err);
	json_t *o = n ? network_json(r->e, n, true) : NULL;
	engine_unlock(r->e);
	if (o)
		resp_json(r, 200, o);
	else
		resp_err(r, &err);
}
ROUTE("GET", "/networks/{}", net_inspect);

static void net_create(struct http_req *r)
{
	json_t *body = req_json(r, false), *warnings = json_array();
	char id[ID_LEN + 1];
	struct err err;

	if (!body) {
		json_decref(warnings);
	} else if (network_create(r->e, body, id, warnings, &err) < 0) {
		json_decref(warnings);
		resp_err(r, &err);
	} else {
		const char *w = json_string_value(json_array_get(warnings, 0)) ?: "";
		resp_json(r, 201, json_pack("{s:s, s:s}", "Id", id, "Warning", w));
		json_decref(warnings);
	}
	json_decref(body);
}
ROUTE("POST", "/networks/create", net_create);

static void net_remove(struct http_req *r)
{
	struct err err;

	if (network_remove(r->e, r->arg[0], &err) < 0)
		resp_err(r, &err);
	else
		resp_empty(r, 204);
}
ROUTE("DELETE", "/networks/{}", net_remove);

static int join_or_leave(struct http_req *r, struct container *c, const json_t *body, bool join,
			 struct err *err)
{
	return join ? network_connect(r->e, r->arg[0], c, jo(body, "EndpointConfig"), err)
		    : network_disconnect(r->e, r->arg[0], c, jb(body, "Force", false), err);
}

static void net_membership(struct http_req *r, bool join)
{
	json_t *body = req_json(r, false);
	struct err err;
	struct container *c =
	    body ? container_get(r->e, js(body, "Container", ""), &err) : NULL;

	if (body && !c)
		resp_err(r, &err);
	else if (c && join_or_leave(r, c, body, join, &err) < 0)
		resp_err(r, &err);
	else if (c)
		resp_empty(r, 200);
	if (c)
		container_put(r->e, c);
	json_decref(body);
}

static void net_connect(struct http_req *r)
{
	net_membership(r, true);
}
ROUTE("POST", "/networks/{}/connect", net_connect);

static void net_disconnect(struct http_req *r)
{
	net_membership(r, false);
}
ROUTE("POST", "/networks/{}/disconnect", net_disconnect);

static void net_prune(struct http_req *r)
{
	json_t *f = api_filters(r, "label,label!,until"), *gone;
	char name[200];

	if (!f)
		return;
	gone = json_array();
	do {
		*name = 0;
		engine_lock(r->e);
		for (struct network *n = r->e->networks; n && !*name; n = n->next) {
			bool named = false; // by a stopped container
			for (struct container *c = r->e->containers; c; c = c->next)
				for (int i = 0; i < c->nep; i++)
					named |= strcmp(c->ep[i].network, n->id) == 0;
			if (!n->builtin && !named && filter_labels(f, n->labels))
				strcpy(name, n->name);
		}
		engine_unlock(r->e);
		if (*name && network_remove(r->e, name, NULL) < 0)
			break;
		if (*name)
			json_array_append_new(gone, json_string(name));
	} while (*name);
	json_decref(f);
	resp_json(r, 200, json_pack("{s:o}", "NetworksDeleted", gone));
}
ROUTE("POST", "/networks/prune", net_prune);

// ---- volumes ----

static void vol_list(struct http_req *r)
{
	json_t *f = api_filters(r, "name,driver,label,label!,dangling"), *out;

	if (!f)
		return;
	out = json_array();
	const char *d = filter_value(f, "dangling", NULL);
	engine_lock(r->e);
	for (struct volume *v = r->e->volumes; v; v = v->next) {
		bool dangling = d && (strcmp(d, "true") == 0 || strcmp(d, "1") == 0);
		if (d && dangling == volume_in_use_locked(r->e, v->name))
			continue;
		if (filter_substr(f, "name", v->name) && filter_text(f, "driver", "local") &&
		    filter_labels(f, v->labels))
			json_array_append_new(out, volume_json(r->e, v));
	}
	engine_unlock(r->e);
	json_decref(f);
	resp_json(r, 200, json_pack("{s:o, s:[]}", "Volumes", out, "Warnings"));
}
ROUTE("GET", "/volumes", vol_list);

static void vol_answer(struct http_req *r, const char *name, int status)
{
	engine_lock(r->e);
	struct volume *v = volume_find_locked(r->e, name);
	json_t *o = v ? volume_json(r->e, v) : NULL;
	engine_unlock(r->e);
	if (o)
		resp_json(r, status, o);
	else
		resp_error(r, 404, "get %.200s: no such volume", name);
}

static void vol_inspect(struct http_req *r)
{
	vol_answer(r, r->arg[0], 200);
}
ROUTE("GET", "/volumes/{}", vol_inspect);

static void vol_create(struct http_req *r)
{
	json_t *body = req_json(r, true);
	char name[220];
	struct err err = {0};

	if (!body)
		return;
	const char *driver = js(body, "Driver", "local"), *want = js(body, "Name", "");
	if (*driver && strcmp(driver, "local") != 0)
		resp_error(r, 404,
			   "error looking up volume plugin %.80s: plugin \"%.80s\" not found",
			   driver, driver);
	else if (volume_create(r->e, *want ? want : NULL, jo(body, "Labels"),
			       jo(body, "DriverOpts"), name, &err) < 0)
		resp_err(r, &err);
	else
		vol_answer(r, name, 201);
	json_decref(body);
}
ROUTE("POST", "/volumes/create", vol_create);

static void vol_remove(struct http_req *r)
{
	struct err err;

	if (volume_remove(r->e, r->arg[0], req_flag(r, "force"), &err) < 0)
		resp_err(r, &err);
	else
		resp_empty(r, 204);
}
ROUTE("DELETE", "/volumes/{}", vol_remove);

static void vol_prune(struct http_req *r)
{
	json_t *f = api_filters(r, "label,label!,all"), *gone;
	struct engine *e = r->e;
	uint64_t bytes = 0, sum = 0;
	char name[220];

	if (!f)
		return;
	gone = json_array();
	bool all = strcmp(filter_value(f, "all", "false"), "true") == 0 || r->api_minor < 42;
	do {
		*name = 0;
		engine_lock(e);
		for (struct volume *v = e->volumes; v && !*name; v = v->next)
			if ((all || v->anonymous) && !volume_in_use_locked(e, v->name) &&
			    filter_labels(f, v->labels))
				strcpy(name, v->name);
		engine_unlock(e);
		char *tree = xasprintf("v-%s", name);
		if (*name && e->ops->tree_usage(e->be, tree, &bytes, NULL) < 0)
			bytes = 0;
		free(tree);
		if (*name && volume_remove(e, name, false, NULL) < 0)
			break;
		if (*name) {
			json_array_append_new(gone, json_string(name));
			sum += bytes;
		}
	} while (*name);
	json_decref(f);
	resp_json(
	    r, 200,
	    json_pack("{s:o, s:I}", "VolumesDeleted", gone, "SpaceReclaimed", (json_int_t)sum));
}
ROUTE("POST", "/volumes/prune", vol_prune);
