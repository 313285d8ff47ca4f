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

	"vigil/internal/testing/sshtest"
)

func TestMain(m *testing.M) { sshtest.Main(m, "vigild", "vigil-opener", "vigilctl") }

// passphrase is not in normal form C, and has a character beyond the first plane.
const passphrase = "Ka\u0308se, A\u030a and \U0001f511"

// node runs one of the reader's programs.
func node(t testing.TB, args ...string) (stdout string, err error) {
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
type home struct{ *sshtest.Home }

func newHome(t *testing.T) *home {
	t.Helper()
	h := &home{sshtest.NewHome(t, passphrase)}
	h.Start()
	h.OK(h.By("init", "--unlock", "--kdf-memory=64", "--kdf-time=3", "--kdf-parallelism=2")...)
	return h
}

// read runs the reader on the vault.
func (h *home) read(more ...string) (string, error) {
	vault := h.Path("data/vigil/vaults/default")
	if list, _ := filepath.Glob(h.Path("data/vigil/vaults/*")); len(list) == 1 {
		vault = list[0]
	}
	return node(h, append([]string{
		"read.js",
		"--vault", filepath.Join(vault, "vault.jsonl"),
		"--keyring", h.Path("data/vigil/keyrings/" + filepath.Base(vault)),
		"--device-key", h.Path("data/vigil/device/master.key"),
		"--passphrase-file", h.Pass,
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
	imported := h.Path("imported")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-C", "from a file", "-f", imported).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	h.OK("add", imported, "--name", "imported", "--host", "*.example.org", "--tag", "two words", "--tag", "Käse")
	h.OK("generate", "ed", "--comment", `"quoted" \ and tab	here`)
	h.OK("generate", "p384", "--type", "ecdsa", "--bits", "384")
	h.OK("generate", "gone")
	h.OK("edit", "p384", "--name", "renamed", "--confirm")
	h.OK(h.By("rm", "gone", "--yes")...)

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
		authorized := strings.Fields(h.OK("show", item.Name).Out)
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
	h.Helper()
	file := h.Write("private", private)
	out, err := exec.Command("ssh-keygen", "-y", "-P", "", "-f", file).CombinedOutput()
	if err != nil {
		h.Fatalf("ssh-keygen -y of %s: %v\n%s", name, err, out)
	}
	if fields := strings.Fields(string(out)); len(fields) < 2 || fields[1] != public {
		h.Errorf("%s: ssh-keygen derives %q, want %s", name, out, public)
	}
}

// TestRefusals: neither factor alone opens the vault, and a changed object is
// refused at its stage.
func TestRefusals(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.OK("generate", "k")
	refused := func(want string, args ...string) {
		t.Helper()
		out, err := h.read(args...)
		if err == nil || !strings.Contains(err.Error(), "read: "+want+":") {
			t.Errorf("%q: %v, %s; want a refusal at %q", args, err, out, want)
		}
	}
	refused("halves wrong-key", "--passphrase-file", h.Write("wrong", "Käse"))
	refused("share wrong-key", "--device-key", h.Write("other.key", string(make([]byte, 32))))

	deks := h.Path("data/vigil/keyrings")
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
