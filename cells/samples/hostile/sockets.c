/* SPDX-License-Identifier: ISC */
/*
 * Attacks on a transport cell through PV sockets: this cell is its client and breaks the rules
 * of d0/pvsock.h. Each attack ends with an honest client on the same region that connects to
 * itself over the loopback: a byte that arrives shows that the cell lives and serves.
 */
#include <stdlib.h>
#include <string.h>
#include "cells/samples/hostile/hostile.h"
#include "cells/transport/client/pvs_client.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/log.h"

#define SECONDS (2 * CLOCK_NS_PER_S)
#define SLOTS   64u

static struct pvs_client client;
static uint8_t *region;
static size_t region_size;
static void *memory;
static uint32_t generation = 1;
static uint64_t patience; /* when a call that is not answered is given up */
static uint64_t rng = 0x9e3779b97f4a7c15ull;

static uint64_t any(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static void notify(void *ctx)
{
	cell_notify(0);
}

static void nap(uint64_t ms)
{
	cell_wait(clock_ns() + ms * CLOCK_NS_PER_MS);
	cell_event_take(0);
	cell_flags_take(~0ull);
}

static void wait(void *ctx)
{
	if (clock_ns() > patience)
		cell_exit(1, "the transport cell does not answer");
	pvs_idle_begin(&client);
	nap(10);
	pvs_idle_end(&client);
}

static bool client_up(void)
{
	uint64_t end = clock_ns() + 10 * CLOCK_NS_PER_S;

	if (!region) {
		region = cell_channel_ring(0, &region_size);
		memory = region ? malloc(pvs_memory((uint32_t)region_size, SLOTS)) : NULL;
	}
	if (!memory)
		return false;
	generation++;
	patience = clock_ns() + 20 * CLOCK_NS_PER_S;
	((struct pvs_header *)region)->magic = 0;
	if (pvs_init(&client, region, (uint32_t)region_size, SLOTS, generation, memory, notify,
		     wait, NULL))
		return false;
	while (!pvs_ready(&client) && clock_ns() < end) {
		notify(NULL);
		nap(5);
	}
	return pvs_ready(&client);
}

/* A listener, a connection to it, one byte. */
static bool loopback_works(void)
{
	struct pvs_addr a = {.family = PVS_AF_INET, .port = 0x901f, .addr = {127, 0, 0, 1}};
	int l = pvs_socket(&client, PVS_AF_INET, PVS_SOCK_STREAM, 0, 0, 0), s, c, n;
	char b = 0;

	if (l < 0 || pvs_bind(&client, l, &a) || pvs_listen(&client, l, 4))
		return false;
	c = pvs_socket(&client, PVS_AF_INET, PVS_SOCK_STREAM, 0, 12, 12);
	if (c < 0 || pvs_connect(&client, c, &a) != -115)
		return false;
	while ((s = pvs_accept(&client, l, 12, 12, NULL)) == -11)
		wait(NULL);
	while ((n = pvs_send(&client, c, "x", 1)) == -11)
		wait(NULL);
	if (n != 1)
		return false;
	while ((n = pvs_recv(&client, s, &b, 1)) == -11)
		wait(NULL);
	return n == 1 && b == 'x';
}

static void still_there(void)
{
	if (!client_up())
		log_error("the client is not accepted any more");
	else
		log_info("transport %s", loopback_works() ? "serves" : "does not serve");
}

/* A few sockets of each kind, so that what is written at random means something. */
static bool furnished(void)
{
	if (!client_up() || !loopback_works()) {
		log_error("the transport cell does not serve in the first place");
		return false;
	}
	pvs_socket(&client, PVS_AF_INET, PVS_SOCK_DGRAM, 0, 12, 12);
	pvs_socket(&client, PVS_AF_INET6, PVS_SOCK_STREAM, 0, 12, 12);
	pvs_socket(&client, PVS_AF_INET, PVS_SOCK_RAW, 1, 12, 12);
	pvs_socket(&client, PVS_AF_PACKET, PVS_SOCK_RAW, 0x300, 12, 12);
	return true;
}

static void kick_all(void)
{
	client.kick->word[0] = ~0ull;
	client.kick->sum[0] = ~0ull;
	client.hdr->server_idle = 0;
	notify(NULL);
}

ATTACK(pvs_indexes, "pvs-indexes")
{
	static const uint32_t steps[] = {1, 65, 4097, 0x7fffffff, 0x80000000, 0xffffffff};

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (!furnished())
			return;
		for (unsigned s = 0; s < SLOTS; s++) {
			client.slot[s].tx_prod += steps[i];
			client.slot[s].rx_cons -= steps[i];
		}
		kick_all();
		nap(20);
		client.hdr->rsp_cons += steps[i];
		client.hdr->req_prod += steps[i];
		kick_all();
		nap(20);
	}
	still_there();
}

ATTACK(pvs_requests, "pvs-requests")
{
	uint64_t made = 0;

	if (!furnished())
		return;
	for (uint64_t end = clock_ns() + SECONDS; clock_ns() < end;) {
		for (int i = 0; i < 32; i++) {
			struct pvs_req *q =
			    &client.req[client.hdr->req_prod & (client.nreq - 1)];
			uint64_t *w = (uint64_t *)q;

			for (unsigned k = 0; k < sizeof(*q) / 8; k++)
				w[k] = any() & (any() & 1 ? 0xffff : ~0ull);
			q->cmd = (uint16_t)(any() % (PVS_CMD_COUNT + 1));
			q->sock = (uint32_t)(any() % 16);
			__atomic_add_fetch(&client.hdr->req_prod, 1, __ATOMIC_SEQ_CST);
			made++;
		}
		kick_all();
		nap(1);
		client.hdr->rsp_cons = client.hdr->rsp_prod;
	}
	log_info("%lu nonsensical requests", made);
	still_there();
}

ATTACK(pvs_generations, "pvs-generations")
{
	if (!furnished())
		return;
	for (uint64_t end = clock_ns() + SECONDS; clock_ns() < end;) {
		struct pvs_header *h = client.hdr;

		h->client_gen = (uint32_t)any();
		switch (any() % 8) {
		case 0:
			h->nslots = (uint32_t)any();
			break;
		case 1:
			h->size = (uint32_t)any();
			break;
		case 2:
			h->heap_off = (uint32_t)any();
			break;
		case 3:
			h->req_off = (uint32_t)any();
			break;
		case 4:
			h->nreq = 1u << any() % 32;
			break;
		default:
			client_up();
		}
		kick_all();
		nap(1);
	}
	still_there();
}

ATTACK(pvs_scribble, "pvs-scribble")
{
	if (!furnished())
		return;
	for (uint64_t end = clock_ns() + SECONDS; clock_ns() < end;) {
		for (int i = 0; i < 300; i++) {
			uint64_t v = any();
			size_t span = any() & 1 ? client.heap : region_size;

			memcpy(region + any() % (span - 8), &v, 8);
		}
		notify(NULL);
		nap(1);
	}
	still_there();
}
