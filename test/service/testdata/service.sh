# vigilctl service turns Vigil on in place of the agent that was on, and disable undoes
# exactly that, whatever enable came to.
set -eu
. "$(dirname "$0")/steps.sh"
agent=$XDG_RUNTIME_DIR/vigil/agent.sock
cd "$HOME"

# What enable may change.
snapshot() {
	for unit in vigild.socket vigild-control.socket vigild.service gpg-agent-ssh.socket; do
		systemctl --user show -P UnitFileState -P ActiveState $unit
	done
	systemctl --user show-environment | grep ^SSH_AUTH_SOCK || true
	find .config .local/state/vigil -name '*vigil.conf' -o -name 'gpg-agent-ssh*' -o -name service.json -o -name gnome-keyring-ssh.desktop 2>/dev/null || true
}
echo 'correct horse battery staple' >pass
snapshot >before
grep -q ^active before # gpg-agent-ssh.socket is on, as Debian has it

step 'off, it says what to do'
says 'off: `vigilctl service enable` turns it on' vigilctl service status
says 'another agent that logins start: gpg-agent-ssh.socket' vigilctl service status
says "vigild doesn't run as a service" vigilctl service restart

step 'nobody can be asked'
says 'This turns off gpg-agent-ssh.socket' setsid vigilctl service enable
says 'Give --yes to do it without being asked' setsid vigilctl service enable
snapshot | cmp - before

step 'on'
ssh-agent -a "$HOME/another" >/dev/null
systemctl --user set-environment SSH_AUTH_SOCK="$HOME/another"
snapshot >before
vigilctl service enable --yes
says "SSH_AUTH_SOCK in services and graphical sessions leads to Vigil" vigilctl service status
says 'vigild starts when someone uses it' vigilctl service status
[ "$(systemctl --user show -P MainPID vigild.service)" = 0 ]
[ "$(systemctl --user is-enabled gpg-agent-ssh.socket)" = masked ]
not systemctl --user is-active --quiet gpg-agent-ssh.socket

step 'a new manager and a service have the variable'
/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator | grep -qx "SSH_AUTH_SOCK=$agent"
says 'The agent has no identities' systemd-run --user --quiet --wait --pipe ssh-add -l

step 'a second time changes nothing'
snapshot >on
vigilctl service enable --yes
snapshot | cmp - on

step 'the first vault is made through the running service'
first=$(systemctl --user show -P MainPID vigild.service)
says 'no vault yet: `vigilctl up` makes one' vigilctl status
vigilctl up --passphrase-file pass
vigilctl generate work
[ "$(systemctl --user show -P MainPID vigild.service)" = "$first" ]
says 'lists 2 keys, and SHA256:' vigilctl doctor
says 'device key      none is needed yet' vigilctl doctor # the bus has no Secret Service
says 'on; SSH_AUTH_SOCK of services and graphical sessions leads to Vigil' vigilctl doctor
says 'work' systemd-run --user --quiet --wait --pipe ssh-add -l

step 'restart says what it ends, and asks'
says 'This ends: unlocked vault default.' setsid vigilctl service restart
says 'there is no terminal to ask' setsid vigilctl service restart
[ "$(systemctl --user show -P MainPID vigild.service)" = "$first" ]
vigilctl service restart --yes
[ "$(systemctl --user show -P MainPID vigild.service)" != "$first" ]
says 'vault default: locked' vigilctl status

step 'off again, all is as it was'
vigilctl service disable
snapshot | cmp - before
[ ! -e "$agent" ]

step 'what was changed again since stays'
vigilctl service enable --yes
echo '# mine' >>.config/environment.d/60-vigil.conf
systemctl --user set-environment SSH_AUTH_SOCK=/run/mine
says "doesn't lead to Vigil" vigilctl doctor
vigilctl service disable
grep -q mine .config/environment.d/60-vigil.conf
systemctl --user show-environment | grep -qx SSH_AUTH_SOCK=/run/mine
rm .config/environment.d/60-vigil.conf
systemctl --user set-environment SSH_AUTH_SOCK="$HOME/another"
snapshot | cmp - before

step 'a daemon that runs by itself gives its place to the service'
vigilctl up --passphrase-file pass
says 'It stops the vigild that runs by itself' vigilctl service enable --yes
says 'vault default: locked' vigilctl status
[ "$(systemctl --user show -P MainPID vigild.service)" != 0 ]
vigilctl service disable
snapshot | cmp - before

step 'an enable that failed at any step is undone'
mkdir wrap
cat >wrap/systemctl <<'END'
#!/bin/sh
case "$*" in *' start gpg-agent-ssh.socket') exec /usr/bin/systemctl "$@" ;; esac # that it fails is no failure
read -r left <"$HOME/left"
echo $((left - 1)) >"$HOME/left"
[ "$left" -gt 0 ] || { echo 'Connection timed out' >&2; exit 1; }
exec /usr/bin/systemctl "$@"
END
chmod +x wrap/systemctl
calls=0 failed=yes
while [ $failed = yes ]; do
	echo $calls >left
	if PATH=$HOME/wrap:$PATH vigilctl service enable --yes >said 2>&1; then
		failed=no
	else
		grep -q 'Connection timed out' said
		grep -q 'What was done so far is undone by `vigilctl service disable`' said
	fi
	vigilctl service disable
	snapshot | cmp - before
	calls=$((calls + 1))
done
[ $calls -gt 4 ]

step 'a disable that failed at any step is run again'
calls=0 failed=yes
while [ $failed = yes ]; do
	vigilctl service enable --yes >said 2>&1
	echo $calls >left
	if PATH=$HOME/wrap:$PATH vigilctl service disable >said 2>&1; then
		failed=no
	fi
	vigilctl service disable
	snapshot | cmp - before
	calls=$((calls + 1))
done
[ $calls -gt 8 ]

step 'without a manager it says what to do instead'
says '`vigilctl up` starts the daemon' env XDG_RUNTIME_DIR="$HOME/nowhere" vigilctl service enable
echo done
