/* SPDX-License-Identifier: ISC */
/*
 * Port policy: arguments, anti-spoofing, 5-tuple rules, token buckets.
 *
 * The arguments come from the controlling cell and are trusted, but a mistake in them must
 * not open a port: anything not understood refuses the whole port. Frames are judged on
 * the private copy of their head that is also what leaves the machine, so a port's owner
 * cannot change a header between the check and the wire.
 *
 * Anti-spoofing covers what can redirect other ports' traffic: source MAC, source IP, the
 * sender of ARP, the target of neighbour advertisements, and messages only routers and
 * DHCP servers send (router advertisements, redirects, DHCP replies).
 */
#include "cells/nic/switch/policy.h"

#include <stdlib.h>
#include "libcell/cell.h"

static bool word_is(const char *t, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(t, word, len) == 0;
}

static int parse_number(const char *t, size_t len, unsigned max)
{
	unsigned v = 0;

	if (len == 0 || len > 5)
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (t[i] < '0' || t[i] > '9')
			return -1;
		v = v * 10 + (unsigned)(t[i] - '0');
	}
	return v <= max ? (int)v : -1;
}

/* ADDR[/LEN] into an address and prefix bits of the 128-bit form. */
static int parse_prefix(const char *t, size_t len, struct net_addr *addr, uint8_t *bits)
{
	const char *slash = memchr(t, '/', len);
	size_t n = slash ? (size_t)(slash - t) : len;
	int prefix;

	if (net_parse_addr(t, n, addr))
		return -1;
	bool v4 = !memchr(t, ':', n);
	prefix = v4 ? 32 : 128;
	if (slash)
		prefix = parse_number(slash + 1, len - n - 1, (unsigned)prefix);
	if (prefix < 0)
		return -1;
	*bits = (uint8_t)(v4 ? 96 + prefix : prefix);
	return 0;
}

static int parse_range(const char *t, size_t len, uint16_t *lo, uint16_t *hi)
{
	const char *dash = memchr(t, '-', len);
	size_t n = dash ? (size_t)(dash - t) : len;
	int a = parse_number(t, n, 65535);
	int b = dash ? parse_number(dash + 1, len - n - 1, 65535) : a;

	if (a < 0 || b < a)
		return -1;
	*lo = (uint16_t)a;
	*hi = (uint16_t)b;
	return 0;
}

static bool after(const char **t, size_t *len, const char *key)
{
	size_t n = strlen(key);

	if (*len < n || memcmp(*t, key, n))
		return false;
	*t += n;
	*len -= n;
	return true;
}

static int parse_word(struct policy_rule *r, const char *t, size_t len)
{
	if (after(&t, &len, "from="))
		return parse_prefix(t, len, &r->from, &r->from_len);
	if (after(&t, &len, "to="))
		return parse_prefix(t, len, &r->to, &r->to_len);
	if (after(&t, &len, "sport="))
		return parse_range(t, len, &r->sport_lo, &r->sport_hi);
	if (after(&t, &len, "dport="))
		return parse_range(t, len, &r->dport_lo, &r->dport_hi);
	if (word_is(t, len, "syn")) {
		r->syn = 1;
		return 0;
	}
	r->any_proto = 0;
	if (word_is(t, len, "tcp"))
		r->proto = IPPROTO_N_TCP;
	else if (word_is(t, len, "udp"))
		r->proto = IPPROTO_N_UDP;
	else if (word_is(t, len, "icmp"))
		r->proto = IPPROTO_N_ICMP; /* and ICMPv6 */
	else {
		int n = parse_number(t, len, 255);

		if (n < 0)
			return -1;
		r->proto = (uint8_t)n;
	}
	return 0;
}

static bool names_ports(const struct policy_rule *r)
{
	return r->sport_lo > 0 || r->sport_hi < 65535 || r->dport_lo > 0 ||
	       r->dport_hi < 65535 || r->syn;
}

