/* SPDX-License-Identifier: ISC */
/*
 * Threads, processes, waiting, timers and signals.
 *
 * The kernel is one monitor: a thread runs in it until it sleeps or returns to its
 * program; interrupts are taken in user mode and in the idle loop only. With several vCPUs
 * one lock keeps it so (proc/smp.c). So a check and the sleep that follows it can't be torn
 * apart, and what a sleep may change is what must be looked at again after it.
 */
#ifndef LX_TASK_H
#define LX_TASK_H

#include "cells/linux/inc/cpu.h"
#include "cells/linux/inc/mm.h"
#include <asm/signal.h>
#include <asm/siginfo.h>
#include <asm/resource.h>
#include <linux/time_types.h>

/* sigaltstack(2) */
#ifndef SS_DISABLE
#define SS_ONSTACK 1
#define SS_DISABLE 2
#endif
#define NSIGS     64
#define SIGBIT(n) (1ull << ((n)-1))

struct waitq {
	struct list waiters;
};
struct waiter {
	struct list link;
	void (*wake)(struct waiter *w, u32 events); /* called with what became ready */
	void *arg;
};
void waitq_add(struct waitq *q, struct waiter *w);
void waitq_del(struct waiter *w);
void wake_all(struct waitq *q);
/* Wakes all and lets go of them: the queue's memory may be freed. */
void waitq_dissolve(struct waitq *q);
void wake_events(struct waitq *q, u32 events); /* POLL* bits for poll users */
void wake_one(struct waitq *q);

/*
 * Sleep on q until woken (0), a signal is due (-ERESTARTSYS; only if intr), or the
 * deadline is over (-ETIMEDOUT). Spurious wakeups happen.
 */
int wait_on(struct waitq *q, u64 deadline, bool intr);
/* As wait_on(intr = false), but being killed ends it: -EINTR. */
int wait_killable(struct waitq *q, u64 deadline);

/*
 * A lock that may be held while its holder sleeps: copying to or from a program's memory may
 * wait for a file's page, and meanwhile other threads run.
 */
struct klock {
	bool held;
	struct waitq wait;
};
static inline void klock_take(struct klock *l)
{
	while (l->held)
		wait_on(&l->wait, NEVER, false);
	l->held = true;
}
static inline void klock_drop(struct klock *l)
{
	l->held = false;
	wake_one(&l->wait);
}
#define wait_event(q, cond, deadline)                             \
	({                                                        \
		int we_r = 0;                                     \
		while (!(cond)) {                                 \
			we_r = wait_on((q), (deadline), true);    \
			if (we_r) {                               \
				if (we_r == -ETIMEDOUT && (cond)) \
					we_r = 0;                 \
				break;                            \
			}                                         \
		}                                                 \
		we_r;                                             \
	})

struct ktimer {
	struct list link;
	u64 deadline;
	void (*fn)(struct ktimer *t);
	void *arg;
};
void timer_set(struct ktimer *t, u64 deadline);
void timer_cancel(struct ktimer *t);
u64 timers_run(u64 now); /* runs what is due; the next deadline or NEVER */

/*
 * Who waits for a time of day: told when the wall clock is set, by how much (ns; as a moment on
 * our own clock what was waited for is that much earlier). All of it in the monitor.
 */
struct wall_user {
	struct list link;
	void (*moved)(struct wall_user *w, s64 by);
};
void wall_follow(struct wall_user *w);
void wall_unfollow(struct wall_user *w); /* also of one that does not follow */
/* A deadline after such a step; never 0. */
u64 wall_moved_deadline(u64 deadline, s64 by);

/* Credentials; shared, never changed in place once shared. */
struct cred {
	u32 refs;
	u32 uid, euid, suid, fsuid;
	u32 gid, egid, sgid, fsgid;
	u64 cap_eff, cap_perm, cap_inh, cap_bset, cap_amb;
	u32 securebits; /* SECBIT_*, linux/securebits.h */
	u32 ngroups;
	u32 groups[];
};
struct cred *cred_get(struct cred *c);
void cred_put(struct cred *c);
/* The current thread's credentials, private to it: may be changed. NULL: no memory. */
struct cred *cred_own(void);
bool capable(int cap);
bool in_group(u32 gid);

struct sigqueue {
	struct list link;
	siginfo_t info;
};
struct sigpending {
	u64 set;
	struct list queue;
	u32 count;
};
struct ksigaction {
	u64 handler, flags, restorer, mask; /* layout of the rt_sigaction structure */
};
struct sighand {
	u32 refs;
	struct ksigaction action[NSIGS];
};
/* Every handler to its default; what is ignored stays so (execve, CLONE_CLEAR_SIGHAND). */
void sighand_reset(struct sighand *s);

struct fdtable;
struct fsctx;
struct seccomp_filter;
struct sem_undo_list;
struct futex_wait;
struct tty;

enum thread_state {
	T_RUNNABLE,
	T_SLEEP,   /* a signal ends it */
	T_DSLEEP,  /* only its event ends it */
	T_STOPPED, /* job control */
	T_DEAD,
};

