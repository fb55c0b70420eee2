// SPDX-License-Identifier: ISC
// Container DNS.
//
// In a network of the user's, containers find each other by name, alias or short id; every
// other name goes to the upstream resolver. One thread for each network (or one for all, where
// the backend knows an asker by its address) polls two sockets: the one containers ask (the
// backend gives it: it is where the network's gateway address is) and one towards upstream.
// Forwarded queries get a random id of ours, and only an answer with that id from the
// upstream's address is passed on.
#include "d0d/dns.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define TTL         5   // seconds: containers come and go
#define PENDING     256 // forwarded and unanswered
#define PATIENCE    5000
#define PACKET      4096
#define TCP_PACKET  65536
#define TCP_CLIENTS 16 // threads
#define TYPE_A      1
#define TYPE_AAAA   28
#define CLASS_IN    1
#define RCODE_FORM  1
#define RCODE_FAIL  2

struct dns_head {
	uint16_t id, flags, qd, an, ns, ar;
};
_Static_assert(sizeof(struct dns_head) == 12, "RFC 1035, section 4.1.1");

// The question's name, lower-case, dots between labels. Returns the offset after it, or 0.
static size_t read_name(const uint8_t *q, size_t n, size_t at, char name[256])
{
	size_t len = 0;

	while (at < n && q[at]) {
		size_t l = q[at++];
		if (l > 63 || l > n - at ||
		    len + l + 1 > 254) // compression has no place in a question
			return 0;
		if (len)
			name[len++] = '.';
		for (size_t i = 0; i < l; i++)
			name[len++] = (char)tolower(q[at + i]);
		at += l;
	}
	if (at >= n)
		return 0;
	name[len] = 0;
	return strlen(name) == len ? at + 1 : 0; // no NUL inside a label
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

ssize_t dns_refuse(const uint8_t *q, size_t n, uint8_t *out, size_t cap, int code)
{
	if (n < sizeof(struct dns_head) || cap < sizeof(struct dns_head) || (q[2] & 0x80))
		return 0;
	memset(out, 0, sizeof(struct dns_head));
	memcpy(out, q, 2);
	out[2] = (uint8_t)(0x80 | (q[2] & 0x79)); // QR, the opcode and RD as asked
	out[3] = (uint8_t)(0x80 | code);          // RA
	return sizeof(struct dns_head);
}

// A record for the question's name; AT is behind the question.
static size_t put_record(uint8_t *out, size_t at, unsigned type, const void *data, uint16_t len)
{
	put16(out + 6, 1);
	put16(out + at, 0xc000 | sizeof(struct dns_head)); // the question's name
	put16(out + at + 2, type);
	put16(out + at + 4, CLASS_IN);
	put16(out + at + 6, 0);
	put16(out + at + 8, TTL);
	put16(out + at + 10, len);
	memcpy(out + at + 12, data, len);
	return at + 12 + len;
}

ssize_t dns_answer(const uint8_t *q, size_t n, uint8_t *out, size_t cap, dns_lookup *lookup,
		   void *ctx)
{
	struct dns_addrs a = {0};
	char name[256];
	size_t at;

	if (n < sizeof(struct dns_head) || (q[2] & 0x80))
		return 0; // too short, or no query
	if (((q[2] >> 3) & 15) != 0 || get16(q + 4) != 1)
		return dns_refuse(q, n, out, cap, RCODE_FORM);
	at = read_name(q, n, sizeof(struct dns_head), name);
	if (!at || n - at < 4)
		return dns_refuse(q, n, out, cap, RCODE_FORM);
	unsigned type = get16(q + at), class = get16(q + at + 2);
	at += 4;
	enum dns_found found = class == CLASS_IN ? lookup(ctx, name, &a) : DNS_UNKNOWN;
	if (found == DNS_UNKNOWN)
		return -1;
	if (at + 12 + sizeof(a.ip6) > cap)
		return 0;
	memcpy(out, q, at);
	out[2] = (uint8_t)(0x84 | (q[2] & 0x01)); // QR, AA, RD as asked
	out[3] = 0x80;                            // RA, no error
	memset(out + 6, 0, 6);
	if (found == DNS_ADDRESS && type == TYPE_A && a.ip.s_addr)
		at = put_record(out, at, type, &a.ip, sizeof(a.ip));
	if (found == DNS_ADDRESS && type == TYPE_AAAA && !ip6_any(&a.ip6))
		at = put_record(out, at, type, &a.ip6, sizeof(a.ip6));
	return (ssize_t)at; // without a record: the name exists, without such an address
}

// ---- the server ----

struct pending {
	struct sockaddr_in from;
	uint16_t id, theirs;
	int64_t until; // 0: free
};

struct dns {
	struct dns *next;
	struct engine *e;
	char network[ID_LEN + 1];
	int fd, up, stop;
	pthread_t thread;
	struct pending p[PENDING];
	int tcp;     // listens at the same address; -1: nobody does
	int clients; // of it; tcp_lock
};

static pthread_mutex_t tcp_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t tcp_gone = PTHREAD_COND_INITIALIZER;

static struct dns *servers; // engine lock

static bool names(const struct container *c, const struct endpoint *ep, const char *name)
{
	size_t n = strlen(name);

	if (strcasecmp(c->name, name) == 0 || (n == 12 && strncmp(c->id, name, 12) == 0) ||
	    strcasecmp(js(c->config, "Hostname", ""), name) == 0)
		return true;
	for (size_t i = 0; i < json_array_size(ep->aliases); i++)
		if (strcasecmp(json_string_value(json_array_get(ep->aliases, i)) ?: "", name) ==
		    0)
			return true;
	return false;
}

static enum dns_found lookup_locked(struct dns *d, const char *network, const char *name,
				    struct dns_addrs *a)
{
	for (struct container *c = d->e->containers; c; c = c->next)
		for (int i = 0; i < c->nep && container_running(c); i++)
			if (strcmp(c->ep[i].network, network) == 0 &&
			    names(c, &c->ep[i], name)) {
				*a = (struct dns_addrs){c->ep[i].ip, c->ep[i].ip6};
				return DNS_ADDRESS;
			}
	return DNS_UNKNOWN;
}

// Where one socket serves every network: the names of those that the asker is in.
static enum dns_found lookup_asker(struct dns *d, struct in_addr from, const char *name,
				   struct dns_addrs *a)
{
	enum dns_found found = DNS_UNKNOWN;
	char id[ID_LEN + 1];

	if (!d->e->ops->net_asker(d->e->be, from, id))
		return DNS_UNKNOWN;
	for (struct container *c = d->e->containers; c; c = c->next)
		for (int i = 0; strcmp(c->id, id) == 0 && i < c->nep && found == DNS_UNKNOWN;
		     i++) {
			struct network *n = network_find_locked(d->e, c->ep[i].network, NULL);
			if (n && !n->builtin)
				found = lookup_locked(d, n->id, name, a);
		}
	return found;
}

// Whose question is being looked at.
struct asking {
	struct dns *d;
	struct in_addr from;
};

static enum dns_found lookup(void *ctx, const char *name, struct dns_addrs *a)
{
	struct asking *q = ctx;
	struct dns *d = q->d;

	engine_lock(d->e);
	enum dns_found found = *d->network ? lookup_locked(d, d->network, name, a)
					   : lookup_asker(d, q->from, name, a);
	engine_unlock(d->e);
	return found;
}

// The first upstream resolver: of the options, or the host's.
static bool upstream(struct engine *e, struct sockaddr_in *to)
{
	char *text = e->cfg.dns ? xasprintf("nameserver %s", e->cfg.dns)
				: file_read("/etc/resolv.conf", 65536, NULL);
	char ip[64];
	bool ok = false;

	for (char *p = text; p && !ok; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (sscanf(p, "nameserver %63[0-9.]", ip) == 1)
			ok = inet_pton(AF_INET, ip, &to->sin_addr) == 1;
	}
	free(text);
	to->sin_family = AF_INET;
	to->sin_port = htons(53);
	return ok;
}

static int open_upstream(struct engine *e)
{
	struct sockaddr_in to = {0};
	int fd = upstream(e, &to) ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;

	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool forward(struct dns *d, uint8_t *q, size_t n, const struct sockaddr_in *from)
{
	int64_t now = mono_ms();

	if (d->up < 0)
		return false;
	for (int i = 0; i < PENDING; i++) {
		struct pending *p = &d->p[i];
		if (p->until > now)
			continue;
		uint16_t salt;
		random_fill(&salt, sizeof(salt));
		*p = (struct pending){
		    *from, get16(q), (uint16_t)((salt & 0xff00) | (unsigned)i), now + PATIENCE};
		put16(q, p->theirs);
		if (send(d->up, q, n, 0) == (ssize_t)n)
			return true;
		p->until = 0;
		return false;
	}
	return false; // too many are waiting
}

static void from_container(struct dns *d, uint8_t *buf, uint8_t *out)
{
	struct sockaddr_in from = {0};
	socklen_t len = sizeof(from);
	ssize_t n = recvfrom(d->fd, buf, PACKET, MSG_DONTWAIT, (struct sockaddr *)&from, &len),
		m;

	if (n < 0)
		return;
	struct asking who = {d, from.sin_addr};
	m = dns_answer(buf, (size_t)n, out, PACKET, lookup, &who);
	if (m < 0) {
		uint8_t head[2] = {buf[0], buf[1]};
		if (forward(d, buf, (size_t)n, &from))
			return;
		memcpy(buf, head, 2);
		m = dns_refuse(buf, (size_t)n, out, PACKET, RCODE_FAIL);
	}
	if (m > 0 && sendto(d->fd, out, (size_t)m, 0, (struct sockaddr *)&from, len) < 0)
		errno = 0; // it asks again
}

static void from_upstream(struct dns *d, uint8_t *buf)
{
	ssize_t n = recv(d->up, buf, PACKET, MSG_DONTWAIT);

	if (n < (ssize_t)sizeof(struct dns_head))
		return;
	struct pending *p = &d->p[get16(buf) & 0xff];
	if (p->until < mono_ms() || p->theirs != get16(buf))
		return;
	p->until = 0;
	put16(buf, p->id);
	if (sendto(d->fd, buf, (size_t)n, 0, (struct sockaddr *)&p->from, sizeof(p->from)) < 0)
		errno = 0;
}

// ---- by TCP: what does not fit a datagram, RFC 7766 ----
//
// A thread for each client, few at a time: it answers what it knows and passes the rest on to
// the upstream by TCP as well. A client that is slow, or an upstream, costs its own thread
// only.

struct tcp_client {
	struct dns *d;
	int fd;
	struct sockaddr_in from;
};

// All N bytes, within PATIENCE and until the server ends.
static bool tcp_read(const struct dns *d, int fd, void *buf, size_t n)
{
	int64_t until = mono_ms() + PATIENCE;

	for (size_t have = 0; have < n;) {
		struct pollfd p[2] = {{fd, POLLIN, 0}, {d->stop, POLLIN, 0}};
		int64_t left = until - mono_ms();
		if (left <= 0 || poll(p, 2, (int)left) <= 0 || p[1].revents)
			return false;
		ssize_t got = recv(fd, (uint8_t *)buf + have, n - have, MSG_DONTWAIT);
		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		have += got > 0 ? (size_t)got : 0;
	}
	return true;
}

// One message with its length in front. Its size, or -1.
static ssize_t tcp_take(const struct dns *d, int fd, uint8_t *buf)
{
	uint8_t head[2];

	if (!tcp_read(d, fd, head, 2) || !get16(head) || !tcp_read(d, fd, buf, get16(head)))
		return -1;
	return get16(head);
}

// The socket's buffer takes a message whole, or the peer reads too slowly.
static bool tcp_put(int fd, const uint8_t *msg, size_t n)
{
	uint8_t head[2];
	struct iovec v[2] = {{head, 2}, {(void *)msg, n}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};

	put16(head, (unsigned)n);
	return sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)n + 2;
}

static int tcp_upstream(struct engine *e)
{
	struct sockaddr_in to = {0};
	struct timeval t = {.tv_sec = PATIENCE / 1000};
	int fd = upstream(e, &to) ? socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t)); // connect() too
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	close(fd);
	return -1;
}

