/* SPDX-License-Identifier: ISC */
/* Names of the calls that are not there, for the list of what a container called in vain. */
#include "cells/linux/inc/sys.h"

#define MISSING(name)              \
	{                          \
		__NR_##name, #name \
	}

static const struct {
	u16 nr;
	const char *name;
} missing[] = {
    MISSING(uselib),
    MISSING(ustat),
    MISSING(sysfs),
    MISSING(modify_ldt),
    MISSING(_sysctl),
    MISSING(create_module),
    MISSING(get_kernel_syms),
    MISSING(query_module),
    MISSING(quotactl),
    MISSING(nfsservctl),
    MISSING(getpmsg),
    MISSING(putpmsg),
    MISSING(afs_syscall),
    MISSING(tuxcall),
    MISSING(security),
    MISSING(set_thread_area),
    MISSING(get_thread_area),
    MISSING(lookup_dcookie),
    MISSING(epoll_ctl_old),
    MISSING(epoll_wait_old),
    MISSING(remap_file_pages),
    MISSING(vserver),
    MISSING(mbind),
    MISSING(set_mempolicy),
    MISSING(get_mempolicy),
    MISSING(kexec_load),
    MISSING(add_key),
    MISSING(request_key),
    MISSING(keyctl),
    MISSING(migrate_pages),
    MISSING(move_pages),
    MISSING(fanotify_init),
    MISSING(fanotify_mark),
    MISSING(name_to_handle_at),
    MISSING(open_by_handle_at),
    MISSING(kexec_file_load),
    MISSING(pkey_alloc),
    MISSING(pkey_free),
    MISSING(io_uring_enter),
    MISSING(io_uring_register),
    MISSING(open_tree),
    MISSING(move_mount),
    MISSING(fsopen),
    MISSING(fsconfig),
    MISSING(fsmount),
    MISSING(fspick),
    MISSING(process_madvise),
    MISSING(mount_setattr),
    MISSING(quotactl_fd),
    MISSING(landlock_create_ruleset),
    MISSING(landlock_add_rule),
    MISSING(landlock_restrict_self),
    MISSING(memfd_secret),
    MISSING(process_mrelease),
    MISSING(set_mempolicy_home_node),
};

const char *syscall_missing_name(u32 nr)
{
	for (u32 i = 0; i < ARRAY_SIZE(missing); i++)
		if (missing[i].nr == nr)
			return missing[i].name;
	return "?";
}
