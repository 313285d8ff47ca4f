package clients

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"vigil/internal/testing/sshtest"
)

// target is a server to log in to, with nothing but the agent's keys.
type target struct {
	*sshtest.Host
	user       string
	socket     string // of the agent
	home       string // empty, the client's own
	known      string // a known_hosts file that has the server
	repository string // a git repository on the server
	hostKeys   []string
}

const address = "127.0.0.1"

func (to *target) port() string { return strconv.Itoa(to.Port) }

// login returns the user at the server.
func (to *target) login() string { return to.user + "@" + address }

// patience is how long a client may take: one waits for a password when the key is refused.
const patience = 20 * time.Second

// client logs in. Whether it did is told by the server's log.
type client struct {
	name string
	run  func(ctx context.Context, to *target) (output string, err error)
}

// command is a client that is a program.
func command(name string, argv func(to *target) []string) client {
	return client{name, func(ctx context.Context, to *target) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		args := argv(to)
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir = to.home
		cmd.Env = append(os.Environ(), "HOME="+to.home, "SSH_AUTH_SOCK="+to.socket,
			"GIT_SSH_COMMAND=ssh -F none -o BatchMode=yes -o UserKnownHostsFile="+to.known)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}}
}

// script is a client that is a library, and a program in testdata that uses it.
func script(name, file string, interpreter ...string) client {
	return command(name, func(to *target) []string {
		return append(append(interpreter, source(file)), address, to.port(), to.user, to.repository)
	})
}

// source returns the path of a program in testdata.
func source(file string) string { return filepath.Join(sources, file) }

// openSSH is the command line of an ssh that reads no configuration.
func openSSH(to *target, ssh ...string) []string {
	return append(ssh, "-F", "none", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile="+to.known, "-p", to.port(), to.login(), "true")
}

// putty is the command line of one of PuTTY's programs.
func putty(to *target, program string, rest ...string) []string {
	args := []string{program, "-batch", "-P", to.port()}
	for _, key := range to.hostKeys {
		args = append(args, "-hostkey", key)
	}
	return append(append(args, to.login()), rest...)
}

// all returns the clients. newest is the command that runs the newest OpenSSH's ssh.
func all(newest []string) []client {
	return []client{
		command("OpenSSH", func(to *target) []string { return openSSH(to, "ssh") }),
		command("OpenSSH, the newest", func(to *target) []string { return openSSH(to, newest...) }),
		command("OpenSSH's sftp", func(to *target) []string {
			return []string{"sftp", "-F", "none", "-b", "/dev/null", "-o", "UserKnownHostsFile=" + to.known, "-P", to.port(), to.login()}
		}),
		command("git", func(to *target) []string {
			return []string{"git", "ls-remote", fmt.Sprintf("ssh://%s:%d%s", to.login(), to.Port, to.repository)}
		}),
		command("rsync", func(to *target) []string {
			return []string{"rsync", "-e", "ssh -F none -o BatchMode=yes -o UserKnownHostsFile=" + to.known + " -p " + to.port(), to.login() + ":" + to.repository + "/HEAD", to.home}
		}),
		command("PuTTY's plink", func(to *target) []string { return putty(to, "plink", "true") }),
		command("PuTTY's psftp", func(to *target) []string { return putty(to, "psftp", "-b", os.DevNull) }),
		command("Dropbear's dbclient", func(to *target) []string {
			return []string{"dbclient", "-A", "-y", "-y", "-p", to.port(), to.login(), "true"}
		}),
		command("Twisted's conch", func(to *target) []string {
			return []string{python, "-W", "ignore", "-c", "from twisted.conch.scripts.conch import run; run()", "--known-hosts", to.known, "-p", to.port(), "-T", "--user-authentications", "publickey", to.login(), "true"}
		}),
		script("paramiko", "with_paramiko.py", python),
		script("asyncssh", "with_asyncssh.py", python),
		script("libgit2 (pygit2)", "with_pygit2.py", python),
		command("curl", func(to *target) []string {
			return []string{"curl", "-sS", "--insecure", "--user", to.user + ":", "--list-only", fmt.Sprintf("sftp://%s:%d/", address, to.Port)}
		}),
		command("libssh2", func(to *target) []string { return []string{built("libssh2"), address, to.port(), to.user} }),
		command("libssh", func(to *target) []string { return []string{built("libssh"), address, to.port(), to.user} }),
		script("libssh (Guile)", "guile_ssh.scm", "guile", "--no-auto-compile"),
		script("libssh2 (Perl's Net::SSH2)", "net_ssh2.pl", "perl"),
		script("libssh2 (PHP)", "ssh2.php", "php"),
		script("Ruby's net-ssh", "net_ssh.rb", "ruby"),
		script("Node's ssh2", "node_ssh2.js", "node"),
		command("JSch", func(to *target) []string {
			return []string{"java", "-cp", jschPath + ":" + filepath.Dir(built("Jsch.class")), "Jsch", address, to.port(), to.user}
		}),
		{"Go's x/crypto/ssh", goClient},
	}
}

// python is the system's, which has the packages' libraries. Another may come first in PATH.
const python = "/usr/bin/python3"

// jschPath is where Debian's packages have JSch and the library that connects it to an agent.
const jschPath = "/usr/share/java/jsch.jar:/usr/share/java/jsch.agentproxy.core.jar:/usr/share/java/jsch.agentproxy.jsch.jar:" +
	"/usr/share/java/jsch.agentproxy.sshagent.jar:/usr/share/java/jsch.agentproxy.usocket-jna.jar:/usr/share/java/jna.jar:/usr/share/java/jna-platform.jar"

func goClient(ctx context.Context, to *target) (string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", to.socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	c, err := ssh.Dial("tcp4", net.JoinHostPort(address, to.port()), &ssh.ClientConfig{
		User: to.user, Auth: []ssh.AuthMethod{ssh.PublicKeysCallback(agent.NewClient(conn).Signers)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: patience,
	})
	if err != nil {
		return "", err
	}
	return "", c.Close()
}
