/* SPDX-License-Identifier: ISC */
/*
 * JSON (RFC 8259) for the documents of images. Strict; depth and size are bounded; strings
 * are decoded to UTF-8 into one buffer that is never longer than the text. Duplicate keys:
 * the first one counts.
 */
#include <stdlib.h>
#include <string.h>
#include "oci/impl.h"

#define DEPTH 64

struct parser {
	struct json *j;
	const char *p, *end;
	char *out;
	uint32_t room;
	int err;
};

static uint32_t fail(struct parser *s, int err)
{
	if (!s->err)
		s->err = err;
	return 0;
}

static void skip(struct parser *s)
{
	while (s->p < s->end &&
	       (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

static uint32_t add(struct parser *s, enum json_type type)
{
	struct json *j = s->j;

	if (j->count == s->room) {
		uint32_t room = s->room ? 2 * s->room : 64;
		struct json_value *v = realloc(j->v, room * sizeof(*v));

		if (!v)
			return fail(s, -H2_ENOMEM);
		j->v = v;
		s->room = room;
	}
	j->v[j->count] = (struct json_value){.type = (uint8_t)type, .next = j->count + 1};
	return j->count++;
}

static int hex4(struct parser *s, uint32_t *out)
{
	*out = 0;
	if (s->end - s->p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = *s->p++;
		uint32_t d = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
			     : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
			     : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
						    : 16;
		if (d == 16)
			return -1;
		*out = *out << 4 | d;
	}
	return 0;
}

static void put_utf8(struct parser *s, uint32_t c)
{
	if (c < 0x80) {
		*s->out++ = (char)c;
	} else if (c < 0x800) {
		*s->out++ = (char)(0xc0 | c >> 6);
		*s->out++ = (char)(0x80 | (c & 63));
	} else if (c < 0x10000) {
		*s->out++ = (char)(0xe0 | c >> 12);
		*s->out++ = (char)(0x80 | (c >> 6 & 63));
		*s->out++ = (char)(0x80 | (c & 63));
	} else {
		*s->out++ = (char)(0xf0 | c >> 18);
		*s->out++ = (char)(0x80 | (c >> 12 & 63));
		*s->out++ = (char)(0x80 | (c >> 6 & 63));
		*s->out++ = (char)(0x80 | (c & 63));
	}
}

static int escape(struct parser *s)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	uint32_t c, low;
	const char *at;

	if (s->p == s->end)
		return -1;
	c = (uint8_t)*s->p++;
	at = c ? strchr(from, (int)c) : NULL;
	if (at) {
		*s->out++ = to[at - from];
		return 0;
	}
	if (c != 'u' || hex4(s, &c) || c == 0)
		return -1;
	if (c >= 0xd800 && c < 0xdc00) {
		if (s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u')
			return -1;
		s->p += 2;
		if (hex4(s, &low) || low < 0xdc00 || low > 0xdfff)
			return -1;
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	} else if (c >= 0xdc00 && c < 0xe000) {
		return -1;
	}
	put_utf8(s, c);
	return 0;
}

/* At the opening quote. */
static uint32_t string(struct parser *s)
{
	uint32_t v = add(s, JSON_STRING);
	char *start = s->out;

	s->p++;
	while (s->p < s->end && *s->p != '"') {
		if ((uint8_t)*s->p < 0x20)
			return fail(s, -H2_EINVAL);
		if (*s->p != '\\') {
			*s->out++ = *s->p++;
			continue;
		}
		s->p++;
		if (escape(s))
			return fail(s, -H2_EINVAL);
	}
	if (s->p == s->end || s->err)
		return fail(s, -H2_EINVAL);
	s->p++;
	s->j->v[v].text = start;
	s->j->v[v].len = (uint32_t)(s->out - start);
	*s->out++ = 0; /* in place of a quote */
	return v;
}

static void word(struct parser *s, const char *w, enum json_type type)
{
	size_t n = strlen(w);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, w, n)) {
		fail(s, -H2_EINVAL);
		return;
	}
	uint32_t v = add(s, type);
	if (!s->err)
		s->j->v[v].len = w[0] == 't';
	s->p += n;
}

static void number(struct parser *s)
{
	const char *start = s->p;
	uint32_t v = add(s, JSON_NUMBER);

	while (s->p < s->end && strchr("+-.0123456789eE", *s->p) && *s->p)
		s->p++;
	if (s->p == start || s->err) {
		fail(s, -H2_EINVAL);
		return;
	}
	s->j->v[v].text = start;
	s->j->v[v].len = (uint32_t)(s->p - start);
}

static void value(struct parser *s, unsigned depth);

static void members(struct parser *s, uint32_t v, char close, unsigned depth)
{
	uint32_t n = 0;

	s->p++;
	skip(s);
	for (; !s->err && s->p < s->end && *s->p != close; n++) {
		if (n) {
			if (*s->p != ',') {
				fail(s, -H2_EINVAL);
				return;
			}
			s->p++;
			skip(s);
		}
		if (close == '}') {
			if (s->p == s->end || *s->p != '"') {
				fail(s, -H2_EINVAL);
				return;
			}
			string(s);
			skip(s);
			if (s->err || s->p == s->end || *s->p++ != ':') {
				fail(s, -H2_EINVAL);
				return;
			}
		}
		value(s, depth + 1);
		skip(s);
	}
	if (s->p == s->end)
		fail(s, -H2_EINVAL);
	if (s->err)
		return;
	s->p++;
	s->j->v[v].count = n;
	s->j->v[v].next = s->j->count;
}

static void value(struct parser *s, unsigned depth)
{
	skip(s);
	if (s->err || s->p == s->end || depth > DEPTH) {
		fail(s, -H2_EINVAL);
		return;
	}
	switch (*s->p) {
	case '{':
		members(s, add(s, JSON_OBJECT), '}', depth);
		break;
	case '[':
		members(s, add(s, JSON_ARRAY), ']', depth);
		break;
	case '"':
		string(s);
		break;
	case 't':
		word(s, "true", JSON_BOOL);
		break;
	case 'f':
		word(s, "false", JSON_BOOL);
		break;
	case 'n':
		word(s, "null", JSON_NULL);
		break;
	default:
		number(s);
	}
}

int json_parse(struct json *j, const char *text, size_t len)
{
	struct parser s = {.j = j, .p = text, .end = text + len};

	*j = (struct json){0};
	if (len > OCI_BLOB_MAX)
		return -H2_EINVAL;
	j->text = malloc(len + 1);
	if (!j->text)
		return -H2_ENOMEM;
	s.out = j->text;
	value(&s, 0);
	skip(&s);
	if (!s.err && s.p != s.end)
		s.err = -H2_EINVAL;
	if (s.err)
		json_free(j);
	return s.err;
}

void json_free(struct json *j)
{
	free(j->v);
	free(j->text);
	*j = (struct json){0};
}

uint32_t json_get(const struct json *j, uint32_t v, const char *key)
{
	uint32_t i = v + 1;

	if (v >= j->count || j->v[v].type != JSON_OBJECT)
		return 0;
	for (uint32_t n = 0; n < j->v[v].count; n++) {
		if (!strcmp(j->v[i].text, key))
			return i + 1;
		i = j->v[i + 1].next;
	}
	return 0;
}

uint32_t json_at(const struct json *j, uint32_t v, uint32_t index)
{
	uint32_t i = v + 1;

	if (v >= j->count || j->v[v].type != JSON_ARRAY || index >= j->v[v].count)
		return 0;
	while (index--)
		i = j->v[i].next;
	return i;
}

const char *json_str(const struct json *j, uint32_t v)
{
	return v && j->v[v].type == JSON_STRING ? j->v[v].text : NULL;
}

uint32_t json_count(const struct json *j, uint32_t v)
{
	return v < j->count ? j->v[v].count : 0;
}
