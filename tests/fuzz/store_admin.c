/* SPDX-License-Identifier: ISC */
/*
 * Requests on two admin channels: the input is a sequence of operation (1 byte), length (2),
 * payload; each becomes a frame. Operation 255: the bytes themselves, 254: a new start of the
 * client, 253: a new channel, 252: the device takes so many writes more. 0 to 63: the first
 * channel's client sends and waits for the answer; 64 more: the second's; 128 more: without
 * waiting, so that requests of both are under way in turns. Every request is answered in order,
 * by frames that are whole.
 */
#include <stdlib.h>
#include <string.h>
#include "tests/unit/store_admin_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *blank;
static bool framed[ADMIN_CLIENTS]; /* all that was sent was frames */
static uint32_t last[ADMIN_CLIENTS];

static void check_answer(struct admin_client *c, const struct d0_admin_head *h,
			 const uint8_t *p)
{
	size_t n = (size_t)(c - admin_client);

	if (framed[n] && (h->tag <= last[n] || h->tag > c->sent))
		abort();
	if (!(h->flags & D0_ADMIN_MORE))
		last[n] = h->tag;
}

static void start(unsigned n, bool channel)
{
	if (channel)
		admin_channel_new(n);
	else
		admin_client_start(n);
	framed[n] = true;
	last[n] = 0;
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

	if (h2_pfs_open(admin_volume.vol, label, 0, &p) ||
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

	store_env_open(&admin_volume, 32 << 20);
	if (h2_pfs_create(admin_volume.vol, "other", &o))
		abort();
	fill("root", "one");
	fill("other", "two");
	h2_sync(admin_volume.vol);
	blank = malloc(admin_volume.size);
	memcpy(blank, admin_volume.mem, admin_volume.size);
	admin_volume.writes = 0;
}

/* ---- one input ---- */
static void settle(void)
{
	for (unsigned i = 0; i < 200000 && admin_round(); i++)
		;
}

static void one(unsigned op, const uint8_t *p, size_t len)
{
	unsigned n = op >> 6 & 1;
	bool silent;

	if (op == 253 || op == 254) {
		start(len & 1, op == 253);
		return;
	}
	if (op == 252) {
		admin_volume.fail_after = (long)len;
		return;
	}
	if (op == 255) {
		framed[0] = false;
		admin_send_bytes(0, p, len);
		admin_round();
		return;
	}
	admin_send(n, op & 63, p, len);
	if (op & 128) {
		admin_round();
		return;
	}
	settle();
	silent = (op & 63) == D0_ADMIN_IMPORT_DATA || (op & 63) == D0_ADMIN_UNPACK_DATA;
	if (framed[n] && !silent && last[n] != admin_client[n].sent)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!blank) {
		make_volume();
	} else if (admin_volume.writes || admin_volume.fail_after >= 0) {
		memcpy(admin_volume.mem, blank, admin_volume.size);
		admin_volume.writes = 0;
		store_env_crash(&admin_volume);
	}
	admin_env_begin();
	for (unsigned n = 0; n < ADMIN_CLIENTS; n++) {
		start(n, false);
		admin_client[n].frame = check_answer;
	}
	while (size >= 3) {
		size_t len = (size_t)(data[1] | data[2] << 8);

		len = len < size - 3 ? len : size - 3;
		one(data[0], data + 3, len);
		data += 3 + len;
		size -= 3 + len;
	}
	admin_env_end();
	return 0;
}
