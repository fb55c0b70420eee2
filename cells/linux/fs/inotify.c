/* SPDX-License-Identifier: ISC */
/*
 * inotify. A watch hangs on an inode and belongs to an instance; events queue in the
 * instance until they are read. Names of entries are told to watches of the directory.
 */
#include "cells/linux/inc/sys.h"
#include <linux/inotify.h>
#include <asm/ioctls.h>

u32 inotify_limits[3] = {16384, 128, 65536}; /* events queued, instances, watches */
#define QUEUE_MAX inotify_limits[0]
static u32 instances;

struct instance {
	struct list watches, events;
	struct waitq wait;
	int next_wd;
	u32 queued;
};
struct watch {
	struct list in_instance, in_inode;
	struct instance *inst;
	struct inode *inode;
	struct dentry *held; /* where names may change behind our back it keeps the inode */
	int wd;
	u32 mask;
};
struct event {
	struct list link;
	int wd;
	u32 mask, cookie, len; /* len: of the name with NUL padding */
	char name[];
};
u32 inotify_watches;

static void queue_event(struct instance *in, int wd, u32 mask, u32 cookie, const char *name)
{
	u32 len = name ? ALIGN_UP((u32)strlen(name) + 1, 16u) : 0;
	struct event *e, *last;

	if (in->queued > QUEUE_MAX)
		return;
	if (in->queued == QUEUE_MAX) {
		wd = -1;
		mask = IN_Q_OVERFLOW;
		len = 0;
	}
	if (!list_empty(&in->events)) {
		last = container_of(in->events.prev, struct event, link);
		if (last->wd == wd && last->mask == mask && last->cookie == cookie &&
		    last->len == len && (!len || !strcmp(last->name, name)))
			return;
	}
	e = kalloc(sizeof(*e) + len);
	if (!e)
		return;
	e->wd = wd;
	e->mask = mask;
	e->cookie = cookie;
	e->len = len;
	if (len)
		str_copy(e->name, name, len);
	list_add_tail(&in->events, &e->link);
	in->queued++;
	wake_events(&in->wait, POLLIN | POLLRDNORM);
}

static void watch_free(struct watch *w)
{
	struct inode *i = w->inode;
	struct dentry *held = w->held;

	list_del(&w->in_instance);
	list_del(&w->in_inode);
	inotify_watches--;
	kfree(w);
	inode_put(i);
	if (held)
		dentry_put(held);
}

/* gone: it happened through an open file that has no name any more; who asks so is not told. */
static void notify_inode(struct inode *i, u32 mask, u32 cookie, const char *name, bool gone)
{
	struct watch *w, *tmp;

	list_each_safe(w, tmp, &i->watches, in_inode) if (w->mask & mask & IN_ALL_EVENTS)
	{
		if (gone && (w->mask & IN_EXCL_UNLINK))
			continue;
		queue_event(w->inst, w->wd, mask, cookie, name);
		if (w->mask & IN_ONESHOT) {
			queue_event(w->inst, w->wd, IN_IGNORED, 0, NULL);
			watch_free(w);
		}
	}
}

void notify_name(struct dentry *dir, const char *name, u32 mask, u32 cookie)
{
	if (!list_empty(&dir->inode->watches))
		notify_inode(dir->inode, mask, cookie, name, false);
}

static void notify_both(struct dentry *d, u32 mask, bool gone)
{
	struct inode *i = d->inode;
	u32 isdir = is_dir(i) && mask != IN_MOVE_SELF ? IN_ISDIR : 0;

	inode_get(i);
	if (d->parent != d && mask != IN_MOVE_SELF && !list_empty(&d->parent->inode->watches))
		notify_inode(d->parent->inode, mask | isdir, 0, d->name, gone);
	if (!list_empty(&i->watches))
		notify_inode(i, mask | isdir, 0, NULL, gone);
	inode_put(i);
}

void notify_dentry(struct dentry *d, u32 mask)
{
	notify_both(d, mask, false);
}

void notify_path(struct dentry *d, u32 mask)
{
	notify_both(d, mask, d->unlinked);
}

void notify_links(struct inode *i)
{
	if (!is_dir(i) && !list_empty(&i->watches))
		notify_inode(i, IN_ATTRIB, 0, NULL, false);
}

/* The last name is gone, and who had it open: watchers are told and forget. */
void notify_inode_gone(struct inode *i)
{
	if (i->nlink && !i->dead_dir)
		return;
	while (!list_empty(&i->watches)) {
		struct watch *w = list_first(&i->watches, struct watch, in_inode);

		if (w->mask & IN_DELETE_SELF)
			queue_event(w->inst, w->wd, IN_DELETE_SELF, 0, NULL);
		queue_event(w->inst, w->wd, IN_IGNORED, 0, NULL);
		watch_free(w);
	}
}

static ssize in_read(struct file *f, struct uio *u, u64 *pos)
{
	struct instance *in = f->priv;
	ssize done = 0;

	while (u->left >= sizeof(struct inotify_event)) {
		struct inotify_event h;
		struct event *e;
		int r;

		if (list_empty(&in->events)) {
			if (done)
				return done;
			if (f->flags & O_NONBLOCK)
				return -EAGAIN;
			r = wait_event(&in->wait, !list_empty(&in->events), NEVER);
			if (r)
				return r;
		}
		e = list_first(&in->events, struct event, link);
		if (sizeof(h) + e->len > u->left)
			return done ? done : -EINVAL;
		h = (struct inotify_event){e->wd, e->mask, e->cookie, e->len};
		/* Ours now: while we copy another reader may come. */
		list_del(&e->link);
		in->queued--;
		r = uio_out(u, &h, sizeof(h)) || uio_out(u, e->name, e->len);
		kfree(e);
		if (r)
			return done ? done : -EFAULT;
		done += (ssize)(sizeof(h) + h.len);
	}
	return done ? done : -EINVAL;
}

