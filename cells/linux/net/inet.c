/* SPDX-License-Identifier: ISC */
/*
 * Internet sockets: the container's TCP/IP stack lives in its transport cell, reached over
 * PV sockets (d0/pvsock.h) with the client library of cells/transport.
 *
 * Data moves between the rings and the program without the transport's help; commands
 * are answered by it, one at a time under one lock. The event handler wakes whoever waits on
 * the socket that an event names; everybody looks at the ring's state for himself.
 */
#include "cells/linux/inc/channel.h"
#include "cells/linux/inc/gen.h"
#include "cells/linux/inc/sys.h"
#include "cells/linux/net/inet.h"
#include "cells/linux/net/netdev.h"
#include <asm/ioctls.h>
#include <asm/socket.h>
#include <asm/sockios.h>
#include <linux/capability.h>
#include <linux/tcp.h>

struct pvs_client *pvs;
static u32 pvs_channel;
static bool cmd_locked, pvs_failed;
static struct waitq cmd_wait, rsp_wait;
struct isock **by_slot;
static const struct sock_ops inet_ops;

/* ---- The connection to the transport cell ---- */
static void pvs_notify_cb(void *ctx)
{
	if (inet_yield)
		channel_notify_yield(pvs_channel);
	else
		channel_notify(pvs_channel);
}

static void pvs_wait_cb(void *ctx)
{
	wait_on(&rsp_wait, clock_now() + 200000000, false);
}

static void pvs_event(void *arg)
{
	int n;

	do {
		while ((n = pvs_next_event(pvs)) >= 0)
			if (by_slot[n]) {
				inet_unread_add(by_slot[n]);
				if (urgent_news(by_slot[n]))
					file_sigurg(by_slot[n]->s.file);
				wake_all(&by_slot[n]->s.wait);
			}
		wake_all(&rsp_wait);
	} while (!pvs_idle_begin(pvs)); /* what came meanwhile was not announced */
}

static int pvs_start(void)
{
	s32 ch = channel_find(D0_PROTO_SOCKET, NULL);
	u32 nslots, deadline_steps = 0;
	u64 size;
	void *ring, *mem;

	if (pvs)
		return pvs_failed ? -ENETDOWN : 0;
	if (ch < 0)
		return -EAFNOSUPPORT;
	ring = channel_ring((u32)ch, &size);
	if (!ring || size > 0xffffffffu)
		return -ENETDOWN;
	nslots = size >= 8u << 20 ? 1024 : size >= 2u << 20 ? 512 : 128;
	rings_init(size);
	pvs = kalloc(sizeof(*pvs));
	mem = kalloc(pvs_memory((u32)size, nslots));
	by_slot = kalloc(nslots * sizeof(*by_slot));
	if (!pvs || !mem || !by_slot)
		return -ENOMEM;
	pvs_channel = (u32)ch;
	if (pvs_init(pvs, ring, (u32)size, nslots, (u32)random_u64() | 1, mem, pvs_notify_cb,
		     pvs_wait_cb, NULL)) {
		pvs_failed = true;
		return -ENETDOWN;
	}
	event_channel_handler((u32)ch, pvs_event, NULL);
	channel_notify((u32)ch);
	while (!pvs_ready(pvs) && deadline_steps++ < 100) {
		pvs_idle_begin(pvs);
		wait_on(&rsp_wait, clock_now() + 100000000, false);
		channel_notify((u32)ch);
	}
	pvs_failed = !pvs_ready(pvs);
	if (pvs_failed)
		printk("the transport cell does not answer");
	return pvs_failed ? -ENETDOWN : 0;
}

void pvs_cmd_lock(void)
{
	while (cmd_locked)
		wait_on(&cmd_wait, NEVER, false);
	cmd_locked = true;
	__atomic_store_n(&pvs->hdr->client_idle, 1, __ATOMIC_SEQ_CST);
}

void pvs_cmd_unlock(void)
{
	cmd_locked = false;
	__atomic_store_n(&pvs->hdr->client_idle, 1, __ATOMIC_SEQ_CST);
	wake_one(&cmd_wait);
}

