// SPDX-License-Identifier: ISC
// The Dockerfile parser: text in, instructions out. Pure; fuzzed.
#ifndef D0D_DOCKERFILE_H
#define D0D_DOCKERFILE_H

#include "d0d/util.h"

#define DF_TEXT_MAX  (1u << 20) // of a Dockerfile
#define DF_STEPS_MAX 1000
#define DF_WORDS_MAX 1000
#define DF_WORD_MAX  65536 // bytes of a word once its variables are there

struct df_step {
	int line;      // where it begins
	char *word;    // the instruction in capitals, one that is known
	char *text;    // as written, lines joined: "RUN make  all"
	char **flags;  // "--from=base" ..., NULL-terminated
	char *rest;    // what follows the flags
	json_t *array; // REST as a JSON array of strings, or NULL
};
struct dockerfile {
	struct df_step *step;
	size_t n;
	char escape; // '\\' or '`'
};

// 400 with Docker's "dockerfile parse error line N: ..." on failure; then nothing is to be
// freed.
int dockerfile_parse(const char *text, size_t len, struct dockerfile *out, struct err *e);
void dockerfile_free(struct dockerfile *f);
// The value of --NAME=VALUE, or NULL.
const char *df_flag(const struct df_step *s, const char *name);

// What a variable is, or NULL if it isn't set.
typedef const char *df_lookup(void *ctx, const char *name);
// TEXT cut at white space, with quotes taken off and $X, ${X}, ${X:-word}, ${X:+word} replaced
// (not inside single quotes). A NULL-terminated vector, NULL with 400.
char **df_words(const char *text, char escape, df_lookup *get, void *ctx, struct err *e);
// The same with all of TEXT as one word.
char *df_expand(const char *text, char escape, df_lookup *get, void *ctx, struct err *e);

#endif
