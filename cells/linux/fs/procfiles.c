/* SPDX-License-Identifier: ISC */
/* The texts of /proc. Formats: proc(5). */
#include "cells/linux/inc/state.h"
#include "cells/linux/inc/smp.h"
#include "cells/linux/inc/gen.h"
#include "cells/linux/inc/ipc.h"
#include "cells/linux/inc/tty.h"
#include "cells/linux/inc/sys.h"
#include <asm/mman.h>

u64 proc_cpu_times(struct proc *p, u64 *stime);
extern u64 oom_kills;

#define TICK   10000000ul
#define GEN(n) static void make_##n(struct text *t, struct thread *th, const struct gen_file *g)

static char state_of(const struct thread *t)
{
	return t->proc->zombie || t->state == T_DEAD ? 'Z'
	       : t->proc->stopped                    ? 'T'
	       : t->state == T_RUNNABLE              ? 'R'
	       : t->state == T_DSLEEP                ? 'D'
						     : 'S';
}

static u64 rss_of(const struct mm *mm)
{
	return mm ? mm->rss_anon + mm->rss_file + mm->rss_shmem : 0;
}

GEN(stat)
{
	struct proc *p = th->proc;
	struct mm *mm = th->mm;
	u64 st, ut = proc_cpu_times(p, &st);

	text_add(t, "%u (%s) %c %u %u %u %d %d 4194304 ", th->tid, th->comm, state_of(th),
		 p->parent ? p->parent->pid : 0, p->pgid, p->sid,
		 p->ctty ? (int)MKDEV(p->ctty->major, p->ctty->minor) : 0,
		 p->ctty ? (int)p->ctty->pgrp : -1);
	text_add(t, "%lu %lu %lu %lu %lu %lu %ld %ld %d %d %u 0 %lu ", th->minflt, p->cminflt,
		 th->majflt, p->cmajflt, ut / TICK, st / TICK, (s64)(p->cutime / TICK),
		 (s64)(p->cstime / TICK), 20 + th->nice, th->nice, p->nthreads,
		 p->start_time / TICK);
	text_add(t, "%lu %ld %lu %lu %lu %lu 0 0 ", mm ? mm->total_vm * PAGE_SIZE : 0,
		 (s64)rss_of(mm), p->rlim[RLIMIT_RSS].cur, mm ? mm->start_code : 0,
		 mm ? mm->end_code : 0, mm ? mm->stack_top : 0);
	text_add(t, "%lu %lu 0 0 0 0 0 %u 0 %u %u 0 0 0 %lu %lu %lu %lu %lu %lu %lu %d\n",
		 th->pending.set & 0x7fffffff, th->blocked & 0x7fffffff, p->exit_signal,
		 th->rt_prio, th->policy, mm ? mm->start_data : 0, mm ? mm->end_data : 0,
		 mm ? mm->brk_start : 0, mm ? mm->arg_start : 0, mm ? mm->arg_end : 0,
		 mm ? mm->env_start : 0, mm ? mm->env_end : 0, (int)p->exit_status);
}

GEN(statm)
{
	struct mm *mm = th->mm;

	if (!mm) {
		text_add(t, "0 0 0 0 0 0 0\n");
		return;
	}
	text_add(t, "%lu %lu %lu %lu 0 %lu 0\n", mm->total_vm, rss_of(mm),
		 mm->rss_file + mm->rss_shmem, (mm->end_code - mm->start_code) / PAGE_SIZE,
		 mm->rss_anon);
}

static void sig_masks(struct text *t, struct thread *th)
{
	u64 ign = 0, caught = 0;

	for (int i = 0; i < NSIGS && th->sighand; i++) {
		ign |= th->sighand->action[i].handler == 1 ? 1ull << i : 0;
		caught |= th->sighand->action[i].handler > 1 ? 1ull << i : 0;
	}
	text_add(t, "SigQ:\t%u/%lu\nSigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\n",
		 th->pending.count + th->proc->pending.count,
		 th->proc->rlim[RLIMIT_SIGPENDING].cur, th->pending.set, th->proc->pending.set,
		 th->blocked);
	text_add(t, "SigIgn:\t%016lx\nSigCgt:\t%016lx\n", ign, caught);
}

