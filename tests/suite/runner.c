/* SPDX-License-Identifier: ISC */
/*
 * Runs many test programs in one container and prints how each ended. It is the container's
 * first process, static, and needs no shell: /suite/list has one test a line (name, seconds,
 * program, arguments). Output of a test goes to a file; of those that don't pass, the telling
 * lines are printed, and of GoogleTest's programs each case. After each test everything it left
 * running is killed and /tmp is emptied, so that the next one starts from the same state.
 *
 *	suite< NAME			begins
 *	suite: NAME CODE MILLISECONDS	CODE: exit code, 128 + signal, or "timeout"
 *	suite> TEXT
 *	suite? CASE			runs for a while already
 *	suite+ CASE, suite- CASE, suite~ CASE, suite! CASE
 *					passes, fails, is skipped, was not through at the end
 *
 * The cases are told as they come, so that those before the end of the whole machine are known,
 * and the time limit is for each of them; of other programs it is for the whole.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIST   "/suite/list"
#define OUTPUT "/suite/output"
enum {
	WORDS = 32,
	SHOWN = 4,
	WIDTH = 180,
	LINE = 16384
};

static char *environment[] = {"PATH=/suite/bin:/bin:/usr/bin:/sbin",
			      "HOME=/root",
			      "TMPDIR=/tmp",
			      "LTPROOT=/suite",
			      "LTP_COLORIZE_OUTPUT=n",
			      "LTP_TIMEOUT_MUL=3",
			      "KCONFIG_SKIP_CHECK=1",
			      "LTP_IPC_PATH=/dev/shm/ltp",
			      "TEST_TMPDIR=/tmp",
			      "TEST_SRCDIR=/suite",
			      "GVISOR_PLATFORM_SUPPORT=32BIT:TRUE,ALIGNMENT_CHECK:TRUE,"
			      "MULTIPROCESS:TRUE,INT3:TRUE,VSYSCALL:FALSE",
			      NULL};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void on_alarm(int sig)
{
	(void)sig;
}

static int empty_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	if (ftw->level == 0)
		return 0;
	umount2(path, MNT_DETACH);
	if (type == FTW_DP)
		rmdir(path);
	else
		unlink(path);
	return 0;
}

static void clean_up(void)
{
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	nftw("/tmp", empty_one, 16, FTW_DEPTH | FTW_PHYS);
	nftw("/dev/shm", empty_one, 16, FTW_DEPTH | FTW_PHYS);
	umask(022);
}

static void run_child(char **argv)
{
	char path[256];
	int fd = open(OUTPUT, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0644),
	    in = open("/dev/null", O_RDONLY);

	setsid();
	signal(SIGINT, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	dup2(in, 0);
	dup2(fd, 1);
	dup2(fd, 2);
	if (fd > 2)
		close(fd);
	if (in > 2)
		close(in);
	if (chdir("/tmp"))
		_exit(126);
	snprintf(path, sizeof(path), "/suite/bin/%s", argv[0]);
	execve(path, argv, environment);
	printf("cannot run %s: %s\n", path, strerror(errno));
	fflush(stdout);
	_exit(127);
}

static int telling(const char *line)
{
	return strstr(line, "TFAIL") || strstr(line, "TBROK") || strstr(line, "TCONF") ||
	       strstr(line, "TWARN") || strstr(line, "cannot run") ||
	       strstr(line, "error while") || !strncmp(line, "FAIL: ", 6) ||
	       !strncmp(line, "ERROR: ", 7);
}

/* What didn't go well first; if nothing says so, the last lines. */
static void show_output(int last)
{
	char line[1024], tail[SHOWN][WIDTH + 1] = {{0}};
	FILE *f = fopen(OUTPUT, "r");
	int shown = 0, n = 0;

	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (!last && telling(line) && shown++ < SHOWN)
			printf("suite> %.*s\n", WIDTH, line);
		snprintf(tail[n++ % SHOWN], WIDTH + 1, "%.*s", WIDTH, line);
	}
	for (int i = n > SHOWN ? n - SHOWN : 0; !shown && i < n; i++)
		printf("suite> %s\n", tail[i % SHOWN]);
	fclose(f);
}

/* GoogleTest's lines "[ WORD ] CASE, where ... (N ms)": the case's name is cut out in place. */
static char *case_of(char *line, const char *mark)
{
	char *name = strncmp(line, mark, strlen(mark)) ? NULL : line + strlen(mark);

	if (name)
		name[strcspn(name, ", \n")] = 0;
	return name;
}

/* The cases of a GoogleTest program, as far as its output was read. */
struct cases {
	FILE *f;
	char open[WIDTH + 1]; /* the case that runs; empty: none */
	int told;             /* the open one was told */
	int found;            /* lines of cases so far; 0: it is no GoogleTest program */
	int shown;            /* lines of the open case's failures */
};

