/* SPDX-License-Identifier: ISC */
/*
 * Moving data between descriptors: sendfile, splice and their kin. File pages go from the cache
 * to where they are written without a copy between; other sources are read into pages of our
 * own.
 */
#include "cells/linux/inc/sys.h"

s64 pipe_room(struct file *f, bool nonblock);

/*
 * A piece on its way: pages of a file as they lie in the cache, or pages of our own that were
 * read into. Borrowed pages are let go after each piece, our own at the end.
 */
#define SPAN_PAGES 16u
struct span {
	struct page *page[SPAN_PAGES];
	struct iovec_k iov[SPAN_PAGES];
	u32 pages;
	bool own;
};

static void span_drop(struct span *s)
{
	while (s->pages)
		page_put(s->page[--s->pages]);
	s->own = false;
}

static struct uio span_uio(struct span *s, u64 n)
{
	return (struct uio){.iov = s->iov, .count = s->pages, .left = n, .kernel = true};
}

/* The next bytes of a file's cache, up to a hole or its end (0: neither may be lent). */
static s64 span_borrow(struct span *s, struct file *in, u64 pos, u64 want)
{
	s64 got = 0;

	if (in->ops->read != generic_read)
		return 0;
	if (s->own)
		span_drop(s);
	while (want && s->pages < SPAN_PAGES) {
		u64 off = pos & (PAGE_SIZE - 1), n = MIN(want, PAGE_SIZE - off);
		int err = 0;
		struct page *p = pagecache_lend(in->inode, pos, &err);

		if (!p) {
			if (err && !got)
				return err;
			break;
		}
		n = MIN(n, in->inode->size - MIN(pos, in->inode->size));
		if (!n) { /* cut off while it was read */
			page_put(p);
			break;
		}
		s->page[s->pages] = p;
		s->iov[s->pages++] = (struct iovec_k){(u64)page_ptr(p) + off, n};
		pos += n;
		want -= n;
		got += (s64)n;
	}
	return got;
}

/* The next bytes of anything, by reading. */
static s64 span_read(struct span *s, struct file *in, u64 *pos, u64 want, bool nonblock)
{
	struct uio u;

	for (s->own = true; s->pages < 4; s->pages++) {
		struct page *p = page_alloc_nozero(PAGE_KERNEL);

		if (!p && !s->pages)
			return -ENOMEM;
		if (!p)
			break;
		s->page[s->pages] = p;
		s->iov[s->pages] = (struct iovec_k){(u64)page_ptr(p), PAGE_SIZE};
	}
	u = span_uio(s, MIN(want, s->pages * PAGE_SIZE));
	u.nonblock = nonblock;
	return in->ops->read(in, &u, pos);
}

static s64 span_write(struct span *s, struct file *out, u64 *pos, u64 n, bool more)
{
	struct uio u = span_uio(s, n);

	u.nonblock = file_is_pipe(out);
	u.more = more;
	return out->ops->write(out, &u, pos);
}

/* One piece of at most want bytes: what arrived, *taken of the source; 0 or -errno. */
static s64 pump_piece(struct span *s, struct file *in, u64 *in_pos, struct file *out,
		      u64 *out_pos, u64 want, bool first, u64 *taken)
{
	u64 start = *in_pos;
	s64 r = span_borrow(s, in, start, want), w;

	if (r > 0)
		*in_pos += (u64)r;
	else if (!r)
		r = span_read(s, in, in_pos, want, !first);
	if (r <= 0)
		return r;
	w = span_write(s, out, out_pos, (u64)r, (u64)r == want);
	if (w < r && in->ops->seek)
		*in_pos = start + (u64)MAX(w, (s64)0);
	if (!s->own)
		span_drop(s);
	*taken = (u64)r;
	return w;
}

static s64 pump(struct file *in, u64 *in_pos, struct file *out, u64 *out_pos, u64 n,
		bool nonblock)
{
	struct span s = {0};
	s64 done = 0, r = 0;

	while ((u64)done < n) {
		u64 want = MIN(n - (u64)done, SPAN_PAGES * PAGE_SIZE), taken;

		/* A full pipe ends the transfer: who fills it may be who empties it. */
		if (file_is_pipe(out)) {
			r = pipe_room(out, nonblock || done);
			if (r < 0)
				break;
			want = MIN(want, (u64)r);
		}
		r = pump_piece(&s, in, in_pos, out, out_pos, want, !nonblock && !done, &taken);
		if (r <= 0)
			break;
		done += r;
		if ((u64)r < taken || (s.own && taken < want && taken < s.pages * PAGE_SIZE) ||
		    sched_breathe())
			break;
	}
	span_drop(&s);
	if (done && out->ops->push)
		out->ops->push(out);
	return done ? done : r;
}

#define PUMP_SENDFILE 1u
#define PUMP_NONBLOCK 2u /* = SPLICE_F_NONBLOCK */

static void put_both(struct file *a, struct file *b)
{
	if (a)
		file_put(a);
	if (b)
		file_put(b);
}

