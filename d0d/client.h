// SPDX-License-Identifier: ISC
// A small HTTP client for registries: one request on a connection of its own.
#ifndef D0D_CLIENT_H
#define D0D_CLIENT_H

#include "d0d/http.h"

struct url {
	bool tls;
	char host[256];
	char port[8];
	char path[4096]; // with the query
};

// http:// or https://, 400 otherwise.
int url_parse(const char *text, struct url *u, struct err *err);
// TEXT relative to BASE (for redirects and Location).
int url_join(const struct url *base, const char *text, struct url *u, struct err *err);

struct http_call {
	struct conn c;
	struct http_head h; // the answer's
	struct http_body body;
};

// Where the bytes of a request's body come from; NULL for none.
struct http_upload {
	const void *data; // or
	int fd;           // a file, if DATA is NULL
	uint64_t size;
	const char *type;
};

struct client_options {
	const char *ca_file;
	bool insecure; // no certificate check
	const char *agent;
};

// Sends a request and reads the answer's head. HEADERS is NULL or lines ending in \r\n.
// Redirects of GET and HEAD are followed (authorisation isn't sent to another host). On
// success the call is open: read the body, then client_close().
int client_call(const struct client_options *o, const char *method, const struct url *u,
		const char *headers, const struct http_upload *up, struct http_call *call,
		struct err *err);
// The rest of the body as text of at most MAX bytes; NULL with ERR.
char *client_text(struct http_call *call, size_t max, size_t *len, struct err *err);
void client_close(struct http_call *call);

#endif
