//go:build linux && amd64

package crash

import (
	"errors"
	"os"
	"path/filepath"

	"vigil/internal/durable"
	"vigil/internal/id"
	"vigil/internal/vaultfile"
)

// files reads the vault file and its generations: none may be unreadable, or
// have a line that is.
func (h *home) files() {
	h.t.Helper()
	path := h.vaultFile()
	data, err := os.ReadFile(path)
	if err != nil {
		h.t.Error(err)
		return
	}
	generations, err := durable.History(path)
	if err != nil {
		h.t.Error(err)
	}
	all := map[string][]byte{path: data}
	for _, g := range generations {
		data, err := durable.ReadGeneration(path, g.Name)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, durable.ErrGeneration) {
			continue // pruned meanwhile
		}
		if err != nil {
			h.t.Error(err)
		}
		all[g.Name] = data
	}
	for name, data := range all {
		f, err := vaultfile.Parse(data, id.Vault{})
		if err != nil {
			h.t.Errorf("%s: %v", name, err)
		} else if bad := f.Damaged(); len(bad) > 0 {
			h.t.Errorf("%s: %v", name, &bad[0])
		}
	}
}

func (h *home) vaultFile() string {
	return h.path("data", "vigil", "vaults", "default", "vault.jsonl")
}

// leftovers are the temporary files that killed writes left in a folder.
func leftovers(dir string) (names []string) {
	list, _ := filepath.Glob(filepath.Join(dir, ".*.tmp-*"))
	return list
}
