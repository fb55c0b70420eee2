/* SPDX-License-Identifier: ISC */
/*
 * Access to device registers and the barriers between them and memory. x86 keeps stores
 * to uncached memory in order; the compiler is held by volatile and the "memory" clobber.
 */
#ifndef LIBCELL_MMIO_H
#define LIBCELL_MMIO_H

#include <stdint.h>

#define MMIO_DEFINE(bits)                                                                     \
	static inline uint##bits##_t mmio_read##bits(const volatile void *base, uint64_t off) \
	{                                                                                     \
		uint##bits##_t v =                                                            \
		    *(const volatile uint##bits##_t *)((const volatile uint8_t *)base + off); \
		__asm__ volatile("" ::: "memory");                                            \
		return v;                                                                     \
	}                                                                                     \
	static inline void mmio_write##bits(volatile void *base, uint64_t off,                \
					    uint##bits##_t v)                                 \
	{                                                                                     \
		__asm__ volatile("" ::: "memory");                                            \
		*(volatile uint##bits##_t *)((volatile uint8_t *)base + off) = v;             \
	}
MMIO_DEFINE(8)
MMIO_DEFINE(16)
MMIO_DEFINE(32)
MMIO_DEFINE(64)
#undef MMIO_DEFINE

static inline uint8_t pio_read8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint16_t pio_read16(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t pio_read32(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline void pio_write8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}

static inline void pio_write16(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}

static inline void pio_write32(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}

/* Memory that a device reads or writes by DMA, or a peer on another CPU: full barrier. */
static inline void mem_barrier(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline void mem_read_barrier(void)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
}

static inline void mem_write_barrier(void)
{
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

#endif
