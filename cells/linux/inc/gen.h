/* SPDX-License-Identifier: ISC */
/* Files whose content is made when they are read: procfs and sysfs. */
#ifndef LX_GEN_H
#define LX_GEN_H

#include "cells/linux/inc/vfs.h"

struct text {
	char *buf;
	u32 len, room;
	bool failed;
};
void text_add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_raw(struct text *t, const void *p, u32 n);

struct gen_file {
	const char *name;
	u32 mode; /* with file type */
	void (*make)(struct text *t, struct thread *th, const struct gen_file *g);
	int (*store)(const char *buf, u32 n, struct thread *th, const struct gen_file *g);
	const char *fixed;               /* content, if make is NULL; target of a link */
	const struct gen_file *children; /* of a directory */
	u32 count;
	u64 arg;
	bool own; /* of a process: others may not open it, unless they may trace it */
};
#define GEN_TASK_ONLY 0x7461736bull /* arg of what /proc/N/task/N has and /proc/N has not */
#define GEN_DIR(name_, mode_, list_)                                         \
	{                                                                    \
		.name = name_, .mode = S_IFDIR | (mode_), .children = list_, \
		.count = ARRAY_SIZE(list_)                                   \
	}

struct inode *gen_inode(struct super *sb, const struct gen_file *g, u64 ino, u32 tid);
#define PROC_SYSCTLS 4
extern const struct gen_file proc_sysctl_files[PROC_SYSCTLS]; /* of /proc/sys */
void proc_net_text(struct text *t, const char *what);

#endif
