// SPDX-License-Identifier: ISC
// Bytes as what the store cell answers to d0d (d0/store_admin.h): the first chooses the
// request, the others are frames (status, flags, length in two bytes, payload) until there are
// no more; then the store is gone. A status of 127: the bytes go as they are. Nothing of it may
// crash d0d or keep it waiting.
#include <signal.h>
#include <sys/socket.h>

#include "d0d/d0/store.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct feed {
	const uint8_t *p;
	size_t n;
	int fd;
	bool raw; // where a frame ends is not known any more
};

// One answer. False: nothing is left, or d0d is.
static bool answer(struct feed *f, const struct d0_admin_head *asked)
{
	for (;;) {
		if (f->n < 4)
			return false;
		int8_t status = (int8_t)f->p[0];
		uint8_t flags = f->p[1];
		size_t n = (size_t)(f->p[2] | f->p[3] << 8);
		n = n < f->n - 4 ? n : f->n - 4;
		struct d0_admin_head h = {
		    .len = (uint32_t)n, .op = asked->op, .tag = asked->tag, .flags = flags & 1};
		h.status = status > 0 ? 0 : status;
		if (flags & 0x80) // of an earlier request
			h.op = flags & 2 ? D0_ADMIN_IMPORT_DATA : D0_ADMIN_UNPACK_DATA;
		if ((status != 127 && fd_write_all(f->fd, &h, sizeof(h)) < 0) ||
		    fd_write_all(f->fd, f->p + 4, n) < 0)
			return false;
		f->p += 4 + n;
		f->n -= 4 + n;
		f->raw |= status == 127;
		if (!f->raw && !(flags & 0x81))
			return true;
	}
}

static void *store_main(void *arg)
{
	static char drop[D0_ADMIN_MAX];
	struct feed *f = arg;
	struct d0_admin_head h = {.op = D0_ADMIN_HELLO, .len = sizeof(int32_t)};
	int32_t key = 77;

	bool good = !f->n || f->p[0] != 0x55; // then the store is gone

	h.op += !good;
	fd_write_all(f->fd, &h, sizeof(h));
	fd_write_all(f->fd, &key, sizeof(key));
	while (good && fd_read_all(f->fd, &h, sizeof(h), -1) == 0 && h.len <= sizeof(drop) &&
	       fd_read_all(f->fd, drop, h.len, -1) == 0)
		if (h.op != D0_ADMIN_IMPORT_DATA && h.op != D0_ADMIN_UNPACK_DATA &&
		    !answer(f, &h))
			break;
	shutdown(f->fd, SHUT_RDWR);
	return NULL;
}

static int take(void *ctx, const void *buf, size_t n)
{
	*(size_t *)ctx += n;
	return 0;
}
static ssize_t give(void *ctx, void *buf, size_t n)
{
	size_t *left = ctx;

	n = n < *left ? n : *left;
	memset(buf, 'x', n);
	*left -= n;
	return (ssize_t)n;
}
static int on_tree(void *ctx, const char *id)
{
	return take(ctx, id, strlen(id));
}
static int on_image(void *ctx, const char *id, const char *tag)
{
	return take(ctx, id, strlen(id) + strlen(tag));
}
static int on_layer(void *ctx, const char *diff, const char *chain, uint64_t size)
{
	return take(ctx, diff, strlen(diff) + strlen(chain));
}
static int on_change(void *ctx, enum be_change kind, const char *path)
{
	return take(ctx, path, strlen(path) + (size_t)kind);
}

static void ask(struct d0_backend *b, unsigned which)
{
	struct backend *be = (struct backend *)b;
	size_t seen = 0, left = 100000, len;
	struct be_sink out = {take, &seen};
	struct be_source in = {give, &left};
	struct be_stat st;
	struct err e = {0};
	uint64_t bytes;
	char *text = NULL, id[ID_LEN + 1];

	switch (which % 16) {
	case 0:
		d0_tree_stat(be, "v-one", "/a/b", true, &st, &e);
		break;
	case 1:
		d0_tree_read(be, "v-one", "a", 4096, &text, &len, &e);
		break;
	case 2:
		d0_tree_diff(be, "v-one", "i-two", on_change, &seen, &e);
		break;
	case 3:
		d0_tree_pack_diff(be, "v-one", "i-two", &out, &e);
		break;
	case 4:
		d0_tree_pack(be, "v-one", "/", "as", &out, &e);
		break;
	case 5:
		d0_tree_unpack(be, "v-one", "/", &in, 0, &e);
		break;
	case 6:
		d0_tree_each(be, on_tree, &seen, &e);
		break;
	case 7:
		d0_tree_usage(be, "v-one", &bytes, &e);
		break;
	case 8:
		d0_img_each(be, on_image, &seen, &e);
		break;
	case 9:
		d0_img_layers(be, "id", on_layer, &seen, &e);
		break;
	case 10:
		d0_img_config(be, "id", &text, &len, &e);
		break;
	case 11:
		d0_layer_tar(be, "chain", &out, &e);
		break;
	case 12:
		d0_img_write(be, "file", "0123456789", 10, &e);
		d0_img_write(be, "other", "0123456789", 10, &e);
		d0_img_rename(be, "file", "name", &e);
		d0_img_commit(be, "manifest", id, &e);
		break;
	case 13:
		d0_tree_create(be, "v-one", BE_TREE_VOLUME, NULL, &e);
		break;
	case 14:
		d0_tree_remove(be, "v-one", &e);
		break;
	default:
		d0_img_tag(be, "id", "tag", &e);
		d0_img_untag(be, "tag", &e);
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	// One channel: it takes all requests.
	struct store_link l[WAYS] = {
	    {.lock = PTHREAD_MUTEX_INITIALIZER}, {.fd = -1}, {.fd = -1}};
	// reclaiming: no thread is started for that
	struct d0_backend b = {.dir = (char *)"/tmp",
			       .ctl = -1,
			       .store = l,
			       .lock = PTHREAD_MUTEX_INITIALIZER,
			       .reclaiming = true};
	struct feed f = {.p = data + 1, .n = size - 1};
	pthread_t store;
	int fd[2];

	signal(SIGPIPE, SIG_IGN); // as d0d does
	if (!size)
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
		abort();
	l[0].fd = fd[0];
	f.fd = fd[1];
	if (pthread_create(&store, NULL, store_main, &f))
		abort();
	ask(&b, data[0]);
	shutdown(fd[0], SHUT_RDWR);
	pthread_join(store, NULL);
	close(fd[0]);
	close(fd[1]);
	return 0;
}
