/* SPDX-License-Identifier: ISC */
/* Identity, groups and sessions, limits, names: the small calls about processes. */
#include "cells/linux/inc/smp.h"
#include "cells/linux/inc/sys.h"
#include <linux/capability.h>
#include <asm/prctl.h>
#include <linux/securebits.h>

SYSCALL(getpid, "", void)
{
	return current->proc->pid;
}
SYSCALL(gettid, "", void)
{
	return current->tid;
}
SYSCALL(getppid, "", void)
{
	return current->proc->parent ? current->proc->parent->pid : 0;
}
SYSCALL(getuid, "", void)
{
	return current->cred->uid;
}
SYSCALL(geteuid, "", void)
{
	return current->cred->euid;
}
SYSCALL(getgid, "", void)
{
	return current->cred->gid;
}
SYSCALL(getegid, "", void)
{
	return current->cred->egid;
}

static struct proc *proc_or_self(int pid)
{
	return pid ? proc_find((u32)pid) : current->proc;
}

SYSCALL(getpgid, "d", int pid)
{
	struct proc *p = proc_or_self(pid);

	return p ? (s64)p->pgid : -ESRCH;
}
SYSCALL(getpgrp, "", void)
{
	return current->proc->pgid;
}
SYSCALL(getsid, "d", int pid)
{
	struct proc *p = proc_or_self(pid);

	return p ? (s64)p->sid : -ESRCH;
}

SYSCALL(setpgid, "dd", int pid, int pgid)
{
	struct proc *me = current->proc, *p = proc_or_self(pid), *o;
	u32 to;

	if (pgid < 0)
		return -EINVAL;
	if (!p || (p != me && p->parent != me))
		return -ESRCH;
	to = pgid ? (u32)pgid : p->pid;
	if (p->sid == p->pid || p->sid != me->sid)
		return -EPERM;
	if (p != me && p->exec_done)
		return -EACCES;
	if (to != p->pid) {
		bool found = false;

		list_each(o, &proc_list, all_link) found |= o->pgid == to && o->sid == me->sid;
		if (!found)
			return -EPERM;
	}
	p->pgid = to;
	return 0;
}

SYSCALL(setsid, "", void)
{
	struct proc *p = current->proc, *o;

	list_each(o, &proc_list, all_link) if (o->pgid == p->pid &&
					       (o != p || p->pgid == p->pid)) return -EPERM;
	p->sid = p->pgid = p->pid;
	p->ctty = NULL;
	return p->sid;
}

/* ---- Credentials (credentials(7)) ---- */
static void fix_caps(struct cred *c, u32 old_uid, u32 old_euid, u32 old_suid)
{
	bool had_root = !old_uid || !old_euid || !old_suid,
	     has_root = !c->uid || !c->euid || !c->suid;

	if (!(c->securebits & SECBIT_NO_SETUID_FIXUP)) {
		if (had_root && !has_root) {
			if (!(c->securebits & SECBIT_KEEP_CAPS))
				c->cap_perm = c->cap_eff = 0;
			c->cap_amb = 0;
		}
		if (!old_euid && c->euid)
			c->cap_eff = 0;
		if (old_euid && !c->euid)
			c->cap_eff = c->cap_perm;
	}
	current->proc->dumpable = 0;
}

static s64 set_uids(u32 r, u32 e, u32 s)
{
	struct cred *c = cred_own();
	u32 ou, oe, os;

	if (!c)
		return -ENOMEM;
	ou = c->uid;
	oe = c->euid;
	os = c->suid;
	if (r != ~0u)
		c->uid = r;
	if (e != ~0u)
		c->euid = e;
	if (s != ~0u)
		c->suid = s;
	c->fsuid = c->euid;
	fix_caps(c, ou, oe, os);
	return 0;
}

static bool uid_known(u32 u)
{
	const struct cred *c = current->cred;

	return u == ~0u || u == c->uid || u == c->euid || u == c->suid;
}

