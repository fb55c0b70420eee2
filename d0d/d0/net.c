// SPDX-License-Identifier: ISC
// Networks on D0.
//
// Problem: docker networks, published ports and the way out, with a TCP/IP stack in a cell of
// its own for each container and a layer-2 switch (the nic cell) that keeps no state.
//
// Model. Docker's bridge network is a private segment of the switch, told by a number; macvlan
// and ipvlan networks are on the card. A container's transport cell has a port in each of its
// networks and, for what leaves a bridge network, one with a part of the host's address: its
// published ports and the block of its *slot* (docs/decisions/0004). The slot also gives the
// address by which d0d's name server knows who asks. Everything the switch and the stacks need
// is in the arguments of channels (netargs.c), so nothing is to be made when a network is
// created.
//
// The host's addresses, one of each family, are those of d0d's own cell; nothing else is
// configured. They are looked for again and again: who gets out by one that was replaced is
// plugged in anew. A host need not have IPv6.
//
// What must outlive d0d: numbers of segments (a file, as two networks must never get one), and
// slots (part of the transport cell's name, whose cell outlives d0d anyhow).
#include "d0d/d0/box.h"
#include "d0d/d0/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "d0/pvsock.h"
#include "d0/vnet.h"

// ---- pods ----

struct box_net *net_join(struct d0_backend *b, const char *id, unsigned *client, struct err *e)
{
	struct d0_nets *k = b->nets;
	struct box *peer = box_find(b, id);
	struct box_net *n;
	bool full;

	pthread_mutex_lock(&k->lock);
	for (n = k->all; n && (!peer || n != peer->net || !n->clients); n = n->next)
		;
	for (*client = 1; n && *client < PVS_MAX_CLIENTS; ++*client)
		if (!(n->clients >> *client & 1))
			break;
	full = n && *client == PVS_MAX_CLIENTS;
	if (n && !full)
		n->clients |= 1u << *client;
	pthread_mutex_unlock(&k->lock);
	if (peer)
		box_put(peer);
	if (!n)
		err_set(e, 409,
			"cannot join network of container %.12s: it does not run, or it has no "
			"network",
			id);
	else if (full)
		err_set(e, 409,
			"cannot join network of container %.12s: %u containers share it", id,
			PVS_MAX_CLIENTS);
	return full ? NULL : n;
}

bool net_leave(struct box_net *n, unsigned client)
{
	struct d0_nets *k = n->b->nets;

	pthread_mutex_lock(&k->lock);
	n->clients &= ~(1u << client);
	bool last = !n->clients;
	pthread_mutex_unlock(&k->lock);
	return last;
}

void net_release(struct box_net *n)
{
	struct d0_nets *k = n->b->nets;

	pthread_mutex_lock(&k->lock);
	for (struct box_net **at = &k->all; *at; at = &(*at)->next)
		if (*at == n) {
			*at = n->next;
			break;
		}
	pthread_mutex_unlock(&k->lock);
	free(n->ports);
	free(n->wanted);
	n->ports = NULL;
	n->wanted = NULL;
	n->nports = n->nwanted = 0;
}

// ---- segments ----

static void segs_save(struct d0_nets *k)
{
	char *path = xasprintf("%s/segments.json", k->dir);
	json_t *o = json_object();

	for (struct net_seg *s = k->segs; s; s = s->next)
		if (s->number)
			json_object_set_new(o, s->id, json_integer(s->number));
	if (json_write_atomic(path, o) < 0)
		log_msg("%s: %s", path, strerror(errno));
	json_decref(o);
	free(path);
}

// Numbers as last written: a network that is made again at start finds its own.
static uint32_t seg_saved(struct d0_nets *k, const char *id, bool *taken, uint32_t limit)
{
	char *path = xasprintf("%s/segments.json", k->dir);
	json_t *o = json_load_file(path, 0, NULL), *v;
	const char *key;
	uint32_t mine = 0;

	json_object_foreach(o, key, v)
	{
		json_int_t n = json_integer_value(v);
		if (n < 1 || n >= limit)
			continue;
		taken[n] = true;
		if (strcmp(key, id) == 0)
			mine = (uint32_t)n;
	}
	json_decref(o);
	free(path);
	return mine;
}

