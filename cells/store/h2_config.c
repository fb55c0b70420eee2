/* SPDX-License-Identifier: ISC */
/* See h2_config.h for the language. Everything is parsed and checked before anything is
 * believed: the caller gets a configuration that makes sense as a whole, or an error. */
#include "cells/store/h2_config.h"

#include <stdio.h>
#include <string.h>
#include "h2/h2.h"

struct parser {
	struct h2_config *c;
	char *err;
	size_t err_size;
	unsigned seen; /* bit = option given */
};

enum option {
	O_CREATE,
	O_FORMAT,
	O_READONLY,
	O_SIZE,
	O_CACHE,
	O_BEHIND,
	O_CHECK,
	O_COMP,
	O_SYNC,
	O_SIGNED,
	O_MIRROR,
	OPTIONS
};
static const char *const option_name[OPTIONS] = {"create", "format",         "readonly", "size",
						 "cache",  "behind",         "check",    "comp",
						 "sync",   "require-signed", "mirror"};
#define HAS(p, o) ((p)->seen & 1u << (o))

static int fail(struct parser *p, const char *what, const char *word, size_t len)
{
	snprintf(p->err, p->err_size, "d0.store: %s '%.*s'", what, (int)len, word);
	return -1;
}

static bool same(const char *word, size_t len, const char *name)
{
	return strlen(name) == len && !memcmp(word, name, len);
}

static bool number(const char *s, size_t len, uint64_t *out)
{
	uint64_t v = 0;
	size_t i = 0;
	unsigned shift = 0;

	while (i < len && s[i] >= '0' && s[i] <= '9' && i < 12)
		v = v * 10 + (uint64_t)(s[i++] - '0');
	if (i == 0)
		return false;
	if (i < len) {
		shift = s[i] == 'K' ? 10 : s[i] == 'M' ? 20 : s[i] == 'G' ? 30 : 0;
		if (!shift)
			return false;
		i++;
	}
	*out = v << shift;
	return i == len && v <= UINT64_MAX >> shift;
}

static int ranged(struct parser *p, const char *v, size_t len, uint64_t min, uint64_t max,
		  uint64_t *out)
{
	if (!number(v, len, out))
		return fail(p, "not a number:", v, len);
	if (*out < min || *out > max)
		return fail(p, "out of range:", v, len);
	return 0;
}

static int choice(struct parser *p, const char *v, size_t len, const char *const *names,
		  const uint8_t *values, uint8_t *out)
{
	for (unsigned i = 0; names[i]; i++)
		if (same(v, len, names[i])) {
			*out = values[i];
			return 0;
		}
	return fail(p, "unknown value", v, len);
}

static int take_disk(struct parser *p, const char *w, size_t len, uint32_t *out)
{
	uint64_t n;

	if (len <= 5 || memcmp(w, "disk:", 5))
		return fail(p, "unknown source", w, len);
	if (ranged(p, w + 5, len - 5, 0, D0_STORE_DISKS_MAX - 1, &n))
		return -1;
	*out = (uint32_t)n;
	return 0;
}

static int take_source(struct parser *p, const char *w, size_t len)
{
	if (same(w, len, "ram"))
		p->c->source = STORE_RAM;
	else if (same(w, len, "boot"))
		p->c->source = STORE_BOOT;
	else
		p->c->source = STORE_DISK;
	return p->c->source == STORE_DISK ? take_disk(p, w, len, &p->c->disk) : 0;
}

/* Key IDs with '+' between them. */
static int take_keys(struct parser *p, const char *v, size_t len)
{
	for (size_t at = 0;; at += 65) {
		if (len - at < 64 || strspn(v + at, "0123456789abcdef") != 64)
			return fail(p, "not a key ID (64 hexadecimal digits):", v + at,
				    len - at);
		if (p->c->keys == D0_STORE_KEYS_MAX)
			return fail(p, "too many keys:", v, len);
		memcpy(p->c->key[p->c->keys++], v + at, 64);
		if (at + 64 == len)
			return 0;
		if (v[at + 64] != '+')
			return fail(p, "not a '+' between key IDs:", v + at + 64, 1);
	}
}

