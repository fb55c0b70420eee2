/* SPDX-License-Identifier: ISC */
/*
 * Byte streams over shared memory (d0/stream.h). The peer is hostile: its indexes are
 * read once and clamped to what is possible. One reader and one writer for each direction;
 * nothing locks, blocks or allocates.
 */
#ifndef LIBCELL_STREAM_H
#define LIBCELL_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "d0/stream.h"

/* One direction, seen by its writer or its reader. */
struct byte_ring {
	uint32_t *prod, *cons;  /* shared */
	uint32_t *peer_waiting; /* shared: set by the peer before it sleeps */
	uint32_t *self_waiting; /* shared: set by us before we sleep */
	uint8_t *data;          /* shared */
	uint32_t mask;          /* capacity - 1 */
	uint32_t own;           /* our index, the private truth */
};

/* Over any shared memory: capacity is a power of two. index: where our end begins. */
void byte_ring_init(struct byte_ring *r, struct d0_stream_dir *dir, void *data,
		    uint32_t capacity, bool writer, uint32_t index);

size_t byte_ring_readable(const struct byte_ring *r);
size_t byte_ring_writable(const struct byte_ring *r);
/* Copy up to len bytes; how many were moved. */
size_t byte_ring_read(struct byte_ring *r, void *buf, size_t len);
size_t byte_ring_write(struct byte_ring *r, const void *buf, size_t len);
void byte_ring_advance_read(struct byte_ring *r, size_t len);
void byte_ring_advance_write(struct byte_ring *r, size_t len);
/* After moving our index: true if the peer waits and has to be notified. */
bool byte_ring_wake_peer(struct byte_ring *r);
/* Before sleeping: true if something can be done already. */
bool byte_ring_wait_read(struct byte_ring *r);
bool byte_ring_wait_write(struct byte_ring *r);

/* A pair over a channel. */
struct stream {
	struct byte_ring rx, tx;
	struct d0_stream_dir *rx_dir, *tx_dir;
	uint32_t peer_epoch;
};

/* server: our role. D0_EINVAL if the region is too small. Notify the channel after it. */
int stream_open(struct stream *s, void *ring, size_t size, bool server);

/*
 * The peer (re)started since the last call; reading goes on at its new stream's begin. Ask
 * it before each round of reads: stream_read gives nothing until the restart was taken
 * note of.
 */
bool stream_peer_restarted(struct stream *s);

/* read/write: bytes moved; *notify is set (never cleared) if the peer has to be woken. */
size_t stream_read(struct stream *s, void *buf, size_t len, bool *notify);
size_t stream_write(struct stream *s, const void *buf, size_t len, bool *notify);

/* Before sleeping: true if there is something to read. Room to write likewise. */
bool stream_wait_read(struct stream *s);
bool stream_wait_write(struct stream *s);

/* Half-close, and whether the peer did. Read everything before honouring its EOF. */
void stream_send_eof(struct stream *s);
bool stream_at_eof(struct stream *s);

#endif
