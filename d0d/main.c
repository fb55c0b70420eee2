// SPDX-License-Identifier: ISC
// d0d: options, signals, start and end.
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "d0d/engine.h"
#include "d0d/route.h"
#include "d0d/server.h"

static const char usage[] =
    "d0d: D0's management daemon (Docker Engine API)\n"
    "  --host ADDRESS          where the API listens: 127.0.0.1:2375 (default), [::1]:2375,\n"
    "                          unix:/path; may be repeated. Anything but a loopback address\n"
    "                          or a Unix socket needs --tls-* or --plaintext.\n"
    "  --dashboard ADDRESS     the dashboard and /metrics: 127.0.0.1:8080 (default), \"none\"\n"
    "  --tls-cert FILE --tls-key FILE --tls-ca FILE\n"
    "                          serve the API over TLS; clients need a certificate signed by\n"
    "                          the CA\n"
    "  --plaintext             listen anywhere without TLS: whoever reaches the address\n"
    "                          commands this host; only where something else keeps others\n"
    "                          away, as QEMU's user network does\n"
    "  --state DIR             where state is kept: /var/lib/d0 (default)\n"
    "  --backend NAME          linux (default), d0\n"
    "  --backend-opt TEXT      linux: \"copy\" does without overlayfs\n"
    "                          d0: \"near=ADDRESS\" on the wire reaches what is published\n"
    "                          at 127.0.0.1, which is for this machine else\n"
    "  --bridge-subnet CIDR    of the default network: 172.17.0.0/16 (default)\n"
    "  --dns IP[,IP]           upstream resolvers for containers (default: the host's)\n"
    "  --registry-ca FILE      a CA to trust for registries, besides the system's\n"
    "  --insecure-registry H   HOST[:PORT][,...] spoken to in clear (loopback always may)\n"
    "  --ensure NAME=REQUEST   a container to be there: a create request as JSON,\n"
    "                          percent-encoded; made and started when it is missing or was\n"
    "                          made from other words; may be repeated\n"
    "  --max-connections N     512\n"
    "  --name NAME             of this host\n";

static const struct backend_ops *const backends[] = {&backend_linux, &backend_d0};

struct options {
	struct engine_config cfg;
	const char *hosts[6];
	int nhosts;
	const char *ensure[8];
	int nensure;
	const char *dashboard, *cert, *key, *ca;
	int max_conns;
	bool plaintext;
};

static struct server server;

static void on_signal(int sig)
{
	(void)sig;
	server.stopping = true;
}

static _Noreturn void fail(const char *msg)
{
	fprintf(stderr, "d0d: %s\n", msg);
	exit(1);
}

static bool is_local(const char *where)
{
	return strncmp(where, "unix:", 5) == 0 || strncmp(where, "127.", 4) == 0 ||
	       strncmp(where, "[::1]:", 6) == 0;
}

static void pick_backend(struct options *o, const char *name)
{
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
		if (strcmp(backends[i]->name, name) == 0) {
			o->cfg.ops = backends[i];
			return;
		}
	fail("no such backend");
}

static void parse(struct options *o, int argc, char **argv)
{
	enum {
		HOST = 1,
		DASH,
		CERT,
		KEY,
		CA,
		STATE,
		BACKEND,
		OPT,
		SUBNET,
		DNS,
		RCA,
		INSECURE,
		MAX,
		NAME,
		PLAIN,
		ENSURE,
		HELP
	};
	static const struct option longs[] = {
	    {"host", 1, NULL, HOST},
	    {"dashboard", 1, NULL, DASH},
	    {"tls-cert", 1, NULL, CERT},
	    {"tls-key", 1, NULL, KEY},
	    {"tls-ca", 1, NULL, CA},
	    {"state", 1, NULL, STATE},
	    {"backend", 1, NULL, BACKEND},
	    {"backend-opt", 1, NULL, OPT},
	    {"bridge-subnet", 1, NULL, SUBNET},
	    {"dns", 1, NULL, DNS},
	    {"registry-ca", 1, NULL, RCA},
	    {"insecure-registry", 1, NULL, INSECURE},
	    {"max-connections", 1, NULL, MAX},
	    {"name", 1, NULL, NAME},
	    {"plaintext", 0, NULL, PLAIN},
	    {"ensure", 1, NULL, ENSURE},
	    {"help", 0, NULL, HELP},
	    {NULL, 0, NULL, 0},
	};
	const char **text[] = {[DASH] = &o->dashboard,
			       [CERT] = &o->cert,
			       [KEY] = &o->key,
			       [CA] = &o->ca,
			       [STATE] = &o->cfg.dir,
			       [OPT] = &o->cfg.backend_opt,
			       [SUBNET] = &o->cfg.bridge_subnet,
			       [DNS] = &o->cfg.dns,
			       [RCA] = &o->cfg.registry_ca,
			       [INSECURE] = &o->cfg.insecure_registries,
			       [NAME] = &o->cfg.host_name,
			       [HELP] = NULL};

	for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
		if (c == HOST && o->nhosts < 6)
			o->hosts[o->nhosts++] = optarg;
		else if (c == ENSURE && o->nensure < 8)
			o->ensure[o->nensure++] = optarg;
		else if (c == BACKEND)
			pick_backend(o, optarg);
		else if (c == PLAIN)
			o->plaintext = true;
		else if (c == MAX)
			o->max_conns = atoi(optarg);
		else if (c > 0 && c < HELP && text[c])
			*text[c] = optarg;
		else {
			fputs(usage, c == HELP ? stdout : stderr);
			exit(c == HELP ? 0 : 2);
		}
	}
	if (optind < argc || o->max_conns < 1) {
		fputs(usage, stderr);
		exit(2);
	}
}

