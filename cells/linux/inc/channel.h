/* SPDX-License-Identifier: ISC */
/* Channels inside the guest kernel: finding them, streams over them. */
#ifndef LX_CHANNEL_H
#define LX_CHANNEL_H

#include "cells/linux/inc/vfs.h"
#include "libcell/stream.h"

/* The number of an open channel that we are the client of, of that protocol (and label, if not
 * NULL), or -1. */
s32 channel_find(u32 protocol, const char *label);
void channel_notify(u32 channel);
/* The same, and the peer may have this CPU at once: somebody waits for what was sent. */
void channel_notify_yield(u32 channel);
void *channel_ring(u32 channel, u64 *size);
/* fn runs when the peer notifies; q is woken as well if fn is NULL. */

struct chan_stream {
	u32 channel;
	bool open;
	struct stream s;
	struct waitq wait; /* woken at every notification */
};
int chan_stream_open(struct chan_stream *c, u32 channel);
/* Kernel-side transfers that sleep until done. False: the channel is gone. */
bool chan_stream_write(struct chan_stream *c, const void *buf, u32 n);
bool chan_stream_read(struct chan_stream *c, void *buf, u32 n, bool *restarted);

#endif
