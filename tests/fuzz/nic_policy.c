/* SPDX-License-Identifier: ISC */
/*
 * The words that make a port. Input: the port's arguments, a NUL, words that change them. What
 * is accepted must hold together: tables within their bounds, a mode that bears what was given.
 */
#include "tests/unit/nic_env.h"

static void check(const struct policy *p)
{
	if (p->addrs > POLICY_ADDRS_MAX || p->rules > POLICY_RULES_MAX ||
	    p->slices > POLICY_SLICES_MAX || !p->slices != !p->hosts)
		abort();
	if ((p->slices && p->mode != POLICY_SHARE) ||
	    ((p->learn || p->learn6) && p->mode != POLICY_IPVLAN))
		abort();
	for (unsigned i = 0; i < p->slices; i++)
		if (!p->slice[i].lo || p->slice[i].lo > p->slice[i].hi || !p->slice[i].protos ||
		    !p->slice[i].families)
			abort();
	if ((p->hosts & POLICY_V4 && !net_addr_is_v4(&p->host[0])) ||
	    (p->hosts & POLICY_V6 && net_addr_is_v4(&p->host[1])))
		abort();
}

/* It may learn for ever and keeps its bounds. */
static void learn(struct policy *p)
{
	struct net_info in = {.l3_ok = 1};

	for (uint8_t i = 0; i < 20; i++) {
		in.ip6 = i & 1;
		in.src = in.ip6 ? (struct net_addr){{0xfd, [15] = i}}
				: (struct net_addr){{[10] = 0xff, 0xff, 10, 0, 0, i}};
		policy_learn(p, &in);
	}
	check(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char args[1024] = {0}, *more;
	struct policy p, was;
	const char *why;

	memcpy(args, data, size < sizeof(args) - 1 ? size : sizeof(args) - 1);
	more = args + strlen(args) + 1;
	if (policy_parse(&p, args, "acl.web=+in,tcp,dport=80;-in,tcp,syn", &why))
		return 0;
	check(&p);
	was = p;
	if (more < args + sizeof(args) && policy_update(&p, more, NULL, &why) &&
	    memcmp(&p, &was, sizeof(p)))
		abort(); /* refused, and changed something */
	check(&p);
	learn(&p);
	return 0;
}
