/* SPDX-License-Identifier: ISC */
/*
 * A root that comes through a stream channel with the label "rootfs" (d0d sends it): this end
 * writes one byte when it can take it; then come tar archives in pieces, each a length
 * (32 bits) and that many bytes. Length 0 ends an archive, an archive without bytes the
 * sequence. A later archive's files replace an earlier one's.
 */
#include "cells/linux/inc/channel.h"

struct piece_source {
	struct tar_source src;
	struct chan_stream *stream;
	u32 left;  /* of this piece */
	bool any;  /* this archive had bytes */
	bool told; /* the sender answered */
	bool ended, lost;
};

static bool take(struct piece_source *p, void *buf, u32 n)
{
	bool restarted = false;

	do {
		/* An end that opens the stream later than we did lost our first byte. */
		if (restarted && !chan_stream_write(p->stream, "r", 1))
			p->lost = true;
		restarted = false;
		if (p->lost || !chan_stream_read(p->stream, buf, n, &restarted))
			p->lost = true;
	} while (restarted && !p->told && !p->lost);
	p->told = true;
	if (restarted)
		p->lost = true;
	return !p->lost;
}

static bool piece_read(struct tar_source *s, void *buf, u32 n)
{
	struct piece_source *p = (struct piece_source *)s;
	u8 *to = buf;

	while (n) {
		u32 part;

		if (p->ended || (!p->left && !take(p, &p->left, sizeof(p->left))))
			return false;
		if (!p->left) {
			p->ended = true;
			return false;
		}
		p->any = true;
		part = MIN(n, p->left);
		if (!take(p, to, part))
			return false;
		to += part;
		n -= part;
		p->left -= part;
	}
	return true;
}

int rootfs_receive(void);
int rootfs_receive(void)
{
	s32 n = channel_find(D0_PROTO_STREAM, "rootfs");
	struct chan_stream *c;
	bool told = false;
	u8 rest[64];
	int r = 0;

	if (n < 0)
		return -ENOENT;
	c = kalloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	r = chan_stream_open(c, (u32)n);
	if (!r && !chan_stream_write(c, "r", 1))
		r = -EPIPE;
	while (!r) {
		struct piece_source p = {.src.read = piece_read, .stream = c, .told = told};

		r = tar_unpack_from(&p.src, "/");
		while (!p.ended && !p.lost)
			piece_read(&p.src, rest, 1);
		told = p.told;
		if (p.lost)
			r = -EPIPE;
		if (!p.any)
			break;
	}
	/* The stream's event handler goes on referring to it: it stays. */
	return r;
}
