// SPDX-License-Identifier: ISC
#include "d0d/util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

int err_set(struct err *e, int status, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return -1;
	e->status = status;
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	return -1;
}

static void *check(void *p)
{
	if (!p) {
		static const char msg[] = "d0d: out of memory\n";
		if (write(2, msg, sizeof(msg) - 1) < 0)
			_exit(3);
		abort();
	}
	return p;
}

void *xmalloc(size_t n)
{
	return check(malloc(n ? n : 1));
}

void *xcalloc(size_t n, size_t size)
{
	return check(calloc(n ? n : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t n)
{
	return check(realloc(p, n ? n : 1));
}

char *xstrdup(const char *s)
{
	return check(strdup(s));
}

char *xstrndup(const char *s, size_t n)
{
	return check(strndup(s, n));
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *out = NULL;

	va_start(ap, fmt);
	if (vasprintf(&out, fmt, ap) < 0)
		out = NULL;
	va_end(ap);
	return check(out);
}

static void sbuf_room(struct sbuf *b, size_t n)
{
	if (n < b->cap - b->len && b->p)
		return;
	size_t cap = b->cap ? b->cap : 128;
	while (cap - b->len <= n) {
		if (cap > SIZE_MAX / 2)
			check(NULL);
		cap *= 2;
	}
	b->p = xrealloc(b->p, cap);
	b->cap = cap;
}

void sbuf_add(struct sbuf *b, const void *data, size_t n)
{
	sbuf_room(b, n);
	if (n)
		memcpy(b->p + b->len, data, n);
	b->len += n;
	b->p[b->len] = 0;
}

void sbuf_adds(struct sbuf *b, const char *s)
{
	sbuf_add(b, s, strlen(s));
}

void sbuf_addf(struct sbuf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	sbuf_room(b, (size_t)n);
	va_start(ap, fmt);
	vsnprintf(b->p + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void sbuf_free(struct sbuf *b)
{
	free(b->p);
	*b = (struct sbuf){0};
}

void random_fill(void *p, size_t n)
{
	uint8_t *at = p;

	while (n) {
		ssize_t got = getrandom(at, n, 0);
		if (got < 0 && errno != EINTR)
			check(NULL); // no entropy, no ids: nothing sane can follow
		if (got > 0) {
			at += got;
			n -= (size_t)got;
		}
	}
}

void hex_put(char *out, const uint8_t *in, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[in[i] >> 4];
		out[2 * i + 1] = digits[in[i] & 15];
	}
	out[2 * n] = 0;
}

void id_make(char out[ID_LEN + 1])
{
	uint8_t raw[ID_LEN / 2];

	random_fill(raw, sizeof(raw));
	hex_put(out, raw, sizeof(raw));
}

bool hex_is(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
			return false;
	return true;
}

int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

int64_t mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

void time_format(int64_t ns, char out[40])
{
	struct tm tm;
	time_t sec = ns / 1000000000;
	int frac = (int)(ns % 1000000000);

	if (ns == 0) {
		strcpy(out, "0001-01-01T00:00:00Z");
		return;
	}
	gmtime_r(&sec, &tm);
	size_t at = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + at, 40 - at, ".%09dZ", frac);
}

// The fraction after a dot, as nanoseconds; *S moves past it.
static int64_t fraction(const char **s)
{
	int64_t ns = 0, unit = 100000000;

	for ((*s)++; **s >= '0' && **s <= '9'; (*s)++, unit /= 10)
		ns += (**s - '0') * unit;
	return ns;
}

static int time_parse_rfc3339(const char *s, int64_t *ns)
{
	struct tm tm = {0};
	const char *p = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!p)
		return -1;
	int64_t frac = *p == '.' ? fraction(&p) : 0;
	long off = 0;
	if (*p == '+' || *p == '-') {
		int h, m;
		if (sscanf(p + 1, "%2d:%2d", &h, &m) != 2)
			return -1;
		off = (h * 60L + m) * (*p == '-' ? -60 : 60);
	} else if (*p && strcmp(p, "Z") != 0) {
		return -1;
	}
	*ns = (timegm(&tm) - off) * 1000000000LL + frac;
	return 0;
}

int time_parse(const char *s, int64_t *ns)
{
	char *end;

	if (strchr(s, 'T'))
		return time_parse_rfc3339(s, ns);
	errno = 0;
	long long sec = strtoll(s, &end, 10);
	if (end == s || errno || sec < -9000000000LL || sec > 9000000000LL)
		return -1;
	const char *p = end;
	int64_t frac = *p == '.' ? fraction(&p) : 0;
	if (*p)
		return -1;
	*ns = sec * 1000000000LL + frac;
	return 0;
}

void log_msg(const char *fmt, ...)
{
	char when[40], line[1500];
	va_list ap;

	time_format(now_ns(), when);
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "%.19sZ %s\n", when, line);
}

char *file_read(const char *path, size_t max, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct sbuf b = {0};
	char chunk[16384];
	ssize_t n;

	if (fd < 0)
		return NULL;
	while ((n = read(fd, chunk, sizeof(chunk))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || b.len + (size_t)n > max) {
			int why = n < 0 ? errno : EFBIG;
			close(fd);
			sbuf_free(&b);
			errno = why;
			return NULL;
		}
		sbuf_add(&b, chunk, (size_t)n);
	}
	close(fd);
	sbuf_add(&b, "", 0);
	if (len)
		*len = b.len;
	return b.p;
}

