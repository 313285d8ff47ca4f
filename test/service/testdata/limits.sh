# A thousand keys list and sign under the limits that a service of a user has.
set -eu
cd "$HOME"
export SSH_AUTH_SOCK=$XDG_RUNTIME_DIR/vigil/agent.sock
mkdir -p .config/systemd/user/vigild.service.d keys
cat >.config/systemd/user/vigild.service.d/limits.conf <<'END'
[Service]
LimitMEMLOCK=8M
LimitNOFILE=1024:524288
END
systemctl --user daemon-reload
vigilctl service enable --yes
for i in $(seq 1000); do
	ssh-keygen -q -t ed25519 -N '' -C "$i" -f "keys/$i"
done
find keys ! -name '*.pub' -type f -print0 | xargs -0 ssh-add -q
pid=$(systemctl --user show -P MainPID vigild.service)
grep -q 'Max locked memory *8388608 ' "/proc/$pid/limits"
[ "$(ssh-add -l | wc -l)" = 1000 ]
find keys -name '*.pub' -print0 | xargs -0 ssh-add -T # signs with each, and verifies
ssh-add -q -D
vigilctl service disable
echo done
