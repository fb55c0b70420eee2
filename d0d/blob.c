// SPDX-License-Identifier: ISC
// Content-addressed files: image configs, and layers exactly as they came (so that save and
// push give back the bytes whose digests the world knows).
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "d0d/engine.h"
#include "d0d/expand.h"

char *blob_path(struct engine *e, const char *digest)
{
	const char *hex = strchr(digest, ':');

	return xasprintf("%s/blobs/%s", e->dir, hex ? hex + 1 : digest);
}

void sha256_text(const void *data, size_t n, char digest[DIGEST_LEN + 1])
{
	uint8_t sum[32];

	EVP_Digest(data, n, sum, NULL, EVP_sha256(), NULL);
	strcpy(digest, "sha256:");
	hex_put(digest + 7, sum, 32);
}

// ---- the spool of the host's image store ----

#define SPOOL_TEXT (1u << 20) // JSON up to this size is kept in memory as well

struct spooled {
	struct spooled *next;
	char digest[DIGEST_LEN + 1];
	uint64_t size;
	char *text; // or NULL
	size_t len;
};

void spool_begin(struct engine *e)
{
	if (!images_in_store(e))
		return;
	pthread_mutex_lock(&e->spool_lock);
	e->importers++;
	pthread_mutex_unlock(&e->spool_lock);
}

void spool_end(struct engine *e)
{
	if (!images_in_store(e))
		return;
	pthread_mutex_lock(&e->spool_lock);
	if (--e->importers == 0) {
		for (struct spooled *s; (s = e->spooled);) {
			e->spooled = s->next;
			free(s->text);
			free(s);
		}
		e->ops->img_drop(e->be);
	}
	pthread_mutex_unlock(&e->spool_lock);
}

static struct spooled *spooled_find(struct engine *e, const char *digest)
{
	struct spooled *s = e->spooled;

	while (s && strcmp(s->digest, digest) != 0)
		s = s->next;
	return s;
}

// What the store can't undo is undone on the way: the digest is that of the bytes that came.
static int spool_take(void *writer, const void *buf, size_t n, struct err *err)
{
	struct blob_writer *w = writer;
	bool json = w->spooled ? w->text.len > 0
			       : n && (*(const char *)buf == '{' || *(const char *)buf == '[');

	w->spooled = true;
	if (json && w->size <= SPOOL_TEXT)
		sbuf_add(&w->text, buf, n);
	else
		sbuf_free(&w->text);
	return w->e->ops->img_write(w->e->be, w->tmp, buf, n, err);
}

static void spool_open(struct engine *e, struct blob_writer *w)
{
	pthread_mutex_lock(&e->spool_lock);
	w->tmp = xasprintf("part-%u", e->spool_names++);
	pthread_mutex_unlock(&e->spool_lock);
	w->fd = -1;
	w->expand = expand_new(spool_take, w);
}

static int spool_finish(struct blob_writer *w, const char *digest, struct err *err)
{
	struct engine *e = w->e;
	char *name = xasprintf("blobs/sha256/%s", digest + 7);
	int rc = e->ops->img_rename(e->be, w->tmp, name, err);

	free(name);
	if (rc < 0)
		return -1;
	struct spooled *s = xcalloc(1, sizeof(*s));
	strcpy(s->digest, digest);
	s->size = w->size;
	s->text = w->text.p;
	s->len = w->text.len;
	w->text = (struct sbuf){0};
	pthread_mutex_lock(&e->spool_lock);
	s->next = e->spooled;
	e->spooled = s;
	pthread_mutex_unlock(&e->spool_lock);
	return 0;
}

// ---- files ----

