/* SPDX-License-Identifier: ISC */
/*
 * What programs ask about interfaces: netlink's routing family as far as `ip addr`, `ip
 * route` and getaddrinfo need it, the old SIOCGIF* ioctls; /proc/net is in procnet.c.
 * Everything comes from the transport cell's lists; without one there is only lo.
 */
#include "cells/linux/net/netdev.h"
#include "cells/linux/inc/sys.h"
#include <asm/ioctls.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/if_link.h>
#include <linux/if_addr.h>
#include <linux/sockios.h>

int inet_list(u32 what, u32 start, void *buf, u32 len);
int inet_control(u32 what, u32 op, const void *rec, u32 len);

#define BATCH 8
void netdev_each(u32 what, u32 size, void (*fn)(const void *rec, void *arg), void *arg)
{
	u8 *buf = kalloc(BATCH * size);
	u32 start = 0;
	int n;

	if (!buf)
		return;
	while ((n = inet_list(what, start, buf, BATCH * size)) > 0 && n <= BATCH) {
		for (int i = 0; i < n; i++)
			fn(buf + (u32)i * size, arg);
		start += (u32)n;
	}
	if (n == -EAFNOSUPPORT && what == PVS_LIST_LINK) {
		struct pvs_link lo = {
		    .ifindex = 1, .flags = 0x49, .mtu = 65536, .type = 772, .name = "lo"};

		fn(&lo, arg);
	} else if (n == -EAFNOSUPPORT && what == PVS_LIST_ADDR) {
		struct pvs_ifaddr a = {.ifindex = 1,
				       .family = AF_INET_K,
				       .prefixlen = 8,
				       .scope = 254,
				       .flags = 0x80,
				       .addr = {127, 0, 0, 1},
				       .valid_s = ~0u,
				       .preferred_s = ~0u};

		fn(&a, arg);
	}
	kfree(buf);
}

struct name_query {
	u32 index;
	char name[NETDEV_NAME];
};
static void find_name(const void *rec, void *arg)
{
	const struct pvs_link *l = rec;
	struct name_query *q = arg;

	if (l->ifindex == q->index)
		memcpy(q->name, l->name, 16);
}

void netdev_name(u32 index, char name[NETDEV_NAME])
{
	struct name_query q = {.index = index};

	netdev_each(PVS_LIST_LINK, sizeof(struct pvs_link), find_name, &q);
	memcpy(name, q.name, NETDEV_NAME);
}

/* ---- Netlink ---- */
struct nlsock {
	struct sock s;
	struct list queue;
	u32 pid, groups;
};
struct nlmsg {
	struct list link;
	u32 len;
	u8 data[];
};
static const struct sock_ops nl_ops;

static struct nlsock *nl(struct sock *s)
{
	return container_of(s, struct nlsock, s);
}

static int nl_create(u32 type, u32 protocol, struct sock **out)
{
	struct nlsock *n;

	if (type != SOCK_RAW_K && type != SOCK_DGRAM_K)
		return -ESOCKTNOSUPPORT;
	if (protocol != NETLINK_ROUTE)
		return -EPROTONOSUPPORT;
	n = (struct nlsock *)sock_alloc(sizeof(*n), AF_NETLINK_K, type, protocol, &nl_ops);
	if (!n)
		return -ENOMEM;
	n->pid = current->proc->pid;
	*out = &n->s;
	return 0;
}
const struct family family_netlink = {AF_NETLINK_K, nl_create, NULL};

/* A message being built; grows as attributes are put. */
struct builder {
	struct nlsock *to;
	u32 seq, flags;
	u8 buf[1024];
	u32 len;
};

static void msg_begin(struct builder *b, u16 type, const void *body, u32 n)
{
	struct nlmsghdr h = {.nlmsg_type = type,
			     .nlmsg_flags = (u16)b->flags,
			     .nlmsg_seq = b->seq,
			     .nlmsg_pid = b->to->pid};

	memset(b->buf, 0, sizeof(b->buf));
	memcpy(b->buf, &h, sizeof(h));
	memcpy(b->buf + sizeof(h), body, n);
	b->len = (u32)(sizeof(h) + ALIGN_UP(n, 4u));
}

static void put_attr(struct builder *b, u16 type, const void *p, u32 n)
{
	struct rtattr a = {(u16)(4 + n), type};

	if (b->len + 4 + n + 4 > sizeof(b->buf))
		return;
	memcpy(b->buf + b->len, &a, 4);
	memcpy(b->buf + b->len + 4, p, n);
	b->len += ALIGN_UP(4 + n, 4u);
}

