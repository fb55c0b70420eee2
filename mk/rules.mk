# Rules the rooms call from their build.mk:
#   $(eval $(call host_lib,NAME,SOURCES))                  $(B)/lib/VARIANT/NAME.a, every variant
#   $(eval $(call host_prog,NAME,SOURCES,LIBS,LDLIBS))     $(B)/bin/NAME
#   $(eval $(call unit_test,NAME,SOURCES,LIBS,LDLIBS))     $(B)/tests/NAME, cmocka, ASan+UBSan
#   $(eval $(call fuzz_target,NAME,SOURCES,LIBS,LDLIBS))   $(B)/fuzz/NAME, libFuzzer
#   $(eval $(call shared_obj,NAME,SOURCES,LIBS,LDLIBS))    $(B)/lib/NAME.so
# SOURCES are paths from the top; LIBS are names given to host_lib; LDLIBS are -l flags.

UNIT_TESTS   :=
FUZZ_TARGETS :=
HOST_PROGS   :=
SYSTEM_DEPS  :=
BENCHES      :=
CELLS        :=

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
Q := @

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
