// SPDX-License-Identifier: ISC
// top and stats.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "d0d/api.h"

static int add_task(void *ctx, const struct be_task *t)
{
	char pid[16], ppid[16], uid[16], start[16], cpu[24];
	time_t sec = t->start_s;
	struct tm tm;

	snprintf(pid, sizeof(pid), "%d", t->pid);
	snprintf(ppid, sizeof(ppid), "%d", t->ppid);
	if (t->uid == 0)
		strcpy(uid, "root");
	else
		snprintf(uid, sizeof(uid), "%u", t->uid);
	gmtime_r(&sec, &tm);
	strftime(start, sizeof(start), "%H:%M", &tm);
	int64_t s = t->cpu_ms / 1000;
	snprintf(cpu, sizeof(cpu), "%02d:%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60),
		 (int)(s % 60));
	json_array_append_new(ctx, json_pack("[s, s, s, s, s, s, s, o]", uid, pid, ppid, "0",
					     start, "?", cpu, jstr(t->cmd)));
	return 0;
}

static void top(struct http_req *r)
{
	struct container *c = api_container(r);
	json_t *rows = json_array();
	struct err err;

	if (!c) {
		json_decref(rows);
		return;
	}
	if (*req_query(r, "ps_args", "") && strcmp(req_query(r, "ps_args", ""), "-ef") != 0) {
		resp_error(
		    r, 400,
		    "ps options are not supported by D0: docker top lists as ps -ef does");
		json_decref(rows);
		container_put(r->e, c);
		return;
	}
	struct be_proc *p = proc_hold(r->e, c, &err);
	int rc = p ? r->e->ops->top(p, add_task, rows, &err) : -1;
	if (p)
		proc_drop(r->e, c);
	if (rc < 0)
		resp_err(r, &err);
	else
		resp_json(r, 200,
			  json_pack("{s:[s,s,s,s,s,s,s,s], s:O}", "Titles", "UID", "PID",
				    "PPID", "C", "STIME", "TTY", "TIME", "CMD", "Processes",
				    rows));
	json_decref(rows);
	container_put(r->e, c);
}
ROUTE("GET", "/containers/{}/top", top);

static json_t *cpu_json(const struct be_stats *s)
{
	return json_pack(
	    "{s:{s:I, s:I, s:I}, s:I, s:i, s:{s:i, s:i, s:i}}", "cpu_usage", "total_usage",
	    (json_int_t)s->cpu_ns, "usage_in_kernelmode", (json_int_t)s->cpu_system_ns,
	    "usage_in_usermode", (json_int_t)s->cpu_user_ns, "system_cpu_usage",
	    (json_int_t)s->host_cpu_ns, "online_cpus", (int)s->online_cpus, "throttling_data",
	    "periods", 0, "throttled_periods", 0, "throttled_time", 0);
}

static json_t *nets_json(const struct be_stats *s)
{
	json_t *o = json_object();

	for (size_t i = 0; i < s->nnet; i++) {
		const struct be_net_stats *n = &s->net[i];
		json_object_set_new(
		    o, n->ifname,
		    json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "rx_bytes",
			      (json_int_t)n->rx_bytes, "rx_packets", (json_int_t)n->rx_packets,
			      "rx_errors", (json_int_t)n->rx_errors, "rx_dropped",
			      (json_int_t)n->rx_dropped, "tx_bytes", (json_int_t)n->tx_bytes,
			      "tx_packets", (json_int_t)n->tx_packets, "tx_errors",
			      (json_int_t)n->tx_errors, "tx_dropped",
			      (json_int_t)n->tx_dropped));
	}
	return o;
}

static json_t *stats_of(struct container *c, const struct be_stats *s,
			const struct be_stats *before)
{
	static const struct be_stats zero;
	char *name = xasprintf("/%s", c->name);
	json_t *blk = json_array();

	if (s->blk_read || s->blk_write) {
		json_array_append_new(blk, json_pack("{s:i, s:i, s:s, s:I}", "major", 0,
						     "minor", 0, "op", "read", "value",
						     (json_int_t)s->blk_read));
		json_array_append_new(blk, json_pack("{s:i, s:i, s:s, s:I}", "major", 0,
						     "minor", 0, "op", "write", "value",
						     (json_int_t)s->blk_write));
	}
	json_t *o = json_pack("{s:o, s:s, s:s, s:o, s:o, s:{s:I, s:I, s:I, s:{s:I}}, s:{s:I, "
			      "s:I}, s:o, s:{s:o}, s:i}",
			      "read", jtime(now_ns()), "name", name, "id", c->id, "cpu_stats",
			      cpu_json(s), "precpu_stats", cpu_json(before ? before : &zero),
			      "memory_stats", "usage", (json_int_t)s->mem_usage, "max_usage",
			      (json_int_t)s->mem_max, "limit", (json_int_t)s->mem_limit,
			      "stats", "total_inactive_file", (json_int_t)s->mem_cache,
			      "pids_stats", "current", (json_int_t)s->pids, "limit",
			      (json_int_t)s->pids_limit, "networks", nets_json(s),
			      "blkio_stats", "io_service_bytes_recursive", blk, "num_procs", 0);
	json_object_set_new(o, "preread", jtime(before ? now_ns() - 1000000000 : 0));
	free(name);
	return o;
}

static bool take(struct engine *e, struct container *c, struct be_stats *s)
{
	struct be_proc *p = proc_hold(e, c, NULL);

	*s = (struct be_stats){0};
	if (!p)
		return false;
	int rc = e->ops->stats(p, s, NULL);
	proc_drop(e, c);
	return rc == 0;
}

static void pause_for(struct http_req *r, struct container *c, int64_t ms)
{
	int64_t until = mono_ms() + ms;

	engine_lock(r->e);
	while (mono_ms() < until && !__atomic_load_n(&c->removed, __ATOMIC_RELAXED) &&
	       !r->e->stopping)
		engine_wait(r->e, &c->changed, until - mono_ms() + 1);
	engine_unlock(r->e);
}

static void stats(struct http_req *r)
{
	struct container *c = api_container(r);
	const char *st = req_query(r, "stream", "1");
	bool stream = strcmp(st, "0") != 0 && strcmp(st, "false") != 0,
	     one = req_flag(r, "one-shot"), have;
	struct be_stats now, before;

	if (!c)
		return;
	resp_begin(r, 200, "application/json", NULL);
	have = take(r->e, c, &before);
	if (!stream) {
		bool two = have && !one;
		if (two)
			pause_for(r, c, 500);
		if (!two || !take(r->e, c, &now))
			now = before;
		resp_json_line(r, stats_of(c, &now, two ? &before : NULL));
	} else {
		resp_json_line(r, stats_of(c, &before, NULL));
		while (!req_gone(r) && !__atomic_load_n(&c->removed, __ATOMIC_RELAXED) &&
		       !r->e->stopping) {
			pause_for(r, c, 1000);
			take(r->e, c, &now);
			if (resp_json_line(r, stats_of(c, &now, &before)) < 0)
				break;
			before = now;
		}
	}
	resp_end(r);
	container_put(r->e, c);
}
ROUTE("GET", "/containers/{}/stats", stats);
