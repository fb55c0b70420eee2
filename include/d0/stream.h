/* SPDX-License-Identifier: ISC */
/*
 * A byte-stream pair over a channel's ring region (D0_PROTO_STREAM, D0_PROTO_CONSOLE,
 * D0_PROTO_ADMIN). The first page holds two d0_stream_dir, then come the two data areas
 * of d0_stream_capacity() bytes each: direction 0 (server to client), then 1.
 *
 * Indexes run freely modulo 2^32 and are masked with capacity - 1; capacity is a power of
 * two. The writer owns prod, writer_start, its flags and writer_epoch; the reader owns cons
 * and reader_epoch. An end that starts sets its writer's prod and writer_start to the
 * reader's cons, its reader's cons to the writer's prod (what was in flight is lost), and
 * then its two epochs to a new value. A reader that sees a new writer_epoch moves to
 * writer_start.
 *
 * Wake-ups: before it sleeps, an end sets its `waiting` word, then looks again. After
 * moving an index, an end that finds the other's `waiting` set clears it and notifies.
 */
#ifndef D0_STREAM_H
#define D0_STREAM_H

#include <stdint.h>
#include <stddef.h>

struct d0_stream_dir {
	/* the writer's line */
	uint32_t prod;
	uint32_t writer_epoch;
	uint32_t writer_flags;   /* D0_STREAM_EOF */
	uint32_t reader_waiting; /* set by the reader, cleared by the writer */
	uint32_t writer_start;   /* prod at the begin of this epoch */
	uint8_t pad[44];
	/* the reader's line */
	uint32_t cons;
	uint32_t reader_epoch;
	uint32_t reader_flags;   /* D0_STREAM_EOF: will read no more */
	uint32_t writer_waiting; /* set by the writer, cleared by the reader */
	uint8_t pad2[48];
};
_Static_assert(sizeof(struct d0_stream_dir) == 128, "two cache lines");

enum {
	D0_STREAM_EOF = 1
};

#define D0_STREAM_HEAD 4096u

/* Bytes of each direction's data area in a region of that size; 0: too small. */
static inline uint32_t d0_stream_capacity(uint64_t region_size)
{
	uint64_t half, cap = 1;

	if (region_size <= D0_STREAM_HEAD)
		return 0;
	half = (region_size - D0_STREAM_HEAD) / 2;
	while (cap * 2 <= half && cap < (1u << 30))
		cap *= 2;
	return cap >= 64 ? (uint32_t)cap : 0;
}

#endif
