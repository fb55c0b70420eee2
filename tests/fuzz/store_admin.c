/* SPDX-License-Identifier: ISC */
/*
 * Requests on an admin channel: the input is a sequence of operation (1 byte), length (2),
 * payload; each becomes a frame, operation 255 the bytes themselves, 254 a new start of the
 * client. Every request is answered in order, by frames that are whole.
 */
#include "cells/store/admin.c"
#include "tests/unit/store_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct store_env env;
static uint8_t *blank;
static uint8_t ring[256 << 10] __attribute__((aligned(4096)));
static struct d0_channel channel = {.state = D0_CHANNEL_OPEN,
				    .protocol = D0_PROTO_ADMIN,
				    .role = D0_ROLE_SERVER,
				    .ring_size = sizeof(ring)};

/* ---- the client ---- */
static struct stream client;
static uint8_t answer[sizeof(struct d0_admin_head) + D0_ADMIN_MAX];
static size_t have;
static uint32_t sent, answered; /* tags */
static bool framed;             /* all that was sent was frames */

static void check_answer(const struct d0_admin_head *h)
{
	if (h->len > D0_ADMIN_MAX || h->status > 0 || (h->flags & D0_ADMIN_MORE && h->status))
		abort();
	if (framed && (h->tag <= answered || h->tag > sent))
		abort();
	if (!(h->flags & D0_ADMIN_MORE))
		answered = h->tag;
}

static void drain(void)
{
	struct d0_admin_head h;
	bool notify = false;
	size_t n;

	stream_peer_restarted(&client);
	while ((n = stream_read(&client, answer + have, sizeof(answer) - have, &notify))) {
		have += n;
		for (;;) {
			memcpy(&h, answer, sizeof(h));
			if (have < sizeof(h))
				break;
			check_answer(&h);
			if (have < sizeof(h) + h.len)
				break;
			have -= sizeof(h) + h.len;
			memmove(answer, answer + sizeof(h) + h.len, have);
		}
	}
}

static void client_start(void)
{
	if (stream_open(&client, ring, sizeof(ring), false))
		abort();
	have = 0;
	framed = true;
	sent = answered = 0;
}

/* ---- what the cell has around it ---- */
const struct d0_channel *cell_channel(unsigned ch)
{
	return ch == 0 ? &channel : NULL;
}
void *cell_channel_ring(unsigned ch, size_t *size)
{
	*size = sizeof(ring);
	return ring;
}
int cell_notify(unsigned ch)
{
	return 0;
}
void cell_random_bytes(void *buf, size_t len)
{
	static uint64_t x = 1;

	for (uint8_t *p = buf; len--; p++)
		*p = (uint8_t)((x += 0x9e3779b97f4a7c15ull) >> 56);
}
void log_at(enum log_level level, const char *fmt, ...)
{
}
uint64_t clock_ns(void)
{
	return env.clock;
}
void events_collect(void)
{
}
bool events_take(unsigned ch)
{
	return true;
}
void events_sleep_new(uint64_t deadline)
{
	drain();
}
bool fs_channels_serve(struct store *s)
{
	return false;
}
void store_serve_others(void *ctx)
{
}

/* ---- the volume: two trees with a little of everything ---- */
static void put(struct h2_pfs *p, uint64_t dir, const char *name, const char *text)
{
	struct h2_new how = {.mode = 0644};
	struct h2_attr a;

	if (h2_create(p, dir, name, strlen(name), &how, &a) ||
	    h2_write(p, a.ino, 0, text, strlen(text)) < 0)
		abort();
}

static void fill(const char *label, const char *text)
{
	struct h2_new how = {.mode = 0755};
	struct h2_pfs *p;
	struct h2_attr d, a;

	if (h2_pfs_open(env.vol, label, 0, &p) ||
	    h2_mkdir(p, H2_ROOT_INO, "etc", 3, &how, &d) ||
	    h2_symlink(p, H2_ROOT_INO, "link", 4, "etc/passwd", 10, &how, &a) ||
	    h2_symlink(p, d.ino, "loop", 4, "../etc/loop", 11, &how, &a))
		abort();
	put(p, d.ino, "passwd", text);
	put(p, H2_ROOT_INO, text, "file");
	h2_pfs_close(p);
}

static void make_volume(void)
{
	static const struct h2_pfs_opts o = {.comp = H2_COMP_LZ4};

	store_env_open(&env, 32 << 20);
	if (h2_pfs_create(env.vol, "other", &o))
		abort();
	fill("root", "one");
	fill("other", "two");
	h2_sync(env.vol);
	blank = malloc(env.size);
	memcpy(blank, env.mem, env.size);
	env.writes = 0;
}

/* ---- one input ---- */
static void send_bytes(struct store *s, const void *p, size_t len)
{
	const uint8_t *at = p;
	bool notify = false;

	for (unsigned tries = 0; len && tries < 64; tries++) {
		size_t n = stream_write(&client, at, len, &notify);

		at += n;
		len -= n;
		admin_serve(s);
		drain();
	}
}

static void one(struct store *s, unsigned op, const uint8_t *p, size_t len)
{
	struct d0_admin_head h = {.len = (uint32_t)len, .op = (uint16_t)op, .tag = ++sent};

	if (op == 254) {
		client_start();
	} else if (op == 255) {
		framed = false;
		send_bytes(s, p, len);
	} else {
		send_bytes(s, &h, sizeof(h));
		send_bytes(s, p, len);
		if (framed && op != D0_ADMIN_IMPORT_DATA && op != D0_ADMIN_UNPACK_DATA &&
		    answered != sent)
			abort();
	}
	while (admin_job_step(s))
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct store s = {0};

	if (!blank) {
		make_volume();
	} else if (env.writes) {
		memcpy(env.mem, blank, env.size);
		env.writes = 0;
		store_env_crash(&env);
	}
	s.vol = env.vol;
	memset(ring, 0, sizeof(ring));
	channel.generation++;
	client_start();
	admin_scan(&s);
	while (size >= 3) {
		size_t len = (size_t)(data[1] | data[2] << 8);

		len = len < size - 3 ? len : size - 3;
		one(&s, data[0], data + 3, len);
		data += 3 + len;
		size -= 3 + len;
	}
	admin_close(&s);
	return 0;
}
