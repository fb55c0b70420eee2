// SPDX-License-Identifier: ISC
#include "d0d/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define JSON_MAX (4u << 20)

const char *http_reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} known[] = {
	    {100, "Continue"},
	    {101, "UPGRADED"},
	    {200, "OK"},
	    {201, "Created"},
	    {204, "No Content"},
	    {304, "Not Modified"},
	    {400, "Bad Request"},
	    {401, "Unauthorized"},
	    {403, "Forbidden"},
	    {404, "Not Found"},
	    {405, "Method Not Allowed"},
	    {408, "Request Timeout"},
	    {409, "Conflict"},
	    {413, "Content Too Large"},
	    {414, "URI Too Long"},
	    {431, "Request Header Fields Too Large"},
	    {500, "Internal Server Error"},
	    {501, "Not Implemented"},
	    {503, "Service Unavailable"},
	    {505, "HTTP Version Not Supported"},
	    {507, "Insufficient Storage"},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].status == status)
			return known[i].text;
	return "Status";
}

// ---- bodies ----

void http_body_init(struct http_body *b, struct conn *c, const struct http_head *h,
		    bool response)
{
	*b = (struct http_body){.c = c};
	const char *expect = http_header(h, "Expect");

	if (h->chunked) {
		b->kind = HTTP_CHUNKED;
	} else if (h->length >= 0) {
		b->kind = HTTP_LENGTH;
		b->left = (uint64_t)h->length;
		b->done = b->left == 0;
	} else if (response) {
		b->kind = HTTP_TO_END;
	} else {
		b->done = true;
	}
	b->want_continue = !response && expect && strcasecmp(expect, "100-continue") == 0;
}

static ssize_t body_bad(struct http_body *b)
{
	b->bad = b->done = true;
	return -1;
}

// Consumes up to the end of the next line in the receive buffer.
static int chunk_line(struct http_body *b, uint64_t *size)
{
	struct conn *c = b->c;

	for (;;) {
		ssize_t n = http_parse_chunk_size(c->rbuf + c->rpos, c->rlen - c->rpos, size);
		if (n < 0)
			return -1;
		if (n > 0) {
			c->rpos += (size_t)n;
			return 0;
		}
		if (conn_fill(c) <= 0)
			return -1;
	}
}

// Exactly "\r\n", as after each chunk.
static int expect_crlf(struct conn *c)
{
	while (c->rlen - c->rpos < 2)
		if (conn_fill(c) <= 0)
			return -1;
	if (memcmp(c->rbuf + c->rpos, "\r\n", 2) != 0)
		return -1;
	c->rpos += 2;
	return 0;
}

// Trailers are read and dropped; they must end with an empty line.
static int skip_trailers(struct conn *c)
{
	for (;;) {
		char *at = c->rbuf + c->rpos;
		char *nl = memchr(at, '\n', c->rlen - c->rpos);
		if (nl) {
			size_t n = (size_t)(nl - at) + 1;
			c->rpos += n;
			if (n == 2 && at[0] == '\r')
				return 0;
			if (n < 2)
				return -1;
		} else if (conn_fill(c) <= 0) {
			return -1;
		}
	}
}

// Enters the next chunk. 1: there is data; 0: that was the last; -1: malformed.
static int next_chunk(struct http_body *b)
{
	if (b->in_chunk && expect_crlf(b->c) < 0)
		return -1;
	if (chunk_line(b, &b->left) < 0)
		return -1;
	b->in_chunk = true;
	if (b->left)
		return 1;
	return skip_trailers(b->c) < 0 ? -1 : 0;
}

