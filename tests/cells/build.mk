# Cells that only tests run.
$(eval $(call cell,devtest,tests/cells/devtest.c))
