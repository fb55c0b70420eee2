# The nic cell: drivers, layer-2 switch, virtio-net ports.
#   nic        everything that runs in the cell and in hosted mode alike
#   nic-host   what takes the place of devices on Linux (TAP)
nic_core := $(addprefix cells/nic/,moderate.c net_common.c vnet_device.c net_init.c \
              $(addprefix switch/,fdb.c gso.c merge.c policy.c policy_share.c ports.c share.c switch.c))
$(eval $(call host_lib,nic,$(nic_core)))
$(eval $(call host_lib,nic-host,cells/nic/hosted/platform.c cells/nic/hosted/tap.c))

nic_drivers := $(wildcard cells/nic/drivers/*.c)
nic_test := tests/unit/nic_env.c
$(eval $(call unit_test,nic_switch_test,tests/unit/nic_switch_test.c $(nic_test),\
  nic nic-host vnet_port libcell libcell-hosted))
$(eval $(call unit_test,nic_merge_test,tests/unit/nic_merge_test.c $(nic_test),\
  nic nic-host vnet_port libcell libcell-hosted))
$(eval $(call unit_test,nic_merge_tcp,tests/unit/nic_merge_tcp.c tests/unit/tcp_sim.c \
  $(nic_test),nic nic-host vnet_port libcell libcell-hosted transport pvs_client))
$(eval $(call unit_test,nic_moderate_test,tests/unit/nic_moderate_test.c,nic))
$(eval $(call unit_test,nic_policy_test,tests/unit/nic_policy_test.c $(nic_test),\
  nic nic-host vnet_port libcell libcell-hosted))

$(eval $(call unit_test,nic_share_test,tests/unit/nic_share_test.c $(nic_test),\
  nic nic-host vnet_port libcell libcell-hosted))

$(eval $(call cell,nic,cells/nic/main.c cells/nic/bare/platform.c $(nic_drivers),nic))
$(eval $(call hosted_cell,nic,cells/nic/main.c cells/nic/hosted/cards.c,nic nic-host))
# Drivers against QEMU's device models.
$(eval $(call unit_test,nic_driver_test,tests/unit/nic_driver_test.c tests/unit/nic_qtest.c \
  $(nic_test) $(nic_drivers),nic vnet_port libcell libcell-hosted))
$(eval $(call fuzz_target,nic_frame,tests/fuzz/nic_frame.c $(nic_test),\
  nic nic-host vnet_port libcell libcell-hosted))
$(eval $(call fuzz_target,nic_port,tests/fuzz/nic_port.c $(nic_test),\
  nic nic-host vnet_port libcell libcell-hosted))
$(eval $(call fuzz_target,nic_policy,tests/fuzz/nic_policy.c $(nic_test),\
  nic nic-host vnet_port libcell libcell-hosted))
