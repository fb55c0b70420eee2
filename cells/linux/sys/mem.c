/* SPDX-License-Identifier: ISC */
/* Memory calls: mmap and its family, brk, madvise, memfd. */
#include "cells/linux/inc/smp.h"
#include "cells/linux/inc/sys.h"
#include <linux/mman.h>
#include <asm/mman.h>
#include <linux/capability.h>

static s64 map_file(u64 addr, u64 len, u32 prot, u32 flags, int fd, u64 off)
{
	struct file *f = fd_get(fd);
	u32 acc, vf = 0;
	s64 r;

	if (!f)
		return -EBADF;
	acc = f->flags & O_ACCMODE;
	if (f->flags & O_PATH)
		r = -EBADF;
	else if (acc == O_WRONLY ||
		 ((flags & MAP_TYPE) != MAP_PRIVATE && (prot & PROT_WRITE) && acc != O_RDWR))
		r = -EACCES;
	else if (!is_reg(f->inode) && !f->ops->mmap)
		r = -ENODEV;
	else if (f->dentry->mnt && (f->dentry->mnt->flags & 8) && (prot & PROT_EXEC))
		r = -EPERM;
	else {
		if (f->dentry->mnt && (f->dentry->mnt->flags & 8))
			vf |= VMA_DENYEXEC;
		r = mm_map(current->mm, addr, len, prot, flags, f, off / PAGE_SIZE, vf, NULL);
	}
	file_put(f);
	return r;
}

static int populate(u64 addr, u64 len, u32 prot)
{
	int code;

	for (u64 a = addr; a < addr + len; a += PAGE_SIZE)
		if (mm_fault(current->mm, a, prot & PROT_WRITE ? FAULT_WRITE : 0, &code) ||
		    sig_pending(current))
			return -EAGAIN;
	return 0;
}

/* What MAP_SHARED_VALIDATE lets through; MAP_SYNC is not there. */
#define MAP_KNOWN                                                                         \
	(u32)(MAP_TYPE | MAP_FIXED | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_DENYWRITE |      \
	      MAP_EXECUTABLE | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | \
	      MAP_STACK | MAP_HUGETLB | MAP_32BIT | MAP_FIXED_NOREPLACE)
static int may_lock(struct mm *mm, u64 pages);

SYSCALL(mmap, "puxxdx", u64 addr, u64 len, u32 prot, u32 flags, int fd, u64 off)
{
	u32 type = flags & MAP_TYPE;
	s64 r;

	if (!len && !(flags & MAP_ANONYMOUS)) {
		struct file *f = fd_get(fd);

		if (!f)
			return -EBADF;
		file_put(f);
	}
	if (!len || (off & (PAGE_SIZE - 1)) ||
	    (type != MAP_PRIVATE && type != MAP_SHARED && type != MAP_SHARED_VALIDATE))
		return -EINVAL;
	if (!(flags & MAP_ANONYMOUS) &&

	    ((s64)off < 0 || (s64)(off + ALIGN_UP(len, PAGE_SIZE)) < 0))
		return -EOVERFLOW;
	if ((flags & MAP_ANONYMOUS) && type == MAP_SHARED_VALIDATE)
		return -EINVAL; /* of files only */
	if (flags & MAP_HUGETLB)
		return -ENOMEM;
	if (type == MAP_SHARED_VALIDATE && (flags & ~MAP_KNOWN))
		return -EOPNOTSUPP;
	if ((flags & MAP_LOCKED) || current->mm->lock_future) {
		r = may_lock(current->mm, ALIGN_UP(len, PAGE_SIZE) / PAGE_SIZE);
		if (r)
			return r == -EPERM ? r : -EAGAIN;
	}
	if (flags & MAP_ANONYMOUS)
		r = mm_map(current->mm, addr, len, prot, flags, NULL, 0, 0, NULL);
	else
		r = map_file(addr, len, prot, flags, fd, off);
	if (r > 0 && prot &&
	    ((flags & (MAP_POPULATE | MAP_LOCKED)) || current->mm->lock_future) &&
	    !(flags & MAP_NONBLOCK))
		populate((u64)r, ALIGN_UP(len, PAGE_SIZE), prot);
	return r;
}

SYSCALL(munmap, "pu", u64 addr, u64 len)
{
	return mm_unmap(current->mm, addr, len);
}

SYSCALL(mprotect, "pux", u64 addr, u64 len, u32 prot)
{
	return mm_protect(current->mm, addr, len, prot);
}

