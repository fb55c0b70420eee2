/* SPDX-License-Identifier: ISC */
#include "tests/unit/store_admin_env.h"
#include <stdlib.h>
#include <string.h>
#include "cells/store/events.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/log.h"
#include "libcell/panic.h"
#include "libcell/random.h"

struct admin_client admin_client[ADMIN_CLIENTS];
struct store_env admin_volume;
struct store admin_store;

/* ---- what the cell has around it ---- */

const struct d0_channel *cell_channel(unsigned ch)
{
	return ch < ADMIN_CLIENTS ? &admin_client[ch].channel : NULL;
}

void *cell_channel_ring(unsigned ch, size_t *size)
{
	*size = ADMIN_RING;
	return admin_client[ch].ring;
}

int cell_notify(unsigned ch)
{
	return 0;
}

void cell_random_bytes(void *buf, size_t len)
{
	static uint64_t x = 1;

	for (uint8_t *p = buf; len--; p++)
		*p = (uint8_t)((x += 0x9e3779b97f4a7c15ull) >> 56);
}

void log_at(enum log_level level, const char *fmt, ...)
{
}

void panic(const char *fmt, ...)
{
	abort();
}

uint64_t clock_ns(void)
{
	static uint64_t now;

	return now += 100000; /* a fifth of the shortest slice */
}

bool events_take(unsigned ch)
{
	return true;
}

/* ---- the clients ---- */

static void take_frame(struct admin_client *c, const struct d0_admin_head *h)
{
	if (h->len > D0_ADMIN_MAX || h->status > 0 || (h->flags & D0_ADMIN_MORE && h->status))
		abort();
	if (h->op == D0_ADMIN_HELLO && !h->tag) {
		if (h->len != sizeof(c->key))
			abort();
		memcpy(&c->key, c->in + sizeof(*h), sizeof(c->key));
		c->greeted = true;
		return;
	}
	if (c->frame)
		c->frame(c, h, c->in + sizeof(*h));
	if (!(h->flags & D0_ADMIN_MORE)) {
		c->answered = h->tag;
		c->status = h->status;
	}
}

static void read_answers(struct admin_client *c)
{
	struct d0_admin_head h;
	bool notify = false;
	size_t n;

	stream_peer_restarted(&c->stream);
	while (!c->deaf && (n = stream_read(&c->stream, c->in + c->have,
					    sizeof(c->in) - c->have, &notify))) {
		c->have += n;
		for (;;) {
			memcpy(&h, c->in, sizeof(h));
			if (c->have < sizeof(h) || h.len > D0_ADMIN_MAX ||
			    c->have < sizeof(h) + h.len)
				break;
			take_frame(c, &h);
			c->have -= sizeof(h) + h.len;
			memmove(c->in, c->in + sizeof(h) + h.len, c->have);
		}
		if (c->have >= sizeof(h) && h.len > D0_ADMIN_MAX)
			abort();
	}
}

bool admin_round(void)
{
	bool more;

	admin_store.slice_ns = 500000;
	more = admin_serve(&admin_store);
	more |= admin_job_step(&admin_store);
	for (unsigned i = 0; i < ADMIN_CLIENTS; i++)
		read_answers(&admin_client[i]);
	return more;
}

void admin_client_start(unsigned n)
{
	struct admin_client *c = &admin_client[n];

	if (stream_open(&c->stream, c->ring, ADMIN_RING, false))
		abort();
	c->have = 0;
	c->greeted = false;
	c->sent = c->answered = 0;
	c->status = 1;
}

void admin_channel_new(unsigned n)
{
	struct admin_client *c = &admin_client[n];

	memset(c->ring, 0, ADMIN_RING);
	c->channel = (struct d0_channel){.state = D0_CHANNEL_OPEN,
					 .protocol = D0_PROTO_ADMIN,
					 .role = D0_ROLE_SERVER,
					 .generation = c->channel.generation + 1,
					 .ring_size = ADMIN_RING};
	admin_client_start(n);
	admin_scan(&admin_store);
}

void admin_env_begin(void)
{
	memset(&admin_store, 0, sizeof(admin_store));
	admin_store.vol = admin_volume.vol;
	for (unsigned i = 0; i < ADMIN_CLIENTS; i++) {
		admin_client[i].frame = NULL;
		admin_client[i].deaf = false;
		admin_channel_new(i);
	}
}

void admin_env_end(void)
{
	admin_close(&admin_store);
}

void admin_send_bytes(unsigned n, const void *p, size_t len)
{
	const uint8_t *at = p;
	bool notify = false;

	for (unsigned tries = 0; len && tries < 100000; tries++) {
		size_t put = stream_write(&admin_client[n].stream, at, len, &notify);

		at += put;
		len -= put;
		if (!put && !admin_round() && tries > 64)
			return; /* nobody is going to take it */
	}
}

void admin_send(unsigned n, enum d0_admin_op op, const void *p, size_t len)
{
	struct admin_client *c = &admin_client[n];
	struct d0_admin_head h = {.len = (uint32_t)len, .op = (uint16_t)op};

	for (unsigned i = 0; !c->greeted && i < 100000; i++)
		admin_round();
	h.tag = ++c->sent;
	h.status = c->key;
	admin_send_bytes(n, &h, sizeof(h));
	admin_send_bytes(n, p, len);
}

unsigned admin_await(unsigned n, unsigned max)
{
	unsigned rounds = 0;

	while (rounds < max && admin_client[n].answered != admin_client[n].sent) {
		admin_round();
		rounds++;
	}
	return rounds;
}

int admin_request(unsigned n, enum d0_admin_op op, const void *p, size_t len)
{
	admin_send(n, op, p, len);
	admin_await(n, 1000000);
	if (admin_client[n].answered != admin_client[n].sent)
		abort();
	return admin_client[n].status;
}
