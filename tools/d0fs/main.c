/* SPDX-License-Identifier: ISC */
/* d0fs: front door. Commands come from a linker set; see d0fs.h. */
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tools/d0fs/d0fs.h"

extern const struct d0fs_cmd *const __start_d0fs_cmds[];
extern const struct d0fs_cmd *const __stop_d0fs_cmds[];

bool d0fs_json, d0fs_quiet, d0fs_stdout_is_data;
size_t d0fs_cache_bytes = 128u << 20;

static const struct d0fs_cmd *current;
static char last_error[512];

static void say(const char *kind, const char *fmt, va_list ap)
{
	d0fs_progress_end();
	fprintf(stderr, "d0fs%s%s: %s", current ? " " : "", current ? current->name : "", kind);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

int d0fs_fail(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(last_error, sizeof(last_error), fmt, ap);
	va_end(ap);
	va_start(ap, fmt);
	say("", fmt, ap);
	va_end(ap);
	return code;
}

void d0fs_warn(const char *fmt, ...)
{
	va_list ap;

	if (d0fs_quiet)
		return;
	va_start(ap, fmt);
	say("warning: ", fmt, ap);
	va_end(ap);
}

int d0fs_code(int err)
{
	switch (err < 0 ? -err : err) {
	case 0:
		return D0FS_OK;
	case H2_EMEDIUM:
		return D0FS_NO_VOLUME;
	case H2_EIO:
	case H2_EUCLEAN:
		return D0FS_DAMAGED;
	case H2_ENOSPC:
		return D0FS_NO_SPACE;
	case H2_ENOENT:
		return D0FS_NOT_FOUND;
	}
	return D0FS_FAILED;
}

int d0fs_usage(void)
{
	fprintf(stderr, "usage: d0fs %s %s\n", current->name, current->args);
	snprintf(last_error, sizeof(last_error), "wrong usage");
	return D0FS_USAGE;
}

/* What a command that has nothing to report, or could not, says with --json. */
static void json_status(int code)
{
	if (!d0fs_json || d0fs_stdout_is_data || js_written())
		return;
	js_open(NULL, '{');
	js_str("command", current->name);
	js_num("exit", (uint64_t)code);
	if (code)
		js_str("error", last_error);
	js_close('}');
	js_end();
}

static int by_name(const void *a, const void *b)
{
	const struct d0fs_cmd *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static void help(FILE *to)
{
	size_t n = __stop_d0fs_cmds - __start_d0fs_cmds;
	const struct d0fs_cmd **list = malloc(n * sizeof(*list));

	fputs("usage: d0fs [--json] [-q] [--cache SIZE] COMMAND ...\n\ncommands:\n", to);
	if (!list)
		return;
	memcpy(list, __start_d0fs_cmds, n * sizeof(*list));
	qsort(list, n, sizeof(*list), by_name);
	for (size_t i = 0; i < n; i++)
		fprintf(to, "  %-10s %s\n", list[i]->name, list[i]->help);
	fputs("\nA path inside a volume is PFS:/path. `d0fs COMMAND --help` shows arguments.\n",
	      to);
	free(list);
}

static const struct d0fs_cmd *find(const char *name)
{
	const struct d0fs_cmd *const *c = __start_d0fs_cmds;

	for (; c < __stop_d0fs_cmds; c++)
		if (!strcmp((*c)->name, name))
			return *c;
	return NULL;
}

static int global_options(int argc, char **argv)
{
	static const struct option opts[] = {{"json", no_argument, NULL, 'j'},
					     {"quiet", no_argument, NULL, 'q'},
					     {"cache", required_argument, NULL, 'c'},
					     {"help", no_argument, NULL, 'h'},
					     {NULL, 0, NULL, 0}};
	uint64_t size;
	int c;

	while ((c = getopt_long(argc, argv, "+jqh", opts, NULL)) != -1) {
		if (c == 'j') {
			d0fs_json = true;
		} else if (c == 'q') {
			d0fs_quiet = true;
		} else if (c == 'c' && d0fs_parse_size(optarg, &size) == 0) {
			d0fs_cache_bytes = size;
		} else if (c == 'h') {
			help(stdout);
			exit(D0FS_OK);
		} else {
			help(stderr);
			return -1;
		}
	}
	return optind;
}

int main(int argc, char **argv)
{
	int at = global_options(argc, argv), code;

	if (at < 0)
		return D0FS_USAGE;
	if (at == argc) {
		help(stderr);
		return D0FS_USAGE;
	}
	current = find(argv[at]);
	if (!current) {
		d0fs_fail(0, "no command '%s'; `d0fs --help` lists them", argv[at]);
		return D0FS_USAGE;
	}
	if (at + 1 < argc && !strcmp(argv[at + 1], "--help")) {
		printf("usage: d0fs %s %s\n%s\n", current->name, current->args, current->help);
		return D0FS_OK;
	}
	/* --json is understood after the command as well */
	for (int i = at + 1; i < argc; i++)
		if (!strcmp(argv[i], "--json")) {
			d0fs_json = true;
			memmove(argv + i, argv + i + 1, (argc - i) * sizeof(*argv));
			argc--;
			break;
		}
	signal(SIGPIPE, SIG_IGN);
	optind = 0;
	code = current->run(argc - at, argv + at);
	d0fs_progress_end();
	json_status(code);
	if (fflush(stdout) || ferror(stdout))
		return code ? code : d0fs_fail(D0FS_FAILED, "writing the output failed");
	return code;
}
