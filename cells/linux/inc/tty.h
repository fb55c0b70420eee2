/* SPDX-License-Identifier: ISC */
/* Terminals: line discipline, job control, the console and pseudo-terminals. */
#ifndef LX_TTY_H
#define LX_TTY_H

#include "cells/linux/inc/vfs.h"
#include <asm/termbits.h>

#define TTY_BUF       4096u
#define TTY_PENDING   65536u
#define ENOIOCTLCMD_K 515

struct winsize_k {
	u16 row, col, xpixel, ypixel;
};
struct tty_ring {
	u8 *data;
	u32 size; /* a power of two */
	u32 head, tail;
};
struct tty {
	u32 refs;
	struct termios_k {
		u32 iflag, oflag, cflag, lflag;
		u8 line, cc[19];
		u32 ispeed, ospeed;
	} termios; /* struct termios2 */
	struct winsize_k ws;
	u32 pgrp, session;
	struct tty_ring in;      /* what programs read */
	u64 ends[TTY_BUF / 64];  /* of each of its bytes: does a line end with it? */
	u32 canon_ready;         /* bytes of in that belong to finished lines */
	u32 lines;               /* finished lines in `in` */
	struct tty_ring pending; /* typed, and no room in `in`; made when needed */
	u32 column;
	struct waitq wait;
	bool hung_up, stopped;
	u32 opens;
	u32 number;
	u32 major, minor;
	bool lnext, packet;
	u8 packet_status; /* TIOCPKT_* that the master has not read */
	bool was_open;    /* a pty's slave: from then on none open means hangup */
	/* Output: takes bytes, returns how many went. */
	u32 (*output)(struct tty *t, const u8 *p, u32 n);
	void *priv;
	struct tty *peer_master;
	/* pty: */
	struct tty_ring out; /* to the master */
	struct waitq master_wait;
	bool master_open, locked;
};

struct tty *tty_new(void);
void tty_put(struct tty *t);
void tty_input(struct tty *t, const u8 *p, u32 n); /* bytes typed */
void tty_hangup(struct tty *t);
void tty_resize(struct tty *t, const struct winsize_k *ws);
extern const struct file_ops tty_fops;
extern struct tty *console_tty;
struct file *tty_file(struct tty *t, u32 flags); /* an open file on a terminal */
struct tty *pty_create(struct file **master, u32 flags);
/* The line discipline. How much of what was typed, or written, was taken. */
u32 ldisc_input(struct tty *t, const u8 *p, u32 n);
u32 ldisc_output(struct tty *t, const u8 *p, u32 n);
void ldisc_resume(struct tty *t); /* there may be room again */
void ldisc_flush(struct tty *t);  /* nothing was typed */
void ldisc_mode_changed(struct tty *t);
bool ldisc_readable(const struct tty *t);
ssize ldisc_read_line(struct tty *t, struct uio *u);
void tty_packet(struct tty *t, u8 status);
bool ring_make(struct tty_ring *r, u32 size);
u32 ring_used(const struct tty_ring *r);
u32 ring_put(struct tty_ring *r, const u8 *p, u32 n);
u32 ring_get(struct tty_ring *r, u8 *p, u32 n);

#endif
