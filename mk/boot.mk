# What boots: the archive, `make run`, the ISO. Included after every room, so that
# $(CELLS) is complete. BOOT_CONF and BOOT_DATA may be given on the command line.

BOOT_CONF ?= conf/sample.conf
BOOT_DATA ?=
RUN_CPUS  ?= 2
RUN_MEM   ?= 512M
RUN_EXTRA ?=
WEB_PORT  ?= 8000
DOCKER_PORT    ?= 2375
DASHBOARD_PORT ?= 8080
IMAGE     ?= $(B)/demo-image.tar
CMD       ?=
DISK      ?= $(B)/disk.h2

$(B)/demo-root.tar: tools/demo/mkroot.sh
	@mkdir -p $(@D)
	$(Q)tools/demo/mkroot.sh $@
$(B)/d0d-root.tar: tools/d0d/mkroot.sh $(B)/bin/d0d-static
	@mkdir -p $(@D)
	$(Q)tools/d0d/mkroot.sh $(B)/bin/d0d-static $@
$(B)/docker.d0a: conf/docker.conf $(B)/d0.elf $(CELLS) $(CELLS_HIGH) $(ARCHIVE_KEY) $(MKARCHIVE) $(B)/demo-root.tar $(B)/d0d-root.tar
	$(Q)$(call archive_of,$@,conf/docker.conf,$(CELLS) $(CELLS_HIGH),demo-root=$(B)/demo-root.tar d0d-root=$(B)/d0d-root.tar)
$(B)/demo-image.tar: $(B)/demo-root.tar tools/demo/mkimage.py
	$(Q)$(PYTHON) tools/demo/mkimage.py $@ $<

# The container host for a machine of its own. HOST_NAMES: names and addresses it will be reached by.
HOST_NAMES  ?=
BOOT_PARAMS ?=
TLS         := $(B)/keys/tls
$(TLS)/server/cert.pem: tools/d0d/mktls.sh
	$(Q)tools/d0d/mktls.sh $(TLS) $(HOST_NAMES)
$(B)/host-root.tar: tools/d0d/mkroot.sh $(B)/bin/d0d-static $(TLS)/server/cert.pem
	$(Q)tools/d0d/mkroot.sh $(B)/bin/d0d-static $@ $(TLS)/server
$(B)/host.d0a: conf/host.conf $(B)/d0.elf $(CELLS) $(CELLS_HIGH) $(ARCHIVE_KEY) $(MKARCHIVE) $(B)/host-root.tar
	$(Q)$(call archive_of,$@,conf/host.conf,$(CELLS) $(CELLS_HIGH),host-root=$(B)/host-root.tar)
SYSTEM_DEPS += $(B)/d0.iso
SYSTEM_DEPS += $(B)/demo-image.tar $(B)/docker.d0a

ifneq ($(wildcard nucleus/build.mk),)
IMAGES += $(B)/boot.d0a
endif

$(B)/boot.d0a: $(BOOT_CONF) $(B)/d0.elf $(CELLS) $(CELLS_HIGH) $(ARCHIVE_KEY) $(MKARCHIVE)
	$(Q)$(call archive_of,$@,$(BOOT_CONF),$(CELLS) $(CELLS_HIGH),$(BOOT_DATA))

.PHONY: iso
run: all $(IMAGE) $(B)/d0d-root.tar ## boot D0 with a container (IMAGE= archive, CMD= words, WEB_PORT=, DISK=); Ctrl-C ends it
	@exec env B=$(B) $(PYTHON) tools/run.py --image $(IMAGE) --cmd "$(CMD)" --disk $(DISK) \
	  --web-port $(WEB_PORT) --docker-port $(DOCKER_PORT) --dashboard-port $(DASHBOARD_PORT) \
	  -- -m $(RUN_MEM) -smp $(RUN_CPUS) $(RUN_EXTRA)

iso: $(B)/d0.iso ## a container host that boots by BIOS and by UEFI (HOST_NAMES=, BOOT_PARAMS=)
	@echo "build/d0.iso: docs/hardware.md says how to boot it; client certificates are in $(TLS)/client"
$(B)/d0.iso: $(B)/d0.elf $(B)/host.d0a tools/mkiso.sh
	$(Q)D0_TIMEOUT=5 D0_CMDLINE="$(BOOT_PARAMS)" tools/mkiso.sh $@ $(B)/d0.elf $(B)/host.d0a

size: all ## lines and bytes of the nucleus and of each cell
	@$(PYTHON) tools/size.py $(B)
