#!/bin/sh
# Installs what the tests need, or says what is missing.
#
#   tools/deps.sh install   through the system's package manager (needs root)
#   tools/deps.sh check     lists what is missing and how to get it; status 1 if anything is
#   tools/deps.sh aws DIR   what make test-aws needs: sops and versitygw, built into DIR,
#                           and the AWS command line
#   tools/deps.sh packages   what opens packages: rpm, and bsdtar of libarchive
#   tools/deps.sh clients DIR   what make test-clients needs: SSH clients of the system's
#                           packages, one of npm's, and the newest OpenSSH, unpacked into DIR
#
# The tests drive real programs: OpenSSH's client, agent and server, git,
# PuTTY's key converter, shells, a debugger and a tracer; Node runs the second reader of
# the vault format, whose libraries npm installs, and Spin goes through docs/model.
# As root they also need an unprivileged user to start Vigil as: `vigiltest`, which
# has no password.
set -eu

user=vigiltest
reader=$(dirname "$0")/reader

# what is needed: command or file, Debian package, Homebrew formula ("-" when macOS has it)
table='
ssh        openssh-client  -
ssh-agent  openssh-client  -
sshd       openssh-server  -
git        git             git
make       make            -
gcc        gcc             -
puttygen   putty-tools     putty
openssl    openssl         -
gdb        gdb             -
dbus-daemon dbus-daemon    -
strace     strace          -
setpriv    util-linux      -
systemctl  systemd         -
man        man-db          -
lexgrog    man-db          -
mandoc     mandoc          -
/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so openssh-tests -
zsh        zsh             -
fish       fish            fish
tmux       tmux            tmux
pinentry-curses pinentry-curses -
node       nodejs          node
npm        npm             node
spin       spin            spin
'
[ "$(uname)" = Darwin ] && table=$(printf '%s\n' "$table" | grep -v -e '^gdb' -e '^dbus-daemon' -e '^lexgrog' -e '^strace' -e '^setpriv' -e '^systemctl' -e '^pinentry' -e '^/usr/lib')

PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin

missing() { # column
	printf '%s\n' "$table" | while read -r command package formula; do
		[ -n "$command" ] || continue
		command -v "$command" >/dev/null 2>&1 && continue
		[ -e "$command" ] && continue
		case $1 in
		command) echo "$command" ;;
		package) echo "$package" ;;
		formula) [ "$formula" = - ] || echo "$formula" ;;
		esac
	done | sort -u | tr '\n' ' '
}

# OpenSSH's server is wanted as a file only: a test machine doesn't start
# listening for logins because someone ran the tests on it.
install_apt() {
	had_sshd=no
	command -v sshd >/dev/null 2>&1 && had_sshd=yes
	policy=/usr/sbin/policy-rc.d
	if [ $had_sshd = no ] && [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
		trap 'rm -f '$policy EXIT
	fi
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086
	apt-get install -y --no-install-recommends $1 || {
		apt-get update
		apt-get install -y --no-install-recommends $1
	}
	if [ $had_sshd = no ] && command -v systemctl >/dev/null 2>&1; then
		systemctl disable ssh.service ssh.socket >/dev/null 2>&1 || true
	fi
}

add_user() {
	id $user >/dev/null 2>&1 ||
		useradd --system --no-create-home --home-dir /nonexistent --shell /bin/sh $user
	# A locked account (!) is refused by sshd; * has no password either, and isn't locked.
	usermod -p '*' $user
}

# The libraries of a program in Node, at the versions and hashes of its lockfile.
# They are made readable for the user that root runs the tests as, and belong to whom
# the clone belongs to.
npm_install() { # directory
	have=$(cat "$1/node_modules/.installed" 2>/dev/null || true)
	want=$(cksum <"$1/package-lock.json")
	[ "$have" = "$want" ] && return
	(cd "$1" && umask 022 && npm ci --no-progress >&2 && printf '%s\n' "$want" >node_modules/.installed) || return
	[ "$(id -u)" != 0 ] || chown -R "$(ls -ldn "$1" | awk '{ print $3 ":" $4 }')" "$1/node_modules"
}

# debian_packages installs what is missing, as root, or says how to.
debian_packages() {
	wanted=
	for package; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || wanted="$wanted $package"
	done
	[ -n "$wanted" ] || return 0
	[ "$(id -u)" = 0 ] || {
		echo "these packages are missing; get them with:  sudo apt-get install$wanted" >&2
		exit 1
	}
	install_apt "$wanted" >&2
}

case ${1-} in
install)
	packages=$(missing package)
	if [ -n "$packages" ]; then
		if [ "$(uname)" = Darwin ]; then
			echo "install what is missing as yourself:  brew install $(missing formula)"
		elif command -v apt-get >/dev/null 2>&1; then
			install_apt "$packages" >&2
		elif command -v dnf >/dev/null 2>&1; then
			# shellcheck disable=SC2086
			dnf install -y $(printf '%s' "$packages" | sed 's/openssh-client/openssh-clients/; s/putty-tools/putty/; s/pinentry-curses/pinentry/') >&2
		else
			echo "no package manager known here; these commands are missing: $(missing command)" >&2
			exit 1
		fi
	fi
	[ "$(uname)" = Darwin ] || add_user
	npm_install "$reader"
	;;
check)
	commands=$(missing command)
	if [ -z "$commands" ]; then
		[ -w "$reader" ] && npm_install "$reader" && exit 0
		[ -d "$reader/node_modules/@noble" ] && exit 0
		echo "the libraries of tools/reader are not here; get them with:  (cd tools/reader && npm ci)" >&2
		exit 1
	fi
	echo "the tests need commands that are not here: $commands" >&2
	if [ "$(uname)" = Darwin ]; then
		echo "get them with:  brew install $(missing formula)" >&2
	elif command -v apt-get >/dev/null 2>&1; then
		echo "get them with:  sudo apt-get install $(missing package)   (or: sudo make deps)" >&2
	else
		echo "they are in the packages that Debian calls: $(missing package)" >&2
	fi
	exit 1
	;;
aws)
	mkdir -p "$2"
	dir=$(cd "$2" && pwd)
	# They are built as their authors build them: without this tree's experiment.
	for tool in sops:github.com/getsops/sops/v3/cmd/sops@v3.13.3 versitygw:github.com/versity/versitygw/cmd/versitygw@v1.8.0; do
		[ -x "$dir/${tool%%:*}" ] || (cd "$dir" && GOEXPERIMENT='' GOBIN=$dir CGO_ENABLED=0 go install "${tool#*:}")
	done
	if ! command -v aws >/dev/null 2>&1; then
		[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || {
			echo "the AWS command line is missing: install awscli (sudo apt-get install awscli, brew install awscli)" >&2
			exit 1
		}
		install_apt awscli >&2
	fi
	;;
packages)
	debian_packages rpm libarchive-tools zstd nix-bin ruby
	;;
clients)
	debian_packages putty-tools dropbear-bin rsync curl guile-ssh libnet-ssh2-perl php-cli php-ssh2 ruby-net-ssh ruby-ed25519 \
		python3-paramiko python3-asyncssh python3-twisted python3-pygit2 libssh2-1-dev libssh-dev \
		openjdk-17-jdk-headless libjsch-java libjsch-agent-proxy-java libjna-java
	npm_install "$(dirname "$0")/clients"
	[ -x "$2/usr/bin/ssh" ] || sh "$(dirname "$0")/newest-openssh.sh" "$2" >&2
	;;
*)
	echo "usage: tools/deps.sh install | check | aws DIR | packages | clients DIR" >&2
	exit 2
	;;
esac
