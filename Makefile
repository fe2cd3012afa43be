# SPDX-License-Identifier: Apache-2.0
# A thin face on meson.  `make` builds build/minked (also as build/dockerd and build/buildkitd); `make help` lists the rest.
BUILD  ?= build
PREFIX ?= /usr/local
PROGRAMS = minked

all: $(BUILD)/build.ninja
	ninja -C $(BUILD) $(PROGRAMS:%=src/daemon/%)
	ln -sfn src/daemon/minked $(BUILD)/minked
	ln -sfn src/daemon/minked $(BUILD)/dockerd
	ln -sfn src/daemon/minked $(BUILD)/buildkitd

$(BUILD)/build.ninja:
	meson setup $(BUILD) . --buildtype=debugoptimized -Dwerror=false

deps: ## install what is needed to build and run (Debian, as root)
	scripts/deps build
deps-check: ## install what the tests need besides
	scripts/deps check

demo: deps ## build, start a daemon on its own socket, build a real image through it, run it
	$(MAKE) all
	scripts/demo

check: deps-check ## all tests: builds, units under sanitizers, lint, behaviour, conformance subset
	scripts/check

unit: all ## unit tests of the build folder
	ninja -C $(BUILD)
	meson test -C $(BUILD) --suite unit --print-errorlogs

lint: ## format, static analysis, spelling, arrows between rooms
	scripts/lint

behaviour: all ## real clients against the real daemon
	tests/behaviour/run

conformance: all ## BuildKit's own Dockerfile suite
	tests/conformance/run --setup
	tests/conformance/run $(BUILD)/dockerd

bench: all ## figures beside the real dockerd and buildkitd, in one run
	bench/run

install: all
	install -D -m 0755 $(BUILD)/src/daemon/minked $(DESTDIR)$(PREFIX)/bin/minked
	strip $(DESTDIR)$(PREFIX)/bin/minked
	install -D -m 0644 docs/man/minked.8 $(DESTDIR)$(PREFIX)/share/man/man8/minked.8
	install -D -m 0644 packaging/minked.service $(DESTDIR)$(PREFIX)/lib/systemd/system/minked.service
	install -D -m 0644 packaging/minked.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/minked.socket
	install -D -m 0644 packaging/minked.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/minked

clean:
	rm -rf $(BUILD)

help:
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

.PHONY: all deps deps-check demo check unit lint behaviour conformance bench install clean help
