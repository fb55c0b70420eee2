/* SPDX-License-Identifier: ISC */
/* Formatting, arguments, the heap, the generator, the clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "libcell/alloc.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/common/format.h"
#include "libcell/random.h"

static int fmt(char *buf, size_t n, const char *f, ...)
{
	va_list ap;
	int len;

	va_start(ap, f);
	len = format_v(buf, n, f, ap);
	va_end(ap);
	return len;
}

/* Both formatters must agree, text and result. */
#define AGREE(...)                                                        \
	do {                                                              \
		char a[128], b[128];                                      \
		int n = fmt(a, sizeof(a), __VA_ARGS__);                   \
		assert_int_equal(n, snprintf(b, sizeof(b), __VA_ARGS__)); \
		assert_string_equal(a, b);                                \
	} while (0)

static void test_format_is_printf(void **state)
{
	AGREE("%d %i %u", INT_MIN, INT_MAX, UINT_MAX);
	AGREE("%ld %lu %lld %llu", LONG_MIN, ULONG_MAX, LLONG_MIN, ULLONG_MAX);
	AGREE("%hhd %hd %hhu %hu", (char)-3, (short)-30000, (unsigned char)250,
	      (unsigned short)65535);
	AGREE("%zu %jd %td", (size_t)77, (intmax_t)-5, (ptrdiff_t)9);
	AGREE("[%5d][%-5d][%05d][%+d][% d][%5.3d][%.0d]", 42, 42, 42, 42, 42, 7, 0);
	AGREE("[%x][%X][%#x][%#X][%08x][%#010x][%#x]", 0xbeef, 0xbeef, 0xbeef, 0xbeef, 0xbeef,
	      0xbeef, 0);
	AGREE("[%o][%#o]", 0755, 0755);
	AGREE("[%s][%10s][%-10s][%.2s][%*.*s]", "abc", "abc", "abc", "abc", 6, 1, "xyz");
	AGREE("[%c][%3c][%-3c]%%", 'a', 'b', 'c');
	AGREE("%p", (void *)0x1234);
	AGREE("[%-+6d][%+06d][%*d]", 5, 5, -4, 5);
}

static void test_format_cuts(void **state)
{
	char b[6];

	assert_int_equal(fmt(b, sizeof(b), "%s", "too long"), 8);
	assert_string_equal(b, "too l");
	assert_int_equal(fmt(NULL, 0, "%d", 12345), 5);
	assert_int_equal(fmt(b, 1, "x"), 1);
	assert_string_equal(b, "");
}

static void test_args(void **state)
{
	char v[8];
	const char *a =
	    "ip=10.0.0.1 mtu=0x5dc quiet big=4K empty= neg=-1 huge=99999999999999999999 m=1M";

	assert_int_equal(cell_arg(a, "ip", v, sizeof(v)), 8);
	assert_string_equal(v, "10.0.0.");
	assert_int_equal(cell_arg(a, "i", v, sizeof(v)), -1);
	assert_int_equal(cell_arg(a, "quiet", v, sizeof(v)), -1);
	assert_int_equal(cell_arg(a, "empty", v, sizeof(v)), 0);
	assert_true(cell_arg_has(a, "quiet"));
	assert_false(cell_arg_has(a, "qui"));
	assert_int_equal(cell_arg_u64(a, "mtu", 0), 1500);
	assert_int_equal(cell_arg_u64(a, "big", 0), 4096);
	assert_int_equal(cell_arg_u64(a, "m", 0), 1 << 20);
	assert_int_equal(cell_arg_u64(a, "neg", 7), 7);
	assert_int_equal(cell_arg_u64(a, "huge", 7), 7);
	assert_int_equal(cell_arg_u64(a, "empty", 7), 7);
	assert_int_equal(cell_arg_u64("x=18446744073709551615", "x", 0), UINT64_MAX);
}

/* ---- heap ---- */

static _Alignas(4096) uint8_t arena[1 << 20];
static struct heap heap;

static int heap_setup(void **state)
{
	heap_init(&heap, arena, sizeof(arena), 0x1234567890abcdefull);
	return 0;
}

/* Zeroed blocks are zeros whatever was there before; what was never handed out is not written.
 */
static void test_heap_zeroed(void **state)
{
	struct heap h;
	uint8_t *p, *q;
	size_t n = sizeof(arena) / 4;

	memset(arena, 0, sizeof(arena));
	heap_init(&h, arena, sizeof(arena), 1);
	heap_known_zero(&h);
	p = heap_zalloc(&h, n, 16);
	assert_non_null(p);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(p[i], 0);
	memset(p, 0xaa, n);
	heap_free(&h, p);
	q = heap_zalloc(&h, 2 * n, 64);
	assert_non_null(q);
	for (size_t i = 0; i < 2 * n; i++)
		assert_int_equal(q[i], 0);
	/* Behind the highest block there is one header with its links, then nothing but the
	 * end. */
	for (uint8_t *at = q + 2 * n + 128; at < arena + sizeof(arena) - 64; at++)
		assert_int_equal(*at, 0);
	heap_free(&h, q);
	heap_check(&h);
}

