#!/bin/sh
# Installs or removes what belongs to the programs: links to them, the units of systemd's user
# manager, manual pages and the shells' completions. Nothing is enabled or started; running daemons go on.
#
#   tools/install.sh install DESTDIR PREFIX     the programs are in PREFIX/libexec/vigil already
#   tools/install.sh uninstall DESTDIR PREFIX
#
# VIGILCTL is the vigilctl that writes the completions, if those programs don't run here.
set -eu
[ $# = 3 ] || { echo "usage: tools/install.sh install|uninstall DESTDIR PREFIX" >&2; exit 2; }
destdir=$2 prefix=$3
libexec=$prefix/libexec/vigil
bin=$prefix/bin
units=$prefix/lib/systemd/user
preset=$prefix/lib/systemd/user-preset/90-vigil.preset
bash=$prefix/share/bash-completion/completions/vigilctl
zsh=$prefix/share/zsh/site-functions/_vigilctl
fish=$prefix/share/fish/vendor_completions.d/vigilctl.fish
man=$prefix/share/man
source=$(dirname "$0")/..
umask 022

# place writes standard input to a file, which is complete at once.
place() { # path
	mkdir -p "$(dirname "$destdir$1")"
	cat >"$destdir$1.new"
	mv -f "$destdir$1.new" "$destdir$1"
	echo "install $destdir$1"
}

# page prints where a manual page goes: man/vigild.8 to man8/vigild.8.
page() { # source
	echo "$man/man${1##*.}/$(basename "$1")"
}

completion() { # shell path
	"${VIGILCTL:-$destdir$libexec/vigilctl}" completion "$1" | place "$2"
}

case $1 in
install)
	mkdir -p "$destdir$bin"
	for program in vigild vigilctl; do
		ln -sfn "../libexec/vigil/$program" "$destdir$bin/$program"
		echo "install $destdir$bin/$program"
	done
	if [ "$(uname)" = Linux ]; then
		for unit in "$source"/systemd/*; do
			sed "s|@LIBEXECDIR@|$libexec|" "$unit" | place "$units/$(basename "$unit")"
		done
		place "$preset" <"$source/packaging/90-vigil.preset"
	fi
	for source_page in "$source"/packaging/man/*; do
		place "$(page "$source_page")" <"$source_page"
	done
	completion bash "$bash"
	completion zsh "$zsh"
	completion fish "$fish"
	;;
uninstall)
	for unit in "$source"/systemd/*; do
		rm -f "$destdir$units/$(basename "$unit")"
	done
	for source_page in "$source"/packaging/man/*; do
		rm -f "$destdir$(page "$source_page")"
	done
	rm -f "$destdir$preset" "$destdir$bin/vigild" "$destdir$bin/vigilctl" "$destdir$bash" "$destdir$zsh" "$destdir$fish"
	for program in vigild vigil-opener vigilctl vigil-meter; do
		rm -f "$destdir$libexec/$program"
	done
	# Folders that others share stay unless they are empty.
	for dir in "$libexec" "$units" "$(dirname "$preset")" "$(dirname "$bash")" "$(dirname "$zsh")" "$(dirname "$fish")" "$man"/man[0-9]; do
		while [ "$dir" != "$prefix" ] && rmdir "$destdir$dir" 2>/dev/null; do
			dir=$(dirname "$dir")
		done
	done
	;;
*)
	echo "usage: tools/install.sh install|uninstall DESTDIR PREFIX" >&2
	exit 2
	;;
esac