SYSCALL(pkey_mprotect, "puxd", u64 addr, u64 len, u32 prot, int key)
{
	return key == -1 ? mm_protect(current->mm, addr, len, prot) : -EINVAL;
}

SYSCALL(mremap, "puuxp", u64 addr, u64 old, u64 len, u32 flags, u64 new_addr)
{
	return mm_remap(current->mm, addr, old, len, flags, new_addr);
}

SYSCALL(brk, "p", u64 to)
{
	struct mm *mm = current->mm;
	u64 old_end = ALIGN_UP(mm->brk, PAGE_SIZE), end;
	struct vma *v;

	if (to < mm->brk_start || to > TASK_SIZE)
		return (s64)mm->brk;
	end = ALIGN_UP(to, PAGE_SIZE);
	if (to - mm->brk_start > current->proc->rlim[RLIMIT_DATA].cur)
		return (s64)mm->brk;
	if (end < old_end) {
		if (mm_unmap(mm, end, old_end - end))
			return (s64)mm->brk;
	} else if (end > old_end) {
		v = vma_find(mm, old_end);
		if (v && v->start < end + PAGE_SIZE)
			return (s64)mm->brk;
		if (mm_map(mm, old_end, end - old_end, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0, VMA_HEAP,
			   "[heap]") < 0)
			return (s64)mm->brk;
	}
	mm->brk = to;
	return (s64)to;
}

static int advise_area(struct mm *mm, struct vma *v, u64 start, u64 end, int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_FREE:
		if (v->flags & (VMA_LOCKED | VMA_SPECIAL))
			return -EINVAL;
		if (advice == MADV_FREE && v->inode)
			return -EINVAL;
		mm_zap(mm, v, start, end);
		return 0;
	case MADV_REMOVE:
		if (!(v->flags & VMA_SHARED) || !v->inode)
			return -EINVAL;
		if (!v->inode->cache_pinned)
			return -EOPNOTSUPP;
		inode_unmap_range(v->inode, v->pgoff + (start - v->start) / PAGE_SIZE,
				  v->pgoff + (end - v->start) / PAGE_SIZE - 1, false);
		if (pagecache_unback(v->inode))
			return -EAGAIN;
		pagecache_drop(v->inode, v->pgoff + (start - v->start) / PAGE_SIZE,
			       v->pgoff + (end - v->start) / PAGE_SIZE - 1);
		return 0;
	case MADV_DONTFORK:
		return mm_area_flags(mm, start, end, VMA_DONTFORK, 0);
	case MADV_DOFORK:
		return mm_area_flags(mm, start, end, 0, VMA_DONTFORK);
	case MADV_WIPEONFORK:
		return v->inode ? -EINVAL : mm_area_flags(mm, start, end, VMA_WIPEFORK, 0);
	case MADV_KEEPONFORK:
		return mm_area_flags(mm, start, end, 0, VMA_WIPEFORK);
	}
	return 0;
}

SYSCALL(madvise, "pud", u64 addr, u64 len, int advice)
{
	struct mm *mm = current->mm;
	u64 end, at = addr;
	bool hole = false;

	if (len && !ALIGN_UP(len, PAGE_SIZE))
		return -EINVAL;
	len = ALIGN_UP(len, PAGE_SIZE);
	if ((addr & (PAGE_SIZE - 1)) || addr > TASK_SIZE - MIN(len, TASK_SIZE))
		return -EINVAL;
	if (advice < 0 || (advice > 25 && advice != 100 && advice != 101) ||
	    (advice > 4 && advice < 8))
		return -EINVAL;
	if (advice == 100 || advice == 101)
		return -EPERM;
	end = addr + len;
	while (at < end) {
		struct vma *v = vma_find(mm, at);
		u64 stop;
		int r;

		if (!v || v->start >= end)
			break;
		if (v->start > at)
			hole = true;
		stop = MIN(end, v->end); /* the area may be split and joined meanwhile */
		r = advise_area(mm, v, MAX(at, v->start), stop, advice);
		if (r)
			return r;
		at = stop;
	}
	return hole || at < end ? -ENOMEM : 0;
}

SYSCALL(msync, "pux", u64 addr, u64 len, u32 flags)
{
	struct mm *mm = current->mm;
	u64 at = addr, end;

	if ((addr & (PAGE_SIZE - 1)) || (flags & ~7u) || ((flags & 5) == 5))
		return -EINVAL;
	end = addr + ALIGN_UP(len, PAGE_SIZE);
	if (end < addr)
		return -ENOMEM;
	while (at < end) {
		struct vma *v = vma_at(mm, at);
		struct inode *i;
		u64 next;

		if (!v)
			return -ENOMEM;
		next = v->end;
		if ((flags & 2) && (v->flags & VMA_LOCKED))
			return -EBUSY;
		i = v->flags & VMA_SHARED ? v->inode : NULL;
		if (i && (flags & 4)) {
			int r;

			inode_get(i);
			r = pagecache_sync(i);
			inode_put(i);
			if (r)
				return r;
		}
		at = next;
	}
	return 0;
}

