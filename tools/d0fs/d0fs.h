/* SPDX-License-Identifier: ISC */
/*
 * d0fs: the host tool of the store. What its commands share.
 *
 * A command is one file with one D0FS_COMMAND() line, and one line in build.mk.
 */
#ifndef D0FS_H
#define D0FS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "h2/h2.h"

/* Exit codes; scripts rely on them, docs/man/d0fs.8 lists them. */
enum d0fs_exit {
	D0FS_OK = 0,
	D0FS_FAILED = 1, /* the operation failed, or part of it */
	D0FS_USAGE = 2,
	D0FS_NO_VOLUME = 3, /* can't be opened, or is no HAMMER2 volume */
	D0FS_DAMAGED = 4,   /* damage found or met */
	D0FS_NO_SPACE = 5,
	D0FS_NOT_FOUND = 6, /* no such PFS, file or image */
	D0FS_UNSIGNED = 7,  /* not signed by a trusted key */
};

struct d0fs_cmd {
	const char *name;
	const char *args;                  /* for the usage line */
	const char *help;                  /* one line */
	int (*run)(int argc, char **argv); /* argv[0] is the command; getopt is fresh */
};

#define D0FS_COMMAND(id, cmd_name, cmd_args, cmd_help, fn)                               \
	static const struct d0fs_cmd d0fs_cmd_##id = {cmd_name, cmd_args, cmd_help, fn}; \
	static const struct d0fs_cmd *const d0fs_ref_##id                                \
	    __attribute__((section("d0fs_cmds"), used, retain)) = &d0fs_cmd_##id

extern bool d0fs_json;           /* --json was given */
extern bool d0fs_quiet;          /* -q: no progress, no warnings */
extern bool d0fs_stdout_is_data; /* what goes there is a file, also with --json */

/* Message on stderr with the program's name; returns `code` for `return d0fs_fail(...)`. */
int d0fs_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void d0fs_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Exit code that fits an h2 error. */
int d0fs_code(int err);
/* Usage line of the running command on stderr; returns D0FS_USAGE. */
int d0fs_usage(void);

/* ---- volumes on files and block devices (hostdev.c) ---- */

struct d0fs_dev {
	int fd;
	uint64_t size;
	bool block_device, readonly;
	struct h2_env env; /* ready for h2_newfs() and h2_mount() */
};

#define D0FS_RDONLY 1u
#define D0FS_CREATE 2u /* make the file if missing, `size` bytes */

/* Opens and locks the file (shared when read-only); message and exit code on failure. */
int d0fs_dev_open(struct d0fs_dev *dev, const char *path, unsigned flags, uint64_t size);
void d0fs_dev_close(struct d0fs_dev *dev);

struct d0fs_vol {
	struct d0fs_dev dev;
	struct h2_vol *vol;
};

extern size_t d0fs_cache_bytes; /* --cache, default 128 MiB */
/* Where d0fs_open() gets second copies of bad blocks from; NULL = nowhere. */
extern int (*d0fs_second_copy)(void *ctx, const struct h2_event *ev, void *buf);
extern void *d0fs_second_copy_ctx;

/* Open and mount. `dedup`: entries of the dedup table. 0 or an exit code, message printed. */
int d0fs_open(struct d0fs_vol *v, const char *path, unsigned flags, size_t dedup);
/* Unmount (sync) and close. Exit code of a failed sync, else `code`. */
int d0fs_close(struct d0fs_vol *v, int code);

/* ---- paths inside a volume: "PFS:/dir/file" ---- */

struct d0fs_path {
	struct h2_pfs *pfs;
	uint64_t dir; /* directory that holds the last component */
	uint64_t ino; /* 0 = last component does not exist */
	struct h2_attr attr;
	char name[256]; /* last component, "" = the PFS root itself */
};

/* Is it of the form "PFS:..." ? */
bool d0fs_is_path(const char *s);
/* Resolve; opens the PFS (close it with h2_pfs_close). Symbolic links in the middle are
 * followed inside the PFS. A missing last component is no error. 0 or an exit code. */
int d0fs_resolve(struct d0fs_vol *v, const char *s, bool follow_last, struct d0fs_path *out);
/* The same below `from` of an open PFS; 0 or a negative h2 error. */
int d0fs_walk(struct h2_pfs *pfs, uint64_t from, const char *path, bool follow_last,
	      struct d0fs_path *out);

/* ---- output (out.c) ---- */

/* JSON on stdout; key NULL inside arrays. Commas and escapes are seen to. */
void js_open(const char *key, char bracket);
void js_close(char bracket);
void js_str(const char *key, const char *s);
void js_strn(const char *key, const char *s, size_t len);
void js_num(const char *key, uint64_t n);
void js_int(const char *key, int64_t n);
void js_hex(const char *key, const uint8_t *p, size_t len);
void js_end(void); /* newline at the end of the document */
/* A document was begun. */
bool js_written(void);

const char *d0fs_size(uint64_t bytes, char buf[32]);       /* "1.5 GiB" */
const char *d0fs_uuid(const uint8_t id[16], char buf[40]); /* DCE form */
const char *d0fs_check_name(uint8_t check);
const char *d0fs_comp_name(uint8_t comp);
int d0fs_parse_size(const char *s, uint64_t *out); /* 10G, 512M, 4096 */

/* Progress bar on a terminal; nothing elsewhere. total 0 = unknown. */
void d0fs_progress(const char *what, uint64_t done, uint64_t total);
void d0fs_progress_end(void);

#endif
