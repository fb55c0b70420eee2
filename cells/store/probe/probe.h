/* SPDX-License-Identifier: ISC */
#ifndef STORE_PROBE_H
#define STORE_PROBE_H

_Noreturn void probe_failed(const char *what, long value);
/* Everything on an admin channel. Returns when all was well. */
void probe_admin(unsigned ch);

#endif