GEN(status)
{
	struct proc *p = th->proc;
	const struct cred *c = th->cred;
	struct mm *mm = th->mm;
	static const char *const names[] = {"R (running)", "S (sleeping)", "D (disk sleep)",
					    "T (stopped)", "Z (zombie)"};
	char s = state_of(th);

	text_add(
	    t,
	    "Name:\t%s\nUmask:\t%04o\nState:\t%s\nTgid:\t%u\nNgid:\t0\nPid:\t%u\nPPid:\t%u\n",
	    th->comm, th->fs ? th->fs->umask : 0,
	    names[s == 'R'   ? 0
		  : s == 'S' ? 1
		  : s == 'D' ? 2
		  : s == 'T' ? 3
			     : 4],
	    p->pid, th->tid, p->parent ? p->parent->pid : 0);
	text_add(
	    t,
	    "TracerPid:\t0\nUid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\nFDSize:\t%u\nGroups:\t",
	    c->uid, c->euid, c->suid, c->fsuid, c->gid, c->egid, c->sgid, c->fsgid,
	    th->files ? th->files->size : 0);
	for (u32 i = 0; i < c->ngroups; i++)
		text_add(t, "%u ", c->groups[i]);
	text_add(t, "\n");
	if (mm)
		text_add(
		    t,
		    "VmPeak:\t%8lu kB\nVmSize:\t%8lu kB\nVmLck:\t%8lu kB\nVmHWM:\t%8lu kB\n"
		    "VmRSS:\t%8lu kB\nRssAnon:\t%8lu kB\nRssFile:\t%8lu kB\nRssShmem:\t%8lu "
		    "kB\n"
		    "VmData:\t%8lu kB\nVmStk:\t%8u kB\nVmSwap:\t       0 kB\n",
		    mm->total_vm * 4, mm->total_vm * 4, mm->locked_vm * 4, mm->hiwater_rss * 4,
		    rss_of(mm) * 4, mm->rss_anon * 4, mm->rss_file * 4, mm->rss_shmem * 4,
		    mm->rss_anon * 4, 136);
	text_add(t, "Threads:\t%u\n", p->nthreads);
	sig_masks(t, th);
	text_add(t,
		 "CapInh:\t%016lx\nCapPrm:\t%016lx\nCapEff:\t%016lx\nCapBnd:\t%016lx\nCapAmb:"
		 "\t%016lx\n",
		 c->cap_inh, c->cap_perm, c->cap_eff, c->cap_bset, c->cap_amb);
	text_add(
	    t, "NoNewPrivs:\t%u\nSeccomp:\t%u\nCpus_allowed:\t%lx\nCpus_allowed_list:\t0-%u\n",
	    th->no_new_privs, th->seccomp_mode, th->affinity, cpus_online - 1);
	text_add(t, "voluntary_ctxt_switches:\t%lu\nnonvoluntary_ctxt_switches:\t%lu\n",
		 th->nvcsw, th->nivcsw);
}

static void user_text(struct text *t, struct mm *mm, u64 from, u64 to)
{
	char buf[256];

	mm_get(mm); /* reading it may sleep, and the program end */
	while (from < to && !t->failed) {
		size_t n = mm_access(mm, from, buf, MIN(to - from, sizeof(buf)), false);

		if (!n)
			break;
		text_raw(t, buf, (u32)n);
		from += n;
	}
	mm_put(mm);
}

GEN(cmdline)
{
	if (th->mm)
		user_text(t, th->mm, th->mm->arg_start, th->mm->arg_end);
}
GEN(environ)
{
	if (th->mm && (th->proc == current->proc || capable(19)))
		user_text(t, th->mm, th->mm->env_start, th->mm->env_end);
}
GEN(auxv)
{
	if (th->mm)
		text_raw(t, th->mm->auxv, sizeof(th->mm->auxv));
}
GEN(comm)
{
	text_add(t, "%s\n", th->comm);
}
static int store_comm(const char *buf, u32 n, struct thread *th, const struct gen_file *g)
{
	if (th->proc != current->proc)
		return -EINVAL;
	str_copy(th->comm, buf, sizeof(th->comm));
	if (strchr(th->comm, '\n'))
		*strchr(th->comm, '\n') = 0;
	return 0;
}

