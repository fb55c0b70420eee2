/* SPDX-License-Identifier: ISC */
/*
 * The device's half of a virtqueue; the theory is in virtq_drv.c.
 *
 * Invariants (device). Each descriptor is copied to private memory once and judged there.
 * A chain visits at most num descriptors (an indirect table at most as many as it
 * has), so loops end; every buffer it yields lies wholly in the window. used_next never
 * runs ahead of avail_next.
 */
#include "libcell/virtq.h"
#include "d0/abi.h"
#include "virtq_impl.h"

int virtq_dev_init_parts(struct virtq_dev *q, void *desc, void *avail, void *used, uint16_t num,
			 uint64_t features, const struct virtq_window *window)
{
	if (!num || (num & (num - 1)) || num > D0_VRING_NUM_MAX)
		return D0_EINVAL;
	*q = (struct virtq_dev){
	    .desc = desc,
	    .avail = avail,
	    .used = used,
	    .window = *window,
	    .num = num,
	    .event_idx = (features & D0_VRING_F_EVENT_IDX) != 0,
	    .indirect = (features & D0_VRING_F_INDIRECT) != 0,
	};
	return D0_OK;
}

int virtq_dev_init(struct virtq_dev *q, void *ring, uint16_t num, uint64_t features,
		   const struct virtq_window *window)
{
	uint8_t *p = ring;

	return virtq_dev_init_parts(q, p, p + d0_vring_avail_off(num),
				    p + d0_vring_used_off(num), num, features, window);
}

/* Reads a descriptor once: 16 bytes that the driver may be changing. */
static struct d0_vring_desc desc_copy(const struct d0_vring_desc *d)
{
	return (struct d0_vring_desc){
	    .addr = __atomic_load_n(&d->addr, __ATOMIC_RELAXED),
	    .len = __atomic_load_n(&d->len, __ATOMIC_RELAXED),
	    .flags = __atomic_load_n(&d->flags, __ATOMIC_RELAXED),
	    .next = __atomic_load_n(&d->next, __ATOMIC_RELAXED),
	};
}

/* Pointer to [addr, addr + len) of the window, NULL if it is not wholly inside. */
static uint8_t *window_ptr(const struct virtq_window *w, uint64_t addr, uint64_t len)
{
	uint64_t off = addr - w->addr;

	if (addr < w->addr || off > w->size || len > w->size - off)
		return NULL;
	return w->base + off;
}

/* Adds one buffer to the chain. NULL, or what is wrong with it. */
static const char *chain_add(struct virtq_dev *q, struct virtq_chain *c,
			     const struct d0_vring_desc *d)
{
	bool write = d->flags & D0_VRING_DESC_WRITE;
	uint32_t *sum = write ? &c->in_bytes : &c->out_bytes;
	uint8_t *ptr = window_ptr(&q->window, d->addr, d->len);
	unsigned at = c->outs + c->ins;

	if (!ptr)
		return "buffer outside the window";
	if (!write && c->ins)
		return "readable buffer after a writable one";
	if (d->len > UINT32_MAX - *sum)
		return "buffers of a request exceed 4 GiB";
	*sum += d->len;
	if (at < c->seg_max)
		c->seg[at] = (struct virtq_seg){ptr, d->len};
	if (write)
		c->ins++;
	else
		c->outs++;
	return NULL;
}

/*
 * Walks a descriptor table of `size` entries from `at`. *indirect gets the descriptor
 * that refers to an indirect table, if one is met and allowed (indirect not NULL).
 */
static const char *chain_walk(struct virtq_dev *q, struct virtq_chain *c,
			      const struct d0_vring_desc *table, uint32_t size, uint32_t at,
			      struct d0_vring_desc *indirect)
{
	for (uint32_t steps = 0; steps < size; steps++) {
		struct d0_vring_desc d;
		const char *wrong;

		if (at >= size)
			return "descriptor index out of range";
		d = desc_copy(&table[at]);
		if (d.flags & D0_VRING_DESC_INDIRECT) {
			if (!indirect)
				return "indirect descriptor where none may be";
			if (d.flags & D0_VRING_DESC_NEXT)
				return "indirect descriptor with a successor";
			*indirect = d;
			return NULL;
		}
		wrong = chain_add(q, c, &d);
		if (wrong)
			return wrong;
		if (!(d.flags & D0_VRING_DESC_NEXT))
			return NULL;
		at = d.next;
	}
	return "descriptor chain loops";
}

