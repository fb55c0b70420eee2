/* SPDX-License-Identifier: ISC */
/* Classic BPF, of seccomp and of sockets: checked when installed, so that running can't fail.
 */
#ifndef LX_BPF_H
#define LX_BPF_H

#include "cells/linux/inc/base.h"
#include <linux/filter.h>
#include <linux/seccomp.h>

/* 0 if the program is sound for seccomp, else -EINVAL. */
int bpf_check(const struct sock_filter *f, u32 len);
u32 bpf_run(const struct sock_filter *f, const struct seccomp_data *d);

/* Sound for packets (SO_ATTACH_FILTER): how many bytes of it may be received, 0: none of it. */
struct bpf_packet {
	const u8 *data;
	u32 len;
	u32 network; /* where its network header begins */
	u32 protocol, type, ifindex, hatype;
};
int bpf_check_packet(const struct sock_filter *f, u32 len);
u32 bpf_run_packet(const struct sock_filter *f, const struct bpf_packet *p);

#endif
