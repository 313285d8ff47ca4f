#!/bin/bash
# Runs a script beside a systemd user manager of its own, as the user who has no password.
# It is started as root in mount and process namespaces of its own:
#
#   unshare --mount --pid --fork --mount-proc manager.sh USER HOME UNITS SCRIPT
set -eu
user=$1 home=$2 units=$3 script=$4
uid=$(id -u "$user")
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system "/run/user/$uid"
chown "$user" "/run/user/$uid"
chmod 700 "/run/user/$uid"
# The manager makes groups for its services below its own.
groups=()
for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
	if [ -e "$hierarchy/cgroup.procs" ]; then
		group=$hierarchy/vigil-test-$$-$RANDOM
		mkdir "$group"
		chown -R "$user" "$group"
		groups+=("$group")
		echo $$ >"$group/cgroup.procs"
	fi
done
status=0
setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups \
	env -i HOME="$home" XDG_RUNTIME_DIR="/run/user/$uid" SYSTEMD_UNIT_PATH="$units:" USER="$user" \
	PATH=/usr/bin:/bin:/usr/sbin:/sbin bash -c '
/lib/systemd/systemd --user --log-target=console --log-level=info >"$HOME/manager.log" 2>&1 &
manager=$!
# It is up when it says so, or when a unit that the system lacks has failed.
until systemctl --user is-system-running --wait 2>/dev/null | grep -qE "running|degraded"; do
	kill -0 $manager
done
status=0
bash "$1" || status=$?
systemctl --user exit
wait $manager || true
exit $status
' manager "$script" || status=$?
for group in "${groups[@]}"; do
	echo $$ >"${group%/*}/cgroup.procs"
	find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
done
exit $status
