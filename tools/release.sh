#!/bin/sh
# Makes what a release consists of in bin/release: packages and a bill of materials for each
# architecture, the source, and their checksums, signed.
#
#   tools/release.sh VERSION "ARCH..." [KEY [URL]]
#
# URL is the folder where the files will be found: Homebrew's formula names it, and is made
# only with it.
# KEY is an OpenSSH private key, or a public one whose private half an agent has. Without it
# nothing is signed: anyone can make the same files and compare them.
set -eu
umask 022
cd "$(dirname "$0")/.."
version=$1 architectures=$2 key=${3:-} url=${4:-}
namespace=release@vigil # what the signature is for; docs/release.md

if git rev-parse HEAD >/dev/null 2>&1; then
	[ -z "$(git status --porcelain)" ] || { echo "release: commit or remove these first:" >&2; git status --short >&2; exit 1; }
	: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
fi
: "${SOURCE_DATE_EPOCH:=$(date +%s)}"
export SOURCE_DATE_EPOCH

case $key in
"" | /*) ;;
*) key=$PWD/$key ;;
esac
[ -z "$key" ] || ssh-keygen -l -f "$key" >/dev/null || { echo "release: KEY=$key is no SSH key; nothing was made" >&2; exit 1; }

rm -rf bin/release
mkdir -p bin/release
for arch in $architectures; do
	"${MAKE:-make}" package ARCH="$arch"
	cp bin/package/vigil[-_]* bin/release/
	(cd tools && go run ./sbom "$version" ../bin/package/root/usr/libexec/vigil/*) >"bin/release/vigil-linux-$arch.cdx.json"
done
if git rev-parse HEAD >/dev/null 2>&1; then
	source=vigil-$version.tar.gz
	git archive --format=tar.gz --prefix="vigil-$version/" -o "bin/release/$source" HEAD
	if [ -n "$url" ]; then
		sed -e "s|@URL@|${url%/}|" -e "s|@VERSION@|$version|" \
			-e "s|@SHA256@|$(sha256sum "bin/release/$source" | cut -d ' ' -f 1)|" packaging/homebrew/vigil.rb >bin/release/vigil.rb
	fi
fi

cd bin/release
sha256sum vigil* >SHA256SUMS
if [ -n "$key" ]; then
	ssh-keygen -Y sign -n "$namespace" -f "$key" SHA256SUMS
else
	echo "release: not signed, as no KEY= was given" >&2
fi
ls
