# pam_gotmpns: private /tmp directories for logins
#
# Build and install:
#   make setup      install the Debian packages and the Go version that building and testing
#                   need, after printing what and how much; as root. No other target
#                   installs packages
#   make            build the module, the worker, the command and its completions, into build/
#   make install    install them (see the variables); as root
#   make uninstall  remove them; as root
#   make clean      remove build/
#
# Try:
#   make demo       show what a session and the host see, in a disposable root; as root
#   make host       boot a Debian system with the module and open a shell in it; as root
#
# Develop (CONTRIBUTING.md):
#   make check      lint, build and go test ./...: everything that needs no root
#   make lint       all linters
#   make fmt        format the Go sources; the layout of C is in .clang-format
#   make test       lint, and all rings of tests; as root. For a single ring or test:
#                   test/run RING -run TEST
#   make test-system    the ring that boots whole Debian systems; as root
#   make test-programs  login programs, and programs that meet in /tmp, in booted systems
#                   (docs/programs.md); SETS=desktop for browsers; as root
#   make test-package   install, upgrade and purge the packages in booted systems, run
#                   autopkgtest, compare a second build, build the RPM; as root. With
#                   OLD=DIR, also the upgrade from the packages in DIR (test/package/run)
#   make test-old   build and test logins in Debian 11; as root
#   make test-vm    SELinux, AppArmor, hard limits and quotas in virtual machines, and after
#                   "make deb ARCH=arm64" also that package on arm64; takes ten minutes or
#                   more and is not part of "make test"; as root
#   make cross      vet, build and test the Go parts for other architectures
#   make fuzz       run each fuzz target for FUZZTIME
#   make measure    count what makes the sources hard to read: lengths, names, stilted words,
#                   duplicated lines (docs/readability.md); REVISIONS='0.1=COMMIT now=.'
#   make bench      measure logins and "gotmpns run", and write docs/benchmarks.md; as root
#   make clean-images   remove the systems and packages that tests keep in ~/.cache/gotmpns
#
# Release:
#   make dist       build/pam-gotmpns-VERSION.tar.gz: the sources with all Go modules, the
#                   same bytes from the same commit
#   make deb        packages for Debian 12 and 13, into build/deb/; as root. ARCH=arm64
#                   cross-builds for Debian 13
#
# Variables:
#   DESTDIR     prefix of all installed files, for packages; default: empty
#   PREFIX      /usr/local
#   BINDIR      $(PREFIX)/bin: the command gotmpns
#   LIBEXECDIR  $(PREFIX)/libexec/gotmpns: gotmpns-worker, gotmpns-session.so, gotmpns-full,
#               gotmpns-run; compiled into the module and the command: use the same value
#               for "make" and "make install"
#   PAMDIR      where PAM looks for modules; the default depends on the compiler and on
#               where the system keeps its own; compiled into the command
#   CONFDIR     /etc/security
#   TMPFILESDIR $(PREFIX)/lib/tmpfiles.d
#   UNITDIR     $(PREFIX)/lib/systemd/system: units of the broker and of the cleanup
#   MANDIR      $(PREFIX)/share/man
#   BASHDIR, ZSHDIR, FISHDIR  directories for completions
#   CC, CFLAGS, LDFLAGS, GO, GOFLAGS  as usual; to cross-build, set CC and GOARCH:
#               make CC=aarch64-linux-gnu-gcc GOARCH=arm64
#   FUZZTIME    10s
#   REVISIONS   git revisions for "make measure"; "." is the work tree, and the default
#   SUITE       bookworm or trixie: the release for "make host"; default: bookworm
#   STRIP       -s strips the C parts; empty keeps their symbols

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBEXECDIR ?= $(PREFIX)/libexec/gotmpns
# The directory of the system's own modules. Debian has one for each architecture, Fedora
# and SUSE have lib64; if /usr is not merged, it is below /lib. A compiler for another
# architecture prints Debian's directory for it. clang does not support -print-multiarch,
# and its machine name contains a vendor.
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
REVISIONS  ?= .
SUITE      ?= bookworm
SETS       ?= quick full
STRIP      ?= -s
STRIP_PROGRAM ?= $(shell $(CC) -print-prog-name=strip)
VERSION    := $(shell sed -n 's/^const Version = "\(.*\)"/\1/p' internal/cli/version.go)
# Evaluated when it is used: most targets need no Go.
ifndef GO
GO = $(shell test/setup --go)
endif

