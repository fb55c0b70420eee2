// SPDX-License-Identifier: ISC
// Networks as bridges and veth pairs, through rtnetlink (RFC 3549; linux/rtnetlink.h).
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "d0d/linux/linux.h"

struct nlreq {
	struct nlmsghdr h;
	char body[1000];
};

static void *nl_room(struct nlreq *r, size_t n)
{
	void *at = (char *)r + NLMSG_ALIGN(r->h.nlmsg_len);

	r->h.nlmsg_len = NLMSG_ALIGN(r->h.nlmsg_len) + (uint32_t)NLMSG_ALIGN(n);
	return at;
}

static struct rtattr *nl_attr(struct nlreq *r, int type, const void *data, size_t n)
{
	struct rtattr *a = nl_room(r, RTA_LENGTH(n));

	a->rta_type = (uint16_t)type;
	a->rta_len = (uint16_t)RTA_LENGTH(n);
	if (n && data)
		memcpy(RTA_DATA(a), data, n);
	return a;
}

static void nl_end(struct nlreq *r, struct rtattr *nest)
{
	nest->rta_len = (uint16_t)((char *)r + NLMSG_ALIGN(r->h.nlmsg_len) - (char *)nest);
}

static void *nl_begin(struct nlreq *r, int type, int flags, size_t head)
{
	memset(r, 0, sizeof(*r));
	r->h.nlmsg_len = NLMSG_LENGTH(0);
	r->h.nlmsg_type = (uint16_t)type;
	r->h.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	return nl_room(r, head);
}

// Sends and takes the acknowledgement; 0 or -1 with errno.
static int nl_call(struct nlreq *r)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
		char rest[1000];
	} ack;

	if (fd < 0)
		return -1;
	ssize_t n = send(fd, r, r->h.nlmsg_len, 0);
	if (n > 0)
		n = recv(fd, &ack, sizeof(ack), 0);
	close(fd);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)))
		return -1;
	errno = -ack.e.error;
	return ack.e.error ? -1 : 0;
}

static int link_up(unsigned index, unsigned master)
{
	struct nlreq r;
	struct ifinfomsg *i = nl_begin(&r, RTM_NEWLINK, 0, sizeof(*i));

	i->ifi_index = (int)index;
	i->ifi_flags = i->ifi_change = IFF_UP;
	if (master)
		nl_attr(&r, IFLA_MASTER, &master, sizeof(master));
	return nl_call(&r);
}

static int link_delete(unsigned index)
{
	struct nlreq r;
	struct ifinfomsg *i = nl_begin(&r, RTM_DELLINK, 0, sizeof(*i));

	i->ifi_index = (int)index;
	return nl_call(&r);
}

static int addr_add_any(unsigned index, int family, const void *ip, size_t size, int prefix)
{
	struct nlreq r;
	struct ifaddrmsg *a =
	    nl_begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*a));

	a->ifa_family = (uint8_t)family;
	a->ifa_prefixlen = (uint8_t)prefix;
	a->ifa_index = index;
	if (family == AF_INET6)
		a->ifa_flags = IFA_F_NODAD; // given out by the engine, to be used at once
	nl_attr(&r, IFA_LOCAL, ip, size);
	nl_attr(&r, IFA_ADDRESS, ip, size);
	return nl_call(&r);
}

static int addr_add(unsigned index, struct in_addr ip, int prefix)
{
	return addr_add_any(index, AF_INET, &ip, sizeof(ip), prefix);
}

static int addr_add6(unsigned index, struct in6_addr ip, int prefix)
{
	return prefix ? addr_add_any(index, AF_INET6, &ip, sizeof(ip), prefix) : 0;
}

static int route_default(struct in_addr gw)
{
	struct nlreq r;
	struct rtmsg *m = nl_begin(&r, RTM_NEWROUTE, NLM_F_CREATE, sizeof(*m));

	m->rtm_family = AF_INET;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_BOOT;
	m->rtm_scope = RT_SCOPE_UNIVERSE;
	m->rtm_type = RTN_UNICAST;
	nl_attr(&r, RTA_GATEWAY, &gw, sizeof(gw));
	return nl_call(&r);
}

// The host's name for a network: short, and this daemon's own.
static void bridge_name(const char *id, char out[16])
{
	snprintf(out, 16, "d0-%.10s", id);
}

