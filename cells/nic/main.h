/* SPDX-License-Identifier: ISC */
/* What main.c and its surroundings share. */
#ifndef NIC_MAIN_H
#define NIC_MAIN_H

#include "cells/nic/net_init.h"

/* Adds cards that are not granted devices: in hosted mode the TAPs named in args. */
void nic_platform_cards(struct nic *nic, const char *args, const struct net_init_cfg *cfg);

#endif