/* ---- Addresses ---- */
int inet_addr_parse(const struct sock *s, const u8 *a, u32 len, struct pvs_addr *out)
{
	u16 family;

	memset(out, 0, sizeof(*out));
	if (len < 2)
		return -EINVAL;
	memcpy(&family, a, 2);
	out->family = family;
	if (family == AF_UNSPEC_K)
		return 0;
	if (family == AF_PACKET_K && s->family == AF_PACKET_K) {
		if (len < 20)
			return -EINVAL;
		memcpy(&out->port, a + 2, 2);
		memcpy(&out->ifindex, a + 4, 4);
		memcpy(out->addr, a + 12, 8);
		return 0;
	}
	if (family == AF_INET_K) {
		if (len < 16)
			return -EINVAL;
		memcpy(&out->port, a + 2, 2);
		memcpy(out->addr, a + 4, 4);
		/* A datagram socket for both takes the old form; it means a mapped address. */
		if (s->family == AF_INET6_K && s->type == SOCK_DGRAM_K &&
		    s->protocol == IPPROTO_UDP_K) {
			memcpy(out->addr + 12, a + 4, 4);
			memset(out->addr, 0, 10);
			memset(out->addr + 10, 0xff, 2);
			out->family = AF_INET6_K;
			return 0;
		}
	} else if (family == AF_INET6_K) {
		if (len < 24)
			return -EINVAL;
		memcpy(&out->port, a + 2, 2);
		memcpy(out->addr, a + 8, 16);
		if (len >= 28)
			memcpy(&out->ifindex, a + 24, 4);
	}
	return family == s->family ? 0 : -EAFNOSUPPORT;
}

u32 inet_addr_format(const struct pvs_addr *p, u8 *a)
{
	u16 family = p->family;

	memset(a, 0, 28);
	memcpy(a, &family, 2);
	memcpy(a + 2, &p->port, 2);
	if (family == AF_PACKET_K) {
		memcpy(a + 4, &p->ifindex, 4);
		a[8] = p->addr[10];
		a[10] = p->addr[9];
		a[11] = p->addr[8];
		memcpy(a + 12, p->addr, 8);
		return 20;
	}
	if (family == AF_INET_K) {
		memcpy(a + 4, p->addr, 4);
		return 16;
	}
	memcpy(a + 8, p->addr, 16);
	memcpy(a + 24, &p->ifindex, 4);
	return 28;
}

/* ---- Making ---- */
static void adopt(struct isock *i, int id)
{
	i->id = id;
	by_slot[id] = i;
	pvs->sock[id].user = i;
	inet_want_out(i, true);
}

struct make_args {
	u32 family, type, protocol;
	struct isock *i;
	struct pvs_addr *peer;
};

static int make_dgram(u32 order, void *arg)
{
	struct make_args *m = arg;

	return CMD(
	    pvs_socket(pvs, (int)m->family, (int)m->type, (int)m->protocol, order, order));
}

static int inet_create_family(u32 family, u32 type, u32 protocol, struct sock **out)
{
	struct make_args m = {.family = family, .type = type, .protocol = protocol};
	struct isock *i;
	int id, r;

	if (type != SOCK_STREAM_K && type != SOCK_DGRAM_K && type != SOCK_RAW_K)
		return -ESOCKTNOSUPPORT;
	if (type == SOCK_STREAM_K && protocol && protocol != IPPROTO_TCP_K)
		return -EPROTONOSUPPORT;
	if (type == SOCK_DGRAM_K && family != AF_PACKET_K && protocol &&
	    protocol != IPPROTO_UDP_K && protocol != IPPROTO_ICMP_K &&
	    protocol != IPPROTO_ICMP6_K)
		return -EPROTONOSUPPORT;
	if ((type == SOCK_RAW_K || family == AF_PACKET_K) && !capable(CAP_NET_RAW))
		return -EPERM;
	r = pvs_start();
	if (r)
		return r;
	i = (struct isock *)sock_alloc(sizeof(*i), family, type,
				       protocol                ? protocol
				       : type == SOCK_STREAM_K ? IPPROTO_TCP_K
				       : type == SOCK_DGRAM_K  ? IPPROTO_UDP_K
							       : 0,
				       &inet_ops);
	if (!i)
		return -ENOMEM;
	i->id = -1;
	i->hdrincl = type == SOCK_RAW_K && protocol == 255;
	if (type == SOCK_STREAM_K)
		id = CMD(pvs_socket(pvs, (int)family, (int)type, (int)protocol, 0, 0));
	else
		id = rings_for(make_dgram, &m, true);
	if (id < 0) {
		kfree(i);
		return id;
	}
	adopt(i, id);
	*out = &i->s;
	return 0;
}

