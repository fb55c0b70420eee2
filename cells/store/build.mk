# The store: FUSE server, image importer, block drivers, the cell itself.
FUSE_SRC := $(wildcard cells/store/fuse/*.c)
$(eval $(call host_lib,fuse,$(FUSE_SRC)))

ADMIN_SRC := $(wildcard cells/store/admin*.c) cells/store/task.c
STORE_SRC := cells/store/main.c $(ADMIN_SRC) cells/store/events.c cells/store/volume.c \
             cells/store/fs_channel.c cells/store/signed.c cells/store/mirror.c cells/store/blockdev.c cells/store/ramdisk.c \
             cells/store/h2_config.c $(wildcard cells/store/drivers/*.c)
$(eval $(call cell,store,$(STORE_SRC),oci fuse h2 h2codec,-llz4 -lzstd -lz -lbearssl))

ADMIN_ENV := $(ADMIN_SRC) tests/unit/store_admin_env.c tests/unit/store_env.c
$(eval $(call unit_test,store_fuse,tests/unit/store_fuse_test.c tests/unit/store_env.c,fuse h2 h2codec,-llz4 -lz))
$(eval $(call fuzz_target,fuse,tests/fuzz/fuse.c tests/unit/store_env.c,fuse h2 h2codec,-llz4 -lz))
$(eval $(call cell,store-probe,cells/store/probe/probe.c cells/store/probe/admin.c,h2))
$(eval $(call unit_test,store_config,tests/unit/store_config_test.c cells/store/h2_config.c))
$(eval $(call unit_test,store_mirror,tests/unit/store_mirror_test.c cells/store/mirror.c tests/unit/h2_dev.c,h2 h2codec,-llz4 -lz))
$(eval $(call fuzz_target,store_words,tests/fuzz/store_words.c cells/store/h2_config.c,oci h2 h2codec,-llz4 -lzstd -lz -lbearssl))
$(eval $(call fuzz_target,store_admin,tests/fuzz/store_admin.c $(ADMIN_ENV),oci h2 h2codec libcell,-llz4 -lzstd -lz -lbearssl))
$(eval $(call unit_test,store_admin,tests/unit/store_admin_test.c $(ADMIN_ENV),oci h2 h2codec libcell,-llz4 -lzstd -lz -lbearssl))
