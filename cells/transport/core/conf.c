/* SPDX-License-Identifier: ISC */
/* Argument strings; see tp_conf.h. */
#include "tp_conf.h"
#include "tp_int.h"
#include <d0/vnet.h>

static const char *find(const char *s, const char *key, char end)
{
	while (*s) {
		const char *k = key;

		while (*s == ' ')
			s++;
		while (*k && *s == *k)
			s++, k++;
		if (!*k && (*s == '=' || ((*s == ' ' || !*s) && end == ' ')))
			return s;
		while (*s && *s != ' ')
			s++;
	}
	return NULL;
}

int tp_conf_get(const char *s, const char *key, char *buf, unsigned size)
{
	const char *v = find(s, key, '=');
	unsigned n = 0;

	if (!v)
		return -1;
	for (v++; *v && *v != ' ' && n + 1 < size; v++)
		buf[n++] = *v;
	buf[n] = 0;
	return (int)n;
}

bool tp_conf_has(const char *s, const char *word)
{
	return find(s, word, ' ') != NULL;
}

static unsigned number(const char **s)
{
	unsigned v = 0;

	while (**s >= '0' && **s <= '9' && v < 100000)
		v = v * 10 + (unsigned)(*(*s)++ - '0');
	return v;
}

/* "LO-HI", ports. */
static int range(const char *s, unsigned *lo, unsigned *hi)
{
	*lo = number(&s);
	if (*s++ != '-')
		return -TE_INVAL;
	*hi = number(&s);
	return *s || !*lo || *hi > 65535 || *lo > *hi ? -TE_INVAL : 0;
}

void tp_conf_stack(struct tp_config *c, const char *args)
{
	char v[16];

	if (tp_conf_get(args, "cc", v, sizeof(v)) > 0 && v[0] == 'r')
		c->cc = TP_CC_RENO;
	c->ecn = tp_conf_has(args, "ecn");
	c->no_control = tp_conf_has(args, "nocontrol");
	c->no_ipv6 = tp_conf_has(args, "noipv6");
	c->ipv6_no_dad = tp_conf_has(args, "nodad");
	c->always_cookies = tp_conf_has(args, "cookies");
	if (tp_conf_get(args, "ephemeral", v, sizeof(v)) > 0) {
		unsigned lo, hi;

		if (!range(v, &lo, &hi)) {
			c->eph_lo = (uint16_t)lo;
			c->eph_hi = (uint16_t)hi;
		}
	}
}

void tp_conf_if(struct tp_if_config *c, const char *const *args, unsigned n)
{
	char v[64];
	bool fixed = false;

	for (unsigned i = 0; i < n; i++) {
		c->dhcp |= tp_conf_has(args[i], "dhcp");
		c->slaac |= tp_conf_has(args[i], "slaac");
		fixed |= tp_conf_get(args[i], "ip", v, sizeof(v)) > 0;
	}
	/* An address given is an answer: "dhcp" is for where none is. */
	c->dhcp &= !fixed;
}

static int get_first(const char *const *args, unsigned n, const char *key, char *v,
		     unsigned size)
{
	for (unsigned i = 0; i < n; i++) {
		if (tp_conf_get(args[i], key, v, size) > 0)
			return 0;
	}
	return -1;
}

/* "ADDR/LEN" */
static int add_addr(struct tp_stack *st, unsigned ifi, char *v)
{
	uint8_t a[16];
	char *slash = v;
	const char *len;
	unsigned plen;
	int e;

	while (*slash && *slash != '/')
		slash++;
	if (!*slash)
		return -TE_INVAL;
	*slash = 0;
	len = slash + 1;
	plen = number(&len);
	if (*len || plen > 128 || tp_parse_addr(v, a))
		return -TE_INVAL;
	e = tp_addr_add(st, ifi, a, plen);
	return e == -TE_EXIST ? 0 : e;
}

/* "ADDR/LEN[+ADDR/LEN...]" */
static int add_addrs(struct tp_stack *st, unsigned ifi, char *v)
{
	char *next;
	int e = 0;

	for (; v && !e; v = next) {
		for (next = v; *next && *next != '+'; next++)
			;
		if (*next)
			*next++ = 0;
		else
			next = NULL;
		e = add_addr(st, ifi, v);
	}
	return e;
}

/* A default route that the list shows, where another device leads out. */
static int add_shown(struct tp_stack *st, unsigned ifi, const char *v)
{
	struct route r = {
	    .ifi = (uint8_t)ifi, .proto = 4, .used = ROUTE_SHOWN, .expires = NEVER};
	uint8_t gw[16];
	int e;

	if (tp_parse_addr(v, gw))
		return -TE_INVAL;
	r.gw = ipa_from6(gw);
	if (ipa_is4(&r.gw))
		return -TE_INVAL;
	e = route_add(st, &r);
	return e == -TE_EXIST ? 0 : e;
}

static int add_gateway(struct tp_stack *st, unsigned ifi, const char *v)
{
	uint8_t gw[16], any[16] = {0};
	struct ipa four = ipa_from4(0), g;
	int e;

	if (tp_parse_addr(v, gw))
		return -TE_INVAL;
	memcpy(g.b, gw, 16);
	e = tp_route_add(st, ifi, ipa_is4(&g) ? four.b : any, 0, gw);
	return e == -TE_EXIST ? 0 : e;
}

