/* SPDX-License-Identifier: ISC */
/* What is in a START order: words from d0d, which are checked, not trusted. */
#include "cells/linux/inc/conctl.h"

extern char host_name[65], domain_name[65];

static u64 number(const char *v)
{
	return str_number(&v);
}

static u64 hex(const char *v)
{
	u64 n = 0;

	for (; *v; v++) {
		u32 d = *v >= '0' && *v <= '9'   ? (u32)(*v - '0')
			: *v >= 'a' && *v <= 'f' ? (u32)(*v - 'a' + 10)
						 : 99;
		if (d > 15)
			break;
		n = n << 4 | d;
	}
	return n;
}

void mount_configured(char *spec);
void file_configured(char *spec);
void mask_path(const char *path);
void readonly_path(const char *path);

static void start_key(struct start *st, const char *key, char *v)
{
	if (!strcmp(key, "argv") && st->argc < START_WORDS)
		st->argv[st->argc++] = v;
	else if (!strcmp(key, "env") && st->envc < START_WORDS)
		st->envp[st->envc++] = v;
	else if (!strcmp(key, "cwd"))
		st->s.cwd = v;
	else if (!strcmp(key, "uid"))
		st->s.uid = (u32)number(v);
	else if (!strcmp(key, "gid"))
		st->s.gid = (u32)number(v);
	else if (!strcmp(key, "group") && st->s.ngroups < 32)
		st->s.groups[st->s.ngroups++] = (u32)number(v);
	else if (!strcmp(key, "init"))
		st->s.is_init = *v == '1';
	else if (!strcmp(key, "tty"))
		st->tty = *v == '1';
	else if (!strcmp(key, "stdin"))
		st->stdin_pipe = *v == '1';
	else if (!strcmp(key, "rows"))
		st->rows = (u16)number(v);
	else if (!strcmp(key, "cols"))
		st->cols = (u16)number(v);
	else if (!strcmp(key, "nnp"))
		st->s.no_new_privs = *v == '1';
	else if (!strcmp(key, "caps")) {
		st->s.caps = hex(v);
		st->s.caps_set = true;
	} else if (!strcmp(key, "umask")) {
		for (; *v >= '0' && *v <= '7'; v++)
			st->s.umask = st->s.umask * 8 + (u32)(*v - '0');
	} else if (!strcmp(key, "rlimit") && st->nrlimits < 16)
		st->rlimits[st->nrlimits++] = v;
	else if (!strcmp(key, "oom"))
		st->oom = *v == '-' ? -(s32)number(v + 1) : (s32)number(v);
	else if (!strcmp(key, "hostname"))
		str_copy(host_name, v, 65);
	else if (!strcmp(key, "domainname"))
		str_copy(domain_name, v, 65);
	else if (!strcmp(key, "pids"))
		thread_limit = (u32)number(v);
	else if (!strcmp(key, "mount"))
		mount_configured(v);
	else if (!strcmp(key, "file"))
		file_configured(v);
	else if (!strcmp(key, "mask"))
		mask_path(v);
	else if (!strcmp(key, "readonly"))
		readonly_path(v);
	else if (!strcmp(key, "rootro"))
		root_mount->flags |= 1;
	else
		st->bad = true;
}

/* The strings of the payload; false if it does not end with NUL or has a word without '='. */
bool conctl_start_parse(struct start *st, char *data, u32 len)
{
	u32 at = 0;

	if (!len || data[len - 1])
		return false;
	while (at < len) {
		char *w = data + at, *eq = strchr(w, '=');

		at += (u32)strlen(w) + 1;
		if (!eq)
			return false;
		*eq = 0;
		start_key(st, w, eq + 1);
	}
	return st->argc && !st->bad;
}

void conctl_rlimit(struct proc *p, const char *v)
{
	static const char *const names[] = {
	    "CPU",     "FSIZE", "DATA",  "STACK",      "CORE",     "RSS",  "NPROC",  "NOFILE",
	    "MEMLOCK", "AS",    "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"};

	if (!strncmp(v, "RLIMIT_", 7))
		v += 7;
	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		size_t n = strlen(names[i]);
		u64 lim[2] = {NEVER, NEVER};

		if (strncmp(v, names[i], n) || v[n] != ':')
			continue;
		v += n;
		for (int k = 0; k < 2 && *v == ':'; k++) {
			v++;
			if (*v != '-') {
				lim[k] = str_number(&v);
				continue;
			}
			while (*v && *v != ':') /* -1: no limit */
				v++;
		}
		p->rlim[i].cur = lim[0];
		p->rlim[i].max = lim[1];
		return;
	}
}
