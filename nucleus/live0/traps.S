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
 * The other CPUs begin here, in real mode, at a copy of this code below 1 MiB; smp.c
 * fills the words at the end.
 */
	.section .rodata
	.balign 16
	.globl trampoline, trampoline_end, trampoline_data, trampoline_gdt, trampoline_gdt_pointer
	.code16
trampoline:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	movl	$(trampoline_gdt - trampoline), %esi
	lgdtl	(trampoline_gdt_pointer - trampoline)
	movl	(trampoline_data - trampoline), %edi	/* where the copy is */
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	leal	(trampoline32 - trampoline)(%edi), %eax
	movl	%eax, (trampoline_jump - trampoline)
	ljmpl	*(trampoline_jump - trampoline)
trampoline_jump:
	.long	0
	.short	24
	.code32
trampoline32:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	/* The page is mapped read-only for what follows: write the next target first. */
	leal	(trampoline64 - trampoline)(%edi), %eax
	movl	%eax, (trampoline_jump64 - trampoline)(%edi)
	movl	$0x620, %eax
	movl	%eax, %cr4
	movl	(trampoline_data + 8 - trampoline)(%edi), %eax	/* page tables */
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$0x900, %eax
	wrmsr
	movl	%cr0, %eax
	andl	$~0x6000000c, %eax
	orl	$0x80010023, %eax
	movl	%eax, %cr0
	ljmpl	*(trampoline_jump64 - trampoline)(%edi)
trampoline_jump64:
	.long	0
	.short	8
	.code64
trampoline64:
	movl	%edi, %edi
	movq	(trampoline_data + 16 - trampoline)(%rdi), %rsp
	movq	(trampoline_data + 24 - trampoline)(%rdi), %rax
	movq	(trampoline_data + 32 - trampoline)(%rdi), %rdi
	xorl	%ebp, %ebp
	call	*%rax
1:	hlt
	jmp	1b
	.balign 8
trampoline_gdt:
	.quad	0
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00cf9b000000ffff
trampoline_gdt_pointer:
	.short	31
	.long	0
	.balign 8
trampoline_data:
	.quad	0, 0, 0, 0, 0	/* place, page tables, stack, function, argument */
trampoline_end:

	.section .note.GNU-stack, "", @progbits
