#!/bin/sh
# Runs every fuzz target of the tree in turn, each for FUZZTIME (30s).
# Findings are written to the package's testdata/fuzz: check them in with the fix.
set -eu
cd "$(dirname "$0")/.."
: "${FUZZTIME:=30s}"
targets=$(grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+\(' . | sed 's/:func /:/; s/($//' | sort)
[ -n "$targets" ] || { echo "no fuzz target found" >&2; exit 1; }

# go test now and then ends a clean run with "context deadline exceeded" when the
# time is over in the middle of an input: that is no finding, and is tried once more.
# Minimising is kept short, or it eats the time.
run() {
	for try in 1 2; do
		if go test -run '^$' -fuzz "^$1\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 10x "$2" >"$log" 2>&1; then
			cat "$log"
			return 0
		fi
		cat "$log"
		grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log" || return 1
	done
	return 1
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
count=0
for target in $targets; do
	directory=$(dirname "${target%%:*}")
	name=${target##*:}
	echo "fuzz $directory $name for $FUZZTIME"
	run "$name" "$directory"
	count=$((count + 1))
done
echo "$count fuzz targets ran, nothing found"
