// SPDX-License-Identifier: ISC
// The engine over a backend that has only trees: layers with whiteouts, hostile archives,
// images that come and go, records that survive, create requests, consoles and their logs.
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "d0d/console.h"
#include "tests/unit/d0d_fake.h"

static char dir[] = "/tmp/d0d-unit-XXXXXX";
static struct engine eng;

static int setup(void **state)
{
	struct engine_config cfg = {.dir = dir,
				    .ops = &backend_fake,
				    .bridge_subnet = "172.17.0.0/16",
				    .host_name = "unit"};
	struct err err;

	if (!mkdtemp(dir))
		return -1;
	return engine_open(&eng, &cfg, &err);
}

// Frees what engine_open made, as a process end would.
static void forget(void)
{
	while (eng.images) {
		struct image *im = eng.images;
		eng.images = im->next;
		json_decref(im->config);
		strv_free(im->tags);
		strv_free(im->digests);
		free(im->layers);
		free(im);
	}
	while (eng.layers) {
		struct layer *l = eng.layers;
		eng.layers = l->next;
		free(l);
	}
	while (eng.networks) {
		struct network *n = eng.networks;
		eng.networks = n->next;
		json_decref(n->options);
		json_decref(n->labels);
		free(n);
	}
	while (eng.volumes) {
		struct volume *v = eng.volumes;
		eng.volumes = v->next;
		json_decref(v->labels);
		json_decref(v->options);
		free(v);
	}
	for (struct container *c = eng.containers; c;) {
		struct container *next = c->next;
		container_put(&eng, c);
		c = next;
	}
	for (int i = 0; i < EVENT_RING; i++)
		json_decref(eng.ev.ring[i]);
	eng.ops->close(eng.be);
	free(eng.dir);
}

static int teardown(void **state)
{
	forget();
	return tree_delete(AT_FDCWD, dir);
}

static void reopen(void)
{
	struct engine_config cfg = eng.cfg;
	struct err err;

	forget();
	assert_int_equal(engine_open(&eng, &cfg, &err), 0);
}

// ---- small tars ----

struct entry {
	const char *name, *data, *link;
	int type; // AE_IFREG, ...; -1: a hard link to LINK
};

static struct sbuf tar_of(const struct entry *v, size_t n)
{
	struct sbuf out = {0};
	size_t used = 0, cap = 1 << 20;
	struct archive *a = archive_write_new();

	out.p = xmalloc(cap);
	out.cap = cap;
	archive_write_set_format_pax_restricted(a);
	archive_write_open_memory(a, out.p, cap, &used);
	for (size_t i = 0; i < n; i++) {
		struct archive_entry *ae = archive_entry_new();
		archive_entry_set_pathname(ae, v[i].name);
		archive_entry_set_filetype(ae, v[i].type < 0 ? AE_IFREG : (unsigned)v[i].type);
		archive_entry_set_perm(ae, 0755);
		archive_entry_set_mtime(ae, 1700000000, 0);
		if (v[i].type < 0)
			archive_entry_set_hardlink(ae, v[i].link);
		else if (v[i].type == AE_IFLNK)
			archive_entry_set_symlink(ae, v[i].link);
		size_t len = v[i].data ? strlen(v[i].data) : 0;
		archive_entry_set_size(ae, (la_int64_t)len);
		archive_write_header(a, ae);
		if (len)
			archive_write_data(a, v[i].data, len);
		archive_entry_free(ae);
	}
	archive_write_close(a);
	archive_write_free(a);
	out.len = used;
	return out;
}

static int memory_write(void *ctx, const void *buf, size_t n)
{
	sbuf_add(ctx, buf, n);
	return 0;
}

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

static void put_blob(const struct sbuf *b, char digest[DIGEST_LEN + 1])
{
	struct err err;

	assert_int_equal(blob_put(&eng, b->p, b->len, digest, &err), 0);
}

static int apply(const struct entry *v, size_t n, const char *parent, char chain[ID_LEN + 1],
		 struct err *err)
{
	struct sbuf t = tar_of(v, n);
	char blob[DIGEST_LEN + 1];

