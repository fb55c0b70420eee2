// SPDX-License-Identifier: ISC
// The registry side: pull and push over the OCI distribution API (registry v2), with token
// authentication and TLS.
#ifndef D0D_REGISTRY_H
#define D0D_REGISTRY_H

#include "d0d/engine.h"
#include "d0d/ref.h"

// Told about progress; a negative result ends the operation (the client is gone). ID is a
// layer's short name or NULL.
typedef int progress_fn(void *ctx, const char *id, const char *status, uint64_t done,
			uint64_t total);

struct registry_auth {
	char user[256], password[2048], token[4096]; // empty: none
};

// Parses the header X-Registry-Auth (base64url of JSON). Malformed ones are empty.
void registry_auth_parse(const char *header, struct registry_auth *a);

// Pulls one reference (tag or digest). FAMILIAR names it for messages. On success *FRESH
// says whether anything new arrived and DIGEST is the manifest's. Nothing half-made remains
// on failure.
int registry_pull(struct engine *e, const struct ref *r, const struct registry_auth *auth,
		  progress_fn *progress, void *ctx, char digest[DIGEST_LEN + 1], bool *fresh,
		  struct err *err);
struct push_result {
	char digest[DIGEST_LEN + 1]; // the manifest's
	size_t size;
};
// Pushes an image by its tag. What was pulled leaves under the digest it had, if the registry
// has its layers already or they compress to what they were (push.c).
int registry_push(struct engine *e, const struct ref *r, const struct registry_auth *auth,
		  progress_fn *progress, void *ctx, struct push_result *out, struct err *err);
// Checks a login (docker login).
int registry_login(struct engine *e, const char *server, const struct registry_auth *auth,
		   struct err *err);

#endif
