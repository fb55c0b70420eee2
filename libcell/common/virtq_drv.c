/* SPDX-License-Identifier: ISC */
/*
 * Theory of the virtqueues (this file: the driver's half; virtq_dev.c: the device's).
 *
 * Problem. Two programs that don't trust each other share memory: a descriptor table, a
 * ring of requests (available) and a ring of results (used). Either may write anything
 * at any time, also between two of our reads.
 *
 * Model. Each side keeps the truth about its own half in private memory and treats the
 * shared copy as output only. What the peer wrote is input: each word is loaded exactly
 * once (atomically), checked against private state, and only the checked copy is used.
 *
 * Invariants (driver). free_count + sum of slot[head].count over the heads in flight is
 * num. slot[].next links every chain and the free list, so the shared `next` fields are
 * never read. An entry of the used ring is accepted only if its id is a head in
 * flight; a head that completes twice, an id out of range or an index that jumps by more
 * than num breaks the queue. avail_next - used_next never exceeds num.
 *
 * Failure. `broken` names what the peer did. All calls then do nothing; the owner drains
 * its cookies and decides (usually: reset the channel). Nothing else is affected.
 *
 * Order. Descriptors are written before avail->idx (release); used->idx is read with
 * acquire before the entries. Between publishing an index and reading the peer's wish for
 * notifications stands a full barrier, else both could miss each other.
 */
#include "libcell/virtq.h"
#include "d0/abi.h"
#include "virtq_impl.h"

int virtq_drv_init_parts(struct virtq_drv *q, void *desc, void *avail, void *used, uint16_t num,
			 uint64_t features, struct virtq_slot *slots)
{
	if (!num || (num & (num - 1)) || num > D0_VRING_NUM_MAX)
		return D0_EINVAL;
	*q = (struct virtq_drv){
	    .desc = desc,
	    .avail = avail,
	    .used = used,
	    .slot = slots,
	    .num = num,
	    .free_count = num,
	    .event_idx = (features & D0_VRING_F_EVENT_IDX) != 0,
	};
	for (unsigned i = 0; i < num; i++) {
		slots[i] = (struct virtq_slot){.next = (uint16_t)(i + 1)};
		q->desc[i] = (struct d0_vring_desc){0};
		q->avail->ring[i] = 0;
		q->used->ring[i] = (struct d0_vring_used_elem){0};
	}
	q->avail->flags = 0;
	q->avail->idx = 0;
	q->avail->ring[num] = 0;
	q->used->flags = 0;
	q->used->idx = 0;
	*vring_avail_event(q->used, num) = 0;
	return D0_OK;
}

int virtq_drv_init(struct virtq_drv *q, void *ring, uint16_t num, uint64_t features,
		   struct virtq_slot *slots)
{
	uint8_t *p = ring;

	return virtq_drv_init_parts(q, p, p + d0_vring_avail_off(num),
				    p + d0_vring_used_off(num), num, features, slots);
}

static bool sum_fits(const struct virtq_buf *buf, unsigned n, uint32_t *sum)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < n; i++)
		total += buf[i].len;
	*sum = (uint32_t)total;
	return total <= UINT32_MAX;
}

int virtq_drv_add(struct virtq_drv *q, const struct virtq_buf *out, unsigned outs,
		  const struct virtq_buf *in, unsigned ins, void *cookie)
{
	unsigned n = outs + ins;
	uint32_t out_bytes, in_bytes;
	uint16_t head = q->free_head, at = head, last = head;

	if (q->broken)
		return D0_ESTATE;
	if (!cookie || !n || n < outs)
		return D0_EINVAL;
	if (n > q->free_count)
		return D0_ELIMIT;
	if (!sum_fits(out, outs, &out_bytes) || !sum_fits(in, ins, &in_bytes))
		return D0_EINVAL;

	for (unsigned i = 0; i < n; i++) {
		const struct virtq_buf *b = i < outs ? &out[i] : &in[i - outs];
		uint16_t flags = i < outs ? 0 : D0_VRING_DESC_WRITE;

		if (i + 1 < n)
			flags |= D0_VRING_DESC_NEXT;
		q->desc[at] = (struct d0_vring_desc){
		    .addr = b->addr,
		    .len = b->len,
		    .flags = flags,
		    .next = i + 1 < n ? q->slot[at].next : 0,
		};
		last = at;
		at = q->slot[at].next;
	}
	q->free_head = q->slot[last].next;
	q->free_count -= n;
	q->slot[head].cookie = cookie;
	q->slot[head].count = (uint16_t)n;
	q->slot[head].in_bytes = in_bytes;
	__atomic_store_n(&q->avail->ring[q->avail_next & (q->num - 1)], head, __ATOMIC_RELAXED);
	q->avail_next++;
	return D0_OK;
}

