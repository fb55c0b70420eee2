/* SPDX-License-Identifier: ISC */
/*
 * The objects a client holds: a hash table by inode number with linear probing. An entry is
 * there while its lookups + opens > 0, and while it is there the session has one h2_hold()
 * on the object. Removal closes the gap by moving later entries of the run back, so there
 * are no tombstones.
 */
#include <stdlib.h>
#include "cells/store/fuse/impl.h"

static uint32_t home(const struct fuse_session *s, uint64_t ino)
{
	return (uint32_t)(ino * 0x9e3779b97f4a7c15ull >> 32) & (s->nodes_size - 1);
}

/* The entry, or the free slot where it belongs. The table is never full. */
static struct fuse_node *find(const struct fuse_session *s, uint64_t ino)
{
	uint32_t i = home(s, ino);

	while (s->nodes[i].ino && s->nodes[i].ino != ino)
		i = (i + 1) & (s->nodes_size - 1);
	return &s->nodes[i];
}

static bool grow(struct fuse_session *s)
{
	struct fuse_node *old = s->nodes;
	uint32_t old_size = s->nodes_size, size = old_size ? old_size * 2 : 64;
	struct fuse_node *fresh;

	if (s->nodes_used >= s->opts.nodes_max)
		return false;
	fresh = calloc(size, sizeof(*fresh));
	if (!fresh)
		return false;
	s->nodes = fresh;
	s->nodes_size = size;
	for (uint32_t i = 0; i < old_size; i++)
		if (old[i].ino)
			*find(s, old[i].ino) = old[i];
	free(old);
	return true;
}

static void drop(struct fuse_session *s, struct fuse_node *n)
{
	uint32_t mask = s->nodes_size - 1;
	uint32_t hole = (uint32_t)(n - s->nodes), i = hole;

	h2_release(s->pfs, n->ino, 1);
	s->nodes_used--;
	for (;;) {
		i = (i + 1) & mask;
		if (!s->nodes[i].ino)
			break;
		/* Entry i may move to the hole if its home is not between the two. */
		if (((i - home(s, s->nodes[i].ino)) & mask) >= ((i - hole) & mask)) {
			s->nodes[hole] = s->nodes[i];
			hole = i;
		}
	}
	s->nodes[hole].ino = 0;
}

/* The entry of the object, made if need be; NULL: not tracked. */
static struct fuse_node *get(struct fuse_session *s, uint64_t ino)
{
	struct fuse_node *n;

	if (s->opts.keep_nodes || ino == 0 || ino == H2_ROOT_INO)
		return NULL;
	n = s->nodes_size ? find(s, ino) : NULL;
	if (n && n->ino)
		return n;
	if ((uint64_t)(s->nodes_used + 1) * 4 > (uint64_t)s->nodes_size * 3) {
		if (!grow(s))
			return NULL;
		n = find(s, ino);
	}
	if (!n || h2_hold(s->pfs, ino))
		return NULL;
	*n = (struct fuse_node){.ino = ino};
	s->nodes_used++;
	return n;
}

void fuse_node_lookup(struct fuse_session *s, uint64_t ino)
{
	struct fuse_node *n = get(s, ino);

	if (n && n->lookups < UINT32_MAX)
		n->lookups++;
}

void fuse_node_open(struct fuse_session *s, uint64_t ino)
{
	struct fuse_node *n = get(s, ino);

	if (n && n->opens < UINT32_MAX)
		n->opens++;
}

void fuse_node_forget(struct fuse_session *s, uint64_t ino, uint64_t count)
{
	struct fuse_node *n = s->nodes_size && ino ? find(s, ino) : NULL;

	if (!n || !n->ino)
		return;
	n->lookups -= count < n->lookups ? (uint32_t)count : n->lookups;
	if (!n->lookups && !n->opens)
		drop(s, n);
}

void fuse_node_close(struct fuse_session *s, uint64_t ino)
{
	struct fuse_node *n = s->nodes_size && ino ? find(s, ino) : NULL;

	if (!n || !n->ino || !n->opens)
		return;
	if (!--n->opens && !n->lookups)
		drop(s, n);
}

void fuse_nodes_drop(struct fuse_session *s)
{
	for (uint32_t i = 0; i < s->nodes_size; i++)
		if (s->nodes[i].ino)
			h2_release(s->pfs, s->nodes[i].ino, 1);
	free(s->nodes);
	s->nodes = NULL;
	s->nodes_size = s->nodes_used = 0;
}
