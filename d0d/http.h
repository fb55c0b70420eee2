// SPDX-License-Identifier: ISC
// HTTP/1.1, both sides. http_parse.c is pure (bytes in, structure out) and is what the
// fuzz target feeds; http.c moves bodies and answers over a conn.
//
// Sources: RFC 9112 (message syntax), RFC 9110 (semantics). Rejected on purpose: line
// folding, white space before a colon, Content-Length together with Transfer-Encoding,
// several differing lengths, encodings other than chunked (request smuggling needs them).
#ifndef D0D_HTTP_H
#define D0D_HTTP_H

#include "d0d/conn.h"

#define HTTP_MAX_HEADERS 100
#define HTTP_MAX_HEAD    (48 * 1024)
#define HTTP_MAX_QUERY   64

struct http_kv {
	char *k, *v;
};

// A parsed head. All strings live in TEXT, one allocation.
struct http_head {
	char *text;
	char *method, *path; // request; path is still percent-encoded, without the query
	int status;          // response
	int minor;           // HTTP/1.minor
	struct http_kv hdr[HTTP_MAX_HEADERS];
	int nhdr;
	struct http_kv query[HTTP_MAX_QUERY]; // decoded
	int nquery;
	bool chunked;
	int64_t length; // -1: none given
	bool keep_alive;
};

// Parses the head at the start of BUF. >0: bytes it takes, *H is filled (free it with
// http_head_free); 0: more bytes are needed; <0: the negative of the HTTP status to
// answer (400, 414, 431, 501, 505).
ssize_t http_parse_request(const char *buf, size_t len, struct http_head *h);
ssize_t http_parse_response(const char *buf, size_t len, struct http_head *h);
void http_head_free(struct http_head *h);
const char *http_header(const struct http_head *h, const char *name); // NULL if absent
const char *http_query(const struct http_head *h, const char *name);  // NULL if absent
// Decodes %XX in place; false if malformed or if it yields a NUL.
bool http_percent_decode(char *s, bool plus_is_space);
void http_percent_encode(struct sbuf *out, const char *s);
// The size line of a chunk: bytes of the line consumed, 0 incomplete, -1 malformed.
ssize_t http_parse_chunk_size(const char *buf, size_t len, uint64_t *size);

// A body being received. Reads return bytes, 0 at its end, -1 on a malformed or broken
// body.
struct http_body {
	struct conn *c;
	enum {
		HTTP_NONE,
		HTTP_LENGTH,
		HTTP_CHUNKED,
		HTTP_TO_END
	} kind;
	uint64_t left; // of the body, or of the current chunk
	bool done, in_chunk, bad;
	bool want_continue; // 100 Continue is due before the first read
	uint64_t total;     // bytes delivered so far
};
void http_body_init(struct http_body *b, struct conn *c, const struct http_head *h,
		    bool response);
ssize_t http_body_read(struct http_body *b, void *buf, size_t n);

struct engine;
struct server;

// A request being served. The handler answers through the resp_* functions.
struct http_req {
	struct conn *c;
	struct http_head h;
	struct http_body body;
	struct engine *e;
	struct server *srv;
	char *arg[2];  // captures of the route's pattern, decoded
	int api_minor; // of /v1.NN; the newest when the path has none
	// the answer
	bool head_only, started, chunked, ended, hijacked;
	int status;
};

const char *req_query(const struct http_req *r, const char *name, const char *dflt);
bool req_flag(const struct http_req *r, const char *name); // "1", "true", ... as Docker
int64_t req_int(const struct http_req *r, const char *name, int64_t dflt);
// The body as JSON of at most 4 MiB, a new reference; NULL after having answered 400/413.
// An empty body is NULL too unless EMPTY_OK, which gives an empty object.
json_t *req_json(struct http_req *r, bool empty_ok);

void resp_json(struct http_req *r, int status, json_t *steal);
void resp_empty(struct http_req *r, int status);
void resp_err(struct http_req *r, const struct err *e);
void resp_error(struct http_req *r, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void resp_data(struct http_req *r, int status, const char *type, const void *data, size_t n);
// A streamed answer: begin, any number of writes (-1: the client is gone), end.
// EXTRA is NULL or further header lines, each ending in \r\n.
void resp_begin(struct http_req *r, int status, const char *type, const char *extra);
int resp_write(struct http_req *r, const void *data, size_t n);
int resp_json_line(struct http_req *r, json_t *steal); // one JSON text and a newline
void resp_end(struct http_req *r);
// Breaks a streamed answer off so that the client notices that it is incomplete.
void resp_abort(struct http_req *r);
// Turns the connection into a raw stream (101 UPGRADED if the client asked so).
void resp_hijack(struct http_req *r, const char *type);

const char *http_reason(int status);

#endif
