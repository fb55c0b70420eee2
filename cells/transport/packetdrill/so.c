/* SPDX-License-Identifier: ISC */
/*
 * The stack behind packetdrill's --so_filename: a table of functions, virtual time.
 *
 * packetdrill's main thread plays the wire and the clock (usleep, gettimeofday,
 * netdev_*); system calls that block run in a thread of theirs. Time stands still except
 * in usleep, in netdev_receive when nothing was sent yet, and by a microsecond in every
 * gettimeofday, since packetdrill spins on it. A blocked call waits for real until
 * the main thread moved the clock.
 *
 * The order of the table is packetdrill's (gtests/net/packetdrill/packetdrill.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>
#include "cells/transport/client/pvs_client.h"
#include "cells/transport/core/tp.h"
#include "cells/transport/core/tp_conf.h"

#define REGION (64u << 20)
#define SLOTS  64u
#define FDS    1024
#define QUEUE  4096u

struct pd_interface {
	void *userdata;
	void (*free)(void *);
	int (*socket)(void *, int, int, int);
	int (*bind)(void *, int, const struct sockaddr *, socklen_t);
	int (*listen)(void *, int, int);
	int (*accept)(void *, int, struct sockaddr *, socklen_t *);
	int (*connect)(void *, int, const struct sockaddr *, socklen_t);
	ssize_t (*read)(void *, int, void *, size_t);
	ssize_t (*readv)(void *, int, const struct iovec *, int);
	ssize_t (*recv)(void *, int, void *, size_t, int);
	ssize_t (*recvfrom)(void *, int, void *, size_t, int, struct sockaddr *, socklen_t *);
	ssize_t (*recvmsg)(void *, int, struct msghdr *, int);
	ssize_t (*write)(void *, int, const void *, size_t);
	ssize_t (*writev)(void *, int, const struct iovec *, int);
	ssize_t (*send)(void *, int, const void *, size_t, int);
	ssize_t (*sendto)(void *, int, const void *, size_t, int, const struct sockaddr *,
			  socklen_t);
	ssize_t (*sendmsg)(void *, int, const struct msghdr *, int);
	int (*fcntl)(void *, int, int, ...);
	int (*ioctl)(void *, int, unsigned long, ...);
	int (*close)(void *, int);
	int (*shutdown)(void *, int, int);
	int (*getsockopt)(void *, int, int, int, void *, socklen_t *);
	int (*setsockopt)(void *, int, int, int, const void *, socklen_t);
	int (*poll)(void *, struct pollfd *, nfds_t, int);
	int (*netdev_send)(void *, const void *, size_t);
	int (*netdev_receive)(void *, void *, size_t *, long long *);
	int (*usleep)(void *, useconds_t);
	int (*gettimeofday)(void *, struct timeval *, struct timezone *);
	int (*epoll_create)(void *, int);
	int (*epoll_ctl)(void *, int, int, int, struct epoll_event *);
	int (*epoll_wait)(void *, int, struct epoll_event *, int, int);
	int (*pipe)(void *, int[2]);
	int (*splice)(void *, int, loff_t *, int, loff_t *, size_t, unsigned);
};

void packetdrill_interface_init(const char *flags, struct pd_interface *ifc);

struct frame {
	uint64_t at;
	uint32_t len;
	uint8_t *data;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	struct tp_stack *st;
	struct pvs_client c;
	uint64_t now; /* ns */
	struct frame q[QUEUE];
	uint32_t head, tail;
	uint8_t tx[65600];
	int fl[SLOTS];
	int slot_of[FDS]; /* 1 + slot */
} pd = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

/* ---- the stack's side ---- */

static void *op_tx_get(void *ctx, unsigned ifi, uint32_t len)
{
	return len <= sizeof(pd.tx) ? pd.tx : NULL;
}

static void op_tx_put(void *ctx, unsigned ifi, void *f, uint32_t len, const struct tp_meta *m)
{
	struct frame *q = &pd.q[pd.tail % QUEUE];

	if (len <= 14 || pd.tail - pd.head == QUEUE || pd.tx[12] != 8 || pd.tx[13] ||
	    pd.tx[23] == 2)
		return;
	q->at = pd.now;
	q->len = len - 14;
	q->data = malloc(q->len);
	memcpy(q->data, pd.tx + 14, q->len);
	pd.tail++;
}

static uint64_t op_now(void *ctx)
{
	return pd.now;
}