static int parse_rule(struct policy_rule *r, const char *t, size_t len)
{
	memset(r, 0, sizeof(*r));
	r->any_proto = 1;
	r->sport_hi = r->dport_hi = 65535;
	if (len < 3 || (t[0] != '+' && t[0] != '-'))
		return -1;
	r->allow = t[0] == '+';
	t++;
	len--;
	if (after(&t, &len, "in"))
		r->dir = POLICY_IN;
	else if (after(&t, &len, "out"))
		r->dir = POLICY_OUT;
	else
		return -1;
	while (len) {
		if (*t++ != ',')
			return -1;
		len--;
		const char *comma = memchr(t, ',', len);
		size_t n = comma ? (size_t)(comma - t) : len;

		if (n == 0 || parse_word(r, t, n))
			return -1;
		t += n;
		len -= n;
	}
	if (names_ports(r) &&
	    (r->any_proto || (r->proto != IPPROTO_N_TCP && r->proto != IPPROTO_N_UDP)))
		return -1;
	return r->syn && r->proto != IPPROTO_N_TCP ? -1 : 0;
}

static int parse_rules(struct policy *p, const char *t, const char **why)
{
	while (*t) {
		const char *end = strchr(t, ';');
		size_t len = end ? (size_t)(end - t) : strlen(t);

		if (p->rules == POLICY_RULES_MAX) {
			*why = "too many rules";
			return -1;
		}
		if (parse_rule(&p->rule[p->rules], t, len)) {
			*why = "a rule is not understood";
			return -1;
		}
		p->rules++;
		t += len + (end != NULL);
	}
	return 0;
}

static int parse_addrs(struct policy *p, const char *t)
{
	while (*t) {
		size_t len = strcspn(t, ",+");
		const char *end = t[len] ? t + len : NULL;
		uint8_t bits;

		if (p->addrs == POLICY_ADDRS_MAX ||
		    parse_prefix(t, len, &p->addr[p->addrs], &bits))
			return -1;
		if (net_addr_is_v4(&p->addr[p->addrs]))
			p->has_v4 = true;
		else
			p->has_v6 = true;
		p->addrs++;
		t += len + (end != NULL);
	}
	return 0;
}

static int parse_mode(struct policy *p, const char *t)
{
	static const char *const name[] = {
	    [POLICY_BRIDGE] = "bridge",
	    [POLICY_MACVLAN] = "macvlan",
	    [POLICY_MACVLAN_PRIVATE] = "macvlan-private",
	    [POLICY_MACVLAN_VEPA] = "macvlan-vepa",
	    [POLICY_IPVLAN] = "ipvlan",
	    [POLICY_SHARE] = "share",
	};

	for (unsigned i = 0; i < sizeof(name) / sizeof(name[0]); i++)
		if (strcmp(t, name[i]) == 0) {
			p->mode = (enum policy_mode)i;
			return 0;
		}
	return -1;
}

/* One of two letters, or neither: a, b or both. */
static uint8_t letter(const char **t, size_t *len, const char *x, uint8_t a, const char *y,
		      uint8_t b, uint8_t both)
{
	return after(t, len, x) ? a : after(t, len, y) ? b : both;
}

static int parse_slice(struct policy *p, const char *t, size_t len)
{
	struct policy_slice *s = &p->slice[p->slices];

	if (p->slices == POLICY_SLICES_MAX || len == 0)
		return -1;
	if (p->slices && t[0] >= '0' && t[0] <= '9') {
		*s = s[-1];
	} else {
		s->local = after(&t, &len, "l");
		s->families =
		    letter(&t, &len, "f", POLICY_V4, "s", POLICY_V6, POLICY_V4 | POLICY_V6);
		s->protos = letter(&t, &len, "t", SLICE_TCP, "u", SLICE_UDP,
				   SLICE_TCP | SLICE_UDP | SLICE_ICMP);
	}
	if (parse_range(t, len, &s->lo, &s->hi) || s->lo == 0)
		return -1;
	p->slices++;
	return 0;
}

/* "A" or "A+B", an address of each family. */
static int parse_hosts(struct policy *p, const char *t)
{
	while (*t) {
		size_t len = strcspn(t, ",+");
		struct net_addr a;

		if (net_parse_addr(t, len, &a) || (t[len] && !t[len + 1]))
			return -1;
		uint8_t family = net_addr_is_v4(&a) ? POLICY_V4 : POLICY_V6;

		if (p->hosts & family)
			return -1;
		p->hosts |= family;
		p->host[family == POLICY_V6] = a;
		t += len + (t[len] != 0);
	}
	return p->hosts ? 0 : -1;
}