int fd_write_all(int fd, const void *buf, size_t n)
{
	const char *p = buf;

	while (n) {
		ssize_t put = write(fd, p, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return -1;
		p += put;
		n -= (size_t)put;
	}
	return 0;
}

static void sync_parent(const char *path)
{
	char *dir = xstrdup(path);
	char *slash = strrchr(dir, '/');

	if (slash) {
		*slash = 0;
		int fd = open(*dir ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0) {
			fsync(fd);
			close(fd);
		}
	}
	free(dir);
}

// On D0's store a power cut brings back the state of one moment, whole, and closing a file
// hands its bytes over: no order of syncs is needed to see the old file or the new one. A new
// record is made durable; a change of one is within the store's own few seconds.
static bool ordered_by_itself(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == 0x65735546; // FUSE_SUPER_MAGIC
}

int file_write_atomic(const char *path, const void *data, size_t len)
{
	static unsigned serial;
	char *tmp =
	    xasprintf("%s.tmp%u", path, __atomic_fetch_add(&serial, 1, __ATOMIC_RELAXED));
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int rc = -1;

	if (fd >= 0) {
		bool ordered = ordered_by_itself(fd), fresh = access(path, F_OK) < 0;
		rc = fd_write_all(fd, data, len) || (!ordered && fsync(fd)) ? -1 : 0;
		if (close(fd) < 0)
			rc = -1;
		if (rc == 0)
			rc = rename(tmp, path);
		if (rc < 0) {
			int why = errno;
			unlink(tmp);
			errno = why;
		} else if (!ordered || fresh) {
			sync_parent(path);
		}
	}
	free(tmp);
	return rc;
}

int json_write_atomic(const char *path, const json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT);

	if (!text) {
		errno = EINVAL;
		return -1;
	}
	int rc = file_write_atomic(path, text, strlen(text));
	free(text);
	return rc;
}

int dir_make(const char *path, mode_t mode)
{
	char *copy = xstrdup(path);
	int rc = 0;

	for (char *p = copy + 1; rc == 0 && *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(copy, mode) < 0 && errno != EEXIST)
			rc = -1;
		*p = '/';
	}
	if (rc == 0 && mkdir(copy, mode) < 0 && errno != EEXIST)
		rc = -1;
	free(copy);
	return rc;
}

int tree_delete(int dirfd, const char *name)
{
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM && errno != EBUSY)
		return -1;
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	DIR *d = fdopendir(fd);
	if (!d) {
		close(fd);
		return -1;
	}
	struct dirent *de;
	int rc = 0;
	while ((de = readdir(d))) {
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		if (tree_delete(fd, de->d_name) < 0)
			rc = -1;
	}
	closedir(d);
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		rc = -1;
	return rc;
}

const char *js(const json_t *o, const char *key, const char *dflt)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : dflt;
}

int64_t ji(const json_t *o, const char *key, int64_t dflt)
{
	const json_t *v = json_object_get(o, key);

	if (json_is_integer(v))
		return json_integer_value(v);
	if (json_is_real(v)) {
		double d = json_real_value(v);
		if (d > -9e15 && d < 9e15)
			return (int64_t)d;
	}
	return dflt;
}

bool jb(const json_t *o, const char *key, bool dflt)
{
	const json_t *v = json_object_get(o, key);

	return json_is_boolean(v) ? json_is_true(v) : dflt;
}

json_t *jo(const json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	return json_is_object(v) ? v : NULL;
}

json_t *ja(const json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	return json_is_array(v) ? v : NULL;
}

char **jstrv(const json_t *array)
{
	size_t n = json_array_size(array), at = 0;
	char **v = xcalloc(n + 1, sizeof(*v));

	for (size_t i = 0; i < n; i++) {
		const char *s = json_string_value(json_array_get(array, i));
		if (s)
			v[at++] = xstrdup(s);
	}
	return v;
}

void strv_free(char **v)
{
	for (char **p = v; p && *p; p++)
		free(*p);
	free(v);
}

// Length of the valid UTF-8 sequence at S (at most N bytes), 0 if there is none.
static size_t utf8_len(const uint8_t *s, size_t n)
{
	uint32_t cp;
	size_t len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		len = 2, cp = s[0] & 0x1f;
	else if ((s[0] & 0xf0) == 0xe0)
		len = 3, cp = s[0] & 0x0f;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		len = 4, cp = s[0] & 0x07;
	else
		return 0;
	if (n < len)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (s[i] & 0x3f);
	}
	if ((len == 3 && (cp < 0x800 || (cp >= 0xd800 && cp <= 0xdfff))) ||
	    (len == 4 && (cp < 0x10000 || cp > 0x10ffff)))
		return 0;
	return len;
}

json_t *jstrn(const char *s, size_t n)
{
	struct sbuf b = {0};
	const uint8_t *p = (const uint8_t *)s;

	sbuf_add(&b, "", 0);
	for (size_t i = 0; i < n;) {
		size_t len = utf8_len(p + i, n - i);
		if (len)
			sbuf_add(&b, p + i, len);
		else
			sbuf_adds(&b, "\xef\xbf\xbd");
		i += len ? len : 1;
	}
	json_t *out = json_stringn_nocheck(b.p, b.len);
	sbuf_free(&b);
	return out;
}

json_t *jstr(const char *s)
{
	return jstrn(s ? s : "", s ? strlen(s) : 0);
}

json_t *jtime(int64_t ns)
{
	char when[40];

	time_format(ns, when);
	return json_string(when);
}
