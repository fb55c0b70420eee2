/* SPDX-License-Identifier: ISC */
#ifndef LIBCELL_DIGIT_H
#define LIBCELL_DIGIT_H

/* What a digit counts, of any base up to 16, in either case. No digit: 99, past every base. */
static inline unsigned digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 99;
}

#endif