STRICT  := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wconversion -Werror
HARDEN  := -fstack-protector-strong -D_FORTIFY_SOURCE=2
RELRO   := -Wl,-z,relro,-z,now,-z,noexecstack
CFLAGS  ?= -O2 -g
# The result must not depend on the build directory.
HERE    := -ffile-prefix-map=$(CURDIR)=.
SHIM    := args log limit request reply broker worker ask record apply commit shim
# Packed relocations make the files a tenth smaller, and the memory of the broker by the same
# 0.7 MiB, because the loader reads all of them. They need support in the linker
# (binutils 2.38) and in the C library (glibc 2.36); some systems have only one of the two.
PACKED = $(shell grep -qs GLIBC_ABI_DT_RELR "$$($(CC) -print-file-name=libc.so.6)" && \
  echo 'int x;' | $(CC) -shared -fPIC -Wl,--fatal-warnings,-z,pack-relative-relocs -o /dev/null -x c - 2>/dev/null && \
  echo -Wl,-z,pack-relative-relocs)

# For Go's own use of the C compiler. -trimpath already maps paths, with options that do not
# depend on the directory, and cgo does not support link-time optimization. The binding of
# libpam uses declarations that older headers have only with _GNU_SOURCE.
NOT_FOR_CGO := -ffile-prefix-map=% -fdebug-prefix-map=% -fmacro-prefix-map=% -flto% -ffat-lto-objects
CGO = CGO_ENABLED=1 CC='$(CC)' CGO_CFLAGS='-D_GNU_SOURCE $(filter-out $(NOT_FOR_CGO),$(CFLAGS))' CGO_LDFLAGS='$(filter-out $(NOT_FOR_CGO),$(LDFLAGS))'
# Without the commit: as root, git refuses to read another user's repository.
GO_BUILD = $(GO) build -trimpath -buildvcs=false

.PHONY: help need-build need-dist need-lint need-sanitizers need-systems build install uninstall dist deb demo test test-system test-package test-programs clean-images test-vm test-old host \
  front shim-tests check lint fmt fuzz cross measure bench setup clean FORCE

build: need-build build/pam_gotmpns.so build/gotmpns-worker build/gotmpns-session.so build/gotmpns build/gotmpns-run build/gotmpns-full build/completions

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

# These name missing packages, and install nothing.
need-build need-dist need-lint need-sanitizers need-systems: need-%:
	@GO='$(GO)' CC='$(CC)' test/setup --need $*

# The path of the worker is compiled in: a different path needs a different module.
build/place: FORCE
	@mkdir -p build
	@echo '$(LIBEXECDIR)/gotmpns-worker' | cmp -s - $@ || echo '$(LIBEXECDIR)/gotmpns-worker' > $@

build/%.o: c/%.c c/shim.h c/wire.h c/compat.h build/place | need-build
	$(CC) $(STRICT) $(CFLAGS) $(HERE) $(HARDEN) -fPIC -fvisibility=hidden \
	  -DGOTMPNS_WORKER='"$(LIBEXECDIR)/gotmpns-worker"' -c -o $@ $<

build/pam_gotmpns.so: $(SHIM:%=build/%.o) c/pam_gotmpns.map
	$(CC) $(CFLAGS) $(LDFLAGS) $(RELRO) -shared -Wl,--version-script=c/pam_gotmpns.map \
	  -Wl,-z,defs -o $@ $(SHIM:%=build/%.o) -lpam

# Before glibc 2.34, dlopen() is in a separate library.
build/gotmpns-worker: c/launcher.c c/wire.h c/compat.h | need-build
	@mkdir -p build
	$(CC) $(STRICT) $(CFLAGS) $(HERE) $(HARDEN) -fPIE -pie $(LDFLAGS) $(RELRO) -o $@ c/launcher.c -Wl,--as-needed -ldl

