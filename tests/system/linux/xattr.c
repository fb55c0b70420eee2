/* SPDX-License-Identifier: ISC */
/* Extended attributes of a file: silent when all is as it should be. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#define CHECK(what)                                                            \
	do {                                                                   \
		if (!(what)) {                                                 \
			printf("xattr: line %d, errno %d\n", __LINE__, errno); \
			return 1;                                              \
		}                                                              \
	} while (0)

int main(int argc, char **argv)
{
	const char *f = argv[1];
	char buf[64];

	CHECK(argc == 2);
	CHECK(getxattr(f, "user.a", NULL, 0) == -1 && errno == ENODATA);
	CHECK(setxattr(f, "user.a", "one", 3, XATTR_REPLACE) == -1 && errno == ENODATA);
	CHECK(setxattr(f, "user.a", "one", 3, XATTR_CREATE) == 0);
	CHECK(setxattr(f, "user.a", "one", 3, XATTR_CREATE) == -1 && errno == EEXIST);
	CHECK(setxattr(f, "user.b", "", 0, 0) == 0);
	CHECK(getxattr(f, "user.a", NULL, 0) == 3);
	CHECK(getxattr(f, "user.a", buf, 2) == -1 && errno == ERANGE);
	CHECK(getxattr(f, "user.a", buf, sizeof(buf)) == 3 && !memcmp(buf, "one", 3));
	CHECK(getxattr(f, "user.b", buf, sizeof(buf)) == 0);
	CHECK(listxattr(f, NULL, 0) == 14);
	CHECK(listxattr(f, buf, sizeof(buf)) == 14);
	CHECK(removexattr(f, "user.a") == 0);
	CHECK(removexattr(f, "user.a") == -1 && errno == ENODATA);
	CHECK(listxattr(f, buf, sizeof(buf)) == 7 && !strcmp(buf, "user.b"));
	return 0;
}
