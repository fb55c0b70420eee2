# What boots: the archive, `make run`, the ISO. Included after every room, so that
# $(CELLS) is complete. BOOT_CONF and BOOT_DATA may be given on the command line.

BOOT_CONF ?= conf/sample.conf
BOOT_DATA ?=
RUN_CPUS  ?= 2
RUN_MEM   ?= 512M
RUN_EXTRA ?=

ifneq ($(wildcard nucleus/build.mk),)
IMAGES += $(B)/boot.d0a
endif

$(B)/boot.d0a: $(BOOT_CONF) $(B)/d0.elf $(CELLS) $(CELLS_HIGH) $(ARCHIVE_KEY) $(MKARCHIVE)
	$(Q)$(call archive_of,$@,$(BOOT_CONF),$(CELLS) $(CELLS_HIGH),$(BOOT_DATA))

.PHONY: iso
run: $(B)/d0.elf $(B)/boot.d0a ## boot D0 in QEMU, console in the terminal; Ctrl-C ends it
	@qemu-system-x86_64 -M q35 -cpu max -m $(RUN_MEM) -smp $(RUN_CPUS) -display none \
	  -no-reboot -chardev stdio,id=con,signal=on -serial chardev:con \
	  -kernel $(B)/d0.elf -initrd $(B)/boot.d0a $(RUN_EXTRA)

iso: $(B)/d0.iso ## one image that boots by BIOS and by UEFI
$(B)/d0.iso: $(B)/d0.elf $(B)/boot.d0a tools/mkiso.sh
	$(Q)tools/mkiso.sh $@ $(B)/d0.elf $(B)/boot.d0a

size: all ## lines and bytes of the nucleus and of each cell
	@$(PYTHON) tools/size.py $(B)
