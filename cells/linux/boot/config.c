/* SPDX-License-Identifier: ISC */
/*
 * Configuration from the cell's argument string, and starting programs that no fork made: the
 * container's first one and those that `exec` adds.
 */
#include "cells/linux/inc/state.h"
#include "cells/linux/inc/sys.h"
#include "cells/linux/inc/tty.h"
#include "cells/linux/inc/config.h"

#define KEYS_MAX 64
static struct {
	char *key, *value;
} table[KEYS_MAX];
static u32 keys;
static char text[1024];
extern char host_name[65];

static char *next_word(char **at)
{
	char *p = *at, *start, *out;
	bool quoted = false;

	while (*p == ' ' || *p == '\t')
		p++;
	if (!*p)
		return NULL;
	for (start = out = p; *p && (quoted || (*p != ' ' && *p != '\t')); p++) {
		if (*p == '"')
			quoted = !quoted;
		else
			*out++ = *p;
	}
	if (*p)
		p++;
	*at = p;
	*out = 0;
	return start;
}

void config_parse(const char *args)
{
	char *at = text, *w;

	str_copy(text, args, sizeof(text));
	while ((w = next_word(&at)) && keys < KEYS_MAX) {
		char *eq = strchr(w, '=');

		table[keys].key = w;
		table[keys].value = eq ? eq + 1 : w + strlen(w);
		if (eq)
			*eq = 0;
		keys++;
	}
}

const char *config_value(const char *key)
{
	for (u32 i = 0; i < keys; i++)
		if (!strcmp(table[i].key, key))
			return table[i].value;
	return NULL;
}

bool config_bool(const char *key)
{
	const char *v = config_value(key);

	return v && (!*v || *v == '1' || *v == 'y');
}

void config_words(const char *key, char **out)
{
	const char *v = config_value(key);
	char *copy = v ? kstrdup(v) : NULL;
	u32 n = 0;

	while (copy && *copy && n < CONFIG_WORDS_MAX) {
		char *comma = strchr(copy, ',');

		out[n++] = copy;
		if (!comma)
			break;
		*comma = 0;
		copy = comma + 1;
		if (!*copy)
			out[n++] = copy;
	}
	out[n] = NULL;
}

static u32 mount_flags(const char *f)
{
	return (strstr(f, "ro") == f || strstr(f, ",ro") ? 1u : 0) |
	       (strstr(f, "nosuid") ? 2u : 0) | (strstr(f, "nodev") ? 4u : 0) |
	       (strstr(f, "noexec") ? 8u : 0);
}

void mount_configured(char *spec);

static void make_target(const char *path, bool dir)
{
	char part[256];
	struct file *f;

	for (u32 i = 1; i < sizeof(part) && path[i]; i++)
		if (path[i] == '/') {
			str_copy(part, path, i + 1);
			vfs_mkdir(AT_FDCWD, part, 0755);
		}
	if (dir)
		vfs_mkdir(AT_FDCWD, path, 0755);
	else if (open_path(AT_FDCWD, path, O_CREAT | O_RDWR, 0644, 0, &f) >= 0)
		file_put(f);
}

void config_make_dir(const char *path);
void config_make_dir(const char *path)
{
	make_target(path, true);
}

static int write_text(const char *path, const char *words)
{
	struct iovec_k iov;
	struct file *f;
	struct uio u;
	u64 pos = 0;
	int r = open_path(AT_FDCWD, path, O_CREAT | O_WRONLY, 0644, 0, &f);

	if (r < 0)
		return r;
	uio_kernel(&u, &iov, (void *)words, strlen(words));
	r = (int)f->ops->write(f, &u, &pos);
	file_put(f);
	return r < 0 ? r : 0;
}

/* PATH:TEXT. The text lies in the tmpfs of /dev, and its file is bound over the path, so the
 * root keeps what it had there. */
void file_configured(char *spec);
void file_configured(char *spec)
{
	char *words = strchr(spec, ':'), bind[384];
	static u32 number;

	if (!words)
		return;
	*words++ = 0;
	vfs_mkdir(AT_FDCWD, "/dev/.d0", 0755);
	format(bind, sizeof(bind), "/dev/.d0/%u", number++);
	if (write_text(bind, words)) {
		printk("file %s: can't be made", spec);
		return;
	}
	format(bind, sizeof(bind), "bind:/dev/.d0/%u:%s", number - 1, spec);
	mount_configured(bind);
}

/* TYPE:SOURCE:TARGET:FLAGS:OPTIONS */
void mount_configured(char *spec)
{
	char *field[5] = {spec, "", "", "", ""};
	struct dentry *d, *from = NULL;
	bool bind, dir = true;
	int r;

	for (int i = 1; i < 5; i++) {
		char *c = strchr(field[i - 1], ':');

		if (!c)
			break;
		*c = 0;
		field[i] = c + 1;
	}
	bind = !strcmp(field[0], "bind");
	if (bind) {
		r = path_lookup(AT_FDCWD, field[1], LOOKUP_FOLLOW, &from);
		if (r) {
			printk("mount %s: %s: error %d", field[2], field[1], r);
			return;
		}
		dir = is_dir(from->inode);
	}
	make_target(field[2], dir);
	r = path_lookup(AT_FDCWD, field[2], LOOKUP_FOLLOW, &d);
	if (!r) {
		r = bind ? mount_bind(from, d, mount_flags(field[3]), true)
			 : mount_type(field[0], field[1], d, mount_flags(field[3]), field[4]);
		dentry_put(d);
	}
	if (from)
		dentry_put(from);
	if (r)
		printk("mount %s: error %d", field[2], r);
}

