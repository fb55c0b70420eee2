/* SPDX-License-Identifier: ISC */
/*
 * Ways in and out of the guest kernel: the first instruction, SYSCALL, exceptions and the
 * event upcall, the switch between threads, and the copies to and from user memory whose
 * faults are expected.
 *
 * Register frame: struct regs of inc/cpu.h. GS points to struct cpu while in the kernel.
 */
	.text

	.globl	_start
	.type	_start, @function
_start:
	cld
	xorl	%ebp, %ebp
	call	kernel_main
	ud2

/* Further vCPUs: RDI = struct cpu, RSI = number, on the shared start stack. */
	.globl	ap_start
ap_start:
	cld
	xorl	%ebp, %ebp
	call	ap_main
	ud2

/* void stack_call(void *stack_top, void (*fn)(void)): does not come back. */
	.globl	stack_call
stack_call:
	movq	%rdi, %rsp
	xorl	%ebp, %ebp
	call	*%rsi
	ud2

/* A program's registers between the stack frame's ends, in the order of struct regs. */
	.macro	PUSH_R8_UP
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	.endm
	.macro	POP_TO_RAX
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rax
	.endm

/* ---- SYSCALL: RCX = return address, R11 = flags, interrupts off by FMASK ---- */
	.globl	syscall_entry
	.balign	16
syscall_entry:
	swapgs
	movq	%rsp, %gs:16
	movq	%gs:8, %rsp
	pushq	$0x23			/* ss */
	pushq	%gs:16			/* rsp */
	pushq	%r11			/* flags */
	pushq	$0x2b			/* cs */
	pushq	%rcx			/* rip */
	pushq	%rax			/* orig_rax */
	pushq	%rdi
	pushq	%rsi
	pushq	%rdx
	pushq	%rcx
	pushq	$-38			/* rax = -ENOSYS */
	PUSH_R8_UP
	movq	%rsp, %rdi
	xorl	%ebp, %ebp
	call	syscall_dispatch
	/* RAX != 0: the frame was changed in ways that only IRETQ can load. */
	testl	%eax, %eax
	jnz	return_iret
	POP_TO_RAX
	addq	$8, %rsp		/* rcx comes from rip */
	popq	%rdx
	popq	%rsi
	popq	%rdi
	addq	$8, %rsp		/* orig_rax */
	popq	%rcx			/* rip */
	addq	$8, %rsp
	popq	%r11			/* flags */
	popq	%rsp
	swapgs
	sysretq

/* Threads that never ran start here: their frame is on top of the stack. */
	.globl	thread_start_user
thread_start_user:
	xorl	%ebp, %ebp
	call	thread_first_run
	movq	%rsp, %rdi
	call	thread_enter_user_frame
return_iret:
	POP_TO_RAX
	popq	%rcx
	popq	%rdx
	popq	%rsi
	popq	%rdi
	addq	$8, %rsp
	testb	$3, 8(%rsp)
	jz	1f
	swapgs
1:	iretq

	.globl	thread_start_kernel
thread_start_kernel:
	xorl	%ebp, %ebp
	call	thread_first_run
	call	kthread_main
	ud2

/* void switch_stacks(u64 *save_sp, u64 load_sp) */
	.globl	switch_stacks
switch_stacks:
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret

/* ---- Exceptions ---- */
	.macro	VECTOR n, has_code
	.balign	16
vector_\n:
	.if \has_code == 0
	pushq	$0
	.endif
	pushq	%rdi
	movl	$\n, %edi
	jmp	trap_common
	.endm

	.balign	16
vectors:
	.irp	n, 0,1,2,3,4,5,6,7
	VECTOR	\n, 0
	.endr
	VECTOR	8, 1
	VECTOR	9, 0
	.irp	n, 10,11,12,13,14
	VECTOR	\n, 1
	.endr
	VECTOR	15, 0
	VECTOR	16, 0
	VECTOR	17, 1
	VECTOR	18, 0
	VECTOR	19, 0
	VECTOR	20, 0
	VECTOR	21, 1
	.irp	n, 22,23,24,25,26,27,28
	VECTOR	\n, 0
	.endr
	VECTOR	29, 1
	VECTOR	30, 1
	VECTOR	31, 0
	VECTOR	240, 0

/* Stack: rdi, error code (in orig_rax's place), rip, cs, flags, rsp, ss; EDI = vector. */
trap_common:
	cld
	testb	$3, 24(%rsp)
	jz	1f
	swapgs
1:	pushq	%rsi
	pushq	%rdx
	pushq	%rcx
	pushq	%rax
	PUSH_R8_UP
	xorl	%ebp, %ebp
	movq	%rsp, %rsi
	cmpb	$0, cpu_smap(%rip)
	je	2f
	clac
2:	call	trap_dispatch
	jmp	return_iret

	.section .data.rel.ro, "aw"
	.balign	8
	.globl	vector_table
vector_table:
	.irp	n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,240
	.quad	vector_\n
	.endr
	.text

/*
 * RDX bytes from RSI to RDI, upwards, without vector registers: a program's may be live.
 * RDX counts down, by what is done. Changes RAX, RCX, R8, R9.
 */
	.macro	COPY_UP
	cmpq	$8, %rdx
	jb	3f
	cmpq	$64, %rdx
	jb	2f
	.balign	16
