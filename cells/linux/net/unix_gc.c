/* SPDX-License-Identifier: ISC */
/*
 * Unix sockets that only their own messages still refer to.
 *
 * A descriptor in flight keeps its file. If that file is a socket in whose queue the message
 * lies, or one of a ring of such sockets, nobody can ever receive it, and no count comes to
 * zero. So now and then it is counted how often each socket is in flight. One whose file has
 * more references than that can be reached from outside; what lies in its queue can then be
 * received, and so on. The messages of all others are freed, and the sockets go with them.
 *
 * It is done when a unix socket goes away while sockets are in flight, and when many have been
 * sent. All of it happens without sleeping; freeing comes last.
 */
#include "cells/linux/net/unix.h"

#define SENT_MANY 256u

static u32 sent; /* sockets in flight since they were last counted; 0: none are */
static bool collecting;

static struct usock *in_flight(const struct ubuf *b, u32 n)
{
	struct sock *s = file_sock(b->scm->fds[n]);

	return s && s->family == AF_UNIX_K ? us(s) : NULL;
}

static u32 count_all(void)
{
	struct usock *u, *o;
	struct ubuf *b;
	u32 total = 0;

	list_each(u, &unix_sockets, all_link)
	{
		u->inflight = 0;
		u->reached = false;
	}
	list_each(u, &unix_sockets, all_link)
	{
		list_each(b, &u->queue, link) for (u32 i = 0; b->scm && i < b->scm->nfds; i++)
		{
			o = in_flight(b, i);
			if (o) {
				o->inflight++;
				total++;
			}
		}
	}
	return total;
}

static void reach(struct list *todo, struct usock *u)
{
	if (u->reached)
		return;
	u->reached = true;
	list_add_tail(todo, &u->gc_link);
}

static void reach_from(struct list *todo, struct usock *u)
{
	struct usock *o;
	struct ubuf *b;

	list_each(b, &u->queue, link) for (u32 i = 0; b->scm && i < b->scm->nfds; i++)
	{
		o = in_flight(b, i);
		if (o)
			reach(todo, o);
	}
	/* Connections that nobody has accepted are the listener's. */
	list_each(o, &u->acceptq, accept_link) reach(todo, o);
}

static void reach_all(void)
{
	struct list todo = {0};
	struct usock *u;

	list_init(&todo);
	list_each(u, &unix_sockets,
		  all_link) if (!u->listener && (!u->s.file || u->s.file->refs > u->inflight))
	    reach(&todo, u);
	while (!list_empty(&todo)) {
		u = list_first(&todo, struct usock, gc_link);
		list_del(&u->gc_link);
		reach_from(&todo, u);
	}
}

void unix_collect(void)
{
	struct list garbage = {0};
	struct usock *u;

	if (!sent || collecting)
		return;
	collecting = true;
	list_init(&garbage);
	sent = count_all();
	if (sent) {
		reach_all();
		list_each(u, &unix_sockets, all_link) if (!u->reached)
		{
			while (!list_empty(&u->queue)) {
				struct ubuf *b = list_first(&u->queue, struct ubuf, link);

				list_del(&b->link);
				list_add_tail(&garbage, &b->link);
			}
		}
		sent = 1;
	}
	while (!list_empty(&garbage)) {
		struct ubuf *b = list_first(&garbage, struct ubuf, link);

		list_del(&b->link);
		ubuf_free(b);
	}
	collecting = false;
}

void unix_rights_sent(const struct ubuf *b)
{
	for (u32 i = 0; i < b->scm->nfds; i++)
		if (in_flight(b, i))
			sent++;
	if (sent > SENT_MANY)
		unix_collect();
}
