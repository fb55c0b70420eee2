# The boot archive: the tool, the signing key (made at the first build, never committed),
# its public half for the nucleus, and the archive that `make run` boots.
MKARCHIVE     := $(B)/bin/d0-mkarchive
ARCHIVE_KEY   := $(B)/keys/signing.key
ARCHIVE_PUB   := $(B)/gen/pubkey.h
mkarchive_src := tools/mkarchive/blob.c tools/mkarchive/key.c tools/mkarchive/elf.c \
                 tools/mkarchive/conf.c tools/mkarchive/build.c tools/mkarchive/check.c

$(eval $(call host_lib,mkarchive,$(mkarchive_src)))
$(eval $(call host_prog,d0-mkarchive,tools/mkarchive/main.c,mkarchive,-lbearssl))
$(eval $(call unit_test,test_mkarchive,tests/unit/mkarchive.c,mkarchive,-lbearssl))
$(eval $(call fuzz_target,mkarchive,tests/fuzz/mkarchive.c,mkarchive,-lbearssl))

$(ARCHIVE_KEY): | $(MKARCHIVE)
	@mkdir -p $(@D)
	$(Q)$(MKARCHIVE) key $@
$(ARCHIVE_PUB): $(ARCHIVE_KEY)
	@mkdir -p $(@D)
	$(Q)$(MKARCHIVE) pubkey $< > $@

# $(call archive_of,OUT,CONF,CELLS,DATA): a rule's command line for an archive.
archive_of = $(MKARCHIVE) create --key $(ARCHIVE_KEY) --out $(1) --conf $(2) \
             --nucleus $(B)/d0.elf \
             $(foreach c,$(3),--cell $(basename $(notdir $(c)))=$(c)$(if \
             $(filter $(c),$(CELLS_HIGH)),$(comma)high)) $(foreach d,$(4),--data $(d))
