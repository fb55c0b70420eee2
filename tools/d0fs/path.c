/* SPDX-License-Identifier: ISC */
/* Paths inside a volume. Links are followed inside the PFS only: nothing leads out of it. */
#include <string.h>

#include "tools/d0fs/d0fs.h"

#define MAX_LINKS 40
#define MAX_PATH  65536

bool d0fs_is_path(const char *s)
{
	const char *colon = strchr(s, ':');

	return colon && colon != s && !memchr(s, '/', colon - s);
}

/* `rest` is consumed component by component; a link's target is put in front of it. */
static int step_link(struct h2_pfs *pfs, uint64_t ino, char *rest, size_t max)
{
	char target[4096], tail[MAX_PATH];
	long n = h2_readlink(pfs, ino, target, sizeof(target) - 1);
	size_t len = strlen(rest);

	if (n < 0)
		return (int)n;
	if (n + len + 2 > max || len >= sizeof(tail))
		return -H2_ENAMETOOLONG;
	memcpy(tail, rest, len + 1);
	memcpy(rest, target, n);
	rest[n] = '/';
	memcpy(rest + n + 1, tail, len + 1);
	return target[0] == '/';
}

int d0fs_walk(struct h2_pfs *pfs, uint64_t from, const char *path, bool follow_last,
	      struct d0fs_path *out)
{
	char rest[MAX_PATH];
	uint64_t at = from;
	int links = 0, err;

	if (strlen(path) >= sizeof(rest))
		return -H2_ENAMETOOLONG;
	strcpy(rest, path);
	out->pfs = pfs;
	out->dir = out->ino = from;
	out->name[0] = 0;
	err = h2_getattr(pfs, from, &out->attr);
	for (char *p = rest; !err;) {
		size_t len;
		bool last;

		p += strspn(p, "/");
		if (!*p)
			break;
		len = strcspn(p, "/");
		last = !p[len + strspn(p + len, "/")];
		if (!out->ino)
			return -H2_ENOENT;
		if (len > 255)
			return -H2_ENAMETOOLONG;
		out->dir = at;
		memcpy(out->name, p, len);
		out->name[len] = 0;
		memmove(rest, p + len, strlen(p + len) + 1);
		p = rest;
		err = h2_lookup(pfs, at, out->name, len, &out->attr);
		if (err == -H2_ENOENT && last) {
			out->ino = 0;
			return 0;
		}
		if (err)
			break;
		out->ino = out->attr.ino;
		if ((out->attr.mode & H2_S_IFMT) == H2_S_IFLNK && (!last || follow_last)) {
			int absolute = step_link(pfs, out->ino, rest, sizeof(rest));
			if (absolute < 0 || ++links > MAX_LINKS)
				return absolute < 0 ? absolute : -H2_EINVAL;
			if (absolute)
				at = H2_ROOT_INO;
			out->ino = at;
			continue;
		}
		at = out->ino;
	}
	if (!err && out->ino)
		err = h2_getattr(pfs, out->ino, &out->attr);
	return err;
}

int d0fs_resolve(struct d0fs_vol *v, const char *s, bool follow_last, struct d0fs_path *out)
{
	const char *colon = strchr(s, ':');
	char label[256];
	int err;

	if (!colon || colon - s > 255 || colon == s)
		return d0fs_fail(D0FS_USAGE, "%s: not of the form PFS:/path", s);
	memcpy(label, s, colon - s);
	label[colon - s] = 0;
	err = h2_pfs_open(v->vol, label, 0, &out->pfs);
	if (err)
		return d0fs_fail(d0fs_code(err), "%s: %s", label,
				 err == -H2_ENOENT ? "no such PFS" : h2_strerror(err));
	err = d0fs_walk(out->pfs, H2_ROOT_INO, colon + 1, follow_last, out);
	if (err) {
		h2_pfs_close(out->pfs);
		return d0fs_fail(d0fs_code(err), "%s: %s", s, h2_strerror(err));
	}
	return 0;
}
