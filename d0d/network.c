// SPDX-License-Identifier: ISC
// Networks: records, addresses, endpoints. A network is a segment of the switch; the
// backend makes it (net_create), the engine gives out its addresses.
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/dns.h"
#include "d0d/engine.h"

#define POOL_FIRST 18 // 172.18.0.0/16 ... 172.31.0.0/16 for networks without a subnet

// ---- records ----

static int save_locked(struct engine *e, struct network *n)
{
	json_t *o = json_pack(
	    "{s:s, s:s, s:s, s:I, s:I, s:i, s:b, s:b, s:b, s:I, s:O, s:O}", "id", n->id, "name",
	    n->name, "driver", n->driver, "subnet", (json_int_t)ntohl(n->subnet.s_addr),
	    "gateway", (json_int_t)ntohl(n->gateway.s_addr), "prefix", n->prefix, "internal",
	    n->internal, "attachable", n->attachable, "builtin", n->builtin, "created",
	    (json_int_t)n->created_ns, "options", n->options, "labels", n->labels);
	char *path = engine_path(e, "networks/%s.json", n->id);

	net6_save(n, o);
	int rc = json_write_atomic(path, o);

	json_decref(o);
	free(path);
	return rc;
}

static void network_free(struct network *n)
{
	json_decref(n->options);
	json_decref(n->labels);
	free(n);
}

static void load_one(struct engine *e, const json_t *o)
{
	struct network *n = xcalloc(1, sizeof(*n));

	snprintf(n->id, sizeof(n->id), "%s", js(o, "id", ""));
	snprintf(n->name, sizeof(n->name), "%s", js(o, "name", ""));
	snprintf(n->driver, sizeof(n->driver), "%s", js(o, "driver", ""));
	n->subnet.s_addr = htonl((uint32_t)ji(o, "subnet", 0));
	n->gateway.s_addr = htonl((uint32_t)ji(o, "gateway", 0));
	n->prefix = (int)ji(o, "prefix", 0);
	n->internal = jb(o, "internal", false);
	n->attachable = jb(o, "attachable", false);
	n->builtin = jb(o, "builtin", false);
	n->created_ns = ji(o, "created", 0);
	n->options = jo(o, "options") ? json_incref(jo(o, "options")) : json_object();
	n->labels = jo(o, "labels") ? json_incref(jo(o, "labels")) : json_object();
	net6_load(n, o);
	if (strlen(n->id) != ID_LEN || !*n->name || n->prefix < 0 || n->prefix > 32) {
		network_free(n);
		return;
	}
	n->next = e->networks;
	e->networks = n;
}

static int bring_up(struct engine *e, struct network *n, struct err *err)
{
	struct be_network b = {.id = n->id,
			       .driver = n->driver,
			       .parent = js(n->options, "parent", ""),
			       .subnet = n->subnet,
			       .gateway = n->gateway,
			       .prefix = n->prefix,
			       .gateway6 = n->gateway6,
			       .prefix6 = n->prefix6,
			       .internal = n->internal};

	if (strcmp(n->driver, "null") == 0 || strcmp(n->driver, "host") == 0)
		return 0;
	int rc = e->ops->net_create(e->be, &b, err);
	n->up = rc == 0;
	if (rc == 0 && !n->builtin && e->ops->net_dns) {
		struct err why;
		int fd = e->ops->net_dns(e->be, &b, &why);
		if (fd >= 0)
			dns_start(e, n->id, fd);
		else
			log_msg("%s", why.msg);
	}
	return rc;
}

static int parse_subnet(const char *s, struct in_addr *net, int *prefix)
{
	char buf[32];
	const char *slash = strchr(s, '/');
	struct in_addr ip;

	if (!slash || (size_t)(slash - s) >= sizeof(buf))
		return -1;
	memcpy(buf, s, (size_t)(slash - s));
	buf[slash - s] = 0;
	char *end;
	long n = strtol(slash + 1, &end, 10);
	if (inet_pton(AF_INET, buf, &ip) != 1 || *end || n < 8 || n > 30)
		return -1;
	*prefix = (int)n;
	net->s_addr = ip.s_addr & htonl(~0u << (32 - n));
	return 0;
}

