/* SPDX-License-Identifier: ISC */
/*
 * The guest kernel's start: from the info page to the first program.
 *
 * A linux cell is one container. It finds its memory in the USER region, its root in a data
 * region (a tar archive) or behind a D0_PROTO_FS channel, its sockets behind a D0_PROTO_SOCKET
 * channel, its orders in the argument string and on a control channel (d0/conctl.h).
 */
#include "cells/linux/inc/counters.h"
#include "cells/linux/inc/smp.h"
#include "cells/linux/inc/sys.h"
#include "cells/linux/inc/tty.h"
#include "cells/linux/inc/config.h"

void kernel_main(const struct d0_info *info);
void kernel_guard_init(void);
struct cpu *boot_cpu(void);
void dev_populate(void);
void channels_config(void);
void stop_requested(void);
void init_exited(u32 status);
bool wx_permit(void);
void console_init(void);
void channels_init(void);
bool conctl_active(void);
void conctl_thread(void);
int rootfs_receive(void);
bool conctl_ended(u32 status);
void fpu_init(void);

void selfcheck(void);

static bool powered_by_config;

static const volatile struct d0_region *region_find(u32 type, const char *name)
{
	const volatile struct d0_region *r =
	    (const volatile struct d0_region *)((u64)d0_info + d0_info->region_off);

	for (u32 i = 0; i < d0_info->regions; i++)
		if (r[i].type == type && (!name || !strcmp((const char *)r[i].name, name)))
			return r + i;
	return NULL;
}

bool wx_permit(void)
{
	return config_bool("wxallowed");
}

/* ---- The end of the container ---- */
static noreturn_fn void power_down(u32 status)
{
	char text[64];
	int n, code = status & 0x7f ? 128 + (int)(status & 0x7f) : (int)(status >> 8 & 0xff);

	mounts_sync(false);
	n = format(text, sizeof(text),
		   status & 0x7f ? "killed by signal %d" : "exited with code %d",
		   status & 0x7f ? (int)(status & 0x7f) : code);
	for (;;) {
		char *p = kmemdup(text, sizeof(text));

		hc_call(D0_HC_exit, (u64)code, p ? phys_of(p) : 0, p ? (u64)n : 0);
	}
}

void init_exited(u32 status)
{
	struct proc *p;

	list_each(p, &proc_list, all_link) if (p != init_proc && !p->zombie)
	    sig_send_proc(p, SIGKILL, NULL);
	for (int i = 0; i < 200 && proc_count > 1; i++) {
		struct proc *tmp;
		u32 live = 0;

		list_each_safe(p, tmp, &proc_list, all_link) live +=
		    p != init_proc && !p->zombie;
		if (!live)
			break;
		wait_on(NULL, clock_now() + 5000000, false);
	}
	if (!conctl_ended(status))
		power_down(status);
	power_down(status);
}

void stop_requested(void)
{
	printk("asked to stop");
	if (!init_proc || !init_proc->leader)
		power_down(0);
	/* What docker stop sends; the nucleus ends the cell by force if this takes too long. */
	if (init_proc->leader->sighand->action[SIGTERM - 1].handler > 1)
		sig_send_proc(init_proc, SIGTERM, NULL);
	else
		sig_send_outside(init_proc, SIGKILL, NULL);
}

/* ---- Root and default mounts ---- */
static const struct {
	const char *type, *where, *source, *options;
	u32 flags;
} default_mounts[] = {
    {"proc", "/proc", "proc", "", 14},
    {"tmpfs", "/dev", "tmpfs", "mode=755,size=65536k", 2},
    {"devpts", "/dev/pts", "devpts", "", 10},
    {"tmpfs", "/dev/shm", "shm", "mode=1777,size=65536k", 14},
    {"mqueue", "/dev/mqueue", "mqueue", "", 14},
    {"sysfs", "/sys", "sysfs", "", 15},
    {"tmpfs", "/tmp", "tmp", "mode=1777", 6},
};