static void op_random(void *ctx, void *buf, uint32_t len)
{
	static uint64_t r = 88172645463325252ull;
	uint8_t *b = buf;

	while (len--) {
		r ^= r << 13;
		r ^= r >> 7;
		r ^= r << 17;
		*b++ = (uint8_t)(r >> 32);
	}
}

static void op_notify(void *ctx)
{
}

static void client_notify(void *ctx, unsigned client)
{
}

static void wait_server(void *ctx)
{
	tp_poll(pd.st);
}

static void run(void)
{
	while (!tp_poll(pd.st))
		;
	pthread_cond_broadcast(&pd.moved);
}

/* Moves the clock, stopping wherever the stack has something to do. */
static void advance(uint64_t ns)
{
	uint64_t end = pd.now + ns;

	for (;;) {
		uint64_t at = tp_poll(pd.st);

		if (!at)
			continue;
		pd.now = at > end ? end : at > pd.now ? at : pd.now + 1000;
		if (pd.now >= end)
			break;
	}
	run();
}

/* ---- system calls ---- */

static int fail(int e)
{
	errno = -e;
	return -1;
}

static int slot(int fd)
{
	int s = fd >= 0 && fd < FDS ? pd.slot_of[fd] - 1 : -1;

	return s >= 0 && pd.c.sock[s].used && !pd.c.sock[s].closing ? s : -1;
}

/* Descriptors are real ones, since packetdrill closes what a script left open. */
static int fd_new(int s)
{
	int fd = s < 0 ? -1 : open("/dev/null", O_RDWR);

	if (fd < 0 || fd >= FDS)
		return s < 0 ? s : -EMFILE;
	pd.slot_of[fd] = s + 1;
	return fd;
}

static bool blocking(int s, int flags)
{
	return !(pd.fl[s] & O_NONBLOCK) && !(flags & MSG_DONTWAIT);
}

#define ENTER                                   \
	int s;                                  \
	pthread_mutex_lock(&pd.lock);           \
	s = slot(fd);                           \
	if (s < 0) {                            \
		pthread_mutex_unlock(&pd.lock); \
		return fail(-EBADF);            \
	}
#define LEAVE(e)                                                   \
	do {                                                       \
		long leave_e = (e);                                \
		run();                                             \
		pthread_mutex_unlock(&pd.lock);                    \
		return leave_e < 0 ? fail((int)leave_e) : leave_e; \
	} while (0)

static struct pvs_addr addr_in(const struct sockaddr *a)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)a;
	struct pvs_addr p = {.family = a->sa_family, .port = in->sin_port};

	memcpy(p.addr, &in->sin_addr, 4);
	return p;
}

static void addr_out(const struct pvs_addr *p, struct sockaddr *a, socklen_t *len)
{
	struct sockaddr_in in = {.sin_family = p->family, .sin_port = p->port};

	if (!a || !len)
		return;
	memcpy(&in.sin_addr, p->addr, 4);
	memcpy(a, &in, *len < sizeof(in) ? *len : sizeof(in));
	*len = sizeof(in);
}

static int do_socket(void *u, int domain, int type, int proto)
{
	unsigned order = (type & 15) == SOCK_STREAM ? 20 : 17;
	int s;

	pthread_mutex_lock(&pd.lock);
	s = pvs_socket(&pd.c, domain, type & 15, proto, order, order);
	if (s >= 0)
		pd.fl[s] = type & SOCK_NONBLOCK;
	LEAVE(fd_new(s));
}

static int do_bind(void *u, int fd, const struct sockaddr *a, socklen_t len)
{
	struct pvs_addr p = addr_in(a);
	ENTER;
	LEAVE(pvs_bind(&pd.c, s, &p));
}

static int do_listen(void *u, int fd, int backlog)
{
	ENTER;
	LEAVE(pvs_listen(&pd.c, s, backlog));
}

static int do_accept(void *u, int fd, struct sockaddr *a, socklen_t *len)
{
	struct pvs_addr peer;
	int n;
	ENTER;

	while ((n = pvs_accept(&pd.c, s, 20, 16, &peer)) == -EAGAIN && blocking(s, 0))
		pthread_cond_wait(&pd.moved, &pd.lock);
	if (n >= 0) {
		addr_out(&peer, a, len);
		pd.fl[n] = 0;
		n = fd_new(n);
	}
	LEAVE(n);
}

