/* SPDX-License-Identifier: ISC */
/*
 * The client's side of the PV socket protocol (include/d0/pvsock.h), for native cells,
 * samples and tests. Freestanding; no allocation but from memory given at pvs_init; one
 * thread. Calls never block except by calling `wait`, which the cell makes of cell_wait().
 *
 * Results are >= 0 or -errno (Linux's numbers).
 */
#ifndef TRANSPORT_PVS_CLIENT_H
#define TRANSPORT_PVS_CLIENT_H

#include <d0/pvsock.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pvs_sock {
	uint8_t used, domain, type, closing, recverr;
	uint32_t tx_prod, rx_cons; /* our own; the shared copies are never read back */
	struct pvs_rings rings;
	uint32_t err_seen, urg_seen;
	uint32_t released_id, asked_id; /* RELEASE; and the one sent to a new instance */
	void *user;
};

struct pvs_client {
	uint8_t *base;
	struct pvs_header *hdr;
	struct pvs_req *req;
	struct pvs_rsp *rsp;
	struct pvs_slot *slot;
	struct pvs_bitmap *kick, *event;
	uint32_t nslots, nreq, size, heap;
	uint32_t req_prod, rsp_cons, next_id;
	uint32_t server_gen, ask; /* the instance that serves us; slots asked about so far */
	struct pvs_sock *sock;
	uint8_t *map; /* heap units: see pvs_client.c */
	uint32_t units, units_used;
	uint64_t pending[PVS_SUM_WORDS]; /* words of `event` being walked */
	void (*notify)(void *ctx);
	void (*wait)(void *ctx); /* until the server may have answered */
	void *ctx;
	struct pvs_rsp last;
	bool have_last;
	uint32_t want_id;
};

/* Bytes of private memory that pvs_init() needs. */
size_t pvs_memory(uint32_t region_size, uint32_t nslots);

/*
 * Lays out the region (zeroed, `size` bytes) and offers it to the server. nslots: a
 * multiple of 64. gen: any value not 0 and not the one used before. 0 or -EINVAL.
 */
int pvs_init(struct pvs_client *c, void *region, uint32_t size, uint32_t nslots, uint32_t gen,
	     void *memory, void (*notify)(void *), void (*wait)(void *), void *ctx);
bool pvs_ready(const struct pvs_client *c); /* the server has accepted the layout */

/* Sockets are named by slot number. Orders are log2 of ring sizes; 0: no rings yet. */
int pvs_socket(struct pvs_client *c, int domain, int type, int protocol, unsigned tx_order,
	       unsigned rx_order);
int pvs_bind(struct pvs_client *c, int s, const struct pvs_addr *a);
int pvs_listen(struct pvs_client *c, int s, int backlog);
int pvs_connect(struct pvs_client *c, int s, const struct pvs_addr *a);
int pvs_accept(struct pvs_client *c, int s, unsigned tx_order, unsigned rx_order,
	       struct pvs_addr *peer);
int pvs_shutdown(struct pvs_client *c, int s, int how);
/* The slot is gone for the caller at once; its memory when the server has let go. */
int pvs_close(struct pvs_client *c, int s, bool abort);
int pvs_setopt(struct pvs_client *c, int s, int level, int name, const void *v, uint32_t len);
int pvs_getopt(struct pvs_client *c, int s, int level, int name, void *v, uint32_t len);
int pvs_name(struct pvs_client *c, int s, bool peer, struct pvs_addr *a);
int pvs_grow(struct pvs_client *c, int s, unsigned tx_order, unsigned rx_order);
uint32_t pvs_heap_left(const struct pvs_client *c); /* bytes of the region not in use */
int pvs_list(struct pvs_client *c, uint32_t what, uint32_t start, void *buf, uint32_t len);
int pvs_control(struct pvs_client *c, uint32_t what, uint32_t op, const void *rec,
		uint32_t len);

/* Streams. Bytes moved, -EAGAIN, or the socket's error; recv 0: end of stream. */
int pvs_send(struct pvs_client *c, int s, const void *p, uint32_t n);
int pvs_recv(struct pvs_client *c, int s, void *p, uint32_t n);
/*
 * Without a copy: where free space or data lies now, contiguous. Data is untouched until
 * pvs_recv_done(); commit with pvs_send_done().
 */
uint32_t pvs_send_space(struct pvs_client *c, int s, void **p);
void pvs_send_done(struct pvs_client *c, int s, uint32_t n);
/* The same in two steps, several of the first to one of the second. more: the last partial
 * segment may wait for what follows (MSG_MORE, TCP_CORK), for 200 ms at most. */
void pvs_send_put(struct pvs_client *c, int s, uint32_t n);
void pvs_send_kick(struct pvs_client *c, int s, bool more);
uint32_t pvs_recv_data(struct pvs_client *c, int s, const void **p);
void pvs_recv_done(struct pvs_client *c, int s, uint32_t n);
/* The same in two steps, several of the first to one of the second. */
void pvs_recv_take(struct pvs_client *c, int s, uint32_t n);
void pvs_recv_kick(struct pvs_client *c, int s);
int pvs_send_oob(struct pvs_client *c, int s, const void *p, uint32_t n);

/* Datagrams. d->len is set from n; recv fills *d, copies at most n bytes, drops the rest. */
int pvs_sendto(struct pvs_client *c, int s, struct pvs_dgram *d, const void *p, uint32_t n);
int pvs_recvfrom(struct pvs_client *c, int s, struct pvs_dgram *d, void *p, uint32_t n);

/*
 * With IP_RECVERR: the next error a datagram met (d: see PVS_DG_ERROR), and of what failed at
 * most n bytes, d->len of them there are. -EAGAIN: no more. At most 32 are kept while
 * datagrams are read.
 */
int pvs_recverr(struct pvs_client *c, int s, struct pvs_dgram *d, void *p, uint32_t n);

/* Bytes of the next datagram, without taking it; -EAGAIN: there is none. */
int pvs_next_len(struct pvs_client *c, int s);

/* Readiness now (PVS_EV_*), and which events should wake us. */
uint32_t pvs_ready_events(struct pvs_client *c, int s);
void pvs_want(struct pvs_client *c, int s, uint32_t events);
/* The next socket with an event, or -1. Call until -1 before sleeping. */
int pvs_next_event(struct pvs_client *c);
/* An asynchronous error that was not reported yet, as a positive errno; 0: none. */
int pvs_error(struct pvs_client *c, int s);

/* Before sleeping: false if there is something to do. After waking: pvs_idle_end. */
bool pvs_idle_begin(struct pvs_client *c);
void pvs_idle_end(struct pvs_client *c);

/* The same requests without waiting: returns the id; answers come from pvs_response(). */
uint32_t pvs_submit(struct pvs_client *c, struct pvs_req *q);
bool pvs_response(struct pvs_client *c, struct pvs_rsp *r);

#endif