static uint32_t mask_of(int prefix)
{
	return prefix ? htonl(~0u << (32 - prefix)) : 0;
}

static struct network *network_add(struct engine *e, const char *name, const char *driver)
{
	struct network *n = xcalloc(1, sizeof(*n));

	id_make(n->id);
	snprintf(n->name, sizeof(n->name), "%s", name);
	snprintf(n->driver, sizeof(n->driver), "%s", driver);
	n->options = json_object();
	n->labels = json_object();
	n->created_ns = now_ns();
	n->next = e->networks;
	e->networks = n;
	return n;
}

static int add_builtin(struct engine *e, const char *name, const char *driver, struct err *err)
{
	if (network_find_locked(e, name, NULL))
		return 0;
	struct network *n = network_add(e, name, driver);
	n->builtin = true;
	if (strcmp(driver, "bridge") == 0) {
		if (parse_subnet(e->cfg.bridge_subnet, &n->subnet, &n->prefix) < 0)
			return err_set(err, 400, "invalid subnet for the default network: %s",
				       e->cfg.bridge_subnet);
		n->gateway.s_addr = htonl(ntohl(n->subnet.s_addr) + 1);
	}
	return save_locked(e, n) < 0
		   ? err_set(err, 500, "cannot record network: %s", strerror(errno))
		   : 0;
}

int networks_load(struct engine *e, struct err *err)
{
	struct err why;

	engine_records(e, "networks", load_one);
	if (add_builtin(e, "none", "null", err) < 0 ||
	    add_builtin(e, "bridge", "bridge", err) < 0)
		return -1;
	for (struct network *n = e->networks; n; n = n->next)
		if (bring_up(e, n, &why) < 0)
			log_msg("network %s: %s", n->name, why.msg);
	if (e->ops->net_names) {
		int fd = e->ops->net_names(e->be, &why);
		if (fd >= 0)
			dns_start(e, "", fd);
		else
			log_msg("%s", why.msg);
	}
	return 0;
}

struct network *network_find_locked(struct engine *e, const char *name, struct err *err)
{
	struct network *found = NULL;
	size_t len = strlen(name);

	for (struct network *n = e->networks; n; n = n->next)
		if (strcmp(n->name, name) == 0 || strcmp(n->id, name) == 0)
			return n;
	for (struct network *n = e->networks; len && hex_is(name, len) && n; n = n->next)
		if (strncmp(n->id, name, len) == 0) {
			if (found) {
				err_set(err, 400, "network %.100s is ambiguous", name);
				return NULL;
			}
			found = n;
		}
	if (!found)
		err_set(err, 404, "network %.200s not found", name);
	return found;
}

// ---- creating ----

static bool overlaps(const struct network *n, struct in_addr net, int prefix)
{
	uint32_t m = mask_of(prefix < n->prefix ? prefix : n->prefix);

	return n->prefix && (n->subnet.s_addr & m) == (net.s_addr & m);
}

static int pick_subnet(struct engine *e, struct network *n, struct err *err)
{
	for (uint32_t i = POOL_FIRST; i < 32 + 240; i++) {
		// 172.18..31/16, then 10.200.x.0/24
		struct in_addr net = {htonl(i < 32 ? 172u << 24 | i << 16
						   : 10u << 24 | 200u << 16 | (i - 32) << 8)};
		int prefix = i < 32 ? 16 : 24;
		bool taken = false;
		for (struct network *o = e->networks; o && !taken; o = o->next)
			taken = overlaps(o, net, prefix);
		if (taken)
			continue;
		n->subnet = net;
		n->prefix = prefix;
		return 0;
	}
	return err_set(
	    err, 400,
	    "could not find an available, non-overlapping IPv4 address pool among the "
	    "defaults to assign to the network");
}

