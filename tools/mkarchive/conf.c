/* SPDX-License-Identifier: ISC */
/*
 * d0.conf: the cells, channels and devices that D0 starts with, made into the requests that
 * the nucleus carries out at boot (struct d0_conf_request). Lines of words; `#` begins a
 * comment. Everything is checked here, and an error names the line; what depends on the
 * machine (memory, devices) the nucleus finds out.
 *
 *	cell NAME image=IMG [heap=64K] [stack=16K] [state=0] [user=0] [vcpus=1] [channels=8]
 *	     [priority=3] [budget=0] [slice=0] [restart=never|on-failure|always]
 *	     [caps=inspect,...]
 *	     [data=FILE]	a file of the archive, mapped read-only as a region of that name
 *	args NAME the rest of the line
 *	channel SERVER CLIENT protocol=P [ring=16K] [label=L] [server_args=A] [client_args=A]
 *	device NAME pci=VVVV:DDDD | class=CCSS [index=N]
 *
 * In server_args and client_args a comma stands for a space.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "d0/control.h"
#include "mkarchive.h"

#define LINE_BYTES 1400
#define WORDS_MAX  24
#define CELLS_MAX  512
#define KiB        1024ull
#define MiB        (KiB * KiB)
#define GiB        (KiB * MiB)

struct conf {
	const struct builder *b; /* NULL: images are not looked for */
	struct blob *out;
	char *error;
	unsigned line;
	char text[LINE_BYTES];
	char *word[WORDS_MAX], *rest; /* rest: of an args line */
	unsigned words, first_key;
	size_t cell[CELLS_MAX]; /* where in the output each cell's request lies */
	unsigned cells;
	bool control;
};

static const char *fail(struct conf *c, const char *what, const char *which)
{
	snprintf(c->error, CONF_ERROR_SIZE, "d0.conf, line %u: %s '%s'", c->line, what, which);
	return c->error;
}

/* ---- output ---- */

static const char *put(struct conf *c, const void *request, uint32_t size)
{
	struct d0_conf_request head = {c->line, size};
	uint8_t *more = realloc(c->out->data, c->out->size + sizeof(head) + size);

	if (!more)
		return "out of memory";
	memcpy(more + c->out->size, &head, sizeof(head));
	memcpy(more + c->out->size + sizeof(head), request, size);
	c->out->data = more;
	c->out->size += sizeof(head) + size;
	return NULL;
}

static struct d0_ctl_cell_create *cell_at(const struct conf *c, unsigned i)
{
	return (void *)(c->out->data + c->cell[i]);
}

static int cell_number(const struct conf *c, const char *name)
{
	for (unsigned i = 0; i < c->cells; i++)
		if (!strcmp(cell_at(c, i)->name, name))
			return (int)i;
	return -1;
}

/* ---- words ---- */

static const char *value_of(const struct conf *c, const char *key)
{
	size_t n = strlen(key);

	for (unsigned i = c->first_key; i < c->words; i++)
		if (!strncmp(c->word[i], key, n) && c->word[i][n] == '=')
			return c->word[i] + n + 1;
	return NULL;
}

static const char *check_keys(struct conf *c, const char *known)
{
	for (unsigned i = c->first_key; i < c->words; i++) {
		size_t n = strcspn(c->word[i], "=");
		const char *at = known;

		while (at && (strncmp(at, c->word[i], n) || (at[n] && at[n] != ' '))) {
			at = strchr(at, ' ');
			at = at ? at + 1 : NULL;
		}
		if (!at || c->word[i][n] != '=')
			return fail(c, "unknown word", c->word[i]);
	}
	return NULL;
}

static bool number(const char *text, int base, uint64_t *out)
{
	static const char units[] = "KMG";
	const char *unit;
	char *end;
	unsigned shift = 0;
	uint64_t v = strtoull(text, &end, base);

	if (!isxdigit((unsigned char)*text) || end == text || end - text > 15)
		return false;
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
	}
	*out = v << shift;
	return !*end && v <= ~0ull >> shift;
}

