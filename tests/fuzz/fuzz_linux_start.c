/* SPDX-License-Identifier: ISC */
/*
 * A START order from d0d: words that are taken apart in place, and its limits. Every string
 * that is passed on must lie within the payload and end there.
 */
#include "cells/linux/inc/conctl.h"

void *calloc(size_t n, size_t size);
void *malloc(size_t n);
void free(void *p);
void abort(void);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

char host_name[65], domain_name[65];
u32 thread_limit;
static struct mount mount;
struct mount *root_mount = &mount;
static const char *from, *to;

static void check_string(const char *s)
{
	if (s < from || s >= to || strnlen(s, (size_t)(to - s)) == (size_t)(to - s))
		abort();
}
void mount_configured(char *spec);
void file_configured(char *spec);
void mask_path(const char *path);
void readonly_path(const char *path);
void mount_configured(char *spec)
{
	check_string(spec);
}
void file_configured(char *spec)
{
	check_string(spec);
}
void mask_path(const char *path)
{
	check_string(path);
}
void readonly_path(const char *path)
{
	check_string(path);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct start *st = calloc(1, sizeof(*st));
	struct proc *p = calloc(1, sizeof(*p));
	char *copy = malloc(size + 1);

	if (st && p && copy && size) {
		memcpy(copy, data, size);
		from = copy;
		to = copy + size;
		if (conctl_start_parse(st, copy, (u32)size)) {
			for (u32 i = 0; i < st->argc; i++)
				check_string(st->argv[i]);
			for (u32 i = 0; i < st->envc; i++)
				check_string(st->envp[i]);
			for (u32 i = 0; i < st->nrlimits; i++)
				conctl_rlimit(p, st->rlimits[i]);
			if (st->argv[st->argc] || st->envp[st->envc])
				abort();
		}
	}
	free(copy);
	free(p);
	free(st);
	return 0;
}
