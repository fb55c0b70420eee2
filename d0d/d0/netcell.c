// SPDX-License-Identifier: ISC
// A container's transport cell: making it, its channels to the nic cell and to the container's
// cell, networks that come and go while it runs, ending it with all that it had.
//
// Pods: a container that joins another's network gets a channel to that one's transport cell,
// labelled with its number there (the stack finds its sockets by it after a restart). The cell
// lasts as long as one of them; when the container whose network it is ends before the others,
// the networks and ports go with it and the loopback stays, as in a network namespace.
//
// The cell restarts by itself when it fails; its connections are in its state region and its
// channels stay. Ending: each channel is closed at both its ends, then the cell is destroyed,
// so that no slot of the nic cell's table stays behind.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/d0/net.h"
#include "d0/pvsock.h"
#include "d0/vnet.h"

#define NIC_LETS_GO_MS 100
#define HEAP           (1536ull << 10)
#define STATE          (640ull << 10)
#define STACK          (64ull << 10)
#define PORT_RING      (512ull << 10)
#define SOCKET_RING    (2ull << 20)
#define PRIORITY       5
#define CLIENT_LABEL   "sockets" // then the number
#define READY_MS       10000

static int cell_do(struct d0_backend *b, enum d0_ctl_op op, uint32_t cell, uint32_t flags,
		   struct err *e)
{
	struct d0_ctl_cell_op r = {.h.cell = cell, .flags = flags};

	return ctl_call(b, &r, op, sizeof(r), e);
}

// ---- channels ----

static int channel_make(struct box_net *n, struct d0_ctl_channel_create *r, struct err *e)
{
	r->h.cell = n->b->nets->nic;
	r->client = n->cell;
	r->protocol = D0_PROTO_NET;
	r->ring = PORT_RING;
	return ctl_call(n->b, r, D0_CTL_channel_create, sizeof(*r), e);
}

static int plug(struct box_net *n, const struct be_endpoint *ep, struct err *e)
{
	struct d0_ctl_channel_create r = {0};

	return netargs_network(n, ep, &r, e) < 0 ? -1 : channel_make(n, &r, e);
}

// The hidden device: names, and if a network of the container leads out, the host's ports.
static int plug_up(struct box_net *n, struct err *e)
{
	struct d0_ctl_channel_create r = {0};

	return netargs_up(n, &r, e) < 0 ? -1 : channel_make(n, &r, e);
}

static int plug_client(struct box_net *n, unsigned client, uint32_t cell, struct err *e)
{
	struct d0_ctl_channel_create r = {.h.cell = n->cell,
					  .client = cell,
					  .protocol = D0_PROTO_SOCKET,
					  .ring = SOCKET_RING};

	snprintf(r.label, sizeof(r.label), CLIENT_LABEL "%u", client);
	return ctl_call(n->b, &r, D0_CTL_channel_create, sizeof(r), e);
}

// ---- the cell ----

static int make(struct box_net *n, const struct be_spec *s, struct err *e)
{
	struct d0_ctl_cell_create r = {.image = "transport",
				       .heap = HEAP,
				       .stack = STACK,
				       .state = STATE,
				       .vcpus = 1,
				       .channels = NET_CHANNELS,
				       .priority = PRIORITY,
				       .restart = D0_RESTART_ON_FAILURE};

	snprintf(r.name, sizeof(r.name), NET_PREFIX "%.12s.%u", s->id, n->slot);
	if (netargs_cell(n, s, r.args, sizeof(r.args), e) < 0 ||
	    ctl_call(n->b, &r, D0_CTL_cell_create, sizeof(r), e) < 0)
		return -1;
	n->cell = r.h.cell;
	return 0;
}

static int build(struct box_net *n, const struct be_spec *s, uint32_t cell, struct err *e)
{
	if (make(n, s, e) < 0 || plug_client(n, 0, cell, e) < 0)
		return -1;
	for (size_t i = 0; i < s->nendpoints; i++)
		if (plug(n, &s->endpoints[i], e) < 0)
			return -1;
	if (plug_up(n, e) < 0)
		return -1;
	return cell_do(n->b, D0_CTL_cell_start, n->cell, 0, e);
}

