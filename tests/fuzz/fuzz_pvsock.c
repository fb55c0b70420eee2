/* SPDX-License-Identifier: ISC */
/*
 * Hostile clients, three of one stack (a pod): the fuzzer's bytes become requests, slot fields,
 * header fields and bitmaps of their shared regions; clients come and go. Each record: an
 * opcode with the client's number, an offset, bytes.
 */
#include <stdlib.h>
#include <string.h>
#include "tests/fuzz/transport_env.h"

#define CLIENTS 3u

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n);

static struct pvs_client *client[CLIENTS];
static int sock[CLIENTS];

static void notify(void *ctx)
{
}

static void wait_server(void *ctx)
{
	tp_poll(env.st);
}

/* The clients beside that of the environment. Their memory is kept, as that one's is. */
static void guest_open(unsigned i)
{
	static struct pvs_client c[CLIENTS];
	static void *region[CLIENTS], *memory[CLIENTS];
	size_t own = pvs_memory(ENV_REGION, 64);

	if (!region[i]) {
		region[i] = aligned_alloc(4096, ENV_REGION);
		memory[i] = malloc(own);
	}
	memset(region[i], 0, ENV_REGION);
	memset(memory[i], 0, own);
	pvs_init(&c[i], region[i], ENV_REGION, 64, 1, memory[i], notify, wait_server, NULL);
	client[i] = &c[i];
	tp_attach_client(env.st, i, region[i], ENV_REGION);
}

/* A connection to a listener of the first client's. */
static void connect_to(unsigned i, uint16_t port)
{
	struct pvs_addr lo = {.family = PVS_AF_INET, .port = port, .addr = {127, 0, 0, 1}};
	int s = pvs_socket(client[i], PVS_AF_INET, PVS_SOCK_STREAM, 0, 12, 12);

	sock[i] = s;
	if (s >= 0)
		pvs_connect(client[i], s, &lo);
}

/* Datagrams with the errors that they meet, between the clients. */
static void datagrams(unsigned i)
{
	struct pvs_addr lo = {.family = PVS_AF_INET, .port = 0x0900, .addr = {127, 0, 0, 1}};
	struct pvs_dgram r = {.flags = PVS_DG_ADDR, .peer = lo};
	uint8_t b[64] = {0};
	int s = pvs_socket(client[i], PVS_AF_INET, PVS_SOCK_DGRAM, 0, 12, 12);

	if (s < 0)
		return;
	pvs_setopt(client[i], s, 0, 11, &(int){1}, 4); /* IP_RECVERR */
	pvs_sendto(client[i], s, &r, b, sizeof(b));
}

/* What a client that keeps to the rules does with what it finds, whoever wrote it. */
static void read_all(struct pvs_client *c)
{
	struct pvs_dgram r;
	uint8_t b[256];
	int s;

	for (unsigned i = 0; i < 64 && (s = pvs_next_event(c)) >= 0; i++) {
		pvs_ready_events(c, s);
		if (c->sock[s].type == PVS_SOCK_STREAM) {
			pvs_recv(c, s, b, sizeof(b));
			continue;
		}
		pvs_next_len(c, s);
		pvs_recverr(c, s, &r, b, sizeof(b));
		pvs_recvfrom(c, s, &r, b, sizeof(b));
	}
}

static void request(struct pvs_client *c, const uint8_t *d, uint32_t len, bool near)
{
	struct pvs_req q = {0};

	memcpy(&q, d, len < sizeof(q) ? len : sizeof(q));
	q.cmd %= PVS_CMD_COUNT + 1;
	if (near)
		q.sock %= 8;
	c->req[c->hdr->req_prod & 63] = q;
	__atomic_add_fetch(&c->hdr->req_prod, 1, __ATOMIC_SEQ_CST);
}

/* Loopback traffic for what the slots contain. */
static void traffic(unsigned k, uint8_t fill, uint32_t len)
{
	uint8_t b[300];

	memset(b, fill, sizeof(b));
	if (sock[k] >= 0)
		pvs_send(client[k], sock[k], b, len);
	read_all(client[k]);
}

/* Its channel goes, and comes back. */
static void leave_and_return(unsigned k, uint64_t after)
{
	tp_detach_client(env.st, k);
	env_run(after);
	guest_open(k);
	connect_to(k, 0x5000);
}

static void step(uint8_t op, uint32_t off, const uint8_t *d, uint32_t len)
{
	unsigned k = (op >> 4 & 3u) % CLIENTS;
	struct pvs_client *c = client[k];
	struct pvs_header *h = c->hdr;

	switch (op & 7) {
	case 0:
		request(c, d, len, (op & 8) != 0);
		break;
	case 1: /* slots */
		memcpy((uint8_t *)c->slot + off % (64 * 128 - 256), d, len);
		c->kick->word[0] = ~0ull;
		c->kick->sum[0] = 1;
		break;
	case 2: /* the header's client half */
		if (op & 0x80)
			memcpy((uint8_t *)h + off % 128, d, len < 128 ? len : 128);
		break;
	case 3: /* records in the heap */
		memcpy(c->base + c->heap + off, d, len);
		break;
	case 4:
		env_run((uint64_t)off * 100000ull);
		break;
	case 5:
		h->rsp_cons = h->rsp_prod;
		break;
	case 6:
		traffic(k, op, len);
		break;
	case 7:
		if (op & 0x80 && k)
			leave_and_return(k, off * 1000ull);
		else
			memcpy((uint8_t *)c->kick, d, len);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n)
{
	struct tp_config cfg = {.max_socks = 16, .loop_size = 32768, .frag_slots = 1};

	env_open("ip=10.0.0.2/24 ip6=fd00::2/64", cfg);
	client[0] = &env.c;
	for (unsigned i = 1; i < CLIENTS; i++)
		guest_open(i);
	env_listen(80);
	for (unsigned i = 0; i < CLIENTS; i++) {
		connect_to(i, 0x5000);
		datagrams(i);
	}
	env_run(1000000);
	while (n >= 4) {
		uint32_t off = d[1] | (uint32_t)d[2] << 8, len = d[3];
		uint8_t op = d[0];

		d += 4;
		n -= 4;
		len = len < n ? len : (uint32_t)n;
		step(op, off, d, len);
		tp_poll(env.st);
		d += len;
		n -= len;
	}
	env_run(100000000000ull);
	env_close();
	return 0;
}
