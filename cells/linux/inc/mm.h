/* SPDX-License-Identifier: ISC */
/*
 * Memory. mm/page.c: frames; mm/slab.c: small objects; mm/pagetable.c: translation;
 * mm/vma.c: what a program's addresses mean; mm/fault.c: filling them; mm/uaccess.c: the
 * checked door to user memory.
 */
#ifndef LX_MM_H
#define LX_MM_H

#include "cells/linux/inc/base.h"

#define TASK_SIZE      0x7ffffffff000ull
#define MMAP_MIN_ADDR  0x10000ull
#define VMALLOC_BASE   0xffff808000000000ull /* PML4[257] */
#define VMALLOC_SIZE   (1ull << 36)
#define STACK_TOP_BASE 0x7ffffffff000ull

struct inode;
struct file;

/* A frame of the user region. */
enum page_kind {
	PAGE_FREE,
	PAGE_ANON,  /* ref: mappings and pins */
	PAGE_CACHE, /* of an inode; the cache itself holds one ref */
	PAGE_SLAB,
	PAGE_KERNEL, /* page tables, stacks, buffers */
};
struct page {
	u32 ref;
	u8 kind;
	u8 flags; /* PG_* */
	u8 slab_class;
	u8 pad;
	u32 inuse; /* slab: objects in use */
	struct inode *inode;
	u64 index;         /* page number in the inode; slab: free list */
	struct list lru;   /* cache: oldest first; slab: partial list */
	struct page *hash; /* chain in the inode's table */
};
#define PG_DIRTY    1
#define PG_UPTODATE 2
#define PG_BUSY     4 /* being read or written by its filesystem */
#define PG_ERROR    8
#define PG_ACTIVE   16

void page_init(u64 base, u64 size);
/* A zeroed frame with one reference, or NULL after reclaim failed. */
struct page *page_alloc(enum page_kind kind);
/* The memory limit from now on, this kernel's tables included: at most the region (-ENOMEM),
 * not less than what is in use without caches (-EBUSY). */
int page_limit_set(u64 bytes);
struct page *page_alloc_nozero(enum page_kind kind);
void page_get(struct page *p);
void page_put(struct page *p);
struct page *page_of(u64 pa); /* NULL if not a frame of ours */
u64 page_phys(const struct page *p);
void *page_ptr(const struct page *p);
u64 page_total(void);
u64 page_free_count(void);
/* How many frames are in use, and the limit of the container in frames. */
u64 page_used(void);
extern u64 page_cache_count;
extern u64 page_anon_count;
/* Ask caches for memory; returns frames freed. Set by fs/pagecache.c. */
u64 pagecache_reclaim(u64 want);

/* Zeroed memory of any size; NULL if there is none. */
void *kalloc(size_t n);
void kfree(void *p);
char *kstrdup(const char *s);
void *kmemdup(const void *p, size_t n);
/* Contiguous in the vmalloc area, with a guard page on both sides. */
void *vmalloc(size_t n);
void vfree(void *p);
u64 slab_pages(void);

/* Page tables. */
#define PTE_P       1ull
#define PTE_W       2ull
#define PTE_U       4ull
#define PTE_A       0x20ull
#define PTE_D       0x40ull
#define PTE_PS      0x80ull
#define PTE_NX      (1ull << 63)
#define PTE_COW     (1ull << 9)  /* software: private page shared by fork */
#define PTE_SPECIAL (1ull << 10) /* software: not one of our frames: vDSO, clock page */
#define PTE_ADDR    0x000ffffffffff000ull

void pt_init(void);
u64 pt_new(void);       /* physical address of a PML4 with the kernel's half; 0: no memory */
void pt_free(u64 root); /* tables only; leaves must be gone */
/* The entry of va, tables made when alloc; NULL if absent or no memory. */
u64 *pt_entry(u64 root, u64 va, bool alloc);
/* Next address >= va whose entry may exist, up to end (skips absent tables). */
u64 *pt_next(u64 root, u64 *va, u64 end);
int pt_map_kernel(u64 va, u64 pa, u64 flags);
void pt_unmap_kernel(u64 va);
u64 pt_kernel_phys(u64 va);
struct mm;
/* After rights were taken from entries of mm: on every vCPU. proc/smp.c */
void tlb_flush_page(struct mm *mm, u64 va);
void tlb_flush_mm(struct mm *mm);
/* After rights were given: here only. */
void tlb_flush_own(u64 va);
void tlb_kernel_changed(void);

