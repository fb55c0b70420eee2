/* SPDX-License-Identifier: ISC */
/* Making an empty volume (sections 2 and 3 of the format). */
#include <string.h>

#include "h2/impl.h"

static const uint8_t fstype[16] = {0xd1, 0x9a, 0xbb, 0x5c, 0x2d, 0x86, 0xdc, 0x11,
				   0xa9, 0x4d, 0x01, 0x30, 0x1b, 0xb8, 0xa9, 0xf5};

#define FIRST_TID 16u

struct plan {
	struct h2_vol v;    /* only env, size and hdr are used */
	uint64_t size, beg; /* beg: first inode */
	uint8_t check, comp;
	uint8_t *page; /* 64 KiB that hold all inodes */
	unsigned labels;
	const char *label[5];
	uint64_t now;
};

static uint64_t area_size(uint64_t wanted, uint64_t usual, uint64_t total)
{
	uint64_t size = wanted ? wanted : usual;

	while (!wanted && size > total / 20 && size > H2_NEWFS_ALIGN)
		size >>= 1;
	return (size + H2_NEWFS_ALIGN - 1) & ~(H2_NEWFS_ALIGN - 1);
}

static void set_inode(struct plan *p, struct h2_inode *ip, const char *name)
{
	ip->version = 1;
	ip->ctime = ip->mtime = ip->atime = ip->btime = p->now;
	ip->type = H2_OBJ_DIR;
	ip->check_algo = p->check;
	ip->name_len = strlen(name);
	memcpy(ip->filename, name, ip->name_len);
}

static void set_bref(struct plan *p, struct h2_bref *b, unsigned slot)
{
	b->type = H2_BREF_INODE;
	b->methods = p->check << 4 | (p->comp & 15);
	b->mirror_tid = FIRST_TID;
	b->data_off = (p->beg + slot * 1024) | H2_RADIX_MIN;
	h2_code_set(b, p->page + slot * 1024, 1024);
}

static int pfs_inode(struct plan *p, unsigned slot, struct h2_bref *b)
{
	struct h2_inode *ip = (struct h2_inode *)(p->page + slot * 1024);
	const char *label = p->label[slot - 1];

	set_inode(p, ip, label);
	ip->op_flags = H2_OP_PFSROOT;
	ip->mode = 0755;
	ip->inum = 1;
	ip->nlinks = 1;
	ip->name_key = h2_name_hash(label, ip->name_len);
	ip->comp_algo = p->comp;
	ip->pfs_type = H2_PFS_MASTER;
	ip->pfs_inum = 16;
	if (h2_uuid(&p->v, ip->pfs_clid) || h2_uuid(&p->v, ip->pfs_fsid))
		return -H2_EIO;
	b->key = ip->name_key;
	set_bref(p, b, slot);
	b->flags = H2_BREF_PFSROOT;
	return 0;
}

static int build_tree(struct plan *p, struct h2_volhdr *hdr)
{
	struct h2_inode *sup = (struct h2_inode *)p->page;
	struct h2_bref set[H2_SET_COUNT] = {0};

	for (unsigned i = 0; i < p->labels; i++) {
		struct h2_bref b = {0};
		unsigned at = i;
		int err = pfs_inode(p, i + 1, &b);

		if (err)
			return err;
		for (; at > 0 && set[at - 1].key > b.key; at--)
			set[at] = set[at - 1];
		if (at > 0 && set[at - 1].key == b.key)
			return -H2_EEXIST;
		set[at] = b;
	}
	set_inode(p, sup, "SUPROOT");
	sup->mode = 0700;
	sup->nlinks = 2;
	sup->comp_algo = H2_COMP_ZERO;
	sup->pfs_type = H2_PFS_SUPROOT;
	if (h2_uuid(&p->v, sup->pfs_clid) || h2_uuid(&p->v, sup->pfs_fsid))
		return -H2_EIO;
	memcpy(sup->u.set, set, sizeof(set));
	set_bref(p, &hdr->sroot[0], 0);
	hdr->sroot[0].methods = p->check << 4 | H2_COMP_ZERO;
	hdr->sroot[0].embed.stats.data_count = p->labels * 1024ull;
	hdr->sroot[0].embed.stats.inode_count = p->labels;
	return 0;
}

static int build_header(struct plan *p, const struct h2_newfs_opts *o, struct h2_volhdr *hdr)
{
	uint64_t boot = area_size(o->boot_size, 64 * H2_MIB, p->size);
	uint64_t aux = area_size(o->aux_size, 256 * H2_MIB, p->size);
	uint64_t reserved = (p->size + H2_GIB - 1) / H2_GIB * H2_RESERVE_SIZE;

	hdr->magic = H2_VOLUME_MAGIC;
	hdr->boot_beg = H2_RESERVE_SIZE;
	hdr->boot_end = hdr->aux_beg = hdr->boot_beg + boot;
	hdr->aux_end = hdr->aux_beg + aux;
	p->beg = hdr->aux_end;
	hdr->volu_size = hdr->total_size = p->size;
	hdr->version = 2;
	hdr->peer_type = 3;
	hdr->nvolumes = 1;
	memcpy(hdr->fstype, fstype, 16);
	if (h2_uuid(&p->v, hdr->fsid))
		return -H2_EIO;
	if (boot > H2_GIB || aux > H2_GIB || p->beg + H2_BLOCK_SIZE > H2_GIB ||
	    p->beg + H2_SEGMENT_SIZE > p->size)
		return -H2_EINVAL;
	hdr->allocator_size = hdr->allocator_free = p->size - reserved - boot - aux;
	hdr->allocator_beg = p->beg + (1 + p->labels) * 1024;
	hdr->mirror_tid = hdr->freemap_tid = FIRST_TID;
	for (unsigned i = 1; i < 64; i++)
		hdr->volu_loff[i] = ~0ull;
	return 0;
}

