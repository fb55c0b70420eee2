// SPDX-License-Identifier: ISC
// Consoles.
//
// Problem: one program, any number of attached clients of any speed, and a log that must be
// complete whoever is attached. Clients attach before the program starts (docker run) and
// must see its first and its last byte.
// Model: while a program runs one thread (the pump) reads its output, appends whole lines to
// the log and raw pieces to the queue of each sub. A sub's queue is bounded; when it is full
// the pump waits, so a client that doesn't read stops the program, as Docker does: output is
// never dropped. A client that goes away closes its sub, which wakes the pump.
// Log records: 16 bytes of header (stream, length, time) and the line, little endian. A
// record cut off by a power failure is noticed by its length and ends the log there.
// Locking: con->lock guards everything; it is innermost (nothing else is taken under it).
#include "d0d/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define QUEUE_MAX (256u << 10)
#define LINE_MAX_ (16u << 10)
#define LOG_MAX   (32ull << 20)

struct rec {
	uint8_t stream, zero[3];
	uint32_t len;
	int64_t ns;
};
_Static_assert(sizeof(struct rec) == 16, "the log's record header");

struct piece {
	struct piece *next;
	int stream;
	size_t len, at;
	char data[];
};

struct sub {
	struct sub *next;
	struct console *con;
	bool want[3], ended;
	int efd;
	struct piece *head, **tail;
	size_t queued;
};

struct console {
	pthread_mutex_t lock;
	pthread_cond_t more; // log grew, queue drained, run ended
	struct sub *subs;
	char *log_path;
	int log_fd;
	uint64_t log_size, log_max;
	unsigned log_gen;
	struct sbuf partial[3]; // lines begun
	struct be_io io;
	bool running, drained, stop, tty;
	int wake; // eventfd: the pump is to end
	pthread_t pump;
};

static void cond_init(pthread_cond_t *c)
{
	pthread_condattr_t a;

	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(c, &a);
	pthread_condattr_destroy(&a);
}

static void after(struct timespec *ts, int ms)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += ms / 1000;
	ts->tv_nsec += (ms % 1000) * 1000000L;
	if (ts->tv_nsec >= 1000000000) {
		ts->tv_sec++;
		ts->tv_nsec -= 1000000000;
	}
}

struct console *console_new(const char *log, uint64_t max)
{
	struct console *con = xcalloc(1, sizeof(*con));
	struct stat st;

	pthread_mutex_init(&con->lock, NULL);
	cond_init(&con->more);
	con->log_fd = -1;
	con->wake = -1;
	con->io = (struct be_io){-1, -1, -1};
	con->drained = true;
	con->log_max = max ? max : LOG_MAX;
	if (log) {
		con->log_path = xstrdup(log);
		con->log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (con->log_fd >= 0 && fstat(con->log_fd, &st) == 0)
			con->log_size = (uint64_t)st.st_size;
	}
	return con;
}

void console_free(struct console *con)
{
	if (!con)
		return;
	if (con->log_fd >= 0)
		close(con->log_fd);
	for (int i = 0; i < 3; i++)
		sbuf_free(&con->partial[i]);
	free(con->log_path);
	pthread_mutex_destroy(&con->lock);
	pthread_cond_destroy(&con->more);
	free(con);
}

// ---- the pump ----

