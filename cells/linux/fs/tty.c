/* SPDX-License-Identifier: ISC */
/*
 * The terminal as a file, and job control: reading from, and with TOSTOP writing to, a
 * terminal whose foreground group one is not in stops the caller's group. What bytes mean is in
 * ldisc.c; output goes to the terminal's own function.
 */
#include "cells/linux/inc/tty.h"
#include <asm/ioctls.h>
#include <linux/capability.h>

struct tty *tty_new(void)
{
	static const u8 cc[19] = {3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22};
	struct tty *t = kalloc(sizeof(*t));

	if (!t)
		return NULL;
	t->refs = 1;
	if (!ring_make(&t->in, TTY_BUF)) {
		kfree(t);
		return NULL;
	}
	t->termios.iflag = ICRNL | IXON;
	t->termios.oflag = OPOST | ONLCR;
	t->termios.cflag = B38400 | CS8 | CREAD | HUPCL;
	t->termios.ispeed = t->termios.ospeed = 38400;
	t->termios.lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN;
	memcpy(t->termios.cc, cc, sizeof(cc));
	t->ws = (struct winsize_k){24, 80, 0, 0};
	return t;
}

void tty_put(struct tty *t)
{
	if (--t->refs)
		return;
	kfree(t->in.data);
	kfree(t->out.data);
	kfree(t->pending.data);
	kfree(t);
}

void tty_input(struct tty *t, const u8 *p, u32 n)
{
	ldisc_input(t, p, n);
}

/* ---- Job control ---- */
static int job_check(struct tty *t, int sig)
{
	struct thread *me = current;
	struct proc *p = me->proc;

	if (p->ctty != t || !t->pgrp || p->pgid == t->pgrp)
		return 0;
	if ((me->blocked & SIGBIT(sig)) || me->sighand->action[sig - 1].handler == 1)
		return sig == SIGTTIN ? -EIO : 0;
	if (pgrp_orphaned(p->pgid, NULL))
		return -EIO;
	sig_send_pgrp(p->pgid, sig, NULL);
	return -ERESTARTSYS;
}

static ssize tty_read(struct file *f, struct uio *u, u64 *pos)
{
	struct tty *t = f->priv;
	ssize done = 0;
	u64 deadline = NEVER;
	int r = job_check(t, SIGTTIN);

	if (r)
		return r;
	if (t->hung_up || !u->left)
		return 0;
	if (!(t->termios.lflag & ICANON) && t->termios.cc[VTIME]) {
		deadline = deadline_after(t->termios.cc[VTIME] * 100000000ull);
	} else if (!(t->termios.lflag & ICANON) && !t->termios.cc[VMIN]) {
		deadline = 0;
	}
	if (!ldisc_readable(t)) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (deadline == 0 && !ring_used(&t->in))
			return 0;
		r = deadline ? wait_event(&t->wait, ldisc_readable(t) || t->hung_up, deadline)
			     : 0;
		if (r && r != -ETIMEDOUT)
			return r;
		r = job_check(t, SIGTTIN);
		if (r)
			return r;
	}
	if (t->hung_up)
		return 0;
	if (t->termios.lflag & ICANON)
		return ldisc_read_line(t, u);
	while (u->left && ring_used(&t->in)) {
		u8 part[128];
		u32 n = ring_get(&t->in, part, (u32)MIN(u->left, sizeof(part)));

		if (uio_out(u, part, n))
			return -EFAULT;
		done += n;
		ldisc_resume(t);
		if (u->left && sched_breathe())
			return done;
	}
	wake_all(&t->master_wait);
	return done;
}

