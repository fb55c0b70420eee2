/* SPDX-License-Identifier: ISC */
/*
 * A volume on two disks.
 *
 * Problem. Check codes find a bad block, but only a second copy brings its bytes back; and a
 * container's own changes are in no image archive.
 *
 * Model. Every write, flush and discard goes to both sides; reads come from the first. A read
 * error, or a block that fails its check code, is answered from the other side, and written
 * back where it was wrong. A scrub compares both sides block by block, since a bad block of the
 * second would not be noticed otherwise. A side whose write or flush fails is not used any
 * more; the volume goes on with the other.
 *
 * Which side is the volume? The one whose newest header has the higher transaction number.
 * The other is stale: after a power cut between two header writes by one transaction, after
 * weeks without that disk by thousands, and a new disk holds nothing. A stale side is made
 * equal while the volume is in use: a scrub copies what the last commit refers to, all later
 * writes go to both sides anyway, and at last come the reserved areas with freemap and headers.
 *
 * Invariants. A stale side gets no volume header before everything else is there and flushed:
 * if that is cut short, its own headers (or none) still tell that it is stale. It is read only
 * for blocks whose check code is known. Sides with volumes of different fsid, or a side that is
 * neither a volume nor blank, are refused and not written to.
 */
#include "cells/store/mirror.h"

#include <string.h>

#define PIECE     (1u << 20)
#define BLANK     (1u << 20)
#define HDR_BYTES 65536u

static void tell(struct mirror *m, unsigned side, const char *what)
{
	if (m->event)
		m->event(m->event_ctx, side, what);
}

static void give_up(struct mirror *m, unsigned side, const char *what)
{
	m->side[side].dead = true;
	if (m->first == side && !m->side[!side].dead && !m->side[!side].stale)
		m->first = !side;
	tell(m, side, what);
}

static bool usable(const struct mirror *m, unsigned side)
{
	return !m->side[side].dead;
}

bool mirror_whole(const struct mirror *m)
{
	return usable(m, 0) && usable(m, 1) && !m->side[0].stale && !m->side[1].stale;
}

/* ---- the device that h2 sees ---- */

static int side_read(struct mirror *m, unsigned side, uint64_t off, void *buf, size_t len)
{
	const struct mirror_side *s = &m->side[side];

	if (s->dead || off > s->size || len > s->size - off)
		return -H2_EIO;
	return s->ops->read(s->dev, off, buf, len);
}

static int side_write(struct mirror *m, unsigned side, uint64_t off, const void *buf,
		      size_t len)
{
	const struct mirror_side *s = &m->side[side];
	int err = off > s->size || len > s->size - off ? -H2_EIO
						       : s->ops->write(s->dev, off, buf, len);

	if (err)
		give_up(m, side, "a write failed; the disk is not used any more");
	return err;
}

static int mirror_read(void *dev, uint64_t off, void *buf, size_t len)
{
	struct mirror *m = dev;
	unsigned first = m->first;
	int err = side_read(m, first, off, buf, len);

	if (!err || m->side[!first].dead || m->side[!first].stale)
		return err;
	if (side_read(m, !first, off, buf, len))
		return -H2_EIO;
	if (!m->side[first].dead && !m->readonly) {
		tell(m, first, "a read failed; rewritten from the other disk");
		if (!side_write(m, first, off, buf, len))
			m->mended++;
	}
	return 0;
}

/* A stale side must go on looking stale: no header, and if it was blank, nothing at its begin.
 */
static bool withheld(const struct mirror *m, uint64_t off, size_t len)
{
	return off < H2_RESERVED_BYTES || h2_header_range(m->size, off, len);
}

static int mirror_write(void *dev, uint64_t off, const void *buf, size_t len)
{
	struct mirror *m = dev;
	bool done = false;

	for (unsigned i = 0; i < 2; i++) {
		if (m->side[i].dead || (m->side[i].stale && withheld(m, off, len)))
			continue;
		done |= !side_write(m, i, off, buf, len) && !m->side[i].stale;
	}
	return done ? 0 : -H2_EIO;
}

static int mirror_flush(void *dev)
{
	struct mirror *m = dev;
	bool done = false;

	for (unsigned i = 0; i < 2; i++) {
		if (m->side[i].dead)
			continue;
		if (m->side[i].ops->flush(m->side[i].dev))
			give_up(m, i, "a flush failed; the disk is not used any more");
		else
			done |= !m->side[i].stale;
	}
	return done ? 0 : -H2_EIO;
}

