# libcell: the runtime of native cells.
#   libcell         what does not touch the outside, for every variant
#   libcell-bare    back-end for cells and guest kernels, with a small C library
#   libcell-hosted  back-end for Linux processes
libcell_common := $(wildcard libcell/common/*.c)
libcell_bare   := $(filter-out libcell/bare/start.S,$(wildcard libcell/bare/*.[cS])) \
                  $(wildcard libcell/libc/*.c)

# The C library must not be compiled into calls of itself.
CFLAGS.libcell/libc += -fno-tree-loop-distribute-patterns -fno-builtin

$(eval $(call host_lib,libcell,$(libcell_common)))
$(eval $(call host_lib,libcell-bare,$(libcell_bare)))
$(eval $(call host_lib,libcell-hosted,$(filter-out libcell/hosted/main.c,$(wildcard libcell/hosted/*.c))))

# Unit tests of the runtime itself.
$(eval $(call unit_test,test_libcell_rings,tests/unit/libcell_rings.c,libcell libcell-hosted))
$(eval $(call unit_test,test_libcell_runtime,tests/unit/libcell_runtime.c,libcell libcell-hosted))
$(eval $(call unit_test,test_libcell_hosted,tests/unit/libcell_hosted.c,libcell libcell-hosted))
$(eval $(call fuzz_target,virtq,tests/fuzz/virtq.c,libcell libcell-hosted))
