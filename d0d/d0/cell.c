// SPDX-License-Identifier: ISC
// A container's cell: making it with its channels (to d0d its control channel, to the store one
// for its root and one for each volume), finding one that outlived an earlier d0d, ending it.
//
// A box is counted: a starter or an adopter holds it, then each program's handle, and whoever
// found it by its container. The list in the backend holds none: box_end() takes it out.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/d0/box.h"
#include "d0d/d0/store.h"

#define CTL_RING      (4096ull + 2 * 65536)
#define FS_RING       (512ull << 10)
#define MEM_DEFAULT   (64ull << 20)
#define MEM_LEAST     (16ull << 20)
#define CHANNELS_MAX  64u // of a container's cell
#define VCPUS_DEFAULT 2
// Shares are turns on a CPU in proportion, as far as the nucleus' scheduler is fair to who
// waits.
#define SHARES_DEFAULT 1024
#define SLICE_US       10000
#define SLICE_LEAST_US 500
#define SLICE_MOST_US  40000

static int cell_do(struct d0_backend *b, enum d0_ctl_op op, uint32_t cell, uint32_t flags,
		   struct err *e)
{
	struct d0_ctl_cell_op r = {.h.cell = cell, .flags = flags};

	return ctl_call(b, &r, op, sizeof(r), e);
}

static void cell_name(const char *id, char out[D0_NAME_MAX])
{
	snprintf(out, D0_NAME_MAX, BOX_PREFIX "%.12s", id);
}

void cpu_limits(const struct be_limits *l, uint32_t vcpus, uint32_t *budget_us,
		uint32_t *slice_us)
{
	int64_t slice = SLICE_US * l->cpu_shares / SHARES_DEFAULT;

	*budget_us = 0;
	if (l->nano_cpus > 0 && l->nano_cpus < (int64_t)vcpus * 1000000000)
		*budget_us = (uint32_t)(l->nano_cpus / vcpus / (1000000000 / D0_CTL_PERIOD_US));
	*slice_us = slice <= 0               ? 0
		    : slice < SLICE_LEAST_US ? SLICE_LEAST_US
		    : slice > SLICE_MOST_US  ? SLICE_MOST_US
					     : (uint32_t)slice;
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
	cpu_limits(&s->limits, r->vcpus, &r->budget_us, &r->slice_us);
}

static int cell_make(struct box *x, const struct be_spec *s, struct err *e)
{
	struct d0_ctl_cell_create r = {.heap = 65536,
				       .stack = 32768,
				       .channels = 8 + (uint32_t)s->nmounts,
				       .priority = 3,
				       .restart = D0_RESTART_NEVER};

	x->memory = s->limits.memory > 0 ? (uint64_t)s->limits.memory : MEM_DEFAULT;
	if (x->memory < MEM_LEAST)
		return err_set(
		    e, 400, "the d0 backend needs at least 16 MiB of memory for a container");
	if (r.channels > CHANNELS_MAX)
		return err_set(e, 400, "too many mounts");
	r.user = x->memory;
	cpus_set(x->b, s, &r);
	cell_name(s->id, r.name);
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
	for (int i = 0; i < 400 && fd < 0; i++) {
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			usleep(i < 20 ? 1000 : 10000);
	}
	return fd;
}

static int control_channel(struct box *x, struct err *e)
{
	struct d0_ctl_channel_create r = {.h.cell = x->b->self,
					  .client = x->cell,
					  .protocol = D0_PROTO_CONSOLE,
					  .ring = CTL_RING,
					  .label = D0_CON_LABEL};

	if (ctl_call(x->b, &r, D0_CTL_channel_create, sizeof(r), e) < 0)
		return -1;
	x->channel = r.server_channel;
	return 0;
}

static int files_channel(struct box *x, const char *label, const char *tree, bool ro, bool data,
			 struct err *e)
{
	struct d0_ctl_channel_create r = {.h.cell = x->b->store_cell,
					  .client = x->cell,
					  .protocol = D0_PROTO_FS,
					  .ring = FS_RING};

	snprintf(r.label, sizeof(r.label), "%s", label);
	// What began as no image needs no signature (require-signed): data=1.
	if ((size_t)snprintf(r.server_args, sizeof(r.server_args), "pfs=%s%s%s", tree,
			     ro ? " ro=1" : "", data ? " data=1" : "") >= sizeof(r.server_args))
		return err_set(e, 400, "a volume's name is too long");
	return ctl_call(x->b, &r, D0_CTL_channel_create, sizeof(r), e);
}

static int volumes(struct box *x, const struct be_spec *s, struct err *e)
{
	x->mount = xcalloc(s->nmounts + 1, sizeof(*x->mount));
	for (size_t i = 0; i < s->nmounts; i++) {
		const struct be_mount *m = &s->mounts[i];
		char label[D0_NAME_MAX];
		if (!m->tree)
			continue;
		snprintf(label, sizeof(label), "vol%zu", i);
		if (files_channel(x, label, m->tree, m->read_only, true, e) < 0)
			return -1;
		x->mount[x->nmounts++] = (struct box_mount){xstrdup(m->dest), xstrdup(m->tree)};
	}
	return 0;
}

static struct box *box_alloc(struct d0_backend *b, const struct be_spec *s)
{
	struct box *x = xcalloc(1, sizeof(*x));

	*x = (struct box){
	    .b = b, .refs = 1, .cell = ~0u, .channel = ~0u, .ctl = -1, .next_id = 1};
	snprintf(x->id, sizeof(x->id), "%s", s->id);
	snprintf(x->tree, sizeof(x->tree), "%s", s->tree);
	pthread_mutex_init(&x->lock, NULL);
	pthread_mutex_init(&x->wlock, NULL);
	pthread_cond_init(&x->changed, NULL);
	pthread_mutex_lock(&b->lock);
	x->next = b->boxes;
	b->boxes = x;
	pthread_mutex_unlock(&b->lock);
	return x;
}

