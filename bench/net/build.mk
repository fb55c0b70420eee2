# bench-net: the transport stack beside lwIP and Linux. Needs liblwip-dev, root, iproute2.
LWIP_CFLAGS := $(shell pkg-config --cflags lwip 2>/dev/null || echo -I/usr/include/lwip)
BENCHES += net
bench-net: ## the transport stack beside lwIP and Linux, natively
bench-net: $(B)/bin/transportd $(B)/bench/lwip_peer $(B)/bench/linux_echo \
           $(B)/bench/inproc $(B)/bench/inproc_lwip $(B)/bench/nic_switch \
           $(B)/bench/tap_wire $(B)/bench/guest_server $(B)/bench/load
	@$(PYTHON) bench/net.py $(B)
$(B)/bench/lwip_peer: bench/net/lwip_peer.c
	@mkdir -p $(@D)
	@$(CC) -O2 -std=gnu11 -w $(LWIP_CFLAGS) $< -o $@ -llwip -lpthread || \
	  echo "no liblwip-dev: bench-net goes without lwIP"
$(B)/bench/tap_wire: bench/net/tap_wire.c
	@mkdir -p $(@D)
	$(Q)$(CC) -O2 -o $@ $< -lpthread
$(B)/bench/linux_echo: bench/net/linux_echo.c
	@mkdir -p $(@D)
	@$(CC) -O2 $< -o $@
$(B)/bench/inproc: $(call obj,host,bench/net/inproc.c) $(call lib,host,transport pvs_client)
	@mkdir -p $(@D)
	@$(CC) -pie $^ -o $@
$(B)/bench/inproc_lwip: bench/net/inproc_lwip.c
	@mkdir -p $(@D)
	@$(CC) -O2 -std=gnu11 -w $(LWIP_CFLAGS) $< -o $@ -llwip -lpthread || \
	  echo "no liblwip-dev: bench-net goes without lwIP"
$(B)/bench/nic_switch: $(call obj,host,bench/net/nic_switch.c tests/unit/nic_env.c) \
                       $(call lib,host,nic nic-host vnet_port libcell libcell-hosted)
	@mkdir -p $(@D)
	@$(CC) -pie $^ -o $@ -lpthread
.PHONY: bench-net

# bench-net-guest: a container on D0 beside one in a Linux guest, both in QEMU.
BENCHES += net-guest
bench-net-guest: all $(B)/bench/guest_server $(B)/bench/load ## a container's network beside a Linux guest's, in QEMU
	@$(PYTHON) bench/net_guest.py
$(B)/bench/guest_server: bench/net/guest_server.c
	@mkdir -p $(@D)
	$(Q)$(CC) -O2 -static -o $@ $<
$(B)/bench/load: bench/net/load.c
	@mkdir -p $(@D)
	$(Q)$(CC) -O2 -o $@ $<
.PHONY: bench-net-guest
