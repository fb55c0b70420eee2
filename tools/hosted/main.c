/* SPDX-License-Identifier: ISC */
/*
 * d0-hosted CONF [DIR]: runs the cells of a configuration as Linux processes.
 *
 * Reads the `cell`, `args` and `channel` lines of a d0.conf (devices and capabilities have
 * no meaning here), makes a memfd for each ring and two eventfds for each pair of bells,
 * and starts DIR/IMAGE (default: ../hosted beside this program) for each cell with what
 * belongs to it. Ends when all cells have; passes SIGINT and SIGTERM on to them.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "d0/abi.h"

#define CELLS_MAX    32
#define CHANNELS_MAX 64

struct host_cell {
	char name[D0_NAME_MAX], image[D0_NAME_MAX];
	char args[1024];
	unsigned long state;
	pid_t pid;
};

struct host_channel {
	int cell[2]; /* server, client */
	int protocol;
	unsigned long ring;
	int ring_fd, bell[2]; /* bell[i]: rings at end i */
	char label[D0_NAME_MAX];
	char args[2][176];
};

static struct host_cell cells[CELLS_MAX];
static struct host_channel channels[CHANNELS_MAX];
static int cell_count, channel_count, line_number;

static void fail(const char *what, const char *which)
{
	fprintf(stderr, "d0-hosted: line %d: %s '%s'\n", line_number, what, which);
	exit(1);
}

static int find_cell(const char *name)
{
	for (int i = 0; i < cell_count; i++)
		if (!strcmp(cells[i].name, name))
			return i;
	fail("no such cell", name);
	return -1;
}

static unsigned long parse_size(const char *text)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);
	int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;

	if (end == text || (*end && !shift))
		fail("not a size", text);
	return v << shift;
}

static int parse_protocol(const char *text)
{
	static const char *const names[] = {"?",       "net",    "fs",    "socket",
					    "console", "stream", "admin", "virtq"};

	for (int i = 1; i < (int)(sizeof(names) / sizeof(*names)); i++)
		if (!strcmp(names[i], text))
			return i;
	fail("unknown protocol", text);
	return 0;
}

/* The value if word is "key=value". */
static const char *value_of(const char *word, const char *key)
{
	size_t n = strlen(key);

	return !strncmp(word, key, n) && word[n] == '=' ? word + n + 1 : NULL;
}

static void take_text(char *to, size_t size, const char *from, bool commas)
{
	if (strlen(from) >= size)
		fail("too long", from);
	memcpy(to, from, strlen(from) + 1);
	for (; commas && *to; to++)
		*to = *to == ',' ? ' ' : *to;
}

static void do_cell(char **save)
{
	struct host_cell *c = &cells[cell_count];
	const char *w = strtok_r(NULL, " \t", save), *v;

	if (!w || cell_count == CELLS_MAX)
		fail("no name, or too many cells", "cell");
	take_text(c->name, sizeof(c->name), w, false);
	while ((w = strtok_r(NULL, " \t", save))) {
		if ((v = value_of(w, "image")))
			take_text(c->image, sizeof(c->image), v, false);
		else if ((v = value_of(w, "state")))
			c->state = parse_size(v);
	}
	if (!c->image[0])
		fail("no image= for", c->name);
	cell_count++;
}

static void do_channel(char **save)
{
	struct host_channel *ch = &channels[channel_count];
	const char *s = strtok_r(NULL, " \t", save), *c = strtok_r(NULL, " \t", save), *w, *v;

	if (!s || !c || channel_count == CHANNELS_MAX)
		fail("two cells expected, or too many channels", "channel");
	*ch = (struct host_channel){.cell = {find_cell(s), find_cell(c)}, .ring = 16384};
	while ((w = strtok_r(NULL, " \t", save))) {
		if ((v = value_of(w, "protocol")))
			ch->protocol = parse_protocol(v);
		else if ((v = value_of(w, "ring")))
			ch->ring = (parse_size(v) + 4095) & ~4095ul;
		else if ((v = value_of(w, "label")))
			take_text(ch->label, sizeof(ch->label), v, false);
		else if ((v = value_of(w, "server_args")))
			take_text(ch->args[0], sizeof(ch->args[0]), v, true);
		else if ((v = value_of(w, "client_args")))
			take_text(ch->args[1], sizeof(ch->args[1]), v, true);
		else
			fail("unknown word", w);
	}
	channel_count++;
}

