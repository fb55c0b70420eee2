# bench-net: the transport stack beside lwIP and Linux. Needs liblwip-dev, root, iproute2.
LWIP_CFLAGS := $(shell pkg-config --cflags lwip 2>/dev/null || echo -I/usr/include/lwip)
BENCHES += net
bench-net: $(B)/bin/transportd $(B)/bench/lwip_peer $(B)/bench/linux_echo ## transport stack beside lwIP and Linux
	@$(PYTHON) bench/net.py $(B)
$(B)/bench/lwip_peer: bench/net/lwip_peer.c
	@mkdir -p $(@D)
	@$(CC) -O2 -std=gnu11 -w $(LWIP_CFLAGS) $< -o $@ -llwip -lpthread || \
	  echo "no liblwip-dev: bench-net goes without lwIP"
$(B)/bench/linux_echo: bench/net/linux_echo.c
	@mkdir -p $(@D)
	@$(CC) -O2 $< -o $@
.PHONY: bench-net
