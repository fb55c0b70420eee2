// SPDX-License-Identifier: ISC
// IPv6 of networks: subnets, addresses. Which is the wire's business (macvlan, SLAAC) is not
// here: a network has addresses of its own if it was made with --ipv6.
//
// Containers of a network reach each other by these addresses; a bridge network has no way out
// by IPv6 on D0 (docs/docker.md).
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/engine.h"

bool ip6_any(const struct in6_addr *ip)
{
	return IN6_IS_ADDR_UNSPECIFIED(ip);
}

const char *ip6_text(const struct in6_addr *ip, int prefix, char out[IP6_TEXT])
{
	char text[INET6_ADDRSTRLEN];

	if (ip6_any(ip))
		return strcpy(out, "");
	inet_ntop(AF_INET6, ip, text, sizeof(text));
	if (prefix)
		snprintf(out, IP6_TEXT, "%s/%d", text, prefix);
	else
		snprintf(out, IP6_TEXT, "%s", text);
	return out;
}

// ---- subnets ----

static void mask6(struct in6_addr *ip, int prefix)
{
	for (int i = 0; i < 16; i++) {
		int bits = prefix - 8 * i;
		ip->s6_addr[i] &= bits >= 8   ? 0xff
				  : bits <= 0 ? 0
					      : (uint8_t)(0xff << (8 - bits));
	}
}

static bool in_subnet(const struct network *n, const struct in6_addr *ip, int prefix)
{
	struct in6_addr a = *ip, b = n->subnet6;
	int shorter = prefix < n->prefix6 ? prefix : n->prefix6;

	if (!n->prefix6)
		return false;
	mask6(&a, shorter);
	mask6(&b, shorter);
	return memcmp(&a, &b, sizeof(a)) == 0;
}

static struct in6_addr plus(const struct in6_addr *base, uint32_t n)
{
	struct in6_addr ip = *base;

	for (int i = 15; i >= 0 && n; i--) {
		n += ip.s6_addr[i];
		ip.s6_addr[i] = (uint8_t)n;
		n >>= 8;
	}
	return ip;
}

static int parse6(const char *s, struct in6_addr *net, int *prefix)
{
	char buf[INET6_ADDRSTRLEN], *end;
	const char *slash = strchr(s, '/');

	if (!slash || (size_t)(slash - s) >= sizeof(buf))
		return -1;
	memcpy(buf, s, (size_t)(slash - s));
	buf[slash - s] = 0;
	long n = strtol(slash + 1, &end, 10);
	if (inet_pton(AF_INET6, buf, net) != 1 || end == slash + 1 || *end || n < 16 || n > 126)
		return -1;
	*prefix = (int)n;
	mask6(net, *prefix);
	return 0;
}

static bool taken6(const struct engine *e, const struct in6_addr *net, int prefix)
{
	for (const struct network *o = e->networks; o; o = o->next)
		if (in_subnet(o, net, prefix))
			return true;
	return false;
}

// A unique local subnet (RFC 4193) that nobody has.
static void pick6(struct engine *e, struct in6_addr *net, int *prefix)
{
	*prefix = 64;
	do {
		random_fill(net, sizeof(*net));
		net->s6_addr[0] = 0xfd;
		mask6(net, *prefix);
	} while (taken6(e, net, *prefix));
}

static const json_t *pool6(const json_t *ipam)
{
	const json_t *pools = ja(ipam, "Config");

	for (size_t i = 0; i < json_array_size(pools); i++)
		if (strchr(js(json_array_get(pools, i), "Subnet", ""), ':'))
			return json_array_get(pools, i);
	return NULL;
}

int net6_from_request(struct engine *e, struct network *n, const json_t *body, struct err *err)
{
	const json_t *pool = pool6(jo(body, "IPAM"));
	const char *subnet = js(pool, "Subnet", ""), *gw = js(pool, "Gateway", "");
	struct in6_addr net, gateway;
	int prefix;

	if (!jb(body, "EnableIPv6", false))
		return pool ? err_set(err, 400, "subnet %.60s needs --ipv6", subnet) : 0;
	if (!pool)
		pick6(e, &net, &prefix);
	else if (parse6(subnet, &net, &prefix) < 0)
		return err_set(err, 400,
			       "invalid subnet %.80s: invalid CIDR block notation (IPv6)",
			       subnet);
	else if (taken6(e, &net, prefix))
		return err_set(err, 403, "Pool overlaps with other one on this address space");
	gateway = plus(&net, 1);
	if (*gw && inet_pton(AF_INET6, gw, &gateway) != 1)
		return err_set(err, 400, "invalid gateway address: %.80s", gw);
	n->subnet6 = net;
	n->gateway6 = gateway;
	n->prefix6 = prefix;
	return 0;
}

