/*
 * Frames of any content: Ethernet, ARP, IP, ICMP, ND, fragments, UDP, DHCP. Input: records of a
 * length (2 bytes: bits 0-10 bytes of frame, bit 15: fix the checksums, bit 14: let time
 * pass) and bytes.
 */
#include <string.h>
#include "tests/fuzz/transport_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n)
{
	struct pvs_addr any = {.family = PVS_AF_INET6, .port = 0x3500};
	struct tp_config cfg = {.max_socks = 16, .loop_size = 32768, .frag_slots = 1};
	uint8_t f[2048];
	int udp, raw;

	env_open("ip=10.0.0.2/24 ip6=fd00::2/64 dhcp slaac", cfg);
	env_listen(80);
	udp = pvs_socket(&env.c, PVS_AF_INET6, PVS_SOCK_DGRAM, 0, 13, 13);
	pvs_bind(&env.c, udp, &any);
	raw = pvs_socket(&env.c, PVS_AF_INET, PVS_SOCK_RAW, 1, 12, 12);
	pvs_socket(&env.c, PVS_AF_PACKET, PVS_SOCK_RAW, 0x0300, 12, 12);
	while (n >= 2) {
		uint32_t word = d[0] | (uint32_t)d[1] << 8, len = word & 2047;

		d += 2;
		n -= 2;
		len = len < n ? len : (uint32_t)n;
		if (word & 0x4000)
			env_run(1500000000ull);
		memcpy(f, d, len);
		if (word & 0x8000)
			env_ip(f, len);
		else
			tp_input(env.st, 1, f, len, NULL);
		tp_poll(env.st);
		d += len;
		n -= len;
	}
	env_run(60000000000ull);
	pvs_close(&env.c, raw, false);
	env_run(1000000);
	env_close();
	return 0;
}