SYSCALL(setuid, "d", u32 uid)
{
	if (uid == ~0u)
		return -EINVAL;
	if (capable(CAP_SETUID))
		return set_uids(uid, uid, uid);
	if (uid != current->cred->uid && uid != current->cred->suid)
		return -EPERM;
	return set_uids(~0u, uid, ~0u);
}
SYSCALL(setreuid, "dd", u32 r, u32 e)
{
	const struct cred *c = current->cred;

	if (!capable(CAP_SETUID) &&
	    ((r != ~0u && r != c->uid && r != c->euid) || (e != ~0u && !uid_known(e))))
		return -EPERM;
	return set_uids(r, e,
			r != ~0u || (e != ~0u && e != c->uid) ? (e != ~0u ? e : c->euid) : ~0u);
}
SYSCALL(setresuid, "ddd", u32 r, u32 e, u32 s)
{
	if (!capable(CAP_SETUID) && (!uid_known(r) || !uid_known(e) || !uid_known(s)))
		return -EPERM;
	return set_uids(r, e, s);
}
SYSCALL(getresuid, "ppp", u64 r, u64 e, u64 s)
{
	const struct cred *c = current->cred;

	return put_user(c->uid, r) || put_user(c->euid, e) || put_user(c->suid, s) ? -EFAULT
										   : 0;
}

static s64 set_gids(u32 r, u32 e, u32 s)
{
	struct cred *c = cred_own();

	if (!c)
		return -ENOMEM;
	if (r != ~0u)
		c->gid = r;
	if (e != ~0u)
		c->egid = e;
	if (s != ~0u)
		c->sgid = s;
	c->fsgid = c->egid;
	return 0;
}
static bool gid_known(u32 g)
{
	const struct cred *c = current->cred;

	return g == ~0u || g == c->gid || g == c->egid || g == c->sgid;
}
SYSCALL(setgid, "d", u32 gid)
{
	if (gid == ~0u)
		return -EINVAL;
	if (capable(CAP_SETGID))
		return set_gids(gid, gid, gid);
	if (gid != current->cred->gid && gid != current->cred->sgid)
		return -EPERM;
	return set_gids(~0u, gid, ~0u);
}
SYSCALL(setregid, "dd", u32 r, u32 e)
{
	const struct cred *c = current->cred;

	if (!capable(CAP_SETGID) &&
	    ((r != ~0u && r != c->gid && r != c->egid) || (e != ~0u && !gid_known(e))))
		return -EPERM;
	return set_gids(r, e,
			r != ~0u || (e != ~0u && e != c->gid) ? (e != ~0u ? e : c->egid) : ~0u);
}
SYSCALL(setresgid, "ddd", u32 r, u32 e, u32 s)
{
	if (!capable(CAP_SETGID) && (!gid_known(r) || !gid_known(e) || !gid_known(s)))
		return -EPERM;
	return set_gids(r, e, s);
}
SYSCALL(getresgid, "ppp", u64 r, u64 e, u64 s)
{
	const struct cred *c = current->cred;

	return put_user(c->gid, r) || put_user(c->egid, e) || put_user(c->sgid, s) ? -EFAULT
										   : 0;
}
SYSCALL(setfsuid, "d", u32 uid)
{
	struct cred *c = cred_own();
	u32 old = current->cred->fsuid;

	if (c && (uid_known(uid) || uid == old || capable(CAP_SETUID)) && uid != ~0u)
		c->fsuid = uid;
	return old;
}
SYSCALL(setfsgid, "d", u32 gid)
{
	struct cred *c = cred_own();
	u32 old = current->cred->fsgid;

	if (c && (gid_known(gid) || gid == old || capable(CAP_SETGID)) && gid != ~0u)
		c->fsgid = gid;
	return old;
}

SYSCALL(getgroups, "dp", int n, u64 ulist)
{
	const struct cred *c = current->cred;

	if (n < 0 || (n && (u32)n < c->ngroups))
		return -EINVAL;
	if (n && copy_out(ulist, c->groups, c->ngroups * 4ull))
		return -EFAULT;
	return c->ngroups;
}
SYSCALL(setgroups, "up", u32 n, u64 ulist)
{
	struct cred *old = current->cred, *c;

	if (!capable(CAP_SETGID))
		return -EPERM;
	if (n > 65536)
		return -EINVAL;
	c = kalloc(sizeof(*c) + n * 4ull);
	if (!c)
		return -ENOMEM;
	*c = *old;
	c->refs = 1;
	c->ngroups = n;
	if (n && copy_in(c->groups, ulist, n * 4ull)) {
		kfree(c);
		return -EFAULT;
	}
	current->cred = c;
	cred_put(old);
	return 0;
}

