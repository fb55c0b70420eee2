// SPDX-License-Identifier: ISC
// The image builder: what Docker calls the classic one. See build.c for the theory.
#ifndef D0D_BUILD_H
#define D0D_BUILD_H

#include "d0d/dockerfile.h"
#include "d0d/engine.h"

struct stage {
	char *name;                 // of FROM ... AS NAME, or NULL
	char image[DIGEST_LEN + 1]; // what is committed so far
	json_t *config;             // the image's config section as it will be
	json_t *history;            // likewise
	json_t *args;               // ARGs in scope: name to value
	char *author;
	bool dirty; // config and history say more than IMAGE
	bool own_cmd;
};

struct build {
	struct engine *e;
	const struct dockerfile *f;
	int context;         // the build context: an uncompressed tar
	const json_t *given; // --build-arg
	const json_t *labels;
	const char *target; // NULL: the last stage
	bool no_cache, pull;
	// Progress for the client; negative: it is gone and the build ends.
	int (*say)(void *ctx, const char *text, size_t n);
	// Brings an image that FROM names and the host has not.
	int (*fetch)(void *ctx, const char *name, struct err *err);
	bool (*gone)(void *ctx);
	void *ctx;
	struct err *err;
	int code; // of a RUN that failed, else 0
	// within
	struct stage *stage;
	size_t nstages;
	json_t *globals; // ARGs before the first FROM
	json_t *used;    // build arguments that some ARG asked for
};

// 0 and the image's id, or -1 with b->err. Nothing but cached steps remains of a failed build.
int build_run(struct build *b, char id[DIGEST_LEN + 1]);

// ---- between the builder's files ----
// The key of a step on top of the stage so far; the image it made before; what it made now.
void build_key(const struct stage *st, const char *text, const char *extra,
	       char key[ID_LEN + 1]);
bool build_cached(struct build *b, const char *key, char id[DIGEST_LEN + 1]);
void build_note(struct build *b, const char *key, const char *id);
int build_say(struct build *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// The words of a step with its stage's variables in their place.
char **build_words(struct build *b, struct stage *st, const struct df_step *s);
// A stage of this build by name or number, done already, or NULL.
struct stage *build_stage(struct build *b, const char *name);
// The stage goes on from image ID; CONFIG: with that image's config.
int build_take_image(struct build *b, struct stage *st, const char *id, bool config);
// Value of a variable in a config's Env, or NULL.
const char *build_env_get(const json_t *config, const char *name);
// Proxy variables reach every RUN without an ARG.
bool build_known_proxy(const char *name);
// The command of a step as an array: ARRAY, or TEXT for the stage's shell. The caller's.
json_t *build_command_of(const struct stage *st, json_t *array, const char *text);
// The steps that change files.
int build_do_run(struct build *b, struct stage *st, const struct df_step *s);
int build_do_copy(struct build *b, struct stage *st, const struct df_step *s);
// COPY and ADD: an archive of what is to be in the container's tree, as a scratch file, and
// what it holds as a digest in hex (times don't count).
int build_copy(struct build *b, struct stage *st, const struct df_step *s, struct container *c,
	       int *out, char sum[ID_LEN + 1]);

#endif
