/* SPDX-License-Identifier: ISC */
/*
 * A native client of the store, for the system tests: it does FUSE requests over its channel
 * and prints one line, "probe: ok ..." or "probe: FAILED ...".
 *
 * args: mode=write	make /probe/NNN files, sync, read them back
 *	 mode=verify	the files of an earlier `write` are all there
 *	 mode=readonly	writing is refused with EROFS
 *	 mode=admin	an image is imported over the admin channel, and more
 *	 mode=hostile	broken requests, then a broken ring
 *	 mode=restart	three times: write and sync files, wait for the store to be restarted,
 *			read them by the node numbers of before
 *	 mode=bench	times of getattr, write, fsync, and of reading the files "cold" (in
 *			sequence) and "random" (4 KiB here and there), which the host put there
 *	 files=N size=BYTES seed=N
 */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include "cells/store/probe/probe.h"
#include "d0/vfs.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/log.h"
#include "libcell/vchan.h"
#include "libcell/virtq.h"

#define FEATURES (D0_VRING_F_VERSION_1 | D0_VRING_F_EVENT_IDX)
#define REQ_MAX  (D0_VFS_MAX_WRITE + 4096u)

static struct {
	unsigned ch;
	uint8_t *ring;
	size_t size;
	struct vchan chan;
	struct virtq_drv q[D0_VFS_QUEUES];
	struct virtq_slot slots[D0_VFS_QUEUES][D0_VFS_QUEUE_NUM];
	uint64_t req_at, rep_at; /* offsets in the ring */
	size_t len;
	uint64_t unique;
	struct fuse_out_header head;
	unsigned restarts; /* of the store, seen by call() */
	uint8_t *again;    /* a request, to be sent again after a restart; NULL: is not */
} p;

_Noreturn void probe_failed(const char *what, long value)
{
	log_error("probe: FAILED %s (%ld)", what, value);
	cell_exit(1, what);
}

