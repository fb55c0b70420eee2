// SPDX-License-Identifier: ISC
#include "d0d/ref.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ref_valid_tag(const char *tag)
{
	size_t n = strlen(tag);

	if (n == 0 || n > 128 || *tag == '.' || *tag == '-')
		return false;
	for (; *tag; tag++)
		if (!isalnum((unsigned char)*tag) && !strchr("_.-", *tag))
			return false;
	return true;
}

bool ref_valid_digest(const char *d)
{
	return strncmp(d, "sha256:", 7) == 0 && strlen(d) == 71 && hex_is(d + 7, 64);
}

// A path component: lower-case words joined by '.', '_', '__' or dashes.
static bool valid_component(const char *s, size_t n)
{
	bool sep = true;

	for (size_t i = 0; i < n; i++) {
		bool word = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9');
		if (!word) {
			if (sep && !(s[i] == '_' && i && s[i - 1] == '_') &&
			    !(s[i] == '-' && i && s[i - 1] == '-'))
				return false;
			if (!strchr("._-", s[i]))
				return false;
		}
		sep = !word;
	}
	return n > 0 && !sep;
}

static bool valid_path(const char *s)
{
	for (;;) {
		size_t n = strcspn(s, "/");
		if (!valid_component(s, n))
			return false;
		if (!s[n])
			return true;
		s += n + 1;
	}
}

static bool valid_domain(const char *s)
{
	const char *colon = strrchr(s, ':');

	if (*s == '[') { // IPv6 literal
		const char *end = strchr(s, ']');
		return end &&
		       strspn(s + 1, "0123456789abcdefABCDEF:.") == (size_t)(end - s - 1) &&
		       (!end[1] ||
			(end[1] == ':' && end[2] && !end[2 + strspn(end + 2, "0123456789")]));
	}
	size_t n = colon ? (size_t)(colon - s) : strlen(s);
	if (n == 0 || (colon && (!colon[1] || colon[1 + strspn(colon + 1, "0123456789")])))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && s[i] != '.' && s[i] != '-')
			return false;
	return true;
}

static int bad(struct err *e)
{
	return err_set(e, 400, "invalid reference format");
}

// Splits "domain/rest": the first component is a domain if it looks like one.
static const char *split_domain(const char *s, struct ref *r)
{
	const char *slash = strchr(s, '/');
	size_t n = slash ? (size_t)(slash - s) : 0;
	bool is = slash && (memchr(s, '.', n) || memchr(s, ':', n) ||
			    (n == 9 && !memcmp(s, "localhost", 9)));

	for (size_t i = 0; i < n && !is; i++)
		is = isupper((unsigned char)s[i]);
	if (!is || n >= sizeof(r->domain)) {
		strcpy(r->domain, "docker.io");
		return s;
	}
	memcpy(r->domain, s, n);
	r->domain[n] = 0;
	if (strcmp(r->domain, "index.docker.io") == 0)
		strcpy(r->domain, "docker.io");
	return slash + 1;
}

int ref_parse(const char *s, struct ref *r, struct err *e)
{
	char buf[600];

	memset(r, 0, sizeof(*r));
	if (strlen(s) >= sizeof(buf) || !*s)
		return bad(e);
	strcpy(buf, s);
	char *at = strchr(buf, '@');
	if (at) {
		*at++ = 0;
		if (!ref_valid_digest(at))
			return bad(e);
		strcpy(r->digest, at);
	}
	char *colon = strrchr(buf, ':');
	if (colon && !strchr(colon, '/')) {
		*colon++ = 0;
		if (!ref_valid_tag(colon))
			return bad(e);
		strcpy(r->tag, colon);
	}
	if (strlen(buf) == 64 && hex_is(buf, 64))
		return err_set(
		    e, 400,
		    "invalid repository name (%s), cannot specify 64-byte hexadecimal strings",
		    buf);
	const char *path = split_domain(buf, r);
	bool official = strcmp(r->domain, "docker.io") == 0 && !strchr(path, '/');
	if (strlen(path) + 8 >= sizeof(r->path))
		return bad(e);
	for (const char *p = path; *p; p++)
		if (isupper((unsigned char)*p))
			return err_set(e, 400,
				       "invalid reference format: repository name (%.200s) "
				       "must be lowercase",
				       path);
	snprintf(r->path, sizeof(r->path), "%s%.200s", official ? "library/" : "", path);
	if (!valid_domain(r->domain) || !valid_path(r->path))
		return bad(e);
	return 0;
}

char *ref_full(const struct ref *r)
{
	return xasprintf("%s/%s%s%s%s%s", r->domain, r->path, *r->tag ? ":" : "", r->tag,
			 *r->digest ? "@" : "", r->digest);
}

char *ref_familiar(const char *full)
{
	if (strncmp(full, "docker.io/", 10) == 0)
		full += 10;
	else
		return xstrdup(full);
	if (strncmp(full, "library/", 8) == 0)
		full += 8;
	return xstrdup(full);
}

char *ref_familiar_name(const struct ref *r)
{
	struct ref bare = *r;

	bare.tag[0] = bare.digest[0] = 0;
	char *full = ref_full(&bare), *out = ref_familiar(full);
	free(full);
	return out;
}