static int take_value(struct parser *p, enum option o, const char *v, size_t len)
{
	static const char *const checks[] = {"sha192", "xxhash64", "crc32c", NULL};
	static const uint8_t check_values[] = {H2_CHECK_SHA192, H2_CHECK_XXH64,
					       H2_CHECK_CRC32C};
	static const char *const comps[] = {"lz4", "zlib", "none", NULL};
	static const uint8_t comp_values[] = {H2_COMP_LZ4, H2_COMP_ZLIB, H2_COMP_NONE};
	uint64_t n = 0;
	int err;

	switch (o) {
	case O_FORMAT:
		p->c->format = same(v, len, "YES-ERASE-ALL");
		return p->c->format
			   ? 0
			   : fail(p, "format needs the word YES-ERASE-ALL, not", v, len);
	case O_SIZE:
		return ranged(p, v, len, 24ull << 20, 1ull << 36, &p->c->size);
	case O_CACHE:
		return ranged(p, v, len, H2_CACHE_MIN, 1ull << 34, &p->c->cache);
	case O_BEHIND:
		return ranged(p, v, len, 256 << 10, 16 << 20, &p->c->behind);
	case O_CHECK:
		return choice(p, v, len, checks, check_values, &p->c->check);
	case O_COMP:
		return choice(p, v, len, comps, comp_values, &p->c->comp);
	case O_MIRROR:
		p->c->mirrored = true;
		return take_disk(p, v, len, &p->c->mirror);
	case O_SIGNED:
		return take_keys(p, v, len);
	case O_SYNC:
		err = ranged(p, v, len, 1, 3600, &n);
		p->c->sync_s = (uint32_t)n;
		return err;
	default:
		return fail(p, "takes no value:", option_name[o], strlen(option_name[o]));
	}
}

static int take_option(struct parser *p, const char *w, size_t len)
{
	const char *eq = memchr(w, '=', len);
	size_t name_len = eq ? (size_t)(eq - w) : len;
	unsigned o = 0;

	while (o < OPTIONS && !same(w, name_len, option_name[o]))
		o++;
	if (o == OPTIONS)
		return fail(p, "unknown option", w, len);
	if (HAS(p, o))
		return fail(p, "given twice:", w, name_len);
	p->seen |= 1u << o;
	if (eq)
		return take_value(p, (enum option)o, eq + 1, len - name_len - 1);
	if (o == O_CREATE)
		p->c->create = true;
	else if (o == O_READONLY)
		p->c->readonly = true;
	else
		return fail(p, "needs a value:", w, len);
	return 0;
}

/* What is right word by word but not together. */
static int check_whole(struct parser *p)
{
	const struct h2_config *c = p->c;
	bool makes = c->create || c->format || c->source == STORE_RAM;
	const char *bad = NULL;

	if (c->create && c->format)
		bad = "create and format";
	else if (c->readonly && makes)
		bad = "readonly and a new volume";
	else if ((c->create || c->format) && c->source != STORE_DISK)
		bad = "create or format without a disk";
	else if (c->mirrored && (c->source != STORE_DISK || c->mirror == c->disk))
		bad = "a mirror of something that is not another disk";
	else if (HAS(p, O_SIZE) && c->source != STORE_RAM)
		bad = "size without ram";
	else if (HAS(p, O_BEHIND) && c->source != STORE_DISK)
		bad = "behind without a disk";
	else if ((HAS(p, O_CHECK) || HAS(p, O_COMP)) && !makes)
		bad = "check or comp without a new volume";
	else if (HAS(p, O_SYNC) && c->readonly)
		bad = "sync and readonly";
	return bad ? fail(p, "contradiction:", bad, strlen(bad)) : 0;
}

int h2_config_parse(const char *text, struct h2_config *out, char *err, size_t err_size)
{
	struct parser p = {.c = out, .err = err, .err_size = err_size};
	bool first = true;

	*out = (struct h2_config){.size = 32 << 20,
				  .cache = H2_CACHE_DEFAULT,
				  .behind = 2 << 20,
				  .check = H2_CHECK_SHA192,
				  .comp = H2_COMP_LZ4,
				  .sync_s = 5};
	if (!text)
		return 0;
	for (;; first = false) {
		size_t len = strcspn(text, ",");

		if (len == 0)
			return fail(&p, "an empty word before", text, strlen(text));
		if (first ? take_source(&p, text, len) : take_option(&p, text, len))
			return -1;
		if (!text[len])
			break;
		text += len + 1;
	}
	return check_whole(&p);
}

int h2_config_from_args(const char *args, struct h2_config *out, char *err, size_t err_size)
{
	static const char key[] = "d0.store=";
	char value[512];
	bool found = false;

	while (*args) {
		size_t len = strcspn(args, " ");

		if (len >= 3 && !memcmp(args, "d0.", 3)) {
			if (len < sizeof(key) - 1 || memcmp(args, key, sizeof(key) - 1)) {
				snprintf(err, err_size, "unknown parameter '%.*s'", (int)len,
					 args);
				return -1;
			}
			if (found || len - (sizeof(key) - 1) >= sizeof(value)) {
				snprintf(err, err_size, "d0.store: %s",
					 found ? "given twice" : "too long");
				return -1;
			}
			memcpy(value, args + sizeof(key) - 1, len - (sizeof(key) - 1));
			value[len - (sizeof(key) - 1)] = 0;
			found = true;
		}
		args += len;
		args += strspn(args, " ");
	}
	return h2_config_parse(found ? value : NULL, out, err, err_size);
}
