// Inside of the D0 backend; see backend.h for what it promises.
#ifndef D0D_D0_H
#define D0D_D0_H

#include "d0/control.h"
#include "d0d/backend.h"
#include "d0d/linux/linux.h"

// Trees are folders of d0d's own cell, kept by the linux backend's store.c: its state comes
// first, so that a pointer to one is a pointer to the other.
struct d0_backend {
	struct backend trees;
	int ctl; // /dev/d0ctl
	bool may_control;
	uint32_t self; // d0d's own cell
};

static inline struct d0_backend *d0_of(struct backend *b)
{
	return (struct d0_backend *)b;
}

// ---- ctl.c ----
// Passes a request of the control protocol on and takes its answer in place. 0, or -1 with
// E naming the nucleus' reason.
int ctl_call(struct d0_backend *b, void *request, enum d0_ctl_op op, uint32_t size,
	     struct err *e);
int d0_host_info(struct backend *b, struct be_info *out, struct err *e);
int d0_cells(struct backend *b, be_cell_cb *cb, void *ctx);

#endif
