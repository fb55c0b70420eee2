/* SPDX-License-Identifier: ISC */
/*
 * What the boot loader hands over, and the words of its command line that d0.conf asks for
 * ("@WORD"). An input is a list of multiboot2 tags as it is, or (an even first byte) a command
 * line, a newline, and args; those are replaced once more here, the plain way, to compare.
 */
#include <stdlib.h>
#include <string.h>
#include "nucleus/live0/boot_info.c"
#include "nucleus/sync/control.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ARGS_MAX sizeof(((struct d0_ctl_cell_create *)0)->args)

static const char *loader_tags(const void *tags, size_t size)
{
	u32 total = (u32)size + 8;
	u8 *list = calloc(1, ALIGN_UP(total, 8));
	const char *err;
	if (!list)
		abort();
	memcpy(list, &total, sizeof(total));
	memcpy(list + 8, tags, size);
	err = boot_info_from_mb2((u64)list);
	free(list);
	return err;
}

static void loader_text(const char *text, size_t len)
{
	u8 list[8 + 2 * BOOT_CMDLINE_MAX] = {0};
	struct mb2_tag tag = {MB2_CMDLINE, 0};
	len = MIN(len, sizeof(list) - sizeof(tag));
	tag.size = (u32)(sizeof(tag) + len);
	memcpy(list, &tag, sizeof(tag));
	memcpy(list + sizeof(tag), text, len);
	loader_tags(list, tag.size);
}

/* The first word of the command line that is `name` or begins with `name=`. */
static size_t value_of(const char *name, size_t len, char *out)
{
	const char *p = boot_info.cmdline, *end;
	for (;; p = end + 1) {
		end = p + strcspn(p, " ");
		size_t n = (size_t)(end - p);
		if (n >= len && !memcmp(p, name, len) && (n == len || p[len] == '=') && *p) {
			memcpy(out, p, n > len ? n : 0);
			return n > len ? n : 0;
		}
		if (!*end)
			return 0;
	}
}

/* A new string, to be freed. */
static char *replaced(const char *args)
{
	char *out = malloc(strlen(args) * BOOT_CMDLINE_MAX + 1);
	size_t n = 0;
	if (!out)
		abort();
	for (const char *p = args; *p;) {
		size_t len = strcspn(p, " ");
		if (*p == '@') {
			n += value_of(p + 1, len - 1, out + n);
		} else {
			memcpy(out + n, p, len);
			n += len;
		}
		if (p[len])
			out[n++] = p[len++];
		p += len;
	}
	out[n] = 0;
	return out;
}

static void words(const char *text, size_t size)
{
	const char *nl = memchr(text, '\n', size);
	size_t line = nl ? (size_t)(nl - text) : size, rest = nl ? size - line - 1 : 0;
	char *args = calloc(1, ARGS_MAX), *want;
	if (!args)
		abort();
	loader_text(text, line);
	if (rest)
		memcpy(args, nl + 1, MIN(rest, ARGS_MAX));
	if (strnlen(args, ARGS_MAX) == ARGS_MAX) {
		if (add_boot_words(args, ARGS_MAX))
			abort();
		free(args);
		return;
	}
	want = replaced(args);
	if (add_boot_words(args, ARGS_MAX) != (strlen(want) < ARGS_MAX))
		abort();
	if (strlen(want) < ARGS_MAX && strcmp(want, args))
		abort();
	free(want);
	free(args);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	boot_info = (struct boot_info){0};
	if (!size)
		return 0;
	if (*data & 1)
		loader_tags(data + 1, size - 1);
	else
		words((const char *)data + 1, size - 1);
	if (strnlen(boot_info.cmdline, BOOT_CMDLINE_MAX) == BOOT_CMDLINE_MAX)
		abort();
	cmdline_has("panic=exit");
	return 0;
}
