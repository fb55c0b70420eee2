/* SPDX-License-Identifier: ISC */
/*
 * What every file of the guest kernel starts from: fixed-width types, lists, memory and
 * string functions, printing. The numbers of the Linux ABI (errno, flags, structures)
 * come from the kernel headers of the C library's development package.
 */
#ifndef LX_BASE_H
#define LX_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <asm/errno.h>
#include "libcell/common/format.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef long ssize;
typedef unsigned long ulong;

/* Results inside the kernel that never reach a program (as in Linux). */
#define ERESTARTSYS    512 /* restart if the handler says SA_RESTART, or there is none */
#define ERESTARTNOINTR 513 /* always restart */
#define ERESTARTNOHAND 514 /* restart only if there was no handler */
#define ERESTARTBLOCK  516 /* restart through restart_syscall */

#define PAGE_SIZE  4096ul
#define PAGE_SHIFT 12
#define PAGE_MASK  (~(PAGE_SIZE - 1))

#define NS_PER_SEC 1000000000ul
#define NEVER      (~0ul)

#define ARRAY_SIZE(a)         (sizeof(a) / sizeof((a)[0]))
#define container_of(p, t, m) ((t *)((char *)(p)-offsetof(t, m)))
#define ALIGN_UP(x, a)        (((x) + (a)-1) & ~((typeof(x))(a)-1))
#define ALIGN_DOWN(x, a)      ((x) & ~((typeof(x))(a)-1))
/* Names made unique, so that calls may nest. */
#define PICK_(a, b, op, n)                                      \
	({                                                      \
		typeof(a) pick_a##n = (a);                      \
		typeof(b) pick_b##n = (b);                      \
		pick_a##n op pick_b##n ? pick_a##n : pick_b##n; \
	})
#define PICK(a, b, op, n) PICK_(a, b, op, n)
#define MIN(a, b)         PICK(a, b, <, __COUNTER__)
#define MAX(a, b)         PICK(a, b, >, __COUNTER__)
#define likely(x)         __builtin_expect(!!(x), 1)
#define unlikely(x)       __builtin_expect(!!(x), 0)
#define noreturn_fn       __attribute__((noreturn))

/* Doubly linked lists with a head. A zeroed head counts as empty. */
struct list {
	struct list *next, *prev;
};
static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}
static inline bool list_empty(const struct list *l)
{
	return !l->next || l->next == l;
}
static inline void list_add_tail(struct list *head, struct list *n)
{
	if (!head->next)
		list_init(head);
	n->prev = head->prev;
	n->next = head;
	head->prev->next = n;
	head->prev = n;
}
static inline void list_add_head(struct list *head, struct list *n)
{
	if (!head->next)
		list_init(head);
	n->next = head->next;
	n->prev = head;
	head->next->prev = n;
	head->next = n;
}
/* Taking out twice does no harm. */
static inline void list_del(struct list *n)
{
	if (!n->next)
		return;
	n->prev->next = n->next;
	n->next->prev = n->prev;
	n->next = n->prev = NULL;
}
static inline bool list_linked(const struct list *n)
{
	return n->next != NULL;
}
#define list_first(head, type, member) container_of((head)->next, type, member)
#define list_each(pos, head, member)                                               \
	for (pos = (head)->next ? container_of((head)->next, typeof(*pos), member) \
				: container_of((head), typeof(*pos), member);      \
	     &pos->member != (head);                                               \
	     pos = container_of(pos->member.next, typeof(*pos), member))
#define list_each_safe(pos, tmp, head, member)                                     \
	for (pos = (head)->next ? container_of((head)->next, typeof(*pos), member) \
				: container_of((head), typeof(*pos), member),      \
	    tmp = &pos->member == (head)                                           \
		      ? pos                                                        \
		      : container_of(pos->member.next, typeof(*pos), member);      \
	     &pos->member != (head);                                               \
	     pos = tmp, tmp = &pos->member == (head)                               \
				  ? pos                                            \
				  : container_of(pos->member.next, typeof(*pos), member))

void *memcpy(void *d, const void *s, size_t n);
void *memmove(void *d, const void *s, size_t n);
void *memset(void *d, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *s, int c, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t n);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strrchr(const char *s, int c);
char *strstr(const char *h, const char *n);
/* Copy with truncation; the result always ends with NUL. Returns strlen(src). */
size_t str_copy(char *dst, const char *src, size_t size);
/* Decimal, 0x hex or 0 octal number at *s; *s moves behind it. */
u64 str_number(const char **s);

/* snprintf, by libcell's format_v(). */
int format(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void printk(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
noreturn_fn void panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define BUG_ON(c)                                                   \
	do {                                                        \
		if (unlikely(c))                                    \
			panic("%s:%d: %s", __FILE__, __LINE__, #c); \
	} while (0)

/* Random bytes for programs and for layout: a ChaCha20 generator seeded by the nucleus. */
void random_bytes(void *buf, size_t n);
u64 random_u64(void);

/* Nanoseconds since the host's start, and the Unix time of that moment. */
u64 clock_now(void);
s64 clock_wall_base(void);

#endif