static int inet_create(u32 type, u32 protocol, struct sock **out)
{
	return inet_create_family(AF_INET_K, type, protocol, out);
}
static int inet6_create(u32 type, u32 protocol, struct sock **out)
{
	return inet_create_family(AF_INET6_K, type, protocol, out);
}
static int packet_create(u32 type, u32 protocol, struct sock **out)
{
	return inet_create_family(AF_PACKET_K, type, protocol, out);
}
const struct family family_inet = {AF_INET_K, inet_create, NULL};
const struct family family_inet6 = {AF_INET6_K, inet6_create, NULL};
const struct family family_packet = {AF_PACKET_K, packet_create, NULL};

static void inet_release(struct sock *s)
{
	struct isock *i = is(s);

	if (i->id < 0)
		return;
	inet_unread_settle(i, true);
	by_slot[i->id] = NULL;
	timer_cancel(&i->hold); /* the release says that there is more */
	pvs_cmd_lock();
	pvs_close(pvs, i->id, s->linger_on && s->linger == 0);
	pvs_cmd_unlock();
	kfree(i->peeked);
	kfree(i->filter);
}

/* ---- Names and connections ---- */
static int inet_bind(struct sock *s, const u8 *addr, u32 len)
{
	struct pvs_addr a;
	u16 port;
	int r;

	/* Here a datagram socket for both wants its own form. */
	if (s->family == AF_INET6_K && s->type == SOCK_DGRAM_K && len >= 2 &&
	    addr[0] == AF_INET_K)
		return -EINVAL;
	r = inet_addr_parse(s, addr, len, &a);
	if (r)
		return r;
	if (a.family == AF_UNSPEC_K) { /* from before there were families: IPv4's wildcard */
		u32 ip;

		if (s->family != AF_INET_K || len < 16)
			return -EAFNOSUPPORT;
		memcpy(&ip, addr + 4, 4);
		if (ip)
			return -EAFNOSUPPORT;
		memcpy(&a.port, addr + 2, 2);
		a.family = AF_INET_K;
	}
	port = (u16)(a.port << 8 | a.port >> 8);
	if (s->family != AF_PACKET_K && port && port < 1024 && !capable(CAP_NET_BIND_SERVICE) &&
	    current->cred->euid)
		return -EACCES;
	r = CMD(pvs_bind(pvs, is(s)->id, &a));
	is(s)->bound |= r == 0;
	return r;
}

static int grow_both(u32 order, void *arg)
{
	struct isock *i = arg;

	return CMD(pvs_grow(pvs, i->id, order, order));
}

static int connect_result(struct isock *i)
{
	u32 st = state_of(i);
	int e = pvs_error(pvs, i->id);

	if (st & PVS_ST_CONNECTED) {
		i->connecting = false;
		i->connected = true;
		return 0;
	}
	if (e || (st & PVS_ST_CLOSED)) {
		i->connecting = false;
		return e ? -e : -ECONNABORTED; /* somebody has read the error */
	}
	return -EINPROGRESS;
}

