/* SPDX-License-Identifier: ISC */
/* What the files of the PV socket server share: pv.c (rings, events), pvcmd.c (commands). */
#ifndef TRANSPORT_PV_H
#define TRANSPORT_PV_H

#include "tcp.h"

/* A command's result: no response now, one comes later. */
#define PV_PENDING 1

/* Does [off, off + len) lie in the region behind its header, aligned? */
bool pv_span_ok(uint32_t size, uint32_t off, uint64_t len);
/* Carries out one request of that client; its result, or PV_PENDING. */
int pv_command(struct tp_stack *st, struct pv *pv, const struct pvs_req *q, struct pvs_rsp *r);

#endif