	put_blob(&t, blob);
	int rc = layer_ensure(&eng, parent, "", blob, "x", chain, err);
	sbuf_free(&t);
	return rc;
}

static bool has(const char *chain, const char *path)
{
	char tree[80];
	struct be_stat st;

	snprintf(tree, sizeof(tree), "l-%s", chain);
	return eng.ops->tree_stat(eng.be, tree, path, false, &st, NULL) == 0;
}

static void layers_stack(void **state)
{
	static const struct entry low[] = {
	    {"a", "one", NULL, AE_IFREG}, {"d", NULL, NULL, AE_IFDIR},
	    {"d/x", "x", NULL, AE_IFREG}, {"d/y", "y", NULL, AE_IFREG},
	    {"l", NULL, "a", -1},         {"s", NULL, "/etc", AE_IFLNK},
	    {"etc", NULL, NULL, AE_IFDIR}};
	static const struct entry top[] = {{".wh.a", NULL, NULL, AE_IFREG},
					   {"d/.wh..wh..opq", NULL, NULL, AE_IFREG},
					   {"d/z", "z", NULL, AE_IFREG},
					   {"s/inside", "i", NULL, AE_IFREG}};
	char base[ID_LEN + 1], chain[ID_LEN + 1], *text = NULL, tree[80];
	struct err err;

	assert_int_equal(apply(low, COUNT(low), "", base, &err), 0);
	assert_int_equal(apply(top, COUNT(top), base, chain, &err), 0);
	assert_false(has(chain, "a"));
	assert_true(has(chain, "l")); // the other name of the same file stays
	assert_false(has(chain, "d/x"));
	assert_true(has(chain, "d/z"));
	assert_true(has(chain, "etc/inside")); // the link was followed inside the tree
	assert_int_not_equal(access("/etc/inside", F_OK), 0);
	assert_true(has(base, "a") && has(base, "d/x")); // the layer below is as it was
	snprintf(tree, sizeof(tree), "l-%s", base);
	assert_int_equal(eng.ops->tree_read(eng.be, tree, "a", 100, &text, NULL, &err), 0);
	assert_string_equal(text, "one");
	free(text);
}

static void hostile_layers(void **state)
{
	static const struct entry up[] = {{"../out", "x", NULL, AE_IFREG}};
	static const struct entry mid[] = {{"a/../../out", "x", NULL, AE_IFREG}};
	static const struct entry hard[] = {{"h", NULL, "../../../../etc/passwd", -1}};
	static const struct entry none[] = {{"h", NULL, "nothing", -1}};
	static const struct entry file[] = {{"f", "x", NULL, AE_IFREG},
					    {"f/below", "x", NULL, AE_IFREG}};
	static const struct entry wh[] = {{".wh...", NULL, NULL, AE_IFREG}};
	const struct {
		const struct entry *v;
		size_t n;
	} all[] = {{up, 1}, {mid, 1}, {hard, 1}, {none, 1}, {file, 2}, {wh, 1}};
	char chain[ID_LEN + 1];
	struct err err;

	for (size_t i = 0; i < COUNT(all); i++) {
		assert_int_equal(apply(all[i].v, all[i].n, "", chain, &err), -1);
		assert_int_equal(err.status, 400);
		assert_false(has(chain, "."));
	}
	images_gc(&eng);
	assert_null(eng.layers);
}

