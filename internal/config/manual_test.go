package config_test

import (
	"os"
	"testing"

	"vigil/internal/testing/mdoc"
)

// TestManual: vigil-config(5) is docs/config.md, which names every key.
func TestManual(t *testing.T) {
	text, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	p := mdoc.New("vigil-config", "5", "configuration of the SSH agent Vigil")
	p.Macro("Sh", "DESCRIPTION")
	if err := p.Markdown(string(text)); err != nil {
		t.Fatal(err)
	}
	p.Macro("Sh", "SEE ALSO")
	p.Macro("Xr", "vigilctl", "1", ",")
	p.Macro("Xr", "vigil", "7", ",")
	p.Macro("Xr", "vigild", "8")
	mdoc.Check(t, "../..", "vigil-config.5", p)
}
