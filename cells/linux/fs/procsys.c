/* SPDX-License-Identifier: ISC */
/* /proc/sys: settings. What can't be changed here is read only, or ignored where set-up code
 * writes it. */
#include "cells/linux/inc/gen.h"
#include "cells/linux/inc/ipc.h"
#include "cells/linux/inc/sys.h"

extern char host_name[65], domain_name[65];
extern u32 files_open;

#define GEN(n) static void make_##n(struct text *t, struct thread *th, const struct gen_file *g)
#define F(n, m, ...)                                          \
	{                                                     \
		.name = n, .mode = S_IFREG | (m), __VA_ARGS__ \
	}

GEN(hostname)
{
	text_add(t, "%s\n", g->arg ? domain_name : host_name);
}
static int store_hostname(const char *buf, u32 n, struct thread *th, const struct gen_file *g)
{
	char *to = g->arg ? domain_name : host_name;

	if (!capable(21))
		return -EPERM;
	str_copy(to, buf, 65);
	if (strchr(to, '\n'))
		*strchr(to, '\n') = 0;
	return 0;
}
GEN(uuid)
{
	u8 b[16];

	random_bytes(b, 16);
	b[6] = (b[6] & 15) | 0x40;
	b[8] = (b[8] & 63) | 0x80;
	if (g->arg)
		memcpy(b, (const void *)d0_info->seed, 16);
	for (int i = 0; i < 16; i++)
		text_add(t, "%02x%s", b[i], i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
	text_add(t, "\n");
}
GEN(file_nr)
{
	text_add(t, "%u\t0\t%u\n", files_open, FD_LIMIT);
}
static int store_ignored(const char *buf, u32 n, struct thread *th, const struct gen_file *g)
{
	return capable(21) ? 0 : -EPERM;
}
/* Numbers that can be set: arg is the address of a u64, or of a u32. */
GEN(u64)
{
	text_add(t, "%lu\n", *(const u64 *)g->arg);
}
GEN(u32)
{
	text_add(t, "%u\n", *(const u32 *)g->arg);
}
static int number_in(const char *buf, u64 max, u64 *v)
{
	const char *p = buf;

	while (*p == ' ' || *p == '\t')
		p++;
	if (*p < '0' || *p > '9')
		return -EINVAL;
	*v = str_number(&p);
	return (*p && *p != '\n' && *p != ' ') || *v > max ? -EINVAL : 0;
}
static int store_u64(const char *buf, u32 n, struct thread *th, const struct gen_file *g)
{
	u64 v;
	int r = capable(21) ? number_in(buf, INT64_MAX * 2ull + 1, &v) : -EPERM;

	if (!r)
		*(u64 *)g->arg = v;
	return r;
}
static int store_u32(const char *buf, u32 n, struct thread *th, const struct gen_file *g)
{
	u64 v;
	int r = capable(21) ? number_in(buf, INT32_MAX, &v) : -EPERM;

	if (!r)
		*(u32 *)g->arg = (u32)v;
	return r;
}
GEN(sem)
{
	text_add(t, "%u\t%u\t%u\t%u\n", sem_limits[0], sem_limits[1], sem_limits[2],
		 sem_limits[3]);
}
static int store_sem(const char *buf, u32 n, struct thread *th, const struct gen_file *g)
{
	u32 v[4];

	if (!capable(21))
		return -EPERM;
	for (int i = 0; i < 4; i++) {
		while (*buf == ' ' || *buf == '\t')
			buf++;
		if (*buf < '0' || *buf > '9')
			return -EINVAL;
		v[i] = (u32)MIN(str_number(&buf), (u64)INT32_MAX);
	}
	memcpy(sem_limits, v, sizeof(v));
	return 0;
}
GEN(next_id)
{
	text_add(t, "%d\n", (int)((const struct ipc_set *)g->arg)->next_id);
}
static int store_next_id(const char *buf, u32 n, struct thread *th, const struct gen_file *g)
{
	bool none = !strncmp(buf, "-1", 2);
	u64 v = ~0u;
	int r = !capable(21) ? -EPERM : none ? 0 : number_in(buf, INT32_MAX, &v);

	if (!r)
		((struct ipc_set *)g->arg)->next_id = (u32)v;
	return r;
}
#define NEXT_ID(n, set) \
	F(n, 0644, .make = make_next_id, .store = store_next_id, .arg = (u64) & (set))
#define NUMBER64(n, v) F(n, 0644, .make = make_u64, .store = store_u64, .arg = (u64) & (v))
#define NUMBER32(n, v) F(n, 0644, .make = make_u32, .store = store_u32, .arg = (u64) & (v))

static const struct gen_file random_files[] = {
    F("uuid", 0444, .make = make_uuid), F("boot_id", 0444, .make = make_uuid, .arg = 1),
    F("entropy_avail", 0444, .fixed = "256\n"), F("poolsize", 0444, .fixed = "256\n")};
static const struct gen_file kernel_files[] = {
    F("hostname", 0644, .make = make_hostname, .store = store_hostname),
    F("domainname", 0644, .make = make_hostname, .store = store_hostname, .arg = 1),
    F("osrelease", 0444, .fixed = "6.1.0-d0\n"),
    F("ostype", 0444, .fixed = "Linux\n"),
    F("version", 0444, .fixed = "#1 SMP D0 linux cell\n"),
    NUMBER32("pid_max", pid_max),
    F("threads-max", 0444, .make = make_u32, .arg = (u64)&thread_limit),
    F("ngroups_max", 0444, .fixed = "65536\n"),
    F("cap_last_cap", 0444, .fixed = "40\n"),
    F("core_pattern", 0444, .fixed = "core\n"),
    F("core_uses_pid", 0444, .fixed = "0\n"),
    F("overflowuid", 0444, .fixed = "65534\n"),
    F("overflowgid", 0444, .fixed = "65534\n"),
    F("randomize_va_space", 0444, .fixed = "2\n"),
    NUMBER64("shmmax", shm_max),
    NUMBER64("shmall", shm_all),
    NUMBER32("shmmni", shm_set.limit),
    F("sem", 0644, .make = make_sem, .store = store_sem),
    NUMBER64("msgmax", msg_max_size),
    NUMBER64("msgmnb", msg_max_bytes),
    NUMBER32("msgmni", msg_set.limit),
    NEXT_ID("shm_next_id", shm_set),
    NEXT_ID("sem_next_id", sem_set),
    NEXT_ID("msg_next_id", msg_set),
    F("tainted", 0444, .fixed = "0\n"),
    F("sched_rr_timeslice_ms", 0444, .fixed = "100\n"),
    F("sched_child_runs_first", 0444, .fixed = "0\n"),
    F("unprivileged_userns_clone", 0444, .fixed = "0\n"),
    GEN_DIR("random", 0555, random_files)};
static const struct gen_file vm_files[] = {
    F("overcommit_memory", 0644, .fixed = "1\n", .store = store_ignored),
    F("overcommit_ratio", 0644, .fixed = "50\n", .store = store_ignored),
    NUMBER32("max_map_count", vma_limit),
    F("mmap_min_addr", 0444, .fixed = "65536\n"),
    F("swappiness", 0644, .fixed = "0\n", .store = store_ignored),
    F("drop_caches", 0200, .store = store_ignored)};
static const struct gen_file inotify_files[] = {
    NUMBER32("max_queued_events", inotify_limits[0]),
    NUMBER32("max_user_instances", inotify_limits[1]),
    NUMBER32("max_user_watches", inotify_limits[2])};
static const struct gen_file mq_files[] = {
    NUMBER32("msg_max", mq_msg_max), NUMBER32("msgsize_max", mq_size_max),
    NUMBER32("queues_max", mq_queues_max), NUMBER32("msg_default", mq_msg_default),
    NUMBER32("msgsize_default", mq_size_default)};
static const struct gen_file sysfs_files[] = {F("file-max", 0444, .fixed = "1048576\n"),
					      F("nr_open", 0444, .fixed = "1048576\n"),
					      F("file-nr", 0444, .make = make_file_nr),
					      NUMBER32("pipe-max-size", pipe_max_size),
					      F("lease-break-time", 0444, .fixed = "45\n"),
					      F("protected_hardlinks", 0444, .fixed = "0\n"),
					      F("aio-max-nr", 0444, .fixed = "65536\n"),
					      GEN_DIR("inotify", 0555, inotify_files),
					      GEN_DIR("mqueue", 0555, mq_files)};
static const struct gen_file core_files[] = {
    F("somaxconn", 0644, .fixed = "4096\n", .store = store_ignored),
    F("rmem_max", 0644, .fixed = "4194304\n", .store = store_ignored),
    F("wmem_max", 0644, .fixed = "4194304\n", .store = store_ignored),
    F("rmem_default", 0644, .fixed = "212992\n", .store = store_ignored),
    F("wmem_default", 0644, .fixed = "212992\n", .store = store_ignored)};
/* What holds always, whoever sets it to that. */
static int store_one(const char *buf, u32 n, struct thread *th, const struct gen_file *g)
{
	u64 v;
	int r = capable(12) ? number_in(buf, 1, &v) : -EPERM;

	return r ? r : v ? 0 : -EINVAL;
}
static const struct gen_file conf4_files[] = {
    F("accept_local", 0644, .fixed = "1\n", .store = store_one),
    F("route_localnet", 0644, .fixed = "1\n", .store = store_one)};
static const struct gen_file devices4_files[] = {GEN_DIR("all", 0555, conf4_files),
						 GEN_DIR("default", 0555, conf4_files),
						 GEN_DIR("lo", 0555, conf4_files)};
static const struct gen_file ipv4_files[] = {
    GEN_DIR("conf", 0555, devices4_files),
    F("ip_local_port_range", 0444, .fixed = "32768\t60999\n"),
    F("ip_unprivileged_port_start", 0644, .fixed = "0\n", .store = store_ignored),
    F("tcp_keepalive_time", 0644, .fixed = "7200\n", .store = store_ignored),
    F("tcp_max_syn_backlog", 0644, .fixed = "4096\n", .store = store_ignored),
    F("tcp_fastopen", 0644, .fixed = "0\n", .store = store_ignored),
    F("tcp_congestion_control", 0644, .fixed = "cubic\n", .store = store_ignored),
    F("tcp_sack", 0444, .fixed = "1\n"),
    F("tcp_timestamps", 0444, .fixed = "1\n"),
    F("tcp_window_scaling", 0444, .fixed = "1\n"),
    F("tcp_recovery", 0444, .fixed = "1\n"),
    F("ip_forward", 0644, .fixed = "0\n", .store = store_ignored)};
static const struct gen_file all6_files[] = {
    F("disable_ipv6", 0644, .fixed = "0\n", .store = store_ignored)};
static const struct gen_file conf6_files[] = {GEN_DIR("all", 0555, all6_files),
					      GEN_DIR("default", 0555, all6_files)};
static const struct gen_file ipv6_files[] = {
    F("auto_flowlabels", 0444, .fixed = "0\n"), F("bindv6only", 0444, .fixed = "0\n"),
    F("ip6frag_time", 0444, .fixed = "30\n"), F("ip_nonlocal_bind", 0444, .fixed = "0\n"),
    GEN_DIR("conf", 0555, conf6_files)};
static const struct gen_file sysnet_files[] = {GEN_DIR("core", 0555, core_files),
					       GEN_DIR("ipv4", 0555, ipv4_files),
					       GEN_DIR("ipv6", 0555, ipv6_files)};
const struct gen_file proc_sysctl_files[PROC_SYSCTLS] = {
    GEN_DIR("kernel", 0555, kernel_files), GEN_DIR("vm", 0555, vm_files),
    GEN_DIR("fs", 0555, sysfs_files), GEN_DIR("net", 0555, sysnet_files)};
