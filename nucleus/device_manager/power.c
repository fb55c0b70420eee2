/* SPDX-License-Identifier: ISC */
/*
 * Power off and reboot. ACPI first (ACPI 6.5, 4.8.3.2.1 and 4.8.3.6), then what PCs have
 * had for decades. The exits of emulators are used only when a boot parameter asks.
 */
#include "nucleus/device_manager/device_manager.h"

#include "nucleus/core/cpu.h"
#include "nucleus/core/print.h"
#include "nucleus/core/trap.h"
#include "nucleus/device_manager/acpi.h"
#include "nucleus/device_manager/clock.h"
#include "nucleus/live0/live0.h"

#define PM1_SCI_ENABLE   1u
#define PM1_SLEEP_ENABLE (1u << 13)
#define PM1_SLEEP_SHIFT  10
#define PM1_SLEEP_MASK   (7u << PM1_SLEEP_SHIFT)
#define DEBUG_EXIT_PORT  0xf4
#define BOCHS_PORT       0x8900
#define RESET_CONTROL    0xcf9
#define KBC_COMMAND      0x64
#define KBC_RESET        0xfe
#define SETTLE_US        50000

static bool exit_debug, exit_bochs;

void power_init(void)
{
	exit_debug = cmdline_has("exit=debug");
	exit_bochs = cmdline_has("exit=bochs");
}

/* Out of legacy mode: the sleep registers belong to the firmware's SMI until then. */
static void acpi_take_over(void)
{
	u16 port = (u16)acpi.pm1a_control.address;

	if (acpi.smi_command == 0 || acpi.acpi_enable == 0 || inw(port) & PM1_SCI_ENABLE)
		return;
	outb(acpi.smi_command, acpi.acpi_enable);
	for (u32 i = 0; i < 300 && !(inw(port) & PM1_SCI_ENABLE); i++)
		clock_delay_us(1000);
}

static void sleep_write(const struct acpi_register *r, u8 type)
{
	if (r->address == 0 || !r->io)
		return;
	u16 v = (inw((u16)r->address) & ~(PM1_SLEEP_MASK | PM1_SLEEP_ENABLE)) |
		(u16)(type << PM1_SLEEP_SHIFT);
	outw((u16)r->address, v);
	outw((u16)r->address, v | PM1_SLEEP_ENABLE);
}

static void acpi_s5(void)
{

	if (!acpi.s5_known || !acpi.pm1a_control.io || acpi.pm1a_control.address == 0)
		return;
	acpi_take_over();
	sleep_write(&acpi.pm1a_control, acpi.s5_a);
	sleep_write(&acpi.pm1b_control, acpi.s5_b);
	clock_delay_us(SETTLE_US);
}

void power_off(u8 code)
{
	if (exit_bochs) {
		for (const char *p = "Shutdown"; *p; p++)
			outb(BOCHS_PORT, (u8)*p);
	}
	if (exit_debug)
		outb(DEBUG_EXIT_PORT, code);
	acpi_s5();
	n_print("power: this machine cannot switch itself off; it can be switched off now");
	cpu_halt_forever();
}

void power_reboot(void)
{
	static const struct {
		u16 limit;
		u64 base;
	} __packed no_idt;

	if (acpi.reset.io && acpi.reset.address) {
		outb((u16)acpi.reset.address, acpi.reset_value);
		clock_delay_us(SETTLE_US);
	}
	outb(RESET_CONTROL, 0x02); /* hard reset, then do it */
	outb(RESET_CONTROL, 0x06);
	clock_delay_us(SETTLE_US);
	outb(KBC_COMMAND, KBC_RESET);
	clock_delay_us(SETTLE_US);
	/* Triple fault. */
	__asm__ volatile("lidt %0; int3" ::"m"(no_idt));
	cpu_halt_forever();
}
