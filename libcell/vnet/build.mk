# The driver side of a virtio-net port, linked by transport cells and by tests.
$(eval $(call host_lib,vnet_port,libcell/vnet/vnet_port.c))