static const char *chain_read_all(struct virtq_dev *q, struct virtq_chain *c)
{
	struct d0_vring_desc ind = {0};
	const struct d0_vring_desc *table;
	const char *wrong;

	wrong = chain_walk(q, c, q->desc, q->num, c->head, q->indirect ? &ind : NULL);
	if (wrong || !(ind.flags & D0_VRING_DESC_INDIRECT))
		return wrong;
	if (!ind.len || ind.len % sizeof(*table) || ind.len / sizeof(*table) > q->num)
		return "indirect table has a bad size";
	table = (const void *)window_ptr(&q->window, ind.addr, ind.len);
	if (!table)
		return "indirect table outside the window";
	if ((uintptr_t)table % 8)
		return "indirect table is not aligned";
	return chain_walk(q, c, table, ind.len / sizeof(*table), 0, NULL);
}

int virtq_dev_next(struct virtq_dev *q, struct virtq_chain *c)
{
	uint16_t idx, ahead;

	if (q->broken)
		return D0_ESTATE;
	idx = __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE);
	ahead = (uint16_t)(idx - q->avail_next);
	if (!ahead)
		return 0;
	if (ahead > q->num) {
		q->broken = "available index runs ahead";
		return D0_ESTATE;
	}
	c->head = vring_load(&q->avail->ring[q->avail_next & (q->num - 1)]);
	c->outs = c->ins = 0;
	c->out_bytes = c->in_bytes = 0;
	q->broken = chain_read_all(q, c);
	if (q->broken)
		return D0_ESTATE;
	q->avail_next++;
	return c->outs + c->ins > c->seg_max ? D0_ELIMIT : 1;
}

void virtq_dev_put(struct virtq_dev *q, uint16_t head, uint32_t len)
{
	struct d0_vring_used_elem *e = &q->used->ring[q->used_next & (q->num - 1)];

	if (q->broken)
		return;
	__atomic_store_n(&e->id, head, __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, len, __ATOMIC_RELAXED);
	q->used_next++;
}

bool virtq_dev_push(struct virtq_dev *q)
{
	uint16_t told = q->used_told;

	if (q->broken || q->used_next == told)
		return false;
	__atomic_store_n(&q->used->idx, q->used_next, __ATOMIC_RELEASE);
	q->used_told = q->used_next;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->event_idx)
		return vring_need_event(vring_load(&q->avail->ring[q->num]), q->used_next,
					told);
	return !(vring_load(&q->avail->flags) & 1);
}

unsigned virtq_dev_pending(const struct virtq_dev *q)
{
	uint16_t ahead;

	if (q->broken)
		return 0;
	ahead = (uint16_t)(__atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE) - q->avail_next);
	return ahead <= q->num ? ahead : q->num;
}

bool virtq_dev_events_on(struct virtq_dev *q)
{
	if (q->broken)
		return false;
	if (q->event_idx)
		__atomic_store_n(vring_avail_event(q->used, q->num), q->avail_next,
				 __ATOMIC_RELAXED);
	else
		__atomic_store_n(&q->used->flags, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE) != q->avail_next;
}

void virtq_dev_events_off(struct virtq_dev *q)
{
	if (q->broken)
		return;
	if (q->event_idx)
		__atomic_store_n(vring_avail_event(q->used, q->num), q->avail_next + 0x8000u,
				 __ATOMIC_RELAXED);
	else
		__atomic_store_n(&q->used->flags, 1, __ATOMIC_RELAXED);
}

bool virtq_dev_awaited(const struct virtq_dev *q, uint16_t more)
{
	if (q->broken)
		return false;
	if (q->event_idx)
		return vring_need_event(vring_load(&q->avail->ring[q->num]),
					(uint16_t)(q->used_next + more), q->used_told);
	return !(vring_load(&q->avail->flags) & 1);
}
