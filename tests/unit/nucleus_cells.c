/* SPDX-License-Identifier: ISC */
/* Archive, images, cells, channels, control and the ring on the fake arch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "gen/pubkey.h"
#include "nucleus/archive/archive.h"
#include "nucleus/core/crypto.h"
#include "nucleus/verify/sets.h"
#include "nucleus/verify/verify.h"
#include "tests/unit/fake/arch.h"

static u8 *archive;
static u64 archive_size;

static int machine(void **state)
{
	static bool open;
	if (!open) {
		fake_machine();
		archive = fake_archive(&archive_size);
		assert_non_null(archive);
		assert_null(archive_open(ptr_to_hpa(archive), archive_size));
		sync_init();
		verify_init();
		open = true;
	}
	fake_log[0] = 0;
	return 0;
}

static struct cell *make(const char *name, u32 caps)
{
	struct d0_ctl_cell_create c = {.image = "heartbeat",
				       .heap = 64 * KiB,
				       .stack = 16 * KiB,
				       .state = 8 * KiB,
				       .vcpus = 2,
				       .channels = 8,
				       .restart = D0_RESTART_NEVER,
				       .caps = caps};
	int err;
	strcpy(c.name, name);
	struct cell *cell = cell_new(&c, &err);
	assert_non_null(cell);
	return cell;
}

static void connect(struct cell *a, struct cell *b, u64 ring, u32 *x, u32 *y)
{
	struct d0_ctl_channel_create r = {
	    .protocol = D0_PROTO_VIRTQ, .ring = ring, .label = "r"};
	assert_int_equal(channel_create(a, b, &r), 0);
	*x = r.server_channel;
	*y = r.client_channel;
}

static void every_damaged_byte_of_the_manifest_is_noticed(void **state)
{
	u64 size;
	u8 *copy = fake_archive(&size);
	struct d0_archive h;
	memcpy(&h, copy, sizeof(h));
	assert_null(archive_check(copy, size, d0_pubkey));
	for (u64 i = 0; i < h.manifest_off + h.manifest_size; i += 1 + random_u64() % 97) {
		bool signature = i >= h.signature_off && i < h.signature_off + h.signature_size;
		bool covered = i < sizeof(h) || i >= h.manifest_off || signature;
		copy[i] ^= 1u << (i % 8);
		if (covered)
			assert_non_null(archive_check(copy, size, d0_pubkey));
		copy[i] ^= 1u << (i % 8);
	}
	for (u64 cut = 0; cut < size; cut += size / 50)
		assert_non_null(archive_check(copy, cut, d0_pubkey));
	free(copy);
}

static void the_key_matters(void **state)
{
	u8 key[65];
	memcpy(key, d0_pubkey, sizeof(key));
	key[40] ^= 1;
	assert_string_equal(archive_check(archive, archive_size, key),
			    "boot archive: the manifest's signature is wrong");
}

/* Whatever a signed record says: it is refused, or nothing outside the file is read. */
static void records_of_images_are_not_believed(void **state)
{
	struct d0_file *file = (struct d0_file *)archive_find("heartbeat", D0_FILE_CELL);
	assert_non_null(file);
	const struct d0_file good = *file;
	u64 *word = (u64 *)&file->image, before = frames_stats().free;
	u32 refused = 0;
	for (u32 i = 0; i < 20000; i++) {
		const char *why = NULL;
		u64 r = random_u64(), n = random_u64() % (sizeof(file->image) / 8);
		*file = good;
		word[n] = r % 3 == 0 ? r : r % 3 == 1 ? word[n] + r % 8192 - 4096 : r >> 48;
		refused += !archive_image_sound(file);
		if (!archive_image_sound(file))
			continue;
		struct image *img = image_get("heartbeat", &why);
		assert_true(!img == (why != NULL));
		if (img)
			image_put(img);
	}
	*file = good;
	assert_true(refused > 4000);
	assert_int_equal(frames_stats().free, before);
}