// Whether a network of the container leads out by the host's addresses; *six: by IPv6, too.
static bool leads_out(const struct box_net *n, bool *six)
{
	bool out = false;

	*six = false;
	for (unsigned i = 0; i < NET_CHANNELS; i++) {
		struct net_seg seg;
		if (!*n->network[i] || net_seg(n->b, n->network[i], &seg, NULL) < 0 ||
		    seg.driver != NET_BRIDGE || seg.internal)
			continue;
		out = true;
		*six |= seg.six;
	}
	return out;
}

// It is that container's network.
static void own(struct box_net *n, const struct be_spec *s)
{
	n->clients |= 1;
	snprintf(n->id, sizeof(n->id), "%s", s->id);
	snprintf(n->ifname, sizeof(n->ifname), "%s",
		 s->nendpoints ? s->endpoints[0].ifname : "eth0");
	for (size_t i = 0; i < s->nendpoints && i < NET_CHANNELS; i++)
		snprintf(n->network[i], sizeof(n->network[i]), "%s", s->endpoints[i].network);
	n->leaves = leads_out(n, &n->leaves6);
}

static struct box_net *alloc(struct d0_backend *b, const struct be_spec *s)
{
	struct box_net *n = xcalloc(1, sizeof(*n));

	n->b = b;
	n->cell = ~0u;
	if (s)
		own(n, s);
	return n;
}

// Ports that were left open and are not chosen yet stay out: the cell's arguments don't change.
static void want(struct box_net *n, const struct be_port *ports, size_t nports)
{
	n->wanted = xcalloc(nports + 1, sizeof(*n->wanted));
	for (size_t i = 0; i < nports; i++)
		if (ports[i].host_port)
			n->wanted[n->nwanted++] = ports[i];
}

static void set_whole(struct box_net *n)
{
	pthread_mutex_lock(&n->b->nets->plug);
	n->whole = true;
	pthread_mutex_unlock(&n->b->nets->plug);
}

static int join(struct d0_backend *b, const char *id, uint32_t cell, struct box_net **out,
		unsigned *client, struct err *e)
{
	struct box_net *n = net_join(b, id, client, e);

	if (!n)
		return -1;
	if (plug_client(n, *client, cell, e) == 0) {
		*out = n;
		return 0;
	}
	net_close(n, *client);
	return -1;
}

int net_open(struct d0_backend *b, struct be_spec *s, uint32_t cell, struct box_net **out,
	     unsigned *client, struct err *e)
{
	*out = NULL;
	*client = 0;
	if (s->net_of)
		return join(b, s->net_of, cell, out, client, e);
	if (!s->nendpoints)
		return 0;
	if (b->nets->nic == ~0u)
		return err_set(e, 500, "this host has no nic cell");
	int news = net_host(b, e);
	if (news < 0)
		return -1;
	if (news)
		net_readdress(b);
	struct box_net *n = alloc(b, s);
	// An internal network's container, or one on the wire, publishes nothing (as in
	// Docker), until it is connected to one that leads out.
	if (net_reserve(n, s->ports, n->leaves ? s->nports : 0, e) < 0) {
		free(n);
		return -1;
	}
	want(n, s->ports, s->nports);
	if (build(n, s, cell, e) == 0) {
		set_whole(n);
		*out = n;
		return 0;
	}
	net_close(n, 0);
	return -1;
}

uint64_t net_counter(const struct d0_counters *c, const char *name)
{
	uint32_t count = c->count < D0_COUNTERS_MAX ? c->count : D0_COUNTERS_MAX;

	for (uint32_t i = 0; i < count; i++)
		if (strncmp(c->counter[i].name, name, sizeof(c->counter[i].name)) == 0)
			return c->counter[i].value;
	return 0;
}

// A program must find its network as it will be.
int net_ready(struct box_net *n, struct err *e)
{
	struct d0_ctl_cell_counters r = {0};
	int64_t until = mono_ms() + READY_MS;
	uint64_t want = 1; // the hidden one

	for (unsigned i = 0; n && i < NET_CHANNELS; i++)
		want += *n->network[i] != 0;
	while (n) {
		r.h.cell = n->cell;
		if (ctl_call(n->b, &r, D0_CTL_cell_counters, sizeof(r), e) < 0)
			return -1;
		if (net_counter(&r.counters, "links_up") >= want)
			break;
		if (mono_ms() > until)
			return err_set(e, 500, "the container's network does not come up");
		usleep(2000);
	}
	return 0;
}

