/* SPDX-License-Identifier: ISC */
/* Cells as threads: channels, doorbells, waiting, restart, descriptors as interrupts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/common/events.h"
#include "libcell/counters.h"
#include "libcell/hosted.h"
#include "libcell/stream.h"

#define ROUNDS 2000

/* Sends back every byte it gets, plus one; ends at D0_EV_STOP. */
static int echo_main(const struct d0_info *info)
{
	int ch = cell_channel_find(0, D0_PROTO_STREAM, D0_ROLE_SERVER, "echo");
	struct stream s;
	size_t size;
	void *ring = cell_channel_ring((unsigned)ch, &size);

	if (ch < 0 || stream_open(&s, ring, size, true))
		return 1;
	cell_notify((unsigned)ch);
	for (;;) {
		bool notify = false;
		uint8_t c;

		stream_peer_restarted(&s);
		while (stream_read(&s, &c, 1, &notify)) {
			c++;
			stream_write(&s, &c, 1, &notify);
		}
		if (notify)
			cell_notify((unsigned)ch);
		if (stream_wait_read(&s))
			continue;
		cell_wait(D0_NEVER);
		cell_event_take((unsigned)ch);
		if (cell_flags_take(~0ull) & D0_EV_STOP)
			return (int)info->start_count;
	}
}

static uint8_t ask(struct stream *s, unsigned ch, uint8_t c)
{
	bool notify = false;
	uint64_t end = clock_ns() + 20 * CLOCK_NS_PER_S;

	stream_peer_restarted(s);
	stream_write(s, &c, 1, &notify);
	if (notify)
		cell_notify(ch);
	while (!stream_read(s, &c, 1, &notify)) {
		assert_true(clock_ns() < end);
		if (!stream_wait_read(s))
			cell_wait(end);
		stream_peer_restarted(s);
		cell_event_take(ch);
	}
	return c;
}

static void test_two_cells_talk(void **state)
{
	struct hosted_cell *a = hosted_cell_new("echo", ""), *b = hosted_cell_new("asker", "");
	struct stream s;
	size_t size;
	void *ring;
	int ch;

	assert_int_equal(
	    hosted_connect(a, b, D0_PROTO_STREAM, 16384, "echo", "", "", NULL, &ch), 0);
	hosted_enter(b);
	ring = cell_channel_ring((unsigned)ch, &size);
	assert_int_equal(stream_open(&s, ring, size, false), 0);
	assert_int_equal(hosted_start(a, echo_main), 0);
	/* the server drops what came before it started: wait for it */
	while (!stream_peer_restarted(&s))
		cell_wait(clock_ns() + CLOCK_NS_PER_MS);
	for (unsigned i = 0; i < ROUNDS; i++)
		assert_int_equal(ask(&s, (unsigned)ch, (uint8_t)i), (uint8_t)(i + 1));
	hosted_stop(a);
	assert_int_equal(hosted_join(a), 1);

	/* and again after a restart of the server */
	assert_int_equal(hosted_restart(a), 0);
	while (!stream_peer_restarted(&s))
		cell_wait(clock_ns() + CLOCK_NS_PER_MS);
	assert_int_equal(ask(&s, (unsigned)ch, 9), 10);
	hosted_stop(a);
	assert_int_equal(hosted_join(a), 2);
	hosted_enter(NULL);
	hosted_cell_free(b);
	hosted_cell_free(a);
}

static void test_waiting_ends_at_the_deadline(void **state)
{
	struct hosted_cell *a = hosted_cell_new("waiter", "");
	uint64_t start;

	hosted_enter(a);
	start = clock_ns();
	assert_false(cell_wait(start + 20 * CLOCK_NS_PER_MS));
	assert_true(clock_ns() - start >= 20 * CLOCK_NS_PER_MS);
	cell_timer(clock_ns() + 5 * CLOCK_NS_PER_MS);
	assert_true(cell_wait(D0_NEVER));
	assert_int_equal(cell_flags_take(~0ull), D0_EV_TIMER);
	assert_false(cell_wait(0));
	hosted_enter(NULL);
	hosted_cell_free(a);
}

