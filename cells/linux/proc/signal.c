/* SPDX-License-Identifier: ISC */
/*
 * Signals: sending, queueing, choosing, and building the frame a handler runs on.
 *
 * A signal sits in a queue of the thread or of the process until a thread that doesn't
 * block it returns to user mode. Standard signals are held once, real-time signals
 * queue. Stopping a process sets proc->stopped; each thread then parks on its way to
 * user mode until SIGCONT or SIGKILL.
 */
#include "cells/linux/inc/rseq.h"
#include "cells/linux/inc/sys.h"

#define SIG_DFL_K 0ull
#define SIG_IGN_K 1ull

#define KERNEL_ONLY (SIGBIT(SIGKILL) | SIGBIT(SIGSTOP))
#define IGN_DEFAULT (SIGBIT(SIGCHLD) | SIGBIT(SIGURG) | SIGBIT(SIGWINCH) | SIGBIT(SIGCONT))
#define STOP_SIGS   (SIGBIT(SIGSTOP) | SIGBIT(SIGTSTP) | SIGBIT(SIGTTIN) | SIGBIT(SIGTTOU))
/* Dealt with before others: they belong to the instruction just run. */
#define SYNC_SIGS                                                              \
	(SIGBIT(SIGSEGV) | SIGBIT(SIGBUS) | SIGBIT(SIGILL) | SIGBIT(SIGTRAP) | \
	 SIGBIT(SIGFPE) | SIGBIT(SIGSYS))

void itimer_signal_taken(siginfo_t *i);
void tty_forget(struct proc *p);

void sig_info_user(siginfo_t *i, int sig, int code)
{
	memset(i, 0, sizeof(*i));
	i->si_signo = sig;
	i->si_code = code;
	if (code <= 0 && current && current->proc) {
		i->_sifields._kill._pid = (int)current->proc->pid;
		i->_sifields._kill._uid = current->cred->uid;
	}
}

bool sig_ignored(struct thread *t, int sig)
{
	u64 h = t->sighand ? t->sighand->action[sig - 1].handler : SIG_DFL_K;

	if (t->proc == init_proc && h == SIG_DFL_K && sig != SIGKILL && sig != SIGSTOP)
		return true;
	return h == SIG_IGN_K || (h == SIG_DFL_K && (IGN_DEFAULT & SIGBIT(sig)));
}

void sig_flush(struct sigpending *p, u64 mask)
{
	struct sigqueue *q, *tmp;

	p->set &= ~mask;
	list_each_safe(q, tmp, &p->queue, link) if (SIGBIT(q->info.si_signo) & mask)
	{
		if (current->proc && p == &current->proc->pending)
			itimer_signal_taken(&q->info);
		list_del(&q->link);
		p->count--;
		kfree(q);
	}
}

static void enqueue(struct sigpending *p, int sig, const siginfo_t *info)
{
	struct sigqueue *q;

	if (sig < 32 && (p->set & SIGBIT(sig)))
		return;
	p->set |= SIGBIT(sig);
	if (p->count >= 4096 || !(q = kalloc(sizeof(*q))))
		return; /* delivered without its information */
	if (info) {
		q->info = *info;
		q->info.si_signo = sig;
	} else {
		sig_info_user(&q->info, sig, SI_KERNEL);
	}
	p->count++;
	list_add_tail(&p->queue, &q->link);
}

void proc_continue(struct proc *p)
{
	struct thread *t;

	if (p->stopped) {
		p->stopped = false;
		p->continued = true;
		if (p->parent) {
			siginfo_t i;

			sig_info_user(&i, SIGCHLD, CLD_CONTINUED);
			i._sifields._sigchld._pid = (int)p->pid;
			i._sifields._sigchld._status = SIGCONT;
			if (p->parent->leader &&
			    !(p->parent->leader->sighand->action[SIGCHLD - 1].flags &
			      SA_NOCLDSTOP))
				sig_send_proc(p->parent, SIGCHLD, &i);
			wake_all(&p->parent->child_wait);
		}
	}
	list_each(t, &p->threads, proc_link) if (t->state == T_STOPPED)
	{
		t->state = T_SLEEP;
		thread_wake(t);
	}
}

