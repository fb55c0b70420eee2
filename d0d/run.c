// SPDX-License-Identifier: ISC
// Running containers: start, the monitor that waits for the end, restarts, stop and wait.
//
// Each start spawns a monitor thread. It alone calls the backend's wait() and release(), and
// it alone moves a container out of running. `exits` counts ends, so that "wait for the next
// exit" can't miss one; `run` counts starts, so that a late monitor can't touch a later run.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/console.h"
#include "d0d/engine.h"

#define DRAIN_MS       2000
#define RESTART_MS     100 // first delay, doubled each time
#define RESTART_MAX_MS 60000
#define STABLE_NS      10000000000ll // a run this long resets the delay

static const struct {
	const char *name;
	int number;
} signals[] = {
    {"HUP", SIGHUP},       {"INT", SIGINT},   {"QUIT", SIGQUIT},   {"ILL", SIGILL},
    {"TRAP", SIGTRAP},     {"ABRT", SIGABRT}, {"BUS", SIGBUS},     {"FPE", SIGFPE},
    {"KILL", SIGKILL},     {"USR1", SIGUSR1}, {"SEGV", SIGSEGV},   {"USR2", SIGUSR2},
    {"PIPE", SIGPIPE},     {"ALRM", SIGALRM}, {"TERM", SIGTERM},   {"CHLD", SIGCHLD},
    {"CONT", SIGCONT},     {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},   {"TTIN", SIGTTIN},
    {"TTOU", SIGTTOU},     {"URG", SIGURG},   {"XCPU", SIGXCPU},   {"XFSZ", SIGXFSZ},
    {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH}, {"IO", SIGIO},
    {"PWR", SIGPWR},       {"SYS", SIGSYS},
};

int signal_parse(const char *s)
{
	char *end;
	long n = strtol(s, &end, 10);

	if (*s && !*end)
		return n >= 1 && n <= 64 ? (int)n : -1;
	if (strncasecmp(s, "SIG", 3) == 0)
		s += 3;
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (strcasecmp(s, signals[i].name) == 0)
			return signals[i].number;
	int off = 0;
	if (sscanf(s, "RTMIN+%d", &off) == 1 && off >= 0 && off <= 30)
		return 34 + off;
	return -1;
}

struct be_proc *proc_hold(struct engine *e, struct container *c, struct err *err)
{
	engine_lock(e);
	struct be_proc *p = c->proc;
	if (p)
		c->proc_users++;
	else
		err_set(err, 409, "container %s is not running", c->id);
	engine_unlock(e);
	return p;
}

void proc_drop(struct engine *e, struct container *c)
{
	engine_lock(e);
	c->proc_users--;
	pthread_cond_broadcast(&c->changed);
	engine_unlock(e);
}

// ---- the monitor ----

struct monitor {
	struct engine *e;
	struct container *c; // a reference
	struct be_proc *p;
	unsigned run;
};

static bool wants_restart(const struct container *c, int code)
{
	const json_t *p = jo(c->host, "RestartPolicy");
	const char *name = js(p, "Name", "");
	int64_t max = ji(p, "MaximumRetryCount", 0);

	if (c->stopped_by_user || c->removing)
		return false;
	if (strcmp(name, "always") == 0 || strcmp(name, "unless-stopped") == 0)
		return true;
	return strcmp(name, "on-failure") == 0 && code != 0 &&
	       (max == 0 || c->restart_count < max);
}

static int64_t restart_delay(const struct container *c)
{
	int n = c->restart_count < 10 ? c->restart_count : 10;
	int64_t ms = (int64_t)RESTART_MS << n;

	if (c->finished_ns - c->started_ns >= STABLE_NS)
		return RESTART_MS;
	return ms < RESTART_MAX_MS ? ms : RESTART_MAX_MS;
}

