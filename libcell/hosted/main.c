/* SPDX-License-Identifier: ISC */
/*
 * A hosted cell's main(). Started by d0-hosted it finds in D0_HOSTED the number of a
 * descriptor from which it reads what the launcher gave it, a line each:
 *
 *	name NAME
 *	args WORDS...
 *	state BYTES
 *	channel PROTOCOL ROLE RING_FD RING_BYTES SEND_FD RECV_FD LABEL ARGS...
 *
 * Started by hand it has no channels; its arguments are the cell's.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "libcell/hosted.h"
#include "libcell/hosted/hosted_impl.h"

static struct hosted_cell *cell;

static void on_signal(int sig)
{
	hosted_raise_flags(cell, 0, D0_EV_STOP);
}

static void take_channel(const char *line)
{
	char label[D0_NAME_MAX] = "";
	int proto, role, ring_fd, send_fd, recv_fd, used = 0;
	size_t size;

	if (sscanf(line, "%d %d %d %zu %d %d %31s %n", &proto, &role, &ring_fd, &size, &send_fd,
		   &recv_fd, label, &used) < 7 ||
	    hosted_add_channel(cell, (enum d0_protocol)proto, (enum d0_role)role,
			       strcmp(label, "-") ? label : "", line + used, ring_fd, size,
			       send_fd, recv_fd) < 0)
		fprintf(stderr, "libcell: bad channel: %s\n", line);
}

static void take_line(char *line)
{
	char *rest = strchr(line, ' ');

	if (!rest)
		return;
	*rest++ = '\0';
	if (!strcmp(line, "name"))
		snprintf(cell->page.info.name, D0_NAME_MAX, "%s", rest);
	else if (!strcmp(line, "args"))
		snprintf(cell->page.info.args, sizeof(cell->page.info.args), "%s", rest);
	else if (!strcmp(line, "state"))
		hosted_state(cell, strtoul(rest, NULL, 10));
	else if (!strcmp(line, "channel"))
		take_channel(rest);
}

static void take_description(int fd)
{
	FILE *f = fdopen(fd, "r");
	char line[2048];

	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		take_line(line);
	}
	if (f)
		fclose(f);
}

static void join_args(char *to, size_t size, char **argv)
{
	size_t at = 0;

	for (; *argv && at < size; argv++)
		at += (size_t)snprintf(to + at, size - at, "%s%s", at ? " " : "", *argv);
}

int main(int argc, char **argv)
{
	const char *handed = getenv("D0_HOSTED"), *name = strrchr(argv[0], '/');
	struct sigaction sa = {.sa_handler = on_signal};
	char args[1024] = "";

	join_args(args, sizeof(args), argv + 1);
	cell = hosted_cell_new(name ? name + 1 : argv[0], args);
	if (!cell) {
		perror("libcell");
		return 1;
	}
	if (handed)
		take_description(atoi(handed));
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	hosted_enter(cell);
	cell_exit(cell_main(cell_info()), NULL);
}
