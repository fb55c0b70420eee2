// SPDX-License-Identifier: ISC
// Published ports: d0d listens on the host and relays to the container's address. One
// thread for each published port, one more for each TCP connection.
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "d0d/linux/linux.h"

#define UDP_PEERS 256

struct proxy {
	struct proxy *next;
	char container[80];
	int fd, stop, proto;
	struct sockaddr_in to;
	pthread_t thread;
};

struct relay {
	int a, b;
};

static bool put_all(int fd, const char *p, ssize_t n)
{
	while (n > 0) {
		ssize_t put = send(fd, p, (size_t)n, MSG_NOSIGNAL);
		if (put <= 0)
			return false;
		p += put;
		n -= put;
	}
	return true;
}

static void *relay_thread(void *arg)
{
	struct relay r = *(struct relay *)arg;
	struct pollfd p[2] = {{r.a, POLLIN, 0}, {r.b, POLLIN, 0}};
	char *buf = xmalloc(65536);
	int open = 2;

	free(arg);
	while (open && poll(p, 2, -1) > 0) {
		for (int i = 0; i < 2; i++) {
			if (!p[i].revents)
				continue;
			ssize_t n = recv(p[i].fd < 0 ? -1 : (i ? r.b : r.a), buf, 65536, 0);
			int other = i ? r.a : r.b;
			if (n > 0 && put_all(other, buf, n))
				continue;
			shutdown(other, SHUT_WR);
			p[i].fd = -1;
			p[i].revents = 0;
			open = n < 0 ? 0 : open - 1;
		}
	}
	free(buf);
	close(r.a);
	close(r.b);
	return NULL;
}

static void relay_start(struct proxy *p, int client)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pthread_t t;

	if (fd >= 0 && connect(fd, (struct sockaddr *)&p->to, sizeof(p->to)) == 0) {
		struct relay *r = xmalloc(sizeof(*r));
		*r = (struct relay){client, fd};
		if (pthread_create(&t, NULL, relay_thread, r) == 0) {
			pthread_detach(t);
			return;
		}
		free(r);
	}
	struct linger hard = {1, 0}; // nobody listens inside: the client gets a reset
	setsockopt(client, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(client);
	if (fd >= 0)
		close(fd);
}

static void *tcp_thread(void *arg)
{
	struct proxy *p = arg;
	struct pollfd w[2] = {{p->fd, POLLIN, 0}, {p->stop, POLLIN, 0}};

	while (poll(w, 2, -1) > 0 && !w[1].revents) {
		int fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			relay_start(p, fd);
	}
	return NULL;
}

struct udp_peer {
	struct sockaddr_storage from;
	socklen_t len;
	int fd;
	int64_t used;
};

static struct udp_peer *udp_find(struct proxy *p, struct udp_peer *v,
				 const struct sockaddr_storage *from, socklen_t len)
{
	struct udp_peer *oldest = &v[0];

	for (int i = 0; i < UDP_PEERS; i++) {
		if (v[i].fd >= 0 && v[i].len == len && memcmp(&v[i].from, from, len) == 0)
			return &v[i];
		if (v[i].used < oldest->used)
			oldest = &v[i];
	}
	if (oldest->fd >= 0)
		close(oldest->fd);
	oldest->from = *from;
	oldest->len = len;
	oldest->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (oldest->fd >= 0 &&
	    connect(oldest->fd, (struct sockaddr *)&p->to, sizeof(p->to)) < 0) {
		close(oldest->fd);
		oldest->fd = -1;
	}
	return oldest;
}

static void *udp_thread(void *arg)
{
	struct proxy *p = arg;
	struct udp_peer *v = xcalloc(UDP_PEERS, sizeof(*v));
	char *buf = xmalloc(65536);

	for (int i = 0; i < UDP_PEERS; i++)
		v[i].fd = -1;
	for (;;) {
		struct pollfd w[2 + UDP_PEERS] = {{p->fd, POLLIN, 0}, {p->stop, POLLIN, 0}};
		for (int i = 0; i < UDP_PEERS; i++)
			w[2 + i] = (struct pollfd){v[i].fd, POLLIN, 0};
		if (poll(w, 2 + UDP_PEERS, -1) < 0 || w[1].revents)
			break;
		struct sockaddr_storage from = {0};
		socklen_t len = sizeof(from);
		ssize_t n = w[0].revents ? recvfrom(p->fd, buf, 65536, MSG_DONTWAIT,
						    (struct sockaddr *)&from, &len)
					 : -1;
		if (n >= 0) {
			struct udp_peer *u = udp_find(p, v, &from, len);
			u->used = mono_ms();
			if (u->fd >= 0 && send(u->fd, buf, (size_t)n, MSG_NOSIGNAL) < 0)
				continue;
		}
		for (int i = 0; i < UDP_PEERS; i++) {
			n = w[2 + i].revents ? recv(v[i].fd, buf, 65536, MSG_DONTWAIT) : -1;
			if (n >= 0 && sendto(p->fd, buf, (size_t)n, 0,
					     (struct sockaddr *)&v[i].from, v[i].len) >= 0)
				v[i].used = mono_ms();
		}
	}
	for (int i = 0; i < UDP_PEERS; i++)
		if (v[i].fd >= 0)
			close(v[i].fd);
	free(v);
	free(buf);
	return NULL;
}

