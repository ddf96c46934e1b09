# SPDX-License-Identifier: GPL-2.0
#
# make setup       packages, sources and the two User-Mode Linux test kernels
# make um          btrfs.ko for a test kernel; also um-debug, um-kasan, x86_64, x86_64-debug,
#                  x86_64-kasan, x86_64-inline
# make demo        sets up, builds, and shows the module at work in a guest
# make check       sets up, builds, and runs every test; TESTS="names" for some
# make bench       C and Rust side by side; a table and a plot in build/
# make fuzz        the long run over mutated images

TEST_KERNELS := um um-debug um-kasan x86_64 x86_64-debug x86_64-kasan x86_64-inline

# with_kernel NAME, TARGETS: makes TARGETS with the settings of a test kernel.
define with_kernel
	@settings=$$(tools/setup/setup.sh --print $(1)) && eval "$$settings" && \
		if [ ! -e "$$KDIR/.complete" ]; then tools/setup/setup.sh $(1); fi && \
		PATH="$$TOOLS:$$PATH" RUST_LIB_SRC="$$RUST_LIB_SRC" \
		$(MAKE) --no-print-directory KDIR="$$KDIR" ARCH=$(firstword $(subst -, ,$(1))) \
			$${LLVM:+LLVM="$$LLVM"} $(2)
endef

setup:
	@tools/setup/setup.sh um um-debug

$(TEST_KERNELS):
	+$(call with_kernel,$@,modules)

$(TEST_KERNELS:%=clippy-%):
	+$(call with_kernel,$(@:clippy-%=%),clippy)

demo:
	@tools/setup/setup.sh um
	+@$(MAKE) --no-print-directory um
	@tools/testing/demo

check:
	@tools/setup/setup.sh um um-debug
	@tools/testing/check --tree $(TESTS)

bench:
	@tools/setup/setup.sh um
	+@$(MAKE) --no-print-directory um
	@tools/testing/bench/run

fuzz:
	@tools/setup/setup.sh um-debug
	+@$(MAKE) --no-print-directory um-debug
	@tools/testing/fuzz/run

.PHONY: setup demo check bench fuzz $(TEST_KERNELS) $(TEST_KERNELS:%=clippy-%)