SYSCALL(mincore, "pup", u64 addr, u64 len, u64 uvec)
{
	if (addr & (PAGE_SIZE - 1))
		return -EINVAL;
	for (u64 a = addr; a < addr + len; a += PAGE_SIZE, uvec++) {
		u64 *e;
		u8 in;

		if (!vma_at(current->mm, a))
			return -ENOMEM;
		e = pt_entry(current->mm->root, a, false);
		in = e && *e;
		if (put_user(in, uvec))
			return -EFAULT;
	}
	return 0;
}

/* ---- mlock: nothing is ever swapped out, so it counts, fills and says so ---- */
static u64 lock_limit(void)
{
	return capable(CAP_IPC_LOCK) ? NEVER : current->proc->rlim[RLIMIT_MEMLOCK].cur;
}

static int may_lock(struct mm *mm, u64 pages)
{
	u64 limit = lock_limit();

	if (limit == NEVER)
		return 0;
	if (!limit)
		return -EPERM;
	return mm->locked_vm + pages > limit / PAGE_SIZE ? -ENOMEM : 0;
}

static int fill_range(struct mm *mm, u64 addr, u64 end)
{
	while (addr < end) {
		struct vma *v = vma_at(mm, addr);
		u64 stop = v ? MIN(v->end, end) : end;
		int code;

		if (!v)
			return -ENOMEM;
		for (; addr < stop && !(v->flags & VMA_SPECIAL); addr += PAGE_SIZE) {
			u64 *e = pt_entry(mm->root, addr, false);
			bool write = (v->prot & PROT_WRITE) && !(v->flags & VMA_SHARED);

			if (e && (*e & PTE_P) && (!write || (*e & PTE_W)))
				continue;
			if (mm_fault(mm, addr, write ? FAULT_WRITE : 0, &code))
				return -ENOMEM;
			if (sig_pending(current))
				return -EINTR;
			v = vma_at(mm, addr);
			if (!v)
				return -ENOMEM;
		}
		addr = stop;
	}
	return 0;
}

static bool all_mapped(struct mm *mm, u64 addr, u64 end)
{
	while (addr < end) {
		struct vma *v = vma_at(mm, addr);

		if (!v)
			return false;
		addr = v->end;
	}
	return true;
}

static s64 lock_range(u64 addr, u64 len, bool on, bool fill)
{
	struct mm *mm = current->mm;
	u64 start = addr & PAGE_MASK, end = ALIGN_UP(addr + len, PAGE_SIZE);
	int r = 0;

	if (end < start)
		return len ? -EINVAL : 0;
	if (on)
		r = may_lock(mm, (end - start) / PAGE_SIZE - mm_locked_in(mm, start, end));
	if (r)
		return r;
	if (end == start)
		return 0;
	if (end > TASK_SIZE || !all_mapped(mm, start, end))
		return -ENOMEM;
	r = mm_lock(mm, start, end, on);
	return r ? r : on && fill ? fill_range(mm, start, end) : 0;
}

SYSCALL(mlock, "pu", u64 addr, u64 len)
{
	return lock_range(addr, len, true, true);
}
SYSCALL(mlock2, "pux", u64 addr, u64 len, u32 flags)
{
	return flags & ~1u ? -EINVAL : lock_range(addr, len, true, !(flags & 1));
}
SYSCALL(munlock, "pu", u64 addr, u64 len)
{
	return lock_range(addr, len, false, false);
}

