// SPDX-License-Identifier: ISC
// The Dockerfile parser.
//
// Source: docs.docker.com/reference/dockerfile (format, parser directives, environment
// replacement). Lines that end in the escape character go on in the next one; comment lines
// and, as Docker still does, empty ones between them are left out. Heredocs and mounts belong
// to BuildKit and are refused by name rather than taken for something else.
#include "d0d/dockerfile.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[] = {"ADD",         "ARG",    "CMD",    "COPY",  "ENTRYPOINT",
				    "ENV",         "EXPOSE", "FROM",   "LABEL", "MAINTAINER",
				    "ONBUILD",     "RUN",    "SHELL",  "USER",  "STOPSIGNAL",
				    "HEALTHCHECK", "VOLUME", "WORKDIR"};

struct lines {
	const char *p, *end;
	int line; // of P
};

static int bad(struct err *e, int line, const char *fmt, const char *arg)
{
	char *what = xasprintf("%s%.200s", fmt, arg);
	int rc = err_set(e, 400, "dockerfile parse error line %d: %s", line, what);

	free(what);
	return rc;
}

// The next line without its end; false when there is none.
static bool next_line(struct lines *l, const char **at, size_t *n)
{
	if (l->p >= l->end)
		return false;
	const char *nl = memchr(l->p, '\n', (size_t)(l->end - l->p));
	*at = l->p;
	*n = (size_t)((nl ? nl : l->end) - l->p);
	l->p = nl ? nl + 1 : l->end;
	l->line++;
	if (*n && (*at)[*n - 1] == '\r')
		(*n)--;
	return true;
}

static size_t skip(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && (p[i] == ' ' || p[i] == '\t'))
		i++;
	return i;
}

// Directives are comments before anything else: `# escape=X`; others (syntax, check) say
// nothing to this builder.
static void directives(const char *text, size_t len, struct dockerfile *f)
{
	struct lines l = {text, text + len, 0};
	const char *p;
	size_t n;

	while (next_line(&l, &p, &n)) {
		size_t i = skip(p, n);
		if (i == n || p[i] != '#')
			return;
		i++;
		i += skip(p + i, n - i);
		size_t k = i;
		while (k < n && isalpha((unsigned char)p[k]))
			k++;
		size_t after = k + skip(p + k, n - k);
		if (k == i || after == n || p[after] != '=')
			return;
		after++;
		after += skip(p + after, n - after);
		if (k - i == 6 && strncasecmp(p + i, "escape", 6) == 0 && after < n)
			f->escape = p[after] == '`' ? '`' : '\\';
	}
}

// One instruction's text, its lines joined. 1, 0 at the end.
static int next_text(struct lines *l, char escape, struct sbuf *out, int *line)
{
	const char *p;
	size_t n;

	out->len = 0;
	while (next_line(l, &p, &n)) {
		size_t i = skip(p, n);
		if (i == n || p[i] == '#')
			continue; // also between continued lines
		if (!out->len) {
			*line = l->line;
			p += i;
			n -= i;
		}
		size_t end = n;
		while (end && (p[end - 1] == ' ' || p[end - 1] == '\t'))
			end--;
		bool more = end && p[end - 1] == escape;
		sbuf_add(out, p, more ? end - 1 : n);
		if (!more)
			return 1;
	}
	return out->len ? 1 : 0;
}

static void trim(char *s)
{
	size_t n = strlen(s);

	while (n && isspace((unsigned char)s[n - 1]))
		s[--n] = 0;
}

static json_t *string_array(const char *text)
{
	json_t *a = *text == '[' ? json_loads(text, 0, NULL) : NULL;

	for (size_t i = 0; i < json_array_size(a); i++)
		if (!json_is_string(json_array_get(a, i))) {
			json_decref(a);
			return NULL;
		}
	if (a && !json_is_array(a)) {
		json_decref(a);
		return NULL;
	}
	return a;
}

// Flags stand between the instruction and its arguments. The rest.
static const char *take_flags(const char *p, struct df_step *s)
{
	size_t n = 0;

	s->flags = xcalloc(1, sizeof(char *));
	while (strncmp(p, "--", 2) == 0 && n < 32) {
		size_t len = strcspn(p, " \t");
		s->flags = xrealloc(s->flags, (n + 2) * sizeof(char *));
		s->flags[n++] = xstrndup(p, len);
		s->flags[n] = NULL;
		p += len + strspn(p + len, " \t");
	}
	return p;
}