static ssize tty_write(struct file *f, struct uio *u, u64 *pos)
{
	struct tty *t = f->priv;
	ssize done = 0;
	int r = t->termios.lflag & TOSTOP ? job_check(t, SIGTTOU) : 0;

	if (r)
		return r;
	while (u->left) {
		u8 part[256];
		u32 n = (u32)MIN(u->left, sizeof(part)), i = 0;

		if (t->hung_up)
			return done ? done : -EIO;
		if (uio_in(u, part, n))
			return done ? done : -EFAULT;
		while (i < n) {
			u32 went = t->stopped ? 0 : ldisc_output(t, part + i, n - i);

			i += went;
			if (went)
				continue;
			if (t->hung_up)
				return done + i ? done + (ssize)i : -EIO;
			if (f->flags & O_NONBLOCK)
				return done + i ? done + (ssize)i : -EAGAIN;
			r = wait_on(&t->wait, NEVER, true);
			if (r)
				return done + i ? done + (ssize)i : r;
		}
		done += n;
		/* Two gigabytes of zeros to the console are a call, too: its end can be had. */
		if (u->left && sched_breathe())
			return done;
	}
	return done;
}

static u32 tty_poll(struct file *f, struct poll_table *pt)
{
	struct tty *t = f->priv;
	u32 m = 0;

	poll_wait(pt, &t->wait);
	if (ldisc_readable(t))
		m |= POLLIN | POLLRDNORM;
	if (!t->stopped && (!t->out.data || ring_used(&t->out) < TTY_BUF / 2))
		m |= POLLOUT | POLLWRNORM;
	if (t->hung_up)
		m |= POLLHUP | POLLIN | POLLERR;
	return m;
}

void tty_resize(struct tty *t, const struct winsize_k *ws)
{
	if (!memcmp(&t->ws, ws, sizeof(*ws)))
		return;
	t->ws = *ws;
	if (t->pgrp)
		sig_send_pgrp(t->pgrp, SIGWINCH, NULL);
}

void tty_hangup(struct tty *t)
{
	struct proc *p;

	if (t->hung_up)
		return;
	t->hung_up = true;
	wake_all(&t->wait);
	wake_all(&t->master_wait);
	if (t->session)
		list_each(p, &proc_list, all_link) if (p->sid == t->session)
		{
			if (p->pid == p->sid) {
				sig_send_proc(p, SIGHUP, NULL);
				sig_send_proc(p, SIGCONT, NULL);
			}
			p->ctty = NULL;
		}
	if (t->pgrp) {
		sig_send_pgrp(t->pgrp, SIGHUP, NULL);
		sig_send_pgrp(t->pgrp, SIGCONT, NULL);
	}
	t->session = t->pgrp = 0;
}

/* A session leader ends: its terminal is taken from the session. */
void tty_session_end(struct proc *leader);
void tty_session_end(struct proc *leader)
{
	struct tty *t = leader->ctty;
	struct proc *p;

	if (!t || t->session != leader->sid)
		return;
	if (t->pgrp)
		sig_send_pgrp(t->pgrp, SIGHUP, NULL);
	list_each(p, &proc_list, all_link) if (p->ctty == t && p->sid == leader->sid) p->ctty =
	    NULL;
	t->session = t->pgrp = 0;
}

static s64 set_ctty(struct tty *t, u64 arg)
{
	struct proc *p = current->proc, *o;

	if (p->pid != p->sid)
		return -EPERM;
	if (p->ctty == t)
		return 0;
	if (p->ctty)
		return -EPERM;
	if (t->session) {
		if (arg != 1 || !capable(CAP_SYS_ADMIN))
			return -EPERM;
		list_each(o, &proc_list, all_link) if (o->ctty == t) o->ctty = NULL;
	}
	p->ctty = t;
	t->session = p->sid;
	t->pgrp = p->pgid;
	return 0;
}

static s64 set_pgrp(struct tty *t, u64 arg)
{
	struct proc *p;
	int pg, r;

	if (get_user(pg, arg))
		return -EFAULT;
	if (current->proc->ctty != t || t->session != current->proc->sid)
		return -ENOTTY;
	if (pg < 0)
		return -EINVAL;
	r = job_check(t, SIGTTOU);
	if (r)
		return r;
	list_each(p, &proc_list, all_link) if (p->pgid == (u32)pg)
	{
		if (p->sid != current->proc->sid)
			return -EPERM;
		t->pgrp = (u32)pg;
		return 0;
	}
	return -ESRCH;
}

