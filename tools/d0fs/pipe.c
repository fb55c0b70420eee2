/* SPDX-License-Identifier: ISC */
/*
 * Two halves of an import side by side: a thread reads and inflates the layer, this one writes
 * it into the volume. Between them are a few buffers. The volume is used by this thread only.
 *
 * An error of the taker stops the producer at its next push; the thread is always joined, so
 * nothing of the producer is in use when d0fs_pipe() returns.
 */
#include "tools/d0fs/pipe.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUFFERS 8u
#define BYTES   (256u << 10)

struct pipe {
	pthread_mutex_t lock;
	pthread_cond_t news;
	uint8_t *buf[BUFFERS];
	size_t len[BUFFERS];
	uint64_t put, taken; /* buffers, ever */
	bool done;
	int error; /* the taker's */
	int result;
	int (*produce)(void *arg, oci_sink *sink, void *sink_ctx);
	void *arg;
};

static int push_piece(struct pipe *p, const uint8_t *data, size_t len)
{
	int err;

	pthread_mutex_lock(&p->lock);
	while (p->put - p->taken == BUFFERS && !p->error)
		pthread_cond_wait(&p->news, &p->lock);
	err = p->error;
	pthread_mutex_unlock(&p->lock);
	if (err)
		return err;
	memcpy(p->buf[p->put % BUFFERS], data, len);
	p->len[p->put % BUFFERS] = len;
	pthread_mutex_lock(&p->lock);
	p->put++;
	pthread_cond_signal(&p->news);
	pthread_mutex_unlock(&p->lock);
	return 0;
}

static int push(void *ctx, const uint8_t *data, size_t len)
{
	int err = 0;

	while (len && !err) {
		size_t part = len < BYTES ? len : BYTES;

		err = push_piece(ctx, data, part);
		data += part;
		len -= part;
	}
	return err;
}

static void *producer(void *arg)
{
	struct pipe *p = arg;
	int result = p->produce(p->arg, push, p);

	pthread_mutex_lock(&p->lock);
	p->result = result;
	p->done = true;
	pthread_cond_signal(&p->news);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* The next full buffer; -1: there is none any more. */
static int next_full(struct pipe *p)
{
	int at;

	pthread_mutex_lock(&p->lock);
	while (p->put == p->taken && !p->done)
		pthread_cond_wait(&p->news, &p->lock);
	at = p->put == p->taken ? -1 : (int)(p->taken % BUFFERS);
	pthread_mutex_unlock(&p->lock);
	return at;
}

static void give_back(struct pipe *p, int err)
{
	pthread_mutex_lock(&p->lock);
	p->taken++;
	p->error = p->error ? p->error : err;
	pthread_cond_signal(&p->news);
	pthread_mutex_unlock(&p->lock);
}

static void drain(struct pipe *p, oci_sink *take, void *take_arg)
{
	int at;

	while ((at = next_full(p)) >= 0)
		give_back(p, p->error ? 0 : take(take_arg, p->buf[at], p->len[at]));
}

int d0fs_pipe(void *ctx, int (*produce)(void *arg, oci_sink *sink, void *sink_ctx), void *arg,
	      oci_sink *take, void *take_arg)
{
	struct pipe p = {.produce = produce, .arg = arg};
	uint8_t *mem = malloc((size_t)BUFFERS * BYTES);
	pthread_t thread;

	pthread_mutex_init(&p.lock, NULL);
	pthread_cond_init(&p.news, NULL);
	for (unsigned i = 0; i < BUFFERS; i++)
		p.buf[i] = mem + (size_t)i * BYTES;
	if (!mem || pthread_create(&thread, NULL, producer, &p)) {
		p.result = produce(arg, take, take_arg);
	} else {
		drain(&p, take, take_arg);
		pthread_join(thread, NULL);
	}
	pthread_cond_destroy(&p.news);
	pthread_mutex_destroy(&p.lock);
	free(mem);
	return p.error ? p.error : p.result;
}
