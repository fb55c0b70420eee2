/* SPDX-License-Identifier: ISC */
/*
 * The one table of system calls. SYSCALL(number, name, format, parameters) defines the
 * handler and enters it in a linker set from which dispatch, tracing and the support list
 * (docs/linux.md) are made. The format has one letter per argument for the trace:
 *	d signed  u unsigned  x hex  p pointer  s string (a path or a name)  f descriptor
 * A trailing '!' marks a refusal by design: counted, listed as refused.
 */
#ifndef LX_SYS_H
#define LX_SYS_H

#include "cells/linux/inc/vfs.h"
#include <asm/unistd.h>

#define SYSCALLS_MAX 462
struct syscall {
	u32 nr;
	const char *name, *format;
	const void *fn;
};

#define SYSCALL(name_, format_, ...)                                        \
	static s64 sys_##name_(__VA_ARGS__);                                \
	static const struct syscall sysent_##name_                          \
	    __attribute__((used, section("set_syscalls"), aligned(32))) = { \
		__NR_##name_, #name_, format_, (const void *)sys_##name_};  \
	static s64 sys_##name_(__VA_ARGS__)

void syscalls_init(void);
const char *syscall_name(u32 nr);
u64 syscall_unknown_count(void);
extern bool trace_syscalls;
u32 syscall_missing_list(char *buf, u32 size);
const char *syscall_missing_name(u32 nr); /* of one without an entry; "?" */
s64 seccomp_check(struct regs *r);        /* 0: go on; 1: rax is set, skip; */

/* Flags of an *at call (AT_*) as those of a look-up. */
static inline u32 at_flags(u32 flags, bool follow_default)
{
	bool follow =
	    follow_default ? !(flags & AT_SYMLINK_NOFOLLOW) : (flags & AT_SYMLINK_FOLLOW) != 0;

	return (follow ? LOOKUP_FOLLOW : 0) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
}

#define RW_MAX 0x7ffff000ull /* bytes that one call moves */
/* read(2) or write(2) of an open file, with all that is counted and told. */
ssize file_rw(struct file *f, struct uio *u, u64 *pos, bool write);
/* The calls of that kind; at: from there on instead of the file's own position. */
s64 rw_flat(int fd, u64 buf, u64 n, s64 *at, bool write);
s64 rw_vec(int fd, u64 uiov, u64 count, s64 *at, bool write, u32 flags);
s64 fd_sync(int fd);
/* An iovec array from user space; *heap must be freed. */
int iovec_in(struct uio *u, u64 uiov, u64 count, struct iovec_k *small, struct iovec_k **heap);

/* The dentry of an open file, referenced; NULL if there is none or it is open for its path
 * only. */
struct dentry *fd_dentry(int fd);
/* What `call` returns, which is given d, the dentry of a path or a descriptor, and lets go of
 * it; or -errno. */
#define WITH_PATH(dfd, path, lookup, call)                         \
	({                                                         \
		struct dentry *d;                                  \
		s64 wp_r = user_path((dfd), (path), (lookup), &d); \
		wp_r ? wp_r : (call);                              \
	})
#define WITH_FD(fd, call)                         \
	({                                        \
		struct dentry *d = fd_dentry(fd); \
		d ? (call) : -EBADF;              \
	})

#endif