/* ---- Settings ---- */
/* The speed of a code of CBAUD, or 0. */
static u32 speed_of(u32 code)
{
	static const u32 low[] = {0,   50,   75,   110,  134,  150,  200,   300,
				  600, 1200, 1800, 2400, 4800, 9600, 19200, 38400};
	static const u32 high[] = {57600,   115200,  230400,  460800,  500000,
				   576000,  921600,  1000000, 1152000, 1500000,
				   2000000, 2500000, 3000000, 3500000, 4000000};

	if (code < ARRAY_SIZE(low))
		return low[code];
	code -= B57600;
	return code < ARRAY_SIZE(high) ? high[code] : 0;
}

#define TERMIOS_OLD 36 /* bytes of struct termios, without the speeds of termios2 */

static s64 set_termios(struct tty *t, u64 arg, bool two, bool flush)
{
	struct termios_k n = t->termios;
	u32 changed;
	int r = job_check(t, SIGTTOU);

	if (r)
		return r;
	if (copy_in(&n, arg, two ? sizeof(n) : TERMIOS_OLD))
		return -EFAULT;
	if (!two || (n.cflag & CBAUD) != BOTHER)
		n.ispeed = n.ospeed = speed_of(n.cflag & CBAUD);
	if (flush)
		ldisc_flush(t);
	changed = t->termios.lflag ^ n.lflag;
	if (((t->termios.iflag ^ n.iflag) & IXON))
		tty_packet(t, n.iflag & IXON ? TIOCPKT_DOSTOP : TIOCPKT_NOSTOP);
	t->termios = n;
	if (changed & ICANON)
		ldisc_mode_changed(t);
	wake_all(&t->wait);
	return 0;
}

/* What a master in packet mode is told before its next data. */
void tty_packet(struct tty *t, u8 status)
{
	if (!t->packet)
		return;
	if (status & (TIOCPKT_STOP | TIOCPKT_START))
		t->packet_status &= (u8) ~(TIOCPKT_STOP | TIOCPKT_START);
	if (status & (TIOCPKT_DOSTOP | TIOCPKT_NOSTOP))
		t->packet_status &= (u8) ~(TIOCPKT_DOSTOP | TIOCPKT_NOSTOP);
	t->packet_status |= status;
	wake_all(&t->master_wait);
}

static s64 tty_flush(struct tty *t, u64 what)
{
	if (what > TCIOFLUSH)
		return -EINVAL;
	if (what != TCOFLUSH) {
		ldisc_flush(t);
		tty_packet(t, TIOCPKT_FLUSHREAD);
		wake_all(&t->master_wait);
	}
	if (what != TCIFLUSH) {
		t->out.tail = t->out.head;
		tty_packet(t, TIOCPKT_FLUSHWRITE);
		wake_all(&t->wait);
	}
	return 0;
}

static s64 tty_flow(struct tty *t, u64 what)
{
	const u8 *cc = t->termios.cc;

	if (what > TCION)
		return -EINVAL;
	if (what >= TCIOFF) { /* ask the other end */
		u8 c = cc[what == TCIOFF ? VSTOP : VSTART];

		if (c)
			t->output(t, &c, 1);
		return 0;
	}
	t->stopped = what == TCOOFF;
	tty_packet(t, t->stopped ? TIOCPKT_STOP : TIOCPKT_START);
	wake_all(&t->wait);
	return 0;
}

/* Settings and the state of the line; -ENOIOCTLCMD: not one of these. */
static s64 line_ioctl(struct tty *t, u32 cmd, u64 arg)
{
	switch (cmd) {
	case TCGETS:
		return copy_out(arg, &t->termios, TERMIOS_OLD);
	case TCGETS2:
		return copy_out(arg, &t->termios, sizeof(t->termios));
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
		return set_termios(t, arg, false, cmd == TCSETSF);
	case TCSETS2:
	case TCSETSW2:
	case TCSETSF2:
		return set_termios(t, arg, true, cmd == TCSETSF2);
	case FIONREAD:
		return put_user(
		    (u32){t->termios.lflag & ICANON ? t->canon_ready : ring_used(&t->in)}, arg);
	case TCFLSH:
		return tty_flush(t, arg);
	case TCXONC:
		return tty_flow(t, arg);
	case TCSBRK:
	case TCSBRKP:
	case TIOCEXCL:
	case TIOCNXCL:
		return 0;
	}
	return -ENOIOCTLCMD_K;
}