static int mirror_discard(void *dev, uint64_t off, uint64_t len)
{
	struct mirror *m = dev;

	for (unsigned i = 0; i < 2; i++)
		if (!m->side[i].dead && m->side[i].ops->discard)
			m->side[i].ops->discard(m->side[i].dev, off, len);
	return 0;
}

static void mirror_prefetch(void *dev, uint64_t off, size_t len)
{
	struct mirror *m = dev;
	const struct mirror_side *s = &m->side[m->first];

	if (!s->dead && s->ops->prefetch)
		s->ops->prefetch(s->dev, off, len);
}

const struct h2_dev_ops mirror_ops = {.read = mirror_read,
				      .write = mirror_write,
				      .flush = mirror_flush,
				      .discard = mirror_discard,
				      .prefetch = mirror_prefetch};

int mirror_second_copy(struct mirror *m, const struct h2_event *ev, void *buf)
{
	/* h2 tests the check code before it believes this, stale or not. */
	return side_read(m, !m->first, ev->off, buf, ev->len);
}

void mirror_scrubbed(struct mirror *m, uint64_t off, const void *stored, size_t len)
{
	unsigned other = !m->first;

	if (m->side[other].dead || m->readonly || !m->compare || len > PIECE)
		return;
	if (!side_read(m, other, off, m->compare, len) && !memcmp(m->compare, stored, len))
		return;
	if (side_write(m, other, off, stored, len))
		return;
	m->mended++;
	if (!m->side[other].stale)
		tell(m, other, "a block differed; rewritten from the other disk");
}

/* ---- which side is the volume ---- */

static int blank(struct mirror *m, unsigned side)
{
	const struct mirror_side *s = &m->side[side];
	int err;

	if (s->size < BLANK)
		return 0;
	err = side_read(m, side, 0, m->buf, BLANK);
	for (uint32_t i = 0; !err && i < BLANK; i++)
		if (m->buf[i])
			return 0;
	return err ? err : 1;
}

static int refuse(const char **why, const char *text)
{
	*why = text;
	return -H2_EINVAL;
}

/* One side holds a volume; the other may be taken for its copy only if it is blank. */
static int with_blank(struct mirror *m, unsigned volume, const struct h2_vol_info *info,
		      const char **why)
{
	int is = m->side[!volume].dead ? 1 : blank(m, !volume);

	if (is <= 0)
		return is ? is
			  : refuse(why, "one disk holds the volume, the other something else");
	if (!m->side[!volume].dead && m->side[!volume].size < info->size)
		return refuse(why, "the other disk is too small for the volume");
	m->first = volume;
	m->side[!volume].stale = true;
	m->size = info->size;
	return 0;
}

static int choose(struct mirror *m, const int found[2], const struct h2_vol_info info[2],
		  const char **why)
{
	if (found[0] && found[1]) {
		for (unsigned i = 0; i < 2; i++) {
			int is = m->side[i].dead ? 1 : blank(m, i);

			if (is <= 0)
				return is ? is
					  : refuse(why,
						   "a disk holds neither a volume nor nothing");
		}
		return -H2_EMEDIUM;
	}
	if (found[0] || found[1])
		return with_blank(m, found[0] ? 1 : 0, &info[found[0] ? 1 : 0], why);
	if (memcmp(info[0].fsid, info[1].fsid, 16))
		return refuse(why, "the disks hold different volumes");
	m->first = info[1].mirror_tid > info[0].mirror_tid;
	m->side[!m->first].stale = info[0].mirror_tid != info[1].mirror_tid;
	m->size = info[m->first].size;
	if (m->side[!m->first].size < m->size)
		return refuse(why, "the other disk is too small for the volume");
	return 0;
}