static void a_thousand_cells_leak_nothing(void **state)
{
	struct cell *first = make("warm-up", 0), *second = make("warm-up-2", 0);
	u32 p, q;
	connect(first, second, 0, &p, &q);
	assert_int_equal(cell_start(first), 0);
	cell_destroy(first);
	cell_destroy(second);
	u64 before = frames_stats().free;
	for (u32 i = 0; i < 1000; i++) {
		struct cell *a = make("one", 0), *b = make("two", 0);
		u32 x, y;
		connect(a, b, 20000, &x, &y);
		assert_int_equal(cell_start(a), 0);
		assert_int_equal(cell_start(b), 0);
		if (i % 3 == 0)
			assert_int_equal(cell_restart(a), 0);
		if (i % 5 == 0)
			channel_close(b, y);
		cell_destroy(i % 2 ? a : b);
		cell_destroy(i % 2 ? b : a);
	}
	/* Images are unloaded with their last cell. */
	assert_int_equal(frames_stats().free, before);
}

static void state_survives_a_restart_and_nothing_else(void **state)
{
	struct cell *c = make("keeper", 0);
	assert_int_equal(cell_start(c), 0);
	u64 addr[2] = {0};
	for (u32 r = 0; r < c->regions; r++) {
		if (c->region[r].type == D0_REGION_STATE)
			addr[0] = c->region[r].base.v;
		if (c->region[r].type == D0_REGION_HEAP)
			addr[1] = c->region[r].base.v;
	}
	u64 image = c->image_base.v;
	assert_true(guest_write(c, GPA(addr[0]), "keep", 5));
	assert_true(guest_write(c, GPA(addr[1]), "lose", 5));
	assert_int_equal(cell_restart(c), 0);
	assert_int_not_equal(c->image_base.v, image);
	char text[5];
	for (u32 r = 0; r < c->regions; r++) {
		if (c->region[r].type == D0_REGION_STATE) {
			assert_true(guest_read(c, c->region[r].base, text, 5));
			assert_string_equal(text, "keep");
		}
		if (c->region[r].type == D0_REGION_HEAP) {
			assert_true(guest_read(c, c->region[r].base, text, 5));
			assert_string_equal(text, "");
		}
	}
	assert_true(c->info->flags & D0_INFO_RESTART);
	cell_destroy(c);
}

static gpa_t heap_of(struct cell *c)
{
	for (u32 r = 0; r < c->regions; r++)
		if (c->region[r].type == D0_REGION_HEAP)
			return c->region[r].base;
	return GPA(0);
}

/* Rings and heaps take frames as they are touched; both ends see what either wrote. */
static void memory_comes_when_it_is_touched(void **state)
{
	u64 none = frames_stats().free;
	struct cell *a = make("a", 0), *b = make("b", 0);
	u32 x, y, perms;
	hpa_t f, g;
	assert_int_equal(cell_start(a), 0);
	assert_int_equal(cell_start(b), 0);
	u64 before = frames_stats().free;
	connect(a, b, MiB, &x, &y);
	assert_true(before - frames_stats().free < 16);
	u64 at_a = a->channel_table[x].ring_base, at_b = b->channel_table[y].ring_base;
	assert_false(space_lookup(&a->space, at_a + 5 * PAGE_SIZE, &f, &perms));
	char text[] = "over the edge of two pages", back[sizeof(text)];
	u64 at = 6 * PAGE_SIZE - 7;
	assert_true(guest_write(a, GPA(at_a + at), text, sizeof(text)));
	assert_true(space_lookup(&b->space, at_b + 5 * PAGE_SIZE, &f, &perms));
	assert_true(space_lookup(&a->space, at_a + 5 * PAGE_SIZE, &g, &perms));
	assert_int_equal(f.v, g.v);
	assert_int_equal(perms, MAP_R | MAP_W);
	assert_true(guest_read(b, GPA(at_b + at), back, sizeof(back)));
	assert_string_equal(back, text);
	assert_false(guest_read(a, GPA(at_a + MiB), back, 1));
	/* What was touched is there after a restart of either end, and of both at once. */
	assert_int_equal(cell_restart(a), 0);
	assert_true(guest_write(a, GPA(a->channel_table[x].ring_base + 9 * PAGE_SIZE), "9", 2));
	assert_true(guest_read(b, GPA(at_b + 9 * PAGE_SIZE), back, 2));
	assert_string_equal(back, "9");
	cell_end(a, D0_CELL_STOPPED, 0, "");
	cell_end(b, D0_CELL_STOPPED, 0, "");
	assert_int_equal(cell_start(b), 0);
	assert_int_equal(cell_start(a), 0);
	assert_true(guest_read(a, GPA(a->channel_table[x].ring_base + at), back, sizeof(back)));
	assert_string_equal(back, text);
	/* Touched by one end while the other is away. */
	cell_end(b, D0_CELL_STOPPED, 0, "");
	assert_true(guest_write(a, GPA(a->channel_table[x].ring_base), "alone", 6));
	assert_int_equal(cell_start(b), 0);
	assert_true(guest_read(b, GPA(b->channel_table[y].ring_base), back, 6));
	assert_string_equal(back, "alone");
	/* The heap: a page and those that follow it, no more. */
	u64 was = b->memory_frames;
	assert_true(guest_write(b, heap_of(b), "x", 1));
	assert_int_equal(b->memory_frames, was + 8);
	cell_destroy(a);
	cell_destroy(b);
	assert_int_equal(frames_stats().free, none);
}