static void msg_end(struct builder *b)
{
	struct nlmsg *m = kalloc(sizeof(*m) + b->len);

	if (!m)
		return;
	memcpy(b->buf, &b->len, 4);
	memcpy(m->data, b->buf, b->len);
	m->len = b->len;
	list_add_tail(&b->to->queue, &m->link);
	wake_events(&b->to->s.wait, POLLIN | POLLRDNORM);
}

static void send_link(const void *rec, void *arg)
{
	const struct pvs_link *l = rec;
	struct builder *b = arg;
	struct ifinfomsg i = {
	    .ifi_type = (u16)l->type, .ifi_index = (int)l->ifindex, .ifi_flags = l->flags};
	struct rtnl_link_stats64 st = {.rx_packets = l->rx_packets,
				       .tx_packets = l->tx_packets,
				       .rx_bytes = l->rx_bytes,
				       .tx_bytes = l->tx_bytes,
				       .rx_errors = l->rx_errors,
				       .tx_errors = l->tx_errors,
				       .rx_dropped = l->rx_dropped,
				       .tx_dropped = l->tx_dropped};
	char name[17] = "";
	u8 brd[6], state = l->flags & 1 ? 6 : 2;
	u32 qlen = 1000;

	memcpy(name, l->name, 16);
	msg_begin(b, RTM_NEWLINK, &i, sizeof(i));
	put_attr(b, IFLA_IFNAME, name, (u32)strlen(name) + 1);
	put_attr(b, IFLA_MTU, &l->mtu, 4);
	put_attr(b, IFLA_TXQLEN, &qlen, 4);
	put_attr(b, IFLA_OPERSTATE, &state, 1);
	put_attr(b, IFLA_ADDRESS, l->mac, 6);
	memset(brd, l->type == 1 ? 0xff : 0, 6);
	put_attr(b, IFLA_BROADCAST, brd, 6);
	put_attr(b, IFLA_QDISC, "noqueue", 8);
	put_attr(b, IFLA_STATS64, &st, sizeof(st));
	msg_end(b);
}

static void send_addr(const void *rec, void *arg)
{
	const struct pvs_ifaddr *a = rec;
	struct builder *b = arg;
	struct ifaddrmsg i = {.ifa_family = a->family,
			      .ifa_prefixlen = a->prefixlen,
			      .ifa_flags = a->flags,
			      .ifa_scope = a->scope,
			      .ifa_index = a->ifindex};
	char name[NETDEV_NAME];
	struct ifa_cacheinfo ci = {.ifa_prefered = a->preferred_s, .ifa_valid = a->valid_s};
	u32 n = a->family == AF_INET_K ? 4 : 16, flags = a->flags;

	netdev_name(a->ifindex, name);
	msg_begin(b, RTM_NEWADDR, &i, sizeof(i));
	put_attr(b, IFA_ADDRESS, a->addr, n);
	if (n == 4) {
		put_attr(b, IFA_LOCAL, a->addr, n);
		if (a->broadcast[0])
			put_attr(b, IFA_BROADCAST, a->broadcast, n);
		if (name[0])
			put_attr(b, IFA_LABEL, name, (u32)strlen(name) + 1);
	}
	put_attr(b, IFA_FLAGS, &flags, 4);
	put_attr(b, IFA_CACHEINFO, &ci, sizeof(ci));
	msg_end(b);
}

