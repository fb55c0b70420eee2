/* SPDX-License-Identifier: ISC */
/* Arguments: space-separated words, "key=value" or "key". No quoting, no escapes. */
#include <string.h>
#include "libcell/cell.h"
#include "libcell/digit.h"

/* The value of key, or of a bare word with has_value = false. NULL if absent. */
static const char *arg_find(const char *args, const char *key, size_t *len, bool *has_value)
{
	size_t key_len = strlen(key);

	while (*args) {
		size_t word = strcspn(args, " ");

		if (word >= key_len && !memcmp(args, key, key_len) &&
		    (word == key_len || args[key_len] == '=')) {
			*has_value = word > key_len;
			*len = *has_value ? word - key_len - 1 : 0;
			return args + key_len + (*has_value ? 1 : 0);
		}
		args += word;
		args += strspn(args, " ");
	}
	return NULL;
}

int cell_arg(const char *args, const char *key, char *buf, size_t size)
{
	size_t len, copy;
	bool has_value;
	const char *v = arg_find(args, key, &len, &has_value);

	if (!v || !has_value)
		return -1;
	if (size) {
		copy = len < size - 1 ? len : size - 1;
		memcpy(buf, v, copy);
		buf[copy] = '\0';
	}
	return (int)len;
}

bool cell_arg_has(const char *args, const char *word)
{
	size_t len;
	bool has_value;

	return arg_find(args, word, &len, &has_value) != NULL;
}

static unsigned suffix_shift(char c)
{
	return c == 'K' ? 10 : c == 'M' ? 20 : c == 'G' ? 30 : 0;
}

uint64_t cell_arg_u64(const char *args, const char *key, uint64_t dflt)
{
	char text[32];
	const char *p = text;
	uint64_t v = 0;
	unsigned base = 10;
	int len = cell_arg(args, key, text, sizeof(text));
	unsigned shift;

	if (len <= 0 || len >= (int)sizeof(text))
		return dflt;
	if (p[0] == '0' && p[1] == 'x') {
		base = 16;
		p += 2;
	}
	if (digit_value(*p) >= base)
		return dflt;
	for (; digit_value(*p) < base; p++)
		if (__builtin_mul_overflow(v, base, &v) ||
		    __builtin_add_overflow(v, digit_value(*p), &v))
			return dflt;
	shift = suffix_shift(*p);
	if (shift)
		p++;
	if (*p || (shift && v >> (64 - shift)))
		return dflt;
	return v << shift;
}
