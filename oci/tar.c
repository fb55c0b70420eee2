/* SPDX-License-Identifier: ISC */
/*
 * Tar archives (POSIX.1-2001 pax and ustar, GNU long names and sparse files), pushed in pieces
 * of any size. A reader of our own rather than libarchive: the same code has to run in the
 * store cell, where libarchive's size and its wish for files are out of place, and the
 * recipe of a layer (layer.c) needs the archive's raw bytes, which libarchive hides.
 *
 * The parser is a state machine that either collects `need` bytes into `hold` and then looks
 * at them, or passes file data on. Bounds: headers of names and attributes 1 MiB together,
 * 8192 pieces of a sparse file. Numbers are octal or base-256; negative and overflowing
 * ones are refused.
 */
#include <stdlib.h>
#include <string.h>
#include "oci/impl.h"

#define BLOCK      512u
#define EXT_MAX    (1u << 20)
#define PIECES_MAX 8192u
#define XATTRS_MAX 64u

enum state {
	ST_HEADER,
	ST_EXT,        /* body of a pax or GNU long name header, and its padding */
	ST_SPARSE_EXT, /* further blocks of an old GNU sparse map */
	ST_SPARSE_MAP, /* pax 1.0: the map before the data */
	ST_DATA,
	ST_PAD,
	ST_END
};

struct piece {
	uint64_t off, len;
};

struct oci_tar {
	const struct oci_tar_ops *ops;
	void *ctx;
	enum state state;
	const char *why;
	uint8_t *hold;
	size_t held, need, hold_size;
	char ext_type;
	uint64_t ext_size;
	uint64_t left; /* stored bytes of the data still to come */
	uint64_t pad;
	uint64_t at; /* offset in the file (of the piece, if sparse) */
	struct piece *piece;
	unsigned pieces, cur;
	unsigned zeros; /* blocks of zeros seen in a row */
	/* from extended headers, for the next entry */
	char *path, *link, *sparse_name;
	struct oci_xattr xattr[XATTRS_MAX];
	unsigned xattrs;
	bool has_size, has_uid, has_gid, has_mtime, sparse10;
	uint64_t size, uid, gid, real_size;
	struct h2_time mtime;
	bool has_real;
	char name_buf[260], link_buf[104];
	struct oci_entry entry;
};

static int bad(struct oci_tar *t, const char *why)
{
	t->why = why;
	return -H2_EINVAL;
}

static void want(struct oci_tar *t, enum state st, size_t need)
{
	t->state = st;
	t->need = need;
	t->held = 0;
}

static void forget(struct oci_tar *t)
{
	free(t->path);
	free(t->link);
	free(t->sparse_name);
	for (unsigned i = 0; i < t->xattrs; i++)
		free((void *)t->xattr[i].name);
	t->path = t->link = t->sparse_name = NULL;
	t->xattrs = 0;
	t->has_size = t->has_uid = t->has_gid = t->has_mtime = t->sparse10 = t->has_real =
	    false;
	t->pieces = t->cur = 0;
}

struct oci_tar *oci_tar_new(const struct oci_tar_ops *ops, void *ctx)
{
	struct oci_tar *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->ops = ops;
	t->ctx = ctx;
	t->hold_size = 4096;
	t->hold = malloc(t->hold_size);
	if (!t->hold) {
		free(t);
		return NULL;
	}
	want(t, ST_HEADER, BLOCK);
	return t;
}

void oci_tar_free(struct oci_tar *t)
{
	if (!t)
		return;
	forget(t);
	free(t->piece);
	free(t->hold);
	free(t);
}

const char *oci_tar_why(const struct oci_tar *t)
{
	return t->why ? t->why : "damaged";
}

/* ---- numbers and names ---- */

static int field(const uint8_t *p, unsigned len, uint64_t *out)
{
	uint64_t v = 0;
	unsigned i = 0;

	if (p[0] == 0x80) { /* base-256, positive */
		for (i = 1; i < len; i++) {
			if (v >> 56)
				return -1;
			v = v << 8 | p[i];
		}
		*out = v;
		return 0;
	}
	while (i < len && p[i] == ' ')
		i++;
	for (; i < len && p[i] >= '0' && p[i] <= '7'; i++) {
		if (v >> 61)
			return -1;
		v = v << 3 | (uint64_t)(p[i] - '0');
	}
	if (i < len && p[i] != 0 && p[i] != ' ')
		return -1;
	*out = v;
	return 0;
}

