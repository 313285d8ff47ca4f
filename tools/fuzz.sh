#!/bin/sh
# Runs every fuzz target of the tree in turn, each for FUZZTIME (30s).
# Findings are written to the package's testdata/fuzz: check them in with the fix.
set -eu
cd "$(dirname "$0")/.."
: "${FUZZTIME:=30s}"
targets=$(grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+\(' . | sed 's/:func /:/; s/($//' | sort)
[ -n "$targets" ] || { echo "no fuzz target found" >&2; exit 1; }
count=0
for target in $targets; do
	directory=$(dirname "${target%%:*}")
	name=${target##*:}
	echo "fuzz $directory $name for $FUZZTIME"
	go test -run '^$' -fuzz "^$name\$" -fuzztime "$FUZZTIME" "$directory"
	count=$((count + 1))
done
echo "$count fuzz targets ran, nothing found"
