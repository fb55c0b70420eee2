/* SPDX-License-Identifier: ISC */
/* The cell's surroundings on bare metal: mapped BARs, the heap as DMA memory. */
#include <stdlib.h>
#include "cells/nic/main.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/log.h"
#include "libcell/mmio.h"

uint8_t nic_read8(struct netdev *nd, unsigned bar, uint32_t off)
{
	return mmio_read8(cell_device_bar(nd->pci, bar), off);
}

uint16_t nic_read16(struct netdev *nd, unsigned bar, uint32_t off)
{
	return mmio_read16(cell_device_bar(nd->pci, bar), off);
}

uint32_t nic_read32(struct netdev *nd, unsigned bar, uint32_t off)
{
	return mmio_read32(cell_device_bar(nd->pci, bar), off);
}

void nic_write8(struct netdev *nd, unsigned bar, uint32_t off, uint8_t v)
{
	mmio_write8(cell_device_bar(nd->pci, bar), off, v);
}

void nic_write16(struct netdev *nd, unsigned bar, uint32_t off, uint16_t v)
{
	mmio_write16(cell_device_bar(nd->pci, bar), off, v);
}

void nic_write32(struct netdev *nd, unsigned bar, uint32_t off, uint32_t v)
{
	mmio_write32(cell_device_bar(nd->pci, bar), off, v);
}

uint32_t nic_config_read32(struct netdev *nd, uint32_t off)
{
	const volatile uint8_t *config = cell_device_config(nd->pci);

	return config ? *(const volatile uint32_t *)(config + (off & ~3u)) : ~0u;
}

void *nic_dma_alloc(size_t size, uint64_t *dma)
{
	size = (size + 4095) & ~(size_t)4095;
	void *p = aligned_alloc(4096, size);

	if (!p)
		return NULL;
	*dma = cell_dma_addr(p, size);
	if (*dma == D0_NEVER && cell_device(0)) {
		log_error("no device reaches the heap");
		free(p);
		return NULL;
	}
	memset(p, 0, size);
	return p;
}

void nic_dma_free(void *p, size_t size)
{
	free(p);
}

void nic_delay_us(unsigned us)
{
	uint64_t end = clock_ns() + us * 1000ull;

	while (clock_ns() < end)
		__builtin_ia32_pause();
}

void nic_platform_cards(struct nic *nic, const char *args, const struct net_init_cfg *cfg)
{
	/* Every card of a bare cell is a device it was granted. */
}