// Waits out the delay; false when someone stopped or removed the container meanwhile.
static bool await_restart(struct engine *e, struct container *c, unsigned run)
{
	bool go = true;

	engine_lock(e);
	int64_t until = mono_ms() + restart_delay(c);
	while (go && mono_ms() < until) {
		engine_wait(e, &c->changed, until - mono_ms() + 1);
		go = !c->stopped_by_user && !c->removing && c->run == run && !e->stopping;
	}
	go = go && !c->stopped_by_user && !c->removing && c->run == run;
	if (go)
		c->restart_count++;
	else if (c->run == run && c->state == C_RESTARTING)
		c->state = C_EXITED;
	pthread_cond_broadcast(&c->changed);
	container_save_locked(e, c);
	engine_unlock(e);
	return go;
}

// Records the end. True: to be restarted.
static bool record_exit(struct monitor *m, const struct be_exit *x)
{
	struct engine *e = m->e;
	struct container *c = m->c;

	engine_lock(e);
	c->proc = NULL;
	while (c->proc_users)
		pthread_cond_wait(&c->changed, &e->lock);
	c->pid = 0;
	c->exit_code = x->code;
	c->oom = x->oom;
	c->finished_ns = now_ns();
	c->health = H_NONE;
	e->n_died++;
	e->n_oom += x->oom;
	bool again = wants_restart(c, x->code) && !e->stopping;
	engine_unlock(e);
	e->ops->release(m->p);
	engine_lock(e);
	c->state = again ? C_RESTARTING : C_EXITED;
	c->exits++;
	container_save_locked(e, c);
	pthread_cond_broadcast(&c->changed);
	engine_unlock(e);
	return again;
}

static void network_events(struct engine *e, struct container *c, const char *action)
{
	struct {
		char id[ID_LEN + 1], name[200], driver[20];
	} v[MAX_ENDPOINTS];
	int n = 0;

	engine_lock(e);
	for (int i = 0; i < c->nep; i++) {
		struct network *net = network_find_locked(e, c->ep[i].network, NULL);
		if (!net)
			continue;
		strcpy(v[n].id, net->id);
		strcpy(v[n].name, net->name);
		strcpy(v[n++].driver, net->driver);
	}
	engine_unlock(e);
	for (int i = 0; i < n; i++)
		event_emit(e, "network", action, v[i].id,
			   json_pack("{s:s, s:s, s:s}", "container", c->id, "name", v[i].name,
				     "type", v[i].driver));
}

static int start(struct engine *e, struct container *c, bool autostart, struct err *err);

static void *monitor_main(void *arg)
{
	struct monitor m = *(struct monitor *)arg;
	struct engine *e = m.e;
	struct container *c = m.c;
	struct be_exit x = {0};
	char code[16];

	free(arg);
	e->ops->wait(m.p, &x);
	if (e->stopping) { // the next d0d takes care of this exit
		container_put(e, c);
		return NULL;
	}
	console_end(c->con, DRAIN_MS);
	bool again = record_exit(&m, &x);
	snprintf(code, sizeof(code), "%d", x.code);
	if (x.oom)
		container_event(e, c, "oom", NULL);
	container_event(e, c, "die", json_pack("{s:s}", "exitCode", code));
	network_events(e, c, "disconnect");
	if (again && await_restart(e, c, m.run)) {
		struct err err;
		if (start(e, c, true, &err) < 0 && err.status != 409)
			log_msg("container %.12s: restart failed: %s", c->id, err.msg);
	}
	engine_lock(e);
	bool gone = !again && jb(c->host, "AutoRemove", false) && !c->removing;
	engine_unlock(e);
	if (gone)
		container_remove(e, c, false, true, NULL);
	container_put(e, c);
	return NULL;
}

static void monitor_start(struct engine *e, struct container *c, struct be_proc *p,
			  unsigned run)
{
	struct monitor *m = xmalloc(sizeof(*m));

	*m = (struct monitor){e, c, p, run};
	engine_thread(monitor_main, m);
}

// ---- start ----

static int start_allowed(struct container *c, struct err *err)
{
	if (c->removed)
		return err_set(err, 404, "No such container: %s", c->name);
	if (c->removing || c->state == C_DEAD)
		return err_set(err, 409,
			       "container is marked for removal and cannot be started");
	if (c->state == C_PAUSED)
		return err_set(err, 409,
			       "cannot start a paused container, try unpause instead");
	if (c->state == C_RUNNING)
		return err_set(err, 304, "container already started");
	return 0;
}

