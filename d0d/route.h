// SPDX-License-Identifier: ISC
// The API's routes. Each file of handlers registers its own with ROUTE(); the linker
// collects them, so a new route is one line beside its handler.
#ifndef D0D_ROUTE_H
#define D0D_ROUTE_H

#include "d0d/http.h"

// Which listener serves a route.
enum {
	ON_API = 1,  // the Docker endpoint: needs a client certificate where TLS is on
	ON_DASH = 2, // the dashboard's port: reads only
};

struct route {
	const char *method;
	// Segments; `{}` captures one, `{+}` captures one or more (image names).
	const char *pattern;
	int where;
	void (*serve)(struct http_req *r);
};

// (A method may not be an argument of the paste: the line number makes the name unique.)
#define ROUTE_CAT2(a, b) a##b
#define ROUTE_CAT(a, b)  ROUTE_CAT2(a, b)
#define ROUTE_ON(where, method, pattern, fn)                                          \
	static const struct route ROUTE_CAT(route_, __COUNTER__)                      \
	    __attribute__((section("d0d_routes"), used, aligned(sizeof(void *)))) = { \
		method, pattern, where, fn}
#define ROUTE(method, pattern, fn) ROUTE_ON(ON_API, method, pattern, fn)

// Finds the route of R (whose head is parsed), fills its captures and api_minor, calls it.
// Answers 400/404/405 itself where there is none.
void route_dispatch(struct http_req *r, int where);

// Exposed for tests: matches PATH (decoded segment by segment) against PATTERN; captures
// are allocated into ARG.
bool route_match(const char *pattern, const char *path, char *arg[2]);

#endif
