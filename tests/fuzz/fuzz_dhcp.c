/* SPDX-License-Identifier: ISC */
/*
 * A hostile DHCP server: each record of the input is an options field of an answer that
 * otherwise fits what the client asked.
 */
#include <string.h>
#include "tests/fuzz/transport_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n)
{
	struct tp_config cfg = {.max_socks = 16, .loop_size = 32768, .frag_slots = 1};
	uint8_t ip[28 + 240 + 512], xid[4] = {0};

	env_open("dhcp noipv6", cfg);
	env_run(1000000);
	while (n >= 3) {
		uint32_t len = d[0] | (uint32_t)(d[1] & 1) << 8, all;
		uint8_t how = d[2];

		d += 3;
		n -= 3;
		len = len < n ? len : (uint32_t)n;
		/* What the client sent last carries the transaction it will accept. */
		if (env.out_len > 14 + 28 + 240 && env.out[23] == 17)
			memcpy(xid, env.out + 14 + 28 + 4, 4);
		memset(ip, 0, sizeof(ip));
		memcpy(ip, "\x45\0\0\0\0\0\0\0\x40\x11\0\0\x0a\0\0\x01\xff\xff\xff\xff", 20);
		memcpy(ip + 20, "\0\x43\0\x44", 4);
		memcpy(ip + 28, "\x02\x01\x06\0", 4);
		memcpy(ip + 32, xid, 4);
		memcpy(ip + 28 + 16, "\x0a\0\0\x63", 4);
		memcpy(ip + 28 + 28, "\x02\0\0\0\0\x02", 6);
		memcpy(ip + 28 + 236, "\x63\x82\x53\x63", 4);
		memcpy(ip + 28 + 240, "\x35\x01\x02\x36\x04\x0a\0\0\x01", 9);
		ip[28 + 242] = how & 8 && len ? d[0] : how & 1 ? 5 : how & 2 ? 6 : 2;
		memcpy(ip + 28 + 249, d, len < 400 ? len : 400);
		all = 28 + 249 + (len < 400 ? len : 400);
		ip[2] = (uint8_t)(all >> 8);
		ip[3] = (uint8_t)all;
		ip[24] = (uint8_t)((all - 20) >> 8);
		ip[25] = (uint8_t)(all - 20);
		env_ip(ip, all);
		tp_poll(env.st);
		if (how & 4)
			env_run((uint64_t)how * 100000000ull);
		d += len;
		n -= len;
	}
	env_run(100000000000ull);
	env_close();
	return 0;
}
