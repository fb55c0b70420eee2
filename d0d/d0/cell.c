// Making a container's cell: the cell itself, its channels to d0d, and its files, which are
// sent as tar archives through the channel `rootfs` (cells/linux/boot/rootfs.c reads them).
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/d0/box.h"

#define RING          (4096ull + 2 * 65536)
#define MEM_DEFAULT   (64ull << 20)
#define MEM_LEAST     (16ull << 20)
#define START_MS      30000
#define VCPUS_DEFAULT 2
#define PREFIX        "ct-" // of containers' cells' names

static int cell_do(struct d0_backend *b, enum d0_ctl_op op, uint32_t cell, uint32_t flags,
		   struct err *e)
{
	struct d0_ctl_cell_op r = {.h.cell = cell, .flags = flags};

	return ctl_call(b, &r, op, sizeof(r), e);
}

// Two vCPUs where the machine has as many CPUs; with --cpus as many as it takes to use so
// much, each with its part of the time.
static void cpus_set(struct d0_backend *b, const struct be_spec *s,
		     struct d0_ctl_cell_create *r)
{
	struct d0_ctl_system_status sys = {0};
	long long nano = s->limits.nano_cpus;
	uint32_t most = D0_VCPUS_MAX;

	if (ctl_call(b, &sys, D0_CTL_system_status, sizeof(sys), NULL) == 0 && sys.cpus < most)
		most = sys.cpus;
	r->vcpus = nano > 0 ? (uint32_t)((nano + 999999999) / 1000000000) : VCPUS_DEFAULT;
	if (r->vcpus > most)
		r->vcpus = most;
	if (nano > 0 && nano < (long long)r->vcpus * 1000000000)
		r->budget_us = (uint32_t)(nano / r->vcpus / 10000);
}

static int cell_make(struct box *x, const struct be_spec *s, struct err *e)
{
	struct d0_ctl_cell_create r = {.heap = 65536,
				       .stack = 32768,
				       .channels = 8,
				       .priority = 3,
				       .restart = D0_RESTART_NEVER};

	x->memory = s->limits.memory > 0 ? (uint64_t)s->limits.memory : MEM_DEFAULT;
	if (x->memory < MEM_LEAST)
		return err_set(
		    e, 400, "the d0 backend needs at least 16 MiB of memory for a container");
	r.user = x->memory;
	cpus_set(x->b, s, &r);
	snprintf(r.name, sizeof(r.name), PREFIX "%.12s", s->id);
	snprintf(r.image, sizeof(r.image), "linux");
	if (ctl_call(x->b, &r, D0_CTL_cell_create, sizeof(r), e) < 0)
		return -1;
	x->cell = r.h.cell;
	return 0;
}

// The device appears a moment after the channel.
static int device_open(uint32_t channel)
{
	char path[32];
	int fd = -1;

	snprintf(path, sizeof(path), "/dev/d0/chan%u", channel);
	for (int i = 0; i < 200 && fd < 0; i++) {
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			usleep(10000);
	}
	return fd;
}

static int channel_make(struct box *x, int which, const char *label, uint32_t protocol,
			struct err *e)
{
	struct d0_ctl_channel_create r = {
	    .h.cell = x->b->self, .client = x->cell, .protocol = protocol, .ring = RING};

	snprintf(r.label, sizeof(r.label), "%s", label);
	if (ctl_call(x->b, &r, D0_CTL_channel_create, sizeof(r), e) < 0)
		return -1;
	x->channel[which] = r.server_channel;
	return 0;
}

// A channel is open, and its device there, once the cell runs.
static int devices_open(struct box *x, struct err *e)
{
	x->ctl = device_open(x->channel[0]);
	x->root = x->ctl < 0 ? -1 : device_open(x->channel[1]);
	if (x->root < 0)
		return err_set(e, 500, "channel of the container's cell: %s", strerror(errno));
	return 0;
}

static void channel_drop(struct box *x, int which)
{
	struct d0_ctl_channel_destroy r = {.h.cell = x->b->self, .channel = x->channel[which]};

	if (x->channel[which] != ~0u)
		ctl_call(x->b, &r, D0_CTL_channel_destroy, sizeof(r), NULL);
	x->channel[which] = ~0u;
}

