# d0d, the management daemon; see docs/docker.md.
D0D_SRC := $(filter-out d0d/main.c,$(wildcard d0d/*.c)) $(wildcard d0d/linux/*.c)
D0D_LIBS := -larchive -ljansson -lssl -lcrypto -lpthread

$(eval $(call host_prog,d0d,d0d/main.c $(D0D_SRC),,$(D0D_LIBS)))
