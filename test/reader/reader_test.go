package reader

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vigil/internal/sshtest"
)

func TestMain(m *testing.M) { sshtest.Main(m, "vigild", "vigil-opener", "vigilctl") }

// passphrase is not in normal form C, and has a character beyond the first plane.
const passphrase = "Ka\u0308se, A\u030a and \U0001f511"

// node runs one of the reader's programs.
func node(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	root, err := sshtest.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "tools", "reader")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@noble")); err != nil {
		t.Fatalf("the reader's libraries are not installed; make deps does it (%v)", err)
	}
	var out, errs bytes.Buffer
	cmd := exec.Command("node", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), errors.Join(errors.New(errs.String()), err)
	}
	return out.String(), nil
}

// TestVectors has the reader open the vectors of format version 1, and refuse
// each fault at the stage it names.
func TestVectors(t *testing.T) {
	t.Parallel()
	root, err := sshtest.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	out, err := node(t, "vectors.js", filepath.Join(root, "internal", "envelope", "testdata", "v1"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.HasSuffix(out, " passed, 0 failed\n") {
		t.Errorf("vectors.js says %q", out)
	}
}

// home is a running vigild with a vault.
type home struct {
	t   *testing.T
	dir string
	env []string
}

func newHome(t *testing.T) *home {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "r")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	a, err := sshtest.StartVigild(dir, sshtest.Binary(t, "vigild"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &home{t: t, dir: dir, env: append(os.Environ(), sshtest.VigilEnvironment(dir)...)}
	if err := os.WriteFile(h.path("pass"), []byte(passphrase+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.vigilctl("init", "--unlock", "--passphrase-file", h.path("pass"), "--kdf-memory=64", "--kdf-time=3", "--kdf-parallelism=2")
	return h
}

func (h *home) path(parts ...string) string {
	return filepath.Join(append([]string{h.dir}, parts...)...)
}

func (h *home) vigilctl(args ...string) string {
	h.t.Helper()
	cmd := exec.Command(sshtest.Binary(h.t, "vigilctl"), args...)
	cmd.Env = h.env
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		h.t.Fatalf("vigilctl %s: %v\n%s", strings.Join(args, " "), err, &errs)
	}
	return string(out)
}

// read runs the reader on the vault.
func (h *home) read(more ...string) (string, error) {
	vault := h.path("data", "vigil", "vaults", "default")
	if list, _ := filepath.Glob(h.path("data", "vigil", "vaults", "*")); len(list) == 1 {
		vault = list[0]
	}
	return node(h.t, append([]string{
		"read.js",
		"--vault", filepath.Join(vault, "vault.jsonl"),
		"--keyring", h.path("data", "vigil", "keyrings", filepath.Base(vault)),
		"--device-key", h.path("data", "vigil", "device", "master.key"),
		"--passphrase-file", h.path("pass"),
	}, more...)...)
}

// contents is what read.js prints.
type contents struct {
	Vault        string
	KEKs         []uint64
	DamagedLines []any
	Items        []struct {
		Item, Revision, State, Name, Comment, Public, Private string
		Hosts, Tags, Policy                                   []string
	}
}

// TestRealVault has the reader open a vault that has been lived in.
func TestRealVault(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	imported := h.path("imported")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-C", "from a file", "-f", imported).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	h.vigilctl("add", imported, "--name", "imported", "--host", "*.example.org", "--tag", "two words", "--tag", "Käse")
	h.vigilctl("generate", "ed", "--comment", `"quoted" \ and tab	here`)
	h.vigilctl("generate", "p384", "--type", "ecdsa", "--bits", "384")
	h.vigilctl("generate", "gone")
	h.vigilctl("edit", "p384", "--name", "renamed", "--confirm")
	h.vigilctl("rm", "gone", "--yes")

	out, err := h.read("--all-private")
	if err != nil {
		t.Fatal(err)
	}
	var got contents
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("read.js: %v\n%s", err, out)
	}
	if len(got.DamagedLines) != 0 || !slices.Equal(got.KEKs, []uint64{1}) {
		t.Errorf("damaged lines %v, KEKs %v", got.DamagedLines, got.KEKs)
	}
	var names []string
	for _, item := range got.Items {
		if item.State != "head" {
			t.Errorf("%s is %q", item.Name, item.State)
		}
		names = append(names, item.Name)
		authorized := strings.Fields(h.vigilctl("show", item.Name))
		if !slices.Contains(authorized, item.Public) {
			t.Errorf("%s: vigilctl show doesn't have the public key %s", item.Name, item.Public)
		}
		h.comparePrivate(item.Name, item.Private, item.Public)
		if item.Name == "imported" && (!slices.Equal(item.Hosts, []string{"*.example.org"}) || !slices.Equal(item.Tags, []string{"Käse", "two words"})) {
			t.Errorf("imported: hosts %q, tags %q", item.Hosts, item.Tags)
		}
		if item.Name == "renamed" && !slices.Equal(item.Policy, []string{"confirm"}) {
			t.Errorf("renamed: policy %q", item.Policy)
		}
	}
	slices.Sort(names)
	if want := []string{"ed", "imported", "renamed"}; !slices.Equal(names, want) {
		t.Errorf("keys %q, want %q", names, want)
	}
}

// comparePrivate has ssh-keygen derive the public key from what the reader
// says the private one is.
func (h *home) comparePrivate(name, private, public string) {
	h.t.Helper()
	file := h.path("private")
	if err := os.WriteFile(file, []byte(private), 0o600); err != nil {
		h.t.Fatal(err)
	}
	out, err := exec.Command("ssh-keygen", "-y", "-P", "", "-f", file).CombinedOutput()
	if err != nil {
		h.t.Fatalf("ssh-keygen -y of %s: %v\n%s", name, err, out)
	}
	if fields := strings.Fields(string(out)); len(fields) < 2 || fields[1] != public {
		h.t.Errorf("%s: ssh-keygen derives %q, want %s", name, out, public)
	}
}

// TestRefusals: neither factor alone opens the vault, and a changed object is
// refused at its stage.
func TestRefusals(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.vigilctl("generate", "k")
	write := func(name string, data []byte) string {
		if err := os.WriteFile(h.path(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		return h.path(name)
	}
	refused := func(want string, args ...string) {
		t.Helper()
		out, err := h.read(args...)
		if err == nil || !strings.Contains(err.Error(), "read: "+want+":") {
			t.Errorf("%q: %v, %s; want a refusal at %q", args, err, out, want)
		}
	}
	refused("halves wrong-key", "--passphrase-file", write("wrong", []byte("Käse")))
	refused("share wrong-key", "--device-key", write("other.key", make([]byte, 32)))

	deks := h.path("data", "vigil", "keyrings")
	list, err := filepath.Glob(filepath.Join(deks, "*", "deks"))
	if err != nil || len(list) != 1 {
		t.Fatalf("deks objects: %q, %v", list, err)
	}
	data, err := os.ReadFile(list[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(data, []byte(`{"mac":"`)) + len(`{"mac":"`)
	copy(data[at:], base64.RawURLEncoding.EncodeToString(make([]byte, 32)))
	if err := os.WriteFile(list[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("deks mac")
}
