# pam_gotmpns: a /tmp of one's own for every login.
#
#   make build      the three files of the module, the command and its completions, into build/
#   make install    into the system (see the variables), as root
#   make uninstall  and out of it again
#   make demo       shows what a session sees, in a disposable root; as root
#   make test       lint, and all tests; as root
#   make test-system  of these, the ones that boot a whole Debian system; as root
#   make host       boots such a system with the module in it, for you to try; as root
#   make test-vm    SELinux, AppArmor, hard limits and quotas, in virtual machines; as root;
#                   ten minutes or more, and not part of "make test"
#   make test-old   builds in Debian 11 and has the tests of logins run there; as root
#   make check      what needs no root: lint, build, go test ./...
#   make fuzz       the fuzz targets, FUZZTIME each
#   make bench      open_session beside pam_namespace, gotmpns run beside bwrap; writes
#                   docs/benchmarks.md; as root
#   make setup      installs the Debian packages and the Go that all this needs, and says
#                   first what and how much; as root. Nothing else installs anything
#   make dist       the source with its modules, as build/pam-gotmpns-VERSION.tar.gz: the
#                   same bytes from the same commit
#   make deb        Debian packages for Debian 12 and 13, into build/deb/; as root.
#                   ARCH=arm64: cross-built, for Debian 13
#   make test-package  installs, upgrades and purges these in booted systems, runs Debian's
#                   autopkgtest, builds them in another directory to compare, and builds
#                   the RPM; as root
#   make test-programs  the programs that people log in with and those that meet in /tmp, in
#                   booted systems (docs/programs.md); SETS=desktop: browsers; as root
#   make clean-images  removes the systems and packages that the tests keep in ~/.cache/gotmpns
#   make cross      vets and builds the Go parts for other architectures, and runs the
#                   unit tests of those that this machine can run
#   make fmt        formats the Go sources
#   make clean      removes build/
#   make help       prints this
#
# Variables:
#   DESTDIR     where a package is put together (empty: the system itself)
#   PREFIX      /usr/local; the worker is told to the module when it is built
#   BINDIR      $(PREFIX)/bin: the command gotmpns
#   LIBEXECDIR  $(PREFIX)/libexec/gotmpns: gotmpns-worker, gotmpns-session.so, gotmpns-full
#   PAMDIR      where PAM looks for modules; found by the compiler's architecture and
#               by where the system has its own
#   CONFDIR     /etc/security
#   TMPFILESDIR $(PREFIX)/lib/tmpfiles.d
#   UNITDIR     $(PREFIX)/lib/systemd/system: gotmpns.socket, gotmpns.service and the clean-up's
#   MANDIR      $(PREFIX)/share/man
#   BASHDIR, ZSHDIR, FISHDIR  where the shells look for completions
#   CC, CFLAGS, LDFLAGS, GO, GOFLAGS  as usual; for another architecture, set CC and
#               GOARCH: make CC=aarch64-linux-gnu-gcc GOARCH=arm64
#   FUZZTIME    10s
#   SUITE       bookworm or trixie: what make host boots
#   STRIP       -s: symbols are taken off the parts in C; empty: they stay

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBEXECDIR ?= $(PREFIX)/libexec/gotmpns
# Where the system's own modules are: Debian has a directory for each architecture,
# Fedora, SUSE and their kin have lib64, and where /usr is not merged it is below /lib.
# A compiler for another architecture says which directory is Debian's for it; clang
# does not know -print-multiarch, and has a vendor in its machine's name.
ifndef PAMDIR
PAMDIR := $(shell m=$$($(CC) -print-multiarch 2>/dev/null); \
  [ -n "$$m" ] || m=$$($(CC) -dumpmachine 2>/dev/null | sed -E 's/-(pc|unknown)-/-/; s/^i[3-6]86/i386/'); \
  for d in "/usr/lib/$$m" "/lib/$$m" /usr/lib64 /lib64; do \
    [ ! -e "$$d/security/pam_unix.so" ] || { echo "$$d/security"; exit; }; done; \
  if [ -d "/usr/lib/$$m" ] && [ -n "$$m" ]; then echo "/usr/lib/$$m/security"; else echo /usr/lib/security; fi)
