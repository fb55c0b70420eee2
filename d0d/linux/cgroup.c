// SPDX-License-Identifier: ISC
// Resource limits and counters through cgroups, version 1 or 2, whichever is mounted.
// Limits are best effort here (info() says which are real); this backend is for tests.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "d0d/linux/linux.h"

#define CG "/sys/fs/cgroup"

static const char *const v1[] = {"memory", "cpu", "cpuacct", "pids", "freezer", NULL};

static bool is_v2(void)
{
	return access(CG "/cgroup.controllers", F_OK) == 0;
}

bool cg_have(const char *controller)
{
	char path[256], *text;

	if (!is_v2()) {
		snprintf(path, sizeof(path), CG "/%s/cgroup.procs", controller);
		return access(path, W_OK) == 0;
	}
	text = file_read(CG "/cgroup.controllers", 4096, NULL);
	bool have = text && strstr(text, controller);
	free(text);
	return have;
}

static char *cg_path(struct backend *b, const char *ctl, const char *id, const char *file)
{
	return is_v2() ? xasprintf(CG "/d0d-%s/%s%s%s", b->suffix, id, *file ? "/" : "", file)
		       : xasprintf(CG "/%s/d0d-%s/%s%s%s", ctl, b->suffix, id, *file ? "/" : "",
				   file);
}

static int cg_write(struct backend *b, const char *ctl, const char *id, const char *file,
		    const char *text)
{
	char *path = cg_path(b, ctl, id, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int rc = fd >= 0 && write(fd, text, strlen(text)) >= 0 ? 0 : -1;

	if (fd >= 0)
		close(fd);
	free(path);
	return rc;
}

static char *cg_read(struct backend *b, const char *ctl, const char *id, const char *file)
{
	char *path = cg_path(b, ctl, id, file);
	char *text = file_read(path, 65536, NULL);

	free(path);
	return text;
}

static uint64_t cg_num(struct backend *b, const char *ctl, const char *id, const char *file)
{
	char *text = cg_read(b, ctl, id, file);
	uint64_t n = text ? strtoull(text, NULL, 10) : 0;

	free(text);
	return n;
}

// The number after KEY in a "key value" file.
static uint64_t cg_field(struct backend *b, const char *ctl, const char *id, const char *file,
			 const char *key)
{
	char *text = cg_read(b, ctl, id, file), *at = text;
	size_t n = strlen(key);
	uint64_t v = 0;

	while (at && *at) {
		if (strncmp(at, key, n) == 0 && at[n] == ' ') {
			v = strtoull(at + n, NULL, 10);
			break;
		}
		at = strchr(at, '\n');
		at = at ? at + 1 : NULL;
	}
	free(text);
	return v;
}

static int set_num(struct backend *b, const char *ctl, const char *id, const char *file,
		   int64_t v)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", (long long)v);
	return cg_write(b, ctl, id, file, text);
}

static int apply(struct backend *b, const char *id, const struct be_limits *l)
{
	bool two = is_v2();
	char quota[64];
	int rc = 0;

	if (l->memory > 0) {
		if (!two) // swap first when growing; ignored where there is no swap accounting
			set_num(b, "memory", id, "memory.memsw.limit_in_bytes", -1);
		rc |= set_num(b, "memory", id, two ? "memory.max" : "memory.limit_in_bytes",
			      l->memory);
		if (!two)
			set_num(b, "memory", id, "memory.memsw.limit_in_bytes",
				l->memory_swap > 0 ? l->memory_swap : l->memory);
	}
	if (l->nano_cpus > 0 && two) {
		snprintf(quota, sizeof(quota), "%lld 100000",
			 (long long)(l->nano_cpus / 10000));
		rc |= cg_write(b, "cpu", id, "cpu.max", quota);
	} else if (l->nano_cpus > 0) {
		rc |= set_num(b, "cpu", id, "cpu.cfs_period_us", 100000);
		rc |= set_num(b, "cpu", id, "cpu.cfs_quota_us", l->nano_cpus / 10000);
	}
	if (l->cpu_shares > 1)
		rc |= two ? set_num(b, "cpu", id, "cpu.weight",
				    1 + (l->cpu_shares - 2) * 9999 / 262142)
			  : set_num(b, "cpu", id, "cpu.shares", l->cpu_shares);
	if (l->pids > 0)
		rc |= set_num(b, "pids", id, "pids.max", l->pids);
	return rc;
}

