// SPDX-License-Identifier: ISC
// Bytes as what a container's cell sends to d0d over its control channel (d0/conctl.h): the
// cell's kernel is its container's, so it may send anything. Nothing of it may crash d0d, keep
// it waiting, or leave a program that never ends.
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "d0d/d0/box.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct feed {
	const uint8_t *p;
	size_t n;
	int fd;
};

static void *feed_main(void *arg)
{
	struct feed *f = arg;

	if (fd_write_all(f->fd, f->p, f->n) == 0)
		shutdown(f->fd, SHUT_WR);
	return NULL;
}

// What d0d writes is read and dropped; output of programs too.
static void *drain_main(void *arg)
{
	char buf[4096];

	while (read(*(int *)arg, buf, sizeof(buf)) > 0)
		;
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct d0_backend b = {.dir = (char *)"/tmp", .ctl = -1, .self = ~0u};
	struct be_spec s = {.id = "0123456789abcdef", .tree = "c-0123456789abcdef"};
	struct feed f = {data, size, -1};
	pthread_t feeder, drain[3];
	struct be_exit x;
	int fd[2], n = 0;

	signal(SIGPIPE, SIG_IGN); // as d0d does
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
		abort();
	pthread_mutex_init(&b.lock, NULL);
	struct box *box = xcalloc(1, sizeof(*box));
	*box = (struct box){
	    .b = &b, .refs = 1, .cell = ~0u, .channel = ~0u, .ctl = fd[0], .next_id = 1};
	pthread_mutex_init(&box->lock, NULL);
	pthread_mutex_init(&box->wlock, NULL);
	pthread_cond_init(&box->changed, NULL);
	s.tty = size & 1;
	s.stdin_open = size & 2;
	struct be_proc *p = box_found(box, &s, NULL);
	struct be_io io;
	d0_io(p, &io);
	int outs[3] = {fd[1], io.out, io.err};
	f.fd = fd[1];
	pthread_create(&feeder, NULL, feed_main, &f);
	for (int i = 0; i < 3; i++)
		if (outs[i] >= 0)
			pthread_create(&drain[n++], NULL, drain_main, &outs[i]);
	d0_wait(p, &x); // at the latest when the stream ends
	if (x.code < 0 || x.code > 255)
		abort();
	pthread_join(feeder, NULL);
	pthread_join(box->reader, NULL);
	box->reading = false;
	shutdown(fd[0], SHUT_RDWR);
	d0_close_in(p);
	for (int i = 0; i < n; i++)
		pthread_join(drain[i], NULL);
	d0_release(p);
	box_put(box);
	close(fd[1]);
	pthread_mutex_destroy(&b.lock);
	return 0;
}