static int mount_default(u32 i)
{
	struct dentry *d;
	int r;

	vfs_mkdir(AT_FDCWD, default_mounts[i].where, 0755);
	r = path_lookup(AT_FDCWD, default_mounts[i].where, LOOKUP_FOLLOW, &d);
	if (r)
		return r;
	r = mount_type(default_mounts[i].type, default_mounts[i].source, d,
		       default_mounts[i].flags, default_mounts[i].options);
	dentry_put(d);
	return r;
}

static void mount_defaults(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(default_mounts); i++) {
		int r;

		if (!strcmp(default_mounts[i].where, "/tmp") && !config_bool("tmpfs"))
			continue;
		r = mount_default(i);
		if (r)
			printk("mount %s: error %d", default_mounts[i].where, r);
		if (!r && !strcmp(default_mounts[i].where, "/dev"))
			dev_populate();
	}
}

static void mount_root(void)
{
	const volatile struct d0_region *data = NULL;
	const volatile struct d0_region *r =
	    (const volatile struct d0_region *)((u64)d0_info + d0_info->region_off);
	int e = -ENODEV;

	for (u32 i = 0; i < d0_info->regions; i++)
		if (r[i].type == D0_REGION_RODATA && strcmp((const char *)r[i].name, "rodata"))
			data = r + i;
	if (config_channel_root()) {
		e = mount_type("virtiofs", "root", NULL, config_bool("readonly") ? 1 : 0, "");
		if (e)
			panic("no root from the store: error %d", e);
		current->fs->root = current->fs->cwd = root_mount->root;
		dentry_get(root_mount->root);
		dentry_get(root_mount->root);
		return;
	}
	e = mount_type("tmpfs", "root", NULL, 0, "mode=755,size=90%");
	if (e)
		panic("no root: error %d", e);
	current->fs->root = current->fs->cwd = root_mount->root;
	dentry_get(root_mount->root);
	dentry_get(root_mount->root);
	if (data) {
		e = tar_unpack(phys_ptr(data->base), data->size, "/");
		if (e)
			printk("root archive: error %d", e);
	}
	e = rootfs_receive();
	if (e && e != -ENOENT)
		panic("no root from the controller: error %d", e);
}

/* ---- The first process ---- */
static void init_thread(void *arg)
{
	/* Runs as a kernel thread until its first program is loaded. */
	struct thread *t = current;
	char *argv[CONFIG_WORDS_MAX + 1], *envp[CONFIG_WORDS_MAX + 1];
	s64 r;

	mount_root();
	mount_defaults();
	config_apply();
	if (conctl_active()) {
		conctl_thread();
		return;
	}
	config_words("argv", argv);
	config_words("env", envp);
	if (!argv[0]) {
		argv[0] = "/bin/sh";
		argv[1] = NULL;
	}
	(void)t;
	r = config_spawn(argv[0], argv, envp, console_tty);
	if (r < 0) {
		printk("%s: error %ld", argv[0], r);
		power_down(127 << 8);
	}
	powered_by_config = true;
}

void kernel_main(const struct d0_info *info)
{
	const volatile struct d0_region *user;
	struct thread *t;

	d0_info = info;
	kernel_guard_init();
	cpu_init(boot_cpu(), 0);
	counters_init();
	user = region_find(D0_REGION_USER, NULL);
	if (!user)
		panic("no user region: a linux cell needs user= memory");
	page_init(user->base, user->size);
	pt_init();
	fpu_init();
	sched_init();
	syscalls_init();
	config_parse((const char *)info->args);
	trace_syscalls = config_bool("trace");
	console_init();
	channels_init();
	t = kthread_start(init_thread, NULL, "init");
	BUG_ON(!t);
	t->fs = kalloc(sizeof(*t->fs));
	t->cred = kalloc(sizeof(*t->cred));
	t->files = fdtable_new();
	BUG_ON(!t->fs || !t->cred || !t->files);
	t->fs->refs = t->cred->refs = 1;
	t->fs->umask = 022;
	t->cred->cap_eff = t->cred->cap_perm = t->cred->cap_bset = ~0ull >> 23;
	smp_init();
	if (config_bool("selfcheck"))
		selfcheck();
	idle_loop();
}
