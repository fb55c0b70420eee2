/* SPDX-License-Identifier: ISC */
/* How these programs judge: check() counts and goes on, CHECK() ends the process. */
#ifndef LINUX_CHECK_H
#define LINUX_CHECK_H

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static int passed;

static inline void check(int ok, const char *what)
{
	if (ok)
		passed++;
	else
		printf("FAIL %s (errno %d)\n", what, errno);
}

#define CHECK(c)                                                                              \
	do {                                                                                  \
		if (!(c)) {                                                                   \
			printf("FAIL %s:%d: %s (errno %d)\n", __func__, __LINE__, #c, errno); \
			fflush(stdout);                                                       \
			_exit(1);                                                             \
		}                                                                             \
	} while (0)

#endif
