/* SPDX-License-Identifier: ISC */
/* /proc/net: the lists of the transport cell as Linux words them. Formats: proc_pid_net(5). */
#include "cells/linux/inc/gen.h"
#include "cells/linux/net/netdev.h"

struct sock_text {
	struct text *t;
	bool v6, tcp;
	u32 n;
};

static void text_addr(struct text *t, const struct pvs_addr *a, bool v6)
{
	u32 w[4];
	u16 port = (u16)(a->port << 8 | a->port >> 8);

	memcpy(w, a->addr, 16);
	if (v6)
		text_add(t, "%08X%08X%08X%08X:%04X", w[0], w[1], w[2], w[3], port);
	else
		text_add(t, "%08X:%04X", w[0], port);
}

static void text_sock(const void *rec, void *arg)
{
	const struct pvs_sockinfo *i = rec;
	struct sock_text *s = arg;
	const struct inode *node;

	if ((i->domain == AF_INET6_K) != s->v6 || (i->type == SOCK_STREAM_K) != s->tcp)
		return;
	node = inet_inode(i->sock);
	text_add(s->t, "%4u: ", s->n++);
	text_addr(s->t, &i->local, s->v6);
	text_add(s->t, " ");
	text_addr(s->t, &i->peer, s->v6);
	text_add(s->t, " %02X %08X:%08X 00:00000000 00000000 %5u        0 %lu ", i->state,
		 i->txq, i->rxq, node ? node->uid : 0, node ? node->ino : 0);
	text_add(s->t, "%s\n",
		 s->tcp ? "1 0000000000000000 100 0 0 10 0" : "2 0000000000000000 0");
}

static void text_socks(struct text *t, bool v6, bool tcp)
{
	struct sock_text s = {.t = t, .v6 = v6, .tcp = tcp};
	u32 from = t->len;

	text_add(t,
		 "  sl  local_address %s   st tx_queue rx_queue tr tm->when retrnsmt   uid  "
		 "timeout inode%s",
		 v6 ? "                        remote_address                     "
		    : "rem_address",
		 tcp ? "" : " ref pointer drops");
	if (!v6)
		text_add(t, "%*s", (int)(tcp ? 149 : 127) - (int)(t->len - from), "");
	text_add(t, "\n");
	netdev_each(PVS_LIST_SOCKET, sizeof(struct pvs_sockinfo), text_sock, &s);
}

static void text_dev(const void *rec, void *arg)
{
	const struct pvs_link *l = rec;

	text_add(arg,
		 "%6.16s: %7lu %7lu %4lu %4lu    0     0          0         0 %8lu %7lu %4lu "
		 "%4lu    0     0       0          0\n",
		 l->name, l->rx_bytes, l->rx_packets, l->rx_errors, l->rx_dropped, l->tx_bytes,
		 l->tx_packets, l->tx_errors, l->tx_dropped);
}

static void text_route(const void *rec, void *arg)
{
	const struct pvs_route *r = rec;
	char name[NETDEV_NAME];
	u32 dst, gw, mask = r->dst_len ? __builtin_bswap32(~0u << (32 - r->dst_len)) : 0;

	if (r->family != AF_INET_K || r->type != 1)
		return;
	memcpy(&dst, r->dst, 4);
	memcpy(&gw, r->gateway, 4);
	netdev_name(r->ifindex, name);
	text_add(arg, "%s\t%08X\t%08X\t%04X\t0\t0\t%u\t%08X\t0\t0\t0\n", name, dst, gw,
		 gw ? 3 : 1, r->metric, mask);
}

static void text_hex(struct text *t, const u8 *p, u32 n)
{
	for (u32 i = 0; i < n; i++)
		text_add(t, "%02x", p[i]);
}

/* Destination, source (none), next hop, metric, references, use, flags, device. */
static void text_route6(const void *rec, void *arg)
{
	static const u8 none[16];
	const struct pvs_route *r = rec;
	bool hop = memcmp(r->gateway, none, 16);
	char name[NETDEV_NAME];

	if (r->family != AF_INET6_K || r->type != 1)
		return;
	text_hex(arg, r->dst, 16);
	text_add(arg, " %02x ", r->dst_len);
	text_hex(arg, none, 16);
	text_add(arg, " 00 ");
	text_hex(arg, r->gateway, 16);
	netdev_name(r->ifindex, name);
	text_add(arg, " %08x 00000001 00000000 %08x %8s\n", r->metric, hop ? 3 : 1, name);
}

static void text_if_inet6(const void *rec, void *arg)
{
	const struct pvs_ifaddr *a = rec;
	char name[NETDEV_NAME];
	u32 scope = a->scope == 254 ? 0x10 : a->scope == 253 ? 0x20 : 0;

	if (a->family != AF_INET6_K)
		return;
	netdev_name(a->ifindex, name);
	text_hex(arg, a->addr, 16);
	text_add(arg, " %02x %02x %02x %02x %8s\n", a->ifindex, a->prefixlen, scope, a->flags,
		 name);
}