bool virtq_drv_push(struct virtq_drv *q)
{
	uint16_t told = q->avail_told;

	if (q->broken || q->avail_next == told)
		return false;
	__atomic_store_n(&q->avail->idx, q->avail_next, __ATOMIC_RELEASE);
	q->avail_told = q->avail_next;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->event_idx)
		return vring_need_event(vring_load(vring_avail_event(q->used, q->num)),
					q->avail_next, told);
	return !(vring_load(&q->used->flags) & 1);
}

/* Gives the chain that begins at head back to the free list. */
static void chain_release(struct virtq_drv *q, uint16_t head)
{
	uint16_t count = q->slot[head].count, last = head;

	for (unsigned i = 1; i < count; i++)
		last = q->slot[last].next;
	q->slot[last].next = q->free_head;
	q->free_head = head;
	q->free_count += count;
	q->slot[head].count = 0;
	q->slot[head].cookie = NULL;
}

void *virtq_drv_pop(struct virtq_drv *q, uint32_t *len)
{
	uint16_t idx, ahead;
	uint32_t id, written;
	void *cookie;

	if (q->broken)
		return NULL;
	idx = __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);
	ahead = (uint16_t)(idx - q->used_next);
	if (!ahead)
		return NULL;
	if (ahead > q->num) {
		q->broken = "used index runs ahead";
		return NULL;
	}
	id = __atomic_load_n(&q->used->ring[q->used_next & (q->num - 1)].id, __ATOMIC_RELAXED);
	written =
	    __atomic_load_n(&q->used->ring[q->used_next & (q->num - 1)].len, __ATOMIC_RELAXED);
	if (id >= q->num || !q->slot[id].count) {
		q->broken = "used entry names no request in flight";
		return NULL;
	}
	q->used_next++;
	cookie = q->slot[id].cookie;
	if (len)
		*len = written < q->slot[id].in_bytes ? written : q->slot[id].in_bytes;
	chain_release(q, (uint16_t)id);
	return cookie;
}

void *virtq_drv_drain(struct virtq_drv *q)
{
	for (uint16_t i = 0; i < q->num; i++)
		if (q->slot[i].count) {
			void *cookie = q->slot[i].cookie;

			chain_release(q, i);
			return cookie;
		}
	return NULL;
}

bool virtq_drv_events_on(struct virtq_drv *q)
{
	if (q->broken)
		return false;
	if (q->event_idx)
		__atomic_store_n(&q->avail->ring[q->num], q->used_next, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&q->avail->flags, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) != q->used_next;
}

bool virtq_drv_events_after(struct virtq_drv *q, uint16_t n, bool *there)
{
	if (q->broken || !q->event_idx)
		return false;
	__atomic_store_n(&q->avail->ring[q->num], q->used_next + n - 1u, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	*there =
	    (uint16_t)(__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) - q->used_next) >= n;
	return true;
}

void virtq_drv_events_off(struct virtq_drv *q)
{
	if (q->broken)
		return;
	if (q->event_idx)
		__atomic_store_n(&q->avail->ring[q->num], q->used_next + 0x8000u,
				 __ATOMIC_RELAXED);
	else
		__atomic_store_n(&q->avail->flags, 1, __ATOMIC_RELAXED);
}
