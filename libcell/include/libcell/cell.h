/* SPDX-License-Identifier: ISC */
/*
 * The runtime of a native cell: its entry, its tables, waiting, events.
 *
 * A cell is one or more vCPUs that each run a loop and then wait. There are no
 * interrupts and no signals: between two calls of cell_wait() nothing happens behind the
 * code's back except that peers write to rings. The same calls work in the bare and in
 * the hosted back-end.
 *
 *	int cell_main(const struct d0_info *info)
 *	{
 *		for (;;) {
 *			if (cell_event_take(channel))
 *				serve(channel);
 *			cell_wait(next_deadline);
 *		}
 *	}
 */
#ifndef LIBCELL_CELL_H
#define LIBCELL_CELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "d0/abi.h"

/* Written by the cell. Its result is the cell's exit code, 0 for an orderly end. */
int cell_main(const struct d0_info *info);

/* The info page; never NULL once cell_main runs. Read-only, changes with D0_EV_CONFIG. */
const struct d0_info *cell_info(void);

/* Number of the vCPU (hosted: of the thread) that asks. */
unsigned cell_vcpu(void);

/*
 * Sleep until an event is pending for this vCPU or clock_ns() >= deadline_ns (D0_NEVER: no
 * deadline; 0: only look). Uses idle time for the verification duty. Spurious returns are
 * allowed. True if an event is pending; one that is never taken makes every wait return
 * at once, so take the flags one has no use for as well.
 */
bool cell_wait(uint64_t deadline_ns);

/*
 * For a cell that polls for long without waiting: does a due piece of verification work,
 * at most about 100 us of it. cell_wait() calls it.
 */
void cell_duty(void);

/* True once for each time the channel was notified (or its interrupt fired) since. */
bool cell_event_take(unsigned channel);

/*
 * For many channels: take all pending events of 64 channels at once: those of
 * [word * 64, word * 64 + 63], as a bit mask. word < D0_CHANNELS_MAX / 64. Which words may have
 * some is what cell_events_words() says, a bit each.
 */
uint64_t cell_events_words(void);
uint64_t cell_events_take(unsigned word);

/* Takes and returns the pending ones of these D0_EV_* flags. */
uint64_t cell_flags_take(uint64_t mask);

/* Sets the channel's event at the peer. D0_OK or a D0_E value; never blocks. */
int cell_notify(unsigned channel);

/*
 * The same, but it may be put off until the cell notifies another channel so, waits or flushes:
 * for a loop that is about to wait, which then costs one hypercall instead of two.
 */
void cell_notify_later(unsigned channel);
void cell_notify_flush(void);

/* A level-triggered interrupt was served. */
int cell_irq_done(unsigned channel);

/* D0_EV_TIMER at that time on this vCPU; D0_NEVER disarms. Waiting needs no timer. */
void cell_timer(uint64_t deadline_ns);

/* Entry of the channel table, or NULL if there is no such slot. Check its state. */
const struct d0_channel *cell_channel(unsigned channel);

/*
 * First open channel with number >= from, this protocol (D0_PROTO_NONE: any), this role
 * (-1: any) and this label (NULL: any). Its number, or -1.
 */
int cell_channel_find(unsigned from, enum d0_protocol protocol, int role, const char *label);

/* The ring of a channel, or NULL; *size (may be NULL) gets its bytes. Peer-writable! */
void *cell_channel_ring(unsigned channel, size_t *size);

/* n-th region (from 0) of that type, or NULL. */
const struct d0_region *cell_region(enum d0_region_type type, unsigned n);

/* n-th device granted to the cell, or NULL. */
const struct d0_device *cell_device(unsigned n);

/* Mapped BAR (MMIO) of a device, or NULL. */
volatile void *cell_device_bar(const struct d0_device *dev, unsigned bar);

/* Read-only view of the device's configuration space, or NULL. */
const volatile void *cell_device_config(const struct d0_device *dev);

/* Guest-physical address to pointer and back. Not checked. */
void *cell_ptr(uint64_t gpa);
uint64_t cell_gpa(const void *p);

/*
 * The address by which a granted device reaches [p, p + len), which must lie in one
 * region (heap, ring, data, state); D0_NEVER if it does not or is not reachable.
 */
uint64_t cell_dma_addr(const void *p, size_t len);

/*
 * Value of "key=value" in a space-separated argument string (info->args, channel args).
 * cell_arg copies it (truncated, NUL-terminated) and returns its length, or -1 if absent.
 */
int cell_arg(const char *args, const char *key, char *buf, size_t size);
/* The same as a number: decimal, 0x..., suffixes K M G; dflt if absent or malformed. */
uint64_t cell_arg_u64(const char *args, const char *key, uint64_t dflt);
/* True if the word (or "word=...") is there. */
bool cell_arg_has(const char *args, const char *word);

/*
 * Run fn(arg) on another vCPU, on its own stack. It must not return. D0_OK or a D0_E
 * value. Hosted: a thread.
 */
int cell_vcpu_start(unsigned vcpu, void (*fn)(void *), void *arg);

/* D0_EV_IPI at those vCPUs of this cell. */
void cell_ipi(uint64_t vcpu_mask);

/*
 * Up to len bytes typed on the console, 0 if there are none (D0_EV_CONSOLE tells when there
 * are); needs D0_CAP_CONSOLE. A D0_E value if negative. Hosted: standard input, D0_EPERM
 * unless this is the process's only cell.
 */
long cell_console_read(void *buf, size_t len);

/* End the cell. code 0: orderly; reason may be NULL. Hosted: ends the process. */
_Noreturn void cell_exit(int code, const char *reason);

#endif