static int do_connect(void *u, int fd, const struct sockaddr *a, socklen_t len)
{
	struct pvs_addr p = addr_in(a);
	int e;
	ENTER;

	e = pvs_connect(&pd.c, s, &p);
	run();
	while (e == -EINPROGRESS && blocking(s, 0)) {
		int err = pvs_error(&pd.c, s);

		if (err)
			e = -err;
		else if (pd.c.slot[s].state & PVS_ST_CONNECTED)
			e = 0;
		else
			pthread_cond_wait(&pd.moved, &pd.lock);
	}
	LEAVE(e);
}

static long recv_any(int s, void *buf, size_t n, int flags)
{
	long m;

	for (;;) {
		if (pd.c.sock[s].type == SOCK_DGRAM) {
			struct pvs_dgram d;

			m = pvs_recvfrom(&pd.c, s, &d, buf, (uint32_t)n);
		} else {
			m = pvs_recv(&pd.c, s, buf, (uint32_t)n);
		}
		if (m != -EAGAIN || !blocking(s, flags))
			return m;
		pthread_cond_wait(&pd.moved, &pd.lock);
	}
}

static ssize_t do_recv(void *u, int fd, void *buf, size_t n, int flags)
{
	ENTER;
	LEAVE(recv_any(s, buf, n, flags));
}

static ssize_t do_read(void *u, int fd, void *buf, size_t n)
{
	return do_recv(u, fd, buf, n, 0);
}

static ssize_t do_readv(void *u, int fd, const struct iovec *v, int n)
{
	return n > 0 ? do_recv(u, fd, v[0].iov_base, v[0].iov_len, 0) : fail(-EINVAL);
}

static ssize_t do_recvfrom(void *u, int fd, void *buf, size_t n, int flags, struct sockaddr *a,
			   socklen_t *len)
{
	return do_recv(u, fd, buf, n, flags);
}

static ssize_t do_recvmsg(void *u, int fd, struct msghdr *m, int flags)
{
	return do_readv(u, fd, m->msg_iov, (int)m->msg_iovlen);
}

static long send_any(int s, const void *buf, size_t n, int flags)
{
	size_t done = 0;

	pd.c.slot[s].tx_flags = flags & MSG_MORE ? PVS_TX_MORE : 0;
	if (flags & MSG_OOB)
		return pvs_send_oob(&pd.c, s, buf, (uint32_t)n);
	while (done < n) {
		long m = pvs_send(&pd.c, s, (const char *)buf + done, (uint32_t)(n - done));

		if (m > 0) {
			done += (size_t)m;
			tp_poll(pd.st);
		} else if (m == -EAGAIN && blocking(s, flags)) {
			run();
			pthread_cond_wait(&pd.moved, &pd.lock);
		} else {
			return done ? (long)done : m;
		}
	}
	return (long)done;
}

static ssize_t do_send(void *u, int fd, const void *buf, size_t n, int flags)
{
	ENTER;
	LEAVE(send_any(s, buf, n, flags));
}

static ssize_t do_write(void *u, int fd, const void *buf, size_t n)
{
	return do_send(u, fd, buf, n, 0);
}

static ssize_t do_writev(void *u, int fd, const struct iovec *v, int n)
{
	size_t all = 0;
	char *b;
	ssize_t r;

	for (int i = 0; i < n; i++)
		all += v[i].iov_len;
	b = malloc(all + 1);
	all = 0;
	for (int i = 0; i < n; i++) {
		memcpy(b + all, v[i].iov_base, v[i].iov_len);
		all += v[i].iov_len;
	}
	r = do_send(u, fd, b, all, 0);
	free(b);
	return r;
}

static ssize_t do_sendto(void *u, int fd, const void *buf, size_t n, int flags,
			 const struct sockaddr *a, socklen_t len)
{
	if (a) {
		struct pvs_dgram d = {.flags = PVS_DG_ADDR, .peer = addr_in(a)};
		ENTER;
		if (pd.c.sock[s].type == SOCK_DGRAM)
			LEAVE(pvs_sendto(&pd.c, s, &d, buf, (uint32_t)n));
		pthread_mutex_unlock(&pd.lock);
	}
	return do_send(u, fd, buf, n, flags);
}

static ssize_t do_sendmsg(void *u, int fd, const struct msghdr *m, int flags)
{
	return do_writev(u, fd, m->msg_iov, (int)m->msg_iovlen);
}

static int do_fcntl(void *u, int fd, int cmd, ...)
{
	va_list ap;
	long arg;
	ENTER;

	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	if (cmd == F_GETFL)
		LEAVE(pd.fl[s] | O_RDWR);
	if (cmd == F_SETFL)
		pd.fl[s] = (int)arg & O_NONBLOCK;
	LEAVE(0);
}