static void log_rotate(struct console *con)
{
	char *old = xasprintf("%s.1", con->log_path);

	rename(con->log_path, old);
	free(old);
	close(con->log_fd);
	con->log_fd =
	    open(con->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	con->log_size = 0;
	con->log_gen++;
}

static void log_put(struct console *con, int stream, const char *p, size_t n)
{
	struct rec r = {.stream = (uint8_t)stream, .len = (uint32_t)n, .ns = now_ns()};
	struct sbuf b = {0};

	if (con->log_fd < 0)
		return;
	if (con->log_size + sizeof(r) + n > con->log_max)
		log_rotate(con);
	sbuf_add(&b, &r, sizeof(r));
	sbuf_add(&b, p, n);
	// One write: a crash leaves a whole record or a tail that readers recognise.
	ssize_t put = write(con->log_fd, b.p, b.len);
	if (put == (ssize_t)b.len)
		con->log_size += b.len;
	else if (put >= 0 && ftruncate(con->log_fd, (off_t)con->log_size) < 0) // disk full
		log_rotate(con);
	sbuf_free(&b);
}

static void log_lines(struct console *con, int stream, const char *p, size_t n)
{
	struct sbuf *b = &con->partial[stream];

	if (con->log_fd < 0)
		return;
	while (n) {
		const char *nl = memchr(p, '\n', n);
		size_t take = nl ? (size_t)(nl - p) + 1 : n;
		if (take > LINE_MAX_ - b->len)
			take = LINE_MAX_ - b->len;
		sbuf_add(b, p, take);
		p += take;
		n -= take;
		if (b->len >= LINE_MAX_ || b->p[b->len - 1] == '\n') {
			log_put(con, stream, b->p, b->len);
			b->len = 0;
		}
	}
}

static void sub_signal(struct sub *s)
{
	uint64_t one = 1;

	if (write(s->efd, &one, sizeof(one)) < 0)
		errno = 0; // its counter is full: it is readable already
}

// True when some sub has no room left.
static bool crowded(struct console *con, int stream)
{
	for (struct sub *s = con->subs; s; s = s->next)
		if (s->want[stream] && s->queued >= QUEUE_MAX)
			return true;
	return false;
}

static void deliver(struct console *con, int stream, const char *p, size_t n)
{
	pthread_mutex_lock(&con->lock);
	while (crowded(con, stream) && !con->stop)
		pthread_cond_wait(&con->more, &con->lock);
	log_lines(con, stream, p, n);
	for (struct sub *s = con->subs; s; s = s->next) {
		if (!s->want[stream] || s->ended)
			continue;
		struct piece *piece = xmalloc(sizeof(*piece) + n);
		*piece = (struct piece){.stream = stream, .len = n};
		memcpy(piece->data, p, n);
		*s->tail = piece;
		s->tail = &piece->next;
		s->queued += n;
		sub_signal(s);
	}
	pthread_cond_broadcast(&con->more);
	pthread_mutex_unlock(&con->lock);
}

static void *pump_main(void *arg)
{
	struct console *con = arg;
	int fds[3] = {con->wake, con->io.out, con->io.err};
	char *buf = xmalloc(32768);

	while (fds[1] >= 0 || fds[2] >= 0) {
		struct pollfd p[3] = {
		    {fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}, {fds[2], POLLIN, 0}};
		if (poll(p, 3, -1) < 0 && errno != EINTR)
			break;
		for (int i = 1; i < 3; i++) {
			if (!p[i].revents)
				continue;
			ssize_t n = read(fds[i], buf, 32768);
			if (n > 0)
				deliver(con, i, buf, (size_t)n);
			else if (n == 0 || (errno != EAGAIN && errno != EINTR))
				fds[i] = -1; // a terminal ends with EIO
		}
		if (p[0].revents && !p[1].revents && !p[2].revents)
			break; // asked to end, and nothing more to read
	}
	free(buf);
	pthread_mutex_lock(&con->lock);
	for (int i = 1; i < 3; i++)
		if (con->partial[i].len) {
			log_put(con, i, con->partial[i].p, con->partial[i].len);
			con->partial[i].len = 0;
		}
	con->drained = true;
	pthread_cond_broadcast(&con->more);
	pthread_mutex_unlock(&con->lock);
	return NULL;
}

static int dup_fd(int fd, bool nonblock)
{
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy >= 0 && nonblock)
		fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) | O_NONBLOCK);
	return copy;
}

void console_begin(struct console *con, const struct be_io *io, bool tty)
{
	pthread_mutex_lock(&con->lock);
	con->io =
	    (struct be_io){dup_fd(io->in, true), dup_fd(io->out, true), dup_fd(io->err, true)};
	con->tty = tty;
	con->running = true;
	con->drained = con->stop = false;
	con->wake = eventfd(0, EFD_CLOEXEC);
	pthread_mutex_unlock(&con->lock);
	if (pthread_create(&con->pump, NULL, pump_main, con) != 0) {
		con->drained = true;
		con->pump = 0;
		log_msg("no thread for a console");
	}
}

