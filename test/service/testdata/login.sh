# Enabled, Vigil starts when someone uses it, and a vault's key logs in.
set -eu
. "$(dirname "$0")/steps.sh"
sockets='vigild.socket vigild-control.socket'
agent=$XDG_RUNTIME_DIR/vigil/agent.sock
cd "$HOME"

running() { [ "$(systemctl --user show -P MainPID vigild.service)" != 0 ]; }
# `ssh-add -l` and no ssh-add at all both fail: what it says counts.
listed() { SSH_AUTH_SOCK=$agent ssh-add -l 2>&1 || true; }
# login has ssh talk to a server on its standard input: no port is opened.
login() {
	SSH_AUTH_SOCK=$agent ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=known \
		-o ProxyCommand="/usr/sbin/sshd -i -f $HOME/sshd_config -E $HOME/sshd.log" "$USER@host" echo in
}

ssh-keygen -q -t ed25519 -N '' -f host_key
cat >sshd_config <<END
HostKey $HOME/host_key
AuthorizedKeysFile $HOME/authorized
UsePAM no
StrictModes no
PidFile none
END
echo 'correct horse battery staple' >pass

step 'nothing runs until someone uses it'
systemctl --user enable --now $sockets
not running
[ -S "$agent" ]

step 'an empty list is an answer'
listed | grep -q 'no identities'
running

step 'a vault is made and used through the running service'
first=$(systemctl --user show -P MainPID vigild.service)
vigilctl init --passphrase-file pass --kdf-memory 64 --kdf-time 3 --kdf-parallelism 1
vigilctl unlock --passphrase-file pass
vigilctl generate work
SSH_AUTH_SOCK=$agent ssh-add -L >authorized
[ "$(login)" = in ]
[ "$(systemctl --user show -P MainPID vigild.service)" = "$first" ]

step 'its processes are confined, and its keys in secret memory as without a service'
vigilctl status | grep -q 'sandbox: no_core, seccomp, landlock'

step 'stopped, it is started again by the next use, and lists its public keys at once'
systemctl --user stop vigild.service
not running
listed | grep -q 'work (ED25519)'
running
not login
vigilctl unlock --passphrase-file pass
[ "$(login)" = in ]

step 'vigilctl down stops it, and the sockets stay'
vigilctl down
not running
systemctl --user is-active $sockets
vigilctl status | grep -q 'vault default: locked'

step 'disabled, nothing of it is left'
systemctl --user disable --now $sockets
systemctl --user stop vigild.service
not running
[ ! -e "$agent" ]
echo done
