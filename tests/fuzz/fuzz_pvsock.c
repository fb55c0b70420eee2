/*
 * A hostile client: the fuzzer's bytes become requests, slot fields, header fields and
 * bitmaps of the shared region. Each record: an opcode, an offset, bytes.
 */
#include <string.h>
#include "tests/fuzz/transport_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n)
{
	struct tp_config cfg = {.max_socks = 16, .loop_size = 32768, .frag_slots = 1};
	struct pvs_header *h;
	int l, s;

	env_open("ip=10.0.0.2/24 ip6=fd00::2/64", cfg);
	h = env.region;
	l = env_listen(80);
	s = pvs_socket(&env.c, PVS_AF_INET, PVS_SOCK_STREAM, 0, 12, 12);
	(void)l;
	if (s >= 0) {
		struct pvs_addr lo = {
		    .family = PVS_AF_INET, .port = 0x5000, .addr = {127, 0, 0, 1}};

		pvs_connect(&env.c, s, &lo);
		env_run(1000000);
	}
	while (n >= 4) {
		uint32_t off = d[1] | (uint32_t)d[2] << 8, len = d[3];
		uint8_t op = d[0];

		d += 4;
		n -= 4;
		len = len < n ? len : (uint32_t)n;
		switch (op & 7) {
		case 0: { /* a request as it stands */
			struct pvs_req q = {0};

			memcpy(&q, d, len < sizeof(q) ? len : sizeof(q));
			q.cmd %= PVS_CMD_COUNT + 1;
			if (op & 8)
				q.sock %= 8;
			env.c.req[h->req_prod & 63] = q;
			__atomic_add_fetch(&h->req_prod, 1, __ATOMIC_SEQ_CST);
			break;
		}
		case 1: /* slots */
			memcpy((uint8_t *)env.c.slot + off % (64 * 128 - 256), d, len);
			env.c.kick->word[0] = ~0ull;
			env.c.kick->sum[0] = 1;
			break;
		case 2: /* the header's client half */
			if (op & 0x80)
				memcpy((uint8_t *)h + off % 128, d, len < 128 ? len : 128);
			break;
		case 3: /* records in the heap */
			memcpy((uint8_t *)env.region + env.c.heap + off, d, len);
			break;
		case 4:
			env_run((uint64_t)off * 100000ull);
			break;
		case 5:
			h->rsp_cons = h->rsp_prod;
			break;
		case 6: { /* loopback traffic for what the slots contain */
			uint8_t b[300];

			memset(b, op, sizeof(b));
			if (s >= 0)
				pvs_send(&env.c, s, b, len);
			break;
		}
		case 7:
			memcpy((uint8_t *)env.c.kick, d, len);
			break;
		}
		tp_poll(env.st);
		d += len;
		n -= len;
	}
	env_run(100000000000ull);
	env_close();
	return 0;
}
