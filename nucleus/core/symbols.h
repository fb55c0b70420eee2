/* SPDX-License-Identifier: ISC */
/* Names for addresses of the nucleus's text, for backtraces; the table is made by the build. */
#ifndef NUCLEUS_CORE_SYMBOLS_H
#define NUCLEUS_CORE_SYMBOLS_H

#include "nucleus/core/types.h"

/* Name of the function that holds this (relocated) address, "?" if none; *offset into it. */
const char *symbol_find(u64 address, u64 *offset);

#endif
