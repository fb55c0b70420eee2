// A container's cell as d0d sees it: the control channel and the programs in it.
#ifndef D0D_BOX_H
#define D0D_BOX_H

#include "d0/conctl.h"
#include "d0d/d0/d0.h"

struct be_proc {
	struct be_proc *next;
	struct box *box;
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
};

struct box {
	struct d0_backend *b;
	uint32_t cell;
	uint32_t channel[2]; // our ends
	int ctl, root;       // their devices, -1 closed
	bool reading, gone;
	uint64_t memory;
	char tree[256];
	uint32_t next_id;
	struct be_proc *procs;
	pthread_t reader;
	pthread_mutex_t lock, wlock; // wlock: a frame is written whole; taken alone
	pthread_cond_t changed;
};

// ---- cell.c: making and ending the cell ----
int box_new(struct d0_backend *b, const struct be_spec *s, struct box **out, struct err *e);
void box_end(struct box *x);  // ends the cell; handles of programs stay
void box_free(struct box *x); // and this frees all else
// Ends cells of containers that an earlier d0d left.
void box_sweep(struct d0_backend *b);
int box_send_root(struct box *x, const struct be_spec *s, struct err *e);

// ---- box.c: the container control protocol ----
int box_hello(struct box *x, struct err *e); // waits for the cell, begins to read
int box_run(struct box *x, struct be_spec *s, bool init, struct be_proc **out, struct err *e);
int box_send(struct box *x, uint32_t type, uint32_t id, uint32_t arg, uint32_t flags,
	     const void *data, size_t n);
int fd_write_all(int fd, const void *buf, size_t n);
int fd_read_all(int fd, void *buf, size_t n, int timeout_ms); // <0: no limit

// ---- proc.c: the backend's operations ----
int d0_start(struct backend *b, struct be_spec *s, struct be_proc **out, struct err *e);
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
void d0_release(struct be_proc *p);
void d0_detach(struct be_proc *p);

#endif
