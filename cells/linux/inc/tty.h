/* SPDX-License-Identifier: ISC */
/* Terminals: line discipline, job control, the console and pseudo-terminals. */
#ifndef LX_TTY_H
#define LX_TTY_H

#include "cells/linux/inc/vfs.h"
#include <asm/termbits.h>

#define TTY_BUF 4096u

struct winsize_k {
	u16 row, col, xpixel, ypixel;
};
struct tty_ring {
	u8 *data; /* TTY_BUF bytes */
	u32 head, tail;
};
struct tty {
	u32 refs;
	struct termios_k {
		u32 iflag, oflag, cflag, lflag;
		u8 line, cc[19];
	} termios;
	struct winsize_k ws;
	u32 pgrp, session;
	struct tty_ring in; /* what programs read */
	u32 canon_ready;    /* bytes of in that belong to finished lines */
	u32 lines;          /* finished lines in `in` */
	u32 column;
	struct waitq wait;
	bool hung_up, stopped;
	u32 opens;
	u32 number;
	u32 major, minor;
	bool lnext, packet;
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
u32 ring_used(const struct tty_ring *r);
u32 ring_put(struct tty_ring *r, const u8 *p, u32 n);
u32 ring_get(struct tty_ring *r, u8 *p, u32 n);

#endif
