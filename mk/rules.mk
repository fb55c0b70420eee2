# Rules the rooms call from their build.mk:
#   $(eval $(call host_lib,NAME,SOURCES))                  $(B)/lib/VARIANT/NAME.a, every variant
#   $(eval $(call host_prog,NAME,SOURCES,LIBS,LDLIBS))     $(B)/bin/NAME
#   $(eval $(call unit_test,NAME,SOURCES,LIBS,LDLIBS))     $(B)/tests/NAME, cmocka, ASan+UBSan
#   $(eval $(call fuzz_target,NAME,SOURCES,LIBS,LDLIBS))   $(B)/fuzz/NAME, libFuzzer
#   $(eval $(call shared_obj,NAME,SOURCES,LIBS,LDLIBS))    $(B)/lib/NAME.so
#   $(eval $(call cell,NAME,SOURCES,LIBS,LDLIBS))          $(B)/cells/NAME.elf, a native cell
#   $(eval $(call cell_high,NAME,SOURCES,LIBS,LDLIBS))     the same for a guest kernel
#   $(eval $(call hosted_cell,NAME,SOURCES,LIBS,LDLIBS))   $(B)/hosted/NAME, the cell as a process
# SOURCES are paths from the top; LIBS are names given to host_lib; LDLIBS are -l flags.

Q := @

UNIT_TESTS   :=
FUZZ_TARGETS :=
HOST_PROGS   :=
SYSTEM_DEPS  :=
BENCHES      :=

obj = $(patsubst %,$(B)/obj/$(1)/%.o,$(2))
lib = $(patsubst %,$(B)/lib/$(1)/%.a,$(2))

# Flags of a source: base, variant, then those of its folder.
dirs_of   = $(patsubst %/,%,$(dir $(1)))
src_flags = $(BASE) $(WARN) $(FLAGS.$(1)) $(CFLAGS.$(call dirs_of,$(2))) \
            $(CFLAGS.$(1).$(call dirs_of,$(2)))

define variant_rules
$(B)/obj/$(1)/%.c.o: %.c
	@mkdir -p $$(@D)
	$(Q)$(if $(filter fuzz,$(1)),$(CLANG),$(CC)) $$(call src_flags,$(1),$$<) -c $$< -o $$@
$(B)/obj/$(1)/%.S.o: %.S
	@mkdir -p $$(@D)
	$(Q)$(CC) $$(call src_flags,$(1),$$<) -D__ASSEMBLY__ -c $$< -o $$@
endef
VARIANTS := host asan fuzz pic cell guest nucleus
$(foreach v,$(VARIANTS),$(eval $(call variant_rules,$(v))))

define host_lib
$(foreach v,$(VARIANTS),
$(B)/lib/$(v)/$(1).a: $(call obj,$(v),$(2))
	@mkdir -p $$(@D)
	$(Q)rm -f $$@ && ar rcs $$@ $$^
)
endef

define host_prog
HOST_PROGS += $(B)/bin/$(1)
$(B)/bin/$(1): $(call obj,host,$(2)) $(call lib,host,$(3))
	@mkdir -p $$(@D)
	$(Q)$(CC) -pie -Wl,-z,relro,-z,now -o $$@ $(call obj,host,$(2)) \
	  -Wl,--start-group $(call lib,host,$(3)) -Wl,--end-group $(4)
endef

define unit_test
UNIT_TESTS += $(B)/tests/$(1)
$(B)/tests/$(1): $(call obj,asan,$(2)) $(call lib,asan,$(3))
	@mkdir -p $$(@D)
	$(Q)$(CC) $(LD_SAN) -o $$@ $(call obj,asan,$(2)) \
	  -Wl,--start-group $(call lib,asan,$(3)) -Wl,--end-group $(4) -lcmocka
endef

define fuzz_target
FUZZ_TARGETS += $(B)/fuzz/$(1)
$(B)/fuzz/$(1): $(call obj,fuzz,$(2)) $(call lib,fuzz,$(3))
	@mkdir -p $$(@D)
	$(Q)$(CLANG) -fsanitize=fuzzer,address,undefined -o $$@ $(call obj,fuzz,$(2)) \
	  -Wl,--start-group $(call lib,fuzz,$(3)) -Wl,--end-group $(4)
