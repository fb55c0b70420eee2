// SPDX-License-Identifier: ISC
// Inside of the D0 backend's networks: net.c (segments, the host's addresses), ports.c (who has
// which of its ports), netcell.c (a container's transport cell), netargs.c (the words of its
// arguments and channels).
#ifndef D0D_D0_NET_H
#define D0D_D0_NET_H

#include "d0d/d0/d0.h"

#define NET_PREFIX   "nt-" // of transport cells' names; then 12 digits of the id, '.', the slot
#define NET_CHANNELS 20u   // of a transport cell: eight clients, eight networks, the way out

enum net_driver {
	NET_BRIDGE,
	NET_MACVLAN,
	NET_IPVLAN
};

// A docker network as the nic cell knows it.
struct net_seg {
	struct net_seg *next;
	char id[ID_LEN + 1];
	enum net_driver driver;
	uint32_t number;       // bridge: the private segment
	unsigned uplink, vlan; // else: where on the wire
	bool internal, isolated;
	bool six; // has IPv6 as well
};

// What a container has of the host's ports: one of one of its addresses.
struct net_port {
	int proto;
	uint8_t family; // BE_V4 or BE_V6
	uint16_t host_port, port;
	bool local; // closed to what comes from the wire (bound to 127.0.0.0/8 or ::1)
};

// The host's addresses. No padding that is not zero: compared as a whole.
struct net_host {
	struct in_addr ip, gateway; // gateway 0.0.0.0: none
	int prefix;
	struct in6_addr ip6, gateway6; // likewise
	int prefix6;                   // 0: no IPv6
};

// A transport cell: a container's, shared by those that joined its network (a pod). It lasts as
// long as one of them.
struct box_net {
	struct box_net *next; // nets.all
	struct d0_backend *b;
	char id[ID_LEN + 1];
	uint32_t cell;    // ~0: none
	uint32_t clients; // a bit for each container; 0: the one whose network it is
	unsigned slot;
	bool leaves;     // the hidden device has a part of the host's ports
	bool leaves6;    // and opens connections by IPv6
	char ifname[16]; // of the first endpoint, whose name all traffic counts for
	char network[NET_CHANNELS][ID_LEN + 1]; // those it is in, "" where none is
	struct net_port *ports;
	size_t nports;
	// What it is to publish, also while it has no way out (else the same as ports). Ports
	// left open are not in it: the cell must know them from its start.
	struct be_port *wanted;
	size_t nwanted;
	bool whole; // all its channels are there, and it is not about to end; nets.plug
};

// Of the backend; `lock` guards all of it and is taken alone, or within `plug`.
struct d0_nets {
	pthread_mutex_t lock;
	pthread_mutex_t plug;    // who gives a running transport cell other channels
	pthread_mutex_t closing; // ports: the nic says how many it closed, not which
	char *dir;
	uint32_t nic; // the nic cell
	struct net_host host;
	struct in_addr near; // on the wire, reaches local ports too; 0.0.0.0: nobody
	struct net_seg *segs;
	struct box_net *all;
	pthread_t watcher; // of the host's address
	bool watching, stop;
	pthread_cond_t wake;
};

// ---- net.c ----
// NEAR: see d0_nets; "" if there is none.
void nets_open(struct d0_backend *b, const char *dir, const char *near);
void nets_close(struct d0_backend *b);
int d0_net_create(struct backend *b, const struct be_network *n, struct err *e);
int d0_net_remove(struct backend *b, const char *id, struct err *e);
int d0_net_names(struct backend *b, struct err *e);
bool d0_net_asker(struct backend *b, struct in_addr from, char id[ID_LEN + 1]);
struct in_addr d0_net_resolver(struct backend *b);
// A copy of the network's segment; 404.
int net_seg(struct d0_backend *b, const char *id, struct net_seg *out, struct err *e);
// Finds the host's addresses as d0d's own cell has them. 1: others than before, so
// net_readdress() is due.
int net_host(struct d0_backend *b, struct err *e);

// ---- ports.c ----
// Takes a slot and the published ports (those left open are chosen); all or none.
int net_reserve(struct box_net *n, struct be_port *ports, size_t nports, struct err *e);
// Takes those of its wanted ports that it has not; all or none.
int net_publish(struct box_net *n, struct err *e);
// The same for what an earlier d0d gave it.
void net_adopted(struct box_net *n, unsigned slot);
void net_published(struct box_net *n, const struct be_port *ports, size_t nports);
void net_release(struct box_net *n); // net.c
// Its published ports are free again, the rest stays.
void net_unpublish(struct box_net *n);
// The network of container ID, with a client's number taken in it; 409.
struct box_net *net_join(struct d0_backend *b, const char *id, unsigned *client, struct err *e);
// Gives a client's number back. True: it was the last.
bool net_leave(struct box_net *n, unsigned client);
void net_block(unsigned slot, uint16_t *lo, uint16_t *hi); // its part of the host's ports
struct in_addr net_service(unsigned slot);                 // its address towards d0d

// ---- netargs.c ----
struct d0_ctl_channel_create;
// The arguments of its cell, of a channel to the nic cell for a network, of the way out; 400 if
// they don't fit.
int netargs_cell(const struct box_net *n, const struct be_spec *s, char *out, size_t size,
		 struct err *e);
int netargs_network(const struct box_net *n, const struct be_endpoint *ep,
		    struct d0_ctl_channel_create *r, struct err *e);
int netargs_up(const struct box_net *n, struct d0_ctl_channel_create *r, struct err *e);

// ---- netcell.c ----
// Makes and starts the transport cell for a container whose cell CELL exists and has not been
// started, or joins another container's. *OUT NULL: it has no network. *CLIENT is for
// net_close(). Host ports left open in S are filled in.
int net_open(struct d0_backend *b, struct be_spec *s, uint32_t cell, struct box_net **out,
	     unsigned *client, struct err *e);
// Finds the one that an earlier d0d gave CELL. *OUT NULL: there is none.
void net_adopt(struct d0_backend *b, const struct be_spec *s, uint32_t cell,
	       struct box_net **out, unsigned *client);
int net_ready(struct box_net *n, struct err *e); // waits until it is on all its networks
// For a client whose cell is stopped; the last one ends it. NULL is fine.
void net_close(struct box_net *n, unsigned client);
int net_plug(struct box_net *n, const struct be_endpoint *ep, struct err *e);
int net_unplug(struct box_net *n, const struct be_endpoint *ep, struct err *e);
// The host has another address: everybody who gets out by it does so by the new one.
void net_readdress(struct d0_backend *b);
void net_stats(const struct box_net *n, struct be_stats *out); // NULL is fine
struct d0_counters;
uint64_t net_counter(const struct d0_counters *c, const char *name); // 0 if there is none
// Ends transport cells that no container has.
void net_sweep(struct d0_backend *b);

#endif