static int inet_connect(struct sock *s, const u8 *addr, u32 len, bool nonblock)
{
	struct isock *i = is(s);
	struct pvs_addr a;
	int r = inet_addr_parse(s, addr, len, &a);

	if (r)
		return r;
	if (s->type != SOCK_STREAM_K) {
		r = CMD(pvs_connect(pvs, i->id, &a));
		if (!r)
			i->connected = a.family != AF_UNSPEC_K;
		return r;
	}
	if (i->listening)
		return -EISCONN;
	if (i->connecting) {
		r = connect_result(i);
		if (r == -EINPROGRESS && nonblock)
			return -EALREADY;
		if (r != -EINPROGRESS)
			return r;
	} else {
		if (i->connected)
			return -EISCONN;
		if (!pvs->sock[i->id].rings.tx_order) {
			r = rings_for(grow_both, i, false);
			if (r)
				return r == -ENOMEM ? -ENOBUFS : r;
		}
		r = CMD(pvs_connect(pvs, i->id, &a));
		if (r != -EINPROGRESS && r != 0)
			return r;
		i->connecting = true;
	}
	/* Even to the loopback: programs go on where the socket becomes writable. */
	if (nonblock)
		return -EINPROGRESS;
	while ((r = connect_result(i)) == -EINPROGRESS) {
		int w = wait_on(&s->wait, sock_deadline(s->sndtimeo), true);

		if (w)
			return w == -ETIMEDOUT ? -EINPROGRESS : w;
	}
	return r;
}

static int inet_listen(struct sock *s, int backlog)
{
	int r;

	if (s->type != SOCK_STREAM_K)
		return -EOPNOTSUPP;
	r = CMD(pvs_listen(pvs, is(s)->id, backlog <= 0 ? 1 : backlog));
	is(s)->listening |= r == 0;
	return r;
}

static int make_accept(u32 order, void *arg)
{
	struct make_args *m = arg;

	return CMD(pvs_accept(pvs, m->i->id, order, order, m->peer));
}

static int inet_accept(struct sock *s, struct sock **out, bool nonblock)
{
	struct isock *i = is(s), *n;
	struct pvs_addr peer;
	struct make_args m = {.i = i, .peer = &peer};
	int id, r;

	if (!i->listening)
		return s->type == SOCK_STREAM_K ? -EINVAL : -EOPNOTSUPP;
	for (;;) {
		id = rings_for(make_accept, &m, false);
		if (id != -EAGAIN)
			break;
		if (nonblock)
			return -EAGAIN;
		r = wait_on(&s->wait, sock_deadline(s->rcvtimeo), true);
		if (r)
			return r == -ETIMEDOUT ? -EAGAIN : r;
	}
	if (id < 0)
		return id;
	n = (struct isock *)sock_alloc(sizeof(*n), s->family, s->type, s->protocol, &inet_ops);
	if (!n) {
		pvs_cmd_lock();
		pvs_close(pvs, id, true);
		pvs_cmd_unlock();
		return -ENOMEM;
	}
	n->connected = n->fresh = true;
	n->peer = peer;
	adopt(n, id);
	*out = &n->s;
	return 0;
}

static int inet_getname(struct sock *s, u8 *addr, bool peer)
{
	struct pvs_addr a;
	int r = CMD(pvs_name(pvs, is(s)->id, peer, &a));

	/* accept(2) says who it was even if the connection is gone by now. */
	if (r == -ENOTCONN && peer && is(s)->fresh) {
		a = is(s)->peer;
		r = 0;
	}
	is(s)->fresh &= !peer;
	if (r)
		return r;
	if (!a.family)
		a.family = (u16)s->family;
	return (int)inet_addr_format(&a, addr);
}

static u32 inet_poll(struct sock *s, struct poll_table *pt)
{
	struct isock *i = is(s);
	u32 ev, st, m = 0;

	poll_wait(pt, &s->wait);
	filter_sift(i);
	ev = pvs_ready_events(pvs, i->id);
	if (!(ev & PVS_EV_OUT) && !i->wants_out) {
		inet_want_out(i, true);
		ev = pvs_ready_events(pvs, i->id);
	}
	st = state_of(i);
	if (i->peeked)
		ev |= PVS_EV_IN;
	if ((ev & PVS_EV_IN) || i->shut_rd)
		m |= POLLIN | POLLRDNORM;
	if (ev & PVS_EV_OUT)
		m |= POLLOUT | POLLWRNORM;
	if (urgent_waits(i))
		m |= POLLPRI;
	if ((ev & PVS_EV_ERR) || s->error)
		m |= POLLERR;
	if (ev & PVS_EV_RDHUP)
		m |= POLLRDHUP;
	if (ev & PVS_EV_HUP)
		m |= POLLHUP;
	/* A fresh stream socket is writable-and-hung-up in Linux. */
	if (s->type == SOCK_STREAM_K && !st && !i->connecting && !i->listening && !i->connected)
		m |= POLLOUT | POLLWRNORM | POLLHUP;
	return m;
}

