/* SPDX-License-Identifier: ISC */
/*
 * Into a guest and out again, for both vendors: the registers in struct vcpu_regs and those
 * that C expects to be kept.
 */
#define VMCS_HOST_RSP 0x6c14

	.macro push_saved
	.irp reg, rbp, rbx, r12, r13, r14, r15
	pushq	%\reg
	.endr
	.endm

	.macro pop_saved
	.irp reg, r15, r14, r13, r12, rbx, rbp
	popq	%\reg
	.endr
	.endm

	/* RBX, RCX, RDX and RBP to R15; RAX, RSI and RDI are moved by hand. */
	.macro move_regs load, at
	.set offset, 8
	.irp reg, rbx, rcx, rdx, none, none, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	.ifnc \reg, none
	.if \load
	movq	offset(%\at), %\reg
	.else
	movq	%\reg, offset(%\at)
	.endif
	.endif
	.set offset, offset + 8
	.endr
	.endm

	.section .text

/*
 * svm_enter(RDI = VMCB, RSI = guest registers, RDX = host save area), all but RSI
 * physical. GIF is 0 from CLGI to STGI, so an interrupt that arrives in between ends
 * the guest at once or stays pending; IF is 1 at VMRUN because V_INTR_MASKING makes it the
 * mask of physical interrupts.
 */
	.globl svm_enter
svm_enter:
	push_saved
	pushq	%rdx
	pushq	%rsi
	clgi
	sti
	movq	%rdi, %rax
	vmload	%rax
	move_regs 1, rsi
	movq	40(%rsi), %rdi
	movq	32(%rsi), %rsi
	vmrun	%rax
	vmsave	%rax
	cli
	/* RAX is the VMCB again, RSP the host's. */
	xchgq	%rsi, (%rsp)		/* RSI = registers, guest RSI on the stack */
	move_regs 0, rsi
	popq	32(%rsi)
	movq	%rdi, 40(%rsi)
	popq	%rax
	vmload	%rax
	stgi
	pop_saved
	ret

/*
 * vmx_enter(RDI = guest registers, ESI = launched). The VMCS at hand says HOST_RIP =
 * vmx_exit_point; HOST_RSP is written here, where it points at the pushed RDI. Interrupts
 * are off: one that waits ends the guest at once.
 */
	.globl vmx_enter, vmx_exit_point
vmx_enter:
	push_saved
	pushq	%rdi
	movl	$VMCS_HOST_RSP, %eax
	vmwrite	%rsp, %rax
	testl	%esi, %esi		/* moves below keep the flag */
	movq	0(%rdi), %rax
	move_regs 1, rdi
	movq	32(%rdi), %rsi
	movq	40(%rdi), %rdi
	jz	1f
	vmresume
	jmp	2f
1:	vmlaunch
2:	popq	%rdi			/* not entered; the registers in memory are as before */
	movl	$1, %eax
	jmp	3f
vmx_exit_point:
	xchgq	%rdi, (%rsp)
	movq	%rax, 0(%rdi)
	move_regs 0, rdi
	movq	%rsi, 32(%rdi)
	popq	40(%rdi)
	xorl	%eax, %eax
3:	pop_saved
	ret

	.section .note.GNU-stack, "", @progbits
