/* SPDX-License-Identifier: ISC */
#include "cells/transport/hosted/tap.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "cells/transport/core/tp_conf.h"

#define FRAME_MAX 65664u

struct vnet_hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
};
_Static_assert(sizeof(struct vnet_hdr) == 10, "virtio 1.2 section 5.1.6, legacy length");

static uint64_t deadline;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void *op_tx_get(void *ctx, unsigned ifi, uint32_t len)
{
	struct hosted *h = ctx;

	return len <= FRAME_MAX ? h->tx + sizeof(struct vnet_hdr) : NULL;
}

static void op_tx_put(void *ctx, unsigned ifi, void *frame, uint32_t len,
		      const struct tp_meta *m)
{
	struct hosted *h = ctx;
	struct vnet_hdr v = {m->flags & TP_META_NEEDS_CSUM,
			     m->gso_type,
			     m->hdr_len,
			     m->gso_size,
			     m->csum_start,
			     m->csum_offset};

	if (!len)
		return;
	memcpy(h->tx, &v, sizeof(v));
	if (write(h->tap, h->tx, len + sizeof(v)) < 0 && errno != EAGAIN && errno != EIO)
		die("write to the TAP device");
}

static uint64_t op_now(void *ctx)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void op_random(void *ctx, void *buf, uint32_t len)
{
	if (getrandom(buf, len, 0) != (ssize_t)len)
		die("getrandom");
}

static void op_notify(void *ctx, unsigned client)
{
	((struct hosted *)ctx)->wakeups++;
}

static void op_log(void *ctx, const char *line)
{
	if (!((struct hosted *)ctx)->quiet)
		fprintf(stderr, "transport: %s\n", line);
}

static void client_notify(void *ctx)
{
	deadline = 0;
}

static void client_wait(void *ctx)
{
	struct hosted *h = ctx;

	deadline = tp_poll(h->st);
}

static void tap_open(struct hosted *h, const struct hosted_cfg *cfg)
{
	struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	unsigned off = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
	int size = sizeof(struct vnet_hdr);

	h->tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	strncpy(r.ifr_name, cfg->tap, IFNAMSIZ - 1);
	if (h->tap < 0 || ioctl(h->tap, TUNSETIFF, &r) || ioctl(h->tap, TUNSETVNETHDRSZ, &size))
		die("TAP device");
	if (ioctl(h->tap, TUNSETOFFLOAD, cfg->offload ? off : 0))
		die("TUNSETOFFLOAD");
}

/* Memory that a file can back, so that the next process finds what this one left. */
static void *memory(const struct hosted_cfg *cfg, const char *suffix, size_t size)
{
	char path[512];
	int fd = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS;
	void *p;

	size = (size + 4095) & ~(size_t)4095;
	if (cfg->state_file) {
		snprintf(path, sizeof(path), "%s.%s", cfg->state_file, suffix);
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || ftruncate(fd, (off_t)size))
			die(path);
		flags = MAP_SHARED;
	}
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	if (fd >= 0)
		close(fd);
	return p;
}

void hosted_open(struct hosted *h, const struct hosted_cfg *cfg)
{
	static const struct tp_ops ops = {op_tx_get, op_tx_put, op_now,
					  op_random, op_notify, op_log};
	struct hosted_cfg none = {0};
	struct tp_config tp = cfg->tp;
	struct tp_if_config ic = {.name = "eth0"};
	size_t arena, state;

	memset(h, 0, sizeof(*h));
	h->quiet = cfg->quiet;
	tap_open(h, cfg);
	tp_conf_stack(&tp, cfg->args);
	arena = tp_arena_size(&tp);
	state = tp_state_size(&tp);
	h->rx = malloc(FRAME_MAX);
	h->tx = malloc(FRAME_MAX);
	h->arena = memory(&none, "", arena);
	h->state = memory(cfg, "state", state);
	h->region = memory(cfg, "region", cfg->region);
	h->memory = calloc(1, pvs_memory(cfg->region, cfg->slots));
	h->st = tp_init(h->arena, arena, h->state, state, &tp, &ops, h);
	if (!h->st || !h->memory)
		die("tp_init");
	if (pvs_init(&h->c, h->region, cfg->region, cfg->slots, (uint32_t)time(NULL) | 1,
		     h->memory, client_notify, client_wait, h))
		die("client region");
	tp_attach_client(h->st, 0, h->region, cfg->region);
	memcpy(ic.mac, cfg->mac, 6);
	ic.caps = cfg->offload ? TP_CAP_CSUM | TP_CAP_TSO4 | TP_CAP_TSO6 : 0;
	tp_conf_if(&ic, &cfg->args, 1);
	if (tp_if_add(h->st, 1, &ic) || tp_conf_addresses(h->st, 1, &cfg->args, 1) ||
	    tp_conf_services(h->st, cfg->args)) {
		fprintf(stderr, "bad configuration: %s\n", cfg->args);
		exit(1);
	}
}

void hosted_poll(struct hosted *h)
{
	for (int i = 0; i < 64; i++) {
		ssize_t n = read(h->tap, h->rx, FRAME_MAX);
		struct vnet_hdr v;
		struct tp_meta m;

		if (n < 0 && errno != EAGAIN && errno != EIO)
			die("read from the TAP device");
		if (n <= (ssize_t)sizeof(v))
			break;
		memcpy(&v, h->rx, sizeof(v));
		m = (struct tp_meta){.flags = v.flags & 3,
				     .gso_type = v.gso_type & 0x7f,
				     .gso_size = v.gso_size};
		tp_input(h->st, 1, h->rx + sizeof(v), (uint32_t)n - (uint32_t)sizeof(v), &m);
	}
	deadline = tp_poll(h->st);
}

void hosted_sleep(struct hosted *h, uint64_t max_ns)
{
	struct pollfd p = {h->tap, POLLIN, 0};
	uint64_t now = op_now(h), at = deadline < now + max_ns ? deadline : now + max_ns;
	struct timespec t;

	if (!deadline || !pvs_idle_begin(&h->c))
		return;
	if (tp_idle_begin(h->st)) {
		if (at > now) {
			t.tv_sec = (time_t)((at - now) / 1000000000ull);
			t.tv_nsec = (long)((at - now) % 1000000000ull);
			ppoll(&p, 1, &t, NULL);
		}
		tp_idle_end(h->st);
	}
	pvs_idle_end(&h->c);
}