static int zero_range(struct plan *p, uint64_t from, uint64_t to)
{
	const struct h2_env *e = &p->v.env;
	uint8_t *buf = e->alloc(e->ctx, H2_BLOCK_SIZE);
	int err = buf ? 0 : -H2_ENOMEM;

	if (buf)
		memset(buf, 0, H2_BLOCK_SIZE);
	for (; from < to && !err; from += H2_BLOCK_SIZE)
		err = e->dev_ops->write(e->dev, from, buf, H2_BLOCK_SIZE) < 0 ? -H2_EIO : 0;
	if (buf)
		e->free(e->ctx, buf, H2_BLOCK_SIZE);
	return err;
}

/*
 * Old header copies go first and durably: a half-made volume must not be taken for the old one,
 * nor an old copy with a higher transaction number for the new one.
 */
static int write_all(struct plan *p, struct h2_volhdr *hdr)
{
	const struct h2_env *e = &p->v.env;
	int err = zero_range(p, 0, H2_RESERVE_SIZE);

	for (uint64_t at = H2_ZONE_SIZE; at < 4 * H2_ZONE_SIZE && !err; at += H2_ZONE_SIZE)
		if (at + H2_BLOCK_SIZE <= e->dev_size)
			err = zero_range(p, at, at + H2_BLOCK_SIZE);
	if (!err)
		err = zero_range(p, p->size - H2_BLOCK_SIZE, p->size);
	if (!err && e->dev_ops->write(e->dev, p->beg, p->page, H2_BLOCK_SIZE) < 0)
		err = -H2_EIO;
	if (!err && e->dev_ops->flush(e->dev) < 0)
		err = -H2_EIO;
	h2_header_crcs(hdr);
	for (unsigned i = 0; i < h2_header_copies(p->size) && !err; i++)
		if (e->dev_ops->write(e->dev, i * H2_ZONE_SIZE, hdr, sizeof(*hdr)) < 0)
			err = -H2_EIO;
	if (!err && e->dev_ops->flush(e->dev) < 0)
		err = -H2_EIO;
	return err;
}

static int plan_labels(struct plan *p, const struct h2_newfs_opts *o)
{
	if (!o->no_local)
		p->label[p->labels++] = "LOCAL";
	for (unsigned i = 0; i < 4 && o->labels[i]; i++)
		p->label[p->labels++] = o->labels[i];
	if (p->labels > H2_SET_COUNT)
		return -H2_EINVAL;
	for (unsigned i = 0; i < p->labels; i++)
		if (!h2_name_ok(p->label[i], strlen(p->label[i])))
			return -H2_EINVAL;
	return 0;
}

static int newfs(struct plan *p, const struct h2_newfs_opts *o, struct h2_volhdr *hdr)
{
	int err = plan_labels(p, o);

	if (!err)
		err = build_header(p, o, hdr);
	if (!err)
		err = build_tree(p, hdr);
	return err ? err : write_all(p, hdr);
}

int h2_newfs(const struct h2_env *env, const struct h2_newfs_opts *o)
{
	uint64_t size = (o->size ? o->size : env->dev_size) & ~(H2_NEWFS_ALIGN - 1);
	struct h2_volhdr *hdr;
	struct plan *p;
	int err;

	if (env->dev_readonly)
		return -H2_EROFS;
	if (size > env->dev_size || size < H2_NEWFS_MIN)
		return -H2_EINVAL;
	if (o->check > H2_CHECK_SHA192 || o->check == H2_CHECK_DISABLED ||
	    o->comp > H2_COMP_ZLIB)
		return -H2_EINVAL;
	p = env->alloc(env->ctx, sizeof(*p) + sizeof(*hdr) + H2_BLOCK_SIZE);
	if (!p)
		return -H2_ENOMEM;
	memset(p, 0, sizeof(*p) + sizeof(*hdr) + H2_BLOCK_SIZE);
	hdr = (struct h2_volhdr *)(p + 1);
	p->page = (uint8_t *)(hdr + 1);
	p->v.env = *env;
	p->size = size;
	p->check = o->check ? o->check : H2_CHECK_SHA192;
	p->comp = o->comp | o->comp_level << 4;
	p->now = h2_now_us(&p->v);
	err = newfs(p, o, hdr);
	env->free(env->ctx, p, sizeof(*p) + sizeof(*hdr) + H2_BLOCK_SIZE);
	return err;
}
