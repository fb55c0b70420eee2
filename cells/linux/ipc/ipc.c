/* SPDX-License-Identifier: ISC */
/*
 * System V IPC: identifiers, keys and rights.
 *
 * Each kind has a table of objects. An identifier is an index into it and a sequence
 * number that grows with every creation, so that the identifier of a removed object is not
 * taken for its successor's. A removed object leaves its table at once; who sleeps on it holds
 * a reference, finds `removed` set and answers EIDRM.
 */
#include "cells/linux/inc/ipc.h"
#include <linux/capability.h>

static struct ipc_object *by_key(struct ipc_set *set, s32 key)
{
	for (u32 i = 0; i < set->room; i++)
		if (set->slot[i] && set->slot[i]->key == key)
			return set->slot[i];
	return NULL;
}

static int grow(struct ipc_set *set)
{
	u32 room = set->room ? set->room * 2 : 16;
	struct ipc_object **n;

	if (set->room == IPC_INDEX_MAX)
		return -ENOSPC;
	n = kalloc(room * sizeof(*n));
	if (!n)
		return -ENOMEM;
	if (set->room)
		memcpy(n, set->slot, set->room * sizeof(*n));
	kfree(set->slot);
	set->slot = n;
	set->room = room;
	return 0;
}

static s64 enter(struct ipc_set *set, const struct ipc_get *g)
{
	struct ipc_object *o;
	u32 i = 0, want = set->next_id;
	int r = 0;

	if (set->used >= set->limit)
		return -ENOSPC;
	o = g->create(g, &r);
	if (!o)
		return r;
	if (want != ~0u) {
		/* Asked for through sysctl kernel.shm_next_id and its like: once, if the place
		 * is free. */
		i = want & (IPC_INDEX_MAX - 1);
		while (!r && i >= set->room)
			r = grow(set);
		if (!r && set->slot[i]) {
			i = 0;
			want = ~0u;
		}
		set->next_id = ~0u;
	}
	while (!r && i < set->room && set->slot[i])
		i++;
	if (!r && i == set->room)
		r = grow(set);
	if (r) {
		set->destroy(o);
		return r;
	}
	o->refs = 1;
	o->key = g->key;
	o->uid = o->cuid = current->cred->euid;
	o->gid = o->cgid = current->cred->egid;
	o->mode = g->flags & 0777;
	o->seq = (u16)(want == ~0u ? set->seq : want >> IPC_INDEX_BITS);
	set->seq = (o->seq + 1u) & 0xffff;
	o->id = (u32)o->seq << IPC_INDEX_BITS | i;
	set->slot[i] = o;
	set->used++;
	return (s64)o->id;
}

s64 ipc_get(struct ipc_set *set, const struct ipc_get *g)
{
	struct ipc_object *o = g->key == IPC_PRIVATE ? NULL : by_key(set, g->key);
	u32 mode = g->flags & 0777;
	int r;

	if (!o) {
		if (g->key != IPC_PRIVATE && !(g->flags & IPC_CREAT))
			return -ENOENT;
		return enter(set, g);
	}
	if ((g->flags & (IPC_CREAT | IPC_EXCL)) == (IPC_CREAT | IPC_EXCL))
		return -EEXIST;
	r = g->check(o, g);
	if (!r)
		r = ipc_permission(o, mode >> 6 | mode >> 3 | mode);
	return r ? r : (s64)o->id;
}

struct ipc_object *ipc_at(struct ipc_set *set, s32 index)
{
	index &= (s32)(IPC_INDEX_MAX - 1);
	return (u32)index < set->room ? set->slot[index] : NULL;
}

struct ipc_object *ipc_find(struct ipc_set *set, s32 id)
{
	struct ipc_object *o = id < 0 ? NULL : ipc_at(set, id);

	return o && o->id == (u32)id ? o : NULL;
}

s32 ipc_highest(const struct ipc_set *set)
{
	s32 i = (s32)set->room - 1;

	while (i > 0 && !set->slot[i])
		i--;
	return MAX(i, 0);
}

int ipc_permission(const struct ipc_object *o, u32 want)
{
	const struct cred *c = current->cred;
	u32 mode = o->mode;

	if (c->euid == o->uid || c->euid == o->cuid)
		mode >>= 6;
	else if (in_group(o->gid) || in_group(o->cgid))
		mode >>= 3;
	return (want & 7 & ~mode) && !capable(CAP_IPC_OWNER) ? -EACCES : 0;
}

int ipc_owner(const struct ipc_object *o)
{
	u32 e = current->cred->euid;

	return e == o->uid || e == o->cuid || capable(CAP_SYS_ADMIN) ? 0 : -EPERM;
}

void ipc_hold(struct ipc_object *o)
{
	o->refs++;
}

void ipc_put(struct ipc_set *set, struct ipc_object *o)
{
	if (!--o->refs)
		set->destroy(o);
}

void ipc_remove(struct ipc_set *set, struct ipc_object *o)
{
	BUG_ON(set->slot[o->id & (IPC_INDEX_MAX - 1)] != o);
	set->slot[o->id & (IPC_INDEX_MAX - 1)] = NULL;
	set->used--;
	o->removed = true;
	ipc_put(set, o);
}

void ipc_perm_out(const struct ipc_object *o, struct ipc64_perm *p)
{
	memset(p, 0, sizeof(*p));
	p->key = o->key;
	p->uid = o->uid;
	p->gid = o->gid;
	p->cuid = o->cuid;
	p->cgid = o->cgid;
	p->mode = (__kernel_mode_t)o->mode;
	p->seq = o->seq;
}

int ipc_perm_set(struct ipc_object *o, const struct ipc64_perm *p)
{
	if (p->uid == ~0u || p->gid == ~0u)
		return -EINVAL;
	o->uid = p->uid;
	o->gid = p->gid;
	o->mode = (o->mode & ~0777u) | (p->mode & 0777);
	return 0;
}

s64 ipc_seconds(void)
{
	return (s64)(wall_now() / NS_PER_SEC);
}
