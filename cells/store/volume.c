/* SPDX-License-Identifier: ISC */
/*
 * The volume of the store cell: where it comes from, and what h2 needs of its surroundings.
 *
 * The rule that matters most is here: no disk is touched unless the signed configuration
 * names it, and a disk is made a volume only with `create` (blank disks) or `format`. Every
 * decision is taken, and every parameter checked, before the first write.
 */
#include <stdlib.h>
#include <string.h>
#include "cells/store/blockdev.h"
#include "cells/store/mirror.h"
#include "cells/store/ramdisk.h"
#include "cells/store/store.h"
#include "libcell/alloc.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/counters.h"
#include "libcell/log.h"
#include "libcell/random.h"
#include "oci/oci.h"

#define BLANK_BYTES (1u << 20)
#define H2_MAGIC    0x48414d3205172011ull /* first word of a volume header */
#define DEDUP       4096u                 /* remembered blocks */

/* ---- what h2 asks for ---- */

static void *env_alloc(void *ctx, size_t len)
{
	return malloc(len);
}

static void env_free(void *ctx, void *mem, size_t len)
{
	free(mem);
}

uint64_t store_now(void *ctx)
{
	int64_t ns = clock_wall_ns();

	return ns > 0 ? (uint64_t)ns : 0;
}

static int env_entropy(void *ctx, void *buf, size_t len)
{
	cell_random_bytes(buf, len);
	return 0;
}

static void env_event(void *ctx, const struct h2_event *ev)
{
	struct store *s = ctx;

	if (ev->kind == H2_EV_READ_ERROR || ev->kind == H2_EV_BAD_CHECK ||
	    ev->kind == H2_EV_BAD_STRUCT)
		counter_add_own(s->c_bad_blocks, 1);
	log_at(ev->kind == H2_EV_REPAIRED || ev->kind == H2_EV_NEARLY_FULL ? LOG_WARN
									   : LOG_ERROR,
	       "volume: %s: offset %#llx, %u bytes, PFS '%s', inode %llu, key %#llx", ev->what,
	       (unsigned long long)ev->off, ev->len, ev->pfs, (unsigned long long)ev->ino,
	       (unsigned long long)ev->key);
}

/* ---- where the volume comes from ---- */

static const struct d0_region *find_image(void)
{
	const struct d0_region *r;
	uint64_t magic;

	for (unsigned n = 0; (r = cell_region(D0_REGION_RODATA, n)); n++) {
		if (r->size < 8 || !strcmp(r->name, "rodata"))
			continue;
		memcpy(&magic, cell_ptr(r->base), 8);
		if (magic == H2_MAGIC)
			return r;
	}
	return NULL;
}

static int open_memory(struct store *s, const struct d0_region *image)
{
	uint64_t size = image ? image->size : s->config.size;

	s->ram =
	    ramdisk_new(image ? cell_ptr(image->base) : NULL, image ? image->size : 0, size);
	if (!s->ram) {
		log_error("no memory for a volume of %llu MiB", (unsigned long long)size >> 20);
		return -1;
	}
	s->env.dev_ops = &ramdisk_ops;
	s->env.dev = s->ram;
	s->env.dev_size = size;
	return 0;
}

static void mirror_event(void *ctx, unsigned side, const char *what)
{
	struct store *s = ctx;
	struct blkdev *b = side ? s->blk2 : s->blk;

	log_warn("mirror: %s: %s", b ? blkdev_disk(b)->name : side ? "disk 2" : "disk 1", what);
}

/* The other disk; or the archive of an image that is imported again. */
static int env_second_copy(void *ctx, const struct h2_event *ev, void *buf)
{
	struct store *s = ctx;

	if (s->mirror && !mirror_second_copy(s->mirror, ev, buf) &&
	    h2_code_is(ev->methods, ev->code, buf, ev->len))
		return 0;
	return s->mend ? oci_mend_second_copy(s->mend, ev, buf) : -H2_EIO;
}

