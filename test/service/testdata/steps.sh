# What the scripts of this suite say and check with.
not() { if "$@"; then echo "unexpected: $*"; exit 1; fi; } # a `!` would hide the failure from set -e
step() { echo "--- $*"; }
says() { # TEXT COMMAND...: the command says TEXT, whatever its status
	text=$1
	shift
	out=$("$@" 2>&1) || true
	case $out in *"$text"*) ;; *) echo "$*: want \"$text\", got: $out"; exit 1 ;; esac
}
