/* SPDX-License-Identifier: ISC */
/*
 * The door to user memory. Ranges are checked against TASK_SIZE before the first byte
 * moves; faults inside the raw routines fill the page or end the copy.
 */
#include "cells/linux/inc/mm.h"
#include "cells/linux/inc/task.h"

int copy_in(void *dst, u64 src, size_t n)
{
	if (!user_range_ok(src, n))
		return -EFAULT;
	return raw_user_copy(dst, (const void *)src, n) ? -EFAULT : 0;
}

int copy_out(u64 dst, const void *src, size_t n)
{
	if (!user_range_ok(dst, n))
		return -EFAULT;
	return raw_user_copy((void *)dst, src, n) ? -EFAULT : 0;
}

int clear_user(u64 dst, size_t n)
{
	if (!user_range_ok(dst, n))
		return -EFAULT;
	return raw_user_clear((void *)dst, n) ? -EFAULT : 0;
}

ssize str_in(char *dst, u64 src, size_t size)
{
	size_t done = 0;

	while (done < size) {
		size_t take = MIN(size - done, PAGE_SIZE - ((src + done) & (PAGE_SIZE - 1)));
		char *end;

		take = MIN(take, (size_t)64);
		if (copy_in(dst + done, src + done, take))
			return -EFAULT;
		end = memchr(dst + done, 0, take);
		if (end)
			return end - dst;
		done += take;
	}
	return -ENAMETOOLONG;
}

int raw_user_cmpxchg(u32 *p, u32 *old, u32 new_value);

int user_cmpxchg32(u64 addr, u32 *old, u32 new_value)
{
	if (!user_range_ok(addr, 4) || (addr & 3))
		return -EFAULT;
	return raw_user_cmpxchg((u32 *)addr, old, new_value) ? -EFAULT : 0;
}

size_t mm_access(struct mm *mm, u64 addr, void *buf, size_t n, bool write)
{
	size_t done = 0;

	while (done < n && addr + done < TASK_SIZE) {
		u64 at = addr + done, off = at & (PAGE_SIZE - 1);
		size_t take = MIN(n - done, PAGE_SIZE - off);
		struct page *p = mm_pin(mm, at, write);

		if (!p)
			break;
		if (write)
			memcpy((u8 *)page_ptr(p) + off, (u8 *)buf + done, take);
		else
			memcpy((u8 *)buf + done, (u8 *)page_ptr(p) + off, take);
		page_put(p);
		done += take;
	}
	return done;
}
