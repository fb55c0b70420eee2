# What boots: the archive, `make run`, the ISO. Included after every room, so that
# $(CELLS) is complete. BOOT_CONF and BOOT_DATA may be given on the command line.

BOOT_CONF ?= conf/sample.conf
BOOT_DATA ?=
RUN_CPUS  ?= 2
RUN_MEM   ?= 512M
RUN_EXTRA ?=
RUN_CONF  ?= conf/demo.conf
WEB_PORT  ?= 8000
DOCKER_PORT    ?= 2375
DASHBOARD_PORT ?= 8080

$(B)/demo-root.tar: tools/demo/mkroot.sh
	@mkdir -p $(@D)
	$(Q)tools/demo/mkroot.sh $@
$(B)/d0d-root.tar: tools/d0d/mkroot.sh $(B)/bin/d0d-static
	@mkdir -p $(@D)
	$(Q)tools/d0d/mkroot.sh $(B)/bin/d0d-static $@
$(B)/run.d0a: $(RUN_CONF) $(B)/d0.elf $(CELLS) $(CELLS_HIGH) $(ARCHIVE_KEY) $(MKARCHIVE) $(B)/demo-root.tar $(B)/d0d-root.tar
	$(Q)$(call archive_of,$@,$(RUN_CONF),$(CELLS) $(CELLS_HIGH),demo-root=$(B)/demo-root.tar d0d-root=$(B)/d0d-root.tar)
$(B)/docker.d0a: conf/docker.conf $(B)/d0.elf $(CELLS) $(CELLS_HIGH) $(ARCHIVE_KEY) $(MKARCHIVE) $(B)/demo-root.tar $(B)/d0d-root.tar
	$(Q)$(call archive_of,$@,conf/docker.conf,$(CELLS) $(CELLS_HIGH),demo-root=$(B)/demo-root.tar d0d-root=$(B)/d0d-root.tar)
SYSTEM_DEPS += $(B)/run.d0a $(B)/docker.d0a

ifneq ($(wildcard nucleus/build.mk),)
IMAGES += $(B)/boot.d0a
endif

$(B)/boot.d0a: $(BOOT_CONF) $(B)/d0.elf $(CELLS) $(CELLS_HIGH) $(ARCHIVE_KEY) $(MKARCHIVE)
	$(Q)$(call archive_of,$@,$(BOOT_CONF),$(CELLS) $(CELLS_HIGH),$(BOOT_DATA))

.PHONY: iso run-docker
run: RUN_ARCHIVE = $(B)/run.d0a
run-docker: RUN_ARCHIVE = $(B)/docker.d0a
run: $(B)/run.d0a ## boot the demo in QEMU, console in the terminal; Ctrl-C ends it
run-docker: $(B)/docker.d0a ## the same, but d0d may make cells, not the monitor: docker run works
run run-docker: $(B)/d0.elf
	@echo "d0: the container's page will be at http://127.0.0.1:$(WEB_PORT)/"
	@echo "d0: the dashboard will be at http://127.0.0.1:$(DASHBOARD_PORT)/"
	@echo "d0: the Docker endpoint will be at tcp://127.0.0.1:$(DOCKER_PORT) (docker -H tcp://127.0.0.1:$(DOCKER_PORT) version)"
	@qemu-system-x86_64 -M q35 -cpu max -m $(RUN_MEM) -smp $(RUN_CPUS) -display none \
	  -no-reboot -chardev stdio,id=con,signal=on -serial chardev:con \
	  -netdev user,id=net0,hostfwd=tcp:127.0.0.1:$(WEB_PORT)-10.0.2.15:80,hostfwd=tcp:127.0.0.1:$(DOCKER_PORT)-10.0.2.16:2375,hostfwd=tcp:127.0.0.1:$(DASHBOARD_PORT)-10.0.2.16:8080 \
	  -device virtio-net-pci,netdev=net0 \
	  -kernel $(B)/d0.elf -initrd $(RUN_ARCHIVE) $(RUN_EXTRA)

iso: $(B)/d0.iso ## one image that boots by BIOS and by UEFI
$(B)/d0.iso: $(B)/d0.elf $(B)/boot.d0a tools/mkiso.sh
	$(Q)tools/mkiso.sh $@ $(B)/d0.elf $(B)/boot.d0a

size: all ## lines and bytes of the nucleus and of each cell
	@$(PYTHON) tools/size.py $(B)
