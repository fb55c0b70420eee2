/* SPDX-License-Identifier: ISC */
/*
 * Pipes and FIFOs: a ring of bytes in pages that are allocated as they fill. Writes of at most
 * PIPE_BUF bytes are whole or not at all.
 *
 * Copying to and from a program's memory may sleep. Who moves head or tail or changes the table
 * of pages therefore holds `copying`; looking at how full the pipe is needs no lock.
 */
#include "cells/linux/inc/vfs.h"
#include <asm/ioctls.h>

#define PIPE_PAGES_DEFAULT 16
#define PIPE_ATOMIC        4096

u32 pipe_max_size = 1048576;

struct pipe {
	u32 refs;
	u32 readers, writers;
	u32 opens_r, opens_w;
	struct klock copying;
	u64 head, tail; /* bytes read and written so far */
	u32 pages;
	struct page **page;
	struct waitq wait;
	bool packet;
};

static struct pipe *pipe_alloc(void)
{
	struct pipe *p = kalloc(sizeof(*p));

	if (p) {
		p->refs = 1;
		p->pages = PIPE_PAGES_DEFAULT;
		p->page = kalloc(p->pages * sizeof(*p->page));
		if (!p->page) {
			kfree(p);
			return NULL;
		}
	}
	return p;
}

static void pipe_put(struct pipe *p)
{
	if (--p->refs)
		return;
	for (u32 i = 0; i < p->pages; i++)
		if (p->page[i])
			page_put(p->page[i]);
	kfree(p->page);
	kfree(p);
}

static u64 pipe_used(const struct pipe *p)
{
	return p->tail - p->head;
}

static u64 pipe_space(const struct pipe *p)
{
	return p->pages * PAGE_SIZE - pipe_used(p);
}

static ssize pipe_drain(struct pipe *p, struct uio *u)
{
	ssize done = 0;

	while (u->left && pipe_used(p)) {
		u64 off = p->head & (PAGE_SIZE - 1), n = MIN(PAGE_SIZE - off, pipe_used(p));
		u32 slot = (u32)(p->head / PAGE_SIZE % p->pages);
		int r;

		n = MIN(n, u->left);
		r = uio_out(u, (u8 *)page_ptr(p->page[slot]) + off, n);
		if (r)
			return done ? done : r;
		p->head += n;
		done += (ssize)n;
		if (!(p->head & (PAGE_SIZE - 1)) || p->head == p->tail) {
			/* An empty pipe keeps no page but starts at a fresh one. */
			if (p->head == p->tail)
				p->head = p->tail = ALIGN_UP(p->head, PAGE_SIZE);
			if (p->page[slot] && slot > 0 &&
			    pipe_used(p) + PAGE_SIZE <= p->pages * PAGE_SIZE) {
				page_put(p->page[slot]);
				p->page[slot] = NULL;
			}
		}
	}
	return done;
}

static ssize pipe_read(struct file *f, struct uio *u, u64 *pos)
{
	struct pipe *p = f->priv;
	ssize done = 0;
	int r;

	while (u->left && !done) { /* another reader may be faster */
		if (!pipe_used(p)) {
			if (!p->writers)
				return 0;
			if ((f->flags & O_NONBLOCK) || u->nonblock)
				return -EAGAIN;
			r = wait_event(&p->wait, pipe_used(p) || !p->writers, NEVER);
			if (r)
				return r;
		}
		klock_take(&p->copying);
		done = pipe_drain(p, u);
		klock_drop(&p->copying);
	}
	wake_events(&p->wait, POLLOUT | POLLWRNORM);
	return done;
}

static ssize pipe_fill(struct pipe *p, struct uio *u, u64 want)
{
	ssize done = 0;

	while (want) {
		u64 off = p->tail & (PAGE_SIZE - 1), n = MIN(PAGE_SIZE - off, want);
		struct page **pg = &p->page[p->tail / PAGE_SIZE % p->pages];
		int r;

		if (!*pg)
			*pg = page_alloc_nozero(PAGE_KERNEL);
		if (!*pg)
			return done ? done : -ENOMEM;
		r = uio_in(u, (u8 *)page_ptr(*pg) + off, n);
		if (r)
			return done ? done : r;
		p->tail += n;
		want -= n;
		done += (ssize)n;
	}
	return done;
}

