/* SPDX-License-Identifier: ISC */
/*
 * The container control protocol: how d0d starts programs in a linux cell, feeds and reads
 * them, and learns how they ended. It runs over a byte-stream pair (d0/stream.h) in a
 * D0_PROTO_CONSOLE channel with the label D0_CON_LABEL; server = d0d, client = the cell.
 * A linux cell that finds such a channel at its start runs nothing by itself: it mounts its
 * root and the default mounts, sends HELLO, and waits for START.
 *
 * Both directions carry frames: struct d0_con_frame, then `len` bytes. Integers are
 * little-endian. `id` names a program; the controller chooses it, any number not in use.
 *
 * The program started with "init=1" (the first one) is the container's pid 1: when it
 * ends, everything else is killed, EXIT is sent, and the cell ends with d0_hc_exit(code). When
 * the stream restarts (d0d was restarted), the cell sends HELLO and a STARTED for each program
 * that still runs; output produced meanwhile waits.
 *
 * Flow control. Output: each output of each program may have D0_CON_OUT_WINDOW bytes
 * unacknowledged; the cell reads no more of that program's pipe until OUTPUT_ACK says how many
 * were taken. The controller reads the stream always, so that one program's output never
 * holds up another's. HELLO begins all windows anew. Input: the controller may have
 * D0_CON_WINDOW bytes of STDIN per program unacknowledged; each STDIN_ACK says how many bytes
 * more were taken.
 *
 * A frame that breaks a rule (unknown type, len above the maximum, unknown id) is
 * answered with ERROR and skipped; the cell never ends for it.
 */
#ifndef D0_CONCTL_H
#define D0_CONCTL_H

#include <stdint.h>

#define D0_CON_LABEL   "conctl"
#define D0_CON_VERSION 2
#define D0_CON_MAX     65536u /* bytes of a frame's payload */
#define D0_CON_DATA    4096u  /* bytes of a STDOUT or STDERR payload */
#define D0_CON_WINDOW  65536u

#define D0_CON_OUT_WINDOW  32768u
#define D0_CON_FLAG_STDERR 1u /* of OUTPUT_ACK */

struct d0_con_frame {
	uint16_t type; /* enum d0_con_type */
	uint16_t flags;
	uint32_t len;
	uint32_t id;
	uint32_t arg; /* see the type */
};
_Static_assert(sizeof(struct d0_con_frame) == 16, "frame header");

/*
 * X(number, name, what). Controller to cell below 64, cell to controller from 64.
 *
 * START's payload is a list of NUL-terminated strings key=value, in any order; lists repeat
 * the key:
 *	argv=WORD ... env=NAME=VALUE ... cwd=PATH uid=N gid=N group=N ...
 *	init=1		this is pid 1
 *	tty=1		a pseudo-terminal for stdin, stdout and stderr; rows=N cols=N
 *	stdin=1		stdin is a pipe fed by STDIN (else /dev/null); not needed with tty
 *	nnp=1		no_new_privs
 *	caps=HEX	bounding, permitted and effective set (default: Docker's)
 *	umask=OCTAL
 *	rlimit=NAME:SOFT:HARD	NAME as in runtime-spec (RLIMIT_NOFILE); "-1" is no limit
 *	oom=N		oom_score_adj
 * and, for the first program, what concerns the whole container:
 *	hostname=NAME domainname=NAME pids=N
 *	mount=TYPE:SOURCE:TARGET:FLAGS:OPTIONS	FLAGS: ro,nosuid,nodev,noexec; TYPE tmpfs,
 *			proc, sysfs, devpts, mqueue, virtiofs (SOURCE: the channel's label),
 *			bind (SOURCE: a path)
 *	file=PATH:TEXT	a file with this text covers PATH, which is made if it isn't there
 *	mask=PATH	an empty file or directory covers it
 *	readonly=PATH	it is bound read-only over itself
 *	rootro=1	the root is mounted read-only
 */
#define D0_CON_TYPES(X)                                                                     \
	X(1, START, "start a program")                                                      \
	X(2, STDIN, "bytes for its stdin or terminal")                                      \
	X(3, STDIN_EOF, "close its stdin")                                                  \
	X(4, RESIZE, "arg: rows << 16 | columns of its terminal")                           \
	X(5, SIGNAL, "arg: signal for it; flags 1: for its whole process group")            \
	X(6, PROCS, "ask for the list of processes")                                        \
	X(7, SYNC, "write all files back; arg 1: and forget what is cached of them")        \
	X(8, OUTPUT_ACK, "arg: how many more bytes were taken; flags 1: of stderr")         \
	X(9, STATE, "ask what the container's threads wait for; answered with STATE_REPLY") \
	X(10, LIMITS, "payload: struct d0_con_limits; answered with LIMITS_REPLY")          \
	X(64, HELLO, "arg: D0_CON_VERSION")                                                 \
	X(65, STARTED, "arg: its pid in the container")                                     \
	X(66, START_FAILED, "arg: errno; payload: text")                                    \
	X(67, STDOUT, "bytes; also those of a terminal")                                    \
	X(68, STDERR, "bytes")                                                              \
	X(69, STDIN_ACK, "arg: how many more bytes of stdin were taken")                    \
	X(70, EXIT, "arg: exit code 0-255, or 128 + signal; flags: the signal or 0")        \
	X(71, OOM, "a process was killed for lack of memory; payload: text")                \
	X(72, PROCS_REPLY, "payload: lines 'pid ppid uid state rss_kb cpu_ms command'")     \
	X(73, ERROR, "arg: errno; payload: text; id: of the frame")                         \
	X(74, SYNCED, "it is done; id: of the SYNC")                                        \
	X(75, STATE_REPLY, "payload: text, a line per thread, D0_CON_MAX bytes at most")    \
	X(76, LIMITS_REPLY, "arg: 0, or errno and nothing has changed; id: of the LIMITS")

/*
 * LIMITS: new limits of the container; 0 leaves one as it is. memory is in bytes, at most the
 * cell's memory (ENOMEM) and not below what is in use after caches were given up (EBUSY).
 */
struct d0_con_limits {
	uint64_t memory;
	uint32_t pids; /* UINT32_MAX: none */
	uint32_t reserved;
};
_Static_assert(sizeof(struct d0_con_limits) == 16, "payload of LIMITS");

enum d0_con_type {
#define D0_CON_ENUM(number, name, text) D0_CON_##name = number,
	D0_CON_TYPES(D0_CON_ENUM)
#undef D0_CON_ENUM
};

#endif
