/* SPDX-License-Identifier: ISC */
/*
 * Receive merging between two TCP stacks: what one sends in frames of the MTU over links from
 * clean to awful comes to the other through a card and a port of the switch, once with
 * merging and once without. The streams must be the same, and byte-exact.
 */
#include "tests/unit/nic_env.h"
#include "tests/unit/tcp_sim.h"

#include <cmocka.h>

#define TSO (D0_VNET_F(GUEST_TSO4) | D0_VNET_F(GUEST_TSO6))

static struct nic nic;
static struct env_card card;
static struct env_port port[2];

struct link {
	uint32_t loss, dup, reorder, corrupt;
	uint64_t rate;
	bool v6;
};

/* What came of it. */
struct result {
	uint64_t frames, merged; /* to host 1, of those */
	uint64_t digest, bytes;
};

/* ---- the switch in the way ---- */

static void take(struct sim *s, struct sim_frame *f)
{
	struct net_frame meta = {.csum_ok = (f->meta.flags & TP_META_CSUM_OK) != 0};

	while (!env_card_queue(&card, f->data, f->len, 2000, &meta))
		s->batch(s);
}

static void batch(struct sim *s)
{
	static uint8_t buf[SIM_FRAME];
	struct d0_vnet_hdr h;

	if (!card.wires)
		return;
	env_run(&nic);
	for (unsigned i = 0; i < 2; i++) {
		struct sim_frame f = {.to = i, .data = buf};

		while ((f.len = env_port_recv(&port[i], 0, &h, buf, sizeof(buf)))) {
			f.meta = (struct tp_meta){.flags = h.flags & 3,
						  .gso_type = h.gso_type,
						  .gso_size = h.gso_size};
			sim_input(s, &f);
			s->host[i].deadline = 0;
		}
	}
}

/* ---- a transfer ---- */

static uint8_t pattern(uint64_t i)
{
	return (uint8_t)((i + 1) * 0x9e3779b97f4a7c15ull >> 56);
}

static void pump(struct sim *s, const struct sim_conn *c, uint64_t *sent, uint64_t total,
		 struct result *r, bool *eof)
{
	uint8_t buf[4096];
	int n;

	while (*sent < total) {
		uint32_t want =
		    total - *sent < sizeof(buf) ? (uint32_t)(total - *sent) : sizeof(buf);

		for (uint32_t i = 0; i < want; i++)
			buf[i] = pattern(*sent + i);
		n = pvs_send(&s->host[0].c, c->a, buf, want);
		if (n == -11)
			break;
		assert_true(n > 0);
		*sent += (uint64_t)n;
		if (*sent == total)
			assert_int_equal(pvs_shutdown(&s->host[0].c, c->a, 1), 0);
	}
	sim_step(s, s->now + 50000000);
	while (!*eof && (n = pvs_recv(&s->host[1].c, c->b, buf, sizeof(buf))) != -11) {
		assert_true(n >= 0);
		*eof = n == 0;
		for (int i = 0; i < n; i++) {
			assert_int_equal(buf[i], pattern(r->bytes++));
			r->digest = (r->digest ^ buf[i]) * 0x100000001b3ull;
		}
	}
}

static struct result transfer(const struct link *l, bool merging, uint64_t total)
{
	struct tp_config cfg = {.max_socks = 16};
	struct result r = {.digest = 1};
	uint64_t sent = 0, began;
	struct sim_conn c;
	struct sim s;
	bool eof = false;

	env_nic_new(&nic);
	env_card_add(&nic, &card, 0, 1);
	for (unsigned i = 0; i < 2; i++)
		env_port_new(&nic, &port[i], 1 + i, 1 << 20,
			     i ? "mac=02:00:00:00:00:02" : "mac=02:00:00:00:00:01",
			     merging ? ENV_ALL_FEATURES : ENV_ALL_FEATURES & ~TSO, 1);
	sim_init(&s, 0, &cfg, 4 << 20);
	s.take = take;
	s.batch = batch;
	assert_true(sim_connect(&s, &c, l->v6, 18));
	s.loss = l->loss;
	s.dup = l->dup;
	s.reorder = l->reorder;
	s.corrupt = l->corrupt;
	s.rate = l->rate;
	began = s.now;
	while (!eof) {
		pump(&s, &c, &sent, total, &r, &eof);
		assert_true(s.now - began < 3600ull * 1000000000ull);
	}
	r.frames = port[1].dev->stats.rx_packets;
	r.merged = port[1].dev->stats.rx_merged;
	assert_int_equal(r.bytes, total);
	sim_free(&s);
	env_card_clear(&card);
	for (unsigned i = 0; i < 2; i++)
		env_port_free(&port[i]);
	nic_fini(&nic);
	return r;
}

static void same_stream(void **state)
{
	static const struct link links[] = {
	    {0},
	    {.v6 = true},
	    {.rate = 10000000},
	    {.loss = 200},
	    {.loss = 100, .v6 = true},
	    {.reorder = 500},
	    {.dup = 500, .reorder = 100},
	    {.corrupt = 300},
	    {.corrupt = 100, .loss = 100, .dup = 100, .reorder = 100, .v6 = true},
	};

	for (unsigned i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		struct result with = transfer(&links[i], true, 1500000);
		struct result without = transfer(&links[i], false, 1500000);

		assert_int_equal(with.digest, without.digest);
		assert_int_equal(without.merged, 0);
		if (!links[i].rate) /* else each comes alone */
			assert_true(with.merged > with.frames / 4);
		if (i < 2) /* a clean link: most of what can be */
			assert_true(with.merged > with.frames * 3 / 4);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(same_stream),
	};

	return cmocka_run_group_tests_name("nic_merge_tcp", tests, NULL, NULL);
}
