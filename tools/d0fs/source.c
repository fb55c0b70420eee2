/* SPDX-License-Identifier: ISC */
/* Images on the host as sources of the importer: a folder (OCI layout) or an archive. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "oci/impl.h"
#include "tools/d0fs/d0fs.h"
#include "tools/d0fs/source.h"

/* ---- a folder ---- */

/* Names come from the image's own documents: nothing that leaves the folder is opened. */
static int open_below(int dir, const char *name)
{
	if (*name == '/' || strstr(name, ".."))
		return -1;
	return openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

static int64_t dir_size(void *ctx, const char *name)
{
	struct d0fs_source *s = ctx;
	int fd = open_below(s->fd, name);
	struct stat st;
	int64_t size = -H2_ENOENT;

	if (fd < 0)
		return size;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode))
		size = st.st_size;
	close(fd);
	return size;
}

static long dir_read(void *ctx, const char *name, uint64_t off, void *buf, size_t len)
{
	struct d0fs_source *s = ctx;
	ssize_t n;

	if (strcmp(name, s->open_name)) {
		if (s->open_fd >= 0)
			close(s->open_fd);
		s->open_fd = open_below(s->fd, name);
		snprintf(s->open_name, sizeof(s->open_name), "%s", s->open_fd < 0 ? "" : name);
	}
	n = s->open_fd < 0 ? -1 : pread(s->open_fd, buf, len, (off_t)off);
	return n < 0 ? -H2_EIO : n;
}

/* ---- an archive: mapped, with an index of its members ---- */

static struct d0fs_member *find(struct d0fs_source *s, const char *name, unsigned fuel)
{
	while (!strncmp(name, "./", 2))
		name += 2;
	for (size_t i = s->members; i-- > 0;) {
		struct d0fs_member *m = &s->member[i];

		if (strcmp(m->name, name))
			continue;
		return m->link ? (fuel ? find(s, m->link, fuel - 1) : NULL) : m;
	}
	return NULL;
}

static int64_t tar_size(void *ctx, const char *name)
{
	struct d0fs_member *m = find(ctx, name, 8);

	return m ? (int64_t)m->size : -H2_ENOENT;
}

static long tar_read(void *ctx, const char *name, uint64_t off, void *buf, size_t len)
{
	struct d0fs_source *s = ctx;
	struct d0fs_member *m = find(s, name, 8);

	if (!m)
		return -H2_ENOENT;
	if (off >= m->size)
		return 0;
	if (len > m->size - off)
		len = (size_t)(m->size - off);
	memcpy(buf, s->map + m->at + off, len);
	return (long)len;
}

/* The target of a symbolic link, from the top of the archive; ".." is worked out here. */
static char *link_target(const char *name, const struct oci_entry *e)
{
	size_t size = strlen(name) + strlen(e->link) + 2;
	char *out = calloc(1, size);
	const char *slash = strrchr(name, '/'), *p = e->link;
	size_t n = 0;

	if (!out)
		return NULL;
	if (e->type == '2' && slash) {
		n = (size_t)(slash - name);
		memcpy(out, name, n);
	}
	while (*p) {
		size_t part = strcspn(p, "/");

		if (part == 2 && !memcmp(p, "..", 2)) {
			while (n && out[--n] != '/')
				;
		} else if (part && !(part == 1 && *p == '.')) {
			if (n)
				out[n++] = '/';
			memcpy(out + n, p, part);
			n += part;
		}
		p += part + (p[part] == '/');
	}
	out[n] = 0;
	return out;
}

static int index_entry(void *ctx, const struct oci_entry *e)
{
	struct d0fs_source *s = ctx;
	const char *name = e->path;
	struct d0fs_member *m;

	while (!strncmp(name, "./", 2))
		name += 2;
	if (e->type == '5' || e->sparse)
		return 0;
	if (s->members % 256 == 0) {
		void *more = realloc(s->member, (s->members + 256) * sizeof(*s->member));

		if (!more)
			return -H2_ENOMEM;
		s->member = more;
	}
	m = &s->member[s->members++];
	*m = (struct d0fs_member){.name = strdup(name), .size = e->size};
	if (e->type == '1' || e->type == '2')
		m->link = link_target(name, e);
	return m->name ? 0 : -H2_ENOMEM;
}

