// SPDX-License-Identifier: ISC
// Between registry.c and push.c: one registry that is being spoken to.
#ifndef D0D_REGISTRY_IMPL_H
#define D0D_REGISTRY_IMPL_H

#include "d0d/client.h"
#include "d0d/registry.h"

#define MANIFEST_MAX (4u << 20)

struct reg {
	struct engine *e;
	struct client_options opt;
	const struct ref *r;
	const struct registry_auth *auth;
	struct url base;
	char bearer[8192]; // a header line, or ""
	const char *scope; // "pull" or "pull,push"
	progress_fn *progress;
	void *ctx;
	struct err *err;
};

// Finds out how the registry is spoken to: TLS, or in clear where that is allowed.
int reg_open(struct reg *g, const char *domain);
int reg_url(struct reg *g, struct url *u, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// A request with credentials; a 401 is answered with them once. UP's file begins anew then.
int reg_call(struct reg *g, const char *method, const struct url *u, const char *more,
	     const struct http_upload *up, struct http_call *call);
// The registry's error body as a message; -1.
int reg_answer_error(struct reg *g, struct http_call *call, const char *what);
void reg_short_id(const char *digest, char out[13]);

#endif
