/* SPDX-License-Identifier: ISC */
/*
 * Two stacks in one process, frames handed over in memory: what a byte, a segment and a
 * round trip cost without a kernel around them. Checksums in software, MSS 1460.
 * Prints "bulk_cycles_per_byte X" and "rt_cycles Y". inproc MIB ROUNDS: another amount of work
 * than 400 and 100,000, for profilers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>
#include "cells/transport/client/pvs_client.h"
#include "cells/transport/core/tp.h"

#define REGION (4u << 20)
#define QUEUE  512u

struct host {
	struct tp_stack *st;
	struct pvs_client c;
	struct host *peer;
	uint8_t frame[QUEUE][2048];
	uint32_t len[QUEUE];
	struct tp_meta meta[QUEUE];
	uint32_t head, tail; /* frames on their way out */
};

static struct host hosts[2];

static void *tx_get(void *ctx, unsigned ifi, uint32_t len)
{
	struct host *h = ctx;

	return h->tail - h->head == QUEUE || len > 2048 ? NULL : h->frame[h->tail % QUEUE];
}

static void tx_put(void *ctx, unsigned ifi, void *f, uint32_t len, const struct tp_meta *m)
{
	struct host *h = ctx;

	if (!len)
		return;
	h->len[h->tail % QUEUE] = len;
	h->meta[h->tail++ % QUEUE] = *m;
}

/* As libcell does it: the TSC, scaled. The scale only has to be near. */
static uint64_t now(void *ctx)
{
	return (uint64_t)((unsigned __int128)__rdtsc() * 3 / 8);
}

static void rnd(void *ctx, void *buf, uint32_t len)
{
	uint8_t *b = buf;

	while (len--)
		*b++ = (uint8_t)rand();
}

static void none(void *ctx)
{
}

static void quiet(void *ctx, unsigned client)
{
}

static void turn(struct host *h)
{
	while (h->peer->head != h->peer->tail) {
		uint32_t i = h->peer->head % QUEUE;

		tp_input(h->st, 1, h->peer->frame[i], h->peer->len[i], &h->peer->meta[i]);
		h->peer->head++;
	}
	tp_tx_ready(h->peer->st, 1);
	tp_poll(h->st);
}

static void wait_server(void *ctx)
{
	turn(ctx);
	turn(((struct host *)ctx)->peer);
}

static void boot(unsigned i)
{
	static const struct tp_ops ops = {tx_get, tx_put, now, rnd, quiet, NULL};
	struct tp_config cfg = {.max_socks = 16, .no_ipv6 = 1};
	struct tp_if_config ic = {.mac = {2, 0, 0, 0, 0, (uint8_t)(i + 1)}, .name = "eth0"};
	size_t a = tp_arena_size(&cfg), s = tp_state_size(&cfg);
	struct host *h = &hosts[i];
	void *region = aligned_alloc(4096, REGION);
	uint8_t addr[16];

	memset(region, 0, REGION);
	h->peer = &hosts[!i];
	h->st = tp_init(calloc(1, a), a, calloc(1, s), s, &cfg, &ops, h);
	tp_if_add(h->st, 1, &ic);
	tp_parse_addr(i ? "10.0.0.2" : "10.0.0.1", addr);
	tp_addr_add(h->st, 1, addr, 24);
	tp_attach_client(h->st, 0, region, REGION);
	pvs_init(&h->c, region, REGION, 64, 1, calloc(1, pvs_memory(REGION, 64)), none,
		 wait_server, h);
}

int main(int argc, char **argv)
{
	struct pvs_addr to = {.family = 2, .port = 0x5000, .addr = {10, 0, 0, 2}};
	struct pvs_client *p = &hosts[0].c, *q = &hosts[1].c;
	uint64_t total = (argc > 1 ? strtoull(argv[1], NULL, 0) : 400) << 20, sent = 0, got = 0,
		 t;
	static uint8_t buf[16384];
	int l, a, b = -1, one = 1, rounds = argc > 2 ? atoi(argv[2]) : 100000;

	boot(0);
	boot(1);
	l = pvs_socket(q, 2, 1, 0, 0, 0);
	pvs_bind(q, l, &to);
	pvs_listen(q, l, 4);
	a = pvs_socket(p, 2, 1, 0, 18, 18);
	pvs_connect(p, a, &to);
	while (b < 0) {
		turn(&hosts[0]);
		turn(&hosts[1]);
		b = pvs_accept(q, l, 18, 18, NULL);
	}
	t = __rdtsc();
	while (got < total) {
		int n;

		while (sent < total && (n = pvs_send(p, a, buf, sizeof(buf))) > 0)
			sent += (uint64_t)n;
		turn(&hosts[0]);
		turn(&hosts[1]);
		while ((n = pvs_recv(q, b, buf, sizeof(buf))) > 0)
			got += (uint64_t)n;
	}
	printf("bulk_cycles_per_byte %.3f\n", (double)(__rdtsc() - t) / (double)total);
	pvs_setopt(p, a, 6, 1, &one, 4);
	pvs_setopt(q, b, 6, 1, &one, 4);
	t = __rdtsc();
	for (int i = 0; i < rounds; i++) {
		pvs_send(p, a, "x", 1);
		while (pvs_recv(q, b, buf, 1) != 1) {
			turn(&hosts[0]);
			turn(&hosts[1]);
		}
		pvs_send(q, b, "y", 1);
		while (pvs_recv(p, a, buf, 1) != 1) {
			turn(&hosts[1]);
			turn(&hosts[0]);
		}
	}
	printf("rt_cycles %.0f\n", (double)(__rdtsc() - t) / rounds);
	return 0;
}
