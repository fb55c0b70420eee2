/* SPDX-License-Identifier: ISC */
/* Parsing the DMAR table; pure but for dmar_covers(), which asks bridges for their buses. */
#include "nucleus/device_manager/dmar.h"

#include <string.h>

#include "nucleus/device_manager/pci.h"

#define DMAR_ENTRIES 48 /* offset of the first structure */

enum {
	DMAR_DRHD = 0,
	DMAR_RMRR = 1,
};

static u64 get(const u8 *p, u32 width)
{
	u64 v = 0;

	memcpy(&v, p, width);
	return v;
}

static bool parse_scope(struct dmar_info *out, const u8 *p, u32 len)
{
	struct dmar_scope *s = &out->scope[out->scopes];

	if (len < 8 || len % 2 || (len - 6) / 2 > DMAR_PATH_MAX ||
	    out->scopes == DMAR_SCOPES_MAX)
		return false;
	*s = (struct dmar_scope){
	    .type = p[0], .id = p[4], .bus = p[5], .depth = (u8)((len - 6) / 2)};
	for (u32 i = 0; i < s->depth; i++) {
		u8 slot = p[6 + 2 * i], fn = p[7 + 2 * i];
		if (slot > 31 || fn > 7)
			return false;
		s->path[i] = (u8)(slot << 3 | fn);
	}
	out->scopes++;
	return true;
}

static bool parse_scopes(struct dmar_info *out, struct dmar_scopes *s, const u8 *p, u32 size)
{
	s->first = out->scopes;
	while (size >= 2) {
		u32 len = p[1];
		if (len < 2 || len > size || !parse_scope(out, p, len))
			return false;
		p += len;
		size -= len;
	}
	s->count = out->scopes - s->first;
	return size == 0;
}

static bool parse_drhd(struct dmar_info *out, const u8 *p, u32 len)
{
	struct dmar_unit *u = &out->unit[out->units];

	if (len < 16 || out->units == DMAR_UNITS_MAX)
		return false;
	*u = (struct dmar_unit){
	    .regs = HPA(get(p + 8, 8)), .all = p[4] & 1, .scopes.segment = (u16)get(p + 6, 2)};
	if (u->regs.v == 0 || (u->regs.v & PAGE_MASK) || u->regs.v >= 1ull << 52)
		return false;
	out->units++;
	return parse_scopes(out, &u->scopes, p + 16, len - 16);
}

static bool parse_rmrr(struct dmar_info *out, const u8 *p, u32 len)
{
	struct dmar_rmrr *r = &out->rmrr[out->rmrrs];

	if (len < 24 || out->rmrrs == DMAR_RMRRS_MAX)
		return false;
	*r = (struct dmar_rmrr){.base = get(p + 8, 8),
				.limit = get(p + 16, 8),
				.scopes.segment = (u16)get(p + 6, 2)};
	out->rmrrs++;
	return r->base <= r->limit && parse_scopes(out, &r->scopes, p + 24, len - 24);
}

bool dmar_parse(struct dmar_info *out, const u8 *table, u32 size)
{
	*out = (struct dmar_info){0};
	if (size < DMAR_ENTRIES)
		return false;
	out->interrupt_remap = table[37] & 1;
	for (u32 off = DMAR_ENTRIES; off < size;) {
		const u8 *p = table + off;
		u32 type, len;
		bool fine = true;
		if (size - off < 4)
			return false;
		type = (u32)get(p, 2);
		len = (u32)get(p + 2, 2);
		if (len < 4 || len > size - off)
			return false;
		if (type == DMAR_DRHD)
			fine = parse_drhd(out, p, len);
		else if (type == DMAR_RMRR)
			fine = parse_rmrr(out, p, len);
		if (!fine)
			return false;
		off += len;
	}
	return out->units > 0;
}

/* Does the path end at the device, or at a bridge with the device's bus below it? */
static bool scope_covers(const struct dmar_scope *s, u16 segment, u32 address)
{
	u32 bus = s->bus, at = 0;

	for (u32 i = 0; i < s->depth; i++) {
		at = PCI_ADDRESS(segment, bus, 0, s->path[i]);
		if (i + 1 == s->depth)
			break;
		bus = pci_secondary_bus(at);
		if (bus == 0)
			return false;
	}
	if (at == address)
		return s->type == DMAR_ENDPOINT || s->type == DMAR_BRIDGE;
	return s->type == DMAR_BRIDGE && pci_secondary_bus(at) != 0 &&
	       PCI_BUS(address) >= pci_secondary_bus(at) &&
	       PCI_BUS(address) <= pci_read(at, PCI_SUBORDINATE, 1);
}

bool dmar_covers(const struct dmar_info *info, const struct dmar_scopes *scopes, u32 address)
{
	if (scopes->segment != address >> 16)
		return false;
	for (u32 i = 0; i < scopes->count; i++) {
		if (scope_covers(&info->scope[scopes->first + i], scopes->segment, address))
			return true;
	}
	return false;
}
