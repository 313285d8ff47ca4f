#!/bin/sh
# Prints a hash over everything the binaries are built from: Go files that are
# not tests, files they embed, go.mod and go.sum. It changes with the code and
# with nothing else, so a new commit of the documents restarts no daemon.
set -eu
cd "$(dirname "$0")/.."
find . \( -name .git -o -name bin -o -name testdata -o -name tools -o -name test -o -name bench -o -name docs \) -prune -o \
	-type f ! -name '*_test.go' \( -name '*.go' -o -name go.mod -o -name go.sum -o -name '*.embed.*' \) -print |
	LC_ALL=C sort | while IFS= read -r file; do
	printf '%s\n' "$file"
	cat "$file"
done | if command -v sha256sum >/dev/null 2>&1; then sha256sum; else shasum -a 256; fi | cut -c1-16