int lx_net_create(struct backend *b, const struct be_network *n, struct err *e)
{
	struct nlreq r;
	char name[16];
	int err = 0;

	if (strcmp(n->driver, "bridge") != 0)
		return err_set(e, 501,
			       "network driver \"%s\" needs D0's own switch; this host "
			       "(linux backend) has bridge only",
			       n->driver);
	bridge_name(n->id, name);
	nl_begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	nl_attr(&r, IFLA_IFNAME, name, strlen(name) + 1);
	struct rtattr *info = nl_attr(&r, IFLA_LINKINFO, NULL, 0);
	nl_attr(&r, IFLA_INFO_KIND, "bridge", 6);
	nl_end(&r, info);
	if (nl_call(&r) < 0 && errno != EEXIST)
		err = errno;
	unsigned index = if_nametoindex(name);
	if (!err && n->gateway.s_addr && addr_add(index, n->gateway, n->prefix) < 0)
		err = errno;
	if (!err && addr_add6(index, n->gateway6, n->prefix6) < 0)
		err = errno;
	if (!err && link_up(index, 0) < 0)
		err = errno;
	if (!err)
		return 0;
	if (index)
		link_delete(index);
	return err_set(e, 500, "network %s: %s", n->id, strerror(err));
}

int lx_net_remove(struct backend *b, const char *id, struct err *e)
{
	char name[16];

	bridge_name(id, name);
	unsigned index = if_nametoindex(name);
	if (index && link_delete(index) < 0)
		return err_set(e, 500, "network %s: %s", id, strerror(errno));
	return 0;
}

int lx_net_dns(struct backend *b, const struct be_network *n, struct err *e)
{
	struct sockaddr_in at = {
	    .sin_family = AF_INET, .sin_port = htons(53), .sin_addr = n->gateway};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
		return fd;
	err_set(e, 500, "DNS of network %s: %s", n->id, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

int lx_net_plug(struct backend *b, const struct be_endpoint *ep, int pid, struct err *e)
{
	struct nlreq r;
	char bridge[16], host[16];
	uint32_t tag, target = (uint32_t)pid;

	random_fill(&tag, sizeof(tag));
	bridge_name(ep->network, bridge);
	snprintf(host, sizeof(host), "d0v%08x", tag);
	nl_begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	nl_attr(&r, IFLA_IFNAME, host, strlen(host) + 1);
	struct rtattr *info = nl_attr(&r, IFLA_LINKINFO, NULL, 0);
	nl_attr(&r, IFLA_INFO_KIND, "veth", 4);
	struct rtattr *data = nl_attr(&r, IFLA_INFO_DATA, NULL, 0);
	struct rtattr *peer = nl_attr(&r, VETH_INFO_PEER, NULL, 0);
	memset(nl_room(&r, sizeof(struct ifinfomsg)), 0, sizeof(struct ifinfomsg));
	nl_attr(&r, IFLA_IFNAME, ep->ifname, strlen(ep->ifname) + 1);
	nl_attr(&r, IFLA_NET_NS_PID, &target, sizeof(target));
	nl_attr(&r, IFLA_ADDRESS, ep->mac, 6);
	nl_end(&r, peer);
	nl_end(&r, data);
	nl_end(&r, info);
	if (nl_call(&r) < 0)
		return err_set(e, 500, "network %s: %s", ep->network, strerror(errno));
	unsigned index = if_nametoindex(host), master = if_nametoindex(bridge);
	if (!master || link_up(index, master) < 0) {
		link_delete(index);
		return err_set(e, 500, "network %s has no bridge", ep->network);
	}
	return 0;
}

int lx_net_setup_lo(void)
{
	return link_up(if_nametoindex("lo"), 0);
}

int lx_net_setup(const struct be_endpoint *ep)
{
	unsigned index = if_nametoindex(ep->ifname);

	if (!index || addr_add(index, ep->ip, ep->prefix) < 0 ||
	    addr_add6(index, ep->ip6, ep->prefix6) < 0 || link_up(index, 0) < 0)
		return -1;
	if (ep->gateway.s_addr && route_default(ep->gateway) < 0 && errno != EEXIST)
		return -1;
	return 0;
}

int lx_net_unplug(const char *ifname)
{
	unsigned index = if_nametoindex(ifname);

	return index ? link_delete(index) : 0;
}