static void env_scrubbed(void *ctx, uint64_t off, const void *stored, size_t len)
{
	mirror_scrubbed(((struct store *)ctx)->mirror, off, stored, len);
}

static struct mirror_side side_of(struct blkdev *b)
{
	return (struct mirror_side){
	    .ops = &blkdev_ops, .dev = b, .size = b ? blkdev_disk(b)->size : 0, .dead = !b};
}

/* Two disks; one of them may be missing. */
static int open_mirror(struct store *s)
{
	const char *why = NULL;
	struct mirror *m = calloc(1, sizeof(*m));
	int err;

	s->mirror = m;
	if (!m)
		return -1;
	s->blk = blkdev_open(s->config.disk, s->config.behind);
	s->blk2 = blkdev_open(s->config.mirror, s->config.behind);
	m->side[0] = side_of(s->blk);
	m->side[1] = side_of(s->blk2);
	m->readonly = s->config.readonly;
	m->event = mirror_event;
	m->event_ctx = s;
	err = mirror_open(m, &s->env, &why);
	if (err && err != -H2_EMEDIUM) {
		log_error("mirror: %s; nothing was touched", why ? why : h2_strerror(err));
		return -1;
	}
	for (unsigned i = 0; i < 2; i++)
		if (m->side[i].dead)
			log_warn("mirror: the volume runs on one disk only");
	s->env.dev_ops = &mirror_ops;
	s->env.dev = m;
	s->env.dev_size = m->size;
	s->env.dev_readonly = s->config.readonly;
	s->env.scrubbed = env_scrubbed;
	return 0;
}

bool store_mirror_step(struct store *s)
{
	return s->mirror && s->vol && mirror_step(s->mirror, s->vol);
}

static int open_disk(struct store *s)
{
	const struct blk_disk *d;

	if (s->config.mirrored)
		return open_mirror(s);
	s->blk = blkdev_open(s->config.disk, s->config.behind);
	if (!s->blk)
		return -1;
	d = blkdev_disk(s->blk);
	if (d->readonly && !s->config.readonly) {
		log_error("%s is write-protected; say readonly", d->name);
		return -1;
	}
	s->env.dev_ops = &blkdev_ops;
	s->env.dev = s->blk;
	s->env.dev_size = d->size;
	s->env.dev_readonly = s->config.readonly;
	return 0;
}

static bool blank(const struct h2_env *env)
{
	uint64_t *buf = malloc(65536);
	bool zero = buf != NULL;

	for (uint64_t off = 0; zero && off < BLANK_BYTES; off += 65536) {
		zero = !env->dev_ops->read(env->dev, off, buf, 65536);
		for (unsigned i = 0; zero && i < 65536 / 8; i++)
			zero = !buf[i];
	}
	free(buf);
	return zero;
}

static int make_volume(struct store *s)
{
	struct h2_newfs_opts o = {
	    .check = s->config.check, .comp = s->config.comp, .labels = {"root"}};
	int err = h2_newfs(&s->env, &o);

	if (err)
		log_error("a volume can't be made: %s", h2_strerror(err));
	else
		log_info("made an empty volume of %llu MiB",
			 (unsigned long long)s->env.dev_size >> 20);
	return err;
}

static int mount_volume(struct store *s)
{
	struct h2_mount_opts o = {.cache_bytes = s->config.cache,
				  .dedup_entries = DEDUP,
				  .readonly = s->config.readonly};
	int err = h2_mount(&s->env, &o, &s->vol);

	if (err == -H2_EMEDIUM && s->config.create) {
		if (!s->mirror && !blank(&s->env)) { /* a mirror has looked at both */
			log_error(
			    "the disk has no volume but is not blank either: not touched");
			return -1;
		}
		err = make_volume(s);
		if (!err)
			err = h2_mount(&s->env, &o, &s->vol);
	}
	if (err) {
		log_error("the volume can't be mounted: %s", h2_strerror(err));
		return -1;
	}
	return 0;
}

