/* SPDX-License-Identifier: ISC */
/* Reading and writing by descriptor, and what else a descriptor can be asked. */
#include "cells/linux/inc/sys.h"
#include <asm/ioctls.h>

#define IOV_MAX_K 1024

s64 pipe_set_size(struct file *f, u64 bytes);
s64 fcntl_lock(struct file *f, int cmd, u64 arg);

/* Access mode 3 is for ioctl only. */
static bool opened_for(const struct file *f, bool write)
{
	u32 acc = f->flags & O_ACCMODE;

	return !(f->flags & O_PATH) && (acc == O_RDWR || acc == (write ? O_WRONLY : O_RDONLY));
}

ssize file_rw(struct file *f, struct uio *u, u64 *pos, bool write)
{
	struct proc *p = current->proc;
	ssize r;

	if (!opened_for(f, write))
		return -EBADF;
	if (write ? !f->ops->write : !f->ops->read)
		return -EINVAL;
	u->left = MIN(u->left, RW_MAX);
	r = write ? f->ops->write(f, u, pos) : f->ops->read(f, u, pos);
	if (write) {
		p->syscw++;
		if (r > 0)
			p->wchar += (u64)r;
	} else {
		p->syscr++;
		if (r > 0)
			p->rchar += (u64)r;
	}
	if (r > 0 && NOTIFY_ACTIVE && f->dentry)
		notify_path(f->dentry, write ? IN_MODIFY_K : IN_ACCESS_K);
	return r;
}

s64 rw_flat(int fd, u64 buf, u64 n, s64 *at, bool write)
{
	struct file *f = fd_get(fd);
	struct iovec_k iov;
	struct uio u;
	s64 r;

	if (!f)
		return -EBADF;
	n = MIN(n, RW_MAX);
	if (f->flags & O_PATH)
		r = -EBADF;
	else if (!user_range_ok(buf, n))
		r = -EFAULT;
	else if (at && (*at < 0 || *at > INT64_MAX - (s64)n))
		r = -EINVAL;
	else if (at && !f->ops->seek)
		r = -ESPIPE;
	else {
		u64 pos = at ? (u64)*at : f->pos;

		uio_user(&u, &iov, buf, n);
		r = file_rw(f, &u, at ? &pos : &f->pos, write);
	}
	file_put(f);
	return r;
}

SYSCALL(read, "fpu", int fd, u64 buf, u64 n)
{
	return rw_flat(fd, buf, n, NULL, false);
}
SYSCALL(write, "fpu", int fd, u64 buf, u64 n)
{
	return rw_flat(fd, buf, n, NULL, true);
}
SYSCALL(pread64, "fpud", int fd, u64 buf, u64 n, s64 pos)
{
	return rw_flat(fd, buf, n, &pos, false);
}
SYSCALL(pwrite64, "fpud", int fd, u64 buf, u64 n, s64 pos)
{
	return rw_flat(fd, buf, n, &pos, true);
}

int iovec_in(struct uio *u, u64 uiov, u64 count, struct iovec_k *small, struct iovec_k **heap)
{
	struct iovec_k *v = small;
	u64 total = 0;

	*heap = NULL;
	if (count > IOV_MAX_K)
		return -EINVAL;
	if (count > 8) {
		v = *heap = kalloc(count * sizeof(*v));
		if (!v)
			return -ENOMEM;
	}
	if (copy_in(v, uiov, count * sizeof(*v)))
		goto fault;
	for (u64 i = 0; i < count; i++) {
		if ((s64)v[i].len < 0) {
			kfree(*heap);
			*heap = NULL;
			return -EINVAL;
		}
		if (!user_range_ok(v[i].base, v[i].len))
			goto fault;
		v[i].len = MIN(v[i].len, RW_MAX - total);
		total += v[i].len;
	}
	*u = (struct uio){.iov = v, .count = (u32)count, .left = total};
	return 0;
fault:
	kfree(*heap);
	*heap = NULL;
	return -EFAULT;
}

s64 rw_vec(int fd, u64 uiov, u64 count, s64 *at, bool write, u32 flags)
{
	struct file *f = fd_get(fd);
	struct iovec_k small[8], *heap = NULL;
	struct uio u;
	s64 r;

	if (!f)
		return -EBADF;
	r = iovec_in(&u, uiov, count, small, &heap);
	if (f->flags & O_PATH)
		r = -EBADF;
	if (!r && at && (*at < 0 || *at > INT64_MAX - (s64)u.left))
		r = -EINVAL;
	if (!r && at && !f->ops->seek)
		r = -ESPIPE;
	if (!r && (flags & ~0x1fu))
		r = -EOPNOTSUPP;
	if (!r) {
		u64 pos = at ? (u64)*at : f->pos;

		u.nonblock = (flags & 8) != 0;
		r = file_rw(f, &u, at ? &pos : &f->pos, write);
	}
	kfree(heap);
	file_put(f);
	return r;
}

