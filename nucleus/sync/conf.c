/* SPDX-License-Identifier: ISC */
/*
 * d0.conf: the cells, channels and devices that D0 starts with. Lines of words; `#` begins
 * a comment. The file is signed, but a signed mistake is still a mistake: everything is
 * checked, and an error names the line.
 *
 *	cell NAME image=IMG [heap=64K] [stack=16K] [state=0] [user=0] [vcpus=1] [channels=8]
 *	     [priority=3] [budget=0] [restart=never|on-failure|always] [caps=inspect,...]
 *	     [data=FILE]	a file of the archive, mapped read-only as a region of that name
 *	args NAME the rest of the line
 *	channel SERVER CLIENT protocol=P [ring=16K] [label=L] [server_args=A] [client_args=A]
 *	device NAME pci=VVVV:DDDD | class=CCSS [index=N]
 *
 * In server_args and client_args a comma stands for a space.
 */
#include <string.h>
#include "nucleus/archive/archive.h"
#include "nucleus/core/print.h"
#include "nucleus/sync/sync.h"

#define LINE_MAX  1400
#define WORDS_MAX 24

static char line[LINE_MAX];
static char *word[WORDS_MAX];
static u32 words, line_number;
static char error[200];

static const char *fail(const char *what, const char *which)
{
	n_snprintf(error, sizeof(error), "d0.conf, line %u: %s '%s'", line_number, what, which);
	return error;
}

/* The value of key= among the words from the third on, or NULL. */
static const char *value_of(const char *key)
{
	size_t n = strlen(key);
	for (u32 i = 2; i < words; i++)
		if (!strncmp(word[i], key, n) && word[i][n] == '=')
			return word[i] + n + 1;
	return NULL;
}

static const char *check_keys(const char *const *known)
{
	for (u32 i = 2; i < words; i++) {
		bool ok = false;
		for (const char *const *k = known; *k && !ok; k++) {
			size_t n = strlen(*k);
			ok = !strncmp(word[i], *k, n) && word[i][n] == '=';
		}
		if (!ok)
			return fail("unknown word", word[i]);
	}
	return NULL;
}

static bool number(const char *text, u32 base, u64 *out)
{
	u64 v = 0;
	u32 digits = 0;
	for (; *text; text++, digits++) {
		u32 d = *text >= '0' && *text <= '9'   ? (u32)(*text - '0')
			: *text >= 'a' && *text <= 'f' ? (u32)(*text - 'a') + 10
						       : 99;
		if (d >= base)
			break;
		if (digits > 15)
			return false;
		v = v * base + d;
	}
	u32 shift = *text == 'K' ? 10 : *text == 'M' ? 20 : *text == 'G' ? 30 : 0;
	text += shift != 0;
	*out = v << shift;
	return digits && !*text && v <= ~0ull >> shift;
}

static const char *get_size(const char *key, u64 dflt, u64 *out)
{
	const char *v = value_of(key);
	*out = dflt;
	return v && !number(v, 10, out) ? fail("not a number:", v) : NULL;
}

static const char *get_u32(const char *key, u32 dflt, u32 *out)
{
	u64 v;
	const char *err = get_size(key, dflt, &v);
	*out = (u32)v;
	return err ? err : v > 0xffffffff ? fail("too large:", key) : NULL;
}

static const char *get_choice(const char *key, const char *const *names, u32 count, u32 dflt,
			      u32 *out)
{
	const char *v = value_of(key);
	*out = dflt;
	if (!v)
		return NULL;
	for (u32 i = 0; i < count; i++)
		if (names[i] && !strcmp(v, names[i])) {
			*out = i;
			return NULL;
		}
	return fail("unknown value", v);
}

static const char *get_caps(u32 *out)
{
	static const char *const name[] = {"inspect", "control", "power", "console", "heal"};
	const char *v = value_of("caps");
	*out = 0;
	while (v && *v) {
		u32 i = 0;
		size_t n = 0;
		while (v[n] && v[n] != ',')
			n++;
		while (i < ARRAY_SIZE(name) && (strlen(name[i]) != n || strncmp(name[i], v, n)))
			i++;
		if (i == ARRAY_SIZE(name))
			return fail("unknown capability", v);
		*out |= 1u << i;
		v += n + (v[n] == ',');
	}
	return NULL;
}

