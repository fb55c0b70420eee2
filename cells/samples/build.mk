# Sample cells: what libcell looks like in use, and what the tests run.
heartbeat_src := cells/samples/heartbeat/heartbeat.c
monitor_src   := $(wildcard cells/samples/monitor/*.c)
hostile_src   := $(wildcard cells/samples/hostile/*.c)

$(eval $(call cell,heartbeat,$(heartbeat_src)))
$(eval $(call cell,monitor,$(monitor_src)))
$(eval $(call hosted_cell,heartbeat,$(heartbeat_src)))
$(eval $(call cell,hostile,$(hostile_src),pvs_client))
$(eval $(call cell,probe,cells/samples/probe/probe.c))
$(eval $(call cell,libs,cells/samples/libs/libs.c,,-llz4 -lz -lxxhash -lbearssl))