endif
CONFDIR    ?= /etc/security
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
UNITDIR    ?= $(PREFIX)/lib/systemd/system
MANDIR     ?= $(PREFIX)/share/man
BASHDIR    ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR     ?= $(PREFIX)/share/zsh/site-functions
# fish looks below /usr/local only where XDG_DATA_DIRS says so.
FISHDIR    ?= $(if $(filter /usr,$(PREFIX)),/usr/share/fish/vendor_completions.d,/etc/fish/completions)
FUZZTIME   ?= 10s
SUITE      ?= bookworm
SETS       ?= quick full
STRIP      ?= -s
STRIP_PROGRAM ?= $(shell $(CC) -print-prog-name=strip)
VERSION    := $(shell sed -n 's/^const Version = "\(.*\)"/\1/p' internal/cli/version.go)
# Asked for when it is used: most targets need no Go.
ifndef GO
GO = $(shell test/setup --go)
endif

STRICT  := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wconversion -Werror
HARDEN  := -fstack-protector-strong -D_FORTIFY_SOURCE=2
RELRO   := -Wl,-z,relro,-z,now,-z,noexecstack
CFLAGS  ?= -O2 -g
# The same bytes in whatever directory.
HERE    := -ffile-prefix-map=$(CURDIR)=.
SHIM    := args log limit request reply broker worker ask record apply commit shim
# Packed relocations take a tenth off the file. The linker has to make them (binutils
# 2.38) and the C library to load them (glibc 2.36); there are systems with one of the two.
PACKED = $(shell grep -qs GLIBC_ABI_DT_RELR "$$($(CC) -print-file-name=libc.so.6)" && \
  echo 'int x;' | $(CC) -shared -fPIC -Wl,--fatal-warnings,-z,pack-relative-relocs -o /dev/null -x c - 2>/dev/null && \
  echo -Wl,-z,pack-relative-relocs)

# For Go's own use of the C compiler. -trimpath maps paths itself, by options that do not
# differ from directory to directory; link-time optimization it cannot do. The binding of
# libpam takes for granted what older headers show with _GNU_SOURCE alone.
NOT_FOR_CGO := -ffile-prefix-map=% -fdebug-prefix-map=% -fmacro-prefix-map=% -flto% -ffat-lto-objects
CGO = CGO_ENABLED=1 CC='$(CC)' CGO_CFLAGS='-D_GNU_SOURCE $(filter-out $(NOT_FOR_CGO),$(CFLAGS))' CGO_LDFLAGS='$(filter-out $(NOT_FOR_CGO),$(LDFLAGS))'
# No commit in it: git refuses to tell root about the repository of somebody else.
GO_BUILD = $(GO) build -trimpath -buildvcs=false

.PHONY: help need-build need-dist need-lint need-sanitizers need-systems build install uninstall dist deb demo test test-system test-package test-programs clean-images test-vm test-old host \
  shim-tests check lint fmt fuzz cross bench setup clean FORCE

build: need-build build/pam_gotmpns.so build/gotmpns-worker build/gotmpns-session.so build/gotmpns build/gotmpns-full build/completions

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

# They name what is missing, and install nothing.
need-build need-dist need-lint need-sanitizers need-systems: need-%:
	@GO='$(GO)' CC='$(CC)' test/setup --need $*

# The place of the worker is compiled in: another place is another module.
build/place: FORCE
	@mkdir -p build
	@echo '$(LIBEXECDIR)/gotmpns-worker' | cmp -s - $@ || echo '$(LIBEXECDIR)/gotmpns-worker' > $@

build/%.o: c/%.c c/shim.h c/wire.h c/compat.h build/place | need-build
	$(CC) $(STRICT) $(CFLAGS) $(HERE) $(HARDEN) -fPIC -fvisibility=hidden \
	  -DGOTMPNS_WORKER='"$(LIBEXECDIR)/gotmpns-worker"' -c -o $@ $<

build/pam_gotmpns.so: $(SHIM:%=build/%.o) c/pam_gotmpns.map
	$(CC) $(CFLAGS) $(LDFLAGS) $(RELRO) -shared -Wl,--version-script=c/pam_gotmpns.map \
	  -Wl,-z,defs -o $@ $(SHIM:%=build/%.o) -lpam

