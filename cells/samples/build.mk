# Sample cells: what libcell looks like in use, and what the tests run.
$(eval $(call cell,heartbeat,cells/samples/heartbeat/heartbeat.c))
$(eval $(call hosted_cell,heartbeat,cells/samples/heartbeat/heartbeat.c))