1:	movq	(%rsi), %rax
	movq	8(%rsi), %rcx
	movq	16(%rsi), %r8
	movq	24(%rsi), %r9
	movq	%rax, (%rdi)
	movq	%rcx, 8(%rdi)
	movq	%r8, 16(%rdi)
	movq	%r9, 24(%rdi)
	movq	32(%rsi), %rax
	movq	40(%rsi), %rcx
	movq	48(%rsi), %r8
	movq	56(%rsi), %r9
	movq	%rax, 32(%rdi)
	movq	%rcx, 40(%rdi)
	movq	%r8, 48(%rdi)
	movq	%r9, 56(%rdi)
	addq	$64, %rsi
	addq	$64, %rdi
	subq	$64, %rdx
	cmpq	$64, %rdx
	jae	1b
	cmpq	$8, %rdx
	jb	3f
2:	movq	(%rsi), %rax
	movq	%rax, (%rdi)
	addq	$8, %rsi
	addq	$8, %rdi
	subq	$8, %rdx
	cmpq	$8, %rdx
	jae	2b
3:	testq	%rdx, %rdx
	jz	5f
4:	movb	(%rsi), %al
	movb	%al, (%rdi)
	incq	%rsi
	incq	%rdi
	decq	%rdx
	jnz	4b
5:
	.endm

/* RDX bytes at RDI become AL, of which RAX has eight. RDX counts down, by what is done. */
	.macro	FILL_UP
	cmpq	$8, %rdx
	jb	3f
	cmpq	$32, %rdx
	jb	2f
	.balign	16
1:	movq	%rax, (%rdi)
	movq	%rax, 8(%rdi)
	movq	%rax, 16(%rdi)
	movq	%rax, 24(%rdi)
	addq	$32, %rdi
	subq	$32, %rdx
	cmpq	$32, %rdx
	jae	1b
	cmpq	$8, %rdx
	jb	3f
2:	movq	%rax, (%rdi)
	addq	$8, %rdi
	subq	$8, %rdx
	cmpq	$8, %rdx
	jae	2b
3:	testq	%rdx, %rdx
	jz	5f
4:	movb	%al, (%rdi)
	incq	%rdi
	decq	%rdx
	jnz	4b
5:
	.endm

/*
 * size_t raw_user_copy(void *dst, const void *src, size_t n): bytes NOT copied. Faults
 * inside [user_copy_begin, user_copy_end) resume at user_copy_fixup with RDX = bytes left.
 */
	.globl	raw_user_copy, user_copy_begin, user_copy_end, user_copy_fixup
	.balign	16
raw_user_copy:
	cmpb	$0, cpu_smap(%rip)
	je	user_copy_begin
	stac
user_copy_begin:
	COPY_UP
user_copy_end:
user_copy_fixup:
	movq	%rdx, %rax
	cmpb	$0, cpu_smap(%rip)
	je	1f
	clac
1:	ret

/* size_t raw_user_clear(void *dst, size_t n): bytes NOT cleared. Faults are as above. */
	.globl	raw_user_clear, user_clear_begin, user_clear_end
	.balign	16
raw_user_clear:
	movq	%rsi, %rdx
	xorl	%eax, %eax
	cmpb	$0, cpu_smap(%rip)
	je	user_clear_begin
	stac
user_clear_begin:
	FILL_UP
user_clear_end:
	jmp	user_copy_fixup

/* int raw_user_cmpxchg(u32 *p, u32 *old, u32 new): 0, or 1 after a fault. */
	.globl	raw_user_cmpxchg, user_cmpxchg_begin, user_cmpxchg_end, user_cmpxchg_fixup
	.balign	16
raw_user_cmpxchg:
	movl	(%rsi), %eax
	cmpb	$0, cpu_smap(%rip)
	je	user_cmpxchg_begin
	stac
user_cmpxchg_begin:
	lock cmpxchgl %edx, (%rdi)
user_cmpxchg_end:
	movl	%eax, (%rsi)
	xorl	%eax, %eax
	jmp	1f
user_cmpxchg_fixup:
	movl	$1, %eax
1:	cmpb	$0, cpu_smap(%rip)
	je	2f
	clac
2:	ret

/*
 * int probe_call(void (*fn)(u64), u64 arg): 0, or 1 if it faulted on the way. The callee may
 * be anything; what the compiler wants kept is kept here.
 */
	.globl	probe_call, probe_fixup
probe_call:
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, probe_rsp(%rip)
	movq	%rdi, %rax
	movq	%rsi, %rdi
	call	*%rax
	movq	$0, probe_rsp(%rip)
	xorl	%eax, %eax
	jmp	1f
probe_fixup:
	movl	$1, %eax
1:	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret

	.globl	memcpy
	.balign	16
memcpy:
	movq	%rdi, %r10
	COPY_UP
	movq	%r10, %rax
	ret

	.globl	memset
	.balign	16
memset:
	movq	%rdi, %r10
	movzbl	%sil, %eax
	movabsq	$0x0101010101010101, %rcx
	imulq	%rcx, %rax
	FILL_UP
	movq	%r10, %rax
	ret

	.section .note.GNU-stack, "", @progbits
