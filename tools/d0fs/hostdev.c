/* SPDX-License-Identifier: ISC */
/* The environment of the h2 library on Linux: files and block devices. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/d0fs/d0fs.h"

static int dev_read(void *arg, uint64_t off, void *buf, size_t len)
{
	struct d0fs_dev *dev = arg;

	while (len) {
		ssize_t n = pread(dev->fd, buf, len, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -H2_EIO;
		buf = (char *)buf + n;
		off += n;
		len -= n;
	}
	return 0;
}

static int dev_write(void *arg, uint64_t off, const void *buf, size_t len)
{
	struct d0fs_dev *dev = arg;

	while (len) {
		ssize_t n = pwrite(dev->fd, buf, len, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -H2_EIO;
		buf = (const char *)buf + n;
		off += n;
		len -= n;
	}
	return 0;
}

static int dev_flush(void *arg)
{
	struct d0fs_dev *dev = arg;

	return fdatasync(dev->fd) ? -H2_EIO : 0;
}

static int dev_discard(void *arg, uint64_t off, uint64_t len)
{
	struct d0fs_dev *dev = arg;
	uint64_t range[2] = {off, len};

	if (dev->block_device)
		return ioctl(dev->fd, BLKDISCARD, range) ? -H2_EIO : 0;
	return fallocate(dev->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
			 (off_t)len)
		   ? -H2_EIO
		   : 0;
}

static void dev_prefetch(void *arg, uint64_t off, size_t len)
{
	struct d0fs_dev *dev = arg;

	(void)posix_fadvise(dev->fd, (off_t)off, (off_t)len, POSIX_FADV_WILLNEED);
}

static const struct h2_dev_ops dev_ops = {.read = dev_read,
					  .write = dev_write,
					  .flush = dev_flush,
					  .discard = dev_discard,
					  .prefetch = dev_prefetch};

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
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static int entropy(void *ctx, void *buf, size_t len)
{
	return getrandom(buf, len, 0) == (ssize_t)len ? 0 : -H2_EIO;
}

static void event(void *ctx, const struct h2_event *ev)
{
	d0fs_warn("%s (at %#llx, %u bytes%s%s, inode %llu, key %#llx)", ev->what,
		  (unsigned long long)ev->off, ev->len, *ev->pfs ? ", PFS " : "", ev->pfs,
		  (unsigned long long)ev->ino, (unsigned long long)ev->key);
}

int (*d0fs_second_copy)(void *ctx, const struct h2_event *ev, void *buf);
void *d0fs_second_copy_ctx;

static int second_copy(void *ctx, const struct h2_event *ev, void *buf)
{
	return d0fs_second_copy ? d0fs_second_copy(d0fs_second_copy_ctx, ev, buf) : -H2_EIO;
}

static int dev_size(struct d0fs_dev *dev, const char *path)
{
	struct stat st;

	if (fstat(dev->fd, &st))
		return d0fs_fail(D0FS_NO_VOLUME, "%s: %s", path, strerror(errno));
	dev->size = st.st_size;
	dev->block_device = S_ISBLK(st.st_mode);
	if (dev->block_device && ioctl(dev->fd, BLKGETSIZE64, &dev->size))
		return d0fs_fail(D0FS_NO_VOLUME, "%s: %s", path, strerror(errno));
	if (!dev->block_device && !S_ISREG(st.st_mode))
		return d0fs_fail(D0FS_NO_VOLUME, "%s: neither a file nor a block device", path);
	return 0;
}

int d0fs_dev_open(struct d0fs_dev *dev, const char *path, unsigned flags, uint64_t size)
{
	int mode = flags & D0FS_RDONLY ? O_RDONLY : O_RDWR, code;

	memset(dev, 0, sizeof(*dev));
	if (flags & D0FS_CREATE)
		mode |= O_CREAT;
	dev->readonly = flags & D0FS_RDONLY;
	dev->fd = open(path, mode | O_CLOEXEC, 0644);
	if (dev->fd < 0)
		return d0fs_fail(D0FS_NO_VOLUME, "%s: %s", path, strerror(errno));
	if (flock(dev->fd, (dev->readonly ? LOCK_SH : LOCK_EX) | LOCK_NB)) {
		close(dev->fd);
		return d0fs_fail(D0FS_NO_VOLUME, "%s: in use by another program", path);
	}
	code = dev_size(dev, path);
	if (!code && flags & D0FS_CREATE && !dev->block_device && size > dev->size) {
		if (ftruncate(dev->fd, (off_t)size))
			code = d0fs_fail(D0FS_FAILED, "%s: %s", path, strerror(errno));
		dev->size = size;
	}
	if (code) {
		close(dev->fd);
		return code;
	}
	dev->env = (struct h2_env){.dev_ops = &dev_ops,
				   .dev = dev,
				   .dev_size = dev->size,
				   .dev_readonly = dev->readonly,
				   .alloc = mem_alloc,
				   .free = mem_free,
				   .now = now,
				   .entropy = entropy,
				   .event = event,
				   .second_copy = second_copy,
				   .codec = &h2_codec_std};
	return 0;
}

void d0fs_dev_close(struct d0fs_dev *dev)
{
	close(dev->fd);
}

int d0fs_open(struct d0fs_vol *v, const char *path, unsigned flags, size_t dedup)
{
	struct h2_mount_opts o = {.cache_bytes = d0fs_cache_bytes,
				  .dedup_entries = dedup,
				  .readonly = flags & D0FS_RDONLY};
	int code = d0fs_dev_open(&v->dev, path, flags, 0), err;

	if (code)
		return code;
	err = h2_mount(&v->dev.env, &o, &v->vol);
	if (err) {
		d0fs_dev_close(&v->dev);
		code =
		    err == -H2_ENOTSUP || err == -H2_EMEDIUM ? D0FS_NO_VOLUME : d0fs_code(err);
		return d0fs_fail(code, "%s: %s", path, h2_strerror(err));
	}
	return 0;
}

int d0fs_close(struct d0fs_vol *v, int code)
{
	int err = h2_unmount(v->vol);

	d0fs_dev_close(&v->dev);
	if (err && err != -H2_EROFS && !code)
		return d0fs_fail(d0fs_code(err), "writing back: %s", h2_strerror(err));
	return code;
}