// The exit code that Docker records for a start that failed with this message.
static int start_failure_code(const char *msg)
{
	if (strstr(msg, "executable file not found") ||
	    strstr(msg, "no such file or directory"))
		return 127;
	if (strstr(msg, "permission denied") || strstr(msg, "is a directory"))
		return 126;
	return 128;
}

static void start_failed(struct engine *e, struct container *c, const struct err *err)
{
	engine_lock(e);
	c->starting = false;
	if (c->state == C_RESTARTING)
		c->state = C_EXITED;
	c->exit_code = start_failure_code(err->msg);
	snprintf(c->error, sizeof(c->error), "%.299s", err->msg);
	c->exits++;
	container_save_locked(e, c);
	pthread_cond_broadcast(&c->changed);
	engine_unlock(e);
	console_hangup(c->con);
}

static void record_start(struct engine *e, struct container *c, struct be_proc *p,
			 const struct be_spec *s)
{
	engine_lock(e);
	c->proc = p;
	c->pid = e->ops->pid(p);
	c->starting = false;
	c->state = C_RUNNING;
	c->started_ns = now_ns();
	c->oom = false;
	c->error[0] = 0;
	c->exit_code = 0;
	c->run++;
	c->refs++; // the monitor's
	e->n_started++;
	memcpy(c->ports, s->ports, sizeof(*s->ports) * s->nports);
	health_reset_locked(c);
	container_save_locked(e, c);
	pthread_cond_broadcast(&c->changed);
	engine_unlock(e);
}

// AUTO: a restart by policy, which a stop or removal meanwhile forbids. *TRIED: the container
// was in a state to be started, so that a failure is its end.
static int start_held(struct engine *e, struct container *c, bool autostart, bool *tried,
		      struct err *err)
{
	struct be_proc *p = NULL;
	struct be_io io;
	int rc = 0;

	engine_lock(e);
	rc = start_allowed(c, err);
	if (rc == 0 && autostart && c->stopped_by_user) {
		c->state = C_EXITED;
		pthread_cond_broadcast(&c->changed);
		rc = err_set(err, 409, "stopped meanwhile");
	} else if (rc == 0) {
		c->stopped_by_user = false;
		*tried = true;
	}
	for (int i = 0; i < c->nep && rc == 0; i++)
		rc = endpoint_assign_locked(e, &c->ep[i], err);
	c->starting = rc == 0; // nobody else is given these addresses
	engine_unlock(e);
	if (rc < 0)
		return -1;
	struct console *con = container_console(e, c);
	struct be_spec *s = spec_make(e, c, err);
	if (s)
		rc = e->ops->start(e->be, s, &p, err);
	if (!s || rc < 0) {
		start_failed(e, c, err);
		spec_free(s);
		return -1;
	}
	e->ops->io(p, &io);
	console_begin(con, &io, s->tty);
	record_start(e, c, p, s);
	spec_free(s);
	unsigned run = c->run;
	network_events(e, c, "connect");
	container_event(e, c, "start", NULL);
	health_start(e, c);
	monitor_start(e, c, p, run);
	return 0;
}

static int start(struct engine *e, struct container *c, bool autostart, struct err *err)
{
	struct err mine = {0};
	bool tried = false;

	if (!err)
		err = &mine;
	pthread_mutex_lock(&c->op);
	int rc = start_held(e, c, autostart, &tried, err);
	pthread_mutex_unlock(&c->op);
	if (rc < 0 && tried && jb(c->host, "AutoRemove", false) && c->started_ns == 0)
		container_remove(e, c, false, true, NULL);
	return rc;
}

int container_start(struct engine *e, struct container *c, struct err *err)
{
	return start(e, c, false, err);
}

// ---- stop, kill, pause ----

static int send_signal(struct engine *e, struct container *c, int sig, struct err *err)
{
	struct be_proc *p = proc_hold(e, c, err);

	if (!p)
		return -1;
	int rc = e->ops->signal(p, sig, err);
	proc_drop(e, c);
	return rc;
}