/* ports= and host= come together, with mode=share alone. */
static int parse_share(struct policy *p, const char *args, char *buf, size_t size)
{
	bool ports = cell_arg(args, "ports", buf, size) >= 0;

	for (const char *t = buf; ports && *t;) {
		size_t len = strcspn(t, ",+");

		if (parse_slice(p, t, len))
			return -1;
		t += len + (t[len] != 0);
	}
	int n = cell_arg(args, "near", buf, size);

	if (n >= 0 && (!ports || net_parse_addr(buf, (size_t)n, &p->near)))
		return -1;
	n = cell_arg(args, "host", buf, size);

	if ((n >= 0) != ports || (ports && !p->slices) || (ports && p->mode != POLICY_SHARE))
		return -1;
	return ports ? parse_hosts(p, buf) : 0;
}

/* uplink= and vlan=, or seg=. */
static int parse_segment(struct policy *p, const char *args)
{
	uint64_t uplink = cell_arg_u64(args, "uplink", 0), vlan = cell_arg_u64(args, "vlan", 0);
	uint64_t seg = cell_arg_u64(args, "seg", 0);

	if (uplink > 7 || vlan > 4094 || seg > 65535)
		return -1;
	char word[8];

	if (cell_arg(args, "seg", word, sizeof(word)) >= 0 &&
	    (!seg || uplink || vlan || policy_shares_mac(p)))
		return -1;
	p->uplink = seg ? POLICY_NO_CARD : (unsigned)uplink;
	p->vlan = (uint16_t)(seg ? seg : vlan);
	return 0;
}

static int parse_lists(struct policy *p, const char *args, const char *acls, const char **why)
{
	char buf[1024], key[64] = "acl.";

	if (cell_arg(args, "rules", buf, sizeof(buf)) >= 0 && parse_rules(p, buf, why))
		return -1;
	if (cell_arg(args, "acl", key + 4, sizeof(key) - 4) < 0)
		return 0;
	if (!acls || cell_arg(acls, key, buf, sizeof(buf)) < 0) {
		*why = "no such rule list";
		return -1;
	}
	return parse_rules(p, buf, why);
}

int policy_parse(struct policy *p, const char *args, const char *acls, const char **why)
{
	char buf[1024];

	memset(p, 0, sizeof(*p));
	*why = "mac";
	if (cell_arg(args, "mac", buf, sizeof(buf)) >= 0) {
		p->has_mac = true;
		if (net_parse_mac(buf, p->mac) || mac_is_multicast(p->mac))
			return -1;
	}
	*why = "ip";
	if (cell_arg(args, "ip", buf, sizeof(buf)) >= 0 && parse_addrs(p, buf))
		return -1;
	*why = "mode";
	if (cell_arg(args, "mode", buf, sizeof(buf)) >= 0 && parse_mode(p, buf))
		return -1;
	*why = "learn is for ipvlan";
	p->learn = cell_arg_has(args, "learn");
	p->learn6 = cell_arg_has(args, "learn6");
	if ((p->learn || p->learn6) &&
	    (p->mode != POLICY_IPVLAN ||
	     p->addrs + p->learn + p->learn6 * POLICY_LEARN6 > POLICY_ADDRS_MAX))
		return -1;
	*why = "ipvlan and share need ip";
	if (policy_shares_mac(p) && !p->addrs && !p->learn && !p->learn6)
		return -1;
	*why = "host and ports";
	if (parse_share(p, args, buf, sizeof(buf)))
		return -1;
	*why = "segment";
	if (parse_segment(p, args))
		return -1;
	uint64_t mtu = cell_arg_u64(args, "mtu", 0), queues = cell_arg_u64(args, "queues", 1);
	uint64_t class = cell_arg_u64(args, "class", 0);

	*why = "a number is out of range";
	if ((mtu && mtu < 576) || mtu > NET_MTU_MAX || queues < 1 ||
	    queues > D0_VNET_PAIRS_MAX || class > 7)
		return -1;
	p->mtu = (uint16_t)mtu;
	p->queues = (uint16_t)queues;
	p->tclass = (uint8_t) class;
	p->rate = cell_arg_u64(args, "rate", 0) / 8;
	p->rxrate = cell_arg_u64(args, "rxrate", 0) / 8;
	p->promisc_ok = cell_arg_has(args, "promisc");
	p->spoof_ok = p->mode != POLICY_SHARE &&
		      cell_arg(args, "spoof", buf, sizeof(buf)) >= 0 && !strcmp(buf, "off");
	return parse_lists(p, args, acls, why);
}

