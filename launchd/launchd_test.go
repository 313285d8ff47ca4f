package launchd

import (
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// element is a value of a property list (its DTD: dict, array, string, integer, true, false).
type element struct {
	XMLName  xml.Name
	Text     string    `xml:",chardata"`
	Elements []element `xml:",any"`
}

func (e element) value(t *testing.T) any {
	t.Helper()
	switch e.XMLName.Local {
	case "dict":
		dict := map[string]any{}
		if len(e.Elements)%2 != 0 {
			t.Fatal("a key without a value")
		}
		for i := 0; i < len(e.Elements); i += 2 {
			key := e.Elements[i]
			if _, twice := dict[key.Text]; key.XMLName.Local != "key" || twice {
				t.Fatalf("%s %q where a new key belongs", key.XMLName.Local, key.Text)
			}
			dict[key.Text] = e.Elements[i+1].value(t)
		}
		return dict
	case "array":
		var array []any
		for _, x := range e.Elements {
			array = append(array, x.value(t))
		}
		return array
	case "true", "false":
		return e.XMLName.Local == "true"
	case "string", "integer":
		return e.Text
	}
	t.Fatalf("no property list has the element %s", e.XMLName.Local)
	return nil
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var list struct {
		XMLName  xml.Name  `xml:"plist"`
		Version  string    `xml:"version,attr"`
		Elements []element `xml:",any"`
	}
	d := xml.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&list); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Token(); errors.Is(err, io.EOF) || err == nil {
		// a line end may follow
	} else {
		t.Fatal(err)
	}
	if list.Version != "1.0" || len(list.Elements) != 1 {
		t.Fatalf("version %q with %d values", list.Version, len(list.Elements))
	}
	return list.Elements[0].value(t).(map[string]any)
}

// TestAgent: launchd reads what is meant, whatever the paths.
func TestAgent(t *testing.T) {
	const program, socket, log = `/Users/a & b/<v>/vigild`, `/Users/"ada"/it's/$(touch x)/agent.sock`, "/l/vigild.log"
	got := parse(t, Agent(program, socket, log))
	arguments := got["ProgramArguments"].([]any)
	delete(got, "ProgramArguments")
	want := map[string]any{
		"Label": Label, "RunAtLoad": true, "KeepAlive": map[string]any{"SuccessfulExit": false},
		"EnvironmentVariables": map[string]any{"PATH": "/usr/bin:/bin:/usr/sbin:/sbin:/opt/homebrew/bin:/usr/local/bin"},
		"HardResourceLimits":   map[string]any{"Core": "0"},
	}
	if !maps.EqualFunc(got, want, func(a, b any) bool { return reflect.DeepEqual(a, b) }) {
		t.Errorf("got %v", got)
	}
	if len(arguments) != 6 || !reflect.DeepEqual(arguments[3:], []any{program, socket, log}) {
		t.Errorf("started with %q", arguments)
	}
}

// TestProgramArguments runs them: launchctl is told of the socket, and vigild gets its log,
// which only its user can read.
func TestProgramArguments(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `a "b" $(c) & 'd'`)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	script := func(path, text string) {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	launchctl := filepath.Join(t.TempDir(), "launchctl")
	script(launchctl, `printf '%s\n' "$@" >"$OUT"`)
	script(at("vigild"), `printf '%s\n' "$@" "$$" >&2`)
	arguments := parse(t, Agent(at("vigild"), at("agent.sock"), at("log")))["ProgramArguments"].([]any)
	words := make([]string, len(arguments))
	for i, a := range arguments {
		words[i] = strings.ReplaceAll(a.(string), "/bin/launchctl", launchctl)
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "OUT=" + at("told")}
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	if told, err := os.ReadFile(at("told")); err != nil || string(told) != "setenv\nSSH_AUTH_SOCK\n"+at("agent.sock")+"\n" {
		t.Errorf("launchctl got %q, %v", told, err)
	}
	logged, err := os.ReadFile(at("log"))
	lines := strings.Split(strings.TrimSpace(string(logged)), "\n")
	if err != nil || len(lines) != 3 || lines[0] != "--log-file" || lines[1] != at("log") {
		t.Errorf("vigild got %q, %v", logged, err)
	}
	if info, err := os.Stat(at("log")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the log: %v, %v", info, err)
	}
}