static uint32_t seg_number(struct d0_nets *k, const char *id)
{
	static const uint32_t limit = 4096;
	bool *taken = xcalloc(limit, sizeof(*taken));
	uint32_t n = seg_saved(k, id, taken, limit);

	for (struct net_seg *s = k->segs; s; s = s->next)
		if (s->number < limit)
			taken[s->number] = true;
	for (uint32_t i = 1; i < limit && !n; i++)
		n = taken[i] ? 0 : i;
	free(taken);
	return n;
}

// "", "eth0", "eth1.30": card and VLAN.
static int parse_parent(const char *parent, struct net_seg *s, struct err *e)
{
	unsigned card = 0, vlan = 0;
	int end = 0;

	if (*parent && (sscanf(parent, "eth%1u%n", &card, &end) != 1 || card > 7))
		return err_set(
		    e, 400, "parent interface %.60s: D0 names its cards eth0 to eth7", parent);
	parent += end;
	if (*parent &&
	    (sscanf(parent, ".%u%n", &vlan, &end) != 1 || parent[end] || !vlan || vlan > 4094))
		return err_set(e, 400,
			       "invalid subinterface vlan name, example formatting is eth0.10");
	s->uplink = card;
	s->vlan = vlan;
	return 0;
}

int d0_net_create(struct backend *be, const struct be_network *n, struct err *e)
{
	struct d0_nets *k = d0_of(be)->nets;
	struct net_seg *s = xcalloc(1, sizeof(*s));

	snprintf(s->id, sizeof(s->id), "%s", n->id);
	s->internal = n->internal;
	s->isolated = n->isolated;
	s->six = n->prefix6 != 0;
	s->driver = strcmp(n->driver, "macvlan") == 0  ? NET_MACVLAN
		    : strcmp(n->driver, "ipvlan") == 0 ? NET_IPVLAN
						       : NET_BRIDGE;
	if (s->driver != NET_BRIDGE && parse_parent(n->parent, s, e) < 0) {
		free(s);
		return -1;
	}
	pthread_mutex_lock(&k->lock);
	if (s->driver == NET_BRIDGE)
		s->number = seg_number(k, n->id);
	bool ok = s->driver != NET_BRIDGE || s->number;
	if (ok) {
		s->next = k->segs;
		k->segs = s;
		segs_save(k);
	}
	pthread_mutex_unlock(&k->lock);
	if (ok)
		return 0;
	free(s);
	return err_set(e, 500, "no number is left for another network");
}

int d0_net_remove(struct backend *be, const char *id, struct err *e)
{
	struct d0_nets *k = d0_of(be)->nets;
	struct net_seg *gone = NULL;

	pthread_mutex_lock(&k->lock);
	for (struct net_seg **at = &k->segs; *at && !gone; at = gone ? at : &(*at)->next)
		if (strcmp((*at)->id, id) == 0) {
			gone = *at;
			*at = gone->next;
			break;
		}
	if (gone)
		segs_save(k);
	pthread_mutex_unlock(&k->lock);
	free(gone);
	return 0;
}

int net_seg(struct d0_backend *b, const char *id, struct net_seg *out, struct err *e)
{
	struct d0_nets *k = b->nets;
	bool found = false;

	pthread_mutex_lock(&k->lock);
	for (struct net_seg *s = k->segs; s && !found; s = s->next)
		if (strcmp(s->id, id) == 0) {
			*out = *s;
			found = true;
		}
	pthread_mutex_unlock(&k->lock);
	return found ? 0 : err_set(e, 404, "network %s not found", id);
}

// ---- the host ----

// The line of a /proc/net file for which TAKE is true ends the search.
static void proc_lines(const char *path, bool (*take)(const char *line, void *arg), void *arg)
{
	char *text = file_read(path, 65536, NULL), *save = NULL;

	for (char *l = text ? strtok_r(text, "\n", &save) : NULL; l;
	     l = strtok_r(NULL, "\n", &save))
		if (take(l, arg))
			break;
	free(text);
}

