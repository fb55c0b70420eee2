/* SPDX-License-Identifier: ISC */
/*
 * Socket options, with Linux's names, numbers and semantics (socket(7), ip(7), ipv6(7),
 * tcp(7)). Options that only concern the client's own bookkeeping (SO_RCVTIMEO, O_NONBLOCK,
 * SO_OOBINLINE delivery) are stored and given back, and act in the client.
 */
#include "pv.h"

enum {
	SOL_SOCKET_ = 1,
	SOL_IP_ = 0,
	SOL_TCP_ = 6,
	SOL_UDP_ = 17,
	SOL_IPV6_ = 41,
	SOL_PACKET_ = 263,
	SOL_RAW_ = 255,
	SOL_ICMPV6_ = 58
};

enum {
	SO_DEBUG_ = 1,
	SO_REUSEADDR_ = 2,
	SO_TYPE_ = 3,
	SO_ERROR_ = 4,
	SO_DONTROUTE_ = 5,
	SO_BROADCAST_ = 6,
	SO_SNDBUF_ = 7,
	SO_RCVBUF_ = 8,
	SO_KEEPALIVE_ = 9,
	SO_OOBINLINE_ = 10,
	SO_NO_CHECK_ = 11,
	SO_PRIORITY_ = 12,
	SO_LINGER_ = 13,
	SO_REUSEPORT_ = 15,
	SO_RCVLOWAT_ = 18,
	SO_SNDLOWAT_ = 19,
	SO_RCVTIMEO_ = 20,
	SO_SNDTIMEO_ = 21,
	SO_BINDTODEVICE_ = 25,
	SO_ACCEPTCONN_ = 30,
	SO_SNDBUFFORCE_ = 32,
	SO_RCVBUFFORCE_ = 33,
	SO_MARK_ = 36,
	SO_PROTOCOL_ = 38,
	SO_DOMAIN_ = 39,
	SO_INCOMING_CPU_ = 49
};

enum {
	TCP_NODELAY_ = 1,
	TCP_MAXSEG_,
	TCP_CORK_,
	TCP_KEEPIDLE_,
	TCP_KEEPINTVL_,
	TCP_KEEPCNT_,
	TCP_SYNCNT_,
	TCP_LINGER2_,
	TCP_DEFER_ACCEPT_,
	TCP_WINDOW_CLAMP_,
	TCP_INFO_,
	TCP_QUICKACK_,
	TCP_CONGESTION_,
	TCP_USER_TIMEOUT_ = 18,
	TCP_FASTOPEN_ = 23,
	TCP_NOTSENT_LOWAT_ = 25,
	TCP_FASTOPEN_CONNECT_ = 30
};

uint32_t pv_get_u32(const uint8_t *v, uint32_t len)
{
	uint32_t x = 0;

	memcpy(&x, v, MIN(len, 4));
	return x;
}

static void flag(uint16_t *f, uint16_t bit, uint32_t on)
{
	*f = (uint16_t)(on ? *f | bit : *f & ~bit);
}

static void tflag(struct sock *s, uint32_t bit, uint32_t on)
{
	if (s->kind == SK_TCP)
		s->t.flags = on ? s->t.flags | bit : s->t.flags & ~bit;
}

static bool name_is(const char *have, const uint8_t *v, uint32_t len)
{
	uint32_t i;

	for (i = 0; i < len && v[i]; i++) {
		if (have[i] != (char)v[i])
			return false;
	}
	return !have[i];
}

static int set_bind_device(struct tp_stack *st, struct sock *s, const uint8_t *v, uint32_t len)
{
	if (!len || !v[0]) {
		s->bound_if = 0;
		return 0;
	}
	for (unsigned i = 0; i < TP_MAX_IF; i++) {
		struct netif *n = &st->s->ifs[i];

		if (n->used && len <= 15 + !v[len - 1] && name_is(n->name, v, len)) {
			s->bound_if = (uint8_t)(s->kind == SK_PACKET ? i + 1 : i);
			return 0;
		}
	}
	return -TE_NOENT;
}

