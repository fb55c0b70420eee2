/* SPDX-License-Identifier: ISC */
/*
 * Pseudo-terminals and devpts. Opening ptmx makes a pair; the slave appears as a number in
 * every devpts. When the master is closed the slave hangs up.
 */
#include "cells/linux/inc/tty.h"
#include <asm/ioctls.h>

#define PTYS_MAX 256
static struct tty *ptys[PTYS_MAX];
int tty_open_common(struct tty *t, struct file *f);

static u32 pty_output(struct tty *t, const u8 *p, u32 n)
{
	u32 r = ring_put(&t->out, p, n);

	wake_all(&t->master_wait);
	return r;
}

static bool slave_gone(const struct tty *t)
{
	return !t->opens && t->was_open;
}

static bool master_has(const struct tty *t)
{
	return ring_used(&t->out) || (t->packet && t->packet_status);
}

static ssize master_read(struct file *f, struct uio *u, u64 *pos)
{
	struct tty *t = f->priv;
	ssize done = 0;
	int r;

	if (!master_has(t)) {
		if (slave_gone(t))
			return -EIO;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		r = wait_event(&t->master_wait, master_has(t) || slave_gone(t), NEVER);
		if (r)
			return r;
		if (!master_has(t))
			return -EIO;
	}
	if (t->packet && u->left) {
		u8 status = t->packet_status;

		t->packet_status = 0;
		if (uio_out(u, &status, 1))
			return -EFAULT;
		if (status)
			return 1;
		done = 1;
	}
	while (u->left && ring_used(&t->out)) {
		u8 part[256];
		u32 n = ring_get(&t->out, part, (u32)MIN(u->left, sizeof(part)));

		if (uio_out(u, part, n))
			return -EFAULT;
		done += n;
	}
	wake_all(&t->wait);
	return done;
}

static ssize master_write(struct file *f, struct uio *u, u64 *pos)
{
	struct tty *t = f->priv;
	ssize done = 0;
	int r;

	while (u->left) {
		u8 part[128];
		u32 n = (u32)MIN(u->left, sizeof(part));

		if (uio_in(u, part, n))
			return done ? done : -EFAULT;
		for (u32 i = 0, went; i < n; i += went) {
			went = ldisc_input(t, part + i, n - i);
			done += went;
			if (went)
				continue;
			if (slave_gone(t))
				return done ? done : -EIO;
			if (f->flags & O_NONBLOCK)
				return done ? done : -EAGAIN;
			r = wait_on(&t->master_wait, NEVER, true);
			if (r)
				return done ? done : r;
		}
	}
	return done;
}

static u32 master_poll(struct file *f, struct poll_table *pt)
{
	struct tty *t = f->priv;
	u32 m = ring_used(&t->pending) < TTY_PENDING ? POLLOUT | POLLWRNORM : 0;

	poll_wait(pt, &t->master_wait);
	if (master_has(t))
		m |= POLLIN | POLLRDNORM;
	if (t->packet && t->packet_status)
		m |= POLLPRI;
	if (slave_gone(t))
		m |= POLLHUP;
	return m;
}

static s64 master_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct tty *t = f->priv;
	int v;

	switch (cmd) {
	case TIOCGPTN:
		return put_user((u32){t->number}, arg);
	case TIOCSPTLCK:
		if (get_user(v, arg))
			return -EFAULT;
		t->locked = v != 0;
		return 0;
	case TIOCGPTLCK:
		v = t->locked;
		return put_user(v, arg);
	case TIOCGPTPEER: {
		struct file *s;
		char path[32];
		s64 r;

		format(path, sizeof(path), "/dev/pts/%u", t->number);
		t->locked = false;
		r = open_path(AT_FDCWD, path, (u32)arg & ~(u32)O_CLOEXEC, 0, LOOKUP_FOLLOW, &s);
		if (r < 0)
			return r;
		r = fd_install(s, 0, (arg & O_CLOEXEC) != 0);
		if (r < 0)
			file_put(s);
		return r;
	}
	case TCFLSH: /* its input is the slave's output; no status for itself */
		if (arg > TCIOFLUSH)
			return -EINVAL;
		if (arg != TCOFLUSH)
			t->out.tail = t->out.head;
		if (arg != TCIFLUSH)
			ldisc_flush(t);
		wake_all(&t->wait);
		return 0;
	case TIOCPKT:
		if (get_user(v, arg))
			return -EFAULT;
		if (v && !t->packet)
			t->packet_status = 0;
		t->packet = v != 0;
		return 0;
	case TIOCGPKT:
		v = t->packet;
		return put_user(v, arg);
	case FIONREAD:
		return put_user((u32){ring_used(&t->out)}, arg);
	case TIOCGPGRP: /* of the slave, whoever asks */
		return put_user((u32){t->pgrp}, arg);
	case TIOCGSID:
		return t->session ? put_user((u32){t->session}, arg) : -ENOTTY;
	case TIOCSIG:
		if (t->pgrp)
			sig_send_pgrp(t->pgrp, (int)arg, NULL);
		return 0;
	case TIOCNOTTY:
		return -ENOTTY; /* nobody's controlling terminal is a master */
	}
	return tty_fops.ioctl(f, cmd, arg);
}