static int set_ipam(struct engine *e, struct network *n, const json_t *ipam, struct err *err)
{
	const json_t *pools = ja(ipam, "Config"), *cfg = NULL;

	for (size_t i = 0; i < json_array_size(pools) && !cfg; i++)
		if (!strchr(js(json_array_get(pools, i), "Subnet", ""), ':'))
			cfg = json_array_get(pools, i);
	const char *subnet = js(cfg, "Subnet", ""), *gw = js(cfg, "Gateway", "");
	const char *driver = js(ipam, "Driver", "default");

	if (*driver && strcmp(driver, "default") != 0)
		return err_set(err, 400, "IPAM driver %.80s is not supported by D0", driver);
	if (!*subnet) {
		if (pick_subnet(e, n, err) < 0)
			return -1;
	} else {
		struct in_addr net;
		int prefix;
		if (parse_subnet(subnet, &net, &prefix) < 0)
			return err_set(
			    err, 400,
			    "invalid subnet %.80s: invalid CIDR block notation (IPv4)", subnet);
		for (struct network *o = e->networks; o; o = o->next)
			if (overlaps(o, net, prefix))
				return err_set(
				    err, 403,
				    "Pool overlaps with other one on this address space");
		n->subnet = net;
		n->prefix = prefix;
	}
	n->gateway.s_addr = htonl(ntohl(n->subnet.s_addr) + 1);
	if (*gw && inet_pton(AF_INET, gw, &n->gateway) != 1)
		return err_set(err, 400, "invalid gateway address: %.80s", gw);
	return 0;
}

static int check_request(struct engine *e, const json_t *body, struct err *err)
{
	const char *name = js(body, "Name", ""), *driver = js(body, "Driver", "bridge");

	if (!*name || strlen(name) > 190 || strpbrk(name, "/ \t\n"))
		return err_set(err, 400, "invalid network name: %.100s", name);
	if (strcmp(name, "host") == 0 || strcmp(name, "bridge") == 0 ||
	    strcmp(name, "none") == 0)
		return err_set(err, 403,
			       "operation is not permitted on predefined %.20s network", name);
	for (struct network *n = e->networks; n; n = n->next)
		if (strcmp(n->name, name) == 0)
			return err_set(err, 409, "network with name %s already exists", name);
	if (strcmp(driver, "bridge") && strcmp(driver, "macvlan") && strcmp(driver, "ipvlan"))
		return err_set(
		    err, 404,
		    "could not find plugin %.80s in v1 plugin registry: plugin not found (D0 "
		    "has bridge, macvlan, ipvlan)",
		    driver);
	if (jb(body, "Ingress", false) || strcmp(js(body, "Scope", "local"), "swarm") == 0)
		return err_set(err, 400, "swarm networks are not supported by D0");
	return 0;
}

static struct network *make_network(struct engine *e, const json_t *body, struct err *err)
{
	if (check_request(e, body, err) < 0)
		return NULL;
	const char *driver = js(body, "Driver", "");
	struct network *n = network_add(e, js(body, "Name", ""), *driver ? driver : "bridge");
	if (jo(body, "Options"))
		json_object_update(n->options, jo(body, "Options"));
	if (jo(body, "Labels"))
		json_object_update(n->labels, jo(body, "Labels"));
	n->internal = jb(body, "Internal", false);
	n->attachable = jb(body, "Attachable", false);
	if (set_ipam(e, n, jo(body, "IPAM"), err) < 0 ||
	    net6_from_request(e, n, body, err) < 0 || bring_up(e, n, err) < 0) {
		e->networks = n->next; // it is the head still
		network_free(n);
		return NULL;
	}
	if (save_locked(e, n) < 0) {
		err_set(err, 507, "cannot record network: %s", strerror(errno));
		e->networks = n->next;
		dns_stop(e, n->id);
		e->ops->net_remove(e->be, n->id, NULL);
		network_free(n);
		return NULL;
	}
	return n;
}

int network_create(struct engine *e, json_t *body, char id[ID_LEN + 1], json_t *warnings,
		   struct err *err)
{
	char name[200], driver[20];

