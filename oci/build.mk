# Container images in a volume; the same code in d0fs and in the store cell.
OCI_SRC := $(wildcard oci/*.c)
$(eval $(call host_lib,oci,$(OCI_SRC)))
$(eval $(call unit_test,store_oci,tests/unit/store_oci_test.c tests/unit/store_env.c,oci h2 h2codec,-llz4 -lzstd -lz -lbearssl))
$(eval $(call fuzz_target,tar,tests/fuzz/tar.c tests/unit/store_env.c,oci h2 h2codec,-llz4 -lzstd -lz -lbearssl))
$(eval $(call fuzz_target,oci_json,tests/fuzz/oci_json.c,oci h2 h2codec,-llz4 -lzstd -lz -lbearssl))

BENCHES += images
.PHONY: bench-images
bench-images: $(B)/bin/d0fs ## import of images beside umoci, podman and makefs
	$(Q)$(PYTHON) bench/images.py $(B)
$(eval $(call unit_test,store_tree,tests/unit/store_tree_test.c tests/unit/store_env.c,oci h2 h2codec,-llz4 -lzstd -lz -lbearssl))
$(eval $(call fuzz_target,oci_meta,tests/fuzz/oci_meta.c tests/unit/store_env.c,oci h2 h2codec,-llz4 -lzstd -lz -lbearssl))
