/* SPDX-License-Identifier: ISC */
/*
 * Figures of the h2 library on a file: cost per file, snapshots, scrub, memory. Prints one JSON
 * object for each run; bench/store.py sets them beside their peers.
 *
 *   store_bench files VOLUME COUNT CACHE_MIB    make COUNT files, then snapshot and roll back
 *   store_bench spread VOLUME COUNT CACHE_MIB   the same, a hundred files in each directory
 *   store_bench scrub VOLUME MIB CHECK          fill a volume with file data, then scrub it
 *   store_bench hash                            speed of the check codes alone
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/d0fs/d0fs.h"

/* What hostdev.c wants from d0fs. */
bool d0fs_json, d0fs_quiet;
size_t d0fs_cache_bytes;

int d0fs_fail(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

void d0fs_warn(const char *fmt, ...)
{
}

int d0fs_code(int err)
{
	return err ? 1 : 0;
}

static double clock_of(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static double now(void)
{
	return clock_of(CLOCK_MONOTONIC);
}

static double cpu(void)
{
	return clock_of(CLOCK_PROCESS_CPUTIME_ID);
}

static void must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "%s: %s\n", what, h2_strerror(err));
	exit(1);
}

/* Memory of the library alone. */
static size_t mem_now, mem_max;

static void *counted_alloc(void *ctx, size_t len)
{
	mem_now += len;
	if (mem_now > mem_max)
		mem_max = mem_now;
	return malloc(len);
}

static void counted_free(void *ctx, void *mem, size_t len)
{
	mem_now -= len;
	free(mem);
}

struct run {
	struct d0fs_dev dev;
	struct h2_vol *vol;
	struct h2_pfs *pfs;
};

static void open_volume(struct run *r, const char *path, uint8_t check, size_t cache)
{
	struct h2_newfs_opts o = {.check = check, .comp = H2_COMP_LZ4, .labels = {"ROOT"}};
	struct h2_mount_opts m = {.cache_bytes = cache};

	unlink(path);
	if (d0fs_dev_open(&r->dev, path, D0FS_CREATE, 64ull << 30))
		exit(1);
	r->dev.env.alloc = counted_alloc;
	r->dev.env.free = counted_free;
	must(h2_newfs(&r->dev.env, &o), "newfs");
	must(h2_mount(&r->dev.env, &m, &r->vol), "mount");
	must(h2_pfs_open(r->vol, "ROOT", 0, &r->pfs), "open");
}

static void close_volume(struct run *r, const char *path)
{
	h2_pfs_close(r->pfs);
	must(h2_unmount(r->vol), "unmount");
	d0fs_dev_close(&r->dev);
	unlink(path);
}

/* Small files as images have them: most inside the inode, some with a block. `spread` puts a
 * hundred into each directory, else all are in one. */
static void make_files(struct run *r, long count, bool spread)
{
	struct h2_new how = {.mode = H2_S_IFREG | 0644};
	uint64_t dir = H2_ROOT_INO;
	static char data[3000];
	struct h2_attr a;
	char name[32];

	for (long i = 0; i < count; i++) {
		size_t len = i % 4 ? 200 : sizeof(data);

		if (spread && i % 100 == 0) {
			snprintf(name, sizeof(name), "dir-%ld", i);
			must(h2_mkdir(r->pfs, H2_ROOT_INO, name, strlen(name), &how, &a), name);
			dir = a.ino;
		}
		snprintf(name, sizeof(name), "file-%ld.txt", i);
		memcpy(data, name, sizeof(name));
		memcpy(data + 1500, &i, sizeof(i));
		must(h2_create(r->pfs, dir, name, strlen(name), &how, &a), name);
		if (h2_write(r->pfs, a.ino, 0, data, len) != (long)len)
			must(-H2_EIO, name);
	}
}

static double find_files(struct run *r, long count)
{
	long lookups = count < 20000 ? count : 20000;
	struct h2_attr a;
	char name[32];
	double t = now();

	for (long i = 0; i < lookups; i++) {
		snprintf(name, sizeof(name), "file-%ld.txt", i * 7919 % count);
		must(h2_lookup(r->pfs, H2_ROOT_INO, name, strlen(name), &a), name);
	}
	return (now() - t) / lookups;
}

static double snapshots(struct run *r, int rounds)
{
	double t = now();
	char label[32];

	for (int i = 0; i < rounds; i++) {
		snprintf(label, sizeof(label), "snap%d", i);
		must(h2_pfs_snapshot(r->vol, "ROOT", label), "snapshot");
		must(h2_sync(r->vol), "sync");
	}
	return (now() - t) / rounds;
}