int container_pause(struct engine *e, struct container *c, bool on, struct err *err)
{
	struct be_proc *p;
	int rc = 0;

	pthread_mutex_lock(&c->op);
	engine_lock(e);
	if (on && c->state == C_PAUSED)
		rc = err_set(err, 409, "Container %s is already paused", c->id);
	else if (on && c->state != C_RUNNING)
		rc = err_set(err, 409, "Container %s is not running", c->id);
	else if (!on && c->state != C_PAUSED)
		rc = err_set(err, 409, "Container %s is not paused", c->id);
	engine_unlock(e);
	p = rc < 0 ? NULL : proc_hold(e, c, err);
	rc = p ? e->ops->pause(p, on, err) : -1;
	if (p)
		proc_drop(e, c);
	if (rc == 0) {
		engine_lock(e);
		if (c->proc)
			c->state = on ? C_PAUSED : C_RUNNING;
		container_save_locked(e, c);
		pthread_cond_broadcast(&c->changed);
		engine_unlock(e);
		container_event(e, c, on ? "pause" : "unpause", NULL);
	}
	pthread_mutex_unlock(&c->op);
	return rc;
}

// Waits until run RUN has ended; MS < 0: for ever.
static bool await_end(struct engine *e, struct container *c, unsigned run, int64_t ms)
{
	int64_t until = mono_ms() + ms;

	engine_lock(e);
	while (c->run == run && container_running(c) && (ms < 0 || mono_ms() < until))
		engine_wait(e, &c->changed, ms < 0 ? 3600000 : until - mono_ms() + 1);
	bool ended = c->run != run || !container_running(c);
	engine_unlock(e);
	return ended;
}

static void kill_event(struct engine *e, struct container *c, int sig)
{
	char text[12];

	snprintf(text, sizeof(text), "%d", sig);
	container_event(e, c, "kill", json_pack("{s:s}", "signal", text));
}

int container_stop(struct engine *e, struct container *c, int64_t timeout_s, const char *signal,
		   struct err *err)
{
	int sig =
	    signal_parse(signal && *signal ? signal : js(c->config, "StopSignal", "SIGTERM"));

	if (sig < 0 && signal && *signal)
		return err_set(err, 400, "invalid signal: %.80s", signal);
	if (sig < 0)
		sig = SIGTERM;
	if (timeout_s == INT64_MIN)
		timeout_s = ji(c->config, "StopTimeout", 10);
	engine_lock(e);
	bool runs = container_running(c), paused = c->state == C_PAUSED;
	if (runs) {
		c->stopped_by_user = true;
		container_save_locked(e, c);
		pthread_cond_broadcast(&c->changed);
	}
	engine_unlock(e);
	if (!runs)
		return err_set(err, 304, "container already stopped");
	// A start under way (its restart policy) is waited for; after it no other begins.
	pthread_mutex_lock(&c->op);
	unsigned run = c->run;
	pthread_mutex_unlock(&c->op);
	if (send_signal(e, c, sig, NULL) == 0)
		kill_event(e, c, sig);
	if (paused)
		container_pause(e, c, false, NULL);
	if (!await_end(e, c, run, timeout_s < 0 ? -1 : timeout_s * 1000)) {
		if (send_signal(e, c, SIGKILL, NULL) == 0)
			kill_event(e, c, SIGKILL);
		if (!await_end(e, c, run, 20000))
			return err_set(err, 500, "cannot stop container: %s: it doesn't end",
				       c->name);
	}
	container_event(e, c, "stop", NULL);
	return 0;
}

int container_kill(struct engine *e, struct container *c, const char *signal, struct err *err)
{
	int sig = signal_parse(signal && *signal ? signal : "KILL");

	if (sig < 0)
		return err_set(err, 400, "invalid signal: %.80s", signal);
	engine_lock(e);
	bool runs = c->state == C_RUNNING || c->state == C_PAUSED || c->state == C_RESTARTING;
	unsigned run = c->run;
	bool ends = sig == SIGKILL || sig == signal_parse(js(c->config, "StopSignal", "TERM"));
	if (runs && ends) {
		c->stopped_by_user = true; // no restart policy brings it back
		pthread_cond_broadcast(&c->changed);
	}
	bool paused = c->state == C_PAUSED;
	engine_unlock(e);
	if (!runs)
		return err_set(err, 409,
			       "cannot kill container: %s: container %s is not running",
			       c->name, c->id);
	if (send_signal(e, c, sig, err) < 0)
		return -1;
	kill_event(e, c, sig);
	if (sig == SIGKILL) {
		if (paused)
			container_pause(e, c, false, NULL);
		await_end(e, c, run, 10000);
	}
	return 0;
}

