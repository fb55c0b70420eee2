// SPDX-License-Identifier: ISC
// The Dockerfile parser: lines, flags, arrays, words and variables.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/dockerfile.h"

static struct dockerfile parse(const char *text)
{
	struct dockerfile f;
	struct err e = {0};

	assert_int_equal(dockerfile_parse(text, strlen(text), &f, &e), 0);
	return f;
}

static void lines_are_joined(void **state)
{
	struct dockerfile f =
	    parse("# a comment\n\nFROM busybox AS x\r\nrun one \\\n  # within\n\n  two\n"
		  "CMD [\"a\", \"b\"]");

	assert_int_equal(f.n, 3);
	assert_string_equal(f.step[0].rest, "busybox AS x");
	assert_string_equal(f.step[1].word, "RUN");
	assert_string_equal(f.step[1].rest, "one   two");
	assert_int_equal(f.step[1].line, 4);
	assert_int_equal(json_array_size(f.step[2].array), 2);
	dockerfile_free(&f);
	f = parse("# escape=`\nFROM x\nRUN a `\nb\\");
	assert_string_equal(f.step[1].rest, "a b\\");
	dockerfile_free(&f);
}

static void flags_come_first(void **state)
{
	struct dockerfile f = parse("COPY --from=base --chown=1:2 --link a --x b");

	assert_string_equal(df_flag(&f.step[0], "from"), "base");
	assert_string_equal(df_flag(&f.step[0], "chown"), "1:2");
	assert_string_equal(df_flag(&f.step[0], "link"), "");
	assert_null(df_flag(&f.step[0], "x"));
	assert_string_equal(f.step[0].rest, "a --x b");
	dockerfile_free(&f);
}

static void bad_files_say_where(void **state)
{
	static const char *const bad[][2] = {
	    {"FROM x\nNOPE y", "line 2: unknown instruction: NOPE"},
	    {"FROM", "FROM requires at least one argument"},
	    {"", "empty"},
	    {"# only\n\n", "empty"},
	    {"FROM x\nRUN <<EOF\ncat\nEOF", "here-documents"}};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct dockerfile f;
		struct err e = {0};
		assert_int_equal(dockerfile_parse(bad[i][0], strlen(bad[i][0]), &f, &e), -1);
		assert_int_equal(e.status, 400);
		assert_non_null(strstr(e.msg, bad[i][1]));
	}
}

static const char *get(void *ctx, const char *name)
{
	return strcmp(name, "A") == 0 ? "va lue" : strcmp(name, "E") == 0 ? "" : NULL;
}

static void words_and_variables(void **state)
{
	static const char *const ok[][2] = {{"$A", "va lue"},
					    {"x${A}y", "xva luey"},
					    {"${B:-d}", "d"},
					    {"${E:-$A}", "va lue"},
					    {"${A:+set}${B:+no}", "set"},
					    {"'$A'", "$A"},
					    {"\"$A\\\"\"", "va lue\""},
					    {"\\$A", "$A"},
					    {"$B", ""},
					    {"a$", "a$"}};
	struct err e = {0};

	for (size_t i = 0; i < sizeof(ok) / sizeof(ok[0]); i++) {
		char *v = df_expand(ok[i][0], '\\', get, NULL, &e);
		assert_non_null(v);
		assert_string_equal(v, ok[i][1]);
		free(v);
	}
	char **w = df_words("  a=\"b c\" d\\ e  'f' ", '\\', get, NULL, &e);
	assert_string_equal(w[0], "a=b c");
	assert_string_equal(w[1], "d e");
	assert_string_equal(w[2], "f");
	assert_null(w[3]);
	strv_free(w);
	static const char *const bad[] = {"${A", "${A:?x}", "\"a", "'a", "${}"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_null(df_words(bad[i], '\\', get, NULL, &e));
		assert_int_equal(e.status, 400);
	}
}

static void sizes_are_bounded(void **state)
{
	struct err e = {0};
	struct sbuf b = {0};
	struct dockerfile f;

	for (int i = 0; i <= DF_STEPS_MAX; i++)
		sbuf_adds(&b, "RUN x\n");
	assert_int_equal(dockerfile_parse(b.p, b.len, &f, &e), -1);
	sbuf_free(&b);
	for (int i = 0; i < 20000; i++)
		sbuf_adds(&b, "$A");
	assert_null(df_expand(b.p, '\\', get, NULL, &e));
	sbuf_free(&b);
	for (int i = 0; i < 40; i++)
		sbuf_adds(&b, "${B:-");
	assert_null(df_expand(b.p, '\\', get, NULL, &e));
	sbuf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines_are_joined), cmocka_unit_test(flags_come_first),
	    cmocka_unit_test(bad_files_say_where), cmocka_unit_test(words_and_variables),
	    cmocka_unit_test(sizes_are_bounded)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
