/* SPDX-License-Identifier: ISC */
/* Addresses of different spaces are different types; nothing converts between them in passing.
 */
#ifndef NUCLEUS_CORE_TYPES_H
#define NUCLEUS_CORE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

typedef struct {
	u64 v;
} hpa_t; /* host-physical */

typedef struct {
	u64 v;
} gpa_t; /* guest-physical, of the cell at hand */

#define HPA(x)   ((hpa_t){.v = (x)})
#define GPA(x)   ((gpa_t){.v = (x)})
#define HPA_NONE HPA(~0ull)

static inline bool hpa_valid(hpa_t a)
{
	return a.v != ~0ull;
}

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096ull
#define PAGE_MASK  (PAGE_SIZE - 1)
#define LARGE_SIZE (2ull << 20)
#define KiB        1024ull
#define MiB        (1024 * KiB)
#define GiB        (1024 * MiB)

#define ARRAY_SIZE(a)    (sizeof(a) / sizeof((a)[0]))
#define ALIGN_UP(x, a)   (((x) + (a)-1) & ~((u64)(a)-1))
#define ALIGN_DOWN(x, a) ((x) & ~((u64)(a)-1))
#define PAGES(bytes)     (((bytes) + PAGE_MASK) >> PAGE_SHIFT)
#define MIN(a, b)        ((a) < (b) ? (a) : (b))
#define MAX(a, b)        ((a) > (b) ? (a) : (b))
#define __packed         __attribute__((packed))
#define __aligned(n)     __attribute__((aligned(n)))
#define __noreturn       __attribute__((noreturn))

#endif