/* Address spaces. */
struct vma {
	u64 start, end;
	u32 prot;            /* PROT_* */
	u32 flags;           /* VMA_* */
	u64 pgoff;           /* page number of start in file */
	struct file *file;   /* NULL: anonymous */
	struct inode *inode; /* of file, or of an anonymous shared object; holds a ref */
	struct mm *mm;
	struct list i_link; /* in inode's list of mappings */
	const char *name;   /* "[stack]", "[vdso]" */
};
#define VMA_SHARED    1u
#define VMA_GROWSDOWN 2u
#define VMA_STACK     4u
#define VMA_HEAP      8u
#define VMA_MAYWRITE  16u
#define VMA_LOCKED    32u
#define VMA_SPECIAL   64u /* frames that are not ours: no copy, no unmap by a truncate */
#define VMA_DONTFORK  128u
#define VMA_WIPEFORK  256u
#define VMA_NORESERVE 512u
#define VMA_DENYEXEC  1024u
#define VMA_SHM       2048u /* of a System V segment */

struct mm {
	u32 refs;
	u64 root;   /* PML4, physical */
	u64 serial; /* never used again */
	struct vma **vmas;
	u32 count, room;
	u64 brk_start, brk, mmap_base, stack_top;
	u64 start_code, end_code, start_data, end_data, arg_start, arg_end, env_start, env_end;
	u64 vdso;
	u64 auxv[48];
	u64 rss_anon, rss_file, rss_shmem;
	u64 hiwater_rss, total_vm, locked_vm;
	struct file *exe;
	bool lock_future; /* mlockall(MCL_FUTURE) */
	struct list aio;  /* contexts: sys/aio.c */
	bool wx_allowed;  /* the permit for writable and executable memory */
};

void aio_mm_gone(struct mm *mm);
struct mm *mm_new(void);
struct mm *mm_fork(struct mm *old);
void mm_get(struct mm *mm);
void mm_put(struct mm *mm);
void mm_activate(struct mm *mm);

/* Sets and clears flags of [start, end), which lies within one area: it is split for that. */
int mm_area_flags(struct mm *mm, u64 start, u64 end, u32 set, u32 clear);
struct vma *vma_find(struct mm *mm, u64 addr); /* lowest with end > addr */
struct vma *vma_at(struct mm *mm, u64 addr);   /* containing addr */
u32 vma_index(struct mm *mm, u64 addr);
u64 vma_find_gap(struct mm *mm, u64 hint, u64 len, bool low);
int vma_insert(struct mm *mm, struct vma *v);
extern u32 vma_limit; /* areas of an address space */
int mm_unmap(struct mm *mm, u64 start, u64 len);
/* Mark whole pages as locked or not; populating them is the caller's. */
int mm_lock(struct mm *mm, u64 start, u64 end, bool on);
u64 mm_locked_in(struct mm *mm, u64 start, u64 end); /* pages */
int mm_protect(struct mm *mm, u64 start, u64 len, u32 prot);
/* Map; MAP_* flags as mmap(2); returns the address or -errno. */
s64 mm_map(struct mm *mm, u64 addr, u64 len, u32 prot, u32 flags, struct file *f, u64 pgoff,
	   u32 vma_flags, const char *name);
s64 mm_remap(struct mm *mm, u64 old, u64 old_len, u64 new_len, u32 flags, u64 new_addr);
void mm_zap(struct mm *mm, struct vma *v, u64 start, u64 end);
bool mm_wx_ok(struct mm *mm, u32 prot);
/* Take pages [first, last] of an inode out of every address space (truncate). */
void inode_unmap_range(struct inode *ino, u64 first, u64 last, bool even_private);

#define FAULT_WRITE 1
#define FAULT_EXEC  2
/* 0, or a signal number; *code gets si_code. */
int mm_fault(struct mm *mm, u64 addr, u32 access, int *code);
/* Frame behind a user address, faulted in and referenced; NULL: bad address. */
struct page *mm_pin(struct mm *mm, u64 addr, bool write);
/* Copy from/to another address space; bytes copied. */
size_t mm_access(struct mm *mm, u64 addr, void *buf, size_t n, bool write);

/* User memory of the current thread. 0 or -EFAULT. */
int copy_in(void *dst, u64 src, size_t n);
int copy_out(u64 dst, const void *src, size_t n);
int clear_user(u64 dst, size_t n);
/* String with its NUL into dst[size]: length, -EFAULT, or -ENAMETOOLONG. */
ssize str_in(char *dst, u64 src, size_t size);
#define get_user(var, addr) copy_in(&(var), (addr), sizeof(var))
#define put_user(var, addr)                                  \
	({                                                   \
		typeof(var) put_tmp = (var);                 \
		copy_out((addr), &put_tmp, sizeof(put_tmp)); \
	})
static inline bool user_range_ok(u64 addr, u64 n)
{
	return n <= TASK_SIZE && addr <= TASK_SIZE - n;
}
/* Bytes not copied. In boot/entry.S; faults end the copy. */
size_t raw_user_copy(void *dst, const void *src, size_t n);
size_t raw_user_clear(void *dst, size_t n);
/* Atomic compare-exchange on a user word: 0 and *old filled, or -EFAULT. */
int user_cmpxchg32(u64 addr, u32 *old, u32 new_value);

#endif
