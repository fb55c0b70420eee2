/* SPDX-License-Identifier: ISC */
/* Virtqueues and byte streams: what they do between honest ends, and against a liar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "d0/abi.h"
#include "libcell/stream.h"
#include "libcell/vchan.h"
#include "libcell/virtq.h"

#define NUM  8
#define SIZE 16384

static _Alignas(4096) uint8_t region[SIZE];
static struct virtq_slot slots[NUM];
static struct virtq_drv drv;
static struct virtq_dev dev;
static struct virtq_seg segs[NUM];
static struct virtq_chain chain;

static struct d0_vring_desc *desc(void)
{
	return (void *)(region + d0_vring_queue_off(0, NUM));
}

static struct d0_vring_avail *avail(void)
{
	return (void *)((uint8_t *)desc() + d0_vring_avail_off(NUM));
}

static struct d0_vring_used *used(void)
{
	return (void *)((uint8_t *)desc() + d0_vring_used_off(NUM));
}

static void fresh(uint64_t features)
{
	struct virtq_window w = {region, 0, SIZE};

	memset(region, 0xee, sizeof(region));
	assert_int_equal(virtq_drv_init(&drv, desc(), NUM, features, slots), 0);
	assert_int_equal(virtq_dev_init(&dev, desc(), NUM, features, &w), 0);
	chain = (struct virtq_chain){.seg = segs, .seg_max = NUM};
}

static int setup(void **state)
{
	fresh(D0_VRING_F_EVENT_IDX | D0_VRING_F_INDIRECT);
	return 0;
}

static void add_one(uint64_t addr, uint32_t out_len, uint32_t in_len, void *cookie)
{
	struct virtq_buf o = {addr, out_len}, i = {addr + out_len, in_len};

	assert_int_equal(virtq_drv_add(&drv, &o, 1, &i, in_len ? 1 : 0, cookie), 0);
}

static void test_request_goes_round(void **state)
{
	char answer[6] = "world";
	uint32_t len = 0;

	memcpy(region + 8192, "hello", 6);
	add_one(8192, 6, 6, &drv);
	assert_int_equal(virtq_dev_next(&dev, &chain), 0); /* not pushed yet */
	virtq_drv_push(&drv);
	assert_int_equal(virtq_dev_next(&dev, &chain), 1);
	assert_int_equal(chain.outs, 1);
	assert_int_equal(chain.ins, 1);
	assert_memory_equal(segs[0].ptr, "hello", 6);
	assert_int_equal(virtq_chain_write(&chain, 0, answer, 6), 6);
	virtq_dev_put(&dev, chain.head, 6);
	virtq_dev_push(&dev);
	assert_ptr_equal(virtq_drv_pop(&drv, &len), &drv);
	assert_int_equal(len, 6);
	assert_memory_equal(region + 8198, "world", 6);
	assert_null(virtq_drv_pop(&drv, &len));
	assert_int_equal(virtq_drv_free(&drv), NUM);
}

static void test_indexes_wrap(void **state)
{
	uint32_t len;

	for (unsigned i = 0; i < 70000; i++) {
		add_one(8192, 4, 4, &drv);
		virtq_drv_push(&drv);
		assert_int_equal(virtq_dev_next(&dev, &chain), 1);
		virtq_dev_put(&dev, chain.head, 4);
		virtq_dev_push(&dev);
		assert_non_null(virtq_drv_pop(&drv, &len));
	}
	assert_null(drv.broken);
	assert_null(dev.broken);
}

static void test_full_queue_says_so(void **state)
{
	struct virtq_buf b[NUM + 1] = {{8192, 1}};

	for (int i = 0; i < NUM; i++)
		add_one(8192, 1, 0, &drv);
	assert_int_equal(virtq_drv_add(&drv, b, 1, NULL, 0, &drv), D0_ELIMIT);
	fresh(0);
	assert_int_equal(virtq_drv_add(&drv, b, NUM + 1, NULL, 0, &drv), D0_ELIMIT);
	assert_int_equal(virtq_drv_add(&drv, b, 0, NULL, 0, &drv), D0_EINVAL);
	assert_int_equal(virtq_drv_add(&drv, b, 1, NULL, 0, NULL), D0_EINVAL);
}