static void one_map(struct text *t, const struct vma *v)
{
	char *buf = kalloc(PATH_LEN), *path = NULL;
	int n;

	if (v->file && buf)
		path = dentry_path(v->file->dentry, current->fs->root, buf, PATH_LEN);
	n = (int)t->len;
	text_add(t, "%lx-%lx %c%c%c%c %08lx %02x:%02x %lu ", v->start, v->end,
		 v->prot & PROT_READ ? 'r' : '-', v->prot & PROT_WRITE ? 'w' : '-',
		 v->prot & PROT_EXEC ? 'x' : '-', v->flags & VMA_SHARED ? 's' : 'p',
		 v->inode ? v->pgoff * PAGE_SIZE : 0,
		 v->inode ? DEV_MAJOR(v->inode->sb->dev) : 0,
		 v->inode ? DEV_MINOR(v->inode->sb->dev) : 0, v->inode ? v->inode->ino : 0);
	n = (int)t->len - n;
	if (!path && (v->flags & VMA_SHARED) && v->inode && !v->name)
		path = (char *)"/dev/zero (deleted)"; /* nobody's memory but who shares it */
	if (path || v->name)
		text_add(t, "%*s%s", MAX(73 - n, 0), "", path ? path : v->name);
	text_add(t, "\n");
	kfree(buf);
}
GEN(maps)
{
	if (th->mm)
		for (u32 i = 0; i < th->mm->count; i++)
			one_map(t, th->mm->vmas[i]);
}
static u64 resident(const struct vma *v)
{
	u64 n = 0, va = v->start, *e;

	for (; (e = pt_next(v->mm->root, &va, v->end)); va += PAGE_SIZE)
		n += *e != 0;
	return n;
}
static void vm_flags(struct text *t, const struct vma *v)
{
	bool shared = (v->flags & VMA_SHARED) != 0,
	     maywrite = !shared || (v->flags & VMA_MAYWRITE);

	text_add(t, "%s%s%s%s mr%s me%s%s\n", v->prot & PROT_READ ? " rd" : "",
		 v->prot & PROT_WRITE ? " wr" : "", v->prot & PROT_EXEC ? " ex" : "",
		 shared && maywrite ? " sh" : "", maywrite ? " mw" : "", shared ? " ms" : "",
		 v->flags & VMA_LOCKED ? " lo" : "");
}
GEN(smaps)
{
	if (!th->mm)
		return;
	for (u32 i = 0; i < th->mm->count; i++) {
		struct vma *v = th->mm->vmas[i];
		u64 rss = resident(v) * 4;

		one_map(t, v);
		text_add(t,
			 "Size:           %8lu kB\nKernelPageSize:        4 kB\nMMUPageSize:   "
			 "        4 kB\n"
			 "Rss:            %8lu kB\nPss:            %8lu kB\nShared_Clean:      "
			 "    0 kB\n"
			 "Shared_Dirty:          0 kB\nPrivate_Clean:         0 "
			 "kB\nPrivate_Dirty:  %8lu kB\n"
			 "Swap:                  0 kB\nLocked:         %8lu kB\nVmFlags:",
			 (v->end - v->start) / 1024, rss, rss, rss,
			 v->flags & VMA_LOCKED ? rss : 0);
		vm_flags(t, v);
	}
}
GEN(smaps_rollup)
{
	u64 rss = rss_of(th->mm) * 4;

	text_add(t,
		 "00000000-7fffffffffff ---p 00000000 00:00 0    [rollup]\n"
		 "Rss:            %8lu kB\nPss:            %8lu kB\nPrivate_Dirty:  %8lu "
		 "kB\nSwap:  0 kB\n",
		 rss, rss, th->mm ? th->mm->rss_anon * 4 : 0);
}

