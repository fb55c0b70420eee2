# d0d, the management daemon; see docs/docker.md.
D0D_SRC := $(filter-out d0d/main.c,$(wildcard d0d/*.c)) $(wildcard d0d/linux/*.c) $(wildcard d0d/d0/*.c)
D0D_LIBS := -larchive -ljansson -lssl -lcrypto -lz -llzma -lbz2 -lpthread

$(eval $(call host_prog,d0d,d0d/main.c $(D0D_SRC),,$(D0D_LIBS)))
$(foreach v,host asan fuzz,$(call obj,$(v),d0d/www.c)): $(wildcard d0d/www/*)

# The same without shared libraries, as it runs in a linux cell. libarchive's table of
# writers mentions xar, whose writer wants libxml2 (and that ICU, 30 MB): d0d never writes
# xar, so those symbols lead to abort().
D0D_NO_XML := $(foreach s,xmlBufferCreate xmlBufferFree xmlFreeTextWriter xmlNewTextWriterMemory \
	xmlTextWriterEndDocument xmlTextWriterEndElement xmlTextWriterSetIndent \
	xmlTextWriterStartDocument xmlTextWriterStartElement xmlTextWriterWriteAttribute \
	xmlTextWriterWriteBase64 xmlTextWriterWriteFormatAttribute xmlTextWriterWriteString,\
	-Wl,--defsym=$(s)=abort)
HOST_PROGS += $(B)/bin/d0d-static
$(B)/bin/d0d-static: $(call obj,host,d0d/main.c $(D0D_SRC))
	@mkdir -p $(@D)
	$(Q)$(CC) -static -Wl,--no-warnings $(D0D_NO_XML) -o $@ $^ -larchive -ljansson -lssl -lcrypto \
	  -lnettle -lz -lzstd -llzma -lbz2 -llz4 -lpthread

$(eval $(call host_prog,d0ctl,tools/d0ctl/d0ctl.c d0d/client.c d0d/conn.c d0d/http.c d0d/http_parse.c \
	d0d/util.c,,-ljansson -lssl -lcrypto -lpthread))

$(eval $(call unit_test,d0d_http,tests/unit/d0d_http_test.c $(D0D_SRC),,$(D0D_LIBS)))
$(eval $(call unit_test,d0d_engine,tests/unit/d0d_engine_test.c tests/unit/d0d_fake.c $(D0D_SRC),,$(D0D_LIBS)))
$(eval $(call fuzz_target,d0d_http,tests/fuzz/d0d_http_fuzz.c tests/unit/d0d_fake.c $(D0D_SRC),,$(D0D_LIBS)))
$(eval $(call fuzz_target,d0d_load,tests/fuzz/d0d_load_fuzz.c tests/unit/d0d_fake.c $(D0D_SRC),,$(D0D_LIBS)))
$(eval $(call unit_test,d0d_expand,tests/unit/d0d_expand_test.c d0d/expand.c d0d/util.c,,$(D0D_LIBS)))
$(eval $(call fuzz_target,d0d_expand,tests/fuzz/d0d_expand_fuzz.c d0d/expand.c d0d/util.c,,$(D0D_LIBS)))
$(eval $(call fuzz_target,d0d_box,tests/fuzz/d0d_box_fuzz.c tests/unit/d0d_fake.c $(D0D_SRC),,$(D0D_LIBS)))
$(eval $(call fuzz_target,d0d_store,tests/fuzz/d0d_store_fuzz.c tests/unit/d0d_fake.c $(filter-out d0d/d0/store.c,$(D0D_SRC)),,$(D0D_LIBS)))
$(eval $(call unit_test,d0d_dockerfile,tests/unit/d0d_dockerfile_test.c d0d/dockerfile.c d0d/util.c,,$(D0D_LIBS)))
$(eval $(call fuzz_target,d0d_dockerfile,tests/fuzz/d0d_dockerfile_fuzz.c d0d/dockerfile.c d0d/util.c,,$(D0D_LIBS)))