static void diff_and_commit(void **state)
{
	static const struct entry low[] = {{"a", "1", NULL, AE_IFREG},
					   {"b", "2", NULL, AE_IFREG},
					   {"d", NULL, NULL, AE_IFDIR},
					   {"d/k", "3", NULL, AE_IFREG}};
	static const struct entry change[] = {{"b", "changed", NULL, AE_IFREG},
					      {"d/new", "n", NULL, AE_IFREG}};
	char base[ID_LEN + 1], again[ID_LEN + 1], blob[DIGEST_LEN + 1], tree[80], *text = NULL;
	struct sbuf t = tar_of(change, COUNT(change)), out = {0};
	struct memory m = {t.p, t.len};
	struct be_source src = {memory_read, &m};
	struct be_sink sink = {memory_write, &out};
	struct err err = {0};

	assert_int_equal(apply(low, COUNT(low), "", base, &err), 0);
	snprintf(tree, sizeof(tree), "l-%s", base);
	assert_int_equal(eng.ops->tree_create(eng.be, "c-test", BE_TREE_CONTAINER, tree, &err),
			 0);
	assert_int_equal(eng.ops->tree_unpack(eng.be, "c-test", "", &src, 0, &err), 0);
	assert_int_equal(eng.ops->tree_pack_diff(eng.be, "c-test", tree, &sink, &err), 0);
	put_blob(&out, blob);
	assert_int_equal(layer_ensure(&eng, base, "", blob, "x", again, &err), 0);
	snprintf(tree, sizeof(tree), "l-%s", again);
	assert_int_equal(eng.ops->tree_read(eng.be, tree, "b", 100, &text, NULL, &err), 0);
	assert_string_equal(text, "changed");
	assert_true(has(again, "d/new") && has(again, "d/k"));
	free(text);
	eng.ops->tree_remove(eng.be, "c-test", NULL);
	sbuf_free(&t);
	sbuf_free(&out);
}

// ---- images ----

static void make_image(const char *tag, char id[DIGEST_LEN + 1])
{
	static const struct entry v[] = {{"bin", NULL, NULL, AE_IFDIR},
					 {"bin/x", "x", NULL, AE_IFREG}};
	struct sbuf t = tar_of(v, COUNT(v));
	char blob[DIGEST_LEN + 1], *config;
	char *blobs[] = {blob, NULL}, *media[] = {(char *)"x", NULL};
	struct err err;

	put_blob(&t, blob);
	config =
	    xasprintf("{\"config\":{\"Cmd\":[\"/bin/"
		      "x\"],\"Labels\":{\"n\":\"%s\"}},\"rootfs\":{\"diff_ids\":[\"%s\"]}}",
		      tag, blob);
	assert_int_equal(image_build(&eng, config, strlen(config), blobs, media, 1, id, &err),
			 0);
	assert_int_equal(image_tag(&eng, id, tag, &err), 0);
	free(config);
	sbuf_free(&t);
}

static void images_come_and_go(void **state)
{
	char one[DIGEST_LEN + 1], two[DIGEST_LEN + 1];
	json_t *out = json_array();
	struct err err;

	make_image("docker.io/library/one:latest", one);
	make_image("docker.io/library/two:1", two);
	reopen();
	assert_non_null(image_find_locked(&eng, "one", &err));
	assert_non_null(image_find_locked(&eng, two + 7, &err));
	assert_null(image_find_locked(&eng, "three", &err));
	assert_int_equal(err.status, 404);
	assert_int_equal(image_tag(&eng, one, "docker.io/library/two:1", &err),
			 0); // takes it over
	assert_string_equal(image_find_locked(&eng, "two:1", &err)->id, one);
	assert_int_equal(image_remove(&eng, "one", false, out, &err), 0); // two:1 remains
	assert_int_equal(image_remove(&eng, "two:1", false, out, &err), 0);
	assert_int_equal(image_remove(&eng, two, false, out, &err), 0);
	assert_null(eng.images);
	assert_null(eng.layers);
	json_decref(out);
}

static void half_made_things_vanish(void **state)
{
	char *tmp = engine_path(&eng, "blobs/tmp-0123"),
	     *rec = engine_path(&eng, "images/x.json.tmp1");
	struct err err;

	assert_int_equal(file_write_atomic(tmp, "x", 1), 0);
	assert_int_equal(file_write_atomic(rec, "{", 1), 0);
	assert_int_equal(eng.ops->tree_create(eng.be, "l-dead", BE_TREE_IMAGE, NULL, &err), 0);
	reopen();
	assert_int_not_equal(access(tmp, F_OK), 0);
	assert_int_not_equal(access(rec, F_OK), 0);
	assert_false(has("dead", "."));
	free(tmp);
	free(rec);
}

// ---- containers ----

