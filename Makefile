# What can be made here; `make` alone shows this list.

# runtime/secret erases registers, stacks and heap after a use of a key. Without
# it the code falls back to plain calls (see internal/guard), so it is set here,
# in one place, for the product and for the tests. jsonv2 is the encoding/json that
# Go 1.27 has for all: the same results, in a fraction of the time.
export GOEXPERIMENT := runtimesecret,jsonv2

# How long each fuzz target runs.
FUZZTIME ?= 30s
export FUZZTIME

binaries := vigild vigil-opener vigilctl vigil-meter
package_vigild := ./agentd
package_vigil-opener := ./agentd/opener
package_vigilctl := ./ctl
package_vigil-meter := ./ctl/meter

# Of the binaries, the first three refuse one another unless their build ids are the same.
# Expanded on use only, so that `make help` hashes nothing.
build_id = $(shell sh tools/buildid.sh)
version = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## build, set up a vault on the first run, start the daemon and unlock
	@if [ -t 0 ] && [ -t 1 ]; then bin/vigilctl up; else sh scripts/demo.sh; fi

.PHONY: needgo
needgo:
	@sh tools/needgo.sh

# Installed unreadable (0111), which makes them undumpable from exec on. A file
# of that mode can't be written over, so each is built beside its place and renamed.
# Whatever the umask, nobody else can write to them or their folder: vigild wouldn't
# start an opener that others could have replaced. $(1) is the folder, $(2) the mode, $(3) the
# architecture if it is another than this machine's.
define build_in
umask 022; mkdir -p "$(1)" && chmod go-w "$(1)" && \
id="$(build_id)"; version="$(version)"; \
$(foreach b,$(binaries),\
echo "build $(1)/$(b) ($$id)" && rm -f "$(1)/.$(b).new" && \
CGO_ENABLED=0 GOARCH=$(3) go build -trimpath -buildvcs=false \
	-ldflags "-X vigil/internal/buildid.id=$$id -X vigil/internal/buildid.version=$$version" \
	-o "$(1)/.$(b).new" $(package_$(b)) && \
chmod $(2) "$(1)/.$(b).new" && mv -f "$(1)/.$(b).new" "$(1)/$(b)" && ) true
endef

.PHONY: build
build: needgo ## build bin/vigild, bin/vigil-opener, bin/vigilctl and bin/vigil-meter
	@$(call build_in,bin,0111)

# Where `make install` puts things. The programs are in a folder of their own, as they
# find each other there, with links in bin.
PREFIX ?= /usr/local
DESTDIR ?=
libexec := $(PREFIX)/libexec/vigil

# The programs are built, not copied: their user can't read them.
.PHONY: install
install: needgo ## install below PREFIX (/usr/local), in DESTDIR if that is set; enable it with vigilctl service enable
	@$(call build_in,$(DESTDIR)$(libexec),0111)
	@sh tools/install.sh install "$(DESTDIR)" "$(PREFIX)"

.PHONY: uninstall
uninstall: ## remove what make install installed; vaults and settings stay
	@sh tools/install.sh uninstall "$(DESTDIR)" "$(PREFIX)"

# Their files get their modes in packaging/nfpm.yaml. The tree's own vigilctl writes the
# completions: the packages' may be for another machine.
ARCH ?= $(shell go env GOARCH)
.PHONY: package
package: build ## build packages for ARCH (this machine's) into bin/package: deb, rpm, apk and Arch
	@rm -rf bin/package
	@$(call build_in,bin/package/root/usr/libexec/vigil,0755,$(ARCH))
	@VIGILCTL=bin/vigilctl sh tools/install.sh install bin/package/root /usr
	@ARCH=$(ARCH) sh tools/package.sh "$(version)"

# What it takes to make a release: docs/release.md.
ARCHES ?= amd64 arm64
KEY ?=
URL ?=
.PHONY: release
release: needgo ## packages for ARCHES, bills of materials and source in bin/release, checksums signed with KEY
	@sh tools/release.sh "$(version)" "$(ARCHES)" "$(KEY)" "$(URL)"

.PHONY: deps
deps: ## install what the tests need, through the system's package manager (as root)
	@sh tools/deps.sh install

.PHONY: deps-for-tests
deps-for-tests:
	@if [ "$$(id -u)" = 0 ]; then sh tools/deps.sh install; else sh tools/deps.sh check; fi

# Of these packages, and no others, test and race run the tests.
PACKAGES ?= ./...

# The suites under test/ drive binaries that `go test` doesn't know it depends
# on, so their results are never taken from its cache. They wait more than they
# work: four at once end sooner, on two cores too. The tag takes the cost out of
# passphrases (kdfcost_weak.go in internal/keyring); without it they pass as well. They
# share the binaries; vet is part of `make check`. The longest begin first.
long_suites := vigil/test/crash vigil/test/aws vigil/test
.PHONY: test
test: needgo deps-for-tests ## all tests: units, and the real binaries with real ssh, git and sshd
	@status=0; packages=$$(go list $(PACKAGES)) || exit 1; \
	echo "$$packages" | grep -v '^vigil/test' | xargs -r go test -vet=off -timeout 30m || status=1; \
	export VIGIL_TEST_BUILDS=$$(mktemp -d) || exit 1; trap 'rm -rf "$$VIGIL_TEST_BUILDS"' EXIT; \
	{ echo "$$packages" | grep -Fx $(addprefix -e ,$(long_suites)); echo "$$packages" | grep '^vigil/test' | grep -Fxv $(addprefix -e ,$(long_suites)); } | \
		xargs -r go test -vet=off -tags weakkdf -count=1 -p 4 -timeout 30m || status=1; \
	exit $$status