/* Who owns a device has all its memory at once, contiguous: the device may be told of it. */
static void a_cell_with_a_device_has_its_memory_at_once(void **state)
{
	static struct device dev;
	u64 none = frames_stats().free;
	struct cell *a = make("driver", 0), *b = make("client", 0);
	u32 x, y, perms;
	hpa_t f, next;
	assert_int_equal(cell_add_device(a, &dev), 0);
	connect(b, a, MiB, &x, &y);
	struct channel *ch = a->slot[y].channel;
	assert_int_equal(cell_start(a), 0);
	u64 at = a->channel_table[y].ring_base;
	assert_true(space_lookup(&a->space, at, &f, &perms));
	assert_int_equal(a->channel_table[y].ring_dma, f.v);
	for (u64 i = 0; i < MiB; i += PAGE_SIZE) {
		assert_true(space_lookup(&a->space, at + i, &next, &perms));
		assert_int_equal(next.v, f.v + i);
	}
	assert_true(space_lookup(&a->space, heap_of(a).v + 15 * PAGE_SIZE, &f, &perms));
	assert_true(ch->whole);
	cell_destroy(a);
	cell_destroy(b);
	/* It gets one later: what was not touched is filled then, page by page. */
	a = make("driver", 0);
	b = make("client", 0);
	connect(a, b, 64 * KiB, &x, &y);
	assert_int_equal(cell_start(a), 0);
	cell_end(a, D0_CELL_STOPPED, 0, "");
	assert_int_equal(cell_add_device(a, &dev), 0);
	assert_int_equal(cell_start(a), 0);
	at = a->channel_table[x].ring_base;
	for (u64 i = 0; i < 64 * KiB; i += PAGE_SIZE)
		assert_true(space_lookup(&a->space, at + i, &f, &perms));
	assert_true(a->channel_table[x].ring_dma == D0_NEVER);
	cell_destroy(a);
	cell_destroy(b);
	assert_int_equal(frames_stats().free, none);
}

static void regions_never_touch(void **state)
{
	for (u32 round = 0; round < 50; round++) {
		struct cell *c = make("layout", 0);
		assert_int_equal(cell_start(c), 0);
		for (u32 i = 0; i < c->regions; i++)
			for (u32 j = 0; j < c->regions; j++) {
				const struct region *a = &c->region[i], *b = &c->region[j];
				bool image =
				    a->type <= D0_REGION_DATA && b->type <= D0_REGION_DATA;
				if (i == j || !a->type || !b->type || image)
					continue;
				assert_true(a->base.v + a->size + PAGE_SIZE <= b->base.v ||
					    b->base.v + b->size + PAGE_SIZE <= a->base.v);
			}
		cell_destroy(c);
	}
}

static void the_door_to_guest_memory(void **state)
{
	struct cell *c = make("door", 0);
	char buf[64] = "x";
	assert_int_equal(cell_start(c), 0);
	assert_false(guest_read(c, GPA(0), buf, 1));
	assert_false(guest_read(c, GPA(~0ull), buf, 64));
	assert_false(guest_read(c, GPA(~0ull - 10), buf, 64));
	assert_false(guest_read(c, GPA(D0_GPA_LIMIT - 8), buf, 64));
	for (u32 r = 0; r < c->regions; r++) {
		const struct region *g = &c->region[r];
		if (!g->type)
			continue;
		assert_true(guest_read(c, GPA(g->base.v + g->size - 8), buf, 8));
		if (g->type != D0_REGION_DATA && g->type > D0_REGION_DATA)
			assert_false(guest_read(c, GPA(g->base.v + g->size - 8), buf, 9));
		assert_int_equal(guest_write(c, g->base, buf, 1), (g->perms & D0_W) != 0);
	}
	cell_destroy(c);
}

