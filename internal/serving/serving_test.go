package serving_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/internal/serving"
)

func TestOneDaemonForEachStateFolder(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state", "vigil")
	if _, ok := serving.Find(state); ok {
		t.Error("one is found where there is none")
	}
	claim, err := serving.Take(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := serving.Find(state); ok {
		t.Error("it is found before it says where")
	}
	if err := claim.Announce("/run/user/1/vigil"); err != nil {
		t.Fatal(err)
	}
	if p, ok := serving.Find(state); !ok || p.Runtime != "/run/user/1/vigil" || p.PID != os.Getpid() {
		t.Errorf("found %+v, %v", p, ok)
	}
	_, err = serving.Take(t.Context(), state)
	var taken *serving.TakenError
	if !errors.As(err, &taken) || !strings.Contains(err.Error(), `its sockets in "/run/user/1/vigil"`) {
		t.Errorf("a second one is told %v", err)
	}
	if err := claim.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := serving.Find(state); ok {
		t.Error("it is found after its end")
	}
	if claim, err = serving.Take(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	if err := claim.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestANoteLeftBehind is what a daemon that was killed leaves, or a state folder that
// was copied: the lock isn't held.
func TestANoteLeftBehind(t *testing.T) {
	state := t.TempDir()
	note := filepath.Join(state, "daemon.lock")
	if err := os.WriteFile(note, []byte(`{"runtime":"/tmp/of-another","pid":1,"host":"h"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, ok := serving.Find(state); ok {
		t.Errorf("found %+v", p)
	}
	claim, err := serving.Take(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Close()
	for _, text := range []string{`{"runtime":"/tmp/of-another","pid":1,"host":"h"}`, "", "{", `{"runtime":"relative"}`, strings.Repeat(" ", 20<<10)} {
		if err := os.WriteFile(note, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if p, ok := serving.Find(state); ok {
			t.Errorf("the note %.40q says %+v", text, p)
		}
	}
}
