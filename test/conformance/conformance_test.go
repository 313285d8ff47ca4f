package conformance

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vigil/internal/testing/sshtest"
)

// newestRecord is the version whose answers vigild has to give.
const newestRecord = "openssh-10.6p1"

var update = flag.Bool("update", false, "write the answers of the OpenSSH agents found to testdata/answers")

func TestMain(m *testing.M) { sshtest.Main(m, "vigild", "vigilctl") }

// A testCase gives messages to a fresh agent.
type testCase struct {
	name string
	// env is added to the agent's environment; dir is a directory for scripts.
	env func(t testing.TB, dir string) []string
	do  func(r *run)
}

// run is a case under way.
type run struct {
	t     testing.TB
	agent *sshtest.Agent
	name  string
	dir   string
	known []*key // to name keys in answers, and to check signatures by
	lines []string
}

// note writes down an answer.
func (r *run) note(step, answer string) {
	r.lines = append(r.lines, fmt.Sprintf("%s: %s => %s", r.name, step, answer))
}

// key returns the key called name, and lets answers name it.
func (r *run) key(name string) *key { return r.know(newKey(r.t, name)) }

func (r *run) know(k *key) *key {
	r.known = append(r.known, k)
	return k
}

// starter starts a fresh agent with its files in dir.
type starter func(dir string, env []string) (*sshtest.Agent, error)

// allCases are the cases of the files of this package, in order.
func allCases() []testCase {
	return slices.Concat(keyCases, compositeCases, constraintCases, tokenCases, lockCases, extensionCases, bindCases, destinationCases, malformedCases, orderCases)
}

// answers runs every case against agents of start, and returns its lines by case.
func answers(t *testing.T, start starter) map[string][]string {
	lines := map[string][]string{}
	for _, tc := range allCases() {
		if _, twice := lines[tc.name]; twice {
			t.Fatalf("two cases are called %q", tc.name)
		}
		lines[tc.name] = nil
		t.Run(tc.name, func(t *testing.T) {
			// Socket names are short; t.TempDir's aren't.
			dir, err := os.MkdirTemp(filepath.Join(sshtest.World(), "w"), "c")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			var env []string
			if tc.env != nil {
				env = tc.env(t, dir)
			}
			agent, err := start(dir, env)
			if err != nil {
				t.Fatal(err)
			}
			defer agent.Close()
			r := &run{t: t, agent: agent, name: tc.name, dir: dir}
			tc.do(r)
			if len(r.lines) == 0 {
				t.Error("the case noted no answer")
			}
			lines[tc.name] = r.lines
		})
	}
	return lines
}

func openSSH(command ...string) starter {
	return func(dir string, env []string) (*sshtest.Agent, error) {
		return sshtest.StartOpenSSHAgent(dir, append(append([]string{"env"}, env...), command...)...)
	}
}

// TestOpenSSH runs the suite against the system's own ssh-agent: its answers are
// those on record, which shows that the records are true and the suite is fair.
func TestOpenSSH(t *testing.T) {
	out, err := exec.Command("ssh", "-V").CombinedOutput()
	if err != nil {
		t.Skipf("no OpenSSH here: %v", err)
	}
	compareWithRecord(t, version(t, string(out)), answers(t, openSSH("ssh-agent")))
}

// TestNewestOpenSSH does the same with the release that tools/newest-openssh.sh
// unpacked into the directory it is told of.
func TestNewestOpenSSH(t *testing.T) {
	root := os.Getenv("NEWEST_OPENSSH")
	if root == "" {
		t.Skip("NEWEST_OPENSSH is not set (tools/newest-openssh.sh DIR unpacks one)")
	}
	command := func(program string) []string {
		lib := filepath.Join(root, "usr/lib/x86_64-linux-gnu")
		return []string{filepath.Join(lib, "ld-linux-x86-64.so.2"), "--library-path", lib, filepath.Join(root, "usr/bin", program)}
	}
	ssh := append(command("ssh"), "-V")
	out, err := exec.Command(ssh[0], ssh[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("run the ssh of %s: %v: %s", root, err, out)
	}
	compareWithRecord(t, version(t, string(out)), answers(t, openSSH(command("ssh-agent")...)))
}

// TestVigild holds vigild to the answers of the newest OpenSSH on record, except
// where it is deliberately stricter.
func TestVigild(t *testing.T) {
	binary := sshtest.Binary(t, "vigild")
	got := answers(t, func(dir string, env []string) (*sshtest.Agent, error) {
		return sshtest.StartVigild(dir, binary, env...)
	})
	record, ok := readRecord(t, newestRecord)
	if !ok {
		t.Fatalf("no record of %s", newestRecord)
	}
	unused := maps.Clone(stricter)
	for i, line := range record {
		step, openssh, _ := strings.Cut(line, " => ")
		if s, ok := stricter[step]; ok {
			if s.answer == openssh {
				t.Errorf("%s: OpenSSH answers %s too: this is no difference to list", step, openssh)
			}
			record[i] = step + " => " + s.answer
			delete(unused, step)
		}
	}
	for step := range unused {
		t.Errorf("stricter_test.go lists %q, which no case does", step)
	}
	compare(t, record, got, true)
}

// version returns the record's name for what `ssh -V` printed.
func version(t *testing.T, printed string) string {
	m := regexp.MustCompile(`^OpenSSH_([0-9.]+p[0-9]+)`).FindStringSubmatch(printed)
	if m == nil {
		t.Skipf("not a portable OpenSSH: %s", printed)
	}
	return "openssh-" + m[1]
}

func recordPath(name string) string { return filepath.Join("testdata", "answers", name+".txt") }

func readRecord(t *testing.T, name string) ([]string, bool) {
	t.Helper()
	text, err := os.ReadFile(recordPath(name))
	if os.IsNotExist(err) {
		return nil, false
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), true
}

func compareWithRecord(t *testing.T, name string, got map[string][]string) {
	t.Helper()
	if *update && !t.Failed() {
		var all []string
		for _, tc := range allCases() {
			all = append(all, got[tc.name]...)
		}
		// Tests started by root can't write to the tree; they say what to do instead.
		text := strings.Join(all, "\n") + "\n"
		if err := os.WriteFile(recordPath(name), []byte(text), 0o644); err != nil {
			fmt.Printf("--- %s\n%s---\n", recordPath(name), text)
		}
		return
	}
	want, ok := readRecord(t, name)
	if !ok {
		t.Skipf("no answers of %s on record to compare with; the suite ran", name)
	}
	compare(t, want, got, false)
}

// compare reports the cases whose answers differ from want. A case that was
// left out by -run is not compared.
func compare(t *testing.T, want []string, got map[string][]string, all bool) {
	t.Helper()
	byCase := map[string][]string{}
	for _, line := range want {
		name, _, _ := strings.Cut(line, ": ")
		byCase[name] = append(byCase[name], line)
	}
	for _, tc := range allCases() {
		want, got := byCase[tc.name], got[tc.name]
		if got == nil && !all {
			continue
		}
		for i := range max(len(want), len(got)) {
			w, g := "no answer", "no answer"
			if i < len(want) {
				w = want[i]
			}
			if i < len(got) {
				g = got[i]
			}
			if w != g {
				t.Errorf("want %s\n got %s", w, g)
			}
		}
	}
}
