/* SPDX-License-Identifier: ISC */
/* Classic BPF as seccomp uses it: checked when installed, so that running can't fail. */
#ifndef LX_BPF_H
#define LX_BPF_H

#include "cells/linux/inc/base.h"
#include <linux/filter.h>
#include <linux/seccomp.h>

/* 0 if the program is sound for seccomp, else -EINVAL. */
int bpf_check(const struct sock_filter *f, u32 len);
u32 bpf_run(const struct sock_filter *f, const struct seccomp_data *d);

#endif
