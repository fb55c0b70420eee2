// SPDX-License-Identifier: ISC
// Named volumes: a record beside a tree "v-<name>".
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/engine.h"

static void load_one(struct engine *e, const json_t *o)
{
	struct volume *v = xcalloc(1, sizeof(*v));

	snprintf(v->name, sizeof(v->name), "%s", js(o, "name", ""));
	v->labels = jo(o, "labels") ? json_incref(jo(o, "labels")) : json_object();
	v->options = jo(o, "options") ? json_incref(jo(o, "options")) : json_object();
	v->anonymous = jb(o, "anonymous", false);
	v->created_ns = ji(o, "created", 0);
	v->next = e->volumes;
	e->volumes = v;
}

int volumes_load(struct engine *e, struct err *err)
{
	engine_records(e, "volumes", load_one);
	return 0;
}

struct volume *volume_find_locked(struct engine *e, const char *name)
{
	for (struct volume *v = e->volumes; v; v = v->next)
		if (strcmp(v->name, name) == 0)
			return v;
	return NULL;
}

static void volume_free(struct volume *v)
{
	json_decref(v->labels);
	json_decref(v->options);
	free(v);
}

static int record(struct engine *e, struct volume *v, struct err *err)
{
	json_t *o = json_pack("{s:s, s:O, s:O, s:b, s:I}", "name", v->name, "labels", v->labels,
			      "options", v->options, "anonymous", v->anonymous, "created",
			      (json_int_t)v->created_ns);
	char *path = engine_path(e, "volumes/%s.json", v->name);
	int rc = json_write_atomic(path, o);

	if (rc < 0)
		err_set(err, errno == ENOSPC ? 507 : 500, "cannot record volume: %s",
			strerror(errno));
	json_decref(o);
	free(path);
	return rc;
}

int volume_create(struct engine *e, const char *name, const json_t *labels,
		  const json_t *options, char out[220], struct err *err)
{
	struct volume *v = xcalloc(1, sizeof(*v));
	int rc = 0;

	if (name && (!name_valid(name) || strlen(name) > 190)) {
		free(v);
		return err_set(
		    err, 400,
		    "create %.100s: \"%.100s\" includes invalid characters for a local volume "
		    "name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to "
		    "pass a "
		    "host directory, use absolute path",
		    name, name);
	}
	id_make(v->name);
	if (name)
		strcpy(v->name, name);
	v->anonymous = !name;
	v->labels = labels ? json_deep_copy(labels) : json_object();
	v->options = options ? json_deep_copy(options) : json_object();
	v->created_ns = now_ns();
	if (json_object_size(v->options)) {
		volume_free(v);
		return err_set(err, 400,
			       "volume options are not supported by D0's local driver");
	}
	strcpy(out, v->name);
	pthread_mutex_lock(&e->unpack); // two don't make the same tree
	engine_lock(e);
	bool exists = volume_find_locked(e, v->name) != NULL;
	engine_unlock(e);
	if (!exists) {
		char *tree = xasprintf("v-%s", v->name);
		e->ops->tree_remove(e->be, tree, NULL);
		rc = e->ops->tree_create(e->be, tree, BE_TREE_VOLUME, NULL, err);
		if (rc == 0)
			rc = record(e, v, err);
		if (rc < 0)
			e->ops->tree_remove(e->be, tree, NULL);
		free(tree);
		engine_lock(e);
		if (rc == 0)
			v->next = e->volumes, e->volumes = v;
		engine_unlock(e);
	}
	pthread_mutex_unlock(&e->unpack);
	if (exists || rc < 0)
		volume_free(v);
	else
		event_emit(e, "volume", "create", out, json_pack("{s:s}", "driver", "local"));
	return rc;
}

bool volume_in_use_locked(struct engine *e, const char *name)
{
	for (struct container *c = e->containers; c; c = c->next)
		for (size_t i = 0; i < json_array_size(c->mounts); i++)
			if (strcmp(js(json_array_get(c->mounts, i), "Name", ""), name) == 0)
				return true;
	return false;
}

static int remove_locked(struct engine *e, const char *name, struct volume **out,
			 struct err *err)
{
	struct volume **at = &e->volumes;

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	if (!*at)
		return err_set(err, 404, "get %.200s: no such volume", name);
	for (struct container *c = e->containers; c; c = c->next)
		for (size_t i = 0; i < json_array_size(c->mounts); i++)
			if (strcmp(js(json_array_get(c->mounts, i), "Name", ""), name) == 0)
				return err_set(err, 409, "remove %s: volume is in use - [%s]",
					       name, c->id);
	char *path = engine_path(e, "volumes/%s.json", name);
	unlink(path);
	free(path);
	*out = *at;
	*at = (*at)->next;
	return 0;
}

int volume_remove(struct engine *e, const char *name, bool force, struct err *err)
{
	struct volume *v = NULL;
	struct err mine;

	if (!err)
		err = &mine;
	engine_lock(e);
	int rc = remove_locked(e, name, &v, err);
	engine_unlock(e);
	if (rc < 0 || !v)
		return force && err->status == 404 ? 0 : -1;
	char *tree = xasprintf("v-%s", v->name);
	rc = e->ops->tree_remove(e->be, tree, err);
	free(tree);
	event_emit(e, "volume", "destroy", v->name, json_pack("{s:s}", "driver", "local"));
	volume_free(v);
	return rc;
}

json_t *volume_json(struct engine *e, struct volume *v)
{
	char *at = xasprintf("/var/lib/d0/volumes/%s/_data", v->name);
	json_t *o =
	    json_pack("{s:o, s:s, s:O, s:s, s:s, s:O, s:s}", "CreatedAt", jtime(v->created_ns),
		      "Driver", "local", "Labels", v->labels, "Mountpoint", at, "Name", v->name,
		      "Options", v->options, "Scope", "local");

	free(at);
	return o;
}
