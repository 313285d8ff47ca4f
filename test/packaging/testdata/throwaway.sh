#!/bin/bash
# Installs a .deb in a copy of this system that forgets everything, has its user enable it and
# log in, removes and purges it, and looks for what is left.
#
#   unshare --mount --pid --fork --mount-proc throwaway.sh DEB MANAGER LOGIN
set -eu
deb=$1 manager=$2 login=$3
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
status=0
chroot "$root" bash "$manager" "$user" "$home" /usr/lib/systemd/user "$login" || status=$?
if [ $status != 0 ]; then
	cat "$root$home/manager.log" "$root$home/sshd.log"
	exit $status
fi
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
