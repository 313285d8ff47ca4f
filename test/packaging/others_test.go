package packaging

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/testing/sshtest"
)

// TestHomebrewsFormula: a release makes it, and what it says builds and installs the
// programs from the source of that release.
func TestHomebrewsFormula(t *testing.T) {
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	err := inCopy(tree, "022", `git init -q . && git add -A && git -c user.name=x -c user.email=x@x commit -q -m x && git tag v9.8.7 &&
		make release ARCHES= URL=https://vigil.example/v9.8.7/`)
	if err != nil {
		t.Fatal(err)
	}
	formula, err := filepath.Abs("testdata/formula.rb")
	if err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(tree, "bin/release")
	text, err := os.ReadFile(filepath.Join(made, "vigil.rb"))
	if err != nil || !strings.Contains(string(text), `url "https://vigil.example/v9.8.7/vigil-v9.8.7.tar.gz"`) {
		t.Fatalf("the formula is %s, %v", text, err)
	}
	said := output(t, `cd "$1" && ruby "$2" "$3"/vigil.rb "$3"/vigil-*.tar.gz "$1"/prefix >log 2>&1 || { cat log >&2; exit 1; }; tail -2 log`, dir, formula, made)
	if !strings.Contains(string(said), "vigilctl service enable") {
		t.Errorf("it says %s", said)
	}
	output(t, `"$1"/prefix/bin/vigilctl --version | grep -q v9.8.7 && [ -x "$1"/prefix/libexec/vigil/vigild ]`, dir)
}

// TestNixPackage: what it has buildGoModule do builds and installs the programs, from
// modules of the hash that it names.
func TestNixPackage(t *testing.T) {
	var asked struct {
		Pname, Version, VendorHash, BuildPhase string
		DontInstall                            bool
	}
	evaluate(t, "package.nix", &asked)
	if asked.Pname != "vigil" || asked.Version != "v9" || !asked.DontInstall {
		t.Errorf("it asks for %+v", asked)
	}
	dir := t.TempDir()
	tree, out := filepath.Join(dir, "tree"), filepath.Join(dir, "out")
	if err := inCopy(tree, "022", "go mod vendor"); err != nil {
		t.Fatal(err)
	}
	sum, err := hex.DecodeString(strings.TrimSpace(string(output(t, `nix-hash --type sha256 "$1"/vendor`, tree))))
	if err != nil {
		t.Fatal(err)
	}
	hash := "sha256-" + base64.StdEncoding.EncodeToString(sum)
	if asked.VendorHash != hash {
		t.Errorf("packaging/nix/package.nix: vendorHash is %s, and must be %s", asked.VendorHash, hash)
	}
	output(t, `cd "$1" && runHook() { :; } && export out=$2 GOFLAGS=-mod=vendor GOPROXY=off MAKEFLAGS= && eval "set -e; $3"`, tree, out, asked.BuildPhase)
	output(t, `"$1"/bin/vigilctl --version | grep -q v9 && grep -q "^ExecStart=$1/libexec/vigil/vigild$" "$1"/lib/systemd/user/vigild.service`, out)
}

// TestHomeManagerModule: it turns on exactly the units that the package has.
func TestHomeManagerModule(t *testing.T) {
	var config struct {
		Home struct {
			Packages              []string
			SessionVariablesExtra string
		}
		XDG struct {
			ConfigFile map[string]struct{ Source string }
		}
		Systemd struct {
			User struct{ SessionVariables map[string]string }
		}
	}
	evaluate(t, "module.nix", &config)
	root, err := sshtest.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	units, err := os.ReadDir(filepath.Join(root, "systemd"))
	if err != nil || len(units) == 0 {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, unit := range units {
		name := unit.Name()
		want["systemd/user/"+name] = true
		if strings.HasSuffix(name, ".socket") {
			want["systemd/user/sockets.target.wants/"+name] = true
		}
	}
	for name, file := range config.XDG.ConfigFile {
		if !want[name] || file.Source != "/store/vigil/lib/systemd/user/"+filepath.Base(name) {
			t.Errorf("%s is %s", name, file.Source)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("it lacks %v", want)
	}
	if v := config.Systemd.User.SessionVariables["SSH_AUTH_SOCK"]; v != "${XDG_RUNTIME_DIR}/vigil/agent.sock" {
		t.Errorf("services get %q", v)
	}
	for given, want := range map[string]string{
		"":                     "/run/user/7/vigil/agent.sock",
		"SSH_AUTH_SOCK=/other": "/run/user/7/vigil/agent.sock",
		"SSH_CONNECTION=x":     "/run/user/7/vigil/agent.sock",
		"SSH_CONNECTION=x SSH_AUTH_SOCK=/forwarded": "/forwarded",
	} {
		got := output(t, `env -i XDG_RUNTIME_DIR=/run/user/7 $1 sh -c "$2
			"'echo "$SSH_AUTH_SOCK"'`, given, config.Home.SessionVariablesExtra)
		if strings.TrimSpace(string(got)) != want {
			t.Errorf("with %q a shell gets %s", given, got)
		}
	}
}

// evaluate evaluates an expression of testdata/nix on this tree.
func evaluate(t *testing.T, name string, to any) {
	t.Helper()
	root, err := sshtest.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() // for Nix's own files
	text := output(t, `export NIX_STATE_DIR=$1 NIX_STORE_DIR=$1/store NIX_LOG_DIR=$1 NIX_CONF_DIR=$1 HOME=$1
		nix-instantiate --eval --strict --json --readonly-mode -E "(import $2) $3"`, dir, filepath.Join(root, "test/packaging/testdata/nix", name), root)
	if err := json.Unmarshal(text, to); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}