static const char *copy_text(char *out, size_t size, const char *from, bool commas)
{
	if (strlen(from) >= size)
		return fail("too long:", from);
	memcpy(out, from, strlen(from) + 1);
	for (char *p = out; commas && *p; p++)
		if (*p == ',')
			*p = ' ';
	return NULL;
}

static const char *parse_cell(struct cell_config *c)
{
	static const char *const known[] = {
	    "image",    "heap",   "stack",   "state", "user", "vcpus", "channels",
	    "priority", "budget", "restart", "caps",  "data", NULL};
	static const char *const policy[] = {"never", "on-failure", "always"};
	const char *image = value_of("image"), *err = check_keys(known);
	memset(c, 0, sizeof(*c));
	if (!err && !image)
		err = fail("no image= for cell", word[1]);
	if (!err)
		err = copy_text(c->name, sizeof(c->name), word[1], false);
	if (!err)
		err = copy_text(c->image, sizeof(c->image), image, false);
	if (!err)
		err = get_size("heap", 64 * KiB, &c->heap);
	if (!err)
		err = get_size("stack", 16 * KiB, &c->stack);
	if (!err)
		err = get_size("state", 0, &c->state);
	if (!err)
		err = get_size("user", 0, &c->user);
	if (!err)
		err = get_u32("vcpus", 1, &c->vcpus);
	if (!err)
		err = get_u32("channels", 8, &c->channels);
	if (!err)
		err = get_u32("priority", 3, &c->priority);
	if (!err)
		err = get_u32("budget", 0, &c->budget_us);
	if (!err)
		err = get_choice("restart", policy, ARRAY_SIZE(policy), D0_RESTART_NEVER,
				 &c->restart);
	if (!err && value_of("data"))
		err = copy_text(c->data, sizeof(c->data), value_of("data"), false);
	return err ? err : get_caps(&c->caps);
}

static const char *do_cell(void)
{
	static struct cell_config config;
	int code;
	const char *err = parse_cell(&config);
	if (err)
		return err;
	if (config.caps & D0_CAP_CONTROL) {
		for (u32 i = 0; i < cell_slots(); i++)
			if (cell_by_number(i)->config.caps & D0_CAP_CONTROL)
				return fail("only one cell may have control, not also",
					    config.name);
	}
	if (!cell_new(&config, &code))
		return fail(code == D0_EEXIST      ? "cell named twice:"
			    : code == D0_EBADIMAGE ? "no usable image for cell"
			    : code == D0_ENOMEM    ? "out of memory for cell"
						   : "a value out of range for cell",
			    config.name);
	return NULL;
}

static const char *do_channel(void)
{
	static const char *const known[] = {"protocol",    "ring",        "label",
					    "server_args", "client_args", NULL};
	static const char *const protocol[] = {NULL,      "net",    "fs",    "socket",
					       "console", "stream", "admin", "virtq"};
	char sa[176] = "", ca[176] = "";
	u64 ring;
	u32 p, a, b;
	if (words < 3)
		return fail("channel needs two cells:", word[1]);
	struct cell *server = cell_by_name(word[1]), *client = cell_by_name(word[2]);
	if (!server || !client)
		return fail("no such cell", server ? word[2] : word[1]);
	/* The keys begin after the second cell. */
	memmove(&word[2], &word[3], (words - 3) * sizeof(word[0]));
	words--;
	const char *label = value_of("label"), *err = check_keys(known);
	if (!err)
		err = get_choice("protocol", protocol, ARRAY_SIZE(protocol), 0, &p);
	if (!err && !p)
		err = fail("no protocol= for channel to", server->config.name);
	if (!err)
		err = get_size("ring", 16 * KiB, &ring);
	if (!err && value_of("server_args"))
		err = copy_text(sa, sizeof(sa), value_of("server_args"), true);
	if (!err && value_of("client_args"))
		err = copy_text(ca, sizeof(ca), value_of("client_args"), true);
	if (err)
		return err;
	int code = channel_create(server, client, p, ring, label ? label : "", sa, ca, &a, &b);
	return code ? fail("can't make channel to", server->config.name) : NULL;
}

