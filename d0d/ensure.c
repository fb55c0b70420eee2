// SPDX-License-Identifier: ISC
// Containers that the host's owner wants to be there, told on the command line: made when they
// are missing, or were made from other words, and started. What a user did to one meanwhile
// (stopped it, changed its policy) stays as long as the words are the same.
#include <stdlib.h>
#include <string.h>

#include "d0d/engine.h"
#include "d0d/http.h"

#define LABEL "d0.ensure" // digest of the words it was made from

struct wanted {
	char *name;
	json_t *body; // a create request
	char digest[DIGEST_LEN + 1];
};

// NAME=REQUEST, the request percent-encoded JSON.
static int parse(const char *text, struct wanted *w, struct err *err)
{
	const char *eq = strchr(text, '=');
	char *json = eq ? xstrdup(eq + 1) : NULL;

	*w = (struct wanted){0};
	if (json && http_percent_decode(json, false))
		w->body = json_loads(json, 0, NULL);
	free(json);
	if (!json_is_object(w->body) || eq == text) {
		json_decref(w->body);
		return err_set(err, 400, "--ensure: not NAME=REQUEST: %.80s", text);
	}
	w->name = xstrndup(text, (size_t)(eq - text));
	sha256_text(text, strlen(text), w->digest);
	if (!jo(w->body, "Labels"))
		json_object_set_new(w->body, "Labels", json_object());
	json_object_set_new(jo(w->body, "Labels"), LABEL, json_string(w->digest));
	return 0;
}

static bool same(struct container *c, const struct wanted *w)
{
	return strcmp(js(jo(c->config, "Labels"), LABEL, ""), w->digest) == 0;
}

static int make(struct engine *e, const struct wanted *w, struct err *err)
{
	struct container *c = container_get(e, w->name, err);
	json_t *warnings = json_array();
	char id[ID_LEN + 1];
	int rc = 0;

	if (c && !same(c, w)) {
		rc = container_remove(e, c, true, false, err);
		container_put(e, c);
		c = NULL;
	}
	if (rc == 0 && !c) {
		rc = container_create(e, w->name, w->body, id, warnings, err);
		c = rc == 0 ? container_get(e, id, err) : NULL;
		if (c)
			rc = container_start(e, c, err);
	}
	if (c)
		container_put(e, c);
	json_decref(warnings);
	return rc;
}

int ensure_container(struct engine *e, const char *text, struct err *err)
{
	struct wanted w;
	int rc = parse(text, &w, err);

	if (rc < 0)
		return -1;
	rc = make(e, &w, err);
	free(w.name);
	json_decref(w.body);
	return rc;
}
