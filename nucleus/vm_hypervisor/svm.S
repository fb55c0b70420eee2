/* SPDX-License-Identifier: ISC */
/*
 * svm_enter(RDI = VMCB, RSI = guest registers, RDX = host save area), all but RSI
 * physical. GIF is 0 from CLGI to STGI, so an interrupt that arrives in between ends
 * the guest at once or stays pending; IF is 1 at VMRUN because V_INTR_MASKING makes it the
 * mask of physical interrupts.
 */
	.section .text
	.globl svm_enter
svm_enter:
	pushq	%rbp
	movq	%rsp, %rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	pushq	%rdx
	pushq	%rsi
	clgi
	sti
	movq	%rdi, %rax
	vmload	%rax
	movq	8(%rsi), %rbx
	movq	16(%rsi), %rcx
	movq	24(%rsi), %rdx
	movq	40(%rsi), %rdi
	movq	48(%rsi), %rbp
	movq	56(%rsi), %r8
	movq	64(%rsi), %r9
	movq	72(%rsi), %r10
	movq	80(%rsi), %r11
	movq	88(%rsi), %r12
	movq	96(%rsi), %r13
	movq	104(%rsi), %r14
	movq	112(%rsi), %r15
	movq	32(%rsi), %rsi
	vmrun	%rax
	vmsave	%rax
	cli
	/* RAX is the VMCB again, RSP the host's. */
	xchgq	%rsi, (%rsp)		/* RSI = registers, guest RSI on the stack */
	movq	%rbx, 8(%rsi)
	movq	%rcx, 16(%rsi)
	movq	%rdx, 24(%rsi)
	popq	%rbx
	movq	%rbx, 32(%rsi)
	movq	%rdi, 40(%rsi)
	movq	%rbp, 48(%rsi)
	movq	%r8, 56(%rsi)
	movq	%r9, 64(%rsi)
	movq	%r10, 72(%rsi)
	movq	%r11, 80(%rsi)
	movq	%r12, 88(%rsi)
	movq	%r13, 96(%rsi)
	movq	%r14, 104(%rsi)
	movq	%r15, 112(%rsi)
	popq	%rax
	vmload	%rax
	stgi
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret

	.section .note.GNU-stack, "", @progbits
