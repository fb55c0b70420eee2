/* SPDX-License-Identifier: ISC */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "nucleus/core/lock.h"
#include "nucleus/core/print.h"
#include "nucleus/core/crypto.h"
#include "nucleus/live0/live0.h"
#include "nucleus/sched/sched.h"
#include "nucleus/verify/sets.h"
#include "nucleus/verify/verify.h"
#include "nucleus/vm_hypervisor/fpu.h"
#include "tests/unit/fake/arch.h"

/* The nucleus's own image: four pages of each kind. */
__asm__(".data\n.balign 4096\n"
	".globl image_start, text_start, text_end, rodata_start, rodata_end\n"
	".globl relro_start, relro_end, image_end\n"
	"image_start: text_start: .fill 16384, 1, 0x90\n"
	"text_end: rodata_start: .fill 16384, 1, 0x22\n"
	"rodata_end: relro_start: .fill 16384, 1, 0x33\n"
	"relro_end: image_end: .fill 4096, 1, 0\n.text\n");

u64 fake_now;
char fake_log[65536];
u32 fake_quiesced;
struct vcpu *fake_last_ready;
struct space nucleus_space;
struct cpu cpus[CPUS_MAX];
u32 cpu_count = 1;
u64 image_base;
static u8 *ram;
static bool held;

/* ---- tables: everything inverted and in other places ---- */

const struct table_format format_fake = {.invert = ~0ull,
					 .present = 1ull << 63,
					 .table = 1ull << 63 | 1 << 2,
					 .leaf = 1ull << 63,
					 .large = 1 << 1,
					 .read = 1ull << 52,
					 .write = 1ull << 55,
					 .execute = 1ull << 53,
					 .uncached = 1ull << 57};

/* ---- core ---- */

struct cpu *cpu_self(void)
{
	return &cpus[0];
}

void spin_lock(struct spinlock *l)
{
	l->held++;
}

void spin_unlock(struct spinlock *l)
{
	l->held--;
}

void nucleus_lock(void)
{
	held = true;
}

void nucleus_unlock(void)
{
	held = false;
}

bool nucleus_lock_held(void)
{
	return held;
}

void n_print(const char *fmt, ...)
{
	size_t n = strlen(fake_log);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(fake_log + n, sizeof(fake_log) - n - 1, fmt, ap);
	va_end(ap);
	strncat(fake_log, "\n", sizeof(fake_log) - strlen(fake_log) - 1);
}

void n_panic(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	abort();
}

void console_write(const char *text, size_t len)
{
	n_print("%.*s", (int)len, text);
}

size_t console_read(char *out, size_t max)
{
	memcpy(out, "ps\r", MIN(max, 3u));
	return MIN(max, 3u);
}

u64 random_u64(void)
{
	static u64 x = 88172645463325252ull;
	x ^= x << 13;
	x ^= x >> 7;
	return x ^= x << 17;
}

void random_bytes(void *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((u8 *)out)[i] = (u8)random_u64();
}

void fpu_nucleus_begin(void)
{
}

/* A copy in fake RAM plays the image in memory. */
hpa_t image_phys(void)
{
	static hpa_t copy;
	u64 size = (u64)(image_end - image_start);
	if (!copy.v) {
		copy = frames_alloc_run(PAGES(size));
		memcpy(hpa_to_ptr(copy), image_start, size);
	}
	return copy;
}

void repair_write(hpa_t live, const void *good)
{
	memcpy(hpa_to_ptr(live), good, PAGE_SIZE);
}

/* ---- devices and time: none ---- */

u64 clock_ns(void)
{
	return fake_now += 1000;
}

void clock_fill(struct d0_clock *out)
{
	*out = (struct d0_clock){.seq = 2, .mult = 1};
}

bool iommu_present(void)
{
	return false;
}

struct iommu_domain *iommu_domain_create(void *cell, u32 number)
{
	return NULL;
}

void iommu_domain_destroy(struct iommu_domain *domain)
{
}

int iommu_map(struct iommu_domain *domain, gpa_t at, hpa_t to, u64 size, u32 perms)
{
	return 0;
}

void iommu_unmap(struct iommu_domain *domain, gpa_t at, u64 size)
{
}