static int proxy_start(struct backend *b, const char *container, int fd,
		       const struct be_port *port, struct in_addr to, struct err *e)
{
	struct proxy *p = xcalloc(1, sizeof(*p));
	bool tcp = port->proto == IPPROTO_TCP;

	*p = (struct proxy){
	    .fd = fd,
	    .stop = eventfd(0, EFD_CLOEXEC),
	    .proto = port->proto,
	    .to = {.sin_family = AF_INET, .sin_port = htons(port->port), .sin_addr = to}};
	snprintf(p->container, sizeof(p->container), "%s", container);
	if (pthread_create(&p->thread, NULL, tcp ? tcp_thread : udp_thread, p) != 0) {
		close(fd);
		close(p->stop);
		free(p);
		return err_set(e, 500, "no thread for a published port");
	}
	pthread_mutex_lock(&b->lock);
	p->next = b->proxies;
	b->proxies = p;
	pthread_mutex_unlock(&b->lock);
	return 0;
}

// A socket at the port's address of that family; the port is filled in. -1: errno says why.
static int proxy_listen(struct be_port *port, uint8_t family)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET,
				 .sin_port = htons(port->host_port),
				 .sin_addr = port->host_ip};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6,
				  .sin6_port = htons(port->host_port),
				  .sin6_addr = port->host_ip6};
	bool tcp = port->proto == IPPROTO_TCP, six = family == BE_V6;
	struct sockaddr *at = six ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4;
	socklen_t len = six ? sizeof(a6) : sizeof(a4);
	int one = 1, why,
	    fd = socket(at->sa_family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (tcp)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (six)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, at, len) < 0 || (tcp && listen(fd, 128) < 0)) {
		why = errno;
		close(fd);
		errno = why;
		return -1;
	}
	getsockname(fd, at, &len);
	port->host_port = ntohs(six ? a6.sin6_port : a4.sin_port);
	return fd;
}

// Where the host has no IPv6, a port asked for without an address is one of IPv4.
int proxy_open(struct backend *b, const char *container, struct be_port *port,
	       struct in_addr to, struct err *e)
{
	char ip[INET6_ADDRSTRLEN];

	for (unsigned f = BE_V4; f <= BE_V6; f <<= 1) {
		if (!(port->families & f))
			continue;
		int fd = proxy_listen(port, f);
		if (fd < 0 && f == BE_V6 && port->families & BE_V4 &&
		    (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
			port->families = BE_V4;
			break;
		}
		if (fd < 0) {
			int why = errno;
			inet_ntop(f == BE_V6 ? AF_INET6 : AF_INET,
				  f == BE_V6 ? (void *)&port->host_ip6 : &port->host_ip, ip,
				  sizeof(ip));
			return err_set(
			    e, 500,
			    "driver failed programming external connectivity on endpoint: "
			    "Bind for %s:%d failed: %s",
			    ip, port->host_port,
			    why == EADDRINUSE ? "port is already allocated" : strerror(why));
		}
		if (proxy_start(b, container, fd, port, to, e) < 0)
			return -1;
	}
	return 0;
}

void proxy_close_all(struct backend *b, const char *container)
{
	struct proxy *mine = NULL;

	pthread_mutex_lock(&b->lock);
	for (struct proxy **at = &b->proxies; *at;) {
		struct proxy *p = *at;
		if (strcmp(p->container, container) == 0) {
			*at = p->next;
			p->next = mine;
			mine = p;
		} else {
			at = &p->next;
		}
	}
	pthread_mutex_unlock(&b->lock);
	while (mine) {
		struct proxy *p = mine;
		uint64_t one = 1;
		mine = p->next;
		if (write(p->stop, &one, sizeof(one)) < 0)
			continue;
		pthread_join(p->thread, NULL);
		close(p->fd);
		close(p->stop);
		free(p);
	}
}