static ssize pipe_write(struct file *f, struct uio *u, u64 *pos)
{
	struct pipe *p = f->priv;
	ssize done = 0;

	if (!u->left)
		return 0;
	for (;;) {
		u64 need = u->left <= PIPE_ATOMIC ? u->left : 1, n;
		ssize r;

		if (!p->readers) {
			sig_send_thread(current, SIGPIPE, NULL);
			return done ? done : -EPIPE;
		}
		klock_take(&p->copying);
		n = pipe_space(p);
		r = n >= need ? pipe_fill(p, u, MIN(n, u->left)) : 0;
		klock_drop(&p->copying);
		if (r < 0)
			return done ? done : r;
		if (r) {
			done += r;
			wake_events(&p->wait, POLLIN | POLLRDNORM);
			if (!u->left)
				return done;
			continue;
		}
		if ((f->flags & O_NONBLOCK) || u->nonblock)
			return done ? done : -EAGAIN;
		r = wait_event(&p->wait, pipe_space(p) >= need || !p->readers, NEVER);
		if (r)
			return done ? done : r;
	}
}

static u32 pipe_poll(struct file *f, struct poll_table *pt)
{
	struct pipe *p = f->priv;
	u32 m = 0, acc = f->flags & O_ACCMODE;

	poll_wait(pt, &p->wait);
	if (acc != O_WRONLY) {
		if (pipe_used(p))
			m |= POLLIN | POLLRDNORM;
		if (!p->writers && p->opens_w)
			m |= POLLHUP;
	}
	if (acc != O_RDONLY) {
		if (pipe_space(p) >= PIPE_ATOMIC)
			m |= POLLOUT | POLLWRNORM;
		if (!p->readers)
			m |= POLLERR;
	}
	return m;
}

static s64 pipe_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct pipe *p = f->priv;

	if (cmd == FIONREAD)
		return put_user((int){(int)pipe_used(p)}, arg);
	return -ENOTTY;
}

static void pipe_release(struct file *f)
{
	struct pipe *p = f->priv;
	u32 acc = f->flags & O_ACCMODE;

	if (acc != O_WRONLY)
		p->readers--;
	if (acc != O_RDONLY)
		p->writers--;
	wake_all(&p->wait);
	if (f->inode->pipe == p && !p->readers && !p->writers)
		f->inode->pipe = NULL;
	pipe_put(p);
}

static const struct file_ops pipe_fops = {.read = pipe_read,
					  .write = pipe_write,
					  .poll = pipe_poll,
					  .ioctl = pipe_ioctl,
					  .release = pipe_release};

bool file_is_pipe(struct file *f)
{
	return f->ops == &pipe_fops;
}

int pipe_new(struct file *out[2], u32 flags)
{
	static u32 serial;
	struct pipe *p = pipe_alloc();
	char name[32];

	if (!p)
		return -ENOMEM;
	format(name, sizeof(name), "pipe:[%u]", ++serial);
	p->readers = p->writers = p->opens_r = p->opens_w = 1;
	out[0] =
	    anon_file(name, &pipe_fops, p, O_RDONLY | (flags & O_NONBLOCK), S_IFIFO | 0600);
	if (!out[0]) {
		pipe_put(p);
		return -ENFILE;
	}
	p->refs++;
	out[1] = file_new(&pipe_fops, O_WRONLY | (flags & (O_NONBLOCK | O_DIRECT)));
	if (!out[1]) {
		p->refs--;
		p->writers = 0;
		file_put(out[0]);
		return -ENFILE;
	}
	out[0]->inode->pipe = p; /* found again through /dev/stdout */
	out[1]->priv = p;
	out[1]->inode = out[0]->inode;
	out[1]->dentry = out[0]->dentry;
	inode_get(out[1]->inode);
	dentry_get(out[1]->dentry);
	return 0;
}

/* Opening a FIFO waits for the other side unless O_NONBLOCK or O_RDWR. */
static int fifo_open(struct inode *ino, struct file *f)
{
	u32 acc = f->flags & O_ACCMODE, seen;
	struct pipe *p = ino->pipe;
	int r = 0;

	if (!p) {
		p = ino->pipe = pipe_alloc();
		if (!p)
			return -ENOMEM;
	} else {
		p->refs++;
	}
	f->ops = &pipe_fops;
	f->priv = p;
	if (acc != O_WRONLY) {
		p->readers++;
		p->opens_r++;
	}
	if (acc != O_RDONLY) {
		p->writers++;
		p->opens_w++;
	}
	wake_all(&p->wait);
	if (ino->sb->magic == PIPEFS_MAGIC)
		return 0; /* one of pipe() opened anew through /proc */
	if (acc == O_RDONLY && !p->writers && !(f->flags & O_NONBLOCK)) {
		seen = p->opens_w;
		r = wait_event(&p->wait, p->writers || p->opens_w != seen, NEVER);
	} else if (acc == O_WRONLY && !p->readers) {
		seen = p->opens_r;
		r = f->flags & O_NONBLOCK
			? -ENXIO
			: wait_event(&p->wait, p->readers || p->opens_r != seen, NEVER);
	}
	if (r)
		pipe_release(f);
	return r;
}
const struct file_ops fifo_fops = {.open = fifo_open};

