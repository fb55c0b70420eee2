/* SPDX-License-Identifier: ISC */
/* Interfaces and the other lists of the transport cell: what netlink, ioctls and /proc/net
 * share. */
#ifndef LX_NET_NETDEV_H
#define LX_NET_NETDEV_H

#include "cells/linux/inc/net.h"
#include "d0/pvsock.h"

#define NETDEV_NAME 17

/* Calls fn for every record of a kind (PVS_LIST_*, of this size); without a transport cell, for
 * lo's. */
void netdev_each(u32 what, u32 size, void (*fn)(const void *rec, void *arg), void *arg);
/* The name of an interface, or "". */
void netdev_name(u32 index, char name[NETDEV_NAME]);
s64 netdev_ioctl(u32 cmd, u64 arg);
/* The inode of the socket in a slot of the transport's; NULL: none (yet, or any more). */
const struct inode *inet_inode(u32 slot);

#endif