static void test_heap_random_walk(void **state)
{
	struct {
		uint8_t *p;
		size_t n;
		uint8_t fill;
	} live[64] = {{0}};
	uint8_t seed[32] = {1};
	struct random_gen g;

	random_gen_init(&g, seed);
	for (int i = 0; i < 30000; i++) {
		uint32_t r[3];
		unsigned at;

		random_gen_bytes(&g, r, sizeof(r));
		at = r[0] % 64;
		for (size_t j = 0; j < live[at].n; j += 97)
			assert_int_equal(live[at].p[j], live[at].fill);
		if (live[at].p && r[1] % 4 == 0) {
			size_t n = r[2] % 20000;
			uint8_t *q = heap_realloc(&heap, live[at].p, n);

			if (!q)
				continue;
			for (size_t j = 0; j < (n < live[at].n ? n : live[at].n); j += 97)
				assert_int_equal(q[j], live[at].fill);
			live[at].p = q;
			live[at].n = n;
		} else {
			heap_free(&heap, live[at].p);
			live[at].n = r[2] % (r[1] % 8 ? 300 : 30000);
			live[at].p = heap_alloc(&heap, live[at].n, 16u << (r[1] >> 8) % 6);
			if (!live[at].p) {
				live[at].n = 0;
				continue;
			}
			assert_int_equal((uintptr_t)live[at].p % (16u << (r[1] >> 8) % 6), 0);
		}
		live[at].fill = (uint8_t)r[1];
		memset(live[at].p, live[at].fill, live[at].n);
		if (i % 500 == 0)
			heap_check(&heap);
	}
	for (int i = 0; i < 64; i++)
		heap_free(&heap, live[i].p);
	heap_check(&heap);
	assert_int_equal(heap.stats.used, 0);
	assert_int_equal(heap.stats.blocks, 0);
	assert_non_null(heap_alloc(&heap, sizeof(arena) - 4096, 16)); /* all merged again */
}

static void test_heap_bounds(void **state)
{
	assert_null(heap_alloc(&heap, sizeof(arena), 16));
	assert_null(heap_alloc(&heap, SIZE_MAX, 16));
	assert_null(heap_alloc(&heap, SIZE_MAX - 40, 4096));
	assert_null(heap_alloc(&heap, 16, 3));
	assert_null(heap_alloc(&heap, 16, (size_t)1 << 63));
	assert_non_null(heap_alloc(&heap, 0, 16));
	assert_true(heap.stats.failures >= 3);
	heap_free(&heap, NULL);
	heap_check(&heap);
}

/* Runs fn in a child, which must end as a panic does. */
static void expect_panic(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		fn();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 134);
}

static void do_double_free(void)
{
	void *p = heap_alloc(&heap, 100, 16);

	heap_free(&heap, p);
	heap_free(&heap, p);
}

static void do_overrun(void)
{
	uint8_t *p = heap_alloc(&heap, 96, 16);

	p[100] ^= 1; /* the next block's header */
	heap_free(&heap, p);
}

static void do_wild_free(void)
{
	heap_free(&heap, arena + 512);
}

static void do_foreign_free(void)
{
	static uint8_t other[64];

	heap_free(&heap, other + 32);
}

static void test_heap_finds_corruption(void **state)
{
	expect_panic(do_double_free);
	expect_panic(do_overrun);
	expect_panic(do_wild_free);
	expect_panic(do_foreign_free);
}

/* ---- generator and clock ---- */

/* RFC 8439, 2.3.2 uses another nonce; with counter and nonce 0 it is A.1, test vector 1. */
static void test_random_is_chacha20(void **state)
{
	static const uint8_t want[32] = {0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90,
					 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28,
					 0xbd, 0xd2, 0x19, 0xb8, 0xa0, 0x8d, 0xed, 0x1a,
					 0xa8, 0x36, 0xef, 0xcc, 0x8b, 0x77, 0x0d, 0xc7};
	static const uint8_t seed[32];
	struct random_gen g;
	uint8_t out[8], next[32] = {0};

	random_gen_init(&g, seed);
	random_gen_bytes(&g, out, 8);
	memcpy(next, g.key, 32); /* the first 32 bytes became the key and were not given out */
	assert_memory_equal(next, want, 32);
	assert_memory_not_equal(out, want, 8);
}

static void test_random_below_is_uniform(void **state)
{
	unsigned seen[5] = {0};

	for (int i = 0; i < 10000; i++)
		seen[cell_random_below(5)]++;
	for (int i = 0; i < 5; i++)
		assert_in_range(seen[i], 1700, 2300);
	assert_int_equal(cell_random_below(0), 0);
	assert_int_equal(cell_random_below(1), 0);
}

static void test_clock_scale(void **state)
{
	struct d0_clock c = {.shift = 32, .mult = 1ull << 31, .tsc_base = 1000}; /* 2 GHz */

	assert_int_equal(clock_scale(&c, 1000), 0);
	assert_int_equal(clock_scale(&c, 3000), 1000);
	assert_int_equal(clock_scale(&c, 500), 0); /* another CPU's TSC slightly behind */
	assert_int_equal(clock_scale(&c, 1000 + (1ull << 62)), 1ull << 61);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_format_is_printf),
	    cmocka_unit_test(test_format_cuts),
	    cmocka_unit_test(test_args),
	    cmocka_unit_test(test_heap_zeroed),
	    cmocka_unit_test_setup(test_heap_random_walk, heap_setup),
	    cmocka_unit_test_setup(test_heap_bounds, heap_setup),
	    cmocka_unit_test_setup(test_heap_finds_corruption, heap_setup),
	    cmocka_unit_test(test_random_is_chacha20),
	    cmocka_unit_test(test_random_below_is_uniform),
	    cmocka_unit_test(test_clock_scale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