static int inet_shutdown(struct sock *s, int how)
{
	struct isock *i = is(s);
	int r = CMD(pvs_shutdown(pvs, i->id, how));

	if (!r && how != 1)
		i->shut_rd = true;
	if (!r && how != 0)
		i->shut_wr = true;
	if (!r && i->listening && how != 1)
		i->listening = i->shut_rd = i->shut_wr = false;
	if (!r && i->connecting && !(state_of(i) & PVS_ST_CONNECTED))
		i->connecting = i->shut_rd = i->shut_wr = false;
	wake_all(&s->wait);
	return r;
}

/* Ours, as we hold data back ourselves; a listener's is the transport's, which has its heirs.
 */
static bool is_cork(const struct isock *i, int level, int name)
{
	return level == IPPROTO_TCP_K && name == TCP_CORK && i->s.type == SOCK_STREAM_K &&
	       !i->listening;
}

/* IP_PKTINFO and the like say what comes with a datagram; a socket of IPv6 may want both forms. */
static bool told_by(struct isock *i, int level, int name, u8 **what, u8 *form)
{
	*form = level == 0 ? MSG_IP4 : MSG_IP6;
	if ((level == 0 && name == 8) || (level == 41 && name == 49))
		*what = &i->pktinfo;
	else if ((level == 0 && name == 12) || (level == 41 && name == 51))
		*what = &i->recvttl;
	else if ((level == 0 && name == 13) || (level == 41 && name == 66))
		*what = &i->recvtos;
	else
		return false;
	return true;
}

static int inet_setopt(struct sock *s, int level, int name, const void *val, u32 len)
{
	struct isock *i = is(s);
	u8 *what, form;
	int v = 0, r;

	memcpy(&v, val, MIN(len, 4u));
	if (level == 1 && name == SO_BINDTODEVICE) {
		r = CMD(pvs_setopt(pvs, i->id, level, name, val, len));
		return r == -ENOENT ? -ENODEV : r ? r : 1;
	}
	if (level == 1) {
		if (name == SO_RCVTIMEO_OLD || name == SO_SNDTIMEO_OLD ||
		    name == SO_TIMESTAMP_OLD)
			return -ENOPROTOOPT;
		if (name == SO_ATTACH_FILTER || name == SO_DETACH_FILTER ||
		    name == SO_LOCK_FILTER)
			return filter_setopt(i, name, val, len);
		CMD(pvs_setopt(pvs, i->id, level, name, val, len));
		return -ENOPROTOOPT; /* also kept by the common part */
	}
	if (told_by(i, level, name, &what, &form))
		*what = (u8)(v ? *what | form : *what & ~form);
	if (level == 0 && name == 3)
		i->hdrincl = v != 0;
	if (level == IPPROTO_TCP_K && name == TCP_NODELAY && v && (i->untold || i->told_more))
		inet_tell(i, false); /* pushes what is held, as in Linux */
	if (is_cork(i, level, name)) {
		i->cork = v != 0;
		if (!v && (i->untold || i->told_more))
			inet_tell(i, false);
		return len < 4 ? -EINVAL : 0;
	}
	return CMD(pvs_setopt(pvs, i->id, level, name, val, len));
}

/* SO_BINDTODEVICE: the name with its end, nothing where there is none. */
static int device_get(struct isock *i, void *val, u32 *len)
{
	char name[16] = {0};
	int r = CMD(pvs_getopt(pvs, i->id, 1, SO_BINDTODEVICE, name, sizeof(name)));

	if (r > 0 && *len < sizeof(name))
		return -EINVAL;
	if (r < 0)
		return r;
	*len = r ? (u32)strnlen(name, sizeof(name) - 1) + 1 : 0;
	memcpy(val, name, *len);
	return 0;
}

