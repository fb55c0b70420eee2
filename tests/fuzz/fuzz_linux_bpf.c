/* SPDX-License-Identifier: ISC */
/* A program that passes the check must run to its end without touching anything outside. */
#include "cells/linux/inc/bpf.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct sock_filter prog[512];
	static const u8 packet[64] = {[14] = 0x45};
	struct seccomp_data d = {.nr = 1, .arch = 2, .args = {3, 4, 5, 6, 7, 8}};
	const struct bpf_packet p = {
	    .data = packet, .len = sizeof(packet), .network = 14, .protocol = 0x800};
	u32 n = (u32)MIN(size / sizeof(prog[0]), ARRAY_SIZE(prog));

	memcpy(prog, data, n * sizeof(prog[0]));
	if (bpf_check(prog, n) == 0)
		bpf_run(prog, &d);
	if (bpf_check_packet(prog, n) == 0)
		bpf_run_packet(prog, &p);
	return 0;
}
