// SPDX-License-Identifier: ISC
// What programs of a container write, on its way to the engine's pipes.
//
// Problem: one thread reads all frames of a container, and whoever takes a program's output
// (a client that was stopped, say) may not take it. That must hold up that program only.
//
// Model: the cell has at most D0_CON_OUT_WINDOW bytes of an output underway until they are
// acknowledged. The reader puts them into the output's buffer, which has that size, and
// never waits; a thread for each output writes them to the pipe and acknowledges what it has
// written. It ends when the program has ended and the buffer is empty, or when its pipe
// has no reader; what comes after that is acknowledged and dropped.
//
// Locking: the box's lock guards the buffer. Neither writing nor acknowledging holds it.
// Failure: a cell that sends more than the window has the rest dropped.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/d0/box.h"

#define PIECE 16384 // bytes written and acknowledged at once

static void acknowledge(struct be_out *o, size_t n)
{
	box_send(o->proc->box, D0_CON_OUTPUT_ACK, o->proc->id, (uint32_t)n,
		 o->which == 2 ? D0_CON_FLAG_STDERR : 0, NULL, 0);
}

// A copy of what waits, at most `most` bytes; 0: there will be no more.
static size_t next_piece(struct be_out *o, char *to, size_t most)
{
	struct box *x = o->proc->box;
	size_t n, first;

	pthread_mutex_lock(&x->lock);
	while (o->head == o->tail && !o->proc->exited)
		pthread_cond_wait(&x->changed, &x->lock);
	n = o->tail - o->head;
	n = n < most ? n : most;
	first = D0_CON_OUT_WINDOW - o->head % D0_CON_OUT_WINDOW;
	first = first < n ? first : n;
	memcpy(to, o->buf + o->head % D0_CON_OUT_WINDOW, first);
	memcpy(to + first, o->buf, n - first);
	o->head += n;
	pthread_mutex_unlock(&x->lock);
	return n;
}

static void *write_main(void *arg)
{
	struct be_out *o = arg;
	char piece[PIECE];
	bool open = true;
	size_t n;

	while ((n = next_piece(o, piece, sizeof(piece))) != 0) {
		open = open && fd_write_all(o->proc->far[o->which], piece, n) == 0;
		acknowledge(o, n);
	}
	close(o->proc->far[o->which]);
	o->proc->far[o->which] = -1;
	return NULL;
}

int outputs_begin(struct be_proc *p, struct err *e)
{
	for (int i = 1; i < 3; i++) {
		struct be_out *o = &p->out[i - 1];

		if (p->far[i] < 0)
			continue;
		*o = (struct be_out){.proc = p, .which = i, .buf = xmalloc(D0_CON_OUT_WINDOW)};
		if (pthread_create(&o->thread, NULL, write_main, o) != 0)
			return err_set(e, 500, "no thread");
		o->running = true;
	}
	return 0;
}

void outputs_put(struct box *x, const struct d0_con_frame *f, const char *data)
{
	int which = f->type == D0_CON_STDERR ? 2 : 1;

	pthread_mutex_lock(&x->lock);
	for (struct be_proc *p = x->procs; p; p = p->next) {
		struct be_out *o = &p->out[which - 1];

		if (p->id != f->id || !o->running || p->exited ||
		    f->len > D0_CON_OUT_WINDOW - (o->tail - o->head))
			continue;
		for (uint32_t i = 0; i < f->len; i++)
			o->buf[o->tail++ % D0_CON_OUT_WINDOW] = data[i];
	}
	pthread_cond_broadcast(&x->changed);
	pthread_mutex_unlock(&x->lock);
}

// The engine's ends are closed and the program has ended: the writers can't stay.
void outputs_end(struct be_proc *p)
{
	for (int i = 0; i < 2; i++) {
		if (p->out[i].running)
			pthread_join(p->out[i].thread, NULL);
		p->out[i].running = false;
		free(p->out[i].buf);
		p->out[i].buf = NULL;
	}
}