static uint64_t nic_closes(struct d0_backend *b)
{
	struct d0_ctl_cell_counters r = {.h.cell = b->nets->nic};

	return ctl_call(b, &r, D0_CTL_cell_counters, sizeof(r), NULL) < 0
		   ? UINT64_MAX
		   : net_counter(&r.counters, "port_closes");
}

static unsigned net_channels(struct d0_backend *b, uint32_t cell)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < NET_CHANNELS; i++) {
		struct d0_ctl_channel_status s = {.h.cell = cell, .channel = i};
		struct err none;

		n += ctl_call(b, &s, D0_CTL_channel_status, sizeof(s), &none) == 0 &&
		     s.info.state == D0_CHANNEL_OPEN && s.info.protocol == D0_PROTO_NET;
	}
	return n;
}

// A ring is taken from the nic only when it says that it has let go of the port: it would be
// at work on memory that is gone. One that does not answer is being restarted.
static void end(struct d0_backend *b, uint32_t cell)
{
	pthread_mutex_lock(&b->nets->closing);
	uint64_t want = nic_closes(b) + net_channels(b, cell);
	int64_t until = mono_ms() + NIC_LETS_GO_MS;

	cell_do(b, D0_CTL_cell_stop, cell, 1, NULL);
	while (nic_closes(b) < want && mono_ms() < until)
		usleep(200);
	for (uint32_t i = 0; i < NET_CHANNELS; i++) {
		struct d0_ctl_channel_destroy r = {.h.cell = cell, .channel = i};
		ctl_call(b, &r, D0_CTL_channel_destroy, sizeof(r), NULL);
	}
	pthread_mutex_unlock(&b->nets->closing);
	cell_do(b, D0_CTL_cell_destroy, cell, 0, NULL);
}

// Closes the channels to the nic cell with that label (NULL: all) at both ends; none is fine.
static int unplug(struct box_net *n, const char *label, struct err *e)
{
	int rc = 0;

	for (uint32_t i = 0; i < NET_CHANNELS && rc == 0; i++) {
		struct d0_ctl_channel_status s = {.h.cell = n->cell, .channel = i};
		struct d0_ctl_channel_destroy r = {.h.cell = n->cell, .channel = i};
		struct err none;
		if (ctl_call(n->b, &s, D0_CTL_channel_status, sizeof(s), &none) == 0 &&
		    s.info.protocol == D0_PROTO_NET &&
		    (!label || strncmp(s.info.label, label, sizeof(s.info.label)) == 0))
			rc = ctl_call(n->b, &r, D0_CTL_channel_destroy, sizeof(r), e);
	}
	return rc;
}

// Others go on: the stack must have let go of this one's ring before it is taken away.
static void detach(struct box_net *n, unsigned client)
{
	struct d0_ctl_cell_counters r = {0};
	int64_t until = mono_ms() + NIC_LETS_GO_MS;

	do {
		r.h.cell = n->cell;
		if (ctl_call(n->b, &r, D0_CTL_cell_counters, sizeof(r), NULL) < 0 ||
		    !(net_counter(&r.counters, "clients") >> client & 1))
			break;
		usleep(500);
	} while (mono_ms() < until);
	if (client)
		return;
	pthread_mutex_lock(&n->b->nets->plug);
	for (unsigned i = 0; i < NET_CHANNELS; i++)
		n->network[i][0] = 0;
	n->leaves = n->leaves6 = n->whole = false; // its network is never to come back
	unplug(n, NULL, NULL);
	pthread_mutex_unlock(&n->b->nets->plug);
	net_unpublish(n);
}

void net_close(struct box_net *n, unsigned client)
{
	if (!n)
		return;
	if (!net_leave(n, client)) {
		detach(n, client);
		return;
	}
	pthread_mutex_lock(&n->b->nets->plug);
	n->whole = false;
	pthread_mutex_unlock(&n->b->nets->plug);
	if (n->cell != ~0u)
		end(n->b, n->cell);
	net_release(n);
	free(n);
}

// ---- networks that come and go ----

// The networks it is in have changed: so may have whether it gets out.
static int way_out(struct box_net *n, struct err *e)
{
	bool six, leaves = leads_out(n, &six);

	if (leaves == n->leaves && six == n->leaves6)
		return 0;
	if (leaves && !n->leaves && net_publish(n, e) < 0)
		return -1;
	n->leaves = leaves;
	n->leaves6 = six;
	if (!leaves)
		net_unpublish(n);
	return unplug(n, "up", e) < 0 ? -1 : plug_up(n, e);
}

