# What can be asked for. `##` comments are what `make help` prints.

.PHONY: all test test-unit test-system test-long run bench size fuzz campaign check help clean format

all: $(HOST_PROGS) $(CELLS) $(CELLS_HIGH) $(IMAGES) ## build D0, its cells and the host tools

# Unit tests write JUnit XML beside the system tests'; tests/summary.py adds them up.
test: all ## every test that CI runs; ends with the line "N passed, N failed"
	@rm -rf $(B)/junit && mkdir -p $(B)/junit
	@$(MAKE) --no-print-directory -k test-unit || true
	@$(MAKE) --no-print-directory test-system || true
	@$(PYTHON) tests/summary.py $(B)/junit

test-unit: $(UNIT_TESTS) ## unit tests on the host, with ASan and UBSan
	@mkdir -p $(B)/junit
	@$(PYTHON) tests/unit/run.py $(B)/junit $(UNIT_TESTS)

test-system: all $(SYSTEM_DEPS) ## system tests: fresh boots in QEMU and Bochs
	@mkdir -p $(B)/junit
	@$(PYTHON) tests/system/run.py $(B)/junit $(B)/pytest

test-long: all $(SYSTEM_DEPS) ## the slower system tests as well
	@mkdir -p $(B)/junit
	@$(PYTHON) -m pytest -q -p no:cacheprovider \
	  --junitxml=$(B)/junit/long.xml tests/system
	@$(PYTHON) tests/summary.py $(B)/junit

campaign: all ## COUNT=n random bit flips (SEED=s) in verified pages (HOT=1: in hot code); writes build/campaign.json
	@$(PYTHON) tests/fault/campaign.py --count $(or $(COUNT),100) --seed $(or $(SEED),1) $(if $(HOT),--hot)

fuzz: $(FUZZ_TARGETS) ## run every fuzz target for FUZZ_SECONDS (default 60) each
	@$(PYTHON) tests/fuzz/run.py --seconds $(or $(FUZZ_SECONDS),60) $(FUZZ_TARGETS)

bench: $(addprefix bench-,$(BENCHES)) ## every benchmark beside its peer; writes build/bench.json

check: $(FUZZ_TARGETS) ## format, clang-tidy, cppcheck, headers that stand alone, fuzz targets' seeds
	@$(PYTHON) tools/check.py
	@$(PYTHON) tests/fuzz/run.py --corpus $(FUZZ_TARGETS)

format: ## format every source in place
	@git ls-files '*.c' '*.h' | xargs clang-format -i

help: ## this list
	@grep -hE '^[a-zA-Z_-]+:.*## ' $(MAKEFILE_LIST) | \
	  sed -E 's/^([a-zA-Z_-]+):.*## (.*)/  \1\t\2/' | sort | expand -t 22

clean: ## remove everything built
	rm -rf $(B)

-include $(shell test -d $(B)/obj && find $(B)/obj -name '*.d')