/* Effects that sending has at once. False: the signal is not to be queued. */
static bool prepare(struct proc *p, struct thread *t, int sig)
{
	struct thread *o;

	if (p->zombie || (p->exiting && sig != SIGKILL))
		return false;
	if (sig == SIGCONT || sig == SIGKILL) {
		sig_flush(&p->pending, STOP_SIGS);
		list_each(o, &p->threads, proc_link) sig_flush(&o->pending, STOP_SIGS);
		proc_continue(p);
	} else if (STOP_SIGS & SIGBIT(sig)) {
		sig_flush(&p->pending, SIGBIT(SIGCONT));
		list_each(o, &p->threads, proc_link) sig_flush(&o->pending, SIGBIT(SIGCONT));
	}
	if (t && sig_ignored(t, sig) && !((t->blocked | t->waited) & SIGBIT(sig)))
		return false;
	return true;
}

/*
 * Nobody inside the container can kill or stop its first process, whatever the signal comes
 * from: a call, a timer, a child's end. Who is outside can.
 */
static bool init_spared(const struct proc *p, int sig)
{
	return p == init_proc && (sig == SIGKILL || sig == SIGSTOP);
}

void sig_send_thread(struct thread *t, int sig, const siginfo_t *info)
{
	if (sig == SIGKILL && !t->is_kthread) {
		sig_send_proc(t->proc, sig, info);
		return;
	}
	if (sig < 1 || sig > NSIGS || t->is_kthread || init_spared(t->proc, sig) ||
	    !prepare(t->proc, t, sig))
		return;
	enqueue(&t->pending, sig, info);
	wake_all(&t->proc->signalfd_wait);
	if (!(t->blocked & SIGBIT(sig)) || sig == SIGKILL)
		thread_wake_signal(t);
}

void sig_send_proc(struct proc *p, int sig, const siginfo_t *info)
{
	if (!init_spared(p, sig))
		sig_send_outside(p, sig, info);
}

void sig_send_outside(struct proc *p, int sig, const siginfo_t *info)
{
	struct thread *t, *pick = NULL;

	if (sig < 1 || sig > NSIGS || !p->leader)
		return;
	if (!prepare(p, p->leader, sig))
		return;
	enqueue(&p->pending, sig, info);
	if (sig == SIGKILL) {
		if (!p->exiting) {
			p->exiting = true;
			p->exit_status = SIGKILL;
		}
		proc_kill_others(p, NULL);
		return;
	}
	wake_all(&p->signalfd_wait);
	list_each(t, &p->threads,
		  proc_link) if (!(t->blocked & SIGBIT(sig)) && (!pick || t->state == T_SLEEP))
	{
		pick = t;
		if (t == p->leader || t->state == T_RUNNABLE)
			break;
	}
	if (pick)
		thread_wake_signal(pick);
}

int sig_send_pgrp(u32 pgid, int sig, const siginfo_t *info)
{
	struct proc *p, *tmp;
	int n = 0;

	list_each_safe(p, tmp, &proc_list, all_link) if (p->pgid == pgid && !p->zombie)
	{
		if (sig)
			sig_send_proc(p, sig, info);
		n++;
	}
	return n ? 0 : -ESRCH;
}

/* A signal that the thread's own instruction caused: can't be blocked or ignored. */
void sig_force(struct thread *t, int sig, int code, u64 addr)
{
	siginfo_t i;
	struct ksigaction *sa = &t->sighand->action[sig - 1];

	memset(&i, 0, sizeof(i));
	i.si_code = code;
	i._sifields._sigfault._addr = (void *)addr;
	t->fault_addr = addr;
	if (sa->handler == SIG_IGN_K || (t->blocked & SIGBIT(sig))) {
		sa->handler = SIG_DFL_K;
		t->blocked &= ~SIGBIT(sig);
	}
	i.si_signo = sig;
	sig_flush(&t->pending, SIGBIT(sig));
	enqueue(&t->pending, sig, &i);
}

