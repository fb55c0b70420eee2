/* SPDX-License-Identifier: ISC */
/*
 * Open files and descriptor tables. A table is an array that doubles, with bitmaps of the
 * numbers in use and those to close on exec; the lowest free number is found from a hint.
 */
#include "cells/linux/inc/vfs.h"

u32 files_open;

struct fdtable *fdtable_new(void)
{
	struct fdtable *t = kalloc(sizeof(*t));

	if (!t)
		return NULL;
	t->refs = 1;
	t->size = 64;
	t->file = kalloc(64 * sizeof(*t->file));
	t->cloexec = kalloc(8);
	t->used = kalloc(8);
	if (!t->file || !t->cloexec || !t->used) {
		kfree(t->file);
		kfree(t->cloexec);
		kfree(t->used);
		kfree(t);
		return NULL;
	}
	return t;
}

static int table_grow(struct fdtable *t, u32 want)
{
	u32 size = t->size;
	struct file **file;
	u64 *cx, *used;

	while (size <= want)
		size *= 2;
	file = kalloc(size * sizeof(*file));
	cx = kalloc(size / 8);
	used = kalloc(size / 8);
	if (!file || !cx || !used) {
		kfree(file);
		kfree(cx);
		kfree(used);
		return -ENOMEM;
	}
	memcpy(file, t->file, t->size * sizeof(*file));
	memcpy(cx, t->cloexec, t->size / 8);
	memcpy(used, t->used, t->size / 8);
	kfree(t->file);
	kfree(t->cloexec);
	kfree(t->used);
	t->file = file;
	t->cloexec = cx;
	t->used = used;
	t->size = size;
	return 0;
}

struct fdtable *fdtable_copy(struct fdtable *old)
{
	struct fdtable *t = fdtable_new();

	if (!t)
		return NULL;
	if (old->size > t->size && table_grow(t, old->size - 1)) {
		fdtable_put(t);
		return NULL;
	}
	memcpy(t->file, old->file, old->size * sizeof(*t->file));
	memcpy(t->cloexec, old->cloexec, old->size / 8);
	memcpy(t->used, old->used, old->size / 8);
	for (u32 i = 0; i < t->size; i++)
		if (t->file[i])
			file_get(t->file[i]);
	return t;
}

static int close_slot(struct fdtable *t, u32 fd)
{
	struct file *f = t->file[fd];
	int err = 0;

	t->file[fd] = NULL;
	t->used[fd / 64] &= ~(1ull << fd % 64);
	t->cloexec[fd / 64] &= ~(1ull << fd % 64);
	t->next_hint = MIN(t->next_hint, fd);
	if (f) {
		if (f->inode)
			locks_release_owner(f->inode, t);
		if (f->ops->flush && !(f->flags & O_PATH))
			err = f->ops->flush(f);
		file_put(f);
	}
	return err;
}

void fdtable_put(struct fdtable *t)
{
	if (--t->refs)
		return;
	for (u32 i = 0; i < t->size; i++)
		if (t->file[i])
			close_slot(t, i);
	kfree(t->file);
	kfree(t->cloexec);
	kfree(t->used);
	kfree(t);
}

void fdtable_close_exec(struct fdtable *t)
{
	for (u32 w = 0; w < t->size / 64; w++)
		while (t->cloexec[w])
			close_slot(t, w * 64 + (u32)__builtin_ctzll(t->cloexec[w]));
}

struct file *fd_get(int fd)
{
	struct fdtable *t = current->files;
	struct file *f;

	if (fd < 0 || (u32)fd >= t->size || !(f = t->file[fd]))
		return NULL;
	file_get(f);
	return f;
}

static void slot_set(struct fdtable *t, u32 fd, struct file *f, bool cloexec)
{
	t->file[fd] = f;
	t->used[fd / 64] |= 1ull << fd % 64;
	if (cloexec)
		t->cloexec[fd / 64] |= 1ull << fd % 64;
	else
		t->cloexec[fd / 64] &= ~(1ull << fd % 64);
}

static u32 lowest_free(const struct fdtable *t, u32 min)
{
	u32 fd = MAX(min, t->next_hint);

	while (fd < t->size) {
		u64 freebits = ~t->used[fd / 64] >> fd % 64;

		if (freebits)
			return fd + (u32)__builtin_ctzll(freebits);
		fd = (fd / 64 + 1) * 64;
	}
	return fd;
}

bool fd_room(void)
{
	struct fdtable *t = current->files;

	return lowest_free(t, 0) < MIN(current->proc->rlim[RLIMIT_NOFILE].cur, (u64)FD_LIMIT);
}

int fd_install(struct file *f, u32 min, bool cloexec)
{
	struct fdtable *t = current->files;
	u64 limit = MIN(current->proc->rlim[RLIMIT_NOFILE].cur, (u64)FD_LIMIT);
	u32 fd = lowest_free(t, min);

	if (fd >= limit)
		return -EMFILE;
	if (fd >= t->size && table_grow(t, fd))
		return -EMFILE;
	slot_set(t, fd, f, cloexec);
	if (min <= t->next_hint)
		t->next_hint = fd + 1;
	return (int)fd;
}

int fd_install_pair(struct file *a, struct file *b, bool cloexec, int out[2])
{
	out[0] = fd_install(a, 0, cloexec);
	if (out[0] < 0) {
		file_put(a);
		file_put(b);
		return out[0];
	}
	out[1] = fd_install(b, 0, cloexec);
	if (out[1] < 0) {
		fd_close(out[0]);
		file_put(b);
		return out[1];
	}
	return 0;
}

int fd_close(int fd)
{
	struct fdtable *t = current->files;

	if (fd < 0 || (u32)fd >= t->size || !t->file[fd])
		return -EBADF;
	return close_slot(t, (u32)fd);
}