static int set_socket(struct tp_stack *st, struct sock *s, uint32_t name, const uint8_t *v,
		      uint32_t len)
{
	uint32_t x = pv_get_u32(v, len);

	if (name == SO_BINDTODEVICE_)
		return set_bind_device(st, s, v, len);
	if (len < 4)
		return -TE_INVAL;
	switch (name) {
	case SO_REUSEADDR_:
		flag(&s->flags, SF_REUSEADDR, x);
		return 0;
	case SO_REUSEPORT_:
		flag(&s->flags, SF_REUSEPORT, x);
		return 0;
	case SO_BROADCAST_:
		flag(&s->flags, SF_BROADCAST, x);
		return 0;
	case SO_OOBINLINE_:
		flag(&s->flags, SF_OOBINLINE, x);
		return 0;
	case SO_SNDBUF_:
	case SO_SNDBUFFORCE_:
		s->sndbuf = MIN(x, 0x3fffffffu) * 2;
		return 0;
	case SO_RCVBUF_:
	case SO_RCVBUFFORCE_:
		s->rcvbuf = MIN(x, 0x3fffffffu) * 2;
		return 0;
	case SO_KEEPALIVE_:
		tflag(s, TF_KEEPALIVE, x);
		if (s->kind == SK_TCP)
			tcp_keep_arm(st, s);
		return 0;
	case SO_LINGER_:
		if (len < 8)
			return -TE_INVAL;
		flag(&s->flags, SF_LINGER, x);
		if (s->kind == SK_TCP)
			s->t.linger_ms = MIN(pv_get_u32(v + 4, 4), 3600000u) * 1000;
		return 0;
	case SO_RCVLOWAT_:
		s->rcvlowat = MAX(x, 1u);
		return 0;
	case SO_PRIORITY_:
		s->prio = x;
		return 0;
	case SO_MARK_:
		s->mark = x;
		return 0;
	case SO_RCVTIMEO_:
		s->rcvtimeo = x;
		return 0;
	case SO_SNDTIMEO_:
		s->sndtimeo = x;
		return 0;
	case SO_DEBUG_:
	case SO_DONTROUTE_:
	case SO_NO_CHECK_:
	case SO_INCOMING_CPU_:
		return 0;
	}
	return -TE_NOPROTOOPT;
}

/* What the client has written goes now, corked or not: Linux does that when NODELAY is set. */
static void push_now(struct tp_stack *st, struct sock *s)
{
	uint32_t held = s->t.flags & (TF_CORK | TF_MORE);

	if (!held || (s->state != TS_ESTABLISHED && s->state != TS_CLOSE_WAIT)) {
		tcp_output_later(st, s);
		return;
	}
	s->t.flags &= ~held;
	tcp_output(st, s);
	s->t.flags |= held;
}

static int set_tcp(struct tp_stack *st, struct sock *s, uint32_t name, const uint8_t *v,
		   uint32_t len)
{
	struct tcp *t = &s->t;
	uint32_t x = pv_get_u32(v, len);

	if (s->kind != SK_TCP)
		return -TE_NOPROTOOPT;
	if (name == TCP_CONGESTION_) {
		if (len >= 5 && !memcmp(v, "cubic", 5))
			t->cc = TP_CC_CUBIC;
		else if (len >= 4 && !memcmp(v, "reno", 4))
			t->cc = TP_CC_RENO;
		else
			return -TE_NOENT;
		return 0;
	}
	if (len < 4)
		return -TE_INVAL;
	switch (name) {
	case TCP_NODELAY_:
		tflag(s, TF_NODELAY, x);
		if (x)
			push_now(st, s);
		return 0;
	case TCP_MAXSEG_:
		if (x < 88 || x > 32767)
			return -TE_INVAL;
		t->user_mss = (uint16_t)x;
		tcp_mss_sync(st, s);
		return 0;
	case TCP_CORK_:
		tflag(s, TF_CORK, x);
		if (!x)
			tcp_output_later(st, s);
		return 0;
	case TCP_KEEPIDLE_:
	case TCP_KEEPINTVL_:
		if (!x || x > 32767)
			return -TE_INVAL;
		*(name == TCP_KEEPIDLE_ ? &t->keep_idle : &t->keep_intvl) = x * 1000;
		if (name == TCP_KEEPIDLE_)
			tcp_keep_arm(st, s);
		return 0;
	case TCP_KEEPCNT_:
		if (!x || x > 127)
			return -TE_INVAL;
		t->keep_cnt = (uint8_t)x;
		return 0;
	case TCP_SYNCNT_:
		if (!x || x > 127)
			return -TE_INVAL;
		t->syn_retries = (uint8_t)x;
		return 0;
	case TCP_QUICKACK_:
		tflag(s, TF_QUICKACK, x);
		if (!x)
			t->quick = 0;
		else if (s->dl[TMR_DELACK])
			tcp_ack_now(st, s);
		return 0;
	case TCP_USER_TIMEOUT_:
		if (x > INT32_MAX)
			return -TE_INVAL;
		t->user_timeout = x;
		return 0;
	case TCP_DEFER_ACCEPT_:
		t->defer = x > INT32_MAX ? 0 : (uint8_t)MIN(x, 255u);
		return 0;
	case TCP_LINGER2_:
		if (x > INT32_MAX)
			t->linger2_ms = LINGER2_NONE;
		else
			t->linger2_ms = MIN(x, LINGER2_MAX_MS / 1000) * 1000;
		return 0;
	case TCP_FASTOPEN_: /* as on Linux where no cookie is known: a handshake, then data */
	case TCP_FASTOPEN_CONNECT_:
	case TCP_WINDOW_CLAMP_:
	case TCP_NOTSENT_LOWAT_:
		return 0;
	}
	return -TE_NOPROTOOPT;
}

