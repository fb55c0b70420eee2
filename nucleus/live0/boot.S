/* SPDX-License-Identifier: ISC */
/*
 * The first instructions: PVH (QEMU -kernel, Xen) and multiboot2 (GRUB) enter here in
 * 32-bit protected mode without paging. Everything is addressed relative to where it
 * runs, since a static PIE has no absolute 32-bit relocations.
 */

	.section .note.Xen, "a", @note
	.align 4
	.long 4, 8, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad 0x201000			/* boot_pvh; the linker script asserts it */

	.section .boot.entry, "ax"
	.code32
	.globl boot_pvh
boot_pvh:
	movl	$0x48565021, %ebp	/* "!PVH": our own tag for live0_early */
	jmp	enter

	.align 8
multiboot2_header:
	.long	0xe85250d6, 0, 1f - multiboot2_header
	.long	-(0xe85250d6 + (1f - multiboot2_header))
	.align 8
	/* Address tag: GRUB refuses ELF files with relocation sections; offsets in the file
	 * are those in memory, so it can load the file as one flat piece. */
	.short	2, 0
	.long	24
	.long	0x201000 + (multiboot2_header - boot_pvh)
	.long	0x201000
	.long	0x201000 + (bss_start - boot_pvh)
	.long	0x201000 + (bss_end - boot_pvh)
	.align 8
	.short	3, 0			/* entry address tag */
	.long	12, 0x201000 + (boot_mb2 - boot_pvh)
	.align 8
	.short	6, 0			/* modules page-aligned */
	.long	8
	.align 8
	.short	0, 0
	.long	8
1:

boot_mb2:
	movl	%eax, %ebp
enter:
	cli
	cld
	/* Find out where we are, with a stack in a place that is ours. */
	movl	$0x201000 + (early_stack_top - boot_pvh), %esp
	call	1f
1:	popl	%esi			/* address of 1b */
	/* Clear .bss; the tables below lie in it. */
	movl	%ebx, %edx
	leal	(bss_start - 1b)(%esi), %edi
	leal	(bss_end - 1b)(%esi), %ecx
	subl	%edi, %ecx
	shrl	$2, %ecx
	xorl	%eax, %eax
	rep stosl
	movl	%edx, %ebx
	leal	(early_stack_top - 1b)(%esi), %esp

	/* No long mode: say so and stop. */
	movl	$0x80000000, %eax
	pushl	%ebx
	cpuid
	cmpl	$0x80000001, %eax
	jb	no_long_mode
	movl	$0x80000001, %eax
	cpuid
	btl	$29, %edx		/* long mode */
	jnc	no_long_mode
	btl	$26, %edx		/* 1 GiB pages */
	jnc	no_long_mode
	popl	%ebx

	/* Identity map of the first 4 GiB, only until live0 has built its own. */
	leal	(early_pdpt - 1b)(%esi), %edi
	movl	$0x83, %eax		/* P, W, PS: 1 GiB */
	movl	$4, %ecx
2:	movl	%eax, (%edi)
	addl	$0x40000000, %eax
	addl	$8, %edi
	loop	2b
	leal	(early_pdpt - 1b)(%esi), %eax
	orl	$3, %eax
	leal	(early_pml4 - 1b)(%esi), %edi
	movl	%eax, (%edi)
	movl	%edi, %cr3
	movl	%cr4, %eax
	orl	$0x620, %eax		/* PAE, OSFXSR, OSXMMEXCPT */
	movl	%eax, %cr4
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$0x900, %eax		/* LME, NXE */
	wrmsr
	movl	%cr0, %eax
	andl	$~0xc, %eax		/* EM, TS */
	orl	$0x80010023, %eax	/* PG, WP, NE, MP, PE */
	movl	%eax, %cr0

	leal	(boot_gdt - 1b)(%esi), %ecx
	pushl	%ecx
	pushw	$31
	lgdt	(%esp)
	addl	$6, %esp
	leal	(enter64 - 1b)(%esi), %eax
	pushl	$8
	pushl	%eax
	lret

no_long_mode:
	leal	(no_long_mode_text - 1b)(%esi), %esi
	movw	$0x3f8, %dx
4:	lodsb
	testb	%al, %al
	jz	5f
	outb	%al, %dx
	jmp	4b
5:	hlt
	jmp	5b
no_long_mode_text:
	.asciz	"d0: this CPU has no 64-bit mode with 1 GiB pages: D0 needs one with VMX or SVM\r\n"

	.code64
enter64:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	xorl	%eax, %eax
	movw	%ax, %fs
	movw	%ax, %gs
	leaq	early_stack_top(%rip), %rsp
	movl	%ebp, %edi
	movl	%ebx, %esi
	xorl	%ebp, %ebp
	call	live0_early		/* does not return */

	.align 16
boot_gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* 8: 64-bit code */
	.quad	0x00cf93000000ffff	/* 16: data */
	.quad	0x00cf9b000000ffff	/* 24: 32-bit code */

/*
 * live0_switch(root, stack, function): continue at a function of the relocated image, on
 * the nucleus's own tables. Runs at the old address, which the new tables don't map, so
 * the last steps are taken from a copy at the new one: `enter` is live0_enter there.
 * The new tables are loaded by live0_enter, reached through the old ones; it must
 * therefore be mapped in both: the boot map's top entry is borrowed for it.
 */
	.section .text
	.globl live0_switch
live0_switch:
	/* The early PML4 gets the new space's entry for the image (the top 512 GiB). */
	movq	511*8(%rdi), %rax
	leaq	early_pml4(%rip), %r8
	movq	%rax, 511*8(%r8)
	jmp	*%rcx
	.globl live0_enter
live0_enter:
	movq	%rdi, %cr3
	movq	%rsi, %rsp
	xorl	%ebp, %ebp
	call	*%rdx			/* does not return */

	.section .bss
	.align 4096
early_pml4: .skip 4096
early_pdpt: .skip 4096
	.skip 16384
early_stack_top:

	.section .note.GNU-stack, "", @progbits
