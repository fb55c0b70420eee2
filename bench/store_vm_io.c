/* SPDX-License-Identifier: ISC */
/*
 * What bench/store_vm.py runs in a container on D0 and as init of a Linux guest with the same
 * disk: the times of reading files the host made ("cold", "random") and of writing and syncing.
 * With an argument it is init: it loads /modules in order, mounts /dev/vda, and powers off at
 * last.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STEP  (256u << 10)
#define BYTES (16u << 20)
#define READS 200
#define SYNCS 20

static uint8_t buf[STEP];

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void fail(const char *what)
{
	printf("bench FAILED %s: %m\n", what);
	if (getpid() == 1)
		reboot(RB_POWER_OFF);
	exit(1);
}

static int open_or_fail(const char *path, int flags)
{
	int fd = open(path, flags, 0644);

	if (fd < 0)
		fail(path);
	return fd;
}

static void read_all(const char *name)
{
	int fd = open_or_fail("cold", O_RDONLY);
	double t = now_us();
	uint64_t n = 0;
	ssize_t got;

	while ((got = read(fd, buf, STEP)) > 0)
		n += (uint64_t)got;
	if (n != BYTES)
		fail("read");
	printf("bench %s %.0f\n", name, now_us() - t);
	close(fd);
}

static void random_reads(void)
{
	int fd = open_or_fail("random", O_RDONLY);
	double t = now_us();
	uint64_t x = 1;

	for (unsigned i = 0; i < READS;
	     i++, x = x * 6364136223846793005ull + 1442695040888963407ull)
		if (pread(fd, buf, 4096, (off_t)((x >> 33) % (BYTES / 4096) * 4096)) != 4096)
			fail("pread");
	printf("bench random_us %.0f\n", (now_us() - t) / READS);
	close(fd);
}

static void fill(uint64_t seed)
{
	uint64_t x = seed;

	for (size_t i = 0; i < STEP; i += 8) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		memcpy(buf + i, &x, 8);
	}
}

static void write_all(void)
{
	int fd = open_or_fail("out", O_RDWR | O_CREAT | O_TRUNC);
	double t = 0;

	for (unsigned n = 0; n < BYTES / STEP; n++) {
		double start;

		fill(n + 1);
		start = now_us();
		if (write(fd, buf, STEP) != STEP)
			fail("write");
		t += now_us() - start;
	}
	double start = now_us();
	if (fsync(fd))
		fail("fsync");
	printf("bench write_us %.0f\n", t + now_us() - start);
	close(fd);
}

static void syncs(void)
{
	int fd = open_or_fail("small", O_RDWR | O_CREAT | O_TRUNC);
	double t = now_us();

	for (unsigned i = 0; i < SYNCS; i++)
		if (write(fd, buf, 4096) != 4096 || fsync(fd))
			fail("fsync");
	printf("bench fsync_us %.0f\n", (now_us() - t) / SYNCS);
	close(fd);
}

static void start_linux(const char *fs)
{
	char name[64];

	if (mount("none", "/dev", "devtmpfs", 0, NULL))
		fail("devtmpfs");
	for (unsigned i = 0; i < 99; i++) {
		snprintf(name, sizeof(name), "/modules/%02u", i);
		int fd = open(name, O_RDONLY);

		if (fd < 0)
			break;
		if (syscall(SYS_finit_module, fd, "", 0))
			fail(name);
		close(fd);
	}
	for (unsigned i = 0; mount("/dev/vda", "/mnt", fs, 0, NULL); i++) {
		if (i == 100)
			fail("mount");
		usleep(50000);
	}
	if (chdir("/mnt"))
		fail("chdir");
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getpid() == 1 && argc > 1)
		start_linux(argv[1]);
	else if (chdir("/"))
		fail("chdir");
	read_all("read_us");
	read_all("again_us");
	random_reads();
	write_all();
	syncs();
	printf("bench done\n");
	if (getpid() == 1 && argc > 1)
		reboot(RB_POWER_OFF);
	return 0;
}
