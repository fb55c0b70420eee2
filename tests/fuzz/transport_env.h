/* SPDX-License-Identifier: ISC */
/* One stack in virtual time for fuzz targets: frames out go nowhere, or back in. */
#ifndef FUZZ_TRANSPORT_ENV_H
#define FUZZ_TRANSPORT_ENV_H

#include <stdint.h>
#include "cells/transport/client/pvs_client.h"
#include "cells/transport/core/tp.h"

#define ENV_REGION (256u << 10)

struct env {
	struct tp_stack *st;
	struct pvs_client c;
	uint64_t now;
	uint8_t out[65600]; /* the frame sent last */
	uint32_t out_len;
	void *arena, *state, *region, *memory;
	uint64_t rng;
};

extern struct env env;

/* Fresh instance: 10.0.0.2/24 and fd00::2/64 on eth0, client attached. */
void env_open(const char *args, struct tp_config cfg);
void env_close(void);
void env_run(uint64_t ns);
/* An Ethernet frame with the right type and our MAC around an IP packet; sums corrected. */
void env_ip(uint8_t *ip, uint32_t len);
int env_listen(uint16_t port);

#endif
