/* SPDX-License-Identifier: ISC */
#include <dlfcn.h>
#include <execinfo.h>
#include "libcell/panic.h"

size_t backtrace_take(uintptr_t *pc, size_t max)
{
	int n = backtrace((void **)pc, (int)max);

	return n > 0 ? (size_t)n : 0;
}

const char *backtrace_symbol(uintptr_t pc, size_t *offset)
{
	Dl_info info;

	if (!dladdr((void *)pc, &info) || !info.dli_sname)
		return NULL;
	*offset = pc - (uintptr_t)info.dli_saddr;
	return info.dli_sname;
}