static bool checksum_ok(const uint8_t *h)
{
	uint64_t said;
	uint32_t sum = 0;

	for (unsigned i = 0; i < BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : h[i];
	return !field(h + 148, 8, &said) && said == sum;
}

static char *copy(const uint8_t *p, size_t len)
{
	char *s = malloc(len + 1);

	if (s) {
		memcpy(s, p, len);
		s[len] = 0;
	}
	return s;
}

static bool decimal(const char *s, uint64_t *out)
{
	*out = 0;
	if (!*s)
		return false;
	for (; *s >= '0' && *s <= '9'; s++) {
		if (*out > (UINT64_MAX - 9) / 10)
			return false;
		*out = *out * 10 + (uint64_t)(*s - '0');
	}
	return !*s;
}

/* "[-]seconds[.fraction]" */
static bool pax_time(const char *s, struct h2_time *t)
{
	char whole[24];
	size_t n = strcspn(s, ".");
	uint64_t sec;
	bool minus = *s == '-';

	if (n >= sizeof(whole) || n <= (minus ? 1 : 0))
		return false;
	memcpy(whole, s + minus, n - minus);
	whole[n - minus] = 0;
	if (!decimal(whole, &sec) || sec > INT64_MAX)
		return false;
	*t = (struct h2_time){minus ? -(int64_t)sec : (int64_t)sec, 0};
	if (s[n] == '.' && !minus) {
		uint32_t scale = 100000000;

		for (s += n + 1; *s >= '0' && *s <= '9' && scale; s++, scale /= 10)
			t->nsec += scale * (uint32_t)(*s - '0');
	}
	return true;
}

/* ---- extended headers ---- */

static int set_string(struct oci_tar *t, char **to, const uint8_t *p, size_t len)
{
	if (memchr(p, 0, len))
		return bad(t, "a NUL in a name");
	free(*to);
	*to = copy(p, len);
	return *to ? 0 : -H2_ENOMEM;
}

static int set_xattr(struct oci_tar *t, const char *name, size_t name_len, const uint8_t *p,
		     size_t len)
{
	char *mem;

	if (t->xattrs == XATTRS_MAX || name_len == 0 || name_len > 255 || len > H2_XATTR_MAX)
		return bad(t, "too many or too large extended attributes");
	mem = malloc(name_len + 1 + len);
	if (!mem)
		return -H2_ENOMEM;
	memcpy(mem, name, name_len);
	mem[name_len] = 0;
	memcpy(mem + name_len + 1, p, len);
	t->xattr[t->xattrs++] = (struct oci_xattr){mem, mem + name_len + 1, len};
	return 0; /* cppcheck-suppress memleak; the table has it */
}

static int add_piece(struct oci_tar *t, uint64_t off, uint64_t len)
{
	const struct piece *last = t->pieces ? &t->piece[t->pieces - 1] : NULL;

	if (off > INT64_MAX || len > INT64_MAX - off || (last && off < last->off + last->len))
		return bad(t, "a sparse map that is out of order");
	if (t->pieces == PIECES_MAX)
		return bad(t, "too many holes in a sparse file");
	if (!t->piece)
		t->piece = malloc(PIECES_MAX * sizeof(*t->piece));
	if (!t->piece)
		return -H2_ENOMEM;
	t->piece[t->pieces++] = (struct piece){off, len};
	return 0;
}

/* "off,len,off,len..." of pax 0.1 */
static int pax_map(struct oci_tar *t, const char *s)
{
	uint64_t v[2];
	char word[24];

	for (unsigned i = 0; *s; i ^= 1) {
		size_t n = strcspn(s, ",");

		if (n >= sizeof(word))
			return bad(t, "a damaged sparse map");
		memcpy(word, s, n);
		word[n] = 0;
		if (!decimal(word, &v[i]))
			return bad(t, "a damaged sparse map");
		if (i && add_piece(t, v[0], v[1]))
			return -H2_EINVAL;
		s += n + (s[n] == ',');
	}
	return 0;
}

static int pax_keyword(struct oci_tar *t, const char *key, const uint8_t *value, size_t len)
{
	static const char xattr[] = "SCHILY.xattr.";
	char text[64] = "";
	bool ok = true;

	if (!strcmp(key, "path"))
		return set_string(t, &t->path, value, len);
	if (!strcmp(key, "linkpath"))
		return set_string(t, &t->link, value, len);
	if (!strcmp(key, "GNU.sparse.name"))
		return set_string(t, &t->sparse_name, value, len);
	if (!strncmp(key, xattr, sizeof(xattr) - 1))
		return set_xattr(t, key + sizeof(xattr) - 1, strlen(key) - (sizeof(xattr) - 1),
				 value, len);
	if (!strcmp(key, "GNU.sparse.map"))
		return pax_map(t, (const char *)value); /* the record's end is a NUL here */
	if (len >= sizeof(text))
		return 0;
	memcpy(text, value, len);
	if (!strcmp(key, "size"))
		ok = t->has_size = decimal(text, &t->size);
	else if (!strcmp(key, "uid"))
		ok = t->has_uid = decimal(text, &t->uid);
	else if (!strcmp(key, "gid"))
		ok = t->has_gid = decimal(text, &t->gid);
	else if (!strcmp(key, "mtime"))
		ok = t->has_mtime = pax_time(text, &t->mtime);
	else if (!strcmp(key, "GNU.sparse.realsize") || !strcmp(key, "GNU.sparse.size"))
		ok = t->has_real = decimal(text, &t->real_size);
	else if (!strcmp(key, "GNU.sparse.major"))
		t->sparse10 = !strcmp(text, "1");
	return ok ? 0 : bad(t, "a damaged number in a pax header");
}

/* Records "length key=value\n". */
static int take_pax(struct oci_tar *t, uint8_t *p, size_t len)
{
	while (len) {
		size_t n = 0, i = 0, key;
		int err;

		while (i < len && i < 8 && p[i] >= '0' && p[i] <= '9')
			n = n * 10 + (size_t)(p[i++] - '0');
		if (i == 0 || i == len || p[i] != ' ' || n <= i + 2 || n > len ||
		    p[n - 1] != '\n')
			return bad(t, "a damaged pax header");
		key = ++i;
		while (i < n && p[i] != '=')
			i++;
		if (i >= n - 1 || memchr(p + key, 0, i - key))
			return bad(t, "a damaged pax header");
		p[i] = p[n - 1] = 0;
		err = pax_keyword(t, (const char *)p + key, p + i + 1, n - i - 2);
		if (err)
			return err;
		p += n;
		len -= n;
	}
	return 0;
}

static int take_ext(struct oci_tar *t)
{
	size_t len = (size_t)t->ext_size;

	want(t, ST_HEADER, BLOCK);
	if (t->ext_type == 'x')
		return take_pax(t, t->hold, len);
	if (t->ext_type == 'g')
		return 0; /* global headers: comments, of git for one */
	while (len && !t->hold[len - 1])
		len--;
	return set_string(t, t->ext_type == 'L' ? &t->path : &t->link, t->hold, len);
}

/* ---- entries ---- */

static int begin_data(struct oci_tar *t)
{
	int err = t->ops->entry(t->ctx, &t->entry);

	t->at = 0;
	t->cur = 0;
	if (!err && !t->left && !t->pad)
		err = t->ops->end(t->ctx);
	if (t->left || t->pad) {
		want(t, t->left ? ST_DATA : ST_PAD, 0);
	} else {
		want(t, ST_HEADER, BLOCK);
		forget(t);
	}
	return err;
}

/* All pieces of the map together are the stored bytes, and lie inside the file. */
static int begin_sparse(struct oci_tar *t)
{
	uint64_t sum = 0, end = 0;

	for (unsigned i = 0; i < t->pieces; i++) {
		sum += t->piece[i].len;
		end = t->piece[i].off + t->piece[i].len;
	}
	if (sum != t->left || end > t->entry.size)
		return bad(t, "a sparse map that does not fit its file");
	return begin_data(t);
}

static int map_entries(struct oci_tar *t, const uint8_t *p, unsigned n)
{
	for (; n--; p += 24) {
		uint64_t off, len;

		if (!p[0])
			break;
		if (field(p, 12, &off) || field(p + 12, 12, &len))
			return bad(t, "a damaged sparse map");
		int err = add_piece(t, off, len);
		if (err)
			return err;
	}
	return 0;
}

static int take_sparse_ext(struct oci_tar *t)
{
	int err = map_entries(t, t->hold, 21);

	if (err)
		return err;
	if (!t->hold[504])
		return begin_sparse(t);
	want(t, ST_SPARSE_EXT, BLOCK);
	return 0;
}

/* pax 1.0: decimal lines, the count first, padded to whole blocks. Read block by block until
 * all lines are there. */
static int take_sparse_map(struct oci_tar *t)
{
	uint64_t count = 0, v[2] = {0}, n = 0;
	const uint8_t *p = t->hold, *end = t->hold + t->held;

	t->pieces = 0;
	for (;;) {
		uint64_t x = 0;
		const uint8_t *line = p;

		while (p < end && *p >= '0' && *p <= '9' && p - line < 19)
			x = x * 10 + (uint64_t)(*p++ - '0');
		if (p == end)
			break; /* more blocks */
		if (*p++ != '\n' || p - line < 2)
			return bad(t, "a damaged sparse map");
		if (n == 0)
			count = x;
		else
			v[(n - 1) & 1] = x;
		if (n && !(n & 1) && add_piece(t, v[0], v[1]))
			return -H2_EINVAL;
		if (count > PIECES_MAX)
			return bad(t, "too many holes in a sparse file");
		if (n++ == 2 * count) {
			t->left -= t->held;
			return begin_sparse(t);
		}
	}
	if (t->held + BLOCK > t->left || t->held + BLOCK > EXT_MAX)
		return bad(t, "a damaged sparse map");
	t->need = t->held + BLOCK; /* keep what is there */
	t->state = ST_SPARSE_MAP;
	return 0;
}

static const char *header_name(struct oci_tar *t, const uint8_t *h)
{
	size_t n = strnlen((const char *)h, 100), prefix = 0;

	if (!memcmp(h + 257, "ustar\0", 6) && h[345]) {
		prefix = strnlen((const char *)h + 345, 155);
		memcpy(t->name_buf, h + 345, prefix);
		t->name_buf[prefix++] = '/';
	}
	memcpy(t->name_buf + prefix, h, n);
	t->name_buf[prefix + n] = 0;
	return t->name_buf;
}

static int begin_ext(struct oci_tar *t, char type, uint64_t size)
{
	if (size > EXT_MAX)
		return bad(t, "an extended header of more than 1 MiB");
	t->ext_type = type;
	t->ext_size = size;
	want(t, ST_EXT, (size_t)((size + BLOCK - 1) / BLOCK * BLOCK));
	return size ? 0 : take_ext(t);
}

static int fill_entry(struct oci_tar *t, const uint8_t *h, uint64_t size)
{
	struct oci_entry *e = &t->entry;
	uint64_t mode, uid, gid, major = 0, minor = 0, mtime = 0;

	if (field(h + 100, 8, &mode) || field(h + 108, 8, &uid) || field(h + 116, 8, &gid))
		return bad(t, "a damaged number");
	if (!t->has_mtime && field(h + 136, 12, &mtime))
		mtime = 0; /* negative times in base-256 */
	if ((h[156] == '3' || h[156] == '4') &&
	    (field(h + 329, 8, &major) || field(h + 337, 8, &minor)))
		return bad(t, "a damaged device number");
	memcpy(t->link_buf, h + 157, 100);
	t->link_buf[100] = 0;
	*e = (struct oci_entry){
	    .type = h[156] == 0 || h[156] == '7' || h[156] == 'S' ? '0' : (char)h[156],
	    .path = t->sparse_name ? t->sparse_name
		    : t->path      ? t->path
				   : header_name(t, h),
	    .link = t->link ? t->link : t->link_buf,
	    .size = t->has_real ? t->real_size : size,
	    .sparse = t->has_real || h[156] == 'S',
	    .mode = (uint32_t)mode & 07777,
	    .uid = (uint32_t)(t->has_uid ? t->uid : uid),
	    .gid = (uint32_t)(t->has_gid ? t->gid : gid),
	    .major = (uint32_t)major,
	    .minor = (uint32_t)minor,
	    .mtime = t->has_mtime ? t->mtime : (struct h2_time){(int64_t)mtime, 0},
	    .xattr = t->xattr,
	    .xattrs = t->xattrs,
	};
	/* Before ustar a directory was a file whose name ends with a slash. */
	if (e->type == '0' && *e->path && e->path[strlen(e->path) - 1] == '/')
		e->type = '5';
	return e->size > INT64_MAX ? bad(t, "a file that is too large") : 0;
}

static int old_sparse(struct oci_tar *t, const uint8_t *h)
{
	int err;

	if (field(h + 483, 12, &t->entry.size) || t->entry.size > INT64_MAX)
		return bad(t, "a damaged sparse file");
	err = map_entries(t, h + 386, 4);
	if (err)
		return err;
	if (!h[482])
		return begin_sparse(t);
	want(t, ST_SPARSE_EXT, BLOCK);
	return 0;
}

static int take_header(struct oci_tar *t)
{
	uint8_t h[BLOCK];
	uint64_t size;
	bool zero = true;
	int err;

	memcpy(h, t->hold, BLOCK);
	for (unsigned i = 0; zero && i < BLOCK; i++)
		zero = !h[i];
	want(t, ST_HEADER, BLOCK);
	if (zero) {
		if (++t->zeros == 2)
			want(t, ST_END, 0);
		return 0;
	}
	if (t->zeros)
		return bad(t, "an entry behind the end");
	if (!checksum_ok(h))
		return bad(t, "a header with a wrong checksum");
	if (field(h + 124, 12, &size))
		return bad(t, "a damaged size");
	if (h[156] == 'x' || h[156] == 'g' || h[156] == 'L' || h[156] == 'K')
		return begin_ext(t, (char)h[156], size);
	if (t->has_size)
		size = t->size;
	if (size > INT64_MAX - BLOCK)
		return bad(t, "a damaged size");
	err = fill_entry(t, h, size);
	if (err)
		return err;
	/* Only files have data, whatever the size field of others says. */
	t->left = t->entry.type == '0' ? size : 0;
	t->pad = (BLOCK - t->left % BLOCK) % BLOCK;
	if (h[156] == 'S')
		return old_sparse(t, h);
	if (t->sparse10 && t->has_real) {
		if (t->left < BLOCK)
			return bad(t, "a sparse file without its map");
		want(t, ST_SPARSE_MAP, BLOCK);
		return 0;
	}
	return t->entry.sparse ? begin_sparse(t) : begin_data(t);
}

/* ---- data ---- */

static int end_entry(struct oci_tar *t)
{
	int err = t->ops->end(t->ctx);

	want(t, ST_HEADER, BLOCK);
	forget(t);
	return err;
}

static int pass_data(struct oci_tar *t, const uint8_t *p, size_t *len)
{
	size_t n = *len < t->left ? *len : (size_t)t->left, done = 0;
	int err = 0;

	if (!t->entry.sparse) {
		err = t->ops->data(t->ctx, t->at, p, n);
		t->at += n;
	} else if (t->ops->raw) {
		err = t->ops->raw(t->ctx, p, n);
	}
	while (!err && t->entry.sparse && done < n) {
		const struct piece *c = &t->piece[t->cur];
		size_t part = n - done < c->len - t->at ? n - done : (size_t)(c->len - t->at);

		err = part ? t->ops->data(t->ctx, c->off + t->at, p + done, part) : 0;
		done += part;
		t->at += part;
		if (t->at == c->len) {
			t->cur++;
			t->at = 0;
		}
	}
	t->left -= n;
	*len = n;
	if (!err && !t->left) {
		want(t, ST_PAD, 0);
		if (!t->pad)
			err = end_entry(t);
	}
	return err;
}

static int collect(struct oci_tar *t, const uint8_t *p, size_t *len)
{
	size_t n = t->need - t->held < *len ? t->need - t->held : *len;

	if (t->need > t->hold_size) {
		uint8_t *more = realloc(t->hold, t->need);

		if (!more)
			return -H2_ENOMEM;
		t->hold = more;
		t->hold_size = t->need;
	}
	memcpy(t->hold + t->held, p, n);
	t->held += n;
	*len = n;
	int err = t->ops->raw ? t->ops->raw(t->ctx, p, n) : 0;
	if (err || t->held < t->need)
		return err;
	switch (t->state) {
	case ST_HEADER:
		return take_header(t);
	case ST_EXT:
		return take_ext(t);
	case ST_SPARSE_EXT:
		return take_sparse_ext(t);
	default:
		return take_sparse_map(t);
	}
}

int oci_tar_push(struct oci_tar *t, const uint8_t *p, size_t len)
{
	int err = 0;

	while (len && !err) {
		size_t n = len;

		if (t->state == ST_DATA) {
			err = pass_data(t, p, &n);
		} else if (t->state == ST_PAD) {
			n = len < t->pad ? len : (size_t)t->pad;
			err = t->ops->raw ? t->ops->raw(t->ctx, p, n) : 0;
			t->pad -= n;
			if (!err && !t->pad)
				err = end_entry(t);
		} else if (t->state == ST_END) {
			err = t->ops->raw ? t->ops->raw(t->ctx, p, n) : 0;
		} else {
			err = collect(t, p, &n);
		}
		p += n;
		len -= n;
	}
	return err;
}

int oci_tar_done(const struct oci_tar *t)
{
	/* Some writers leave out the two blocks of zeros. */
	return t->state == ST_END || (t->state == ST_HEADER && !t->held) ? 0 : -H2_EINVAL;
}
