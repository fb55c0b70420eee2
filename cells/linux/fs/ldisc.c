/* SPDX-License-Identifier: ISC */
/*
 * The line discipline (termios(3)): what a byte typed or written means. Typed bytes become
 * signals, echo and edited lines in the ring `in`; a bit for each byte says that a line ends
 * with it. What has no room there waits in `pending`. An end of file is such a bit at a NUL
 * byte, which no reader gets to see.
 */
#include "cells/linux/inc/tty.h"

u32 ring_used(const struct tty_ring *r)
{
	return r->tail - r->head;
}

bool ring_make(struct tty_ring *r, u32 size)
{
	r->data = kalloc(size);
	r->size = r->data ? size : 0;
	return r->data != NULL;
}

u32 ring_put(struct tty_ring *r, const u8 *p, u32 n)
{
	u32 i = 0;

	while (i < n && ring_used(r) < r->size)
		r->data[r->tail++ % r->size] = p[i++];
	return i;
}

u32 ring_get(struct tty_ring *r, u8 *p, u32 n)
{
	u32 i = 0;

	while (i < n && ring_used(r))
		p[i++] = r->data[r->head++ % r->size];
	return i;
}

/* ---- Output ---- */
static u32 out_room(const struct tty *t)
{
	return t->out.data ? TTY_BUF - ring_used(&t->out) : TTY_BUF;
}

static u32 out_tab(struct tty *t)
{
	u32 n = 8 - t->column % 8;

	if ((t->termios.oflag & XTABS) == XTABS) {
		if (out_room(t) < n)
			return 0;
		t->output(t, (const u8 *)"        ", n);
	} else if (!t->output(t, (const u8 *)"\t", 1)) {
		return 0;
	}
	t->column += n;
	return 1;
}

/* One byte with a meaning; 0: no room for it now. */
static u32 out_special(struct tty *t, u8 c)
{
	u32 of = t->termios.oflag;

	switch (c) {
	case '\n':
		if (of & ONLRET)
			t->column = 0;
		if (!(of & ONLCR))
			break;
		if (out_room(t) < 2)
			return 0;
		t->column = 0;
		return t->output(t, (const u8 *)"\r\n", 2) == 2;
	case '\r':
		if ((of & ONOCR) && !t->column)
			return 1;
		if (of & OCRNL)
			c = '\n';
		if (!(of & OCRNL) || (of & ONLRET))
			t->column = 0;
		break;
	case '\t':
		return out_tab(t);
	case '\b':
		t->column -= t->column != 0;
		break;
	default:
		if ((of & OLCUC) && c >= 'a' && c <= 'z')
			c = (u8)(c - 32);
		if (c >= 32)
			t->column++;
	}
	return t->output(t, &c, 1);
}

u32 ldisc_output(struct tty *t, const u8 *p, u32 n)
{
	u32 run = 0, done;

	if (!(t->termios.oflag & OPOST))
		return t->output(t, p, n);
	if (!(t->termios.oflag & OLCUC))
		while (run < n && p[run] >= 32)
			run++;
	if (!run)
		return out_special(t, *p);
	done = t->output(t, p, run);
	for (u32 i = 0; i < done; i++)
		t->column += !(t->termios.iflag & IUTF8) || (p[i] & 0xc0) != 0x80;
	return done;
}

static void echo(struct tty *t, u8 c)
{
	if ((c < 32 && c != '\n' && c != '\t' && (t->termios.lflag & ECHOCTL)) ||
	    (c == 127 && (t->termios.lflag & ECHOCTL))) {
		u8 b[2] = {'^', c ^ 64};

		t->output(t, b, 2);
		t->column += 2;
	} else {
		ldisc_output(t, &c, 1);
	}
}

/* ---- Input ---- */
static bool ends_line(const struct tty *t, u32 at)
{
	return t->ends[at % TTY_BUF / 64] >> at % 64 & 1;
}

static void line_end(struct tty *t, u32 at, bool end)
{
	u64 bit = 1ull << at % 64, *w = &t->ends[at % TTY_BUF / 64];

	*w = end ? *w | bit : *w & ~bit;
}

void ldisc_flush(struct tty *t)
{
	t->in.tail = t->in.head;
	t->pending.tail = t->pending.head;
	t->canon_ready = t->lines = 0;
	memset(t->ends, 0, sizeof(t->ends));
}

/* A line ends with the last byte: everything so far may be read. */
static void line_done(struct tty *t)
{
	line_end(t, t->in.tail - 1, true);
	t->canon_ready = ring_used(&t->in);
	t->lines++;
}

static void put_byte(struct tty *t, u8 c)
{
	line_end(t, t->in.tail, false);
	ring_put(&t->in, &c, 1);
}

