#!/bin/sh
# Unpacks the newest OpenSSH of Debian's pool into a directory, beside the one
# installed: the packages are downloaded and verified by apt, nothing is installed,
# and the programs run under their own C library. Then:
#
#   NEWEST_OPENSSH=DIR go test ./test/conformance
#
# compares its answers with those on record, and with -update (and a writable
# test/conformance/testdata/answers) records them. Prints how to run its ssh.
set -eu
[ $# = 1 ] || { echo "usage: tools/newest-openssh.sh DIR" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/debs"

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
	grep -v security | grep -m1 '/debian/*$')
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror%/} sid main" >"$work/sid.list"
set -- -o "Dir::Etc::sourcelist=$work/sid.list" -o Dir::Etc::sourceparts=/dev/null \
	-o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o "APT::Sandbox::User=$(id -un)"
apt-get "$@" -qq update
(cd "$work/debs" && apt-get "$@" -qq download openssh-client openssh-server openssh-common libc6 \
	libssl3t64 libedit2 libselinux1 zlib1g libbsd0 libmd0 libtinfo6 libpcre2-8-0 libzstd1 libcrypt1 libwtmpdb0 libgcc-s1)
for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$dir"; done
chmod -R a+rX "$dir"
lib=$dir/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo x86_64-linux-gnu)
loader=$(ls "$lib"/ld-linux-*.so.* | head -1)
echo "$loader --library-path $lib $dir/usr/bin/ssh"
"$loader" --library-path "$lib" "$dir/usr/bin/ssh" -V
