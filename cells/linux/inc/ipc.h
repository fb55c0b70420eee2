/* SPDX-License-Identifier: ISC */
/* What the three kinds of System V objects share: identifiers, keys, rights. ipc/ipc.c. */
#ifndef LX_IPC_H
#define LX_IPC_H

#include "cells/linux/inc/gen.h"
#include <linux/ipc.h>
#include <asm/ipcbuf.h>

#define IPC_INDEX_BITS 15
#define IPC_INDEX_MAX  (1u << IPC_INDEX_BITS)

/* First member of every object. A sleeper holds a reference and looks at `removed` after. */
struct ipc_object {
	u32 refs, id;
	s32 key;
	u32 uid, gid, cuid, cgid, mode;
	u16 seq;
	bool removed;
};

struct ipc_set {
	struct ipc_object **slot;
	u32 room, used;
	u32 limit; /* of objects; sysctl */
	u32 seq;
	u32 next_id;                           /* wanted for the next object; ~0: none */
	void (*destroy)(struct ipc_object *o); /* the last reference is gone */
};

struct ipc_get {
	s32 key;
	u32 flags;
	/* A new object, or NULL with *err. */
	struct ipc_object *(*create)(const struct ipc_get *g, int *err);
	/* May an object that is there be had with these arguments? */
	int (*check)(const struct ipc_object *o, const struct ipc_get *g);
	u64 size;
};

s64 ipc_get(struct ipc_set *set, const struct ipc_get *g);
/* The object of an identifier, without a reference; NULL: none. */
struct ipc_object *ipc_find(struct ipc_set *set, s32 id);
/* The one at an index (the *_STAT commands; an identifier's sequence does not matter). */
struct ipc_object *ipc_at(struct ipc_set *set, s32 index);
s32 ipc_highest(const struct ipc_set *set);
/* May the caller do `want` (bits of a mode's last digit)? -EACCES if not. */
int ipc_permission(const struct ipc_object *o, u32 want);
/* May it change or remove? -EPERM if not. */
int ipc_owner(const struct ipc_object *o);
void ipc_remove(struct ipc_set *set, struct ipc_object *o);
void ipc_hold(struct ipc_object *o);
void ipc_put(struct ipc_set *set, struct ipc_object *o);
void ipc_perm_out(const struct ipc_object *o, struct ipc64_perm *p);
int ipc_perm_set(struct ipc_object *o, const struct ipc64_perm *p);
s64 ipc_seconds(void);

/* Semaphore adjustments of processes. */
struct sem_undo_list;
void sem_exit(struct thread *t);
void sem_share_undo(struct thread *from, struct thread *to);
int sem_undo_prepare(struct thread *t);

/* sysctl */
extern u64 shm_max, shm_all, msg_max_size, msg_max_bytes;
extern u32 sem_limits[4];
extern u32 mq_queues_max, mq_msg_max, mq_size_max, mq_msg_default, mq_size_default;
extern struct ipc_set shm_set, sem_set, msg_set;
void shm_text(struct text *t);
void sem_text(struct text *t);
void msg_text(struct text *t);

/* Shared memory: an area of segment `priv` was made, copied or went away. */
void shm_area_open(struct vma *v);
void shm_area_close(struct vma *v);

#endif