static s64 pump_fds(int fd_in, u64 uin, int fd_out, u64 uout, u64 n, u32 how)
{
	bool sendfile = (how & PUMP_SENDFILE) != 0;
	struct file *in = fd_get(fd_in), *out = fd_get(fd_out);
	u64 ip, op;
	s64 r = -EBADF;

	if (!in || !out || (in->flags & 3) == O_WRONLY || !(out->flags & 3) ||
	    ((in->flags | out->flags) & O_PATH))
		goto out;
	r = -EINVAL;
	if (!in->ops->read || !out->ops->write || (sendfile && (out->flags & O_APPEND)))
		goto out;
	r = -ESPIPE;
	if ((uin && !in->ops->seek) || (uout && !out->ops->seek))
		goto out;
	r = -EFAULT;
	ip = in->pos;
	op = out->pos;
	if ((uin && get_user(ip, uin)) || (uout && get_user(op, uout)))
		goto out;
	r = -EINVAL;
	if ((s64)ip < 0 || (s64)op < 0)
		goto out;
	if ((s64)n < 0 || n > (u64)INT64_MAX - ip || n > (u64)INT64_MAX - op ||
	    (sendfile && is_dir(in->inode)))
		goto out;
	r = pump(in, &ip, out, &op, MIN(n, RW_MAX), (how & PUMP_NONBLOCK) != 0);
	if (r > 0 && NOTIFY_ACTIVE) {
		notify_path(in->dentry, IN_ACCESS_K);
		notify_path(out->dentry, IN_MODIFY_K);
	}
	if (uin)
		r = put_user(ip, uin) ? -EFAULT : r;
	else if (in->ops->seek)
		in->pos = ip;
	if (uout)
		r = put_user(op, uout) ? -EFAULT : r;
	else if (out->ops->seek)
		out->pos = op;
out:
	put_both(in, out);
	return r;
}

SYSCALL(sendfile, "ffpu", int out, int in, u64 uoff, u64 n)
{
	return pump_fds(in, uoff, out, 0, n, PUMP_SENDFILE);
}

SYSCALL(splice, "fpfpux", int in, u64 uin, int out, u64 uout, u64 n, u32 flags)
{
	struct file *a = fd_get(in), *b = fd_get(out);
	bool ok = a && b && (file_is_pipe(a) || file_is_pipe(b)) && !(flags & ~15u) &&
		  (!file_is_pipe(a) || !file_is_pipe(b) || a->inode != b->inode);

	/* Neither to appending files nor to descriptors that are no files (eventfd ...). */
	if (ok &&
	    ((b->flags & O_APPEND) || !(a->inode->mode & S_IFMT) || !(b->inode->mode & S_IFMT)))
		ok = false;
	put_both(a, b);
	if (!a || !b)
		return -EBADF;
	return ok ? pump_fds(in, uin, out, uout, n, flags & PUMP_NONBLOCK) : -EINVAL;
}

/* Bytes of a pipe, copied to another without taking them out; all in one step. */
s64 pipe_tee(struct file *in, struct file *out, u64 n);

SYSCALL(tee, "ffux", int in, int out, u64 n, u32 flags)
{
	struct file *a = fd_get(in), *b = fd_get(out);
	s64 r = -EBADF;

	if (a && b && (a->flags & O_ACCMODE) != O_WRONLY && (b->flags & O_ACCMODE)) {
		r = -EINVAL;
		if (file_is_pipe(a) && file_is_pipe(b) && !(flags & ~15u))
			r = pipe_tee(a, b, MIN(n, RW_MAX));
	}
	put_both(a, b);
	return r;
}

/* Pages are copied, never gifted: a program may change them after the call. */
SYSCALL(vmsplice, "fpux", int fd, u64 uiov, u64 count, u32 flags)
{
	struct file *f = fd_get(fd);
	struct iovec_k small[8], *heap = NULL;
	struct uio u;
	s64 r = f && !(f->flags & O_PATH) ? 0 : -EBADF;

	if (!r && !file_is_pipe(f))
		r = -EBADF;
	if (!r && (flags & ~15u))
		r = -EINVAL;
	if (!r)
		r = iovec_in(&u, uiov, count, small, &heap);
	if (!r && u.left) {
		u64 pos = 0;

		bool write = (f->flags & O_ACCMODE) != O_RDONLY;

		u.nonblock = (flags & 2) != 0;
		if (write)
			r = pipe_room(f, u.nonblock);
		if (r >= 0) {
			u.nonblock |= write; /* as much as there is room for */
			r = file_rw(f, &u, &pos, write);
		}
	}
	kfree(heap);
	if (f)
		file_put(f);
	return r;
}

SYSCALL(copy_file_range, "fpfpux", int in, u64 uin, int out, u64 uout, u64 n, u32 flags)
{
	struct file *a = fd_get(in), *b = fd_get(out);
	s64 r = 0;

	if (!a || !b)
		r = -EBADF;
	else if (is_dir(a->inode) || is_dir(b->inode))
		r = -EISDIR;
	else if (flags || !is_reg(a->inode) || !is_reg(b->inode))
		r = -EINVAL;
	else if (b->flags & O_APPEND)
		r = -EBADF;
	if (a)
		file_put(a);
	if (b)
		file_put(b);
	return r ? r : pump_fds(in, uin, out, uout, n, 0);
}