// ---- records ----

static void get6(const json_t *o, const char *key, struct in6_addr *ip)
{
	if (inet_pton(AF_INET6, js(o, key, ""), ip) != 1)
		*ip = in6addr_any;
}

static void set6(json_t *o, const char *key, const struct in6_addr *ip)
{
	char text[IP6_TEXT];

	if (!ip6_any(ip))
		json_object_set_new(o, key, json_string(ip6_text(ip, 0, text)));
}

void net6_load(struct network *n, const json_t *o)
{
	get6(o, "subnet6", &n->subnet6);
	get6(o, "gateway6", &n->gateway6);
	n->prefix6 = (int)ji(o, "prefix6", 0);
	if (n->prefix6 < 16 || n->prefix6 > 126)
		n->prefix6 = 0;
}

void net6_save(const struct network *n, json_t *o)
{
	set6(o, "subnet6", &n->subnet6);
	set6(o, "gateway6", &n->gateway6);
	json_object_set_new(o, "prefix6", json_integer(n->prefix6));
}

void ep6_load(struct endpoint *ep, const json_t *o)
{
	get6(o, "ip6", &ep->ip6);
	get6(o, "wanted6", &ep->wanted6);
}

void ep6_save(const struct endpoint *ep, json_t *o)
{
	set6(o, "ip6", &ep->ip6);
	set6(o, "wanted6", &ep->wanted6);
}

// ---- addresses ----

int ep6_want(const struct network *n, struct endpoint *ep, const json_t *cfg, struct err *err)
{
	const char *ip = js(jo(cfg, "IPAMConfig"), "IPv6Address", "");

	if (!*ip)
		return 0;
	if (inet_pton(AF_INET6, ip, &ep->wanted6) != 1)
		return err_set(err, 400, "invalid IPv6 address: %.80s", ip);
	return in_subnet(n, &ep->wanted6, 128)
		   ? 0
		   : err_set(err, 400,
			     "invalid config for network %s: invalid endpoint settings: no "
			     "configured subnet contains the IP address %.80s",
			     n->name, ip);
}

static bool ip6_taken(const struct engine *e, const struct endpoint *self,
		      const struct in6_addr *ip)
{
	for (const struct container *c = e->containers; c; c = c->next)
		for (int i = 0; i < c->nep; i++)
			if (&c->ep[i] != self && IN6_ARE_ADDR_EQUAL(&c->ep[i].ip6, ip) &&
			    strcmp(c->ep[i].network, self->network) == 0 &&
			    (container_running(c) || c->starting ||
			     !ip6_any(&c->ep[i].wanted6)))
				return true;
	return false;
}

int ep6_assign_locked(struct engine *e, const struct network *n, struct endpoint *ep,
		      struct err *err)
{
	if (!n->prefix6) {
		ep->ip6 = in6addr_any;
		return 0;
	}
	if (!ip6_any(&ep->wanted6)) {
		ep->ip6 = ep->wanted6;
		return ip6_taken(e, ep, &ep->ip6) ? err_set(err, 403, "Address already in use")
						  : 0;
	}
	if (!ip6_any(&ep->ip6) && in_subnet(n, &ep->ip6, 128) && !ip6_taken(e, ep, &ep->ip6))
		return 0; // the one it had
	uint32_t most = n->prefix6 > 112 ? (1u << (128 - n->prefix6)) - 1 : 65535;
	for (uint32_t i = 2; i <= most; i++) {
		ep->ip6 = plus(&n->subnet6, i);
		if (!IN6_ARE_ADDR_EQUAL(&ep->ip6, &n->gateway6) && !ip6_taken(e, ep, &ep->ip6))
			return 0;
	}
	ep->ip6 = in6addr_any;
	return err_set(err, 403,
		       "no available IPv6 addresses on this network's address pools: %s (%s)",
		       n->name, n->id);
}