/* Every word's key is one of these; port= is the caller's. */
static bool keys_known(const char *args)
{
	static const char *const keys[] = {"port", "rules", "acl", "rate", "rxrate", "class"};

	while (*(args += strspn(args, " "))) {
		size_t len = strcspn(args, "= "), i = 0;

		while (i < sizeof(keys) / sizeof(*keys) &&
		       (strlen(keys[i]) != len || strncmp(args, keys[i], len) != 0))
			i++;
		if (i == sizeof(keys) / sizeof(*keys) || args[len] != '=')
			return false;
		args += strcspn(args, " ");
	}
	return true;
}

int policy_update(struct policy *p, const char *args, const char *acls, const char **why)
{
	struct policy n = *p;
	uint64_t class = cell_arg_u64(args, "class", p->tclass);
	char word[8];

	*why = "not a word that may change";
	if (!keys_known(args))
		return -1;
	*why = "class";
	if (class > 7)
		return -1;
	n.tclass = (uint8_t) class;
	n.rate = cell_arg_u64(args, "rate", p->rate * 8) / 8;
	n.rxrate = cell_arg_u64(args, "rxrate", p->rxrate * 8) / 8;
	if (cell_arg(args, "rules", word, sizeof(word)) >= 0 ||
	    cell_arg(args, "acl", word, sizeof(word)) >= 0) {
		n.rules = 0;
		if (parse_lists(&n, args, acls, why))
			return -1;
	}
	*p = n;
	return 0;
}

bool policy_has_addr(const struct policy *p, const struct net_addr *addr)
{
	for (unsigned i = 0; i < p->addrs; i++)
		if (net_addr_equal(&p->addr[i], addr))
			return true;
	return false;
}

/* IPv6 link-local addresses are bound by the MAC alone: identifiers made as RFC 7217 says can't
 * be foreseen here. */
static bool may_use(const struct policy *p, const struct net_addr *a)
{
	bool v4 = net_addr_is_v4(a);

	if (v4 && !p->has_v4)
		return !p->addrs;
	if (!v4 && (!p->has_v6 || p->learn6))
		return true; /* SLAAC: bound by the MAC only */
	return policy_has_addr(p, a) || (!v4 && net_addr_link_local6(a));
}

static bool arp_is_own(const struct policy *p, const struct net_info *in)
{
	return net_addr_is_zero(&in->src) || may_use(p, &in->src); /* RFC 5227 probes */
}

/* ICMPv6 that speaks for an address or for a router. */
static bool icmp6_is_own(const struct policy *p, const uint8_t *head, uint32_t head_len,
			 const struct net_info *in)
{
	if (in->l4_off >= head_len)
		return false;

	uint8_t type = head[in->l4_off];

	if (type == 134 || type == 137)
		return false;
	if (type != 136)
		return true;
	if (head_len < in->l4_off + 24u)
		return false;
	struct net_addr target = net_addr_v6(head + in->l4_off + 8);
	return may_use(p, &target);
}

static bool ip_is_own(const struct policy *p, const uint8_t *head, uint32_t head_len,
		      const struct net_info *in)
{
	if (!may_use(p, &in->src) && !net_addr_is_zero(&in->src))
		return false;
	if (in->fragment && !in->first)
		return true;
	if (in->ip6 && in->l4_proto == IPPROTO_N_ICMPV6)
		return icmp6_is_own(p, head, head_len, in);
	if (in->l4_proto == IPPROTO_N_UDP && in->l4_ok)
		return in->sport != (in->ip6 ? 547 : 67); /* DHCP servers' ports */
	return true;
}

