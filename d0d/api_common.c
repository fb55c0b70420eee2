// SPDX-License-Identifier: ISC
#include "d0d/api.h"

#include <string.h>

struct container *api_container(struct http_req *r)
{
	struct err err;
	struct container *c = container_get(r->e, r->arg[0], &err);

	if (!c)
		resp_err(r, &err);
	return c;
}

bool req_gone(void *req)
{
	return conn_peer_gone(((struct http_req *)req)->c);
}

static bool all_known(struct http_req *r, const json_t *filters, const char *known)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)filters, key, v)
	{
		size_t n = strlen(key);
		const char *at = strstr(known, key);
		while (at && !((at == known || at[-1] == ',') && (at[n] == ',' || !at[n])))
			at = strstr(at + 1, key);
		if (!at) {
			resp_error(r, 400, "invalid filter '%.80s'", key);
			return false;
		}
	}
	return true;
}

json_t *api_filters(struct http_req *r, const char *known)
{
	const char *text = req_query(r, "filters", NULL), *key;
	json_t *f = text ? json_loads(text, 0, NULL) : json_object(), *v, *out;

	if (!json_is_object(f)) {
		json_decref(f);
		resp_error(r, 400, "invalid filter: the filters parameter isn't a JSON object");
		return NULL;
	}
	out = json_object();
	json_object_foreach(f, key, v)
	{
		json_t *set = json_object();
		if (json_is_object(v))
			json_object_update(set, v);
		for (size_t i = 0; i < json_array_size(v); i++) {
			const char *s = json_string_value(json_array_get(v, i));
			if (s)
				json_object_set_new(set, s, json_true());
		}
		json_object_set_new(out, key, set);
	}
	json_decref(f);
	if (known && !all_known(r, out, known)) {
		json_decref(out);
		return NULL;
	}
	return out;
}

const char *filter_value(const json_t *filters, const char *key, const char *dflt)
{
	void *it = json_object_iter(jo(filters, key));

	return it ? json_object_iter_key(it) : dflt;
}

bool filter_ok(const json_t *filters, const char *key,
	       bool (*fits)(const char *value, void *ctx), void *ctx)
{
	json_t *set = jo(filters, key), *v;
	const char *value;

	if (!json_object_size(set))
		return true;
	json_object_foreach(set, value, v) if (fits(value, ctx)) return true;
	return false;
}

static bool fits_text(const char *value, void *ctx)
{
	return strcmp(value, ctx) == 0;
}

static bool fits_substr(const char *value, void *ctx)
{
	const char *have = ctx;

	if (*value == '^') { // anchors are what people use of regular expressions here
		size_t n = strlen(++value);
		if (*value == '/' && *have != '/')
			value++, n--;
		bool whole = n && value[n - 1] == '$';
		return strncmp(have, value, whole ? n - 1 : n) == 0 && (!whole || !have[n - 1]);
	}
	return strstr(have, value) != NULL;
}

bool filter_text(const json_t *filters, const char *key, const char *have)
{
	return filter_ok(filters, key, fits_text, (void *)have);
}

bool filter_substr(const json_t *filters, const char *key, const char *have)
{
	return filter_ok(filters, key, fits_substr, (void *)have);
}

static bool label_fits(const json_t *labels, const char *want)
{
	const char *eq = strchr(want, '=');

	if (!eq)
		return json_object_get(labels, want) != NULL;
	char *key = xstrndup(want, (size_t)(eq - want));
	const char *have = js(labels, key, NULL);
	bool ok = have && strcmp(have, eq + 1) == 0;
	free(key);
	return ok;
}

// All labels asked for must fit; none of `label!` may.
bool filter_labels(const json_t *filters, const json_t *labels)
{
	const char *want;
	json_t *v;

	json_object_foreach(jo(filters, "label"), want,
			    v) if (!label_fits(labels, want)) return false;
	json_object_foreach(jo(filters, "label!"), want,
			    v) if (label_fits(labels, want)) return false;
	return true;
}