// Whether its hidden device has the addresses that the host has.
static bool addressed(const struct box_net *n)
{
	struct d0_ctl_channel_create want = {0};

	if (netargs_up(n, &want, NULL) < 0)
		return true; // another would be refused
	for (uint32_t i = 0; i < NET_CHANNELS; i++) {
		struct d0_ctl_channel_status s = {.h.cell = n->cell, .channel = i};
		struct err none;
		if (ctl_call(n->b, &s, D0_CTL_channel_status, sizeof(s), &none) == 0 &&
		    s.info.protocol == D0_PROTO_NET &&
		    strncmp(s.info.label, "up", sizeof(s.info.label)) == 0)
			return strncmp(s.info.args, want.client_args, sizeof(s.info.args)) == 0;
	}
	return false;
}

// Connections by the old address end, as they do on any host that gets another one.
void net_readdress(struct d0_backend *b)
{
	struct d0_nets *k = b->nets;
	struct box_net **list;
	size_t count = 0;
	struct err e;

	pthread_mutex_lock(&k->plug);
	pthread_mutex_lock(&k->lock);
	for (struct box_net *n = k->all; n; n = n->next)
		count++;
	list = xcalloc(count + 1, sizeof(struct box_net *));
	count = 0;
	for (struct box_net *n = k->all; n; n = n->next)
		if (n->whole && n->leaves)
			list[count++] = n;
	pthread_mutex_unlock(&k->lock);
	for (size_t i = 0; i < count; i++)
		if (!addressed(list[i]) &&
		    (unplug(list[i], "up", &e) < 0 || plug_up(list[i], &e) < 0))
			log_msg("container %.12s has no way out: %s", list[i]->id, e.msg);
	pthread_mutex_unlock(&k->plug);
	free(list);
}

static int plug_locked(struct box_net *n, const struct be_endpoint *ep, struct err *e)
{
	unsigned i = 0;

	while (i < NET_CHANNELS && *n->network[i])
		i++;
	if (i == NET_CHANNELS)
		return err_set(e, 403, "too many networks for one container");
	if (plug(n, ep, e) < 0)
		return -1;
	snprintf(n->network[i], sizeof(n->network[i]), "%s", ep->network);
	if (way_out(n, e) == 0)
		return 0;
	n->network[i][0] = 0;
	unplug(n, ep->ifname, NULL);
	return -1;
}

int net_plug(struct box_net *n, const struct be_endpoint *ep, struct err *e)
{
	if (!n)
		return err_set(
		    e, 403, "the container runs without a network: stop it, then connect it");
	pthread_mutex_lock(&n->b->nets->plug);
	int rc = plug_locked(n, ep, e);
	pthread_mutex_unlock(&n->b->nets->plug);
	return rc;
}

int net_unplug(struct box_net *n, const struct be_endpoint *ep, struct err *e)
{
	if (!n)
		return 0;
	pthread_mutex_lock(&n->b->nets->plug);
	int rc = unplug(n, ep->ifname, e);
	for (unsigned i = 0; i < NET_CHANNELS && rc == 0; i++)
		if (strcmp(n->network[i], ep->network) == 0)
			n->network[i][0] = 0;
	if (rc == 0)
		rc = way_out(n, e);
	pthread_mutex_unlock(&n->b->nets->plug);
	return rc;
}

// ---- finding, ending ----

static bool is_net(struct d0_backend *b, uint32_t i, struct d0_ctl_cell_status *s)
{
	struct err e;

	*s = (struct d0_ctl_cell_status){.h.cell = i};
	return ctl_call(b, s, D0_CTL_cell_status, sizeof(*s), &e) == 0 &&
	       s->state != D0_CELL_FREE &&
	       strncmp(s->name, NET_PREFIX, strlen(NET_PREFIX)) == 0;
}