static void test_notifications_are_suppressed(void **state)
{
	assert_false(virtq_dev_events_on(&dev));
	add_one(8192, 1, 0, &drv);
	assert_true(virtq_drv_push(&drv)); /* the device waits: tell it */
	add_one(8192, 1, 0, &drv);
	assert_false(virtq_drv_push(&drv)); /* it was told already */
	virtq_dev_events_off(&dev);
	add_one(8192, 1, 0, &drv);
	assert_false(virtq_drv_push(&drv));
	assert_true(virtq_dev_events_on(&dev)); /* something is there: do not sleep */
}

static void test_notification_after_several(void **state)
{
	bool there = true;

	for (int i = 0; i < 4; i++)
		add_one(8192, 1, 0, &drv);
	virtq_drv_push(&drv);
	assert_true(virtq_drv_events_after(&drv, 3, &there));
	assert_false(there);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(virtq_dev_next(&dev, &chain), 1);
		virtq_dev_put(&dev, chain.head, 0);
		assert_int_equal(virtq_dev_push(&dev), i == 2);
	}
	assert_true(virtq_drv_events_after(&drv, 4, &there));
	assert_true(there);
	assert_true(virtq_drv_events_after(&drv, 5, &there));
	assert_false(there);
	fresh(0);
	assert_false(virtq_drv_events_after(&drv, 3, &there));
}

static void test_notifications_without_event_idx(void **state)
{
	fresh(0);
	add_one(8192, 1, 0, &drv);
	assert_true(virtq_drv_push(&drv));
	virtq_dev_events_off(&dev);
	add_one(8192, 1, 0, &drv);
	assert_false(virtq_drv_push(&drv));
	virtq_drv_events_off(&drv);
	assert_int_equal(virtq_dev_next(&dev, &chain), 1);
	virtq_dev_put(&dev, chain.head, 0);
	assert_false(virtq_dev_push(&dev));
	assert_true(virtq_drv_events_on(&drv));
}

/* ---- a lying device ---- */

static void device_says(uint32_t id, uint32_t len, uint16_t idx)
{
	used()->ring[drv.used_next & (NUM - 1)].id = id;
	used()->ring[drv.used_next & (NUM - 1)].len = len;
	used()->idx = idx;
}

static void test_driver_survives_bad_ids(void **state)
{
	static const uint32_t ids[] = {NUM, 0xffff, 0xffffffff, 3 /* not in flight */};
	uint32_t len;

	for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
		fresh(0);
		add_one(8192, 1, 1, &drv);
		virtq_drv_push(&drv);
		device_says(ids[i], 1, 1);
		assert_null(virtq_drv_pop(&drv, &len));
		assert_non_null(drv.broken);
		assert_ptr_equal(virtq_drv_drain(&drv), &drv);
		assert_null(virtq_drv_drain(&drv));
	}
}

static void test_driver_survives_double_completion(void **state)
{
	uint32_t len;

	add_one(8192, 1, 1, &drv);
	virtq_drv_push(&drv);
	device_says(0, 1, 1);
	assert_non_null(virtq_drv_pop(&drv, &len));
	device_says(0, 1, 2);
	assert_null(virtq_drv_pop(&drv, &len));
	assert_non_null(drv.broken);
}

static void test_driver_clamps_lengths(void **state)
{
	uint32_t len;

	add_one(8192, 1, 10, &drv);
	virtq_drv_push(&drv);
	device_says(0, 0xffffffff, 1);
	assert_non_null(virtq_drv_pop(&drv, &len));
	assert_int_equal(len, 10);
}

static void test_driver_survives_index_jump(void **state)
{
	uint32_t len;

	add_one(8192, 1, 1, &drv);
	virtq_drv_push(&drv);
	used()->idx = NUM + 1;
	assert_null(virtq_drv_pop(&drv, &len));
	assert_non_null(drv.broken);
}

static void test_driver_ignores_rewritten_descriptors(void **state)
{
	uint32_t len;
	struct virtq_buf out[3] = {{8192, 1}, {8200, 1}, {8300, 1}};

	assert_int_equal(virtq_drv_add(&drv, out, 3, NULL, 0, &drv), 0);
	virtq_drv_push(&drv);
	for (int i = 0; i < NUM; i++)
		desc()[i].next = 0xffff;
	device_says(0, 0, 1);
	assert_non_null(virtq_drv_pop(&drv, &len));
	assert_int_equal(virtq_drv_free(&drv), NUM);
	for (int i = 0; i < NUM; i++)
		add_one(8192, 1, 0, &drv);
}

