#!/bin/sh
# Shows Vigil's whole job without a terminal, in a throw-away home with a
# generated passphrase: a vault and a key made, listed, used for a signature that
# verifies, locked, refused, unlocked. It ends what it started, leaves nothing
# behind, and exits 0 only when every step did what it says.
#
# usage: demo.sh [FOLDER with vigild, vigil-opener and vigilctl]
set -eu
umask 077

here=$(cd "$(dirname "$0")/.." && pwd)
bin=${1:-$here/bin}
bin=$(cd "$bin" && pwd)

say() { printf '\n== %s\n' "$*"; }
fail() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}
# run shows a command, also when its output goes elsewhere, and runs it.
exec 3>&1
run() {
	printf '$ %s\n' "$*" >&3
	"$@"
}

for program in vigild vigil-opener vigilctl; do
	[ -x "$bin/$program" ] || fail "there is no $program in $bin: run \`make build\` first"
done
for program in ssh-add ssh-keygen; do
	command -v "$program" >/dev/null || fail "$program is missing: install OpenSSH's client (\`make deps\`)"
done

# Not under TMPDIR, which is long on some systems, and a socket's path isn't.
home=$(mktemp -d /tmp/vigil-demo.XXXXXX)
started=
finish() {
	status=$?
	trap - EXIT HUP INT TERM
	if [ -n "$started" ]; then
		"$bin/vigilctl" down >/dev/null 2>&1 || {
			printf 'demo: the daemon could not be stopped\n' >&2
			status=1
		}
	fi
	if [ "$status" -ne 0 ] && [ -s "$home/.local/state/vigil/vigild.log" ]; then
		printf 'demo: the log of vigild says:\n' >&2
		tail -n 20 "$home/.local/state/vigil/vigild.log" >&2
	fi
	rm -rf "$home"
	exit "$status"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Nothing of the user's own set-up takes part.
unset SSH_AUTH_SOCK SSH_AGENT_PID SSH_ASKPASS XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME
HOME=$home XDG_RUNTIME_DIR=$home/run SHELL=/bin/sh
export HOME XDG_RUNTIME_DIR SHELL
cd "$home"
PATH=$bin:$PATH
export PATH

say "There is no terminal, so this is a demonstration in a throw-away home, $home,"
printf '   with a generated passphrase. On a terminal, run: %s/vigilctl up\n' "$bin"
# 128 bits in hexadecimal digits
od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >passphrase
[ "$(wc -c <passphrase)" -eq 32 ] || fail 'no passphrase could be generated'

say 'Set up: make a vault and a key, start the daemon, unlock'
started=yes # also when it fails half-way
run vigilctl up --passphrase-file passphrase --import none >exports
cat exports
eval "$(cat exports)"
[ -S "${SSH_AUTH_SOCK:-}" ] || fail 'up did not print where the agent is'

say 'ssh sees the key'
run ssh-add -l
vigilctl show id_ed25519 --public >key.pub
ssh-add -L | grep -qF "$(cut -d' ' -f2 key.pub)" || fail 'the agent does not list the key of the vault'
[ ! -e .ssh ] || fail 'something was written to ~/.ssh'

say 'The key signs, and the signature verifies'
printf 'a message\n' >message
run ssh-keygen -q -Y sign -f key.pub -n file message
printf 'demo %s\n' "$(cut -d' ' -f1,2 key.pub)" >allowed
run ssh-keygen -Y verify -f allowed -I demo -n file -s message.sig <message
rm message.sig

say 'Locked, the key is still listed, and refuses to sign'
run vigilctl lock
run ssh-add -l
if ssh-keygen -q -Y sign -f key.pub -n file message 2>refusal; then
	fail 'the locked vault signed'
fi
cat refusal
run vigilctl why --limit 1

say 'A wrong passphrase does not unlock'
printf 'not it\n' >wrong
if run vigilctl unlock --passphrase-file wrong; then
	fail 'a wrong passphrase unlocked the vault'
else
	[ $? -eq 4 ] || fail 'a wrong passphrase did not exit with 4'
fi

say 'Unlocked, it signs again'
run vigilctl unlock --passphrase-file passphrase
run ssh-keygen -q -Y sign -f key.pub -n file message
run ssh-keygen -Y verify -f allowed -I demo -n file -s message.sig <message
run vigilctl status

say 'Stop'
run vigilctl down
started=
if vigilctl version | grep -q '^vigild.*pid'; then
	fail 'the daemon still runs'
fi
say 'Done: every step did what it says. The throw-away home is removed.'