static const char *get_number(struct conf *c, const char *key, uint64_t dflt, uint64_t max,
			      uint64_t *out)
{
	const char *v = value_of(c, key);

	*out = dflt;
	if (v && !number(v, 10, out))
		return fail(c, "not a number:", v);
	return *out > max ? fail(c, "a value out of range:", v) : NULL;
}

static const char *get_u32(struct conf *c, const char *key, uint32_t dflt, uint32_t max,
			   uint32_t *out)
{
	uint64_t v;
	const char *err = get_number(c, key, dflt, max, &v);

	*out = (uint32_t)v;
	return err;
}

static const char *get_choice(struct conf *c, const char *key, const char *const *names,
			      unsigned count, uint32_t *out)
{
	const char *v = value_of(c, key);

	*out = 0;
	for (unsigned i = 0; v && i < count; i++)
		if (names[i] && !strcmp(v, names[i])) {
			*out = i;
			return NULL;
		}
	return v ? fail(c, "unknown value", v) : NULL;
}

static const char *get_caps(struct conf *c, uint32_t *out)
{
	static const char *const name[] = {"inspect", "control", "power", "console", "heal"};
	const char *v = value_of(c, "caps");

	*out = 0;
	while (v && *v) {
		size_t n = strcspn(v, ",");
		unsigned i = 0;

		while (i < 5 && (strlen(name[i]) != n || strncmp(name[i], v, n)))
			i++;
		if (i == 5)
			return fail(c, "unknown capability", v);
		*out |= 1u << i;
		v += n + (v[n] == ',');
	}
	return NULL;
}

static const char *copy_text(struct conf *c, char *out, size_t size, const char *from,
			     bool commas)
{
	size_t n = from ? strlen(from) : 0;

	if (n >= size)
		return fail(c, "too long:", from);
	for (size_t i = 0; i < n; i++)
		out[i] = commas && from[i] == ',' ? ' ' : from[i];
	return NULL;
}

/* ---- statements ---- */

