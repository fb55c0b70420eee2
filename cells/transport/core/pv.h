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

/* Options: a number from up to len bytes; one into room bytes, how many were written. */
uint32_t pv_get_u32(const uint8_t *v, uint32_t len);
int pv_put_u32(uint8_t *v, uint32_t room, uint32_t x);
/* pvopt_ip.c: as pv_setsockopt() and pv_getsockopt(). */
int pv_set_ip(struct tp_stack *st, struct sock *s, uint32_t name, const uint8_t *v,
	      uint32_t len);
int pv_set_ip6(struct tp_stack *st, struct sock *s, uint32_t name, const uint8_t *v,
	       uint32_t len);
int pv_get_ip(struct tp_stack *st, struct sock *s, uint32_t name, uint8_t *v, uint32_t room);
int pv_get_ip6(struct tp_stack *st, struct sock *s, uint32_t name, uint8_t *v, uint32_t room);

#endif
