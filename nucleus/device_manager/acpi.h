/* SPDX-License-Identifier: ISC */
/*
 * What the firmware's ACPI tables (ACPI 6.5) say about the machine, checked and copied.
 * Nothing outside acpi.c and dmar.c reads a table.
 */
#ifndef NUCLEUS_DEVICE_MANAGER_ACPI_H
#define NUCLEUS_DEVICE_MANAGER_ACPI_H

#include "nucleus/core/types.h"

#define ACPI_CPUS_MAX      64
#define ACPI_IOAPICS_MAX   8
#define ACPI_OVERRIDES_MAX 16
#define ACPI_MCFG_MAX      8

struct acpi_ioapic {
	u32 id;
	hpa_t base;
	u32 gsi_base;
};
/* ISA interrupt `irq` arrives as global interrupt `gsi`. */
struct acpi_override {
	u8 irq;
	bool level, low; /* trigger mode, polarity */
	u32 gsi;
};
struct acpi_mcfg {
	hpa_t base; /* ECAM of bus 0 of the segment, even if bus_first is not 0 */
	u16 segment;
	u8 bus_first, bus_last;
};
/* A register as the Generic Address Structure gives it. */
struct acpi_register {
	u64 address; /* 0: absent */
	bool io;     /* I/O port, else memory */
};

struct acpi_info {
	bool present; /* false: no usable tables; the rest holds fallbacks */
	u32 tables;   /* valid tables seen */
	u32 rejected; /* tables with a bad checksum, length or address */

	/* MADT */
	hpa_t lapic;
	u32 cpus, cpus_ignored;
	u32 cpu[ACPI_CPUS_MAX]; /* APIC IDs */
	u32 ioapics;
	struct acpi_ioapic ioapic[ACPI_IOAPICS_MAX];
	u32 overrides;
	struct acpi_override override[ACPI_OVERRIDES_MAX];
	bool pcat_compat; /* there is a pair of 8259s to mask */

	/* MCFG */
	u32 mcfgs;
	struct acpi_mcfg mcfg[ACPI_MCFG_MAX];

	/* FADT, and _S5 of the DSDT */
	struct acpi_register pm1a_control, pm1b_control, pm_timer, reset;
	u16 smi_command; /* takes acpi_enable, to leave legacy mode; 0: always in ACPI mode */
	u8 acpi_enable;
	u8 reset_value;
	bool pm_timer_32;
	bool s5_known;
	u8 s5_a, s5_b; /* SLP_TYP values */
	u8 century;    /* CMOS index of the century, 0: none */

	/* HPET */
	hpa_t hpet; /* 0: none */

	/* DMAR, IVRS: whole tables, for vtd.c; 0: none */
	hpa_t dmar;
	u32 dmar_size;
	bool ivrs;
};

/*
 * Read the tables. rsdp as the boot loader gave it, or 0: there are none.
 * Never fails: what is missing or damaged is replaced by fallbacks (one CPU, LAPIC at its
 * default address, no IOAPIC, PCI by ports) and said on the console.
 */
void acpi_init(hpa_t rsdp);
extern struct acpi_info acpi; /* after acpi_init() nobody changes it */

/* How ISA interrupt irq is wired: the override if there is one, else edge, high, gsi = irq. */
struct acpi_override acpi_isa_irq(u8 irq);

/*
 * The pure half, for tests: parse into *out from memory reached through `map` (NULL
 * result: that address cannot be read). Returns false if there is no ACPI.
 */
typedef const void *(*acpi_map_fn)(hpa_t base, u64 size);
bool acpi_parse(struct acpi_info *out, hpa_t rsdp, acpi_map_fn map);

#endif
