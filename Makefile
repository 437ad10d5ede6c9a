# What people call. `make try` shows it running, `make test` proves it, `make install` and `make deb`
# put it on a machine.

PREFIX ?= /usr
DESTDIR ?=
SYSTEMD_DIR ?= $(PREFIX)/lib/systemd/system
CARGO ?= cargo
RELEASE := target/release

.PHONY: all build try test test-vm bench fuzz matrix install uninstall deb clean help

all: build

## build      compile release binaries into target/release
build:
	@scripts/setup.sh build
	$(CARGO) build --release --locked --bins

## try        run a Debian system container in a sandbox that leaves nothing behind
try:
	@scripts/setup.sh run
	@$(CARGO) build --release --locked --bins
	@scripts/try.sh

## test       run every test
test:
	@scripts/setup.sh test
	@scripts/test.sh

## test-vm    run chosen end-to-end tests in an emulated machine with cgroup v2, AppArmor and systemd (VM_ARGS=--brief: the fewest)
test-vm:
	@scripts/setup.sh test
	@$(CARGO) build --locked --workspace --bins --test e2e
	@scripts/vm.sh $(VM_ARGS)

## bench      measure speed and memory, against LXD 5.0.2
bench:
	@scripts/setup.sh run
	@$(CARGO) build --release --locked --bins
	@$(RELEASE)/xtask bench $(BENCH_ARGS)

## fuzz       run every parser on invented input, FUZZ_SECONDS each
fuzz:
	@scripts/setup.sh fuzz
	@scripts/fuzz.sh $(FUZZ_ARGS)

## matrix     save and restore the running state of all kinds of guests, on all kinds of storage
matrix:
	@scripts/setup.sh test
	@$(CARGO) build --release --locked --bins
	@$(RELEASE)/xtask matrix $(MATRIX_ARGS)

## install    install below $(DESTDIR)$(PREFIX), with systemd units (build first, as yourself)
install:
	@test -x $(RELEASE)/lxd || { echo "run 'make build' first" >&2; exit 1; }
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/lxd $(DESTDIR)$(SYSTEMD_DIR) \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/lib/sysusers.d
	install -m 0755 $(RELEASE)/lxd $(RELEASE)/lxc $(DESTDIR)$(PREFIX)/bin/
	install -m 0755 $(RELEASE)/lxd-runtime $(DESTDIR)$(PREFIX)/libexec/lxd/
	for unit in lxd.service lxd.socket lxd-containers.service lxd-guests.service; do \
	    sed 's,@PREFIX@,$(PREFIX),g' packaging/systemd/$$unit > $(DESTDIR)$(SYSTEMD_DIR)/$$unit || exit 1; \
	    chmod 0644 $(DESTDIR)$(SYSTEMD_DIR)/$$unit; \
	done
	install -m 0644 packaging/systemd/lxd.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/lxd.conf
	$(RELEASE)/lxc completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/lxc
	@test -n "$(DESTDIR)" || packaging/configure-host.sh

## uninstall  remove what install installed; containers and images stay
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/lxd $(DESTDIR)$(PREFIX)/bin/lxc $(DESTDIR)$(PREFIX)/libexec/lxd/lxd-runtime \
	    $(DESTDIR)$(SYSTEMD_DIR)/lxd.service $(DESTDIR)$(SYSTEMD_DIR)/lxd.socket $(DESTDIR)$(SYSTEMD_DIR)/lxd-containers.service $(DESTDIR)$(SYSTEMD_DIR)/lxd-guests.service \
	    $(DESTDIR)$(PREFIX)/lib/sysusers.d/lxd.conf $(DESTDIR)$(PREFIX)/share/bash-completion/completions/lxc
	-rmdir $(DESTDIR)$(PREFIX)/libexec/lxd

## deb        make a Debian package in target/
deb: build
	packaging/make-deb.sh

clean:
	$(CARGO) clean

help:
	@sed -n 's/^## /  make /p' Makefile