static void describe(struct store *s)
{
	struct h2_vol_info info;

	h2_vol_info(s->vol, &info);
	s->readonly = info.readonly;
	log_info("volume of %llu MiB, %llu MiB free, %s%s; header %u of %u",
		 (unsigned long long)info.size >> 20,
		 (unsigned long long)info.allocator_free >> 20,
		 s->mirror ? "on two disks"
		 : s->blk  ? blkdev_disk(s->blk)->name
			   : "in memory",
		 info.readonly ? ", read-only" : "", info.header, info.copies);
}

static enum store_source choose(const struct store *s, const struct d0_region *image)
{
	if (s->config.source != STORE_DEFAULT)
		return s->config.source;
	return image ? STORE_BOOT : STORE_RAM;
}

int store_open(struct store *s, const char *args)
{
	const struct d0_region *image = find_image();
	enum store_source source;
	char err[160];

	s->env = (struct h2_env){.ctx = s,
				 .alloc = env_alloc,
				 .free = env_free,
				 .now = store_now,
				 .entropy = env_entropy,
				 .event = env_event,
				 .second_copy = env_second_copy,
				 .codec = &h2_codec_std};
	s->c_requests = counter_register("fs_requests");
	s->c_errors = counter_register("fs_errors");
	s->c_bad_blocks = counter_register("bad_blocks");
	s->c_syncs = counter_register("syncs");
	s->c_dirty = counter_register("dirty_bytes");
	s->c_clients = counter_register("fs_clients");
	if (h2_config_from_args(args, &s->config, err, sizeof(err))) {
		log_error("%s; nothing was touched", err);
		return -1;
	}
	source = choose(s, image);
	if (source == STORE_BOOT && !image) {
		log_error("d0.store=boot, but the cell has no volume image (data=)");
		return -1;
	}
	if (source == STORE_DISK ? open_disk(s)
				 : open_memory(s, source == STORE_BOOT ? image : NULL))
		return -1;
	if ((source == STORE_RAM || s->config.format) && make_volume(s))
		return -1;
	if (mount_volume(s))
		return -1;
	describe(s);
	return 0;
}

void store_kick(struct store *s)
{
	if (s->blk)
		blkdev_kick(s->blk);
	if (s->blk2)
		blkdev_kick(s->blk2);
}

void store_poll(struct store *s)
{
	if (s->blk)
		blkdev_poll(s->blk);
	if (s->blk2)
		blkdev_poll(s->blk2);
}

uint64_t store_tick(struct store *s)
{
	uint64_t now = clock_ns(), dirty;
	int err;

	if (s->readonly)
		return D0_NEVER;
	dirty = h2_dirty_bytes(s->vol);
	counter_set(s->c_dirty, dirty);
	if (!dirty) {
		s->next_sync = 0;
		return D0_NEVER;
	}
	if (!s->next_sync)
		s->next_sync = now + s->config.sync_s * CLOCK_NS_PER_S;
	if (now < s->next_sync)
		return s->next_sync;
	err = h2_sync(s->vol);
	counter_add_own(s->c_syncs, 1);
	s->next_sync = 0;
	if (err) {
		log_error("sync: %s; the volume is read-only now", h2_strerror(err));
		s->readonly = true;
	}
	return D0_NEVER;
}

void store_close(struct store *s)
{
	if (s->mirror)
		mirror_stop(s->mirror);
	int err = s->vol ? h2_unmount(s->vol) : 0;

	if (err && err != -H2_EROFS)
		log_error("unmount: %s", h2_strerror(err));
	else if (s->vol)
		log_info("volume unmounted");
	s->vol = NULL;
	if (s->mirror)
		mirror_close(s->mirror);
	free(s->mirror);
	if (s->blk)
		blkdev_close(s->blk);
	if (s->blk2)
		blkdev_close(s->blk2);
	if (s->ram)
		ramdisk_free(s->ram);
	s->blk = s->blk2 = NULL;
	s->mirror = NULL;
	s->ram = NULL;
}
