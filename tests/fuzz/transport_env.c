/* SPDX-License-Identifier: ISC */
#include "tests/fuzz/transport_env.h"
#include <stdlib.h>
#include <string.h>
#include "cells/transport/core/tp_conf.h"

struct env env;

static void *tx_get(void *ctx, unsigned ifi, uint32_t len)
{
	return len <= sizeof(env.out) ? env.out : NULL;
}

static void tx_put(void *ctx, unsigned ifi, void *f, uint32_t len, const struct tp_meta *m)
{
	if (len)
		env.out_len = len;
}

static uint64_t now(void *ctx)
{
	return env.now;
}

static void rnd(void *ctx, void *buf, uint32_t len)
{
	uint8_t *b = buf;

	while (len--) {
		env.rng = env.rng * 6364136223846793005ull + 1442695040888963407ull;
		*b++ = (uint8_t)(env.rng >> 56);
	}
}

static void notify(void *ctx)
{
}

static void notify_client(void *ctx, unsigned client)
{
}

static void wait_server(void *ctx)
{
	tp_poll(env.st);
}

static const struct tp_ops ops = {tx_get, tx_put, now, rnd, notify_client, NULL};

void env_open(const char *args, struct tp_config cfg)
{
	struct tp_if_config ic = {.mac = {2, 0, 0, 0, 0, 2}, .name = "eth0"};
	size_t a = tp_arena_size(&cfg), s = tp_state_size(&cfg);

	env.now = 1000000000;
	env.rng = 1;
	env.out_len = 0;
	/* Allocated once: fresh memory for every input would cost more than the input. */
	if (!env.arena) {
		env.arena = aligned_alloc(64, 1 << 20);
		env.state = aligned_alloc(64, 1 << 20);
		env.region = aligned_alloc(4096, ENV_REGION);
		env.memory = malloc(pvs_memory(ENV_REGION, 64));
	}
	if (a > 1 << 20 || s > 1 << 20)
		abort();
	memset(env.arena, 0, a);
	memset(env.state, 0, s);
	memset(env.region, 0, ENV_REGION);
	memset(env.memory, 0, pvs_memory(ENV_REGION, 64));
	env.st = tp_init(env.arena, a, env.state, s, &cfg, &ops, NULL);
	pvs_init(&env.c, env.region, ENV_REGION, 64, 1, env.memory, notify, wait_server, NULL);
	tp_attach_client(env.st, 0, env.region, ENV_REGION);
	tp_conf_if(&ic, &args, 1);
	tp_if_add(env.st, 1, &ic);
	tp_conf_addresses(env.st, 1, &args, 1);
}

void env_close(void)
{
	env.st = NULL;
}

void env_run(uint64_t ns)
{
	uint64_t end = env.now + ns;

	for (int i = 0; i < 64 && env.now < end; i++) {
		uint64_t at = tp_poll(env.st);

		env.now = at > end ? end : at > env.now ? at : env.now;
	}
	env.now = end;
	tp_poll(env.st);
}

static uint16_t sum(const uint8_t *p, uint32_t n, uint32_t s)
{
	for (uint32_t i = 0; i < n; i++)
		s += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

/* Fuzzers should not have to guess checksums. */
static void fix_sums(uint8_t *ip, uint32_t len)
{
	uint32_t h, l4, off;
	uint8_t proto;
	uint32_t s;
	uint16_t c;

	if (len >= 20 && ip[0] >> 4 == 4) {
		h = (ip[0] & 15u) * 4;
		if (h < 20 || h > len)
			return;
		ip[10] = ip[11] = 0;
		c = sum(ip, h, 0);
		ip[10] = (uint8_t)(c >> 8);
		ip[11] = (uint8_t)c;
		proto = ip[9];
		l4 = len - h;
		s = (uint16_t)~sum(ip + 12, 8, proto == 1 ? 0 : proto + l4);
		if (proto == 1)
			s = 0;
	} else if (len >= 40 && ip[0] >> 4 == 6) {
		h = 40;
		proto = ip[6];
		l4 = len - h;
		s = (uint16_t)~sum(ip + 8, 32, proto + l4);
	} else {
		return;
	}
	off = proto == 6 ? 16 : proto == 17 ? 6 : proto == 1 || proto == 58 ? 2 : 0;
	if (!off || l4 < off + 2)
		return;
	ip[h + off] = ip[h + off + 1] = 0;
	c = sum(ip + h, l4, s);
	ip[h + off] = (uint8_t)(c >> 8);
	ip[h + off + 1] = (uint8_t)c;
}

void env_ip(uint8_t *ip, uint32_t len)
{
	static uint8_t f[65600];

	if (len > sizeof(f) - 14)
		return;
	fix_sums(ip, len);
	memcpy(f, "\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08", 13);
	f[13] = 0;
	if (len && ip[0] >> 4 == 6) {
		f[12] = 0x86;
		f[13] = 0xdd;
	}
	memcpy(f + 14, ip, len);
	tp_input(env.st, 1, f, 14 + len, NULL);
}

int env_listen(uint16_t port)
{
	struct pvs_addr a = {.family = PVS_AF_INET6, .port = __builtin_bswap16(port)};
	int s = pvs_socket(&env.c, PVS_AF_INET6, PVS_SOCK_STREAM, 0, 0, 0);

	pvs_bind(&env.c, s, &a);
	pvs_listen(&env.c, s, 8);
	return s;
}
