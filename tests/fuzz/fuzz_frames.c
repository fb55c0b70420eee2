/* SPDX-License-Identifier: ISC */
/*
 * Frames of any content: Ethernet, ARP, IP, ICMP, ND, fragments, UDP, DHCP. Input: records of a
 * length (2 bytes: bits 0-10 bytes of frame, bit 15: fix the checksums, bit 14: let time
 * pass, bit 13: on the device with the shared address) and bytes.
 */
#include <string.h>
#include "cells/transport/core/tp_conf.h"
#include "tests/fuzz/transport_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n)
{
	struct pvs_addr any = {.family = PVS_AF_INET6, .port = 0x3500};
	struct tp_config cfg = {.max_socks = 16, .loop_size = 32768, .frag_slots = 1};
	struct tp_if_config up = {.mtu = 1500, .name = "up", .same_mac = 1, .hidden = 1};
	struct pvs_dgram ask = {.flags = PVS_DG_ADDR, .peer = {.family = PVS_AF_INET}};
	uint8_t f[2048];
	struct pvs_addr four = {.family = PVS_AF_INET, .port = 0x3600};
	int udp, raw, only4;

	env_open("ip=10.0.0.2/24 ip6=fd00::2/64 dhcp slaac", cfg);
	env_listen(80);
	udp = pvs_socket(&env.c, PVS_AF_INET6, PVS_SOCK_DGRAM, 0, 13, 13);
	pvs_bind(&env.c, udp, &any);
	raw = pvs_socket(&env.c, PVS_AF_INET, PVS_SOCK_RAW, 1, 12, 12);
	memcpy(up.mac, "\2\0\0\0\0\x99", 6);
	tp_if_add(env.st, 9, &up);
	tp_conf_share(env.st, 9,
		      "svc=169.254.0.2 server=169.254.0.1 share=192.0.2.15/24 gw=192.0.2.2 "
		      "share6=2001:db8::15/64 gw6=fe80::1 block=1024-1031");
	tp_conf_services(env.st, "publish=tcp:*:8081:80,udp:*:53:53,udp:*6:54:54");
	only4 = pvs_socket(&env.c, PVS_AF_INET, PVS_SOCK_DGRAM, 0, 13, 13);
	pvs_bind(&env.c, only4, &four);
	pvs_socket(&env.c, PVS_AF_PACKET, PVS_SOCK_RAW, 0x0300, 12, 12);
	memcpy(ask.peer.addr, "\xc6\x33\x64\7", 4);
	pvs_sendto(&env.c, raw, &ask, "\x8\0\0\0\x77\x77\0\1", 8); /* a map to be hit */
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
			tp_input(env.st, word & 0x2000 ? 9 : 1, f, len, NULL);
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
