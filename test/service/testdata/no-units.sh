# Where Vigil's units aren't installed, vigilctl service says how to get them.
set -eu
for command in status enable restart; do
	out=$(vigilctl service $command 2>&1) && exit 1
	case $out in
	*"systemd's user manager doesn't know Vigil's units"*"Install Vigil's package"*) ;;
	*) echo "$command: $out"; exit 1 ;;
	esac
done
echo done
