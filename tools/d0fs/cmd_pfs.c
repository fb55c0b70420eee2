/* SPDX-License-Identifier: ISC */
/* create, rename, snapshot, rollback: whole PFSs. */
#include "oci/oci.h"
#include "tools/d0fs/d0fs.h"

static int with_volume(int argc, char **argv, int want,
		       int (*fn)(struct h2_vol *, const char *, const char *))
{
	struct d0fs_vol v;
	int code, err;

	if (argc != want)
		return d0fs_usage();
	code = d0fs_open(&v, argv[1], 0, 0);
	if (code)
		return code;
	err = fn(v.vol, argv[2], want > 3 ? argv[3] : NULL);
	if (err)
		code = d0fs_fail(d0fs_code(err), "%s: %s", argv[2], h2_strerror(err));
	return d0fs_close(&v, code);
}

static int do_create(struct h2_vol *v, const char *label, const char *unused)
{
	struct h2_pfs_opts o = {.comp = H2_COMP_LZ4};

	return h2_pfs_create(v, label, &o);
}

static int create(int argc, char **argv)
{
	return with_volume(argc, argv, 3, do_create);
}
D0FS_COMMAND(create, "create", "VOLUME PFS", "make an empty PFS", create);

/* Where there are images, the new PFS remembers which one it began as. */
static int with_origin(struct h2_vol *v, const char *a, const char *b,
		       int (*plain)(struct h2_vol *, const char *, const char *),
		       int (*images)(struct oci_store *, const char *, const char *))
{
	struct oci_store st = {0};
	int err = oci_open(&st, v, false);

	if (err == -H2_ENOENT)
		return plain(v, a, b);
	if (!err)
		err = images(&st, a, b);
	oci_close(&st);
	return err;
}

static int do_snapshot(struct h2_vol *v, const char *from, const char *to)
{
	return with_origin(v, from, to, h2_pfs_snapshot, oci_pfs_snapshot);
}

static int snapshot(int argc, char **argv)
{
	return with_volume(argc, argv, 4, do_snapshot);
}
D0FS_COMMAND(snapshot, "snapshot", "VOLUME PFS NEW",
	     "writable snapshot of a PFS, in constant time", snapshot);

static int do_rollback(struct h2_vol *v, const char *label, const char *to)
{
	return with_origin(v, label, to, h2_pfs_rollback, oci_pfs_rollback);
}

static int rollback(int argc, char **argv)
{
	return with_volume(argc, argv, 4, do_rollback);
}
D0FS_COMMAND(rollback, "rollback", "VOLUME PFS SNAPSHOT", "make PFS what SNAPSHOT is",
	     rollback);

static int do_rename(struct h2_vol *v, const char *from, const char *to)
{
	return h2_pfs_rename(v, from, to, false);
}

static int rename_cmd(int argc, char **argv)
{
	return with_volume(argc, argv, 4, do_rename);
}
D0FS_COMMAND(rename, "rename", "VOLUME PFS NEW", "give a PFS another label", rename_cmd);