/* Cover a path with nothing: /dev/null over a file, an empty directory over a directory. */
void mask_path(const char *path);
void mask_path(const char *path)
{
	struct dentry *d, *null;

	if (path_lookup(AT_FDCWD, path, LOOKUP_FOLLOW, &d))
		return; /* not there: nothing to mask */
	if (is_dir(d->inode))
		mount_type("tmpfs", "tmpfs", d, 1, "size=0");
	else if (!path_lookup(AT_FDCWD, "/dev/null", 0, &null)) {
		mount_bind(null, d, 0, false);
		dentry_put(null);
	}
	dentry_put(d);
}

void readonly_path(const char *path);
void readonly_path(const char *path)
{
	struct dentry *d;

	if (path_lookup(AT_FDCWD, path, LOOKUP_FOLLOW, &d))
		return;
	mount_bind(d, d, 1, true);
	dentry_put(d);
}

void config_apply(void)
{
	const char *v = config_value("hostname");

	if (v)
		str_copy(host_name, v, sizeof(host_name));
	for (u32 i = 0; i < keys; i++)
		if (!strcmp(table[i].key, "mount"))
			mount_configured(table[i].value);
	v = config_value("watch");
	if (v)
		state_init((u32)str_number(&v));
	v = config_value("pids");
	if (v)
		thread_limit = (u32)str_number(&v);
}

/* ---- Starting a program ---- */
struct pending_spawn {
	struct spawn s;
	struct waitq done;
	s64 result;
	bool finished;
};

void thread_enter_user_frame(struct regs *r);

/* First code of the new thread: still in the kernel, loads the program. */
static void spawn_main(void *arg)
{
	struct pending_spawn *p = arg;
	struct thread *t = current;
	s64 r = 0;

	t->is_kthread = false;
	t->regs = (struct regs *)(t->kstack + 4 * PAGE_SIZE) - 1;
	memset(t->regs, 0, sizeof(*t->regs));
	if (p->s.cwd) {
		struct dentry *d;

		r = path_lookup(AT_FDCWD, p->s.cwd, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &d);
		if (!r) {
			dentry_put(t->fs->cwd);
			t->fs->cwd = d;
		}
	}
	if (!r)
		r = kernel_exec(p->s.argv[0], p->s.argv, p->s.envp);
	p->result = r < 0 ? r : (s64)t->proc->pid;
	p->finished = true;
	wake_all(&p->done);
	if (r < 0) {
		t->proc->on_exit = NULL;
		if (t->proc == init_proc)
			init_proc = NULL;
		proc_exit(127 << 8);
	}
	/* Leave for user mode through the frame at the top of the stack. */
	__asm__ volatile("movq %0, %%rsp\n\tjmp thread_start_user" ::"r"(t->regs) : "memory");
	__builtin_unreachable();
}

static void set_creds(struct cred *c, const struct spawn *s)
{
	c->uid = c->euid = c->suid = c->fsuid = s->uid;
	c->gid = c->egid = c->sgid = c->fsgid = s->gid;
	c->ngroups = MIN(s->ngroups, 32u);
	memcpy(c->groups, s->groups, c->ngroups * 4);
	if (s->caps_set)
		c->cap_eff = c->cap_perm = c->cap_bset = s->caps;
	if (s->uid)
		c->cap_eff = c->cap_perm = 0;
}

s64 spawn_process(const struct spawn *s)
{
	struct pending_spawn p = {.s = *s};
	struct proc *np = proc_spawn_init();
	struct thread *t;
	u64 *sp;

	if (!np)
		return -ENOMEM;
	t = np->leader;
	set_creds(t->cred, s);
	t->no_new_privs = s->no_new_privs;
	t->fs->umask = s->umask ? s->umask : 022;
	for (int i = 0; i < 3; i++)
		if (s->stdio[i]) {
			t->files->file[i] = s->stdio[i];
			t->files->used[0] |= 1ull << i;
		}
	t->files->next_hint = 0;
	np->on_exit = s->on_exit;
	np->on_exit_arg = s->on_exit_arg;
	if (s->ctty && !s->ctty->session) {
		np->ctty = s->ctty;
		s->ctty->session = np->sid;
		s->ctty->pgrp = np->pgid;
	}
	if (s->before_run)
		s->before_run(np, s->before_run_arg);
	if (s->is_init)
		init_proc = np;
	t->is_kthread = true;
	t->kfn = spawn_main;
	t->karg = &p;
	sp = (u64 *)((struct regs *)(t->kstack + 4 * PAGE_SIZE) - 1);
	sp -= 2;
	*--sp = 0;
	*--sp = (u64)thread_start_kernel;
	t->ksp = (u64)(sp - 6);
	str_copy(t->comm, "exec", sizeof(t->comm));
	thread_wake(t);
	while (!p.finished)
		wait_on(&p.done, NEVER, false);
	return p.result;
}

s64 config_spawn(const char *path, char **argv, char **envp, struct tty *tty)
{
	static char *default_env[] = {
	    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
	    "TERM=linux", NULL};
	const char *v;
	struct spawn s = {.argv = argv,
			  .envp = envp[0] ? envp : default_env,
			  .cwd = config_value("cwd"),
			  .ctty = tty,
			  .is_init = true};

	if ((v = config_value("uid")))
		s.uid = (u32)str_number(&v);
	if ((v = config_value("gid")))
		s.gid = (u32)str_number(&v);
	if ((v = config_value("caps"))) {
		s.caps = str_number(&v);
		s.caps_set = true;
	}
	for (int i = 0; i < 3; i++)
		s.stdio[i] = tty_file(tty, O_RDWR);
	return spawn_process(&s);
}
