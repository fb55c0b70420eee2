# d0fs, the host tool of the store: one line for each file, commands register themselves.
D0FS_SRC := tools/d0fs/main.c
D0FS_SRC += tools/d0fs/out.c
D0FS_SRC += tools/d0fs/hostdev.c
D0FS_SRC += tools/d0fs/path.c
D0FS_SRC += tools/d0fs/cmd_newfs.c
D0FS_SRC += tools/d0fs/cmd_check.c
D0FS_SRC += tools/d0fs/cmd_files.c
D0FS_SRC += tools/d0fs/cmd_cp.c
D0FS_SRC += tools/d0fs/cmd_pfs.c
D0FS_SRC += tools/d0fs/mount.c
D0FS_SRC += tools/d0fs/source.c
D0FS_SRC += tools/d0fs/images.c
D0FS_SRC += tools/d0fs/keys.c
D0FS_SRC += tools/d0fs/pipe.c

D0FS_LIBS   += oci fuse h2 h2codec mkarchive
D0FS_LDLIBS += -llz4 -lzstd -lz -lbearssl -lpthread

$(eval $(call host_prog,d0fs,$(D0FS_SRC),$(D0FS_LIBS),$(D0FS_LDLIBS)))