static bool dequeue_from(struct sigpending *p, u64 mask, siginfo_t *out)
{
	u64 set = p->set & mask;
	struct sigqueue *q, *found = NULL;
	bool more = false;
	int sig;

	if (!set)
		return false;
	if (set & SYNC_SIGS)
		set &= SYNC_SIGS;
	sig = __builtin_ctzll(set) + 1;
	list_each(q, &p->queue, link) if (q->info.si_signo == sig)
	{
		if (found) {
			more = true;
			break;
		}
		found = q;
	}
	if (!more)
		p->set &= ~SIGBIT(sig);
	if (found) {
		*out = found->info;
		list_del(&found->link);
		p->count--;
		kfree(found);
	} else {
		sig_info_user(out, sig, SI_USER);
	}
	itimer_signal_taken(out);
	return true;
}

int sig_take(struct thread *t, u64 mask, siginfo_t *out)
{
	if (dequeue_from(&t->pending, mask, out) || dequeue_from(&t->proc->pending, mask, out))
		return out->si_signo;
	return 0;
}

/* ---- Stopping ---- */
static void stop_here(struct proc *p)
{
	while (p->stopped && !current->kill_now && !p->exiting) {
		current->state = T_STOPPED;
		schedule();
	}
}

static void stop_proc(struct proc *p, int sig)
{
	struct thread *t;

	p->stopped = true;
	p->stop_reported = false;
	p->continued = false;
	p->stop_sig = (u32)sig;
	list_each(t, &p->threads, proc_link) if (t != current) thread_wake_signal(t);
	if (p->parent) {
		struct thread *pl = p->parent->leader;

		if (pl && !(pl->sighand->action[SIGCHLD - 1].flags & SA_NOCLDSTOP)) {
			siginfo_t i;

			sig_info_user(&i, SIGCHLD, CLD_STOPPED);
			i._sifields._sigchld._pid = (int)p->pid;
			i._sifields._sigchld._status = sig;
			sig_send_proc(p->parent, SIGCHLD, &i);
		}
		wake_all(&p->parent->child_wait);
	}
}

/* ---- The handler's frame ---- */
struct sigframe {
	u64 ret;
	u64 uc_flags, uc_link;
	u64 stack_sp, stack_flags, stack_size;
	struct {
		u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx,
		    rsp, rip, eflags;
		u16 cs, gs, fs, ss;
		u64 err, trapno, oldmask, cr2, fpstate, reserved[8];
	} mc;
	u64 sigmask;
	siginfo_t info;
};
_Static_assert(offsetof(struct sigframe, sigmask) == 8 + 40 + 256, "ucontext");

static void frame_fill(struct sigframe *f, const struct regs *r, struct thread *t, u64 oldmask)
{
	memset(f, 0, sizeof(*f));
	/* UC_FP_XSTATE, UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS */
	f->uc_flags = (fpu_extended() ? 1 : 0) | 6;
	f->stack_sp = t->altstack_sp;
	f->stack_size = t->altstack_size;
	f->stack_flags = t->altstack_size ? t->altstack_flags : SS_DISABLE;
	f->mc.r8 = r->r8;
	f->mc.r9 = r->r9;
	f->mc.r10 = r->r10;
	f->mc.r11 = r->r11;
	f->mc.r12 = r->r12;
	f->mc.r13 = r->r13;
	f->mc.r14 = r->r14;
	f->mc.r15 = r->r15;
	f->mc.rdi = r->rdi;
	f->mc.rsi = r->rsi;
	f->mc.rbp = r->rbp;
	f->mc.rbx = r->rbx;
	f->mc.rdx = r->rdx;
	f->mc.rax = r->rax;
	f->mc.rcx = r->rcx;
	f->mc.rsp = r->rsp;
	f->mc.rip = r->rip;
	f->mc.eflags = r->rflags;
	f->mc.cs = (u16)r->cs;
	f->mc.ss = (u16)r->ss;
	f->mc.cr2 = t->fault_addr;
	f->mc.oldmask = oldmask;
	f->sigmask = oldmask;
}

