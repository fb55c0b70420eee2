/* SPDX-License-Identifier: ISC */
/* What the files of the client library share. */
#ifndef TRANSPORT_PVS_INT_H
#define TRANSPORT_PVS_INT_H

#include "pvs_client.h"

#define UNIT (1u << PVS_MIN_ORDER)

enum {
	E_AGAIN = 11,
	E_NOMEM = 12,
	E_INVAL = 22,
	E_NFILE = 23,
	E_PIPE = 32,
	E_PROTO = 71,
	E_MSGSIZE = 90,
	E_NOTCONN = 107,
	E_ALREADY = 114
};

static inline uint32_t load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void store(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline uint64_t load64(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* pvs_heap.c */
void pvs_heap_init(struct pvs_client *c);
/* Offset in the region, 0: no memory. */
uint32_t pvs_heap_alloc(struct pvs_client *c, unsigned order);
void pvs_heap_free(struct pvs_client *c, uint32_t off);

/* pvs_client.c */
void pvs_wake_server(struct pvs_client *c);
void pvs_wake_seen(struct pvs_client *c);
void pvs_responses(struct pvs_client *c); /* takes all that are there */

#endif