static u32 in_poll(struct file *f, struct poll_table *pt)
{
	struct instance *in = f->priv;

	poll_wait(pt, &in->wait);
	return list_empty(&in->events) ? 0 : POLLIN | POLLRDNORM;
}

static s64 in_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct instance *in = f->priv;
	struct event *e;
	int n = 0;

	if (cmd != FIONREAD)
		return -ENOTTY;
	list_each(e, &in->events, link) n += (int)(sizeof(struct inotify_event) + e->len);
	return put_user(n, arg);
}

static void in_release(struct file *f)
{
	struct instance *in = f->priv;

	while (!list_empty(&in->watches))
		watch_free(list_first(&in->watches, struct watch, in_instance));
	while (!list_empty(&in->events)) {
		struct event *e = list_first(&in->events, struct event, link);

		list_del(&e->link);
		kfree(e);
	}
	kfree(in);
	instances--;
}

static void in_fdinfo(struct file *f, char *buf, size_t size)
{
	struct instance *in = f->priv;
	struct watch *w;
	size_t n = 0;

	*buf = 0;
	list_each(w, &in->watches, in_instance)
	{
		int more =
		    format(buf + n, size - n,
			   "inotify wd:%x ino:%lx sdev:%lx mask:%x ignored_mask:0\n", w->wd,
			   w->inode->ino, w->inode->sb ? w->inode->sb->dev : 0, w->mask);

		if ((size_t)more >= size - n) {
			buf[n] = 0;
			break;
		}
		n += (size_t)more;
	}
}

static const struct file_ops in_fops = {.read = in_read,
					.poll = in_poll,
					.ioctl = in_ioctl,
					.release = in_release,
					.fdinfo = in_fdinfo};

SYSCALL(inotify_init1, "x", u32 flags)
{
	struct instance *in;
	struct file *f;
	int fd;

	if (flags & ~(u32)(IN_CLOEXEC | IN_NONBLOCK))
		return -EINVAL;
	if (instances >= inotify_limits[1])
		return -EMFILE;
	in = kalloc(sizeof(*in));
	if (!in)
		return -ENOMEM;
	f = anon_file("anon_inode:inotify", &in_fops, in, O_RDONLY | (flags & O_NONBLOCK),
		      0600);
	if (!f) {
		kfree(in);
		return -ENOMEM;
	}
	instances++;
	fd = fd_install(f, 0, (flags & O_CLOEXEC) != 0);
	if (fd < 0)
		file_put(f);
	return fd;
}
SYSCALL(inotify_init, "", void)
{
	return sys_inotify_init1(0);
}

static s64 add_watch(struct instance *in, struct dentry *d, u32 mask)
{
	struct inode *i = d->inode;
	struct watch *w;

	list_each(w, &in->watches, in_instance) if (w->inode == i)
	{
		if (mask & IN_MASK_CREATE)
			return -EEXIST;
		w->mask = mask & IN_MASK_ADD ? w->mask | mask : mask;
		return w->wd;
	}
	if (inotify_watches >= inotify_limits[2])
		return -ENOSPC;
	w = kalloc(sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->inst = in;
	w->inode = i;
	inode_get(i);
	if (i->sb && i->sb->revalidate) {
		w->held = d;
		dentry_get(d);
	}
	w->wd = ++in->next_wd;
	w->mask = mask;
	list_add_tail(&in->watches, &w->in_instance);
	list_add_tail(&i->watches, &w->in_inode);
	inotify_watches++;
	return w->wd;
}

SYSCALL(inotify_add_watch, "fsx", int fd, u64 path, u32 mask)
{
	struct file *f = fd_get(fd);
	struct dentry *d;
	s64 r;

	if (!f)
		return -EBADF;
	if (f->ops != &in_fops || !(mask & IN_ALL_EVENTS) ||
	    (mask & (IN_MASK_ADD | IN_MASK_CREATE)) == (IN_MASK_ADD | IN_MASK_CREATE)) {
		file_put(f);
		return -EINVAL;
	}
	r = user_path(AT_FDCWD, path,
		      (mask & IN_DONT_FOLLOW ? 0 : LOOKUP_FOLLOW) |
			  (mask & IN_ONLYDIR ? LOOKUP_DIRECTORY : 0),
		      &d);
	if (!r) {
		r = inode_permission(d->inode, MAY_READ);
		if (!r)
			r = add_watch(f->priv, d, mask);
		dentry_put(d);
	}
	file_put(f);
	return r;
}

SYSCALL(inotify_rm_watch, "fd", int fd, int wd)
{
	struct file *f = fd_get(fd);
	struct watch *w;
	s64 r = -EINVAL;

	if (!f)
		return -EBADF;
	if (f->ops == &in_fops)
		list_each(w, &((struct instance *)f->priv)->watches,
			  in_instance) if (w->wd == wd)
		{
			queue_event(f->priv, wd, IN_IGNORED, 0, NULL);
			watch_free(w);
			r = 0;
			break;
		}
	file_put(f);
	return r;
}
