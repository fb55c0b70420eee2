/* SPDX-License-Identifier: ISC */
/* What a back-end (bare/, hosted/) provides to the common part of libcell. */
#ifndef LIBCELL_BACKEND_H
#define LIBCELL_BACKEND_H

#include <stddef.h>
#include <stdint.h>

/* One line for console and journal, without a newline. */
void backend_log(const char *text, size_t len);

/* 32 bytes from outside this program. */
void backend_entropy(uint8_t out[32]);

#endif