ssize_t http_body_read(struct http_body *b, void *buf, size_t n)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

	if (b->bad)
		return -1;
	if (b->done)
		return 0;
	if (b->want_continue) {
		b->want_continue = false;
		if (conn_write(b->c, go_on, sizeof(go_on) - 1) < 0)
			return body_bad(b);
	}
	if (b->kind == HTTP_CHUNKED && b->left == 0) {
		int rc = next_chunk(b);
		if (rc < 0)
			return body_bad(b);
		if (rc == 0) {
			b->done = true;
			return 0;
		}
	}
	if (b->kind != HTTP_TO_END && n > b->left)
		n = (size_t)b->left;
	ssize_t got = conn_read(b->c, buf, n);
	if (got < 0 || (got == 0 && b->kind != HTTP_TO_END))
		return body_bad(b);
	b->total += (uint64_t)got;
	if (b->kind == HTTP_TO_END)
		b->done = got == 0;
	else
		b->left -= (uint64_t)got;
	if (b->kind == HTTP_LENGTH && b->left == 0)
		b->done = true;
	return got;
}

// ---- requests ----

const char *req_query(const struct http_req *r, const char *name, const char *dflt)
{
	const char *v = http_query(&r->h, name);

	return v && *v ? v : dflt;
}

bool req_flag(const struct http_req *r, const char *name)
{
	const char *v = req_query(r, name, "0");

	return !(strcmp(v, "0") == 0 || strcasecmp(v, "no") == 0 ||
		 strcasecmp(v, "false") == 0 || strcasecmp(v, "none") == 0);
}

int64_t req_int(const struct http_req *r, const char *name, int64_t dflt)
{
	const char *v = req_query(r, name, NULL);
	char *end;

	if (!v)
		return dflt;
	long long n = strtoll(v, &end, 10);
	return *end ? dflt : n;
}

// The whole body; false after having answered.
static bool body_text(struct http_req *r, struct sbuf *b)
{
	char chunk[8192];
	ssize_t n;

	while ((n = http_body_read(&r->body, chunk, sizeof(chunk))) > 0) {
		if (b->len + (size_t)n > JSON_MAX) {
			resp_error(r, 413, "http: request body too large");
			return false;
		}
		sbuf_add(b, chunk, (size_t)n);
	}
	if (n < 0)
		resp_error(r, 400, "failed to read the request body");
	return n == 0;
}

json_t *req_json(struct http_req *r, bool empty_ok)
{
	const char *type = http_header(&r->h, "Content-Type");
	struct sbuf b = {0};
	json_error_t why;
	json_t *v = NULL;

	if (!body_text(r, &b)) {
		sbuf_free(&b);
		return NULL;
	}
	if (b.len == 0) {
		if (empty_ok)
			v = json_object();
		else
			resp_error(r, 400, "invalid JSON: got EOF while reading request body");
	} else if (type && strncasecmp(type, "application/json", 16) != 0 && !empty_ok) {
		resp_error(
		    r, 400,
		    "unsupported Content-Type header (%.80s): must be 'application/json'",
		    type);
	} else {
		v = json_loadb(b.p, b.len, JSON_REJECT_DUPLICATES, &why);
		if (!v)
			resp_error(r, 400, "invalid JSON: %s at offset %d", why.text,
				   why.position);
		else if (!json_is_object(v)) {
			json_decref(v);
			v = NULL;
			resp_error(r, 400, "invalid JSON: an object is expected");
		}
	}
	sbuf_free(&b);
	return v;
}

// ---- answers ----

#define SERVER_HEADERS \
	"Api-Version: 1.50\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: d0d\r\n"

static void send_head(struct http_req *r, int status, const char *type, int64_t length,
		      const char *extra)
{
	struct sbuf b = {0};

	r->started = true;
	r->status = status;
	sbuf_addf(&b, "HTTP/1.1 %d %s\r\n" SERVER_HEADERS, status, http_reason(status));
	if (type)
		sbuf_addf(&b, "Content-Type: %s\r\n", type);
	if (extra)
		sbuf_adds(&b, extra);
	if (length >= 0)
		sbuf_addf(&b, "Content-Length: %lld\r\n", (long long)length);
	else if (r->chunked)
		sbuf_adds(&b, "Transfer-Encoding: chunked\r\n");
	if (!r->h.keep_alive)
		sbuf_adds(&b, "Connection: close\r\n");
	sbuf_adds(&b, "\r\n");
	conn_write(r->c, b.p, b.len);
	sbuf_free(&b);
}

