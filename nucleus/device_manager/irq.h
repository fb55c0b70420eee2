/* SPDX-License-Identifier: ISC */
/*
 * Interrupt hardware: local APIC (xAPIC or x2APIC), I/O APICs, MSI, vectors for devices.
 *
 * The dispatcher that calls the handlers of vector_set() calls lapic_eoi() after the
 * handler, for every vector but VECTOR_SPURIOUS.
 */
#ifndef NUCLEUS_DEVICE_MANAGER_IRQ_H
#define NUCLEUS_DEVICE_MANAGER_IRQ_H

#include "nucleus/core/cpu.h"
#include "nucleus/core/types.h"

/* ---- lapic.c ---- */

/* Enable the local APIC of the calling CPU; the first call (boot CPU) also chooses
 * x2APIC where there is one. Every CPU calls it once. After clock_init() the timer works. */
void lapic_init_cpu(void);
u32 lapic_id(void); /* of the calling CPU */
void lapic_eoi(void);
void lapic_ipi(u32 apic_id, u8 vector);
void lapic_nmi_others(void); /* stop the others in a panic */
/* INIT, SIPI, SIPI: the CPU begins in real mode at physical page << 12 (below 1 MiB). */
void lapic_start_cpu(u32 apic_id, u8 page);
/* Fire VECTOR_TIMER on the calling CPU when clock_ns() reaches deadline (at once if it is
 * past); ~0: never. One deadline a CPU. May fire early when the hardware counts less far
 * than asked: the handler compares with clock_ns() and arms again. */
void lapic_timer_arm(u64 deadline_ns);
extern bool lapic_x2apic;

/* ---- ioapic.c ---- */

/* Mask the 8259s and every I/O APIC line. */
void ioapic_init(void);
/* Route a global interrupt to one CPU, masked; VECTOR_NMI: as an NMI. false: no I/O APIC has
 * that line. */
bool ioapic_route(u32 gsi, u8 vector, u32 apic_id, bool level, bool low);
/* The same for an ISA interrupt, by the MADT's overrides; *gsi is set. */
bool ioapic_route_isa(u8 irq, u8 vector, u32 apic_id, u32 *gsi);
void ioapic_mask(u32 gsi, bool masked);

/* ---- irq.c ---- */

/* A vector of the device range. 0: none left. */
u8 irq_vector_alloc(vector_handler handler, void *arg);
void irq_vector_free(u8 vector);

/* Message for a fixed, edge interrupt (Intel SDM vol. 3, 11.11) ---- */
struct msi_message {
	u64 address;
	u32 data;
};
/* false: that CPU cannot be reached (APIC ID over 254 without interrupt remapping). */
bool msi_compose(u32 apic_id, u8 vector, struct msi_message *out);

/* ---- rtc.c ---- */

#define RTC_IRQ 8
/* From now on an interrupt each second. */
void rtc_ring(void);
/* Whether this one is the RTC's; lets the next one come. */
bool rtc_rang(void);

/* ---- serial.c ---- */

/* Let COM1 raise VECTOR_SERIAL on the boot CPU when a byte arrives. The handler must
 * read until console_read() returns less than asked for (the line is edge triggered).
 * false: no UART or no I/O APIC; then input must be polled. */
bool serial_irq_enable(void);

#endif
