/* SPDX-License-Identifier: ISC */
/*
 * The terminal: what a byte typed or written means.
 *
 * Input passes the line discipline (termios(3)): signals, echo, line editing; finished
 * lines can be read. Output is translated and given to the terminal's own output function. Job
 * control: reading from, and with TOSTOP writing to, a terminal whose foreground group one is
 * not in stops the caller's group.
 */
#include "cells/linux/inc/tty.h"
#include <asm/ioctls.h>
#include <linux/capability.h>

u32 ring_used(const struct tty_ring *r)
{
	return r->tail - r->head;
}

u32 ring_put(struct tty_ring *r, const u8 *p, u32 n)
{
	u32 i = 0;

	while (i < n && ring_used(r) < TTY_BUF)
		r->data[r->tail++ % TTY_BUF] = p[i++];
	return i;
}

u32 ring_get(struct tty_ring *r, u8 *p, u32 n)
{
	u32 i = 0;

	while (i < n && ring_used(r))
		p[i++] = r->data[r->head++ % TTY_BUF];
	return i;
}

struct tty *tty_new(void)
{
	static const u8 cc[19] = {3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22};
	struct tty *t = kalloc(sizeof(*t));

	if (!t)
		return NULL;
	t->refs = 1;
	t->in.data = kalloc(TTY_BUF);
	if (!t->in.data) {
		kfree(t);
		return NULL;
	}
	t->termios.iflag = ICRNL | IXON;
	t->termios.oflag = OPOST | ONLCR;
	t->termios.cflag = B38400 | CS8 | CREAD | HUPCL;
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
	kfree(t);
}

/* ---- Output ---- */
static u32 out_byte(struct tty *t, u8 c)
{
	static const u8 crnl[2] = {'\r', '\n'};

	if ((t->termios.oflag & OPOST) && (t->termios.oflag & ONLCR) && c == '\n')
		return t->output(t, crnl, 2) == 2;
	return t->output(t, &c, 1);
}

static void echo(struct tty *t, u8 c)
{
	if (c < 32 && c != '\n' && c != '\t' && (t->termios.lflag & ECHOCTL)) {
		u8 b[2] = {'^', c ^ 64};

		t->output(t, b, 2);
	} else if (c == 127 && (t->termios.lflag & ECHOCTL)) {
		t->output(t, (const u8 *)"^?", 2);
	} else {
		out_byte(t, c);
	}
}

/* ---- Input ---- */
static void erase_one(struct tty *t)
{
	u8 c;

	if (ring_used(&t->in) <= t->canon_ready)
		return;
	do {
		c = t->in.data[--t->in.tail % TTY_BUF];
	} while ((c & 0xc0) == 0x80 && (t->termios.iflag & IUTF8) &&
		 ring_used(&t->in) > t->canon_ready);
	if (t->termios.lflag & ECHOE) {
		t->output(t, (const u8 *)"\b \b", 3);
		if (c < 32 && (t->termios.lflag & ECHOCTL))
			t->output(t, (const u8 *)"\b \b", 3);
	}
}

static void erase_word(struct tty *t)
{
	while (ring_used(&t->in) > t->canon_ready &&
	       t->in.data[(t->in.tail - 1) % TTY_BUF] == ' ')
		erase_one(t);
	while (ring_used(&t->in) > t->canon_ready &&
	       t->in.data[(t->in.tail - 1) % TTY_BUF] != ' ')
		erase_one(t);
}

static bool input_signal(struct tty *t, u8 c)
{
	const u8 *cc = t->termios.cc;
	int sig = c == cc[VINTR]   ? SIGINT
		  : c == cc[VQUIT] ? SIGQUIT
		  : c == cc[VSUSP] ? SIGTSTP
				   : 0;

	if (!sig || !c || !(t->termios.lflag & ISIG))
		return false;
	if (!(t->termios.lflag & NOFLSH)) {
		t->in.tail = t->in.head;
		t->canon_ready = t->lines = 0;
	}
	if (t->termios.lflag & ECHO)
		echo(t, c);
	if (t->pgrp)
		sig_send_pgrp(t->pgrp, sig, NULL);
	return true;
}

/* A line ends: everything so far may be read. End of file is kept as a mark. */
static void line_done(struct tty *t)
{
	t->canon_ready = ring_used(&t->in);
	t->lines++;
}

static void canon_byte(struct tty *t, u8 c)
{
	const u8 *cc = t->termios.cc;
	u32 lf = t->termios.lflag;

	if (c && c == cc[VERASE]) {
		erase_one(t);
	} else if (c && c == cc[VWERASE] && (lf & IEXTEN)) {
		erase_word(t);
	} else if (c && c == cc[VKILL]) {
		while (ring_used(&t->in) > t->canon_ready)
			erase_one(t);
	} else if (c && c == cc[VLNEXT] && (lf & IEXTEN)) {
		t->lnext = true;
	} else if (c && c == cc[VEOF]) {
		u8 mark = 0xff; /* told from data by eof_at */

		if (ring_used(&t->in) == t->canon_ready)
			ring_put(&t->in, &mark, 1);
		line_done(t);
	} else {
		if (ring_used(&t->in) >= TTY_BUF - 1 && c != '\n')
			return;
		if ((lf & ECHO) || (c == '\n' && (lf & ECHONL)))
			echo(t, c);
		ring_put(&t->in, &c, 1);
		if (c == '\n' || (c && (c == cc[VEOL] || c == cc[VEOL2])))
			line_done(t);
	}
}

