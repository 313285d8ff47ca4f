#!/bin/sh
# Says which Go this project needs, and ends with 1, if there is none or an older one.
# Go 1.21 and later fetches the release that go.mod names by itself, where it may.
need=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' "$(dirname "$0")/../go.mod")
say() {
	printf 'make: Vigil needs Go %s or later, and %s. Get it from https://go.dev/dl/\n' "$need" "$1" >&2
	exit 1
}
command -v go >/dev/null 2>&1 || say 'there is no go on the PATH'
have=$(go env GOVERSION 2>&1) || say "this go can't become it ($have)"
oldest=$(printf '%s\n' "$need" "${have#go}" | sort -t. -k1,1n -k2,2n | head -n 1)
[ "$oldest" = "$need" ] || say "this is ${have%% *}"
