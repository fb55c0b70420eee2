/* SPDX-License-Identifier: ISC */
/* Options of sockets: those of SOL_SOCKET; a family has its own before them. */
#include "cells/linux/inc/net.h"
#include "cells/linux/inc/sys.h"
#include <asm/socket.h>
#include <linux/capability.h>

/* Bounds of buffers: net.core.*mem_max, and what two small messages take on Linux. */
#define BUF_MAX    4194304u
#define SNDBUF_MIN 4608u
#define RCVBUF_MIN 2304u

static int timeo_set(u64 *to, const void *val, u32 len)
{
	s64 tv[2];

	if (len < 16)
		return -EINVAL;
	memcpy(tv, val, 16);
	if ((u64)tv[1] >= 1000000)
		return -EDOM;
	if (tv[0] < 0) {
		*to = 0; /* no wait at all */
		return 0;
	}
	*to = tv[0] || tv[1] ? (u64)tv[0] * NS_PER_SEC + (u64)tv[1] * 1000 : NEVER;
	return 0;
}

static int buffer_set(u32 *size, u32 v, bool force, u32 min)
{
	if (force && !capable(CAP_NET_ADMIN))
		return -EPERM;
	v = MIN(v, force ? (u32)INT32_MAX / 2 : BUF_MAX);
	*size = MAX(v * 2, min);
	return 0;
}

static int common_set(struct sock *s, int name, const void *val, u32 len)
{
	int v = 0, lg[2];

	if (name == SO_BINDTODEVICE) /* inet did; elsewhere only no device can be meant */
		return !len || !*(const char *)val || s->family == AF_INET_K ||
			       s->family == AF_INET6_K || s->family == AF_PACKET_K
			   ? 0
			   : -ENODEV;
	if (len < 4)
		return -EINVAL;
	memcpy(&v, val, 4);
	switch (name) {
	case SO_REUSEADDR:
		s->reuseaddr = v != 0;
		return 0;
	case SO_REUSEPORT:
		s->reuseport = v != 0;
		return 0;
	case SO_KEEPALIVE:
		s->keepalive = v != 0;
		return 0;
	case SO_BROADCAST:
		s->broadcast = v != 0;
		return 0;
	case SO_PASSCRED:
		s->passcred = v != 0;
		return 0;
	case SO_OOBINLINE:
		s->oobinline = v != 0;
		return 0;
	case SO_DONTROUTE:
		s->dontroute = v != 0;
		return 0;
	case SO_LINGER:
		if (len < 8)
			return -EINVAL;
		memcpy(lg, val, 8);
		s->linger_on = lg[0] != 0;
		s->linger = lg[1];
		return 0;
	case SO_SNDBUFFORCE:
	case SO_SNDBUF:
		return buffer_set(&s->sndbuf, (u32)v, name == SO_SNDBUFFORCE, SNDBUF_MIN);
	case SO_RCVBUFFORCE:
	case SO_RCVBUF:
		return buffer_set(&s->rcvbuf, (u32)v, name == SO_RCVBUFFORCE, RCVBUF_MIN);
	case SO_RCVLOWAT:
		s->rcvlowat = v > 0 ? (u32)v : 1;
		return 0;
	case SO_RCVTIMEO_OLD:
		return timeo_set(&s->rcvtimeo, val, len);
	case SO_SNDTIMEO_OLD:
		return timeo_set(&s->sndtimeo, val, len);
	case SO_PRIORITY:
		s->priority = (u32)v;
		return 0;
	case SO_MARK:
		if (!capable(CAP_NET_ADMIN))
			return -EPERM;
		s->mark = (u32)v;
		return 0;
	case SO_TIMESTAMP_OLD:
	case SO_TIMESTAMPNS_OLD:
		s->timestamp = (u8)(!v ? 0 : name == SO_TIMESTAMP_OLD ? 1 : 2);
		return 0;
	case SO_NO_CHECK:
		s->no_check = v != 0;
		return 0;
	case SO_DETACH_FILTER:
		return -ENOENT; /* there never is one */
	case SO_BUSY_POLL:
		return 0;
	}
	return -ENOPROTOOPT;
}