	engine_lock(e);
	struct network *n = make_network(e, body, err);
	if (n) {
		strcpy(id, n->id);
		strcpy(name, n->name);
		strcpy(driver, n->driver);
	}
	engine_unlock(e);
	if (!n)
		return -1;
	event_emit(e, "network", "create", id,
		   json_pack("{s:s, s:s}", "name", name, "type", driver));
	return 0;
}

bool network_in_use_locked(struct engine *e, const struct network *n)
{
	for (struct container *c = e->containers; c; c = c->next)
		for (int i = 0; i < c->nep && container_running(c); i++)
			if (strcmp(c->ep[i].network, n->id) == 0)
				return true;
	return false;
}

static int remove_locked(struct engine *e, const char *name, char *id, char *found,
			 struct err *err)
{
	struct network *n = network_find_locked(e, name, err);

	if (!n)
		return -1;
	if (n->builtin)
		return err_set(err, 403, "%s is a pre-defined network and cannot be removed",
			       n->name);
	for (struct container *c = e->containers; c; c = c->next)
		for (int i = 0; i < c->nep && container_running(c); i++)
			if (strcmp(c->ep[i].network, n->id) == 0)
				return err_set(err, 403,
					       "error while removing network: network %s has "
					       "active endpoints "
					       "(name:\"%s\" id:\"%.12s\")",
					       n->name, c->name, c->ep[i].id);
	if (n->up && e->ops->net_remove(e->be, n->id, err) < 0)
		return -1;
	char *path = engine_path(e, "networks/%s.json", n->id);
	unlink(path);
	free(path);
	strcpy(id, n->id);
	strcpy(found, n->name);
	char gone[ID_LEN + 1];
	strcpy(gone, n->id);
	for (struct network **at = &e->networks; *at; at = &(*at)->next)
		if (*at == n) {
			*at = n->next;
			break;
		}
	network_free(n);
	dns_stop(e, gone); // lets the lock go for a moment: the list is in order before
	return 0;
}

int network_remove(struct engine *e, const char *name, struct err *err)
{
	char id[ID_LEN + 1], found[200];

	engine_lock(e);
	int rc = remove_locked(e, name, id, found, err);
	engine_unlock(e);
	if (rc == 0)
		event_emit(e, "network", "destroy", id,
			   json_pack("{s:s, s:s}", "name", found, "type", "bridge"));
	return rc;
}

// ---- endpoints ----

static bool ip_taken(struct engine *e, const struct endpoint *self, struct in_addr ip)
{
	for (struct container *c = e->containers; c; c = c->next)
		for (int i = 0; i < c->nep; i++)
			if (&c->ep[i] != self && c->ep[i].ip.s_addr == ip.s_addr &&
			    strcmp(c->ep[i].network, self->network) == 0 &&
			    (container_running(c) || c->starting || c->ep[i].wanted.s_addr))
				return true;
	return false;
}

int endpoint_assign_locked(struct engine *e, struct endpoint *ep, struct err *err)
{
	struct network *n = network_find_locked(e, ep->network, NULL);

	if (!n)
		return err_set(err, 404, "network %s not found", ep->network);
	if (ep6_assign_locked(e, n, ep, err) < 0)
		return -1;
	if (ep->wanted.s_addr) {
		if (ip_taken(e, ep, ep->wanted))
			return err_set(err, 403, "Address already in use");
		ep->ip = ep->wanted;
		return 0;
	}
	if (ep->ip.s_addr && (ep->ip.s_addr & mask_of(n->prefix)) == n->subnet.s_addr &&
	    !ip_taken(e, ep, ep->ip))
		return 0; // the one it had
	uint32_t base = ntohl(n->subnet.s_addr);
	uint32_t count = n->prefix ? 1u << (32 - n->prefix) : 0;
	for (uint32_t i = 2; i + 1 < count; i++) {
		struct in_addr ip = {htonl(base + i)};
		if (ip.s_addr == n->gateway.s_addr || ip_taken(e, ep, ip))
			continue;
		ep->ip = ip;
		return 0;
	}
	return err_set(err, 403,
		       "no available IPv4 addresses on this network's address pools: %s (%s)",
		       n->name, n->id);
}

