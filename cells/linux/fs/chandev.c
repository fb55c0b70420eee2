/* SPDX-License-Identifier: ISC */
/*
 * Devices that only a cell with the right to them has: /dev/d0ctl, through which d0d speaks the
 * control protocol (d0/control.h), and /dev/d0/chanN, byte streams of the cell's channels.
 *
 * /dev/d0ctl: write(2) one request structure, read(2) it back with its answer (per open
 * file); or ioctl(fd, D0CTL_CALL, struct): the request is replaced by the answer.
 * chanN: read and write bytes; poll; ioctl D0CHAN_INFO copies the struct d0_channel,
 * D0CHAN_RESET begins the stream anew.
 */
#include "cells/linux/inc/channel.h"
#include "cells/linux/inc/sys.h"
#include "d0/control.h"

#define D0CTL_CALL   0xd001
#define D0CHAN_INFO  0xd002
#define D0CHAN_RESET 0xd003
#define CTL_MAX      8192u

static u8 *ctl_page; /* two pages: requests need contiguous guest-physical memory */
static u32 ctl_room;

/* The request in buf is passed on and comes back in place. */
static s64 ctl_call(u8 *buf, u32 size)
{
	struct d0_ctl h;
	s64 r;

	if (size < sizeof(h) || size > ctl_room)
		return -EINVAL;
	memcpy(&h, buf, sizeof(h));
	if (h.size != size)
		return -EINVAL;
	memcpy(ctl_page, buf, size);
	r = hc_call(D0_HC_control, phys_of(ctl_page), size, 0).value;
	memcpy(buf, ctl_page, size);
	return r == D0_EFAULT ? -EIO : 0;
}

static int ctl_open(struct inode *ino, struct file *f)
{
	return ctl_page && (d0_info->caps & (D0_CAP_CONTROL | D0_CAP_INSPECT)) ? 0 : -ENXIO;
}

static ssize ctl_write(struct file *f, struct uio *u, u64 *pos)
{
	u32 n = (u32)u->left;
	u8 *buf;
	s64 r;

	if (u->left > CTL_MAX)
		return -EINVAL;
	buf = kalloc(n + 1);
	if (!buf)
		return -ENOMEM;
	r = uio_in(u, buf, n) ? -EFAULT : ctl_call(buf, n);
	if (r) {
		kfree(buf);
		return r;
	}
	kfree(f->dir_cache);
	f->dir_cache = (char *)buf;
	f->dir_gen = n;
	return n;
}

static ssize ctl_read(struct file *f, struct uio *u, u64 *pos)
{
	u64 n = MIN(u->left, f->dir_gen);

	if (!f->dir_cache)
		return 0;
	return file_text_out(f, u, 0, n) ? -EFAULT : (ssize)n;
}

static s64 ctl_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct d0_ctl h;
	u8 *buf;
	s64 r;

	if (cmd != D0CTL_CALL)
		return -ENOTTY;
	if (get_user(h, arg))
		return -EFAULT;
	if (h.size < sizeof(h) || h.size > CTL_MAX)
		return -EINVAL;
	buf = kalloc(h.size);
	if (!buf)
		return -ENOMEM;
	r = copy_in(buf, arg, h.size);
	if (!r) {
		memcpy(buf, &h, sizeof(h));
		r = ctl_call(buf, h.size);
	}
	if (!r)
		r = copy_out(arg, buf, h.size);
	kfree(buf);
	return r;
}

static const struct file_ops ctl_fops = {
    .open = ctl_open, .read = ctl_read, .write = ctl_write, .ioctl = ctl_ioctl};
static const struct char_dev dev_ctl = {240, 0, 1, NULL, 0600, &ctl_fops};
CHAR_DEV(dev_ctl);

/* ---- Streams ---- */
struct chan_dev {
	struct chan_stream stream;
	u32 generation;
	bool node; /* /dev/d0/chanN is there */
};
static struct chan_dev **devs; /* as many as the cell has channels */

static struct chan_stream *stream_of(struct file *f)
{
	return &devs[DEV_MINOR(f->inode->rdev)]->stream;
}

/* Both ends are gone, and the ring with them; a closed channel's ring may still be read. */
static bool gone(const struct chan_stream *c)
{
	return channel_entry(c->channel)->state == D0_CHANNEL_FREE;
}

static ssize ch_read(struct file *f, struct uio *u, u64 *pos)
{
	struct chan_stream *c = stream_of(f);
	u8 part[512];
	ssize done = 0;

	while (u->left) {
		bool notify = false;
		u32 n;
		int r;

		if (gone(c))
			return done;
		stream_peer_restarted(&c->s);
		n = (u32)stream_read(&c->s, part, MIN(u->left, sizeof(part)), &notify);
		if (notify)
			channel_notify(c->channel);
		if (n) {
			if (uio_out(u, part, n))
				return -EFAULT;
			done += n;
			continue;
		}
		if (done || stream_at_eof(&c->s) ||
		    channel_entry(c->channel)->state != D0_CHANNEL_OPEN)
			return done;
		if (stream_wait_read(&c->s))
			continue;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		r = wait_on(&c->wait, NEVER, true);
		if (r)
			return r;
	}
	return done;
}