void resp_data(struct http_req *r, int status, const char *type, const void *data, size_t n)
{
	if (r->started)
		return;
	send_head(r, status, type, (int64_t)n, NULL);
	if (!r->head_only && n)
		conn_write(r->c, data, n);
	r->ended = true;
}

void resp_json(struct http_req *r, int status, json_t *steal)
{
	char *text = json_dumps(steal, JSON_COMPACT | JSON_ENCODE_ANY);
	struct sbuf b = {0};

	sbuf_addf(&b, "%s\n", text ? text : "null");
	resp_data(r, status, "application/json", b.p, b.len);
	sbuf_free(&b);
	free(text);
	json_decref(steal);
}

void resp_empty(struct http_req *r, int status)
{
	if (r->started)
		return;
	send_head(r, status, NULL, status == 204 || status == 304 ? -1 : 0, NULL);
	r->ended = true;
}

void resp_err(struct http_req *r, const struct err *e)
{
	// Inside, 507 tells a full disk from other failures; Docker's clients know it as 500.
	int status = e->status && e->status != 507 ? e->status : 500;

	resp_error(r, status, "%s", e->msg);
}

void resp_error(struct http_req *r, int status, const char *fmt, ...)
{
	char msg[1200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (r->started) {
		resp_abort(r);
		return;
	}
	json_t *o = json_object();
	json_object_set_new(o, "message", jstr(msg));
	resp_json(r, status, o);
}

void resp_begin(struct http_req *r, int status, const char *type, const char *extra)
{
	r->chunked = r->h.minor == 1 && !r->head_only;
	if (!r->chunked && !r->head_only)
		r->h.keep_alive = false;
	send_head(r, status, type, -1, extra);
}

int resp_write(struct http_req *r, const void *data, size_t n)
{
	char line[32];

	if (r->head_only || n == 0)
		return 0;
	if (!r->chunked)
		return conn_write(r->c, data, n);
	int len = snprintf(line, sizeof(line), "%zx\r\n", n);
	if (n < 4096) { // small pieces leave in one segment
		struct sbuf b = {0};
		sbuf_add(&b, line, (size_t)len);
		sbuf_add(&b, data, n);
		sbuf_adds(&b, "\r\n");
		int rc = conn_write(r->c, b.p, b.len);
		sbuf_free(&b);
		return rc;
	}
	if (conn_write(r->c, line, (size_t)len) < 0 || conn_write(r->c, data, n) < 0)
		return -1;
	return conn_write(r->c, "\r\n", 2);
}

int resp_json_line(struct http_req *r, json_t *steal)
{
	char *text = json_dumps(steal, JSON_COMPACT);
	struct sbuf b = {0};

	sbuf_addf(&b, "%s\r\n", text ? text : "{}");
	int rc = resp_write(r, b.p, b.len);
	sbuf_free(&b);
	free(text);
	json_decref(steal);
	return rc;
}

void resp_end(struct http_req *r)
{
	if (r->ended)
		return;
	if (r->chunked)
		conn_write(r->c, "0\r\n\r\n", 5);
	r->ended = true;
}

void resp_abort(struct http_req *r)
{
	r->h.keep_alive = false;
	r->ended = true;
	r->c->failed = true;
}

void resp_hijack(struct http_req *r, const char *type)
{
	const char *up = http_header(&r->h, "Upgrade");
	struct sbuf b = {0};

	r->started = r->ended = r->hijacked = true;
	r->h.keep_alive = false;
	if (up && *up)
		sbuf_addf(&b,
			  "HTTP/1.1 101 UPGRADED\r\nContent-Type: %s\r\nConnection: Upgrade\r\n"
			  "Upgrade: tcp\r\n" SERVER_HEADERS "\r\n",
			  type);
	else
		sbuf_addf(&b, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n\r\n", type);
	r->c->timeout_ms = -1;
	conn_write(r->c, b.p, b.len);
	sbuf_free(&b);
}