build/gotmpns-session.so: FORCE | need-build
	@mkdir -p build
	$(CGO) $(GO_BUILD) -buildmode=c-shared \
	  -ldflags '-s -w -extldflags "$(RELRO) $(PACKED)"' -o $@ ./pam_gotmpns
	@rm -f build/gotmpns-session.h

# The command in PATH. Without the C library where c/start.h can do so: without its stack
# protector, which needs thread-local storage, and without the distribution's options for
# the linker, which are for programs with a C library. CFLAGS must not undo that.
ifneq ($(shell printf '#if defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__))\nyes\n#endif' | $(CC) -E -P - 2>/dev/null),)
FRONT_FLAGS = -ffreestanding -fno-stack-protector -fno-lto -fPIE
FRONT_LINK  = -static-pie -nostdlib
else
FRONT_FLAGS = $(HARDEN) -fPIE
FRONT_LINK  = -pie $(LDFLAGS)
endif
link_front = $(CC) $(STRICT) $(CFLAGS) $(HERE) $(FRONT_FLAGS) -DGOTMPNS_LIBEXEC='"$(LIBEXECDIR)"' $(FRONT_LINK) $(RELRO) -o $(1) c/front.c

build/gotmpns: c/front.c c/start.h build/place | need-build
	$(call link_front,$@)

# For tests: OUT=FILE is the command with its programs in another LIBEXECDIR.
front:
	@$(call link_front,$(OUT))

PLACES = -X gotmpns/internal/cli.modulePath=$(PAMDIR)/pam_gotmpns.so \
  -X gotmpns/internal/cli.workerPath=$(LIBEXECDIR)/gotmpns-worker

# "gotmpns run": static and small, because such a program starts in half the time.
build/gotmpns-run: FORCE | need-build
	@mkdir -p build
	CGO_ENABLED=0 $(GO_BUILD) -ldflags '-s -w' -o $@ ./cmd/gotmpns-run

build/gotmpns-full: FORCE | need-build
	@mkdir -p build
	$(CGO) $(GO_BUILD) -buildmode=pie \
	  -ldflags '-s -w $(PLACES) -linkmode=external -extldflags "$(RELRO) $(PACKED)"' \
	  -o $@ ./cmd/gotmpns

# Generated by a command for the build machine when cross-building.
build/completions: build/gotmpns-full
	@mkdir -p $@
	@command=build/gotmpns-full; \
	if [ "$$($(GO) env GOARCH)" != "$$($(GO) env GOHOSTARCH)" ]; then \
	  command=build/gotmpns-host; \
	  GOARCH= CGO_ENABLED=0 $(GO_BUILD) -o $$command ./cmd/gotmpns || exit 1; \
	fi; \
	for shell in bash zsh fish; do $$command completion $$shell > $@/$$shell || exit 1; done

# What is installed: SOURCE:MODE:WHERE. The module comes last, because it needs the others,
# and is removed first. A source that ends with .in has @BINDIR@ in it.
FILES = \
  docs/gotmpns.1:0644:$(MANDIR)/man1/gotmpns.1 \
  docs/gotmpns.toml.5:0644:$(MANDIR)/man5/gotmpns.toml.5 \
  docs/pam_gotmpns.8:0644:$(MANDIR)/man8/pam_gotmpns.8 \
  build/completions/bash:0644:$(BASHDIR)/gotmpns \
  build/completions/zsh:0644:$(ZSHDIR)/_gotmpns \
  build/completions/fish:0644:$(FISHDIR)/gotmpns.fish \
  debian/gotmpns.tmpfiles:0644:$(TMPFILESDIR)/gotmpns.conf \
  debian/gotmpns.socket:0644:$(UNITDIR)/gotmpns.socket \
  debian/gotmpns-clean.timer:0644:$(UNITDIR)/gotmpns-clean.timer \
  debian/gotmpns.service.in:0644:$(UNITDIR)/gotmpns.service \
  debian/gotmpns-clean.service.in:0644:$(UNITDIR)/gotmpns-clean.service \
  build/gotmpns-full:0755:$(LIBEXECDIR)/gotmpns-full \
  build/gotmpns-run:0755:$(LIBEXECDIR)/gotmpns-run \
  build/gotmpns:0755:$(BINDIR)/gotmpns \
  build/gotmpns-session.so:0644:$(LIBEXECDIR)/gotmpns-session.so \
  build/gotmpns-worker:0755:$(LIBEXECDIR)/gotmpns-worker \
  build/pam_gotmpns.so:0644:$(PAMDIR)/pam_gotmpns.so