// ---- wait ----

int container_wait(struct engine *e, struct container *c, int condition,
		   bool (*gone)(void *ctx), void *ctx, int *code)
{
	int rc = 0;

	engine_lock(e);
	unsigned exits = c->exits;
	for (;;) {
		bool over = condition == 2   ? c->removed
			    : condition == 1 ? c->exits != exits || c->removed
					     : !container_running(c);
		if (over)
			break;
		engine_wait(e, &c->changed, 500);
		if (e->stopping || (gone && gone(ctx))) {
			rc = -1;
			break;
		}
	}
	*code = c->exit_code;
	engine_unlock(e);
	return rc;
}

// ---- recovery ----

int container_adopt(struct engine *e, struct container *c)
{
	struct be_proc *p = NULL;
	struct be_io io;
	struct err err;
	struct be_spec *s = spec_make(e, c, &err);
	int rc = s ? e->ops->adopt(e->be, s, &p) : 0;

	spec_free(s);
	if (rc <= 0 || !p)
		return 0;
	struct console *con = container_console(e, c);
	e->ops->io(p, &io);
	console_begin(con, &io, jb(c->config, "Tty", false));
	engine_lock(e);
	c->proc = p;
	c->pid = e->ops->pid(p);
	c->run++;
	c->refs++;
	health_reset_locked(c);
	engine_unlock(e);
	health_start(e, c);
	monitor_start(e, c, p, c->run);
	return 1;
}

static void lost(struct engine *e, struct container *c)
{
	c->state = C_EXITED;
	c->exit_code = 255;
	c->finished_ns = now_ns();
	c->exits++;
	container_save_locked(e, c);
}

static bool start_at_boot(const struct container *c, bool was_running)
{
	const char *name = js(jo(c->host, "RestartPolicy"), "Name", "");

	if (strcmp(name, "always") == 0)
		return true;
	if (strcmp(name, "unless-stopped") == 0)
		return !c->stopped_by_user;
	return strcmp(name, "on-failure") == 0 && was_running && !c->stopped_by_user;
}

struct boot {
	struct engine *e;
	struct container *c;
};

static void *boot_start(void *arg)
{
	struct boot b = *(struct boot *)arg;
	struct err err;

	free(arg);
	if (container_start(b.e, b.c, &err) < 0 && err.status != 304)
		log_msg("container %.12s: start failed: %s", b.c->id, err.msg);
	container_put(b.e, b.c);
	return NULL;
}

// No requests are served yet: the list can't change under us, except by monitors of
// containers that were adopted, which take the lock.
void containers_recover(struct engine *e)
{
	size_t n = 0, cap = 0;
	struct container **all = NULL;

	engine_lock(e);
	for (struct container *c = e->containers; c; c = c->next)
		cap++;
	all = xcalloc(cap, sizeof(void *));
	for (struct container *c = e->containers; c; c = c->next) {
		all[n++] = c;
		c->refs++;
	}
	engine_unlock(e);
	for (size_t i = 0; i < n; i++) {
		struct container *c = all[i];
		bool was = container_running(c);
		if (was && container_adopt(e, c)) {
			container_put(e, c);
			continue;
		}
		engine_lock(e);
		if (was)
			lost(e, c);
		bool again = start_at_boot(c, was),
		     gone = was && jb(c->host, "AutoRemove", false);
		engine_unlock(e);
		if (gone) {
			container_remove(e, c, true, true, NULL);
		} else if (again) {
			struct boot *b = xmalloc(sizeof(*b));
			*b = (struct boot){e, c};
			engine_thread(boot_start, b);
			continue; // it drops the reference
		}
		container_put(e, c);
	}
	free(all);
}
