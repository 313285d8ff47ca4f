#!/bin/sh
# Copies the licences of what the binaries link for Linux into a folder: Go's, and those of
# each module and of code that a module took over from others.
#
#   tools/licences.sh DIR
set -eu
dir=$1
mkdir -p "$dir/go"
cp "$(go env GOROOT)/LICENSE" "$dir/go/LICENSE"

# notices copies what a folder has of licences.
notices() { # folder destination
	for file in "$1"/[Ll][Ii][Cc][Ee][Nn][SsCc][Ee]* "$1"/COPYING* "$1"/NOTICE* "$1"/PATENTS*; do
		[ -f "$file" ] || continue
		mkdir -p "$2"
		cat "$file" >"$2/$(basename "$file")"
	done
}

GOOS=linux CGO_ENABLED=0 go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}} {{$.Dir}}{{end}}{{end}}' \
	./agentd ./agentd/opener ./ctl ./ctl/meter >"$dir/.linked"
while read -r module top folder; do
	while :; do
		notices "$folder" "$dir/$module${folder#"$top"}"
		[ "$folder" != "$top" ] || break
		folder=$(dirname "$folder")
	done
	ls "$dir/$module" >/dev/null 2>&1 || { echo "licences: $module has none in $top" >&2; exit 1; }
done <"$dir/.linked"
rm "$dir/.linked"
