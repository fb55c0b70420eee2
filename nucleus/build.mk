NUCLEUS_SRC := $(wildcard nucleus/*/*.c nucleus/*/*.S)
NUCLEUS_OBJ := $(call obj,nucleus,$(NUCLEUS_SRC))
NUCLEUS_LD  := ld -m elf_x86_64 -pie --no-dynamic-linker -z max-page-size=4096 \
               -z noexecstack -L $(B)/gen/hot/nucleus -z norelro --hash-style=gnu --build-id=none -T nucleus/nucleus.ld
CFLAGS.nucleus/archive += -I$(B)

$(B)/obj/nucleus/nucleus/archive/archive.c.o: $(B)/gen/pubkey.h

$(eval $(call hot_list,nucleus,nucleus/hot.txt))
$(B)/d0.elf: $(NUCLEUS_OBJ) nucleus/nucleus.ld $(B)/gen/hot/nucleus/hot.lds
	$(Q)$(NUCLEUS_LD) -o $@ $(NUCLEUS_OBJ) -static -L/usr/lib/x86_64-linux-gnu -lbearssl

IMAGES += $(B)/d0.elf

# Its logic on the host, on the fake arch.
NUCLEUS_LOGIC := nucleus/core/format.c nucleus/core/crypto.c nucleus/memory_regions/frames.c \
                 nucleus/memory_regions/tables.c nucleus/memory_regions/regions.c \
                 $(wildcard nucleus/archive/*.c) $(wildcard nucleus/sync/*.c) \
                 nucleus/verify/sets.c nucleus/verify/verify.c
$(eval $(call host_lib,nucleus-logic,$(NUCLEUS_LOGIC) tests/unit/fake/arch.c))
$(B)/obj/asan/nucleus/archive/archive.c.o $(B)/obj/fuzz/nucleus/archive/archive.c.o: $(B)/gen/pubkey.h
$(eval $(call unit_test,nucleus_memory,tests/unit/nucleus_memory.c,nucleus-logic,-lbearssl))
$(eval $(call unit_test,nucleus_cells,tests/unit/nucleus_cells.c,nucleus-logic,-lbearssl))
$(B)/tests/nucleus_cells: | $(B)/boot.d0a
$(eval $(call fuzz_target,nucleus_archive,tests/fuzz/nucleus_archive.c,nucleus-logic,-lbearssl))
$(eval $(call fuzz_target,nucleus_cmdline,tests/fuzz/nucleus_cmdline.c,nucleus-logic,-lbearssl))
CFLAGS.tests/unit += -I$(B)