static void default_mac(struct endpoint *ep)
{
	random_fill(ep->mac, 6);
	ep->mac[0] = 0x02; // locally administered, unicast
	ep->mac[1] = 0x42;
}

static void free_ifname(const struct container *c, char out[16])
{
	for (int i = 0;; i++) {
		bool used = false;
		snprintf(out, 16, "eth%d", i);
		for (int k = 0; k < c->nep; k++)
			used |= strcmp(c->ep[k].ifname, out) == 0;
		if (!used)
			return;
	}
}

static int parse_mac(const char *s, uint8_t mac[6])
{
	unsigned v[6];

	if (sscanf(s, "%2x:%2x:%2x:%2x:%2x:%2x", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5]) != 6)
		return -1;
	for (int i = 0; i < 6; i++)
		mac[i] = (uint8_t)v[i];
	return 0;
}

int network_attach_locked(struct engine *e, struct network *n, struct container *c,
			  const json_t *cfg, struct err *err)
{
	const char *ip = js(jo(cfg, "IPAMConfig"), "IPv4Address", ""),
		   *mac = js(cfg, "MacAddress", "");
	struct endpoint ep = {0};

	if (strcmp(n->driver, "null") == 0)
		return c->nep ? err_set(err, 403,
					"container cannot be connected to multiple networks "
					"with one of "
					"the networks in private (none) mode")
			      : 0;
	if (c->nep == MAX_ENDPOINTS)
		return err_set(err, 403, "a container can be in %d networks", MAX_ENDPOINTS);
	for (int i = 0; i < c->nep; i++)
		if (strcmp(c->ep[i].network, n->id) == 0)
			return err_set(err, 403,
				       "endpoint with name %s already exists in network %s",
				       c->name, n->name);
	strcpy(ep.network, n->id);
	id_make(ep.id);
	default_mac(&ep);
	if (!*mac && c->nep == 0)
		mac = js(c->config, "MacAddress", "");
	if (*mac && parse_mac(mac, ep.mac) < 0)
		return err_set(err, 400, "invalid MAC address: %.80s", mac);
	if (*ip) {
		if (inet_pton(AF_INET, ip, &ep.wanted) != 1)
			return err_set(err, 400, "invalid IPv4 address: %.80s", ip);
		if ((ep.wanted.s_addr & mask_of(n->prefix)) != n->subnet.s_addr || n->builtin)
			return err_set(
			    err, 400,
			    "invalid config for network %s: invalid endpoint settings: %s",
			    n->name,
			    n->builtin ? "user specified IP address is supported on user "
					 "defined networks only"
				       : "no configured subnet contains the IP address");
	}
	if (ep6_want(n, &ep, cfg, err) < 0)
		return -1;
	ep.aliases = json_array();
	if (ja(cfg, "Aliases"))
		json_array_extend(ep.aliases, ja(cfg, "Aliases"));
	free_ifname(c, ep.ifname);
	c->ep[c->nep++] = ep;
	return 0;
}

void endpoint_to_backend(struct engine *e, const struct endpoint *ep, bool first,
			 struct be_endpoint *out)
{
	struct network *n = network_find_locked(e, ep->network, NULL);

	*out = (struct be_endpoint){.network = ep->network, .ip = ep->ip};
	memcpy(out->ifname, ep->ifname, sizeof(out->ifname));
	memcpy(out->mac, ep->mac, 6);
	if (n) {
		out->prefix = n->prefix;
		out->ip6 = ep->ip6;
		out->prefix6 = n->prefix6;
		if (first && !n->internal) {
			out->gateway = n->gateway;
			out->gateway6 = n->gateway6;
		}
	}
}

// The new endpoint is on its way while `op` is held: nobody else changes c->ep.
static void endpoint_event(struct engine *e, const char *what, const char *id, const char *name,
			   const struct container *c)
{
	event_emit(
	    e, "network", what, id,
	    json_pack("{s:s, s:s, s:s}", "container", c->id, "name", name, "type", "bridge"));
}

