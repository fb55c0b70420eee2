# d0-hosted: the cells of a configuration as Linux processes.
$(eval $(call host_prog,d0-hosted,tools/hosted/main.c))