static const char *do_args(const char *rest)
{
	struct cell *cell = cell_by_name(word[1]);
	if (!cell)
		return fail("no such cell", word[1]);
	const char *err = copy_text(cell->config.args, sizeof(cell->config.args), rest, false);
	if (!err)
		memcpy(cell->info->args, cell->config.args, sizeof(cell->info->args));
	return err;
}

static struct device *find_device(u64 vendor, u64 id, u64 class, u32 index)
{
	for (u32 i = 0; i < device_count(); i++) {
		struct device *dev = device_by_index(i);
		u16 v, d;
		u32 c;
		device_describe(dev, NULL, &c, &v, &d, NULL);
		bool hit = class != ~0ull ? c >> 16 == class : v == vendor && d == id;
		if (hit && !index--)
			return dev;
	}
	return NULL;
}

static const char *do_device(void)
{
	static const char *const known[] = {"pci", "class", "index", NULL};
	struct cell *cell = cell_by_name(word[1]);
	const char *pci = value_of("pci"), *class = value_of("class");
	u64 vendor = 0, id = 0, want = ~0ull;
	char half[5] = "";
	u32 index;
	if (!cell)
		return fail("no such cell", word[1]);
	const char *err = check_keys(known);
	if (!err)
		err = get_u32("index", 0, &index);
	if (err)
		return err;
	if (!pci == !class)
		return fail("device needs pci= or class=, for", word[1]);
	if (class && !number(class, 16, &want))
		return fail("not a class", class);
	if (pci) {
		if (strlen(pci) != 9 || pci[4] != ':')
			return fail("not VVVV:DDDD", pci);
		memcpy(half, pci, 4);
		if (!number(half, 16, &vendor) || !number(pci + 5, 16, &id))
			return fail("not VVVV:DDDD", pci);
	}
	struct device *dev = find_device(vendor, id, want, index);
	if (!dev) {
		n_print("d0.conf, line %u: this machine has no device %s for %s", line_number,
			pci ? pci : class, word[1]);
		return NULL; /* the cell finds out by its table; others are not held up */
	}
	int code = cell_add_device(cell, dev);
	return code ? fail("can't give the device to", word[1]) : NULL;
}

/* Next line into `line`, split into words; args' rest stays whole. */
static const char *next_line(const char **at, const char *end, const char **rest)
{
	size_t n = 0;
	line_number++;
	while (*at < end && **at != '\n') {
		if (n + 1 == sizeof(line))
			return fail("line too long", "");
		line[n++] = *(*at)++;
	}
	*at += *at < end;
	line[n] = 0;
	*rest = "";
	words = 0;
	for (char *p = line; *p && *p != '#';) {
		if (*p == ' ' || *p == '\t') {
			*p++ = 0;
			continue;
		}
		if (words == 2 && !strcmp(word[0], "args")) {
			*rest = p;
			break;
		}
		if (words == WORDS_MAX)
			return fail("too many words", word[0]);
		word[words++] = p;
		while (*p && *p != ' ' && *p != '\t' && *p != '#')
			p++;
		if (*p == '#') {
			*p = 0;
			break;
		}
	}
	return NULL;
}

static const char *do_line(const char *rest)
{
	if (words < 2)
		return fail("incomplete line", word[0]);
	if (!strcmp(word[0], "cell"))
		return do_cell();
	if (!strcmp(word[0], "args"))
		return do_args(rest);
	if (!strcmp(word[0], "channel"))
		return do_channel();
	if (!strcmp(word[0], "device"))
		return do_device();
	return fail("unknown statement", word[0]);
}

const char *conf_apply(const char *text, u64 size)
{
	const char *at = text, *end = text + size, *rest;
	line_number = 0;
	while (at < end) {
		const char *err = next_line(&at, end, &rest);
		if (!err && words)
			err = do_line(rest);
		if (err)
			return err;
	}
	return NULL;
}