static double rollbacks(struct run *r, int rounds)
{
	struct h2_pfs_opts o = {0};
	double t;

	must(h2_pfs_create(r->vol, "target", &o), "create");
	t = now();
	for (int i = 0; i < rounds; i++) {
		must(h2_pfs_rollback(r->vol, "target", "snap3"), "rollback");
		must(h2_sync(r->vol), "sync");
	}
	return (now() - t) / rounds;
}

static int files(const char *path, long count, size_t cache, bool spread)
{
	double t, made, found = 0, snap, back;
	struct run r;

	open_volume(&r, path, H2_CHECK_SHA192, cache);
	t = now();
	make_files(&r, count, spread);
	must(h2_sync(r.vol), "sync");
	made = (now() - t) / count;
	if (!spread)
		found = find_files(&r, count);
	snap = snapshots(&r, 20);
	back = rollbacks(&r, 20);
	printf(
	    "{\"files\": %ld, \"create_us\": %.3f, \"lookup_us\": %.3f, \"snapshot_ms\": %.3f, "
	    "\"rollback_ms\": %.3f, \"memory_mib\": %.2f}\n",
	    count, made * 1e6, found * 1e6, snap * 1e3, back * 1e3, mem_max / 1048576.0);
	close_volume(&r, path);
	return 0;
}

static void fill(struct run *r, long mib)
{
	struct h2_new how = {.mode = H2_S_IFREG | 0644};
	uint64_t *data = malloc(1 << 20), x = 88172645463325252ull;
	struct h2_attr a;

	must(h2_create(r->pfs, H2_ROOT_INO, "data", 4, &how, &a), "create");
	for (long i = 0; i < mib; i++) {
		for (int k = 0; k < 1 << 17; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			data[k] = x;
		}
		if (h2_write(r->pfs, a.ino, (uint64_t)i << 20, data, 1 << 20) != 1 << 20)
			must(-H2_EIO, "write");
	}
	must(h2_sync(r->vol), "sync");
	free(data);
}

static int scrub(const char *path, long mib, uint8_t check)
{
	struct h2_progress p = {0};
	struct h2_scrub *s;
	struct run r;
	double best = 1e9;
	int more;

	open_volume(&r, path, check, 8 << 20);
	fill(&r, mib);
	for (int round = 0; round < 3; round++) {
		double c = cpu();

		must(h2_scrub_begin(r.vol, &s), "scrub");
		while ((more = h2_scrub_step(s, 64 << 20, &p)) > 0)
			;
		h2_scrub_end(s);
		must(more, "scrub");
		c = cpu() - c;
		best = c < best ? c : best;
	}
	printf("{\"bytes\": %llu, \"bad\": %llu, \"gb_per_s\": %.3f}\n",
	       (unsigned long long)p.done_bytes, (unsigned long long)p.bad,
	       p.done_bytes / best / 1e9);
	close_volume(&r, path);
	return 0;
}

static int hash(void)
{
	uint8_t *buf = calloc(1, 65536), out[32];
	volatile uint64_t sink = 0;
	const int n = 8000;
	double t, xxh, sha;

	t = cpu();
	for (int i = 0; i < n; i++)
		sink += h2_xxh64(buf, 65536, i);
	xxh = n * 65536.0 / (cpu() - t) / 1e9;
	t = cpu();
	for (int i = 0; i < n; i++) {
		h2_sha256(buf, 65536, out);
		buf[0] = out[0];
	}
	sha = n * 65536.0 / (cpu() - t) / 1e9;
	printf("{\"xxhash64\": %.3f, \"sha256\": %.3f}\n", xxh, sha);
	free(buf);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "files"))
		return files(argv[2], atol(argv[3]), (size_t)atol(argv[4]) << 20, false);
	if (argc == 5 && !strcmp(argv[1], "spread"))
		return files(argv[2], atol(argv[3]), (size_t)atol(argv[4]) << 20, true);
	if (argc == 5 && !strcmp(argv[1], "scrub"))
		return scrub(argv[2], atol(argv[3]), (uint8_t)atoi(argv[4]));
	if (argc == 2 && !strcmp(argv[1], "hash"))
		return hash();
	fprintf(stderr, "usage: see the head of bench/store_bench.c\n");
	return 2;
}