# dlopen() has a library of its own before glibc 2.34.
build/gotmpns-worker: c/launcher.c c/wire.h c/compat.h | need-build
	@mkdir -p build
	$(CC) $(STRICT) $(CFLAGS) $(HERE) $(HARDEN) -fPIE -pie $(LDFLAGS) $(RELRO) -o $@ c/launcher.c -Wl,--as-needed -ldl

build/gotmpns-session.so: FORCE | need-build
	@mkdir -p build
	$(CGO) $(GO_BUILD) -buildmode=c-shared \
	  -ldflags '-s -w -extldflags "$(RELRO) $(PACKED)"' -o $@ ./pam_gotmpns
	@rm -f build/gotmpns-session.h

PLACES = -X gotmpns/internal/cli.modulePath=$(PAMDIR)/pam_gotmpns.so \
  -X gotmpns/internal/cli.workerPath=$(LIBEXECDIR)/gotmpns-worker \
  -X gotmpns/internal/cli.fullPath=$(LIBEXECDIR)/gotmpns-full

# Static, for it starts in half the time; what needs the C library is the other's
# (internal/cli/full.go).
build/gotmpns: FORCE | need-build
	@mkdir -p build
	CGO_ENABLED=0 $(GO_BUILD) -ldflags '-s -w $(PLACES)' -o $@ ./cmd/gotmpns

build/gotmpns-full: FORCE | need-build
	@mkdir -p build
	$(CGO) $(GO_BUILD) -buildmode=pie \
	  -ldflags '-s -w $(PLACES) -linkmode=external -extldflags "$(RELRO)"' \
	  -o $@ ./cmd/gotmpns

# By a command for this machine, whatever it is built for.
build/completions: build/gotmpns
	@mkdir -p $@
	@command=build/gotmpns; \
	if [ "$$($(GO) env GOARCH)" != "$$($(GO) env GOHOSTARCH)" ]; then \
	  command=build/gotmpns-host; \
	  GOARCH= CGO_ENABLED=0 $(GO_BUILD) -o $$command ./cmd/gotmpns || exit 1; \
	fi; \
	for shell in bash zsh fish; do $$command completion $$shell > $@/$$shell || exit 1; done

# Each file is written beside its place and renamed: a login in between has the old
# one or the new one, never half of one. The module comes last, for it needs the rest.
# Another architecture's symbols are taken off by that compiler's strip.
STRIPPED = $(STRIP) $(if $(STRIP),--strip-program='$(STRIP_PROGRAM)')
put = { install $(1) $(2) $(3).new && mv -f $(3).new $(3); }

