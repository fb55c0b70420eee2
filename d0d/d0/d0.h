// SPDX-License-Identifier: ISC
// Inside of the D0 backend; see backend.h for what it promises.
#ifndef D0D_D0_H
#define D0D_D0_H

#include <pthread.h>

#include "d0/control.h"
#include "d0d/backend.h"

struct store_link;
struct box;

struct d0_nets; // net.h

struct d0_backend {
	struct d0_nets *nets;
	char *dir;
	int ctl; // /dev/d0ctl
	bool may_control;
	uint32_t self;            // d0d's own cell
	struct store_link *store; // the ways to the store, of store.c
	uint32_t store_cell;
	pthread_mutex_t lock; // the fields below; a leaf
	struct box *boxes;    // containers that run
	bool garbage, reclaiming;
	// Only while containers of an earlier d0d are looked for: what every cell is called.
	char (*cell_name)[D0_NAME_MAX]; // "": no such cell
	uint32_t cell_names;
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
// The first cell from number FROM on whose name begins with PREFIX; ~0: none. As the cells were
// at the first call.
uint32_t cell_next(struct d0_backend *b, const char *prefix, uint32_t from);
void cells_forget(struct d0_backend *b);
// Opens this cell's channel of want's protocol, role and peer_cell, fills in the rest of *want
// and the channel's number (may be NULL). Its descriptor, or -1.
#define CHANNEL_ANY_PEER (~0u)
int channel_open(struct d0_channel *want, uint32_t *number);
// Begins the stream anew, at this end; what the other has sent until now is gone.
int channel_reset(int fd);
// The same as channel_open() from channel *number on.
int channel_next(struct d0_channel *want, uint32_t *number);
int d0_host_info(struct backend *b, struct be_info *out, struct err *e);
int d0_cells(struct backend *b, be_cell_cb *cb, void *ctx);

// ---- tree.c ----
int d0_tree_create(struct backend *b, const char *id, enum be_tree_kind kind,
		   const char *parent, struct err *e);
int d0_tree_apply(struct backend *b, const char *id, struct be_source *src, struct err *e);
int d0_tree_sync(struct backend *b, const char *id, struct err *e);
int d0_tree_remove(struct backend *b, const char *id, struct err *e);
int d0_tree_each(struct backend *b, be_tree_cb *cb, void *ctx, struct err *e);
int d0_tree_usage(struct backend *b, const char *id, uint64_t *bytes, struct err *e);
int d0_tree_diff(struct backend *b, const char *id, const char *base, be_change_cb *cb,
		 void *ctx, struct err *e);
int d0_tree_pack_diff(struct backend *b, const char *id, const char *base, struct be_sink *out,
		      struct err *e);
int d0_tree_pack(struct backend *b, const char *id, const char *path, const char *as,
		 struct be_sink *out, struct err *e);
int d0_tree_unpack(struct backend *b, const char *id, const char *path, struct be_source *src,
		   int flags, struct err *e);
int d0_tree_stat(struct backend *b, const char *id, const char *path, bool follow,
		 struct be_stat *out, struct err *e);
int d0_tree_read(struct backend *b, const char *id, const char *path, size_t max, char **out,
		 size_t *len, struct err *e);

// ---- images.c ----
int d0_img_write(struct backend *b, const char *file, const void *buf, size_t n, struct err *e);
int d0_img_rename(struct backend *b, const char *from, const char *to, struct err *e);
int d0_img_commit(struct backend *b, const char *manifest, char id[ID_LEN + 1], struct err *e);
void d0_img_drop(struct backend *b);
int d0_img_each(struct backend *b, be_image_cb *cb, void *ctx, struct err *e);
int d0_img_layers(struct backend *b, const char *id, be_layer_cb *cb, void *ctx, struct err *e);
int d0_img_config(struct backend *b, const char *id, char **out, size_t *len, struct err *e);
int d0_img_tag(struct backend *b, const char *id, const char *tag, struct err *e);
int d0_img_untag(struct backend *b, const char *tag, struct err *e);
int d0_img_remove(struct backend *b, const char *id, struct err *e);
int d0_layer_tar(struct backend *b, const char *chain, struct be_sink *out, struct err *e);

#endif
