/* SPDX-License-Identifier: ISC */
/* FUSE requests: the input is a sequence of length (2 bytes), opcode (1), node (1), bytes. */
#include <stdlib.h>
#include <string.h>
#include "cells/store/fuse/server.h"
#include "tests/unit/store_env.h"

static struct store_env env;

static uint64_t now(void *ctx)
{
	return env.clock += 1000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuse_options o = {.max_write = 65536, .valid_s = 1, .now = now, .nodes_max = 64};
	struct fuse_session *s;
	struct h2_pfs *pfs;
	uint8_t req[4096], rep[4096];

	store_env_again(&env, 32 << 20);
	if (h2_pfs_open(env.vol, "root", 0, &pfs))
		abort();
	s = fuse_session_new(pfs, &o);
	struct fuse_in_header h = {.len = 40 + 64, .opcode = FUSE_INIT};
	struct fuse_init_in in = {.major = 7, .minor = 38};
	memcpy(req, &h, 40);
	memcpy(req + 40, &in, sizeof(in));
	fuse_session_handle(s, req, 104, rep, sizeof(rep));
	while (size >= 4) {
		size_t len = (size_t)(data[0] | data[1] << 8) & 1023;

		if (len > size - 4)
			len = size - 4;
		h = (struct fuse_in_header){
		    .len = (uint32_t)(40 + len), .opcode = data[2], .nodeid = data[3]};
		memcpy(req, &h, 40);
		memcpy(req + 40, data + 4, len);
		fuse_session_handle(s, req, 40 + len, rep, sizeof(rep));
		data += 4 + len;
		size -= 4 + len;
	}
	fuse_session_free(s);
	h2_pfs_close(pfs);
	return 0;
}