static bool on_altstack(const struct thread *t, u64 sp)
{
	return t->altstack_size && sp > t->altstack_sp &&
	       sp - t->altstack_sp <= t->altstack_size;
}

u32 sig_frame_size(void)
{
	return (u32)sizeof(struct sigframe) + fpu_frame_size() + 64 + 16 + 8;
}

static int handler_enter(struct regs *r, const struct ksigaction *sa, const siginfo_t *info)
{
	struct thread *t = current;
	u64 mask = t->restore_blocked ? t->saved_blocked : t->blocked, sp = r->rsp - 128, fp;
	bool alt = on_altstack(t, r->rsp);
	struct sigframe f;

	if ((sa->flags & SA_ONSTACK) && t->altstack_size && !alt) {
		sp = t->altstack_sp + t->altstack_size;
		alt = true;
	}
	fp = (sp - fpu_frame_size()) & ~63ull;
	sp = ((fp - sizeof(f)) & ~15ull) - 8;
	if (alt && !on_altstack(t, sp))
		return -EFAULT; /* it would run off the signal stack, into what lies below */
	frame_fill(&f, r, t, mask);
	f.info = *info;
	f.ret = sa->restorer;
	f.mc.fpstate = fp;
	fpu_save(t->fpu);
	if (!(sa->flags & 0x04000000) || fpu_frame_out(fp, t->fpu) ||
	    copy_out(sp, &f, sizeof(f)))
		return -EFAULT;
	fpu_initial(); /* a handler begins with fresh registers */
	r->rdi = (u64)info->si_signo;
	r->rsi = sp + offsetof(struct sigframe, info);
	r->rdx = sp + offsetof(struct sigframe, uc_flags);
	r->rax = 0;
	r->rsp = sp;
	r->rip = sa->handler;
	r->rflags &= ~(RFL_DF | RFL_TF | RFL_AC);
	r->cs = SEL_UCODE;
	r->ss = SEL_UDATA;
	r->orig_rax = (u64)-1;
	if (t->altstack_flags & 0x80000000u) { /* SS_AUTODISARM */
		t->altstack_sp = t->altstack_size = 0;
		t->altstack_flags = SS_DISABLE;
	}
	t->restore_blocked = false;
	t->blocked |= sa->mask;
	if (!(sa->flags & SA_NODEFER))
		t->blocked |= SIGBIT(info->si_signo);
	t->blocked &= ~KERNEL_ONLY;
	return 0;
}

/* What becomes of an interrupted call. */
static void restart_adjust(struct regs *r, const struct ksigaction *sa)
{
	s64 ret = (s64)r->rax;

	if ((s64)r->orig_rax < 0)
		return;
	if (ret == -ERESTARTBLOCK) {
		if (sa) {
			r->rax = (u64)-EINTR;
		} else {
			r->rax = __NR_restart_syscall;
			r->rip -= 2;
		}
	} else if (ret == -ERESTARTNOHAND || ret == -ERESTARTSYS || ret == -ERESTARTNOINTR) {
		if (sa && (ret == -ERESTARTNOHAND ||
			   (ret == -ERESTARTSYS && !(sa->flags & SA_RESTART)))) {
			r->rax = (u64)-EINTR;
		} else {
			r->rax = r->orig_rax;
			r->rip -= 2;
		}
	} else {
		return;
	}
	r->orig_rax = (u64)-1;
}