static s64 pipe_resize(struct pipe *p, u32 pages)
{
	struct page **n;

	if (pipe_used(p) > (pages - 1) * PAGE_SIZE && pages != p->pages)
		return -EBUSY;
	n = kalloc(pages * sizeof(*n));
	if (!n)
		return -ENOMEM;
	for (u64 a = p->head & PAGE_MASK; a < p->tail; a += PAGE_SIZE) {
		/* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a pipe has a page at least */
		n[a / PAGE_SIZE % pages] = p->page[a / PAGE_SIZE % p->pages];
		p->page[a / PAGE_SIZE % p->pages] = NULL;
	}
	for (u32 i = 0; i < p->pages; i++)
		if (p->page[i])
			page_put(p->page[i]);
	kfree(p->page);
	p->page = n;
	p->pages = pages;
	return (s64)(pages * PAGE_SIZE);
}

s64 pipe_set_size(struct file *f, u64 bytes);
s64 pipe_set_size(struct file *f, u64 bytes)
{
	struct pipe *p = f->priv;
	u32 pages = 1;
	s64 r;

	if (bytes == 0)
		return (s64)(p->pages * PAGE_SIZE);
	if (bytes > 1u << 31)
		return -EINVAL;
	while (pages * PAGE_SIZE < bytes)
		pages *= 2;
	if (pages * PAGE_SIZE > pipe_max_size && pages > p->pages && !capable(24))
		return -EPERM;
	if (pages > page_total() / 8)
		return -ENOMEM;
	klock_take(&p->copying);
	r = pipe_resize(p, pages);
	klock_drop(&p->copying);
	return r;
}

/* Bytes that a pipe takes now, after waiting for some unless nonblock; or -errno. */
s64 pipe_room(struct file *f, bool nonblock);
s64 pipe_room(struct file *f, bool nonblock)
{
	struct pipe *p = f->priv;
	int r;

	if (!pipe_space(p) && p->readers) {
		if (nonblock || (f->flags & O_NONBLOCK))
			return -EAGAIN;
		r = wait_event(&p->wait, pipe_space(p) || !p->readers, NEVER);
		if (r)
			return r;
	}
	return p->readers ? (s64)pipe_space(p) : 1; /* the write tells of the missing reader */
}

/* Up to n bytes of a also into b; both are held. -ENOMEM: b got no page; 0: nothing to do. */
static s64 tee_copy(struct pipe *a, struct pipe *b, u64 n)
{
	u64 at = a->head, end = at + MIN(MIN(n, pipe_used(a)), pipe_space(b));
	s64 done = 0;

	while (at < end) {
		u64 off = at & (PAGE_SIZE - 1), part = MIN(PAGE_SIZE - off, end - at);
		struct iovec_k iov;
		struct uio u;
		ssize w;

		uio_kernel(&u, &iov, (u8 *)page_ptr(a->page[at / PAGE_SIZE % a->pages]) + off,
			   part);
		w = pipe_fill(b, &u, part);
		if (w <= 0)
			return done ? done : -ENOMEM;
		at += (u64)w;
		done += w;
	}
	return done;
}

s64 pipe_tee(struct file *in, struct file *out, u64 n);
s64 pipe_tee(struct file *in, struct file *out, u64 n)
{
	struct pipe *a = in->priv, *b = out->priv, *first;
	s64 done;
	int r;

	if (a == b)
		return -EINVAL;
	if (!n)
		return 0;
	if (!pipe_used(a)) {
		if (!a->writers)
			return 0;
		if (in->flags & O_NONBLOCK)
			return -EAGAIN;
		r = wait_event(&a->wait, pipe_used(a) || !a->writers, NEVER);
		if (r)
			return r;
	}
	if (!b->readers) {
		sig_send_thread(current, SIGPIPE, NULL);
		return -EPIPE;
	}
	if (!pipe_space(b)) {
		if (out->flags & O_NONBLOCK)
			return -EAGAIN;
		r = wait_event(&b->wait, pipe_space(b) || !b->readers, NEVER);
		if (r)
			return r;
	}
	first = a < b ? a : b; /* so that no two wait for each other */
	klock_take(&first->copying);
	klock_take(first == a ? &b->copying : &a->copying);
	done = tee_copy(a, b, n);
	klock_drop(&a->copying);
	klock_drop(&b->copying);
	wake_events(&b->wait, POLLIN | POLLRDNORM);
	return done ? done : -EAGAIN;
}