static s64 tty_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct tty *t = f->priv;
	struct winsize_k ws;
	u32 v;

	s64 r = line_ioctl(t, cmd, arg);

	if (r != -ENOIOCTLCMD_K)
		return r;
	switch (cmd) {
	case TIOCGWINSZ:
		return put_user(t->ws, arg);
	case TIOCSWINSZ:
		if (get_user(ws, arg))
			return -EFAULT;
		tty_resize(t, &ws);
		return 0;
	case TIOCGPGRP:
		if (current->proc->ctty != t)
			return -ENOTTY;
		v = t->pgrp;
		return put_user(v, arg);
	case TIOCSPGRP:
		return set_pgrp(t, arg);
	case TIOCGSID:
		if (current->proc->ctty != t)
			return -ENOTTY;
		v = t->session;
		return put_user(v, arg);
	case TIOCSCTTY:
		return set_ctty(t, arg);
	case TIOCNOTTY:
		if (current->proc->ctty != t)
			return -ENOTTY;
		if (current->proc->pid == current->proc->sid) {
			u32 pgrp = t->pgrp;

			tty_session_end(current->proc);
			if (pgrp)
				sig_send_pgrp(pgrp, SIGCONT, NULL);
		}
		current->proc->ctty = NULL;
		return 0;
	case TIOCSTI:
		return -EIO;
	case TIOCGPTN:
		v = t->number;
		return t->major == 136 ? put_user(v, arg) : -ENOTTY;
	}
	return -ENOTTY;
}

static void tty_release(struct file *f)
{
	struct tty *t = f->priv;

	t->opens--;
	if (!t->opens && t->major == 136)
		wake_all(&t->master_wait);
	tty_put(t);
}

const struct file_ops tty_fops = {.read = tty_read,
				  .write = tty_write,
				  .poll = tty_poll,
				  .ioctl = tty_ioctl,
				  .release = tty_release};

static void tty_attach(struct tty *t, struct file *f)
{
	t->refs++;
	t->opens++;
	f->priv = t;
	f->ops = &tty_fops;
}

struct file *tty_file(struct tty *t, u32 flags)
{
	char name[32];
	struct file *f;

	format(name, sizeof(name), t->major == 136 ? "/dev/pts/%u" : "/dev/console", t->number);
	f = anon_file(name, &tty_fops, NULL, flags, S_IFCHR | 0620);
	if (f) {
		f->inode->rdev = MKDEV(t->major, t->minor);
		tty_attach(t, f);
	}
	return f;
}

/* An open of a terminal by a session leader that has none makes it the controlling one. */
int tty_open_common(struct tty *t, struct file *f);
int tty_open_common(struct tty *t, struct file *f)
{
	struct proc *p = current->proc;

	if (t->hung_up && t->major == 136)
		return -EIO;
	tty_attach(t, f);
	if (!(f->flags & O_NOCTTY) && p && p->pid == p->sid && !p->ctty && !t->session)
		set_ctty(t, 0);
	return 0;
}

static int ctty_open(struct inode *ino, struct file *f)
{
	if (!current->proc->ctty)
		return -ENXIO;
	tty_attach(current->proc->ctty, f);
	return 0;
}
static const struct file_ops ctty_fops = {.open = ctty_open};
static const struct char_dev dev_tty = {5, 0, 1, "tty", 0666, &ctty_fops};
CHAR_DEV(dev_tty);

/* The console: standard output of a container without a terminal goes to the log. */
struct tty *console_tty;

static int console_open(struct inode *ino, struct file *f)
{
	return console_tty ? tty_open_common(console_tty, f) : -ENXIO;
}
static const struct file_ops console_fops = {.open = console_open};
static const struct char_dev dev_console = {5, 1, 1, "console", 0600, &console_fops};
CHAR_DEV(dev_console);