SYSCALL(readv, "fpu", int fd, u64 iov, u64 n)
{
	return rw_vec(fd, iov, n, NULL, false, 0);
}
SYSCALL(writev, "fpu", int fd, u64 iov, u64 n)
{
	return rw_vec(fd, iov, n, NULL, true, 0);
}
SYSCALL(preadv, "fpud", int fd, u64 iov, u64 n, s64 pos)
{
	return rw_vec(fd, iov, n, &pos, false, 0);
}
SYSCALL(pwritev, "fpud", int fd, u64 iov, u64 n, s64 pos)
{
	return rw_vec(fd, iov, n, &pos, true, 0);
}
SYSCALL(preadv2, "fpuddx", int fd, u64 iov, u64 n, s64 pos, u64 hi, u32 flags)
{
	return rw_vec(fd, iov, n, pos == -1 ? NULL : &pos, false, flags);
}
SYSCALL(pwritev2, "fpuddx", int fd, u64 iov, u64 n, s64 pos, u64 hi, u32 flags)
{
	return rw_vec(fd, iov, n, pos == -1 ? NULL : &pos, true, flags);
}

SYSCALL(lseek, "fdd", int fd, s64 off, int whence)
{
	struct file *f = fd_get(fd);
	s64 r;

	if (!f)
		return -EBADF;
	r = f->flags & O_PATH ? -EBADF : f->ops->seek ? f->ops->seek(f, off, whence) : -ESPIPE;
	file_put(f);
	return r;
}

SYSCALL(close, "f", int fd)
{
	return fd_close(fd);
}

SYSCALL(close_range, "uux", u32 first, u32 last, u32 flags)
{
	struct fdtable *t = current->files, *n;

	if (first > last || (flags & ~6u))
		return -EINVAL;
	if ((flags & 2) && t->refs > 1) { /* CLOSE_RANGE_UNSHARE */
		n = fdtable_copy(t);
		if (!n)
			return -ENOMEM;
		fdtable_put(t);
		current->files = t = n;
	}
	for (u64 fd = first; fd <= last && fd < t->size; fd++) {
		if (!t->file[fd])
			continue;
		if (flags & 4)
			t->cloexec[fd / 64] |= 1ull << fd % 64;
		else
			fd_close((int)fd);
	}
	return 0;
}

SYSCALL(dup, "f", int fd)
{
	struct file *f = fd_get(fd);
	int r;

	if (!f)
		return -EBADF;
	r = fd_install(f, 0, false);
	if (r < 0)
		file_put(f);
	return r;
}

static s64 do_dup3(int fd, int to, u32 flags, bool same_ok)
{
	struct file *f;
	int r;

	if (fd == to && !same_ok)
		return -EINVAL;
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	if (fd == to) {
		file_put(f);
		return fd;
	}
	r = fd_replace(to, f, (flags & O_CLOEXEC) != 0);
	if (r < 0)
		file_put(f);
	return r;
}

SYSCALL(dup2, "fd", int fd, int to)
{
	return do_dup3(fd, to, 0, true);
}
SYSCALL(dup3, "fdx", int fd, int to, u32 flags)
{
	return flags & ~(u32)O_CLOEXEC ? -EINVAL : do_dup3(fd, to, flags, false);
}

#define SETFL_MASK (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME)

static s64 fcntl_dup(struct file *f, u64 arg, bool cloexec)
{
	int r;

	if (arg >= current->proc->rlim[RLIMIT_NOFILE].cur)
		return -EINVAL;
	r = fd_install(f, (u32)arg, cloexec);
	if (r >= 0)
		file_get(f);
	return r;
}

static s64 fcntl_seals(struct file *f, u32 cmd, u64 arg)
{
	struct inode *i = f->inode;

	if (!i || !i->sb || !is_reg(i) || strcmp(i->sb->type, "tmpfs"))
		return -EINVAL;
	if (cmd == 1034 && i->sb != shm_super) /* a file with a name cannot be sealed */
		return 1;
	if (i->sb != shm_super)
		return -EPERM;
	if (cmd == 1034) /* F_GET_SEALS */
		return i->seals;
	if (!(f->flags & 3) || (i->seals & 1))
		return -EPERM;
	if (arg & ~0x1full)
		return -EINVAL;
	if (arg & 8) {
		struct vma *v;

		list_each(v, &i->maps, i_link) if ((v->flags & VMA_SHARED) &&
						   (v->flags & VMA_MAYWRITE)) return -EBUSY;
	}
	i->seals |= (u32)arg;
	return 0;
}