static void close_io(struct console *con)
{
	int fds[] = {con->io.in, con->io.out, con->io.err, con->wake};

	for (int i = 0; i < 4; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	con->io = (struct be_io){-1, -1, -1};
	con->wake = -1;
}

static void end_subs(struct console *con)
{
	for (struct sub *s = con->subs; s; s = s->next) {
		s->ended = true;
		sub_signal(s);
	}
	pthread_cond_broadcast(&con->more);
}

static void stop_pump(struct console *con, int wait_ms, bool subs_too)
{
	struct timespec until;
	uint64_t one = 1;

	after(&until, wait_ms);
	pthread_mutex_lock(&con->lock);
	while (con->running && !con->drained)
		if (pthread_cond_timedwait(&con->more, &con->lock, &until) == ETIMEDOUT)
			break;
	bool was = con->running;
	con->stop = true;
	if (was && write(con->wake, &one, sizeof(one)) < 0)
		errno = 0;
	pthread_cond_broadcast(&con->more);
	pthread_mutex_unlock(&con->lock);
	if (was && con->pump)
		pthread_join(con->pump, NULL);
	pthread_mutex_lock(&con->lock);
	close_io(con);
	con->running = false;
	if (subs_too)
		end_subs(con);
	pthread_mutex_unlock(&con->lock);
}

void console_end(struct console *con, int wait_ms)
{
	stop_pump(con, wait_ms, true);
}

void console_hangup(struct console *con)
{
	pthread_mutex_lock(&con->lock);
	if (!con->running)
		end_subs(con);
	pthread_mutex_unlock(&con->lock);
}

// ---- subs ----

struct sub *console_attach(struct console *con, bool out, bool err)
{
	struct sub *s = xcalloc(1, sizeof(*s));

	*s = (struct sub){.con = con,
			  .want = {false, out, err},
			  .efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	s->tail = &s->head;
	pthread_mutex_lock(&con->lock);
	s->next = con->subs;
	con->subs = s;
	pthread_mutex_unlock(&con->lock);
	return s;
}

void sub_close(struct sub *s)
{
	struct console *con = s->con;

	pthread_mutex_lock(&con->lock);
	for (struct sub **at = &con->subs; *at; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			break;
		}
	pthread_cond_broadcast(&con->more);
	pthread_mutex_unlock(&con->lock);
	while (s->head) {
		struct piece *p = s->head;
		s->head = p->next;
		free(p);
	}
	close(s->efd);
	free(s);
}

int sub_fd(struct sub *s)
{
	return s->efd;
}

ssize_t sub_take(struct sub *s, int *stream, char *buf, size_t n)
{
	struct console *con = s->con;
	uint64_t junk;
	ssize_t got;

	pthread_mutex_lock(&con->lock);
	struct piece *p = s->head;
	if (p) {
		got = (ssize_t)(n < p->len - p->at ? n : p->len - p->at);
		memcpy(buf, p->data + p->at, (size_t)got);
		*stream = p->stream;
		p->at += (size_t)got;
		s->queued -= (size_t)got;
		if (p->at == p->len) {
			s->head = p->next;
			if (!s->head)
				s->tail = &s->head;
			free(p);
		}
		pthread_cond_broadcast(&con->more);
	} else {
		got = s->ended ? -1 : 0;
		if (!s->ended && read(s->efd, &junk, sizeof(junk)) < 0)
			errno = 0;
	}
	pthread_mutex_unlock(&con->lock);
	return got;
}

ssize_t console_write(struct console *con, const char *buf, size_t n)
{
	pthread_mutex_lock(&con->lock);
	ssize_t put = -1;
	if (con->io.in >= 0) {
		put = write(con->io.in, buf, n);
		if (put < 0 && (errno == EAGAIN || errno == EINTR))
			put = 0;
	} else if (!con->running) {
		put = 0; // not started yet, or between two runs
	}
	pthread_mutex_unlock(&con->lock);
	return put;
}

void console_close_in(struct console *con)
{
	pthread_mutex_lock(&con->lock);
	if (con->io.in >= 0 && !con->tty) {
		close(con->io.in);
		con->io.in = -1;
	}
	pthread_mutex_unlock(&con->lock);
}

// ---- reading logs ----

struct log_reader {
	struct console *con;
	FILE *f;
	bool old; // reading the rotated file
	unsigned gen;
	int64_t skip; // lines to pass over because of TAIL
	int64_t since, until;
	struct sbuf line;
};

static FILE *log_file(struct console *con, bool old)
{
	char *path = old ? xasprintf("%s.1", con->log_path) : xstrdup(con->log_path);
	FILE *f = fopen(path, "re");

	free(path);
	return f;
}

// One record into R->line; false at the end (a torn record is the end).
static bool read_rec(struct log_reader *r, struct rec *rec)
{
	long at = r->f ? ftell(r->f) : 0;

	if (!r->f || fread(rec, sizeof(*rec), 1, r->f) != 1 || rec->stream > 2 ||
	    rec->len > LINE_MAX_)
		goto back;
	r->line.len = 0;
	sbuf_add(&r->line, "", 0);
	char buf[LINE_MAX_];
	if (fread(buf, 1, rec->len, r->f) != rec->len)
		goto back;
	sbuf_add(&r->line, buf, rec->len);
	return true;
back:
	if (r->f) {
		clearerr(r->f);
		fseek(r->f, at, SEEK_SET);
	}
	return false;
}

static bool next_rec(struct log_reader *r, struct rec *rec)
{
	for (;;) {
		if (read_rec(r, rec))
			return true;
		pthread_mutex_lock(&r->con->lock);
		bool rotated = !r->old && r->gen != r->con->log_gen;
		unsigned gen = r->con->log_gen;
		pthread_mutex_unlock(&r->con->lock);
		if (!r->old && !rotated)
			return false;
		if (rotated && read_rec(r, rec)) // written just before the rotation
			return true;
		if (r->f)
			fclose(r->f);
		r->old = false;
		r->gen = gen;
		r->f = log_file(r->con, false);
	}
}

static struct log_reader *reader_new(struct console *con, int64_t since, int64_t until)
{
	struct log_reader *r = xcalloc(1, sizeof(*r));

	*r = (struct log_reader){.con = con, .old = true, .since = since, .until = until};
	pthread_mutex_lock(&con->lock);
	r->gen = con->log_gen;
	pthread_mutex_unlock(&con->lock);
	r->f = log_file(con, true);
	return r;
}

static bool in_range(const struct log_reader *r, const struct rec *rec)
{
	return (!r->since || rec->ns >= r->since) && (!r->until || rec->ns <= r->until);
}

struct log_reader *log_open(struct console *con, int64_t tail, int64_t since, int64_t until)
{
	struct log_reader *r = reader_new(con, since, until);
	struct rec rec;
	int64_t n = 0;

	if (tail < 0)
		return r;
	while (next_rec(r, &rec))
		n += in_range(r, &rec);
	log_close(r);
	r = reader_new(con, since, until);
	r->skip = n > tail ? n - tail : 0;
	return r;
}

int log_next(struct log_reader *r, struct log_line *line)
{
	struct rec rec;

	while (next_rec(r, &rec)) {
		if (r->until && rec.ns > r->until)
			return -1;
		if (!in_range(r, &rec))
			continue;
		if (r->skip > 0) {
			r->skip--;
			continue;
		}
		*line = (struct log_line){rec.stream, rec.ns, r->line.p, r->line.len};
		return 1;
	}
	return 0;
}

bool log_wait(struct log_reader *r, int ms)
{
	struct console *con = r->con;
	struct timespec until;
	struct stat st = {0};

	after(&until, ms);
	pthread_mutex_lock(&con->lock);
	bool behind = r->gen != con->log_gen ||
		      (r->f && fstat(fileno(r->f), &st) == 0 && ftell(r->f) < st.st_size);
	bool going = con->running;
	if (!behind && going)
		pthread_cond_timedwait(&con->more, &con->lock, &until);
	pthread_mutex_unlock(&con->lock);
	return behind || going;
}

void log_close(struct log_reader *r)
{
	if (r->f)
		fclose(r->f);
	sbuf_free(&r->line);
	free(r);
}