static void hypercalls_with_anything(void **state)
{
	struct cell *a = make("fuzz", 0), *b = make("peer", 0);
	u32 x, y;
	connect(a, b, 4096, &x, &y);
	assert_int_equal(cell_start(b), 0);
	for (u32 i = 0; i < 20000; i++) {
		if (a->state != D0_CELL_RUNNING)
			assert_int_equal(cell_start(a), 0);
		u64 arg[4];
		for (u32 n = 0; n < 4; n++) {
			u64 r = random_u64();
			arg[n] = r % 3 == 0   ? r
				 : r % 3 == 1 ? r % 300
					      : a->region[r % a->regions].base.v + r % 64;
		}
		fake_hypercall(&a->vcpu[0], random_u64() % (D0_HC_COUNT + 2), arg[0], arg[1],
			       arg[2], arg[3]);
		fake_log[0] = 0;
	}
	assert_int_equal(b->state, D0_CELL_RUNNING);
	assert_int_equal(fake_hypercall(&b->vcpu[0], 999, 0, 0, 0, 0), D0_ENOSYS);
	assert_int_equal(fake_hypercall(&b->vcpu[0], D0_HC_notify, 77, 0, 0, 0), D0_ENOENT);
	assert_int_equal(fake_hypercall(&b->vcpu[0], D0_HC_log, 0xdead000, 9, 0, 0), D0_EFAULT);
	assert_int_equal(fake_hypercall(&b->vcpu[0], D0_HC_upcall, 40, 0, 0, 0), D0_EPERM);
	assert_int_equal(fake_hypercall(&b->vcpu[0], D0_HC_vcpu_start, 5, 0, 0, 0), D0_EINVAL);
	assert_int_equal(fake_hypercall(&b->vcpu[0], D0_HC_vcpu_start, 0, 0, 0, 0), D0_EBUSY);
	cell_destroy(a);
	cell_destroy(b);
}

static s64 ask(struct cell *c, void *request, u64 size)
{
	assert_true(guest_write(c, heap_of(c), request, size));
	s64 r = fake_hypercall(&c->vcpu[0], D0_HC_control, heap_of(c).v, size, 0, 0);
	assert_true(guest_read(c, heap_of(c), request, size));
	return r;
}