static s64 fcntl_set_flags(struct file *f, int fd, u64 arg)
{
	s64 r = file_async(f, fd, (arg & FASYNC) != 0);

	if (!r)
		f->flags = (f->flags & ~(u32)SETFL_MASK) | ((u32)arg & SETFL_MASK);
	return r;
}

SYSCALL(fcntl, "fdx", int fd, u32 cmd, u64 arg)
{
	struct fdtable *t = current->files;
	struct file *f = fd_get(fd);
	s64 r = 0;

	if (!f)
		return -EBADF;
	if ((f->flags & O_PATH) && cmd != F_DUPFD && cmd != F_DUPFD_CLOEXEC && cmd != F_GETFD &&
	    cmd != F_SETFD && cmd != F_GETFL) {
		file_put(f);
		return -EBADF;
	}
	switch (cmd) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		r = fcntl_dup(f, arg, cmd == F_DUPFD_CLOEXEC);
		break;
	case F_GETFD:
		r = t->cloexec[fd / 64] >> fd % 64 & 1;
		break;
	case F_SETFD:
		if (arg & 1)
			t->cloexec[fd / 64] |= 1ull << fd % 64;
		else
			t->cloexec[fd / 64] &= ~(1ull << fd % 64);
		break;
	case F_GETFL:
		r = f->flags;
		break;
	case F_SETFL:
		r = fcntl_set_flags(f, fd, arg);
		break;
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case 36: /* F_OFD_GETLK */
	case 37:
	case 38:
		r = fcntl_lock(f, (int)cmd, arg);
		break;
	case F_SETOWN:
		r = file_setown(f, (s32)arg);
		break;
	case F_GETOWN:
		r = file_getown(f);
		break;
	case F_SETOWN_EX:
	case F_GETOWN_EX:
		r = file_owner_ex(f, arg, cmd == F_SETOWN_EX);
		break;
	case F_SETSIG:
		if (arg > NSIGS)
			r = -EINVAL;
		else
			f->sig = (u32)arg;
		break;
	case F_GETSIG:
		r = f->sig;
		break;
	case 1024: /* F_SETLEASE */
		r = -EAGAIN;
		break;
	case 1025: /* F_GETLEASE */
		r = F_UNLCK;
		break;
	case 1031: /* F_SETPIPE_SZ */
	case 1032:
		r = file_is_pipe(f) ? pipe_set_size(f, cmd == 1031 ? arg : 0) : -EBADF;
		break;
	case 1033:
	case 1034:
		r = fcntl_seals(f, cmd, arg);
		break;
	default:
		r = -EINVAL;
	}
	file_put(f);
	return r;
}

SYSCALL(ioctl, "fxx", int fd, u32 cmd, u64 arg)
{
	struct fdtable *t = current->files;
	struct file *f = fd_get(fd);
	s64 r = -ENOTTY;
	int v;

	if (!f || (f->flags & O_PATH)) {
		if (f)
			file_put(f);
		return -EBADF;
	}
	switch (cmd) {
	case FIOCLEX:
		t->cloexec[fd / 64] |= 1ull << fd % 64;
		r = 0;
		break;
	case FIONCLEX:
		t->cloexec[fd / 64] &= ~(1ull << fd % 64);
		r = 0;
		break;
	case FIONBIO:
		r = get_user(v, arg);
		if (!r)
			f->flags = v ? f->flags | O_NONBLOCK : f->flags & ~(u32)O_NONBLOCK;
		break;
	case FIOASYNC:
		r = get_user(v, arg);
		if (!r)
			r = file_async(f, fd, v != 0);
		break;
	case FIONREAD:
		if (is_reg(f->inode)) {
			r = put_user(
			    (int){(int)MIN(f->inode->size - MIN(f->pos, f->inode->size),
					   0x7fffffffull)},
			    arg);
			break;
		}
		/* fall through */
	default:
		if (f->ops->ioctl)
			r = f->ops->ioctl(f, cmd, arg);
	}
	file_put(f);
	return r;
}

