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
// is in the arguments of channels, so nothing is to be made when a network is created.
//
// The host's address is the one of d0d's own cell; nothing else is configured.
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

static bool published(const struct d0_nets *k, int proto, uint16_t lo, uint16_t hi)
{
	for (const struct box_net *n = k->all; n; n = n->next)
		for (size_t i = 0; i < n->nports; i++)
			if ((!proto || n->ports[i].proto == proto) &&
			    n->ports[i].host_port >= lo && n->ports[i].host_port <= hi)
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
		if (slot_used(k, n, i) || published(k, 0, lo, hi))
			continue;
		n->slot = i;
		return true;
	}
	return false;
}

// d0d's own ports are its address's too.
static bool own_listener(const struct d0_nets *k, int proto, uint16_t port)
{
	struct sockaddr_in at = {
	    .sin_family = AF_INET, .sin_addr = k->host, .sin_port = htons(port)};
	int one = 1,
	    fd = socket(AF_INET,
			(proto == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	if (proto == IPPROTO_TCP)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	bool taken = bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 && errno == EADDRINUSE;
	close(fd);
	return taken;
}

static bool port_free(const struct d0_nets *k, int proto, uint16_t port)
{
	return !published(k, proto, port, port) && !in_block(k, port) &&
	       !own_listener(k, proto, port);
}

static int refused(const struct be_port *p, const struct box_net *n, const char *why,
		   struct err *e)
{
	char ip[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &p->host_ip, ip, sizeof(ip));
	return err_set(e, 500,
		       "driver failed programming external connectivity on endpoint %.12s: "
		       "Bind for %s:%d failed: %s",
		       n->id, ip, p->host_port, why);
}

static struct net_port net_port_of(const struct be_port *p)
{
	bool local = ntohl(p->host_ip.s_addr) >> 24 == 127;

	return (struct net_port){p->proto, p->host_port, p->port, local};
}

// The same port once more, at another of the host's addresses: the wider one counts.
static bool port_again(struct box_net *n, const struct be_port *p)
{
	for (size_t i = 0; i < n->nports; i++) {
		struct net_port *q = &n->ports[i];
		if (q->proto != p->proto || q->host_port != p->host_port || q->port != p->port)
			continue;
		q->local &= net_port_of(p).local;
		return true;
	}
	return false;
}

static uint32_t port_choose(const struct d0_nets *k, int proto)
{
	for (uint32_t port = OPEN_LOW; port < D0_VNET_HOST_PORTS; port++)
		if (port_free(k, proto, (uint16_t)port))
			return port;
	for (uint32_t port = OPEN_LOW - 1; port > OPEN_LAST; port--)
		if (port_free(k, proto, (uint16_t)port))
			return port;
	return OPEN_LAST;
}

// In the order that lets neighbours be told as a range.
static int by_number(const void *a, const void *b)
{
	const struct net_port *p = a, *q = b;

	if (p->proto != q->proto)
		return p->proto - q->proto;
	return (int)p->host_port - (int)q->host_port;
}

static int port_take(struct d0_nets *k, struct box_net *n, struct be_port *p, struct err *e)
{
	uint32_t port = p->host_port;

	if (p->host_ip.s_addr && p->host_ip.s_addr != k->host.s_addr && !net_port_of(p).local)
		return refused(p, n, "cannot assign requested address", e);
	if (port && port_again(n, p))
		return 0;
	if (!port)
		port = port_choose(k, p->proto);
	if (!port_free(k, p->proto, (uint16_t)port))
		return refused(p, n, "port is already allocated", e);
	p->host_port = (uint16_t)port;
	n->ports[n->nports++] = net_port_of(p);
	return 0;
}

int net_publish(struct box_net *n, struct err *e)
{
	struct d0_nets *k = n->b->nets;
	struct net_port *ports = xcalloc(n->nwanted + 1, sizeof(*ports)), *old;
	int rc = 0;

	pthread_mutex_lock(&k->lock);
	old = n->ports;
	n->ports = ports; // its own former ones are free to be taken again
	n->nports = 0;
	for (size_t i = 0; i < n->nwanted && rc == 0; i++)
		rc = port_take(k, n, &n->wanted[i], e);
	if (rc < 0)
		n->nports = 0;
	qsort(n->ports, n->nports, sizeof(*n->ports), by_number);
	pthread_mutex_unlock(&k->lock);
	free(old);
	return rc;
}

int net_reserve(struct box_net *n, struct be_port *ports, size_t nports, struct err *e)
{
	struct d0_nets *k = n->b->nets;
	int rc = 0;

	n->ports = xcalloc(nports + 1, sizeof(*n->ports));
	n->slot = ~0u;
	pthread_mutex_lock(&k->lock);
	n->next = k->all;
	k->all = n;
	for (size_t i = 0; i < nports && rc == 0; i++)
		rc = port_take(k, n, &ports[i], e);
	if (rc == 0 && !slot_pick(k, n))
		rc = err_set(e, 500, "all %u blocks of the host's ports are in use", SLOTS);
	qsort(n->ports, n->nports, sizeof(*n->ports), by_number);
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
	struct net_port *p = xcalloc(nports + 1, sizeof(*p));
	struct box_net have = {.ports = p};

	for (size_t i = 0; i < nports; i++)
		if (!port_again(&have, &ports[i]))
			p[have.nports++] = net_port_of(&ports[i]);
	qsort(p, have.nports, sizeof(*p), by_number);
	pthread_mutex_lock(&k->lock);
	free(n->ports);
	n->ports = p;
	n->nports = have.nports;
	pthread_mutex_unlock(&k->lock);
}

void net_unpublish(struct box_net *n)
{
	net_published(n, NULL, 0);
}

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

static struct in_addr default_gateway(void)
{
	char *text = file_read("/proc/net/route", 65536, NULL), name[16];
	struct in_addr gw = {0};
	unsigned dst, hop;

	for (char *p = text; p && !gw.s_addr; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (sscanf(p, "%15s %x %x", name, &dst, &hop) == 3 && dst == 0)
			gw.s_addr = hop; // both are in network order as they stand
	}
	free(text);
	return gw;
}

static int prefix_of(const struct sockaddr *mask)
{
	return mask ? __builtin_popcount(((const struct sockaddr_in *)mask)->sin_addr.s_addr)
		    : 32;
}

// The first address of d0d's cell that others can reach.
static bool host_address(struct in_addr *ip, int *prefix)
{
	struct ifaddrs *list = NULL;
	bool found = false;

	if (getifaddrs(&list) < 0)
		return false;
	for (struct ifaddrs *i = list; i && !found; i = i->ifa_next) {
		struct sockaddr_in *a = (struct sockaddr_in *)i->ifa_addr;
		if (!a || a->sin_family != AF_INET || (i->ifa_flags & IFF_LOOPBACK) ||
		    ntohl(a->sin_addr.s_addr) >> 16 == 0xa9fe)
			continue;
		*ip = a->sin_addr;
		*prefix = prefix_of(i->ifa_netmask);
		found = true;
	}
	freeifaddrs(list);
	return found;
}

int net_host(struct d0_backend *b, struct err *e)
{
	struct d0_nets *k = b->nets;
	struct in_addr ip = {0}, gw = {0};
	int prefix = 0;
	bool now = host_address(&ip, &prefix);

	if (now)
		gw = default_gateway();
	pthread_mutex_lock(&k->lock);
	bool known = k->host.s_addr != 0;
	bool news = now && (k->host.s_addr != ip.s_addr || k->gateway.s_addr != gw.s_addr ||
			    k->prefix != prefix);
	if (news) {
		k->host = ip;
		k->gateway = gw;
		k->prefix = prefix;
	}
	pthread_mutex_unlock(&k->lock);
	if (!known && !now) // a lease that is lost for a while is no other address
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