static ssize_t tcp_forward(const struct dns *d, const uint8_t *q, size_t n, uint8_t *out)
{
	int up = tcp_upstream(d->e);
	ssize_t m = up >= 0 && tcp_put(up, q, n) ? tcp_take(d, up, out) : -1;

	if (up >= 0)
		close(up);
	return m >= (ssize_t)sizeof(struct dns_head) && memcmp(q, out, 2) == 0
		   ? m
		   : dns_refuse(q, n, out, TCP_PACKET, RCODE_FAIL);
}

static void *tcp_main(void *arg)
{
	struct tcp_client *c = arg;
	struct asking who = {c->d, c->from.sin_addr};
	uint8_t *buf = xmalloc(TCP_PACKET), *out = xmalloc(TCP_PACKET);
	ssize_t n, m;

	while ((n = tcp_take(c->d, c->fd, buf)) > 0) {
		m = dns_answer(buf, (size_t)n, out, TCP_PACKET, lookup, &who);
		if (m < 0)
			m = tcp_forward(c->d, buf, (size_t)n, out);
		if (m <= 0 || !tcp_put(c->fd, out, (size_t)m))
			break;
	}
	close(c->fd);
	free(buf);
	free(out);
	pthread_mutex_lock(&tcp_lock);
	c->d->clients--;
	pthread_cond_broadcast(&tcp_gone);
	pthread_mutex_unlock(&tcp_lock);
	free(c);
	return NULL;
}

