# d0d, the management daemon; see docs/docker.md.
D0D_SRC := $(filter-out d0d/main.c,$(wildcard d0d/*.c)) $(wildcard d0d/linux/*.c)
D0D_LIBS := -larchive -ljansson -lssl -lcrypto -lpthread

$(eval $(call host_prog,d0d,d0d/main.c $(D0D_SRC),,$(D0D_LIBS)))
$(foreach v,host asan fuzz,$(call obj,$(v),d0d/www.c)): $(wildcard d0d/www/*)

$(eval $(call unit_test,d0d_http,tests/unit/d0d_http_test.c $(D0D_SRC),,$(D0D_LIBS)))
$(eval $(call unit_test,d0d_engine,tests/unit/d0d_engine_test.c tests/unit/d0d_fake.c $(D0D_SRC),,$(D0D_LIBS)))
$(eval $(call fuzz_target,d0d_http,tests/fuzz/d0d_http_fuzz.c tests/unit/d0d_fake.c $(D0D_SRC),,$(D0D_LIBS)))
$(eval $(call fuzz_target,d0d_load,tests/fuzz/d0d_load_fuzz.c tests/unit/d0d_fake.c $(D0D_SRC),,$(D0D_LIBS)))