/* dup2: takes over the reference when it succeeds. */
int fd_replace(int fd, struct file *f, bool cloexec)
{
	struct fdtable *t = current->files;

	if (fd < 0 || (u64)fd >= MIN(current->proc->rlim[RLIMIT_NOFILE].cur, (u64)FD_LIMIT))
		return -EBADF;
	if ((u32)fd >= t->size && table_grow(t, (u32)fd))
		return -ENOMEM;
	if (t->file[fd])
		close_slot(t, (u32)fd);
	slot_set(t, (u32)fd, f, cloexec);
	return fd;
}

struct file *file_new(const struct file_ops *ops, u32 flags)
{
	struct file *f = kalloc(sizeof(*f));

	if (!f)
		return NULL;
	f->refs = 1;
	f->ops = ops;
	f->flags = flags;
	f->owner_type = F_OWNER_PID;
	files_open++;
	return f;
}

void file_get(struct file *f)
{
	f->refs++;
}

void file_put(struct file *f)
{
	if (--f->refs)
		return;
	f->refs = 1; /* releasing may look at the file again */
	if (f->async)
		file_async_end(f);
	if (!list_empty(&f->epolls))
		epoll_file_gone(f);
	locks_release_file(f);
	if (NOTIFY_ACTIVE && f->dentry && !(f->flags & O_PATH))
		notify_path(f->dentry, (f->flags & O_ACCMODE) ? 8 : 16);
	if (f->ops->release && !(f->flags & O_PATH))
		f->ops->release(f);
	if (f->write_denied)
		f->inode->denywrite--;
	if (f->write_counted)
		f->inode->writers--;
	if (f->dentry)
		dentry_put(f->dentry);
	if (f->inode)
		inode_put(f->inode);
	kfree(f->dir_cache);
	kfree(f);
	files_open--;
}

/* ---- Transfers ---- */
/* After -EFAULT what was moved before the bad address is taken off; see `left`. */
void uio_kernel(struct uio *u, struct iovec_k *iov, void *buf, u64 n)
{
	*iov = (struct iovec_k){(u64)buf, n};
	*u = (struct uio){.iov = iov, .count = 1, .left = n, .kernel = true};
}

void uio_user(struct uio *u, struct iovec_k *iov, u64 buf, u64 n)
{
	*iov = (struct iovec_k){buf, n};
	*u = (struct uio){.iov = iov, .count = 1, .left = n};
}

/* Between memory of the program and the kernel's: how many bytes were not moved. */
static u64 user_move(u64 at, u8 *k, u64 n, bool out)
{
	u64 rest;

	if (!user_range_ok(at, n))
		return n;
	rest = out ? raw_user_copy((void *)at, k, n) : raw_user_copy(k, (void *)at, n);
	/* What it copies at a time may lie across the end of the good memory. */
	while (rest && !(out ? raw_user_copy((void *)(at + n - rest), k + n - rest, 1)
			     : raw_user_copy(k + n - rest, (void *)(at + n - rest), 1)))
		rest--;
	return rest;
}

static int uio_move(struct uio *u, void *k, u64 n, bool out)
{
	while (n) {
		u64 at, take, rest = 0;

		while (u->count && u->off >= u->iov->len) {
			u->iov++;
			u->count--;
			u->off = 0;
		}
		if (!u->count)
			return -EFAULT;
		at = u->iov->base + u->off;
		take = MIN(n, u->iov->len - u->off);
		if (u->kernel)
			memcpy(out ? (void *)at : k, out ? k : (void *)at, take);
		else if (!k)
			rest = clear_user(at, take) ? take : 0;
		else
			rest = user_move(at, k, take, out);
		if (k)
			k = (u8 *)k + take;
		u->off += take - rest;
		u->left -= take - rest;
		n -= take;
		if (rest)
			return -EFAULT;
	}
	return 0;
}

int uio_out(struct uio *u, const void *src, u64 n)
{
	return uio_move(u, (void *)src, n, true);
}

int uio_in(struct uio *u, void *dst, u64 n)
{
	return uio_move(u, dst, n, false);
}

int uio_zero(struct uio *u, u64 n)
{
	static const u8 zeros[512];

	if (!u->kernel)
		return uio_move(u, NULL, n, true);
	for (; n; n -= MIN(n, sizeof(zeros)))
		if (uio_move(u, (void *)zeros, MIN(n, sizeof(zeros)), true))
			return -EFAULT;
	return 0;
}

/* Of the text kept with a file; while it is copied another thread may make a new one. */
int file_text_out(struct file *f, struct uio *u, u64 at, u64 n)
{
	char *text = f->dir_cache;
	u64 len = f->dir_gen;
	int r;

	f->dir_cache = NULL;
	r = uio_out(u, text + at, n);
	if (f->dir_cache) {
		kfree(text);
	} else {
		f->dir_cache = text;
		f->dir_gen = len;
	}
	return r;
}

ssize file_read_kernel(struct file *f, void *buf, size_t n, u64 pos)
{
	struct iovec_k iov;
	struct uio u;
	size_t done = 0;

	while (done < n) {
		ssize r;

		uio_kernel(&u, &iov, (u8 *)buf + done, n - done);
		if (!f->ops->read)
			return -EINVAL;
		r = f->ops->read(f, &u, &pos);
		if (r < 0)
			return done ? (ssize)done : r;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize)done;
}

ssize file_write_kernel(struct file *f, const void *buf, size_t n, u64 pos)
{
	struct iovec_k iov;
	struct uio u;

	uio_kernel(&u, &iov, (void *)buf, n);
	return f->ops->write ? f->ops->write(f, &u, &pos) : -EINVAL;
}