static int inet_getopt(struct sock *s, int level, int name, void *val, u32 *len)
{
	struct isock *i = is(s);
	u8 *what, form;
	int r, v;

	if (level == 1 && name == SO_BINDTODEVICE)
		return device_get(i, val, len);
	if (level == 1) {
		if (name == SO_ERROR) {
			v = inet_take_error(i); /* connect(2) says so once more */
		} else if (name == SO_ACCEPTCONN) {
			v = i->listening;
		} else {
			return -ENOPROTOOPT;
		}
		*len = MIN(*len, 4u);
		memcpy(val, &v, *len);
		return 0;
	}
	if (level == 41 && s->family == AF_INET_K)
		return -EOPNOTSUPP;
	if (told_by(i, level, name, &what, &form)) {
		v = (*what & form) != 0;
		*len = MIN(*len, 4u);
		memcpy(val, &v, *len);
		return 0;
	}
	if (is_cork(i, level, name)) {
		v = i->cork;
		*len = MIN(*len, 4u);
		memcpy(val, &v, *len);
		return 0;
	}
	if (level != 0 && level != 41 && level != 58 && level != (int)s->protocol &&
	    level != (s->type == SOCK_STREAM_K  ? 6
		      : s->type == SOCK_DGRAM_K ? 17
						: 255))
		return -EOPNOTSUPP;
	r = CMD(pvs_getopt(pvs, i->id, level, name, val, *len));
	if (r < 0)
		return r;
	*len = MIN(*len, (u32)r);
	return 0;
}

static s64 stamp_out(const struct isock *i, bool micro, u64 arg)
{
	u64 t[2] = {i->stamp / NS_PER_SEC, i->stamp % NS_PER_SEC / (micro ? 1000 : 1)};

	return !i->stamp ? -ENOENT : copy_out(arg, t, sizeof(t)) ? -EFAULT : 0;
}

static s64 inet_ioctl(struct sock *s, u32 cmd, u64 arg)
{
	struct isock *i = is(s);
	const struct pvs_slot *slot = &pvs->slot[i->id];
	int n;

	switch (cmd) {
	case FIONREAD:
		if (s->type != SOCK_STREAM_K) {
			struct pvs_dgram *d;
			const void *p;

			d = (struct pvs_dgram *)i->peeked;
			n = d                               ? (int)d->len
			    : pvs_recv_data(pvs, i->id, &p) ? (int)*(const u32 *)p
							    : 0;
		} else {
			n = (int)(slot->rx_prod - pvs->sock[i->id].rx_cons);
		}
		return put_user(n, arg);
	case SIOCATMARK:
		n = urgent_stops(i);
		return put_user(n, arg);
	case SIOCGSTAMP_OLD:
	case SIOCGSTAMPNS_OLD:
		if (s->type == SOCK_STREAM_K)
			break;
		return stamp_out(i, cmd == SIOCGSTAMP_OLD, arg);
	case TIOCOUTQ:
		n = (int)(pvs->sock[i->id].tx_prod - slot->tx_cons);
		return put_user(n, arg);
	}
	return netdev_ioctl(cmd, arg);
}

static const struct sock_ops inet_ops = {.bind = inet_bind,
					 .connect = inet_connect,
					 .listen = inet_listen,
					 .accept = inet_accept,
					 .getname = inet_getname,
					 .send = inet_send,
					 .recv = inet_recv,
					 .poll = inet_poll,
					 .shutdown = inet_shutdown,
					 .setopt = inet_setopt,
					 .getopt = inet_getopt,
					 .ioctl = inet_ioctl,
					 .push = inet_push,
					 .release = inet_release};

/* ---- For netlink, ioctls and /proc/net ---- */
const struct inode *inet_inode(u32 slot)
{
	return pvs && slot < pvs->nslots && by_slot[slot] ? by_slot[slot]->s.inode : NULL;
}

/* Records of a kind from number `start` on: how many, or -errno. */
int inet_list(u32 what, u32 start, void *buf, u32 len);
int inet_list(u32 what, u32 start, void *buf, u32 len)
{
	int r = pvs_start();

	return r ? r : CMD(pvs_list(pvs, what, start, buf, len));
}

int inet_control(u32 what, u32 op, const void *rec, u32 len);
int inet_control(u32 what, u32 op, const void *rec, u32 len)
{
	int r = pvs_start();

	return r ? r : CMD(pvs_control(pvs, what, op, rec, len));
}