install:
	@test -e build/gotmpns-session.so || { echo 'run "make" first' >&2; exit 1; }
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(PAMDIR) $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(CONFDIR) $(DESTDIR)$(TMPFILESDIR)
	install -d $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man8
	install -d $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR) $(DESTDIR)$(UNITDIR)
	$(call put,-m 0644,docs/gotmpns.1,$(DESTDIR)$(MANDIR)/man1/gotmpns.1)
	$(call put,-m 0644,docs/gotmpns.toml.5,$(DESTDIR)$(MANDIR)/man5/gotmpns.toml.5)
	$(call put,-m 0644,docs/pam_gotmpns.8,$(DESTDIR)$(MANDIR)/man8/pam_gotmpns.8)
	$(call put,-m 0644,build/completions/bash,$(DESTDIR)$(BASHDIR)/gotmpns)
	$(call put,-m 0644,build/completions/zsh,$(DESTDIR)$(ZSHDIR)/_gotmpns)
	$(call put,-m 0644,build/completions/fish,$(DESTDIR)$(FISHDIR)/gotmpns.fish)
	$(call put,-m 0644,debian/gotmpns.tmpfiles,$(DESTDIR)$(TMPFILESDIR)/gotmpns.conf)
	$(call put,-m 0644,debian/gotmpns.socket,$(DESTDIR)$(UNITDIR)/gotmpns.socket)
	$(call put,-m 0644,debian/gotmpns-clean.timer,$(DESTDIR)$(UNITDIR)/gotmpns-clean.timer)
	for unit in gotmpns.service gotmpns-clean.service; do \
	  sed 's,@BINDIR@,$(BINDIR),' debian/$$unit.in > $(DESTDIR)$(UNITDIR)/$$unit.new && \
	  chmod 0644 $(DESTDIR)$(UNITDIR)/$$unit.new && mv -f $(DESTDIR)$(UNITDIR)/$$unit.new $(DESTDIR)$(UNITDIR)/$$unit || exit 1; done
	install -d -m 0755 $(DESTDIR)$(CONFDIR)/gotmpns.d
	test -e $(DESTDIR)$(CONFDIR)/gotmpns.toml || \
	  $(call put,-m 0644,internal/config/gotmpns.toml,$(DESTDIR)$(CONFDIR)/gotmpns.toml)
	$(call put,-m 0755,build/gotmpns-full,$(DESTDIR)$(LIBEXECDIR)/gotmpns-full)
	$(call put,-m 0755,build/gotmpns,$(DESTDIR)$(BINDIR)/gotmpns)
	$(call put,-m 0644,build/gotmpns-session.so,$(DESTDIR)$(LIBEXECDIR)/gotmpns-session.so)
	$(call put,$(STRIPPED) -m 0755,build/gotmpns-worker,$(DESTDIR)$(LIBEXECDIR)/gotmpns-worker)
	$(call put,$(STRIPPED) -m 0644,build/pam_gotmpns.so,$(DESTDIR)$(PAMDIR)/pam_gotmpns.so)

# The module first: a login in between finds it or not, but never half of it.
# The configuration is the administrator's and stays.
uninstall:
	@! grep -rls pam_gotmpns $(DESTDIR)/etc/pam.d 2>/dev/null || \
	  { echo 'take pam_gotmpns.so out of the files above first, or logins may fail' >&2; exit 1; }
	@test -n "$(DESTDIR)" || test ! -d /run/systemd/system || test ! -e $(UNITDIR)/gotmpns.socket || \
	  { systemctl disable --now gotmpns.socket gotmpns-clean.timer && systemctl stop gotmpns.service; }
	rm -f $(DESTDIR)$(PAMDIR)/pam_gotmpns.so $(DESTDIR)$(TMPFILESDIR)/gotmpns.conf
	rm -f $(DESTDIR)$(BINDIR)/gotmpns $(DESTDIR)$(UNITDIR)/gotmpns.socket $(DESTDIR)$(UNITDIR)/gotmpns.service
	rm -f $(DESTDIR)$(UNITDIR)/gotmpns-clean.timer $(DESTDIR)$(UNITDIR)/gotmpns-clean.service
	rm -f $(DESTDIR)$(MANDIR)/man1/gotmpns.1 $(DESTDIR)$(MANDIR)/man5/gotmpns.toml.5 $(DESTDIR)$(MANDIR)/man8/pam_gotmpns.8
	rm -f $(DESTDIR)$(BASHDIR)/gotmpns $(DESTDIR)$(ZSHDIR)/_gotmpns $(DESTDIR)$(FISHDIR)/gotmpns.fish
	rm -f $(DESTDIR)$(LIBEXECDIR)/gotmpns-full
	rm -f $(DESTDIR)$(LIBEXECDIR)/gotmpns-worker $(DESTDIR)$(LIBEXECDIR)/gotmpns-session.so
	rmdir --ignore-fail-on-non-empty $(DESTDIR)$(LIBEXECDIR) 2>/dev/null || true

clean:
	rm -rf build