/* ---- a lying driver ---- */

static void driver_says(uint16_t head, uint16_t idx)
{
	avail()->ring[dev.avail_next & (NUM - 1)] = head;
	avail()->idx = idx;
}

static void expect_broken(const char *why)
{
	assert_int_equal(virtq_dev_next(&dev, &chain), D0_ESTATE);
	assert_non_null(dev.broken);
	assert_non_null(strstr(dev.broken, why));
	assert_int_equal(virtq_dev_next(&dev, &chain), D0_ESTATE); /* and stays so */
}

static void test_device_finds_loops(void **state)
{
	desc()[0] = (struct d0_vring_desc){8192, 16, D0_VRING_DESC_NEXT, 1};
	desc()[1] = (struct d0_vring_desc){8192, 16, D0_VRING_DESC_NEXT, 0};
	driver_says(0, 1);
	expect_broken("loops");
}

static void test_device_checks_the_window(void **state)
{
	static const struct d0_vring_desc bad[] = {
	    {SIZE, 1, 0, 0},  {SIZE - 4, 5, 0, 0},       {0, SIZE + 1, 0, 0},
	    {~0ull, 2, 0, 0}, {~0ull - 4, 0xffff, 0, 0}, {1ull << 63, 16, 2, 0},
	    {16, ~0u, 0, 0},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		fresh(0);
		desc()[0] = bad[i];
		driver_says(0, 1);
		expect_broken("window");
	}
}

static void test_device_checks_heads_and_indexes(void **state)
{
	driver_says(NUM, 1);
	expect_broken("out of range");
	fresh(0);
	driver_says(0, NUM + 1);
	expect_broken("runs ahead");
	fresh(0);
	desc()[0] = (struct d0_vring_desc){8192, 16, D0_VRING_DESC_NEXT, NUM};
	driver_says(0, 1);
	expect_broken("out of range");
}

static void test_device_wants_out_before_in(void **state)
{
	desc()[0] =
	    (struct d0_vring_desc){8192, 16, D0_VRING_DESC_NEXT | D0_VRING_DESC_WRITE, 1};
	desc()[1] = (struct d0_vring_desc){8192, 16, 0, 0};
	driver_says(0, 1);
	expect_broken("after a writable");
}

static void test_device_reads_indirect_tables(void **state)
{
	struct d0_vring_desc *t = (void *)(region + 8192);

	t[0] = (struct d0_vring_desc){12000, 3, D0_VRING_DESC_NEXT, 1};
	t[1] = (struct d0_vring_desc){12100, 5, D0_VRING_DESC_WRITE, 0};
	desc()[0] = (struct d0_vring_desc){8192, 32, D0_VRING_DESC_INDIRECT, 0};
	driver_says(0, 1);
	assert_int_equal(virtq_dev_next(&dev, &chain), 1);
	assert_int_equal(chain.out_bytes, 3);
	assert_int_equal(chain.in_bytes, 5);
}

static void test_device_refuses_bad_indirect_tables(void **state)
{
	struct d0_vring_desc *t = (void *)(region + 8192);

	desc()[0] = (struct d0_vring_desc){8192, 24, D0_VRING_DESC_INDIRECT, 0};
	driver_says(0, 1);
	expect_broken("bad size");
	fresh(D0_VRING_F_INDIRECT);
	t[0] = (struct d0_vring_desc){8192, 16, D0_VRING_DESC_INDIRECT, 0};
	desc()[0] = (struct d0_vring_desc){8192, 16, D0_VRING_DESC_INDIRECT, 0};
	driver_says(0, 1);
	expect_broken("none may be");
	fresh(D0_VRING_F_INDIRECT);
	desc()[0] = (struct d0_vring_desc){SIZE - 8, 16, D0_VRING_DESC_INDIRECT, 0};
	driver_says(0, 1);
	expect_broken("outside the window");
	fresh(0); /* not negotiated */
	desc()[0] = (struct d0_vring_desc){8192, 16, D0_VRING_DESC_INDIRECT, 0};
	driver_says(0, 1);
	expect_broken("none may be");
}

