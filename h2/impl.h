/* SPDX-License-Identifier: ISC */
/* Inside the h2 library: what its files share. Theory: the head of fs_h2.c. */
#ifndef H2_IMPL_H
#define H2_IMPL_H

#include "h2/disk.h"
#include "h2/h2.h"

/* ---- hashes ---- */

#define H2_CPU_PROBED 1
#define H2_CPU_SSE42  2
#define H2_CPU_SHA    4
#define H2_CPU_BMI    8
bool h2_cpu_has(int feature);
uint32_t h2_crc32c_sse42(uint32_t crc, const void *buf, size_t len);
void h2_sha256_ni(uint32_t state[8], const uint8_t *p, size_t blocks);
const uint32_t *h2_sha256_k(void);
void h2_sha192(const void *buf, size_t len, uint8_t out[24]);
void h2_code_set(struct h2_bref *bref, const void *buf, size_t len);
int h2_code_test(const struct h2_bref *bref, const void *buf, size_t len);

/* ---- the block cache ---- */

/*
 * One cached block: an inode, an indirect block, or one logical block of file data. Its bref
 * lives in the parent's table (h2_node_bref). A node with cached children or pins can't be
 * evicted. dirty implies that every ancestor is dirty.
 */
struct h2_node {
	struct h2_node *parent;
	struct h2_node *kids, *kid_next, *kid_prev; /* children in order of arrival */
	struct h2_node *kid_last;
	struct h2_node *hash_next;
	struct h2_node *lru_next, *lru_prev; /* only while evictable */
	uint64_t key;
	uint32_t pins;
	uint32_t bytes; /* size of buf */
	uint16_t live;  /* non-empty brefs, sorted at the front of the table */
	uint16_t cap;   /* brefs that the table can hold; 0 = no table */
	uint8_t type;   /* H2_BREF_* */
	uint8_t keybits;
	bool dirty;
	bool on_lru;
	uint8_t *buf;
};

struct h2_held {
	struct h2_held *next;
	uint64_t ino;
	uint64_t count;
	bool orphan; /* no name left: kept alive in the side directory */
};

#define H2_HELD_BUCKETS 256

struct h2_pfs {
	struct h2_pfs *next;
	struct h2_vol *vol;
	struct h2_node *root; /* pinned */
	uint32_t opens;
	unsigned flags;
	uint64_t hidden[2]; /* inodes of the hidden directories, 0 = none */
	char label[256];
	struct h2_held *held[H2_HELD_BUCKETS];
};

/* ---- freemap ---- */

/* What is known of one freemap block (leaf or node). */
struct h2_fmref {
	uint64_t data_off; /* 0 = never written */
	uint64_t mirror_tid;
	uint64_t avail;
	uint32_t crc;
	bool bad;   /* unreadable: nothing is allocated there */
	bool known; /* avail was counted, not taken from the hint on disk */
	bool dirty; /* nodes: something below changed */
};

struct h2_fmleaf {
	uint32_t index; /* which GiB */
	uint32_t stamp; /* for LRU */
	bool used, dirty;
	struct h2_bmap *map; /* H2_FM_ENTRIES */
};

#define H2_FM_CACHED 8
#define H2_CLASSES   5 /* bref types 0..4 */

struct h2_freemap {
	struct h2_fmref *level[H2_FM_LEVELS]; /* [0] = leaves */
	uint32_t count[H2_FM_LEVELS];
	struct h2_fmleaf cache[H2_FM_CACHED];
	uint32_t clock;
	uint64_t cursor[H2_CLASSES]; /* segment where each class allocates */
	uint64_t free;               /* bytes, = allocator_free */
	bool dirty;
};

/* ---- I/O ---- */

#define H2_STREAMS      4
#define H2_STREAM_BYTES (128u * 1024)

/* Writes that continue each other are joined; one stream per class of block. */
struct h2_stream {
	uint64_t off;
	uint32_t len;
	uint8_t *buf;
};

struct h2_dedup_entry {
	uint64_t data_off;
	uint8_t methods;
	uint8_t used;
	uint8_t code[24];
};

struct h2_bulkfree;

struct h2_vol {
	struct h2_env env;
	struct h2_volhdr *hdr; /* working copy; the sroot set lives in vroot while mounted */
	uint64_t size;         /* total_size */
	uint64_t tid;          /* of the running transaction = committed mirror_tid + 1 */
	uint64_t reserve;
	uint8_t header; /* copy last written or read: 0..3 */
	uint8_t valid_copies;
	bool readonly;
	bool failed; /* turned read-only by an error */
	bool near_full;
	bool in_flush;
	bool no_reserve;