# Of the suites, those that drive the agent itself: conformance, real ssh and git,
# ssh-agent's command line, thousands of connections. The others search memory, kill
# processes or wait for faults, and say nothing more under the detector.
race_suites := vigil/test vigil/test/conformance vigil/test/stress vigil/test/agentcmd

.PHONY: race
race: deps-for-tests ## unit tests, and the suites that drive the agent, with the race detector in the tests and vigild
	@status=0; export CGO_ENABLED=1 GORACE=atexit_sleep_ms=0; packages=$$(go list $(PACKAGES)) || exit 1; \
	echo "$$packages" | grep -v '^vigil/test' | xargs -r go test -race -timeout 20m || status=1; \
	echo "$$packages" | grep -Fx $(addprefix -e ,$(race_suites)) | xargs -r go test -race -tags weakkdf -count=1 -timeout 15m || status=1; \
	exit $$status

# Real clients and a real server, none written here: sops and the AWS command line
# hold the KMS emulator to AWS's behaviour, versitygw is S3 with compare-and-swap.
.PHONY: test-aws
test-aws: deps-for-tests ## what needs sops, the AWS command line and a real S3 server
	@sh tools/deps.sh aws bin/tools
	PATH="$(CURDIR)/bin/tools:$$PATH" VIGIL_TEST_AWS=1 go test -tags weakkdf -count=1 -timeout 20m \
		./internal/testing/kmsfake ./internal/awsauth ./internal/backend/s3 ./internal/master/awskms ./test/aws

# Debian only: the newest OpenSSH comes from its pool, and runs under its own C library.
.PHONY: test-clients
test-clients: deps-for-tests ## 22 SSH clients that nobody here wrote, beside OpenSSH's agent (on Debian)
	@sh tools/deps.sh clients bin/tools/openssh
	lib=$$(dirname "$$(ls $(CURDIR)/bin/tools/openssh/usr/lib/*/ld-linux-*.so.* | head -1)"); \
	NODE_PATH="$(CURDIR)/tools/clients/node_modules" VIGIL_TEST_CLIENTS=1 \
		TEST_CLIENTS_NEWEST_SSH="$$(ls $$lib/ld-linux-*.so.* | head -1) --library-path $$lib $(CURDIR)/bin/tools/openssh/usr/bin/ssh" \
		go test -tags weakkdf -count=1 -timeout 20m -v ./test/clients

.PHONY: test-packages
test-packages: deps-for-tests ## build packages twice, open each with its own tools, install one in a throw-away root (as root, on Debian)
	@sh tools/deps.sh packages
	VIGIL_TEST_PACKAGES=1 go test -tags weakkdf -count=1 -timeout 20m -v ./test/packaging

.PHONY: residue
residue: deps-for-tests ## search every process's memory for secrets (as root, on Linux)
	VIGIL_RESIDUE=1 go test -count=1 -timeout 20m -v ./test/residue

.PHONY: check
check: ## gofumpt, vet, staticcheck and deadcode for Linux and macOS, go mod tidy
	@sh tools/check.sh

.PHONY: format
format: ## format every Go file with gofumpt
	@go tool -modfile=tools/go.mod gofumpt -l -w .

.PHONY: man
man: ## rewrite the manual pages whose text is elsewhere: vigilctl(1), vigil-config(5)
	go test ./ctl ./internal/config -run TestManual -update-man

.PHONY: reader
reader: deps-for-tests ## the second reader of the vault format, on the vectors and on real vaults
	go test -count=1 -v ./test/reader

# What is modelled, and the variants that must fail: docs/model/README.md.
.PHONY: model
model: deps-for-tests ## members, removal and a lying backend, searched by spin; variants that must fail
	@sh docs/model/run.sh

# Each step more takes some twelve times as long: 35 s for three on two cores, 400 s for four.
DEPTH ?= 3
.PHONY: histories
histories: ## every history of two devices and a lying store, DEPTH steps long (3)
	go test -count=1 -timeout 60m -v ./internal/ring -run TestEveryHistory -depth $(DEPTH)

# Numbers and seeds: docs/durability.md.
CRASH_FLAGS ?= -kills 200 -every 1 -errors 5 -setups 8
.PHONY: crash
crash: deps-for-tests ## kill and starve the real binaries at 200 random moments and at every step of a change
	go test -tags weakkdf -count=1 -timeout 60m -v ./test/crash $(CRASH_FLAGS)

.PHONY: crash-long
crash-long: deps-for-tests ## 5,000 kills, and every step of everything, with two devices too (some hours)
	go test -tags weakkdf -count=1 -timeout 6h -v ./test/crash -kills 5000 -every 1 -errors 1 -setups 1 -pairs 1

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (30s)
	@sh tools/fuzz.sh

.PHONY: bench
bench: build ## vigild beside the system's ssh-agent: medians and ratios
	@go run ./bench -update docs/performance.md

.PHONY: bench-kms
bench-kms: build ## KMS calls and time of vaults of 10, 1,000 and 10,000 keys
	@go run ./bench/kms -update docs/performance.md

.PHONY: bench-vault
bench-vault: build ## what a vault costs as it grows, up to 10,000 keys
	@go run ./bench/vault -update docs/performance.md

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
