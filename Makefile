# SPDX-License-Identifier: GPL-2.0
#
# make                  btrfs.ko against KDIR (default: the running kernel)
# make modules_install  install it (DESTDIR-like: INSTALL_MOD_PATH)
# make clippy           clippy's lints; what it compiles is not for use
# make doc              rustdoc pages of all crates
# make fmt-check        rustfmt with the kernel's settings; `make fmt` applies them
#
# KDIR     build directory of the kernel the module is for
# ARCH     its architecture, where it is not the machine's (um)
# MO       where the objects go (default: build/<kernel release>)

KDIR ?= /lib/modules/$(shell uname -r)/build
KRELEASE := $(shell cat $(KDIR)/include/config/kernel.release 2>/dev/null)
MO ?= $(CURDIR)/build/$(or $(KRELEASE),unknown)

KMAKE = $(MAKE) -C $(KDIR) $(if $(ARCH),ARCH=$(ARCH)) M=$(CURDIR) MO=$(MO)
RUST_SOURCES = $(shell find rust fs tools -name '*.rs' -not -path '*/target/*' 2>/dev/null)

modules:
	@mkdir -p $(MO)
	+$(KMAKE) modules

modules_install:
	+$(KMAKE) modules_install

clippy:
	@mkdir -p $(MO)-clippy
	+$(MAKE) -C $(KDIR) $(if $(ARCH),ARCH=$(ARCH)) M=$(CURDIR) MO=$(MO)-clippy CLIPPY=1 \
		KRUSTFLAGS="-Copt-level=0 -Cdebuginfo=0" modules

fmt:
	rustfmt --edition 2021 $(RUST_SOURCES)

fmt-check:
	rustfmt --edition 2021 --check $(RUST_SOURCES)

doc:
	@mkdir -p $(MO)
	+$(KMAKE) BTRFS_DOC=1 modules
	@echo "documentation: $(MO)/doc/btrfs/index.html"

clean:
	+$(KMAKE) clean

.DEFAULT_GOAL := modules
.PHONY: modules modules_install clippy doc fmt fmt-check clean

-include tools/targets.mk
