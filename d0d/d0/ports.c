// SPDX-License-Identifier: ISC
// The host's ports on D0: a block for each container with a network, published ones besides.
//
// Ports of the host's IPv4 address and of its IPv6 address are apart: a port that is published
// at one of them is free at the other. A block is the same at both. A container's ports are
// what the switch steers to it, so nothing may be given away twice; one port at several
// addresses of one family (127.0.0.1 and the host's own) is one port, and the widest counts.
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "d0d/d0/net.h"
#include "d0/vnet.h"

// Blocks: 48 of 512 ports from D0_VNET_HOST_PORTS down to 36864, then 552 of 64 down to 1536.
#define BIG       512u
#define BIG_LOW   36864u
#define BIGS      ((D0_VNET_HOST_PORTS - BIG_LOW) / BIG)
#define SMALL     64u
#define SMALL_LOW 1536u
#define SLOTS     (BIGS + (BIG_LOW - SMALL_LOW) / SMALL)
#define OPEN_LOW  32768u // ports of `-P`: from here up, then from here down
#define OPEN_LAST 1024u

// ---- slots and ports ----

void net_block(unsigned slot, uint16_t *lo, uint16_t *hi)
{
	uint32_t at = slot < BIGS ? D0_VNET_HOST_PORTS - BIG * (slot + 1)
				  : BIG_LOW - SMALL * (slot - BIGS + 1);

	*lo = (uint16_t)at;
	*hi = (uint16_t)(at + (slot < BIGS ? BIG : SMALL) - 1);
}

struct in_addr net_service(unsigned slot)
{
	uint32_t at = 0xa9fe0101u + (slot / 250 << 8) + slot % 250; // 169.254.1.1 and on

	return (struct in_addr){htonl(at)};
}

static bool slot_used(const struct d0_nets *k, const struct box_net *self, unsigned slot)
{
	for (const struct box_net *n = k->all; n; n = n->next)
		if (n != self && n->slot == slot)
			return true;
	return false;
}

// proto 0: any.
static bool published(const struct d0_nets *k, int proto, uint8_t families, uint16_t lo,
		      uint16_t hi)
{
	for (const struct box_net *n = k->all; n; n = n->next)
		for (size_t i = 0; i < n->nports; i++)
			if ((!proto || n->ports[i].proto == proto) &&
			    n->ports[i].family & families && n->ports[i].host_port >= lo &&
			    n->ports[i].host_port <= hi)
				return true;
	return false;
}

static bool in_block(const struct d0_nets *k, uint16_t port)
{
	uint16_t lo, hi;

	for (const struct box_net *n = k->all; n; n = n->next) {
		if (n->slot == ~0u)
			continue;
		net_block(n->slot, &lo, &hi);
		if (port >= lo && port <= hi)
			return true;
	}
	return false;
}

static bool slot_pick(struct d0_nets *k, struct box_net *n)
{
	uint16_t lo, hi;

	for (unsigned i = 0; i < SLOTS; i++) {
		net_block(i, &lo, &hi);
		if (slot_used(k, n, i) || published(k, 0, BE_V4 | BE_V6, lo, hi))
			continue;
		n->slot = i;
		return true;
	}
	return false;
}

