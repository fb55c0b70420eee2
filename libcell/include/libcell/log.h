/* SPDX-License-Identifier: ISC */
/*
 * Lines for the console and the journal. A line is at most LOG_LINE_MAX bytes, longer ones
 * are cut; the nucleus puts the time and the cell's name before it. The format is that
 * of printf: flags, width, precision, d i u x X o c s p %, lengths hh h l ll z j t; no
 * floating point (use fixed point).
 */
#ifndef LIBCELL_LOG_H
#define LIBCELL_LOG_H

#include <stdarg.h>
#include <stddef.h>

#define LOG_LINE_MAX 512

enum log_level {
	LOG_ERROR,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG
};

/* Lines above this level are dropped. LOG_INFO at start; "log=N" in the cell's args. */
extern enum log_level log_level;

void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_vat(enum log_level level, const char *fmt, va_list ap);

#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)

/* Print a line that is already there, whatever the level; no format. */
void log_raw(const char *text, size_t len);

#endif
