# A package is upgraded while its user's vault is unlocked.
set -eu
. "$(dirname "$0")/steps.sh"
agent=$XDG_RUNTIME_DIR/vigil/agent.sock
cd "$HOME"
sign() { SSH_AUTH_SOCK=$agent ssh-keygen -q -Y sign -n test -f work.pub <work.pub >signature 2>said; }

echo 'correct horse battery staple' >pass
vigilctl service enable --yes
vigilctl up --passphrase-file pass --import none
vigilctl generate work
vigilctl show work --public >work.pub
sign
daemon=$(systemctl --user show -P MainPID vigild.service)

step 'the package is replaced'
echo >upgrade # root waits for it
cat <upgraded

step 'signatures go on, by the daemon that ran'
sign
[ "$(systemctl --user show -P MainPID vigild.service)" = "$daemon" ]

step 'the new vigilctl tells of it, and restarts it'
vigilctl status 2>said && exit 1
grep -q 'a restart is pending' said
vigilctl service restart --yes
[ "$(systemctl --user show -P MainPID vigild.service)" != "$daemon" ]
vigilctl status | grep -q 'vault default: locked'
not sign
vigilctl unlock --passphrase-file pass
sign
vigilctl service disable
echo done
