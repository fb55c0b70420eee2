/* SPDX-License-Identifier: ISC */
/* newfs and info. */
#include <getopt.h>
#include <string.h>

#include "tools/d0fs/d0fs.h"

static int parse_check(const char *s, uint8_t *out)
{
	for (uint8_t i = 2; i <= 4; i++)
		if (!strcmp(s, d0fs_check_name(i))) {
			*out = i;
			return 0;
		}
	return -1;
}

static int parse_comp(const char *s, struct h2_newfs_opts *o)
{
	if (!strcmp(s, "none"))
		o->comp = H2_COMP_NONE;
	else if (!strcmp(s, "lz4"))
		o->comp = H2_COMP_LZ4;
	else if (!strncmp(s, "zlib", 4))
		o->comp = H2_COMP_ZLIB;
	else
		return -1;
	if (o->comp == H2_COMP_ZLIB && s[4]) {
		if (s[4] != ':' || s[5] < '1' || s[5] > '9' || s[6])
			return -1;
		o->comp_level = s[5] - '0';
	}
	return 0;
}

static bool looks_used(struct d0fs_dev *dev)
{
	struct h2_mount_opts o = {.readonly = true};
	struct h2_env env = dev->env;
	struct h2_vol *vol;

	env.event = NULL;
	if (h2_mount(&env, &o, &vol))
		return false;
	h2_abandon(vol);
	return true;
}

static int newfs(int argc, char **argv)
{
	static const struct option opts[] = {
	    {"size", required_argument, NULL, 's'},     {"check", required_argument, NULL, 'c'},
	    {"compress", required_argument, NULL, 'z'}, {"label", required_argument, NULL, 'L'},
	    {"force", no_argument, NULL, 'f'},          {NULL, 0, NULL, 0}};
	struct h2_newfs_opts o = {.comp = H2_COMP_LZ4};
	unsigned labels = 0;
	struct d0fs_dev dev;
	bool force = false;
	int c, code, err;

	while ((c = getopt_long(argc, argv, "s:c:z:L:f", opts, NULL)) != -1) {
		bool bad = false;
		if (c == 's')
			bad = d0fs_parse_size(optarg, &o.size) != 0;
		else if (c == 'c')
			bad = parse_check(optarg, &o.check) != 0;
		else if (c == 'z')
			bad = parse_comp(optarg, &o) != 0;
		else if (c == 'L' && labels < 3)
			o.labels[labels++] = optarg;
		else if (c == 'f')
			force = true;
		else
			return d0fs_usage();
		if (bad)
			return d0fs_fail(D0FS_USAGE, "-%c %s: not understood", c, optarg);
	}
	if (optind + 1 != argc)
		return d0fs_usage();
	code = d0fs_dev_open(&dev, argv[optind], o.size ? D0FS_CREATE : 0, o.size);
	if (code)
		return code;
	if (!force && looks_used(&dev)) {
		d0fs_dev_close(&dev);
		return d0fs_fail(D0FS_FAILED, "%s holds a HAMMER2 volume; -f overwrites it",
				 argv[optind]);
	}
	err = h2_newfs(&dev.env, &o);
	d0fs_dev_close(&dev);
	if (err)
		return d0fs_fail(d0fs_code(err), "%s: %s", argv[optind],
				 err == -H2_EINVAL
				     ? "size or labels out of range (24 MiB and up)"
				     : h2_strerror(err));
	return D0FS_OK;
}
D0FS_COMMAND(
    newfs, "newfs",
    "[-f] [-s SIZE] [-c sha192|xxhash64|crc32c] [-z lz4|zlib[:LEVEL]|none] [-L LABEL]... "
    "VOLUME",
    "make an empty volume", newfs);

/* ---- info ---- */

static void pfs_json(const struct h2_pfs_info *p)
{
	char id[40];

	js_open(NULL, '{');
	js_str("label", p->label);
	js_str("kind", p->subtype == 1 ? "snapshot" : "master");
	js_str("check", d0fs_check_name(p->check));
	js_str("compression", d0fs_comp_name(p->comp));
	js_str("fsid", d0fs_uuid(p->fsid, id));
	js_num("data_bytes", p->data_bytes);
	js_num("inodes", p->inodes);
	js_num("mirror_tid", p->mirror_tid);
	js_num("created_us", p->created_us);
	js_hex("root_check", p->root_check, p->root_check_method == H2_CHECK_SHA192 ? 24 : 8);
	js_close('}');
}

static void pfs_line(const struct h2_pfs_info *p)
{
	char a[32];

	printf("  %-24s %-8s %-8s %-5s %10llu inodes %10s\n", p->label,
	       p->subtype == 1 ? "snapshot" : "master", d0fs_check_name(p->check),
	       d0fs_comp_name(p->comp), (unsigned long long)p->inodes,
	       d0fs_size(p->data_bytes, a));
}

static void vol_json(const struct h2_vol_info *i)
{
	char id[40];

	js_num("size", i->size);
	js_num("allocator_size", i->allocator_size);
	js_num("allocator_free", i->allocator_free);
	js_num("reserve", i->reserve);
	js_num("version", i->version);
	js_str("fsid", d0fs_uuid(i->fsid, id));
	js_num("mirror_tid", i->mirror_tid);
	js_num("freemap_tid", i->freemap_tid);
	js_num("header", i->header);
	js_num("header_copies", i->copies);
	js_num("header_copies_valid", i->valid_copies);
	js_str("check", d0fs_check_name(i->check));
	js_hex("root_check", i->root_check, i->check == H2_CHECK_SHA192 ? 24 : 8);
}

static void vol_text(const struct h2_vol_info *i)
{
	char a[32], b[32], id[40];

	printf("volume    %s, %s free of %s allocatable\n", d0fs_size(i->size, a),
	       d0fs_size(i->allocator_free, b), d0fs_size(i->allocator_size, id));
	printf("fsid      %s, version %u\n", d0fs_uuid(i->fsid, id), i->version);
	printf("header    copy %u, %u of %u usable, transaction %llu, freemap %llu\n",
	       i->header, i->valid_copies, i->copies, (unsigned long long)i->mirror_tid,
	       (unsigned long long)i->freemap_tid);
	printf("root      %s ", d0fs_check_name(i->check));
	for (int n = 0; n < (i->check == H2_CHECK_SHA192 ? 24 : 8); n++)
		printf("%02x", i->root_check[n]);
	printf("\nPFSs\n");
}

static int info(int argc, char **argv)
{
	struct h2_vol_info i;
	struct h2_pfs_info p;
	struct d0fs_vol v;
	uint64_t cursor = 0;
	int code, err;

	if (argc != 2)
		return d0fs_usage();
	code = d0fs_open(&v, argv[1], D0FS_RDONLY, 0);
	if (code)
		return code;
	h2_vol_info(v.vol, &i);
	if (d0fs_json) {
		js_open(NULL, '{');
		vol_json(&i);
		js_open("pfs", '[');
	} else {
		vol_text(&i);
	}
	while ((err = h2_pfs_next(v.vol, &cursor, &p)) == 0) {
		if (d0fs_json)
			pfs_json(&p);
		else
			pfs_line(&p);
	}
	if (d0fs_json) {
		js_close(']');
		js_close('}');
		js_end();
	}
	if (err != -H2_ENOENT)
		code = d0fs_fail(d0fs_code(err), "reading the PFS list: %s", h2_strerror(err));
	return d0fs_close(&v, code);
}
D0FS_COMMAND(info, "info", "[--json] VOLUME", "show a volume and its PFSs", info);
