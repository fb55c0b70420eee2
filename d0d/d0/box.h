// SPDX-License-Identifier: ISC
// A container's cell as d0d sees it: its channels and the programs in it.
#ifndef D0D_BOX_H
#define D0D_BOX_H

#include "d0/conctl.h"
#include "d0d/d0/d0.h"
#include "d0d/d0/net.h"

#define BOX_PREFIX "ct-" // of containers' cells' names; then 12 digits of the id

// One output of a program on its way to the engine's pipe: output.c.
struct be_out {
	struct be_proc *proc;
	int which;         // 1 stdout, 2 stderr
	char *buf;         // a ring; guarded by the box's lock, as head and tail
	size_t head, tail; // bytes taken from it, put into it, ever
	pthread_t thread;
	bool running;
};

struct be_proc {
	struct be_proc *next;
	struct box *box; // a reference
	uint32_t id;
	struct be_io io; // the engine's ends
	int far[3];      // ours: stdin to read, stdout and stderr to write; -1 closed
	bool init, tty, has_in;
	// Guarded by the box's lock:
	int state; // 0 asked for, 1 runs or ran, -1 refused with `error`
	int error, pid;
	bool exited, oom;
	int code;
	uint32_t in_flight; // bytes of stdin not yet acknowledged
	pthread_t feeder;
	bool feeding;
	struct be_out out[2];
};

// A volume mounted in the container.
struct box_mount {
	char *dest, *tree;
};

struct box {
	struct box *next; // b->boxes
	struct d0_backend *b;
	int refs; // b->lock
	char id[ID_LEN + 1];
	uint32_t cell;
	struct box_net *net; // its transport cell, or NULL
	unsigned net_client; // its number there
	uint32_t channel;    // our end of the control channel
	int ctl;             // its device, -1 closed
	bool reading, gone, paused;
	uint64_t memory;
	char tree[256];
	struct box_mount *mount;
	size_t nmounts;
	uint32_t next_id;
	struct be_proc *procs;
	uint32_t synced;  // the last SYNC that was answered
	uint32_t limited; // the last LIMITS that was, and how
	int limit_error;
	char *tasks; // the last answer to PROCS, and how many there were
	uint32_t ntasks;
	pthread_t reader;
	pthread_mutex_t lock, wlock; // wlock: a frame is written whole; taken alone
	pthread_cond_t changed;
};

// ---- cell.c: making, finding and ending the cell ----
int box_new(struct d0_backend *b, struct be_spec *s, struct box **out, struct err *e);
// The cell of a container that an earlier d0d started: 1, 0 if there is none.
int box_adopt(struct d0_backend *b, const struct be_spec *s, struct box **out);
// Ends the cell; handles of programs stay. Nobody finds the box by its container after it.
void box_end(struct box *x);
struct box *box_find(struct d0_backend *b, const char *id); // a reference, or NULL
void box_put(struct box *x);
// Ends cells of containers that an earlier d0d left and nobody adopted.
void box_sweep(struct d0_backend *b);

// ---- box.c: the container control protocol ----
int box_hello(struct box *x, struct err *e); // waits for the cell, begins to read
int box_run(struct box *x, struct be_spec *s, bool init, struct be_proc **out, struct err *e);
// The handle of the first program, which an earlier d0d started.
struct be_proc *box_found(struct box *x, const struct be_spec *s, const int *exit_code);
int box_send(struct box *x, uint32_t type, uint32_t id, uint32_t arg, uint32_t flags,
	     const void *data, size_t n);
// Has the cell write its files back to the store, and if asked forget what it has cached of
// them. -1 if it doesn't answer in time.
int box_sync(struct box *x, bool forget);
// New limits: 0, what the cell said (ENOMEM, EBUSY, ...), EAGAIN paused, EIO no answer.
int box_limits(struct box *x, const struct d0_con_limits *l);
// What of a cell's CPU time the limits mean for each of its vCPUs (d0_ctl_cell_create).
void cpu_limits(const struct be_limits *l, uint32_t vcpus, uint32_t *budget_us,
		uint32_t *slice_us);
// The cell's list of processes (d0/conctl.h), to be freed; NULL if it doesn't answer.
char *box_tasks(struct box *x);
// n bytes. When none came for timeout_ms (<0: no limit) it fails, or asks on(ctx) whether to
// wait on.
int fd_read_all(int fd, void *buf, size_t n, int timeout_ms);
int fd_read_while(int fd, void *buf, size_t n, int look_ms, bool (*on)(void *), void *ctx);

// ---- output.c: what programs write ----
int outputs_begin(struct be_proc *p, struct err *e); // once its pipes are there
void outputs_put(struct box *x, const struct d0_con_frame *f, const char *data);
void outputs_end(struct be_proc *p); // after it ended and the engine's ends were closed

// ---- start.c: the words of a START frame ----
void start_words(struct sbuf *b, const struct be_spec *s, bool init);

// ---- proc.c: the backend's operations ----
int d0_start(struct backend *b, struct be_spec *s, struct be_proc **out, struct err *e);
int d0_adopt(struct backend *b, const struct be_spec *s, struct be_proc **out);
int d0_exec(struct backend *b, struct be_proc *in, struct be_spec *s, struct be_proc **out,
	    struct err *e);
int d0_wait(struct be_proc *p, struct be_exit *out);
void d0_io(struct be_proc *p, struct be_io *out);
void d0_close_in(struct be_proc *p);
int d0_pid(struct be_proc *p);
int d0_signal(struct be_proc *p, int sig, struct err *e);
int d0_pause(struct be_proc *p, bool on, struct err *e);
int d0_resize(struct be_proc *p, uint16_t rows, uint16_t cols, struct err *e);
int d0_update(struct be_proc *p, const struct be_limits *l, struct err *e);
int d0_stats(struct be_proc *p, struct be_stats *out, struct err *e);
int d0_top(struct be_proc *p, be_task_cb *cb, void *ctx, struct err *e);
int d0_net_connect(struct be_proc *p, const struct be_endpoint *ep, struct err *e);
int d0_net_disconnect(struct be_proc *p, const struct be_endpoint *ep, struct err *e);
void d0_release(struct be_proc *p);
void d0_detach(struct be_proc *p);

#endif
