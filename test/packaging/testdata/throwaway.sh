#!/bin/bash
# Installs a .deb in a copy of this system that forgets everything, has its user run a script
# beside a user manager, removes and purges it, and looks for what is left. With NEXT, that
# .deb is installed when the script writes to the pipe `upgrade` in its home, and then the
# script reads from `upgraded`.
#
#   unshare --mount --pid --fork --mount-proc throwaway.sh DEB MANAGER SCRIPT [NEXT]
set -eu
deb=$1 manager=$2 script=$3 next=${4-}
user=vigiltest
mount --make-rprivate /
place=$(mktemp -d)
mount -t tmpfs tmpfs "$place"
changed=$place/changed root=$place/root
mkdir "$changed" "$place/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$changed,workdir=$place/work" "$root"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
home=/home/$user
mkdir -p "$root$home"
chown "$user:" "$root$home"

chroot "$root" dpkg -i "$deb"
if [ -n "$next" ]; then
	mkfifo -m 666 "$root$home/upgrade" "$root$home/upgraded"
	(read -r _ <"$root$home/upgrade" && chroot "$root" dpkg -i "$next" >"$root$home/upgraded" 2>&1) &
fi
status=0
chroot "$root" bash "$manager" "$user" "$home" /nowhere "$script" || status=$?
if [ $status != 0 ]; then
	cat "$root$home/manager.log" "$root$home/sshd.log" "$root$home/said" || true
	exit $status
fi
rm -f "$root$home/upgrade" "$root$home/upgraded"
chroot "$root" dpkg -r vigil
chroot "$root" dpkg -P vigil

# What is left: the records of dpkg and the index of manual pages, which are the system's, and
# the user's home.
cd "$changed"
left=$(find . ! -type d ! -path './var/lib/dpkg/*' ! -path './var/log/*' ! -path './var/cache/man/*' ! -path ".$home/*")
left=$left$(find . -type d ! -path './var/*' ! -path ".$home*" | while read -r dir; do [ -d "/$dir" ] || echo "$dir"; done)
[ -z "$left" ] || { echo "left: $left"; exit 1; }

# There the vault stays, and nothing starts Vigil any more.
[ -s ".$home/.local/share/vigil/vaults/default/vault.jsonl" ]
left=$(find ".$home" -type l -o -type s)
[ -z "$left" ] || { echo "left at home: $left"; exit 1; }
echo 'nothing is left'
