/* SPDX-License-Identifier: ISC */
/*
 * What channels this cell has, and byte streams over them for the rest of the kernel. A
 * notification wakes everyone who waits on the channel's stream; they look for themselves.
 */
#include "cells/linux/inc/channel.h"
#include "cells/linux/inc/config.h"

void channels_init(void);
void channels_config(void);
void conctl_init(u32 channel);
void chandev_config(void);
void console_stream(u32 channel);

s32 channel_find(u32 protocol, const char *label)
{
	for (u32 i = 0; i < d0_info->channels; i++) {
		const volatile struct d0_channel *c = channel_entry(i);

		if (c->state == D0_CHANNEL_OPEN && c->protocol == protocol &&
		    c->role == D0_ROLE_CLIENT &&
		    (!label || !strcmp((const char *)c->label, label)))
			return (s32)i;
	}
	return -1;
}

void channel_notify(u32 channel)
{
	hc_call(D0_HC_notify, channel, 0, 0);
}

void channel_notify_yield(u32 channel)
{
	hc_call(D0_HC_notify, channel, 0, D0_NOTIFY_YIELD);
}

void *channel_ring(u32 channel, u64 *size)
{
	const volatile struct d0_channel *c = channel_entry(channel);

	if (!c || !c->ring_base)
		return NULL;
	*size = c->ring_size;
	return phys_ptr(c->ring_base);
}

/* A root from the store: the channel labelled "root", or any when nothing else could be one. */
bool config_channel_root(void)
{
	const volatile struct d0_region *r =
	    (const volatile struct d0_region *)((u64)d0_info + d0_info->region_off);
	bool archive = false;

	for (u32 i = 0; i < d0_info->regions; i++)
		archive |=
		    r[i].type == D0_REGION_RODATA && strcmp((const char *)r[i].name, "rodata");
	return channel_find(D0_PROTO_FS, "root") >= 0 ||
	       (!archive && channel_find(D0_PROTO_FS, NULL) >= 0);
}

static void stream_event(void *arg)
{
	struct chan_stream *c = arg;

	wake_all(&c->wait);
}

int chan_stream_open(struct chan_stream *c, u32 channel)
{
	u64 size;
	void *ring = channel_ring(channel, &size);
	const volatile struct d0_channel *e = channel_entry(channel);

	if (!ring || stream_open(&c->s, ring, size, e->role == D0_ROLE_SERVER))
		return -EINVAL;
	c->channel = channel;
	c->open = true;
	event_channel_handler(channel, stream_event, c);
	channel_notify(channel);
	return 0;
}

static bool alive(const struct chan_stream *c)
{
	const volatile struct d0_channel *e = channel_entry(c->channel);

	return e && e->state == D0_CHANNEL_OPEN;
}

bool chan_stream_write(struct chan_stream *c, const void *buf, u32 n)
{
	const u8 *p = buf;

	while (n) {
		bool notify = false;
		u32 done = (u32)stream_write(&c->s, p, n, &notify);

		if (notify)
			channel_notify(c->channel);
		p += done;
		n -= done;
		if (!n)
			break;
		if (!alive(c))
			return false;
		if (!stream_wait_write(&c->s))
			wait_on(&c->wait, clock_now() + NS_PER_SEC, false);
	}
	return true;
}

bool chan_stream_read(struct chan_stream *c, void *buf, u32 n, bool *restarted)
{
	u8 *p = buf;

	while (n) {
		bool notify = false;
		u32 done;

		if (stream_peer_restarted(&c->s)) {
			*restarted = true;
			return true;
		}
		done = (u32)stream_read(&c->s, p, n, &notify);
		if (notify)
			channel_notify(c->channel);
		p += done;
		n -= done;
		if (!n)
			break;
		if (!alive(c))
			return false;
		if (!stream_wait_read(&c->s))
			wait_on(&c->wait, NEVER, false);
	}
	return true;
}

void channels_init(void)
{
	s32 n = channel_find(D0_PROTO_CONSOLE, "conctl");

	if (n >= 0)
		conctl_init((u32)n);
	for (u32 i = 0; i < d0_info->channels; i++) {
		const volatile struct d0_channel *c = channel_entry(i);

		if (c->state == D0_CHANNEL_OPEN && c->protocol == D0_PROTO_CONSOLE &&
		    c->role == D0_ROLE_CLIENT && (s32)i != n) {
			console_stream(i);
			break;
		}
	}
	chandev_config();
}

void channels_config(void)
{
	chandev_config();
}
