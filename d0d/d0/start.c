// SPDX-License-Identifier: ISC
// The words of a START frame (d0/conctl.h): what a program and its container are to be.
#include <string.h>

#include "d0d/d0/box.h"

static void word(struct sbuf *b, const char *key, const char *value)
{
	sbuf_addf(b, "%s=%s", key, value);
	sbuf_add(b, "", 1);
}

static void num(struct sbuf *b, const char *key, uint64_t value)
{
	sbuf_addf(b, "%s=%llu", key, (unsigned long long)value);
	sbuf_add(b, "", 1);
}

static void add_rlimits(struct sbuf *b, const struct be_spec *s)
{
	for (size_t i = 0; i < s->nrlimits; i++) {
		char name[32];
		size_t k = 0;
		for (; k < sizeof(name) - 1 && s->rlimits[i].name[k]; k++)
			name[k] = (char)(s->rlimits[i].name[k] & ~32);
		name[k] = 0;
		sbuf_addf(b, "rlimit=RLIMIT_%s:%lld:%lld", name, (long long)s->rlimits[i].soft,
			  (long long)s->rlimits[i].hard);
		sbuf_add(b, "", 1);
	}
}

// A volume comes through the channel that cell.c made for it.
static void add_mount(struct sbuf *b, const struct be_mount *m, size_t i)
{
	if (m->tree) {
		sbuf_addf(b, "mount=virtiofs:vol%zu:%s:%s:", i, m->dest,
			  m->read_only ? "ro" : "");
	} else {
		sbuf_addf(b, "mount=tmpfs:tmpfs:%s:%s:mode=%o", m->dest,
			  m->read_only ? "ro" : "", m->mode ? m->mode & 07777 : 01777);
		if (m->size)
			sbuf_addf(b, ",size=%llu", (unsigned long long)m->size);
	}
	sbuf_add(b, "", 1);
}

static void add_file(struct sbuf *b, const char *path, const char *text)
{
	if (!text)
		return;
	sbuf_addf(b, "file=%s:", path);
	sbuf_add(b, text, strlen(text) + 1);
}

static void add_container(struct sbuf *b, const struct be_spec *s)
{
	word(b, "init", "1");
	if (s->hostname)
		word(b, "hostname", s->hostname);
	if (s->domainname && *s->domainname)
		word(b, "domainname", s->domainname);
	if (s->limits.pids > 0)
		num(b, "pids", (uint64_t)s->limits.pids);
	if (s->shm_size) {
		sbuf_addf(b, "mount=tmpfs:shm:/dev/shm:nosuid,nodev,noexec:mode=1777,size=%llu",
			  (unsigned long long)s->shm_size);
		sbuf_add(b, "", 1);
	}
	for (size_t i = 0; i < s->nmounts; i++)
		add_mount(b, &s->mounts[i], i);
	add_file(b, "/etc/hosts", s->etc_hosts);
	add_file(b, "/etc/resolv.conf", s->etc_resolv);
	add_file(b, "/etc/hostname", s->etc_hostname);
	if (s->read_only)
		word(b, "rootro", "1");
}

void start_words(struct sbuf *b, const struct be_spec *s, bool init)
{
	for (char **a = s->argv; *a; a++)
		word(b, "argv", *a);
	for (char **v = s->env; v && *v; v++)
		word(b, "env", *v);
	if (s->cwd && *s->cwd)
		word(b, "cwd", s->cwd);
	num(b, "uid", s->uid);
	num(b, "gid", s->gid);
	for (size_t i = 0; i < s->ngroups; i++)
		num(b, "group", s->groups[i]);
	sbuf_addf(b, "caps=%llx", (unsigned long long)s->caps);
	sbuf_add(b, "", 1);
	if (s->tty) {
		word(b, "tty", "1");
		num(b, "rows", s->rows);
		num(b, "cols", s->cols);
	}
	if (s->stdin_open)
		word(b, "stdin", "1");
	add_rlimits(b, s);
	if (init)
		add_container(b, s);
}