GEN(limits)
{
	static const char *const names[][2] = {
	    {"Max cpu time", "seconds"},     {"Max file size", "bytes"},
	    {"Max data size", "bytes"},      {"Max stack size", "bytes"},
	    {"Max core file size", "bytes"}, {"Max resident set", "bytes"},
	    {"Max processes", "processes"},  {"Max open files", "files"},
	    {"Max locked memory", "bytes"},  {"Max address space", "bytes"},
	    {"Max file locks", "locks"},     {"Max pending signals", "signals"},
	    {"Max msgqueue size", "bytes"},  {"Max nice priority", ""},
	    {"Max realtime priority", ""},   {"Max realtime timeout", "us"}};

	text_add(t, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		u64 v[2] = {th->proc->rlim[i].cur, th->proc->rlim[i].max};

		text_add(t, "%-25s ", names[i][0]);
		for (int k = 0; k < 2; k++)
			if (v[k] == NEVER)
				text_add(t, "%-20s ", "unlimited");
			else
				text_add(t, "%-20lu ", v[k]);
		text_add(t, "%-10s\n", names[i][1]);
	}
}
GEN(io)
{
	struct proc *p = th->proc;

	text_add(
	    t,
	    "rchar: %lu\nwchar: %lu\nsyscr: %lu\nsyscw: %lu\nread_bytes: 0\nwrite_bytes: 0\n"
	    "cancelled_write_bytes: 0\n",
	    p->rchar, p->wchar, p->syscr, p->syscw);
}
GEN(oom_adj)
{
	text_add(t, "%d\n", th->proc->oom_score_adj);
}
static int store_oom(const char *buf, u32 n, struct thread *th, const struct gen_file *g)
{
	bool neg = *buf == '-';
	const char *p = buf + neg;
	s32 v = (s32)str_number(&p);

	if (v > 1000 || (*p && *p != '\n'))
		return -EINVAL;
	v = neg ? -v : v;
	if (v < th->proc->oom_score_adj && !capable(24))
		return -EACCES;
	th->proc->oom_score_adj = v;
	return 0;
}
GEN(zero)
{
	text_add(t, "0\n");
}

static void mount_options(struct text *t, u32 f)
{
	text_add(t, "%s%s%s%s%s", f & 1 ? "ro" : "rw", f & 2 ? ",nosuid" : "",
		 f & 4 ? ",nodev" : "", f & 8 ? ",noexec" : "",
		 f & 1024 ? ",noatime" : ",relatime");
}
static char *mount_path(struct mount *m, char *buf)
{
	char *p = dentry_path(m->root, current->fs ? current->fs->root : NULL, buf, PATH_LEN);

	return p ? p : "/";
}
GEN(mounts)
{
	char *buf = kalloc(PATH_LEN);
	struct mount *m;

	if (!buf)
		return;
	list_each(m, &mount_list, link)
	{
		text_add(t, "%s %s %s ", m->source, mount_path(m, buf), m->sb->type);
		mount_options(t, m->flags);
		text_add(t, "%s%s 0 0\n", m->options[0] ? "," : "", m->options);
	}
	kfree(buf);
}
GEN(mountinfo)
{
	char *buf = kalloc(PATH_LEN);
	struct mount *m;

	if (!buf)
		return;
	list_each(m, &mount_list, link)
	{
		text_add(t, "%u %u %u:%u / %s ", m->id, m->parent ? m->parent->id : 1,
			 DEV_MAJOR(m->sb->dev), DEV_MINOR(m->sb->dev), mount_path(m, buf));
		mount_options(t, m->flags);
		text_add(t, " - %s %s %s%s%s\n", m->sb->type, m->source,
			 m->flags & 1 ? "ro" : "rw", m->options[0] ? "," : "", m->options);
	}
	kfree(buf);
}
GEN(cgroup)
{
	text_add(t, "0::/\n");
}
GEN(idmap)
{
	text_add(t, "         0          0 4294967295\n");
}
GEN(wchan)
{
	text_add(t, "0");
}
GEN(schedstat)
{
	text_add(t, "%lu 0 %lu\n", th->utime + th->stime, th->nvcsw + th->nivcsw);
}

