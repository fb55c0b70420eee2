// SPDX-License-Identifier: ISC
// Bytes as a client would send them, into the whole server: HTTP, routes, JSON bodies and
// every handler, over a backend that has only trees.
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "d0d/route.h"
#include "d0d/server.h"
#include "tests/unit/d0d_fake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct engine eng;
static char dir[] = "/tmp/d0d-fuzz-XXXXXX";

static void gone(void)
{
	tree_delete(AT_FDCWD, dir);
}

static void start(void)
{
	struct engine_config cfg = {.dir = dir,
				    .ops = &backend_fake,
				    .bridge_subnet = "172.17.0.0/16",
				    .host_name = "fuzz"};
	static const char config[] =
	    "{\"config\":{\"Cmd\":[\"x\"]},\"rootfs\":{\"diff_ids\":[]}}";
	char id[DIGEST_LEN + 1];
	struct err err;

	signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(dir) || engine_open(&eng, &cfg, &err) < 0)
		abort();
	atexit(gone);
	if (image_build(&eng, config, sizeof(config) - 1, NULL, NULL, 0, id, &err) < 0 ||
	    image_tag(&eng, id, "docker.io/library/box:latest", &err) < 0)
		abort();
}

// Containers made by earlier inputs go, so that each input starts from the same place.
static void clear(void)
{
	while (eng.containers) {
		struct container *c = eng.containers;
		engine_lock(&eng);
		c->refs++;
		engine_unlock(&eng);
		if (container_remove(&eng, c, true, true, NULL) < 0)
			abort();
		container_put(&eng, c);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	struct server s = {.e = &eng, .max_conns = 10};
	int sv[2];

	if (!ready) {
		start();
		ready = true;
	}
	// What would wait or dial out isn't what is tested here.
	static const char *const no[] = {"/wait", "/events", "follow", "/attach", "fromImage",
					 "/push", "/auth",   "stream", "stats"};
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		if (memmem(data, size, no[i], strlen(no[i])))
			return 0;
	if (size > 60000 || socketpair(AF_UNIX, SOCK_STREAM, 0, sv) < 0)
		return 0;
	int big = 1 << 20;
	setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
	setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
	fcntl(sv[0], F_SETFL, O_NONBLOCK);
	if (write(sv[0], data, size) != (ssize_t)size) {
		close(sv[0]);
		close(sv[1]);
		return 0;
	}
	shutdown(sv[0], SHUT_WR);
	server_serve(&s, sv[1], size & 1 ? ON_API : ON_API | ON_DASH, false);
	close(sv[0]);
	clear();
	return 0;
}