struct cap_header {
	u32 version;
	int pid;
};
SYSCALL(capget, "pp", u64 uhdr, u64 udata)
{
	struct cap_header h;
	struct thread *t = current;
	u32 d[6];

	if (get_user(h, uhdr))
		return -EFAULT;
	if (h.version != 0x20080522 && h.version != 0x20071026 && h.version != 0x19980330) {
		h.version = 0x20080522;
		return put_user(h, uhdr) ? -EFAULT : udata ? -EINVAL : 0;
	}
	if (h.pid < 0)
		return -EINVAL;
	if (h.pid && !(t = thread_find((u32)h.pid)))
		return -ESRCH;
	d[0] = (u32)t->cred->cap_eff;
	d[1] = (u32)t->cred->cap_perm;
	d[2] = (u32)t->cred->cap_inh;
	d[3] = (u32)(t->cred->cap_eff >> 32);
	d[4] = (u32)(t->cred->cap_perm >> 32);
	d[5] = (u32)(t->cred->cap_inh >> 32);
	return udata ? copy_out(udata, d, h.version == 0x19980330 ? 12 : 24) : 0;
}
SYSCALL(capset, "pp", u64 uhdr, u64 udata)
{
	struct cap_header h;
	u32 d[6] = {0};
	u64 e, p, i;
	struct cred *c;

	if (get_user(h, uhdr))
		return -EFAULT;
	if (h.version != 0x20080522 && h.version != 0x20071026 && h.version != 0x19980330) {
		h.version = 0x20080522;
		return put_user(h, uhdr) ? -EFAULT : -EINVAL;
	}
	if (h.pid && (u32)h.pid != current->tid)
		return -EPERM;
	if (copy_in(d, udata, h.version == 0x19980330 ? 12 : 24))
		return -EFAULT;
	c = cred_own();
	if (!c)
		return -ENOMEM;
	e = d[0] | (u64)d[3] << 32;
	p = d[1] | (u64)d[4] << 32;
	i = d[2] | (u64)d[5] << 32;
	if ((p & ~c->cap_perm) || (e & ~p) || (i & ~(c->cap_inh | c->cap_perm)) ||
	    (i & ~(c->cap_inh | c->cap_bset)))
		return -EPERM;
	c->cap_eff = e;
	c->cap_perm = p;
	c->cap_inh = i;
	c->cap_amb &= p & i;
	return 0;
}

/* ---- Limits ---- */
static s64 do_prlimit(struct proc *p, u32 which, u64 unew, u64 uold)
{
	struct {
		u64 cur, max;
	} n;

	if (which >= RLIM_NLIMITS)
		return -EINVAL;
	if (unew && get_user(n, unew))
		return -EFAULT;
	if (uold && copy_out(uold, &p->rlim[which], 16))
		return -EFAULT;
	if (unew) {
		if (n.cur > n.max)
			return -EINVAL;
		if (n.max > p->rlim[which].max && !capable(CAP_SYS_RESOURCE))
			return -EPERM;
		if (which == RLIMIT_NOFILE && n.max > FD_LIMIT)
			return -EPERM;
		if (which == RLIMIT_CPU) {
			p->cpu_watch |= n.cur != NEVER;
			p->xcpu_at = 0;
		}
		p->rlim[which].cur = n.cur;
		p->rlim[which].max = n.max;
	}
	return 0;
}
SYSCALL(prlimit64, "dupp", int pid, u32 which, u64 unew, u64 uold)
{
	struct proc *p = proc_or_self(pid);
	s64 r;

	if (!p)
		return -ESRCH;
	if (p != current->proc && !capable(CAP_SYS_RESOURCE) && p->leader &&
	    p->leader->cred->uid != current->cred->uid)
		return -EPERM;
	p->refs++; /* copying may sleep */
	r = do_prlimit(p, which, unew, uold);
	proc_put(p);
	return r;
}
SYSCALL(getrlimit, "up", u32 which, u64 u)
{
	return do_prlimit(current->proc, which, 0, u);
}
SYSCALL(setrlimit, "up", u32 which, u64 u)
{
	return do_prlimit(current->proc, which, u, 0);
}

