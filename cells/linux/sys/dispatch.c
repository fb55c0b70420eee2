/* SPDX-License-Identifier: ISC */
/*
 * From a system call's number to its handler: one table, filled from the linker set
 * that SYSCALL() makes. Numbers without an entry answer ENOSYS and are counted, so that a user
 * can see what an image misses (/proc/d0/syscalls).
 */
#include "cells/linux/inc/smp.h"
#include "cells/linux/inc/sys.h"

extern const struct syscall __start_set_syscalls[], __stop_set_syscalls[];

typedef s64 (*sysfn)(u64, u64, u64, u64, u64, u64);
static const struct syscall *table[SYSCALLS_MAX];
static u64 counts[SYSCALLS_MAX];
static u64 unknown;
bool trace_syscalls;

u32 syscall_dispatch(struct regs *r);
void account_user(void);
void thread_enter_user_frame(struct regs *r);

void syscalls_init(void)
{
	for (const struct syscall *s = __start_set_syscalls; s < __stop_set_syscalls; s++) {
		BUG_ON(s->nr >= SYSCALLS_MAX || table[s->nr]);
		table[s->nr] = s;
	}
}

const char *syscall_name(u32 nr)
{
	return nr < SYSCALLS_MAX && table[nr] ? table[nr]->name : NULL;
}

u64 syscall_unknown_count(void)
{
	return unknown;
}

static void trace_string(char *out, size_t size, u64 addr)
{
	char tmp[48];
	ssize n = str_in(tmp, addr, sizeof(tmp) - 1);

	tmp[sizeof(tmp) - 1] = 0;
	if (n == -EFAULT)
		format(out, size, "0x%lx", addr);
	else
		format(out, size, "\"%s\"", tmp);
}

static int trace_args(char *buf, size_t size, const struct syscall *s, const u64 *a)
{
	int n = 0;

	for (u32 i = 0; s->format[i] && s->format[i] != '!' && i < 6 && n < (int)size - 64;
	     i++) {
		char one[64];

		switch (s->format[i]) {
		case 's':
			trace_string(one, sizeof(one), a[i]);
			break;
		case 'd':
		case 'f':
			format(one, sizeof(one), "%d", (int)a[i]);
			break;
		case 'u':
			format(one, sizeof(one), "%lu", a[i]);
			break;
		default:
			format(one, sizeof(one), "0x%lx", a[i]);
		}
		n += format(buf + n, size - (size_t)n, "%s%s", i ? ", " : "", one);
	}
	return n;
}

/* Apart, with its room for text: other calls need none. */
static __attribute__((noinline)) s64 traced(const struct syscall *s, u32 nr,
					    const struct regs *r)
{
	u64 a[6] = {r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9};
	char text[256];
	s64 ret;

	text[0] = 0;
	if (s)
		trace_args(text, sizeof(text), s, a);
	ret = s ? ((sysfn)s->fn)(a[0], a[1], a[2], a[3], a[4], a[5]) : -ENOSYS;
	printk("[%u] %s(%s) = %ld", current->tid, s ? s->name : "unknown", text, ret);
	if (!s)
		printk("[%u] syscall %u is not implemented", current->tid, nr);
	return ret;
}

/* 0: the frame can be loaded by SYSRET. */
static u32 needs_iret(const struct regs *r)
{
	return r->orig_rax == (u64)-1 || r->rip >= TASK_SIZE || r->cs != SEL_UCODE ||
	       (r->rflags & (RFL_TF | 0x10000));
}

u32 syscall_dispatch(struct regs *r)
{
	struct thread *t = current;
	u64 nr = r->orig_rax;
	const struct syscall *s;
	s64 ret;

	monitor_enter();
	account_user();
	t->regs = r;
	if (t->seccomp_mode) {
		s64 verdict = seccomp_check(r);

		if (verdict) {
			thread_enter_user_frame(r);
			return 1;
		}
	}
	s = nr < SYSCALLS_MAX ? table[nr] : NULL;
	if (nr < SYSCALLS_MAX)
		counts[nr]++;
	if (!s)
		unknown++;
	t->syscall_nr = (u32)nr;
	if (unlikely(trace_syscalls)) {
		ret = traced(s, (u32)nr, r);
	} else if (likely(s != NULL)) {
		ret = ((sysfn)s->fn)(r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9);
	} else {
		ret = -ENOSYS;
	}
	if (r->orig_rax == (u64)-1 && (s64)nr != -1) {
		/* execve and sigreturn made the whole frame. */
		if (nr == __NR_rt_sigreturn)
			r->rax = (u64)ret;
	} else {
		r->rax = (u64)ret;
		r->rcx = r->rip;
		r->r11 = r->rflags;
	}
	thread_enter_user_frame(r);
	return needs_iret(r);
}

/* What was called: number, name, count; "missing" (ENOSYS) and "refused" say so. */
u32 syscall_missing_list(char *buf, u32 size)
{
	u32 n = 0;

	for (u32 i = 0; i < SYSCALLS_MAX && n + 48 < size; i++)
		if (counts[i])
			n += (u32)format(buf + n, size - n, "%u %s %lu%s\n", i,
					 table[i] ? table[i]->name : syscall_missing_name(i),
					 counts[i],
					 !table[i]                       ? " missing"
					 : strchr(table[i]->format, '!') ? " refused"
									 : "");
	return n;
}