int network_connect(struct engine *e, const char *name, struct container *c, const json_t *cfg,
		    struct err *err)
{
	struct be_endpoint be;
	char id[ID_LEN + 1] = "", nname[200] = "";
	int rc;

	pthread_mutex_lock(&c->op);
	engine_lock(e);
	struct network *n = network_find_locked(e, name, err);
	if (n && strncmp(js(c->host, "NetworkMode", ""), "container:", 10) == 0)
		rc = err_set(err, 400,
			     "container sharing network namespace with another container or "
			     "host cannot be connected to any other network");
	else
		rc = n ? network_attach_locked(e, n, c, cfg, err) : -1;
	bool runs = rc == 0 && c->proc && c->nep;
	if (runs && endpoint_assign_locked(e, &c->ep[c->nep - 1], err) < 0) {
		c->nep--;
		rc = -1;
	}
	if (rc == 0) {
		strcpy(id, n->id);
		strcpy(nname, n->name);
		if (c->nep)
			endpoint_to_backend(e, &c->ep[c->nep - 1], c->nep == 1, &be);
	}
	engine_unlock(e);
	if (rc == 0 && runs) {
		struct be_proc *p = proc_hold(e, c, NULL);
		rc = p ? e->ops->net_connect(p, &be, err) : 0;
		if (p)
			proc_drop(e, c);
		if (rc < 0) {
			engine_lock(e);
			c->nep--;
			engine_unlock(e);
		}
	}
	if (rc == 0) {
		engine_lock(e);
		container_save_locked(e, c);
		engine_unlock(e);
		endpoint_event(e, "connect", id, nname, c);
	}
	pthread_mutex_unlock(&c->op);
	return rc;
}

int network_disconnect(struct engine *e, const char *name, struct container *c, bool force,
		       struct err *err)
{
	struct be_endpoint be;
	char nname[200] = "", id[ID_LEN + 1] = "";
	int at = -1;

	pthread_mutex_lock(&c->op);
	engine_lock(e);
	struct network *n = network_find_locked(e, name, err);
	for (int i = 0; n && i < c->nep; i++)
		if (strcmp(c->ep[i].network, n->id) == 0)
			at = i;
	if (n && at < 0)
		err_set(err, 403, "container %s is not connected to network %s", c->id,
			n->name);
	if (at >= 0) {
		endpoint_to_backend(e, &c->ep[at], false, &be);
		strcpy(nname, n->name);
		strcpy(id, n->id);
	}
	bool runs = c->proc != NULL;
	engine_unlock(e);
	int rc = at < 0 ? -1 : 0;
	if (rc == 0 && runs) {
		struct be_proc *p = proc_hold(e, c, NULL);
		rc = p ? e->ops->net_disconnect(p, &be, err) : 0;
		if (p)
			proc_drop(e, c);
	}
	if (rc == 0) {
		engine_lock(e);
		json_decref(c->ep[at].aliases);
		memmove(&c->ep[at], &c->ep[at + 1],
			sizeof(c->ep[0]) * (size_t)(c->nep - at - 1));
		c->nep--;
		container_save_locked(e, c);
		engine_unlock(e);
		endpoint_event(e, "disconnect", id, nname, c);
	}
	pthread_mutex_unlock(&c->op);
	return rc;
}

// ---- JSON ----

static void ip_text(struct in_addr ip, int prefix, char out[40])
{
	char text[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &ip, text, sizeof(text));
	if (prefix >= 0)
		snprintf(out, 40, "%s/%d", text, prefix);
	else
		snprintf(out, 40, "%s", text);
}