static void text_arp(const void *rec, void *arg)
{
	const struct pvs_neigh *n = rec;
	char name[NETDEV_NAME], ip[16];

	if (n->family != AF_INET_K)
		return;
	netdev_name(n->ifindex, name);
	format(ip, sizeof(ip), "%u.%u.%u.%u", n->addr[0], n->addr[1], n->addr[2], n->addr[3]);
	text_add(
	    arg,
	    "%-16s 0x1         0x%x         %02x:%02x:%02x:%02x:%02x:%02x     *        %s\n",
	    ip, n->state & 0xde ? 2 : 0, n->mac[0], n->mac[1], n->mac[2], n->mac[3], n->mac[4],
	    n->mac[5], name);
}

/* What Linux's own DHCP client writes, in the form of resolv.conf. */
static void text_config(const void *rec, void *arg)
{
	static const u8 v4[12] = {[10] = 0xff, [11] = 0xff};
	const struct pvs_config *c = rec;

	text_add(arg, "#MANUAL\n");
	if (c->domain[0])
		text_add(arg, "domain %.64s\n", c->domain);
	for (u32 i = 0; i < 4; i++) {
		const u8 *a = c->dns[i];

		if (!memcmp(a, v4, 12))
			text_add(arg, "nameserver %u.%u.%u.%u\n", a[12], a[13], a[14], a[15]);
	}
}

/* ---- Counters ---- */
/*
 * The names are Linux's, in its order; "=N" is a constant (RFC 1213: forwarding no, the limits
 * of the retransmission timer). A name behind "<" is the transport's own for it. What the
 * transport does not count is 0.
 */
static const char *const snmp[] = {"Ip:",
				   "Forwarding=2",
				   "DefaultTTL=64",
				   "InReceives",
				   "InHdrErrors",
				   "InAddrErrors",
				   "ForwDatagrams",
				   "InUnknownProtos",
				   "InDiscards",
				   "InDelivers",
				   "OutRequests",
				   "OutDiscards",
				   "OutNoRoutes",
				   "ReasmTimeout",
				   "ReasmReqds",
				   "ReasmOKs",
				   "ReasmFails",
				   "FragOKs",
				   "FragFails",
				   "FragCreates",
				   "Icmp:",
				   "InMsgs",
				   "InErrors",
				   "InCsumErrors",
				   "OutMsgs",
				   "OutErrors",
				   "Tcp:",
				   "RtoAlgorithm=1",
				   "RtoMin=200",
				   "RtoMax=120000",
				   "MaxConn=-1",
				   "ActiveOpens",
				   "PassiveOpens",
				   "AttemptFails",
				   "EstabResets",
				   "CurrEstab",
				   "InSegs",
				   "OutSegs",
				   "RetransSegs",
				   "InErrs",
				   "OutRsts",
				   "InCsumErrors",
				   "Udp:",
				   "InDatagrams",
				   "NoPorts",
				   "InErrors",
				   "OutDatagrams",
				   "RcvbufErrors",
				   "SndbufErrors",
				   "InCsumErrors",
				   "IgnoredMulti",
				   "MemErrors",
				   NULL};
static const char *const netstat[] = {"TcpExt:",
				      "SyncookiesSent",
				      "SyncookiesRecv",
				      "SyncookiesFailed",
				      "PAWSEstab",
				      "TW<TimeWaitRecycled",
				      "DelayedACKs",
				      "ListenOverflows",
				      "TCPTimeouts<Timeouts",
				      "TCPLossProbes<LossProbes",
				      "TCPFastRetrans<FastRetrans",
				      "TCPSpuriousRTOs<SpuriousRTOs",
				      "TCPOFOQueue<OFOQueue",
				      "TCPOFODrop<OFODrop",
				      "TCPChallengeACK<ChallengeACK",
				      "TCPAbortOnTimeout<AbortOnTimeout",
				      "TCPKeepAlive<KeepAlive",
				      "TCPDSACKRecv<DSACKRecv",
				      "TCPDSACKOfoRecv",
				      "TCPOrigDataSent",
				      "TCPSynRetrans",
				      NULL};

#define STATS_MAX 128u
struct stats {
	u32 n, established;
	struct pvs_stat s[STATS_MAX];
};

static void keep_stat(const void *rec, void *arg)
{
	struct stats *s = arg;

	if (s->n < STATS_MAX)
		memcpy(&s->s[s->n++], rec, sizeof(s->s[0]));
}

static void count_established(const void *rec, void *arg)
{
	const struct pvs_sockinfo *i = rec;
	struct stats *s = arg;

	/* CLOSE-WAIT counts too (RFC 1213). */
	s->established += i->type == SOCK_STREAM_K && (i->state == 1 || i->state == 8);
}