struct thread {
	struct list run_link;
	struct list proc_link; /* in proc->threads */
	u8 state;
	bool on_queue, timed_out, in_syscall, in_exec;
	struct cpu *cpu; /* whose current thread it is, or was last */
	u64 queued_at, killed_at;
	u64 ksp;
	u8 *kstack;
	struct regs *regs; /* user registers at the top of the stack */
	u8 *fpu;           /* fpu_size() bytes, 64-aligned */
	u64 fs_base, gs_base;
	struct proc *proc;
	struct mm *mm;
	struct fdtable *files;
	struct fsctx *fs;
	struct sighand *sighand;
	struct cred *cred;
	u32 tid;
	u32 exit_code;
	char comm[16];
	u64 blocked, saved_blocked;
	u64 waited; /* signals that sigtimedwait waits for: not ignored meanwhile */
	bool restore_blocked;
	struct sigpending pending;
	u64 altstack_sp, altstack_size;
	u32 altstack_flags;
	u64 clear_tid;
	u64 robust_list, robust_len;
	struct futex_wait *pi_wait; /* while it waits for a lock with an owner */
	u64 rseq;
	u32 rseq_sig;
	bool rseq_due; /* it left its program's code: see to it before it goes back */
	s64 (*restart)(struct thread *t); /* for -ERESTARTBLOCK */
	u64 restart_arg[4];
	struct ktimer sleep_timer;
	struct waiter sleep_waiter;
	struct waitq *vfork_done;
	bool *vfork_flag;
	bool kill_now, killable; /* killable: its sleep ends when it is killed */
	u64 utime, stime, start_time, stamp;
	u64 nvcsw, nivcsw, minflt, majflt;
	s32 nice;
	u32 policy, rt_prio;
	u16 ioprio; /* 0: never set */
	bool reset_on_fork;
	u64 affinity;
	u32 pdeath_sig;
	u32 no_new_privs;
	u32 seccomp_mode;
	struct seccomp_filter *seccomp;
	struct sem_undo_list *sem_undo;
	u64 timer_slack, default_slack;
	bool uaccess_fault_off;
	void (*kfn)(void *);
	void *karg;
	bool is_kthread;
	bool charged; /* counted in thread_count */
	u32 personality;
	u32 syscall_nr;
	u32 restart_nr;
	u64 fault_addr;
	u32 path_depth;
};

struct itimer {
	struct ktimer timer;
	u64 value, interval;
	struct proc *proc;
	u32 which;
};

struct proc {
	struct list all_link; /* every process, in order of pid */
	struct list sibling;  /* in parent->children */
	struct list children;
	struct list threads;
	u32 nthreads, live;
	u32 pid, pgid, sid;
	struct proc *parent;
	struct thread *leader;
	struct thread *husk; /* what /proc tells of a leader that has ended */
	struct tty *ctty;
	struct sigpending pending;
	struct waitq child_wait; /* its own wait4 */
	struct waitq signalfd_wait;
	bool exiting, zombie, stopped, stop_reported, continued, exec_done, reaper;
	bool execing;
	bool group_leader_dead;
	u32 exit_signal;
	u32 exit_status; /* wait status */
	u32 stop_sig;
	u32 stop_count; /* threads still to stop */
	struct rlimit64_pad {
		u64 cur, max;
	} rlim[RLIM_NLIMITS];
	u64 utime, stime, cutime, cstime, minflt, majflt, cminflt, cmajflt, maxrss, cmaxrss;
	u64 nvcsw, nivcsw;
	u64 start_time;
	struct itimer itimer_real;
	u64 virt_value, virt_interval, prof_value, prof_interval;
	bool cpu_watch; /* a timer or a limit of CPU time is set */
	u64 xcpu_at;    /* CPU time of the next SIGXCPU; 0: at the soft limit */
	struct list posix_timers;
	u32 next_timer;
	s32 oom_score_adj;
	u32 dumpable;
	u32 tty_old_pgrp;
	u64 rchar, wchar, syscr, syscw;
	void (*on_exit)(struct proc *p); /* for processes that the control channel started */
	void *on_exit_arg;
	u32 refs;
};

extern struct list proc_list;
extern struct proc *init_proc;
extern u32 proc_count, thread_count, thread_limit, pid_max;

/* sched.c */
void sched_init(void);
void schedule(void);
void thread_wake(struct thread *t);
void thread_wake_signal(
    struct thread *t); /* from an interruptible or, killed, a killable sleep */
void sched_yield_cpu(void);
/*
 * In a call whose work may take long, between two pieces of it: timers run, and others if the
 * slice is over. May sleep. True: a signal is due, the call should end with what it has done.
 */
bool sched_breathe(void);
noreturn_fn void idle_loop(void);
struct thread *kthread_start(void (*fn)(void *), void *arg, const char *name);
u64 load_average(int i);
extern u64 total_forks, total_switches, boot_wall_ns;
/* What that vCPU did with its time; ALL_CPUS: all together. */
#define ALL_CPUS (~0u)
struct cpu_times {
	u64 user, system, idle; /* ns */
};
struct cpu_times cpu_times(u32 number);
/* Its affinity changed: leave the vCPU it may not run on any more. */
void thread_moved(struct thread *t);

