/* SPDX-License-Identifier: ISC */
/* A program that passes the check must run to its end without touching anything outside. */
#include "cells/linux/inc/bpf.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct sock_filter prog[512];
	struct seccomp_data d = {.nr = 1, .arch = 2, .args = {3, 4, 5, 6, 7, 8}};
	u32 n = (u32)MIN(size / sizeof(prog[0]), ARRAY_SIZE(prog));

	memcpy(prog, data, n * sizeof(prog[0]));
	if (bpf_check(prog, n) == 0)
		bpf_run(prog, &d);
	return 0;
}
