// SPDX-License-Identifier: ISC
// The words of a container's transport cell and of its channels to the nic cell: what each may
// hold is bounded (include/d0/abi.h), so everything that follows from something else is left
// out. cells/nic/switch/policy.h and cells/transport/main.c say what they mean.
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/d0/net.h"

#define SOCKETS 512

static const char *ip_text(struct in_addr ip, char out[INET_ADDRSTRLEN])
{
	return inet_ntop(AF_INET, &ip, out, INET_ADDRSTRLEN);
}

static const char *ip6_words(const struct in6_addr *ip, char out[INET6_ADDRSTRLEN])
{
	return inet_ntop(AF_INET6, ip, out, INET6_ADDRSTRLEN);
}

static int put(char *out, size_t size, struct sbuf *b, struct err *e)
{
	bool fits = b->len < size;

	if (fits)
		memcpy(out, b->p, b->len + 1);
	sbuf_free(b);
	return fits ? 0 : err_set(e, 400, "too many published ports for one container");
}

// ---- published ports ----

// What the switch steers here beside the block: "t8081-8083", TCP of both families; "lsu53":
// UDP, IPv6 only, not from the wire.
struct slice {
	char letters[4];
	uint16_t first, last;
};

static int by_letters(const void *a, const void *b)
{
	const struct slice *p = a, *q = b;
	int d = strcmp(p->letters, q->letters);

	return d ? d : (int)p->first - (int)q->first;
}

// The ports are sorted: one of both families is two neighbours.
static size_t slices_of(const struct box_net *n, struct slice *out)
{
	size_t count = 0;

	for (size_t i = 0; i < n->nports; i++) {
		const struct net_port *p = &n->ports[i], *next = p + 1;
		bool both = i + 1 < n->nports && next->proto == p->proto &&
			    next->host_port == p->host_port && next->local == p->local;
		char *l = out[count].letters;

		if (p->local)
			*l++ = 'l';
		if (!both)
			*l++ = p->family == BE_V4 ? 'f' : 's';
		*l++ = p->proto == IPPROTO_TCP ? 't' : 'u';
		*l = 0;
		out[count].first = out[count].last = p->host_port;
		count++;
		i += both;
	}
	qsort(out, count, sizeof(*out), by_letters);
	return count;
}

// Letters last until others come, and ports that lie in a row are a range.
static void ports_text(const struct box_net *n, struct sbuf *b)
{
	struct slice *s = xcalloc(n->nports + 1, sizeof(*s));
	size_t count = slices_of(n, s);
	const char *letters = "";

	for (size_t i = 0; i < count; i++) {
		uint16_t first = s[i].first, last = s[i].last;
		while (i + 1 < count && s[i + 1].first == last + 1 &&
		       strcmp(s[i + 1].letters, s[i].letters) == 0) {
			last++;
			i++;
		}
		sbuf_addf(b, "+%s%u", strcmp(letters, s[i].letters) ? s[i].letters : "", first);
		if (last > first)
			sbuf_addf(b, "-%u", last);
		letters = s[i].letters;
	}
	free(s);
}

// Those families of wanted port AT that no earlier one has, at another of the host's addresses.
static uint8_t wanted_new(const struct box_net *n, size_t at)
{
	const struct be_port *p = &n->wanted[at];
	uint8_t families = p->families;

	for (size_t i = 0; i < at; i++)
		if (n->wanted[i].proto == p->proto && n->wanted[i].host_port == p->host_port)
			families &= (uint8_t)~n->wanted[i].families;
	return families;
}

int netargs_cell(const struct box_net *n, const struct be_spec *s, char *out, size_t size,
		 struct err *e)
{
	static const char *const host[] = {
	    [BE_V4] = "*4", [BE_V6] = "*6", [BE_V4 | BE_V6] = "*"};
	struct sbuf b = {0};
	bool more = false;

	// The engine gives no address twice, and the switch lets nobody use another's.
	sbuf_addf(&b, "socks=%d nodad", SOCKETS);
	if (s->hostname && !strpbrk(s->hostname, " \n"))
		sbuf_addf(&b, " hostname=%s", s->hostname);
	for (size_t i = 0; i < n->nwanted; i++) {
		const struct be_port *p = &n->wanted[i];
		uint8_t families = wanted_new(n, i);
		if (!families)
			continue;
		sbuf_addf(&b, "%s%s:%s:%u:%u",
			  more ? "," : " publish=", p->proto == IPPROTO_TCP ? "tcp" : "udp",
			  host[families], p->host_port, p->port);
		more = true;
	}
	return put(out, size, &b, e);
}

// ---- networks ----

// The way out of a bridge network is another device: its gateway is one to be looked at.
static void add_ip6(const struct be_endpoint *ep, const struct net_seg *s, struct sbuf *to,
		    struct sbuf *own)
{
	char ip[INET6_ADDRSTRLEN];

