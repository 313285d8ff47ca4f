# systemd understands every line of the units.
set -eu
cd "${SYSTEMD_UNIT_PATH%:}"
said=$(systemd-analyze verify --user vigild.service vigild.socket vigild-control.socket 2>&1) || true
echo "$said"
[ -z "$said" ]
echo done