static bool filters6(const struct sock *s)
{
	return s->kind == SK_RAW && s->domain == PVS_AF_INET6 && s->proto == IPPROTO_ICMPV6_;
}

int pv_setsockopt(struct tp_stack *st, struct sock *s, uint32_t level, uint32_t name,
		  const uint8_t *v, uint32_t len)
{
	switch (level) {
	case SOL_SOCKET_:
		return set_socket(st, s, name, v, len);
	case SOL_TCP_:
		return set_tcp(st, s, name, v, len);
	case SOL_IP_:
		return s->kind == SK_RAW && s->domain == PVS_AF_INET6
			   ? -TE_NOPROTOOPT
			   : pv_set_ip(st, s, name, v, len);
	case SOL_IPV6_:
		return s->domain == PVS_AF_INET6 ? pv_set_ip6(st, s, name, v, len)
						 : -TE_NOPROTOOPT;
	case SOL_UDP_:
		if (s->kind == SK_UDP && name == 103 && len >= 4) { /* UDP_SEGMENT */
			s->d.gso_size = (uint16_t)pv_get_u32(v, len);
			return 0;
		}
		return -TE_NOPROTOOPT;
	case SOL_RAW_:
		if (s->kind == SK_RAW && name == 1 && len >= 4) { /* ICMP_FILTER */
			s->d.icmp_filter = pv_get_u32(v, len);
			return 0;
		}
		return -TE_NOPROTOOPT;
	case SOL_ICMPV6_: /* ICMP6_FILTER: a set bit blocks */
		if (!filters6(s) || name != 1)
			return -TE_NOPROTOOPT;
		memcpy(s->d.icmp6_filter, v, MIN(len, (uint32_t)sizeof(s->d.icmp6_filter)));
		return 0;
	case SOL_PACKET_:
		if (s->kind == SK_PACKET && (name == 1 || name == 2)) /* membership */
			return 0;
		return -TE_NOPROTOOPT;
	}
	return -TE_NOPROTOOPT;
}

/* ---- get ---- */

int pv_put_u32(uint8_t *v, uint32_t room, uint32_t x)
{
	if (room < 4) {
		v[0] = (uint8_t)x;
		return 1;
	}
	memcpy(v, &x, 4);
	return 4;
}

/* Options of one number. */
static bool socket_number(struct sock *s, uint32_t name, uint32_t *x)
{
	switch (name) {
	case SO_REUSEADDR_:
		*x = !!(s->flags & SF_REUSEADDR);
		break;
	case SO_REUSEPORT_:
		*x = !!(s->flags & SF_REUSEPORT);
		break;
	case SO_BROADCAST_:
		*x = !!(s->flags & SF_BROADCAST);
		break;
	case SO_OOBINLINE_:
		*x = !!(s->flags & SF_OOBINLINE);
		break;
	case SO_TYPE_:
		*x = s->type;
		break;
	case SO_DOMAIN_:
		*x = s->domain;
		break;
	case SO_PROTOCOL_:
		*x = s->proto;
		break;
	case SO_ERROR_:
		*x = s->error;
		s->error = 0;
		break;
	case SO_SNDBUF_:
		*x = s->sndbuf ? s->sndbuf : ring_size(&s->tx);
		break;
	case SO_RCVBUF_:
		*x = s->rcvbuf ? s->rcvbuf : ring_size(&s->rx);
		break;
	case SO_KEEPALIVE_:
		*x = s->kind == SK_TCP && s->t.flags & TF_KEEPALIVE;
		break;
	case SO_ACCEPTCONN_:
		*x = s->kind == SK_TCP && s->state == TS_LISTEN;
		break;
	case SO_RCVLOWAT_:
		*x = MAX(s->rcvlowat, 1u);
		break;
	case SO_SNDLOWAT_:
		*x = 1;
		break;
	case SO_PRIORITY_:
		*x = s->prio;
		break;
	case SO_MARK_:
		*x = s->mark;
		break;
	case SO_DEBUG_:
	case SO_DONTROUTE_:
	case SO_NO_CHECK_:
	case SO_INCOMING_CPU_:
		*x = 0;
		break;
	default:
		return false;
	}
	return true;
}