// d0d's own ports are its addresses' too.
static bool own_listener(const struct d0_nets *k, int proto, uint8_t family, uint16_t port)
{
	struct sockaddr_in a4 = {
	    .sin_family = AF_INET, .sin_addr = k->host.ip, .sin_port = htons(port)};
	struct sockaddr_in6 a6 = {
	    .sin6_family = AF_INET6, .sin6_addr = k->host.ip6, .sin6_port = htons(port)};
	bool tcp = proto == IPPROTO_TCP, six = family == BE_V6;
	struct sockaddr *at = six ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4;
	int one = 1,
	    fd = socket(at->sa_family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	if (tcp)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (six)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	bool taken = bind(fd, at, six ? sizeof(a6) : sizeof(a4)) < 0 && errno == EADDRINUSE;
	close(fd);
	return taken;
}

static bool port_free(const struct d0_nets *k, int proto, uint8_t families, uint16_t port)
{
	return !published(k, proto, families, port, port) && !in_block(k, port) &&
	       !(families & BE_V4 && own_listener(k, proto, BE_V4, port)) &&
	       !(families & BE_V6 && k->host.prefix6 && own_listener(k, proto, BE_V6, port));
}

static int refused(const struct be_port *p, const struct box_net *n, const char *why,
		   struct err *e)
{
	char ip[INET6_ADDRSTRLEN];

	if (p->families & BE_V4)
		inet_ntop(AF_INET, &p->host_ip, ip, sizeof(ip));
	else
		inet_ntop(AF_INET6, &p->host_ip6, ip, sizeof(ip));
	return err_set(e, 500,
		       "driver failed programming external connectivity on endpoint %.12s: "
		       "Bind for %s:%d failed: %s",
		       n->id, ip, p->host_port, why);
}

static struct net_port net_port_of(const struct be_port *p, uint8_t family)
{
	bool local = family == BE_V4 ? ntohl(p->host_ip.s_addr) >> 24 == 127
				     : IN6_IS_ADDR_LOOPBACK(&p->host_ip6);

	return (struct net_port){p->proto, family, p->host_port, p->port, local};
}

// Whether the address it is asked for at is the host's.
static bool at_host(const struct d0_nets *k, const struct be_port *p, uint8_t family)
{
	if (net_port_of(p, family).local)
		return true;
	if (family == BE_V4)
		return !p->host_ip.s_addr || p->host_ip.s_addr == k->host.ip.s_addr;
	return IN6_IS_ADDR_UNSPECIFIED(&p->host_ip6) ||
	       (k->host.prefix6 && IN6_ARE_ADDR_EQUAL(&p->host_ip6, &k->host.ip6));
}

// The same port once more, at another of the host's addresses: the wider one counts.
static bool port_again(struct box_net *n, const struct be_port *p, uint8_t family)
{
	for (size_t i = 0; i < n->nports; i++) {
		struct net_port *q = &n->ports[i];
		if (q->proto != p->proto || q->family != family ||
		    q->host_port != p->host_port || q->port != p->port)
			continue;
		q->local &= net_port_of(p, family).local;
		return true;
	}
	return false;
}

static uint32_t port_choose(const struct d0_nets *k, int proto, uint8_t families)
{
	for (uint32_t port = OPEN_LOW; port < D0_VNET_HOST_PORTS; port++)
		if (port_free(k, proto, families, (uint16_t)port))
			return port;
	for (uint32_t port = OPEN_LOW - 1; port > OPEN_LAST; port--)
		if (port_free(k, proto, families, (uint16_t)port))
			return port;
	return OPEN_LAST;
}

// In the order that lets neighbours be told as a range.
static int by_number(const void *a, const void *b)
{
	const struct net_port *p = a, *q = b;

	if (p->proto != q->proto)
		return p->proto - q->proto;
	if (p->host_port != q->host_port)
		return (int)p->host_port - (int)q->host_port;
	return (int)p->family - (int)q->family;
}

static void ports_sort(struct box_net *n)
{
	qsort(n->ports, n->nports, sizeof(*n->ports), by_number);
}

static int port_take(struct d0_nets *k, struct box_net *n, struct be_port *p, struct err *e)
{
	if (!p->host_port)
		p->host_port = (uint16_t)port_choose(k, p->proto, p->families);
	for (unsigned f = BE_V4; f <= BE_V6; f <<= 1) {
		if (!(p->families & f))
			continue;
		if (!at_host(k, p, f))
			return refused(p, n, "cannot assign requested address", e);
		if (port_again(n, p, f))
			continue;
		if (!port_free(k, p->proto, f, p->host_port))
			return refused(p, n, "port is already allocated", e);
		n->ports[n->nports++] = net_port_of(p, f);
	}
	return 0;
}

int net_publish(struct box_net *n, struct err *e)
{
	struct d0_nets *k = n->b->nets;
	struct net_port *ports = xcalloc(2 * n->nwanted + 1, sizeof(*ports)), *old;
	int rc = 0;

	pthread_mutex_lock(&k->lock);
	old = n->ports;
	n->ports = ports; // its own former ones are free to be taken again
	n->nports = 0;
	for (size_t i = 0; i < n->nwanted && rc == 0; i++)
		rc = port_take(k, n, &n->wanted[i], e);
	if (rc < 0)
		n->nports = 0;
	ports_sort(n);
	pthread_mutex_unlock(&k->lock);
	free(old);
	return rc;
}

int net_reserve(struct box_net *n, struct be_port *ports, size_t nports, struct err *e)
{
	struct d0_nets *k = n->b->nets;
	int rc = 0;

	n->ports = xcalloc(2 * nports + 1, sizeof(*n->ports));
	n->slot = ~0u;
	pthread_mutex_lock(&k->lock);
	n->next = k->all;
	k->all = n;
	for (size_t i = 0; i < nports && rc == 0; i++)
		rc = port_take(k, n, &ports[i], e);
	if (rc == 0 && !slot_pick(k, n))
		rc = err_set(e, 500, "all %u blocks of the host's ports are in use", SLOTS);
	ports_sort(n);
	pthread_mutex_unlock(&k->lock);
	if (rc < 0)
		net_release(n);
	return rc;
}

void net_adopted(struct box_net *n, unsigned slot)
{
	struct d0_nets *k = n->b->nets;

	n->slot = slot;
	pthread_mutex_lock(&k->lock);
	n->next = k->all;
	k->all = n;
	pthread_mutex_unlock(&k->lock);
}

void net_published(struct box_net *n, const struct be_port *ports, size_t nports)
{
	struct d0_nets *k = n->b->nets;
	struct box_net have = {.ports = xcalloc(2 * nports + 1, sizeof(struct net_port))};

	for (size_t i = 0; i < nports; i++)
		for (unsigned f = BE_V4; f <= BE_V6; f <<= 1)
			if (ports[i].families & f && !port_again(&have, &ports[i], f))
				have.ports[have.nports++] = net_port_of(&ports[i], f);
	ports_sort(&have);
	pthread_mutex_lock(&k->lock);
	free(n->ports);
	n->ports = have.ports;
	n->nports = have.nports;
	pthread_mutex_unlock(&k->lock);
}

void net_unpublish(struct box_net *n)
{
	net_published(n, NULL, 0);
}
