// SPDX-License-Identifier: ISC
// Shared by the files of handlers (api_*.c).
#ifndef D0D_API_H
#define D0D_API_H

#include "d0d/engine.h"
#include "d0d/http.h"
#include "d0d/route.h"

// The container of the path's first capture, referenced; NULL after having answered.
struct container *api_container(struct http_req *r);
// Docker's `filters` parameter as {key: {value: true}} (its old form, lists, too); a new
// reference. NULL after having answered 400: it is none, or has a key that isn't in the
// comma-separated list KNOWN (NULL: every key will do).
json_t *api_filters(struct http_req *r, const char *known);
// True if the filter KEY is absent or some of its values fits.
bool filter_ok(const json_t *filters, const char *key,
	       bool (*fits)(const char *value, void *ctx), void *ctx);
bool filter_text(const json_t *filters, const char *key, const char *have); // exact
bool filter_substr(const json_t *filters, const char *key, const char *have);
bool filter_labels(const json_t *filters, const json_t *labels); // `label` and `label!`
// The first value of a filter, or DFLT.
const char *filter_value(const json_t *filters, const char *key, const char *dflt);
bool req_gone(void *req); // the client has gone away (for waits)

json_t *container_inspect(struct engine *e, struct container *c, bool size);
json_t *container_summary(struct engine *e, struct container *c, bool size);

// Relays between a client and a console until the output ends or the client goes.
struct relay_opts {
	bool in, tty, once; // once: the client's end of input closes the program's
	const char *detach; // key sequence such as "ctrl-p,ctrl-q"
};
struct console;
struct sub;
void relay_run(struct http_req *r, struct console *con, struct sub *s,
	       const struct relay_opts *o, void (*close_in)(void *ctx), void *ctx);
// Frames a piece of output as Docker's multiplexed stream.
int stream_frame(struct http_req *r, int stream, const void *data, size_t n, bool raw);

#endif