static int get_socket(struct tp_stack *st, struct sock *s, uint32_t name, uint8_t *v,
		      uint32_t room)
{
	uint32_t x;

	switch (name) {
	case SO_LINGER_:
		if (room < 8)
			return -TE_INVAL;
		pv_put_u32(v, 4, !!(s->flags & SF_LINGER));
		pv_put_u32(v + 4, 4, s->kind == SK_TCP ? s->t.linger_ms / 1000 : 0);
		return 8;
	case SO_BINDTODEVICE_: {
		unsigned i =
		    s->kind == SK_PACKET && s->bound_if ? s->bound_if - 1u : s->bound_if;

		if (!s->bound_if)
			return 0;
		if (room < 16)
			return -TE_INVAL;
		memcpy(v, st->s->ifs[i].name, 16);
		return 16;
	}
	default:
		return socket_number(s, name, &x) ? pv_put_u32(v, room, x) : -TE_NOPROTOOPT;
	}
}

static int get_tcp(struct tp_stack *st, struct sock *s, uint32_t name, uint8_t *v,
		   uint32_t room)
{
	struct tcp *t = &s->t;
	uint32_t x;

	if (s->kind != SK_TCP)
		return -TE_NOPROTOOPT;
	switch (name) {
	case TCP_INFO_:
		return (int)tcp_info_fill(st, s, v, room);
	case TCP_CONGESTION_: {
		static const char names[2][16] = {"cubic", "reno"};

		memcpy(v, names[t->cc == TP_CC_RENO], MIN(room, 16u));
		return (int)MIN(room, 16u);
	}
	case TCP_NODELAY_:
		x = !!(t->flags & TF_NODELAY);
		break;
	case TCP_CORK_:
		x = !!(t->flags & TF_CORK);
		break;
	case TCP_MAXSEG_:
		x = s->state == TS_CLOSED || s->state == TS_LISTEN
			? (t->user_mss ? t->user_mss : 536u)
			: t->mss;
		break;
	case TCP_KEEPIDLE_:
		x = t->keep_idle / 1000;
		break;
	case TCP_KEEPINTVL_:
		x = t->keep_intvl / 1000;
		break;
	case TCP_KEEPCNT_:
		x = t->keep_cnt;
		break;
	case TCP_SYNCNT_:
		x = t->syn_retries ? t->syn_retries : SYN_RETRIES;
		break;
	case TCP_QUICKACK_:
		x = t->quick || t->flags & TF_QUICKACK;
		break;
	case TCP_USER_TIMEOUT_:
		x = t->user_timeout;
		break;
	case TCP_DEFER_ACCEPT_:
		x = t->defer;
		break;
	case TCP_LINGER2_:
		x = t->linger2_ms == LINGER2_NONE ? UINT32_MAX
		    : t->linger2_ms               ? t->linger2_ms / 1000
						  : FIN_WAIT2_MS / 1000;
		break;
	case TCP_WINDOW_CLAMP_:
		x = ring_size(&s->rx);
		break;
	case TCP_NOTSENT_LOWAT_:
		x = UINT32_MAX;
		break;
	default:
		return -TE_NOPROTOOPT;
	}
	return pv_put_u32(v, room, x);
}

/* Bytes written to v (room >= 1), or -errno. */
int pv_getsockopt(struct tp_stack *st, struct sock *s, uint32_t level, uint32_t name,
		  uint8_t *v, uint32_t room)
{
	if (!room) /* IP's are cut to the room, and that is none */
		return level == SOL_IP_ || level == SOL_IPV6_ ? 0 : -TE_INVAL;
	switch (level) {
	case SOL_SOCKET_:
		return get_socket(st, s, name, v, room);
	case SOL_TCP_:
		return get_tcp(st, s, name, v, room);
	case SOL_IP_:
		if (s->kind == SK_RAW && s->domain == PVS_AF_INET6)
			break;
		return pv_get_ip(st, s, name, v, room);
	case SOL_IPV6_:
		return s->domain == PVS_AF_INET6 ? pv_get_ip6(st, s, name, v, room)
						 : -TE_NOPROTOOPT;
	case SOL_ICMPV6_:
		if (!filters6(s) || name != 1)
			break;
		room = MIN(room, (uint32_t)sizeof(s->d.icmp6_filter));
		memcpy(v, s->d.icmp6_filter, room);
		return (int)room;
	case SOL_UDP_:
		if (s->kind == SK_UDP && name == 103)
			return pv_put_u32(v, room, s->d.gso_size);
	}
	return -TE_NOPROTOOPT;
}