static ssize ch_write(struct file *f, struct uio *u, u64 *pos)
{
	struct chan_stream *c = stream_of(f);
	u8 part[512];
	ssize done = 0;

	while (u->left) {
		bool notify = false;
		u32 room;
		int r;

		if (channel_entry(c->channel)->state != D0_CHANNEL_OPEN)
			return done ? done : -EPIPE;
		room = (u32)MIN(byte_ring_writable(&c->s.tx), MIN(u->left, sizeof(part)));
		if (room) {
			if (uio_in(u, part, room))
				return done ? done : -EFAULT;
			done += (ssize)stream_write(&c->s, part, room, &notify);
			if (notify)
				channel_notify(c->channel);
			continue;
		}
		if (stream_wait_write(&c->s))
			continue;
		if (f->flags & O_NONBLOCK)
			return done ? done : -EAGAIN;
		r = wait_on(&c->wait, NEVER, true);
		if (r)
			return done ? done : r;
	}
	return done;
}

static u32 ch_poll(struct file *f, struct poll_table *pt)
{
	struct chan_stream *c = stream_of(f);
	u32 m = 0;

	poll_wait(pt, &c->wait);
	if (gone(c))
		return POLLHUP | POLLIN;
	if (stream_peer_restarted(&c->s) || stream_wait_read(&c->s) || stream_at_eof(&c->s))
		m |= POLLIN | POLLRDNORM;
	if (stream_wait_write(&c->s))
		m |= POLLOUT | POLLWRNORM;
	if (channel_entry(c->channel)->state != D0_CHANNEL_OPEN)
		m |= POLLHUP | POLLIN;
	return m;
}

static s64 ch_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct d0_channel e;

	if (cmd == D0CHAN_RESET)
		return chan_stream_open(stream_of(f), stream_of(f)->channel);
	if (cmd != D0CHAN_INFO)
		return -ENOTTY;
	memcpy(&e, (const void *)channel_entry(stream_of(f)->channel), sizeof(e));
	return copy_out(arg, &e, sizeof(e));
}

static int ch_open(struct inode *ino, struct file *f)
{
	u32 n = DEV_MINOR(ino->rdev);

	return devs && n < d0_info->channels && devs[n] ? 0 : -ENXIO;
}
static const struct file_ops ch_fops = {
    .open = ch_open, .read = ch_read, .write = ch_write, .poll = ch_poll, .ioctl = ch_ioctl};
static const struct char_dev dev_chan = {241, 0, D0_CHANNELS_MAX, NULL, 0600, &ch_fops};
CHAR_DEV(dev_chan);

static void make_nodes(void)
{
	char path[32];

	for (u32 i = 0; devs && i < d0_info->channels; i++) {
		if (!devs[i] || devs[i]->node)
			continue;
		devs[i]->node = true;
		vfs_mkdir(AT_FDCWD, "/dev/d0", 0755);
		format(path, sizeof(path), "/dev/d0/chan%u", i);
		vfs_mknod(AT_FDCWD, path, S_IFCHR | 0600, MKDEV(241, i), NULL);
	}
}

/* Channels that appeared get a stream; nodes are made once /dev is there. */
static bool nodes_ready, pending_nodes;
static struct waitq node_wait;

void chandev_config(void);
void chandev_config(void)
{
	if (!devs)
		devs = kalloc(d0_info->channels * sizeof(struct chan_dev *));
	for (u32 i = 0; devs && i < d0_info->channels; i++) {
		const volatile struct d0_channel *e = channel_entry(i);
		struct chan_dev *c = devs[i];

		if (e->state != D0_CHANNEL_OPEN) {
			if (c)
				wake_all(&c->stream.wait);
			continue;
		}
		if (e->protocol != D0_PROTO_STREAM && e->protocol != D0_PROTO_ADMIN &&
		    !(e->protocol == D0_PROTO_CONSOLE && e->role == D0_ROLE_SERVER))
			continue;
		if (e->role == D0_ROLE_CLIENT && !strcmp((const char *)e->label, "rootfs"))
			continue; /* the kernel's own */
		if (c && c->generation == e->generation)
			continue;
		if (!c)
			c = devs[i] = kalloc(sizeof(*c));
		if (!c || chan_stream_open(&c->stream, i))
			continue;
		c->generation = e->generation;
		wake_all(&c->stream.wait);
		pending_nodes |= !c->node;
	}
	if (nodes_ready && pending_nodes)
		wake_all(&node_wait);
}

/* Events come in any context; nodes are made by a thread with rights of its own. */
static void node_thread(void *arg)
{
	for (;;) {
		wait_event(&node_wait, pending_nodes, NEVER);
		pending_nodes = false;
		make_nodes();
	}
}

void chandev_nodes(void);
void chandev_nodes(void)
{
	struct thread *t;

	static u8 pages[CTL_MAX] __attribute__((aligned(4096)));

	nodes_ready = true;
	ctl_page = pages;
	ctl_room = sizeof(pages);
	if (d0_info->caps & (D0_CAP_CONTROL | D0_CAP_INSPECT))
		vfs_mknod(AT_FDCWD, "/dev/d0ctl", S_IFCHR | 0600, MKDEV(240, 0), NULL);
	make_nodes();
	t = kthread_start(node_thread, NULL, "channels");
	if (!t)
		return;
	t->fs = current->fs;
	t->fs->refs++;
	t->cred = cred_get(current->cred);
	t->files = current->files;
	t->files->refs++;
}
