/* SPDX-License-Identifier: ISC */
/* The vDSO image, built from boot/vdso/. */
	.section .rodata
	.balign 4096
	.globl	vdso_begin, vdso_end
vdso_begin:
	.incbin	"gen/vdso.so"
vdso_end:
	.section .note.GNU-stack, "", @progbits