static int index_data(void *ctx, uint64_t off, const void *p, size_t len)
{
	struct d0fs_source *s = ctx;

	if (off == 0 && s->members)
		s->member[s->members - 1].at = (uint64_t)((const uint8_t *)p - s->map);
	return 0;
}

static int index_end(void *ctx)
{
	return 0;
}

static int spill(void *ctx, const uint8_t *p, size_t len)
{
	int fd = *(int *)ctx;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n <= 0)
			return -H2_ENOSPC;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* A compressed archive is unpacked to a nameless file first. */
static int plain_file(int fd, const char *path)
{
	const char *dir = getenv("TMPDIR");
	uint8_t *buf = malloc(1 << 20);
	int out = open(dir ? dir : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), err = 0;
	struct oci_inflate *z = oci_inflate_new(spill, &out);
	ssize_t n = 0;

	while (buf && z && out >= 0 && !err && (n = read(fd, buf, 1 << 20)) > 0)
		err = oci_inflate_push(z, buf, (size_t)n);
	if (!buf || !z || out < 0 || n < 0 || err || oci_inflate_done(z)) {
		d0fs_fail(D0FS_FAILED, "%s: can't be decompressed", path);
		if (out >= 0)
			close(out);
		out = -1;
	}
	oci_inflate_free(z);
	free(buf);
	return out;
}

static bool compressed(int fd)
{
	uint8_t m[4] = {0};

	return pread(fd, m, 4, 0) == 4 &&
	       ((m[0] == 0x1f && m[1] == 0x8b) || !memcmp(m, "\x28\xb5\x2f\xfd", 4));
}

static int open_archive(struct d0fs_source *s, const char *path)
{
	static const struct oci_tar_ops ops = {index_entry, index_data, index_end, NULL};
	struct oci_tar *t;
	struct stat st;
	int err;

	if (compressed(s->fd)) {
		int fd = plain_file(s->fd, path);

		close(s->fd);
		s->fd = fd;
		if (fd < 0)
			return D0FS_FAILED;
	}
	if (fstat(s->fd, &st) || st.st_size < 512)
		return d0fs_fail(D0FS_FAILED, "%s: not an archive", path);
	s->map_size = (size_t)st.st_size;
	s->map = mmap(NULL, s->map_size, PROT_READ, MAP_PRIVATE, s->fd, 0);
	if (s->map == MAP_FAILED) {
		s->map = NULL;
		return d0fs_fail(D0FS_FAILED, "%s: %s", path, strerror(errno));
	}
	t = oci_tar_new(&ops, s);
	err = t ? oci_tar_push(t, s->map, s->map_size) : -H2_ENOMEM;
	if (!err)
		err = oci_tar_done(t);
	if (err)
		d0fs_fail(D0FS_FAILED, "%s: not a good archive: %s", path,
			  t ? oci_tar_why(t) : "out of memory");
	oci_tar_free(t);
	s->source = (struct oci_source){tar_size, tar_read, s};
	return err ? D0FS_FAILED : 0;
}

int d0fs_source_open(struct d0fs_source *s, const char *path)
{
	struct stat st;

	memset(s, 0, sizeof(*s));
	s->open_fd = -1;
	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0 || fstat(s->fd, &st))
		return d0fs_fail(D0FS_NOT_FOUND, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return open_archive(s, path);
	s->source = (struct oci_source){dir_size, dir_read, s};
	return 0;
}

void d0fs_source_close(struct d0fs_source *s)
{
	for (size_t i = 0; i < s->members; i++) {
		free(s->member[i].name);
		free(s->member[i].link);
	}
	free(s->member);
	if (s->map)
		munmap((void *)s->map, s->map_size);
	if (s->open_fd >= 0)
		close(s->open_fd);
	if (s->fd >= 0)
		close(s->fd);
}
