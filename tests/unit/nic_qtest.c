/* SPDX-License-Identifier: ISC */
#include "tests/unit/nic_qtest.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RAM_SIZE  (64u << 20)
#define RAM_BEGIN (1u << 20)
#define DEVFN     (3u << 3)
#define BAR_BASE  0xe0000000u
#define IRQ_PAGE  0x8000u

static char dir[64];
static pid_t qemu;
static int qtest = -1, wire = -1, monitor = -1;
static uint8_t *ram;
static uint64_t ram_next;
static FILE *qt_in;
struct d0_device qt_device;

/* ---- the qtest protocol: a line asks, a line answers ---- */

static uint64_t ask(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static uint64_t ask(const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	assert(write(qtest, line, (size_t)n) == n);
	do {
		assert(fgets(line, sizeof(line), qt_in));
	} while (strncmp(line, "IRQ", 3) == 0);
	assert(strncmp(line, "OK", 2) == 0);
	return line[2] == ' ' ? strtoull(line + 3, NULL, 0) : 0;
}

static uint32_t config_read(uint32_t off)
{
	ask("outl 0xcf8 0x%x\n", 0x80000000u | DEVFN << 8 | (off & 0xfc));
	return (uint32_t)ask("inl 0xcfc\n");
}

static void config_write(uint32_t off, uint32_t v)
{
	ask("outl 0xcf8 0x%x\n", 0x80000000u | DEVFN << 8 | (off & 0xfc));
	ask("outl 0xcfc 0x%x\n", v);
}

/* ---- the platform of the drivers ---- */

static uint64_t reg(struct netdev *nd, unsigned bar, uint32_t off)
{
	assert(nd->pci->bar[bar].size > off);
	return nd->pci->bar[bar].base + off;
}

uint8_t nic_read8(struct netdev *nd, unsigned bar, uint32_t off)
{
	return (uint8_t)ask("readb 0x%lx\n", reg(nd, bar, off));
}

uint16_t nic_read16(struct netdev *nd, unsigned bar, uint32_t off)
{
	return (uint16_t)ask("readw 0x%lx\n", reg(nd, bar, off));
}

uint32_t nic_read32(struct netdev *nd, unsigned bar, uint32_t off)
{
	return (uint32_t)ask("readl 0x%lx\n", reg(nd, bar, off));
}

void nic_write8(struct netdev *nd, unsigned bar, uint32_t off, uint8_t v)
{
	ask("writeb 0x%lx 0x%x\n", reg(nd, bar, off), v);
}

void nic_write16(struct netdev *nd, unsigned bar, uint32_t off, uint16_t v)
{
	ask("writew 0x%lx 0x%x\n", reg(nd, bar, off), v);
}

void nic_write32(struct netdev *nd, unsigned bar, uint32_t off, uint32_t v)
{
	ask("writel 0x%lx 0x%x\n", reg(nd, bar, off), v);
}

uint32_t nic_config_read32(struct netdev *nd, uint32_t off)
{
	return config_read(off);
}

void nic_delay_us(unsigned us)
{
	nanosleep(&(struct timespec){.tv_nsec = us * 1000L}, NULL);
}

void *qt_ram(size_t size, uint64_t *gpa)
{
	*gpa = ram_next;
	ram_next += (size + 4095) & ~(size_t)4095;
	assert(ram_next <= RAM_SIZE);
	memset(ram + *gpa, 0, size);
	return ram + *gpa;
}

void *nic_dma_alloc(size_t size, uint64_t *dma)
{
	return qt_ram(size, dma);
}

void nic_dma_free(void *p, size_t size)
{
	memset(p, 0xdd, size); /* a late DMA or use shows */
}

/* ---- what the nucleus does ---- */

static void map_bars(void)
{
	uint32_t next = BAR_BASE, port = 0xc000;

	for (unsigned i = 0; i < 6; i++) {
		struct d0_bar *bar = &qt_device.bar[i];
		uint32_t off = 0x10 + 4 * i;

		config_write(off, 0xffffffff);
		uint32_t mask = config_read(off);

		if (mask == 0 || mask == 0xffffffff)
			continue;
		if (mask & 1) {
			bar->size = ~(mask & ~3u) + 1;
			bar->port = port;
			bar->flags = D0_BAR_IO;
			config_write(off, port);
			port += 0x100;
			continue;
		}
		bar->size = ~(mask & ~15u) + 1;
		next = (uint32_t)((next + bar->size - 1) & ~(bar->size - 1));
		bar->base = next;
		config_write(off, next);
		next += (uint32_t)bar->size;
		if ((mask & 6) == 4) {
			bar->flags = D0_BAR_64;
			config_write(off + 4, 0);
			i++;
		}
	}
	config_write(0x04, 0x7); /* I/O, memory, bus master */
}

static void map_msix(void)
{
	uint32_t at = config_read(0x34) & 0xfc;

	while (at && (config_read(at) & 0xff) != 0x11)
		at = config_read(at) >> 8 & 0xfc;
	qt_device.irq_kind = D0_IRQ_INTX;
	qt_device.irq_count = 1;
	if (!at)
		return;
	uint32_t ctrl = config_read(at), table = config_read(at + 4);
	uint32_t count = (ctrl >> 16 & 0x7ff) + 1;
	uint64_t base = qt_device.bar[table & 7].base + (table & ~7u);

	config_write(at, ctrl | 1u << 31);
	if (count > 16)
		count = 16;
	for (uint32_t i = 0; i < count; i++) {
		ask("writel 0x%lx 0x%x\n", base + 16 * i, IRQ_PAGE + 4 * i);
		ask("writel 0x%lx 0\n", base + 16 * i + 4);
		ask("writel 0x%lx 0x%x\n", base + 16 * i + 8, i + 1);
		ask("writel 0x%lx 0\n", base + 16 * i + 12);
	}
	qt_device.irq_kind = D0_IRQ_MSIX;
	qt_device.irq_count = count;
}

bool qt_irq(unsigned vector)
{
	if (qt_device.irq_kind == D0_IRQ_INTX)
		return (config_read(0x04) >> 19 & 1) != 0;
	volatile uint32_t *word = (volatile uint32_t *)(ram + IRQ_PAGE + 4 * vector);
	bool fired = *word != 0;

	*word = 0;
	return fired;
}

/* ---- process and sockets ---- */

static int bound(const char *name, int type)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int s = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s", dir, name);
	assert(s >= 0 && bind(s, (struct sockaddr *)&a, sizeof(a)) == 0);
	if (type == SOCK_STREAM)
		assert(listen(s, 1) == 0);
	return s;
}

