# Where Vigil's units aren't installed, vigilctl service says how to get them.
set -eu
for command in status enable restart; do
	out=$(vigilctl service $command 2>&1) && exit 1
	case $out in
	*"systemd's user manager doesn't know Vigil's units"*"Install Vigil's package"*) ;;
	*) echo "$command: $out"; exit 1 ;;
	esac
done

# What enable changed before they were removed can still be undone.
mkdir -p ~/.local/state/vigil
systemctl --user mask gpg-agent-ssh.socket
echo '{"masked":[{"unit":"gpg-agent-ssh.socket","active":true}]}' >~/.local/state/vigil/service.json
vigilctl service disable
[ "$(systemctl --user is-enabled gpg-agent-ssh.socket)" = enabled ]
[ ! -e ~/.local/state/vigil/service.json ]
echo done
