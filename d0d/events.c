// Events: a ring of the newest, each numbered; readers wait on a condition and compare
// numbers, so a slow reader loses old events rather than holding anyone up.
#include <string.h>

#include "d0d/engine.h"

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
	engine_lock(e);
	json_t **slot = &e->ev.ring[e->ev.next % EVENT_RING];
	json_decref(*slot);
	*slot = o;
	e->ev.next++;
	pthread_cond_broadcast(&e->ev.more);
	engine_unlock(e);
}