static void exec_qemu(const char *model)
{
	char bios[96], qt[128], mon[128], mem[160], net[256], dev[160];
	char *const argv[] = {"qemu-system-x86_64",
			      "-machine",
			      "q35,memory-backend=m",
			      "-bios",
			      bios,
			      "-accel",
			      "tcg",
			      "-nodefaults",
			      "-display",
			      "none",
			      "-m",
			      "64",
			      "-object",
			      mem,
			      "-qtest",
			      qt,
			      "-qtest-log",
			      "/dev/null",
			      "-monitor",
			      mon,
			      "-netdev",
			      net,
			      "-device",
			      dev,
			      NULL};

	snprintf(bios, sizeof(bios), "%s/bios", dir);
	snprintf(qt, sizeof(qt), "unix:%s/qtest", dir);
	snprintf(mon, sizeof(mon), "unix:%s/monitor", dir);
	snprintf(mem, sizeof(mem), "memory-backend-file,id=m,size=64M,share=on,mem-path=%s/ram",
		 dir);
	snprintf(net, sizeof(net),
		 "dgram,id=n,local.type=unix,local.path=%s/qemu,remote.type=unix,"
		 "remote.path=%s/wire",
		 dir, dir);
	snprintf(dev, sizeof(dev), "%s,netdev=n,id=nic,mac=" QT_MAC ",addr=3.0", model);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execvp(argv[0], argv);
	perror(argv[0]);
	_exit(127);
}

/* Firmware whose every byte halts: QEMU's virtual time runs, its CPU never does. */
static void write_bios(void)
{
	char path[96], rom[65536];

	memset(rom, 0xf4, sizeof(rom));
	snprintf(path, sizeof(path), "%s/bios", dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert(fd >= 0 && write(fd, rom, sizeof(rom)) == sizeof(rom));
	close(fd);
}

int qt_start(const char *model)
{
	char path[96];

	snprintf(dir, sizeof(dir), "/tmp/nic-qtest-XXXXXX");
	assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/ram", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert(fd >= 0 && ftruncate(fd, RAM_SIZE) == 0);
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert(ram != MAP_FAILED);
	close(fd);
	ram_next = RAM_BEGIN;
	write_bios();
	int ls = bound("qtest", SOCK_STREAM), lm = bound("monitor", SOCK_STREAM);

	wire = bound("wire", SOCK_DGRAM);
	qemu = fork();
	if (qemu == 0)
		exec_qemu(model);
	struct pollfd p = {.fd = ls, .events = POLLIN};

	if (poll(&p, 1, 5000) != 1) {
		fprintf(stderr, "qemu does not start\n");
		return -1;
	}
	qtest = accept(ls, NULL, NULL);
	monitor = accept(lm, NULL, NULL);
	close(ls);
	close(lm);
	qt_in = fdopen(dup(qtest), "r");
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	memset(&qt_device, 0, sizeof(qt_device));
	uint32_t id = config_read(0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/qemu", dir);
	assert(connect(wire, (struct sockaddr *)&a, sizeof(a)) == 0);
	qt_device.vendor = (uint16_t)id;
	qt_device.device = (uint16_t)(id >> 16);
	qt_device.class_rev = config_read(8);
	qt_device.irq_first = 1;
	map_bars();
	map_msix();
	return 0;
}

void qt_stop(void)
{
	static const char *const files[] = {"ram", "qtest", "monitor", "wire", "qemu", "bios"};
	char path[96];

	kill(qemu, SIGKILL);
	waitpid(qemu, NULL, 0);
	fclose(qt_in);
	close(qtest);
	close(monitor);
	close(wire);
	munmap(ram, RAM_SIZE);
	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	rmdir(dir);
}

void qt_wire_send(const void *data, uint32_t len)
{
	assert(send(wire, data, len, 0) == (ssize_t)len);
}

uint32_t qt_wire_recv(void *buf, uint32_t size, int timeout_ms)
{
	struct pollfd p = {.fd = wire, .events = POLLIN};

	if (poll(&p, 1, timeout_ms) != 1)
		return 0;
	ssize_t n = recv(wire, buf, size, 0);

	return n > 0 ? (uint32_t)n : 0;
}

void qt_monitor(const char *command)
{
	char buf[4096];

	while (recv(monitor, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
	assert(dprintf(monitor, "%s\n", command) > 0);
	for (int i = 0; i < 200; i++) {
		ssize_t n = recv(monitor, buf, sizeof(buf) - 1, MSG_DONTWAIT);

		buf[n > 0 ? n : 0] = '\0';
		if (strstr(buf, "(qemu)"))
			return;
		usleep(10000);
	}
}