u32 device_count(void)
{
	return 0;
}

struct device *device_by_index(u32 index)
{
	return NULL;
}

struct device *device_by_address(u32 address)
{
	return NULL;
}

int device_grant(struct device *dev, const struct device_owner *owner, u32 slot,
		 struct d0_device *out)
{
	*out = (struct d0_device){0};
	return D0_OK;
}

void device_revoke(struct device *dev)
{
}

void device_irq_done(struct device *dev, u32 i)
{
}

void power_off(u8 code)
{
	exit(code);
}

void power_reboot(void)
{
	exit(1);
}

/* ---- vCPUs that never run ---- */

static const struct vcpu_ops ops = {.name = "fake", .format = &format_fake};
const struct vcpu_ops *vcpu_ops = &ops;

bool vcpu_create(struct vcpu *v, struct cell *cell, u32 index)
{
	memset(v, 0, sizeof(*v));
	v->cell = cell;
	v->index = index;
	v->deadline = v->timer = D0_NEVER;
	return true;
}

void vcpu_destroy(struct vcpu *v)
{
	if (v->cell)
		sched_remove(v);
	v->state = VCPU_OFF;
}

void vcpu_reset(struct vcpu *v, u64 rip, u64 rsp, gpa_t cr3, u64 rdi, u64 rsi)
{
	v->regs.rdi = rdi;
	v->rip = 0x1234;
}

bool cell_allow_ports(struct cell *cell, u16 first, u32 count, bool allow)
{
	return true;
}

void cell_quiesce(struct cell *cell)
{
	fake_quiesced++;
	cell->tlb_generation++;
}

u64 vcpu_shootdowns, sched_switches;

void sched_ready(struct vcpu *v)
{
	v->state = VCPU_READY;
	fake_last_ready = v;
}

void sched_block(struct vcpu *v, u64 deadline)
{
	v->state = VCPU_BLOCKED;
	v->deadline = deadline;
}

void sched_remove(struct vcpu *v)
{
}

void sched_timer_changed(struct vcpu *v)
{
}

void sched_rebuild(void)
{
}

u32 recovery_unreported;

bool recovery_rescue(void)
{
	return false;
}

void sched_kick(struct cpu *cpu)
{
}

/* ---- the machine ---- */

void fake_machine(void)
{
	if (!ram)
		ram = mmap(NULL, FAKE_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	/* Frame numbers begin at 256, as if the first MiB were firmware's. */
	direct_base = (u64)ram - 256 * PAGE_SIZE;
	frames_init(256 * PAGE_SIZE + FAKE_RAM);
	frames_add(HPA(256 * PAGE_SIZE), FAKE_RAM);
	fake_log[0] = 0;
	fake_now = 1000000;
	fake_quiesced = 0;
}

u8 *fake_archive(u64 *size)
{
	FILE *f = fopen("build/boot.d0a", "rb");
	if (!f)
		return NULL;
	fseek(f, 0, SEEK_END);
	*size = (u64)ftell(f);
	rewind(f);
	u8 *bytes = aligned_alloc(PAGE_SIZE, ALIGN_UP(*size, PAGE_SIZE));
	if (fread(bytes, 1, *size, f) != *size) {
		free(bytes);
		bytes = NULL;
	}
	fclose(f);
	return bytes;
}

s64 fake_hypercall(struct vcpu *v, u64 number, u64 a, u64 b, u64 c, u64 d)
{
	v->regs.rax = number;
	v->regs.rdi = a;
	v->regs.rsi = b;
	v->regs.rdx = c;
	v->regs.r10 = d;
	hypercall(v);
	return (s64)v->regs.rax;
}

/* A command line that has "word" and a "long" that fits nowhere; a test may bring its own. */
__attribute__((weak)) size_t cmdline_copy(const char *name, size_t len, char *out, size_t room)
{
	static const char word[] = "word=from the command line";
	size_t n = MIN(room, sizeof(word) - 1);
	if (len == 4 && !strncmp(name, "long", len))
		return (size_t)memset(out, 'x', room) ? room : 0;
	if (len != 4 || strncmp(name, "word", len))
		return 0;
	memcpy(out, word, n);
	return n;
}