static void input_byte(struct tty *t, u8 c)
{
	u32 iflag = t->termios.iflag;

	if (t->lnext) {
		t->lnext = false;
		ring_put(&t->in, &c, 1);
		if (t->termios.lflag & ECHO)
			echo(t, c);
		return;
	}
	if (iflag & ISTRIP)
		c &= 127;
	if (c == '\r') {
		if (iflag & IGNCR)
			return;
		if (iflag & ICRNL)
			c = '\n';
	} else if (c == '\n' && (iflag & INLCR)) {
		c = '\r';
	}
	if (input_signal(t, c))
		return;
	if ((iflag & IXON) && (c == t->termios.cc[VSTART] || c == t->termios.cc[VSTOP])) {
		t->stopped = c == t->termios.cc[VSTOP];
		if (!t->stopped)
			wake_all(&t->wait);
		return;
	}
	if (t->termios.lflag & ICANON) {
		canon_byte(t, c);
		return;
	}
	if (t->termios.lflag & ECHO)
		echo(t, c);
	ring_put(&t->in, &c, 1);
}

void tty_input(struct tty *t, const u8 *p, u32 n)
{
	while (n--)
		input_byte(t, *p++);
	wake_all(&t->wait);
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

static bool readable(const struct tty *t)
{
	if (t->termios.lflag & ICANON)
		return t->lines > 0;
	return ring_used(&t->in) >= MAX((u32)t->termios.cc[VMIN], 1u);
}

static ssize read_canon(struct tty *t, struct uio *u)
{
	ssize done = 0;

	while (u->left && t->canon_ready) {
		u8 c = 0;

		ring_get(&t->in, &c, 1);
		t->canon_ready--;
		if (c == 0xff && done == 0 && t->lines &&
		    (t->canon_ready == 0 || t->lines > 1)) {
			t->lines--;
			return 0;
		}
		if (uio_out(u, &c, 1))
			return -EFAULT;
		done++;
		if (c == '\n') {
			t->lines--;
			break;
		}
		if (!t->canon_ready && t->lines) {
			t->lines = 0;
			break;
		}
	}
	return done;
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
	if (!readable(t)) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (deadline == 0 && !ring_used(&t->in))
			return 0;
		r = deadline ? wait_event(&t->wait, readable(t) || t->hung_up, deadline) : 0;
		if (r && r != -ETIMEDOUT)
			return r;
		r = job_check(t, SIGTTIN);
		if (r)
			return r;
	}
	if (t->hung_up)
		return 0;
	if (t->termios.lflag & ICANON)
		return read_canon(t, u);
	t->canon_ready = t->lines = 0;
	while (u->left && ring_used(&t->in)) {
		u8 part[128];
		u32 n = ring_get(&t->in, part, (u32)MIN(u->left, sizeof(part)));

		if (uio_out(u, part, n))
			return -EFAULT;
		done += n;
		if (u->left && sched_breathe())
			return done;
	}
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
			u32 run = i;

			if (!(t->termios.oflag & OPOST))
				run = n;
			while (run < n && part[run] != '\n')
				run++;
			if (!t->stopped && run > i) {
				i += t->output(t, part + i, run - i);
				if (i == run)
					continue;
			} else if (!t->stopped && out_byte(t, part[i])) {
				i++;
				continue;
			}
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
	if (readable(t))
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

static s64 set_termios(struct tty *t, u32 cmd, u64 arg)
{
	struct termios_k n = t->termios;
	int r = job_check(t, SIGTTOU);

	if (r)
		return r;
	if (copy_in(&n, arg, 36))
		return -EFAULT;
	if (cmd == TCSETSF) {
		t->in.tail = t->in.head;
		t->canon_ready = t->lines = 0;
	}
	if ((t->termios.lflag & ICANON) && !(n.lflag & ICANON)) {
		t->canon_ready = t->lines = 0;
	} else if (!(t->termios.lflag & ICANON) && (n.lflag & ICANON) && ring_used(&t->in)) {
		t->canon_ready = ring_used(&t->in);
		t->lines = 1;
	}
	t->termios = n;
	wake_all(&t->wait);
	return 0;
}

static s64 tty_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct tty *t = f->priv;
	struct winsize_k ws;
	u32 v;

	switch (cmd) {
	case TCGETS:
		return copy_out(arg, &t->termios, 36);
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
		return set_termios(t, cmd, arg);
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
		if (current->proc->pid == current->proc->sid)
			tty_session_end(current->proc);
		current->proc->ctty = NULL;
		return 0;
	case FIONREAD:
		v = t->termios.lflag & ICANON ? t->canon_ready : ring_used(&t->in);
		return put_user(v, arg);
	case TCFLSH:
		if (arg != 1) {
			t->in.tail = t->in.head;
			t->canon_ready = t->lines = 0;
		}
		return 0;
	case TCXONC:
		t->stopped = arg == 0;
		wake_all(&t->wait);
		return 0;
	case TCSBRK:
	case TCSBRKP:
	case TIOCEXCL:
	case TIOCNXCL:
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