static bool is_own(const struct policy *p, const uint8_t *mac, const uint8_t *head,
		   uint32_t head_len, const struct net_info *in)
{
	if (!mac_equal(head + 6, mac))
		return false;
	if (in->malformed)
		return false;
	if (in->is_arp && !mac_equal(head + in->l3_off + 8, mac))
		return false;
	if (p->mode == POLICY_SHARE)
		return policy_share_is_own(p, mac, head, head_len, in);
	if (in->is_arp)
		return arp_is_own(p, in);
	return !in->l3_ok || ip_is_own(p, head, head_len, in);
}

static bool prefix_matches(const struct net_addr *a, const struct net_addr *b, uint8_t bits)
{
	unsigned bytes = bits / 8, rest = bits % 8;

	if (memcmp(a->b, b->b, bytes))
		return false;
	return !rest || ((a->b[bytes] ^ b->b[bytes]) >> (8 - rest)) == 0;
}

static bool rule_matches(const struct policy_rule *r, const uint8_t *head,
			 const struct net_info *in)
{
	if (r->from_len && !prefix_matches(&r->from, &in->src, r->from_len))
		return false;
	if (r->to_len && !prefix_matches(&r->to, &in->dst, r->to_len))
		return false;
	if (!r->any_proto && r->proto != in->l4_proto &&
	    !(r->proto == IPPROTO_N_ICMP && in->l4_proto == IPPROTO_N_ICMPV6))
		return !r->allow && in->l4_proto == 255; /* hidden behind long headers */
	if (!names_ports(r))
		return true;
	if (!in->l4_ok)
		return !r->allow;
	if (r->syn && (head[in->l4_off + 13] & 0x12) != 0x02)
		return false;
	return in->sport >= r->sport_lo && in->sport <= r->sport_hi &&
	       in->dport >= r->dport_lo && in->dport <= r->dport_hi;
}

static enum policy_verdict judge(const struct policy *p, enum policy_dir dir,
				 const uint8_t *head, const struct net_info *in)
{
	if (!in->l3_ok)
		return POLICY_PASS;
	for (unsigned i = 0; i < p->rules; i++)
		if (p->rule[i].dir == dir && rule_matches(&p->rule[i], head, in))
			return p->rule[i].allow ? POLICY_PASS : POLICY_RULE;
	return POLICY_PASS;
}

enum policy_verdict policy_out(const struct policy *p, const uint8_t *mac, const uint8_t *head,
			       uint32_t head_len, const struct net_info *in)
{
	bool tag = in->ethertype == ETHERTYPE_VLAN || in->ethertype == ETHERTYPE_QINQ;

	if (in->tagged || tag)
		return POLICY_TAGGED;
	if (mac_is_multicast(head + 6))
		return POLICY_SPOOF;
	if (!p->spoof_ok && !is_own(p, mac, head, head_len, in))
		return POLICY_SPOOF;
	if (p->rules && in->malformed)
		return POLICY_RULE;
	return judge(p, POLICY_OUT, head, in);
}

enum policy_verdict policy_in(const struct policy *p, const uint8_t *head,
			      const struct net_info *in)
{
	if (p->rules && in->malformed)
		return POLICY_RULE;
	return judge(p, POLICY_IN, head, in);
}

static int64_t bucket_depth(uint64_t rate)
{
	uint64_t burst = rate / 100;

	return (int64_t)(burst < NET_FRAME_MAX ? NET_FRAME_MAX : burst);
}

void bucket_init(struct bucket *b, uint64_t rate, uint64_t now_ns)
{
	b->rate = rate < (1ull << 40) ? rate : 1ull << 40;
	b->tokens = bucket_depth(b->rate);
	b->last_ns = now_ns;
}

bool bucket_ready(struct bucket *b, uint64_t now_ns, uint64_t *when)
{
	if (!b->rate)
		return true;
	uint64_t past = now_ns > b->last_ns ? now_ns - b->last_ns : 0;

	if (past > 1000000000ull)
		past = 1000000000ull;
	uint64_t add = past / 1000 * b->rate / 1000000;

	if (add) {
		b->tokens += (int64_t)add;
		if (b->tokens > bucket_depth(b->rate))
			b->tokens = bucket_depth(b->rate);
		b->last_ns = now_ns;
	}
	if (b->tokens > 0)
		return true;
	*when = now_ns + (uint64_t)(1 - b->tokens) * 1000000000ull / b->rate + 1000;
	return false;
}