endef

define shared_obj
$(B)/lib/$(1).so: $(call obj,pic,$(2)) $(call lib,pic,$(3))
	@mkdir -p $$(@D)
	$(Q)$(CC) -shared -o $$@ $(call obj,pic,$(2)) \
	  -Wl,--start-group $(call lib,pic,$(3)) -Wl,--end-group $(4)
endef

# Cells: static-PIE images, linked twice: the second time with the symbol table made from
# the first. A native cell gets libcell with its start-up code; a guest kernel brings its
# own _start and takes from libcell what it calls.
CELL_LDFLAGS := -static-pie -nostdlib -nostartfiles -Wl,-T,libcell/bare/cell.lds \
                -Wl,--no-dynamic-linker -Wl,-z,noexecstack -Wl,-z,text -Wl,-z,max-page-size=4096 \
                -Wl,--build-id=none -Wl,--gc-sections -Wl,--no-warn-rwx-segments
comma      := ,
CELLS      :=
CELLS_HIGH :=

# The functions that $(2) names lie side by side at the start of the image's text: what runs for
# each packet then takes few pages, of the TLB and of what an emulator has to look up again.
define hot_list
$(B)/gen/hot/$(1)/hot.lds: $(2)
	@mkdir -p $$(@D)
	$(Q)sed -n 's/^\([a-z_][a-z0-9_]*\)$$$$/*(.text.\1 .text.\1.*)/p' /dev/null $$^ > $$@
endef

# NAME, SOURCES, LIBS, LDLIBS, VARIANT, more sources
define cell_image
$(call hot_list,$(1),$(wildcard cells/$(1)/hot.txt))
$(B)/cells/$(1).dbg: $(call obj,$(5),$(2) $(6)) $(call lib,$(5),$(3) libcell libcell-bare) \
                     libcell/bare/cell.lds tools/symtab.py $(B)/gen/hot/$(1)/hot.lds
	@mkdir -p $$(@D)
	$(Q)$(PYTHON) tools/symtab.py > $$@.S && $(CC) -c $$@.S -o $$@.sym.o
	$(Q)$(CC) $(CELL_LDFLAGS) -L$(B)/gen/hot/$(1) -o $$@.0 $(call obj,$(5),$(6) $(2)) $$@.sym.o \
	  -Wl,--start-group $(call lib,$(5),$(3) libcell libcell-bare) $(if $(4),-Wl$(comma)-u$(comma)bare_tls_init) $(4) -lgcc -Wl,--end-group
	$(Q)$(PYTHON) tools/symtab.py $$@.0 > $$@.S && $(CC) -c $$@.S -o $$@.sym.o
	$(Q)$(CC) $(CELL_LDFLAGS) -L$(B)/gen/hot/$(1) -o $$@ $(call obj,$(5),$(6) $(2)) $$@.sym.o \
	  -Wl,--start-group $(call lib,$(5),$(3) libcell libcell-bare) $(if $(4),-Wl$(comma)-u$(comma)bare_tls_init) $(4) -lgcc -Wl,--end-group
$(B)/cells/$(1).elf: $(B)/cells/$(1).dbg
	$(Q)strip --strip-all -o $$@ $$<
endef

define cell
CELLS += $(B)/cells/$(1).elf
$(call cell_image,$(1),$(2),$(3),$(4),cell,libcell/bare/start.S)
endef

define cell_high
CELLS_HIGH += $(B)/cells/$(1).elf
$(call cell_image,$(1),$(2),$(3),$(4),guest,)
endef

define hosted_cell
HOST_PROGS += $(B)/hosted/$(1)
$(B)/hosted/$(1): $(call obj,host,$(2) libcell/hosted/main.c) \
                  $(call lib,host,$(3) libcell libcell-hosted)
	@mkdir -p $$(@D)
	$(Q)$(CC) -pie -Wl,-z,relro,-z,now -o $$@ $(call obj,host,$(2) libcell/hosted/main.c) \
	  -Wl,--start-group $(call lib,host,$(3) libcell libcell-hosted) -Wl,--end-group \
	  $(4) -lpthread
endef
