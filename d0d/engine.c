// SPDX-License-Identifier: ISC
// The engine.
//
// Problem: many clients at once drive long operations on shared objects; d0d may be killed
// at any moment, and must find its containers running when it comes back.
// Model: every object is a struct in a list; its truth on disk is one JSON file, replaced
// atomically. In memory one mutex, the engine lock, guards all lists and fields. Nothing
// slow happens under it: an operation takes what it needs, lets the lock go, calls the
// backend, and takes it again. Each container has an `op` mutex that makes start, remove,
// update and connect of that container one at a time.
// Lock order: container.op, then import (read), then unpack, then the engine lock, then a
// console's lock.
// Recovery: records are read; what they don't mention (trees, blobs, temporary files) is
// removed; a container that was recorded as running is asked for at the backend: if it
// runs, its console is taken over; if not, it has ended and its restart policy decides.
// Failure: a write of a record that fails (disk full) fails the operation with 507; the
// object keeps its earlier state.
#include "d0d/engine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

void engine_lock(struct engine *e)
{
	pthread_mutex_lock(&e->lock);
}

void engine_unlock(struct engine *e)
{
	pthread_mutex_unlock(&e->lock);
}

char *engine_path(struct engine *e, const char *fmt, ...)
{
	char sub[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sub, sizeof(sub), fmt, ap);
	va_end(ap);
	return xasprintf("%s/%s", e->dir, sub);
}

int engine_thread(void *(*fn)(void *), void *ctx)
{
	pthread_attr_t at;
	pthread_t t;

	pthread_attr_init(&at);
	pthread_attr_setdetachstate(&at, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&at, 256 * 1024);
	int err = pthread_create(&t, &at, fn, ctx);
	if (err)
		log_msg("cannot start a thread");
	pthread_attr_destroy(&at);
	return err ? -1 : 0;
}

void engine_cond_init(pthread_cond_t *c)
{
	pthread_condattr_t mono;

	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(c, &mono);
	pthread_condattr_destroy(&mono);
}

bool engine_wait(struct engine *e, pthread_cond_t *c, int64_t ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += (ms % 1000) * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	return pthread_cond_timedwait(c, &e->lock, &ts) != ETIMEDOUT;
}

void engine_records(struct engine *e, const char *sub,
		    void (*fn)(struct engine *e, const json_t *o))
{
	char *path = engine_path(e, "%s", sub);
	DIR *d = opendir(path);
	struct dirent *de;

	while (d && (de = readdir(d))) {
		size_t n = strlen(de->d_name);
		char *file = xasprintf("%s/%s", path, de->d_name);
		if (strstr(de->d_name, ".tmp"))
			unlink(file);
		else if (n > 5 && strcmp(de->d_name + n - 5, ".json") == 0) {
			json_t *o = json_load_file(file, 0, NULL);
			if (o)
				fn(e, o);
			json_decref(o);
		}
		free(file);
	}
	if (d)
		closedir(d);
	free(path);
}

int engine_scratch(struct engine *e, struct err *err)
{
	char *path = engine_path(e, "scratch-XXXXXX");
	int fd = mkostemp(path, O_CLOEXEC);

	if (fd >= 0)
		unlink(path);
	else
		err_set(err, errno == ENOSPC ? 507 : 500, "%s: %s", path, strerror(errno));
	free(path);
	return fd;
}

int engine_scratch_write(void *fd, const void *buf, size_t n)
{
	return fd_write_all(*(int *)fd, buf, n);
}

static int make_dirs(struct engine *e, struct err *err)
{
	static const char *const subs[] = {"blobs",    "layers",  "images",  "containers",
					   "networks", "volumes", "backend", "build"};

	for (size_t i = 0; i < sizeof(subs) / sizeof(subs[0]); i++) {
		char *p = engine_path(e, "%s", subs[i]);
		int rc = dir_make(p, 0700);
		if (rc < 0)
			err_set(err, 500, "%s: %s", p, strerror(errno));
		free(p);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static void load_identity(struct engine *e)
{
	char *path = engine_path(e, "id");
	char *text = file_read(path, 200, NULL);

	if (text && strlen(text) == ID_LEN && hex_is(text, ID_LEN)) {
		strcpy(e->id, text);
	} else {
		id_make(e->id);
		file_write_atomic(path, e->id, ID_LEN);
	}
	free(text);
	free(path);
}

struct sweep {
	struct engine *e;
	char *doomed[256];
	int n;
};

static bool tree_known(struct engine *e, const char *id)
{
	if (strncmp(id, "l-", 2) == 0)
		return layer_find_locked(e, id + 2) != NULL;
	if (strncmp(id, "v-", 2) == 0)
		return volume_find_locked(e, id + 2) != NULL;
	for (struct container *c = e->containers; c; c = c->next)
		if (strncmp(id, "k-", 2) == 0 && strcmp(c->chain, id + 2) == 0)
			return true; // its image was removed
	for (struct container *c = e->containers; c; c = c->next)
		if (strncmp(id, "c-", 2) == 0 && strcmp(c->id, id + 2) == 0)
			return true;
	return false;
}

static int sweep_one(void *ctx, const char *id)
{
	struct sweep *s = ctx;

	if (s->n < 256 && !tree_known(s->e, id))
		s->doomed[s->n++] = xstrdup(id);
	return 0;
}

// Trees that no record mentions: left by a crash between making and recording.
static void sweep_trees(struct engine *e)
{
	struct sweep s = {.e = e};

	e->ops->tree_each(e->be, sweep_one, &s, NULL);
	for (int i = 0; i < s.n; i++) {
		log_msg("removing unfinished tree %s", s.doomed[i]);
		e->ops->tree_remove(e->be, s.doomed[i], NULL);
		free(s.doomed[i]);
	}
}

// The records lie in the store themselves. Where they don't (a folder in memory), they are no
// reason to remove anything from the store.
static bool on_store(const char *dir)
{
	struct statfs fs;

	return statfs(dir, &fs) == 0 && fs.f_type == 0x65735546; // FUSE_SUPER_MAGIC
}

int engine_open(struct engine *e, const struct engine_config *cfg, struct err *err)
{
	*e = (struct engine){.cfg = *cfg, .ops = cfg->ops, .started_ns = now_ns()};
	pthread_mutex_init(&e->lock, NULL);
	pthread_mutex_init(&e->unpack, NULL);
	pthread_mutex_init(&e->spool_lock, NULL);
	pthread_rwlock_init(&e->import, NULL);
	engine_cond_init(&e->ev.more);
	pthread_mutex_init(&e->ev.file_lock, NULL);
	e->dir = xstrdup(cfg->dir);
	if (make_dirs(e, err) < 0)
		return -1;
	load_identity(e);
	events_load(e);
	char *own = engine_path(e, "backend");
	struct be_config bc = {own, cfg->backend_opt ? cfg->backend_opt : ""};
	int rc = e->ops->open(&e->be, &bc, err);
	free(own);
	if (rc < 0 || images_load(e, err) < 0 || volumes_load(e, err) < 0 ||
	    containers_load(e, err) < 0 || networks_load(e, err) < 0)
		return -1;
	if (!images_in_store(e) || on_store(e->dir))
		sweep_trees(e);
	images_gc(e);
	containers_recover(e);
	if (e->ops->settle)
		e->ops->settle(e->be);
	return 0;
}

void engine_close(struct engine *e)
{
	engine_lock(e);
	e->stopping = true;
	for (struct container *c = e->containers; c; c = c->next)
		pthread_cond_broadcast(&c->changed);
	pthread_cond_broadcast(&e->ev.more);
	engine_unlock(e);
}