static void control_is_for_those_who_may(void **state)
{
	struct cell *boss = make("boss", D0_CAP_CONTROL), *other = make("other", 0);
	struct d0_ctl_cell_status st = {.h = {D0_CTL_cell_status, sizeof(st), 0, 0}};
	struct d0_ctl_cell_create cr = {.h = {D0_CTL_cell_create, sizeof(cr), 0, 0},
					.name = "child",
					.image = "heartbeat",
					.heap = 4096,
					.stack = 8192,
					.vcpus = 1,
					.channels = 2};
	assert_int_equal(cell_start(boss), 0);
	assert_int_equal(cell_start(other), 0);
	st.h.cell = other->number;
	assert_int_equal(ask(boss, &st, sizeof(st)), D0_OK);
	assert_string_equal(st.name, "other");
	assert_int_equal(ask(other, &st, sizeof(st)), D0_EPERM);
	st.h.cell = 12345;
	assert_int_equal(ask(boss, &st, sizeof(st)), D0_ENOENT);
	st.h.size = 7;
	assert_int_equal(ask(boss, &st, sizeof(st)), D0_EINVAL);

	cr.caps = D0_CAP_CONTROL;
	assert_int_equal(ask(boss, &cr, sizeof(cr)), D0_EPERM);
	cr.caps = D0_CAP_POWER; /* the boss has it not, so it can't give it */
	assert_int_equal(ask(boss, &cr, sizeof(cr)), D0_EPERM);
	cr.caps = 0;
	assert_int_equal(ask(boss, &cr, sizeof(cr)), D0_OK);
	assert_int_equal(ask(boss, &cr, sizeof(cr)), D0_EEXIST);
	struct d0_ctl_cell_op op = {.h = {D0_CTL_cell_start, sizeof(op), 0, cr.h.cell}};
	assert_int_equal(ask(boss, &op, sizeof(op)), D0_OK);
	assert_int_equal(ask(boss, &op, sizeof(op)), D0_ESTATE);
	op.h.op = D0_CTL_cell_pause;
	op.flags = 1;
	assert_int_equal(ask(boss, &op, sizeof(op)), D0_OK);
	struct d0_ctl_cell_cpu cpu = {
	    {D0_CTL_cell_cpu, sizeof(cpu), 0, cr.h.cell}, 30000, D0_CTL_PERIOD_US + 1};
	assert_int_equal(ask(boss, &cpu, sizeof(cpu)), D0_EINVAL);
	cpu.slice_us = 5000;
	assert_int_equal(ask(other, &cpu, sizeof(cpu)), D0_EPERM);
	assert_int_equal(ask(boss, &cpu, sizeof(cpu)), D0_OK);
	assert_int_equal(cell_by_number(cr.h.cell)->config.budget_us, 30000);
	assert_int_equal(cell_by_number(cr.h.cell)->config.slice_us, 5000);
	op.h.op = D0_CTL_cell_destroy;
	assert_int_equal(ask(boss, &op, sizeof(op)), D0_OK);
	assert_int_equal(ask(boss, &cpu, sizeof(cpu)), D0_ENOENT);
	op.h.cell = boss->number;
	assert_int_equal(ask(boss, &op, sizeof(op)), D0_EINVAL);
	memset(cr.name, 'a', sizeof(cr.name));
	assert_int_equal(ask(boss, &cr, sizeof(cr)), D0_EINVAL);
	cell_destroy(boss);
	cell_destroy(other);
}

static void control_requests_with_anything(void **state)
{
	struct cell *boss = make("boss", D0_CAP_CONTROL | D0_CAP_INSPECT);
	assert_int_equal(cell_start(boss), 0);
	static const u32 size[] = {
	    sizeof(struct d0_ctl_cell_create),    sizeof(struct d0_ctl_cell_op),
	    sizeof(struct d0_ctl_channel_create), sizeof(struct d0_ctl_channel_destroy),
	    sizeof(struct d0_ctl_cell_regions),   sizeof(struct d0_ctl_cell_counters),
	    sizeof(struct d0_ctl_system_status),  sizeof(struct d0_ctl_events_read),
	    sizeof(struct d0_ctl_device_list),    sizeof(struct d0_ctl_cell_cpu)};
	static u32 request[2048];
	for (u32 i = 0; i < 20000; i++) {
		u32 n = size[random_u64() % ARRAY_SIZE(size)];
		for (u32 w = 0; w < n / 4; w++)
			request[w] =
			    random_u64() % 4 ? (u32)(random_u64() % 9) : (u32)random_u64();
		request[0] = (u32)(random_u64() % 24);
		request[1] = n;
		ask(boss, request, n);
		fake_log[0] = 0;
	}
	assert_int_equal(boss->state, D0_CELL_RUNNING);
	for (u32 i = 0; i < cell_slots(); i++)
		if (cell_by_number(i))
			cell_destroy(cell_by_number(i));
}

static void destroy_all(void)
{
	for (u32 i = 0; i < cell_slots(); i++)
		if (cell_by_number(i))
			cell_destroy(cell_by_number(i));
}

/* A boot configuration of two cells and a channel, as d0-mkarchive writes it. */
struct conf {
	struct d0_conf_request head[3];
	struct d0_ctl_cell_create a, b;
	struct d0_ctl_channel_create channel;
};

static u64 write_conf(const struct conf *c, u8 *out)
{
	const void *part[] = {&c->a, &c->b, &c->channel};
	u64 size[] = {sizeof(c->a), sizeof(c->b), sizeof(c->channel)}, at = 0;
	for (u32 i = 0; i < 3; i++) {
		memcpy(out + at, &c->head[i], sizeof(c->head[i]));
		memcpy(out + at + sizeof(c->head[i]), part[i], size[i]);
		at += sizeof(c->head[i]) + size[i];
	}
	return at;
}

