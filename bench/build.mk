# Benchmarks. Each area is a script bench/AREA.py and a target bench-AREA.
$(B)/bench/linux-init: bench/linux_init.c
	@mkdir -p $(@D)
	$(Q)$(CC) -O2 -static -o $@ $<
$(B)/bench/initrd: $(B)/bench/linux-init
	$(Q)mkdir -p $(B)/bench/root && cp $< $(B)/bench/root/init && \
	  (cd $(B)/bench/root && echo init | cpio -o -H newc --quiet) > $@

BENCHES += nucleus
.PHONY: bench-nucleus
bench-nucleus: all size $(B)/bench/initrd ## the nucleus beside a Linux kernel in the same QEMU
	@$(PYTHON) bench/nucleus.py

BENCHES += linux
.PHONY: bench-linux
bench-linux: all ## the linux cell beside Linux with crun and overlayfs in the same QEMU
	@$(PYTHON) bench/linux.py

BENCHES += docker
.PHONY: bench-docker
bench-docker: all $(B)/docker.d0a ## containers through the Docker API beside a Linux guest's
	@$(PYTHON) bench/docker.py