# The administrator's own: installed where there is none, and never removed.
CONFIG = internal/config/gotmpns.toml:0644:$(CONFDIR)/gotmpns.toml

reversed = $(if $(1),$(call reversed,$(wordlist 2,$(words $(1)),$(1))) $(firstword $(1)))
# Files for another architecture are stripped by that compiler's strip.
STRIPPED = $(STRIP) $(if $(STRIP),--strip-program='$(STRIP_PROGRAM)')

# Each file is written under a temporary name and renamed, so that a login during the
# installation gets the old file or the new one, never a part.
install:
	@test -e build/gotmpns-session.so || { echo 'run "make" first' >&2; exit 1; }
	install -d -m 0755 $(DESTDIR)$(CONFDIR)/gotmpns.d
	@set -e; for file in $(if $(wildcard $(DESTDIR)$(CONFDIR)/gotmpns.toml),,$(CONFIG)) $(FILES); do \
	  source=$${file%%:*} rest=$${file#*:}; mode=$${rest%%:*} to=$(DESTDIR)$${rest#*:}; \
	  echo "install -m $$mode $$source $$to"; \
	  install -d "$${to%/*}"; \
	  case $$source in \
	  *.in) sed 's,@BINDIR@,$(BINDIR),' $$source > $$to.new; chmod $$mode $$to.new ;; \
	  build/gotmpns | build/gotmpns-worker | build/pam_gotmpns.so) install $(STRIPPED) -m $$mode $$source $$to.new ;; \
	  *) install -m $$mode $$source $$to.new ;; \
	  esac; \
	  mv -f $$to.new $$to; done

