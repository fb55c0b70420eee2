/* SPDX-License-Identifier: ISC */
/* Cards of the hosted cell: "tap=NAME[,NAME...]", with "plain" without offloads. */
#include <stdlib.h>
#include "cells/nic/hosted/tap.h"
#include "cells/nic/main.h"
#include "libcell/cell.h"
#include "libcell/hosted.h"
#include "libcell/log.h"

static void add_tap(struct nic *nic, const char *name, bool plain,
		    const struct net_init_cfg *cfg)
{
	struct tap *t = calloc(1, sizeof(*t));

	if (!t)
		return;
	t->plain = plain;
	memcpy(t->ifname, name, strnlen(name, sizeof(t->ifname) - 1));
	if (net_init_add(nic, &t->nd, &tap_driver, cfg)) {
		free(t);
		return;
	}
	if (hosted_watch_fd(t->fd, -1) < 0)
		log_error("tap %s: cannot be watched", name);
}

void nic_platform_cards(struct nic *nic, const char *args, const struct net_init_cfg *cfg)
{
	char names[128];

	if (cell_arg(args, "tap", names, sizeof(names)) < 0)
		return;
	for (char *at = names, *end; at; at = end) {
		end = strchr(at, ',');
		if (end)
			*end++ = '\0';
		add_tap(nic, at, cell_arg_has(args, "plain"), cfg);
	}
}