static bool name_good(const char *name)
{
	return *name && strlen(name) < D0_NAME_MAX &&
	       strspn(name,
		      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
		   strlen(name);
}

static bool archived(const struct conf *c, const char *name, uint32_t kind)
{
	for (unsigned i = 0; c->b && i < c->b->inputs; i++)
		if (!strcmp(c->b->input[i].name, name) && (c->b->input[i].kind & 0xff) == kind)
			return true;
	return !c->b;
}

static const char *cell_names(struct conf *c, struct d0_ctl_cell_create *r)
{
	const char *image = value_of(c, "image"), *data = value_of(c, "data");
	const char *err = copy_text(c, r->data, sizeof(r->data), data, false);

	if (err)
		return err;
	if (!name_good(c->word[1]))
		return fail(c, "a value out of range: not a name for a cell:", c->word[1]);
	if (cell_number(c, c->word[1]) >= 0)
		return fail(c, "cell named twice:", c->word[1]);
	if (!image)
		return fail(c, "no image= for cell", c->word[1]);
	if (!name_good(image) || !archived(c, image, D0_FILE_CELL))
		return fail(c, "no usable image for cell", c->word[1]);
	if (data && !archived(c, data, D0_FILE_DATA))
		return fail(c, "no such file in the archive:", data);
	memcpy(r->name, c->word[1], strlen(c->word[1]));
	memcpy(r->image, image, strlen(image));
	return NULL;
}

static const char *cell_sizes(struct conf *c, struct d0_ctl_cell_create *r)
{
	const char *err = get_number(c, "heap", 64 * KiB, 4 * GiB, &r->heap);

	if (!err)
		err = get_number(c, "stack", 16 * KiB, 16 * MiB, &r->stack);
	if (!err && r->stack < 4 * KiB)
		err = fail(c, "a value out of range:", "stack");
	if (!err)
		err = get_number(c, "state", 0, GiB, &r->state);
	return err ? err : get_number(c, "user", 0, 64 * GiB, &r->user);
}

static const char *cell_numbers(struct conf *c, struct d0_ctl_cell_create *r)
{
	static const char *const policy[] = {"never", "on-failure", "always"};
	const char *err = get_u32(c, "vcpus", 1, D0_VCPUS_MAX, &r->vcpus);

	if (!err)
		err = get_u32(c, "channels", 8, D0_CHANNELS_MAX, &r->channels);
	if (!err && (!r->vcpus || !r->channels))
		err = fail(c, "a value out of range for cell", c->word[1]);
	if (!err)
		err = get_u32(c, "priority", 3, 7, &r->priority);
	if (!err)
		err = get_u32(c, "budget", 0, D0_CTL_PERIOD_US, &r->budget_us);
	if (!err)
		err = get_u32(c, "slice", 0, D0_CTL_PERIOD_US, &r->slice_us);
	if (!err)
		err = get_choice(c, "restart", policy, 3, &r->restart);
	return err ? err : get_caps(c, &r->caps);
}

static const char *do_cell(struct conf *c)
{
	struct d0_ctl_cell_create r = {.h = {D0_CTL_cell_create, sizeof(r), 0, 0}};
	const char *err = check_keys(
	    c, "image heap stack state user vcpus channels priority budget slice restart "
	       "caps data");

	if (!err)
		err = cell_names(c, &r);
	if (!err)
		err = cell_sizes(c, &r);
	if (!err)
		err = cell_numbers(c, &r);
	if (!err && c->cells == CELLS_MAX)
		err = fail(c, "too many cells:", r.name);
	if (!err && c->control && (r.caps & D0_CAP_CONTROL))
		err = fail(c, "only one cell may have control, not also", r.name);
	if (!err)
		err = put(c, &r, sizeof(r));
	if (err)
		return err;
	c->cell[c->cells++] = c->out->size - sizeof(r);
	c->control |= r.caps & D0_CAP_CONTROL;
	return NULL;
}

static const char *do_args(struct conf *c)
{
	int i = cell_number(c, c->word[1]);

	if (i < 0)
		return fail(c, "no such cell", c->word[1]);
	memset(cell_at(c, (unsigned)i)->args, 0, sizeof(cell_at(c, (unsigned)i)->args));
	return copy_text(c, cell_at(c, (unsigned)i)->args,
			 sizeof(cell_at(c, (unsigned)i)->args), c->rest, false);
}

static const char *do_channel(struct conf *c)
{
	static const char *const protocol[] = {NULL,      "net",    "fs",    "socket",
					       "console", "stream", "admin", "virtq"};
	struct d0_ctl_channel_create r = {.h = {D0_CTL_channel_create, sizeof(r), 0, 0}};
	int server = cell_number(c, c->word[1]), client;
	const char *err;

	if (c->words < 3)
		return fail(c, "channel needs two cells:", c->word[1]);
	client = cell_number(c, c->word[2]);
	if (server < 0 || client < 0)
		return fail(c, "no such cell", c->word[server < 0 ? 1 : 2]);
	c->first_key = 3;
	err = check_keys(c, "protocol ring label server_args client_args");
	if (!err)
		err = get_choice(c, "protocol", protocol, 8, &r.protocol);
	if (!err && !r.protocol)
		err = fail(c, "no protocol= for channel to", c->word[1]);
	if (!err)
		err = get_number(c, "ring", 16 * KiB, 8 * MiB, &r.ring);
	if (!err)
		err = copy_text(c, r.label, sizeof(r.label), value_of(c, "label"), false);
	if (!err)
		err = copy_text(c, r.server_args, sizeof(r.server_args),
				value_of(c, "server_args"), true);
	if (!err)
		err = copy_text(c, r.client_args, sizeof(r.client_args),
				value_of(c, "client_args"), true);
	if (!err && server == client)
		err = fail(c, "can't make channel to", c->word[1]);
	r.h.cell = (uint32_t)server;
	r.client = (uint32_t)client;
	return err ? err : put(c, &r, sizeof(r));
}

static const char *do_device(struct conf *c)
{
	struct d0_ctl_device_grant r = {.h = {D0_CTL_device_grant, sizeof(r), 0, 0},
					.address = D0_CTL_BY_KIND};
	const char *pci = value_of(c, "pci"), *class = value_of(c, "class");
	int cell = cell_number(c, c->word[1]);
	uint64_t v = 0, d = 0, k = 0;
	char vendor[5] = "";
	const char *err;

	if (cell < 0)
		return fail(c, "no such cell", c->word[1]);
	err = check_keys(c, "pci class index");
	if (!err)
		err = get_u32(c, "index", 0, ~0u, &r.index);
	if (err)
		return err;
	if (!pci == !class)
		return fail(c, "device needs pci= or class=, for", c->word[1]);
	if (pci)
		memcpy(vendor, pci, strnlen(pci, 4));
	if (pci && (strlen(pci) != 9 || pci[4] != ':' || !number(vendor, 16, &v) ||
		    !number(pci + 5, 16, &d)))
		return fail(c, "not VVVV:DDDD", pci);
	if (class && (!number(class, 16, &k) || !k || k > 0xffff))
		return fail(c, "not a class", class);
	r.h.cell = (uint32_t)cell;
	r.class = (uint32_t)k;
	r.vendor = (uint16_t)v;
	r.device = (uint16_t)d;
	return put(c, &r, sizeof(r));
}

/* Splits the line in place; what follows the name on an args line stays whole. */
static const char *split(struct conf *c)
{
	char *p = c->text;

	c->words = 0;
	c->rest = "";
	for (;;) {
		p += strspn(p, " \t");
		if (!*p || *p == '#')
			return NULL;
		if (c->words == 2 && !strcmp(c->word[0], "args")) {
			c->rest = p;
			return NULL;
		}
		if (c->words == WORDS_MAX)
			return fail(c, "too many words", c->word[0]);
		c->word[c->words++] = p;
		p += strcspn(p, " \t#");
		if (*p == '#')
			*p = 0;
		if (!*p)
			return NULL;
		*p++ = 0;
	}
}

static const char *do_line(struct conf *c)
{
	static const struct {
		const char *word;
		const char *(*act)(struct conf *c);
	} statement[] = {{"cell", do_cell},
			 {"args", do_args},
			 {"channel", do_channel},
			 {"device", do_device}};
	const char *err = split(c);

	c->first_key = 2;
	if (err || !c->words)
		return err;
	if (c->words < 2)
		return fail(c, "incomplete line", c->word[0]);
	for (unsigned i = 0; i < 4; i++)
		if (!strcmp(c->word[0], statement[i].word))
			return statement[i].act(c);
	return fail(c, "unknown statement", c->word[0]);
}

const char *conf_compile(const struct blob *text, const struct builder *b, struct blob *out,
			 char error[CONF_ERROR_SIZE])
{
	static struct conf c;
	const char *at = (const char *)text->data, *end = at + text->size, *err = NULL;

	c = (struct conf){.b = b, .out = out, .error = error};
	*out = (struct blob){0};
	while (at < end && !err) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		size_t n = (size_t)((stop ? stop : end) - at);

		c.line++;
		if (n >= sizeof(c.text) || memchr(at, 0, n)) {
			err = fail(&c, n >= sizeof(c.text) ? "line too long" : "not text", "");
			break;
		}
		memcpy(c.text, at, n);
		c.text[n] = 0;
		err = do_line(&c);
		at = stop ? stop + 1 : end;
	}
	if (err)
		blob_free(out);
	return err;
}
