/* SPDX-License-Identifier: ISC */
/* COM1's receive interrupt. The console itself belongs to nucleus/core. */
#include "nucleus/core/cpu.h"
#include "nucleus/core/print.h"
#include "nucleus/device_manager/irq.h"

#define COM1        0x3f8
#define COM1_IRQ    4
#define UART_IER    1
#define UART_MCR    4
#define IER_RECEIVE 1
#define MCR_DTR_RTS 3
#define MCR_OUT2    8 /* gates the interrupt line on a PC */

bool serial_irq_enable(void)
{
	u32 gsi;

	if (!console_uart || !ioapic_route_isa(COM1_IRQ, VECTOR_SERIAL, cpus[0].apic_id, &gsi))
		return false;
	outb(COM1 + UART_MCR, MCR_DTR_RTS | MCR_OUT2);
	outb(COM1 + UART_IER, 0);
	ioapic_mask(gsi, false);
	/* The edge: whatever waits already raises it now. */
	outb(COM1 + UART_IER, IER_RECEIVE);
	return true;
}