#define CHECK(cond, value)                                  \
	do {                                                \
		if (!(cond))                                \
			probe_failed(#cond, (long)(value)); \
	} while (0)

static void set_up(void)
{
	for (unsigned i = 0; i < D0_VFS_QUEUES; i++)
		CHECK(!virtq_drv_init(&p.q[i],
				      vchan_queue(&p.chan, i, D0_VFS_QUEUES, D0_VFS_QUEUE_NUM),
				      D0_VFS_QUEUE_NUM, p.chan.features, p.slots[i]),
		      i);
	vchan_client_ready(&p.chan);
	p.chan.notify = false;
	cell_notify(p.ch);
}

static void connect(void)
{
	int ch;

	while ((ch = cell_channel_find(0, D0_PROTO_FS, D0_ROLE_CLIENT, NULL)) < 0) {
		cell_wait(D0_NEVER);
		cell_flags_take(~0ull);
	}
	p.ch = (unsigned)ch;
	p.ring = cell_channel_ring(p.ch, &p.size);
	CHECK(p.ring && !vchan_client_open(&p.chan, p.ring, p.size), p.size);
	p.req_at = d0_vfs_data_off();
	p.rep_at = p.req_at + REQ_MAX;
	CHECK(p.rep_at + REQ_MAX <= p.size, p.size);
	while (vchan_client_poll(&p.chan, FEATURES) != VCHAN_UP) {
		if (p.chan.notify)
			cell_notify(p.ch);
		p.chan.notify = false;
		cell_wait(clock_ns() + CLOCK_NS_PER_S);
		cell_event_take(p.ch);
		cell_flags_take(~0ull);
	}
	set_up();
}

/* ---- requests ---- */

static void begin(uint32_t op, uint64_t node)
{
	struct fuse_in_header h = {.opcode = op, .nodeid = node, .unique = ++p.unique};

	memcpy(p.ring + p.req_at, &h, sizeof(h));
	p.len = sizeof(h);
}

static void add(const void *data, size_t len)
{
	memcpy(p.ring + p.req_at + p.len, data, len);
	p.len += len;
}

#define ADD(type, ...)                            \
	do {                                      \
		struct type add_ = {__VA_ARGS__}; \
		add(&add_, sizeof(add_));         \
	} while (0)

static void send(void)
{
	uint32_t len = (uint32_t)p.len;
	struct virtq_buf out[2] = {{p.req_at, 40}, {p.req_at + 40, len - 40}};
	struct virtq_buf in = {p.rep_at, REQ_MAX};
	struct virtq_drv *q = &p.q[D0_VFS_REQUESTS];

	memcpy(p.ring + p.req_at, &len, 4);
	CHECK(!virtq_drv_add(q, out, len > 40 ? 2 : 1, &in, 1, &p), len);
	if (virtq_drv_push(q))
		cell_notify(p.ch);
}

static void init(void);

/* The store began anew: shake hands, INIT, and send what was not answered again. */
static void reconnect(void)
{
	size_t len = p.len;
	uint64_t unique = p.unique;

	set_up();
	p.restarts++;
	log_info("probe: connected again");
	uint8_t *request = p.again;

	p.again = NULL;
	init();
	p.again = request;
	memcpy(p.ring + p.req_at, request, len);
	p.len = len;
	p.unique = unique;
	send();
}

static long call(void)
{
	struct virtq_drv *q = &p.q[D0_VFS_REQUESTS];
	uint64_t deadline = clock_ns() + 60 * CLOCK_NS_PER_S;
	uint32_t got = 0;

	if (p.again)
		memcpy(p.again, p.ring + p.req_at, p.len);
	send();
	while (!virtq_drv_pop(q, &got)) {
		CHECK(clock_ns() < deadline, p.unique);
		CHECK(!q->broken, 0);
		if (p.again && vchan_client_poll(&p.chan, FEATURES) == VCHAN_UP) {
			reconnect();
			continue;
		}
		if (p.chan.notify)
			cell_notify(p.ch);
		p.chan.notify = false;
		if (!virtq_drv_events_on(q))
			cell_wait(clock_ns() + CLOCK_NS_PER_S);
		cell_event_take(p.ch);
		if (cell_flags_take(~0ull) & D0_EV_STOP)
			cell_exit(0, NULL);
	}
	CHECK(got >= sizeof(p.head), got);
	memcpy(&p.head, p.ring + p.rep_at, sizeof(p.head));
	CHECK(p.head.unique == p.unique && p.head.len == got, got);
	return p.head.error;
}

static const void *reply(void)
{
	return p.ring + p.rep_at + sizeof(p.head);
}

static size_t reply_len(void)
{
	return p.head.len - sizeof(p.head);
}

static void init(void)
{
	begin(FUSE_INIT, 0);
	ADD(fuse_init_in, .major = 7, .minor = 38);
	CHECK(call() == 0, p.head.error);
}

static uint64_t entry(long err)
{
	struct fuse_entry_out e;

	if (err)
		return 0;
	memcpy(&e, reply(), sizeof(e));
	return e.nodeid;
}

static uint64_t lookup(uint64_t dir, const char *name)
{
	begin(FUSE_LOOKUP, dir);
	add(name, strlen(name) + 1);
	return entry(call());
}

static uint64_t make_dir(const char *name)
{
	begin(FUSE_MKDIR, 1);
	ADD(fuse_mkdir_in, .mode = 0755);
	add(name, strlen(name) + 1);
	return entry(call());
}

static uint64_t create(uint64_t dir, const char *name)
{
	begin(FUSE_CREATE, dir);
	ADD(fuse_create_in, .flags = 2, .mode = 0100644);
	add(name, strlen(name) + 1);
	return entry(call());
}

/* ---- content ---- */

static uint64_t seed, files, size;
static uint8_t *data;

static void fill(uint64_t file, uint64_t off, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t x = (seed << 40 ^ file << 32 ^ (off + i)) * 0x9e3779b97f4a7c15ull;

		x ^= x >> 29;
		memcpy(data + i, &x, len - i < 8 ? len - i : 8);
	}
}

static void write_file(uint64_t ino, uint64_t file)
{
	for (uint64_t off = 0; off < size; off += D0_VFS_MAX_WRITE) {
		uint32_t n =
		    size - off < D0_VFS_MAX_WRITE ? (uint32_t)(size - off) : D0_VFS_MAX_WRITE;
		struct fuse_write_out o;

		fill(file, off, n);
		begin(FUSE_WRITE, ino);
		ADD(fuse_write_in, .offset = off, .size = n);
		add(data, n);
		CHECK(call() == 0, p.head.error);
		memcpy(&o, reply(), sizeof(o));
		CHECK(o.size == n, o.size);
	}
}