static bool is_zero(const u8 *p, u32 n)
{
	for (u32 i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static void send_route(const void *rec, void *arg)
{
	const struct pvs_route *r = rec;
	struct builder *b = arg;
	struct rtmsg m = {.rtm_family = r->family,
			  .rtm_dst_len = r->dst_len,
			  .rtm_table = r->type == 2 ? RT_TABLE_LOCAL : RT_TABLE_MAIN,
			  .rtm_protocol = r->proto,
			  .rtm_scope = (u8)r->scope,
			  .rtm_type = r->type};
	u32 n = r->family == AF_INET_K ? 4 : 16, table = m.rtm_table;

	msg_begin(b, RTM_NEWROUTE, &m, sizeof(m));
	put_attr(b, RTA_TABLE, &table, 4);
	if (r->dst_len)
		put_attr(b, RTA_DST, r->dst, n);
	if (!is_zero(r->gateway, n))
		put_attr(b, RTA_GATEWAY, r->gateway, n);
	if (!is_zero(r->prefsrc, n))
		put_attr(b, RTA_PREFSRC, r->prefsrc, n);
	put_attr(b, RTA_OIF, &r->ifindex, 4);
	if (r->metric)
		put_attr(b, RTA_PRIORITY, &r->metric, 4);
	msg_end(b);
}

static void send_neigh(const void *rec, void *arg)
{
	const struct pvs_neigh *r = rec;
	struct builder *b = arg;
	struct ndmsg m = {
	    .ndm_family = r->family, .ndm_ifindex = (int)r->ifindex, .ndm_state = r->state};

	msg_begin(b, RTM_NEWNEIGH, &m, sizeof(m));
	put_attr(b, NDA_DST, r->addr, r->family == AF_INET_K ? 4 : 16);
	put_attr(b, NDA_LLADDR, r->mac, 6);
	msg_end(b);
}

static void send_status(struct builder *b, const struct nlmsghdr *h, int err)
{
	struct nlmsgerr e = {.error = err, .msg = *h};

	b->flags = 0;
	msg_begin(b, NLMSG_ERROR, &e, sizeof(e));
	msg_end(b);
}

/* Address changes: attributes IFA_LOCAL or IFA_ADDRESS. */
static int change_addr(const u8 *p, u32 len, u32 op)
{
	struct pvs_ifaddr a = {.valid_s = ~0u, .preferred_s = ~0u};
	struct ifaddrmsg i;
	u32 at = ALIGN_UP((u32)sizeof(i), 4u);

	if (!capable(CAP_NET_ADMIN))
		return -EPERM;
	if (len < sizeof(i))
		return -EINVAL;
	memcpy(&i, p, sizeof(i));
	a.ifindex = i.ifa_index;
	a.family = i.ifa_family;
	a.prefixlen = i.ifa_prefixlen;
	a.scope = i.ifa_scope;
	while (len >= at + 4) {
		struct rtattr r;

		memcpy(&r, p + at, 4);
		if (r.rta_len < 4 || r.rta_len > len - at)
			return -EINVAL;
		if (r.rta_type == IFA_LOCAL ||
		    (r.rta_type == IFA_ADDRESS && is_zero(a.addr, 16)))
			memcpy(a.addr, p + at + 4, MIN((u32)r.rta_len - 4, 16u));
		else if (r.rta_type == IFA_BROADCAST)
			memcpy(a.broadcast, p + at + 4, MIN((u32)r.rta_len - 4, 16u));
		at += ALIGN_UP((u32)r.rta_len, 4u);
	}
	return inet_control(PVS_LIST_ADDR, op, &a, sizeof(a));
}

static void answer(struct builder *b, const struct nlmsghdr *h, const u8 *body, u32 len)
{
	bool dump = (h->nlmsg_flags & NLM_F_DUMP) != 0;
	int err = 0;

	b->flags = dump ? NLM_F_MULTI : 0;
	switch (h->nlmsg_type) {
	case RTM_GETLINK:
		netdev_each(PVS_LIST_LINK, sizeof(struct pvs_link), send_link, b);
		break;
	case RTM_GETADDR:
		netdev_each(PVS_LIST_ADDR, sizeof(struct pvs_ifaddr), send_addr, b);
		break;
	case RTM_GETROUTE:
		netdev_each(PVS_LIST_ROUTE, sizeof(struct pvs_route), send_route, b);
		break;
	case RTM_GETNEIGH:
		netdev_each(PVS_LIST_NEIGH, sizeof(struct pvs_neigh), send_neigh, b);
		break;
	case RTM_GETRULE:
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		err = change_addr(body, len,
				  h->nlmsg_type == RTM_NEWADDR ? PVS_OP_ADD : PVS_OP_DEL);
		send_status(b, h, err);
		return;
	default:
		send_status(b, h, -EOPNOTSUPP);
		return;
	}
	if (dump) {
		msg_begin(b, NLMSG_DONE, &err, 4);
		msg_end(b);
	} else if (h->nlmsg_flags & NLM_F_ACK) {
		send_status(b, h, 0);
	}
}

static ssize nl_send(struct sock *s, struct msg *m)
{
	u32 n = (u32)MIN(m->u->left, 65536ul), at = 0;
	u8 *buf = kalloc(n + 1);
	struct builder *b = kalloc(sizeof(*b));
	ssize r = n;

	if (!buf || !b)
		r = -ENOMEM;
	else if (uio_in(m->u, buf, n))
		r = -EFAULT;
	while (r >= 0 && n - at >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr h;

		memcpy(&h, buf + at, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > n - at)
			break;
		b->to = nl(s);
		b->seq = h.nlmsg_seq;
		if (h.nlmsg_flags & NLM_F_REQUEST)
			answer(b, &h, buf + at + sizeof(h), h.nlmsg_len - (u32)sizeof(h));
		at += MIN(ALIGN_UP(h.nlmsg_len, 4u), n - at);
	}
	kfree(buf);
	kfree(b);
	return r;
}

static ssize nl_recv(struct sock *s, struct msg *m)
{
	struct nlsock *n = nl(s);
	ssize done = 0, full = 0;
	int r;

	if (list_empty(&n->queue)) {
		if (m->flags & MSG_DONTWAIT_K)
			return -EAGAIN;
		r = wait_event(&s->wait, !list_empty(&n->queue), sock_deadline(s->rcvtimeo));
		if (r)
			return r == -ETIMEDOUT ? -EAGAIN : r;
	}
	if (m->flags & MSG_PEEK_K) {
		struct nlmsg *e;

		list_each(e, &n->queue, link)
		{
			full += e->len;
			if (e->len <= m->u->left) {
				if (uio_out(m->u, e->data, e->len))
					return -EFAULT;
				done += e->len;
			}
		}
		if (done < full)
			m->out_flags |= MSG_TRUNC_K;
		return m->flags & MSG_TRUNC_K ? full : done;
	}
	while (!list_empty(&n->queue)) {
		struct nlmsg *e = list_first(&n->queue, struct nlmsg, link);
		u32 take = (u32)MIN((u64)e->len, m->u->left);

		if (done && e->len > m->u->left)
			break;
		if (uio_out(m->u, e->data, take))
			return -EFAULT;
		if (take < e->len)
			m->out_flags |= MSG_TRUNC_K;
		done += m->flags & MSG_TRUNC_K ? e->len : take;
		list_del(&e->link);
		kfree(e);
	}
	m->name[0] = AF_NETLINK_K;
	memset(m->name + 1, 0, 11);
	m->name_len = 12;
	return done;
}

/* Something the kernel has to say to the owner of a netlink socket; no data: is it one? */
int netlink_push(struct file *f, const void *data, u32 len);
int netlink_push(struct file *f, const void *data, u32 len)
{
	struct sock *s = file_sock(f);
	struct nlmsg *m;

	if (!s || s->ops != &nl_ops)
		return -EINVAL;
	if (!data)
		return 0;
	m = kalloc(sizeof(*m) + len);
	if (!m)
		return -ENOMEM;
	m->len = len;
	memcpy(m->data, data, len);
	list_add_tail(&nl(s)->queue, &m->link);
	wake_events(&s->wait, POLLIN | POLLRDNORM);
	return 0;
}

static int nl_bind(struct sock *s, const u8 *addr, u32 len)
{
	struct sockaddr_nl a;

	if (len < sizeof(a))
		return -EINVAL;
	memcpy(&a, addr, sizeof(a));
	if (a.nl_pid)
		nl(s)->pid = a.nl_pid;
	nl(s)->groups = a.nl_groups;
	return 0;
}

static int nl_connect(struct sock *s, const u8 *addr, u32 len, bool nonblock)
{
	return 0;
}

static int nl_getname(struct sock *s, u8 *addr, bool peer)
{
	struct sockaddr_nl a = {.nl_family = AF_NETLINK_K};

	if (!peer) {
		a.nl_pid = nl(s)->pid;
		a.nl_groups = nl(s)->groups;
	}
	memcpy(addr, &a, sizeof(a));
	return sizeof(a);
}

static u32 nl_poll(struct sock *s, struct poll_table *pt)
{
	poll_wait(pt, &s->wait);
	return (list_empty(&nl(s)->queue) ? 0 : POLLIN | POLLRDNORM) | POLLOUT | POLLWRNORM;
}

static int nl_setopt(struct sock *s, int level, int name, const void *val, u32 len)
{
	return level == 270 ? 0 : -ENOPROTOOPT;
}

static void nl_release(struct sock *s)
{
	while (!list_empty(&nl(s)->queue)) {
		struct nlmsg *e = list_first(&nl(s)->queue, struct nlmsg, link);

		list_del(&e->link);
		kfree(e);
	}
}
static const struct sock_ops nl_ops = {.bind = nl_bind,
				       .connect = nl_connect,
				       .getname = nl_getname,
				       .send = nl_send,
				       .recv = nl_recv,
				       .poll = nl_poll,
				       .setopt = nl_setopt,
				       .release = nl_release};

/* ---- SIOCGIF* ---- */
struct ifreq_k {
	char name[16];
	u8 data[24];
};
struct dev_query {
	char name[17];
	u32 index;
	struct pvs_link link;
	struct pvs_ifaddr addr;
	bool found, have_addr;
	/* SIOCGIFCONF: */
	u64 at;
	u32 left, used;
	int err;
};
static void find_dev(const void *rec, void *arg)
{
	const struct pvs_link *l = rec;
	struct dev_query *q = arg;

	if (q->index ? l->ifindex == q->index : !strncmp(l->name, q->name, 16)) {
		q->link = *l;
		q->found = true;
	}
}
static void find_addr(const void *rec, void *arg)
{
	const struct pvs_ifaddr *a = rec;
	struct dev_query *q = arg;

	if (a->family == AF_INET_K && a->ifindex == q->link.ifindex && !q->have_addr) {
		q->addr = *a;
		q->have_addr = true;
	}
}
static void put_sin(struct ifreq_k *r, const u8 *addr)
{
	memset(r->data, 0, sizeof(r->data));
	r->data[0] = AF_INET_K;
	memcpy(r->data + 4, addr, 4);
}
static void conf_one(const void *rec, void *arg)
{
	const struct pvs_ifaddr *a = rec;
	struct dev_query *q = arg;
	char name[NETDEV_NAME];
	struct ifreq_k r = {0};

	if (a->family != AF_INET_K)
		return;
	netdev_name(a->ifindex, name);
	memcpy(r.name, name, 16);
	put_sin(&r, a->addr);
	if (q->at) {
		if (q->left < sizeof(r))
			return;
		if (copy_out(q->at + q->used, &r, sizeof(r)))
			q->err = -EFAULT;
		q->left -= sizeof(r);
	}
	q->used += sizeof(r);
}
static s64 if_conf(u64 arg)
{
	struct {
		int len, pad;
		u64 buf;
	} c;
	struct dev_query q = {0};

	if (get_user(c, arg))
		return -EFAULT;
	q.at = c.buf;
	q.left = c.len > 0 ? (u32)c.len : 0;
	netdev_each(PVS_LIST_ADDR, sizeof(struct pvs_ifaddr), conf_one, &q);
	c.len = (int)q.used;
	return q.err ? q.err : put_user(c, arg);
}

s64 netdev_ioctl(u32 cmd, u64 arg)
{
	struct dev_query q = {0};
	struct ifreq_k r;
	u32 mask;
	s16 flags;

	if (cmd == SIOCGIFCONF)
		return if_conf(arg);
	if (cmd < SIOCGIFNAME || cmd > SIOCGIFTXQLEN)
		return -ENOTTY;
	if (get_user(r, arg))
		return -EFAULT;
	memcpy(q.name, r.name, 16);
	if (cmd == SIOCGIFNAME)
		memcpy(&q.index, r.data, 4);
	netdev_each(PVS_LIST_LINK, sizeof(struct pvs_link), find_dev, &q);
	if (!q.found)
		return -ENODEV;
	netdev_each(PVS_LIST_ADDR, sizeof(struct pvs_ifaddr), find_addr, &q);
	switch (cmd) {
	case SIOCGIFNAME:
		memcpy(r.name, q.link.name, 16);
		break;
	case SIOCGIFINDEX:
		memcpy(r.data, &q.link.ifindex, 4);
		break;
	case SIOCGIFFLAGS:
		flags = (s16)q.link.flags;
		memcpy(r.data, &flags, 2);
		break;
	case SIOCGIFMTU:
		memcpy(r.data, &q.link.mtu, 4);
		break;
	case SIOCGIFMETRIC:
	case SIOCGIFTXQLEN:
		memset(r.data, 0, 4);
		break;
	case SIOCGIFHWADDR:
		memset(r.data, 0, sizeof(r.data));
		memcpy(r.data, &(u16){(u16)q.link.type}, 2);
		memcpy(r.data + 2, q.link.mac, 6);
		break;
	case SIOCGIFADDR:
	case SIOCGIFBRDADDR:
	case SIOCGIFDSTADDR:
	case SIOCGIFNETMASK:
		if (!q.have_addr)
			return -EADDRNOTAVAIL;
		mask = q.addr.prefixlen ? ~0u << (32 - q.addr.prefixlen) : 0;
		mask = __builtin_bswap32(mask);
		put_sin(&r, cmd == SIOCGIFNETMASK   ? (const u8 *)&mask
			    : cmd == SIOCGIFBRDADDR ? q.addr.broadcast
						    : q.addr.addr);
		break;
	default:
		return -EOPNOTSUPP;
	}
	return put_user(r, arg);
}
