/* SPDX-License-Identifier: ISC */
/*
 * Sequences of TCP segments against a listener, with sequence numbers the fuzzer can steer:
 * each record of 8 bytes makes one segment relative to what the stack sent last, or one
 * action of the application or the clock.
 */
#include <string.h>
#include "tests/fuzz/transport_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n);

struct peer {
	uint32_t seq, ack, iss, ts;
};

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

/* What the stack said: the next segments refer to it. */
static void learn(struct peer *p)
{
	const uint8_t *t = env.out + 34;
	uint32_t hlen, len;

	if (env.out_len < 54 || env.out[23] != 6)
		return;
	hlen = (t[12] >> 4) * 4u;
	len = env.out_len - 34 - hlen;
	p->ack = get32(t + 4) + len + !!(t[13] & 2) + (t[13] & 1);
	if (hlen >= 32 && t[20] == 1 && t[22] == 8)
		p->ts = get32(t + 24);
	env.out_len = 0;
}

static void segment(struct peer *p, const uint8_t *r)
{
	uint8_t ip[20 + 60 + 256] = {0x45, 0, 0,  0, 0, 0, 0,  0, 64, 6,
				     0,    0, 10, 0, 0, 1, 10, 0, 0,  2};
	uint8_t *t = ip + 20, *o = t + 20;
	uint32_t len = r[4], olen = 0, seq = p->seq + (uint32_t)(int8_t)r[1] * 37;

	t[0] = 40;
	t[3] = 80;
	put32(t + 4, seq);
	put32(t + 8, p->ack + (uint32_t)(int8_t)r[2] * 11);
	t[13] = r[3];
	t[14] = r[5];
	t[15] = 0xff;
	t[19] = r[7];
	if (r[6] & 1) {
		o[0] = o[1] = 1;
		o[2] = 8;
		o[3] = 10;
		put32(o + 4, (uint32_t)(env.now / 1000000));
		put32(o + 8, p->ts);
		olen += 12;
	}
	if (r[6] & 2 && !(r[3] & 2)) {
		o[olen] = o[olen + 1] = 1;
		o[olen + 2] = 5;
		o[olen + 3] = 18;
		put32(o + olen + 4, p->ack + (r[6] >> 2) * 100u);
		put32(o + olen + 8, p->ack + (r[6] >> 2) * 100u + r[7] * 10u);
		put32(o + olen + 12, p->ack - 500);
		put32(o + olen + 16, p->ack + r[7]);
		olen += 20;
	}
	if (r[3] & 2) {
		memcpy(o + olen, "\x02\x04\x05\xb4\x04\x02\x01\x01\x01\x03\x03", 11);
		o[olen + 11] = r[6] >> 4;
		olen += 12;
	}
	t[12] = (uint8_t)((20 + olen) / 4 << 4);
	memset(o + olen, r[0], len);
	len += 20 + 20 + olen;
	ip[2] = (uint8_t)(len >> 8);
	ip[3] = (uint8_t)len;
	if (!(r[0] & 0x40))
		p->seq = seq + r[4] + !!(r[3] & 2) + (r[3] & 1);
	env_ip(ip, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n)
{
	struct tp_config cfg = {.max_socks = 8,
				.loop_size = 32768,
				.frag_slots = 1,
				.time_wait_ms = 2000,
				.ecn = 1};
	struct peer p = {.seq = 1000, .iss = 1000};
	int l, s = -1, one = 1;
	uint8_t buf[3000];

	if (n)
		cfg.always_cookies = d[0] & 1;
	env_open("ip=10.0.0.2/24 noipv6", cfg);
	l = env_listen(80);
	for (; n >= 8; d += 8, n -= 8) {
		switch (d[0] & 7) {
		case 0:
			if (s < 0)
				s = pvs_accept(&env.c, l, 12, 11, NULL);
			break;
		case 1:
			env_run((uint64_t)d[1] * 20000000ull);
			break;
		case 2:
			if (s >= 0 && pvs_recv(&env.c, s, buf, d[1] * 8u) < 0)
				pvs_setopt(&env.c, s, 6, d[2] % 14 + 1, &one, 4);
			break;
		case 3:
			if (s >= 0)
				pvs_send(&env.c, s, buf, d[1] * 12u);
			break;
		case 4:
			if (s >= 0 && d[1] & 1)
				pvs_shutdown(&env.c, s, d[2] % 3);
			else if (s >= 0 && d[1] & 2)
				pvs_grow(&env.c, s, 0, 11 + d[2] % 4);
			else if (s >= 0 && d[1] & 4) {
				pvs_close(&env.c, s, d[2] & 1);
				s = -1;
			}
			break;
		default:
			segment(&p, d);
		}
		tp_poll(env.st);
		learn(&p);
	}
	env_run(300000000000ull);
	env_close();
	return 0;
}
