/* SPDX-License-Identifier: ISC */
/*
 * Segmentation in software, for cards and ports that cannot take large segments: each
 * piece gets a copy of the headers with its own lengths, sequence number, flags and IPv4
 * ID; its payload still points into the original. Sums are left partial, for the card or
 * net_frame_finish_csum.
 */
#include "cells/nic/switch/switch.h"

enum {
	TCP_FIN = 1,
	TCP_PSH = 8,
	TCP_CWR = 128
};

void gso_begin(struct gso_cut *cut, const struct net_frame *f)
{
	cut->f = f;
	cut->off = f->info.payload_off;
	cut->seg = 0;
}

/* Pieces of f covering [off, off + len). False: too many. */
static bool slice(const struct net_frame *f, uint32_t off, uint32_t len, struct net_frame *out)
{
	for (unsigned i = 0; i < f->nfrag && len; i++) {
		const struct net_frag *g = &f->frag[i];

		if (off >= g->len) {
			off -= g->len;
			continue;
		}
		uint32_t n = g->len - off < len ? g->len - off : len;

		if (out->nfrag == out->max)
			return false;
		struct net_frag *to = &out->frag[out->nfrag++];

		to->data = g->data + off;
		to->dma = g->dma == D0_NEVER ? D0_NEVER : g->dma + off;
		to->len = n;
		len -= n;
		off = 0;
	}
	return len == 0;
}

static void fix_tcp(const struct gso_cut *cut, uint8_t *tcp, uint32_t done, bool last)
{
	put_be32(tcp + 4, get_be32(tcp + 4) + done);
	if (!last)
		tcp[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (cut->seg > 0)
		tcp[13] &= (uint8_t)~TCP_CWR;
}

static void fix_ip(const struct gso_cut *cut, uint8_t *ip, uint32_t ip_len)
{
	const struct net_info *in = &cut->f->info;

	if (in->ip6) {
		put_be16(ip + 4, (uint16_t)(ip_len - 40));
		return;
	}
	put_be16(ip + 2, (uint16_t)ip_len);
	put_be16(ip + 4, (uint16_t)(get_be16(ip + 4) + cut->seg));
	put_be16(ip + 10, 0);
	put_be16(ip + 10, (uint16_t)~net_sum_fold(
			      net_sum(ip, (uint32_t)(in->l4_off - in->l3_off), 0, false)));
}

bool gso_next(struct gso_cut *cut, struct net_txbuf *out)
{
	const struct net_frame *f = cut->f;
	uint32_t hdr = f->info.payload_off, left = f->len - cut->off;
	uint32_t size = left < f->gso_size ? left : f->gso_size;
	uint8_t *head = out->mem + NET_HEADROOM;

	net_frame_copy(f, 0, head, hdr);
	out->f.frag = out->frag;
	out->f.max = NET_TXFRAGS_MAX;
	out->f.nfrag = 1;
	out->frag[0] =
	    (struct net_frag){.data = head, .dma = out->mem_dma + NET_HEADROOM, .len = hdr};
	if (!slice(f, cut->off, size, &out->f))
		return false;
	out->f.len = hdr + size;
	out->f.info = f->info;
	out->f.hash = f->hash;
	out->f.gso = NET_GSO_NONE;
	out->f.gso_size = 0;
	out->f.info.ip_len = (uint16_t)(hdr - f->info.l3_off + size);
	fix_ip(cut, head + f->info.l3_off, out->f.info.ip_len);
	if (f->gso == NET_GSO_UDP)
		put_be16(head + f->info.l4_off + 4, (uint16_t)(hdr - f->info.l4_off + size));
	else
		fix_tcp(cut, head + f->info.l4_off, cut->off - hdr, size == left);
	out->f.csum_partial = 1;
	out->f.csum_ok = 1;
	out->f.csum_start = f->info.l4_off;
	out->f.csum_offset = f->gso == NET_GSO_UDP ? 6 : 16;
	put_be16(head + out->f.csum_start + out->f.csum_offset,
		 net_sum_fold(net_sum_pseudo(&out->f.info, head, hdr - f->info.l4_off + size)));
	cut->off += size;
	cut->seg++;
	return true;
}