static s64 lock_all(struct mm *mm, bool on, bool fill)
{
	for (u32 i = 0; i < mm->count; i++) {
		struct vma *v = mm->vmas[i];
		u64 start = v->start, end = v->end;
		int r = mm_lock(mm, start, end, on);

		if (r)
			return r;
		if (on && fill && (v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
			fill_range(mm, start, end);
		i = vma_index(mm, end - 1);
	}
	return 0;
}

SYSCALL(mlockall, "x", u32 flags)
{
	struct mm *mm = current->mm;
	u64 limit = lock_limit();

	if (!flags || (flags & ~7u) || flags == 4)
		return -EINVAL;
	if (!limit)
		return -EPERM;
	if ((flags & 1) && limit != NEVER && mm->total_vm > limit / PAGE_SIZE)
		return -ENOMEM;
	mm->lock_future = (flags & 2) != 0;
	return flags & 1 ? lock_all(mm, true, !(flags & 4)) : 0;
}
SYSCALL(munlockall, "", void)
{
	current->mm->lock_future = false;
	return lock_all(current->mm, false, false);
}

SYSCALL(memfd_create, "sx", u64 uname, u32 flags)
{
	char name[256], full[264];
	struct inode *i;
	struct dentry *d;
	struct file *f;
	ssize n;
	int r;

	if (flags & ~7u)
		return -EINVAL;
	if (flags & 4) /* MFD_HUGETLB */
		return -ENODEV;
	n = str_in(name, uname, 250);
	if (n < 0)
		return n == -EFAULT ? -EFAULT : -EINVAL;
	format(full, sizeof(full), "/memfd:%s (deleted)", name);
	i = shmem_inode(0);
	if (!i)
		return -ENOMEM;
	i->seals = flags & 2 ? 0 : 1;
	d = dentry_new(NULL, full, (u32)strlen(full), i);
	r = d ? file_open_dentry(d, O_RDWR, &f) : -ENOMEM;
	if (d)
		dentry_put(d);
	inode_put(i);
	if (r)
		return r;
	/* Not opened by a name, so it does not stand in the way of its own execution. */
	if (f->write_counted) {
		f->write_counted = false;
		i->writers--;
	}
	r = fd_install(f, 0, (flags & 1) != 0);
	if (r < 0)
		file_put(f);
	return r;
}

/* ---- Other processes' memory ---- */
int iovec_in(struct uio *u, u64 uiov, u64 count, struct iovec_k *small, struct iovec_k **heap);

static s64 process_vm(int pid, u64 liov, u64 lcnt, u64 riov, u64 rcnt, u64 flags, bool write)
{
	struct thread *t;
	struct iovec_k s1[8], s2[8], *h1, *h2;
	struct uio l, r;
	struct mm *mm;
	s64 done = 0;
	int e;
	u8 *buf;

	if (flags)
		return -EINVAL;
	e = iovec_in(&l, liov, lcnt, s1, &h1);
	if (e)
		return e;
	e = iovec_in(&r, riov, rcnt, s2, &h2);
	if (e) {
		kfree(h1);
		return e;
	}
	buf = kalloc(PAGE_SIZE);
	t = thread_seen((u32)pid);
	if (!buf)
		e = -ENOMEM;
	else if (!t || !t->mm)
		e = -ESRCH;
	else if (t->proc != current->proc && !capable(CAP_SYS_PTRACE) &&
		 current->cred->uid != t->cred->uid)
		e = -EPERM;
	if (!e) {
		mm = t->mm;
		mm_get(mm);
		for (u32 i = 0; i < r.count && !e; i++) {
			u64 at = r.iov[i].base, left = r.iov[i].len;

			while (left && l.left) {
				u64 n = MIN(MIN(left, l.left), PAGE_SIZE), got;

				if (write && uio_in(&l, buf, n)) {
					e = -EFAULT;
					break;
				}
				got = mm_access(mm, at, buf, n, write);
				if (got && !write && uio_out(&l, buf, got)) {
					e = -EFAULT;
					break;
				}
				done += (s64)got;
				at += got;
				left -= got;
				if (got < n || (sched_breathe() && current->kill_now)) {
					e = -EFAULT;
					break;
				}
			}
		}
		mm_put(mm);
	}
	kfree(buf);
	kfree(h1);
	kfree(h2);
	return done ? done : e;
}

SYSCALL(process_vm_readv, "dpupux", int pid, u64 l, u64 ln, u64 r, u64 rn, u64 flags)
{
	return process_vm(pid, l, ln, r, rn, flags, false);
}
SYSCALL(process_vm_writev, "dpupux", int pid, u64 l, u64 ln, u64 r, u64 rn, u64 flags)
{
	return process_vm(pid, l, ln, r, rn, flags, true);
}

SYSCALL(membarrier, "dxd", int cmd, u32 flags, int cpu)
{
	/* Whoever is in a program passes a serialising instruction; the others are in a lock.
	 */
	if (cmd > 0 && cmd < 128)
		smp_serialize(NULL);
	if (cmd == 0)
		return 0x1ff & ~(1 << 7 | 1 << 8);
	return cmd > 0 && cmd < 128 ? 0 : -EINVAL;
}
