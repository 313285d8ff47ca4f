# A vigilctl of another build never starts a second daemon beside the service.
set -eu
. "$(dirname "$0")/steps.sh"
other=${HOME%/home}/other/bin/vigilctl
cd "$HOME"
echo 'correct horse battery staple' >pass

refused() {
	not "$other" up --passphrase-file pass >said 2>&1
	grep -q 'the service starts another build of vigild: .*/usr/libexec/vigil/vigild' said
	grep -q 'Use the vigilctl beside it' said
}

vigilctl service enable --yes
vigilctl up --passphrase-file pass

step 'what would come back isn'"'"'t stopped, and stays unlocked'
pid=$(systemctl --user show -P MainPID vigild.service)
refused
vigilctl status | grep -q 'vault default: unlocked'
[ "$(systemctl --user show -P MainPID vigild.service)" = "$pid" ]

step 'neither running nor listening, it is still the service that starts'
vigilctl down
refused
systemctl --user stop vigild.socket vigild-control.socket vigild.service
refused
[ "$(pgrep -c -x vigild)" = 1 ]

step 'without the service it starts its own'
vigilctl service disable
"$other" up --passphrase-file pass
"$other" down
echo done