uninstall:
	@! grep -rls pam_gotmpns $(DESTDIR)/etc/pam.d 2>/dev/null || \
	  { echo 'remove pam_gotmpns.so from the files above first, or logins may fail' >&2; exit 1; }
	@test -n "$(DESTDIR)" || test ! -d /run/systemd/system || test ! -e $(UNITDIR)/gotmpns.socket || \
	  { systemctl disable --now gotmpns.socket gotmpns-clean.timer && systemctl stop gotmpns.service; }
	@set -e; for file in $(call reversed,$(FILES)); do \
	  echo "rm -f $(DESTDIR)$${file##*:}"; rm -f $(DESTDIR)$${file##*:}; done
	rmdir --ignore-fail-on-non-empty $(DESTDIR)$(LIBEXECDIR) 2>/dev/null || true

clean:
	rm -rf build

# The files that git tracks, as they are in the work tree, and the Go modules without the
# linters, so that building needs no network. Times and owners do not depend on who makes
# the archive.
DIST = build/pam-gotmpns-$(VERSION)
LINTERS = honnef.co/go/tools/cmd/staticcheck mvdan.cc/unparam github.com/golangci/misspell/cmd/misspell
dist: need-build need-dist
	@git rev-parse --is-inside-work-tree > /dev/null || \
	  { echo 'cannot make the source archive: its list of files comes from git, and this is not a git checkout' >&2; exit 1; }
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
# Four rings: tests that need no root (check); the command and purpose-built hosts, and
# real login programs, both inside test/root/enter; whole systems inside test/host/boot.

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
	@for suite in bookworm trixie; do test/package/run $$suite $(if $(OLD),$(OLD)/$$suite/libpam-gotmpns_*.deb) && test/package/autopkgtest $$suite || exit 1; done
	@GO='$(GO)' test/package/same trixie $(DIST).tar.gz
	@test/package/rpm $(DIST).tar.gz

# Debian 11: an old C library and old headers.
test-old: dist need-systems
	@GO='$(GO)' test/host/old $(DIST).tar.gz

host: build need-systems
	@test "$$(id -u)" = 0 || { echo 'booting a system needs namespaces: run "make host" as root' >&2; exit 1; }
	@echo 'Debian $(SUITE) with the module in its PAM stacks. Users: alice, bob, carol. Try: ssh alice@localhost, su - bob. To leave: exit'
	@test/host/boot --suite $(SUITE) --terminal -- /bin/bash -l

# A single one: test/vm/run bookworm/selinux
test-vm: build
	@test/vm/run

demo: build
	@test "$$(id -u)" = 0 || { echo 'the demo creates users and mounts in a disposable root: run "make demo" as root' >&2; exit 1; }
	@$(CGO) $(GO_BUILD) -o build/demo ./test/demo
	@test/root/enter --bare -- build/demo

# With -list, "go run ./test/measure" prints each finding.
measure:
	@$(GO) run ./test/measure $(REVISIONS)

# It measures copies, as an installation creates them: a file that the linker has just
# written is slower to load from the page cache than a copy.
bench: build
	@test "$$(id -u)" = 0 || { echo 'the benchmark mounts thousands of directories in a disposable root: run "make bench" as root' >&2; exit 1; }
	@mkdir -p build/bench
	$(CC) $(STRICT) $(CFLAGS) $(HARDEN) $(LDFLAGS) -o build/bench/bench-host test/bench/c/host.c -lpam
	$(CC) $(STRICT) $(CFLAGS) $(HARDEN) -fPIC $(LDFLAGS) -shared -o build/bench/pam_floor.so test/bench/c/pam_floor.c
	$(CC) $(STRICT) $(CFLAGS) $(HARDEN) -fPIC $(LDFLAGS) -shared -o build/bench/pam_asking.so test/bench/c/pam_asking.c
	$(CC) $(STRICT) $(CFLAGS) $(HARDEN) $(LDFLAGS) -o build/bench/floor-server test/bench/c/floor_server.c
	CGO_ENABLED=0 $(GO_BUILD) -o build/bench/bench ./test/bench
	install -m 0755 build/pam_gotmpns.so build/gotmpns-worker build/gotmpns-session.so build/gotmpns-full build/gotmpns-run build/gotmpns build/bench/
	test/host/boot --suite $(SUITE) --rw $(CURDIR)/build/bench -- $(CURDIR)/build/bench/bench -ssh -o $(CURDIR)/build/bench/ssh.md
	test/root/enter --rw $(CURDIR)/docs -- $(CURDIR)/build/bench/bench -include $(CURDIR)/build/bench/ssh.md -o $(CURDIR)/docs/benchmarks.md

# Purpose-built hosts, a broken worker, and the shim under sanitizers.
SANITIZE := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
TESTHOST := c/test/host.c c/test/state.c
C_FLAGS   = -DGOTMPNS_WORKER='"/nowhere"' -DGOTMPNS_LIBEXEC='"/nowhere"'

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

# Messages in both directions, the configuration and its rules.
fuzz: shim-tests
	@GO='$(GO)' test/fuzz $(FUZZTIME)

check: lint build
	$(GO) test ./...

# Needs no C compiler for these: "make deb ARCH=" builds the parts that use cgo.
cross:
	@GO='$(GO)' test/cross

GOFMT = $$($(GO) env GOROOT)/bin/gofmt
GOCODE = cmd internal pam_gotmpns test
fmt:
	$(GOFMT) -l -w $(GOCODE)

# The launcher leaves descriptors 0 to 2 open on purpose, which gcc 14 reports as a leak.
lint: need-build need-lint
	@mkdir -p build
	unformatted=$$($(GOFMT) -l $(GOCODE)) && test -z "$$unformatted" || { echo "run make fmt: $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) tool unparam -tests=false ./...
	find $(GOCODE) c docs debian .ci *.md Makefile -type f ! -path '*/testdata/*' -print0 > build/misspell-files
	xargs -0 $(GO) tool misspell -error < build/misspell-files
	cppcheck -q --enable=warning,performance,portability --error-exitcode=1 --std=c11 \
	  --suppress=normalCheckLevelMaxBranches -D_GNU_SOURCE -D__GLIBC__=2 $(C_FLAGS) c
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
