# The transport cell: core (freestanding), client library, hosted programs, the cell.

TRANSPORT_CORE := $(wildcard cells/transport/core/*.c)
TRANSPORT_CLIENT := $(wildcard cells/transport/client/*.c)
$(eval $(call host_lib,transport,$(TRANSPORT_CORE)))
$(eval $(call host_lib,pvs_client,$(TRANSPORT_CLIENT)))

TCP_SIM := tests/unit/tcp_sim.c
$(eval $(call unit_test,tcp_transfer,tests/unit/tcp_transfer.c $(TCP_SIM),transport pvs_client))

$(eval $(call cell,transport,cells/transport/main.c,transport vnet_port))
$(eval $(call hosted_cell,transport,cells/transport/main.c,transport vnet_port))
$(eval $(call host_prog,transportd,cells/transport/hosted/transportd.c \
  cells/transport/hosted/tap.c cells/transport/hosted/serve.c,transport pvs_client))

TP_FUZZ := tests/fuzz/transport_env.c
$(foreach f,frames tcp pvsock dhcp,$(eval $(call fuzz_target,fuzz_$(f),\
  tests/fuzz/fuzz_$(f).c $(TP_FUZZ),transport pvs_client)))
$(eval $(call unit_test,tcp_attack,tests/unit/tcp_attack.c $(TCP_SIM),transport pvs_client))
$(eval $(call unit_test,tcp_share,tests/unit/tcp_share.c $(TCP_SIM),transport pvs_client))
$(eval $(call unit_test,tcp_mcast,tests/unit/tcp_mcast.c $(TCP_SIM),transport pvs_client))
$(eval $(call unit_test,tcp_pod,tests/unit/tcp_pod.c $(TCP_SIM),transport pvs_client))
$(eval $(call unit_test,tcp_errqueue,tests/unit/tcp_errqueue.c $(TCP_SIM),transport pvs_client))
$(eval $(call unit_test,tcp_crash,tests/unit/tcp_crash.c tests/unit/tcp_mortal.c \
  $(TCP_SIM),transport pvs_client))
$(eval $(call unit_test,tcp_dgram,tests/unit/tcp_dgram.c $(TCP_SIM),transport pvs_client))
$(eval $(call unit_test,tcp_api,tests/unit/tcp_api.c $(TCP_SIM),transport pvs_client))

# packetdrill's --so_filename (packetdrill itself is not part of the tree).
$(eval $(call shared_obj,d0_packetdrill,cells/transport/packetdrill/so.c,\
  transport pvs_client,-lpthread))
packetdrill-so: $(B)/lib/d0_packetdrill.so ## the shared object for packetdrill
.PHONY: packetdrill-so