int mirror_open(struct mirror *m, const struct h2_env *env, const char **why)
{
	struct h2_vol_info info[2];
	int found[2], err;

	m->env = *env;
	m->buf = env->alloc(env->ctx, PIECE);
	m->compare = env->alloc(env->ctx, PIECE);
	if (!m->buf || !m->compare)
		return -H2_ENOMEM;
	for (unsigned i = 0; i < 2; i++) {
		struct h2_env e = *env;

		e.dev_ops = m->side[i].ops;
		e.dev = m->side[i].dev;
		e.dev_size = m->side[i].size;
		e.dev_readonly = true;
		e.second_copy = NULL;
		found[i] = m->side[i].dead ? -H2_EMEDIUM : h2_probe(&e, &info[i]);
		if (found[i] == -H2_EIO && !m->side[!i].dead)
			give_up(m, i, "its headers can't be read; the disk is not used");
		if (m->side[i].dead)
			found[i] = -H2_EMEDIUM;
	}
	m->size = m->side[0].dead || (!m->side[1].dead && m->side[1].size < m->side[0].size)
		      ? m->side[1].size
		      : m->side[0].size;
	err = m->side[0].dead && m->side[1].dead ? -H2_EIO : choose(m, found, info, why);
	if (err)
		return err;
	if (m->side[!m->first].stale && !m->side[!m->first].dead)
		tell(m, !m->first, "is behind; it will be made equal");
	return 0;
}

void mirror_stop(struct mirror *m)
{
	if (m->scrub)
		h2_scrub_end(m->scrub);
	m->scrub = NULL;
}

void mirror_close(struct mirror *m)
{
	mirror_stop(m);
	if (m->buf)
		m->env.free(m->env.ctx, m->buf, PIECE);
	if (m->compare)
		m->env.free(m->env.ctx, m->compare, PIECE);
	m->buf = m->compare = NULL;
}

/* ---- making a stale side equal ---- */

static int copy_range(struct mirror *m, uint64_t off, size_t len)
{
	int err = side_read(m, m->first, off, m->buf, len);

	return err ? err : side_write(m, !m->first, off, m->buf, len);
}

/*
 * The last step, with nothing in between: the begin of the disk, then all headers. What they
 * refer to is on both sides by now.
 */
static int copy_headers(struct mirror *m)
{
	struct mirror_side *other = &m->side[!m->first];
	int err = 0;

	for (uint64_t at = HDR_BYTES; !err && at < H2_RESERVED_BYTES; at += HDR_BYTES)
		err = copy_range(m, at, HDR_BYTES);
	if (!err)
		err = other->ops->flush(other->dev);
	for (uint64_t at = 0; !err && at < m->size; at += H2_RESERVED_STEP)
		if (h2_header_range(m->size, at, HDR_BYTES))
			err = copy_range(m, at, HDR_BYTES);
	return err ? err : other->ops->flush(other->dev);
}

/* The next piece of a reserved area, but for the headers. 1: there is more. */
static int copy_reserved(struct mirror *m)
{
	uint64_t off = m->reserved, in = off % H2_RESERVED_STEP;
	size_t skip = h2_header_range(m->size, off, PIECE) ? HDR_BYTES : 0;
	int err;

	if (off >= m->size)
		return 0;
	err = copy_range(m, off + skip, PIECE - skip);
	in += PIECE;
	m->reserved += in < H2_RESERVED_BYTES ? PIECE : PIECE + H2_RESERVED_STEP - in;
	return err ? err : 1;
}

static int step(struct mirror *m, struct h2_vol *vol)
{
	struct h2_progress p;
	int more;

	if (m->scrub) {
		more = h2_scrub_step(m->scrub, PIECE, &p);
		if (more)
			return more;
		h2_scrub_end(m->scrub);
		m->scrub = NULL;
		m->reserved = H2_RESERVED_STEP; /* that of the first GiB comes last */
		if (p.bad) /* those are on neither side: the rest is worth having twice */
			tell(m, m->first, "has bad blocks that could not be copied");
	}
	more = copy_reserved(m);
	if (more)
		return more;
	/* Nothing is under way at this moment: the headers name what both sides have. */
	more = copy_headers(m);
	if (!more) {
		m->side[!m->first].stale = false;
		m->reserved = ~0ull;
		tell(m, !m->first, "is equal now");
	}
	return more;
}

bool mirror_step(struct mirror *m, struct h2_vol *vol)
{
	unsigned other = !m->first;
	int err;

	if (!m->side[other].stale || m->side[other].dead || m->readonly)
		return false;
	if (!m->scrub && !m->reserved) {
		err = h2_scrub_begin(vol, &m->scrub);
		if (err == -H2_EAGAIN)
			return false; /* a bulkfree runs; later */
		m->reserved = 1;
		if (err) {
			give_up(m, other, "can't be made equal");
			return false;
		}
	}
	err = step(m, vol);
	if (err >= 0)
		return true;
	mirror_stop(m);
	if (!m->side[other].dead)
		give_up(m, other, "can't be made equal");
	return false;
}