static void verify_file(uint64_t ino, uint64_t file)
{
	for (uint64_t off = 0; off < size; off += D0_VFS_MAX_WRITE) {
		uint32_t n =
		    size - off < D0_VFS_MAX_WRITE ? (uint32_t)(size - off) : D0_VFS_MAX_WRITE;

		begin(FUSE_READ, ino);
		ADD(fuse_read_in, .offset = off, .size = n);
		CHECK(call() == 0, p.head.error);
		CHECK(reply_len() == n, reply_len());
		fill(file, off, n);
		CHECK(!memcmp(reply(), data, n), off);
	}
}

static void verify_all(void)
{
	uint64_t dir = lookup(1, "probe");
	char name[24];

	CHECK(dir, p.head.error);
	for (uint64_t i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "%llu", (unsigned long long)i);
		uint64_t ino = lookup(dir, name);

		CHECK(ino, i);
		verify_file(ino, i);
	}
}

static void write_all(void)
{
	uint64_t dir = lookup(1, "probe");
	char name[24];

	if (!dir)
		dir = make_dir("probe");
	CHECK(dir, p.head.error);
	for (uint64_t i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "%llu", (unsigned long long)i);
		uint64_t ino = lookup(dir, name);

		if (!ino)
			ino = create(dir, name);
		CHECK(ino, p.head.error);
		write_file(ino, i);
	}
	begin(FUSE_FSYNC, 1);
	ADD(fuse_fsync_in, .fh = 0);
	CHECK(call() == 0, p.head.error);
	verify_all();
}

static void readonly(void)
{
	CHECK(make_dir("x") == 0 && p.head.error == -30, p.head.error);
	begin(FUSE_STATFS, 1);
	CHECK(call() == 0, p.head.error);
}

static void hostile(void)
{
	struct d0_vring_desc *desc;

	begin(FUSE_LOOKUP, 1);
	add("no NUL", 6);
	CHECK(call() == -22, p.head.error);
	begin(FUSE_WRITE, 1);
	ADD(fuse_write_in, .offset = ~0ull, .size = 0xffffffff);
	CHECK(call() == -22, p.head.error);
	begin(4000, 1);
	CHECK(call() == -38, p.head.error);
	begin(FUSE_GETATTR, 0xdeadbeefcafe);
	ADD(fuse_getattr_in, .fh = 0);
	CHECK(call() == -2, p.head.error);
	/* a descriptor far outside of the ring */
	desc = vchan_queue(&p.chan, D0_VFS_REQUESTS, D0_VFS_QUEUES, D0_VFS_QUEUE_NUM);
	begin(FUSE_STATFS, 1);
	struct virtq_buf out = {p.req_at, 40}, in = {p.rep_at, 4096};
	CHECK(!virtq_drv_add(&p.q[1], &out, 1, &in, 1, &p), 0);
	for (unsigned i = 0; i < D0_VFS_QUEUE_NUM; i++)
		desc[i].addr = 1ull << 60;
	virtq_drv_push(&p.q[1]);
	cell_notify(p.ch);
}

/* ---- restarts of the store ---- */

static void sync_all(void)
{
	begin(FUSE_FSYNC, 1);
	ADD(fuse_fsync_in, .fh = 0);
	CHECK(call() == 0, p.head.error);
}

static long get_attr(uint64_t ino)
{
	begin(FUSE_GETATTR, ino);
	ADD(fuse_getattr_in, .fh = 0);
	return call();
}

static void restart(void)
{
	uint64_t node[16] = {0}, dir = make_dir("restart"), gone;
	char name[24];

	CHECK(dir && files <= 16, p.head.error);
	gone = create(dir, "gone");
	for (uint64_t i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "%llu", (unsigned long long)i);
		node[i] = create(dir, name);
		CHECK(node[i], p.head.error);
	}
	begin(FUSE_UNLINK, dir); /* but known to this client: it is there until the restart */
	add("gone", 5);
	CHECK(call() == 0 && get_attr(gone) == 0, p.head.error);
	for (unsigned round = 0; round < 3; round++) {
		unsigned before = p.restarts;

		seed = 100 + round;
		for (uint64_t i = 0; i < files; i++)
			write_file(node[i], i);
		sync_all();
		log_info("probe: working");
		while (p.restarts == before)
			for (uint64_t i = 0; i < files; i++)
				verify_file(node[i], i);
		for (uint64_t i = 0; i < files; i++)
			verify_file(node[i], i);
		CHECK(get_attr(gone) == -2, p.head.error);
	}
	CHECK(lookup(dir, "0") == node[0], p.head.error);
}

