/* SPDX-License-Identifier: ISC */
/*
 * Who has which address.
 *
 * Ports' own addresses are fixed, so they are found through a hash of the ports that is
 * built anew whenever one comes or goes. Addresses of stations behind a port (a bridge
 * inside a guest) are learned, but only from ports that may use any address: nobody else
 * can move an address, and what the wire says never needs learning, since an address
 * nobody here has is on the wire by definition. The learned table is set-associative with
 * a keyed hash: a flood of addresses evicts the oldest of a few entries and costs a
 * constant.
 */
#include "cells/nic/switch/switch.h"

static uint32_t hash_mac(const struct nic *nic, unsigned uplink, uint16_t vlan,
			 const uint8_t *mac)
{
	uint64_t v = (uint64_t)get_be32(mac) << 16 | get_be16(mac + 4);

	v ^= (uint64_t)nic->hash_key << 13 ^ (uint64_t)vlan << 48 ^ (uint64_t)uplink << 60;
	v *= 0x9e3779b97f4a7c15ull;
	return (uint32_t)(v >> 32);
}

static void rebuild(struct nic *nic)
{
	const unsigned mask = NIC_HASH_SIZE - 1;

	memset(nic->mac_hash, 0, sizeof(nic->mac_hash));
	for (unsigned i = 0; i < nic->port_limit; i++) {
		const struct nic_port *port = nic->port[i];

		if (!port || policy_shares_mac(&port->policy))
			continue;
		uint32_t h =
		    hash_mac(nic, port->policy.uplink, port->policy.vlan, port->mac) & mask;

		while (nic->mac_hash[h])
			h = (h + 1) & mask;
		nic->mac_hash[h] = (uint16_t)(i + 1);
	}
	nic->hash_stale = false;
}

static struct fdb_entry *learned(struct nic *nic, unsigned uplink, uint16_t vlan,
				 const uint8_t *mac)
{
	uint32_t h = hash_mac(nic, uplink, vlan, mac);

	for (unsigned i = 0; i < NIC_FDB_WAYS; i++) {
		struct fdb_entry *e = &nic->fdb[(h + i) & (NIC_FDB_SIZE - 1)];

		if (e->used && e->uplink == uplink && e->vlan == vlan && mac_equal(e->mac, mac))
			return e;
	}
	return NULL;
}

struct nic_port *fdb_find(struct nic *nic, unsigned uplink, uint16_t vlan, const uint8_t *mac)
{
	const unsigned mask = NIC_HASH_SIZE - 1;

	if (nic->hash_stale)
		rebuild(nic);
	for (uint32_t h = hash_mac(nic, uplink, vlan, mac) & mask; nic->mac_hash[h];
	     h = (h + 1) & mask) {
		struct nic_port *port = nic->port[nic->mac_hash[h] - 1];

		if (port->policy.uplink == uplink && port->policy.vlan == vlan &&
		    mac_equal(port->mac, mac))
			return port;
	}
	struct fdb_entry *e = learned(nic, uplink, vlan, mac);
	return e ? nic->port[e->port] : NULL;
}

void fdb_learn(struct nic *nic, struct nic_port *port, const uint8_t *mac)
{
	unsigned uplink = port->policy.uplink;
	uint16_t vlan = port->policy.vlan;
	struct fdb_entry *e = learned(nic, uplink, vlan, mac), *oldest = NULL;

	if (mac_equal(mac, port->mac) || mac_is_multicast(mac))
		return;
	if (e) {
		e->seen_ns = nic->now_ns;
		e->port = (uint16_t)port->number;
		return;
	}
	/* Another port's own address, or a card's, cannot be taken. */
	if (fdb_find(nic, uplink, vlan, mac) ||
	    (uplink < nic->uplinks && mac_equal(mac, nic->uplink[uplink]->mac)))
		return;
	uint32_t h = hash_mac(nic, uplink, vlan, mac);

	for (unsigned i = 0; i < NIC_FDB_WAYS; i++) {
		e = &nic->fdb[(h + i) & (NIC_FDB_SIZE - 1)];
		if (!e->used) {
			oldest = e;
			break;
		}
		if (!oldest || e->seen_ns < oldest->seen_ns)
			oldest = e;
	}
	memcpy(oldest->mac, mac, 6);
	oldest->vlan = vlan;
	oldest->uplink = (uint8_t)uplink;
	oldest->port = (uint16_t)port->number;
	oldest->seen_ns = nic->now_ns;
	oldest->used = 1;
}

void fdb_moved(struct nic *nic, unsigned uplink, uint16_t vlan, const uint8_t *mac)
{
	struct fdb_entry *e = learned(nic, uplink, vlan, mac);

	if (e)
		e->used = 0;
}

void fdb_forget_port(struct nic *nic, const struct nic_port *port)
{
	for (unsigned i = 0; i < NIC_FDB_SIZE; i++)
		if (nic->fdb[i].used && nic->fdb[i].port == port->number)
			nic->fdb[i].used = 0;
	nic->hash_stale = true;
}

void fdb_age(struct nic *nic)
{
	for (unsigned i = 0; i < NIC_FDB_SIZE; i++)
		if (nic->fdb[i].used && nic->now_ns - nic->fdb[i].seen_ns > NIC_AGE_NS)
			nic->fdb[i].used = 0;
}