int box_new(struct d0_backend *b, struct be_spec *s, struct box **out, struct err *e)
{
	struct box *x = box_alloc(b, s);
	int rc = cell_make(x, s, e);

	if (rc == 0)
		rc = control_channel(x, e);
	if (rc == 0)
		rc = files_channel(x, "root", s->tree, false, false, e);
	if (rc == 0)
		rc = volumes(x, s, e);
	if (rc == 0)
		rc = net_open(b, s, x->cell, &x->net, &x->net_client, e);
	if (rc == 0)
		rc = cell_do(b, D0_CTL_cell_start, x->cell, 0, e);
	if (rc == 0) {
		x->ctl = device_open(x->channel);
		if (x->ctl < 0)
			rc = err_set(e, 500, "channel of the container's cell: %s",
				     strerror(errno));
	}
	if (rc == 0) {
		*out = x;
		return 0;
	}
	box_end(x);
	box_put(x);
	return -1;
}

// ---- finding ----

struct box *box_find(struct d0_backend *b, const char *id)
{
	struct box *x;

	pthread_mutex_lock(&b->lock);
	for (x = b->boxes; x && strcmp(x->id, id) != 0; x = x->next)
		;
	if (x)
		x->refs++;
	pthread_mutex_unlock(&b->lock);
	return x;
}

int box_adopt(struct d0_backend *b, const struct be_spec *s, struct box **out)
{
	char name[D0_NAME_MAX];
	struct box *x;

	cell_name(s->id, name);
	uint32_t cell = cell_next(b, name, 0);
	if (cell == ~0u)
		return 0;
	x = box_alloc(b, s);
	x->cell = cell;
	x->memory = s->limits.memory > 0 ? (uint64_t)s->limits.memory : MEM_DEFAULT;
	x->mount = xcalloc(s->nmounts + 1, sizeof(*x->mount));
	for (size_t i = 0; i < s->nmounts; i++)
		if (s->mounts[i].tree)
			x->mount[x->nmounts++] = (struct box_mount){xstrdup(s->mounts[i].dest),
								    xstrdup(s->mounts[i].tree)};
	// Our control channel: channels outlive a restart of either end.
	struct d0_channel c = {
	    .protocol = D0_PROTO_CONSOLE, .role = D0_ROLE_SERVER, .peer_cell = cell};
	x->ctl = channel_open(&c, &x->channel);
	net_adopt(b, s, cell, &x->net, &x->net_client);
	*out = x;
	return 1;
}

// ---- ending ----

// The rest of a stopped cell: its channels go with both their ends, else the slots of d0d's
// and the store's tables would stay taken. Nobody may use a device of them any more.
static void cell_free(struct d0_backend *b, uint32_t cell)
{
	for (uint32_t i = 0; i < CHANNELS_MAX; i++) {
		struct d0_ctl_channel_destroy r = {.h.cell = cell, .channel = i};
		ctl_call(b, &r, D0_CTL_channel_destroy, sizeof(r), NULL);
	}
	cell_do(b, D0_CTL_cell_destroy, cell, 0, NULL);
}

// With the cell the reader ends, having read what is left; then the channel may go.
void box_end(struct box *x)
{
	pthread_mutex_lock(&x->b->lock);
	for (struct box **at = &x->b->boxes; *at; at = &(*at)->next)
		if (*at == x) {
			*at = x->next;
			break;
		}
	pthread_mutex_unlock(&x->b->lock);
	if (x->cell != ~0u)
		cell_do(x->b, D0_CTL_cell_stop, x->cell, 1, NULL);
	if (x->reading)
		pthread_join(x->reader, NULL);
	x->reading = false;
	pthread_mutex_lock(&x->wlock);
	x->gone = true;
	if (x->ctl >= 0)
		close(x->ctl);
	x->ctl = -1;
	pthread_mutex_unlock(&x->wlock);
	// The network's cell first: a channel goes from both its cells at once, and that one
	// runs.
	net_close(x->net, x->net_client);
	x->net = NULL;
	if (x->cell != ~0u) {
		store_settle(x->b);
		cell_free(x->b, x->cell);
	}
	x->cell = ~0u;
}

static void box_free(struct box *x)
{
	for (size_t i = 0; i < x->nmounts; i++) {
		free(x->mount[i].dest);
		free(x->mount[i].tree);
	}
	free(x->mount);
	free(x->tasks);
	pthread_mutex_destroy(&x->lock);
	pthread_mutex_destroy(&x->wlock);
	pthread_cond_destroy(&x->changed);
	free(x);
}

void box_put(struct box *x)
{
	pthread_mutex_lock(&x->b->lock);
	bool last = --x->refs == 0;
	pthread_mutex_unlock(&x->b->lock);
	if (last)
		box_free(x);
}

static bool adopted(struct d0_backend *b, uint32_t cell)
{
	struct box *x;

	pthread_mutex_lock(&b->lock);
	for (x = b->boxes; x && x->cell != cell; x = x->next)
		;
	pthread_mutex_unlock(&b->lock);
	return x;
}

void box_sweep(struct d0_backend *b)
{
	for (uint32_t i = 0; (i = cell_next(b, BOX_PREFIX, i)) != ~0u; i++) {
		if (adopted(b, i))
			continue;
		cell_do(b, D0_CTL_cell_stop, i, 1, NULL);
		store_settle(b);
		cell_free(b, i);
	}
	net_sweep(b);
	cells_forget(b);
}