static void tcp_accept(struct dns *d)
{
	struct timeval t = {.tv_sec = PATIENCE / 1000};
	struct sockaddr_in from = {0};
	socklen_t len = sizeof(from);
	int fd = accept4(d->tcp, (struct sockaddr *)&from, &len, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
	pthread_mutex_lock(&tcp_lock);
	bool room = d->clients < TCP_CLIENTS;
	d->clients += room;
	pthread_mutex_unlock(&tcp_lock);
	if (!room) {
		close(fd);
		return;
	}
	struct tcp_client *c = xmalloc(sizeof(*c));
	*c = (struct tcp_client){d, fd, from};
	if (engine_thread(tcp_main, c) == 0)
		return;
	pthread_mutex_lock(&tcp_lock);
	d->clients--;
	pthread_mutex_unlock(&tcp_lock);
	close(fd);
	free(c);
}

// At the address and port of the UDP socket.
static int tcp_open(int udp)
{
	struct sockaddr_in at;
	socklen_t len = sizeof(at);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd >= 0 && getsockname(udp, (struct sockaddr *)&at, &len) == 0 &&
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, TCP_CLIENTS) == 0)
		return fd;
	log_msg("containers' names by TCP: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static void *serve(void *arg)
{
	struct dns *d = arg;
	uint8_t *buf = xmalloc(PACKET), *out = xmalloc(PACKET);

	for (;;) {
		struct pollfd p[4] = {{d->fd, POLLIN, 0},
				      {d->up, POLLIN, 0},
				      {d->stop, POLLIN, 0},
				      {d->tcp, POLLIN, 0}};
		if (poll(p, 4, -1) < 0 && errno != EINTR)
			break;
		if (p[2].revents)
			break;
		if (p[0].revents)
			from_container(d, buf, out);
		if (p[1].revents)
			from_upstream(d, buf);
		if (p[3].revents)
			tcp_accept(d);
	}
	free(buf);
	free(out);
	return NULL;
}

// The engine lock is held in both.
void dns_start(struct engine *e, const char *id, int fd)
{
	struct dns *d = xcalloc(1, sizeof(*d));

	*d = (struct dns){.e = e,
			  .fd = fd,
			  .up = open_upstream(e),
			  .stop = eventfd(0, EFD_CLOEXEC),
			  .tcp = tcp_open(fd)};
	strcpy(d->network, id);
	if (pthread_create(&d->thread, NULL, serve, d) != 0) {
		close(fd);
		free(d);
		return;
	}
	d->next = servers;
	servers = d;
}

void dns_stop(struct engine *e, const char *id)
{
	struct dns **at = &servers;
	uint64_t one = 1;

	while (*at && strcmp((*at)->network, id) != 0)
		at = &(*at)->next;
	struct dns *d = *at;
	if (!d)
		return;
	*at = d->next;
	if (write(d->stop, &one, sizeof(one)) < 0)
		return;
	engine_unlock(e); // it may be waiting for the lock
	pthread_join(d->thread, NULL);
	pthread_mutex_lock(&tcp_lock);
	while (d->clients) // they have seen `stop`, or will within PATIENCE
		pthread_cond_wait(&tcp_gone, &tcp_lock);
	pthread_mutex_unlock(&tcp_lock);
	engine_lock(e);
	if (d->tcp >= 0)
		close(d->tcp);
	close(d->fd);
	close(d->stop);
	if (d->up >= 0)
		close(d->up);
	free(d);
}
