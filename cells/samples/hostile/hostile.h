/* SPDX-License-Identifier: ISC */
/*
 * Attacks: each is one small function, registered by a linker set, that tries exactly one
 * thing. The host half (tests/system/test_hostile.py) asserts what came of it.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <stdint.h>
#include "libcell/linkset.h"

struct attack {
	const char *name;
	void (*run)(void); /* returns only if the attack was survived */
};

#define ATTACK(id, name_text)                                             \
	static void attack_##id(void);                                    \
	static const struct attack id##_entry = {name_text, attack_##id}; \
	LINKSET_ADD(attacks, id##_entry);                                 \
	static void attack_##id(void)

/* Says what is tried at which address, so that the host half can compare. */
void aim(const void *at);

/* Stores, loads, calls that the compiler cannot reason away. */
static inline void poke(const void *at)
{
	*(volatile uint8_t *)(uintptr_t)at = 0x90;
}

static inline uint8_t peek(const void *at)
{
	return *(const volatile uint8_t *)at;
}

static inline void jump(const void *at)
{
	__asm__ volatile("call *%0" ::"r"(at) : "memory");
}

#endif