static int create(const char *name, const char *text, struct err *err)
{
	json_t *body = json_loads(text, 0, NULL), *warn = json_array();
	char id[ID_LEN + 1];
	int rc;

	assert_non_null(body);
	rc = container_create(&eng, name, body, id, warn, err);
	json_decref(body);
	json_decref(warn);
	return rc;
}

// Another's network: what can't be one's own, and that it can't be left for one.
static void shared_network(void **state)
{
#define SHARED "{\"Image\":\"box\",\"HostConfig\":{\"NetworkMode\":\"container:web\""
	static const struct {
		const char *body, *why;
	} refused[] = {
	    {SHARED "},\"Hostname\":\"me\"}", "hostname and"},
	    {SHARED ",\"Dns\":[\"1.1.1.1\"]}}", "dns and"},
	    {SHARED ",\"ExtraHosts\":[\"a:1.1.1.1\"]}}", "custom host-to-IP mapping and"},
	    {SHARED "},\"MacAddress\":\"02:42:00:00:00:01\"}", "mac-address and"},
	    {SHARED ",\"PortBindings\":{\"80/tcp\":[{}]}},\"ExposedPorts\":{\"80/tcp\":{}}}",
	     "port publishing and"},
	    {SHARED ",\"PublishAllPorts\":true}}", "port publishing and"},
	    {SHARED "},\"ExposedPorts\":{\"80/tcp\":{}}}", "port exposing and"},
	    {"{\"Image\":\"box\",\"HostConfig\":{\"NetworkMode\":\"container:\"}}",
	     "invalid container format"},
	};
	char id[DIGEST_LEN + 1];
	struct err err;

	make_image("docker.io/library/box:latest", id);
	assert_int_equal(create("two", SHARED "}}", &err), -1);
	assert_int_equal(err.status, 404);
	assert_int_equal(create("web", "{\"Image\":\"box\"}", &err), 0);
	for (size_t i = 0; i < COUNT(refused); i++) {
		assert_int_equal(create("two", refused[i].body, &err), -1);
		assert_int_equal(err.status, 400);
		assert_non_null(strstr(err.msg, refused[i].why));
	}
	assert_int_equal(create("two", SHARED "}}", &err), 0);
	struct container *web = container_get(&eng, "web", &err),
			 *two = container_get(&eng, "two", &err);
	char *mode = xasprintf("container:%s", web->id);
	assert_string_equal(js(two->host, "NetworkMode", ""), mode);
	free(mode);
	assert_int_equal(two->nep, 0);
	assert_int_equal(network_connect(&eng, "bridge", two, NULL, &err), -1);
	assert_int_equal(err.status, 400);
	assert_non_null(strstr(err.msg, "sharing network namespace"));
	assert_int_equal(two->nep, 0);
	assert_int_equal(container_remove(&eng, two, false, false, &err), 0);
	assert_int_equal(container_remove(&eng, web, false, false, &err), 0);
	container_put(&eng, two);
	container_put(&eng, web);
#undef SHARED
}

