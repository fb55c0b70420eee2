/* SPDX-License-Identifier: ISC */
/* What channels this cell has, by protocol, and who serves them inside the kernel. */
#include "cells/linux/inc/sys.h"
#include "cells/linux/inc/config.h"

void channels_init(void);
void channels_config(void);
bool conctl_active(void);
bool conctl_ended(u32 status);

s32 channel_find(u32 protocol, const char *label);
s32 channel_find(u32 protocol, const char *label)
{
	for (u32 i = 0; i < d0_info->channels; i++) {
		const volatile struct d0_channel *c = channel_entry(i);

		if (c->state == D0_CHANNEL_OPEN && c->protocol == protocol &&
		    (!label || !strcmp((const char *)c->label, label)))
			return (s32)i;
	}
	return -1;
}

bool config_channel_root(void)
{
	return channel_find(D0_PROTO_FS, NULL) >= 0;
}

void channels_init(void)
{
}

void channels_config(void)
{
}

bool conctl_active(void)
{
	return false;
}

bool conctl_ended(u32 status)
{
	return false;
}
