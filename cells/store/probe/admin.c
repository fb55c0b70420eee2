/* SPDX-License-Identifier: ISC */
/*
 * The admin side of the store's native client: imports an image made here, lists it, takes a
 * snapshot of it, removes it, scrubs. Prints "probe: ok admin" or "probe: FAILED ...".
 */
#include <stdio.h>
#include <string.h>
#include "cells/store/probe/probe.h"
#include "d0/store_admin.h"
#include "h2/h2.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/log.h"
#include "libcell/stream.h"

static struct {
	unsigned ch;
	struct stream stream;
	uint32_t tag;
	int32_t key;
	char reply[65536]; /* payloads of all frames of the last answer */
	size_t reply_len;
	char config[65];
} p;

/* Wait for the store; true if it started anew. */
static bool pump(bool reading)
{
	bool ready = reading ? stream_wait_read(&p.stream) : stream_wait_write(&p.stream);

	if (!ready)
		cell_wait(clock_ns() + CLOCK_NS_PER_S);
	cell_event_take(p.ch);
	cell_flags_take(~0ull);
	return stream_peer_restarted(&p.stream);
}

static void move(void *buf, size_t len, bool reading)
{
	uint64_t deadline = clock_ns() + 60 * CLOCK_NS_PER_S;
	uint8_t *at = buf;

	while (len) {
		bool notify = false;
		size_t n = reading ? stream_read(&p.stream, at, len, &notify)
				   : stream_write(&p.stream, at, len, &notify);

		at += n;
		len -= n;
		if (notify)
			cell_notify(p.ch);
		if (len && pump(reading))
			probe_failed("the store started anew", 0);
		if (clock_ns() > deadline)
			probe_failed("admin stream stuck", (long)len);
	}
}

static void send(uint16_t op, const void *data, size_t len)
{
	struct d0_admin_head h = {
	    .len = (uint32_t)len, .op = op, .tag = ++p.tag, .status = p.key};

	move(&h, sizeof(h), false);
	move((void *)(uintptr_t)data, len, false);
}

static int receive(void)
{
	struct d0_admin_head h;

	p.reply_len = 0;
	do {
		move(&h, sizeof(h), true);
		if (h.tag != p.tag || h.len > sizeof(p.reply) - 1 - p.reply_len)
			probe_failed("admin answer", h.len);
		move(p.reply + p.reply_len, h.len, true);
		p.reply_len += h.len;
	} while (h.flags & D0_ADMIN_MORE);
	p.reply[p.reply_len] = 0;
	return h.status;
}

static void request(uint16_t op, const char *args, size_t len, int want)
{
	send(op, args, len);
	int got = receive();

	if (got != want) {
		log_error("op %u: %d, %s", op, got, p.reply);
		probe_failed("admin status", got);
	}
}

/* What the store says first. Until it has, its end may not be open. */
static void take_key(void)
{
	struct d0_admin_head h;

	while (!p.stream.peer_epoch)
		pump(true);
	move(&h, sizeof(h), true);
	if (h.op != D0_ADMIN_HELLO || h.len != sizeof(p.key))
		probe_failed("greeting", h.op);
	move(&p.key, sizeof(p.key), true);
}

#define ARGS(s) (s), sizeof(s)

/* ---- an image ---- */

