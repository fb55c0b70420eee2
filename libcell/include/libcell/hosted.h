/* SPDX-License-Identifier: ISC */
/*
 * The hosted back-end's own calls: for code that exists only on Linux (a TAP device, a
 * file as disk) and for unit tests that run cells as threads of one process. Cells that
 * also run bare never include this; their hosted-only sources do.
 */
#ifndef LIBCELL_HOSTED_H
#define LIBCELL_HOSTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libcell/cell.h"

/*
 * A file descriptor that wakes cell_wait() when it is readable and then sets the event of
 * `channel`, as a device's interrupt would. Level-triggered: the cell reads until EAGAIN.
 * Takes a free channel slot if channel is -1 (protocol D0_PROTO_IRQ). The channel number
 * or a D0_E value. The caller keeps the descriptor.
 */
int hosted_watch_fd(int fd, int channel);
int hosted_unwatch_fd(int fd);

/*
 * Cells as threads of this process (each has its own info, tables and events; C globals
 * are shared, so run each image at most once).
 */
struct hosted_cell;
struct hosted_cell *hosted_cell_new(const char *name, const char *args);
/* Connect two; ring: bytes of shared memory. Channel numbers into *sc, *cc (may be NULL). */
int hosted_connect(struct hosted_cell *server, struct hosted_cell *client,
		   enum d0_protocol protocol, size_t ring, const char *label,
		   const char *server_args, const char *client_args, int *sc, int *cc);
/* Give the cell a state region of that many bytes (before start). */
int hosted_state(struct hosted_cell *c, size_t bytes);
/* Make the calling thread this cell; cell_*() then work on it. */
void hosted_enter(struct hosted_cell *c);
/* Run main_fn(info) in a thread of the cell's own; hosted_join gives its result. */
int hosted_start(struct hosted_cell *c, int (*main_fn)(const struct d0_info *));
int hosted_join(struct hosted_cell *c);
/* D0_EV_STOP. */
void hosted_stop(struct hosted_cell *c);
/* After a join: start it once more, as the nucleus does (D0_INFO_RESTART, state kept). */
int hosted_restart(struct hosted_cell *c);
void hosted_cell_free(struct hosted_cell *c);

#endif
