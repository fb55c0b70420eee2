// SPDX-License-Identifier: ISC
#include "d0d/http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_token(const char *s)
{
	static const char extra[] = "!#$%&'*+-.^_`|~";

	if (!*s)
		return false;
	for (; *s; s++) {
		bool alnum = (*s >= '0' && *s <= '9') || ((*s | 32) >= 'a' && (*s | 32) <= 'z');
		if (!alnum && !strchr(extra, *s))
			return false;
	}
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool http_percent_decode(char *s, bool plus_is_space)
{
	char *out = s;

	for (; *s; s++) {
		if (*s == '%') {
			int hi = hex_digit(s[1]);
			int lo = hi < 0 ? -1 : hex_digit(s[2]);
			if (lo < 0 || (hi == 0 && lo == 0))
				return false;
			*out++ = (char)(hi << 4 | lo);
			s += 2;
		} else {
			*out++ = plus_is_space && *s == '+' ? ' ' : *s;
		}
	}
	*out = 0;
	return true;
}

void http_percent_encode(struct sbuf *out, const char *s)
{
	for (; *s; s++) {
		bool plain = (*s >= '0' && *s <= '9') ||
			     ((*s | 32) >= 'a' && (*s | 32) <= 'z') || strchr("-._~", *s);
		if (plain)
			sbuf_add(out, s, 1);
		else
			sbuf_addf(out, "%%%02X", (unsigned char)*s);
	}
}

// Length of the head with its empty line, 0 if that hasn't arrived yet.
static size_t head_end(const char *buf, size_t len)
{
	const char *end = memmem(buf, len, "\r\n\r\n", 4);

	return end ? (size_t)(end - buf) + 4 : 0;
}

static char *next_line(char **at)
{
	char *line = *at;
	char *end = strstr(line, "\r\n");

	if (!end)
		return NULL;
	*end = 0;
	*at = end + 2;
	return line;
}

static int parse_length(struct http_head *h, const char *v)
{
	int64_t n = 0;

	if (!*v)
		return -400;
	for (; *v; v++) {
		if (*v < '0' || *v > '9' || n > (INT64_MAX - 9) / 10)
			return -400;
		n = n * 10 + (*v - '0');
	}
	if (h->length >= 0 && h->length != n)
		return -400;
	h->length = n;
	return 0;
}

// What the head says about framing and persistence.
static int interpret(struct http_head *h, struct http_kv *kv)
{
	if (strcasecmp(kv->k, "Content-Length") == 0)
		return parse_length(h, kv->v);
	if (strcasecmp(kv->k, "Transfer-Encoding") == 0) {
		if (strcasecmp(kv->v, "chunked") != 0 || h->chunked)
			return -501;
		h->chunked = true;
	} else if (strcasecmp(kv->k, "Connection") == 0) {
		if (strcasestr(kv->v, "close"))
			h->keep_alive = false;
		else if (strcasestr(kv->v, "keep-alive"))
			h->keep_alive = true;
	}
	return 0;
}

static int parse_headers(struct http_head *h, char *at)
{
	for (char *line; (line = next_line(&at)) && *line;) {
		char *colon = strchr(line, ':');
		if (!colon)
			return -400;
		*colon = 0;
		if (!is_token(line))
			return -400;
		char *v = colon + 1;
		v += strspn(v, " \t");
		size_t n = strlen(v);
		while (n && (v[n - 1] == ' ' || v[n - 1] == '\t'))
			v[--n] = 0;
		for (const char *p = v; *p; p++)
			if ((unsigned char)*p < 32 && *p != '\t')
				return -400;
		if (h->nhdr == HTTP_MAX_HEADERS)
			return -431;
		struct http_kv *kv = &h->hdr[h->nhdr++];
		*kv = (struct http_kv){line, v};
		int rc = interpret(h, kv);
		if (rc < 0)
			return rc;
	}
	return h->chunked && h->length >= 0 ? -400 : 0;
}

static int parse_query(struct http_head *h, char *q)
{
	char *save = NULL;

	for (char *kv = strtok_r(q, "&", &save); kv; kv = strtok_r(NULL, "&", &save)) {
		char *v = strchr(kv, '=');
		if (v)
			*v++ = 0;
		else
			v = kv + strlen(kv);
		if (!http_percent_decode(kv, true) || !http_percent_decode(v, true))
			return -400;
		if (h->nquery == HTTP_MAX_QUERY)
			return -414;
		h->query[h->nquery++] = (struct http_kv){kv, v};
	}
	return 0;
}

static int parse_version(struct http_head *h, const char *v)
{
	if (strncmp(v, "HTTP/", 5) != 0)
		return -400;
	if (strncmp(v, "HTTP/1.", 7) != 0 || (v[7] != '0' && v[7] != '1') || v[8])
		return -505;
	h->minor = v[7] - '0';
	h->keep_alive = h->minor == 1;
	return 0;
}

static int parse_request_line(struct http_head *h, char *line)
{
	char *target = strchr(line, ' ');
	char *version = target ? strchr(target + 1, ' ') : NULL;

	if (!version)
		return -400;
	*target++ = 0;
	*version++ = 0;
	if (!is_token(line) || strlen(line) > 16)
		return -400;
	h->method = line;
	// A proxy's absolute form: only its path matters here.
	if (strncasecmp(target, "http://", 7) == 0) {
		char *slash = strchr(target + 7, '/');
		if (!slash)
			return -400;
		target = slash;
	}
	for (const char *p = target; *p; p++)
		if ((unsigned char)*p <= 32 || *p == 127)
			return -400;
	if (*target != '/' && strcmp(target, "*") != 0)
		return -400;
	h->path = target;
	char *q = strchr(target, '?');
	if (q) {
		*q++ = 0;
		int rc = parse_query(h, q);
		if (rc < 0)
			return rc;
	}
	return parse_version(h, version);
}

static int parse_status_line(struct http_head *h, char *line)
{
	char *code = strchr(line, ' ');

	if (!code)
		return -400;
	*code++ = 0;
	int rc = parse_version(h, line);
	if (rc < 0)
		return rc;
	for (int i = 0; i < 3; i++) {
		if (code[i] < '0' || code[i] > '9')
			return -400;
		h->status = h->status * 10 + (code[i] - '0');
	}
	return code[3] && code[3] != ' ' ? -400 : 0;
}

static ssize_t parse_head(const char *buf, size_t len, struct http_head *h,
			  int (*first)(struct http_head *, char *))
{
	size_t n = head_end(buf, len);

	*h = (struct http_head){.length = -1};
	if (!n)
		return len >= HTTP_MAX_HEAD ? -431 : 0;
	if (n > HTTP_MAX_HEAD)
		return -431;
	if (memchr(buf, 0, n))
		return -400;
	h->text = xstrndup(buf, n);
	char *at = h->text;
	char *line = next_line(&at);
	int rc = line ? first(h, line) : -400;
	if (rc == 0)
		rc = parse_headers(h, at);
	if (rc < 0) {
		http_head_free(h);
		return rc;
	}
	return (ssize_t)n;
}

ssize_t http_parse_request(const char *buf, size_t len, struct http_head *h)
{
	return parse_head(buf, len, h, parse_request_line);
}

ssize_t http_parse_response(const char *buf, size_t len, struct http_head *h)
{
	return parse_head(buf, len, h, parse_status_line);
}

void http_head_free(struct http_head *h)
{
	free(h->text);
	*h = (struct http_head){.length = -1};
}

const char *http_header(const struct http_head *h, const char *name)
{
	for (int i = 0; i < h->nhdr; i++)
		if (strcasecmp(h->hdr[i].k, name) == 0)
			return h->hdr[i].v;
	return NULL;
}

const char *http_query(const struct http_head *h, const char *name)
{
	for (int i = 0; i < h->nquery; i++)
		if (strcmp(h->query[i].k, name) == 0)
			return h->query[i].v;
	return NULL;
}

ssize_t http_parse_chunk_size(const char *buf, size_t len, uint64_t *size)
{
	uint64_t n = 0;
	size_t i = 0;

	for (; i < len && hex_digit(buf[i]) >= 0; i++) {
		if (i == 15)
			return -1;
		n = n << 4 | (uint64_t)hex_digit(buf[i]);
	}
	const char *nl = memchr(buf + i, '\n', len - i);
	if (!nl)
		return len > 1024 ? -1 : 0;
	// Between size and line end only a chunk extension may stand.
	if (i == 0 || nl == buf || nl[-1] != '\r' ||
	    (buf[i] != '\r' && buf[i] != ';' && buf[i] != ' '))
		return -1;
	*size = n;
	return nl - buf + 1;
}
