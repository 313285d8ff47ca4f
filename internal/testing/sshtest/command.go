package sshtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"vigil/internal/control"
	"vigil/internal/keyring"
)

// Exit statuses of vigilctl.
const (
	StatusDone        = 0
	StatusFailed      = 1
	StatusUsage       = 2
	StatusLocked      = 3
	StatusWrong       = 4
	StatusUnreachable = 6
	StatusRefused     = 7
)

// CheapKDF are flags for the least Argon2id cost that a vault may have.
var CheapKDF = []string{
	fmt.Sprintf("--kdf-memory=%d", keyring.MinKDFMemory>>10), fmt.Sprintf("--kdf-time=%d", keyring.MinKDFTime), "--kdf-parallelism=1",
}

// Result is a command's output and exit status.
type Result struct {
	Out, Err string
	Status   int
}

func (r Result) String() string {
	return fmt.Sprintf("status %d\nstdout: %s\nstderr: %s", r.Status, r.Out, r.Err)
}

// Vigilctl runs vigilctl in this home.
func (h *Home) Vigilctl(args ...string) Result {
	h.Helper()
	cmd := exec.Command(Binary(h, "vigilctl"), args...)
	cmd.Env = append(os.Environ(), h.Env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.Errorf("vigilctl %s: %v", args[0], err)
	}
	return Result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// OK runs vigilctl, which must succeed.
func (h *Home) OK(args ...string) Result {
	h.Helper()
	r := h.Vigilctl(args...)
	if r.Status != StatusDone {
		h.Fatalf("vigilctl %s: %s", strings.Join(args, " "), r)
	}
	return r
}

// Fails runs vigilctl, which must exit with status and print every text.
func (h *Home) Fails(status int, texts []string, args ...string) Result {
	h.Helper()
	r := h.Vigilctl(args...)
	if r.Status != status {
		h.Errorf("vigilctl %s: want status %d, got %s", strings.Join(args, " "), status, r)
	}
	for _, text := range texts {
		if !strings.Contains(r.Err, text) {
			h.Errorf("vigilctl %s doesn't say %q: %s", strings.Join(args, " "), text, r)
		}
	}
	return r
}

// JSON runs vigilctl with --json, which must succeed, and decodes its output.
func (h *Home) JSON(into any, args ...string) {
	h.Helper()
	r := h.OK(append(args, "--json")...)
	if err := json.Unmarshal([]byte(r.Out), into); err != nil {
		h.Fatalf("vigilctl %s: %v\n%s", args[0], err, r.Out)
	}
}

// By appends a flag with this home's passphrase file to args.
func (h *Home) By(args ...string) []string { return append(args, "--passphrase-file", h.Pass) }

// Unlock unlocks the default vault.
func (h *Home) Unlock() { h.Helper(); h.OK(h.By("unlock")...) }

// Status returns the output of `vigilctl status`.
func (h *Home) Status() (s control.StatusReply) {
	h.Helper()
	h.JSON(&s, "status")
	return s
}

// Vault returns the status of the default vault.
func (h *Home) Vault() control.VaultStatus {
	h.Helper()
	return h.Status().Vaults[0]
}
