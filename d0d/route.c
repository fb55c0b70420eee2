// SPDX-License-Identifier: ISC
#include "d0d/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API_MAX 50
#define API_MIN 24

extern const struct route __start_d0d_routes[], __stop_d0d_routes[];

// Number of segments in a pattern or path that starts with '/'.
static int segments(const char *s)
{
	int n = 0;

	for (; *s; s++)
		n += *s == '/';
	return n;
}

static const char *segment_end(const char *s)
{
	return s + strcspn(s, "/");
}

static bool same(const char *a, const char *a_end, const char *b, const char *b_end)
{
	return a_end - a == b_end - b && memcmp(a, b, (size_t)(a_end - a)) == 0;
}

static bool is_word(const char *s, const char *end, const char *word)
{
	return same(s, end, word, word + strlen(word));
}

bool route_match(const char *pattern, const char *path, char *arg[2])
{
	int spare = segments(path) - segments(pattern), narg = 0;

	arg[0] = arg[1] = NULL;
	if (spare < 0 || (spare > 0 && !strstr(pattern, "{+}")))
		return false;
	while (*pattern == '/' && *path == '/') {
		const char *pe = segment_end(++pattern), *se = segment_end(++path);
		bool many = is_word(pattern, pe, "{+}");
		if (many || is_word(pattern, pe, "{}")) {
			for (; many && spare > 0; spare--)
				se = segment_end(se + 1);
			if (se == path || narg == 2)
				break;
			arg[narg] = xstrndup(path, (size_t)(se - path));
			if (!http_percent_decode(arg[narg++], false))
				break;
		} else if (!same(pattern, pe, path, se)) {
			break;
		}
		pattern = pe;
		path = se;
	}
	if (*pattern == 0 && *path == 0)
		return true;
	for (int i = 0; i < 2; i++) {
		free(arg[i]);
		arg[i] = NULL;
	}
	return false;
}

// Takes /v1.NN off the path. Returns the rest, or NULL after having answered.
static const char *strip_version(struct http_req *r)
{
	int major, minor, used = 0;
	const char *path = r->h.path;

	r->api_minor = API_MAX;
	if (sscanf(path, "/v%2d.%3d%n", &major, &minor, &used) != 2 || !used ||
	    path[used] != '/')
		return path;
	if (major != 1 || minor > API_MAX) {
		resp_error(
		    r, 400,
		    "client version %d.%d is too new. Maximum supported API version is 1.%d",
		    major, minor, API_MAX);
		return NULL;
	}
	if (minor < API_MIN) {
		resp_error(
		    r, 400,
		    "client version %d.%d is too old. Minimum supported API version is 1.%d, "
		    "please upgrade your client to a newer version",
		    major, minor, API_MIN);
		return NULL;
	}
	r->api_minor = minor;
	return path + used;
}

void route_dispatch(struct http_req *r, int where)
{
	const char *path = strip_version(r);
	bool elsewhere = false;

	if (!path)
		return;
	r->head_only = strcmp(r->h.method, "HEAD") == 0;
	for (const struct route *t = __start_d0d_routes; t < __stop_d0d_routes; t++) {
		char *arg[2];
		if (!(t->where & where) || !route_match(t->pattern, path, arg))
			continue;
		bool fits = strcmp(t->method, r->h.method) == 0;
		if (fits) {
			r->arg[0] = arg[0];
			r->arg[1] = arg[1];
			t->serve(r);
			return;
		}
		free(arg[0]);
		free(arg[1]);
		elsewhere = true;
	}
	if (elsewhere && where == ON_DASH)
		resp_error(r, 405, "method not allowed");
	else
		resp_error(r, 404, "page not found");
}