SYSCALL(pipe2, "px", u64 ufds, u32 flags)
{
	struct file *f[2];
	int fds[2], r;

	if (flags & ~(u32)(O_CLOEXEC | O_NONBLOCK | O_DIRECT))
		return -EINVAL;
	r = pipe_new(f, flags);
	if (!r)
		r = fd_install_pair(f[0], f[1], (flags & O_CLOEXEC) != 0, fds);
	if (r)
		return r;
	if (copy_out(ufds, fds, sizeof(fds))) {
		fd_close(fds[0]);
		fd_close(fds[1]);
		return -EFAULT;
	}
	return 0;
}

SYSCALL(pipe, "p", u64 ufds)
{
	return sys_pipe2(ufds, 0);
}

s64 fd_sync(int fd)
{
	struct file *f = fd_get(fd);
	s64 r;

	if (!f)
		return -EBADF;
	r = f->flags & O_PATH                      ? -EBADF
	    : f->ops->fsync                        ? f->ops->fsync(f, false)
	    : is_reg(f->inode) || is_dir(f->inode) ? 0
						   : -EINVAL;
	file_put(f);
	return r;
}

SYSCALL(fsync, "f", int fd)
{
	return fd_sync(fd);
}
SYSCALL(fdatasync, "f", int fd)
{
	return fd_sync(fd);
}

SYSCALL(sync_file_range, "fddx", int fd, s64 off, s64 n, u32 flags)
{
	return off < 0 || n < 0 ? -EINVAL : fd_sync(fd);
}

SYSCALL(syncfs, "f", int fd)
{
	struct file *f = fd_get(fd);
	s64 r = 0;

	if (!f)
		return -EBADF;
	if (f->inode->sb->ops && f->inode->sb->ops->sync)
		r = f->inode->sb->ops->sync(f->inode->sb);
	file_put(f);
	return r;
}

SYSCALL(sync, "", void)
{
	mounts_sync(false);
	return 0;
}

SYSCALL(ftruncate, "fd", int fd, s64 size)
{
	struct file *f = fd_get(fd);
	s64 r;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH)
		r = -EBADF;
	else if (size < 0 || !(f->flags & 3) || !is_reg(f->inode))
		r = -EINVAL;
	else if ((u64)size > current->proc->rlim[RLIMIT_FSIZE].cur) {
		sig_send_thread(current, SIGXFSZ, NULL);
		r = -EFBIG;
	} else
		r = inode_truncate(f->inode, (u64)size);
	if (!r && NOTIFY_ACTIVE)
		notify_dentry(f->dentry, IN_MODIFY_K);
	file_put(f);
	return r;
}

SYSCALL(fallocate, "fxdd", int fd, int mode, s64 off, s64 len)
{
	struct file *f = fd_get(fd);
	s64 r;

	if (!f)
		return -EBADF;
	if (off < 0 || len <= 0)
		r = -EINVAL;
	else if (!(f->flags & 3) || (f->flags & O_PATH))
		r = -EBADF;
	else if (off > INT64_MAX - len)
		r = -EFBIG;
	else if (!is_reg(f->inode))
		r = file_is_pipe(f) ? -ESPIPE : -ENODEV;
	else if ((mode & 3) == 2)
		r = -EOPNOTSUPP;
	else if (!(mode & 1) && (u64)(off + len) > current->proc->rlim[RLIMIT_FSIZE].cur) {
		sig_send_thread(current, SIGXFSZ, NULL);
		r = -EFBIG;
	} else
		r = f->ops->fallocate ? f->ops->fallocate(f, mode, (u64)off, (u64)len)
				      : -EOPNOTSUPP;
	if (!r && NOTIFY_ACTIVE)
		notify_path(f->dentry, IN_MODIFY_K);
	file_put(f);
	return r;
}

SYSCALL(fadvise64, "fddd", int fd, s64 off, s64 len, int advice)
{
	struct file *f = fd_get(fd);
	s64 r = 0;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH)
		r = -EBADF;
	else if (file_is_pipe(f))
		r = -ESPIPE;
	else if (advice < 0 || advice > 5 || len < 0)
		r = -EINVAL;
	file_put(f);
	return r;
}

SYSCALL(readahead, "fdu", int fd, s64 off, u64 n)
{
	struct file *f = fd_get(fd);
	s64 r = f ? 0 : -EBADF;

	if (f) {
		if ((f->flags & 3) == O_WRONLY || (f->flags & O_PATH))
			r = -EBADF;
		else if (!is_reg(f->inode))
			r = -EINVAL;
		file_put(f);
	}
	return r;
}