	struct h2_node *vroot; /* type VOLROOT, table = sroot block set */
	struct h2_node *sroot; /* super-root inode, pinned */
	struct h2_node **hash;
	uint32_t hash_mask;
	struct h2_node *lru_head, *lru_tail; /* head = most recent */
	size_t cache_max, cache_used, dirty_used;
	uint64_t hits, misses, bad_blocks, repairs;

	struct h2_freemap fm;
	struct h2_stream streams[H2_STREAMS];
	uint8_t *scratch; /* 64 KiB, physical form of one block */
	uint8_t *work;    /* codec */
	struct h2_pfs *open;

	struct h2_dedup_entry *dedup;
	uint32_t dedup_mask;
	uint64_t dedup_hits, dedup_bytes;
	struct h2_bulkfree *bulkfree; /* under way */
	uint32_t scrubs;              /* under way */
};

/* Ownership of a block, for events. */
struct h2_where {
	uint64_t ino;
	const char *pfs;
};

/* env.c */
void *h2_alloc(struct h2_vol *v, size_t len);  /* not cleared */
void *h2_zalloc(struct h2_vol *v, size_t len); /* cleared */
void h2_free(struct h2_vol *v, void *mem, size_t len);
uint64_t h2_now_us(struct h2_vol *v);
void h2_event_send(struct h2_vol *v, struct h2_event *ev);
void h2_event_bref(struct h2_vol *v, enum h2_event_kind kind, const struct h2_bref *b,
		   const struct h2_where *at, const char *what);
bool h2_is_zero(const void *buf, size_t len);
int h2_uuid(struct h2_vol *v, uint8_t out[16]);

/* io.c */
int h2_io_init(struct h2_vol *v);
void h2_io_done(struct h2_vol *v);
int h2_io_read(struct h2_vol *v, uint64_t off, void *buf, size_t len);
int h2_io_write(struct h2_vol *v, int class, uint64_t off, const void *buf, size_t len);
int h2_io_drain(struct h2_vol *v); /* pending writes to the device */
int h2_io_flush(struct h2_vol *v); /* and make them durable */
/* The stored bytes of a block, checked; on damage from a second copy, or -H2_EIO. */
int h2_block_read(struct h2_vol *v, const struct h2_bref *b, const struct h2_where *at,
		  void *buf);
/* Is the bref a plausible pointer? 0 or -H2_EUCLEAN. */
int h2_bref_valid(const struct h2_vol *v, const struct h2_bref *b);

/* pack.c: compression */
long h2_pack(const struct h2_codec *c, void *work, uint8_t comp, uint8_t level, const void *in,
	     uint32_t in_len, void *out, uint8_t *comp_used);
/* Logical bytes out of stored ones; out has out_len bytes, zero-filled beyond the content. */
int h2_unpack(const struct h2_codec *c, void *work, uint8_t comp, const void *in,
	      uint32_t in_len, void *out, uint32_t out_len);
uint32_t h2_pow2_block(uint64_t bytes); /* smallest legal block for it */
unsigned h2_radix_of(uint32_t bytes);

/* node.c */
int h2_cache_init(struct h2_vol *v, size_t bytes);
void h2_cache_done(struct h2_vol *v);
struct h2_bref *h2_node_table(struct h2_node *n);
struct h2_bref *h2_node_bref(struct h2_node *n); /* NULL only for the volume root */
struct h2_inode *h2_node_inode(struct h2_node *n);
struct h2_node *h2_node_owner(struct h2_node *n); /* the inode above (or itself) */
void h2_node_where(struct h2_node *n, struct h2_where *out);
struct h2_node *h2_cache_find(struct h2_vol *v, struct h2_node *parent, uint64_t key);
/* A new node, pinned, with a cleared buffer; its bref must be in the parent's table. */
int h2_node_new(struct h2_vol *v, struct h2_node *parent, const struct h2_bref *b,
		uint32_t bytes, struct h2_node **out);
