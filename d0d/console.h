// SPDX-License-Identifier: ISC
// Consoles: what a program writes goes to a log and to everyone attached; what attached
// clients write goes to the program. See console.c.
#ifndef D0D_CONSOLE_H
#define D0D_CONSOLE_H

#include "d0d/backend.h"

struct console;
struct sub; // one attached client

enum {
	CON_STDIN = 0,
	CON_STDOUT = 1,
	CON_STDERR = 2
};

// LOG is the path of the log or NULL for none; MAX its size before it is rotated (0: the
// default). Freed with console_free, which needs all subs closed and no run.
struct console *console_new(const char *log, uint64_t max);
void console_free(struct console *con);

// A program begins: IO's descriptors are duplicated. Output is pumped by a thread until
// every writer has closed it.
void console_begin(struct console *con, const struct be_io *io, bool tty);
// The program has ended: waits up to WAIT_MS for its last output, then ends every sub.
void console_end(struct console *con, int wait_ms);
// Ends every sub without there being a program (a start that failed).
void console_hangup(struct console *con);

struct sub *console_attach(struct console *con, bool out, bool err);
void sub_close(struct sub *s);
int sub_fd(struct sub *s); // readable when there is something to take or the end
// Takes one piece of output: bytes (into BUF) and its stream; 0: nothing now; -1: ended.
ssize_t sub_take(struct sub *s, int *stream, char *buf, size_t n);
// To the program: bytes taken, 0 if it can't take any now, -1 if it takes none any more.
ssize_t console_write(struct console *con, const char *buf, size_t n);
void console_close_in(struct console *con);

// ---- logs ----
struct log_reader;
struct log_line {
	int stream;
	int64_t ns;
	const char *data; // valid until the next call
	size_t len;
};
// TAIL < 0: everything. SINCE and UNTIL in ns, 0: no bound.
struct log_reader *log_open(struct console *con, int64_t tail, int64_t since, int64_t until);
// 1: a line; 0: no more for now; -1: end (UNTIL passed).
int log_next(struct log_reader *r, struct log_line *line);
// Waits for more, at most MS. False if the program has ended and everything was read.
bool log_wait(struct log_reader *r, int ms);
void log_close(struct log_reader *r);

#endif
