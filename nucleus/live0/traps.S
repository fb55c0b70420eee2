/* SPDX-License-Identifier: ISC */
/*
 * Host-mode vectors. Exceptions run on stacks of their own (IST), interrupts on the
 * stack of the CPU: they are taken only in the idle halt and in the window after a VM exit.
 */
	.altmacro
	.section .text
	.macro stub n
	.ifeq \n == 8 || (\n >= 10 && \n <= 14) || \n == 17 || \n == 21 || \n == 29 || \n == 30
	pushq	$0
	.endif
	pushq	$\n
	jmp	trap_common
	.balign 16
	.endm

	.balign 16
	.globl trap_stubs
trap_stubs:
	.set i, 0
	.rept 256
	stub	%(i)
	.set i, i + 1
	.endr

trap_common:
	cld
	.irp reg, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	pushq	%\reg
	.endr
	movq	%rsp, %rdi
	movq	%rsp, %rbp
	andq	$~15, %rsp
	call	trap_dispatch
	movq	%rbp, %rsp
	.irp reg, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
	popq	%\reg
	.endr
	addq	$16, %rsp
	iretq

/*
 * The other CPUs begin here, in real mode, at a copy of this code at TRAMPOLINE; smp.c fills
 * the words at the end.
 */
#define TRAMPOLINE 0x8000
#define AT(label)  (TRAMPOLINE + label - trampoline)

	.section .rodata
	.balign 16
	.globl trampoline, trampoline_end, trampoline_data
	.code16
trampoline:
	cli
	cld
	xorw	%ax, %ax
	movw	%ax, %ds
	lgdtl	AT(trampoline_gdt_pointer)
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$24, $AT(trampoline32)
	.code32
trampoline32:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$0x620, %eax		/* PAE, OSFXSR, OSXMMEXCPT */
	movl	%eax, %cr4
	movl	AT(trampoline_data), %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$0x900, %eax		/* LME, NXE */
	wrmsr
	movl	%cr0, %eax
	andl	$~0x6000000c, %eax
	orl	$0x80010023, %eax
	movl	%eax, %cr0
	ljmpl	$8, $AT(trampoline64)
	.code64
trampoline64:
	movq	AT(trampoline_data) + 8, %rsp
	movq	AT(trampoline_data) + 16, %rax
	movq	AT(trampoline_data) + 24, %rdi
	xorl	%ebp, %ebp
	call	*%rax			/* does not return */
	.balign 8
trampoline_gdt:
	.quad	0
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00cf9b000000ffff
trampoline_gdt_pointer:
	.short	31
	.long	AT(trampoline_gdt)
	.balign 8
trampoline_data:
	.quad	0, 0, 0, 0		/* page tables, stack, function, argument */
trampoline_end:

	.section .note.GNU-stack, "", @progbits
