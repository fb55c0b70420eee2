# The store: FUSE server, image importer, block drivers, the cell itself.
FUSE_SRC := $(wildcard cells/store/fuse/*.c)
$(eval $(call host_lib,fuse,$(FUSE_SRC)))

$(eval $(call unit_test,store_fuse,tests/unit/store_fuse_test.c tests/unit/store_env.c,fuse h2 h2codec,-llz4 -lz))
$(eval $(call fuzz_target,fuse,tests/fuzz/fuse.c tests/unit/store_env.c,fuse h2 h2codec,-llz4 -lz))
