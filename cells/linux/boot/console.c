/* SPDX-License-Identifier: ISC */
/*
 * The console terminal. Without a console channel its output goes to the nucleus's log
 * line by line, and its input comes from the console hypercall if the cell may read it.
 */
#include "cells/linux/inc/tty.h"
#include "cells/linux/inc/channel.h"

void console_init(void);

static char *line; /* one page of the direct map: the hypercall takes physical addresses */
static u32 line_len;
static struct ktimer flush_timer;

static void flush_line(void)
{
	if (line_len)
		hc_call(D0_HC_log, phys_of(line), line_len, 0);
	line_len = 0;
}

static void flush_late(struct ktimer *t)
{
	flush_line();
}

static u32 log_output(struct tty *t, const u8 *p, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		if (p[i] == '\n' || line_len >= 480) {
			if (p[i] == '\n' && !line_len)
				line[line_len++] = ' ';
			flush_line();
			if (p[i] == '\n')
				continue;
		}
		if (p[i] != '\r')
			line[line_len++] = (char)p[i];
	}
	if (line_len)
		timer_set(&flush_timer, clock_now() + 50000000);
	return n;
}

void console_init(void)
{
	struct page *p = page_alloc(PAGE_KERNEL);

	BUG_ON(!p);
	line = page_ptr(p);
	flush_timer.fn = flush_late;
	console_tty = tty_new();
	BUG_ON(!console_tty);
	console_tty->output = log_output;
	console_tty->termios.oflag &= ~(u32)ONLCR;
	console_tty->major = 5;
	console_tty->minor = 1;
}

/* ---- The console on a channel of its own: raw bytes both ways ---- */
static struct chan_stream con;

static u32 stream_output(struct tty *t, const u8 *p, u32 n)
{
	bool notify = false;
	u32 done = (u32)stream_write(&con.s, p, n, &notify);

	if (notify)
		channel_notify(con.channel);
	if (done < n)
		stream_wait_write(&con.s);
	return done;
}

static void console_reader(void *arg)
{
	u8 buf[128];

	for (;;) {
		bool restarted = false;

		if (!chan_stream_read(&con, buf, 1, &restarted))
			return;
		wake_all(&console_tty->wait);
		if (!restarted)
			tty_input(console_tty, buf, 1);
	}
}

static void console_wake(struct waiter *w, u32 events)
{
	wake_all(&console_tty->wait);
}

void console_stream(u32 channel);
void console_stream(u32 channel)
{
	static struct waiter w = {.wake = console_wake};

	if (chan_stream_open(&con, channel))
		return;
	console_tty->output = stream_output;
	console_tty->termios.oflag |= ONLCR;
	waitq_add(&con.wait, &w);
	kthread_start(console_reader, NULL, "console");
}
