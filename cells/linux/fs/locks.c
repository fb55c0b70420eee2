/* SPDX-License-Identifier: ISC */
/*
 * Advisory locks. One list per inode holds flock(2) locks, owned by the open file, and
 * byte-range locks, owned by the process's descriptor table (POSIX) or the open file (OFD).
 */
#include "cells/linux/inc/sys.h"

struct lock {
	struct list link;
	void *owner;
	struct file *file; /* through which it was taken (flock, OFD) */
	bool flock, exclusive, dead;
	u64 start, end; /* inclusive */
	u32 pid;
};

struct flock_k {
	s16 type, whence;
	u32 pad;
	s64 start, len;
	int pid;
	u32 pad2;
};

/* Processes that sleep for a byte range, for the detection of deadlocks. */
struct sleeper {
	struct list link;
	const struct lock *want;
	struct inode *inode;
};
static struct list sleepers;

/* The conflicting lock that begins first. */
static struct lock *conflict(struct inode *i, const struct lock *l)
{
	struct lock *o, *first = NULL;

	list_each(o, &i->locks, link) if (o->flock == l->flock && o->owner != l->owner &&
					  (o->exclusive || l->exclusive) &&
					  o->start <= l->end && l->start <= o->end &&
					  (!first || o->start < first->start)) first = o;
	return first;
}

/* Would sleeping behind `o` close a circle of owners that wait for each other? */
static bool deadlock(const struct lock *want, const struct lock *o, u32 depth)
{
	struct sleeper *s;

	if (o->file || want->file || want->flock || depth > 16)
		return false;
	list_each(s, &sleepers, link)
	{
		const struct lock *next;

		if (s->want->owner != o->owner)
			continue;
		next = conflict(s->inode, s->want);
		if (next && (next->owner == want->owner || deadlock(want, next, depth + 1)))
			return true;
	}
	return false;
}

static void lock_free(struct lock *l)
{
	list_del(&l->link);
	kfree(l);
}

/* Take the owner's locks out of [start, end]; may need one new record to split. */
static int carve(struct inode *i, const struct lock *l)
{
	struct lock *o, *tmp;

	list_each_safe(o, tmp, &i->locks, link)
	{
		if (o->flock != l->flock || o->owner != l->owner || o->end < l->start ||
		    o->start > l->end)
			continue;
		if (o->start < l->start && o->end > l->end) {
			struct lock *n = kmemdup(o, sizeof(*o));

			if (!n)
				return -ENOLCK;
			n->link = (struct list){0};
			n->start = l->end + 1;
			o->end = l->start - 1;
			list_add_tail(&i->locks, &n->link);
		} else if (o->start < l->start) {
			o->end = l->start - 1;
		} else if (o->end > l->end) {
			o->start = l->end + 1;
		} else {
			lock_free(o);
		}
	}
	return 0;
}

/* Neighbours of the same kind and owner become one lock with n. */
static void absorb(struct inode *i, struct lock *n)
{
	struct lock *o, *tmp;

	list_each_safe(o, tmp, &i->locks, link)
	{
		if (n->flock || o->flock || o->owner != n->owner ||
		    o->exclusive != n->exclusive)
			continue;
		if (o->end + 1 == n->start)
			n->start = o->start;
		else if (n->end + 1 == o->start)
			n->end = o->end;
		else
			continue;
		lock_free(o);
	}
}

static s64 apply(struct inode *i, struct lock *want, bool unlock, bool wait)
{
	struct sleeper s = {.want = want, .inode = i};
	struct lock *n;
	int r;

	while (!unlock && (n = conflict(i, want))) {
		if (!wait)
			return -EAGAIN;
		if (deadlock(want, n, 0))
			return -EDEADLK;
		list_add_tail(&sleepers, &s.link);
		r = wait_on(&i->lock_wait, NEVER, true);
		list_del(&s.link);
		if (r)
			return r;
	}
	r = carve(i, want);
	if (!r && !unlock) {
		n = kmemdup(want, sizeof(*want));
		if (!n)
			return -ENOLCK;
		absorb(i, n);
		list_add_tail(&i->locks, &n->link);
	}
	wake_all(&i->lock_wait);
	return r;
}

SYSCALL(flock, "fx", int fd, u32 op)
{
	struct file *f = fd_get(fd);
	struct lock l = {.flock = true, .end = NEVER};
	u32 kind = op & ~4u;
	s64 r;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH) {
		file_put(f);
		return -EBADF;
	}
	l.owner = l.file = f;
	l.exclusive = kind == 2;
	r = kind == 1 || kind == 2 || kind == 8 ? apply(f->inode, &l, kind == 8, !(op & 4))
						: -EINVAL;
	file_put(f);
	return r;
}

static int range_of(struct file *f, const struct flock_k *k, struct lock *l)
{
	s64 base = k->whence == 0   ? 0
		   : k->whence == 1 ? (s64)f->pos
		   : k->whence == 2 ? (s64)f->inode->size
				    : -1;
	s64 end;

	if (k->whence < 0 || k->whence > 2)
		return -EINVAL;
	if (__builtin_add_overflow(base, k->start, &base))
		return -EOVERFLOW;
	end = k->len > 0 ? base + k->len - 1 : k->len < 0 ? base - 1 : INT64_MAX;
	if (k->len < 0)
		base += k->len;
	if (base < 0 || end < base)
		return -EINVAL;
	l->start = (u64)base;
	l->end = (u64)end;
	return 0;
}

s64 fcntl_lock(struct file *f, int cmd, u64 arg);
s64 fcntl_lock(struct file *f, int cmd, u64 arg)
{
	bool ofd = cmd >= 36, get = cmd == F_GETLK || cmd == 36,
	     wait = cmd == F_SETLKW || cmd == 38;
	struct lock l = {.pid = current->proc->pid}, *c;
	struct flock_k k;
	s64 r;

	if (get_user(k, arg))
		return -EFAULT;
	if (k.type != F_RDLCK && k.type != F_WRLCK && (get || k.type != F_UNLCK))
		return -EINVAL;
	if (ofd && k.pid)
		return -EINVAL;
	r = range_of(f, &k, &l);
	if (r)
		return r;
	l.owner = ofd ? (void *)f : (void *)current->files;
	l.file = ofd ? f : NULL;
	l.exclusive = k.type == F_WRLCK;
	if (get) {
		c = conflict(f->inode, &l);
		k.type = !c ? F_UNLCK : c->exclusive ? F_WRLCK : F_RDLCK;
		if (c) {
			k.whence = 0;
			k.start = (s64)c->start;
			k.len = c->end >= (u64)INT64_MAX ? 0 : (s64)(c->end - c->start + 1);
			k.pid = c->file ? -1 : (int)c->pid;
		}
		return put_user(k, arg);
	}
	if ((k.type == F_RDLCK && (f->flags & 3) == O_WRONLY) ||
	    (k.type == F_WRLCK && !(f->flags & 3)))
		return -EBADF;
	return apply(f->inode, &l, k.type == F_UNLCK, wait);
}

static void release(struct inode *i, const void *owner)
{
	struct lock *l, *tmp;
	bool any = false;

	list_each_safe(l, tmp, &i->locks, link) if (l->owner == owner)
	{
		lock_free(l);
		any = true;
	}
	if (any)
		wake_all(&i->lock_wait);
}

void locks_release_file(struct file *f)
{
	if (f->inode && !list_empty(&f->inode->locks))
		release(f->inode, f);
}

void locks_release_owner(struct inode *i, void *owner)
{
	if (!list_empty(&i->locks))
		release(i, owner);
}
