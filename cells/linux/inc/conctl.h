/* SPDX-License-Identifier: ISC */
/* A START order of the container control protocol (d0/conctl.h), taken apart. */
#ifndef LX_CONCTL_H
#define LX_CONCTL_H

#include "cells/linux/inc/config.h"

#define START_WORDS 4096u /* of each kind; a payload seldom has room for as many */

struct start {
	char *argv[START_WORDS + 1], *envp[START_WORDS + 1];
	u32 argc, envc;
	struct spawn s;
	bool tty, stdin_pipe;
	u16 rows, cols;
	char *rlimits[16];
	u32 nrlimits;
	s32 oom;
	bool bad;
};

/*
 * The words of the payload: NUL-terminated `key=value` strings, changed in place; *st points
 * into them. Keys that concern the container as a whole take effect at once. False: the
 * payload does not end with NUL, has a word without '=', an unknown key or no argv.
 */
bool conctl_start_parse(struct start *st, char *data, u32 len);
/* One "NAME:SOFT:HARD". Unknown names are ignored. */
void conctl_rlimit(struct proc *p, const char *v);

#endif
