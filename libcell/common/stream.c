/* SPDX-License-Identifier: ISC */
/*
 * Byte streams over shared memory.
 *
 * Problem. Move bytes between two cells without a hypercall for each piece, when either
 * may lie about its index or restart.
 *
 * Model. Each end's own index is private (byte_ring.own) and only published; the other
 * end's index is loaded once per call and believed only where it makes sense: the
 * difference is between 0 and the capacity, anything else counts as "nothing to do".
 * Data is copied between publishing steps with release/acquire order.
 *
 * Restart. A writer that starts publishes where its stream begins (writer_start) and then
 * a new epoch; a reader that sees a new epoch moves there. A reader that starts drops what
 * was in flight.
 *
 * Wake-ups. waiting words as in d0/stream.h; a full barrier between setting one's own
 * and looking at the other's index, on both ends.
 */
#include <string.h>
#include "libcell/stream.h"
#include "d0/abi.h"

static uint32_t load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

void byte_ring_init(struct byte_ring *r, struct d0_stream_dir *dir, void *data,
		    uint32_t capacity, bool writer, uint32_t index)
{
	*r = (struct byte_ring){
	    .prod = &dir->prod,
	    .cons = &dir->cons,
	    .peer_waiting = writer ? &dir->reader_waiting : &dir->writer_waiting,
	    .self_waiting = writer ? &dir->writer_waiting : &dir->reader_waiting,
	    .data = data,
	    .mask = capacity - 1,
	    .own = index,
	};
}

size_t byte_ring_readable(const struct byte_ring *r)
{
	uint32_t n = load(r->prod) - r->own;

	return n <= r->mask + 1 ? n : 0;
}

size_t byte_ring_writable(const struct byte_ring *r)
{
	uint32_t n = r->own - load(r->cons);

	return n <= r->mask + 1 ? r->mask + 1 - n : 0;
}

/* The contiguous part of n bytes from our index. */
static size_t contiguous(const struct byte_ring *r, size_t n)
{
	size_t to_end = r->mask + 1 - (r->own & r->mask);

	return n < to_end ? n : to_end;
}

void byte_ring_advance_read(struct byte_ring *r, size_t len)
{
	r->own += (uint32_t)len;
	store(r->cons, r->own);
}

void byte_ring_advance_write(struct byte_ring *r, size_t len)
{
	r->own += (uint32_t)len;
	store(r->prod, r->own);
}

size_t byte_ring_read(struct byte_ring *r, void *buf, size_t len)
{
	size_t n = byte_ring_readable(r), first;

	if (n > len)
		n = len;
	if (!n)
		return 0;
	first = contiguous(r, n);
	memcpy(buf, r->data + (r->own & r->mask), first);
	memcpy((uint8_t *)buf + first, r->data, n - first);
	byte_ring_advance_read(r, n);
	return n;
}

size_t byte_ring_write(struct byte_ring *r, const void *buf, size_t len)
{
	size_t n = byte_ring_writable(r), first;

	if (n > len)
		n = len;
	if (!n)
		return 0;
	first = contiguous(r, n);
	memcpy(r->data + (r->own & r->mask), buf, first);
	memcpy(r->data, (const uint8_t *)buf + first, n - first);
	byte_ring_advance_write(r, n);
	return n;
}

bool byte_ring_wake_peer(struct byte_ring *r)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return load(r->peer_waiting) &&
	       __atomic_exchange_n(r->peer_waiting, 0, __ATOMIC_SEQ_CST);
}

bool byte_ring_wait_read(struct byte_ring *r)
{
	__atomic_store_n(r->self_waiting, 1, __ATOMIC_SEQ_CST);
	return byte_ring_readable(r) > 0;
}

bool byte_ring_wait_write(struct byte_ring *r)
{
	__atomic_store_n(r->self_waiting, 1, __ATOMIC_SEQ_CST);
	return byte_ring_writable(r) > 0;
}

static uint32_t epoch_after(uint32_t e)
{
	return e + 1 ? e + 1 : 1;
}

int stream_open(struct stream *s, void *ring, size_t size, bool server)
{
	uint32_t cap = d0_stream_capacity(size);
	struct d0_stream_dir *dirs = ring;
	uint8_t *data;
	unsigned tx = server ? 0 : 1, rx = server ? 1 : 0;

	if (!ring || !cap)
		return D0_EINVAL;
	data = (uint8_t *)ring + D0_STREAM_HEAD;
	*s = (struct stream){.rx_dir = &dirs[rx], .tx_dir = &dirs[tx]};

	s->peer_epoch = load(&s->rx_dir->writer_epoch);
	byte_ring_init(&s->rx, s->rx_dir, data + (size_t)rx * cap, cap, false,
		       load(&s->rx_dir->prod));
	store(&s->rx_dir->cons, s->rx.own);
	store(&s->rx_dir->reader_flags, 0);
	store(&s->rx_dir->reader_epoch, epoch_after(load(&s->rx_dir->reader_epoch)));

	byte_ring_init(&s->tx, s->tx_dir, data + (size_t)tx * cap, cap, true,
		       load(&s->tx_dir->cons));
	store(&s->tx_dir->prod, s->tx.own);
	store(&s->tx_dir->writer_start, s->tx.own);
	store(&s->tx_dir->writer_flags, 0);
	store(&s->tx_dir->writer_epoch, epoch_after(load(&s->tx_dir->writer_epoch)));
	return D0_OK;
}

bool stream_peer_restarted(struct stream *s)
{
	uint32_t epoch = load(&s->rx_dir->writer_epoch);

	if (epoch == s->peer_epoch)
		return false;
	s->peer_epoch = epoch;
	s->rx.own = load(&s->rx_dir->writer_start);
	store(&s->rx_dir->cons, s->rx.own);
	return true;
}

size_t stream_read(struct stream *s, void *buf, size_t len, bool *notify)
{
	size_t n;

	if (load(&s->rx_dir->writer_epoch) != s->peer_epoch)
		return 0; /* stream_peer_restarted must be asked first */
	n = byte_ring_read(&s->rx, buf, len);
	if (n && byte_ring_wake_peer(&s->rx))
		*notify = true;
	return n;
}

size_t stream_write(struct stream *s, const void *buf, size_t len, bool *notify)
{
	size_t n = byte_ring_write(&s->tx, buf, len);

	if (n && byte_ring_wake_peer(&s->tx))
		*notify = true;
	return n;
}

bool stream_wait_read(struct stream *s)
{
	return byte_ring_wait_read(&s->rx) || load(&s->rx_dir->writer_epoch) != s->peer_epoch;
}

bool stream_wait_write(struct stream *s)
{
	return byte_ring_wait_write(&s->tx);
}

void stream_send_eof(struct stream *s)
{
	store(&s->tx_dir->writer_flags, D0_STREAM_EOF);
}

bool stream_at_eof(struct stream *s)
{
	return load(&s->rx_dir->writer_flags) & D0_STREAM_EOF;
}
