#!/bin/sh
# Runs spin on the model of this folder: three worlds that must pass, searched
# exhaustively, and each variant, which must fail with the assertion named here.
# `run.sh trace ARGS` prints the shortest run that breaks a model with these -D.
set -eu

cd "$(dirname "$0")"
for tool in spin gcc; do
	command -v $tool >/dev/null 2>&1 || { echo "model: $tool isn't installed (sudo make deps)" >&2; exit 1; }
done
model=$PWD/vigil.pml
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# build CFLAGS ARGS: ./pan of the model with these -D.
build() {
	flags=$1
	shift
	rm -f ./*
	cp "$model" .
	spin -a "$@" vigil.pml >spin.out || { cat spin.out; exit 1; }
	# shellcheck disable=SC2086
	gcc -w -DSAFETY -DMEMLIM=3800 $flags -o pan pan.c
}

# search goes through every run; none has 1,000 steps.
search() {
	./pan -m1000 >out 2>&1 || true
}

states() { sed -nE 's/^ *([0-9]+) states, stored.*/\1 states/p' out; }

# good NAME ARGS: no error, nothing cut off, and every statement reached.
good() {
	name=$1
	shift
	build '-O2 -DCOLLAPSE' "$@"
	search
	unreached=$(sed -n '/^unreached in/,$p' out | grep -E '^[[:space:]]+.*state [0-9]+' | grep -v -e '-end-' || true)
	if ! grep -q 'errors: 0' out || grep -qE 'max search depth too small|out of memory|reached -DMEMLIM' out || [ -n "$unreached" ]; then
		echo "model: $name: FAILED ($*)"
		cat out
		exit 1
	fi
	echo "model: $name: holds in $(states)"
}

# bad NAME ASSERTION ARGS: the shortest run that breaks it breaks this assertion.
bad() {
	name=$1 want=$2
	shift 2
	build -DBFS -DSHORTEST "$@"
	search
	if ! grep -q 'assertion violated' out || ! grep 'assertion violated' out | grep -qF "$want"; then
		echo "model: $name: FAILED: it should break \"$want\" ($*)"
		cat out
		exit 1
	fi
	echo "model: $name: breaks, as it must, in $(sed -nE 's/.*at depth ([0-9]+).*/\1/p' out | head -n 1) steps"
}

if [ "${1-}" = trace ]; then
	shift
	build -DBFS -DSHORTEST "$@"
	search
	./pan -r -S 2>&1 | sed -n '/^[^ ].*assert/q;p'
	grep 'assertion violated' out
	exit
fi

small='-DMEMBERS=3 -DDEKS=4 -DFORGED=1'
# shellcheck disable=SC2086
{
	good 'a member that turns hostile' -DHOSTILE $small
	good 'a backend that lies, too' -DLIES -DMEMBERS=3 -DDEKS=3 -DFORGED=1 -DKEKS=2
	good 'two owners and a member, all honest' -DFRIENDLY

	bad 'without signatures' 'deks[nowDeks].by!=0' -DNOSIG $small
	bad 'without the newest KEK for writers' 'items&after' -DOLDKEK $small
	bad 'without the hash of the last good deks' 'forged' -DNOHASH $small
	bad 'without following the last deks' 'saved&' -DNOFOLLOWS $small
	bad 'members may make KEKs' 'stage==0' -DMEMBERKEKS $small
	bad 'the deks that a removal names is not kept' 'deks==kept' -DNOTKEPT $small
	bad 'a fork is told before its signature' 'deks[nowDeks].by!=0' -DFORKFIRST $small
	bad 'any kept deks goes on' 'items' -DANYKEPT -DFRIENDLY
	bad "a member's write crosses its removal" 'shown==0' -DNORACE -DFRIENDLY
}