GEN(children)
{
	struct proc *p;

	if (th != th->proc->leader)
		return;
	for (u32 low = 0;;) { /* in ascending order */
		struct proc *next = NULL;

		list_each(p, &proc_list, all_link) if (p->parent == th->proc && p->pid > low &&
						       (!next || p->pid < next->pid)) next = p;
		if (!next)
			return;
		low = next->pid;
		text_add(t, "%u ", low);
	}
}

#define F(n, m, ...)                                          \
	{                                                     \
		.name = n, .mode = S_IFREG | (m), __VA_ARGS__ \
	}
#define NS(n, no)                                                         \
	{                                                                 \
		.name = n, .mode = S_IFLNK | 0777, .fixed = n ":[" no "]" \
	}
static const struct gen_file ns_files[] = {
    NS("mnt", "4026531841"),    NS("pid", "4026531836"), NS("net", "4026531840"),
    NS("ipc", "4026531839"),    NS("uts", "4026531838"), NS("user", "4026531837"),
    NS("cgroup", "4026531835"), NS("time", "4026531834")};

static void make_net(struct text *t, struct thread *th, const struct gen_file *g)
{
	proc_net_text(t, g->name);
}
static const struct gen_file net_files[] = {
    F("tcp", 0444, .make = make_net),        F("tcp6", 0444, .make = make_net),
    F("udp", 0444, .make = make_net),        F("udp6", 0444, .make = make_net),
    F("unix", 0444, .make = make_net),       F("dev", 0444, .make = make_net),
    F("route", 0444, .make = make_net),      F("if_inet6", 0444, .make = make_net),
    F("ipv6_route", 0444, .make = make_net), F("snmp", 0444, .make = make_net),
    F("netstat", 0444, .make = make_net),    F("sockstat", 0444, .make = make_net),
    F("arp", 0444, .make = make_net),        F("pnp", 0444, .make = make_net)};

const struct gen_file proc_pid_files[] = {
    F("stat", 0444, .make = make_stat),
    F("statm", 0444, .make = make_statm),
    F("status", 0444, .make = make_status),
    F("cmdline", 0444, .make = make_cmdline),
    F("environ", 0400, .make = make_environ, .own = true),
    F("auxv", 0400, .make = make_auxv, .own = true),
    F("comm", 0644, .make = make_comm, .store = store_comm),
    F("maps", 0444, .make = make_maps, .own = true),
    F("smaps", 0444, .make = make_smaps, .own = true),
    F("smaps_rollup", 0444, .make = make_smaps_rollup, .own = true),
    F("limits", 0444, .make = make_limits),
    F("io", 0400, .make = make_io),
    F("oom_score_adj", 0644, .make = make_oom_adj, .store = store_oom),
    F("oom_score", 0444, .make = make_zero),
    F("mounts", 0444, .make = make_mounts),
    F("mountinfo", 0444, .make = make_mountinfo),
    F("cgroup", 0444, .make = make_cgroup),
    F("uid_map", 0444, .make = make_idmap),
    F("gid_map", 0444, .make = make_idmap),
    F("setgroups", 0444, .fixed = "allow\n"),
    F("loginuid", 0444, .fixed = "4294967295"),
    F("sessionid", 0444, .fixed = "4294967295"),
    F("wchan", 0444, .make = make_wchan),
    F("schedstat", 0444, .make = make_schedstat),
    F("personality", 0400, .fixed = "00000000\n"),
    F("children", 0444, .make = make_children, .arg = GEN_TASK_ONLY),
    GEN_DIR("ns", 0511, ns_files),
    GEN_DIR("net", 0555, net_files)};
const u32 proc_pid_count = ARRAY_SIZE(proc_pid_files);