# The files that git knows, as they are in the work tree, and the modules that go.sum
# names: nothing is asked of a network when this is built. The linters are not among
# them. Time and owner are the same for all who make it.
DIST = build/pam-gotmpns-$(VERSION)
LINTERS = honnef.co/go/tools/cmd/staticcheck mvdan.cc/unparam github.com/golangci/misspell/cmd/misspell
dist: need-build need-dist
	@git rev-parse --is-inside-work-tree > /dev/null || \
	  { echo 'cannot make the source archive: git knows which files are in it, and this is no checkout' >&2; exit 1; }
	@rm -rf $(DIST) && mkdir -p $(DIST)
	@git ls-files -z > build/dist-files && xargs -0 cp --parents -t $(DIST) < build/dist-files && rm build/dist-files
	@cd $(DIST) && $(GO) mod edit $(LINTERS:%=-droptool=%) && $(GO) mod vendor
	@tar --create --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mode='u=rwX,go=rX' \
	  --mtime="@$$(git log -1 --format=%ct)" --directory build --file $(DIST).tar pam-gotmpns-$(VERSION)
	@gzip -9nf $(DIST).tar
	@rm -rf $(DIST)
	@sha256sum $(DIST).tar.gz

deb: need-build need-systems dist
ifdef ARCH
	@GO='$(GO)' test/package/deb trixie $(DIST).tar.gz $(ARCH)
else
	@for suite in bookworm trixie; do GO='$(GO)' test/package/deb $$suite $(DIST).tar.gz || exit 1; done
endif

setup:
	test/setup

# ---- tests ----
#
# Four rings: what needs nothing (check), real commands and hosts written for the
# purpose, and real login programs, both inside test/root/enter; whole systems inside
# test/host/boot.

test:
	@test/run --can
	@$(MAKE) --no-print-directory lint shim-tests
	@GO='$(GO)' test/run

test-system: build need-systems
	@GO='$(GO)' test/run system

test-programs: build need-systems
	@status=0; for suite in bookworm trixie; do for set in $(SETS); do test/programs/run $$set $$suite || status=1; done; done; \
	  test/programs/run report; exit $$status

clean-images:
	rm -rf --one-file-system "$${XDG_CACHE_HOME:-$$HOME/.cache}/gotmpns"

test-package: deb
	@for suite in bookworm trixie; do test/package/run $$suite && test/package/autopkgtest $$suite || exit 1; done
	@GO='$(GO)' test/package/same trixie $(DIST).tar.gz
	@test/package/rpm $(DIST).tar.gz

# Debian 11: an old C library and old headers.
test-old: dist need-systems
	@GO='$(GO)' test/host/old $(DIST).tar.gz

host: build need-systems
	@test "$$(id -u)" = 0 || { echo 'the system is booted in namespaces of its own: run "make host" as root' >&2; exit 1; }
	@echo 'Debian $(SUITE), with the module in its PAM stacks; users: alice, bob, carol. Try: ssh alice@localhost, su - bob. Leave with: exit'
	@test/host/boot --suite $(SUITE) --terminal -- /bin/bash -l

# One of them: test/vm/run bookworm/selinux
test-vm: build
	@test/vm/run

demo: build
	@test "$$(id -u)" = 0 || { echo 'the demo makes users and mounts in a disposable root: run "make demo" as root' >&2; exit 1; }
	@$(CGO) $(GO_BUILD) -o build/demo ./test/demo
	@test/root/enter --bare -- build/demo

# Copies, as an installation leaves them: a file in the page cache as the linker
# wrote it costs more to load than the same file copied.
bench: build
	@test "$$(id -u)" = 0 || { echo 'the benchmark mounts thousands of directories in a disposable root: run "make bench" as root' >&2; exit 1; }
	@mkdir -p build/bench
	$(CC) $(STRICT) $(CFLAGS) $(HARDEN) $(LDFLAGS) -o build/bench/bench-host test/bench/c/host.c -lpam
	$(CC) $(STRICT) $(CFLAGS) $(HARDEN) -fPIC $(LDFLAGS) -shared -o build/bench/pam_floor.so test/bench/c/pam_floor.c
	CGO_ENABLED=0 $(GO_BUILD) -o build/bench/bench ./test/bench
	install -m 0755 build/pam_gotmpns.so build/gotmpns-worker build/gotmpns-session.so build/gotmpns-full build/bench/
	test/host/boot --suite $(SUITE) --rw $(CURDIR)/build/bench -- $(CURDIR)/build/bench/bench -ssh -o $(CURDIR)/build/bench/ssh.md
	test/root/enter --rw $(CURDIR)/docs -- $(CURDIR)/build/bench/bench -include $(CURDIR)/build/bench/ssh.md -o $(CURDIR)/docs/benchmarks.md