int blob_begin(struct engine *e, struct blob_writer *w, struct err *err)
{
	char id[ID_LEN + 1];

	id_make(id);
	*w = (struct blob_writer){.e = e, .md = EVP_MD_CTX_new()};
	if (images_in_store(e)) {
		EVP_DigestInit_ex(w->md, EVP_sha256(), NULL);
		spool_open(e, w);
		return 0;
	}
	w->tmp = xasprintf("%s/blobs/tmp-%.16s", e->dir, id);
	EVP_DigestInit_ex(w->md, EVP_sha256(), NULL);
	w->fd = open(w->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (w->fd >= 0)
		return 0;
	err_set(err, 500, "%s: %s", w->tmp, strerror(errno));
	blob_abort(w);
	return -1;
}

int blob_write(struct blob_writer *w, const void *buf, size_t n, struct err *err)
{
	const char *p = buf;

	EVP_DigestUpdate(w->md, buf, n);
	w->size += n;
	if (images_in_store(w->e))
		return expand_push(w->expand, buf, n, err);
	while (n) {
		ssize_t put = write(w->fd, p, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return err_set(err, errno == ENOSPC ? 507 : 500, "write: %s",
				       strerror(errno));
		p += put;
		n -= (size_t)put;
	}
	return 0;
}

static void writer_free(struct blob_writer *w)
{
	if (w->fd >= 0)
		close(w->fd);
	EVP_MD_CTX_free(w->md);
	sbuf_free(&w->text);
	expand_free(w->expand);
	free(w->tmp);
	*w = (struct blob_writer){.fd = -1};
}

void blob_abort(struct blob_writer *w)
{
	if (w->tmp && !images_in_store(w->e))
		unlink(w->tmp);
	writer_free(w);
}

int blob_finish(struct blob_writer *w, const char *want, char digest[DIGEST_LEN + 1],
		struct err *err)
{
	uint8_t sum[32];

	EVP_DigestFinal_ex(w->md, sum, NULL);
	strcpy(digest, "sha256:");
	hex_put(digest + 7, sum, 32);
	if (want && strcmp(want, digest) != 0) {
		err_set(err, 400, "digest mismatch: expected %s, got %s", want, digest);
		blob_abort(w);
		return -1;
	}
	if (images_in_store(w->e)) {
		int rc = expand_end(w->expand, err);
		if (rc == 0)
			rc = spool_finish(w, digest, err);
		writer_free(w);
		return rc;
	}
	char *path = blob_path(w->e, digest);
	int rc =
	    fsync(w->fd) < 0 || rename(w->tmp, path) < 0
		? err_set(err, errno == ENOSPC ? 507 : 500, "%s: %s", path, strerror(errno))
		: 0;
	free(path);
	if (rc < 0)
		blob_abort(w);
	else
		writer_free(w);
	return rc;
}

bool blob_exists(struct engine *e, const char *digest, uint64_t *size)
{
	if (images_in_store(e)) {
		pthread_mutex_lock(&e->spool_lock);
		struct spooled *s = spooled_find(e, digest);
		if (s && size)
			*size = s->size;
		pthread_mutex_unlock(&e->spool_lock);
		return s;
	}
	char *path = blob_path(e, digest);
	struct stat st;
	bool yes = stat(path, &st) == 0;

	if (yes && size)
		*size = (uint64_t)st.st_size;
	free(path);
	return yes;
}

char *blob_text(struct engine *e, const char *digest, size_t max, size_t *len)
{
	if (images_in_store(e)) {
		char *out = NULL;
		pthread_mutex_lock(&e->spool_lock);
		struct spooled *s = spooled_find(e, digest);
		if (s && s->text && s->len <= max) {
			out = xstrndup(s->text, s->len);
			*len = s->len;
		}
		pthread_mutex_unlock(&e->spool_lock);
		if (!out && e->ops->img_config(e->be, digest + 7, &out, len, NULL) < 0)
			out = NULL;
		return out;
	}
	char *path = blob_path(e, digest);
	char *text = file_read(path, max, len);

	free(path);
	return text;
}

int blob_put(struct engine *e, const void *data, size_t n, char digest[DIGEST_LEN + 1],
	     struct err *err)
{
	struct blob_writer w;

	if (blob_begin(e, &w, err) < 0)
		return -1;
	if (blob_write(&w, data, n, err) < 0) {
		blob_abort(&w);
		return -1;
	}
	return blob_finish(&w, NULL, digest, err);
}

// ---- decompression ----

struct unzip {
	struct archive *a;
	bool at_end;
};

struct unzip *unzip_open(struct engine *e, const char *digest, struct err *err)
{
	struct unzip *u = xcalloc(1, sizeof(*u));
	char *path = blob_path(e, digest);
	struct archive_entry *ae;

	u->a = archive_read_new();
	archive_read_support_filter_gzip(u->a);
	archive_read_support_filter_zstd(u->a);
	archive_read_support_filter_xz(u->a);
	archive_read_support_filter_bzip2(u->a);
	archive_read_support_format_raw(u->a);
	archive_read_support_format_empty(u->a);
	int rc = archive_read_open_filename(u->a, path, 65536);
	if (rc == ARCHIVE_OK) {
		rc = archive_read_next_header(u->a, &ae);
		u->at_end = rc == ARCHIVE_EOF;
	}
	free(path);
	if (rc >= ARCHIVE_WARN || u->at_end)
		return u;
	err_set(err, 400, "layer %s: %s", digest, archive_error_string(u->a) ?: "unreadable");
	unzip_close(u);
	return NULL;
}

ssize_t unzip_read(void *ctx, void *buf, size_t n)
{
	struct unzip *u = ctx;

	return u->at_end ? 0 : archive_read_data(u->a, buf, n);
}

const char *unzip_error(struct unzip *u)
{
	return archive_error_string(u->a) ?: "broken archive";
}

void unzip_close(struct unzip *u)
{
	archive_read_free(u->a);
	free(u);
}
