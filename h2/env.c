/* SPDX-License-Identifier: ISC */
/* The doors to the outside: memory, time, entropy, events. */
#include <string.h>

#include "h2/impl.h"

void *h2_alloc(struct h2_vol *v, size_t len)
{
	return v->env.alloc(v->env.ctx, len);
}

void *h2_zalloc(struct h2_vol *v, size_t len)
{
	void *mem = h2_alloc(v, len);

	if (mem)
		memset(mem, 0, len);
	return mem;
}

void h2_free(struct h2_vol *v, void *mem, size_t len)
{
	if (mem)
		v->env.free(v->env.ctx, mem, len);
}

uint64_t h2_now_us(struct h2_vol *v)
{
	return v->env.now(v->env.ctx) / 1000;
}

/* A random (version 4) UUID. */
int h2_uuid(struct h2_vol *v, uint8_t out[16])
{
	if (v->env.entropy(v->env.ctx, out, 16) < 0)
		return -H2_EIO;
	out[7] = (out[7] & 0x0f) | 0x40; /* version, little-endian field order */
	out[8] = (out[8] & 0x3f) | 0x80;
	return 0;
}

void h2_event_send(struct h2_vol *v, struct h2_event *ev)
{
	if (ev->kind == H2_EV_READ_ERROR || ev->kind == H2_EV_BAD_CHECK ||
	    ev->kind == H2_EV_BAD_STRUCT)
		v->bad_blocks++;
	if (v->env.event)
		v->env.event(v->env.ctx, ev);
}

static void fill_event(struct h2_event *ev, enum h2_event_kind kind, const struct h2_bref *b,
		       const struct h2_where *at, const char *what)
{
	memset(ev, 0, sizeof(*ev));
	ev->kind = kind;
	ev->what = what;
	if (b) {
		ev->off = h2_bref_off(b);
		ev->len = h2_bref_bytes(b);
		ev->bref_type = b->type;
		ev->methods = b->methods;
		ev->key = b->key;
		memcpy(ev->code, b->check.raw, sizeof(ev->code));
	}
	if (at) {
		ev->ino = at->ino;
		if (at->pfs)
			strncpy(ev->pfs, at->pfs, sizeof(ev->pfs) - 1);
	}
}

void h2_event_bref(struct h2_vol *v, enum h2_event_kind kind, const struct h2_bref *b,
		   const struct h2_where *at, const char *what)
{
	struct h2_event ev;

	fill_event(&ev, kind, b, at, what);
	h2_event_send(v, &ev);
}

bool h2_is_zero(const void *buf, size_t len)
{
	const uint8_t *p = buf;

	/* The first word decides nearly always; then the block is compared with itself. */
	for (; len && (len & 7); len--)
		if (p[len - 1])
			return false;
	for (size_t i = 0; i < len; i += 64) {
		uint64_t sum = 0, w;
		for (size_t k = 0; k < 64 && i + k < len; k += 8) {
			memcpy(&w, p + i + k, 8);
			sum |= w;
		}
		if (sum)
			return false;
	}
	return true;
}

const char *h2_strerror(int err)
{
	static const struct {
		int code;
		const char *text;
	} list[] = {
	    {H2_EPERM, "operation not permitted on this object"},
	    {H2_ENOENT, "no such entry"},
	    {H2_EIO, "device error or damaged block"},
	    {H2_ENXIO, "offset beyond the data"},
	    {H2_EAGAIN, "already under way"},
	    {H2_ENOMEM, "out of memory"},
	    {H2_EBUSY, "in use"},
	    {H2_EEXIST, "exists already"},
	    {H2_ENOTDIR, "not a directory"},
	    {H2_EISDIR, "is a directory"},
	    {H2_EINVAL, "invalid argument"},
	    {H2_EFBIG, "file too large"},
	    {H2_ENOSPC, "no space left on the volume"},
	    {H2_EROFS, "volume is read-only"},
	    {H2_EMLINK, "too many links"},
	    {H2_ERANGE, "buffer too small"},
	    {H2_ENAMETOOLONG, "name too long"},
	    {H2_ENOTEMPTY, "directory not empty"},
	    {H2_ENODATA, "no such attribute"},
	    {H2_EOVERFLOW, "value too large"},
	    {H2_ENOTSUP, "not supported"},
	    {H2_EUCLEAN, "damaged structure"},
	    {H2_EMEDIUM, "no usable HAMMER2 volume header"},
	};

	if (err < 0)
		err = -err;
	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++)
		if (list[i].code == err)
			return list[i].text;
	return err ? "unknown error" : "success";
}
