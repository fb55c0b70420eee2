/* SPDX-License-Identifier: ISC */
/*
 * A QEMU whose CPU only halts: our drivers, in this process and under its sanitizers, work
 * QEMU's device models through the qtest protocol (registers) and a shared file (RAM, so
 * DMA is real). Frames go out and come in over a pair of datagram sockets. The test does
 * what the nucleus does: BARs, bus mastering, MSI-X entries, which here write to RAM.
 */
#ifndef NIC_QTEST_H
#define NIC_QTEST_H

#include "cells/nic/netdev.h"

#define QT_MAC "52:54:00:aa:bb:cc"

/* Starts QEMU with -device MODEL (with properties). 0, or -1 and a reason on stderr. */
int qt_start(const char *model);
void qt_stop(void);
extern struct d0_device qt_device;

/* Zeroed RAM of the machine and its address there. */
void *qt_ram(size_t size, uint64_t *gpa);

/* Frames on the wire. recv: bytes, 0 after timeout_ms without one. */
void qt_wire_send(const void *data, uint32_t len);
uint32_t qt_wire_recv(void *buf, uint32_t size, int timeout_ms);

/* Whether the vector fired since the last call (MSI-X), or the line is up (INTx). */
bool qt_irq(unsigned vector);
/* A command of QEMU's monitor. */
void qt_monitor(const char *command);

#endif
