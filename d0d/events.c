// SPDX-License-Identifier: ISC
// Events: a ring of the newest, each numbered; readers wait on a condition and compare
// numbers, so a slow reader loses old events rather than holding anyone up.
//
// They are also written to events.jsonl in the state folder, a line each, so that their history
// outlives d0d; from half the ring's size on the file begins anew beside the old one. A
// line that a power cut left incomplete is not read.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/engine.h"

#define FILE_LINES (EVENT_RING / 2)

static void put_locked(struct engine *e, json_t *o)
{
	json_t **slot = &e->ev.ring[e->ev.next % EVENT_RING];

	json_decref(*slot);
	*slot = o;
	e->ev.next++;
	pthread_cond_broadcast(&e->ev.more);
}

static void load_file(struct engine *e, const char *name, unsigned *lines)
{
	char *path = engine_path(e, "%s", name), *line = NULL;
	FILE *f = fopen(path, "re");
	size_t cap = 0;

	*lines = 0;
	while (f && getline(&line, &cap, f) > 0) {
		json_t *o = strchr(line, '\n') ? json_loads(line, 0, NULL) : NULL;
		if (json_is_object(o))
			put_locked(e, o);
		else
			json_decref(o);
		++*lines;
	}
	if (f)
		fclose(f);
	free(line);
	free(path);
}

void events_load(struct engine *e)
{
	load_file(e, "events.jsonl.1", &e->ev.lines);
	load_file(e, "events.jsonl", &e->ev.lines);
}

static void write_line(struct engine *e, const json_t *o)
{
	char *path = engine_path(e, "events.jsonl"), *text = json_dumps(o, JSON_COMPACT);

	pthread_mutex_lock(&e->ev.file_lock);
	if (e->ev.lines >= FILE_LINES) {
		char *old = engine_path(e, "events.jsonl.1");
		rename(path, old);
		free(old);
		e->ev.lines = 0;
	}
	FILE *f = fopen(path, "ae");
	if (f && text) {
		fprintf(f, "%s\n", text);
		e->ev.lines++;
	}
	if (f)
		fclose(f);
	pthread_mutex_unlock(&e->ev.file_lock);
	free(text);
	free(path);
}

void event_emit(struct engine *e, const char *type, const char *action, const char *id,
		json_t *attrs)
{
	int64_t ns = now_ns();
	bool old_style = strcmp(type, "container") == 0 || strcmp(type, "image") == 0;
	json_t *o =
	    json_pack("{s:s, s:s, s:{s:s, s:O}, s:s, s:I, s:I}", "Type", type, "Action", action,
		      "Actor", "ID", id, "Attributes", attrs, "scope", "local", "time",
		      (json_int_t)(ns / 1000000000), "timeNano", (json_int_t)ns);

	if (!o)
		o = json_object();
	if (old_style) {
		json_object_set_new(o, "status", json_string(action));
		json_object_set_new(o, "id", json_string(id));
		if (js(attrs, "image", NULL))
			json_object_set_new(o, "from", jstr(js(attrs, "image", "")));
	}
	json_decref(attrs);
	json_incref(o);
	engine_lock(e);
	put_locked(e, o);
	engine_unlock(e);
	write_line(e, o);
	json_decref(o);
}