/* The child for table entry i, read when it isn't cached; pinned. Inodes, indirects, data. */
int h2_node_child(struct h2_vol *v, struct h2_node *parent, unsigned i, struct h2_node **out);
void h2_node_pin(struct h2_vol *v, struct h2_node *n);
void h2_node_put(struct h2_vol *v, struct h2_node *n);
void h2_node_dirty(struct h2_vol *v, struct h2_node *n);
void h2_node_clean(struct h2_vol *v, struct h2_node *n);
int h2_node_resize(struct h2_vol *v, struct h2_node *n, uint32_t bytes);
/* Forget a node and everything cached below it, changes included. */
void h2_node_drop(struct h2_vol *v, struct h2_node *n);
void h2_node_rekey(struct h2_vol *v, struct h2_node *n, struct h2_node *parent, uint64_t key,
		   unsigned keybits);
int h2_table_check(struct h2_vol *v, struct h2_node *n);

/* tree.c: sorted tables, looked up and changed */
unsigned h2_table_lower(const struct h2_node *n, uint64_t key); /* first with end >= key */
/* Deepest table whose range holds key, pinned. *hit: an entry with exactly that key. */
int h2_tree_find(struct h2_vol *v, struct h2_node *root, uint64_t key, struct h2_node **table,
		 unsigned *i, bool *hit);
/* First leaf entry (not an indirect) with key >= `key`; -H2_ENOENT. */
int h2_tree_next(struct h2_vol *v, struct h2_node *root, uint64_t key, struct h2_node **table,
		 unsigned *i);
/* Insert; table and i as h2_tree_find gives them for the new entry (pinned). */
int h2_tree_insert(struct h2_vol *v, struct h2_node *root, const struct h2_bref *b,
		   struct h2_node **table, unsigned *i);
/* Remove entry i of a pinned table; empty and nearly empty tables above go. The caller's pin
 * on the table is consumed. A cached child must have been dropped. */
void h2_tree_delete(struct h2_vol *v, struct h2_node *table, unsigned i);

/* freemap.c */
int h2_fm_init(struct h2_vol *v);
void h2_fm_done(struct h2_vol *v);
int h2_fm_alloc(struct h2_vol *v, int class, unsigned radix, uint64_t *data_off);
/* A block gets a further reference: staged cells become used again. */
int h2_fm_touch(struct h2_vol *v, uint64_t data_off);
int h2_fm_flush(struct h2_vol *v); /* writes leaves and nodes, fills hdr->freemap */
int h2_fm_leaf(struct h2_vol *v, uint32_t index, bool create, struct h2_fmleaf **out);
void h2_fm_leaf_dirty(struct h2_vol *v, struct h2_fmleaf *leaf);
int h2_fm_mark_used(struct h2_vol *v, uint64_t data_off); /* recovery */
void h2_fm_init_leaf(const struct h2_vol *v, uint32_t index, struct h2_bmap *map);
uint64_t h2_fm_usable(const struct h2_vol *v); /* free bytes that can be allocated */
bool h2_fm_reserved(const struct h2_vol *v, uint64_t off); /* segment not for allocation */
uint64_t h2_fm_level_count(uint64_t size, unsigned level);

/* flush.c */
int h2_node_write(struct h2_vol *v, struct h2_node *n); /* a dirty leaf of the cache */
int h2_commit(struct h2_vol *v, bool always);
int h2_header_write(struct h2_vol *v);
void h2_header_crcs(struct h2_volhdr *hdr);
bool h2_header_usable(const struct h2_volhdr *hdr);
unsigned h2_header_copies(uint64_t size);
/* Room for `bytes` more beside what is waiting? 0 or -H2_ENOSPC. */
int h2_space(struct h2_vol *v, uint64_t bytes, bool privileged);
int h2_writable(const struct h2_vol *v);
void h2_fail(struct h2_vol *v, const char *what);
void h2_table_stats(const struct h2_bref *t, unsigned n, uint64_t *data, uint64_t *inodes,
		    unsigned *leaves);

/* dedup.c */
int h2_dedup_init(struct h2_vol *v, size_t entries);
void h2_dedup_done(struct h2_vol *v);
void h2_dedup_forget(struct h2_vol *v);
bool h2_dedup_find(struct h2_vol *v, struct h2_bref *b, unsigned radix, const void *stored);
void h2_dedup_add(struct h2_vol *v, const struct h2_bref *b);

/* inode.c */
int h2_inode_get(struct h2_pfs *p, uint64_t ino, struct h2_node **out); /* pinned */
int h2_inode_new(struct h2_pfs *p, uint64_t ino, struct h2_node *like, unsigned type,
		 const struct h2_new *how, struct h2_node **out); /* pinned; ino 0 = next */
