/* SPDX-License-Identifier: ISC */
/* The container's configuration: what the cell's argument string and control channel say. */
#ifndef LX_CONFIG_H
#define LX_CONFIG_H

#include "cells/linux/inc/vfs.h"

#define CONFIG_WORDS_MAX 64
struct tty;

/* key=value words separated by blanks; values may be quoted with "..." */
void config_parse(const char *args);
const char *config_value(const char *key); /* NULL if absent */
bool config_bool(const char *key);
/* The value split at commas into out[CONFIG_WORDS_MAX + 1], NULL-terminated. */
void config_words(const char *key, char **out);
bool config_channel_root(void);
void config_apply(void); /* host name, limits, masked paths ... after the mounts */

struct spawn {
	char **argv, **envp;
	const char *cwd;
	u32 uid, gid;
	u32 ngroups, groups[32];
	struct file *stdio[3]; /* references pass to the child */
	struct tty *ctty;      /* becomes its controlling terminal */
	u64 caps;
	bool caps_set, no_new_privs, is_init;
	u32 umask;
	void (*on_exit)(struct proc *p);
	void *on_exit_arg;
	/* called with the new process before its program runs */
	void (*before_run)(struct proc *p, void *arg);
	void *before_run_arg;
};
/* Start a program in a process of its own; its pid or -errno (the program not found ...). */
s64 spawn_process(const struct spawn *s);
s64 config_spawn(const char *path, char **argv, char **envp, struct tty *tty);
extern struct tty *console_tty;

#endif