int tp_conf_addresses(struct tp_stack *st, unsigned ifi, const char *const *args, unsigned n)
{
	char v[160];
	int e = 0;

	if (!get_first(args, n, "ip", v, sizeof(v)))
		e = add_addrs(st, ifi, v);
	if (!e && !get_first(args, n, "also", v, sizeof(v)))
		e = add_addrs(st, ifi, v);
	if (!e && !get_first(args, n, "ip6", v, sizeof(v)))
		e = add_addrs(st, ifi, v);
	if (!e && !get_first(args, n, "gw", v, sizeof(v)))
		e = add_gateway(st, ifi, v);
	if (!e && !get_first(args, n, "gw6", v, sizeof(v)))
		e = add_gateway(st, ifi, v);
	if (!e && !get_first(args, n, "show6", v, sizeof(v)))
		e = add_shown(st, ifi, v);
	return e;
}

/* "svc=ADDR [server=ADDR]" */
static int add_service(struct tp_stack *st, unsigned ifi, const char *args)
{
	struct ipa server = ipa_from4(be32(D0_VNET_SERVICE));
	uint8_t a[16];
	char v[64];

	if (tp_conf_get(args, "svc", v, sizeof(v)) <= 0)
		return 0;
	if (tp_parse_addr(v, a) ||
	    (tp_conf_get(args, "server", v, sizeof(v)) > 0 && tp_parse_addr(v, server.b)))
		return -TE_INVAL;
	return tp_service(st, ifi, a, server.b);
}

/* "KEY=ADDR/LEN GW=ADDR block=LO-HI" */
static int add_share(struct tp_stack *st, unsigned ifi, const char *args, const char *key,
		     const char *gw, bool serves)
{
	uint8_t a[16], b[16];
	struct ipa none = ipa_from4(0);
	char v[64], w[64];
	const char *s;
	unsigned plen, lo, hi, i;

	if (tp_conf_get(args, key, v, sizeof(v)) <= 0)
		return 0;
	for (i = 0; v[i] && v[i] != '/'; i++)
		;
	if (!v[i])
		return -TE_INVAL;
	v[i] = 0;
	s = v + i + 1;
	plen = number(&s);
	if (*s || tp_parse_addr(v, a) || tp_conf_get(args, "block", w, sizeof(w)) <= 0)
		return -TE_INVAL;
	memcpy(b, none.b, 16);
	if (range(w, &lo, &hi) ||
	    (tp_conf_get(args, gw, v, sizeof(v)) > 0 && tp_parse_addr(v, b)))
		return -TE_INVAL;
	return tp_share(st, ifi, a, plen, b, (uint16_t)lo, (uint16_t)hi, serves);
}

/* "svc=ADDR share=ADDR/LEN gw=ADDR share6=ADDR/LEN gw6=ADDR block=LO-HI"; serve6= in place of
 * share6=: only what is published there. */
int tp_conf_share(struct tp_stack *st, unsigned ifi, const char *args)
{
	int e = add_service(st, ifi, args);

	if (!e)
		e = add_share(st, ifi, args, "share", "gw", false);
	if (!e)
		e = add_share(st, ifi, args, "share6", "gw6", false);
	if (!e)
		e = add_share(st, ifi, args, "serve6", "gw6", true);
	return e;
}

/* "*": the shared addresses, whatever they are; "*4", "*6": of that family. 0: none of these.
 */
static unsigned shared_families(const char *h)
{
	if (h[0] != '*' || (h[1] && h[2]))
		return 0;
	return !h[1] ? TP_V4 | TP_V6 : h[1] == '4' ? TP_V4 : h[1] == '6' ? TP_V6 : 0;
}

/* "tcp:HOST:PORT:PORT", HOST without colons (IPv4). Moves *s behind it and its comma. */
static int add_publish(struct tp_stack *st, const char **s)
{
	uint8_t host[16];
	char h[48];
	unsigned n = 0, hp, p, families;
	uint8_t proto = **s == 'u' ? IPPROTO_UDP_ : IPPROTO_TCP_;

	while (**s && **s != ':')
		(*s)++;
	if (!*(*s))
		return -TE_INVAL;
	for ((*s)++; **s && **s != ':' && n < sizeof(h) - 1; (*s)++)
		h[n++] = **s;
	h[n] = 0;
	if (*(*s)++ != ':')
		return -TE_INVAL;
	hp = number(s);
	if (*(*s)++ != ':')
		return -TE_INVAL;
	p = number(s);
	if (**s == ',')
		(*s)++;
	families = shared_families(h);
	if (!hp || hp > 65535 || !p || p > 65535 || (!families && tp_parse_addr(h, host)))
		return -TE_INVAL;
	if (families)
		return tp_publish_shared(st, proto, families, (uint16_t)hp, (uint16_t)p);
	return tp_publish(st, proto, host, (uint16_t)hp, (uint16_t)p);
}

int tp_conf_services(struct tp_stack *st, const char *args)
{
	char v[1024];
	const char *s = v;
	int e;

	tp_conf_get(args, "hostname", st->s->net.hostname, sizeof(st->s->net.hostname));
	if (tp_conf_get(args, "dns", v, sizeof(v)) > 0) {
		for (unsigned i = 0; i < 4 && *s; i++) {
			char one[48];
			unsigned n = 0;

			while (*s && *s != ',' && n < sizeof(one) - 1)
				one[n++] = *s++;
			one[n] = 0;
			if (*s == ',')
				s++;
			if (tp_parse_addr(one, st->s->net.dns[i]))
				return -TE_INVAL;
		}
	}
	state_seal_net(st);
	s = v;
	if (tp_conf_get(args, "publish", v, sizeof(v)) <= 0)
		return 0;
	memset(st->s->pub, 0, sizeof(st->s->pub));
	while (*s) {
		e = add_publish(st, &s);
		if (e)
			return e;
	}
	state_seal_net(st);
	return 0;
}