int box_new(struct d0_backend *b, const struct be_spec *s, struct box **out, struct err *e)
{
	struct box *x = xcalloc(1, sizeof(*x));

	*x = (struct box){
	    .b = b, .cell = ~0u, .channel = {~0u, ~0u}, .ctl = -1, .root = -1, .next_id = 1};
	pthread_mutex_init(&x->lock, NULL);
	pthread_mutex_init(&x->wlock, NULL);
	pthread_cond_init(&x->changed, NULL);
	if (cell_make(x, s, e) < 0 ||
	    channel_make(x, 0, D0_CON_LABEL, D0_PROTO_CONSOLE, e) < 0 ||
	    channel_make(x, 1, "rootfs", D0_PROTO_STREAM, e) < 0 ||
	    cell_do(b, D0_CTL_cell_start, x->cell, 0, e) < 0 || devices_open(x, e) < 0) {
		box_free(x);
		return -1;
	}
	*out = x;
	return 0;
}

// The cell ends first: that closes the channels, which ends the reader.
void box_end(struct box *x)
{
	if (x->cell != ~0u) {
		cell_do(x->b, D0_CTL_cell_stop, x->cell, 1, NULL);
		cell_do(x->b, D0_CTL_cell_destroy, x->cell, 0, NULL);
	}
	x->cell = ~0u;
	if (x->reading)
		pthread_join(x->reader, NULL);
	x->reading = false;
}

void box_free(struct box *x)
{
	box_end(x);
	if (x->ctl >= 0)
		close(x->ctl);
	if (x->root >= 0)
		close(x->root);
	channel_drop(x, 0);
	channel_drop(x, 1);
	pthread_mutex_destroy(&x->lock);
	pthread_mutex_destroy(&x->wlock);
	pthread_cond_destroy(&x->changed);
	free(x);
}

void box_sweep(struct d0_backend *b)
{
	for (uint32_t i = 0; i < 4096; i++) {
		struct d0_ctl_cell_status s = {.h.cell = i};
		struct err e;

		if (ctl_call(b, &s, D0_CTL_cell_status, sizeof(s), &e) < 0 ||
		    strncmp(s.name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		cell_do(b, D0_CTL_cell_stop, i, 1, NULL);
		cell_do(b, D0_CTL_cell_destroy, i, 0, NULL);
	}
}

// ---- files ----

// An archive goes in pieces: a length (32 bits) and that many bytes; length 0 ends it. An
// archive without bytes ends the sequence.
static int send_piece(void *ctx, const void *buf, size_t n)
{
	struct box *x = ctx;
	uint32_t len = (uint32_t)n;

	if (n == 0)
		return 0;
	return fd_write_all(x->root, &len, sizeof(len)) < 0 || fd_write_all(x->root, buf, n) < 0
		   ? -1
		   : 0;
}

static int send_end(struct box *x)
{
	uint32_t none = 0;

	return fd_write_all(x->root, &none, sizeof(none));
}

// One ustar entry (POSIX.1-1988), root's, 0644.
static int send_file(struct box *x, const char *name, const char *text)
{
	char h[512] = {0}, pad[512] = {0};
	size_t n = strlen(text);
	unsigned sum = 0;

	snprintf(h, 100, "%s", name);
	snprintf(h + 100, 8, "0000644");
	snprintf(h + 108, 8, "0000000");
	snprintf(h + 116, 8, "0000000");
	snprintf(h + 124, 12, "%011o", (unsigned)n);
	snprintf(h + 136, 12, "%011o", 0u);
	memset(h + 148, ' ', 8);
	h[156] = '0';
	memcpy(h + 257, "ustar\00000", 8);
	for (int i = 0; i < 512; i++)
		sum += (unsigned char)h[i];
	snprintf(h + 148, 8, "%06o", sum);
	return send_piece(x, h, 512) < 0 || send_piece(x, text, n) < 0 ||
		       send_piece(x, pad, (512 - n % 512) % 512) < 0
		   ? -1
		   : 0;
}

static int send_etc(struct box *x, const struct be_spec *s)
{
	const char *const file[][2] = {{"etc/hosts", s->etc_hosts},
				       {"etc/resolv.conf", s->etc_resolv},
				       {"etc/hostname", s->etc_hostname}};
	char zero[1024] = {0};

	for (size_t i = 0; i < 3; i++)
		if (file[i][1] && send_file(x, file[i][0], file[i][1]) < 0)
			return -1;
	return send_piece(x, zero, sizeof(zero)) < 0 ? -1 : send_end(x);
}

int box_send_root(struct box *x, const struct be_spec *s, struct err *e)
{
	struct be_sink sink = {send_piece, x};
	char ready;

	if (fd_read_all(x->root, &ready, 1, START_MS) < 0)
		return err_set(e, 500, "the container's cell does not start");
	if (lx_tree_pack(&x->b->trees, s->tree, "/", "", &sink, e) < 0)
		return -1;
	if (send_end(x) < 0 || send_etc(x, s) < 0 || send_end(x) < 0)
		return err_set(e, 500, "the container's cell ended while it took its files");
	return 0;
}
