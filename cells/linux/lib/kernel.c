/* SPDX-License-Identifier: ISC */
/* What the kernel owes itself: its log, panic, clock, random numbers, the stack guard. */
#include "cells/linux/inc/cpu.h"

uintptr_t __stack_chk_guard;
void __stack_chk_fail(void);
void kernel_guard_init(void);

void __stack_chk_fail(void)
{
	panic("stack overrun");
}

__attribute__((optimize("no-stack-protector"))) void kernel_guard_init(void)
{
	u64 v;

	memcpy(&v, (const void *)d0_info->seed, 8);
	__stack_chk_guard = v & ~0xffull;
}

/* The log hypercall takes guest-physical addresses: text goes through a static buffer. */
static char log_buf[512];

void printk(const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = format_v(log_buf, sizeof(log_buf), fmt, ap);
	va_end(ap);
	n = MIN(n, (int)sizeof(log_buf) - 1);
	hc_call(D0_HC_log, phys_of(log_buf), (u64)n, 0);
}

void panic(const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = format_v(log_buf, sizeof(log_buf), fmt, ap);
	va_end(ap);
	n = MIN(n, 159);
	hc_call(D0_HC_log, phys_of(log_buf), (u64)n, 0);
	for (;;)
		hc_call(D0_HC_exit, 255, phys_of(log_buf), (u64)n);
}

static u64 clock_read(u64 tsc, const volatile struct d0_clock *c)
{
	for (;;) {
		u32 seq = __atomic_load_n(&c->seq, __ATOMIC_ACQUIRE);
		u64 base = c->tsc_base, mult = c->mult;
		u32 shift = c->shift;

		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if ((seq & 1) || c->seq != seq)
			continue;
		return (u64)((unsigned __int128)(tsc - base) * mult >> (shift & 127));
	}
}

u64 clock_now(void)
{
	return clock_read(rdtsc(), phys_ptr(d0_info->clock));
}

s64 clock_wall_base(void)
{
	return ((const volatile struct d0_clock *)phys_ptr(d0_info->clock))->wall_ns;
}

/*
 * ChaCha20 (RFC 8439) in fast-key-erasure mode: every call takes fresh output and the
 * first 32 bytes of each batch become the next key.
 */
static u32 rng_key[8];
static u64 rng_count;
static bool rng_ready;

static u32 rotl(u32 v, int n)
{
	return v << n | v >> (32 - n);
}

static void quarter(u32 *x, int a, int b, int c, int d)
{
	x[a] += x[b];
	x[d] = rotl(x[d] ^ x[a], 16);
	x[c] += x[d];
	x[b] = rotl(x[b] ^ x[c], 12);
	x[a] += x[b];
	x[d] = rotl(x[d] ^ x[a], 8);
	x[c] += x[d];
	x[b] = rotl(x[b] ^ x[c], 7);
}

static void chacha_block(u32 out[16])
{
	u32 in[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};

	memcpy(in + 4, rng_key, 32);
	in[12] = (u32)rng_count;
	in[13] = (u32)(rng_count++ >> 32);
	memcpy(out, in, 64);
	for (int i = 0; i < 10; i++) {
		quarter(out, 0, 4, 8, 12);
		quarter(out, 1, 5, 9, 13);
		quarter(out, 2, 6, 10, 14);
		quarter(out, 3, 7, 11, 15);
		quarter(out, 0, 5, 10, 15);
		quarter(out, 1, 6, 11, 12);
		quarter(out, 2, 7, 8, 13);
		quarter(out, 3, 4, 9, 14);
	}
	for (int i = 0; i < 16; i++)
		out[i] += in[i];
}

static void rng_seed(void)
{
	memcpy(rng_key, (const void *)d0_info->seed, 32);
	for (int i = 0; i < 8; i += 2) {
		u64 v = hc_call(D0_HC_random, 0, 0, 0).second ^ rdtsc();

		rng_key[i] ^= (u32)v;
		rng_key[i + 1] ^= (u32)(v >> 32);
	}
	rng_ready = true;
}

void random_bytes(void *buf, size_t n)
{
	u8 *p = buf;
	u32 block[16];

	if (!rng_ready)
		rng_seed();
	while (n) {
		size_t take = MIN(n, (size_t)64);

		chacha_block(block);
		memcpy(p, block, take);
		p += take;
		n -= take;
	}
	chacha_block(block);
	memcpy(rng_key, block, 32);
	memset(block, 0, sizeof(block));
}

u64 random_u64(void)
{
	u64 v;

	random_bytes(&v, sizeof(v));
	return v;
}