static int do_ioctl(void *u, int fd, unsigned long req, ...)
{
	const struct pvs_slot *p;
	va_list ap;
	int *out;
	ENTER;

	va_start(ap, req);
	out = va_arg(ap, int *);
	va_end(ap);
	p = &pd.c.slot[s];
	if (req == FIONREAD)
		*out = (int)(p->rx_prod - p->rx_cons);
	else if (req == TIOCOUTQ)
		*out = (int)(p->tx_prod - p->tx_cons);
	else if (req == 0x894b) /* SIOCOUTQNSD */
		*out = (int)(p->tx_prod - p->tx_sent);
	else
		LEAVE(-EINVAL);
	LEAVE(0);
}

static int do_close(void *u, int fd)
{
	ENTER;
	pd.slot_of[fd] = 0;
	close(fd);
	LEAVE(pvs_close(&pd.c, s, false));
}

static int do_shutdown(void *u, int fd, int how)
{
	ENTER;
	LEAVE(pvs_shutdown(&pd.c, s, how));
}

static int do_getsockopt(void *u, int fd, int level, int name, void *v, socklen_t *len)
{
	int e;
	ENTER;

	if (level == SOL_SOCKET && name == SO_ERROR) {
		*(int *)v = pvs_error(&pd.c, s);
		LEAVE(0);
	}
	e = pvs_getopt(&pd.c, s, level, name, v, *len < 256 ? *len : 256);
	if (e >= 0)
		*len = (socklen_t)e;
	LEAVE(e < 0 ? e : 0);
}

static int do_setsockopt(void *u, int fd, int level, int name, const void *v, socklen_t len)
{
	ENTER;
	LEAVE(pvs_setopt(&pd.c, s, level, name, v, len));
}

static int ready(struct pollfd *f, nfds_t n)
{
	int hits = 0;

	for (nfds_t i = 0; i < n; i++) {
		int s = slot(f[i].fd);

		f[i].revents = 0;
		if (s >= 0)
			f[i].revents = (short)(pvs_ready_events(&pd.c, s) &
					       (uint32_t)(f[i].events | POLLERR | POLLHUP));
		hits += f[i].revents != 0;
	}
	return hits;
}

static int do_poll(void *u, struct pollfd *f, nfds_t n, int timeout)
{
	int hits;
	uint64_t end;

	pthread_mutex_lock(&pd.lock);
	end = pd.now + (uint64_t)(timeout < 0 ? 1 << 30 : timeout) * 1000000ull;
	while (!(hits = ready(f, n)) && pd.now < end)
		pthread_cond_wait(&pd.moved, &pd.lock);
	LEAVE(hits);
}

/* ---- the wire and the clock ---- */

static int do_netdev_send(void *u, const void *buf, size_t n)
{
	static uint8_t f[65600] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0};

	if (n > sizeof(f) - 14)
		return -1;
	pthread_mutex_lock(&pd.lock);
	memcpy(f + 14, buf, n);
	tp_input(pd.st, 1, f, (uint32_t)n + 14, NULL);
	LEAVE(0);
}

static int do_netdev_receive(void *u, void *buf, size_t *n, long long *us)
{
	struct frame *q;

	pthread_mutex_lock(&pd.lock);
	for (int tries = 0; pd.head == pd.tail && tries < 4000; tries++) {
		/* A system call may be about to begin in the other thread. */
		if (tries < 3) {
			pthread_mutex_unlock(&pd.lock);
			usleep(300);
			pthread_mutex_lock(&pd.lock);
			run();
		} else {
			advance(1000000);
		}
	}
	if (pd.head == pd.tail) {
		pthread_mutex_unlock(&pd.lock);
		fprintf(stderr, "so: nothing was sent\n");
		exit(1);
	}
	q = &pd.q[pd.head++ % QUEUE];
	*n = q->len < *n ? q->len : *n;
	memcpy(buf, q->data, *n);
	free(q->data);
	*us = (long long)(q->at / 1000);
	pthread_mutex_unlock(&pd.lock);
	return 0;
}

static int do_usleep(void *u, useconds_t us)
{
	pthread_mutex_lock(&pd.lock);
	pthread_mutex_unlock(&pd.lock);
	usleep(200); /* let a thread with a system call get to it */
	pthread_mutex_lock(&pd.lock);
	advance((uint64_t)us * 1000);
	pthread_mutex_unlock(&pd.lock);
	usleep(50);
	return 0;
}