static void containers(void **state)
{
	static const char *const refused[] = {
	    "{\"Image\":\"box\",\"HostConfig\":{\"Privileged\":true}}",
	    "{\"Image\":\"box\",\"HostConfig\":{\"Binds\":[\"/a:/b\"]}}",
	    "{\"Image\":\"box\",\"HostConfig\":{\"NetworkMode\":\"host\"}}",
	    "{\"Image\":\"box\",\"HostConfig\":{\"Memory\":1}}",
	    "{\"Image\":\"box\",\"HostConfig\":{\"PortBindings\":{\"x\":[{}]}}}",
	    "{\"Image\":\"box\",\"HostConfig\":{\"PortBindings\":{\"80/"
	    "tcp\":[{\"HostPort\":\"99999\"}]}}}",
	    "{\"Image\":\"box\",\"HostConfig\":{\"Mounts\":[{\"Target\":\"rel\"}]}}",
	    "{\"Image\":\"box\",\"HostConfig\":{\"Mounts\":[{\"Target\":\"/a/../b\"}]}}",
	    "{\"Image\":\"box\",\"HostConfig\":{\"RestartPolicy\":{\"Name\":\"maybe\"}}}",
	    "{\"Image\":\"box\",\"WorkingDir\":\"rel\"}",
	    "{\"Image\":\"box\",\"Cmd\":5,\"Entrypoint\":[\"\"]}",
	};
	char id[DIGEST_LEN + 1];
	struct err err;
	json_t *out = json_array();

	make_image("docker.io/library/box:latest", id);
	for (size_t i = 0; i < COUNT(refused); i++) {
		assert_int_equal(create(NULL, refused[i], &err), -1);
		assert_int_equal(err.status, 400);
	}
	assert_int_equal(create("web", "{\"Image\":\"nosuch\"}", &err), -1);
	assert_int_equal(err.status, 404);
	assert_null(eng.containers);
	assert_int_equal(
	    create("web", "{\"Image\":\"box\",\"HostConfig\":{\"Binds\":[\"vol:/data\"]}}",
		   &err),
	    0);
	assert_int_equal(create("web", "{\"Image\":\"box\"}", &err), -1);
	assert_int_equal(err.status, 409);
	reopen();
	struct container *c = container_get(&eng, "web", &err);
	assert_non_null(c);
	assert_string_equal(js(c->config, "Hostname", ""),
			    c->config ? js(c->config, "Hostname", "") : "");
	assert_int_equal(container_start(&eng, c, &err), -1); // the fake starts nothing
	assert_int_equal(err.status, 500);
	assert_int_equal(image_remove(&eng, "box", false, out, &err), -1);
	assert_int_equal(err.status, 409);
	assert_int_equal(volume_remove(&eng, "vol", false, &err), -1);
	assert_int_equal(err.status, 409);
	assert_int_equal(container_remove(&eng, c, false, false, &err), 0);
	container_put(&eng, c);
	assert_int_equal(volume_remove(&eng, "vol", false, &err), 0);
	assert_int_equal(image_remove(&eng, "box", false, out, &err), 0);
	json_decref(out);
}

// ---- consoles ----

static void console_and_log(void **state)
{
	char *path = engine_path(&eng, "containers/t.log"), buf[64];
	struct console *con = console_new(path, 4096);
	int out[2], err[2], stream, lines = 0;
	struct log_line line;

	assert_int_equal(pipe(out), 0);
	assert_int_equal(pipe(err), 0);
	struct sub *s = console_attach(con, true, true); // before there is a program
	struct be_io io = {-1, out[0], err[0]};
	console_begin(con, &io, false);
	assert_int_equal(write(out[1], "one\ntw", 6), 6);
	assert_int_equal(write(err[1], "bad\n", 4), 4);
	usleep(50000);
	assert_int_equal(write(out[1], "o\nlast", 6), 6);
	close(out[1]);
	close(err[1]);
	console_end(con, 2000);
	size_t total = 0;
	for (ssize_t n; (n = sub_take(s, &stream, buf, sizeof(buf))) > 0;)
		total += (size_t)n;
	assert_int_equal(total, 16);
	assert_int_equal(sub_take(s, &stream, buf, sizeof(buf)), -1);
	sub_close(s);
	struct log_reader *r = log_open(con, 2, 0, 0);
	while (log_next(r, &line) == 1) {
		lines++;
		if (lines == 2)
			assert_memory_equal(line.data, "last", 4);
	}
	assert_int_equal(lines, 2);
	log_close(r);
	// A record cut off by a power failure ends the log there, and no earlier.
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size - 2), 0);
	r = log_open(con, -1, 0, 0);
	for (lines = 0; log_next(r, &line) == 1;)
		lines++;
	assert_int_equal(lines, 3);
	log_close(r);
	console_free(con);
	close(out[0]);
	close(err[0]);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(layers_stack),
	    cmocka_unit_test(hostile_layers),
	    cmocka_unit_test(diff_and_commit),
	    cmocka_unit_test(images_come_and_go),
	    cmocka_unit_test(half_made_things_vanish),
	    cmocka_unit_test(containers),
	    cmocka_unit_test(shared_network),
	    cmocka_unit_test(console_and_log),
	};
	return cmocka_run_group_tests_name("d0d_engine", tests, setup, teardown);
}
