// SPDX-License-Identifier: ISC
// Image references: [registry/]path[:tag][@digest], as distribution/reference defines them.
#ifndef D0D_REF_H
#define D0D_REF_H

#include "d0d/util.h"

struct ref {
	char domain[256]; // "docker.io" when none was given
	char path[256];   // "library/busybox"
	char tag[129];    // "" if none
	char digest[136]; // "sha256:..." or ""
};

// Parses and normalises; 400 "invalid reference format" on failure.
int ref_parse(const char *s, struct ref *r, struct err *e);
bool ref_valid_tag(const char *tag);
bool ref_valid_digest(const char *digest); // sha256 only
// "docker.io/library/busybox:latest", the form that is stored. To be freed.
char *ref_full(const struct ref *r);
// What people see: "busybox:latest", "host:5000/x:1". To be freed.
char *ref_familiar(const char *full);
char *ref_familiar_name(const struct ref *r); // without tag and digest

#endif