static void do_line(char *line)
{
	char *save, *w;

	line[strcspn(line, "#\n")] = '\0';
	w = strtok_r(line, " \t", &save);
	if (!w)
		return;
	if (!strcmp(w, "cell")) {
		do_cell(&save);
	} else if (!strcmp(w, "channel")) {
		do_channel(&save);
	} else if (!strcmp(w, "args")) {
		struct host_cell *c = &cells[find_cell(strtok_r(NULL, " \t", &save))];

		take_text(c->args, sizeof(c->args), save, false);
	} else if (strcmp(w, "device")) {
		fail("unknown statement", w);
	}
}

static void make_channel(struct host_channel *ch)
{
	ch->ring_fd = memfd_create("ring", MFD_CLOEXEC);
	ch->bell[0] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ch->bell[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (ch->ring_fd < 0 || ch->bell[0] < 0 || ch->bell[1] < 0 ||
	    ftruncate(ch->ring_fd, (off_t)ch->ring)) {
		perror("d0-hosted: channel");
		exit(1);
	}
}

static void keep_open(int fd)
{
	fcntl(fd, F_SETFD, 0);
}

/* In the child: what this cell gets, as the lines libcell/hosted/main.c reads. */
static int describe(int n)
{
	int fd = memfd_create("cell", 0);
	FILE *f = fdopen(dup(fd), "w");

	if (fd < 0 || !f)
		return -1;
	fprintf(f, "name %s\nargs %s\n", cells[n].name, cells[n].args);
	if (cells[n].state)
		fprintf(f, "state %lu\n", cells[n].state);
	for (int i = 0; i < channel_count; i++)
		for (int end = 0; end < 2; end++) {
			const struct host_channel *ch = &channels[i];

			if (ch->cell[end] != n)
				continue;
			keep_open(ch->ring_fd);
			keep_open(ch->bell[0]);
			keep_open(ch->bell[1]);
			fprintf(f, "channel %d %d %d %lu %d %d %s %s\n", ch->protocol, end,
				ch->ring_fd, ch->ring, ch->bell[!end], ch->bell[end],
				ch->label[0] ? ch->label : "-", ch->args[end]);
		}
	fclose(f);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static void start(int n, const char *dir)
{
	char path[PATH_MAX + 64], number[16];
	int fd;

	if (strlen(dir) >= PATH_MAX)
		fail("path too long", dir);
	cells[n].pid = fork();
	if (cells[n].pid)
		return;
	fd = describe(n);
	snprintf(number, sizeof(number), "%d", fd);
	setenv("D0_HOSTED", number, 1);
	snprintf(path, sizeof(path), "%s/%s", dir, cells[n].image);
	execl(path, path, (char *)NULL);
	fprintf(stderr, "d0-hosted: %s: %s\n", path, strerror(errno));
	_exit(127);
}

static void on_signal(int sig)
{
	for (int i = 0; i < cell_count; i++)
		if (cells[i].pid > 0)
			kill(cells[i].pid, sig);
}

static int await_all(void)
{
	int status, worst = 0;
	pid_t pid;

	while ((pid = wait(&status)) > 0 || errno == EINTR) {
		if (pid <= 0)
			continue;
		for (int i = 0; i < cell_count; i++)
			if (cells[i].pid == pid)
				cells[i].pid = 0;
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			worst = 1;
	}
	return worst;
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = on_signal};
	char line[2048], self[PATH_MAX - 64] = "", dir[PATH_MAX];
	FILE *f;

	if (argc < 2 || !(f = fopen(argv[1], "r"))) {
		fprintf(stderr, "usage: d0-hosted CONF [DIR]\n");
		return 2;
	}
	while (fgets(line, sizeof(line), f)) {
		line_number++;
		do_line(line);
	}
	fclose(f);
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 1;
	snprintf(dir, sizeof(dir), "%s/../hosted", dirname(self));
	for (int i = 0; i < channel_count; i++)
		make_channel(&channels[i]);
	for (int i = 0; i < cell_count; i++)
		start(i, argc > 2 ? argv[2] : dir);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	return await_all();
}
