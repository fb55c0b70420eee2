/* SPDX-License-Identifier: ISC */
/* The console: see print.h. */
#include "nucleus/core/cpu.h"
#include "nucleus/core/lock.h"
#include "nucleus/core/print.h"

#define COM1      0x3f8
#define UART_SPIN 100000
#define LINE_MAX  512

static struct spinlock console_lock;
bool console_uart;

void console_init(void)
{
	outb(COM1 + 7, 0x5a);
	console_uart = inb(COM1 + 7) == 0x5a;
	if (!console_uart)
		return;
	/* No interrupts, 115200 baud, 8 data bits, FIFO, DTR, RTS and OUT2. */
	static const u8 init[][2] = {{1, 0x00}, {3, 0x80}, {0, 0x01}, {1, 0x00},
				     {3, 0x03}, {2, 0xc7}, {4, 0x0b}};
	for (u32 i = 0; i < ARRAY_SIZE(init); i++)
		outb(COM1 + init[i][0], init[i][1]);
}

static void put_byte(u8 c)
{
	if (!console_uart)
		return;
	for (u32 spin = 0; spin < UART_SPIN && !(inb(COM1 + 5) & 0x20); spin++)
		cpu_relax();
	outb(COM1, c);
}

void console_write(const char *text, size_t len)
{
	spin_lock(&console_lock);
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n')
			put_byte('\r');
		put_byte((u8)text[i]);
	}
	spin_unlock(&console_lock);
}

size_t console_read(char *out, size_t max)
{
	size_t n = 0;
	while (n < max && console_uart && (inb(COM1 + 5) & 1))
		out[n++] = (char)inb(COM1);
	return n;
}

void n_print(const char *fmt, ...)
{
	char line[LINE_MAX] = "d0: ";
	va_list ap;
	va_start(ap, fmt);
	int n = n_vsnprintf(line + 4, sizeof(line) - 5, fmt, ap);
	va_end(ap);
	size_t len = 4 + MIN((size_t)n, sizeof(line) - 6);
	line[len++] = '\n';
	console_write(line, len);
}