static bool take_gateway(const char *line, void *arg)
{
	struct net_host *h = arg;
	unsigned dst, hop;
	char name[16];

	if (sscanf(line, "%15s %x %x", name, &dst, &hop) != 3 || dst || !hop)
		return false;
	h->gateway.s_addr = hop; // both are in network order as they stand
	return true;
}

static bool parse_hex6(const char *hex, struct in6_addr *out)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned v;
		if (sscanf(hex + 2 * i, "%2x", &v) != 1)
			return false;
		out->s6_addr[i] = (uint8_t)v;
	}
	return true;
}

static bool take_gateway6(const char *line, void *arg)
{
	struct net_host *h = arg;
	char dst[33], hop[33];
	unsigned len;

	return sscanf(line, "%32s %x %*s %*s %32s", dst, &len, hop) == 3 && !len &&
	       strlen(hop) == 32 && strspn(dst, "0") == 32 && strspn(hop, "0") < 32 &&
	       parse_hex6(hop, &h->gateway6);
}

#define SITE 0x40 // the scope of fec0::/10, RFC 3513 section 2.5.6

// One that reaches further than the link and may be used for what is new.
static bool take_ip6(const char *line, void *arg)
{
	static const unsigned unfit = 0x20 | 0x40 | 0x08; // deprecated, tentative, a duplicate
	struct net_host *h = arg;
	unsigned index, prefix, scope, flags;
	char hex[33];

	if (sscanf(line, "%32s %x %x %x %x", hex, &index, &prefix, &scope, &flags) != 5 ||
	    strlen(hex) != 32 || (scope && scope != SITE) || flags & unfit || !prefix ||
	    prefix > 128 || !parse_hex6(hex, &h->ip6))
		return false;
	h->prefix6 = (int)prefix;
	return true;
}

static int prefix_of(const struct sockaddr *mask)
{
	return mask ? __builtin_popcount(((const struct sockaddr_in *)mask)->sin_addr.s_addr)
		    : 32;
}

// The first addresses of d0d's cell that others can reach. False: there is none of IPv4.
static bool host_address(struct net_host *h)
{
	struct ifaddrs *list = NULL;
	bool found = false;

	*h = (struct net_host){0};
	if (getifaddrs(&list) < 0)
		return false;
	for (struct ifaddrs *i = list; i && !found; i = i->ifa_next) {
		struct sockaddr_in *a = (struct sockaddr_in *)i->ifa_addr;
		if (!a || a->sin_family != AF_INET || (i->ifa_flags & IFF_LOOPBACK) ||
		    ntohl(a->sin_addr.s_addr) >> 16 == 0xa9fe)
			continue;
		h->ip = a->sin_addr;
		h->prefix = prefix_of(i->ifa_netmask);
		found = true;
	}
	freeifaddrs(list);
	if (found)
		proc_lines("/proc/net/route", take_gateway, h);
	proc_lines("/proc/net/if_inet6", take_ip6, h);
	if (h->prefix6)
		proc_lines("/proc/net/ipv6_route", take_gateway6, h);
	return found;
}

static void say_host(const struct net_host *h)
{
	char ip[INET_ADDRSTRLEN], ip6[INET6_ADDRSTRLEN];

	inet_ntop(AF_INET, &h->ip, ip, sizeof(ip));
	inet_ntop(AF_INET6, &h->ip6, ip6, sizeof(ip6));
	log_msg("the host's address: %s%s%s", ip, h->prefix6 ? ", " : "",
		h->prefix6 ? ip6 : "");
}

