/* SPDX-License-Identifier: ISC */
/* Making hosted cells and connecting them: what the nucleus's sync does on the machine. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>
#include "libcell/hosted.h"
#include "libcell/hosted/hosted_impl.h"

#define WAKE_TAG ((uint64_t)~0u)

static void copy_text(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
}

static bool vcpu_init(struct hosted_cell *c, unsigned number)
{
	struct hosted_vcpu *v = &c->vcpu[number];
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = WAKE_TAG};

	*v = (struct hosted_vcpu){.cell = c, .number = number, .timer = D0_NEVER};
	v->epoll = epoll_create1(EPOLL_CLOEXEC);
	v->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return v->epoll >= 0 && v->wake >= 0 &&
	       !epoll_ctl(v->epoll, EPOLL_CTL_ADD, v->wake, &ev);
}

struct hosted_cell *hosted_cell_new(const char *name, const char *args)
{
	struct hosted_cell *c = aligned_alloc(4096, (sizeof(*c) + 4095) & ~4095ul);
	struct d0_info *info;

	if (!c)
		return NULL;
	memset(c, 0, sizeof(*c));
	info = &c->page.info;
	*info = (struct d0_info){
	    .magic = D0_ABI_MAGIC,
	    .version = D0_ABI_VERSION,
	    .start_count = 1,
	    .vcpus = D0_VCPUS_MAX,
	    .region_off = (uint32_t)((char *)c->page.region - (char *)info),
	    .channels = HOSTED_CHANNELS,
	    .channel_off = (uint32_t)((char *)c->page.channel - (char *)info),
	    .clock = (uintptr_t)&c->clock,
	    .events = (uintptr_t)c->events,
	    .counters = (uintptr_t)&c->counters,
	};
	copy_text(info->name, sizeof(info->name), name);
	copy_text(info->image, sizeof(info->image), name);
	copy_text(info->args, sizeof(info->args), args);
	for (unsigned i = 0; i < HOSTED_CHANNELS; i++)
		c->peer[i].send_fd = c->peer[i].recv_fd = -1;
	for (unsigned i = 0; i < D0_VCPUS_MAX; i++)
		if (!vcpu_init(c, i)) {
			hosted_cell_free(c);
			return NULL;
		}
	if (getrandom(info->seed, sizeof(info->seed), 0) != (ssize_t)sizeof(info->seed)) {
		hosted_cell_free(c);
		return NULL;
	}
	return c;
}

static int channel_slot(const struct hosted_cell *c)
{
	for (int i = 0; i < HOSTED_CHANNELS; i++)
		if (c->page.channel[i].state == D0_CHANNEL_FREE)
			return i;
	return D0_ELIMIT;
}

/* Fills a slot; the state is set last. */
static void channel_fill(struct hosted_cell *c, int n, const struct d0_channel *as)
{
	struct d0_channel *ch = &c->page.channel[n];
	uint32_t generation = ch->generation + 1;

	*ch = *as;
	ch->generation = generation;
	__atomic_store_n(&ch->state, D0_CHANNEL_OPEN, __ATOMIC_RELEASE);
	c->page.info.config_seq++;
	hosted_raise_flags(c, 0, D0_EV_CONFIG);
}

static struct d0_channel channel_entry(enum d0_protocol protocol, enum d0_role role,
				       const char *label, const char *args, void *ring,
				       size_t ring_size)
{
	struct d0_channel ch = {
	    .protocol = (uint32_t)protocol,
	    .role = (uint32_t)role,
	    .ring_base = (uintptr_t)ring,
	    .ring_size = ring_size,
	    .ring_dma = D0_NEVER,
	};

	copy_text(ch.label, sizeof(ch.label), label);
	copy_text(ch.args, sizeof(ch.args), args);
	return ch;
}

int hosted_connect(struct hosted_cell *server, struct hosted_cell *client,
		   enum d0_protocol protocol, size_t ring, const char *label,
		   const char *server_args, const char *client_args, int *sc, int *cc)
{
	struct d0_channel sch, cch;
	int s = channel_slot(server), k = channel_slot(client);
	void *mem = NULL;

	if (s < 0 || k < 0)
		return D0_ELIMIT;
	ring = (ring + 4095) & ~(size_t)4095;
	if (ring) {
		mem =
		    mmap(NULL, ring, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (mem == MAP_FAILED)
			return D0_ENOMEM;
	}
	server->ring[s] = mem; /* the server's cell unmaps it */
	sch = channel_entry(protocol, D0_ROLE_SERVER, label, server_args, mem, ring);
	cch = channel_entry(protocol, D0_ROLE_CLIENT, label, client_args, mem, ring);
	server->peer[s] = (struct hosted_peer){client, (unsigned)k, -1, -1, false};
	client->peer[k] = (struct hosted_peer){server, (unsigned)s, -1, -1, false};
	channel_fill(server, s, &sch);
	channel_fill(client, k, &cch);
	if (sc)
		*sc = s;
	if (cc)
		*cc = k;
	return D0_OK;
}

int hosted_poll_add(struct hosted_vcpu *v, int fd, unsigned channel)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = channel};

	return epoll_ctl(v->epoll, EPOLL_CTL_ADD, fd, &ev) ? D0_EINVAL : D0_OK;
}

