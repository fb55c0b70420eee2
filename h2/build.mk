# h2: the HAMMER2 library. `h2` has no dependencies; `h2codec` adds liblz4 and zlib.
H2_SRC := h2/bulkfree.c h2/dedup.c h2/dir.c h2/env.c h2/file.c h2/flush.c h2/freemap.c \
          h2/fs_h2.c h2/fsck.c h2/h2_ops.c h2/hash.c h2/hash_x86.c h2/inode.c h2/io.c \
          h2/newfs.c h2/node.c h2/pack.c h2/rename.c h2/scrub.c h2/side.c h2/tree.c h2/walk.c

CFLAGS.h2 += -Wno-psabi

$(eval $(call host_lib,h2,$(H2_SRC)))
$(eval $(call host_lib,h2codec,h2/codec.c))

H2_TEST_LIBS := -llz4 -lz
$(eval $(call unit_test,h2_model,tests/unit/h2_model_test.c tests/unit/h2_dev.c,h2 h2codec,$(H2_TEST_LIBS)))
$(eval $(call unit_test,h2_crash,tests/unit/h2_crash_test.c tests/unit/h2_dev.c,h2 h2codec,$(H2_TEST_LIBS)))

$(eval $(call fuzz_target,h2_volume,tests/fuzz/h2_volume_fuzz.c tests/unit/h2_dev.c,h2 h2codec,$(H2_TEST_LIBS)))
$(eval $(call unit_test,h2_golden,tests/unit/h2_golden_test.c tests/unit/h2_dev.c,h2 h2codec,$(H2_TEST_LIBS)))
$(eval $(call unit_test,h2_fs,tests/unit/h2_fs_test.c tests/unit/h2_dev.c,h2 h2codec,$(H2_TEST_LIBS)))

$(eval $(call host_prog,store_bench,bench/store_bench.c tools/d0fs/hostdev.c,h2 h2codec,$(H2_TEST_LIBS)))

BENCHES += store
.PHONY: bench-store
bench-store: $(B)/bin/store_bench ## the HAMMER2 library beside btrfs: scrub, snapshots, many files
	$(Q)$(PYTHON) bench/store.py $(B)

# Through the store cell in QEMU, beside a Linux guest.
$(B)/bench/store-vm-io: bench/store_vm_io.c
	@mkdir -p $(@D)
	$(Q)$(CC) -O2 -static -o $@ $<
BENCHES += store-vm
.PHONY: bench-store-vm
bench-store-vm: all $(B)/bench/store-vm-io ## files in a container beside btrfs in a Linux guest
	$(Q)$(PYTHON) bench/store_vm.py

BENCHES += store-fuse
.PHONY: bench-store-fuse
bench-store-fuse: $(B)/bin/d0fs ## files through FUSE beside btrfs and EROFS
	$(Q)$(PYTHON) bench/store_fuse.py $(B)