	if (!ep->prefix6)
		return;
	ip6_words(&ep->ip6, ip);
	sbuf_addf(to, "+%s", ip);
	sbuf_addf(own, " ip6=%s/%d", ip, ep->prefix6);
	if (!IN6_IS_ADDR_UNSPECIFIED(&ep->gateway6) && !s->internal)
		sbuf_addf(own, " %s6=%s", s->driver == NET_BRIDGE ? "show" : "gw",
			  ip6_words(&ep->gateway6, ip));
}

int netargs_network(const struct box_net *n, const struct be_endpoint *ep,
		    struct d0_ctl_channel_create *r, struct err *e)
{
	char ip[INET_ADDRSTRLEN], gw[INET_ADDRSTRLEN];
	struct sbuf to = {0}, own = {0};
	struct net_seg s;

	if (net_seg(n->b, ep->network, &s, e) < 0)
		return -1;
	if (s.driver == NET_BRIDGE)
		sbuf_addf(&to, "%sseg=%u", s.isolated ? "mode=macvlan-private " : "", s.number);
	else
		sbuf_addf(&to, "mode=%s uplink=%u vlan=%u",
			  s.driver == NET_MACVLAN ? "macvlan" : "ipvlan", s.uplink, s.vlan);
	snprintf(r->label, sizeof(r->label), "%s", ep->ifname);
	ip_text(ep->ip, ip);
	sbuf_addf(&to, " mac=%02x:%02x:%02x:%02x:%02x:%02x ip=%s", ep->mac[0], ep->mac[1],
		  ep->mac[2], ep->mac[3], ep->mac[4], ep->mac[5], ip);
	sbuf_addf(&own, "ip=%s/%d", ip, ep->prefix);
	if (ep->gateway.s_addr && !s.internal)
		sbuf_addf(&own, " gw=%s", ip_text(ep->gateway, gw));
	add_ip6(ep, &s, &to, &own);
	int rc = put(r->server_args, sizeof(r->server_args), &to, e);
	if (put(r->client_args, sizeof(r->client_args), &own, e) < 0)
		rc = -1;
	return rc;
}

// ---- the way out ----

static bool publishes6(const struct box_net *n)
{
	for (size_t i = 0; i < n->nports; i++)
		if (n->ports[i].family == BE_V6)
			return true;
	return false;
}

static bool has_local(const struct box_net *n)
{
	for (size_t i = 0; i < n->nports; i++)
		if (n->ports[i].local)
			return true;
	return false;
}

// The host's addresses, to the switch and to the stack.
static void add_host(const struct box_net *n, const struct net_host *h, struct sbuf *to,
		     struct sbuf *own)
{
	char ip[INET_ADDRSTRLEN], gw[INET_ADDRSTRLEN], ip6[INET6_ADDRSTRLEN];
	bool six = h->prefix6 && (n->leaves6 || publishes6(n));

	sbuf_addf(to, " host=%s", ip_text(h->ip, ip));
	sbuf_addf(own, " share=%s/%d gw=%s", ip, h->prefix, ip_text(h->gateway, gw));
	if (!six)
		return;
	sbuf_addf(to, "+%s", ip6_words(&h->ip6, ip6));
	sbuf_addf(own, " %s6=%s/%d", n->leaves6 ? "share" : "serve", ip6, h->prefix6);
	if (!IN6_IS_ADDR_UNSPECIFIED(&h->gateway6))
		sbuf_addf(own, " gw6=%s", ip6_words(&h->gateway6, ip6));
}

int netargs_up(const struct box_net *n, struct d0_ctl_channel_create *r, struct err *e)
{
	struct d0_nets *k = n->b->nets;
	char ip[INET_ADDRSTRLEN];
	struct sbuf to = {0}, own = {0};
	struct net_host host;
	uint16_t lo, hi;

	snprintf(r->label, sizeof(r->label), "up");
	ip_text(net_service(n->slot), ip);
	sbuf_addf(&to, "mode=share ip=%s", ip);
	sbuf_addf(&own, "svc=%s", ip);
	if (n->leaves) {
		pthread_mutex_lock(&k->lock);
		host = k->host;
		pthread_mutex_unlock(&k->lock);
		net_block(n->slot, &lo, &hi);
		add_host(n, &host, &to, &own);
		if (k->near.s_addr && has_local(n))
			sbuf_addf(&to, " near=%s", ip_text(k->near, ip));
		sbuf_addf(&to, " ports=%u-%u", lo, hi);
		ports_text(n, &to);
		sbuf_addf(&own, " block=%u-%u", lo, hi);
	}
	int rc = put(r->server_args, sizeof(r->server_args), &to, e);
	if (put(r->client_args, sizeof(r->client_args), &own, e) < 0)
		rc = -1;
	return rc;
}
