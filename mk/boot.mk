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
SYSTEM_DEPS += $(B)/demo-image.tar $(B)/docker.d0a

ifneq ($(wildcard nucleus/build.mk),)
IMAGES += $(B)/boot.d0a
endif

$(B)/boot.d0a: $(BOOT_CONF) $(B)/d0.elf $(CELLS) $(CELLS_HIGH) $(ARCHIVE_KEY) $(MKARCHIVE)
	$(Q)$(call archive_of,$@,$(BOOT_CONF),$(CELLS) $(CELLS_HIGH),$(BOOT_DATA))

.PHONY: iso
run: all $(IMAGE) $(B)/d0d-root.tar ## boot D0 with a container (IMAGE= archive, CMD= words, WEB_PORT=, DISK=); Ctrl-C ends it
	@B=$(B) $(PYTHON) tools/run.py --image $(IMAGE) --cmd "$(CMD)" --disk $(DISK) \
	  --web-port $(WEB_PORT) --docker-port $(DOCKER_PORT) --dashboard-port $(DASHBOARD_PORT) \
	  -- -m $(RUN_MEM) -smp $(RUN_CPUS) $(RUN_EXTRA)

iso: $(B)/d0.iso ## one image that boots by BIOS and by UEFI
$(B)/d0.iso: $(B)/d0.elf $(B)/boot.d0a tools/mkiso.sh
	$(Q)tools/mkiso.sh $@ $(B)/d0.elf $(B)/boot.d0a

size: all ## lines and bytes of the nucleus and of each cell
	@$(PYTHON) tools/size.py $(B)