static void mac_text(const uint8_t m[6], char out[18])
{
	snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

json_t *endpoint_json(struct engine *e, struct container *c, struct endpoint *ep, bool running)
{
	struct network *n = network_find_locked(e, ep->network, NULL);
	char ip[40] = "", gw[40] = "", mac[18] = "", short_id[13], want[40];
	char ip6[IP6_TEXT] = "", gw6[IP6_TEXT] = "";
	json_t *names = json_array(), *ipam = json_object();

	if (running) {
		ip6_text(&ep->ip6, 0, ip6);
		if (n && *ip6)
			ip6_text(&n->gateway6, 0, gw6);
		ip_text(ep->ip, -1, ip);
		if (n)
			ip_text(n->gateway, -1, gw);
		mac_text(ep->mac, mac);
	}
	if (ep->wanted.s_addr) {
		ip_text(ep->wanted, -1, want);
		json_object_set_new(ipam, "IPv4Address", json_string(want));
	}
	if (!ip6_any(&ep->wanted6)) {
		char text[IP6_TEXT];
		json_object_set_new(ipam, "IPv6Address",
				    json_string(ip6_text(&ep->wanted6, 0, text)));
	}
	if (!json_object_size(ipam)) {
		json_decref(ipam);
		ipam = json_null();
	}
	snprintf(short_id, sizeof(short_id), "%.12s", c->id);
	json_array_append_new(names, jstr(c->name));
	if (ep->aliases)
		json_array_extend(names, ep->aliases);
	json_array_append_new(names, json_string(short_id));
	return json_pack(
	    "{s:o, s:n, s:O, s:s, s:n, s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:i, s:o}",
	    "IPAMConfig", ipam, "Links", "Aliases", ep->aliases ? ep->aliases : json_array(),
	    "MacAddress", mac, "DriverOpts", "NetworkID", ep->network, "EndpointID",
	    running ? ep->id : "", "Gateway", gw, "IPAddress", ip, "IPPrefixLen",
	    running && n ? n->prefix : 0, "IPv6Gateway", gw6, "GlobalIPv6Address", ip6,
	    "GlobalIPv6PrefixLen", n && *ip6 ? n->prefix6 : 0, "DNSNames", names);
}

static json_t *members(struct engine *e, struct network *n)
{
	json_t *o = json_object();
	char ip[40], mac[18], ip6[IP6_TEXT];

	for (struct container *c = e->containers; c; c = c->next)
		for (int i = 0; i < c->nep && container_running(c); i++) {
			if (strcmp(c->ep[i].network, n->id) != 0)
				continue;
			ip6_text(&c->ep[i].ip6, n->prefix6, ip6);
			ip_text(c->ep[i].ip, n->prefix, ip);
			mac_text(c->ep[i].mac, mac);
			json_object_set_new(o, c->id,
					    json_pack("{s:s, s:s, s:s, s:s, s:s}", "Name",
						      c->name, "EndpointID", c->ep[i].id,
						      "MacAddress", mac, "IPv4Address", ip,
						      "IPv6Address", ip6));
		}
	return o;
}

json_t *network_json(struct engine *e, struct network *n, bool full)
{
	json_t *pools = json_array();
	char subnet[40], gw[40];

	if (n->prefix) {
		ip_text(n->subnet, n->prefix, subnet);
		ip_text(n->gateway, -1, gw);
		json_array_append_new(pools,
				      json_pack("{s:s, s:s}", "Subnet", subnet, "Gateway", gw));
	}
	if (n->prefix6) {
		char net6[IP6_TEXT], gw6[IP6_TEXT];
		json_array_append_new(pools,
				      json_pack("{s:s, s:s}", "Subnet",
						ip6_text(&n->subnet6, n->prefix6, net6),
						"Gateway", ip6_text(&n->gateway6, 0, gw6)));
	}
	return json_pack("{s:s, s:s, s:o, s:s, s:s, s:b, s:b, s:{s:s, s:n, s:o}, s:b, s:b, "
			 "s:b, s:{s:s}, s:b, "
			 "s:o, s:O, s:O}",
			 "Name", n->name, "Id", n->id, "Created", jtime(n->created_ns), "Scope",
			 "local", "Driver", n->driver, "EnableIPv4", true, "EnableIPv6",
			 n->prefix6 > 0, "IPAM", "Driver", "default", "Options", "Config",
			 pools, "Internal", n->internal, "Attachable", n->attachable, "Ingress",
			 false, "ConfigFrom", "Network", "", "ConfigOnly", false, "Containers",
			 full ? members(e, n) : json_object(), "Options", n->options, "Labels",
			 n->labels);
}