static struct conf good_conf(void)
{
	struct d0_ctl_cell_create cell = {.h = {D0_CTL_cell_create, sizeof(cell), 0, 0},
					  .name = "a",
					  .image = "heartbeat",
					  .args = "one two  three",
					  .heap = 4096,
					  .stack = 4096,
					  .vcpus = 1,
					  .channels = 2,
					  .caps = D0_CAP_CONTROL};
	struct conf c = {{{3, sizeof(c.a)}, {4, sizeof(c.b)}, {7, sizeof(c.channel)}},
			 cell,
			 cell,
			 {.h = {D0_CTL_channel_create, sizeof(c.channel), 0, 0},
			  .client = 1,
			  .protocol = D0_PROTO_VIRTQ,
			  .ring = 8192,
			  .server_args = "k=v w"}};
	strcpy(c.b.name, "b");
	c.b.caps = 0;
	return c;
}

static void the_boot_configuration_is_carried_out(void **state)
{
	static u8 bytes[sizeof(struct conf)];
	struct conf c = good_conf();
	u64 size = write_conf(&c, bytes);
	assert_null(control_boot(bytes, size));
	assert_string_equal(cell_by_name("a")->info->args, "one two  three");
	assert_string_equal(cell_by_name("a")->channel_table[0].args, "k=v w");
	destroy_all();
	strcpy(c.a.args, "x=a@b @word @none y @word");
	assert_null(control_boot(bytes, write_conf(&c, bytes)));
	assert_string_equal(cell_by_name("a")->info->args,
			    "x=a@b word=from the command line  y word=from the command line");
	destroy_all();
	strcpy(c.a.args, "@long @long @long");
	assert_non_null(control_boot(bytes, write_conf(&c, bytes)));
	destroy_all();
	c = good_conf();
	write_conf(&c, bytes);
	for (u64 cut = 1; cut < size; cut++) {
		bool whole = cut == 8 + sizeof(c.a) || cut == size - 8 - sizeof(c.channel);
		assert_int_equal(!control_boot(bytes, cut), whole);
		destroy_all();
	}
}

static void mistakes_in_the_configuration_name_their_line(void **state)
{
	static u8 bytes[sizeof(struct conf)];
	for (u32 i = 0; i < 10; i++) {
		struct conf c = good_conf();
		u64 size;
		c.b.heap = i == 0 ? 1ull << 60 : c.b.heap;
		c.b.vcpus = i == 1 ? 99 : c.b.vcpus;
		c.b.name[0] = i == 2 ? '/' : i == 3 ? 'a' : c.b.name[0];
		c.b.image[0] = i == 4 ? 'x' : c.b.image[0];
		c.b.caps = i == 5 ? D0_CAP_CONTROL : 0; /* belongs to one cell */
		c.b.h.size = i == 6 ? 8 : c.b.h.size;
		c.b.h.op = i == 7 ? 77 : c.b.h.op;
		memset(c.b.args, 'x', i == 8 ? sizeof(c.b.args) : 0);
		c.b.priority = i == 9 ? 8 : 0;
		size = write_conf(&c, bytes);
		assert_non_null(strstr(control_boot(bytes, size), "line 4: error "));
		destroy_all();
	}
}

/* ---- the ring ---- */

/* Answer challenges as libcell does, from what the cell itself can read. */
static u32 do_duty(struct cell *c)
{
	static u8 pages[64 * 4096];
	u64 nonce = 0, answer = 0;
	u32 checked = 0;
	for (;;) {
		s64 r = verify_challenge(c, answer, &nonce);
		u64 first = (u64)r >> 16, n = (u64)r & 0xffff;
		if (r <= 0)
			return checked;
		for (u32 i = 0; i < c->regions; i++)
			if (c->region[i].type == D0_REGION_MIRROR)
				assert_true(
				    guest_read(c, GPA(c->region[i].base.v + first * PAGE_SIZE),
					       pages, n * PAGE_SIZE));
		answer = fast_hash(pages, n * PAGE_SIZE, nonce);
		checked += (u32)n;
	}
}

static void rounds(struct cell **cells, u32 n)
{
	for (u32 i = 0; i < 3; i++) {
		fake_now += 1100000000;
		while (verify_idle(fake_now))
			;
		for (u32 c = 0; c < n; c++)
			do_duty(cells[c]);
	}
}