# Hosts written for the purpose, a broken worker, and the shim under sanitizers.
SANITIZE := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
TESTHOST := c/test/host.c c/test/state.c
C_FLAGS   = -DGOTMPNS_WORKER='"/nowhere"'

shim-tests: build need-sanitizers
	@mkdir -p build/shim/sanitized
	$(CC) $(STRICT) -O1 -g -o build/shim/host $(TESTHOST) -lpam -ldl -lpthread
	$(CC) $(STRICT) -O1 -g -o build/shim/fakeworker c/test/fakeworker.c
	for mode in joins silent; do mkdir -p build/shim/$$mode && \
	  $(CC) $(STRICT) -O1 -g -fPIC -shared -DLIBRARY="\"$$mode\"" -o build/shim/$$mode/gotmpns-session.so c/test/fakeworker.c || exit 1; done
	$(CC) $(STRICT) -O1 -g -fPIC -shared -o build/shim/libnss_test.so.2 c/test/nss_test.c
	clang $(STRICT) $(SANITIZE) -o build/shim/host-sanitized $(TESTHOST) -lpam -ldl -lpthread
	clang $(STRICT) $(SANITIZE) $(C_FLAGS) -shared -fPIC -fvisibility=hidden -Wl,--version-script=c/pam_gotmpns.map \
	  -o build/shim/sanitized/pam_gotmpns.so $(SHIM:%=c/%.c) -lpam
	clang $(STRICT) $(SANITIZE) $(C_FLAGS) -fsanitize=fuzzer -o build/shim/fuzz_reply c/test/fuzz_reply.c c/reply.c

# The wire in both directions, the configuration and its rules.
fuzz: shim-tests
	@GO='$(GO)' test/fuzz $(FUZZTIME)

check: lint build
	$(GO) test ./...

# No C compiler for these is needed: what cgo is used for, "make deb ARCH=" builds.
cross:
	@GO='$(GO)' test/cross

GOFMT = $$($(GO) env GOROOT)/bin/gofmt
GOCODE = cmd internal pam_gotmpns test
fmt:
	$(GOFMT) -l -w $(GOCODE)

# The launcher leaves descriptors 0 to 2 open on purpose, which gcc 14 takes for a leak.
lint: need-build need-lint
	@mkdir -p build
	unformatted=$$($(GOFMT) -l $(GOCODE)) && test -z "$$unformatted" || { echo "run make fmt: $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) tool unparam -tests=false ./...
	find $(GOCODE) c docs debian .ci *.md Makefile -type f ! -path '*/testdata/*' -print0 > build/misspell-files
	xargs -0 $(GO) tool misspell -error < build/misspell-files
	cppcheck -q --enable=warning,performance,portability --error-exitcode=1 --std=c11 \
	  --suppress=normalCheckLevelMaxBranches -D_GNU_SOURCE -D__GLIBC__=2 -DGOTMPNS_WORKER='"/nowhere"' c
	clang-tidy -quiet --warnings-as-errors='*' c/*.c -- -std=c11 -D_GNU_SOURCE $(C_FLAGS) > build/clang-tidy.log 2>&1 || { cat build/clang-tidy.log; exit 1; }
	for cc in gcc clang; do for f in c/*.c c/test/*.c; do \
	  $$cc $(STRICT) -O2 $(HARDEN) $(C_FLAGS) -fsyntax-only $$f || exit 1; done; done
	for f in c/*.c; do \
	  case $$f in c/launcher.c) quiet=-Wno-analyzer-fd-leak ;; *) quiet= ;; esac; \
	  gcc $(STRICT) -O1 -fanalyzer $$quiet $(C_FLAGS) -c -o /dev/null $$f || exit 1; done
	shellcheck -x test/setup test/fuzz test/cross test/root/* test/host/* test/package/* .ci/run test/run test/vm/image test/vm/run test/vm/guest/*
	shellcheck debian/libpam-gotmpns.p* debian/libpam-gotmpns.*.init debian/tests/login
	shellcheck docs/examples/runit/gotmpns/run docs/examples/runit/gotmpns/log/run
	mandoc -Tlint -W warning docs/*.[158]
