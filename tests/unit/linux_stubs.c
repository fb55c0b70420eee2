/* SPDX-License-Identifier: ISC */
/* What nearly every file of the guest kernel needs of the rest of it, as its unit tests have
 * it. */
#include "cells/linux/inc/vfs.h"

void *calloc(size_t n, size_t size);
void free(void *p);

void *kalloc(size_t n)
{
	return calloc(1, n);
}
void kfree(void *p)
{
	free(p);
}
void file_get(struct file *f)
{
}
void file_put(struct file *f)
{
}
void inode_get(struct inode *i)
{
	i->refs++;
}
void inode_put(struct inode *i)
{
	i->refs--;
}