static noreturn_fn void die_of(int sig)
{
	if (SYNC_SIGS & SIGBIT(sig))
		printk("%s[%u] killed by signal %d at %lx address %lx", current->comm,
		       current->proc->pid, sig, current->regs->rip, current->fault_addr);
	proc_exit((u32)sig); /* there are no core dumps */
}

static void deliver_default(struct regs *r, int sig)
{
	struct proc *p = current->proc;

	if (STOP_SIGS & SIGBIT(sig)) {
		if (sig != SIGSTOP && pgrp_orphaned(p->pgid, NULL))
			return;
		restart_adjust(r, NULL);
		stop_proc(p, sig);
		stop_here(p);
		return;
	}
	die_of(sig);
}

void sig_deliver(struct regs *r)
{
	struct thread *t = current;
	siginfo_t info;
	int sig;

	if (t->kill_now)
		thread_exit(t->proc->exit_status);
	if (t->proc->stopped) {
		restart_adjust(r, NULL);
		stop_here(t->proc);
		return;
	}
	while ((sig = sig_take(t, ~t->blocked, &info))) {
		struct ksigaction sa = t->sighand->action[sig - 1];

		if (sig == SIGKILL)
			die_of(sig);
		/* What the program itself did can't be ignored, by pid 1 neither. */
		if (sig_ignored(t, sig) && !(info.si_code > 0 && (SYNC_SIGS & SIGBIT(sig))))
			continue;
		if (sa.handler == SIG_DFL_K) {
			deliver_default(r, sig);
			return;
		}
		restart_adjust(r, &sa);
		rseq_leave(r);
		if (sa.flags & SA_RESETHAND)
			t->sighand->action[sig - 1].handler = SIG_DFL_K;
		if (handler_enter(r, &sa, &info)) {
			/* No room for its frame: that is a fault of its own. */
			if (sig == SIGSEGV)
				t->sighand->action[sig - 1].handler = SIG_DFL_K;
			sig_force(t, SIGSEGV, SI_KERNEL, 0);
		}
		return;
	}
	restart_adjust(r, NULL);
	if (t->restore_blocked) {
		t->restore_blocked = false;
		t->blocked = t->saved_blocked;
	}
}

SYSCALL(rt_sigreturn, "", void)
{
	struct thread *t = current;
	struct regs *r = t->regs;
	struct sigframe f;

	if (copy_in(&f, r->rsp - 8, sizeof(f)))
		goto bad;
	if (f.mc.fpstate && fpu_frame_in(f.mc.fpstate))
		goto bad;
	if (f.mc.rip >= TASK_SIZE)
		goto bad;
	r->r8 = f.mc.r8;
	r->r9 = f.mc.r9;
	r->r10 = f.mc.r10;
	r->r11 = f.mc.r11;
	r->r12 = f.mc.r12;
	r->r13 = f.mc.r13;
	r->r14 = f.mc.r14;
	r->r15 = f.mc.r15;
	r->rdi = f.mc.rdi;
	r->rsi = f.mc.rsi;
	r->rbp = f.mc.rbp;
	r->rbx = f.mc.rbx;
	r->rdx = f.mc.rdx;
	r->rcx = f.mc.rcx;
	r->rsp = f.mc.rsp;
	r->rip = f.mc.rip;
	r->rflags = (f.mc.eflags & RFL_USER) | RFL_IF | 2;
	r->cs = SEL_UCODE;
	r->ss = SEL_UDATA;
	r->orig_rax = (u64)-1;
	t->blocked = f.sigmask & ~KERNEL_ONLY;
	if (!(f.stack_flags & SS_DISABLE) && !on_altstack(t, r->rsp)) {
		t->altstack_sp = f.stack_sp;
		t->altstack_size = f.stack_size;
		t->altstack_flags = (u32)f.stack_flags;
	}
	return (s64)f.mc.rax;
bad:
	sig_force(t, SIGSEGV, SI_KERNEL, 0);
	return 0;
}