static void flips_are_found_and_repaired(void **state)
{
	struct cell *c[3] = {make("a", 0), make("b", 0), make("c", 0)};
	struct d0_ctl_system_status st = {0};
	for (u32 i = 0; i < 3; i++)
		assert_int_equal(cell_start(c[i]), 0);
	rounds(c, 3);
	verify_status(&st);
	assert_int_equal(st.flips_found, 0);
	assert_true(st.pages_verified_set > 12);
	u64 found = 0;
	for (u32 i = 0; i < 100; i++) {
		struct page_set set;
		u64 index, page, bit = random_u64();
		set_of(&set, i % 4 == 3 ? NULL : c[i % 4], true);
		page = random_u64() % set.pages;
		const struct page_run *run = set_find(&set, page, &index);
		u32 where = (u32)(random_u64() % 3);
		hpa_t target = where == 2 ? run_live(&set, run, index)
					  : HPA(run->golden[where].v + (index << PAGE_SHIFT));
		u8 *p = hpa_to_ptr(target);
		u8 before = p[bit % PAGE_SIZE];
		p[bit % PAGE_SIZE] ^= (u8)(1u << (bit >> 32) % 8);
		rounds(c, 3);
		assert_int_equal(p[bit % PAGE_SIZE], before);
		verify_status(&st);
		assert_int_equal(st.flips_found, ++found);
		assert_int_equal(st.flips_repaired, found);
	}
	for (u32 i = 0; i < 3; i++)
		cell_destroy(c[i]);
}

static void a_frame_that_fails_again_is_retired(void **state)
{
	struct cell *c[2] = {make("twin-a", 0), make("twin-b", 0)};
	struct d0_ctl_system_status st = {0};
	u64 bad = frames_stats().bad;
	struct page_set set;
	char before[64], after[64];
	assert_int_equal(cell_start(c[0]), 0);
	assert_int_equal(cell_start(c[1]), 0);
	set_of(&set, c[0], true);
	const hpa_t frame = run_live(&set, &set.run[0], 1);
	u64 at[2];
	for (u32 i = 0; i < 2; i++)
		at[i] = c[i]->image_base.v + set.run[0].segment->vaddr + PAGE_SIZE;
	assert_true(guest_read(c[0], GPA(at[0]), before, sizeof(before)));
	for (u32 i = 0; i < 3; i++) {
		((u8 *)hpa_to_ptr(frame))[77] ^= 8;
		rounds(c, 2);
	}
	verify_status(&st);
	assert_int_equal(frames_stats().bad, bad + 1);
	assert_true(st.frames_retired >= 1);
	for (u32 i = 0; i < 2; i++) { /* both cells run from the new frame */
		hpa_t now;
		u32 perms;
		assert_true(space_lookup(&c[i]->space, at[i], &now, &perms));
		assert_true(now.v != frame.v);
		assert_int_equal(perms & MAP_W, 0);
		assert_true(guest_read(c[i], GPA(at[i]), after, sizeof(after)));
		assert_memory_equal(before, after, sizeof(before));
	}
	u64 found = st.flips_found;
	assert_int_equal(cell_restart(c[1]), 0); /* a new start maps it as well */
	rounds(c, 2);
	verify_status(&st);
	assert_int_equal(st.flips_found, found);
	cell_destroy(c[0]);
	cell_destroy(c[1]);
}

static void a_lazy_verifier_does_not_leave_its_successor_unchecked(void **state)
{
	struct cell *lazy = make("lazy", 0), *next = make("next", 0);
	struct d0_ctl_system_status before = {0}, after = {0};
	assert_int_equal(cell_start(next), 0);
	assert_int_equal(cell_start(lazy), 0); /* joins in front: lazy checks next */
	verify_status(&before);
	for (u32 i = 0; i < next->regions; i++)
		if (next->region[i].type == D0_REGION_RELRO) {
			hpa_t f;
			u32 perms;
			assert_true(
			    space_lookup(&next->space, next->region[i].base.v, &f, &perms));
			((u8 *)hpa_to_ptr(f))[99] ^= 4;
		}
	for (u32 i = 0; i < 5; i++) {
		fake_now += 1100000000;
		while (verify_idle(fake_now))
			;
		do_duty(next);
	}
	verify_status(&after);
	assert_int_equal(after.flips_repaired, before.flips_repaired + 1);
	cell_destroy(lazy);
	cell_destroy(next);
}