static void add_listener(const char *where, int routes, bool tls)
{
	struct listener *l = &server.listen[server.nlisten++];
	struct err err;

	*l = (struct listener){.where = xstrdup(where), .routes = routes, .tls = tls};
	l->fd = listen_open(where, &err);
	if (l->fd < 0)
		fail(err.msg);
	log_msg("%s on %s%s", routes == ON_API ? "Docker endpoint" : "dashboard", where,
		tls ? " (TLS)" : "");
}

static void listen_all(struct options *o)
{
	struct err err;
	bool tls = o->cert || o->key || o->ca;

	if (tls && !(o->cert && o->key && o->ca))
		fail("--tls-cert, --tls-key and --tls-ca belong together");
	if (tls) {
		server.tls = tls_server_ctx(o->cert, o->key, o->ca, &err);
		if (!server.tls)
			fail(err.msg);
	}
	if (!o->nhosts)
		o->hosts[o->nhosts++] = "127.0.0.1:2375";
	for (int i = 0; i < o->nhosts; i++) {
		bool unix_socket = strncmp(o->hosts[i], "unix:", 5) == 0;
		if (!tls && !o->plaintext && !is_local(o->hosts[i]))
			fail("refusing to listen beyond the loopback without TLS (--tls-cert, "
			     "--tls-key, --tls-ca, or --plaintext)");
		add_listener(o->hosts[i], ON_API, tls && !unix_socket);
	}
	if (strcmp(o->dashboard, "none") != 0) {
		if (!tls && !o->plaintext && !is_local(o->dashboard))
			fail("refusing to show the dashboard beyond the loopback without TLS");
		add_listener(o->dashboard, ON_DASH, tls && !is_local(o->dashboard));
	}
}

// Many containers, several descriptors each.
static void raise_limits(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max < 65536 ? l.rlim_max : 65536;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

// Not before the API answers: making a container may take long.
static struct options ensured;

static void *ensure_all(void *ctx)
{
	struct err err;

	for (int i = 0; i < ensured.nensure; i++)
		if (ensure_container(ctx, ensured.ensure[i], &err) < 0)
			log_msg("--ensure %.30s: %s", ensured.ensure[i], err.msg);
	return NULL;
}

int main(int argc, char **argv)
{
	static struct engine engine;
	char host[256] = "d0";
	struct err err;
	struct options o = {.cfg = {.dir = "/var/lib/d0",
				    .ops = backends[0],
				    .backend_opt = "",
				    .bridge_subnet = "172.17.0.0/16"},
			    .dashboard = "127.0.0.1:8080",
			    .max_conns = 512};
	struct sigaction sa = {.sa_handler = on_signal};

	gethostname(host, sizeof(host) - 1);
	o.cfg.host_name = host;
	parse(&o, argc, argv);
	umask(022);
	raise_limits();
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	if (dir_make(o.cfg.dir, 0711) < 0)
		fail("cannot make the state folder");
	if (engine_open(&engine, &o.cfg, &err) < 0)
		fail(err.msg);
	server.e = &engine;
	server.max_conns = o.max_conns;
	listen_all(&o);
	log_msg("ready");
	ensured = o;
	engine_thread(ensure_all, &engine);
	server_run(&server);
	log_msg("ending; containers go on running");
	engine_close(&engine);
	for (int i = 0; i < server.nlisten; i++)
		close(server.listen[i].fd);
	// Other threads may still stream: nothing they use is taken down before the end.
	_exit(0);
}