static void echo_erase(struct tty *t, u8 c)
{
	u32 lf = t->termios.lflag;

	if (!(lf & ECHO) || !(lf & ECHOE))
		return;
	t->output(t, (const u8 *)"\b \b", 3);
	if (c < 32 && (lf & ECHOCTL))
		t->output(t, (const u8 *)"\b \b", 3);
}

/* A character, which in UTF-8 may be several bytes; a part of one is left alone. */
static bool erase_one(struct tty *t)
{
	u32 at = t->in.tail;
	u8 c = 0x80;

	while (at - t->in.head > t->canon_ready) {
		c = t->in.data[--at % TTY_BUF];
		if (!(t->termios.iflag & IUTF8) || (c & 0xc0) != 0x80)
			break;
	}
	if (at == t->in.tail || ((t->termios.iflag & IUTF8) && (c & 0xc0) == 0x80))
		return false;
	t->in.tail = at;
	echo_erase(t, c);
	return true;
}

static bool last_is_blank(const struct tty *t)
{
	return t->in.data[(t->in.tail - 1) % TTY_BUF] == ' ';
}

static void erase_word(struct tty *t)
{
	while (ring_used(&t->in) > t->canon_ready && last_is_blank(t) && erase_one(t))
		;
	while (ring_used(&t->in) > t->canon_ready && !last_is_blank(t) && erase_one(t))
		;
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
	if (!(t->termios.lflag & NOFLSH))
		ldisc_flush(t);
	if (t->termios.lflag & ECHO)
		echo(t, c);
	if (t->pgrp)
		sig_send_pgrp(t->pgrp, sig, NULL);
	return true;
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
		while (erase_one(t))
			;
	} else if (c && c == cc[VLNEXT] && (lf & IEXTEN)) {
		t->lnext = true;
	} else if (c && c == cc[VEOF]) {
		put_byte(t, 0);
		line_done(t);
	} else {
		if (ring_used(&t->in) >= TTY_BUF - 1 && c != '\n')
			return;
		if ((lf & ECHO) || (c == '\n' && (lf & ECHONL)))
			echo(t, c);
		put_byte(t, c);
		if (c == '\n' || (c && (c == cc[VEOL] || c == cc[VEOL2])))
			line_done(t);
	}
}

static void input_byte(struct tty *t, u8 c)
{
	u32 iflag = t->termios.iflag;

	if (t->lnext) {
		t->lnext = false;
		put_byte(t, c);
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
	put_byte(t, c);
}

/* A line that is longer than the ring goes on: its end must be found, the rest is dropped. */
static bool input_room(const struct tty *t)
{
	return ring_used(&t->in) < TTY_BUF - 1 ||
	       ((t->termios.lflag & ICANON) && !t->lines && ring_used(&t->in) < TTY_BUF);
}

void ldisc_resume(struct tty *t)
{
	u8 c = 0;

	while (ring_used(&t->pending) && input_room(t)) {
		ring_get(&t->pending, &c, 1);
		input_byte(t, c);
	}
}

u32 ldisc_input(struct tty *t, const u8 *p, u32 n)
{
	u32 i = 0;

	ldisc_resume(t);
	while (i < n && !ring_used(&t->pending) && input_room(t))
		input_byte(t, p[i++]);
	if (i < n && !t->pending.data)
		ring_make(&t->pending, TTY_PENDING);
	if (i < n && t->pending.data)
		i += ring_put(&t->pending, p + i, n - i);
	wake_all(&t->wait);
	return i;
}

/* Between editing lines and single bytes what was typed so far is a line, or free. */
void ldisc_mode_changed(struct tty *t)
{
	t->canon_ready = t->lines = 0;
	memset(t->ends, 0, sizeof(t->ends));
	if ((t->termios.lflag & ICANON) && ring_used(&t->in))
		line_done(t);
	ldisc_resume(t);
}

bool ldisc_readable(const struct tty *t)
{
	if (t->termios.lflag & ICANON)
		return t->lines > 0;
	return ring_used(&t->in) >= MAX((u32)t->termios.cc[VMIN], 1u);
}

/* At most one line. */
ssize ldisc_read_line(struct tty *t, struct uio *u)
{
	ssize done = 0;
	bool end = false;

	while (u->left && t->canon_ready && !end) {
		u8 c = t->in.data[t->in.head % TTY_BUF];

		end = ends_line(t, t->in.head);
		if (!(end && !c) && uio_out(u, &c, 1))
			return done ? done : -EFAULT;
		done += !(end && !c);
		line_end(t, t->in.head, false);
		t->in.head++;
		t->canon_ready--;
		t->lines -= end;
	}
	/* The mark of an end of file right behind what fits goes with it. */
	if (!end && t->canon_ready && ends_line(t, t->in.head) &&
	    !t->in.data[t->in.head % TTY_BUF] && done) {
		line_end(t, t->in.head++, false);
		t->canon_ready--;
		t->lines--;
	}
	ldisc_resume(t);
	return done;
}