/* ---- times ---- */

static uint64_t spent; /* ns in call() */

static void timed(void)
{
	uint64_t start = clock_ns();
	long err = call();

	spent += clock_ns() - start;
	CHECK(err == 0, err);
}

static void result(const char *what, uint64_t n)
{
	log_info("probe: bench %s n %llu ns %llu", what, (unsigned long long)n,
		 (unsigned long long)spent);
	spent = 0;
}

static void timed_read(uint64_t ino, uint64_t off, uint32_t len)
{
	begin(FUSE_READ, ino);
	ADD(fuse_read_in, .offset = off, .size = len);
	timed();
}

static void bench(void)
{
	uint64_t ino = create(1, "bench-out"), step = D0_VFS_MAX_WRITE, n, x = 1;

	CHECK(ino, p.head.error);
	for (n = 0; n < 500; n++) {
		begin(FUSE_GETATTR, ino);
		ADD(fuse_getattr_in, .fh = 0);
		timed();
	}
	result("getattr", n);
	for (n = 0; n < size / step; n++) {
		fill(1, n * step, step);
		begin(FUSE_WRITE, ino);
		ADD(fuse_write_in, .offset = n * step, .size = (uint32_t)step);
		add(data, step);
		timed();
	}
	result("write", n * step);
	begin(FUSE_FSYNC, ino);
	ADD(fuse_fsync_in, .fh = 0);
	timed();
	result("fsync", 1);
	for (n = 0; n < files; n++) {
		begin(FUSE_WRITE, ino);
		ADD(fuse_write_in, .offset = 0, .size = 4096);
		add(data, 4096);
		timed();
		begin(FUSE_FSYNC, ino);
		ADD(fuse_fsync_in, .fh = 0);
		timed();
	}
	result("write+fsync", n);
	ino = lookup(1, "cold");
	CHECK(ino, p.head.error);
	for (n = 0; n < size / step; n++)
		timed_read(ino, n * step, (uint32_t)step);
	result("read", n * step);
	ino = lookup(1, "random");
	CHECK(ino, p.head.error);
	for (n = 0; n < 200; n++, x = x * 6364136223846793005ull + 1442695040888963407ull)
		timed_read(ino, (x >> 33) % (size / 4096) * 4096, 4096);
	result("random", n);
}

int cell_main(const struct d0_info *info)
{
	char mode[16] = "write";
	uint64_t start;

	cell_arg(info->args, "mode", mode, sizeof(mode));
	files = cell_arg_u64(info->args, "files", 8);
	size = cell_arg_u64(info->args, "size", 100000);
	seed = cell_arg_u64(info->args, "seed", 1);
	data = malloc(D0_VFS_MAX_WRITE);
	CHECK(data, 0);
	if (!strcmp(mode, "admin")) {
		int ch = cell_channel_find(0, D0_PROTO_ADMIN, D0_ROLE_CLIENT, NULL);

		CHECK(ch >= 0, ch);
		start = clock_ns();
		probe_admin((unsigned)ch);
		p.ch = (unsigned)ch;
	} else {
		connect();
		init();
		if (!strcmp(mode, "restart"))
			p.again = malloc(REQ_MAX);
		start = clock_ns();
	}
	if (!strcmp(mode, "admin"))
		;
	else if (!strcmp(mode, "write"))
		write_all();
	else if (!strcmp(mode, "verify"))
		verify_all();
	else if (!strcmp(mode, "bench"))
		bench();
	else if (!strcmp(mode, "restart"))
		restart();
	else if (!strcmp(mode, "readonly"))
		readonly();
	else if (!strcmp(mode, "hostile"))
		hostile();
	else
		probe_failed("unknown mode", 0);
	log_info("probe: ok %s, %llu ms", mode,
		 (unsigned long long)((clock_ns() - start) / CLOCK_NS_PER_MS));
	for (;;) {
		cell_wait(D0_NEVER);
		cell_event_take(p.ch);
		if (cell_flags_take(~0ull) & D0_EV_STOP)
			return 0;
	}
}