// An address that is lost for a while is no other address.
int net_host(struct d0_backend *b, struct err *e)
{
	struct d0_nets *k = b->nets;
	struct net_host h;
	bool now = host_address(&h);

	pthread_mutex_lock(&k->lock);
	bool known = k->host.ip.s_addr != 0;
	if (!h.prefix6) {
		h.ip6 = k->host.ip6;
		h.gateway6 = k->host.gateway6;
		h.prefix6 = k->host.prefix6;
	}
	bool news = now && memcmp(&h, &k->host, sizeof(h)) != 0;
	if (news)
		k->host = h;
	pthread_mutex_unlock(&k->lock);
	if (news)
		say_host(&h);
	if (!known && !now)
		return err_set(e, 500, "the host has no address yet");
	return news;
}

// A DHCP server may give the host another address at any time, or its first one late.
#define WATCH_S 5
static void *watch_main(void *arg)
{
	struct d0_backend *b = arg;
	struct d0_nets *k = b->nets;
	struct timespec until;
	struct err e;

	pthread_mutex_lock(&k->lock);
	while (!k->stop) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += WATCH_S;
		pthread_cond_timedwait(&k->wake, &k->lock, &until);
		if (k->stop)
			break;
		pthread_mutex_unlock(&k->lock);
		if (net_host(b, &e) > 0)
			net_readdress(b);
		pthread_mutex_lock(&k->lock);
	}
	pthread_mutex_unlock(&k->lock);
	return NULL;
}

// ---- names ----

struct in_addr d0_net_resolver(struct backend *b)
{
	return (struct in_addr){htonl(D0_VNET_SERVICE)};
}

int d0_net_names(struct backend *be, struct err *e)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons(D0_VNET_SERVICE_PORT),
				 .sin_addr = d0_net_resolver(be)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
		return fd;
	err_set(e, 500, "containers' names: port 53 of 169.254.0.1: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

bool d0_net_asker(struct backend *be, struct in_addr from, char id[ID_LEN + 1])
{
	struct d0_nets *k = d0_of(be)->nets;
	bool found = false;

	pthread_mutex_lock(&k->lock);
	for (struct box_net *n = k->all; n && !found; n = n->next)
		if (n->slot != ~0u && net_service(n->slot).s_addr == from.s_addr) {
			strcpy(id, n->id);
			found = true;
		}
	pthread_mutex_unlock(&k->lock);
	return found;
}

// ---- life ----

static uint32_t find_nic(struct d0_backend *b)
{
	for (uint32_t i = 0; i < 4096; i++) {
		struct d0_ctl_cell_status s = {.h.cell = i};
		struct err e;
		if (ctl_call(b, &s, D0_CTL_cell_status, sizeof(s), &e) == 0 &&
		    strncmp(s.image, "nic", sizeof(s.image)) == 0)
			return i;
	}
	return ~0u;
}

void nets_open(struct d0_backend *b, const char *dir, const char *near)
{
	struct err e;
	struct d0_nets *k = xcalloc(1, sizeof(*k));

	pthread_mutex_init(&k->lock, NULL);
	pthread_mutex_init(&k->plug, NULL);
	pthread_cond_init(&k->wake, NULL);
	pthread_mutex_init(&k->closing, NULL);
	k->dir = xstrdup(dir);
	k->nic = find_nic(b);
	if (*near && inet_pton(AF_INET, near, &k->near) != 1)
		log_msg("near=%s: not an IPv4 address", near);
	b->nets = k;
	if (net_host(b, &e) < 0)
		log_msg("%s", e.msg);
	k->watching = pthread_create(&k->watcher, NULL, watch_main, b) == 0;
}

void nets_close(struct d0_backend *b)
{
	struct d0_nets *k = b->nets;

	pthread_mutex_lock(&k->lock);
	k->stop = true;
	pthread_cond_signal(&k->wake);
	pthread_mutex_unlock(&k->lock);
	if (k->watching)
		pthread_join(k->watcher, NULL);
	for (struct net_seg *s = k->segs, *next; s; s = next) {
		next = s->next;
		free(s);
	}
	pthread_mutex_destroy(&k->lock);
	pthread_mutex_destroy(&k->plug);
	pthread_cond_destroy(&k->wake);
	pthread_mutex_destroy(&k->closing);
	free(k->dir);
	free(k);
	b->nets = NULL;
}
