/* SPDX-License-Identifier: ISC */
/*
 * Exceptions of a native cell: all end it. Each entry pushes an error code where the CPU
 * did not, and the vector.
 */
	.text
	.hidden	bare_exception

.macro ENTRY_OF vector
	.balign	16
	.if	(\vector == 8) || (\vector >= 10 && \vector <= 14) || (\vector == 17) || (\vector == 21) || (\vector == 29) || (\vector == 30)
	.else
	pushq	$0
	.endif
	pushq	$\vector
	jmp	common
.endm

	.balign	16
	.globl	bare_exception_entries
	.hidden	bare_exception_entries
bare_exception_entries:
	.irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	ENTRY_OF \vector
	.endr

common:
	cld
	movq	%rsp, %rdi
	movq	%rbp, %rsi
	/* a frame for the backtrace: return address = where it happened */
	pushq	16(%rdi)
	pushq	%rbp
	movq	%rsp, %rbp
	andq	$-16, %rsp
	call	bare_exception
	ud2

	.globl	bare_gdt_load
	.hidden	bare_gdt_load
bare_gdt_load:
	lgdt	(%rdi)
	movl	$0x10, %eax
	movl	%eax, %ss
	movl	%eax, %ds
	movl	%eax, %es
	popq	%rdi
	pushq	$8
	pushq	%rdi
	lretq

	.section .note.GNU-stack, "", @progbits
