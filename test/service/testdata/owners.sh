# Whoever owns SSH_AUTH_SOCK is named before it is taken away, a forwarded agent keeps it,
# and what the user has changed stays.
set -eu
. "$(dirname "$0")/steps.sh"
vigil=$XDG_RUNTIME_DIR/vigil/agent.sock
file=.config/environment.d/60-vigil.conf
cd "$HOME"
echo 'correct horse battery staple' >pass

managers() { systemctl --user show-environment | sed -n 's/^SSH_AUTH_SOCK=//p'; }
running() { [ "$(systemctl --user show -P MainPID vigild.service)" != 0 ]; }

step 'an agent that is nobody'"'"'s unit is named, and asked for'
systemctl --user mask --now gpg-agent-ssh.socket ssh-agent.service
eval "$(ssh-agent -a "$HOME/another")" >/dev/null
unset SSH_AUTH_SOCK
systemctl --user set-environment SSH_AUTH_SOCK="$HOME/another"
says "leads to $HOME/another, served by" setsid vigilctl service enable
says 'Give --yes' setsid vigilctl service enable
[ "$(managers)" = "$HOME/another" ]

step 'a forwarded agent keeps its place in a manager that was given it'
SSH_AUTH_SOCK=$HOME/another SSH_CONNECTION='::1 1 ::1 22' vigilctl service enable --yes >said 2>&1
grep -q 'forwarded' said
[ "$(managers)" = "$HOME/another" ]
vigilctl service disable
[ "$(managers)" = "$HOME/another" ]
systemctl --user set-environment SSH_CONNECTION='::1 1 ::1 22'
vigilctl service enable --yes
[ "$(managers)" = "$HOME/another" ]
vigilctl service disable
systemctl --user unset-environment SSH_CONNECTION

step 'gone meanwhile, it is not given back'
vigilctl service enable --yes
[ "$(managers)" = "$vigil" ]
kill "$SSH_AGENT_PID"
rm -f another
vigilctl service disable
[ -z "$(managers)" ]

step 'a changed file is not written over'
vigilctl service enable --yes
echo '# mine' >>$file
says "isn't Vigil's, or was changed" vigilctl service enable --yes
grep -q '# mine' $file
rm $file
vigilctl service disable

step 'a shell with folders of its own gets no service that has others'
says 'a service would use other folders than this shell' env XDG_STATE_HOME="$HOME/elsewhere" vigilctl service enable --yes
[ -z "$(managers)" ]

step 'a file that counts after it is seen'
mkdir -p .config/environment.d
echo 'SSH_AUTH_SOCK=/run/later' >.config/environment.d/99-later.conf
vigilctl service enable --yes
says 'a new login leads to /run/later, not to Vigil: grep SSH_AUTH_SOCK' vigilctl service status
says 'SSH_AUTH_SOCK of new logins' vigilctl doctor
rm .config/environment.d/99-later.conf
says 'a new login leads to Vigil' vigilctl service status
vigilctl service disable

step 'up starts it through its sockets, though they are stopped'
vigilctl service enable --yes
systemctl --user stop vigild.socket vigild-control.socket vigild.service
vigilctl up --passphrase-file pass
running
vigilctl service disable

step 'a service that fails is said to, and nothing is started beside it'
vigilctl service enable --yes
mkdir -p .config/systemd/user/vigild.service.d
printf '[Service]\nExecStart=\nExecStart=/bin/false\n' >.config/systemd/user/vigild.service.d/fails.conf
systemctl --user daemon-reload
says '`systemctl --user status vigild.service` says why. To do without the service: vigilctl service disable' vigilctl up --passphrase-file pass
not pgrep -x vigild
rm -r .config/systemd/user/vigild.service.d
systemctl --user daemon-reload
vigilctl up --passphrase-file pass
running
vigilctl service disable

step 'a daemon in another folder is found, and the socket is that of the unit'
env -u XDG_RUNTIME_DIR -u DBUS_SESSION_BUS_ADDRESS vigilctl up --passphrase-file pass
says 'It stops the vigild that runs by itself' vigilctl service enable --yes
[ "$(managers)" = "$vigil" ]
grep -qx "SSH_AUTH_SOCK=$vigil" $file
SSH_AUTH_SOCK=$vigil ssh-add -l | grep -q ED25519
vigilctl service disable

step 'GnuPG was off and its agent runs: it is back at the next login'
systemctl --user unmask gpg-agent-ssh.socket
systemctl --user start gpg-agent-ssh.socket
vigilctl service enable --yes
systemctl --user start gpg-agent.service
vigilctl service disable
[ "$(systemctl --user is-enabled gpg-agent-ssh.socket)" = enabled ]
[ ! -e .local/state/vigil/service.json ]
echo done
