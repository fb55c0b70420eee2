/* SPDX-License-Identifier: ISC */
/*
 * transportd: the stack on a TAP device, with the sample servers as its client.
 *
 *	transportd TAP 'ip=10.9.0.2/24 gw=10.9.0.1' [-d DIR] [-n] [-s FILE] [-m SOCKS]
 *	           [-o ORDER] [-c HOST:PORT:BYTES] [-q] [-z]
 *
 * -d: files for HTTP; -n: no offloads; -s: keep state in FILE.*; -m: table size; -o: log2 of
 * a connection's rings; -c: connect, send BYTES of the chargen pattern, end; -q: quiet.
 * -z: chargen sends zeros (for benchmarks: the pattern costs more than sending it).
 * Prints "ready" when it serves; SIGTERM ends it with a line of statistics.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cells/transport/hosted/serve.h"
#include "cells/transport/hosted/tap.h"

static volatile sig_atomic_t stop;

static void on_term(int sig)
{
	stop = 1;
}

struct files {
	const char *dir;
	struct {
		char path[256];
		void *p;
		uint64_t size;
	} f[64];
	unsigned n;
};

static const void *file_get(void *ctx, const char *path, uint64_t *size)
{
	struct files *x = ctx;
	char full[800];
	struct stat sb;
	int fd;

	if (!strcmp(path, "/small")) {
		*size = 12;
		return "hello, world";
	}
	for (unsigned i = 0; i < x->n; i++) {
		if (!strcmp(x->f[i].path, path)) {
			*size = x->f[i].size;
			return x->f[i].p;
		}
	}
	if (!x->dir || x->n == 64 || strlen(path) > 250 || strstr(path, ".."))
		return NULL;
	snprintf(full, sizeof(full), "%s%s", x->dir, path);
	fd = open(full, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &sb) || !S_ISREG(sb.st_mode) || !sb.st_size) {
		close(fd);
		return NULL;
	}
	x->f[x->n].p = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (x->f[x->n].p == MAP_FAILED)
		return NULL;
	strcpy(x->f[x->n].path, path);
	*size = x->f[x->n].size = (uint64_t)sb.st_size;
	return x->f[x->n++].p;
}

/* An active connection: sends the chargen pattern, then closes its side. */
struct active {
	int fd;
	uint64_t left, sent;
	bool done;
};

static bool active_start(struct active *a, struct hosted *h, const char *spec)
{
	struct pvs_addr to = {.family = PVS_AF_INET};
	char host[64];
	unsigned port;
	uint8_t b[16];
	unsigned long long bytes;

	if (sscanf(spec, "%63[^:]:%u:%llu", host, &port, &bytes) != 3 || tp_parse_addr(host, b))
		return false;
	memcpy(to.addr, b + 12, 4);
	to.port = __builtin_bswap16((uint16_t)port);
	a->left = bytes;
	a->fd = pvs_socket(&h->c, PVS_AF_INET, PVS_SOCK_STREAM, 0, 18, 16);
	return a->fd >= 0 && pvs_connect(&h->c, a->fd, &to) == -115;
}

static void active_poll(struct active *a, struct pvs_client *c)
{
	uint8_t buf[16384];
	int m;

	if (a->fd < 0 || a->done)
		return;
	m = pvs_error(c, a->fd);
	if (m) {
		fprintf(stderr, "connection failed: error %d\n", m);
		a->done = true;
		return;
	}
	while (a->left) {
		uint32_t n = a->left < sizeof(buf) ? (uint32_t)a->left : sizeof(buf);

		for (uint32_t i = 0; i < n; i++)
			buf[i] = (uint8_t)((uint32_t)(a->sent + i) * 2654435761u >> 24);
		m = pvs_send(c, a->fd, buf, n);
		if (m <= 0)
			return;
		a->sent += (uint64_t)m;
		a->left -= (uint64_t)m;
	}
	pvs_shutdown(c, a->fd, 1);
	a->done = true;
	pvs_close(c, a->fd, false);
}

static void report(struct hosted *h, const struct serve *s)
{
	static const char *const names[] = {
	    "Tcp.InSegs",   "Tcp.OutSegs",      "Tcp.RetransSegs",     "Tcp.InErrs",
	    "Tcp.Timeouts", "Tcp.SpuriousRTOs", "Tcp.FastRetrans",     "Tcp.OFOQueue",
	    "Tcp.OutRsts",  "Tcp.Adopted",      "Tcp.ListenOverflows", "Tcp.SyncookiesSent",
	    "Pv.Notifies",  "Pv.Events",        "Udp.InDatagrams",     "Ip.InHdrErrors"};

	printf("requests=%llu in=%llu out=%llu sockets=%u", (unsigned long long)s->requests,
	       (unsigned long long)s->bytes_in, (unsigned long long)s->bytes_out,
	       tp_sock_count(h->st));
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		printf(" %s=%llu", names[i], (unsigned long long)tp_stat(h->st, names[i]));
	printf("\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct hosted_cfg cfg = {.mac = {0x02, 0xd0, 0, 0, 0, 2},
				 .region = 64u << 20,
				 .slots = 4096,
				 .tp = {.max_socks = 4096},
				 .offload = true};
	struct files files = {0};
	struct serve_ops ops = {file_get, &files};
	struct active act = {.fd = -1};
	const char *connect_to = NULL;
	struct hosted h;
	struct serve s;
	unsigned order = 16;
	bool zeros = false;
	int o;

	if (argc < 3)
		return 2;
	cfg.tap = argv[1];
	cfg.args = argv[2];
	optind = 3;
	while ((o = getopt(argc, argv, "d:ns:m:o:c:qz")) != -1) {
		if (o == 'd')
			files.dir = optarg;
		else if (o == 'n')
			cfg.offload = false;
		else if (o == 's')
			cfg.state_file = optarg;
		else if (o == 'm')
			cfg.tp.max_socks = (uint32_t)atoi(optarg);
		else if (o == 'o')
			order = (unsigned)atoi(optarg);
		else if (o == 'c')
			connect_to = optarg;
		else if (o == 'q')
			cfg.quiet = true;
		else if (o == 'z')
			zeros = true;
		else
			return 2;
	}
	cfg.slots = (cfg.tp.max_socks + 63) & ~63u;
	signal(SIGTERM, on_term);
	signal(SIGINT, on_term);
	hosted_open(&h, &cfg);
	if (serve_init(&s, &h.c, calloc(cfg.slots, serve_conn_size()), order, &ops)) {
		fprintf(stderr, "cannot listen\n");
		return 1;
	}
	s.zeros = zeros;
	if (connect_to && !active_start(&act, &h, connect_to)) {
		fprintf(stderr, "cannot connect to %s\n", connect_to);
		return 1;
	}
	printf("ready\n");
	fflush(stdout);
	while (!stop) {
		hosted_poll(&h);
		serve_poll(&s);
		active_poll(&act, &h.c);
		hosted_sleep(&h, act.fd >= 0 && !act.done ? 1000000 : 1000000000);
	}
	report(&h, &s);
	return 0;
}