/* Options of one number. */
static bool number_get(struct sock *s, int name, int *v)
{
	switch (name) {
	case SO_TYPE:
		*v = (int)s->type;
		break;
	case SO_DOMAIN:
		*v = (int)s->family;
		break;
	case SO_PROTOCOL:
		*v = (int)s->protocol;
		break;
	case SO_ERROR:
		*v = s->error;
		s->error = 0;
		break;
	case SO_REUSEADDR:
		*v = s->reuseaddr;
		break;
	case SO_REUSEPORT:
		*v = s->reuseport;
		break;
	case SO_KEEPALIVE:
		*v = s->keepalive;
		break;
	case SO_BROADCAST:
		*v = s->broadcast;
		break;
	case SO_PASSCRED:
		*v = s->passcred;
		break;
	case SO_NO_CHECK:
		*v = s->no_check;
		break;
	case SO_OOBINLINE:
		*v = s->oobinline;
		break;
	case SO_DONTROUTE:
		*v = s->dontroute;
		break;
	case SO_SNDBUF:
		*v = (int)s->sndbuf;
		break;
	case SO_RCVBUF:
		*v = (int)s->rcvbuf;
		break;
	case SO_RCVLOWAT:
		*v = (int)s->rcvlowat;
		break;
	case SO_SNDLOWAT:
		*v = 1;
		break;
	case SO_PRIORITY:
		*v = (int)s->priority;
		break;
	case SO_MARK:
		*v = (int)s->mark;
		break;
	case SO_TIMESTAMP_OLD:
		*v = s->timestamp == 1;
		break;
	case SO_TIMESTAMPNS_OLD:
		*v = s->timestamp == 2;
		break;
	default:
		return false;
	}
	return true;
}

static int common_get(struct sock *s, int name, void *val, u32 *len)
{
	u64 t = name == SO_RCVTIMEO_OLD ? s->rcvtimeo : s->sndtimeo;
	s64 tv[2] = {t == NEVER ? 0 : (s64)(t / NS_PER_SEC),
		     t == NEVER ? 0 : (s64)(t % NS_PER_SEC / 1000)};
	int lg[2] = {s->linger_on, s->linger}, v;
	const void *from = &v;
	u32 size = sizeof(v);

	if (name == SO_LINGER) {
		from = lg;
		size = sizeof(lg);
	} else if (name == SO_RCVTIMEO_OLD || name == SO_SNDTIMEO_OLD) {
		from = tv;
		size = sizeof(tv);
	} else if (!number_get(s, name, &v)) {
		return -ENOPROTOOPT;
	}
	*len = MIN(*len, size);
	memcpy(val, from, *len);
	return 0;
}

SYSCALL(setsockopt, "fddpu", int fd, int level, int name, u64 uval, u32 len)
{
	u8 val[288] = {0}; /* struct group_source_req has 264 */
	struct sock *s;
	s64 r;
	struct file *f;

	if ((int)len < 0 || len > sizeof(val))
		return -EINVAL;
	f = sock_get(fd, &s, &r);
	if (!f)
		return r;
	r = copy_in(val, uval, len);
	if (!r) {
		r = s->ops->setopt          ? s->ops->setopt(s, level, name, val, len)
		    : level == SOL_SOCKET_K ? -ENOPROTOOPT
					    : -EOPNOTSUPP;
		if (r == 1)
			r = 0; /* done with */
		else if (level == SOL_SOCKET_K && (r == 0 || r == -ENOPROTOOPT))
			r = common_set(s, name, val, len);
		if (!r)
			wake_all(&s->wait); /* a larger buffer lets writers go on */
	}
	file_put(f);
	return r;
}

SYSCALL(getsockopt, "fddpp", int fd, int level, int name, u64 uval, u64 ulen)
{
	u8 val[256] = {0};
	u32 len;
	struct sock *s;
	s64 r;
	struct file *f = sock_get(fd, &s, &r);

	if (!f)
		return r;
	r = get_user(len, ulen) ? -EFAULT : (int)len < 0 ? -EINVAL : 0;
	len = MIN(len, (u32)sizeof(val));
	if (!r) {
		r = s->ops->getopt ? s->ops->getopt(s, level, name, val, &len) : -ENOPROTOOPT;
		if (r == -ENOPROTOOPT && level == SOL_SOCKET_K)
			r = common_get(s, name, val, &len);
	}
	if (!r && (copy_out(uval, val, len) || put_user(len, ulen)))
		r = -EFAULT;
	file_put(f);
	return r;
}
