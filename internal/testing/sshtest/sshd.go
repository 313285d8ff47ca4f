package sshtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
)

// HostOptions describe a host to start. All files are in Dir, which exists.
type HostOptions struct {
	Name           string // its name in known_hosts and the ssh configuration
	Dir            string // for the host key, configuration and log
	AuthorizedKeys string // file of the keys that may log in; may be written after the start
	CA             string // private key of the CA that certifies the host key; "": no certificate
	Options        []string
}

// Host is OpenSSH's server on its own loopback port. The test itself listens and
// starts an `sshd -i` for each connection: no other process can take the port, and
// nothing is left after the test.
type Host struct {
	Name      string
	Port      int
	HostKey   string // the host's public key file (never the certificate)
	LogFile   string // log of all sshd processes of this host
	sshd      string
	config    string
	listener  net.Listener
	mu        sync.Mutex
	sessions  map[*exec.Cmd]struct{}
	closed    bool
	goroutine sync.WaitGroup
}

// serverConfig configures a server without passwords, PAM, or the account's own files.
const serverConfig = `HostKey %[1]s
%[2]sAuthorizedKeysFile %[3]s
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile none
PermitUserRC no
PrintMotd no
PrintLastLog no
UseDNS no
LogLevel VERBOSE
MaxStartups 200
Subsystem sftp internal-sftp
`

// StartHost starts a host; Close ends it.
func StartHost(o HostOptions) (*Host, error) {
	sshd, err := Tool("sshd")
	if err != nil {
		return nil, err
	}
	key := filepath.Join(o.Dir, o.Name+"_host_key")
	if err := run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", o.Name, "-f", key); err != nil {
		return nil, err
	}
	certificate := ""
	if o.CA != "" {
		if err := run("ssh-keygen", "-q", "-s", o.CA, "-I", o.Name, "-h", "-n", o.Name, key+".pub"); err != nil {
			return nil, err
		}
		certificate = "HostCertificate " + key + "-cert.pub\n"
	}
	h := &Host{
		Name: o.Name, HostKey: key + ".pub", LogFile: filepath.Join(o.Dir, o.Name+".log"),
		sshd: sshd, config: filepath.Join(o.Dir, o.Name+"_sshd_config"), sessions: map[*exec.Cmd]struct{}{},
	}
	config := fmt.Sprintf(serverConfig, key, certificate, o.AuthorizedKeys)
	for _, line := range o.Options {
		config = line + "\n" + config // sshd uses the first value of an option
	}
	if err := os.WriteFile(h.config, []byte(config), 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.Command(sshd, "-t", "-f", h.config).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("sshd -t for %s: %w: %s", o.Name, err, out)
	}
	if h.listener, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	h.Port = h.listener.Addr().(*net.TCPAddr).Port
	h.goroutine.Add(1)
	go h.serve()
	return h, nil
}

func (h *Host) serve() {
	defer h.goroutine.Done()
	for {
		conn, err := h.listener.Accept()
		if err != nil {
			return
		}
		// The file shares the connection; sshd's copy keeps it open.
		file, err := conn.(*net.TCPConn).File()
		conn.Close()
		if err != nil {
			continue
		}
		h.start(file)
		file.Close()
	}
}

// start passes a connection to an sshd, which ends with it.
func (h *Host) start(conn *os.File) {
	cmd := exec.Command(h.sshd, "-i", "-f", h.config, "-E", h.LogFile)
	cmd.Stdin, cmd.Stdout = conn, conn
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || cmd.Start() != nil {
		return
	}
	h.sessions[cmd] = struct{}{}
	h.goroutine.Add(1)
	go func() {
		defer h.goroutine.Done()
		_ = cmd.Wait() // its log says how it went
		h.mu.Lock()
		delete(h.sessions, cmd)
		h.mu.Unlock()
	}()
}

// Close ends the host and every session on it.
func (h *Host) Close() {
	h.listener.Close()
	h.mu.Lock()
	h.closed = true
	for cmd := range h.sessions {
		_ = cmd.Process.Kill()
	}
	h.mu.Unlock()
	h.goroutine.Wait()
}

// ClientConfig returns this host's block for an ssh client configuration.
func (h *Host) ClientConfig() (string, error) {
	u, err := user.Current()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Host %s\n  HostName 127.0.0.1\n  Port %d\n  HostKeyAlias %s\n  User %s\n",
		h.Name, h.Port, h.Name, u.Username), nil
}

// KnownHost returns this host's line for known_hosts.
func (h *Host) KnownHost() (string, error) {
	key, err := os.ReadFile(h.HostKey)
	if err != nil {
		return "", err
	}
	return h.Name + " " + string(key), nil
}

// Tool returns the path of a program, which may be only on root's PATH.
func Tool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin"} {
		if path := filepath.Join(dir, name); executable(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed (make deps installs it)", name)
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err), errors.New(string(out)))
	}
	return nil
}
