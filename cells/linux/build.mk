# The guest kernel of a linux cell.
LX_DIR := cells/linux
LX_SRC := $(filter-out $(LX_DIR)/tests/%,$(sort $(wildcard $(LX_DIR)/*/*.c $(LX_DIR)/*/*.S)))

# The vDSO is user code: built apart, carried as a blob.
LX_VDSO := $(LX_DIR)/boot/vdso
$(B)/gen/vdso.so: $(LX_VDSO)/vdso.c $(LX_VDSO)/vdso.lds include/d0/abi.h
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -Iinclude -O2 -fPIC -ffreestanding -fno-stack-protector -fcf-protection=none \
	  -fno-asynchronous-unwind-tables -fvisibility=default -shared -nostdlib \
	  -Wl,-T,$(LX_VDSO)/vdso.lds -Wl,--hash-style=both -Wl,-soname,linux-vdso.so.1 \
	  -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-Bsymbolic -Wl,--no-warn-rwx-segments \
	  -o $@ $<
$(B)/obj/guest/$(LX_DIR)/boot/vdso_blob.S.o: $(B)/gen/vdso.so
CFLAGS.guest.$(LX_DIR)/boot += -I$(B) -Wa,-I$(B)
# The kernel's memory functions must not be compiled into calls of themselves.
CFLAGS.guest.$(LX_DIR)/lib += -fno-tree-loop-distribute-patterns

$(eval $(call cell_high,linux,$(LX_SRC),pvs_client))

# Logic that needs no machine, under sanitizers on the host.
CFLAGS.asan.tests/unit += -Wno-unused-function
$(eval $(call unit_test,test_linux_vma,tests/unit/linux_vma_test.c tests/unit/linux_stubs.c))
$(eval $(call unit_test,test_linux_copy,tests/unit/linux_copy_test.c tests/unit/linux_stubs.c \
  tests/fuzz/fibers.c $(LX_DIR)/lib/text.c,libcell))
$(eval $(call unit_test,test_linux_inet,tests/unit/linux_inet_test.c tests/unit/linux_stubs.c \
  tests/unit/tcp_mortal.c tests/unit/tcp_sim.c $(LX_DIR)/lib/bpf.c,transport pvs_client))
$(eval $(call unit_test,test_linux_lib,tests/unit/linux_lib_test.c $(LX_DIR)/lib/bpf.c))
$(eval $(call fuzz_target,fuzz_linux_bpf,tests/fuzz/fuzz_linux_bpf.c $(LX_DIR)/lib/bpf.c))
$(eval $(call fuzz_target,fuzz_linux_tar,tests/fuzz/fuzz_linux_tar.c $(LX_DIR)/lib/text.c,libcell))
$(eval $(call fuzz_target,fuzz_linux_start,tests/fuzz/fuzz_linux_start.c $(LX_DIR)/boot/conctl_start.c \
  $(LX_DIR)/lib/text.c,libcell))
$(eval $(call fuzz_target,fuzz_linux_conctl,tests/fuzz/fuzz_linux_conctl.c tests/fuzz/fibers.c \
  $(LX_DIR)/boot/conctl_start.c $(LX_DIR)/lib/text.c,libcell))

# LTP's system-call tests: `make ltp LTP=PATH` with an installed Linux Test Project.
.PHONY: ltp
ltp: all ## LTP's system-call tests in a linux cell (LTP=PATH of an installed one)
	$(Q)$(if $(LTP),,$(error make ltp LTP=PATH: the folder of an installed Linux Test Project))
	$(Q)tests/ltp/run.py $(LTP) $(LTP_ARGS)

# gVisor's system-call tests: `make gvisor GVISOR=PATH` with a folder of the built programs.
.PHONY: gvisor
gvisor: all ## gVisor's system-call tests in a linux cell (GVISOR=PATH of the built ones)
	$(Q)$(if $(GVISOR),,$(error make gvisor GVISOR=PATH: the folder of the built test programs))
	$(Q)tests/gvisor/run.py $(GVISOR) $(GVISOR_ARGS)

# python3's own test modules, of the package libpython3.11-testsuite.
PYTHON_LIBRARY ?= /usr/lib/python3.11
.PHONY: pytests
pytests: all ## python3's own test modules in a linux cell
	$(Q)tests/python/run.py $(PYTHON_LIBRARY) $(PYTESTS_ARGS)