static void hex(const void *data, size_t len, char out[65])
{
	uint8_t raw[32];

	h2_sha256(data, len, raw);
	for (int i = 0; i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", raw[i]);
}

static char tar[64 << 10];
static size_t tar_len;

static void add(const char *name, char type, const char *link, const char *text)
{
	char *t = tar + tar_len;
	size_t len = strlen(text), room = 512 + (len + 511) / 512 * 512;
	unsigned sum = 0;

	if (room + 1024 > sizeof(tar) - tar_len)
		probe_failed("room for a tar", (long)tar_len);
	snprintf(t, 100, "%s", name);
	memcpy(t + 100, "0000644\0000000000\0000000000", 24);
	snprintf(t + 124, 12, "%011o", (unsigned)len);
	memcpy(t + 136, "00000000001", 11);
	memset(t + 148, ' ', 8);
	t[156] = type;
	snprintf(t + 157, 100, "%s", link);
	memcpy(t + 257, "ustar\00000", 8);
	for (int i = 0; i < 512; i++)
		sum += (uint8_t)t[i];
	snprintf(t + 148, 8, "%06o", sum);
	memcpy(t + 512, text, len);
	tar_len += room;
}

/* A file as deep as may be, and links through links: the store's stacks are small. */
static void make_tar(void)
{
	char path[640] = "", record[700], name[16], link[16];
	int n = 0;

	add("hello", '0', "", "hello from an image\n");
	for (unsigned i = 0; i < 240; i++)
		n += snprintf(path + n, 4, "d/");
	snprintf(path + n, 8, "f");
	snprintf(record, sizeof(record), "%d path=%s\n", n + 1 + 10, path);
	add("pax", 'x', "", record);
	add("short", '0', "", "deep");
	for (unsigned i = 0; i < 39; i++) {
		snprintf(name, sizeof(name), "l%u", i);
		snprintf(link, sizeof(link), i < 38 ? "l%u/." : "d", i + 1);
		add(name, '2', link, "");
	}
	add("l0/through", '0', "", "links");
	tar_len += 1024;
}

static void put_file(const char *name, const char *data, size_t len)
{
	request(D0_ADMIN_IMPORT_FILE, name, strlen(name) + 1, 0);
	send(D0_ADMIN_IMPORT_DATA, data, len);
}

static void put_blob(const char *data, size_t len, char digest[65])
{
	char name[96];

	hex(data, len, digest);
	snprintf(name, sizeof(name), "blobs/sha256/%s", digest);
	put_file(name, data, len);
}

static void import_image(void)
{
	char layer[65], manifest[65], text[512];
	int n;

	request(D0_ADMIN_IMPORT_BEGIN, NULL, 0, 0);
	request(D0_ADMIN_IMPORT_BEGIN, NULL, 0, -H2_EBUSY);
	make_tar();
	put_blob(tar, tar_len, layer);
	n = snprintf(text, sizeof(text), "{\"rootfs\":{\"diff_ids\":[\"sha256:%s\"]}}", layer);
	put_blob(text, (size_t)n, p.config);
	n = snprintf(
	    text, sizeof(text),
	    "{\"config\":{\"digest\":\"sha256:%s\"},\"layers\":[{\"digest\":\"sha256:%s\"}]}",
	    p.config, layer);
	put_blob(text, (size_t)n, manifest);
	n = snprintf(text, sizeof(text), "{\"manifests\":[{\"digest\":\"sha256:%s\"}]}",
		     manifest);
	put_file("index.json", text, (size_t)n);
	request(D0_ADMIN_IMPORT_COMMIT, ARGS("hello:1"), 0);
	if (p.reply_len != 64 || memcmp(p.reply, p.config, 64))
		probe_failed("image ID", (long)p.reply_len);
}

void probe_admin(unsigned ch)
{
	char args[256], *at;
	size_t size;
	void *ring = cell_channel_ring(ch, &size);

	p.ch = ch;
	if (!ring || stream_open(&p.stream, ring, size, false))
		probe_failed("admin ring", (long)size);
	cell_notify(ch);
	take_key();
	request(D0_ADMIN_USAGE, NULL, 0, 0);
	request(99, NULL, 0, -H2_ENOTSUP);
	request(D0_ADMIN_PFS_SNAPSHOT, ARGS("no\0nowhere"), -H2_ENOENT);
	import_image();
	request(D0_ADMIN_IMAGE_LIST, NULL, 0, 0);
	if (!strstr(p.reply, "hello:1\t") || !strstr(p.reply, p.config))
		probe_failed("image list", (long)p.reply_len);
	at = args + snprintf(args, sizeof(args), "img-%s", p.config) + 1;
	strcpy(at, "container");
	request(D0_ADMIN_PFS_SNAPSHOT, args, (size_t)(at - args) + 10, 0);
	request(D0_ADMIN_PFS_LIST, NULL, 0, 0);
	if (!strstr(p.reply, "container\t") || strstr(p.reply, "tmp-"))
		probe_failed("PFS list", (long)p.reply_len);
	request(D0_ADMIN_IMAGE_BLOB, p.config, 65, 0);
	if (!strstr(p.reply, "diff_ids"))
		probe_failed("config", (long)p.reply_len);
	request(D0_ADMIN_SCRUB, NULL, 0, 0);
	do
		request(D0_ADMIN_JOB, NULL, 0, 0);
	while (!strncmp(p.reply, "scrub\t1", 7));
	if (strncmp(p.reply, "scrub\t0", 7) || !strstr(p.reply, "\t0\n"))
		probe_failed("scrub", 0);
	request(D0_ADMIN_IMAGE_EXPORT, ARGS("hello:1"), 0);
	request(D0_ADMIN_SYNC, NULL, 0, 0);
}