static void test_descriptors_are_interrupts(void **state)
{
	struct hosted_cell *a = hosted_cell_new("watcher", "");
	int fd[2], ch;
	char c;

	hosted_enter(a);
	assert_int_equal(pipe(fd), 0);
	ch = hosted_watch_fd(fd[0], -1);
	assert_true(ch >= 0);
	cell_flags_take(D0_EV_CONFIG); /* the new channel's */
	assert_false(cell_wait(clock_ns() + CLOCK_NS_PER_MS));
	assert_int_equal(write(fd[1], "x", 1), 1);
	assert_true(cell_wait(D0_NEVER));
	assert_true(cell_event_take((unsigned)ch));
	assert_int_equal(read(fd[0], &c, 1), 1);
	assert_false(cell_wait(clock_ns() + CLOCK_NS_PER_MS));
	assert_int_equal(hosted_unwatch_fd(fd[0]), 0);
	close(fd[0]);
	close(fd[1]);
	hosted_enter(NULL);
	hosted_cell_free(a);
}

/* The last channel there can be; one of several in a word; a word whose bit came late. */
static void test_events_of_many_channels(void **state)
{
	static struct d0_events e;
	const unsigned last = D0_CHANNELS_MAX - 1;

	assert_false(events_pending(&e));
	events_put(&e, last / 64, 1ull << last % 64);
	assert_int_equal(e.words, 1ull << last / 64);
	assert_int_equal(events_take(&e, 0), 0);
	assert_true(events_take_one(&e, last));
	assert_false(events_pending(&e) || events_take_one(&e, last));
	events_put(&e, 3, 0x8001);
	assert_true(events_take_one(&e, 3 * 64));
	assert_true(events_pending(&e)); /* the other one */
	assert_int_equal(events_take(&e, 3), 0x8000);
	assert_false(events_pending(&e));
	e.words = 1u << 3; /* set after the word was taken: found empty, and gone */
	assert_int_equal(events_take(&e, 3), 0);
	assert_false(events_pending(&e));
}

static void test_counters_and_lookups(void **state)
{
	struct hosted_cell *a = hosted_cell_new("counter", "x=1"),
			   *b = hosted_cell_new("b", "");
	char name[16] = "c00";
	uint64_t *c;
	int sc, cc;

	hosted_enter(a);
	c = counter_register("hits");
	counter_add(c, 2);
	assert_ptr_equal(counter_register("hits"), c);
	assert_int_equal(*c, 2);
	for (int i = 0; i < 100; i++) {
		name[1] = (char)('0' + i / 10);
		name[2] = (char)('0' + i % 10);
		assert_non_null(counter_register(name)); /* a full table is no error */
	}
	assert_int_equal(hosted_state(a, 100), 0);
	assert_int_equal(cell_region(D0_REGION_STATE, 0)->size, 4096);
	assert_null(cell_region(D0_REGION_HEAP, 0));
	assert_int_equal(cell_dma_addr(name, 1), D0_NEVER);
	assert_int_equal(hosted_connect(a, b, D0_PROTO_NET, 0, "n", "s=1", "c=1", &sc, &cc), 0);
	assert_int_equal(cell_channel_find(0, D0_PROTO_NET, D0_ROLE_SERVER, "n"), sc);
	assert_int_equal(cell_channel_find(0, D0_PROTO_NET, D0_ROLE_CLIENT, NULL), -1);
	assert_int_equal(cell_channel_find(0, D0_PROTO_NONE, -1, "other"), -1);
	assert_null(cell_channel_ring((unsigned)sc, NULL));
	assert_null(cell_channel(1000));
	assert_int_equal(cell_notify(999), D0_ENOENT);
	hosted_enter(NULL);
	hosted_cell_free(a);
	hosted_cell_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_two_cells_talk),
	    cmocka_unit_test(test_waiting_ends_at_the_deadline),
	    cmocka_unit_test(test_descriptors_are_interrupts),
	    cmocka_unit_test(test_events_of_many_channels),
	    cmocka_unit_test(test_counters_and_lookups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
