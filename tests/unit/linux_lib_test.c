/* SPDX-License-Identifier: ISC */
/* The guest kernel's BPF machine. */
#include "cells/linux/inc/bpf.h"

#include <setjmp.h>
#include <cmocka.h>

#define ALLOW SECCOMP_RET_ALLOW
static u32 run(const struct sock_filter *f, u32 n, int nr)
{
	struct seccomp_data d = {.nr = nr, .args = {0x1122334455667788ull}};

	assert_int_equal(bpf_check(f, n), 0);
	return bpf_run(f, &d);
}

static void test_bpf(void **state)
{
	const struct sock_filter by_number[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 39, 1, 0), BPF_STMT(BPF_RET | BPF_K, ALLOW),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1)};
	const struct sock_filter sums[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 16),
					   BPF_STMT(BPF_ST, 3),
					   BPF_STMT(BPF_LDX | BPF_MEM, 3),
					   BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 20),
					   BPF_STMT(BPF_ALU | BPF_SUB | BPF_X, 0),
					   BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 8),
					   BPF_STMT(BPF_RET | BPF_A, 0)};
	const struct sock_filter by_zero[] = {BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0),
					      BPF_STMT(BPF_RET | BPF_K, ALLOW)};

	assert_int_equal(run(by_number, 4, 39), SECCOMP_RET_ERRNO | 1);
	assert_int_equal(run(by_number, 4, 40), ALLOW);
	assert_int_equal(run(sums, 7, 0), (0x11223344u - 0x55667788u) >> 8);
	assert_int_equal(run(by_zero, 2, 0), 0);
}

/* A filter of packets: sizes, places, what is no byte of it. */
static void test_bpf_packet(void **state)
{
	static const u8 ip[] = {0x45, 0, 0, 24, 0, 0, 0, 0, 64,   17,   0, 0,
				1,    2, 3, 4,  5, 6, 7, 8, 0x12, 0x34, 0, 0};
	const struct bpf_packet p = {
	    .data = ip, .len = sizeof(ip), .protocol = 0x0800, .type = 4};
	const struct sock_filter port[] = {BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
					   BPF_STMT(BPF_LD | BPF_H | BPF_IND, 0),
					   BPF_STMT(BPF_RET | BPF_A, 0)};
	struct sock_filter one[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 12),
				    BPF_STMT(BPF_RET | BPF_A, 0)};

	assert_int_equal(bpf_check_packet(port, 3), 0);
	assert_int_equal(bpf_check(port, 3), -EINVAL);
	assert_int_equal(bpf_run_packet(port, &p), 0x1234);
	assert_int_equal(bpf_run_packet(one, &p), 0x01020304);
	for (u32 at = 21; at < 26; at++) { /* off the end: nothing passes */
		one[0].k = at;
		assert_int_equal(bpf_run_packet(one, &p), 0);
	}
	one[0].k = 0xffffffff;
	assert_int_equal(bpf_run_packet(one, &p), 0);
	one[0].k = (u32)SKF_AD_OFF + SKF_AD_PROTOCOL;
	assert_int_equal(bpf_run_packet(one, &p), 0x0800);
	one[0].k = (u32)SKF_NET_OFF + 16;
	assert_int_equal(bpf_run_packet(one, &p), 0x05060708);
	one[0].k = (u32)SKF_LL_OFF;
	assert_int_equal(bpf_run_packet(one, &p), 0);
}

static void test_bpf_refused(void **state)
{
	const struct sock_filter bad[][2] = {
	    {BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 1)}, /* no end */
	    {BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), BPF_STMT(BPF_RET | BPF_K, 0)},
	    {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0)},
	    {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), BPF_STMT(BPF_RET | BPF_K, 0)},
	    {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), BPF_STMT(BPF_RET | BPF_K, 0)},
	    {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_STMT(BPF_RET | BPF_K, 0)},
	    {BPF_STMT(BPF_ST, 16), BPF_STMT(BPF_RET | BPF_K, 0)},
	    {BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 0)},
	    {BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), BPF_STMT(BPF_RET | BPF_K, 0)},
	    {BPF_STMT(0xffff, 0), BPF_STMT(BPF_RET | BPF_K, 0)}};

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(bpf_check(bad[i], 2), -EINVAL);
	assert_int_equal(bpf_check(bad[0], 0), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_bpf),
					   cmocka_unit_test(test_bpf_packet),
					   cmocka_unit_test(test_bpf_refused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