// The number that CELL has as a client of transport cell NET, -1: none.
static int client_in(struct d0_backend *b, uint32_t net, uint32_t cell)
{
	for (uint32_t i = 0; i < NET_CHANNELS; i++) {
		struct d0_ctl_channel_status s = {.h.cell = net, .channel = i};
		struct err none;
		unsigned number;
		if (ctl_call(b, &s, D0_CTL_channel_status, sizeof(s), &none) < 0 ||
		    s.info.protocol != D0_PROTO_SOCKET || s.info.peer_cell != cell)
			continue;
		s.info.label[sizeof(s.info.label) - 1] = 0;
		if (sscanf(s.info.label, CLIENT_LABEL "%u", &number) == 1 &&
		    number < PVS_MAX_CLIENTS)
			return (int)number;
	}
	return -1;
}

static struct box_net *find(struct d0_backend *b, uint32_t cell)
{
	struct box_net *n;

	pthread_mutex_lock(&b->nets->lock);
	for (n = b->nets->all; n && n->cell != cell; n = n->next)
		;
	pthread_mutex_unlock(&b->nets->lock);
	return n;
}

// The containers of a pod come in any order. The cell bears the name of the one whose network
// it is, or was.
void net_adopt(struct d0_backend *b, const struct be_spec *spec, uint32_t cell,
	       struct box_net **out, unsigned *client)
{
	struct d0_ctl_cell_status s;
	char prefix[D0_NAME_MAX];
	int number = -1;
	uint32_t i;
	unsigned slot;

	*out = NULL;
	snprintf(prefix, sizeof(prefix), NET_PREFIX "%.12s.", spec->net_of ?: spec->id);
	for (i = cell_next(b, prefix, 0); i != ~0u; i = cell_next(b, prefix, i + 1)) {
		if (is_net(b, i, &s) &&
		    sscanf(s.name + strlen(NET_PREFIX) + 12, ".%u", &slot) == 1)
			number = client_in(b, i, cell);
		if (number >= 0)
			break;
	}
	if (number < 0)
		return;
	struct box_net *n = find(b, i);
	if (!n) {
		n = alloc(b, NULL);
		n->cell = i;
		net_adopted(n, slot);
	}
	n->clients |= 1u << number;
	if (number == 0) {
		own(n, spec);
		net_published(n, spec->ports, n->leaves ? spec->nports : 0);
		want(n, spec->ports, spec->nports);
		set_whole(n);
	}
	*out = n;
	*client = (unsigned)number;
}

void net_sweep(struct d0_backend *b)
{
	struct d0_ctl_cell_status s;

	for (uint32_t i = 0; (i = cell_next(b, NET_PREFIX, i)) != ~0u; i++)
		if (is_net(b, i, &s) && !find(b, i))
			end(b, i);
}

// ---- figures ----

static void add_traffic(struct be_net_stats *f, const struct d0_counters *c, const char *label)
{
	static const char *const what[] = {"rx_bytes", "rx_packets", "tx_bytes", "tx_packets"};
	uint64_t *into[] = {&f->rx_bytes, &f->rx_packets, &f->tx_bytes, &f->tx_packets};
	char name[40];

	for (size_t i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "%.15s.%s", label, what[i]);
		*into[i] += net_counter(c, name);
	}
}

void net_stats(const struct box_net *n, struct be_stats *out)
{
	struct d0_ctl_cell_counters r = {0};

	if (!n || n->cell == ~0u)
		return;
	r.h.cell = n->cell;
	if (ctl_call(n->b, &r, D0_CTL_cell_counters, sizeof(r), NULL) < 0)
		return;
	static const char last[] = ".rx_bytes";
	uint32_t count =
	    r.counters.count < D0_COUNTERS_MAX ? r.counters.count : D0_COUNTERS_MAX;
	for (uint32_t i = 0; i < count && out->nnet < 8; i++) {
		char name[sizeof(r.counters.counter[0].name) + 1];
		snprintf(name, sizeof(name), "%.*s", (int)sizeof(name) - 1,
			 r.counters.counter[i].name);
		char *dot = strchr(name, '.');
		if (!dot || strcmp(dot, last) != 0 || dot - name > 15)
			continue;
		*dot = 0;
		if (strcmp(name, "up") != 0)
			snprintf(out->net[out->nnet++].ifname, 16, "%.15s", name);
	}
	for (size_t i = 0; i < out->nnet; i++)
		add_traffic(&out->net[i], &r.counters, out->net[i].ifname);
	// What passes the way out is the first network's, as with a bridge.
	for (size_t i = 0; i < out->nnet; i++)
		if (strcmp(out->net[i].ifname, n->ifname) == 0)
			add_traffic(&out->net[i], &r.counters, "up");
}
