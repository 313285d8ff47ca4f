#!/bin/sh
# Holds the tree's form: gofumpt, vet, staticcheck and deadcode for Linux and macOS,
# and a tidy go.mod. Everything is looked at before it ends, and all faults are shown.
set -eu
cd "$(dirname "$0")/.."
status=0
fail() { echo "check: $1" >&2; status=1; }

# Built once for this machine; `GOOS=darwin go tool` would build them for darwin.
gofumpt=$(go tool -modfile=tools/go.mod -n gofumpt)
staticcheck=$(go tool -modfile=tools/go.mod -n staticcheck)

unformatted=$("$gofumpt" -l .)
[ -z "$unformatted" ] || fail "not formatted with gofumpt (run 'make format'):
$unformatted"

for os in linux darwin; do
	GOOS=$os go vet ./... || fail "vet for $os"
	GOOS=$os "$staticcheck" ./... || fail "staticcheck for $os"
done
GOOS=linux GOARCH=arm64 go build -o /dev/null ./... || fail "build for linux/arm64"
GOOS=darwin GOARCH=arm64 go build -o /dev/null ./... || fail "build for darwin/arm64"

# What only tests reach is no product: it belongs to the tests.
deadcode=$(go tool -modfile=tools/go.mod -n deadcode)
for os in linux darwin; do
	dead=$(GOOS=$os "$deadcode" ./agentd ./agentd/opener ./ctl ./ctl/meter) || fail "deadcode for $os"
	[ -z "$dead" ] || fail "no binary reaches, on $os:
$dead"
done

(cd tools && go vet ./...) || fail "vet of tools"

go mod tidy -diff || fail "go.mod is not tidy"
(cd tools && go mod tidy -diff) || fail "tools/go.mod is not tidy"

[ $status = 0 ] && echo "check: all in order"
exit $status