static int do_gettimeofday(void *u, struct timeval *tv, struct timezone *tz)
{
	pthread_mutex_lock(&pd.lock);
	pd.now += 1000;
	tv->tv_sec = (time_t)(pd.now / 1000000000ull);
	tv->tv_usec = (suseconds_t)(pd.now / 1000 % 1000000);
	pthread_mutex_unlock(&pd.lock);
	return 0;
}

static int unsupported_epoll(void *u, int size)
{
	return fail(-ENOSYS);
}

static int unsupported_ctl(void *u, int ep, int op, int fd, struct epoll_event *e)
{
	return fail(-ENOSYS);
}

static int unsupported_wait(void *u, int ep, struct epoll_event *e, int n, int timeout)
{
	return fail(-ENOSYS);
}

static int unsupported_pipe(void *u, int fd[2])
{
	return fail(-ENOSYS);
}

static int unsupported_splice(void *u, int a, loff_t *oa, int b, loff_t *ob, size_t n,
			      unsigned flags)
{
	return fail(-ENOSYS);
}

static void do_free(void *u)
{
}

static void start(const char *args)
{
	static const struct tp_ops ops = {op_tx_get, op_tx_put,     op_now,
					  op_random, client_notify, NULL};
	struct tp_config cfg = {
	    .max_socks = 64, .early_order = 16, .wscale = 8, .no_rst = 0, .no_ipv6 = 1};
	/* packetdrill sees what Linux hands to a device that segments: so do we. */
	struct tp_if_config ic = {
	    .mac = {2, 0, 0, 0, 0, 1}, .name = "eth0", .caps = TP_CAP_TSO4};
	struct pvs_neigh nb = {.family = PVS_AF_INET,
			       .ifindex = 2,
			       .mac = {2, 0, 0, 0, 0, 9},
			       .addr = {192, 168, 255, 254}};
	const char *words[2] = {args, "ip=192.168.0.1/16 gw=192.168.255.254"};
	size_t a, s;
	void *region = aligned_alloc(4096, REGION);

	tp_conf_stack(&cfg, args);
	a = tp_arena_size(&cfg);
	s = tp_state_size(&cfg);
	pd.now = 1000000000000ull;
	memset(region, 0, REGION);
	pd.st = tp_init(calloc(1, a), a, calloc(1, s), s, &cfg, &ops, NULL);
	tp_attach_client(pd.st, 0, region, REGION);
	pvs_init(&pd.c, region, REGION, SLOTS, 1, calloc(1, pvs_memory(REGION, SLOTS)),
		 op_notify, wait_server, NULL);
	tp_if_add(pd.st, 1, &ic);
	tp_conf_addresses(pd.st, 1, words, 2);
	pvs_control(&pd.c, PVS_LIST_NEIGH, PVS_OP_ADD, &nb, sizeof(nb));
	pd.head = pd.tail = 0;
}

/* flags: --so_flags, words as in tp_conf.h ("ecn", "cc=reno", "ip=..."). */
__attribute__((visibility("default"))) void packetdrill_interface_init(const char *flags,
								       struct pd_interface *ifc)
{
	*ifc = (struct pd_interface){
	    .free = do_free,
	    .socket = do_socket,
	    .bind = do_bind,
	    .listen = do_listen,
	    .accept = do_accept,
	    .connect = do_connect,
	    .read = do_read,
	    .readv = do_readv,
	    .recv = do_recv,
	    .recvfrom = do_recvfrom,
	    .recvmsg = do_recvmsg,
	    .write = do_write,
	    .writev = do_writev,
	    .send = do_send,
	    .sendto = do_sendto,
	    .sendmsg = do_sendmsg,
	    .fcntl = do_fcntl,
	    .ioctl = do_ioctl,
	    .close = do_close,
	    .shutdown = do_shutdown,
	    .getsockopt = do_getsockopt,
	    .setsockopt = do_setsockopt,
	    .poll = do_poll,
	    .netdev_send = do_netdev_send,
	    .netdev_receive = do_netdev_receive,
	    .usleep = do_usleep,
	    .gettimeofday = do_gettimeofday,
	    .epoll_create = unsupported_epoll,
	    .epoll_ctl = unsupported_ctl,
	    .epoll_wait = unsupported_wait,
	    .pipe = unsupported_pipe,
	    .splice = unsupported_splice,
	};
	start(flags ? flags : "");
}