static void master_release(struct file *f)
{
	struct tty *t = f->priv;

	t->master_open = false;
	ptys[t->number] = NULL;
	tty_hangup(t);
	tty_put(t);
}

static const struct file_ops master_fops = {.read = master_read,
					    .write = master_write,
					    .poll = master_poll,
					    .ioctl = master_ioctl,
					    .release = master_release};

static struct tty *pty_new(void)
{
	struct tty *t;
	u32 n = 0;

	while (n < PTYS_MAX && ptys[n])
		n++;
	if (n == PTYS_MAX)
		return NULL;
	t = tty_new();
	if (!t)
		return NULL;
	if (!ring_make(&t->out, TTY_BUF)) {
		tty_put(t);
		return NULL;
	}
	t->ws = (struct winsize_k){0};
	t->termios.cflag &= ~(u32)HUPCL;
	t->major = 136;
	t->number = t->minor = n;
	t->output = pty_output;
	t->master_open = true;
	t->locked = true;
	ptys[n] = t;
	return t;
}

static int ptmx_open(struct inode *ino, struct file *f)
{
	struct tty *t = pty_new();

	if (!t)
		return -ENOSPC;
	f->priv = t;
	f->ops = &master_fops;
	return 0;
}
static const struct file_ops ptmx_fops = {.open = ptmx_open};
static const struct char_dev dev_ptmx = {5, 2, 1, NULL, 0666, &ptmx_fops};
CHAR_DEV(dev_ptmx);

struct tty *pty_create(struct file **master, u32 flags)
{
	struct tty *t = pty_new();

	if (!t)
		return NULL;
	t->locked = false;
	*master = anon_file("/dev/ptmx", &master_fops, t, flags, S_IFCHR | 0600);
	if (!*master) {
		ptys[t->number] = NULL;
		tty_put(t);
		return NULL;
	}
	return t;
}

static int slave_open(struct inode *ino, struct file *f)
{
	u32 n = DEV_MINOR(ino->rdev);
	struct tty *t = n < PTYS_MAX ? ptys[n] : NULL;

	if (!t || t->locked)
		return -EIO;
	t->was_open = true;
	return tty_open_common(t, f);
}
static const struct file_ops slave_fops = {.open = slave_open};
static const struct char_dev dev_pts = {136, 0, PTYS_MAX, NULL, 0620, &slave_fops};
CHAR_DEV(dev_pts);

/* ---- devpts ---- */
static const struct inode_ops pts_node_ops;

static struct inode *pts_inode(struct super *sb, u32 ino, u64 rdev, u32 mode)
{
	struct inode *i = inode_new(sb, S_IFCHR | mode);

	if (i) {
		i->ino = ino;
		i->rdev = rdev;
		i->ops = &pts_node_ops;
		if (DEV_MAJOR(rdev) == 136) {
			i->gid = 5;
		}
	}
	return i;
}

static int pts_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	char tmp[8];
	const char *p = tmp;
	u64 n;

	if (len == 4 && !memcmp(name, "ptmx", 4)) {
		*out = pts_inode(dir->sb, 2, MKDEV(5, 2), 0666);
		return *out ? 0 : -ENOMEM;
	}
	if (len > 3 || !len || name[0] < '0' || name[0] > '9' || (name[0] == '0' && len > 1))
		return -ENOENT;
	memcpy(tmp, name, len);
	tmp[len] = 0;
	n = str_number(&p);
	if (*p || n >= PTYS_MAX || !ptys[n])
		return -ENOENT;
	*out = pts_inode(dir->sb, (u32)n + 3, MKDEV(136, n), 0620);
	return *out ? 0 : -ENOMEM;
}

static const struct inode_ops pts_dir_ops = {.lookup = pts_lookup};

static int pts_readdir(struct file *f, struct dirent_sink *s)
{
	char name[8];

	for (; f->pos < PTYS_MAX + 3; f->pos++) {
		u64 n = f->pos - 3;
		int r = 0;

		if (f->pos < 2)
			r = s->emit(s, "..", f->pos ? 2 : 1, 1, S_IFDIR, f->pos + 1);
		else if (f->pos == 2)
			r = s->emit(s, "ptmx", 4, 2, S_IFCHR, 3);
		else if (ptys[n])
			r = s->emit(s, name, (u32)format(name, sizeof(name), "%lu", n), n + 3,
				    S_IFCHR, f->pos + 1);
		if (r)
			return 0;
	}
	return 0;
}

static s64 pts_seek(struct file *f, s64 off, int whence)
{
	if (whence || off < 0)
		return -EINVAL;
	f->pos = (u64)off;
	return off;
}
static const struct file_ops pts_dir_fops = {.readdir = pts_readdir, .seek = pts_seek};

static int devpts_mount(const char *source, const char *options, struct super **sb,
			struct inode **root)
{
	struct super *s = super_new("devpts", NULL, 0x1cd1);
	struct inode *i;

	if (!s)
		return -ENOMEM;
	s->revalidate = true;
	i = inode_new(s, S_IFDIR | 0755);
	if (i) {
		i->ops = &pts_dir_ops;
		i->fops = &pts_dir_fops;
	}
	return super_root(s, i, sb, root);
}
static const struct fs_type devpts_type = {"devpts", devpts_mount, true};
FS_TYPE(devpts_type);
