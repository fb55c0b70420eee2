// SPDX-License-Identifier: ISC
// The pure parsers of d0d: HTTP heads and chunks, routes, image references, sizes, times,
// URLs, registry credentials, DNS questions.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "d0d/client.h"
#include "d0d/dns.h"
#include "d0d/engine.h"
#include "d0d/http.h"
#include "d0d/ref.h"
#include "d0d/registry.h"
#include "d0d/route.h"

static ssize_t parse(const char *text, struct http_head *h)
{
	return http_parse_request(text, strlen(text), h);
}

static void http_good(void **state)
{
	static const char text[] =
	    "GET /v1.41/containers/json?all=1&filters=%7B%22a%22%3A1%7D&x=a+b HTTP/1.1\r\n"
	    "Host: d\r\nContent-Length: 5\r\nX-Odd:  spaced\t\r\n\r\nbody!";
	struct http_head h;

	assert_int_equal(parse(text, &h), sizeof(text) - 1 - 5);
	assert_string_equal(h.method, "GET");
	assert_string_equal(h.path, "/v1.41/containers/json");
	assert_string_equal(http_query(&h, "filters"), "{\"a\":1}");
	assert_string_equal(http_query(&h, "x"), "a b");
	assert_string_equal(http_header(&h, "x-odd"), "spaced");
	assert_int_equal(h.length, 5);
	assert_true(h.keep_alive);
	http_head_free(&h);
	for (size_t n = 0; n < sizeof(text) - 6; n++) // every prefix wants more
		assert_int_equal(http_parse_request(text, n, &h), 0);
}

