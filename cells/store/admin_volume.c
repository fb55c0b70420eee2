/* SPDX-License-Identifier: ISC */
/* Admin requests about the volume: its PFSs, and the scrub or bulkfree that goes on beside. */
#include <string.h>
#include "cells/store/admin.h"
#include "libcell/clock.h"
#include "libcell/log.h"

#define STEP (64u << 10) /* bytes of a job between two looks at the clock */

/* One job at a time for the volume. */
static struct {
	const char *name;
	struct h2_scrub *scrub;
	struct h2_bulkfree *free;
	struct h2_progress progress;
	int status;
} job = {.name = "none"};

int admin_usage(struct session *c, struct store *s)
{
	struct h2_vol_info i;

	h2_vol_info(s->vol, &i);
	return admin_lines(c, "%llu\t%llu\t%llu\t%llu\t%d\n",
			   (unsigned long long)i.allocator_size,
			   (unsigned long long)i.allocator_free, (unsigned long long)i.reserve,
			   (unsigned long long)i.bad_blocks, i.readonly);
}

int admin_pfs_list(struct session *c, struct store *s)
{
	struct h2_pfs_info i;
	uint64_t cursor = 0;
	int err;

	while (!(err = h2_pfs_next(s->vol, &cursor, &i)))
		admin_lines(c, "%s\t%llu\t%llu\t%d\n", i.label,
			    (unsigned long long)i.data_bytes, (unsigned long long)i.inodes,
			    i.open);
	return err == -H2_ENOENT ? 0 : err;
}

/* Where there are images, a PFS remembers which one it began as. */
static int with_origin(struct store *s, const char *a, const char *b,
		       int (*images)(struct oci_store *, const char *, const char *),
		       int (*plain)(struct h2_vol *, const char *, const char *))
{
	struct oci_store st = {0};
	int err = oci_open(&st, s->vol, false);

	if (!err) {
		err = images(&st, a, b);
		oci_close(&st);
	} else if (err == -H2_ENOENT) {
		err = plain(s->vol, a, b);
		if (!err)
			err = h2_sync(s->vol);
	}
	return err;
}

int admin_pfs(struct session *c, struct store *s)
{
	static const struct h2_pfs_opts o = {.comp = H2_COMP_LZ4};
	const char *a = admin_arg(c, 0), *b = admin_arg(c, 1);
	bool two = c->head.op != D0_ADMIN_PFS_CREATE && c->head.op != D0_ADMIN_PFS_DELETE;
	int err;

	if (!a || (two && !b))
		return -H2_EINVAL;
	if (c->head.op == D0_ADMIN_PFS_CREATE)
		err = h2_pfs_create(s->vol, a, &o);
	else if (c->head.op == D0_ADMIN_PFS_DELETE)
		err = h2_pfs_delete(s->vol, a);
	else if (c->head.op == D0_ADMIN_PFS_SNAPSHOT)
		return with_origin(s, a, b, oci_pfs_snapshot, h2_pfs_snapshot);
	else if (c->head.op == D0_ADMIN_PFS_RENAME)
		err = h2_pfs_rename(s->vol, a, b, false);
	else
		return with_origin(s, a, b, oci_pfs_rollback, h2_pfs_rollback);
	return err ? err : h2_sync(s->vol);
}

/* ---- jobs ---- */

int admin_job_begin(struct store *s, bool scrub)
{
	int err;

	if (job.scrub || job.free)
		return -H2_EBUSY;
	memset(&job.progress, 0, sizeof(job.progress));
	err = scrub ? h2_scrub_begin(s->vol, &job.scrub) : h2_bulkfree_begin(s->vol, &job.free);
	job.name = scrub ? "scrub" : "bulkfree";
	job.status = err;
	return err;
}

bool admin_job_step(struct store *s)
{
	uint64_t until = clock_ns() + s->slice_ns;
	int r;

	if (!job.scrub && !job.free)
		return false;
	do
		r = job.scrub ? h2_scrub_step(job.scrub, STEP, &job.progress)
			      : h2_bulkfree_step(job.free, STEP, &job.progress);
	while (r > 0 && clock_ns() < until);
	if (r > 0)
		return true;
	job.status = r;
	if (job.scrub)
		h2_scrub_end(job.scrub);
	else
		h2_bulkfree_end(job.free);
	job.scrub = NULL;
	job.free = NULL;
	log_info("%s done: %llu MiB, %llu bad, %llu repaired, %llu KiB freed%s%s", job.name,
		 (unsigned long long)job.progress.done_bytes >> 20,
		 (unsigned long long)job.progress.bad,
		 (unsigned long long)job.progress.repaired,
		 (unsigned long long)job.progress.freed_bytes >> 10, r ? ": " : "",
		 r ? h2_strerror(r) : "");
	return false;
}

int admin_job(struct session *c)
{
	const struct h2_progress *p = &job.progress;

	return admin_lines(c, "%s\t%d\t%llu\t%llu\t%llu\t%llu\t%llu\t%d\n", job.name,
			   job.scrub || job.free, (unsigned long long)p->done_bytes,
			   (unsigned long long)p->total_bytes, (unsigned long long)p->bad,
			   (unsigned long long)p->repaired, (unsigned long long)p->freed_bytes,
			   job.status);
}

void admin_job_close(void)
{
	if (job.scrub)
		h2_scrub_end(job.scrub);
	if (job.free)
		h2_bulkfree_end(job.free);
	job.scrub = NULL;
	job.free = NULL;
}