static void a_stale_answer_is_no_answer(void **state)
{
	struct cell *c[2] = {make("liar", 0), make("other", 0)};
	u64 nonce = 0;
	assert_int_equal(cell_start(c[0]), 0);
	assert_int_equal(cell_start(c[1]), 0);
	fake_now += 1100000000;
	verify_idle(fake_now);
	assert_true(verify_challenge(c[0], 0, &nonce) > 0);
	verify_challenge(c[0], 0x1234, &nonce);
	assert_int_equal(c[0]->stat.pages_bad, 1);
	assert_non_null(strstr(fake_log, "answered a challenge wrongly"));
	cell_destroy(c[0]);
	cell_destroy(c[1]);
}

static void one_call_rings_twice(void **state)
{
	struct cell *a = make("a", 0), *b = make("b", 0), *c = make("c", 0);
	u32 to_b, from_b, to_c, from_c;
	connect(a, b, 0, &to_b, &from_b);
	connect(a, c, 0, &to_c, &from_c);
	assert_int_equal(cell_start(a), 0);
	assert_int_equal(cell_start(b), 0);
	assert_int_equal(cell_start(c), 0);
	cpu_self()->resched = false;
	assert_int_equal(fake_hypercall(&a->vcpu[0], D0_HC_notify, to_b, to_c + 1, 0, 0), 0);
	assert_true(b->events[0].channel[0] >> from_b & 1);
	assert_true(c->events[0].channel[0] >> from_c & 1);
	assert_false(cpu_self()->resched);
	b->events[0].channel[0] = c->events[0].channel[0] = 0;
	assert_int_equal(fake_hypercall(&a->vcpu[0], D0_HC_notify_wait, to_b, 0, to_c + 1, 0),
			 0);
	assert_true(b->events[0].channel[0] >> from_b & 1);
	assert_true(c->events[0].channel[0] >> from_c & 1);
	/* One that is not there: the other is rung all the same. */
	c->events[0].channel[0] = 0;
	assert_int_equal(fake_hypercall(&a->vcpu[0], D0_HC_notify, 7, to_c + 1, 0, 0),
			 D0_ENOENT);
	assert_true(c->events[0].channel[0] >> from_c & 1);
	assert_int_equal(fake_hypercall(&a->vcpu[0], D0_HC_notify, to_b, ~0ull, 0, 0), 0);
	assert_int_equal(fake_hypercall(&a->vcpu[0], D0_HC_notify, to_b, 0, D0_NOTIFY_YIELD, 0),
			 0);
	assert_true(cpu_self()->resched);
	cpu_self()->resched = false;
	cell_destroy(a);
	cell_destroy(b);
	cell_destroy(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(every_damaged_byte_of_the_manifest_is_noticed, machine),
	    cmocka_unit_test_setup(the_key_matters, machine),
	    cmocka_unit_test_setup(records_of_images_are_not_believed, machine),
	    cmocka_unit_test_setup(a_thousand_cells_leak_nothing, machine),
	    cmocka_unit_test_setup(state_survives_a_restart_and_nothing_else, machine),
	    cmocka_unit_test_setup(memory_comes_when_it_is_touched, machine),
	    cmocka_unit_test_setup(a_cell_with_a_device_has_its_memory_at_once, machine),
	    cmocka_unit_test_setup(regions_never_touch, machine),
	    cmocka_unit_test_setup(the_door_to_guest_memory, machine),
	    cmocka_unit_test_setup(hypercalls_with_anything, machine),
	    cmocka_unit_test_setup(control_is_for_those_who_may, machine),
	    cmocka_unit_test_setup(control_requests_with_anything, machine),
	    cmocka_unit_test_setup(the_boot_configuration_is_carried_out, machine),
	    cmocka_unit_test_setup(mistakes_in_the_configuration_name_their_line, machine),
	    cmocka_unit_test_setup(flips_are_found_and_repaired, machine),
	    cmocka_unit_test_setup(a_frame_that_fails_again_is_retired, machine),
	    cmocka_unit_test_setup(a_lazy_verifier_does_not_leave_its_successor_unchecked,
				   machine),
	    cmocka_unit_test_setup(a_stale_answer_is_no_answer, machine),
	    cmocka_unit_test_setup(one_call_rings_twice, machine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
