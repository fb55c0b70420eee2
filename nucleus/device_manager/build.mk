# device_manager: one library for the nucleus (variant nucleus) and for host tests.
DEVMGR_SRCS := $(wildcard nucleus/device_manager/*.c)
$(eval $(call host_lib,devmgr,$(DEVMGR_SRCS)))

$(eval $(call unit_test,nucleus_acpi,tests/unit/nucleus_acpi.c tests/unit/nucleus_devmgr_fake.c,devmgr))
$(eval $(call unit_test,nucleus_clock,tests/unit/nucleus_clock.c tests/unit/nucleus_devmgr_fake.c,devmgr))
$(eval $(call fuzz_target,acpi,tests/fuzz/acpi.c tests/unit/nucleus_devmgr_fake.c,devmgr))
$(eval $(call unit_test,nucleus_pci,tests/unit/nucleus_pci.c tests/unit/nucleus_devmgr_fake.c,devmgr))
$(eval $(call unit_test,nucleus_dmar,tests/unit/nucleus_dmar.c,devmgr))
$(eval $(call fuzz_target,dmar,tests/fuzz/dmar.c,devmgr))