static void case_line(struct cases *c, char *line)
{
	static const struct {
		const char *mark;
		char sign;
	} ends[] = {{"[       OK ] ", '+'}, {"[  FAILED  ] ", '-'}, {"[  SKIPPED ] ", '~'}};
	char *name = case_of(line, "[ RUN      ] ");

	if (name) {
		snprintf(c->open, sizeof(c->open), "%.*s", WIDTH, name);
		c->found++;
		c->shown = c->told = 0;
	}
	for (size_t i = 0; c->open[0] && i < sizeof(ends) / sizeof(*ends); i++) {
		if (case_of(line, ends[i].mark)) {
			printf("suite%c %s\n", ends[i].sign, c->open);
			c->open[0] = 0;
			c->found++;
		}
	}
	line[strcspn(line, "\n")] = 0;
	if (c->open[0] && (strstr(line, ": Failure") || c->shown) && c->shown++ < 2 * SHOWN)
		printf("suite> %.*s\n", WIDTH, line);
}

/* What came since the last call; a line without its end is left, unless the program has ended.
 */
static void read_cases(struct cases *c, int ended)
{
	char line[1024];
	long at = 0;

	if (!c->f && !(c->f = fopen(OUTPUT, "r")))
		return;
	clearerr(c->f);
	while ((at = ftell(c->f)) >= 0 && fgets(line, sizeof(line), c->f)) {
		if (!ended && !strchr(line, '\n') && strlen(line) + 1 < sizeof(line)) {
			fseek(c->f, at, SEEK_SET);
			break;
		}
		case_line(c, line);
	}
	if (c->open[0] && (ended || !c->told++))
		printf("suite%c %s\n", ended ? '!' : '?', c->open);
	fflush(stdout);
	if (ended)
		fclose(c->f);
}

/* The wait status, or -1 at the time limit. */
static int wait_limited(pid_t pid, int seconds, struct cases *c)
{
	int status = -1, found = 0;
	double begun = now();

	for (;;) {
		pid_t got;

		alarm(1);
		got = waitpid(pid, &status, 0);
		alarm(0);
		if (got == pid)
			return status;
		read_cases(c, 0);
		if (c->found > found)
			begun = now();
		found = c->found;
		if (now() > begun + seconds * 1e3)
			return -1;
	}
}

static void run_one(const char *name, int seconds, char **argv)
{
	struct cases cases = {0};
	double start = now();
	char code[16];
	int status;
	pid_t pid;

	printf("suite< %s\n", name);
	fflush(stdout);
	unlink(OUTPUT);
	pid = fork();
	if (!pid)
		run_child(argv);
	status = pid < 0 ? 255 << 8 : wait_limited(pid, seconds, &cases);
	if (status == -1)
		strcpy(code, "timeout");
	else
		snprintf(code, sizeof(code), "%d",
			 WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	clean_up();
	read_cases(&cases, 1);
	if (!cases.found && status)
		show_output(status == -1);
	printf("suite: %s %s %.0f\n", name, code, now() - start);
	fflush(stdout);
}

/* As first process of a plain Linux guest (the peer): what a container finds made. */
static const struct {
	const char *type, *where, *options;
} mounts[] = {
    {"proc", "/proc", NULL},
    {"sysfs", "/sys", NULL},
    {"devtmpfs", "/dev", NULL},
    {"devpts", "/dev/pts", "mode=620,ptmxmode=666"},
    {"tmpfs", "/dev/shm", "mode=1777"},
    {"mqueue", "/dev/mqueue", NULL},
    {"tmpfs", "/tmp", "mode=1777"},
};

static void prepare_plain(void)
{
	for (size_t i = 0; i < sizeof(mounts) / sizeof(*mounts); i++) {
		mkdir(mounts[i].where, 0755);
		if (mount(mounts[i].type, mounts[i].where, mounts[i].type, 0,
			  mounts[i].options))
			printf("mount %s: %s\n", mounts[i].where, strerror(errno));
	}
	if (system("/bin/ip link set lo up"))
		printf("no loopback\n");
}

int main(int argc, char **argv_)
{
	int plain = argc > 1 && !strcmp(argv_[1], "plain");
	struct sigaction act = {.sa_handler = on_alarm};
	static char line[LINE];
	FILE *list = fopen(LIST, "re");

	if (plain)
		prepare_plain();
	else
		mount("tmpfs", "/tmp", NULL, MS_REMOUNT | MS_NODEV,
		      NULL); /* set-uid programs */
	if (!list) {
		printf("suite: no %s\n", LIST);
		return 1;
	}
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 4096}); /* Linux's own defaults */
	sigaction(SIGALRM, &act, NULL);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	while (fgets(line, sizeof(line), list)) {
		char *words[WORDS + 1], *save = NULL;
		int n = 0;

		for (char *w = strtok_r(line, " \t\n", &save); w && n < WORDS;
		     w = strtok_r(NULL, " \t\n", &save))
			words[n++] = w;
		words[n] = NULL;
		if (n >= 3)
			run_one(words[0], atoi(words[1]), words + 2);
	}
	printf("suite: end\n");
	fflush(stdout);
	if (plain)
		reboot(RB_POWER_OFF);
	return 0;
}