static void http_bad(void **state)
{
	static const struct {
		const char *text;
		int status;
	} bad[] = {
	    {"GET\r\n\r\n", 400},
	    {"GET / HTTP/2.0\r\n\r\n", 505},
	    {"GET nopath HTTP/1.1\r\n\r\n", 400},
	    {"G@T / HTTP/1.1\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\nA b: c\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\nA : c\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\n folded\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
	    {"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400},
	    {"GET /?a=%zz HTTP/1.1\r\n\r\n", 400},
	    {"GET /?a=%00 HTTP/1.1\r\n\r\n", 400},
	};
	struct http_head h;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(parse(bad[i].text, &h), -bad[i].status);
	assert_int_equal(http_parse_request("GET / HTTP/1.1\r\n\0: x\r\n\r\n", 25, &h), -400);
}

static void http_chunks(void **state)
{
	uint64_t n = 0;

	assert_int_equal(http_parse_chunk_size("1aF\r\nx", 6, &n), 5);
	assert_int_equal(n, 0x1af);
	assert_int_equal(http_parse_chunk_size("5;ext=1\r\n", 9, &n), 9);
	assert_int_equal(http_parse_chunk_size("5\r", 2, &n), 0);
	assert_int_equal(http_parse_chunk_size("\r\n", 2, &n), -1);
	assert_int_equal(http_parse_chunk_size("zz\r\n", 4, &n), -1);
	assert_int_equal(http_parse_chunk_size("5\n", 2, &n), -1);
	assert_int_equal(http_parse_chunk_size("fffffffffffffffff\r\n", 19, &n), -1);
}

static void routes(void **state)
{
	char *arg[2];

	assert_true(
	    route_match("/images/{+}/json", "/images/docker.io/library/b%3Ax/json", arg));
	assert_string_equal(arg[0], "docker.io/library/b:x");
	free(arg[0]);
	assert_true(route_match("/containers/{}/json", "/containers/web/json", arg));
	assert_string_equal(arg[0], "web");
	free(arg[0]);
	assert_false(route_match("/containers/{}/json", "/containers/a/b/json", arg));
	assert_false(route_match("/containers/{}/json", "/containers//json", arg));
	assert_false(route_match("/containers/{}/json", "/containers/%00/json", arg));
	assert_false(route_match("/images/{+}/json", "/images/json", arg));
	assert_false(route_match("/_ping", "/_ping/", arg));
}

static void references(void **state)
{
	static const struct {
		const char *in, *full;
	} good[] = {
	    {"busybox", "docker.io/library/busybox"},
	    {"busybox:1.2", "docker.io/library/busybox:1.2"},
	    {"me/x", "docker.io/me/x"},
	    {"host:5000/x", "host:5000/x"},
	    {"localhost/x:y", "localhost/x:y"},
	    {"index.docker.io/library/x", "docker.io/library/x"},
	    {"a.b/c__d/e-f.g:T_1", "a.b/c__d/e-f.g:T_1"},
	    {"[::1]:5000/x", "[::1]:5000/x"},
	};
	static const char *const bad[] = {
	    "",         "UPPER",
	    "a//b",     "a:",
	    ":x",       "a@sha256:12",
	    "-a",       "a_",
	    "a/",       "a b",
	    "a:b:c",    "a:-t",
	    "host:x/a", "0123456789012345678901234567890123456789012345678901234567890123"};
	struct ref r;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(ref_parse(good[i].in, &r, NULL), 0);
		char *full = ref_full(&r);
		assert_string_equal(full, good[i].full);
		free(full);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(ref_parse(bad[i], &r, NULL), -1);
	char *f = ref_familiar("docker.io/library/busybox:x");
	assert_string_equal(f, "busybox:x");
	free(f);
}

static void numbers_and_times(void **state)
{
	int64_t ns;

	assert_int_equal(size_parse("64m"), 64 << 20);
	assert_int_equal(size_parse("1.5G"), 3ll << 29);
	assert_int_equal(size_parse("512kb"), 512 << 10);
	assert_int_equal(size_parse("7"), 7);
	assert_int_equal(size_parse("x"), -1);
	assert_int_equal(size_parse("-1"), -1);
	assert_int_equal(size_parse("1q"), -1);
	assert_int_equal(time_parse("1700000000.5", &ns), 0);
	assert_int_equal(ns, 1700000000500000000);
	assert_int_equal(time_parse("2023-11-14T22:13:20.25Z", &ns), 0);
	assert_int_equal(ns, 1700000000250000000);
	assert_int_equal(time_parse("2023-11-14T23:13:20+01:00", &ns), 0);
	assert_int_equal(ns, 1700000000000000000);
	assert_int_equal(time_parse("soon", &ns), -1);
	assert_int_equal(time_parse("9999999999999999999", &ns), -1);
	assert_int_equal(signal_parse("SIGTERM"), 15);
	assert_int_equal(signal_parse("kill"), 9);
	assert_int_equal(signal_parse("0"), -1);
	assert_int_equal(signal_parse("65"), -1);
}

static void urls_and_credentials(void **state)
{
	struct url u;
	struct registry_auth a;

	assert_int_equal(url_parse("https://reg.example:5000/v2/?x=1", &u, NULL), 0);
	assert_true(u.tls);
	assert_string_equal(u.host, "reg.example");
	assert_string_equal(u.port, "5000");
	assert_string_equal(u.path, "/v2/?x=1");
	assert_int_equal(url_parse("http://[::1]/", &u, NULL), 0);
	assert_string_equal(u.host, "::1");
	assert_string_equal(u.port, "80");
	assert_int_equal(url_parse("ftp://x/", &u, NULL), -1);
	assert_int_equal(url_parse("https://user@x/", &u, NULL), -1);
	assert_int_equal(url_parse("https://x/a\r\nEvil: 1", &u, NULL), -1);
	assert_int_equal(url_parse("https://x:99999999/", &u, NULL), -1);
	registry_auth_parse("eyJ1c2VybmFtZSI6ImFubiIsInBhc3N3b3JkIjoic2VjcmV0In0=", &a);
	assert_string_equal(a.user, "ann");
	assert_string_equal(a.password, "secret");
	registry_auth_parse("!!!", &a);
	assert_string_equal(a.user, "");
}

static enum dns_found one_name(void *ctx, const char *name, struct dns_addrs *a)
{
	const bool *six = ctx;

	if (strcmp(name, "db") != 0)
		return DNS_UNKNOWN;
	a->ip.s_addr = 0x0100000a; // 10.0.0.1
	if (six)
		a->ip6.s6_addr[15] = 7;
	return DNS_ADDRESS;
}

static void dns(void **state)
{
	static const uint8_t q[] = {0x12, 0x34, 1, 0,   0,   1, 0, 0, 0, 0,
				    0,    0,    2, 'D', 'b', 0, 0, 1, 0, 1};
	uint8_t out[512], bad[sizeof(q)];
	bool six = true;

	ssize_t n = dns_answer(q, sizeof(q), out, sizeof(out), one_name, NULL);
	assert_int_equal(n, sizeof(q) + 16);
	assert_memory_equal(out + n - 4, "\x0a\0\0\1", 4);
	memcpy(bad, q, sizeof(q));
	bad[17] = 28; // AAAA: there is none, then one
	n = dns_answer(bad, sizeof(bad), out, sizeof(out), one_name, NULL);
	assert_int_equal(n, sizeof(q));
	assert_int_equal(out[7], 0);
	n = dns_answer(bad, sizeof(bad), out, sizeof(out), one_name, &six);
	assert_int_equal(n, sizeof(q) + 28);
	assert_memory_equal(out + n - 18, "\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\7", 18);
	assert_int_equal(out[7], 1);
	memcpy(bad, q, sizeof(q));
	bad[13] = 'x';
	assert_int_equal(dns_answer(bad, sizeof(bad), out, sizeof(out), one_name, NULL), -1);
	bad[12] = 60; // a label longer than the packet
	assert_int_equal(dns_answer(bad, sizeof(bad), out, sizeof(out), one_name, NULL), 12);
	assert_int_equal(out[3] & 15, 1);
	for (size_t i = 0; i < sizeof(q); i++) // no prefix crashes or answers wrongly
		assert_true(dns_answer(q, i, out, sizeof(out), one_name, NULL) <= 12);
	memcpy(bad, q, sizeof(q));
	bad[2] |= 0x80; // an answer, not a query
	assert_int_equal(dns_answer(bad, sizeof(bad), out, sizeof(out), one_name, NULL), 0);
}

static void utf8(void **state)
{
	json_t *s = jstrn("a\xff\xc3\xa4\xed\xa0\x80z", 8);

	assert_string_equal(json_string_value(s),
			    "a\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz");
	json_decref(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(http_good),
	    cmocka_unit_test(http_bad),
	    cmocka_unit_test(http_chunks),
	    cmocka_unit_test(routes),
	    cmocka_unit_test(references),
	    cmocka_unit_test(numbers_and_times),
	    cmocka_unit_test(urls_and_credentials),
	    cmocka_unit_test(dns),
	    cmocka_unit_test(utf8),
	};
	return cmocka_run_group_tests_name("d0d_http", tests, NULL, NULL);
}