static void test_device_reports_too_many_buffers(void **state)
{
	struct virtq_buf out[4] = {{8192, 1}, {8193, 1}, {8194, 1}, {8195, 1}};

	chain.seg_max = 2;
	assert_int_equal(virtq_drv_add(&drv, out, 4, NULL, 0, &drv), 0);
	virtq_drv_push(&drv);
	assert_int_equal(virtq_dev_next(&dev, &chain), D0_ELIMIT);
	virtq_dev_put(&dev, chain.head, 0);
	virtq_dev_push(&dev);
	assert_non_null(virtq_drv_pop(&drv, NULL));
	assert_null(dev.broken);
}

static void test_copies_stay_in_their_part(void **state)
{
	struct virtq_buf out[2] = {{8192, 3}, {8300, 4}}, in[2] = {{8400, 2}, {8500, 3}};
	char buf[16] = {0};

	memcpy(region + 8192, "abc", 3);
	memcpy(region + 8300, "defg", 4);
	assert_int_equal(virtq_drv_add(&drv, out, 2, in, 2, &drv), 0);
	virtq_drv_push(&drv);
	assert_int_equal(virtq_dev_next(&dev, &chain), 1);
	assert_int_equal(virtq_chain_read(&chain, 0, buf, 16), 7);
	assert_string_equal(buf, "abcdefg");
	assert_int_equal(virtq_chain_read(&chain, 4, buf, 2), 2);
	assert_memory_equal(buf, "ef", 2);
	assert_int_equal(virtq_chain_read(&chain, 7, buf, 2), 0);
	assert_int_equal(virtq_chain_write(&chain, 1, "123456789", 9), 4);
	assert_memory_equal(region + 8401, "1", 1);
	assert_memory_equal(region + 8500, "234", 3);
}

/* ---- the handshake ---- */

static void test_either_end_restarts(void **state)
{
	struct vchan s, c;

	memset(region, 0, sizeof(region));
	assert_int_equal(vchan_client_open(&c, region, SIZE), 0);
	assert_int_equal(vchan_client_poll(&c, 3), VCHAN_SAME);
	assert_int_equal(vchan_server_open(&s, region, SIZE, 1), 0);
	assert_int_equal(vchan_server_poll(&s), VCHAN_SAME);
	assert_int_equal(vchan_client_poll(&c, 3), VCHAN_UP);
	assert_int_equal(c.features, 1);
	vchan_client_ready(&c);
	assert_int_equal(vchan_server_poll(&s), VCHAN_UP);
	assert_int_equal(vchan_server_poll(&s), VCHAN_SAME);
	assert_int_equal(vchan_client_poll(&c, 3), VCHAN_SAME);

	/* the client restarts: it must wait until the server lets go */
	assert_int_equal(vchan_client_open(&c, region, SIZE), 0);
	assert_int_equal(vchan_client_poll(&c, 3), VCHAN_SAME);
	assert_int_equal(vchan_server_poll(&s), VCHAN_DOWN);
	assert_int_equal(vchan_client_poll(&c, 3), VCHAN_UP);
	vchan_client_ready(&c);
	assert_int_equal(vchan_server_poll(&s), VCHAN_UP);

	/* the server restarts */
	assert_int_equal(vchan_server_open(&s, region, SIZE, 1), 0);
	assert_int_equal(vchan_server_poll(&s), VCHAN_SAME);
	assert_int_equal(vchan_client_poll(&c, 3), VCHAN_DOWN);
	assert_int_equal(vchan_client_poll(&c, 3), VCHAN_UP);
	vchan_client_ready(&c);
	assert_int_equal(vchan_server_poll(&s), VCHAN_UP);
}

static void test_queues_must_fit(void **state)
{
	struct vchan c;

	assert_int_equal(vchan_client_open(&c, region, 100), D0_EINVAL);
	assert_int_equal(vchan_client_open(&c, region, SIZE), 0);
	assert_non_null(vchan_queue(&c, 0, 1, NUM));
	assert_null(vchan_queue(&c, 1, 1, NUM));
	assert_null(vchan_queue(&c, 0, 1, 4096));
	assert_null(vchan_queue(&c, 0, 65536, 32768));
}

/* ---- streams ---- */