/* ---- Names ---- */
char host_name[65] = "d0", domain_name[65] = "(none)";
struct utsname_k {
	char sysname[65], nodename[65], release[65], version[65], machine[65], domain[65];
};
SYSCALL(uname, "p", u64 u)
{
	struct utsname_k n = {.sysname = "Linux",
			      .release = "6.1.0-d0",
			      .version = "#1 SMP D0 linux cell",
			      .machine = "x86_64"};

	str_copy(n.nodename, host_name, 65);
	str_copy(n.domain, domain_name, 65);
	return put_user(n, u);
}
static s64 set_name(char *dst, u64 u, s64 n)
{
	char tmp[65] = "";

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (n < 0 || n > 64)
		return -EINVAL;
	if (copy_in(tmp, u, (size_t)n))
		return -EFAULT;
	memcpy(dst, tmp, 65);
	return 0;
}
SYSCALL(sethostname, "pd", u64 u, int n)
{
	return set_name(host_name, u, n);
}
SYSCALL(setdomainname, "pd", u64 u, int n)
{
	return set_name(domain_name, u, n);
}

/* ---- Thread state ---- */
SYSCALL(set_tid_address, "p", u64 addr)
{
	current->clear_tid = addr;
	return current->tid;
}

SYSCALL(arch_prctl, "xp", u32 op, u64 arg)
{
	switch (op) {
	case ARCH_SET_FS:
	case ARCH_SET_GS:
		if (arg >= TASK_SIZE)
			return -EPERM;
		wrmsr(op == ARCH_SET_FS ? MSR_FS_BASE : MSR_KERNEL_GS_BASE, arg);
		return 0;
	case ARCH_GET_FS:
		return put_user(rdmsr(MSR_FS_BASE), arg);
	case ARCH_GET_GS:
		return put_user(rdmsr(MSR_KERNEL_GS_BASE), arg);
	}
	return -EINVAL;
}

SYSCALL(personality, "x", u32 p)
{
	u32 old = current->personality;

	if (p != ~0u)
		current->personality = p;
	return old;
}

SYSCALL(getcpu, "ppp", u64 ucpu, u64 unode, u64 unused)
{
	u32 cpu = this_cpu()->number, node = 0;

	return (ucpu && put_user(cpu, ucpu)) || (unode && put_user(node, unode)) ? -EFAULT : 0;
}

SYSCALL(getrandom, "pux", u64 ubuf, u64 n, u32 flags)
{
	u8 part[256];
	u64 done = 0;

	if ((flags & ~7u) || (flags & 6) == 6)
		return -EINVAL;
	n = MIN(n, 33554431ull);
	while (done < n) {
		u64 take = MIN(n - done, sizeof(part));

		random_bytes(part, take);
		if (copy_out(ubuf + done, part, take))
			return done ? (s64)done : -EFAULT;
		done += take;
		if (done < n && sig_pending(current))
			return (s64)done;
	}
	return (s64)done;
}

struct sysinfo_k {
	s64 uptime;
	u64 loads[3], totalram, freeram, sharedram, bufferram, totalswap, freeswap;
	u16 procs, pad;
	u64 totalhigh, freehigh;
	u32 mem_unit;
};
SYSCALL(sysinfo, "p", u64 u)
{
	struct sysinfo_k s = {.uptime = (s64)(clock_now() / NS_PER_SEC),
			      .totalram = page_total() * PAGE_SIZE,
			      .freeram = page_free_count() * PAGE_SIZE,
			      .bufferram = 0,
			      .procs = (u16)thread_count,
			      .mem_unit = 1};

	return put_user(s, u);
}

