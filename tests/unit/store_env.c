/* SPDX-License-Identifier: ISC */
#include "tests/unit/store_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int dev_read(void *dev, uint64_t off, void *buf, size_t len)
{
	struct store_env *e = dev;

	if (off > e->size || len > e->size - off)
		return -H2_EIO;
	memcpy(buf, e->mem + off, len);
	return 0;
}

static int dev_write(void *dev, uint64_t off, const void *buf, size_t len)
{
	struct store_env *e = dev;

	if (off > e->size || len > e->size - off)
		return -H2_EIO;
	if (e->fail_after == 0)
		return -H2_EIO;
	if (e->fail_after > 0)
		e->fail_after--;
	memcpy(e->mem + off, buf, len);
	e->writes++;
	return 0;
}

static int dev_flush(void *dev)
{
	((struct store_env *)dev)->flushes++;
	return ((struct store_env *)dev)->fail_after == 0 ? -H2_EIO : 0;
}

static const struct h2_dev_ops dev_ops = {
    .read = dev_read, .write = dev_write, .flush = dev_flush};

static void *mem_alloc(void *ctx, size_t len)
{
	return malloc(len);
}

static void mem_free(void *ctx, void *mem, size_t len)
{
	free(mem);
}

static uint64_t now(void *ctx)
{
	return ((struct store_env *)ctx)->clock += 1000003;
}

static int entropy(void *ctx, void *buf, size_t len)
{
	struct store_env *e = ctx;
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((e->clock += 7919) * 0x9e3779b97f4a7c15ull >> 56);
	return 0;
}

static void must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "%s: %s\n", what, h2_strerror(err));
	abort();
}

static void mount(struct store_env *e)
{
	struct h2_mount_opts o = {.cache_bytes = H2_CACHE_MIN, .dedup_entries = 4096};

	must(h2_mount(&e->env, &o, &e->vol), "mount");
}

void store_env_open(struct store_env *e, uint64_t size)
{
	struct h2_newfs_opts o = {.labels = {"root"}};

	memset(e, 0, sizeof(*e));
	e->fail_after = -1;
	e->size = size;
	e->clock = 1700000000000000000ull;
	e->mem = calloc(1, size);
	e->env = (struct h2_env){.dev_ops = &dev_ops,
				 .dev = e,
				 .dev_size = size,
				 .ctx = e,
				 .alloc = mem_alloc,
				 .free = mem_free,
				 .now = now,
				 .entropy = entropy,
				 .codec = &h2_codec_std};
	must(h2_newfs(&e->env, &o), "newfs");
	mount(e);
}

void store_env_crash(struct store_env *e)
{
	h2_abandon(e->vol);
	e->fail_after = -1;
	mount(e);
}

void store_env_again(struct store_env *e, uint64_t size)
{
	if (!e->blank) {
		store_env_open(e, size);
		must(h2_sync(e->vol), "sync");
		e->blank = malloc(size);
		memcpy(e->blank, e->mem, size);
		return;
	}
	memcpy(e->mem, e->blank, size);
	store_env_crash(e);
}

static void finding(void *arg, const struct h2_finding *f)
{
	if (f->error)
		fprintf(stderr, "check: %s\n", f->text);
}

long store_env_check(struct store_env *e)
{
	must(h2_sync(e->vol), "sync");
	return h2_check(e->vol, 0, finding, NULL, NULL);
}

void store_env_close(struct store_env *e)
{
	h2_abandon(e->vol);
	free(e->mem);
}

size_t store_env_tar(uint8_t *p, const char *name, const void *data, size_t len, char type,
		     const char *link)
{
	size_t whole = 512 + (len + 511) / 512 * 512;
	unsigned sum = 0;

	memset(p, 0, whole);
	snprintf((char *)p, 100, "%s", name);
	memcpy(p + 100, "0000644\0000000000\0000000000", 24);
	snprintf((char *)p + 124, 12, "%011zo", len);
	memcpy(p + 136, "00000000001", 11);
	memset(p + 148, ' ', 8);
	p[156] = (uint8_t)type;
	snprintf((char *)p + 157, 100, "%s", link);
	memcpy(p + 257, "ustar\00000", 8);
	for (int i = 0; i < 512; i++)
		sum += p[i];
	snprintf((char *)p + 148, 8, "%06o", sum);
	if (len)
		memcpy(p + 512, data, len);
	return whole;
}