void cg_create(struct backend *b, const char *id, const struct be_limits *l)
{
	for (const char *const *c = v1; *c; c++) {
		char *path = cg_path(b, *c, id, "");
		dir_make(path, 0755);
		free(path);
		if (!is_v2())
			continue;
		// Children get controllers only if every level passes them on.
		char *up = xasprintf(CG "/d0d-%s/cgroup.subtree_control", b->suffix);
		int fd = open(CG "/cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
		if (fd >= 0 && write(fd, "+memory +cpu +pids", 18) < 0)
			errno = 0;
		if (fd >= 0)
			close(fd);
		fd = open(up, O_WRONLY | O_CLOEXEC);
		if (fd >= 0 && write(fd, "+memory +cpu +pids", 18) < 0)
			errno = 0;
		if (fd >= 0)
			close(fd);
		free(up);
		break;
	}
	apply(b, id, l);
}

void cg_add(struct backend *b, const char *id, int pid)
{
	for (const char *const *c = v1; *c; c++) {
		set_num(b, *c, id, "cgroup.procs", pid);
		if (is_v2())
			break;
	}
}

int cg_update(struct backend *b, const char *id, const struct be_limits *l, struct err *e)
{
	if (apply(b, id, l) < 0)
		return err_set(e, 500, "cannot update the container's limits: %s",
			       strerror(errno));
	return 0;
}

int cg_freeze(struct backend *b, const char *id, bool on)
{
	if (is_v2())
		return cg_write(b, "", id, "cgroup.freeze", on ? "1" : "0");
	if (cg_write(b, "freezer", id, "freezer.state", on ? "FROZEN" : "THAWED") < 0)
		return -1;
	for (int i = 0; on && i < 200; i++) { // FREEZING until every task has stopped
		char *st = cg_read(b, "freezer", id, "freezer.state");
		bool done = st && strncmp(st, "FROZEN", 6) == 0;
		free(st);
		if (done)
			break;
		usleep(5000);
	}
	return 0;
}

static void stats_v1(struct backend *b, const char *id, struct be_stats *st)
{
	st->cpu_ns = cg_num(b, "cpuacct", id, "cpuacct.usage");
	st->cpu_user_ns = cg_field(b, "cpuacct", id, "cpuacct.stat", "user") * 10000000;
	st->cpu_system_ns = cg_field(b, "cpuacct", id, "cpuacct.stat", "system") * 10000000;
	st->mem_usage = cg_num(b, "memory", id, "memory.usage_in_bytes");
	st->mem_max = cg_num(b, "memory", id, "memory.max_usage_in_bytes");
	st->mem_limit = cg_num(b, "memory", id, "memory.limit_in_bytes");
	st->mem_cache = cg_field(b, "memory", id, "memory.stat", "total_inactive_file");
	st->pids = cg_num(b, "pids", id, "pids.current");
	st->pids_limit = cg_num(b, "pids", id, "pids.max");
}

static void stats_v2(struct backend *b, const char *id, struct be_stats *st)
{
	st->cpu_ns = cg_field(b, "", id, "cpu.stat", "usage_usec") * 1000;
	st->cpu_user_ns = cg_field(b, "", id, "cpu.stat", "user_usec") * 1000;
	st->cpu_system_ns = cg_field(b, "", id, "cpu.stat", "system_usec") * 1000;
	st->mem_usage = cg_num(b, "", id, "memory.current");
	st->mem_max = cg_num(b, "", id, "memory.peak");
	st->mem_limit = cg_num(b, "", id, "memory.max");
	st->mem_cache = cg_field(b, "", id, "memory.stat", "inactive_file");
	st->pids = cg_num(b, "", id, "pids.current");
	st->pids_limit = cg_num(b, "", id, "pids.max");
}

void cg_stats(struct backend *b, const char *id, struct be_stats *st)
{
	if (is_v2())
		stats_v2(b, id, st);
	else
		stats_v1(b, id, st);
}

bool cg_oom(struct backend *b, const char *id)
{
	return is_v2() ? cg_field(b, "", id, "memory.events", "oom_kill") > 0
		       : cg_field(b, "memory", id, "memory.oom_control", "oom_kill") > 0;
}

int cg_each_pid(struct backend *b, const char *id, int (*cb)(void *ctx, int pid), void *ctx)
{
	char *text = cg_read(b, "pids", id, "cgroup.procs"), *save = NULL;
	int rc = text ? 0 : -1;

	for (char *p = text ? strtok_r(text, "\n", &save) : NULL; p && rc == 0;
	     p = strtok_r(NULL, "\n", &save))
		rc = cb(ctx, atoi(p)) < 0 ? -1 : 0;
	free(text);
	return rc;
}

void cg_remove(struct backend *b, const char *id)
{
	for (const char *const *c = v1; *c; c++) {
		char *path = cg_path(b, *c, id, "");
		for (int i = 0; i < 20 && rmdir(path) < 0 && errno == EBUSY; i++)
			usleep(5000); // the last task is on its way out
		free(path);
		path = is_v2() ? xasprintf(CG "/d0d-%s", b->suffix)
			       : xasprintf(CG "/%s/d0d-%s", *c, b->suffix);
		rmdir(path); // fails while other containers are there, as it should
		free(path);
		if (is_v2())
			break;
	}
}
