// SPDX-License-Identifier: ISC
// Small tools every part of d0d uses: errors that carry an HTTP status, growing
// strings, identifiers, times, files written atomically.
//
// Allocation: the x* functions never return NULL; when memory is exhausted the daemon
// stops at once. That is safe because its state on disk is consistent at any moment and
// running containers outlive it (see engine.c).
#ifndef D0D_UTIL_H
#define D0D_UTIL_H

#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// What went wrong, in the form the API answers: an HTTP status and Docker's message.
struct err {
	int status;
	char msg[1000];
};

// Fills E (which may be NULL) and returns -1, so that `return err_set(...)` reads well.
int err_set(struct err *e, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// A string that grows. Zero-initialise; P is NUL-terminated whenever it isn't NULL.
struct sbuf {
	char *p;
	size_t len, cap;
};
void sbuf_add(struct sbuf *b, const void *data, size_t n);
void sbuf_adds(struct sbuf *b, const char *s);
void sbuf_addf(struct sbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sbuf_free(struct sbuf *b);

#define ID_LEN 64 // hex digits of an object's id

void id_make(char out[ID_LEN + 1]);   // 256 random bits in hex
bool hex_is(const char *s, size_t n); // S starts with N lower-case hex digits
void hex_put(char *out, const uint8_t *in, size_t n);
void random_fill(void *p, size_t n);

int64_t now_ns(void); // wall clock, ns since 1970
int64_t mono_ms(void);
// RFC 3339 with nanoseconds and Z, as Docker prints times. NS 0 is Docker's zero time.
void time_format(int64_t ns, char out[40]);
// Accepts what the CLI sends: seconds[.fraction] since 1970, or RFC 3339. -1 if neither.
int time_parse(const char *s, int64_t *ns);

void log_msg(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// Reads a whole regular file of at most MAX bytes; NULL with errno set on failure. The
// result is NUL-terminated; the caller frees it.
char *file_read(const char *path, size_t max, size_t *len);
// Writes atomically: a temporary beside PATH, fsync, rename, fsync of the folder. Returns
// 0 or -1 with errno set; afterwards PATH holds either the old or the new bytes.
int file_write_atomic(const char *path, const void *data, size_t len);
int fd_write_all(int fd, const void *buf, size_t n); // 0 or -1
int json_write_atomic(const char *path, const json_t *value);
int dir_make(const char *path, mode_t mode); // like mkdir -p; 0 or -1 with errno
// Removes a tree below directory fd DIRFD without following symbolic links or crossing
// mounts; missing is success.
int tree_delete(int dirfd, const char *name);

// Typed reads of JSON objects with a default, so that a wrong type is never trusted.
const char *js(const json_t *o, const char *key, const char *dflt);
int64_t ji(const json_t *o, const char *key, int64_t dflt);
bool jb(const json_t *o, const char *key, bool dflt);
json_t *jo(const json_t *o, const char *key); // object or NULL, borrowed
json_t *ja(const json_t *o, const char *key); // array or NULL, borrowed
// Strings of a JSON array as a NULL-terminated vector; non-strings are left out.
char **jstrv(const json_t *array);
void strv_free(char **v);
// A JSON string even where S isn't valid UTF-8 (bad bytes become U+FFFD).
json_t *jstr(const char *s);
json_t *jstrn(const char *s, size_t n);
json_t *jtime(int64_t ns);

#endif
