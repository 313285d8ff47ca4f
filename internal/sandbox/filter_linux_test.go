package sandbox

import (
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
)

// TestFilterNamesCallsOfEveryPlatform: the filter is assembled at run time, so
// that a name one platform doesn't have would only show on that platform.
func TestFilterNamesCallsOfEveryPlatform(t *testing.T) {
	for _, platform := range []string{"amd64", "arm64"} {
		info, err := arch.GetInfo(platform)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range filter(1).Syscalls {
			names := g.Names
			for _, c := range g.NamesWithCondtions {
				names = append(names, c.Name)
			}
			if len(names) == 0 {
				t.Error("an empty group")
			}
			for _, name := range names {
				if _, ok := info.SyscallNames[name]; !ok {
					t.Errorf("%s has no %s", platform, name)
				}
			}
		}
	}
}

func TestFilterAssembles(t *testing.T) {
	p := filter(1)
	program, err := p.Assemble()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(program); n < 50 || n > 255 {
		t.Errorf("%d instructions", n)
	}
}
