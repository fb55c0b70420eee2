/* SPDX-License-Identifier: ISC */
/*
 * A hostile driver side, and a hostile device side: operations of 4 bytes (what, where,
 * value) write into the ring region between passes of both. Whatever happens, a second
 * port goes on working and nothing leaks.
 */
#include "tests/unit/nic_env.h"

#define SIZE (128u << 10)

static uint8_t frame[2000], got[70000];

static void write_ring(struct env_port *p, const uint8_t *op)
{
	uint32_t at = (uint32_t)(op[1] | op[2] << 8);
	uint32_t span = op[0] & 0x80 ? SIZE : 8192 + 2048;

	if (op[0] & 0x40) /* the two pages of the handshake */
		at = (at & 1 ? D0_VNET_DRV_OFF : 0) + at / 2 % 64;
	else
		at = D0_VNET_QUEUES_OFF + at % (span - D0_VNET_QUEUES_OFF);
	p->ring[at] = op[3];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nic nic;
	static struct env_card card;
	struct env_port a, b;
	struct env_l4 l = {.dmac = (const uint8_t *)"\2\0\0\0\0\xb",
			   .smac = (const uint8_t *)"\2\0\0\0\0\xa",
			   .proto = IPPROTO_N_TCP};

	env_nic_new(&nic);
	env_card_add(&nic, &card, 0, 1);
	env_port_new(&nic, &a, 1, SIZE, "mac=02:00:00:00:00:0a", ENV_ALL_FEATURES, 1);
	env_port_new(&nic, &b, 2, SIZE, "mac=02:00:00:00:00:0b", ENV_ALL_FEATURES, 1);
	uint32_t len = env_build(frame, &l, 700, false);

	for (; size >= 4; data += 4, size -= 4) {
		unsigned what = data[0] & 0x0f;

		if (what < 10)
			write_ring(&a, data);
		else if (what == 10)
			env_port_send(&a, 0, NULL, frame, len);
		else if (what == 11)
			env_card_rx(&card, frame, len, 512, NULL);
		else if (what == 12)
			env_port_recv(&a, 0, NULL, got, sizeof(got));
		else if (what == 13)
			vnet_port_poll(&a.drv);
		if (what >= 10) {
			nic_port_event(&nic, 1);
			env_run(&nic);
			env_card_clear(&card);
		}
		if (what == 14)
			vnet_port_arm(&a.drv, true);
	}
	memcpy(frame, "\2\0\0\0\0\x77\2\0\0\0\0\xb", 12);
	if (!env_port_send(&b, 0, NULL, frame, len))
		abort();
	env_run(&nic);
	if (card.count < 1)
		abort();
	env_card_clear(&card);
	env_port_free(&a);
	env_port_free(&b);
	if (nic.free_count != NIC_TXBUFS)
		abort();
	nic_fini(&nic);
	return 0;
}