/* ---- The system ---- */
GEN(meminfo)
{
	u64 total = page_total() * 4, free = page_free_count() * 4,
	    cache = page_cache_count * 4;

	text_add(
	    t,
	    "MemTotal:       %8lu kB\nMemFree:        %8lu kB\nMemAvailable:   %8lu kB\n"
	    "Buffers:               0 kB\nCached:         %8lu kB\nSwapCached:            0 "
	    "kB\n"
	    "Active:         %8lu kB\nInactive:       %8lu kB\nSwapTotal:             0 kB\n"
	    "SwapFree:              0 kB\nDirty:                 0 kB\nWriteback:             "
	    "0 kB\n"
	    "AnonPages:      %8lu kB\nMapped:         %8lu kB\nShmem:          %8lu kB\n"
	    "Slab:           %8lu kB\nHugePages_Total:       0\nHugepagesize:       2048 kB\n",
	    total, free, free + cache, cache, page_anon_count * 4, cache, page_anon_count * 4,
	    cache, 0ul, slab_pages() * 4);
}
GEN(cpuinfo)
{
	u32 id[4], more[4], level[4], cache[4], b[13] = {0};
	static const char *const f_edx[32] = {
	    "fpu",  "vme",     "de",  "pse",  "tsc", "msr", "pae",  "mce", "cx8",
	    "apic", NULL,      "sep", "mtrr", "pge", "mca", "cmov", "pat", "pse36",
	    NULL,   "clflush", NULL,  NULL,   NULL,  "mmx", "fxsr", "sse", "sse2"};
	static const char *const f_ecx[32] = {
	    "pni",           "pclmulqdq",     [9] = "ssse3",  [12] = "fma",    [13] = "cx16",
	    [19] = "sse4_1", [20] = "sse4_2", [22] = "movbe", [23] = "popcnt", [25] = "aes",
	    [26] = "xsave",  [28] = "avx",    [29] = "f16c",  [30] = "rdrand"};
	static const char *const f_7b[32] = {
	    "fsgsbase",    [3] = "bmi1",        [5] = "avx2",    [7] = "smep",
	    [8] = "bmi2",  [9] = "erms",        [18] = "rdseed", [19] = "adx",
	    [20] = "smap", [23] = "clflushopt", [24] = "clwb",   [29] = "sha_ni"};

	for (u32 i = 0; i < 3; i++)
		cpuid(0x80000002 + i, 0, b + i * 4);
	cpuid(1, 0, id);
	cpuid(7, 0, more);
	cpuid(0, 0, level);
	cpuid(0x80000006, 0, cache); /* the second level's, in KiB */
	for (u32 c = 0; c < cpus_online; c++) {
		text_add(t,
			 "processor\t: %u\nvendor_id\t: D0\ncpu family\t: %u\nmodel\t\t: "
			 "%u\nmodel name\t: %s\n"
			 "stepping\t: %u\ncpu MHz\t\t: %lu.000\nphysical id\t: 0\nsiblings\t: "
			 "%u\ncore id\t\t: %u\n"
			 "cpu cores\t: %u\nfpu\t\t: yes\ncpuid level\t: %u\ncache size\t: %u "
			 "KB\nwp\t\t: yes\nflags\t\t:",
			 c, id[0] >> 8 & 15, id[0] >> 4 & 15, (const char *)b, id[0] & 15,
			 ((const volatile struct d0_clock *)phys_ptr(d0_info->clock))->tsc_hz /
			     1000000,
			 cpus_online, c, cpus_online, level[0], cache[2] >> 16);
		for (u32 i = 0; i < 32; i++)
			if ((id[3] >> i & 1) && f_edx[i])
				text_add(t, " %s", f_edx[i]);
		for (u32 i = 0; i < 32; i++)
			if ((id[2] >> i & 1) && f_ecx[i])
				text_add(t, " %s", f_ecx[i]);
		for (u32 i = 0; i < 32; i++)
			if ((more[1] >> i & 1) && f_7b[i])
				text_add(t, " %s", f_7b[i]);
		text_add(t, " lm nx syscall\nbogomips\t: 0\n\n");
	}
}
static void stat_line(struct text *t, const char *name, u32 number)
{
	struct cpu_times c = cpu_times(number);

	text_add(t, "%s %lu 0 %lu %lu 0 0 0 0 0 0\n", name, c.user / TICK, c.system / TICK,
		 c.idle / TICK);
}
GEN(gstat)
{
	struct proc *p;
	u64 up = clock_now();
	u32 run = 0;
	struct thread *o;
	char name[16];

	list_each(p, &proc_list, all_link) list_each(o, &p->threads, proc_link) run +=
	    o->state == T_RUNNABLE;
	stat_line(t, "cpu ", ALL_CPUS);
	for (u32 i = 0; i < cpus_online; i++) {
		format(name, sizeof(name), "cpu%u", i);
		stat_line(t, name, i);
	}
	text_add(
	    t,
	    "intr 0\nctxt %lu\nbtime %lu\nprocesses %lu\nprocs_running %u\nprocs_blocked 0\n"
	    "softirq 0\n",
	    total_switches, (wall_now() - up) / NS_PER_SEC, total_forks, run);
}
GEN(uptime)
{
	u64 up = clock_now() / TICK, idle = cpu_times(ALL_CPUS).idle / TICK;

	text_add(t, "%lu.%02lu %lu.%02lu\n", up / 100, up % 100, idle / 100, idle % 100);
}
GEN(loadavg)
{
	u64 n = load_average(0);

	text_add(t, "%lu.00 %lu.00 %lu.00 %lu/%u %u\n", n, n, n, n + 1, thread_count,
		 current->proc ? current->proc->pid : 0);
}
GEN(version)
{
	text_add(t, "Linux version 6.1.0-d0 (D0 linux cell) #1 SMP\n");
}
GEN(filesystems)
{
	text_add(t, "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevpts\nnodev\tmqueue\nnod"
		    "ev\tvirtiofs\n");
}
GEN(vmstat)
{
	text_add(t, "nr_free_pages %lu\nnr_anon_pages %lu\nnr_file_pages %lu\noom_kill %lu\n",
		 page_free_count(), page_anon_count, page_cache_count, oom_kills);
}
GEN(syscalls)
{
	char *buf = kalloc(32768);

	if (buf)
		text_raw(t, buf, syscall_missing_list(buf, 32768));
	text_add(t, "unknown total %lu\n", syscall_unknown_count());
	kfree(buf);
}
static void make_sysvipc(struct text *t, struct thread *th, const struct gen_file *g)
{
	((void (*)(struct text *))g->arg)(t);
}
static const struct gen_file sysvipc_files[] = {
    F("shm", 0444, .make = make_sysvipc, .arg = (u64)shm_text),
    F("sem", 0444, .make = make_sysvipc, .arg = (u64)sem_text),
    F("msg", 0444, .make = make_sysvipc, .arg = (u64)msg_text)};
