/* SPDX-License-Identifier: ISC */
/* Entry points of a native cell: d0/abi.h says what the registers hold. */
	.section .text.start, "ax"
	.globl	_start
	.hidden	bare_start
	.hidden	bare_start_vcpu
_start:
	xorl	%ebp, %ebp
	andq	$-16, %rsp
	movl	%esi, %esi
	call	bare_start
	ud2

/* Another vCPU; RDI = its struct vcpu_job. */
	.globl	bare_vcpu_entry
	.hidden	bare_vcpu_entry
bare_vcpu_entry:
	xorl	%ebp, %ebp
	andq	$-16, %rsp
	call	bare_start_vcpu
	ud2

	.section .note.GNU-stack, "", @progbits