/* ---- Namespaces: a container has one of each ---- */
SYSCALL(unshare, "x", u64 flags)
{
	struct thread *t = current;

	if (flags & ~0x7e020700ull & ~0x80ull)
		return capable(CAP_SYS_ADMIN) || (flags & 0x10000000) ? -EINVAL : -EPERM;
	if (flags & 0x7e020000)
		return -EPERM;
	if ((flags & 0x400) && t->files->refs > 1) {
		struct fdtable *n = fdtable_copy(t->files);

		if (!n)
			return -ENOMEM;
		fdtable_put(t->files);
		t->files = n;
	}
	if ((flags & 0x200) && t->fs->refs > 1) {
		struct fsctx *n = kmemdup(t->fs, sizeof(*n));

		if (!n)
			return -ENOMEM;
		n->refs = 1;
		dentry_get(n->root);
		dentry_get(n->cwd);
		t->fs->refs--;
		t->fs = n;
	}
	return 0;
}
SYSCALL(setns, "fx!", int fd, int type)
{
	return -EPERM;
}
SYSCALL(pivot_root, "ss!", u64 a, u64 b)
{
	return -EPERM;
}
SYSCALL(io_uring_setup, "up!", u32 n, u64 p)
{
	return -ENOSYS;
}
SYSCALL(ptrace, "dxpp!", s64 req, s64 pid, u64 a, u64 b)
{
	return -EPERM;
}
SYSCALL(reboot, "xxxp!", u32 a, u32 b, u32 c, u64 d)
{
	return -EPERM;
}
SYSCALL(bpf, "dpu!", int cmd, u64 attr, u32 n)
{
	return -EPERM;
}
SYSCALL(perf_event_open, "pdddx!", u64 attr, int pid, int cpu, int group, u64 flags)
{
	return -EACCES;
}
SYSCALL(userfaultfd, "x!", u32 flags)
{
	return -EPERM;
}
SYSCALL(init_module, "pus!", u64 a, u64 b, u64 c)
{
	return -EPERM;
}
SYSCALL(finit_module, "fsx!", int a, u64 b, u32 c)
{
	return -EPERM;
}
SYSCALL(delete_module, "sx!", u64 a, u32 b)
{
	return -EPERM;
}
SYSCALL(swapon, "sx!", u64 a, u32 b)
{
	return -EPERM;
}
SYSCALL(swapoff, "s!", u64 a)
{
	return -EPERM;
}
SYSCALL(iopl, "d!", int level)
{
	return -EPERM;
}
SYSCALL(ioperm, "uud!", u64 a, u64 b, int c)
{
	return -EPERM;
}
SYSCALL(acct, "s!", u64 a)
{
	return -EPERM;
}
SYSCALL(syslog, "dpd", int type, u64 buf, int n)
{
	return type == 10 || type == 9 ? 0 : type == 3 && capable(CAP_SYSLOG) ? 0 : -EPERM;
}
SYSCALL(vhangup, "", void)
{
	return capable(CAP_SYS_TTY_CONFIG) ? 0 : -EPERM;
}
SYSCALL(kcmp, "dddxx", int a, int b, int type, u64 x, u64 y)
{
	struct thread *t1 = thread_find((u32)a), *t2 = thread_find((u32)b);
	u64 v1, v2;

	if (!t1 || !t2)
		return -ESRCH;
	switch (type) {
	case 0:
		v1 = x < t1->files->size ? (u64)t1->files->file[x] : 0;
		v2 = y < t2->files->size ? (u64)t2->files->file[y] : 0;
		if (!v1 || !v2)
			return -EBADF;
		break;
	case 1:
		v1 = (u64)t1->mm;
		v2 = (u64)t2->mm;
		break;
	case 2:
		v1 = (u64)t1->files;
		v2 = (u64)t2->files;
		break;
	case 3:
		v1 = (u64)t1->fs;
		v2 = (u64)t2->fs;
		break;
	case 4:
		v1 = (u64)t1->sighand;
		v2 = (u64)t2->sighand;
		break;
	case 5: /* I/O context: none is shared */
		v1 = v2 = 0;
		break;
	case 6:
		v1 = (u64)t1->sem_undo;
		v2 = (u64)t2->sem_undo;
		break;
	default:
		return -EINVAL;
	}
	return v1 == v2 ? 0 : v1 < v2 ? 1 : 2;
}
