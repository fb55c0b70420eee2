/* SPDX-License-Identifier: ISC */
/* Output of d0fs: JSON, human sizes, progress bars. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/d0fs/d0fs.h"

/* ---- JSON ---- */

static bool need_comma, written;

/* Bytes of the UTF-8 sequence at s (RFC 3629, section 4), or 0 if it is none. */
static size_t utf8(const unsigned char *s, size_t len)
{
	static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	unsigned c = s[0] & (0xff >> n);

	if (n < 2 || n > len || s[0] > 0xf4)
		return n == 1;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

/* Names are bytes: one that is not UTF-8 becomes a lone surrogate U+DC80 to U+DCFF, as in
 * Python's "surrogateescape". */
static void raw_string(const char *s, size_t len)
{
	putchar('"');
	for (size_t i = 0; i < len;) {
		unsigned char c = s[i];
		size_t n = utf8((const unsigned char *)s + i, len - i);
		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			printf("\\u%04x", c);
		else if (!n)
			printf("\\udc%02x", c);
		else
			fwrite(s + i, 1, n, stdout);
		i += n ? n : 1;
	}
	putchar('"');
}

static void begin(const char *key)
{
	if (need_comma)
		fputs(", ", stdout);
	if (key) {
		raw_string(key, strlen(key));
		fputs(": ", stdout);
	}
	need_comma = true;
}

void js_open(const char *key, char bracket)
{
	begin(key);
	putchar(bracket);
	need_comma = false;
	written = true;
}

void js_close(char bracket)
{
	putchar(bracket);
	need_comma = true;
}

void js_strn(const char *key, const char *s, size_t len)
{
	begin(key);
	raw_string(s, len);
}

void js_str(const char *key, const char *s)
{
	js_strn(key, s, strlen(s));
}

void js_num(const char *key, uint64_t n)
{
	begin(key);
	printf("%llu", (unsigned long long)n);
}

void js_int(const char *key, int64_t n)
{
	begin(key);
	printf("%lld", (long long)n);
}

void js_hex(const char *key, const uint8_t *p, size_t len)
{
	begin(key);
	putchar('"');
	for (size_t i = 0; i < len; i++)
		printf("%02x", p[i]);
	putchar('"');
}

bool js_written(void)
{
	return written;
}

void js_end(void)
{
	putchar('\n');
	need_comma = false;
}

/* ---- words and numbers ---- */

const char *d0fs_size(uint64_t bytes, char buf[32])
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double n = bytes;
	int u = 0;

	for (; n >= 1024 && u < 5; u++)
		n /= 1024;
	snprintf(buf, 32, u ? "%.1f %s" : "%.0f %s", n, unit[u]);
	return buf;
}

/* First three fields are little-endian on the medium. */
const char *d0fs_uuid(const uint8_t id[16], char buf[40])
{
	static const int order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
	char *p = buf;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		p += sprintf(p, "%02x", id[order[i]]);
	}
	return buf;
}

const char *d0fs_check_name(uint8_t check)
{
	static const char *const name[] = {"none",     "disabled", "crc32c",
					   "xxhash64", "sha192",   "freemap"};

	return check < 6 ? name[check] : "unknown";
}

const char *d0fs_comp_name(uint8_t comp)
{
	static const char *const name[] = {"none", "autozero", "lz4", "zlib"};

	return comp < 4 ? name[comp] : "unknown";
}

int d0fs_parse_size(const char *s, uint64_t *out)
{
	static const char units[] = "kmgtp";
	const char *u;
	char *end;
	unsigned long long n = strtoull(s, &end, 10);
	int shift = 0;

	if (end == s || *s == '-')
		return -1;
	if (*end) {
		u = strchr(units, *end | 0x20);
		if (!u || (end[1] && strcmp(end + 1, "iB") && strcmp(end + 1, "B")))
			return -1;
		shift = 10 * (int)(u - units + 1);
	}
	if (n > UINT64_MAX >> shift)
		return -1;
	*out = (uint64_t)n << shift;
	return 0;
}

/* ---- progress ---- */

static bool bar_shown;

void d0fs_progress(const char *what, uint64_t done, uint64_t total)
{
	static struct timespec last;
	struct timespec now;
	char a[32], b[32], bar[31];
	int fill;

	if (d0fs_quiet || d0fs_json || !isatty(STDERR_FILENO))
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (bar_shown &&
	    (now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000 < 100)
		return;
	last = now;
	bar_shown = true;
	if (total < done)
		total = done;
	fill = total ? (int)(30.0 * done / total) : 0;
	memset(bar, '.', 30);
	memset(bar, '#', fill);
	bar[30] = 0;
	fprintf(stderr, "\r%-12s [%s] %s of %s   ", what, bar, d0fs_size(done, a),
		d0fs_size(total, b));
}

void d0fs_progress_end(void)
{
	if (bar_shown)
		fprintf(stderr, "\r%70s\r", "");
	bar_shown = false;
}