void h2_inode_destroy(struct h2_pfs *p, struct h2_node *n);       /* consumes the pin */
void h2_inode_attr(struct h2_pfs *p, struct h2_node *n, struct h2_attr *out);
struct h2_held *h2_held_find(struct h2_pfs *p, uint64_t ino);
void h2_inode_unlinked(struct h2_pfs *p, struct h2_node *n); /* consumes the pin */
int h2_pfs_writable(const struct h2_pfs *p);
unsigned h2_obj_of_mode(uint32_t mode);
uint32_t h2_mode_of_obj(unsigned type);
void h2_touch(struct h2_vol *v, struct h2_node *n, bool mtime);

/* dir.c */
int h2_dir_find(struct h2_vol *v, struct h2_node *dir, const char *name, size_t len,
		struct h2_node **table, unsigned *i, uint64_t *ino, unsigned *type);
int h2_dir_add(struct h2_vol *v, struct h2_node *dir, const char *name, size_t len,
	       uint64_t ino, unsigned type);
int h2_dir_del(struct h2_vol *v, struct h2_node *dir, const char *name, size_t len);
int h2_dirent_name(struct h2_vol *v, struct h2_node *dir, const struct h2_bref *b, char *name,
		   unsigned *len);
bool h2_dir_empty(struct h2_vol *v, struct h2_node *dir, int *err);
bool h2_name_ok(const char *name, size_t len);

/* file.c */
int h2_file_cut(struct h2_vol *v, struct h2_node *n, uint64_t size); /* remove what is beyond */
long h2_node_read(struct h2_vol *v, struct h2_node *n, uint64_t off, void *buf, size_t len);
long h2_node_writes(struct h2_vol *v, struct h2_node *n, uint64_t off, const void *buf,
		    size_t len);
/* Compress, dedup or allocate, write: fills b. */
int h2_data_store(struct h2_vol *v, struct h2_node *owner, const void *buf, uint32_t len,
		  struct h2_bref *b);

/* side.c: what the format lacks */
#define H2_SIDE_BIT (1ull << 62)
enum h2_hidden {
	H2_HIDDEN_SIDE,
	H2_HIDDEN_ORPHANS,
	H2_HIDDEN_COUNT
};
int h2_side_open(struct h2_pfs *p);
void h2_side_times(struct h2_pfs *p, struct h2_node *n, struct h2_attr *out);
int h2_side_set_times(struct h2_pfs *p, struct h2_node *n, unsigned set,
		      const struct h2_attr *in);
void h2_side_remove(struct h2_pfs *p, uint64_t ino);
/* One of the hidden directories, made when missing; pinned. */
int h2_hidden_dir(struct h2_pfs *p, enum h2_hidden which, struct h2_node **out);
bool h2_side_hidden(const struct h2_pfs *p, uint64_t dir, const char *name, size_t len);
void h2_ino_hex(uint64_t ino, char out[16]);
void h2_orphan_remove(struct h2_pfs *p, uint64_t ino);

/* h2_ops.c */
void h2_pfs_drop_all(struct h2_vol *v);

/* walk.c: the committed topology, straight from the device */
#define H2_WALK_DEPTH 96

struct h2_walk_frame {
	struct h2_bref *table;
	uint8_t *mem;
	uint32_t bytes; /* of mem */
	uint16_t next, cap;
	uint8_t type, keybits;
	uint64_t key, ino;
};

struct h2_walk {
	struct h2_vol *vol;
	unsigned depth;
	bool read_data;
	uint64_t seen_mask;
	uint64_t *seen; /* lossy set of subtrees already walked; NULL = walk all */
	char pfs[256];
	uint8_t *buf; /* the block of the last item, stored form */
	struct h2_walk_frame frame[H2_WALK_DEPTH];
};

struct h2_walk_item {
	struct h2_bref *bref;
	const void *block; /* stored bytes when read */
	int error;         /* -H2_EIO: unreadable; -H2_EUCLEAN: bad pointer or table */
	const char *what;  /* with -H2_EUCLEAN */
	const struct h2_walk_frame *in;
	bool skipped; /* seen before */
};

int h2_walk_begin(struct h2_walk *w, struct h2_vol *v, const struct h2_bref *set,
		  bool read_data, uint32_t seen_entries);
/* Next bref: 1, or 0 at the end, or < 0 (no memory). Children follow their parents. */
int h2_walk_next(struct h2_walk *w, struct h2_walk_item *it);
void h2_walk_end(struct h2_walk *w);

/* bulkfree.c */
void h2_bulkfree_note(struct h2_bulkfree *b, uint64_t data_off); /* allocated meanwhile */

#endif
