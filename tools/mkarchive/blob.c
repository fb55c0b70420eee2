/* SPDX-License-Identifier: ISC */
#include <stdlib.h>
#include <string.h>
#include "mkarchive.h"

const char *blob_read(struct blob *b, const char *path)
{
	FILE *f = fopen(path, "rb");
	const char *err = "cannot read the file";
	long size;

	*b = (struct blob){0};
	if (!f)
		return "cannot open the file";
	if (!fseek(f, 0, SEEK_END) && (size = ftell(f)) >= 0 && !fseek(f, 0, SEEK_SET)) {
		b->size = (size_t)size;
		b->data = malloc(b->size + 1);
		if (b->data && fread(b->data, 1, b->size, f) == b->size)
			err = NULL;
	}
	fclose(f);
	if (err)
		blob_free(b);
	return err;
}

const char *blob_write(const struct blob *b, const char *path)
{
	FILE *f = fopen(path, "wb");
	bool ok;

	if (!f)
		return "cannot create the file";
	ok = fwrite(b->data, 1, b->size, f) == b->size;
	ok &= fclose(f) == 0;
	return ok ? NULL : "cannot write the file";
}

void blob_free(struct blob *b)
{
	free(b->data);
	*b = (struct blob){0};
}