static u64 stat_value(const struct stats *s, const char *group, const char *name)
{
	char full[24];

	if (!strcmp(name, "CurrEstab"))
		return s->established;
	format(full, sizeof(full), "%s.%s", group, name);
	for (u32 i = 0; i < s->n; i++)
		if (!strncmp(s->s[i].name, full, sizeof(full)))
			return s->s[i].value;
	return 0;
}

/* Of "NAME=5" and "NAME<OTHER" the name as it is shown, and what follows it. */
static const char *split_name(const char *entry, char *name, u32 size)
{
	u32 n = 0;

	for (; entry[n] && entry[n] != '=' && entry[n] != '<' && n + 1 < size; n++)
		name[n] = entry[n];
	name[n] = 0;
	return entry[n] ? entry + n : NULL;
}

/* A group: a line of names, a line of values. The next group. */
static const char *const *text_group(struct text *t, const struct stats *s,
				     const char *const *list)
{
	const char *head = *list++, *const *end = list;
	char name[24], group[8];

	str_copy(group, strcmp(head, "TcpExt:") ? head : "Tcp:", sizeof(group));
	group[strlen(group) - 1] = 0;
	text_add(t, "%s", head);
	for (; *end && (*end)[strlen(*end) - 1] != ':'; end++) {
		split_name(*end, name, sizeof(name));
		text_add(t, " %s", name);
	}
	text_add(t, "\n%s", head);
	for (; list < end; list++) {
		const char *more = split_name(*list, name, sizeof(name));

		if (more && *more == '=')
			text_add(t, " %s", more + 1);
		else
			text_add(t, " %lu", stat_value(s, group, more ? more + 1 : name));
	}
	text_add(t, "\n");
	return end;
}

static void text_counters(struct text *t, const char *const *list)
{
	struct stats *s = kalloc(sizeof(*s));

	if (!s)
		return;
	netdev_each(PVS_LIST_STATS, sizeof(struct pvs_stat), keep_stat, s);
	netdev_each(PVS_LIST_SOCKET, sizeof(struct pvs_sockinfo), count_established, s);
	while (*list)
		list = text_group(t, s, list);
	kfree(s);
}

struct uses {
	u32 tcp, udp, tw;
};

static void count_socks(const void *rec, void *arg)
{
	const struct pvs_sockinfo *i = rec;
	struct uses *u = arg;

	u->tw += i->type == SOCK_STREAM_K && i->state == 6;
	u->tcp += i->type == SOCK_STREAM_K && i->state != 6;
	u->udp += i->type == SOCK_DGRAM_K;
}

static void text_sockstat(struct text *t)
{
	struct uses u = {0};

	netdev_each(PVS_LIST_SOCKET, sizeof(struct pvs_sockinfo), count_socks, &u);
	text_add(t, "sockets: used %u\nTCP: inuse %u orphan 0 tw %u alloc %u mem 0\n",
		 u.tcp + u.udp, u.tcp, u.tw, u.tcp);
	text_add(
	    t, "UDP: inuse %u mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n",
	    u.udp);
}

void unix_text(struct text *t);

void proc_net_text(struct text *t, const char *what)
{
	bool v6 = strchr(what, '6') != NULL;

	if (!strncmp(what, "tcp", 3) || !strncmp(what, "udp", 3)) {
		text_socks(t, v6, what[0] == 't');
	} else if (!strcmp(what, "dev")) {
		text_add(
		    t, "Inter-|   Receive                                                |  "
		       "Transmit\n"
		       " face |bytes    packets errs drop fifo frame compressed "
		       "multicast|bytes    packets errs drop fifo colls carrier compressed\n");
		netdev_each(PVS_LIST_LINK, sizeof(struct pvs_link), text_dev, t);
	} else if (!strcmp(what, "route")) {
		text_add(t, "Iface\tDestination\tGateway "
			    "\tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n");
		netdev_each(PVS_LIST_ROUTE, sizeof(struct pvs_route), text_route, t);
	} else if (!strcmp(what, "ipv6_route")) {
		netdev_each(PVS_LIST_ROUTE, sizeof(struct pvs_route), text_route6, t);
	} else if (!strcmp(what, "if_inet6")) {
		netdev_each(PVS_LIST_ADDR, sizeof(struct pvs_ifaddr), text_if_inet6, t);
	} else if (!strcmp(what, "pnp")) {
		netdev_each(PVS_LIST_CONFIG, sizeof(struct pvs_config), text_config, t);
	} else if (!strcmp(what, "snmp")) {
		text_counters(t, snmp);
	} else if (!strcmp(what, "netstat")) {
		text_counters(t, netstat);
	} else if (!strcmp(what, "unix")) {
		unix_text(t);
	} else if (!strcmp(what, "sockstat")) {
		text_sockstat(t);
	} else if (!strcmp(what, "arp")) {
		text_add(t, "IP address       HW type     Flags       HW address            "
			    "Mask     Device\n");
		netdev_each(PVS_LIST_NEIGH, sizeof(struct pvs_neigh), text_arp, t);
	}
}
