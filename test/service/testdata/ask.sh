# A service that was started before the desktop asks there: where the manager has it at the
# request. The program that asks is the service's own, whatever the manager says since.
set -eu
. "$(dirname "$0")/steps.sh"
cd "$HOME"
export SSH_AUTH_SOCK=$XDG_RUNTIME_DIR/vigil/agent.sock
printf 'correct horse battery staple\n' >pass
for name in askpass evil; do
	printf '#!/bin/sh\necho "${0##*/} on $DISPLAY" >>"$HOME/asked"\ncat "$HOME/pass"\n' >$name
	chmod 755 $name
done
mkdir -p .config/systemd/user/vigild.service.d
cat >.config/systemd/user/vigild.service.d/askpass.conf <<END
[Service]
Environment=SSH_ASKPASS=$HOME/askpass
END
systemctl --user daemon-reload
systemctl --user unset-environment DISPLAY WAYLAND_DISPLAY
vigilctl service enable --yes
vigilctl up --passphrase-file pass >/dev/null
vigilctl generate laptop
vigilctl show laptop --public >key.pub

step "without a desktop"
vigilctl lock
sign() { echo text | ssh-keygen -q -Y sign -n file -f key.pub >/dev/null; }
not sign
says "neither DISPLAY nor WAYLAND_DISPLAY is set" vigilctl why
not test -e asked

step "on the desktop that there is now"
pid=$(systemctl --user show -P MainPID vigild.service)
systemctl --user set-environment DISPLAY=:7 SSH_ASKPASS="$HOME/evil" SSH_ASKPASS_REQUIRE=force PATH="$HOME"
sign
[ "$(cat asked)" = "askpass on :7" ]
[ "$pid" = "$(systemctl --user show -P MainPID vigild.service)" ]
vigilctl service disable
echo done