static void step_free(struct df_step *s)
{
	free(s->word);
	free(s->text);
	strv_free(s->flags);
	free(s->rest);
	json_decref(s->array);
}

static int decode(const char *text, int line, struct df_step *s, struct err *e)
{
	size_t n = strcspn(text, " \t");
	bool known = false;

	*s = (struct df_step){.line = line, .word = xstrndup(text, n), .text = xstrdup(text)};
	trim(s->text);
	for (char *c = s->word; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		known |= strcmp(words[i], s->word) == 0;
	if (!known)
		return bad(e, line, "unknown instruction: ", s->word);
	s->rest = xstrdup(take_flags(text + n + strspn(text + n, " \t"), s));
	trim(s->rest);
	if (!*s->rest)
		return bad(e, line, s->word, " requires at least one argument");
	bool files = strcmp(s->word, "COPY") == 0 || strcmp(s->word, "ADD") == 0;
	const char *here = files || strcmp(s->word, "RUN") == 0 ? strstr(s->rest, "<<") : NULL;
	if (here && (here == s->rest || here[-1] == ' ') &&
	    (isalpha((unsigned char)here[2]) || strchr("\"'-", here[2] ? here[2] : 'x')))
		return bad(e, line, "here-documents need BuildKit, which D0 has not", "");
	s->array = string_array(s->rest);
	return 0;
}

int dockerfile_parse(const char *text, size_t len, struct dockerfile *out, struct err *e)
{
	struct lines l = {text, text + len, 0};
	struct sbuf b = {0};
	int rc = 0, line = 0;

	*out = (struct dockerfile){.escape = '\\'};
	if (len > DF_TEXT_MAX)
		return err_set(e, 400, "the Dockerfile is larger than %u bytes", DF_TEXT_MAX);
	if (memchr(text, 0, len))
		return err_set(e, 400, "the Dockerfile is not a text");
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		l.p += 3;
	directives(l.p, (size_t)(l.end - l.p), out);
	while (rc == 0 && next_text(&l, out->escape, &b, &line)) {
		if (out->n == DF_STEPS_MAX) {
			rc = bad(e, line, "too many instructions", "");
			break;
		}
		out->step = xrealloc(out->step, (out->n + 1) * sizeof(*out->step));
		rc = decode(b.p, line, &out->step[out->n++], e);
	}
	sbuf_free(&b);
	if (rc == 0 && !out->n)
		rc = err_set(e, 400, "the Dockerfile (Dockerfile) cannot be empty");
	if (rc < 0)
		dockerfile_free(out);
	return rc;
}

void dockerfile_free(struct dockerfile *f)
{
	for (size_t i = 0; i < f->n; i++)
		step_free(&f->step[i]);
	free(f->step);
	*f = (struct dockerfile){0};
}

const char *df_flag(const struct df_step *s, const char *name)
{
	size_t n = strlen(name);

	for (char **f = s->flags; *f; f++)
		if (strncmp(*f + 2, name, n) == 0 && (!(*f)[2 + n] || (*f)[2 + n] == '='))
			return (*f)[2 + n] ? *f + 3 + n : "";
	return NULL;
}

// ---- words and variables ----

struct expansion {
	const char *p;
	char escape;
	df_lookup *get;
	void *ctx;
	struct err *e;
	unsigned depth;
	size_t total; // of the words before
};

static int expand_until(struct expansion *x, const char *stop, struct sbuf *out);

static int room(struct expansion *x, const struct sbuf *out)
{
	return out->len > DF_WORD_MAX || x->total > DF_TEXT_MAX
		   ? err_set(x->e, 400, "a word of the Dockerfile is too long")
		   : 0;
}

static bool is_name(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

// ${NAME...}; P is behind the brace.
static int braced(struct expansion *x, struct sbuf *out)
{
	size_t n = 0;

	while (is_name(x->p[n]))
		n++;
	char *name = xstrndup(x->p, n);
	const char *v = x->get(x->ctx, name);
	struct sbuf word = {0};
	char how = 0;
	int rc = n ? 0 : -1;

	x->p += n;
	free(name);
	if (rc == 0 && x->p[0] == ':' && (x->p[1] == '-' || x->p[1] == '+')) {
		how = x->p[1];
		x->p += 2;
		if (++x->depth > 16)
			rc = -1;
		if (rc == 0)
			rc = expand_until(x, "}", &word);
		x->depth--;
	}
	bool set = v && *v;
	if (rc == 0 && *x->p == '}') {
		x->p++;
		const char *use = how == '-'   ? (set ? v : word.p)
				  : how == '+' ? (set ? word.p : NULL)
					       : v;
		sbuf_adds(out, use ? use : "");
	} else {
		rc = err_set(x->e, 400,
			     "failed to process \"%.100s\": unsupported modifier or "
			     "missing brace in substitution",
			     x->p);
	}
	sbuf_free(&word);
	return rc < 0 ? -1 : room(x, out);
}

// P is at the dollar.
static int variable(struct expansion *x, struct sbuf *out)
{
	size_t n = 0;

	x->p++;
	if (*x->p == '{') {
		x->p++;
		return braced(x, out);
	}
	while (is_name(x->p[n]))
		n++;
	if (!n) {
		sbuf_adds(out, "$");
		return 0;
	}
	char *name = xstrndup(x->p, n);
	const char *v = x->get(x->ctx, name);
	x->p += n;
	sbuf_adds(out, v ? v : "");
	free(name);
	return room(x, out);
}

static int quoted(struct expansion *x, struct sbuf *out)
{
	char q = *x->p++;
	int rc = 0;

	while (rc == 0 && *x->p && *x->p != q) {
		if (q == '"' && *x->p == x->escape && x->p[1] && strchr("\"$\\`", x->p[1])) {
			sbuf_add(out, x->p + 1, 1);
			x->p += 2;
		} else if (q == '"' && *x->p == '$') {
			rc = variable(x, out);
		} else {
			sbuf_add(out, x->p++, 1);
		}
	}
	if (rc == 0 && *x->p != q)
		return err_set(x->e, 400,
			       "unexpected end of statement while looking for "
			       "matching %s-quote",
			       q == '"' ? "double" : "single");
	if (rc == 0)
		x->p++;
	return rc;
}

// Up to the end or one of the characters in STOP.
static int expand_until(struct expansion *x, const char *stop, struct sbuf *out)
{
	int rc = 0;

	sbuf_adds(out, "");
	while (rc == 0 && *x->p && !strchr(stop, *x->p)) {
		if (*x->p == '\'' || *x->p == '"') {
			rc = quoted(x, out);
		} else if (*x->p == '$') {
			rc = variable(x, out);
		} else if (*x->p == x->escape && x->p[1]) {
			sbuf_add(out, x->p + 1, 1);
			x->p += 2;
		} else {
			sbuf_add(out, x->p++, 1);
		}
	}
	return rc < 0 ? -1 : room(x, out);
}

char **df_words(const char *text, char escape, df_lookup *get, void *ctx, struct err *e)
{
	struct expansion x = {.p = text, .escape = escape, .get = get, .ctx = ctx, .e = e};
	char **out = xcalloc(1, sizeof(char *));
	size_t n = 0;

	for (;;) {
		struct sbuf word = {0};
		x.p += strspn(x.p, " \t");
		if (!*x.p)
			return out;
		int rc = expand_until(&x, " \t", &word);
		if (rc == 0 && n == DF_WORDS_MAX)
			rc = err_set(e, 400, "an instruction of more than %d words",
				     DF_WORDS_MAX);
		if (rc < 0) {
			sbuf_free(&word);
			strv_free(out);
			return NULL;
		}
		out = xrealloc(out, (n + 2) * sizeof(char *));
		out[n++] = word.p;
		out[n] = NULL;
		x.total += word.len;
	}
}

char *df_expand(const char *text, char escape, df_lookup *get, void *ctx, struct err *e)
{
	struct expansion x = {.p = text, .escape = escape, .get = get, .ctx = ctx, .e = e};
	struct sbuf out = {0};

	if (expand_until(&x, "", &out) == 0)
		return out.p;
	sbuf_free(&out);
	return NULL;
}