int hosted_add_channel(struct hosted_cell *c, enum d0_protocol protocol, enum d0_role role,
		       const char *label, const char *args, int ring_fd, size_t ring_size,
		       int send_fd, int recv_fd)
{
	int n = channel_slot(c);
	struct d0_channel ch;
	void *mem = NULL;

	if (n < 0)
		return n;
	if (ring_size) {
		mem = mmap(NULL, ring_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, 0);
		if (mem == MAP_FAILED)
			return D0_ENOMEM;
	}
	ch = channel_entry(protocol, role, label, args, mem, ring_size);
	c->peer[n] = (struct hosted_peer){NULL, 0, send_fd, recv_fd, false};
	channel_fill(c, n, &ch);
	return hosted_poll_add(&c->vcpu[0], recv_fd, (unsigned)n) ? D0_EINVAL : n;
}

int hosted_watch_fd(int fd, int channel)
{
	struct hosted_cell *c = hosted_self->cell;
	struct d0_channel ch = channel_entry(D0_PROTO_IRQ, D0_ROLE_CLIENT, "fd", "", NULL, 0);

	if (channel < 0) {
		channel = channel_slot(c);
		if (channel < 0)
			return channel;
		channel_fill(c, channel, &ch);
	}
	if (channel >= HOSTED_CHANNELS || c->peer[channel].recv_fd >= 0)
		return D0_EINVAL;
	c->peer[channel].recv_fd = fd;
	c->peer[channel].watched = true;
	return hosted_poll_add(hosted_self, fd, (unsigned)channel) ? D0_EINVAL : channel;
}

int hosted_unwatch_fd(int fd)
{
	struct hosted_cell *c = hosted_self->cell;

	for (unsigned i = 0; i < HOSTED_CHANNELS; i++)
		if (c->peer[i].watched && c->peer[i].recv_fd == fd) {
			epoll_ctl(hosted_self->epoll, EPOLL_CTL_DEL, fd, NULL);
			c->peer[i].recv_fd = -1;
			c->peer[i].watched = false;
			if (c->page.channel[i].protocol == D0_PROTO_IRQ)
				c->page.channel[i].state = D0_CHANNEL_FREE;
			return D0_OK;
		}
	return D0_ENOENT;
}

int hosted_state(struct hosted_cell *c, size_t bytes)
{
	struct d0_region *r = &c->page.region[0];

	bytes = (bytes + 4095) & ~(size_t)4095;
	c->state =
	    mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->state == MAP_FAILED) {
		c->state = NULL;
		return D0_ENOMEM;
	}
	*r = (struct d0_region){
	    .base = (uintptr_t)c->state,
	    .size = bytes,
	    .type = D0_REGION_STATE,
	    .perms = D0_R | D0_W,
	    .dma_base = D0_NEVER,
	    .name = "state",
	};
	c->page.info.regions = 1;
	return D0_OK;
}

void hosted_enter(struct hosted_cell *c)
{
	hosted_self = c ? &c->vcpu[0] : NULL;
}

static void *cell_thread(void *arg)
{
	struct hosted_cell *c = arg;

	hosted_enter(c);
	c->exit_code = c->main_fn(&c->page.info);
	return NULL;
}

int hosted_start(struct hosted_cell *c, int (*main_fn)(const struct d0_info *))
{
	c->main_fn = main_fn;
	c->own_thread = true;
	return pthread_create(&c->vcpu[0].thread, NULL, cell_thread, c) ? D0_ENOMEM : D0_OK;
}

int hosted_join(struct hosted_cell *c)
{
	pthread_join(c->vcpu[0].thread, NULL);
	return c->exit_code;
}

void hosted_stop(struct hosted_cell *c)
{
	hosted_raise_flags(c, 0, D0_EV_STOP);
}

int hosted_restart(struct hosted_cell *c)
{
	memset(c->events, 0, sizeof(c->events));
	memset(&c->counters, 0, sizeof(c->counters));
	c->page.info.start_count++;
	c->page.info.flags |= D0_INFO_RESTART;
	return hosted_start(c, c->main_fn);
}

void hosted_cell_free(struct hosted_cell *c)
{
	for (unsigned i = 0; i < D0_VCPUS_MAX; i++) {
		if (c->vcpu[i].epoll > 0)
			close(c->vcpu[i].epoll);
		if (c->vcpu[i].wake > 0)
			close(c->vcpu[i].wake);
	}
	for (unsigned i = 0; i < HOSTED_CHANNELS; i++)
		if (c->ring[i])
			munmap(c->ring[i], c->page.channel[i].ring_size);
	if (c->state)
		munmap(c->state, c->page.region[0].size);
	free(c);
}
