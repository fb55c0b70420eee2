/* SPDX-License-Identifier: ISC */
/* Lines of text; a message with newlines becomes several. */
#include <string.h>
#include "libcell/common/backend.h"
#include "libcell/common/format.h"
#include "libcell/log.h"

enum log_level log_level = LOG_INFO;

void log_raw(const char *text, size_t len)
{
	while (len) {
		const char *nl = memchr(text, '\n', len);
		size_t n = nl ? (size_t)(nl - text) : len;

		if (n)
			backend_log(text, n);
		n += nl ? 1 : 0;
		text += n;
		len -= n;
	}
}

void log_vat(enum log_level level, const char *fmt, va_list ap)
{
	char line[LOG_LINE_MAX];
	int len;

	if (level > log_level)
		return;
	len = format_v(line, sizeof(line), fmt, ap);
	log_raw(line, len < (int)sizeof(line) ? (size_t)len : sizeof(line) - 1);
}

void log_at(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vat(level, fmt, ap);
	va_end(ap);
}
