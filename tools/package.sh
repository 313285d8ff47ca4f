#!/bin/sh
# Builds the packages of Linux distributions into bin/package, from the programs that
# `make package` has built below bin/package/root.
#
#   ARCH=amd64 tools/package.sh VERSION     VERSION as `git describe` says it
#
# SOURCE_DATE_EPOCH (seconds) is the time of everything in them; without it, the commit's.
set -eu
umask 022
cd "$(dirname "$0")/.."
export ARCH
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
	SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date +%s)
fi
export SOURCE_DATE_EPOCH

# Digits are all that the four kinds of packages agree on: v1.2.3 is 1.2.3, the fifth commit
# after it 1.2.3.5, and the fifth of a tree without a tag 0.0.0.5.
release='v\([0-9]*\.[0-9]*\.[0-9]*\)'
PACKAGE_VERSION=$(expr "${1%-dirty}" : "$release\$") ||
	PACKAGE_VERSION=$(expr "$1" : "$release-[0-9]*-g").$(expr "$1" : 'v[^-]*-\([0-9]*\)-g') ||
	PACKAGE_VERSION=0.0.0.$(git rev-list --count HEAD 2>/dev/null || echo 0)
export PACKAGE_VERSION

doc=bin/package/root/usr/share/doc/vigil
mkdir -p "$doc"
{
	cat LICENSE
	printf '\n---\nThe licences of Go and of the modules in the programs are in the folder licenses beside this file.\n'
} >"$doc/copyright"
for file in README.md CHANGELOG.md SECURITY.md docs/*.md docs/aws/*; do
	install -D -m 644 "$file" "$doc/$file"
done
sh tools/licences.sh "$doc/licenses"
find bin/package/root -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

for packager in deb rpm apk archlinux; do
	go tool -modfile=tools/go.mod nfpm package --config packaging/nfpm.yaml --packager $packager --target bin/package/
done
