// SPDX-License-Identifier: ISC
// Names of containers: a DNS server for each network of the user's.
#ifndef D0D_DNS_H
#define D0D_DNS_H

#include "d0d/engine.h"

enum dns_found {
	DNS_UNKNOWN,
	DNS_KNOWN,
	DNS_ADDRESS
};

struct dns_addrs {
	struct in_addr ip;   // 0.0.0.0: none
	struct in6_addr ip6; // ::: none
};

// Looks a lower-case name up. DNS_ADDRESS fills *A; DNS_KNOWN: the name exists.
typedef enum dns_found dns_lookup(void *ctx, const char *name, struct dns_addrs *a);

// Answers a query (RFC 1035) of N bytes. Returns the answer's length in OUT (at least 512
// bytes), 0 if it is to be dropped, -1 if the name isn't ours and is to be forwarded.
ssize_t dns_answer(const uint8_t *q, size_t n, uint8_t *out, size_t cap, dns_lookup *lookup,
		   void *ctx);
// SERVFAIL (2) or another code as the answer to Q; its length, 0 if Q is no query.
ssize_t dns_refuse(const uint8_t *q, size_t n, uint8_t *out, size_t cap, int code);

// Serves network ID until dns_stop(), by UDP and at the same address by TCP; takes over the
// UDP socket FD.
void dns_start(struct engine *e, const char *id, int fd);
void dns_stop(struct engine *e, const char *id);

#endif