/* proc.c, fork.c, exit.c */
struct proc *proc_find(u32 pid);
struct thread *thread_find(u32 tid);
/* Also a leader that has ended, until its process is waited for; only to look at. */
struct thread *thread_seen(u32 tid);
void husk_make(struct thread *t);
struct proc *proc_new(void);
struct thread *thread_new(void);
/* A program's thread: -EAGAIN when the container has as many as it may. */
struct thread *thread_new_charged(int *err);
void thread_free(struct thread *t);
void proc_put(struct proc *p);
u32 pid_new(void);
noreturn_fn void thread_exit(u32 code); /* this thread only */
noreturn_fn void proc_exit(u32 status); /* whole group; wait status */
void proc_kill_others(struct proc *p, struct thread *keep);
void proc_reparent(struct proc *p);
bool pgrp_orphaned(u32 pgid, struct proc *ignore);
void oom_kill(void);
/* A process that is not forked from another; returns it not yet running. */
struct proc *proc_spawn_init(void);

/* exec.c */
struct exec_args;
s64 kernel_exec(const char *path, char *const argv[], char *const envp[]);

/* signal.c */
void sig_send_thread(struct thread *t, int sig, const siginfo_t *info);
void sig_send_proc(struct proc *p, int sig, const siginfo_t *info);
/* From outside the container, or from the kernel for its own reasons: reaches pid 1 always. */
void sig_send_outside(struct proc *p, int sig, const siginfo_t *info);
int sig_send_pgrp(u32 pgid, int sig, const siginfo_t *info);
void sig_force(struct thread *t, int sig, int code, u64 addr);
/* Of a program's thread: a signal, its end or a stop is due. On the way back of every call. */
static inline bool sig_due(const struct thread *t)
{
	const struct proc *p = t->proc;

	return t->kill_now || (p->stopped && !p->exiting) ||
	       ((t->pending.set | p->pending.set) & ~t->blocked);
}
static inline bool sig_pending(const struct thread *t)
{
	return !t->is_kthread && sig_due(t);
}
void sig_deliver(struct regs *r);
/* The most that a handler's frame takes of the stack. */
u32 sig_frame_size(void);
void sig_flush(struct sigpending *p, u64 mask);
void sig_info_user(siginfo_t *i, int sig, int code);
int sig_take(struct thread *t, u64 mask, siginfo_t *out); /* dequeue: signal or 0 */
int sig_kill_check(struct proc *p, int sig);
void proc_continue(struct proc *p);
bool sig_ignored(struct thread *t, int sig);

/* futex.c */
int futex_wake_addr(struct mm *mm, u64 addr, u32 n);
void futex_exit(struct thread *t);

/* time helpers */
static inline u64 ts_to_ns(const struct __kernel_timespec *ts)
{
	if (ts->tv_sec >= 9000000000ll)
		return NEVER >> 1;
	return (u64)ts->tv_sec * NS_PER_SEC + (u64)ts->tv_nsec;
}
static inline bool ts_valid(const struct __kernel_timespec *ts)
{
	return ts->tv_sec >= 0 && (u64)ts->tv_nsec < NS_PER_SEC;
}
static inline struct __kernel_timespec ns_to_ts(u64 ns)
{
	return (struct __kernel_timespec){ns / NS_PER_SEC, ns % NS_PER_SEC};
}
/* From the program: 0, -EFAULT, or -EINVAL when it is none. */
int timespec_in(struct __kernel_timespec *ts, u64 uts);
/*
 * A time of the program's, on a clock that shows NOW (0: a length of time), as a deadline of
 * clock_now(). NEVER where the program gives none.
 */
int deadline_in(u64 uts, u64 now, u64 *deadline);
static inline u64 deadline_after(u64 ns)
{
	u64 now = clock_now();

	return ns >= NEVER - now ? NEVER : now + ns;
}
u64 wall_now(void);
u64 wall_at(u64 moment); /* of clock_now() */

/* entry.S */
void switch_stacks(u64 *save_sp, u64 load_sp);
void thread_start_user(void);
void thread_start_kernel(void);
void syscall_entry(void);

/* fpu.c */
void fpu_cpu_init(void); /* each vCPU, first */
void fpu_init(void);
void fpu_save(u8 *area);
void fpu_restore(const u8 *area);
void fpu_initial(void); /* the registers as a program begins with them */
void fpu_fresh(u8 *area);
u32 fpu_size(void);
u8 *fpu_alloc(void);     /* a fresh area, NULL: no memory; kfree */
bool fpu_extended(void); /* by XSAVE */
/* To and from a signal frame, 64-byte aligned; from there into the registers. 0 or -errno. */
u32 fpu_frame_size(void);
int fpu_frame_out(u64 to, const u8 *area);
int fpu_frame_in(u64 from);

#endif
