/* SPDX-License-Identifier: ISC */
/* Looking things up in the tables of the info page. The nucleus wrote them: trusted. */
#include <string.h>
#include "libcell/cell.h"

static const void *table_at(uint32_t off)
{
	return (const uint8_t *)cell_info() + off;
}

void *cell_ptr(uint64_t gpa)
{
	return (void *)(uintptr_t)(gpa + cell_info()->va_offset);
}

uint64_t cell_gpa(const void *p)
{
	return (uint64_t)(uintptr_t)p - cell_info()->va_offset;
}

const struct d0_channel *cell_channel(unsigned channel)
{
	const struct d0_info *info = cell_info();
	const struct d0_channel *table = table_at(info->channel_off);

	return channel < info->channels ? &table[channel] : NULL;
}

int cell_channel_find(unsigned from, enum d0_protocol protocol, int role, const char *label)
{
	const struct d0_channel *ch;

	for (unsigned i = from; (ch = cell_channel(i)) != NULL; i++) {
		if (__atomic_load_n(&ch->state, __ATOMIC_ACQUIRE) != D0_CHANNEL_OPEN)
			continue;
		if (protocol != D0_PROTO_NONE && ch->protocol != (uint32_t)protocol)
			continue;
		if (role >= 0 && ch->role != (uint32_t)role)
			continue;
		if (label && strncmp(ch->label, label, sizeof(ch->label)))
			continue;
		return (int)i;
	}
	return -1;
}

void *cell_channel_ring(unsigned channel, size_t *size)
{
	const struct d0_channel *ch = cell_channel(channel);

	if (!ch || ch->state == D0_CHANNEL_FREE || !ch->ring_base)
		return NULL;
	if (size)
		*size = ch->ring_size;
	return cell_ptr(ch->ring_base);
}

const struct d0_region *cell_region(enum d0_region_type type, unsigned n)
{
	const struct d0_info *info = cell_info();
	const struct d0_region *r = table_at(info->region_off);

	for (uint32_t i = 0; i < info->regions; i++)
		if (r[i].type == (uint32_t)type && !n--)
			return &r[i];
	return NULL;
}

const struct d0_device *cell_device(unsigned n)
{
	const struct d0_info *info = cell_info();
	const struct d0_device *table = table_at(info->device_off);

	return n < info->devices ? &table[n] : NULL;
}

volatile void *cell_device_bar(const struct d0_device *dev, unsigned bar)
{
	if (bar >= 6 || !dev->bar[bar].base || (dev->bar[bar].flags & D0_BAR_IO))
		return NULL;
	return cell_ptr(dev->bar[bar].base);
}

const volatile void *cell_device_config(const struct d0_device *dev)
{
	return dev->config ? cell_ptr(dev->config) : NULL;
}

/* DMA address of [gpa, gpa + len) if it lies in [base, base + size). */
static uint64_t dma_in(uint64_t gpa, size_t len, uint64_t base, uint64_t size, uint64_t dma)
{
	uint64_t off = gpa - base;

	if (gpa < base || off > size || len > size - off || dma == D0_NEVER)
		return D0_NEVER;
	return dma + off;
}

uint64_t cell_dma_addr(const void *p, size_t len)
{
	const struct d0_info *info = cell_info();
	const struct d0_region *r = table_at(info->region_off);
	const struct d0_channel *ch;
	uint64_t gpa = cell_gpa(p), dma;

	for (uint32_t i = 0; i < info->regions; i++) {
		if (!(r[i].perms & D0_W))
			continue;
		dma = dma_in(gpa, len, r[i].base, r[i].size, r[i].dma_base);
		if (dma != D0_NEVER)
			return dma;
	}
	for (unsigned i = 0; (ch = cell_channel(i)) != NULL; i++) {
		if (ch->state == D0_CHANNEL_FREE || !ch->ring_base)
			continue;
		dma = dma_in(gpa, len, ch->ring_base, ch->ring_size, ch->ring_dma);
		if (dma != D0_NEVER)
			return dma;
	}
	return D0_NEVER;
}