GEN(threads)
{
	state_text(t);
}
static const struct gen_file d0_files[] = {F("syscalls", 0444, .make = make_syscalls),
					   F("threads", 0400, .make = make_threads)};

const struct gen_file proc_root_files[] = {
    F("meminfo", 0444, .make = make_meminfo),
    F("cpuinfo", 0444, .make = make_cpuinfo),
    F("stat", 0444, .make = make_gstat),
    F("uptime", 0444, .make = make_uptime),
    F("loadavg", 0444, .make = make_loadavg),
    F("version", 0444, .make = make_version),
    F("filesystems", 0444, .make = make_filesystems),
    F("vmstat", 0444, .make = make_vmstat),
    F("cmdline", 0444, .fixed = "d0\n"),
    F("devices", 0444,
      .fixed = "Character devices:\n  1 mem\n  5 /dev/tty\n136 pts\n\nBlock devices:\n"),
    F("partitions", 0444, .fixed = "major minor  #blocks  name\n\n"),
    F("diskstats", 0444, .fixed = ""),
    F("swaps", 0444, .fixed = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
    F("modules", 0444, .fixed = ""),
    {.name = "mounts", .mode = S_IFLNK | 0777, .fixed = "self/mounts"},
    {.name = "net", .mode = S_IFLNK | 0777, .fixed = "self/net"},
    GEN_DIR("sys", 0555, proc_sysctl_files),
    GEN_DIR("sysvipc", 0555, sysvipc_files),
    GEN_DIR("d0", 0555, d0_files)};
const u32 proc_root_count = ARRAY_SIZE(proc_root_files);