static void test_stream_carries_bytes_in_order(void **state)
{
	struct stream a, b;
	uint8_t out[777], in[1000];
	uint32_t next_out = 0, next_in = 0;
	bool notify;

	memset(region, 0, sizeof(region));
	assert_int_equal(stream_open(&a, region, SIZE, true), 0);
	assert_int_equal(stream_open(&b, region, SIZE, false), 0);
	stream_peer_restarted(&a);
	stream_peer_restarted(&b);
	while (next_in < 200000) {
		size_t n;

		for (size_t i = 0; i < sizeof(out); i++)
			out[i] = (uint8_t)((next_out + i) * 31);
		next_out += (uint32_t)stream_write(&a, out, sizeof(out), &notify);
		n = stream_read(&b, in, sizeof(in), &notify);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(in[i], (uint8_t)((next_in + i) * 31));
		next_in += (uint32_t)n;
	}
}

static void test_stream_wakes_only_who_waits(void **state)
{
	struct stream a, b;
	bool notify = false;
	char c = 'x';

	memset(region, 0, sizeof(region));
	stream_open(&a, region, SIZE, true);
	stream_open(&b, region, SIZE, false);
	stream_peer_restarted(&b);
	assert_int_equal(stream_write(&a, &c, 1, &notify), 1);
	assert_false(notify);
	assert_int_equal(stream_read(&b, &c, 1, &notify), 1);
	assert_false(stream_wait_read(&b));
	assert_int_equal(stream_write(&a, &c, 1, &notify), 1);
	assert_true(notify);
	assert_true(stream_wait_read(&b));
}

static void test_stream_survives_bad_indexes(void **state)
{
	struct stream a, b;
	bool notify = false;
	uint8_t buf[SIZE];

	memset(region, 0, sizeof(region));
	stream_open(&a, region, SIZE, true);
	stream_open(&b, region, SIZE, false);
	stream_peer_restarted(&b);
	stream_peer_restarted(&a);
	*b.rx.prod = 0x80000000; /* more than fits */
	assert_int_equal(stream_read(&b, buf, sizeof(buf), &notify), 0);
	*b.rx.prod = (uint32_t)-5;
	assert_int_equal(stream_read(&b, buf, sizeof(buf), &notify), 0);
	*b.tx.cons = 77; /* read what was never written */
	assert_int_equal(stream_write(&b, buf, 10, &notify), 0);
}

static void test_stream_restarts(void **state)
{
	struct stream a, b;
	bool notify = false;
	char buf[8];

	memset(region, 0, sizeof(region));
	stream_open(&a, region, SIZE, true);
	stream_open(&b, region, SIZE, false);
	assert_true(stream_peer_restarted(&a));
	stream_peer_restarted(&b);
	stream_write(&a, "lost", 4, &notify);
	stream_open(&a, region, SIZE, true);
	assert_int_equal(stream_read(&b, buf, 8, &notify), 0);
	stream_write(&a, "new", 3, &notify);
	assert_true(stream_peer_restarted(&b));
	assert_int_equal(stream_read(&b, buf, 8, &notify), 3);
	assert_memory_equal(buf, "new", 3);
	stream_send_eof(&a);
	assert_true(stream_at_eof(&b));
}

int main(void)
{
#define RINGS(t) cmocka_unit_test_setup(t, setup)
	const struct CMUnitTest tests[] = {
	    RINGS(test_request_goes_round),
	    RINGS(test_indexes_wrap),
	    RINGS(test_full_queue_says_so),
	    RINGS(test_notifications_are_suppressed),
	    RINGS(test_notification_after_several),
	    RINGS(test_notifications_without_event_idx),
	    RINGS(test_driver_survives_bad_ids),
	    RINGS(test_driver_survives_double_completion),
	    RINGS(test_driver_clamps_lengths),
	    RINGS(test_driver_survives_index_jump),
	    RINGS(test_driver_ignores_rewritten_descriptors),
	    RINGS(test_device_finds_loops),
	    RINGS(test_device_checks_the_window),
	    RINGS(test_device_checks_heads_and_indexes),
	    RINGS(test_device_wants_out_before_in),
	    RINGS(test_device_reads_indirect_tables),
	    RINGS(test_device_refuses_bad_indirect_tables),
	    RINGS(test_device_reports_too_many_buffers),
	    RINGS(test_copies_stay_in_their_part),
	    RINGS(test_either_end_restarts),
	    RINGS(test_queues_must_fit),
	    RINGS(test_stream_carries_bytes_in_order),
	    RINGS(test_stream_wakes_only_who_waits),
	    RINGS(test_stream_survives_bad_indexes),
	    RINGS(test_stream_restarts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
